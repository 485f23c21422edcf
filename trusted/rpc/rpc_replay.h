// SPDX-License-Identifier: Apache-2.0
#ifndef TRUSTED_RPC_RPC_REPLAY_H
#define TRUSTED_RPC_RPC_REPLAY_H

/*
 * Which packet numbers were seen (RPC-9): a ring of 64-bit words after RFC 6479. Nothing is ever
 * shifted; one word is redundant, so that bits - 64 numbers below the highest are told apart. The
 * check is separate from the commit because an unauthentic packet must not move the window.
 *
 *      next - window                          next
 *           |<------- bit per number ---------->|
 *   too old | seen or not                       | new
 */

#include "common/result.h"

#include <stdint.h>

/* Packet numbers from here on are refused, and never sent: next + bits cannot wrap. */
static const uint64_t RPC_NUMBER_MAX = UINT64_MAX - (1 << 20);

enum rpc_replay_verdict {
    RPC_REPLAY_NEW = 1,
    RPC_REPLAY_OLD,
    RPC_REPLAY_DUP,
};

struct rpc_replay {
    uint64_t next; /* one above the highest number seen */
    uint64_t *words;
    uint32_t words_n; /* a power of two, at least 2 */
};

/* How many numbers below `next` are told apart. */
static inline uint64_t rpc_replay_window(const struct rpc_replay *w)
{
    return (uint64_t)(w->words_n - 1) * 64;
}

/* `words` has bits / 64 words; they are set to zero. */
void rpc_replay_init(struct rpc_replay *w, uint64_t *words, uint32_t bits);
/* Changes nothing. */
enum rpc_replay_verdict rpc_replay_check(const struct rpc_replay *w, uint64_t number);
/* For a number that rpc_replay_check called new and whose packet is authentic. */
void rpc_replay_commit(struct rpc_replay *w, uint64_t number);

#endif
