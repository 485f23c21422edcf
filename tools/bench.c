// SPDX-License-Identifier: Apache-2.0
/*
 * avocado-bench: loads records, runs a workload against a cluster in a closed or an open loop, and
 * says how many operations a second it did and how long they took. docs/man/avocado-bench.1
 */
#include "client/avocado.h"
#include "common/limits.h"
#include "tools/bench_html.h"
#include "tools/bench_progress.h"
#include "tools/bench_report.h"
#include "tools/bench_team.h"
#include "tools/options.h"

#include <errno.h>
#include <inttypes.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

enum {
    EXIT_USAGE = 2,
    EXIT_UNAVAILABLE = 3,
    TICK_MS = 50,
    LOAD_DEPTH = 64,
    HISTORY_RECORDS = 16,
    HISTORY_VALUE_SIZE = 24,
};

struct app {
    struct team *team;
    const char *workload, *json_path, *csv_path, *report_path, *history_path, *coordinator;
    uint64_t seconds_ms, warmup_ms, interval_ms, key_size, records;
    double theta, start_at_s; /* seconds since 1970; 0: at once */
    bool uniform, no_load, help, version, quiet, merge;
    bool records_given, value_size_given;
    struct progress progress;
    struct timeline timeline;
    struct bench_result result;
};

static volatile sig_atomic_t interrupted;

static void on_signal(int number)
{
    interrupted = number;
}

static int complain(int code, const char *text)
{
    (void)fprintf(stderr, "avocado-bench: %s\n", text);
    return code;
}

static int complain_status(enum avo_status status, const char *why)
{
    (void)complain(0, why[0] == '\0' ? avo_status_text(status) : why);
    return status <= AVO_INTEGRITY ? (int)status : EXIT_UNAVAILABLE;
}

static void pause_ms(unsigned ms)
{
    struct timespec t = {.tv_nsec = (long)ms * 1000000};

    (void)nanosleep(&t, NULL);
}

/* ---- phases ---- */

static bool load(struct app *a)
{
    struct bench *b = &a->team->bench;
    uint64_t began_ns = bench_now_ns(), n = b->workload.records;

    progress_start(&a->progress, a->team, NULL);
    atomic_store_explicit(&b->phase, PHASE_LOAD, memory_order_release);
    while (atomic_load(&b->loaded) < n && interrupted == 0) {
        char why[256];
        uint64_t done = atomic_load(&b->loaded);

        if (team_error(a->team, why) != AVO_OK) {
            return false; /* a benchmark over half the records would mean nothing */
        }
        progress_show(&a->progress, a->team, "load", (double)done / (double)n);
        pause_ms(n < 100000 ? 1 : TICK_MS);
    }
    a->result.loaded = atomic_load(&b->loaded);
    a->result.load_seconds = (double)(bench_now_ns() - began_ns) / 1e9;
    progress_end(&a->progress, a->team);
    return true;
}

/* False: a process of ours has died. */
static bool spend(struct app *a, const char *what, uint64_t ms)
{
    uint64_t began_ns = bench_now_ns(), until_ns = began_ns + ms * 1000000, now_ns = began_ns;

    while (now_ns < until_ns && interrupted == 0) {
        if (team_lost(a->team)) {
            return false;
        }
        progress_show(&a->progress, a->team, what,
                      (double)(now_ns - began_ns) / (double)(until_ns - began_ns));
        pause_ms(until_ns - now_ns < (uint64_t)TICK_MS * 1000000 ||
                         a->interval_ms < (uint64_t)4 * TICK_MS
                     ? 1
                     : TICK_MS);
        now_ns = bench_now_ns();
    }
    return true;
}

static double wall_clock_s(void)
{
    struct timespec t;

    (void)clock_gettime(CLOCK_REALTIME, &t);
    return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

/* Until the time that several benchmarks have agreed on. */
static void wait_start(const struct app *a)
{
    while (interrupted == 0 && wall_clock_s() < a->start_at_s) {
        pause_ms(1);
    }
}

static bool measure(struct app *a)
{
    struct bench *b = &a->team->bench;
    uint64_t began_ns;
    bool good;

    wait_start(a);
    progress_start(&a->progress, a->team, NULL);
    atomic_store_explicit(&b->phase, PHASE_RUN, memory_order_release);
    good = spend(a, "warm-up", a->warmup_ms);
    began_ns = bench_now_ns();
    atomic_store(&b->measuring, true);
    progress_start(&a->progress, a->team, &a->timeline);
    good = good && spend(a, "run", a->seconds_ms);
    atomic_store(&b->measuring, false);
    a->result.seconds = (double)(bench_now_ns() - began_ns) / 1e9;
    a->result.interrupted = interrupted != 0;
    progress_end(&a->progress, a->team);
    (void)team_interval(a->team, &a->progress.interval, &a->result.behind);
    return good;
}

static bool open_all(struct app *a)
{
    if (!team_start(a->team)) {
        return false;
    }
    while (!team_is(a->team, true) && !team_is(a->team, false)) {
        char why[256];

        if (team_error(a->team, why) != AVO_OK || interrupted != 0) {
            return false;
        }
        pause_ms(1);
    }
    return team_is(a->team, true);
}

/* How many replicas there are, and whether the cluster answers at all. */
static int look(struct app *a)
{
    struct bench *b = &a->team->bench;
    char why[512] = "";
    enum avo_status status = b->target->look(b, why, sizeof(why));
    uint64_t place;

    if (status != AVO_OK) {
        return complain_status(status, why);
    }
    if (strcmp(a->coordinator, "spread") != 0) {
        if (!options_number(a->coordinator, &place) || place == 0 || place > b->nodes_n) {
            return complain(EXIT_USAGE, "--coordinator: must be 'spread' or the number of a "
                                        "replica in client.yaml");
        }
        b->coordinator = place;
    }
    return 0;
}

/* ---- results ---- */

static json_t *config_json(const struct app *a)
{
    const struct bench *b = &a->team->bench;
    json_t *o = json_object();

    (void)json_object_set_new(o, "target", json_string(b->target->name));
    (void)json_object_set_new(o, "workload", json_string(a->workload));
    (void)json_object_set_new(o, "cluster", json_string(b->cluster));
    (void)json_object_set_new(o, "records", json_integer((json_int_t)b->workload.records));
    (void)json_object_set_new(o, "key_size", json_integer((json_int_t)a->key_size));
    (void)json_object_set_new(o, "value_size", json_integer((json_int_t)b->value_size));
    (void)json_object_set_new(o, "seconds", json_real((double)a->seconds_ms / 1000));
    (void)json_object_set_new(o, "warmup", json_real((double)a->warmup_ms / 1000));
    (void)json_object_set_new(o, "clients", json_integer((json_int_t)b->clients));
    (void)json_object_set_new(o, "depth", json_integer((json_int_t)b->depth));
    (void)json_object_set_new(o, "threads", json_integer((json_int_t)b->threads));
    (void)json_object_set_new(o, "distribution", json_string(a->uniform ? "uniform" : "zipf"));
    if (!a->uniform) {
        (void)json_object_set_new(o, "zipf", json_real(a->theta));
    }
    (void)json_object_set_new(o, "coordinator", json_string(a->coordinator));
    (void)json_object_set_new(o, "timeout_ms", json_integer((json_int_t)b->timeout_ms));
    (void)json_object_set_new(o, "seed", json_integer((json_int_t)b->seed));
    (void)json_object_set_new(o, "nodes", json_integer((json_int_t)b->nodes_n));
    (void)json_object_set_new(o, "version", json_string(avo_version()));
    (void)json_object_set_new(o, "processes", json_integer((json_int_t)a->team->processes));
    (void)json_object_set_new(o, "loop", json_string(b->rate > 0 ? "open" : "closed"));
    (void)json_object_set_new(o, "rate", json_integer((json_int_t)b->rate));
    return o;
}

static int cannot_write(const char *path)
{
    (void)fprintf(stderr, "avocado-bench: cannot write %s: %s\n", path, strerror(errno));
    return EXIT_USAGE;
}

static int write_json(const char *path, const struct bench_result *r, json_t *config)
{
    json_t *o = bench_report_json(r, config);
    FILE *to = strcmp(path, "-") == 0 ? stdout : fopen(path, "we");
    bool good = false;

    if (to != NULL) {
        good = json_dumpf(o, to, JSON_INDENT(2) | JSON_REAL_PRECISION(9)) == 0 &&
               fputc('\n', to) != EOF;
        good = (to == stdout ? fflush(to) : fclose(to)) == 0 && good;
    }
    json_decref(o);
    return good ? 0 : cannot_write(path);
}

/* A folder with the page, and what it was made from. */
static int write_report(const struct app *a, const char *title, json_t *config)
{
    char path[4096];
    size_t n = (size_t)snprintf(path, sizeof(path) - 32, "%s", a->report_path);
    int code;

    if (n >= sizeof(path) - 32) {
        errno = ENAMETOOLONG;
        return cannot_write(a->report_path);
    }
    if (mkdir(path, 0777) != 0 && errno != EEXIST) {
        return cannot_write(path);
    }
    (void)snprintf(path + n, 32, "/result.json");
    code = write_json(path, &a->result, json_incref(config));
    (void)snprintf(path + n, 32, "/timeline.csv");
    if (code == 0 && !timeline_write(&a->timeline, path)) {
        code = cannot_write(path);
    }
    (void)snprintf(path + n, 32, "/index.html");
    if (code == 0 && !bench_html_write(path, title, &a->result, &a->timeline, config)) {
        code = cannot_write(path);
    }
    return code;
}

static int report(struct app *a)
{
    bool json_only = a->json_path != NULL && strcmp(a->json_path, "-") == 0;
    const struct workload_mix *mix = a->team->bench.workload.mix;
    json_t *config = config_json(a);
    char why[256], title[256];
    int code = 0;

    team_tally(a->team, &a->result.tally);
    a->result.rate = a->team->bench.rate;
    (void)snprintf(title, sizeof(title), "workload %s (%s)", mix->name, mix->what);
    if (!json_only) {
        bench_report_print(title, &a->result);
    }
    if (team_error(a->team, why) != AVO_OK) {
        (void)fprintf(stderr, "avocado-bench: first error: %s\n", why);
    }
    if (a->csv_path != NULL && !timeline_write(&a->timeline, a->csv_path)) {
        code = cannot_write(a->csv_path);
    }
    if (code == 0 && a->report_path != NULL) {
        code = write_report(a, title, config);
    }
    if (code == 0 && a->json_path != NULL) {
        code = write_json(a->json_path, &a->result, json_incref(config));
    }
    json_decref(config);
    return code;
}

static int run(struct app *a)
{
    char why[256] = "";
    bool good;
    int code = 0;

    a->progress.quiet = a->quiet;
    a->progress.interval_ns = a->interval_ms * 1000000;
    good = open_all(a) && (a->no_load || load(a));
    if (good && interrupted == 0) {
        good = measure(a);
    }
    if (!good) {
        code = complain_status(team_error(a->team, why), why);
        code = code == 0 ? EXIT_UNAVAILABLE : code;
    }
    atomic_store_explicit(&a->team->bench.phase, PHASE_DRAIN, memory_order_release);
    team_join(a->team);
    return good ? report(a) : code;
}

/* Results of several runs at the same time, as one. */
static int merge(struct app *a, char *const *paths, int n)
{
    char why[256], title[64];

    if (n < 1) {
        return complain(EXIT_USAGE, "--merge: which files? It takes results of --json");
    }
    if (!bench_report_merge(&a->result, paths, (size_t)n, why)) {
        return complain(EXIT_USAGE, why);
    }
    if (a->json_path == NULL || strcmp(a->json_path, "-") != 0) {
        (void)snprintf(title, sizeof(title), "%d runs together", n);
        bench_report_print(title, &a->result);
    }
    return a->json_path == NULL ? 0
                                : write_json(a->json_path, &a->result,
                                             json_pack("{s:i, s:I}", "merged", n, "rate",
                                                       (json_int_t)a->result.rate));
}

/* ---- options ---- */

static void print_help(const struct option_spec *specs)
{
    (void)puts("usage: avocado-bench [OPTION...]\n\nWorkloads:");
    for (const struct workload_mix *m = workload_mixes; m->name != NULL; m++) {
        (void)printf("  %-6s %s\n", m->name, m->what);
    }
    (void)puts("\nOptions:");
    options_print(specs);
}

static const struct bench_target *target_of(const char *cluster,
                                            const struct bench_target *const targets[])
{
    for (size_t i = 1; targets[0] != NULL && targets[i] != NULL; i++) {
        size_t n = strlen(targets[i]->name);

        if (strncmp(cluster, targets[i]->name, n) == 0 && strncmp(cluster + n, "://", 3) == 0) {
            return targets[i];
        }
    }
    return targets[0];
}

/* What one option's range cannot say. */
static int settle(struct app *a, const struct bench_target *const targets[])
{
    struct bench *b = &a->team->bench;
    const char *environment = getenv("AVOCADO_CLUSTER");

    b->workload.mix = workload_named(a->workload);
    if (b->workload.mix == NULL) {
        return complain(EXIT_USAGE, "--workload: no such workload; see avocado-bench --help");
    }
    if (a->theta >= 1) {
        return complain(EXIT_USAGE, "--zipf: must be below 1; as in YCSB, 0.99 is very skewed");
    }
    if (b->cluster == NULL) {
        b->cluster = environment != NULL && environment[0] != '\0' ? environment
                                                                   : "avocado-data/client.yaml";
    }
    b->target = target_of(b->cluster, targets);
    if (b->depth > 1 && b->target->lock_step) {
        return complain(EXIT_USAGE,
                        "--depth: this target does one operation at a time on a connection; "
                        "use more clients");
    }
    if (b->workload.mix->percent[BENCH_SCAN] > 0 && !b->target->has_scans) {
        return complain(EXIT_USAGE, "--workload: this target has no scans");
    }
    if (a->history_path != NULL &&
        (a->team->processes > 1 || b->workload.mix->percent[BENCH_SCAN])) {
        return complain(EXIT_USAGE,
                        "--history: of one process only, and not of scans, for which the "
                        "format has no word");
    }
    if (a->history_path != NULL) {
        a->records = a->records_given ? a->records : HISTORY_RECORDS;
        b->value_size = a->value_size_given ? b->value_size : HISTORY_VALUE_SIZE;
        b->workload.plain_keys = true;
        b->history = bench_history_open(a->history_path);
        if (b->history == NULL) {
            return complain(EXIT_USAGE, "--history: the file cannot be created");
        }
    }
    b->threads = b->threads == 0 ? 2 : b->threads;
    b->threads = b->threads < a->team->processes ? a->team->processes : b->threads;
    b->threads = b->threads > b->clients ? b->clients : b->threads;
    a->team->processes = a->team->processes > b->threads ? b->threads : a->team->processes;
    b->load_depth = b->depth > LOAD_DEPTH ? b->depth : LOAD_DEPTH;
    b->load_depth = b->history != NULL || b->target->lock_step ? b->depth : b->load_depth;
    b->workload.records = a->records;
    b->workload.uniform = a->uniform;
    b->workload.key_len = (size_t)a->key_size;
    atomic_store(&b->workload.inserted, a->records);
    atomic_store(&b->workload.next_insert, a->records);
    if (!a->uniform) {
        zipf_init(&b->workload.zipf, a->records, a->theta);
    }
    return 0;
}

/* What is done. Returns how many rows. */
static size_t load_options(struct app *a, struct option_spec *to)
{
    struct bench *b = &a->team->bench;
    const struct option_spec specs[] = {
        {"cluster", "FILE", "client.yaml (else $AVOCADO_CLUSTER, else ./avocado-data/client.yaml)",
         OPTION_TEXT, &b->cluster, 0, 0, NULL},
        {"workload", "NAME", "one of the above (default a)", OPTION_TEXT, &a->workload, 0, 0, NULL},
        {"records", "N", "records to load and use (default 10000)", OPTION_NUMBER, &a->records, 1,
         1000000000, &a->records_given},
        {"key-size", "BYTES", "default 16", OPTION_BYTES, &a->key_size, WORKLOAD_KEY_MIN, KEY_MAX,
         NULL},
        {"value-size", "BYTES", "default 64", OPTION_BYTES, &b->value_size, 0, VALUE_MAX,
         &a->value_size_given},
        {"seconds", "TIME", "how long to measure (default 10)", OPTION_MS, &a->seconds_ms, 1,
         86400000, NULL},
        {"warmup", "TIME", "run so long before measuring (default 1)", OPTION_MS, &a->warmup_ms, 0,
         3600000, NULL},
        {"clients", "C", "clients, each with connections of its own (default 8)", OPTION_NUMBER,
         &b->clients, 1, CLIENTS_MAX, NULL},
        {"depth", "Q", "operations in flight of each client (default 1)", OPTION_NUMBER, &b->depth,
         1, DEPTH_MAX, NULL},
        {"threads", "T", "threads that drive the clients (default 2)", OPTION_NUMBER, &b->threads,
         1, THREADS_MAX, NULL},
        {"processes", "P", "share the threads out over so many processes (default 1)",
         OPTION_NUMBER, &a->team->processes, 1, THREADS_MAX, NULL},
        {"rate", "R",
         "open loop: begin R operations a second, whether or not earlier ones have ended; at most "
         "clients x depth at once",
         OPTION_NUMBER, &b->rate, 1, 1000000000, NULL},
        {"start-at", "TIME", "load, then wait until TIME (seconds since 1970), then begin",
         OPTION_REAL, &a->start_at_s, 0, UINT32_MAX, NULL},
        {"zipf", "THETA", "skew of the choice of records (default 0.99)", OPTION_REAL, &a->theta, 0,
         1, NULL},
        {"uniform", NULL, "choose all records equally often", OPTION_FLAG, &a->uniform, 0, 0, NULL},
    };

    memcpy(to, specs, sizeof(specs));
    return sizeof(specs) / sizeof(specs[0]);
}

/* How, and what is said of it. */
static size_t other_options(struct app *a, struct option_spec *to)
{
    struct bench *b = &a->team->bench;
    const struct option_spec specs[] = {
        {"coordinator", "WHICH", "'spread' clients over replicas (default), or one's number",
         OPTION_TEXT, &a->coordinator, 0, 0, NULL},
        {"no-load", NULL, "the records are there from an earlier run", OPTION_FLAG, &a->no_load, 0,
         0, NULL},
        {"timeout", "TIME", "of one operation (default 5)", OPTION_MS, &b->timeout_ms, 1, 60000,
         NULL},
        {"seed", "N", "of all random choices (default 1)", OPTION_NUMBER, &b->seed, 0, UINT64_MAX,
         NULL},
        {"json", "FILE", "write the results as JSON; '-' prints only that", OPTION_TEXT,
         &a->json_path, 0, 0, NULL},
        {"interval", "TIME", "of --csv and of the plot over time (default 1)", OPTION_MS,
         &a->interval_ms, 10, 60000, NULL},
        {"csv", "FILE", "write throughput and latency of every interval", OPTION_TEXT, &a->csv_path,
         0, 0, NULL},
        {"report", "DIR", "write a page with plots, and its figures, into DIR", OPTION_TEXT,
         &a->report_path, 0, 0, NULL},
        {"merge", NULL, "add up results of --json, of runs at the same time: --merge FILE...",
         OPTION_FLAG, &a->merge, 0, 0, NULL},
        {"history", "FILE", "record every operation for a checker; few keys, unique values",
         OPTION_TEXT, &a->history_path, 0, 0, NULL},
        {"quiet", NULL, "no progress", OPTION_FLAG, &a->quiet, 0, 0, NULL},
        {"version", NULL, "print the version", OPTION_FLAG, &a->version, 0, 0, NULL},
        {"help", NULL, "show this", OPTION_FLAG, &a->help, 0, 0, NULL},
    };

    memcpy(to, specs, sizeof(specs));
    return sizeof(specs) / sizeof(specs[0]);
}

static int parse(struct app *a, int argc, char **argv, int *ret_rest, bool *ret_done)
{
    struct option_spec specs[OPTIONS_MAX] = {{0}};
    size_t n = load_options(a, specs);
    struct option_error why;

    (void)other_options(a, specs + n);
    if (!options_parse(argc, argv, specs, false, ret_rest, &why)) {
        (void)fprintf(stderr, "avocado-bench: %s; see avocado-bench --help\n", why.text);
        return EXIT_USAGE;
    }
    if (*ret_rest != argc && !a->merge) {
        return complain(EXIT_USAGE, "takes options only; see avocado-bench --help");
    }
    *ret_done = a->help || a->version;
    if (a->help) {
        print_help(specs);
    } else if (a->version) {
        (void)printf("avocado-bench %s\n", avo_version());
    }
    return 0;
}

int bench_main(int argc, char **argv, const struct bench_target *const targets[])
{
    struct sigaction on = {.sa_handler = on_signal, .sa_flags = (int)SA_RESETHAND};
    struct app *a = calloc(1, sizeof(*a));
    bool done = false;
    int code, rest = 0;

    if (a == NULL || (a->team = team_new()) == NULL) {
        free(a);
        return complain_status(AVO_NO_MEMORY, "");
    }
    a->workload = "a";
    a->coordinator = "spread";
    a->records = 10000;
    a->key_size = 16;
    a->seconds_ms = 10000;
    a->warmup_ms = 1000;
    a->interval_ms = 1000;
    a->theta = 0.99;
    a->team->processes = 1;
    a->team->bench.value_size = 64;
    a->team->bench.clients = 8;
    a->team->bench.depth = 1;
    a->team->bench.timeout_ms = 5000;
    a->team->bench.seed = 1;
    (void)signal(SIGPIPE, SIG_IGN);
    (void)sigaction(SIGINT, &on, NULL);
    (void)sigaction(SIGTERM, &on, NULL);
    code = parse(a, argc, argv, &rest, &done);
    if (code == 0 && !done && a->merge) {
        code = merge(a, argv + rest, argc - rest);
    } else if (code == 0 && !done) {
        code = settle(a, targets);
        code = code == 0 ? look(a) : code;
        code = code == 0 ? run(a) : code;
        if (!bench_history_close(a->team->bench.history) && code == 0) {
            code = complain(EXIT_USAGE, "--history: the file could not be written completely");
        }
    }
    timeline_free(&a->timeline);
    team_free(a->team);
    free(a);
    return code;
}
