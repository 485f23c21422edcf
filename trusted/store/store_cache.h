// SPDX-License-Identifier: Apache-2.0
#ifndef TRUSTED_STORE_STORE_CACHE_H
#define TRUSTED_STORE_STORE_CACHE_H

/*
 * Records of keys whose leaf is cold (STORE-26): a hot key then costs 40 bytes inside, not the page
 * that it shares with a score of cold ones.
 *
 *   hash of the key -> chunk (linear hashing) -> bucket -> one of six entries
 *
 * A cache and no more: a change goes to the leaf first and then here, so that everything may be
 * dropped at any time. Keys are known by 128 bits of a hash under a secret key. Chunks come from
 * the heap one by one and go back to it in the opposite order.
 */

#include "common/bytes.h"
#include "common/siphash.h"
#include "trusted/mem/heap.h"
#include "trusted/store/store_record.h"

#include <stdbool.h>

enum {
    STORE_CACHE_CHUNK = 8 << 10, /* bytes: two pages of the heap, found wherever a slab was */
    STORE_CACHE_WAYS = 6,
};

/* How a key is known here. */
struct store_hash {
    uint64_t h[2];
};

struct store_cache {
    struct heap *heap;
    uint32_t *chunks;    /* references, chunks_max of them; NULL until the first chunk */
    uint32_t chunks_max; /* as many as the heap could hold */
    uint32_t chunks_n;
    uint32_t turned_away; /* entries that went or did not come since the last chunk did */
    uint64_t hits;
    uint8_t key[SIPHASH_KEY_LEN];
};

/* `key` is secret, and random. Allocates nothing. */
void store_cache_init(struct store_cache *c, struct heap *heap,
                      const uint8_t key[static SIPHASH_KEY_LEN]);
void store_cache_fini(struct store_cache *c);

struct store_hash store_cache_hash(const struct store_cache *c, struct bytes key);

/* What the key is held with, good until the next call; NULL: not known here. */
const struct store_record *store_cache_get(struct store_cache *c, const struct store_hash *key);
/* Asks for the memory that one of these will wait for. There is a chunk. */
void store_cache_fetch(const struct store_cache *c, const struct store_hash *key);
/* Three steps of the same, for whom has other things to do between them, and less memory: asks for
 * where it may be; for where it seems to be; finds it, and counts no use. */
void store_cache_expect(const struct store_cache *c, const struct store_hash *key);
void store_cache_expect_entry(const struct store_cache *c, const struct store_hash *key);
const struct store_record *store_cache_peek(const struct store_cache *c,
                                            const struct store_hash *key);
/* Remembers what a key is held with, or not: one that is used more often keeps its place. */
void store_cache_put(struct store_cache *c, const struct store_hash *key,
                     const struct store_record *r);
/* The key is held with something else now; NULL: it is no more. */
void store_cache_changed(struct store_cache *c, const struct store_hash *key,
                         const struct store_record *r);

/* One chunk more. False: the heap has none. */
bool store_cache_grow(struct store_cache *c);
/* Gives one chunk back, and all at the last one. */
void store_cache_shrink(struct store_cache *c);
/* Bytes of the heap. */
size_t store_cache_bytes(const struct store_cache *c);

#endif
