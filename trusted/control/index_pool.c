// SPDX-License-Identifier: Apache-2.0
#include "trusted/control/control_internal.h"

#include "common/check.h"
#include "common/index_check.h"

#include <stdlib.h>

enum {
    SLOT_BITS = 20,
    GENERATIONS = 0xfff,
    GENERATIONS_CHECKED = 0xf,
};

bool index_pool_init(struct index_pool *p, uint32_t slots_n, uint32_t key)
{
    CHECK(slots_n >= 1 && slots_n <= RPC_SESSIONS_MAX);
    *p = (struct index_pool){.slots_n = slots_n, .free_n = slots_n, .key = key};
    p->free = calloc(slots_n, sizeof(p->free[0]));
    p->generation = calloc(slots_n, sizeof(p->generation[0]));
    if (p->free == NULL || p->generation == NULL) {
        index_pool_fini(p);
        return false;
    }
    for (uint32_t i = 0; i < slots_n; i++) {
        p->free[i] = i;
    }
    return true;
}

void index_pool_fini(struct index_pool *p)
{
    free(p->free);
    free(p->generation);
    *p = (struct index_pool){0};
}

uint32_t index_pool_take(struct index_pool *p)
{
    uint16_t generations = p->key == 0 ? GENERATIONS : GENERATIONS_CHECKED;
    uint32_t slot = 0, index;

    CHECK(p->free_n > 0);
    slot = p->free[p->first];
    p->first = (p->first + 1) % p->slots_n;
    p->free_n--;
    p->generation[slot] = p->generation[slot] % generations + 1;
    index = (uint32_t)p->generation[slot] << SLOT_BITS | slot;
    return p->key == 0 ? index : index_check(p->key, index) << INDEX_CHECK_SHIFT | index;
}

void index_pool_give(struct index_pool *p, uint32_t index)
{
    uint32_t slot = index & ((1u << SLOT_BITS) - 1);

    CHECK(slot < p->slots_n && p->free_n < p->slots_n);
    p->free[(p->first + p->free_n) % p->slots_n] = slot;
    p->free_n++;
}
