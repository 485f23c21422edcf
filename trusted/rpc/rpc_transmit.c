// SPDX-License-Identifier: Apache-2.0
#include "trusted/rpc/rpc_internal.h"

/*
 * One datagram for one session: control frames, answers, acknowledgements, requests, fragments, as
 * many as fit (RPC-16). Every second datagram begins with a fragment when one is ready, so that a
 * flood of small messages does not starve the long ones. Pieces of a message are copied once, from
 * where the caller left them to where they are sealed in place.
 */

static size_t room_of(const struct writer *w)
{
    return w->to.n - w->len;
}

static void control(struct rpc *r, struct rpc_session *s, struct writer *w)
{
    if (s->pong_due) {
        struct rpc_frame f = {.kind = RPC_FRAME_PONG, .bits = s->pong_token};

        rpc_frame_encode(w, &f);
        s->pong_due = false;
    }
    if (s->ping_due) {
        struct rpc_frame f = {.kind = RPC_FRAME_PING};

        f.bits = s->ping_token = prng_u64(&r->prng);
        rpc_frame_encode(w, &f);
        s->ping_due = false;
        s->pinged_ns = r->now_ns;
    }
}

static void answer_ack(const struct rpc_answer *a, uint16_t slot, struct writer *w)
{
    struct rpc_frame f = {.kind = RPC_FRAME_FRAG_ACK,
                          .slot = slot,
                          .seq = a->seq,
                          .code = RPC_FRAME_REQ_FRAG,
                          .offset = a->request_total};

    if (a->state == RPC_ANSWER_RECEIVING) {
        rpc_in_ack(a->u.in, &f);
    }
    rpc_frame_encode(w, &f);
}

static void answer_body(const struct rpc_answer *a, uint16_t slot, struct writer *w)
{
    const uint8_t *p = (a->flags & RPC_ANSWER_BLOCK) != 0 ? a->u.block.p : a->u.small;

    put_rpc_message(w, RPC_FRAME_RESPONSE, slot, a->seq, (uint16_t)a->len);
    put_bytes(w, (struct bytes){.p = p, .n = a->len});
}

/* False: something did not fit and stays wanted. */
static bool answer(struct rpc_answer *a, uint16_t slot, struct writer *w)
{
    if ((a->flags & RPC_WANT_ANSWER) != 0) {
        if (RPC_MESSAGE_FRAME_LEN + a->len > room_of(w)) {
            return false;
        }
        answer_body(a, slot, w);
        a->flags &= (uint8_t) ~(RPC_WANT_ANSWER | RPC_WANT_WORKING | RPC_WANT_ACK);
        return true; /* an answer says that the request arrived, too */
    }
    if ((a->flags & RPC_WANT_ACK) != 0) {
        if (RPC_ACK_FRAME_LEN > room_of(w)) {
            return false;
        }
        answer_ack(a, slot, w);
        a->flags &= (uint8_t)~RPC_WANT_ACK;
    }
    if ((a->flags & RPC_WANT_WORKING) != 0) {
        struct rpc_frame f = {.kind = RPC_FRAME_WORKING, .slot = slot, .seq = a->seq};

        if (RPC_WORKING_FRAME_LEN > room_of(w)) {
            return false;
        }
        rpc_frame_encode(w, &f);
        a->flags &= (uint8_t)~RPC_WANT_WORKING;
    }
    return true;
}

static bool answers(struct rpc_session *s, struct writer *w)
{
    while (s->answering.head != RPC_NIL) {
        uint16_t slot = s->answering.head;
        struct rpc_answer *a = answer_at(s, slot);

        if (!answer(a, slot, w)) {
            return false;
        }
        a->flags &= (uint8_t)~RPC_ANSWER_QUEUED;
        s->answering.head = a->next;
        if (a->next == RPC_NIL) {
            s->answering.tail = RPC_NIL;
        }
    }
    return true;
}

/* Acknowledgements of long answers. */
static bool acks(struct rpc_session *s, struct writer *w)
{
    while (s->acks.head != RPC_NIL) {
        uint16_t slot = s->acks.head;
        struct rpc_ask *a = ask_at(s, slot);
        struct rpc_frame f = {.kind = RPC_FRAME_FRAG_ACK, .slot = slot, .code = RPC_FRAME_RSP_FRAG};

        if ((size_t)2 * RPC_ACK_FRAME_LEN > room_of(w)) {
            return false;
        }
        if ((a->flags & RPC_ASK_ACK_DONE) != 0) {
            f.seq = a->ack_seq;
            f.offset = a->ack_total;
            rpc_frame_encode(w, &f);
        }
        if ((a->flags & RPC_ASK_ACK_PART) != 0) {
            f.seq = a->seq;
            rpc_in_ack(a->in, &f);
            rpc_frame_encode(w, &f);
        }
        a->flags &= (uint8_t) ~(RPC_ASK_ACK_DONE | RPC_ASK_ACK_PART | RPC_ASK_ACK_QUEUED);
        s->acks.head = a->ack_next;
        if (a->ack_next == RPC_NIL) {
            s->acks.tail = RPC_NIL;
        }
    }
    return true;
}

static void put_fragment(const struct rpc_session *s, const struct rpc_frame *f, struct writer *w)
{
    size_t n = f->body.n;

    put_rpc_fragment(w, f, (uint16_t)n);
    if (f->kind == RPC_FRAME_REQ_FRAG) {
        rpc_ask_gather(ask_at(s, f->slot), f->offset,
                       (struct mbytes){.p = w->to.p + w->len, .n = n});
        w->len += n;
    } else {
        const struct rpc_answer *a = answer_at(s, f->slot);

        put_bytes(w, (struct bytes){.p = a->u.block.p + f->offset, .n = n});
    }
}

/* RPC-13: a long request that had arrived whole is asked about again by its first fragment. */
static bool probe(const struct rpc *r, const struct rpc_session *s, const struct rpc_ask *a,
                  uint16_t slot, struct writer *w)
{
    struct rpc_frame f = {.kind = RPC_FRAME_REQ_FRAG,
                          .slot = slot,
                          .seq = a->seq,
                          .total = a->total,
                          .body = {.n = r->frag}};

    if (RPC_FRAG_FRAME_LEN + f.body.n > room_of(w)) {
        return false;
    }
    put_fragment(s, &f, w);
    return true;
}

/* Up to MESSAGE_HEAD_MAX bytes: moved as a fixed number where there is room, what is too much is
 * written over by what follows. */
static void put_head(const struct rpc_ask *a, struct writer *w)
{
    if (room_of(w) >= sizeof(a->head)) {
        memcpy(w->to.p + w->len, a->head, sizeof(a->head));
        w->len += a->head_len;
    } else {
        put_bytes(w, (struct bytes){.p = a->head, .n = a->head_len});
    }
}

static bool request(const struct rpc *r, const struct rpc_session *s, const struct rpc_ask *a,
                    uint16_t slot, struct writer *w)
{
    if (a->total > r->small_max) {
        return probe(r, s, a, slot, w);
    }
    if (RPC_MESSAGE_FRAME_LEN + a->total > room_of(w)) {
        return false;
    }
    put_rpc_message(w, RPC_FRAME_REQUEST, slot, a->seq, (uint16_t)a->total);
    put_head(a, w);
    put_bytes(w, a->key);
    put_bytes(w, a->value);
    return true;
}

static bool requests(struct rpc *r, struct rpc_session *s, struct writer *w)
{
    while (s->tosend.head != RPC_NIL) {
        uint16_t slot = s->tosend.head;
        struct rpc_ask *a = ask_at(s, slot);
        uint32_t bytes = rpc_ask_bytes(r, a);

        if ((s->flight != 0 && s->flight + bytes > s->window) || !request(r, s, a, slot, w)) {
            return false;
        }
        rpc_flight_add(s, bytes);
        rpc_ask_pop(s, &s->tosend, a);
        a->state = RPC_ASK_WAITING;
        a->sent_ns = r->now_ns;
        if (a->tries < UINT8_MAX) {
            a->tries++;
        }
        rpc_ask_enqueue(s, &s->waiting, slot);
    }
    return true;
}

static bool fragment(struct rpc *r, struct rpc_session *s, struct writer *w)
{
    struct rpc_frame f;
    struct rpc_out *o;

    if (!rpc_out_next(r, s, room_of(w), &o, &f)) {
        return false;
    }
    put_fragment(s, &f, w);
    return true;
}

static void fill(struct rpc *r, struct rpc_session *s, struct writer *w)
{
    if (s->pong_due || s->ping_due) {
        control(r, s, w);
    }
    s->turn = !s->turn;
    if (s->turn && fragment(r, s, w)) {
        return; /* it takes a whole datagram, the last one apart */
    }
    if (answers(s, w) && acks(s, w) && requests(r, s, w)) {
        while (fragment(r, s, w)) {
        }
    }
    CHECK(!w->failed);
}

bool rpc_transmit(struct rpc *r, uint64_t now_ns, struct mbytes to, struct abi_addr *ret_addr,
                  size_t *ret_len)
{
    CHECK(to.n >= r->config.datagram_bytes);
    r->now_ns = now_ns;
    if (!link_empty(&r->closing) && rpc_session_farewell(r, to, ret_addr, ret_len)) {
        return true;
    }
    while (!link_empty(&r->dirty)) {
        struct rpc_session *s = LINK_OWNER(r->dirty.next, struct rpc_session, dirty);
        struct writer w = {.to = {.p = to.p + RPC_HEADER_LEN, .n = r->body_max}};

        link_take(&s->dirty);
        if (s->addr.family == 0) {
            continue; /* RPC-11: dirty again once the peer was heard */
        }
        fill(r, s, &w);
        if (w.len != 0 && rpc_packet_seal(r, s, to.p, w.len)) {
            link_put(&r->dirty, &s->dirty); /* another turn, after the others */
            *ret_addr = s->addr;
            *ret_len = RPC_HEADER_LEN + w.len + AEAD_TAG_LEN;
            return true;
        }
    }
    return false;
}
