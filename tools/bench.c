// SPDX-License-Identifier: Apache-2.0
/*
 * avocado-bench: loads records, runs a workload against a cluster in closed loops, and says how
 * many operations a second it did and how long they took. docs/man/avocado-bench.1
 */
#include "client/avocado.h"
#include "common/limits.h"
#include "tools/bench_report.h"
#include "tools/bench_worker.h"
#include "tools/options.h"

#include <errno.h>
#include <inttypes.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

enum {
    EXIT_USAGE = 2,
    EXIT_UNAVAILABLE = 3,
    THREADS_MAX = 64,
    TICK_MS = 50,
    LOAD_DEPTH = 64,
    HISTORY_RECORDS = 16,
    HISTORY_VALUE_SIZE = 24,
};

struct app {
    struct bench bench;
    const char *workload, *json_path, *history_path, *coordinator;
    uint64_t seconds_ms, warmup_ms, key_size, records;
    double theta;
    bool uniform, no_load, help, version, quiet;
    bool records_given, value_size_given;
    struct bench_worker workers[THREADS_MAX];
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

/* ---- the threads as one ---- */

/* First error of any thread, or OK. */
static enum avo_status first_error(struct app *a, char why[static 256])
{
    enum avo_status status = AVO_OK;

    for (uint64_t i = 0; status == AVO_OK && i < a->bench.threads; i++) {
        struct bench_worker *w = &a->workers[i];

        (void)pthread_mutex_lock(&w->lock);
        status = w->first_error;
        memcpy(why, w->why, 256);
        (void)pthread_mutex_unlock(&w->lock);
    }
    return status;
}

/* Connected, or else over. */
static bool all_are(struct app *a, bool open)
{
    bool all = true;

    for (uint64_t i = 0; i < a->bench.threads; i++) {
        struct bench_worker *w = &a->workers[i];

        (void)pthread_mutex_lock(&w->lock);
        all = all && (open ? w->is_open : w->is_over);
        (void)pthread_mutex_unlock(&w->lock);
    }
    return all;
}

/* Takes the interval of every thread into one. */
static uint64_t take_intervals(struct app *a, struct histogram *to)
{
    uint64_t errors = 0;

    histogram_reset(to);
    for (uint64_t i = 0; i < a->bench.threads; i++) {
        struct bench_worker *w = &a->workers[i];

        (void)pthread_mutex_lock(&w->lock);
        histogram_merge(to, &w->interval);
        histogram_reset(&w->interval);
        errors += w->errors_ever;
        (void)pthread_mutex_unlock(&w->lock);
    }
    return errors;
}

static void take_tallies(struct app *a)
{
    for (uint64_t i = 0; i < a->bench.threads; i++) {
        struct bench_worker *w = &a->workers[i];
        struct bench_tally *to = &a->result.tally;

        (void)pthread_mutex_lock(&w->lock);
        for (int op = 0; op < BENCH_OPS; op++) {
            histogram_merge(&to->by_op[op], &w->tally.by_op[op]);
        }
        for (int s = 0; s < STATUSES_N; s++) {
            to->errors[s] += w->tally.errors[s];
        }
        to->not_found += w->tally.not_found;
        to->lost_races += w->tally.lost_races;
        to->value_bytes += w->tally.value_bytes;
        (void)pthread_mutex_unlock(&w->lock);
    }
}

/* ---- progress ---- */

struct progress {
    uint64_t next_ns, last_ns;
    struct histogram interval;
};

static void show(struct app *a, struct progress *p, const char *what, double part)
{
    uint64_t now_ns = bench_now_ns(), errors;
    double seconds;

    if (now_ns < p->next_ns) {
        return;
    }
    errors = take_intervals(a, &p->interval);
    seconds = (double)(now_ns - p->last_ns) / 1e9;
    if (!a->quiet) {
        (void)fprintf(
            stderr, "%s%s %3.0f %%  %9.0f ops/s  p50 %7.0f us  p99 %7.0f us  errors %" PRIu64 "%s",
            isatty(STDERR_FILENO) ? "\r\033[K" : "", what, part * 100,
            (double)p->interval.n / seconds, (double)histogram_quantile(&p->interval, 0.5) / 1000,
            (double)histogram_quantile(&p->interval, 0.99) / 1000, errors,
            isatty(STDERR_FILENO) ? "" : "\n");
    }
    p->last_ns = now_ns;
    p->next_ns = now_ns + 1000000000U;
}

static void progress_start(struct app *a, struct progress *p)
{
    p->last_ns = bench_now_ns();
    p->next_ns = p->last_ns + 1000000000U;
    (void)take_intervals(a, &p->interval);
}

static void progress_end(const struct app *a)
{
    if (!a->quiet && isatty(STDERR_FILENO)) {
        (void)fputs("\r\033[K", stderr);
    }
}

/* ---- phases ---- */

static bool load(struct app *a, struct progress *p)
{
    struct bench *b = &a->bench;
    uint64_t began_ns = bench_now_ns(), n = b->workload.records;

    progress_start(a, p);
    atomic_store_explicit(&b->phase, PHASE_LOAD, memory_order_release);
    while (atomic_load(&b->loaded) < n && interrupted == 0) {
        char why[256];
        uint64_t done = atomic_load(&b->loaded);

        if (first_error(a, why) != AVO_OK) {
            return false; /* a benchmark over half the records would mean nothing */
        }
        show(a, p, "load", (double)done / (double)n);
        pause_ms(n < 100000 ? 1 : TICK_MS);
    }
    a->result.loaded = atomic_load(&b->loaded);
    a->result.load_seconds = (double)(bench_now_ns() - began_ns) / 1e9;
    progress_end(a);
    return true;
}

static void spend(struct app *a, struct progress *p, const char *what, uint64_t ms)
{
    uint64_t began_ns = bench_now_ns(), until_ns = began_ns + ms * 1000000, now_ns = began_ns;

    while (now_ns < until_ns && interrupted == 0) {
        show(a, p, what, (double)(now_ns - began_ns) / (double)(until_ns - began_ns));
        pause_ms(TICK_MS);
        now_ns = bench_now_ns();
    }
}

static void measure(struct app *a, struct progress *p)
{
    struct bench *b = &a->bench;
    uint64_t began_ns;

    progress_start(a, p);
    atomic_store_explicit(&b->phase, PHASE_RUN, memory_order_release);
    spend(a, p, "warm-up", a->warmup_ms);
    began_ns = bench_now_ns();
    atomic_store(&b->measuring, true);
    spend(a, p, "run", a->seconds_ms);
    atomic_store(&b->measuring, false);
    a->result.seconds = (double)(bench_now_ns() - began_ns) / 1e9;
    a->result.interrupted = interrupted != 0;
    progress_end(a);
}

static bool open_all(struct app *a)
{
    struct bench *b = &a->bench;
    uint64_t next = 0;

    for (uint64_t i = 0; i < b->threads; i++) {
        struct bench_worker *w = &a->workers[i];

        w->bench = b;
        w->first = next;
        w->clients_n = b->clients / b->threads + (i < b->clients % b->threads);
        next += w->clients_n;
        if (!bench_worker_start(w)) {
            b->threads = i; /* those that run are joined */
            return false;
        }
    }
    while (!all_are(a, true) && !all_are(a, false)) {
        char why[256];

        if (first_error(a, why) != AVO_OK || interrupted != 0) {
            return false;
        }
        pause_ms(1);
    }
    return all_are(a, true);
}

/* Any replica: how many there are, and whether the cluster answers at all. */
static int look(struct app *a)
{
    struct bench *b = &a->bench;
    struct avo_options options = {.connect_ms = (uint32_t)b->timeout_ms};
    struct avo_client *c = NULL;
    char why[512] = "";
    enum avo_status status = avo_open(b->cluster, &options, &c, why, sizeof(why));
    uint64_t place;

    if (status != AVO_OK) {
        return complain_status(status, why);
    }
    b->nodes_n = avo_nodes(c);
    avo_close(c);
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
    const struct bench *b = &a->bench;
    json_t *o = json_object();

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
    (void)json_object_set_new(o, "loop", json_string("closed"));
    return o;
}

static int write_json(const struct app *a)
{
    json_t *o = bench_report_json(&a->result, config_json(a));
    FILE *to = strcmp(a->json_path, "-") == 0 ? stdout : fopen(a->json_path, "we");
    bool good = false;

    if (to != NULL) {
        good = json_dumpf(o, to, JSON_INDENT(2)) == 0 && fputc('\n', to) != EOF;
        good = (to == stdout ? fflush(to) : fclose(to)) == 0 && good;
    }
    json_decref(o);
    if (!good) {
        (void)fprintf(stderr, "avocado-bench: cannot write %s: %s\n", a->json_path,
                      strerror(errno));
        return EXIT_USAGE;
    }
    return 0;
}

static int report(struct app *a)
{
    bool json_only = a->json_path != NULL && strcmp(a->json_path, "-") == 0;
    char why[256];

    take_tallies(a);
    if (!json_only) {
        bench_report_print(&a->bench, &a->result);
    }
    if (first_error(a, why) != AVO_OK) {
        (void)fprintf(stderr, "avocado-bench: first error: %s\n", why);
    }
    return a->json_path == NULL ? 0 : write_json(a);
}

static int run(struct app *a)
{
    struct progress *p = calloc(1, sizeof(*p));
    char why[256] = "";
    bool good;
    int code = 0;

    if (p == NULL) {
        return complain_status(AVO_NO_MEMORY, "");
    }
    good = open_all(a) && (a->no_load || load(a, p));
    if (good && interrupted == 0) {
        measure(a, p);
    }
    atomic_store_explicit(&a->bench.phase, PHASE_DRAIN, memory_order_release);
    for (uint64_t i = 0; i < a->bench.threads; i++) {
        bench_worker_join(&a->workers[i]);
    }
    if (good) {
        code = report(a);
    } else {
        code = complain_status(first_error(a, why), why);
        code = code == 0 ? EXIT_UNAVAILABLE : code;
    }
    free(p);
    return code;
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

/* What one option's range cannot say. */
static int settle(struct app *a)
{
    struct bench *b = &a->bench;
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
    b->threads = b->threads > b->clients ? b->clients : b->threads;
    b->load_depth = b->depth > LOAD_DEPTH ? b->depth : LOAD_DEPTH;
    b->load_depth = b->history != NULL ? b->depth : b->load_depth;
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

static int parse(struct app *a, int argc, char **argv, bool *ret_done)
{
    struct bench *b = &a->bench;
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
        {"zipf", "THETA", "skew of the choice of records (default 0.99)", OPTION_REAL, &a->theta, 0,
         1, NULL},
        {"uniform", NULL, "choose all records equally often", OPTION_FLAG, &a->uniform, 0, 0, NULL},
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
        {"history", "FILE", "record every operation for a checker; few keys, unique values",
         OPTION_TEXT, &a->history_path, 0, 0, NULL},
        {"quiet", NULL, "no progress", OPTION_FLAG, &a->quiet, 0, 0, NULL},
        {"version", NULL, "print the version", OPTION_FLAG, &a->version, 0, 0, NULL},
        {"help", NULL, "show this", OPTION_FLAG, &a->help, 0, 0, NULL},
        {0},
    };
    struct option_error why;
    int rest;

    if (!options_parse(argc, argv, specs, false, &rest, &why)) {
        (void)fprintf(stderr, "avocado-bench: %s; see avocado-bench --help\n", why.text);
        return EXIT_USAGE;
    }
    if (rest != argc) {
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

int main(int argc, char **argv)
{
    struct sigaction on = {.sa_handler = on_signal, .sa_flags = (int)SA_RESETHAND};
    struct app *a = calloc(1, sizeof(*a));
    bool done = false;
    int code;

    if (a == NULL) {
        return complain_status(AVO_NO_MEMORY, "");
    }
    a->workload = "a";
    a->coordinator = "spread";
    a->records = 10000;
    a->key_size = 16;
    a->seconds_ms = 10000;
    a->warmup_ms = 1000;
    a->theta = 0.99;
    a->bench.value_size = 64;
    a->bench.clients = 8;
    a->bench.depth = 1;
    a->bench.timeout_ms = 5000;
    a->bench.seed = 1;
    (void)signal(SIGPIPE, SIG_IGN);
    (void)sigaction(SIGINT, &on, NULL);
    (void)sigaction(SIGTERM, &on, NULL);
    code = parse(a, argc, argv, &done);
    if (code == 0 && !done) {
        code = settle(a);
        code = code == 0 ? look(a) : code;
        code = code == 0 ? run(a) : code;
        if (!bench_history_close(a->bench.history) && code == 0) {
            code = complain(EXIT_USAGE, "--history: the file could not be written completely");
        }
    }
    free(a);
    return code;
}
