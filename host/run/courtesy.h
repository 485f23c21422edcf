// SPDX-License-Identifier: Apache-2.0
#ifndef HOST_RUN_COURTESY_H
#define HOST_RUN_COURTESY_H

/*
 * Looking for work and giving the core away at each turn: the cheapest way to hand it over, as long
 * as those who get it give it back soon. Somebody who computes takes it for milliseconds, and
 * sleeping is better then: who wakes from a sleep is let in. So it is tried, and given up for a
 * while, longer each time, when a turn took long.
 */

#include "host/run/clock.h"
#include "host/run/trial.h"

#include <sched.h>
#include <stdbool.h>
#include <sys/epoll.h>

enum {
    /* Giving the core away at each turn costs others nothing, and who sends next is not slowed down
     * by waking us; an answer comes tens of microseconds earlier. */
    COURTESY_LOOK_NS = 100000,
    COURTESY_GAP_MAX_NS = 1000000,
    COURTESY_LONG_NS = 500000,
    COURTESY_PAUSE_NS = 50000000,
    COURTESY_PAUSE_MAX_NS = 1600000000,
};

struct courtesy {
    struct trial trial;
    uint64_t gap_ns; /* smoothed time between having nothing to do and the next thing to do */
};

static inline bool courtesy_pays(const struct courtesy *c, uint64_t now_ns)
{
    return trial_may(&c->trial, now_ns);
}

/* A wait has ended; say COURTESY_GAP_MAX_NS at the start. */
static inline void courtesy_waited(struct courtesy *c, uint64_t ns)
{
    c->gap_ns = (7 * c->gap_ns + (ns < COURTESY_GAP_MAX_NS ? ns : COURTESY_GAP_MAX_NS)) / 8;
}

/* How long to look before a sleep: not at all where nothing has come that soon of late, and where
 * turns are long. */
static inline uint64_t courtesy_patience(const struct courtesy *c, uint64_t now_ns)
{
    return courtesy_pays(c, now_ns) && c->gap_ns < COURTESY_LOOK_NS ? COURTESY_LOOK_NS : 0;
}

/* Gives the core away once. */
static inline void courtesy_yield(struct courtesy *c)
{
    uint64_t began = clock_now_ns(), now;

    (void)sched_yield();
    now = clock_now_ns();
    if (now - began > COURTESY_LONG_NS) {
        trial_failed(&c->trial, now, COURTESY_PAUSE_NS, COURTESY_PAUSE_MAX_NS);
    } else {
        trial_well(&c->trial, now);
    }
}

/* Looks for events, giving the core away at each turn, for as long as that pays and at most for
 * `left_ns`. As epoll_wait. */
static inline int courtesy_look(struct courtesy *c, int epoll, struct epoll_event *events, int most,
                                uint64_t left_ns)
{
    uint64_t began = clock_now_ns(), patience = courtesy_patience(c, began);
    int n = 0;

    patience = patience < left_ns ? patience : left_ns;
    while (n == 0 && clock_now_ns() - began < patience) {
        courtesy_yield(c);
        n = epoll_wait(epoll, events, most, 0);
    }
    return n;
}

#endif
