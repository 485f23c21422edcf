// SPDX-License-Identifier: Apache-2.0
#include "trusted/rpc/rpc_internal.h"

/*
 * The asking end (RPC-12, RPC-13). A slot's record:
 *
 *     FREE --rpc_call, fits a datagram--> QUEUED --sent--> WAITING --answer--> FREE
 *       |                                   ^                 |
 *       |                                   +---- too late ---+
 *       +--rpc_call, long--> SENDING --all fragments acknowledged--> WAITING
 *
 * rpc_cancel leads from anywhere to FREE. The next call in the slot carries the next seq.
 */

static RESULT grow(struct rpc *r, struct rpc_session *s)
{
    uint32_t first = s->asks_n;
    uint32_t n = s->slots - first < RPC_CHUNK_SLOTS ? s->slots - first : RPC_CHUNK_SLOTS;
    struct rpc_ask *chunk;

    if (n == 0) {
        return ERR_FULL;
    }
    chunk = heap_zalloc(r->heap, RPC_CHUNK_SLOTS * sizeof(*chunk));
    if (chunk == NULL) {
        r->counters.no_memory++;
        return ERR_ENCLAVE_MEMORY;
    }
    s->asks[first / RPC_CHUNK_SLOTS] = chunk;
    s->asks_n += n;
    for (uint32_t slot = first + n; slot-- > first;) {
        ask_at(s, slot)->next = s->free;
        s->free = (uint16_t)slot;
    }
    return OK;
}

RESULT rpc_call(struct rpc *r, uint64_t now_ns, uint32_t session, const struct rpc_question *q,
                struct rpc_call *ret)
{
    struct rpc_session *s = rpc_session_find(r, session);
    struct rpc_out *out = NULL;
    struct rpc_ask *a;
    uint16_t *from;
    size_t total;
    uint16_t slot;

    CHECK(q->head_len <= sizeof(q->head));
    r->now_ns = now_ns;
    if (s == NULL || s->ended) {
        return ERR_CLOSED;
    }
    total = q->head_len + q->key.n + q->value.n;
    if (q->key.n > r->config.message_max || q->value.n > r->config.message_max ||
        total > r->config.message_max) {
        return ERR_TOO_BIG;
    }
    if (s->free == RPC_NIL && s->abandoned == RPC_NIL) {
        TRY(grow(r, s));
    }
    from = s->abandoned != RPC_NIL ? &s->abandoned : &s->free;
    slot = *from;
    a = ask_at(s, slot);
    if (total > r->small_max) {
        out = rpc_out_open(r, RPC_FRAME_REQ_FRAG, slot, a->seq + 1);
        if (out == NULL) {
            return ERR_ENCLAVE_MEMORY;
        }
    }
    *from = a->next;
    a->cookie = q->cookie;
    a->seq++;
    a->total = (uint32_t)total;
    a->tries = 0;
    a->flags &= RPC_ASK_ACK_QUEUED;
    a->key = q->key;
    a->value = q->value;
    a->head_len = q->head_len;
    memcpy(a->head, q->head, sizeof(a->head)); /* whole: a fixed size is a few moves */
    a->out = out;
    rpc_session_busy(r, s);
    if (out != NULL) {
        a->state = RPC_ASK_SENDING;
        rpc_out_start(r, s, out, a->total);
    } else {
        a->state = RPC_ASK_QUEUED;
        rpc_ask_enqueue(s, &s->tosend, slot);
    }
    rpc_session_dirty(r, s);
    r->counters.requests_out++;
    *ret = (struct rpc_call){.session = session, .seq = a->seq, .slot = slot};
    return OK;
}

void rpc_ask_gather(const struct rpc_ask *a, uint32_t offset, struct mbytes to)
{
    const struct bytes parts[3] = {{.p = a->head, .n = a->head_len}, a->key, a->value};
    struct writer w = {.to = to};
    size_t skip = offset;

    for (int i = 0; i < 3 && w.len < to.n; i++) {
        if (skip >= parts[i].n) {
            skip -= parts[i].n;
        } else {
            size_t n = parts[i].n - skip;
            size_t room = to.n - w.len;

            put_bytes(&w, (struct bytes){.p = parts[i].p + skip, .n = n < room ? n : room});
            skip = 0;
        }
    }
    CHECK(w.len == to.n && !w.failed);
}

void rpc_ask_release(struct rpc *r, struct rpc_session *s, struct rpc_ask *a)
{
    if (a->out != NULL) {
        rpc_out_close(r, s, a->out);
        a->out = NULL;
    }
    if (a->in != NULL) {
        rpc_in_close(r, a->in);
        a->in = NULL;
    }
}

static void leave_queue(const struct rpc *r, struct rpc_session *s, struct rpc_ask *a,
                        uint16_t slot)
{
    if (a->state == RPC_ASK_WAITING) {
        rpc_flight_sub(s, rpc_ask_bytes(r, a));
        rpc_ask_dequeue(s, &s->waiting, slot);
    } else if (a->state == RPC_ASK_QUEUED) {
        rpc_ask_dequeue(s, &s->tosend, slot);
    }
}

/*
 * RPC-24: a long request that was given up half-way holds memory at the answering end until its
 * slot carries a newer seq, so that slot is the first to be used again.
 */
static void finish(struct rpc *r, struct rpc_session *s, struct rpc_ask *a, uint16_t slot)
{
    uint16_t *to = a->state == RPC_ASK_SENDING && a->out->next > 0 ? &s->abandoned : &s->free;

    leave_queue(r, s, a, slot);
    if (a->out != NULL || a->in != NULL) {
        rpc_ask_release(r, s, a);
    }
    a->flags &= (uint8_t)~RPC_ASK_ACK_PART;
    a->state = RPC_ASK_FREE;
    a->next = *to;
    *to = slot;
    rpc_session_idle(s);
}

/* A call of a session that was closed meanwhile, whose FAILED event was not taken yet. */
static void cancel_closed(struct rpc *r, const struct rpc_call *call)
{
    for (struct rpc_link *l = r->closing.next; l != &r->closing; l = l->next) {
        struct rpc_session *s = LINK_OWNER(l, struct rpc_session, notice);

        if (s->index == call->session && call->slot < s->asks_n) {
            struct rpc_ask *a = ask_at(s, call->slot);

            if (a->state != RPC_ASK_FREE && a->seq == call->seq) {
                a->state = RPC_ASK_FREE;
                s->busy--;
                return;
            }
        }
    }
}

void rpc_cancel(struct rpc *r, const struct rpc_call *call)
{
    struct rpc_session *s = rpc_session_find(r, call->session);

    if (s == NULL) {
        cancel_closed(r, call);
    } else if (call->slot < s->asks_n) {
        struct rpc_ask *a = ask_at(s, call->slot);

        if (a->state != RPC_ASK_FREE && a->seq == call->seq) {
            finish(r, s, a, call->slot);
        }
    }
}

static void queue_ack(struct rpc *r, struct rpc_session *s, struct rpc_ask *a, uint16_t slot)
{
    if ((a->flags & RPC_ASK_ACK_QUEUED) == 0) {
        a->flags |= RPC_ASK_ACK_QUEUED;
        a->ack_next = RPC_NIL;
        if (s->acks.tail == RPC_NIL) {
            s->acks.head = slot;
        } else {
            ask_at(s, s->acks.tail)->ack_next = slot;
        }
        s->acks.tail = slot;
    }
    rpc_session_dirty(r, s);
}

/* RPC-23: a long answer that nobody needs any more is acknowledged whole, or it would be sent for
 * ever. */
static void ack_whole(struct rpc *r, struct rpc_session *s, const struct rpc_frame *f)
{
    struct rpc_ask *a = ask_at(s, f->slot);

    a->flags |= RPC_ASK_ACK_DONE;
    a->ack_seq = f->seq;
    a->ack_total = f->total;
    queue_ack(r, s, a, f->slot);
}

/* The call that this frame is about, or NULL. */
static struct rpc_ask *find(struct rpc *r, struct rpc_session *s, const struct rpc_frame *f)
{
    struct rpc_ask *a;

    if (f->slot >= s->asks_n) {
        r->counters.frames_refused++; /* we never asked in this slot */
        return NULL;
    }
    a = ask_at(s, f->slot);
    if (a->state != RPC_ASK_FREE && a->seq == f->seq) {
        return a;
    }
    if (seq_newer(f->seq, a->seq)) {
        r->counters.frames_refused++;
    } else {
        r->counters.frames_stale++;
    }
    return NULL;
}

/* RPC-15: Karn's rule. Only a request that was sent once, and was not merely being worked on, tells
 * the round-trip time. */
static void sample(struct rpc *r, struct rpc_session *s, const struct rpc_ask *a)
{
    if (a->tries == 1 && (a->flags & RPC_ASK_WORKING) == 0 && a->state == RPC_ASK_WAITING) {
        rpc_session_sample(r, s, r->now_ns - a->sent_ns);
    }
}

static bool end_call(struct rpc *r, struct rpc_session *s, const struct rpc_frame *f, enum err err,
                     struct rpc_event *ret)
{
    struct rpc_ask *a = ask_at(s, f->slot);

    ret->kind = err == OK ? RPC_EVENT_RESPONSE : RPC_EVENT_FAILED;
    ret->session = s->index;
    ret->user = s->user;
    ret->cookie = a->cookie;
    ret->err = err;
    ret->request = (struct rpc_request){0};
    ret->body = (struct bytes){0};
    finish(r, s, a, f->slot);
    return true;
}

bool rpc_ask_response(struct rpc *r, struct rpc_session *s, const struct rpc_frame *f,
                      struct rpc_event *ret)
{
    struct rpc_ask *a = find(r, s, f);

    if (a == NULL) {
        return false;
    }
    sample(r, s, a);
    if (f->body.n > r->config.message_max) {
        r->counters.frames_refused++;
        return end_call(r, s, f, ERR_TOO_BIG, ret);
    }
    r->counters.responses_in++;
    (void)end_call(r, s, f, OK, ret);
    ret->body = f->body;
    return true;
}

/* The whole request must have arrived: from now on we only wait. */
static void sent_whole(struct rpc *r, struct rpc_session *s, struct rpc_ask *a, uint16_t slot)
{
    if (a->state == RPC_ASK_SENDING) {
        rpc_out_close(r, s, a->out);
        a->out = NULL;
        a->state = RPC_ASK_WAITING;
        a->sent_ns = r->now_ns;
        a->tries = UINT8_MAX; /* when the last fragment arrived we cannot tell: no sample */
        rpc_ask_enqueue(s, &s->waiting, slot);
    }
}

/* An answer under way shows that the peer lives and works: the clock starts again. */
static void touch(struct rpc *r, struct rpc_session *s, struct rpc_ask *a, uint16_t slot)
{
    sent_whole(r, s, a, slot);
    leave_queue(r, s, a, slot);
    rpc_flight_add(s, rpc_ask_bytes(r, a));
    a->state = RPC_ASK_WAITING;
    a->sent_ns = r->now_ns;
    a->tries = UINT8_MAX;
    rpc_ask_enqueue(s, &s->waiting, slot);
}

bool rpc_ask_fragment(struct rpc *r, struct rpc_session *s, const struct rpc_frame *f,
                      struct rpc_event *ret)
{
    struct rpc_ask *a = find(r, s, f);

    if (a == NULL) {
        if (f->slot < s->asks_n && !seq_newer(f->seq, ask_at(s, f->slot)->seq)) {
            ack_whole(r, s, f);
        }
        return false;
    }
    if (f->total > r->config.message_max) {
        r->counters.frames_refused++;
        ack_whole(r, s, f);
        return end_call(r, s, f, ERR_TOO_BIG, ret);
    }
    touch(r, s, a, f->slot);
    if (a->in == NULL) {
        a->in = rpc_in_open(r, f->total);
        if (a->in == NULL) {
            return false;
        }
    }
    switch (rpc_in_take(a->in, f)) {
    case RPC_IN_REFUSED:
        r->counters.frames_refused++;
        return false;
    case RPC_IN_TAKEN:
    case RPC_IN_SEEN:
        a->flags |= RPC_ASK_ACK_PART;
        queue_ack(r, s, a, f->slot);
        return false;
    case RPC_IN_COMPLETE:
        break;
    }
    r->counters.responses_in++;
    {
        struct bytes body = rpc_in_detach(r, a->in);

        a->in = NULL;
        ack_whole(r, s, f);
        (void)end_call(r, s, f, OK, ret);
        ret->body = body;
    }
    return true;
}

void rpc_ask_acked(struct rpc *r, struct rpc_session *s, const struct rpc_frame *f)
{
    struct rpc_ask *a = find(r, s, f);

    if (a == NULL) {
        return;
    }
    if (a->out == NULL) {
        r->counters.frames_stale++;
    } else if (rpc_out_acked(r, s, a->out, f)) {
        sent_whole(r, s, a, f->slot);
    }
}

void rpc_ask_working(struct rpc *r, struct rpc_session *s, const struct rpc_frame *f)
{
    struct rpc_ask *a = find(r, s, f);

    if (a != NULL) {
        if (a->state == RPC_ASK_WAITING) {
            rpc_flight_sub(s, rpc_ask_bytes(r, a));
        }
        a->flags |= RPC_ASK_WORKING;
        sent_whole(r, s, a, f->slot);
    }
}

void rpc_ask_send_again(struct rpc *r, struct rpc_session *s, uint16_t slot)
{
    struct rpc_ask *a = ask_at(s, slot);

    leave_queue(r, s, a, slot);
    a->state = RPC_ASK_QUEUED;
    rpc_ask_enqueue(s, &s->tosend, slot);
    rpc_session_dirty(r, s);
    r->counters.retransmits++;
    s->retransmits++;
}
