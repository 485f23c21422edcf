// SPDX-License-Identifier: Apache-2.0
#include "sim/shrink.h"

#include "common/check.h"

#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

struct search {
    struct run_spec best;
    enum verdict wanted;
    unsigned tries;
    char why[200];
};

void run_apart(const struct run_spec *spec, bool twice, struct run_result *ret)
{
    int ends[2], status;
    pid_t child;

    CHECK(pipe2(ends, O_CLOEXEC) == 0);
    (void)fflush(stdout);
    child = fork();
    CHECK(child >= 0);
    if (child == 0) {
        (twice ? run_twice : run_once)(spec, ret);
        (void)fflush(stdout);
        _exit(write(ends[1], ret, sizeof(*ret)) == (ssize_t)sizeof(*ret) ? 0 : 1);
    }
    (void)close(ends[1]);
    if (read(ends[0], ret, sizeof(*ret)) != (ssize_t)sizeof(*ret)) {
        *ret = (struct run_result){.verdict = VERDICT_CHECK, .why = "the process ended"};
    }
    (void)close(ends[0]);
    CHECK(waitpid(child, &status, 0) == child);
}

/* True, and the best so far: it fails alike. */
static bool still_fails(struct search *s, const struct run_spec *spec)
{
    struct run_result result;

    if (s->tries == SHRINK_TRIES_MAX) {
        return false;
    }
    s->tries++;
    run_apart(spec, s->wanted == VERDICT_UNEQUAL, &result);
    if (result.verdict != s->wanted) {
        return false;
    }
    s->best = *spec;
    memcpy(s->why, result.why, sizeof(result.why));
    return true;
}

static bool is_drawn(const struct swarm *drawn, const struct trait *t)
{
    const uint8_t *option = (const uint8_t *)drawn + t->at;

    for (size_t i = 0; i < t->size; i++) {
        if (option[i] != 0) {
            return true;
        }
    }
    return false;
}

static bool drop_traits(struct search *s, const struct swarm *drawn)
{
    bool any = false;

    for (size_t i = 0; i < traits_n; i++) {
        struct run_spec spec = s->best;

        spec.without |= UINT64_C(1) << i;
        any |= is_drawn(drawn, &traits[i]) && still_fails(s, &spec);
    }
    return any;
}

static bool lower(struct search *s, uint32_t *field_of_spec, struct run_spec *spec, uint32_t to)
{
    *field_of_spec = to;
    return still_fails(s, spec);
}

/* The smallest number, from 1 on. */
static bool drop_people(struct search *s, const struct swarm *drawn)
{
    struct run_spec spec = s->best;
    bool any = false;

    for (uint32_t n = 1; n < drawn->clients_n && !any; n++) {
        any = lower(s, &spec.clients_max, &spec, n);
    }
    spec = s->best;
    for (uint32_t n = 1; n < drawn->keys_n; n++) {
        if (lower(s, &spec.keys_max, &spec, n)) {
            return true;
        }
    }
    return any;
}

/* Steps of a half, a quarter, ... of what is there. A shorter run starts like the longer one. */
static bool drop_operations(struct search *s)
{
    uint32_t before = s->best.ops_n;

    for (uint32_t part = 2; part <= 64; part *= 2) {
        for (;;) {
            struct run_spec spec = s->best;
            uint32_t less = spec.ops_n / part > 0 ? spec.ops_n / part : 1;

            if (spec.ops_n <= less || !lower(s, &spec.ops_n, &spec, spec.ops_n - less)) {
                break;
            }
        }
    }
    return s->best.ops_n != before;
}

void shrink(struct run_spec *spec, enum verdict verdict, char ret_why[200])
{
    struct search s = {.best = *spec, .wanted = verdict};
    int loud = dup(STDERR_FILENO), null = open("/dev/null", O_WRONLY | O_CLOEXEC);
    bool smaller;

    CHECK(loud >= 0 && null >= 0 && dup2(null, STDERR_FILENO) >= 0); /* each try may fail a CHECK */
    s.best.verbose = false;
    memcpy(s.why, ret_why, sizeof(s.why));
    do {
        struct swarm drawn;

        swarm_draw(&drawn, &s.best);
        smaller = drop_traits(&s, &drawn);
        smaller |= drop_people(&s, &drawn);
        smaller |= drop_operations(&s);
    } while (smaller && s.tries < SHRINK_TRIES_MAX);
    CHECK(dup2(loud, STDERR_FILENO) >= 0);
    (void)close(loud);
    (void)close(null);
    *spec = s.best;
    memcpy(ret_why, s.why, sizeof(s.why));
}
