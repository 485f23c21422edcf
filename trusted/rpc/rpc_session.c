// SPDX-License-Identifier: Apache-2.0
#include "trusted/rpc/rpc_internal.h"

void rpc_session_busy(struct rpc *r, struct rpc_session *s)
{
    if (s->busy++ == 0) {
        s->asked_ns = r->now_ns;
        if (link_empty(&s->active)) {
            link_put(&r->active, &s->active);
        }
    }
}

void rpc_session_idle(struct rpc_session *s)
{
    CHECK(s->busy > 0);
    if (--s->busy == 0 && !s->down) {
        link_take(&s->active);
    }
}

void rpc_session_notice(struct rpc *r, struct rpc_session *s, uint8_t notice)
{
    s->notices |= notice;
    if (link_empty(&s->notice)) {
        link_put(&r->notices, &s->notice);
    }
}

void rpc_session_end(struct rpc *r, struct rpc_session *s)
{
    if (!s->ended) {
        s->ended = true;
        link_take(&s->dirty);
        link_take(&s->active);
        rpc_session_notice(r, s, RPC_NOTICE_CLOSED);
    }
    if (r->rx_session == s) {
        r->rx_frames = (struct reader){0};
    }
}

static void session_links(struct rpc_session *s)
{
    link_init(&s->dirty);
    link_init(&s->active);
    link_init(&s->notice);
    link_init(&s->timers);
    link_init(&s->ready);
    s->tosend = s->waiting = s->acks = s->answering =
        (struct rpc_fifo){.head = RPC_NIL, .tail = RPC_NIL};
    s->free = s->abandoned = RPC_NIL;
}

/* One block: the session, its two tables of chunks, its replay window. */
static struct rpc_session *session_alloc(struct rpc *r, const struct rpc_session_params *p)
{
    uint32_t chunks = (p->slots + RPC_CHUNK_SLOTS - 1) / RPC_CHUNK_SLOTS;
    size_t bytes =
        sizeof(struct rpc_session) + (size_t)2 * chunks * sizeof(void *) + p->replay_bits / 8;
    struct rpc_session *s = heap_zalloc(r->heap, bytes);

    if (s == NULL) {
        return NULL;
    }
    s->bytes = bytes;
    s->slots = p->slots;
    s->chunks = chunks;
    s->asks = (struct rpc_ask **)(void *)(s + 1);
    s->answers = (struct rpc_answer **)(void *)(s->asks + chunks);
    rpc_replay_init(&s->replay, (uint64_t *)(void *)(s->answers + chunks), p->replay_bits);
    session_links(s);
    return s;
}

RESULT rpc_session_open(struct rpc *r, uint64_t now_ns, const struct rpc_session_params *p)
{
    uint32_t slot = index_slot(p->index);
    struct rpc_session *s;

    CHECK(p->slots > 0 && p->slots <= RPC_SLOTS_PEER);
    if (slot >= r->config.sessions_max || r->sessions[slot] != NULL) {
        return ERR_FULL;
    }
    r->now_ns = now_ns;
    s = session_alloc(r, p);
    if (s == NULL) {
        return ERR_ENCLAVE_MEMORY;
    }
    if (rpc_keys_open(r, s, p) != OK) {
        heap_free(r->heap, s, s->bytes);
        return ERR_ENCLAVE_MEMORY;
    }
    s->index = p->index;
    s->peer_index = p->peer_index;
    s->user = p->user;
    s->addr = s->home = p->addr;
    rpc_window_init(r, s);
    s->rto_ns = RPC_RTO_START_NS;
    s->heard_ns = now_ns;
    r->sessions[slot] = s;
    r->counters.sessions++;
    return OK;
}

static void free_session(struct rpc *r, struct rpc_session *s)
{
    link_take(&s->notice);
    for (uint32_t i = 0; i < s->chunks; i++) {
        if (s->asks[i] != NULL) {
            heap_free(r->heap, s->asks[i], RPC_CHUNK_SLOTS * sizeof(struct rpc_ask));
        }
    }
    heap_free(r->heap, s, s->bytes);
}

static void free_answers(struct rpc *r, struct rpc_session *s)
{
    for (uint32_t i = 0; i < s->chunks; i++) {
        if (s->answers[i] == NULL) {
            continue;
        }
        for (uint32_t k = 0; k < RPC_CHUNK_SLOTS; k++) {
            rpc_answer_release(r, s, &s->answers[i][k]);
        }
        heap_free(r->heap, s->answers[i], RPC_CHUNK_SLOTS * sizeof(struct rpc_answer));
        s->answers[i] = NULL;
    }
}

/* The peer shall know at once; the keys are gone afterwards, so it is sealed now. */
static void seal_farewell(struct rpc *r, struct rpc_session *s)
{
    struct writer w = {.to = {.p = s->farewell + RPC_HEADER_LEN, .n = RPC_CLOSE_FRAME_LEN}};
    struct rpc_frame f = {.kind = RPC_FRAME_CLOSE};

    if (s->addr.family == 0 || s->ended) {
        return;
    }
    rpc_frame_encode(&w, &f);
    s->farewell_due = rpc_packet_seal(r, s, s->farewell, w.len);
}

void rpc_session_close(struct rpc *r, uint32_t index, bool say)
{
    struct rpc_session *s = rpc_session_find(r, index);

    if (s == NULL) {
        return;
    }
    if (say) {
        seal_farewell(r, s);
    }
    if (r->rx_session == s) {
        r->rx_session = NULL;
        r->rx_frames = (struct reader){0};
    }
    if (s->down) {
        r->counters.sessions_down--;
    }
    rpc_keys_close(r, s);
    r->sessions[index_slot(index)] = NULL;
    r->counters.sessions--;
    for (uint32_t i = 0; i < s->asks_n; i++) {
        rpc_ask_release(r, s, ask_at(s, i));
    }
    free_answers(r, s);
    link_take(&s->dirty);
    link_take(&s->active);
    link_take(&s->notice);
    if (s->busy == 0 && !s->farewell_due) {
        free_session(r, s);
    } else {
        link_put(&r->closing, &s->notice);
    }
}

static bool next_notice(struct rpc *r, struct rpc_event *ret)
{
    struct rpc_session *s = LINK_OWNER(r->notices.next, struct rpc_session, notice);
    struct rpc_event e = {.session = s->index, .user = s->user};

    if ((s->notices & RPC_NOTICE_DOWN) != 0) {
        s->notices &= (uint8_t)~RPC_NOTICE_DOWN;
        e.kind = RPC_EVENT_DOWN;
    } else if ((s->notices & RPC_NOTICE_UP) != 0) {
        s->notices &= (uint8_t)~RPC_NOTICE_UP;
        e.kind = RPC_EVENT_UP;
    } else {
        s->notices &= (uint8_t)~RPC_NOTICE_CLOSED;
        e.kind = RPC_EVENT_CLOSED;
        e.err = ERR_CLOSED;
    }
    if (s->notices == 0) {
        link_take(&s->notice);
    }
    *ret = e;
    return true;
}

/* The calls of closed sessions, one FAILED event each. */
static bool next_failed(struct rpc *r, struct rpc_event *ret)
{
    struct rpc_link *l = r->closing.next;

    while (l != &r->closing) {
        struct rpc_session *s = LINK_OWNER(l, struct rpc_session, notice);

        l = l->next;
        while (s->failed_at < s->asks_n) {
            struct rpc_ask *a = ask_at(s, s->failed_at++);

            if (a->state != RPC_ASK_FREE) {
                a->state = RPC_ASK_FREE;
                s->busy--;
                *ret = (struct rpc_event){.kind = RPC_EVENT_FAILED,
                                          .session = s->index,
                                          .user = s->user,
                                          .cookie = a->cookie,
                                          .err = ERR_CLOSED};
                return true;
            }
        }
        CHECK(s->busy == 0);
        if (!s->farewell_due) {
            free_session(r, s);
        }
    }
    return false;
}

bool rpc_session_next(struct rpc *r, struct rpc_event *ret)
{
    if (!link_empty(&r->notices)) {
        return next_notice(r, ret);
    }
    return !link_empty(&r->closing) && next_failed(r, ret);
}

bool rpc_session_farewell(struct rpc *r, struct mbytes to, struct abi_addr *ret_addr,
                          size_t *ret_len)
{
    for (struct rpc_link *l = r->closing.next; l != &r->closing; l = l->next) {
        struct rpc_session *s = LINK_OWNER(l, struct rpc_session, notice);

        if (s->farewell_due) {
            CHECK(sizeof(s->farewell) <= to.n);
            memcpy(to.p, s->farewell, sizeof(s->farewell));
            *ret_addr = s->addr;
            *ret_len = sizeof(s->farewell);
            s->farewell_due = false;
            if (s->busy == 0) {
                free_session(r, s);
            }
            return true;
        }
    }
    return false;
}

void rpc_session_free_all(struct rpc *r)
{
    for (uint32_t i = 0; i < r->config.sessions_max; i++) {
        if (r->sessions[i] != NULL) {
            rpc_session_close(r, r->sessions[i]->index, false);
        }
    }
    while (!link_empty(&r->closing)) {
        free_session(r, LINK_OWNER(r->closing.next, struct rpc_session, notice));
    }
}
