// SPDX-License-Identifier: Apache-2.0
#ifndef TOOLS_BENCH_PACE_H
#define TOOLS_BENCH_PACE_H

/*
 * When operations should begin that come from outside: a Poisson process, as of many users who do
 * not know of each other. Arrivals do not wait for the cluster. Whoever takes one late counts its
 * latency from when it was due ("coordinated omission" is the name of not doing so; G. Tene, 2013).
 */

#include "common/prng.h"

#include <stdbool.h>
#include <stdint.h>

struct pace {
    struct prng prng;
    double mean_ns; /* between two arrivals */
    double next_ns; /* the next one; double: a billion arrivals do not drift */
};

/* per_s > 0: arrivals a second from now_ns on. */
void pace_init(struct pace *p, double per_s, uint64_t seed, uint64_t now_ns);
/* Is an arrival due? Then *ret_due_ns is when it was, and the next one is drawn. */
bool pace_take(struct pace *p, uint64_t now_ns, uint64_t *ret_due_ns);
/* When the next one is due. */
uint64_t pace_next_ns(const struct pace *p);
/* How long to sleep for the next arrival, at most max_ns. One that is due already is not slept over
 * if it has room; else it waits for an operation to end, not for the clock. */
uint64_t pace_sleep_ns(const struct pace *p, uint64_t now_ns, bool has_room, uint64_t max_ns);
/* About how many arrivals were due by now and not taken. */
uint64_t pace_behind(const struct pace *p, uint64_t now_ns);

#endif
