// SPDX-License-Identifier: Apache-2.0
/*
 * A peer that authenticates and then says anything. The input is a script: each step is an opcode
 * byte with what it needs; frames are whatever bytes follow. The victim also calls, answers late,
 * cancels and ages meanwhile. Nothing may crash, and all memory comes back.
 */
#include "common/check.h"
#include "common/codec.h"
#include "trusted/crypto/kdf.h"
#include "trusted/rpc/rpc.h"
#include "trusted/wire/rpc_wire.h"

#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

enum { HEAP = 5 << 18, INDEX = 5 << 20 | 1, MESSAGE = 60000, HELD = 16 };

static struct aead *aead;
static struct aead_key key;
static uint8_t iv[AEAD_IV_LEN];

struct victim {
    struct heap *heap;
    struct rpc *rpc;
    uint64_t now_ns, number;
    struct rpc_call call;
    struct rpc_request held[HELD];
    uint32_t held_n;
};

static void once(void)
{
    struct secret traffic = {{2}};
    struct secret secret;

    if (aead == NULL) {
        aead = aead_open_impl(aead_best());
        CHECK(aead != NULL);
        kdf_secret(&traffic, "avocado rpc key", &secret);
        kdf_expand(&traffic, "avocado rpc iv", (struct mbytes){.p = iv, .n = sizeof(iv)});
        aead_key_init(aead, &key, &secret);
    }
}

static void inject(struct victim *v, struct bytes plain)
{
    static uint8_t datagram[DATAGRAM_MAX];
    struct rpc_header h = {.index = INDEX, .number = v->number++};
    uint8_t nonce[AEAD_IV_LEN];

    memcpy(nonce, iv, sizeof(nonce));
    for (int i = 0; i < 8; i++) {
        nonce[AEAD_IV_LEN - 1 - i] ^= (uint8_t)(h.number >> 8 * i);
    }
    rpc_header_encode(&h, datagram);
    aead_seal(aead, &key, nonce, (struct bytes){.p = datagram, .n = RPC_HEADER_LEN}, plain,
              datagram + RPC_HEADER_LEN);
    if (rpc_receive(v->rpc, v->now_ns,
                    (struct bytes){.p = datagram, .n = RPC_HEADER_LEN + plain.n + AEAD_TAG_LEN},
                    (struct abi_addr){.family = 4, .port = 9}) != OK) {
        v->number += 3; /* closed, or led into another phase: a gap does not matter */
    }
}

static void answer(struct victim *v, uint32_t i, size_t n)
{
    struct mbytes to;

    if (i < v->held_n) {
        struct rpc_request q = v->held[i];

        v->held[i] = v->held[--v->held_n];
        if (rpc_reply_begin(v->rpc, q, n, &to) == OK) {
            memset(to.p, 0x5a, n);
            rpc_reply_send(v->rpc, q, n);
        }
    }
}

static void drain(struct victim *v)
{
    struct rpc_event event;
    uint8_t sum = 0;

    while (rpc_next(v->rpc, &event)) {
        for (size_t i = 0; i < event.body.n; i++) {
            sum ^= event.body.p[i]; /* the sanitizer looks on */
        }
        if (event.kind == RPC_EVENT_REQUEST) {
            if (v->held_n == HELD) {
                answer(v, 0, sum);
            }
            v->held[v->held_n++] = event.request;
        }
    }
}

static void transmit(struct victim *v)
{
    static uint8_t to[DATAGRAM_MAX];
    struct abi_addr addr;
    size_t n;

    for (int i = 0; i < 200 && rpc_transmit(v->rpc, v->now_ns,
                                            (struct mbytes){.p = to, .n = sizeof(to)}, &addr, &n);
         i++) {
        CHECK(n <= DATAGRAM_MIN);
    }
}

static void call(struct victim *v, size_t n)
{
    static const uint8_t value[1 << 16];
    struct rpc_question q = {.head_len = 3, .value = {.p = value, .n = n}};

    struct rpc_call made;

    if (rpc_call(v->rpc, v->now_ns, INDEX, &q, &made) == OK) {
        v->call = made;
    }
}

static void step(struct victim *v, struct reader *r)
{
    uint8_t op = get_u8(r);
    uint16_t arg = get_u16(r);

    switch (op % 8) {
    case 0:
    case 1:
        inject(v, get_bytes(r, arg % 1200 < r->rest.n ? arg % 1200 : r->rest.n));
        drain(v);
        break;
    case 2:
        call(v, arg);
        break;
    case 3:
        rpc_cancel(v->rpc, &v->call);
        break;
    case 4:
        answer(v, arg % HELD, (size_t)(arg / HELD) * 16);
        break;
    case 5:
        transmit(v);
        break;
    case 6:
        v->now_ns += (uint64_t)arg * 100000;
        rpc_tick(v->rpc, v->now_ns);
        drain(v);
        break;
    default:
        (void)rpc_deadline(v->rpc);
        break;
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct rpc_session_params p = {.index = INDEX,
                                   .peer_index = 7,
                                   .send = {{1}},
                                   .recv = {{2}},
                                   .slots = 70,
                                   .replay_bits = REPLAY_BITS_CLIENT,
                                   .addr = {.family = 4, .port = 9}};
    struct rpc_config c = {.sessions_max = 2,
                           .datagram_bytes = DATAGRAM_MIN,
                           .message_max = MESSAGE,
                           .key_packets = 5};
    struct reader r = {.rest = {.p = data, .n = size}};
    struct victim v = {.now_ns = 1000000000};
    void *region;
    size_t before;

    once();
    region = calloc(1, HEAP + 64); /* a fresh one each time: the heap poisons what is free */
    CHECK(region != NULL);
    CHECK(heap_init((void *)(((uintptr_t)region + 63) / 64 * 64), HEAP, &v.heap) == OK);
    before = heap_used(v.heap);
    c.heap = v.heap;
    c.aead = aead;
    CHECK(rpc_init(&c, &v.rpc) == OK);
    CHECK(rpc_session_open(v.rpc, v.now_ns, &p) == OK);
    while (r.rest.n != 0) {
        step(&v, &r);
        if (r.failed) {
            break;
        }
    }
    transmit(&v);
    rpc_session_close(v.rpc, INDEX, true);
    drain(&v);
    transmit(&v);
    rpc_fini(v.rpc);
    CHECK(heap_used(v.heap) == before);
    free(region);
    return 0;
}
