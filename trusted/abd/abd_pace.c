// SPDX-License-Identifier: Apache-2.0
#include "trusted/abd/abd_internal.h"

/*
 * Whom a quorum round asks first, and how long it waits for them before it asks the others
 * (ABD-15). Both come from what peers did before; both are about speed only, never about what is
 * true.
 */

enum {
    PACE_PROBE = 64, /* rounds; one of so many asks whoever's turn it is */
};

void abd_pace_init(struct abd *a)
{
    a->pace.hedge.delay_ns = a->config.hedge_ns;
}

void abd_pace_forget(struct abd *a)
{
    memset(a->pace.answer_ns, 0, sizeof(a->pace.answer_ns));
}

void abd_pace_answered(struct abd *a, const struct abd_op *op, uint8_t peer)
{
    if ((op->first & abd_bit(peer)) != 0) {
        hedge_smooth(&a->pace.answer_ns[peer], a->now_ns - op->round_at_ns + 1);
        hedge_window(&a->pace.hedge, a->now_ns);
    }
}

void abd_pace_late(struct abd *a, const struct abd_op *op)
{
    for (uint8_t peer = 0; peer < a->config.members_n; peer++) {
        if ((op->chosen & ~(unsigned)op->voted & abd_bit(peer)) != 0) {
            hedge_smooth(&a->pace.answer_ns[peer], 2 * (a->now_ns - op->round_at_ns));
        }
    }
    a->pace.hedge.late = true;
    hedge_window(&a->pace.hedge, a->now_ns);
}

/* Voters that are up and not much slower than the fastest. */
static uint8_t swift(const struct abd *a)
{
    uint64_t best = ABD_NEVER;
    uint8_t up = (uint8_t)(a->up & a->voters);
    uint8_t set = 0;

    for (uint8_t peer = 0; peer < a->config.members_n; peer++) {
        if ((up & abd_bit(peer)) != 0 && a->pace.answer_ns[peer] < best) {
            best = a->pace.answer_ns[peer];
        }
    }
    for (uint8_t peer = 0; peer < a->config.members_n; peer++) {
        if ((up & abd_bit(peer)) != 0 && hedge_is_swift(a->pace.answer_ns[peer], best)) {
            set |= abd_bit(peer);
        }
    }
    return set;
}

uint8_t abd_pace_preferred(struct abd *a)
{
    a->pace.rounds++;
    return a->pace.rounds % PACE_PROBE == 0 ? (uint8_t)(a->up & a->voters) : swift(a);
}
