// SPDX-License-Identifier: Apache-2.0
#include "common/check.h"
#include "sim/history_file.h"
#include "sim/plants.h"
#include "sim/scenario.h"
#include "sim/shrink.h"
#include "sim/spec.h"

#include <errno.h>
#include <getopt.h>
#include <inttypes.h>
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>

/* avocado-sim: the whole cluster, its attackers and its clock in one deterministic process. */

struct options {
    uint64_t seeds;
    uint64_t twice; /* every so many seeds are run a second time */
    bool any_level, json, shrink, table;
    struct run_spec spec;
    const struct plant *plant;
    const char *scenario;
};

struct totals {
    uint64_t seeds, twice, ops, unknown, failed, events, undecided, transcript;
};

/* What is running, for the line that replays it. */
static struct {
    char text[SPEC_COMMAND_MAX];
} replay;

/* A CHECK that fails ends the process; before that it says which seed it was. */
void check_failed(const char *file, int line, const char *cond)
{
    (void)fflush(stdout);
    (void)fprintf(stderr, "CHECK(%s) failed at %s:%d. Replay: %s\n", cond, file, line, replay.text);
    _Exit(VERDICT_CHECK);
}

static void run_one(const struct options *o, uint64_t i, struct run_spec *spec,
                    struct run_result *ret)
{
    *spec = o->spec;
    spec->seed += i;
    if (o->any_level) {
        spec->level = spec->seed % 2 == 0 ? LEVEL_PROTOCOL : LEVEL_REPLICA;
    }
    spec_command(spec, o->plant, replay.text);
    if (o->shrink) {
        run_apart(spec, i % o->twice == 0, ret);
    } else if (i % o->twice == 0) {
        run_twice(spec, ret);
    } else {
        run_once(spec, ret);
    }
}

/* ---- what it says ---- */

static void say_held(const struct options *o, const struct totals *t)
{
    if (o->plant != NULL) {
        (void)printf("planted bug %s NOT FOUND within %" PRIu64 " seeds\n", o->plant->name,
                     t->seeds);
        return;
    }
    (void)printf("%" PRIu64 " seeds held (level %s): %" PRIu64 " operations, %" PRIu64
                 " of unknown outcome, %" PRIu64 " refused, %" PRIu64 " events, %" PRIu64
                 " seeds undecided; %" PRIu64
                 " seeds ran twice with equal transcripts; all transcripts %016" PRIx64 "\n",
                 t->seeds, o->any_level ? "protocol and replica" : level_name(o->spec.level),
                 t->ops, t->unknown, t->failed, t->events, t->undecided, t->twice, t->transcript);
}

static void say_failed(const struct options *o, const struct run_spec *spec,
                       const struct run_result *bad)
{
    (void)printf("%s at seed %" PRIu64 ": %s.%s Replay: %s\n", verdict_name(bad->verdict),
                 spec->seed, bad->why, o->plant != NULL ? " Planted bug found." : "", replay.text);
}

static void say_json(const struct options *o, const struct totals *t, const struct run_spec *spec,
                     const struct run_result *bad)
{
    char transcript[17];
    json_t *j;

    (void)snprintf(transcript, sizeof(transcript), "%016" PRIx64, t->transcript);
    j = json_pack("{s:b, s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:s, s:s?}", "held", bad == NULL,
                  "seeds", (json_int_t)t->seeds, "twice", (json_int_t)t->twice, "operations",
                  (json_int_t)t->ops, "unknown", (json_int_t)t->unknown, "refused",
                  (json_int_t)t->failed, "undecided", (json_int_t)t->undecided, "events",
                  (json_int_t)t->events, "transcript", transcript, "plant",
                  o->plant != NULL ? o->plant->name : NULL);
    CHECK(j != NULL);
    if (bad != NULL) {
        (void)json_object_set_new(j, "verdict", json_string(verdict_name(bad->verdict)));
        (void)json_object_set_new(j, "seed", json_integer((json_int_t)spec->seed));
        (void)json_object_set_new(j, "why", json_string(bad->why));
        (void)json_object_set_new(j, "replay", json_string(replay.text));
    }
    (void)json_dumpf(j, stdout, JSON_COMPACT);
    (void)putchar('\n');
    json_decref(j);
}

/* ---- running ---- */

static void count(struct totals *t, const struct options *o, uint64_t i, const struct run_result *r)
{
    struct prng mix = {.state = t->transcript ^ r->hash};

    t->seeds++;
    t->twice += i % o->twice == 0;
    t->ops += r->ops_n;
    t->unknown += r->unknown_n;
    t->failed += r->failed_n;
    t->events += r->events;
    t->undecided += r->undecided;
    t->transcript = prng_u64(&mix);
}

static int run_all(const struct options *o)
{
    struct totals t = {0};

    for (uint64_t i = 0; i < o->seeds; i++) {
        struct run_result result;
        struct run_spec spec;

        run_one(o, i, &spec, &result);
        count(&t, o, i, &result);
        if (o->spec.verbose) {
            (void)printf("seed %" PRIu64 " level %s: %s; %u operations, transcript %016" PRIx64
                         "\n",
                         spec.seed, level_name(spec.level), verdict_name(result.verdict),
                         result.ops_n, result.hash);
        }
        if (result.verdict == VERDICT_HELD) {
            continue;
        }
        if (o->shrink) {
            shrink(&spec, result.verdict, result.why);
            spec_command(&spec, o->plant, replay.text);
        }
        if (o->json) {
            say_json(o, &t, &spec, &result);
        } else {
            say_failed(o, &spec, &result);
        }
        return o->plant != NULL && result.verdict == VERDICT_NOT_LIVE ? VERDICT_WRONG
                                                                      : (int)result.verdict;
    }
    if (o->json) {
        say_json(o, &t, NULL, NULL);
    } else {
        say_held(o, &t);
    }
    return 0;
}

/* How many seeds each plant needs, on each level where it can be seen; 0: not found. */
static uint64_t seeds_until_found(const struct options *o, const struct plant *plant,
                                  enum level level)
{
    struct options one = *o;

    one.plant = plant;
    one.any_level = false;
    one.spec.plants = (unsigned)plant->bits;
    one.spec.client_plants = (unsigned)(plant->bits >> PLANT_CLIENT_SHIFT);
    one.spec.level = level;
    one.twice = UINT64_MAX;
    for (uint64_t i = 0; i < o->seeds; i++) {
        struct run_result result;
        struct run_spec spec;

        run_one(&one, i, &spec, &result);
        if (result.verdict != VERDICT_HELD) {
            return i + 1;
        }
    }
    return 0;
}

static int plants_table(const struct options *o)
{
    int code = 0;

    (void)printf("%-24s %-9s %s\n", "plant", "level", "found within (seeds)");
    for (size_t i = 0; i < plants_n; i++) {
        for (int level = LEVEL_PROTOCOL; level <= LEVEL_REPLICA; level++) {
            uint64_t n;

            if (level == LEVEL_PROTOCOL ? !plants[i].protocol : !plants[i].replica) {
                continue;
            }
            n = seeds_until_found(o, &plants[i], (enum level)level);
            (void)printf("%-24s %-9s ", plants[i].name, level_name((enum level)level));
            (void)(n != 0 ? printf("%" PRIu64 "\n", n)
                          : printf("NOT FOUND in %" PRIu64 "\n", o->seeds));
            (void)fflush(stdout);
            code |= n == 0;
        }
    }
    return code;
}

/* ---- the command line ---- */

static void usage(FILE *to)
{
    (void)fputs(
        "usage: avocado-sim --seed S [--seeds N] [--ops M] [--level protocol|replica]\n"
        "                   [--plant BUG] [--without FAULTS] [--clients C] [--keys K]\n"
        "                   [--groups G] [--collect] [--shrink] [--twice T] [-v] [--json]\n"
        "       avocado-sim --plants-table [--seed S] [--seeds N] [--groups G] [--collect]\n"
        "       avocado-sim --scenario FILE [--plant BUG] [-v]\n"
        "       avocado-sim --check-history FILE\n"
        "\n"
        "  --seed S    first seed (default 1)\n"
        "  --seeds N   how many seeds (default 1)\n"
        "  --ops M     operations of each seed (default 150)\n"
        "  --level L   protocol: abd and store; replica: whole replicas and their datagrams.\n"
        "              Default: even seeds protocol, odd seeds replica\n"
        "  --plant B   switch a bug on; 'help' lists them. Exit 1: found\n"
        "  --without F faults that stay off though the seed drew them, with commas between;\n"
        "              'help' lists them\n"
        "  --clients C, --keys K  at most so many\n"
        "  --groups G  level replica: so many groups of slots (1 to 4), each at three of up to\n"
        "              seven nodes. Default: a quarter of the seeds have some\n"
        "  --collect   every run is about deletes, read-modify-writes and the collection of\n"
        "              tombstones over links that break\n"
        "  --shrink    make a failing seed as small as it still fails before it is reported\n"
        "  --twice T   run every T-th seed twice and compare transcripts (default 1: all)\n"
        "  -v          print the transcript\n"
        "  --plants-table  within how many seeds each plant is found; at most N (default 500)\n"
        "  --scenario FILE  does what the file says, step by step; 'help' lists the steps\n"
        "  --check-history FILE  judge what avocado-bench --history recorded\n"
        "  --json      one JSON object instead of text\n"
        "\n"
        "exit: 0 every seed held, 1 not linearizable, 2 not live, 3 internal check,\n"
        "      4 not deterministic, 64 usage\n",
        to);
}

enum { EXIT_USAGE = 64 };

static bool number(const char *text, uint64_t max, uint64_t *ret)
{
    char *end;
    unsigned long long v;

    errno = 0;
    v = strtoull(text, &end, 10);
    if (errno != 0 || end == text || *end != 0 || text[0] == '-' || v > max) {
        (void)fprintf(stderr, "avocado-sim: '%s' is not a number up to %" PRIu64 "\n", text, max);
        return false;
    }
    *ret = v;
    return true;
}

static void list_plants(void)
{
    for (size_t i = 0; i < plants_n; i++) {
        (void)printf("%-18s %s%s\n", plants[i].name, plants[i].text,
                     !plants[i].replica    ? " (level protocol)"
                     : !plants[i].protocol ? " (level replica)"
                                           : "");
    }
}

/* The exit code. */
static int check_history(const char *path)
{
    struct history_file h;

    if (history_file_check(path, &h) != 0) {
        (void)fprintf(stderr, "avocado-sim: %s: %s\n", path, h.why);
        return EXIT_USAGE;
    }
    if (h.verdict == LINEAR_YES) {
        (void)printf("linearizable: %zu operations on %zu keys\n", h.ops_n, h.keys_n);
        return VERDICT_HELD;
    }
    (void)printf("%s: %s\n", h.verdict == LINEAR_NO ? "NOT LINEARIZABLE" : "undecided", h.why);
    return h.verdict == LINEAR_NO ? VERDICT_WRONG : VERDICT_CHECK;
}

/* 0: go on; otherwise the exit code + 1. */
static int set_plant(struct options *o, const char *name)
{
    if (strcmp(name, "help") == 0) {
        list_plants();
        return 1;
    }
    o->plant = plant_find(name);
    if (o->plant == NULL) {
        (void)fprintf(stderr, "avocado-sim: no plant '%s'; --plant help lists them\n", name);
        return EXIT_USAGE + 1;
    }
    o->spec.plants = (unsigned)o->plant->bits;
    o->spec.client_plants = (unsigned)(o->plant->bits >> PLANT_CLIENT_SHIFT);
    return 0;
}

/* 0: go on; otherwise the exit code + 1. */
static int set_without(struct options *o, const char *names)
{
    char bad[32];

    if (strcmp(names, "help") == 0) {
        for (size_t i = 0; i < traits_n; i++) {
            (void)puts(traits[i].name);
        }
        return 1;
    }
    if (!spec_without(names, &o->spec.without, bad)) {
        (void)fprintf(stderr, "avocado-sim: no fault '%s'; --without help lists them\n", bad);
        return EXIT_USAGE + 1;
    }
    return 0;
}

/* The exit code. */
static int tell_scenario(const struct options *o)
{
    char why[SCENARIO_WHY_MAX];
    int code;

    if (strcmp(o->scenario, "help") == 0) {
        scenario_help(stdout);
        return 0;
    }
    (void)snprintf(replay.text, sizeof(replay.text), "avocado-sim --scenario %.200s%s%s",
                   o->scenario, o->plant != NULL ? " --plant " : "",
                   o->plant != NULL ? o->plant->name : "");
    code = scenario_run(o->scenario, &o->spec, why);
    (void)fprintf(code == VERDICT_USAGE ? stderr : stdout, "%s%s\n",
                  code == VERDICT_HELD    ? "held: "
                  : code == VERDICT_WRONG ? "WRONG: "
                                          : "avocado-sim: ",
                  why);
    return code;
}

static bool set_level(struct options *o, const char *name)
{
    o->any_level = false;
    o->spec.level = strcmp(name, "replica") == 0 ? LEVEL_REPLICA : LEVEL_PROTOCOL;
    if (strcmp(name, level_name(o->spec.level)) != 0) {
        (void)fprintf(stderr, "avocado-sim: level is protocol or replica, not '%s'\n", name);
        return false;
    }
    return true;
}

static bool small_number(const char *text, uint32_t max, uint32_t *ret)
{
    uint64_t v;

    if (!number(text, max, &v)) {
        return false;
    }
    if (v == 0) {
        (void)fputs("avocado-sim: 0 is too few\n", stderr);
        return false;
    }
    *ret = (uint32_t)v;
    return true;
}

static const struct option longs[] = {
    {"seed", required_argument, NULL, 's'},
    {"seeds", required_argument, NULL, 'n'},
    {"ops", required_argument, NULL, 'o'},
    {"level", required_argument, NULL, 'l'},
    {"plant", required_argument, NULL, 'p'},
    {"without", required_argument, NULL, 'w'},
    {"clients", required_argument, NULL, 'C'},
    {"keys", required_argument, NULL, 'K'},
    {"groups", required_argument, NULL, 'G'},
    {"twice", required_argument, NULL, 't'},
    {"check-history", required_argument, NULL, 'c'},
    {"scenario", required_argument, NULL, 'F'},
    {"collect", no_argument, NULL, 'D'},
    {"shrink", no_argument, NULL, 'S'},
    {"plants-table", no_argument, NULL, 'T'},
    {"json", no_argument, NULL, 'j'},
    {"verbose", no_argument, NULL, 'v'},
    {"help", no_argument, NULL, 'h'},
    {NULL, 0, NULL, 0},
};

/* False: wrong usage, which has been said. */
static bool set_number(struct options *o, int c, const char *text)
{
    switch (c) {
    case 's':
        return number(text, UINT64_MAX / 2, &o->spec.seed);
    case 'n':
        return number(text, UINT32_MAX, &o->seeds);
    case 'o':
        return small_number(text, 1000000, &o->spec.ops_n);
    case 'C':
        return small_number(text, 1000, &o->spec.clients_max);
    case 'K':
        return small_number(text, 1000, &o->spec.keys_max);
    case 'G':
        return small_number(text, SIM_GROUPS_MAX, &o->spec.groups);
    case 't':
        return number(text, UINT32_MAX, &o->twice) && o->twice > 0;
    default:
        return false;
    }
}

static bool set_flag(struct options *o, int c)
{
    switch (c) {
    case 'j':
        o->json = true;
        return true;
    case 'v':
        o->spec.verbose = true;
        return true;
    case 'D':
        o->spec.collects = true;
        return true;
    case 'S':
        o->shrink = true;
        return true;
    case 'T':
        o->table = true;
        return true;
    default:
        return false;
    }
}

/* 0: run; otherwise the exit code + 1. */
static int parse(int argc, char **argv, struct options *o)
{
    int done = 0, c;
    bool ok = true;

    while (ok && done == 0 && (c = getopt_long(argc, argv, "vh", longs, NULL)) != -1) {
        const char *arg = optarg != NULL ? optarg : "";

        switch (c) {
        case 'l':
            ok = set_level(o, arg);
            break;
        case 'p':
            done = set_plant(o, arg);
            break;
        case 'w':
            done = set_without(o, arg);
            break;
        case 'F':
            o->scenario = arg;
            break;
        case 'c':
            return check_history(arg) + 1;
        case 'h':
            usage(stdout);
            return 1;
        default:
            ok = optarg != NULL ? set_number(o, c, optarg) : set_flag(o, c);
            break;
        }
    }
    if (done == 0 && (!ok || optind != argc)) {
        usage(stderr);
        return EXIT_USAGE + 1;
    }
    return done;
}

int main(int argc, char **argv)
{
    struct options o = {
        .twice = 1, .any_level = true, .spec = {.seed = 1, .ops_n = 150, .level = LEVEL_PROTOCOL}};
    int done = parse(argc, argv, &o);

    if (done != 0) {
        return done - 1;
    }
    if (o.seeds == 0) {
        o.seeds = o.table ? 500 : 1;
    }
    if (o.scenario != NULL) {
        return tell_scenario(&o);
    }
    if (o.table) {
        return plants_table(&o);
    }
    if (o.plant != NULL && o.any_level && !(o.plant->protocol && o.plant->replica)) {
        o.any_level = false;
        o.spec.level = o.plant->protocol ? LEVEL_PROTOCOL : LEVEL_REPLICA;
    }
    return run_all(&o);
}
