// SPDX-License-Identifier: Apache-2.0
#include "trusted/rpc/rpc_internal.h"

/*
 * Retransmission (RPC-15) and dead peers (RPC-17). The time-out belongs to the session, not to the
 * slot: slots wait in the order in which they were sent, so the oldest is the first to expire and
 * nobody looks at the others.
 */

uint64_t rpc_session_rto(const struct rpc_session *s)
{
    uint64_t rto = s->rto_ns << (s->backoff < 8 ? s->backoff : 8);

    return rto < RPC_RTO_MAX_NS ? rto : RPC_RTO_MAX_NS;
}

static void record(struct rpc *r, struct rpc_session *s, uint64_t rtt_ns)
{
    uint64_t us = rtt_ns / 1000;
    uint32_t bucket = us == 0 ? 0 : 63 - (uint32_t)__builtin_clzll(us);

    bucket = bucket < RPC_RTT_BUCKETS ? bucket : RPC_RTT_BUCKETS - 1;
    s->rtt[bucket]++;
    r->counters.rtt[bucket]++;
}

/* RFC 6298 §2 with a floor for local networks. One sample per round trip: the hundred answers of
 * one datagram took the same way, and would teach the variance that nothing ever varies. */
void rpc_session_sample(struct rpc *r, struct rpc_session *s, uint64_t rtt_ns)
{
    if (s->fastest_ns == 0 || rtt_ns < s->fastest_ns) {
        s->fastest_ns = rtt_ns + 1;
    }
    if (s->srtt_ns != 0 && s->backoff == 0 && r->now_ns - s->sampled_ns < s->srtt_ns) {
        return;
    }
    s->sampled_ns = r->now_ns;
    record(r, s, rtt_ns);
    if (rtt_ns > RPC_DEAD_NS) {
        rtt_ns = RPC_DEAD_NS; /* the clock is the host's: no sample may make us wait for ever */
    }
    if (s->srtt_ns == 0) {
        s->srtt_ns = rtt_ns;
        s->rttvar_ns = rtt_ns / 2;
    } else {
        uint64_t off = s->srtt_ns > rtt_ns ? s->srtt_ns - rtt_ns : rtt_ns - s->srtt_ns;

        s->rttvar_ns = (3 * s->rttvar_ns + off) / 4;
        s->srtt_ns = (7 * s->srtt_ns + rtt_ns) / 8;
    }
    s->rto_ns =
        s->srtt_ns + (4 * s->rttvar_ns > RPC_RTO_MIN_NS ? 4 * s->rttvar_ns : RPC_RTO_MIN_NS);
    s->backoff = 0;
    /* The fastest answer tells of the way; others waited for what they asked. */
    rpc_window_sample(r, s, s->fastest_ns);
    s->fastest_ns = 0;
}

/* Once per time-out, however many slots share it. */
void rpc_session_back_off(struct rpc *r, struct rpc_session *s)
{
    uint64_t rto = rpc_session_rto(s);

    s->jitter_ns = prng_below(&r->prng, rto / 8 + 1);
    if (r->now_ns - s->backed_off_ns >= rto) {
        s->backed_off_ns = r->now_ns;
        rpc_window_lost(r, s);
        if (rto < RPC_RTO_MAX_NS) {
            s->backoff++;
        }
    }
}

void rpc_session_heard(struct rpc *r, struct rpc_session *s)
{
    s->heard_ns = r->now_ns;
    if (s->down) {
        s->down = false;
        s->backoff = 0;
        r->counters.sessions_down--;
        rpc_session_notice(r, s, RPC_NOTICE_UP);
        if (s->busy == 0) {
            link_take(&s->active);
        }
    }
    if (s->tosend.head != RPC_NIL || !link_empty(&s->ready)) {
        rpc_session_dirty(r, s); /* what waited for the address */
    }
}

static uint64_t silent_since(const struct rpc_session *s)
{
    return s->heard_ns > s->asked_ns ? s->heard_ns : s->asked_ns;
}

static uint64_t ping_at(const struct rpc_session *s)
{
    uint64_t since = silent_since(s);

    return (since > s->pinged_ns ? since : s->pinged_ns) + RPC_PING_NS;
}

static void tick_peer(struct rpc *r, struct rpc_session *s)
{
    if (r->now_ns >= ping_at(s)) {
        s->ping_due = true;
        s->pinged_ns = r->now_ns;
        rpc_session_dirty(r, s);
    }
    if (!s->down && r->now_ns >= silent_since(s) + RPC_DEAD_NS) {
        s->down = true;
        if (s->home.family != 0) {
            s->addr = s->home; /* RPC-11: a forged source address does not outlast the forger */
        }
        r->counters.sessions_down++;
        rpc_session_notice(r, s, RPC_NOTICE_DOWN);
    }
}

static void tick_requests(struct rpc *r, struct rpc_session *s, uint64_t patience)
{
    while (s->waiting.head != RPC_NIL) {
        uint16_t slot = s->waiting.head;
        const struct rpc_ask *a = ask_at(s, slot);

        if (r->now_ns < a->sent_ns + patience) {
            return;
        }
        if ((a->flags & RPC_ASK_WORKING) == 0) {
            rpc_session_back_off(r, s);
        }
        rpc_ask_send_again(r, s, slot);
    }
}

static void tick_fragments(struct rpc *r, struct rpc_session *s, uint64_t patience)
{
    while (!link_empty(&s->timers)) {
        struct rpc_out *o = LINK_OWNER(s->timers.next, struct rpc_out, timer);

        if (r->now_ns < o->active_ns + patience) {
            return;
        }
        rpc_out_expire(r, s, o);
    }
}

void rpc_tick(struct rpc *r, uint64_t now_ns)
{
    r->now_ns = now_ns;
    for (struct rpc_link *l = r->active.next; l != &r->active; l = l->next) {
        struct rpc_session *s = LINK_OWNER(l, struct rpc_session, active);
        uint64_t patience = rpc_session_rto(s) + s->jitter_ns;

        tick_requests(r, s, patience);
        tick_fragments(r, s, patience);
        tick_peer(r, s);
    }
}

static uint64_t least(uint64_t a, uint64_t b)
{
    return a < b ? a : b;
}

static uint64_t session_deadline(const struct rpc_session *s)
{
    uint64_t patience = rpc_session_rto(s) + s->jitter_ns;
    uint64_t at = ping_at(s);

    if (!s->down) {
        at = least(at, silent_since(s) + RPC_DEAD_NS);
    }
    if (s->waiting.head != RPC_NIL) {
        at = least(at, ask_at(s, s->waiting.head)->sent_ns + patience);
    }
    if (!link_empty(&s->timers)) {
        at = least(at, LINK_OWNER(s->timers.next, struct rpc_out, timer)->active_ns + patience);
    }
    return at;
}

uint64_t rpc_deadline(const struct rpc *r)
{
    uint64_t at = UINT64_MAX;

    for (struct rpc_link *l = r->active.next; l != &r->active; l = l->next) {
        at = least(at, session_deadline(LINK_OWNER(l, struct rpc_session, active)));
    }
    return at;
}
