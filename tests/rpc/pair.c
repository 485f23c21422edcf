// SPDX-License-Identifier: Apache-2.0
#include "tests/rpc/pair.h"

#include "trusted/crypto/kdf.h"
#include "trusted/wire/rpc_wire.h"

#include <stdlib.h>

static uint8_t moved[DATAGRAM_MAX]; /* what the helpers below carry */

static void end_start(struct pair *p, struct end *e, const struct pair_options *o, uint16_t port)
{
    size_t bytes = o->heap_bytes == 0 ? 32U << 20 : o->heap_bytes;
    struct rpc_config c = {
        .aead = p->aead,
        .sessions_max = 8,
        .datagram_bytes = o->datagram_bytes == 0 ? DATAGRAM_DEFAULT : o->datagram_bytes,
        .message_max = o->message_max == 0 ? (1 << 20) + 2048 : o->message_max,
        .key_packets = o->key_packets,
        .seed = port,
    };

    e->region = aligned_alloc(64, bytes);
    assert_non_null(e->region);
    memset(e->region, 0, bytes);
    assert_int_equal(heap_init(e->region, bytes, &e->heap), OK);
    c.heap = e->heap;
    e->addr = (struct abi_addr){.family = 4, .port = port, .ip = {127, 0, 0, 1}};
    assert_int_equal(rpc_init(&c, &e->rpc), OK);
    e->heap_at_start = heap_used(e->heap);
}

struct secret pair_secret(const struct pair *p, bool from_a)
{
    struct secret s;

    memset(s.b, from_a ? 0xa0 : 0xb0, sizeof(s.b));
    memcpy(s.b, &p->generation, sizeof(p->generation));
    return s;
}

void pair_open(struct pair *p, bool b_learns)
{
    struct rpc_session_params at_a = {.slots = p->slots, .replay_bits = p->replay_bits};
    struct rpc_session_params at_b = at_a;

    p->generation++;
    at_a.index = at_b.peer_index = (p->generation & 0xfff) << RPC_INDEX_SLOT_BITS | 1;
    at_b.index = at_a.peer_index = (p->generation & 0xfff) << RPC_INDEX_SLOT_BITS | 2;
    at_a.send = at_b.recv = pair_secret(p, true);
    at_a.recv = at_b.send = pair_secret(p, false);
    at_a.addr = p->b.addr;
    if (!b_learns) {
        at_b.addr = p->a.addr;
    }
    at_a.user = 'a';
    at_b.user = 'b';
    p->a.index = at_a.index;
    p->b.index = at_b.index;
    assert_int_equal(rpc_session_open(p->a.rpc, p->now_ns, &at_a), OK);
    assert_int_equal(rpc_session_open(p->b.rpc, p->now_ns, &at_b), OK);
}

void pair_start(struct pair *p, const struct pair_options *o)
{
    *p = (struct pair){.now_ns = UINT64_C(1000000000000),
                       .slots = o->slots == 0 ? RPC_SLOTS_CLIENT : o->slots,
                       .replay_bits = o->replay_bits == 0 ? REPLAY_BITS_CLIENT : o->replay_bits};
    p->aead = aead_open_impl(aead_best());
    assert_non_null(p->aead);
    end_start(p, &p->a, o, 1);
    end_start(p, &p->b, o, 2);
    pair_open(p, o->b_learns);
}

void pair_stop(struct pair *p)
{
    rpc_fini(p->a.rpc);
    rpc_fini(p->b.rpc);
    free(p->a.region);
    free(p->b.region);
    aead_close_impl(p->aead);
}

bool pair_take(struct pair *p, struct end *from, uint8_t to[static DATAGRAM_MAX], size_t *ret_len)
{
    const struct abi_addr want = from == &p->a ? p->b.addr : p->a.addr;
    struct abi_addr addr;

    if (!rpc_transmit(from->rpc, p->now_ns, (struct mbytes){.p = to, .n = DATAGRAM_MAX}, &addr,
                      ret_len)) {
        return false;
    }
    assert_memory_equal(&addr, &want, sizeof(addr));
    return true;
}

enum err pair_give(struct pair *p, struct end *to, const uint8_t *datagram, size_t n)
{
    return rpc_receive(to->rpc, p->now_ns, (struct bytes){.p = datagram, .n = n},
                       to == &p->a ? p->b.addr : p->a.addr);
}

size_t pair_seal(const struct pair *p, const struct end *to, uint64_t number, struct bytes plain,
                 uint8_t datagram[static DATAGRAM_MAX])
{
    struct secret traffic = pair_secret(p, to == &p->b);
    struct rpc_header h = {.index = to->index, .number = number};
    uint8_t nonce[AEAD_IV_LEN];
    static struct aead_key key;
    struct secret secret;

    assert_true(plain.n <= RPC_BODY_MAX);
    kdf_secret(&traffic, "avocado rpc key", &secret);
    kdf_expand(&traffic, "avocado rpc iv", (struct mbytes){.p = nonce, .n = sizeof(nonce)});
    for (int i = 0; i < 8; i++) {
        nonce[AEAD_IV_LEN - 1 - i] ^= (uint8_t)(number >> 8 * i);
    }
    rpc_header_encode(&h, datagram);
    aead_key_init(p->aead, &key, &secret);
    aead_seal(p->aead, &key, nonce, (struct bytes){.p = datagram, .n = RPC_HEADER_LEN}, plain,
              datagram + RPC_HEADER_LEN);
    aead_key_fini(p->aead, &key);
    return RPC_HEADER_LEN + plain.n + AEAD_TAG_LEN;
}

enum err pair_inject(struct pair *p, struct end *to, uint64_t number, struct bytes plain)
{
    uint8_t datagram[DATAGRAM_MAX];
    size_t n = pair_seal(p, to, number, plain, datagram);

    return pair_give(p, to, datagram, n);
}

struct rpc_call pair_ask(struct pair *p, struct end *from, uint64_t cookie)
{
    static const uint8_t text[] = "the key and the value, 32 bytes.";
    struct rpc_question q = {.cookie = cookie,
                             .head_len = sizeof(cookie),
                             .key = {.p = text, .n = 12},
                             .value = {.p = text + 12, .n = 20}};
    struct rpc_call call;

    memcpy(q.head, &cookie, sizeof(cookie));
    assert_int_equal(rpc_call(from->rpc, p->now_ns, from->index, &q, &call), OK);
    return call;
}

struct rpc_event pair_expect(struct end *e, enum rpc_event_kind kind)
{
    struct rpc_event event;

    assert_true(rpc_next(e->rpc, &event));
    assert_int_equal(event.kind, kind);
    assert_int_equal(event.session, e->index);
    return event;
}

void pair_quiet(struct end *e)
{
    struct rpc_event event;

    assert_false(rpc_next(e->rpc, &event));
}

void pair_answer(struct end *e, struct rpc_request q, size_t n, uint8_t fill)
{
    struct mbytes to;

    assert_int_equal(rpc_reply_begin(e->rpc, q, n, &to), OK);
    assert_true(to.n >= n);
    memset(to.p, fill, n);
    rpc_reply_send(e->rpc, q, n);
}

/* Carries everything from `from` to `to`, which must have no event; returns the datagrams. */
int pair_carry_quiet(struct pair *p, struct end *from, struct end *to)
{
    int packets = 0;
    size_t n;

    while (pair_take(p, from, moved, &n)) {
        assert_int_equal(pair_give(p, to, moved, n), OK);
        pair_quiet(to);
        packets++;
    }
    return packets;
}

/* Exactly one moved, which brings an event of this kind first. */
struct rpc_event pair_carry_event(struct pair *p, struct end *from, struct end *to,
                                  enum rpc_event_kind kind)
{
    size_t n;

    assert_true(pair_take(p, from, moved, &n));
    assert_int_equal(pair_give(p, to, moved, n), OK);
    return pair_expect(to, kind);
}

/* What is ready is lost. */
int pair_lose(struct pair *p, struct end *from)
{
    int packets = 0;
    size_t n;

    while (pair_take(p, from, moved, &n)) {
        packets++;
    }
    return packets;
}

void pair_tick_when_due(struct pair *p, struct end *e)
{
    uint64_t at = rpc_deadline(e->rpc);

    assert_true(at != UINT64_MAX);
    p->now_ns = at > p->now_ns ? at : p->now_ns;
    rpc_tick(e->rpc, p->now_ns);
}

void pair_one_round_trip(struct pair *p, uint64_t cookie)
{
    struct rpc_event event;

    (void)pair_ask(p, &p->a, cookie);
    event = pair_carry_event(p, &p->a, &p->b, RPC_EVENT_REQUEST);
    pair_answer(&p->b, event.request, 5, 'x');
    event = pair_carry_event(p, &p->b, &p->a, RPC_EVENT_RESPONSE);
    assert_true(event.cookie == cookie);
    assert_int_equal(event.body.n, 5);
    assert_memory_equal(event.body.p, "xxxxx", 5);
    pair_quiet(&p->a);
}
