// SPDX-License-Identifier: Apache-2.0
#include "trusted/rpc/rpc_internal.h"

static size_t rpc_bytes(uint32_t sessions_max)
{
    return sizeof(struct rpc) + sessions_max * sizeof(struct rpc_session *);
}

RESULT rpc_init(const struct rpc_config *c, struct rpc **ret)
{
    struct rpc *r;

    CHECK(c->sessions_max > 0 && c->sessions_max <= RPC_SESSIONS_MAX);
    CHECK(c->datagram_bytes >= DATAGRAM_MIN && c->datagram_bytes <= DATAGRAM_MAX);
    CHECK(c->message_max > 0 && c->message_max <= MESSAGE_MAX);
    r = heap_zalloc(c->heap, rpc_bytes(c->sessions_max));
    if (r == NULL) {
        return ERR_ENCLAVE_MEMORY;
    }
    r->heap = c->heap;
    r->aead = c->aead;
    r->config = *c;
    if (r->config.key_packets == 0) {
        r->config.key_packets = RPC_KEY_PACKETS;
    }
    r->prng.state = c->seed;
    r->body_max = c->datagram_bytes - RPC_HEADER_LEN - AEAD_TAG_LEN;
    r->small_max = r->body_max - RPC_MESSAGE_FRAME_LEN;
    r->frag = r->body_max - RPC_FRAG_FRAME_LEN;
    link_init(&r->dirty);
    link_init(&r->active);
    link_init(&r->notices);
    link_init(&r->closing);
    r->sessions = (struct rpc_session **)(void *)(r + 1);
    *ret = r;
    return OK;
}

static void drop_body(struct rpc *r)
{
    if (r->body_block != NULL) {
        heap_free(r->heap, r->body_block, r->body_block_n);
        r->body_block = NULL;
    }
}

void rpc_fini(struct rpc *r)
{
    struct heap *heap;
    size_t n;

    if (r == NULL) {
        return;
    }
    drop_body(r);
    rpc_session_free_all(r);
    heap = r->heap;
    n = rpc_bytes(r->config.sessions_max);
    wipe(r->rx, sizeof(r->rx));
    heap_free(heap, r, n);
}

RESULT rpc_receive(struct rpc *r, uint64_t now_ns, struct bytes datagram, struct abi_addr from)
{
    struct rpc_session *s;
    uint64_t number;
    size_t len;

    CHECK(r->rx_frames.rest.n == 0); /* the former datagram was drained */
    drop_body(r);
    r->now_ns = now_ns;
    r->counters.rx_packets++;
    r->counters.rx_bytes += datagram.n;
    TRY(rpc_packet_open(r, datagram, &s, &number, &len));

    /* Below this line the peer speaks, not the network. */
    r->counters.opened++;
    s->rx_packets++;
    s->rx_bytes += datagram.n;
    if (number + 1 == s->replay.next) {
        s->addr = from; /* RPC-11: the newest authentic datagram says where the peer is */
    }
    rpc_session_heard(r, s);
    r->rx_session = s;
    r->rx_frames = (struct reader){.rest = {.p = r->rx, .n = len}};
    return OK;
}

static bool ping(struct rpc *r, struct rpc_session *s, const struct rpc_frame *f)
{
    if (f->kind == RPC_FRAME_PING) {
        s->pong_token = f->bits;
        s->pong_due = true;
        rpc_session_dirty(r, s);
    } else if (f->bits != s->ping_token) {
        r->counters.frames_stale++;
    }
    return false;
}

/* True: *ret is an event. */
static bool take_frame(struct rpc *r, struct rpc_session *s, const struct rpc_frame *f,
                       struct rpc_event *ret)
{
    switch (f->kind) {
    case RPC_FRAME_REQUEST:
        return rpc_answer_request(r, s, f, ret);
    case RPC_FRAME_RESPONSE:
        return rpc_ask_response(r, s, f, ret);
    case RPC_FRAME_REQ_FRAG:
        return rpc_answer_fragment(r, s, f, ret);
    case RPC_FRAME_RSP_FRAG:
        return rpc_ask_fragment(r, s, f, ret);
    case RPC_FRAME_FRAG_ACK:
        if (f->code == RPC_FRAME_REQ_FRAG) {
            rpc_ask_acked(r, s, f);
        } else {
            rpc_answer_acked(r, s, f);
        }
        return false;
    case RPC_FRAME_WORKING:
        rpc_ask_working(r, s, f);
        return false;
    case RPC_FRAME_PING:
    case RPC_FRAME_PONG:
        return ping(r, s, f);
    case RPC_FRAME_CLOSE:
        rpc_session_end(r, s);
        return rpc_session_next(r, ret);
    }
    return false;
}

bool rpc_next(struct rpc *r, struct rpc_event *ret)
{
    drop_body(r);
    if (rpc_has_news(r) && rpc_session_next(r, ret)) {
        return true;
    }
    while (r->rx_frames.rest.n != 0) {
        struct rpc_frame f;

        if (rpc_frame_decode(&r->rx_frames, &f) != OK) {
            r->counters.frames_malformed++;
            r->rx_frames = (struct reader){0};
        } else if (take_frame(r, r->rx_session, &f, ret)) {
            return true;
        }
    }
    return false;
}

size_t rpc_peek(const struct rpc *r, struct bytes *ret, size_t max, uint64_t *ret_user)
{
    struct reader frames = r->rx_frames;
    struct rpc_frame f;
    size_t n = 0;

    while (n < max && frames.rest.n != 0 && rpc_frame_decode(&frames, &f) == OK) {
        if (f.kind == RPC_FRAME_REQUEST) {
            ret[n++] = f.body;
            *ret_user = r->rx_session->user;
        }
    }
    return n;
}

bool rpc_take_body(struct rpc *r, void **ret_block, size_t *ret_block_n)
{
    if (r->body_block == NULL) {
        return false;
    }
    *ret_block = r->body_block;
    *ret_block_n = r->body_block_n;
    r->body_block = NULL;
    return true;
}

void rpc_plant(struct rpc *r, unsigned plants)
{
    r->plants = plants;
}

const struct rpc_counters *rpc_counters(const struct rpc *r)
{
    return &r->counters;
}

static uint64_t session_bytes(const struct rpc_session *s)
{
    uint64_t n = s->bytes + sizeof(struct rpc_keys) + _Alignof(struct rpc_keys);

    for (uint32_t i = 0; i < s->chunks; i++) {
        n += s->asks[i] != NULL ? RPC_CHUNK_SLOTS * sizeof(struct rpc_ask) : 0;
        n += s->answers[i] != NULL ? RPC_CHUNK_SLOTS * sizeof(struct rpc_answer) : 0;
    }
    return n;
}

bool rpc_session_info(const struct rpc *r, uint32_t *cursor, struct rpc_session_info *ret)
{
    while (*cursor < r->config.sessions_max) {
        const struct rpc_session *s = r->sessions[(*cursor)++];

        if (s != NULL) {
            *ret = (struct rpc_session_info){
                .index = s->index,
                .user = s->user,
                .addr = s->addr,
                .down = s->down,
                .srtt_ns = s->srtt_ns,
                .rttvar_ns = s->rttvar_ns,
                .base_rtt_ns = s->base_ns < s->old_base_ns ? s->base_ns : s->old_base_ns,
                .rto_ns = rpc_session_rto(s),
                .window = s->window,
                .flight = s->flight,
                .rx_packets = s->rx_packets,
                .rx_bytes = s->rx_bytes,
                .tx_packets = s->keys->send_number,
                .tx_bytes = s->tx_bytes,
                .retransmits = s->retransmits,
                .auth_failed = s->auth_failures,
                .heap_bytes = session_bytes(s),
            };
            for (uint32_t i = 0; i < RPC_RTT_BUCKETS; i++) {
                ret->rtt[i] = s->rtt[i];
            }
            return true;
        }
    }
    return false;
}

uint64_t rpc_session_srtt_ns(const struct rpc *r, uint32_t index)
{
    const struct rpc_session *s = rpc_session_find(r, index);

    return s == NULL ? 0 : s->srtt_ns;
}
