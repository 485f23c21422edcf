// SPDX-License-Identifier: Apache-2.0
#include "common/bytes.h"
#include "common/check.h"
#include "common/siphash.h"
#include "trusted/config/cluster.h"

uint32_t cluster_shard_of(const uint8_t id[static CLUSTER_ID_LEN], uint32_t shards,
                          const uint8_t *key, size_t key_len)
{
    uint64_t slot = siphash(id, (struct bytes){.p = key, .n = key_len}) & (SLOTS_N - 1);

    CHECK(shards >= 1 && shards <= SHARDS_MAX);
    return (uint32_t)(slot * shards / SLOTS_N);
}
