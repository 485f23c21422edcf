// SPDX-License-Identifier: Apache-2.0
#include "common/check.h"
#include "sim/history_file.h"
#include "sim/plants.h"
#include "sim/run.h"

#include <errno.h>
#include <getopt.h>
#include <inttypes.h>
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>

/* avocado-sim: the whole cluster, its attackers and its clock in one deterministic process. */

struct options {
    uint64_t seed, seeds;
    uint32_t ops;
    bool any_level, verbose, json;
    enum level level;
    const struct plant *plant;
};

struct totals {
    uint64_t seeds, ops, unknown, failed, events;
};

/* What is running, for the line that replays it. */
static struct {
    char text[160];
} replay;

/* A CHECK that fails ends the process; before that it says which seed it was. */
void check_failed(const char *file, int line, const char *cond)
{
    (void)fflush(stdout);
    (void)fprintf(stderr, "CHECK(%s) failed at %s:%d. Replay: %s\n", cond, file, line, replay.text);
    _Exit(VERDICT_CHECK);
}

static const char *level_name(enum level level)
{
    return level == LEVEL_PROTOCOL ? "protocol" : "replica";
}

static enum level level_of(const struct options *o, uint64_t seed)
{
    if (!o->any_level) {
        return o->level;
    }
    return seed % 2 == 0 ? LEVEL_PROTOCOL : LEVEL_REPLICA;
}

static void set_replay(const struct options *o, uint64_t seed)
{
    (void)snprintf(replay.text, sizeof(replay.text),
                   "avocado-sim --seed %" PRIu64 " --ops %u --level %s%s%s -v", seed, o->ops,
                   level_name(level_of(o, seed)), o->plant != NULL ? " --plant " : "",
                   o->plant != NULL ? o->plant->name : "");
}

/* Twice: a run that does not repeat itself proves nothing. */
static void run_twice(const struct options *o, uint64_t seed, struct run_result *ret)
{
    unsigned bits = o->plant != NULL ? o->plant->bits : 0;
    struct run_result again;

    set_replay(o, seed);
    run_seed(seed, level_of(o, seed), o->ops, bits, o->verbose, ret);
    run_seed(seed, level_of(o, seed), o->ops, bits, false, &again);
    if (ret->hash != again.hash || ret->events != again.events) {
        ret->verdict = VERDICT_UNEQUAL;
        (void)snprintf(ret->why, sizeof(ret->why),
                       "two runs differ: transcript %016" PRIx64 " and %016" PRIx64, ret->hash,
                       again.hash);
    }
}

static const char *verdict_name(enum verdict v)
{
    static const char *const names[] = {"held", "WRONG", "NOT LIVE", "CHECK", "NONDETERMINISTIC"};

    return names[v];
}

static void say(const struct options *o, const struct totals *t, uint64_t seed,
                const struct run_result *bad)
{
    json_t *j;

    if (!o->json) {
        if (bad != NULL) {
            (void)printf("%s at seed %" PRIu64 ": %s.%s Replay: %s\n", verdict_name(bad->verdict),
                         seed, bad->why, o->plant != NULL ? " Planted bug found." : "",
                         replay.text);
        } else if (o->plant != NULL) {
            (void)printf("planted bug %s NOT FOUND within %" PRIu64 " seeds\n", o->plant->name,
                         t->seeds);
        } else {
            (void)printf("%" PRIu64 " seeds held (level %s): %" PRIu64 " operations, %" PRIu64
                         " of unknown outcome, %" PRIu64 " refused, %" PRIu64
                         " events; each seed ran twice with equal transcripts\n",
                         t->seeds, o->any_level ? "protocol and replica" : level_name(o->level),
                         t->ops, t->unknown, t->failed, t->events);
        }
        return;
    }
    j = json_pack("{s:b, s:I, s:I, s:I, s:I, s:I, s:s?}", "held", bad == NULL, "seeds",
                  (json_int_t)t->seeds, "operations", (json_int_t)t->ops, "unknown",
                  (json_int_t)t->unknown, "refused", (json_int_t)t->failed, "events",
                  (json_int_t)t->events, "plant", o->plant != NULL ? o->plant->name : NULL);
    CHECK(j != NULL);
    if (bad != NULL) {
        (void)json_object_set_new(j, "verdict", json_string(verdict_name(bad->verdict)));
        (void)json_object_set_new(j, "seed", json_integer((json_int_t)seed));
        (void)json_object_set_new(j, "why", json_string(bad->why));
        (void)json_object_set_new(j, "replay", json_string(replay.text));
    }
    (void)json_dumpf(j, stdout, JSON_COMPACT);
    (void)putchar('\n');
    json_decref(j);
}

static int run_all(const struct options *o)
{
    struct totals t = {0};

    for (uint64_t i = 0; i < o->seeds; i++) {
        struct run_result result;

        run_twice(o, o->seed + i, &result);
        t.seeds++;
        t.ops += result.ops_n;
        t.unknown += result.unknown_n;
        t.failed += result.failed_n;
        t.events += result.events;
        if (o->verbose) {
            (void)printf("seed %" PRIu64 " level %s: %s; %u operations, transcript %016" PRIx64
                         "\n",
                         o->seed + i, level_name(level_of(o, o->seed + i)),
                         verdict_name(result.verdict), result.ops_n, result.hash);
        }
        if (result.verdict != VERDICT_HELD) {
            say(o, &t, o->seed + i, &result);
            return o->plant != NULL && result.verdict == VERDICT_NOT_LIVE ? VERDICT_WRONG
                                                                          : (int)result.verdict;
        }
    }
    say(o, &t, 0, NULL);
    return 0;
}

/* ---- the command line ---- */

static void usage(FILE *to)
{
    (void)fputs(
        "usage: avocado-sim --seed S [--seeds N] [--ops M] [--level protocol|replica]\n"
        "                   [--plant BUG] [-v] [--json]\n"
        "       avocado-sim --check-history FILE\n"
        "\n"
        "  --seed S    first seed (default 1)\n"
        "  --seeds N   how many seeds (default 1)\n"
        "  --ops M     operations of each seed (default 150)\n"
        "  --level L   protocol: abd and store; replica: whole replicas and their datagrams.\n"
        "              Default: even seeds protocol, odd seeds replica\n"
        "  --plant B   switch a bug on; 'help' lists them. Exit 1: found\n"
        "  -v          print the transcript\n"
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
    return 0;
}

static bool set_level(struct options *o, const char *name)
{
    o->any_level = false;
    o->level = strcmp(name, "replica") == 0 ? LEVEL_REPLICA : LEVEL_PROTOCOL;
    if (strcmp(name, level_name(o->level)) != 0) {
        (void)fprintf(stderr, "avocado-sim: level is protocol or replica, not '%s'\n", name);
        return false;
    }
    return true;
}

static int parse(int argc, char **argv, struct options *o)
{
    static const struct option longs[] = {
        {"seed", required_argument, NULL, 's'},  {"seeds", required_argument, NULL, 'n'},
        {"ops", required_argument, NULL, 'o'},   {"level", required_argument, NULL, 'l'},
        {"plant", required_argument, NULL, 'p'}, {"check-history", required_argument, NULL, 'c'},
        {"json", no_argument, NULL, 'j'},        {"verbose", no_argument, NULL, 'v'},
        {"help", no_argument, NULL, 'h'},        {NULL, 0, NULL, 0}};
    uint64_t v = 0;
    bool ok = true;
    int c, done;

    while (ok && (c = getopt_long(argc, argv, "vh", longs, NULL)) != -1) {
        switch (c) {
        case 's':
            ok = number(optarg, UINT64_MAX / 2, &o->seed);
            break;
        case 'n':
            ok = number(optarg, UINT32_MAX, &o->seeds);
            break;
        case 'o':
            ok = number(optarg, 1000000, &v) && v > 0;
            o->ops = (uint32_t)v;
            break;
        case 'l':
            ok = set_level(o, optarg);
            break;
        case 'p':
            done = set_plant(o, optarg);
            if (done != 0) {
                return done;
            }
            break;
        case 'c':
            return check_history(optarg) + 1;
        case 'j':
            o->json = true;
            break;
        case 'v':
            o->verbose = true;
            break;
        case 'h':
            usage(stdout);
            return 1;
        default:
            ok = false;
            break;
        }
    }
    if (!ok || optind != argc) {
        usage(stderr);
        return EXIT_USAGE + 1;
    }
    return 0;
}

int main(int argc, char **argv)
{
    struct options o = {.seed = 1, .seeds = 1, .ops = 150, .any_level = true};
    int done = parse(argc, argv, &o);

    if (done != 0) {
        return done - 1;
    }
    if (o.plant != NULL && o.any_level && !(o.plant->protocol && o.plant->replica)) {
        o.any_level = false;
        o.level = o.plant->protocol ? LEVEL_PROTOCOL : LEVEL_REPLICA;
    }
    return run_all(&o);
}
