// SPDX-License-Identifier: Apache-2.0
#include "trusted/rpc/rpc_internal.h"

/*
 * The answering end (RPC-12, RPC-14). A slot's record, for its newest seq:
 *
 *     NONE --fragment--> RECEIVING --last fragment--> EXECUTING --rpc_reply_send--> KEPT
 *       |                                                 ^                          |
 *       +----------------- REQUEST -----------------------+      long answer acknowledged
 *                                                                                    |
 *     a newer seq leads from anywhere back to RECEIVING or EXECUTING                DONE
 *
 * Only the step into EXECUTING makes an event, and no seq is entered twice: at most once.
 */

/* The record of the slot in which `total` bytes are asked, or NULL. */
static struct rpc_answer *slot_of(struct rpc *r, struct rpc_session *s, uint32_t slot, size_t total)
{
    struct rpc_answer **chunk;

    if (slot >= s->slots || total > r->config.message_max) {
        r->counters.frames_refused++;
        return NULL;
    }
    chunk = &s->answers[slot / RPC_CHUNK_SLOTS];
    if (*chunk == NULL) {
        *chunk = heap_zalloc(r->heap, RPC_CHUNK_SLOTS * sizeof(struct rpc_answer));
        if (*chunk == NULL) {
            r->counters.no_memory++;
            return NULL;
        }
        for (uint32_t i = 0; i < RPC_CHUNK_SLOTS; i++) {
            (*chunk)[i].next = RPC_NIL;
        }
    }
    return answer_at(s, slot);
}

static void want(struct rpc *r, struct rpc_session *s, uint16_t slot, uint8_t flag)
{
    struct rpc_answer *a = answer_at(s, slot);

    a->flags |= flag;
    if ((a->flags & RPC_ANSWER_QUEUED) == 0) {
        a->flags |= RPC_ANSWER_QUEUED;
        a->next = RPC_NIL;
        if (s->answering.tail == RPC_NIL) {
            s->answering.head = slot;
        } else {
            answer_at(s, s->answering.tail)->next = slot;
        }
        s->answering.tail = slot;
    }
    rpc_session_dirty(r, s);
}

static void drop_out(struct rpc *r, struct rpc_session *s, struct rpc_answer *a)
{
    if ((a->flags & RPC_ANSWER_BLOCK) != 0 && a->u.block.out != NULL) {
        if (a->state == RPC_ANSWER_KEPT) {
            rpc_session_idle(s);
        }
        rpc_out_close(r, s, a->u.block.out);
        a->u.block.out = NULL;
        s->kept -= a->u.block.n;
    }
}

static void drop_block(struct rpc *r, struct rpc_answer *a)
{
    if ((a->flags & RPC_ANSWER_BLOCK) != 0) {
        heap_free(r->heap, a->u.block.p, a->u.block.n);
        a->flags &= (uint8_t)~RPC_ANSWER_BLOCK;
    }
}

void rpc_answer_release(struct rpc *r, struct rpc_session *s, struct rpc_answer *a)
{
    if (a->state == RPC_ANSWER_RECEIVING) {
        s->reassembly -= a->u.in->total;
        rpc_in_close(r, a->u.in);
        a->u.in = NULL;
    }
    drop_out(r, s, a);
    drop_block(r, a);
    a->state = RPC_ANSWER_NONE;
}

/* RPC-14: what a frame that asks is to its slot. */
enum age { AGE_NEW, AGE_SAME, AGE_OLD };

static enum age age_of(const struct rpc_answer *a, uint32_t seq)
{
    if (seq_newer(seq, a->seq)) {
        return AGE_NEW;
    }
    return seq == a->seq && a->state != RPC_ANSWER_NONE ? AGE_SAME : AGE_OLD;
}

static bool request_event(struct rpc *r, struct rpc_session *s, const struct rpc_frame *f,
                          struct rpc_event *ret)
{
    ret->kind = RPC_EVENT_REQUEST;
    ret->session = s->index;
    ret->user = s->user;
    ret->cookie = 0;
    ret->err = OK;
    ret->request = (struct rpc_request){.session = s->index, .seq = f->seq, .slot = f->slot};
    ret->body = f->body;
    r->counters.requests_in++;
    return true;
}

/* The same request once more: say what we have, execute nothing. */
static void repeat(struct rpc *r, struct rpc_session *s, struct rpc_answer *a, uint16_t slot)
{
    if (a->state == RPC_ANSWER_EXECUTING) {
        want(r, s, slot, RPC_WANT_WORKING);
    } else if (a->state == RPC_ANSWER_KEPT) {
        bool is_long = (a->flags & RPC_ANSWER_BLOCK) != 0 && a->u.block.out != NULL;

        /* A long answer repeats itself until it is acknowledged. */
        want(r, s, slot, is_long ? RPC_WANT_WORKING : RPC_WANT_ANSWER);
        r->counters.duplicates_answered++;
    } else {
        r->counters.frames_stale++; /* DONE: the answer arrived, this is a late copy */
    }
}

bool rpc_answer_request(struct rpc *r, struct rpc_session *s, const struct rpc_frame *f,
                        struct rpc_event *ret)
{
    struct rpc_answer *a = slot_of(r, s, f->slot, f->body.n);

    if (a == NULL) {
        return false;
    }
    switch (age_of(a, f->seq)) {
    case AGE_OLD:
        r->counters.frames_stale++;
        return false;
    case AGE_SAME:
        if (a->state == RPC_ANSWER_RECEIVING) {
            r->counters.frames_refused++; /* one request has one form */
        } else {
            repeat(r, s, a, f->slot);
        }
        return false;
    case AGE_NEW:
        break;
    }
    if (a->state == RPC_ANSWER_RECEIVING ||
        ((a->flags & RPC_ANSWER_BLOCK) != 0 && a->u.block.out != NULL)) {
        rpc_answer_release(r, s, a);
    }
    a->seq = f->seq;
    a->request_total = 0;
    a->state = RPC_ANSWER_EXECUTING;
    a->flags &= RPC_ANSWER_QUEUED | RPC_ANSWER_BLOCK; /* the block may serve the next answer */
    return request_event(r, s, f, ret);
}

/* The first fragment of a newer request. */
static bool begin_receiving(struct rpc *r, struct rpc_session *s, struct rpc_answer *a,
                            const struct rpc_frame *f)
{
    uint64_t limit = (uint64_t)RPC_REASSEMBLY_FACTOR * r->config.message_max;
    uint64_t held = a->state == RPC_ANSWER_RECEIVING ? a->u.in->total : 0;
    struct rpc_in *in;

    if (s->reassembly - held + f->total > limit) {
        r->counters.frames_refused++;
        return false;
    }
    in = rpc_in_open(r, f->total);
    if (in == NULL) {
        return false;
    }
    rpc_answer_release(r, s, a);
    a->seq = f->seq;
    a->request_total = f->total;
    a->state = RPC_ANSWER_RECEIVING;
    a->flags &= RPC_ANSWER_QUEUED;
    a->u.in = in;
    s->reassembly += f->total;
    return true;
}

static bool take_fragment(struct rpc *r, struct rpc_session *s, struct rpc_answer *a,
                          const struct rpc_frame *f, struct rpc_event *ret)
{
    struct rpc_in *in = a->u.in;

    switch (rpc_in_take(in, f)) {
    case RPC_IN_REFUSED:
        r->counters.frames_refused++;
        return false;
    case RPC_IN_TAKEN:
    case RPC_IN_SEEN:
        want(r, s, f->slot, RPC_WANT_ACK);
        return false;
    case RPC_IN_COMPLETE:
        break;
    }
    s->reassembly -= in->total;
    a->u.in = NULL;
    a->state = RPC_ANSWER_EXECUTING;
    want(r, s, f->slot, RPC_WANT_ACK);
    (void)request_event(r, s, f, ret);
    ret->body = rpc_in_detach(r, in);
    return true;
}

bool rpc_answer_fragment(struct rpc *r, struct rpc_session *s, const struct rpc_frame *f,
                         struct rpc_event *ret)
{
    struct rpc_answer *a = slot_of(r, s, f->slot, f->total);

    if (a == NULL) {
        return false;
    }
    switch (age_of(a, f->seq)) {
    case AGE_OLD:
        r->counters.frames_stale++;
        return false;
    case AGE_SAME:
        break;
    case AGE_NEW:
        if (!begin_receiving(r, s, a, f)) {
            return false;
        }
        break;
    }
    if (a->request_total != f->total) {
        r->counters.frames_refused++;
        return false;
    }
    if (a->state == RPC_ANSWER_RECEIVING) {
        return take_fragment(r, s, a, f, ret);
    }
    want(r, s, f->slot, RPC_WANT_ACK);
    repeat(r, s, a, f->slot);
    return false;
}

void rpc_answer_acked(struct rpc *r, struct rpc_session *s, const struct rpc_frame *f)
{
    struct rpc_answer *a;

    if (f->slot >= s->slots || s->answers[f->slot / RPC_CHUNK_SLOTS] == NULL) {
        r->counters.frames_refused++;
        return;
    }
    a = answer_at(s, f->slot);
    if (a->seq != f->seq || a->state != RPC_ANSWER_KEPT || (a->flags & RPC_ANSWER_BLOCK) == 0 ||
        a->u.block.out == NULL) {
        r->counters.frames_stale++;
        return;
    }
    if (rpc_out_acked(r, s, a->u.block.out, f)) {
        drop_out(r, s, a);
        drop_block(r, a);
        a->state = RPC_ANSWER_DONE;
    }
}

/* The record of a request that still waits for its answer, or NULL. */
static struct rpc_answer *find(const struct rpc *r, struct rpc_request q,
                               struct rpc_session **ret_session)
{
    struct rpc_session *s = rpc_session_find(r, q.session);
    struct rpc_answer *a;

    if (s == NULL || s->ended || q.slot >= s->slots ||
        s->answers[q.slot / RPC_CHUNK_SLOTS] == NULL) {
        return NULL;
    }
    a = answer_at(s, q.slot);
    if (a->seq != q.seq || a->state != RPC_ANSWER_EXECUTING) {
        return NULL;
    }
    *ret_session = s;
    return a;
}

static RESULT begin_block(struct rpc *r, struct rpc_session *s, struct rpc_answer *a,
                          struct rpc_request q, size_t n)
{
    struct rpc_out *out = NULL;
    uint8_t *p;

    /* RPC-24: a peer that acknowledges nothing must not take the memory of all others. */
    if (n > r->small_max && s->kept + n > (uint64_t)RPC_KEPT_FACTOR * r->config.message_max) {
        return ERR_ENCLAVE_MEMORY;
    }
    p = heap_alloc(r->heap, n);
    if (p != NULL && n > r->small_max) {
        out = rpc_out_open(r, RPC_FRAME_RSP_FRAG, q.slot, q.seq);
    }
    if (p == NULL || (n > r->small_max && out == NULL)) {
        heap_free(r->heap, p, n);
        r->counters.no_memory++;
        return ERR_ENCLAVE_MEMORY;
    }
    a->u.block.p = p;
    a->u.block.n = n;
    a->u.block.out = out;
    s->kept += out != NULL ? n : 0;
    a->flags |= RPC_ANSWER_BLOCK;
    return OK;
}

/* Answers of one size after another -- the common case -- reuse the block of the former. */
static bool fits_block(const struct rpc *r, const struct rpc_answer *a, size_t n)
{
    return (a->flags & RPC_ANSWER_BLOCK) != 0 && a->u.block.out == NULL && n <= r->small_max &&
           n > RPC_SMALL_REPLY && n <= a->u.block.n && n >= a->u.block.n / 2;
}

RESULT rpc_reply_begin(struct rpc *r, struct rpc_request q, size_t n, struct mbytes *ret)
{
    struct rpc_session *s = NULL;
    struct rpc_answer *a = find(r, q, &s);

    if (a == NULL) {
        return ERR_CLOSED;
    }
    if (n > r->config.message_max) {
        return ERR_TOO_BIG;
    }
    if (fits_block(r, a, n)) {
        *ret = (struct mbytes){.p = a->u.block.p, .n = n};
        return OK;
    }
    drop_out(r, s, a); /* what an earlier rpc_reply_begin without a rpc_reply_send left */
    drop_block(r, a);
    if (n <= RPC_SMALL_REPLY) {
        *ret = (struct mbytes){.p = a->u.small, .n = n};
        return OK;
    }
    TRY(begin_block(r, s, a, q, n));
    *ret = (struct mbytes){.p = a->u.block.p, .n = n};
    return OK;
}

void rpc_reply_send(struct rpc *r, struct rpc_request q, size_t n)
{
    struct rpc_session *s = NULL;
    struct rpc_answer *a = find(r, q, &s);

    CHECK(a != NULL);
    a->len = (uint32_t)n;
    if ((a->flags & RPC_ANSWER_BLOCK) == 0) {
        CHECK(n <= RPC_SMALL_REPLY);
    } else {
        CHECK(n <= a->u.block.n);
        if (n <= r->small_max) {
            drop_out(r, s, a); /* begun long, became short */
        }
    }
    a->state = RPC_ANSWER_KEPT;
    a->flags &= (uint8_t)~RPC_WANT_WORKING;
    if ((a->flags & RPC_ANSWER_BLOCK) != 0 && a->u.block.out != NULL) {
        rpc_session_busy(r, s);
        rpc_out_start(r, s, a->u.block.out, a->len);
        rpc_session_dirty(r, s);
    } else {
        want(r, s, q.slot, RPC_WANT_ANSWER);
    }
    r->counters.responses_out++;
}
