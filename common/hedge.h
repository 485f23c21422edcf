// SPDX-License-Identifier: Apache-2.0
#ifndef COMMON_HEDGE_H
#define COMMON_HEDGE_H

/*
 * How long to wait for those who were asked before others are asked as well. About speed only,
 * never about what is true.
 *
 * The delay follows the tail of the answers without remembering any of them: time is cut into
 * windows as long as the delay itself. A window in which somebody was late makes it longer by a
 * quarter, one in which all answers came in time makes it shorter by 1/256. It comes to rest where
 * a late answer is seen in about one window of sixty: hedged requests (Dean and Barroso, The Tail
 * at Scale, 2013) with the number of hedges as the controlled quantity, so that an overloaded
 * cluster is not asked twice.
 */

#include <stdbool.h>
#include <stdint.h>

static const uint64_t HEDGE_NEVER = UINT64_MAX;
static const uint64_t HEDGE_MIN_NS = UINT64_C(200000);
static const uint64_t HEDGE_MAX_NS = UINT64_C(20000000);
/* Differences between who is asked that are below it mean nothing. */
static const uint64_t HEDGE_SLACK_NS = UINT64_C(50000);

struct hedge {
    uint64_t delay_ns; /* HEDGE_NEVER: others are not asked, and nothing changes that */
    uint64_t window_at_ns;
    bool late; /* somebody was, in this window */
};

/* After each answer, and after `late` was set. */
static inline void hedge_window(struct hedge *h, uint64_t now_ns)
{
    enum { LONGER = 4, SHORTER = 256 };

    if (h->delay_ns == HEDGE_NEVER || now_ns - h->window_at_ns < h->delay_ns) {
        return;
    }
    if (h->late) {
        h->delay_ns += h->delay_ns / LONGER;
        h->delay_ns = h->delay_ns < HEDGE_MAX_NS ? h->delay_ns : HEDGE_MAX_NS;
    } else {
        h->delay_ns -= h->delay_ns / SHORTER;
        h->delay_ns = h->delay_ns > HEDGE_MIN_NS ? h->delay_ns : HEDGE_MIN_NS;
    }
    h->window_at_ns = now_ns;
    h->late = false;
}

/* From question to answer, smoothed; 0: unknown. */
static inline void hedge_smooth(uint64_t *mean, uint64_t sample)
{
    enum { SMOOTH = 32 };

    *mean = *mean == 0 ? sample : *mean - *mean / SMOOTH + sample / SMOOTH;
}

/* Whether who answers after `mean` is not much slower than the fastest. */
static inline bool hedge_is_swift(uint64_t mean, uint64_t best)
{
    return mean <= 2 * best + HEDGE_SLACK_NS;
}

#endif
