// SPDX-License-Identifier: Apache-2.0
#ifndef COMMON_SLOTS_H
#define COMMON_SLOTS_H

/*
 * Where a key belongs (CFG-6). It hashes to one of SLOTS_N slots. A group is a run of slots that
 * one set of replicas holds; a shard is the run of slots that one worker of every node serves. Both
 * are numbers of a fixed division, so a group may lie in several shards, and a shard in several
 * groups; what lies in one of each is a part.
 *
 *   slots    0 .................................................................. 1023
 *   groups   |    0    |    1    |    2    |    3    |    4    |    5    |   6   |  7  |
 *   shards   |              0              |            1             |       2       |
 */

#include "common/bytes.h"
#include "common/check.h"
#include "common/limits.h"
#include "common/siphash.h"

/* SipHash-2-4 under the cluster's id. */
static inline uint32_t slot_of(const uint8_t cluster_id[static SIPHASH_KEY_LEN], struct bytes key)
{
    return (uint32_t)(siphash(cluster_id, key) & (SLOTS_N - 1));
}

/* Which of n equal runs the slot lies in: groups, shards. */
static inline uint32_t slot_run(uint32_t slot, uint32_t n)
{
    CHECK(n >= 1 && n <= SLOTS_N && slot < SLOTS_N);
    return slot * n / SLOTS_N;
}

/* The first slot of run i of n. With i == n: SLOTS_N. */
static inline uint32_t slot_first(uint32_t i, uint32_t n)
{
    return (i * SLOTS_N + n - 1) / n;
}

/* Parts are numbered in the order of slots: from one to the next the shard or the group grows, or
 * both, and then a number is left out. Below shards + groups - 1. */
static inline uint32_t slot_part(uint32_t slot, uint32_t shards, uint32_t groups)
{
    return slot_run(slot, shards) + slot_run(slot, groups);
}

/* Shard and group of a part; false: that number is left out. */
static inline bool slot_part_is(uint32_t part, uint32_t shards, uint32_t groups,
                                uint32_t *ret_shard, uint32_t *ret_group)
{
    for (uint32_t s = 0; s < shards && s <= part; s++) {
        uint32_t g = part - s;

        if (g < groups && slot_first(s, shards) < slot_first(g + 1, groups) &&
            slot_first(g, groups) < slot_first(s + 1, shards)) {
            *ret_shard = s;
            *ret_group = g;
            return true;
        }
    }
    return false;
}

#endif
