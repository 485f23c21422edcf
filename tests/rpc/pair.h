// SPDX-License-Identifier: Apache-2.0
#ifndef TESTS_RPC_PAIR_H
#define TESTS_RPC_PAIR_H

/* Two endpoints joined by one session, in memory. Time stands still unless the test moves it. */

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "trusted/rpc/rpc.h"

#define MS UINT64_C(1000000)

struct end {
    void *region;
    struct heap *heap;
    struct rpc *rpc;
    size_t heap_at_start; /* used before the session */
    uint32_t index;       /* of our session */
    struct abi_addr addr; /* ours */
};

struct pair {
    struct aead *aead;
    uint64_t now_ns;
    struct end a, b;
    uint32_t generation;
    uint32_t slots, replay_bits;
};

struct pair_options {
    size_t heap_bytes;       /* 0: 32 MiB */
    uint32_t datagram_bytes; /* 0: DATAGRAM_DEFAULT */
    uint32_t message_max;    /* 0: 1 MiB and a bit */
    uint64_t key_packets;
    uint32_t slots, replay_bits; /* 0: a client's */
    bool b_learns;               /* b does not know a's address */
};

void pair_start(struct pair *p, const struct pair_options *o);
void pair_stop(struct pair *p);
/* The session alone; pair_start opens the first. Every one has a new generation and new keys. */
void pair_open(struct pair *p, bool b_learns);
/* What the other end was given, for forging. */
struct secret pair_secret(const struct pair *p, bool from_a);

/* One datagram from `from`, or false. */
bool pair_take(struct pair *p, struct end *from, uint8_t to[static DATAGRAM_MAX], size_t *ret_len);
enum err pair_give(struct pair *p, struct end *to, const uint8_t *datagram, size_t n);

/* Seals any frames as the end that sends to `to` would: what an authenticated but malicious peer
 * can do. Phase 0 keys. Returns the datagram's length. */
size_t pair_seal(const struct pair *p, const struct end *to, uint64_t number, struct bytes plain,
                 uint8_t datagram[static DATAGRAM_MAX]);
/* Seals and gives it. */
enum err pair_inject(struct pair *p, struct end *to, uint64_t number, struct bytes plain);

/* A 40-byte question with this cookie, head `cookie`; key and value static. */
struct rpc_call pair_ask(struct pair *p, struct end *from, uint64_t cookie);
/* The next event must be of this kind. */
struct rpc_event pair_expect(struct end *e, enum rpc_event_kind kind);
void pair_quiet(struct end *e); /* there must be no event */
/* Answers `n` bytes, all of them `fill`. */
void pair_answer(struct end *e, struct rpc_request q, size_t n, uint8_t fill);

/* Carries everything from `from` to `to`, which must have no event; returns the datagrams. */
int pair_carry_quiet(struct pair *p, struct end *from, struct end *to);
/* Exactly one datagram, which brings an event of this kind first. */
struct rpc_event pair_carry_event(struct pair *p, struct end *from, struct end *to,
                                  enum rpc_event_kind kind);
/* What is ready is lost. */
int pair_lose(struct pair *p, struct end *from);
void pair_tick_when_due(struct pair *p, struct end *e);
void pair_one_round_trip(struct pair *p, uint64_t cookie);

#endif
