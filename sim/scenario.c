// SPDX-License-Identifier: Apache-2.0
#include "sim/scenario.h"

#include "common/check.h"
#include "sim/faults.h"
#include "sim/scenario_internal.h"

#include <errno.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

static const uint64_t ms = UINT64_C(1000000);

enum { LINE_MAX_LEN = 400, EVENTS_MAX = 5000000 };

void story_fail(struct story *s, const char *format, ...)
{
    va_list args;

    if (s->failed) {
        return;
    }
    s->failed = true;
    va_start(args, format);
    (void)vsnprintf(s->why, sizeof(s->why), format, args);
    va_end(args);
}

void story_usage(struct story *s, const char *what)
{
    story_fail(s, "%s", what);
    s->is_usage = true;
}

uint64_t story_number(struct story *s, uint32_t i)
{
    char *end = NULL;
    unsigned long long v = 0;

    errno = 0;
    if (i < s->words_n) {
        v = strtoull(s->words[i], &end, 10);
    }
    if (end == NULL || *end != 0 || end == s->words[i] || errno != 0) {
        story_usage(s, "a number is missing");
        return 0;
    }
    return v;
}

uint8_t story_host(struct story *s, uint32_t i)
{
    uint64_t node = story_number(s, i);

    if (node < 1 || node > NODES_MAX) {
        story_usage(s, "a node is a number from 1 to 7");
        return 0;
    }
    return registrar_host((uint32_t)node);
}

bool story_until(struct story *s, bool (*is_so)(struct story *s, uint64_t arg), uint64_t arg,
                 uint64_t most_ns)
{
    struct run *r = s->r;
    uint64_t end_ns = r->world.now_ns + most_ns;

    for (uint32_t n = 0; !is_so(s, arg); n++) {
        if (r->world.n == 0 || r->world.heap[0].at_ns > end_ns || n > EVENTS_MAX ||
            r->verdict != VERDICT_HELD) {
            r->world.now_ns = r->verdict == VERDICT_HELD ? end_ns : r->world.now_ns;
            return is_so(s, arg);
        }
        run_step(r);
    }
    return true;
}

/* ---- a line ---- */

/* "via N" and "within MS" may stand at the end of any operation. */
static void take_options(struct story *s)
{
    s->via = 0;
    s->within_ns = 2000 * ms;
    while (s->words_n >= 3) {
        const char *word = s->words[s->words_n - 2];

        if (strcmp(word, "via") == 0) {
            s->via = story_host(s, s->words_n - 1) + 1U;
        } else if (strcmp(word, "within") == 0) {
            s->within_ns = story_number(s, s->words_n - 1) * ms;
        } else {
            return;
        }
        s->words_n -= 2;
    }
}

static void read_words(struct story *s, char *line)
{
    char *save = NULL, *end = strchr(line, '#');

    if (end != NULL) {
        *end = 0;
    }
    s->words_n = 0;
    for (char *w = strtok_r(line, " \t\r\n", &save); w != NULL;
         w = strtok_r(NULL, " \t\r\n", &save)) {
        if (s->words_n == STORY_WORDS_MAX) {
            story_usage(s, "the line has too many words");
            return;
        }
        s->words[s->words_n++] = w;
    }
    s->is_expected = s->words_n > 1 && strcmp(s->words[0], "expect") == 0;
    if (s->is_expected) {
        s->words_n--;
        memmove(s->words, s->words + 1, s->words_n * sizeof(s->words[0]));
    }
}

static void do_line(struct story *s, char *line)
{
    s->line++;
    read_words(s, line);
    if (s->words_n == 0 || s->failed) {
        return;
    }
    trace_event(&s->r->trace, s->r->world.now_ns, "line", s->line, 0, 0);
    take_options(s);
    if (!s->failed && !story_operate(s) && !story_step(s)) {
        story_usage(s, "no such step; avocado-sim --scenario help lists them");
    }
    if (s->r->verdict != VERDICT_HELD) {
        story_fail(s, "%s", s->r->why);
    }
}

/* ---- a story ---- */

/* What stands before the first step: "nodes N", "sync MS", "seed S". */
static bool set_up(struct story *s, struct swarm *swarm, uint64_t *seed, char *line)
{
    read_words(s, line);
    if (s->words_n == 0) {
        s->line++;
        return true;
    }
    if (s->words_n != 2) {
        return false;
    }
    if (strcmp(s->words[0], "nodes") == 0) {
        swarm->nodes_n = (uint8_t)(story_host(s, 1) + 1);
        if (swarm->nodes_n % 2 == 0) {
            story_usage(s, "a cluster begins with 1, 3, 5 or 7 nodes");
        }
    } else if (strcmp(s->words[0], "sync") == 0) {
        swarm->sync_ns = story_number(s, 1) * ms;
    } else if (strcmp(s->words[0], "seed") == 0) {
        *seed = story_number(s, 1);
    } else {
        return false;
    }
    s->line++;
    return true;
}

static struct swarm quiet_swarm(void)
{
    return (struct swarm){
        .think_ns = 2 * ms,
        .hedge_ns = 2 * ms,
        .delay_min_ns = ms / 20,
        .delay_max_ns = ms / 5,
        .fault_ns = ms,
        .heap_bytes = (size_t)24 << 20,
        .arena_bytes = (size_t)4 << 20,
        .clients_n = 4,
        .keys_n = 4,
        .get_chance = 400,
        .delete_chance = 100,
        .rmw_chance = 300,
        .batch_chance = 100,
        .flavours = {HISTORY_REGISTER, HISTORY_COUNTER, HISTORY_LOG, HISTORY_REGISTER},
        .timeout_ms_min = 1000,
        .timeout_ms_max = 1000,
        .value_max = 200,
        .ops_max = OPS_MAX,
        .datagram_bytes = DATAGRAM_DEFAULT,
        .nodes_n = 3,
        .hosts_n = NODES_MAX,
        .dynamic = true,
    };
}

static bool all_talk(struct story *s, uint64_t arg)
{
    struct replicas *c = replicas_of(s->r);
    bool all = true;

    (void)arg;
    for (uint8_t host = 0; host < s->r->swarm.nodes_n; host++) {
        struct replica_report report;

        replica_report(c->ends[c->runs[host]].replica, &report);
        all = all && report.members_up == (1U << s->r->swarm.nodes_n) - 1;
    }
    return all;
}

static void tell(struct story *s, FILE *from, const struct run_spec *spec)
{
    struct swarm swarm = quiet_swarm();
    struct run_spec own = *spec;
    char line[LINE_MAX_LEN], copy[LINE_MAX_LEN];
    bool begun = false;

    own.level = LEVEL_REPLICA;
    while (!s->failed && fgets(line, sizeof(line), from) != NULL) {
        memcpy(copy, line, sizeof(copy));
        if (!begun && !set_up(s, &swarm, &own.seed, copy)) {
            begun = true;
            s->r = run_begin(&own, &swarm);
            s->r->healed = true; /* the network does nothing that is not told */
            s->r->story = s;
            s->r->story_answer = story_answer;
            (void)story_until(s, all_talk, 0, 1000 * ms);
        }
        if (begun) {
            do_line(s, line);
        }
    }
    if (!begun) {
        story_usage(s, "the file has no step");
        return;
    }
    if (run_judge(s->r) != VERDICT_HELD) {
        story_fail(s, "%s", s->r->why);
    }
    run_end(s->r);
}

int scenario_run(const char *path, const struct run_spec *spec, char ret_why[SCENARIO_WHY_MAX])
{
    struct story *s = calloc(1, sizeof(*s));
    FILE *from = fopen(path, "re");
    int code = VERDICT_HELD;

    CHECK(s != NULL);
    if (from == NULL) {
        (void)snprintf(ret_why, SCENARIO_WHY_MAX, "%s: %s", path, strerror(errno));
        free(s);
        return VERDICT_USAGE;
    }
    tell(s, from, spec);
    (void)fclose(from);
    (void)snprintf(ret_why, SCENARIO_WHY_MAX, "%.80s, line %u: %s", path, s->line,
                   s->failed ? s->why : "the end");
    if (s->failed) {
        code = s->is_usage ? VERDICT_USAGE : VERDICT_WRONG;
    }
    free(s);
    return code;
}

void scenario_help(FILE *to)
{
    (void)fputs("before the first step: nodes N, sync MS, seed S\n"
                "get K, put K V, del K, cas K OLD NEW, incr K D, append K V, scan LOW HIGH\n"
                "    each [via N] [within MS]; scan: up to 100 keys, LOW <= key < HIGH\n"
                "expect OPERATION... ANSWER   a value, a|b: one of them, !NAME: a status\n"
                "start NAME OPERATION...      and expect NAME ANSWER, later\n",
                to);
    story_steps_help(to);
}
