// SPDX-License-Identifier: Apache-2.0
#include "common/check.h"
#include "common/slots.h"
#include "trusted/config/cluster.h"

_Static_assert((int)CLUSTER_ID_LEN == (int)SIPHASH_KEY_LEN, "the id is the key of the hash");

uint32_t cluster_shard_of(const uint8_t id[static CLUSTER_ID_LEN], uint32_t shards,
                          const uint8_t *key, size_t key_len)
{
    CHECK(shards >= 1 && shards <= SHARDS_MAX);
    return slot_run(slot_of(id, (struct bytes){.p = key, .n = key_len}), shards);
}
