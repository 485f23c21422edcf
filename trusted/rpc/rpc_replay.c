// SPDX-License-Identifier: Apache-2.0
#include "trusted/rpc/rpc_replay.h"

#include "common/check.h"

#include <string.h>

void rpc_replay_init(struct rpc_replay *w, uint64_t *words, uint32_t bits)
{
    CHECK(bits >= 128 && (bits & (bits - 1)) == 0);
    *w = (struct rpc_replay){.words = words, .words_n = bits / 64};
    memset(words, 0, bits / 8);
}

enum rpc_replay_verdict rpc_replay_check(const struct rpc_replay *w, uint64_t number)
{
    uint64_t word;

    if (number >= RPC_NUMBER_MAX) {
        return RPC_REPLAY_OLD;
    }
    if (number >= w->next) {
        return RPC_REPLAY_NEW;
    }
    if (w->next - number > rpc_replay_window(w)) {
        return RPC_REPLAY_OLD;
    }
    word = w->words[number / 64 & (w->words_n - 1)];
    return (word >> number % 64 & 1) != 0 ? RPC_REPLAY_DUP : RPC_REPLAY_NEW;
}

void rpc_replay_commit(struct rpc_replay *w, uint64_t number)
{
    uint64_t mask = w->words_n - 1;

    CHECK(number < RPC_NUMBER_MAX);
    if (number >= w->next) {
        uint64_t top = w->next == 0 ? 0 : (w->next - 1) / 64;
        uint64_t steps = number / 64 - top;

        for (uint64_t i = 1; i <= steps && i <= w->words_n; i++) {
            w->words[(top + i) & mask] = 0;
        }
        w->next = number + 1;
    }
    w->words[number / 64 & mask] |= UINT64_C(1) << number % 64;
}
