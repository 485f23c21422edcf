// SPDX-License-Identifier: Apache-2.0
#include "trusted/store/store_index_internal.h"

/*
 * Lookups that are about to come, made side by side: each step of one asks for the memory that its
 * next step needs and goes on with the others. One lookup waits for memory some five times; sixteen
 * of these wait hardly longer than one. What is read here is read again by the lookup itself, from
 * the processor's caches; nothing is decided on it.
 */

enum way {
    GOES_DOWN,
    AT_LEAF,
    AT_RECORD, /* its payload is on its way */
    COLD,      /* the descriptor is */
    ENDS,
};

struct look {
    struct bytes key;
    struct store_node *node;
    const void *at; /* payload or descriptor */
    enum way way;
};

static void fetch(const void *p, size_t bytes)
{
    const uint8_t *at = p;

    for (size_t i = 0; i < bytes; i += STORE_LINE) {
        __builtin_prefetch(at + i);
    }
}

static void fetch_value(const struct store_index *x, const struct store_record *r)
{
    uint32_t len = r->value & STORE_VALUE_LEN_MASK;

    if (len > STORE_SMALL_MAX) {
        size_t block = store_seal_block(store_padded(len));

        fetch(store_arena_at(x->pager.arena, r->place),
              block < STORE_EXPECT_BYTES ? block : STORE_EXPECT_BYTES);
    }
}

static void step(const struct store_index *x, struct look *l, bool above_leaf)
{
    uint32_t ref;

    if (l->way != GOES_DOWN) {
        return;
    }
    ref = child(l->node, route(l->node, l->key));
    if (store_is_cold(ref)) {
        l->at = store_deref(x->heap, ref & ~STORE_REF_COLD);
        l->way = COLD;
        __builtin_prefetch(l->at);
        return;
    }
    l->node = enter(x, ref);
    l->way = above_leaf ? AT_LEAF : GOES_DOWN;
}

/* The entry whose head is the key's, or the next one: as a rule it is the one. */
static void guess_record(struct look *l)
{
    unsigned at;

    if (l->way != AT_LEAF) {
        return;
    }
    at = store_node_guess(l->node, store_node_suffix(l->node, l->key));
    if (at == l->node->n) {
        l->way = ENDS;
        return;
    }
    l->at = store_node_payload(l->node, at);
    l->way = AT_RECORD;
    fetch(l->at, STORE_RECORD_LEN + STORE_LINE);
}

static void fetch_place(const struct store_index *x, const struct look *l)
{
    if (l->way == AT_RECORD) {
        const struct store_record r = store_record_load(l->at);

        fetch_value(x, &r);
    } else if (l->way == COLD) {
        const struct store_cold *cold = l->at;

        if (cold->block != 0) {
            fetch(store_arena_at(x->pager.arena, cold->place), cold->block);
        }
    }
}

void store_index_expect(struct store_index *x, const struct bytes *keys, size_t n)
{
    struct look looks[STORE_LOOKS_MAX];

    CHECK(n <= STORE_LOOKS_MAX);
    for (size_t i = 0; i < n; i++) {
        looks[i] = (struct look){.key = keys[i],
                                 .node = node_at(x, x->root),
                                 .way = x->depth == 0 ? AT_LEAF : GOES_DOWN};
        store_cache_expect(&x->cache, keys[i]);
    }
    for (size_t i = 0; i < n && x->cache.chunks_n > 0; i++) {
        const struct store_record *known = store_cache_peek(&x->cache, keys[i]);

        if (known != NULL) {
            fetch_value(x, known);
            looks[i].way = ENDS;
        }
    }
    for (uint32_t level = 0; level < x->depth; level++) {
        for (size_t i = 0; i < n; i++) {
            step(x, &looks[i], level + 1 == x->depth);
        }
    }
    for (size_t i = 0; i < n; i++) {
        guess_record(&looks[i]);
    }
    for (size_t i = 0; i < n; i++) {
        fetch_place(x, &looks[i]);
    }
}
