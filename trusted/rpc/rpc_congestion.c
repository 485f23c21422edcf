// SPDX-License-Identifier: Apache-2.0
#include "trusted/rpc/rpc_internal.h"

/*
 * How much of a session may be under way (RPC-25): bytes of requests and of fragments that nobody
 * has acknowledged yet, by an answer or otherwise. The window follows the round-trip time as in
 * Swift (Kumar et al., SIGCOMM 2020): up a little while the time stays below a target, down in
 * proportion to how far it lies above, once per round trip; a loss halves it. The target is the
 * shortest time seen lately plus what we are willing to see queued. As in eRPC (NSDI 2019, §5.2)
 * the common case costs a comparison: who never filled half of his window in a round trip learns
 * nothing about its size.
 */

static const uint64_t BASE_NS = 10 * UINT64_C(1000000000); /* how long a shortest time counts */

void rpc_window_init(const struct rpc *r, struct rpc_session *s)
{
    s->window = RPC_WINDOW_START * r->config.datagram_bytes;
    s->is_slow_start = true;
}

static uint32_t least_window(const struct rpc *r)
{
    return RPC_WINDOW_MIN * r->config.datagram_bytes;
}

/* At most once per round trip: what one burst suffers is one sign of congestion. */
static bool may_cut(const struct rpc *r, const struct rpc_session *s)
{
    return s->cut_ns == 0 || r->now_ns - s->cut_ns >= s->srtt_ns;
}

static void cut(struct rpc *r, struct rpc_session *s, uint32_t to)
{
    s->window = to > least_window(r) ? to : least_window(r);
    s->cut_ns = r->now_ns;
    s->is_slow_start = false;
    r->counters.window_cuts++;
}

void rpc_window_lost(struct rpc *r, struct rpc_session *s)
{
    if (may_cut(r, s)) {
        cut(r, s, s->window / 2);
    }
}

/* The shortest round trip of the last ten to twenty seconds. */
static uint64_t base_rtt(const struct rpc *r, struct rpc_session *s, uint64_t rtt_ns)
{
    if (s->base_ns == 0 || r->now_ns - s->base_at_ns >= BASE_NS) {
        s->old_base_ns = s->base_ns == 0 ? rtt_ns : s->base_ns;
        s->base_ns = rtt_ns;
        s->base_at_ns = r->now_ns;
    }
    s->base_ns = rtt_ns < s->base_ns ? rtt_ns : s->base_ns;
    return s->base_ns < s->old_base_ns ? s->base_ns : s->old_base_ns;
}

static void grow(const struct rpc *r, struct rpc_session *s)
{
    uint32_t step = s->is_slow_start ? s->window : RPC_WINDOW_STEP * r->config.datagram_bytes;

    s->window = s->window < RPC_WINDOW_MAX - step ? s->window + step : RPC_WINDOW_MAX;
}

void rpc_window_sample(struct rpc *r, struct rpc_session *s, uint64_t rtt_ns)
{
    uint64_t target = base_rtt(r, s, rtt_ns) + RPC_QUEUE_NS;
    bool was_limit = s->flight_top >= s->window / 2;

    s->flight_top = s->flight;
    if (rtt_ns <= target) {
        if (was_limit) {
            grow(r, s);
        }
    } else if (may_cut(r, s)) {
        /* window * (1 - 0.8 (rtt - target) / rtt), but no less than half */
        uint64_t keep = s->window - s->window * UINT64_C(4) * (rtt_ns - target) / (5 * rtt_ns);

        cut(r, s, (uint32_t)(keep > s->window / 2 ? keep : s->window / 2));
    }
}
