// SPDX-License-Identifier: Apache-2.0
#include "trusted/crypto/kdf.h"
#include "trusted/rpc/rpc_internal.h"

/*
 * Keys of a session (RPC-10). Traffic secret s_0 of a direction comes from the control channel;
 *
 *     s_p --"avocado rpc key"--> key_p    s_p --"avocado rpc iv"--> iv_p    s_p --"avocado rpc
 * ku"--> s_(p+1)
 *
 * One end leads, the other follows:
 *
 *     leader    send p, recv p --(limit)--> send p+1, recv p --(opened p+1)--> send p+1, recv p+1
 *     follower  send p, recv p --(opened p+1)--> send p+1, recv p+1
 *
 * The leader takes the next step only from the right-hand state, which proves that the follower
 * opens p+1. If either end could start, a follower could run ahead: what it received proves that
 * it opens our phase, not that we have seen a packet of its own.
 */

static void direction_key(struct rpc *r, const struct secret *s, struct rpc_direction_key *ret)
{
    SECRET_LOCAL key;

    kdf_secret(s, "avocado rpc key", &key);
    aead_key_init(r->aead, &ret->key, &key);
    kdf_expand(s, "avocado rpc iv", (struct mbytes){.p = ret->iv, .n = sizeof(ret->iv)});
}

static void next_secret(struct secret *s)
{
    SECRET_LOCAL next;

    kdf_secret(s, "avocado rpc ku", &next);
    *s = next;
}

RESULT rpc_keys_open(struct rpc *r, struct rpc_session *s, const struct rpc_session_params *p)
{
    enum { ALIGN = _Alignof(struct rpc_keys) };
    struct rpc_keys *k;
    uint8_t mine[8];
    uint8_t theirs[8];

    s->keys_block = heap_zalloc(r->heap, sizeof(*k) + ALIGN);
    if (s->keys_block == NULL) {
        return ERR_ENCLAVE_MEMORY;
    }
    k = (struct rpc_keys *)(((uintptr_t)s->keys_block + ALIGN - 1) / ALIGN * ALIGN);
    s->keys = k;
    k->send_secret = p->send;
    k->after_secret = p->recv;
    direction_key(r, &p->send, &k->send);
    direction_key(r, &p->recv, &k->now);
    next_secret(&k->after_secret);
    direction_key(r, &k->after_secret, &k->after);
    k->began_ns = r->now_ns;

    kdf_expand(&p->send, "avocado rpc role", (struct mbytes){.p = mine, .n = sizeof(mine)});
    kdf_expand(&p->recv, "avocado rpc role", (struct mbytes){.p = theirs, .n = sizeof(theirs)});
    /* One secret for both directions would use every nonce twice. */
    CHECK(memcmp(mine, theirs, sizeof(mine)) != 0);
    k->leads = memcmp(mine, theirs, sizeof(mine)) < 0;
    return OK;
}

void rpc_keys_close(struct rpc *r, struct rpc_session *s)
{
    struct rpc_keys *k = s->keys;

    aead_key_fini(r->aead, &k->send.key);
    aead_key_fini(r->aead, &k->before.key);
    aead_key_fini(r->aead, &k->now.key);
    aead_key_fini(r->aead, &k->after.key);
    wipe(s->keys_block, sizeof(*k) + _Alignof(struct rpc_keys));
    heap_free(r->heap, s->keys_block, sizeof(*k) + _Alignof(struct rpc_keys));
    s->keys = NULL;
}

static void advance_send(struct rpc *r, struct rpc_keys *k)
{
    next_secret(&k->send_secret);
    direction_key(r, &k->send_secret, &k->send);
    k->send_phase = (k->send_phase + 1) & RPC_PHASE_MASK;
    k->send_first = k->send_number;
    k->began_ns = r->now_ns;
    r->counters.key_updates++;
}

/* A packet of the next phase opened. */
static void advance_recv(struct rpc *r, struct rpc_keys *k, uint64_t number)
{
    k->before = k->now;
    k->has_before = true;
    k->now = k->after;
    next_secret(&k->after_secret);
    direction_key(r, &k->after_secret, &k->after);
    k->recv_phase = (k->recv_phase + 1) & RPC_PHASE_MASK;
    k->recv_first = number;
    if (k->send_phase != k->recv_phase) {
        advance_send(r, k);
    }
}

/* The key that may open this packet, or NULL. Numbers never run backwards over a phase. */
static const struct rpc_direction_key *choose_key(const struct rpc_session *s,
                                                  const struct rpc_header *h)
{
    const struct rpc_keys *k = s->keys;

    switch ((h->phase - k->recv_phase) & RPC_PHASE_MASK) {
    case 0:
        return &k->now;
    case 1:
        /* The leader is not led: the next phase is its own step or nobody's. */
        if (h->number < s->replay.next || (k->leads && k->send_phase == k->recv_phase)) {
            return NULL;
        }
        return &k->after;
    case 3:
        return k->has_before && h->number < k->recv_first ? &k->before : NULL;
    default:
        return NULL;
    }
}

/* RPC-4 */
static void make_nonce(const struct rpc_direction_key *k, uint64_t number,
                       uint8_t to[static AEAD_IV_LEN])
{
    uint64_t x;

    memcpy(to, k->iv, AEAD_IV_LEN);
    memcpy(&x, to + 4, sizeof(x));
    x ^= __builtin_bswap64(number);
    memcpy(to + 4, &x, sizeof(x));
}

/* RPC-10: a previous key that no packet in the window may use any more is forgotten. */
static void forget_before(struct rpc *r, struct rpc_session *s)
{
    struct rpc_keys *k = s->keys;

    if (k->has_before && s->replay.next - k->recv_first > rpc_replay_window(&s->replay)) {
        k->has_before = false;
        aead_key_fini(r->aead, &k->before.key);
        wipe(&k->before, sizeof(k->before));
    }
}

static bool update_due(const struct rpc *r, const struct rpc_session *s)
{
    const struct rpc_keys *k = s->keys;
    uint64_t limit = r->config.key_packets;

    return k->leads && k->send_phase == k->recv_phase &&
           (k->send_number - k->send_first >= limit || s->replay.next - k->recv_first >= limit ||
            r->now_ns - k->began_ns >= RPC_KEY_NS);
}

static void commit(struct rpc *r, struct rpc_session *s, const struct rpc_direction_key *key,
                   const struct rpc_header *h)
{
    struct rpc_keys *k = s->keys;

    rpc_replay_commit(&s->replay, h->number);
    if (key == &k->after) {
        advance_recv(r, k, h->number);
    } else if (key == &k->now && h->number < k->recv_first) {
        k->recv_first = h->number;
    }
    forget_before(r, s);
    /* A follower that only sends must still hear of the leader's step, and of a lost one again. */
    if (update_due(r, s) || (k->leads && k->send_phase != k->recv_phase && h->number % 64 == 0)) {
        s->ping_due = true;
        rpc_session_dirty(r, s);
    }
}

static enum err refuse(uint64_t *counter, enum err err)
{
    (*counter)++;
    return err;
}

RESULT rpc_packet_open(struct rpc *r, struct bytes datagram, struct rpc_session **ret,
                       uint64_t *ret_number, size_t *ret_len)
{
    const struct rpc_direction_key *key;
    uint8_t nonce[AEAD_IV_LEN];
    struct rpc_session *s;
    struct rpc_header h;
    struct bytes clear;
    struct bytes sealed;

    if (rpc_header_decode(datagram, &h, &clear, &sealed) != OK) {
        return refuse(&r->counters.malformed, ERR_MALFORMED);
    }
    s = rpc_session_find(r, h.index);
    if (s == NULL || s->ended) {
        return refuse(&r->counters.unknown_index, ERR_UNKNOWN_INDEX);
    }
    switch ((r->plants & RPC_PLANT_REPLAY_OFF) != 0 ? RPC_REPLAY_NEW
                                                    : rpc_replay_check(&s->replay, h.number)) {
    case RPC_REPLAY_OLD:
        return refuse(&r->counters.replay_old, ERR_REPLAY);
    case RPC_REPLAY_DUP:
        return refuse(&r->counters.replay_dup, ERR_REPLAY);
    case RPC_REPLAY_NEW:
        break;
    }
    key = choose_key(s, &h);
    if (key == NULL) {
        return refuse(&r->counters.old_phase, ERR_REPLAY);
    }
    make_nonce(key, h.number, nonce);
    if (aead_open(r->aead, &key->key, nonce, clear, sealed, r->rx) != OK) {
        if (++s->auth_failures >= RPC_AUTH_FAILURES_MAX) {
            rpc_session_end(r, s);
        }
        return refuse(&r->counters.auth_failed, ERR_AUTH);
    }
    commit(r, s, key, &h);
    *ret = s;
    *ret_number = h.number;
    *ret_len = sealed.n - AEAD_TAG_LEN;
    return OK;
}

bool rpc_packet_seal(struct rpc *r, struct rpc_session *s, uint8_t *to, size_t n)
{
    struct rpc_keys *k = s->keys;
    struct rpc_header h = {.index = s->peer_index};
    uint8_t nonce[AEAD_IV_LEN];

    if (update_due(r, s)) {
        advance_send(r, k);
    }
    if (k->send_number >= RPC_NUMBER_MAX || k->send_number - k->send_first >= RPC_KEY_PACKETS_MAX) {
        rpc_session_end(r, s);
        return false;
    }
    h.phase = k->send_phase;
    h.number = k->send_number++;
    rpc_header_encode(&h, to);
    make_nonce(&k->send, h.number, nonce);
    aead_seal(r->aead, &k->send.key, nonce, (struct bytes){.p = to, .n = RPC_HEADER_LEN},
              (struct bytes){.p = to + RPC_HEADER_LEN, .n = n}, to + RPC_HEADER_LEN);
    r->counters.tx_packets++;
    r->counters.tx_bytes += RPC_HEADER_LEN + n + AEAD_TAG_LEN;
    s->tx_bytes += RPC_HEADER_LEN + n + AEAD_TAG_LEN;
    return true;
}
