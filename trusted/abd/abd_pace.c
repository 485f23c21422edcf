// SPDX-License-Identifier: Apache-2.0
#include "trusted/abd/abd_internal.h"

/*
 * Whom a quorum round asks first, and how long it waits for them before it asks the others
 * (ABD-15). Both come from what peers did before; both are about speed only, never about what is
 * true.
 *
 * The delay follows the tail of the answers without remembering any of them: time is cut into
 * windows as long as the delay itself. A window in which somebody was late makes it longer by a
 * quarter, one in which all answers came in time makes it shorter by 1/256. It comes to rest where
 * a late answer is seen in about one window of sixty: hedged requests (Dean and Barroso, The Tail
 * at Scale, 2013) with the number of hedges as the controlled quantity, so that an overloaded
 * cluster is not asked twice.
 */

static const uint64_t PACE_MIN_NS = UINT64_C(200000);
static const uint64_t PACE_MAX_NS = UINT64_C(20000000);
static const uint64_t PACE_SLACK_NS = UINT64_C(50000); /* differences below it mean nothing */

enum {
    PACE_LONGER = 4,
    PACE_SHORTER = 256,
    PACE_SMOOTH = 32,
    PACE_PROBE = 64, /* rounds; one of so many asks whoever's turn it is */
};

void abd_pace_init(struct abd *a)
{
    a->pace.hedge_ns = a->config.hedge_ns;
}

void abd_pace_forget(struct abd *a)
{
    memset(a->pace.answer_ns, 0, sizeof(a->pace.answer_ns));
}

static void smooth(uint64_t *mean, uint64_t sample)
{
    *mean = *mean == 0 ? sample : *mean - *mean / PACE_SMOOTH + sample / PACE_SMOOTH;
}

static void end_window(struct abd *a)
{
    struct abd_pace *p = &a->pace;

    if (p->hedge_ns == ABD_NEVER || a->now_ns - p->window_at_ns < p->hedge_ns) {
        return;
    }
    if (p->late) {
        p->hedge_ns += p->hedge_ns / PACE_LONGER;
        p->hedge_ns = p->hedge_ns < PACE_MAX_NS ? p->hedge_ns : PACE_MAX_NS;
    } else {
        p->hedge_ns -= p->hedge_ns / PACE_SHORTER;
        p->hedge_ns = p->hedge_ns > PACE_MIN_NS ? p->hedge_ns : PACE_MIN_NS;
    }
    p->window_at_ns = a->now_ns;
    p->late = false;
}

void abd_pace_answered(struct abd *a, const struct abd_op *op, uint8_t peer)
{
    if ((op->first & abd_bit(peer)) != 0) {
        smooth(&a->pace.answer_ns[peer], a->now_ns - op->round_at_ns + 1);
        end_window(a);
    }
}

void abd_pace_late(struct abd *a, const struct abd_op *op)
{
    for (uint8_t peer = 0; peer < a->config.members_n; peer++) {
        if ((op->chosen & ~(unsigned)op->voted & abd_bit(peer)) != 0) {
            smooth(&a->pace.answer_ns[peer], 2 * (a->now_ns - op->round_at_ns));
        }
    }
    a->pace.late = true;
    end_window(a);
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
        if ((up & abd_bit(peer)) != 0 && a->pace.answer_ns[peer] <= 2 * best + PACE_SLACK_NS) {
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
