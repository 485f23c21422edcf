// SPDX-License-Identifier: Apache-2.0
#include "trusted/store/store_tidy.h"

#include "trusted/store/store_seal.h"

bool store_tidy_wanted(struct store_tidier *t, const struct store_arena *a)
{
    t->futile = t->futile < a->slots_free ? t->futile : a->slots_free;
    return t->active || (store_arena_is_sparse(a) && a->slots_free > t->futile + t->futile / 4);
}

/* True: moved. The host may change the bytes meanwhile, as it can before and after. */
static bool move(struct store_index *x, struct store_arena *a, struct bytes key, uint8_t *payload,
                 struct store_record *r)
{
    uint32_t padded = store_padded(store_record_len(r));
    uint32_t block = store_seal_block(padded);
    uint32_t from = r->place;

    if (!store_arena_is_draining(a, from) ||
        store_arena_take_tight(a, padded, block, &r->place) != OK) {
        return false;
    }
    memcpy(store_arena_at(a, r->place), store_arena_at(a, from), block);
    store_index_save(x, key, payload, r);
    store_arena_give(a, from, block);
    return true;
}

static void end(struct store_tidier *t, struct store_arena *a)
{
    store_arena_drain_end(a);
    t->active = false;
    t->futile = t->moved == t->began ? a->slots_free : 0;
    t->key_len = 0;
}

void store_tidy_step(struct store_tidier *t, struct store_index *x, struct store_arena *a)
{
    uint32_t bytes = 0;
    uint8_t *payload;

    if (!t->active) {
        if (!store_tidy_wanted(t, a)) {
            return;
        }
        store_arena_drain_begin(a);
        t->active = true;
        t->began = t->moved;
    }
    payload = store_index_walk(x, (struct bytes){t->key, t->key_len}, false);
    for (unsigned i = 0; i < STORE_TIDY_KEYS && bytes < STORE_TIDY_BYTES && payload != NULL; i++) {
        struct store_record r = store_record_load(payload);

        t->key_len = store_index_key(x, t->key);
        if (store_record_is_outside(&r) &&
            move(x, a, (struct bytes){t->key, t->key_len}, payload, &r)) {
            bytes += store_record_len(&r);
            t->moved++;
        }
        payload = store_index_step(x, false);
    }
    if (payload == NULL) { /* the end, or a page that is lost: what lies behind it waits */
        end(t, a);
    }
}
