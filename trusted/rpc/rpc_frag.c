// SPDX-License-Identifier: Apache-2.0
#include "trusted/rpc/rpc_internal.h"

/* ---- in: reassembly (RPC-20, RPC-21) ---- */

struct rpc_in *rpc_in_open(struct rpc *r, uint32_t total)
{
    struct rpc_in *in = heap_zalloc(r->heap, sizeof(*in));
    uint8_t *block = heap_alloc(r->heap, total);

    if (in == NULL || block == NULL) {
        heap_free(r->heap, in, sizeof(*in));
        heap_free(r->heap, block, total);
        r->counters.no_memory++;
        return NULL;
    }
    in->block = block;
    in->total = total;
    return in;
}

void rpc_in_close(struct rpc *r, struct rpc_in *in)
{
    heap_free(r->heap, in->block, in->total);
    heap_free(r->heap, in, sizeof(*in));
}

struct bytes rpc_in_detach(struct rpc *r, struct rpc_in *in)
{
    struct bytes body = {.p = in->block, .n = in->total};

    r->body_block = in->block;
    r->body_block_n = in->total;
    heap_free(r->heap, in, sizeof(*in));
    return body;
}

/* Fragments of the message, once the size of one is known. */
static uint32_t in_count(const struct rpc_in *in)
{
    return (in->total - 1) / in->frag + 1;
}

/* RPC-21: the first fragment that is not the last fixes the size of all but the last. */
static bool learn_size(struct rpc_in *in, const struct rpc_frame *f)
{
    uint32_t len = (uint32_t)f->body.n;

    if (f->offset % len != 0) {
        return false;
    }
    if (in->tail != 0 && (in->tail > len || (in->total - in->tail) % len != 0)) {
        return false;
    }
    in->frag = len;
    if (in->tail != 0 && in_count(in) - 1 < RPC_FRAGS_AHEAD) {
        in->got |= UINT64_C(1) << (in_count(in) - 1);
    }
    return true;
}

/* The last fragment before all others: kept, its number is not known yet. */
static enum rpc_in_verdict take_tail(struct rpc_in *in, const struct rpc_frame *f)
{
    if (in->tail != 0) {
        return in->tail == f->body.n ? RPC_IN_SEEN : RPC_IN_REFUSED;
    }
    memcpy(in->block + f->offset, f->body.p, f->body.n);
    in->tail = (uint32_t)f->body.n;
    return f->offset == 0 ? RPC_IN_COMPLETE : RPC_IN_TAKEN;
}

enum rpc_in_verdict rpc_in_take(struct rpc_in *in, const struct rpc_frame *f)
{
    uint32_t len = (uint32_t)f->body.n;
    bool last = f->offset + len == in->total;
    uint32_t i;

    if (f->total != in->total) {
        return RPC_IN_REFUSED;
    }
    if (in->frag == 0) {
        if (last) {
            return take_tail(in, f);
        }
        if (!learn_size(in, f)) {
            return RPC_IN_REFUSED;
        }
    }
    if (f->offset % in->frag != 0 || len > in->frag || (!last && len != in->frag)) {
        return RPC_IN_REFUSED;
    }
    i = f->offset / in->frag;
    if (i < in->base || (i - in->base < RPC_FRAGS_AHEAD && (in->got >> (i - in->base) & 1) != 0)) {
        return RPC_IN_SEEN;
    }
    if (i - in->base >= RPC_FRAGS_AHEAD) {
        return RPC_IN_REFUSED;
    }
    memcpy(in->block + f->offset, f->body.p, len);
    in->got |= UINT64_C(1) << (i - in->base);
    while ((in->got & 1) != 0) {
        in->got >>= 1;
        in->base++;
    }
    return in->base == in_count(in) ? RPC_IN_COMPLETE : RPC_IN_TAKEN;
}

void rpc_in_ack(const struct rpc_in *in, struct rpc_frame *ack)
{
    ack->offset = in->base * in->frag; /* base < count: below total */
    ack->bits = in->got >> 1;
}

/* ---- out: window, loss, retransmission (RPC-22, RPC-23) ---- */

static uint64_t low_bits(uint32_t n)
{
    return n >= 64 ? UINT64_MAX : (UINT64_C(1) << n) - 1;
}

static uint32_t in_flight(const struct rpc_out *o)
{
    uint64_t sent = low_bits(o->next - o->base);

    return (uint32_t)__builtin_popcountll(sent & ~o->acked & ~o->resend);
}

static bool can_send(const struct rpc_out *o)
{
    return o->resend != 0 || (o->next < o->count && o->next - o->base < RPC_FRAGS_AHEAD);
}

/* RPC-19, RPC-23: no order but this: a message that has begun goes on before one that has not: few
 * are in reassembly at a time. */
static void place(struct rpc_session *s, struct rpc_out *o)
{
    if (!can_send(o)) {
        link_take(&o->ready);
    } else if (link_empty(&o->ready)) {
        link_put(o->next == 0 ? &s->ready : s->ready.next, &o->ready);
    }
}

struct rpc_out *rpc_out_open(struct rpc *r, enum rpc_frame_kind kind, uint16_t slot, uint32_t seq)
{
    struct rpc_out *o = heap_zalloc(r->heap, sizeof(*o));

    if (o == NULL) {
        r->counters.no_memory++;
        return NULL;
    }
    link_init(&o->timer);
    link_init(&o->ready);
    o->kind = (uint8_t)kind;
    o->slot = slot;
    o->seq = seq;
    return o;
}

void rpc_out_start(struct rpc *r, struct rpc_session *s, struct rpc_out *o, uint32_t total)
{
    CHECK(total > r->frag);
    o->total = total;
    o->frag = r->frag;
    o->count = (total - 1) / r->frag + 1;
    o->active_ns = r->now_ns;
    place(s, o);
}

void rpc_out_close(struct rpc *r, struct rpc_session *s, struct rpc_out *o)
{
    rpc_flight_sub(s, in_flight(o) * o->frag);
    link_take(&o->timer);
    link_take(&o->ready);
    heap_free(r->heap, o, sizeof(*o));
}

static void touch(struct rpc *r, struct rpc_session *s, struct rpc_out *o)
{
    o->active_ns = r->now_ns;
    link_take(&o->timer);
    link_put(&s->timers, &o->timer);
}

/* Fragments with RPC_FRAG_REORDER later ones arrived are taken for lost, once per round. */
static void find_losses(struct rpc *r, struct rpc_session *s, struct rpc_out *o)
{
    uint32_t top;
    uint64_t lost;

    if (o->acked >> RPC_FRAG_REORDER == 0) {
        return;
    }
    top = 63 - (uint32_t)__builtin_clzll(o->acked);
    lost = low_bits(top - RPC_FRAG_REORDER + 1) & ~o->acked & ~o->resend & ~o->again;
    if (lost != 0) {
        o->resend |= lost;
        o->again |= lost;
        o->timed_ns = 0;
        r->counters.retransmits += (uint64_t)__builtin_popcountll(lost);
        s->retransmits += (uint64_t)__builtin_popcountll(lost);
        rpc_window_lost(r, s);
    }
}

static void slide(struct rpc_out *o, uint32_t n)
{
    o->base += n;
    o->acked = n >= 64 ? 0 : o->acked >> n;
    o->resend = n >= 64 ? 0 : o->resend >> n;
    o->again = n >= 64 ? 0 : o->again >> n;
}

/* RTT from one fragment at a time, sent once (Karn). */
static void sample(struct rpc *r, struct rpc_session *s, struct rpc_out *o)
{
    uint32_t i = o->timed - o->base;

    if (o->timed_ns != 0 && (o->timed < o->base || (o->acked >> i & 1) != 0)) {
        rpc_session_sample(r, s, r->now_ns - o->timed_ns);
        o->timed_ns = 0;
    }
}

bool rpc_out_acked(struct rpc *r, struct rpc_session *s, struct rpc_out *o,
                   const struct rpc_frame *ack)
{
    uint32_t base = ack->offset / o->frag;
    uint32_t before = in_flight(o);
    uint32_t after;

    if (ack->offset == o->total) {
        return true; /* or needed no more: the asker may have cancelled */
    }
    if (base > o->next || ack->offset % o->frag != 0) {
        r->counters.frames_refused++; /* of what was never sent */
        return false;
    }
    if (base < o->base) {
        r->counters.frames_stale++;
        return false;
    }
    slide(o, base - o->base);
    o->acked |= (ack->bits << 1) & low_bits(o->next - o->base);
    o->resend &= ~o->acked;
    sample(r, s, o);
    find_losses(r, s, o);
    after = in_flight(o);
    CHECK(after <= before);
    rpc_flight_sub(s, (before - after) * o->frag);
    if (after < before) {
        touch(r, s, o);
    }
    place(s, o);
    rpc_session_dirty(r, s);
    return false;
}

/* Nothing was heard of this message for a retransmission time: what is in flight counts as lost. */
void rpc_out_expire(struct rpc *r, struct rpc_session *s, struct rpc_out *o)
{
    uint32_t lost = in_flight(o);

    if (lost != 0) {
        o->resend = low_bits(o->next - o->base) & ~o->acked;
        o->timed_ns = 0;
        rpc_flight_sub(s, lost * o->frag);
        r->counters.retransmits += lost;
        s->retransmits += lost;
        rpc_session_back_off(r, s);
    }
    o->again = 0;
    touch(r, s, o);
    place(s, o);
    rpc_session_dirty(r, s);
}

static uint32_t fragment_len(const struct rpc_out *o, uint32_t i)
{
    return i + 1 < o->count ? o->frag : o->total - i * o->frag;
}

bool rpc_out_next(struct rpc *r, struct rpc_session *s, size_t room, struct rpc_out **ret,
                  struct rpc_frame *ret_frame)
{
    struct rpc_out *o;
    uint32_t i;

    if (link_empty(&s->ready) || (s->flight != 0 && s->flight + r->frag > s->window)) {
        return false;
    }
    o = LINK_OWNER(s->ready.next, struct rpc_out, ready);
    i = o->resend != 0 ? o->base + (uint32_t)__builtin_ctzll(o->resend) : o->next;
    if (RPC_FRAG_FRAME_LEN + fragment_len(o, i) > room) {
        return false;
    }
    if (o->resend != 0) {
        o->resend &= o->resend - 1;
    } else {
        o->next++;
        if (o->timed_ns == 0) {
            o->timed_ns = r->now_ns;
            o->timed = i;
        }
    }
    rpc_flight_add(s, o->frag);
    touch(r, s, o);
    place(s, o);
    *ret = o;
    *ret_frame = (struct rpc_frame){.kind = (enum rpc_frame_kind)o->kind,
                                    .slot = o->slot,
                                    .seq = o->seq,
                                    .total = o->total,
                                    .offset = i * o->frag,
                                    .body = {.n = fragment_len(o, i)}};
    return true;
}
