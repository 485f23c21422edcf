// SPDX-License-Identifier: Apache-2.0
#include "trusted/store/store_cache.h"

#include "common/check.h"
#include "trusted/store/store_ref.h"

/*
 * Which entries stay: each hit raises an entry's counter. What comes to a full bucket looks at one
 * entry, the next in turn: at zero that one goes, else it is lowered and the newcomer turned away.
 * So an entry stays that is used more than once in six arrivals, and a key that is used once
 * displaces none that is used often.
 */

enum {
    HOT_MAX = 15,
    BUCKETS = STORE_CACHE_CHUNK / 256,
    LINE = 64,
};

struct entry {
    uint64_t hash[2];
    struct store_record record;
};

struct bucket {
    uint8_t mark[8]; /* of the entry's hash; 0: nothing there. The last two are not entries */
    uint8_t hot[STORE_CACHE_WAYS];
    uint8_t hand;
    uint8_t spare;
    struct entry e[STORE_CACHE_WAYS];
};
_Static_assert(sizeof(struct bucket) == 256 && sizeof(struct entry) == 40, "four lines");

struct slot {
    struct bucket *bucket;
    struct store_hash hash;
    uint8_t mark;
};

void store_cache_init(struct store_cache *c, struct heap *heap,
                      const uint8_t key[static SIPHASH_KEY_LEN])
{
    *c = (struct store_cache){
        .heap = heap,
        .chunks_max = (uint32_t)(heap_limit(heap) / STORE_CACHE_CHUNK + 1),
    };
    memcpy(c->key, key, sizeof(c->key));
}

void store_cache_fini(struct store_cache *c)
{
    while (c->chunks_n > 0) {
        store_cache_shrink(c);
    }
}

/* The greatest power of two that is not above n. */
static uint32_t power_below(uint32_t n)
{
    return UINT32_C(1) << (31U - (uint32_t)__builtin_clz(n));
}

/* Linear hashing (Litwin, VLDB '80): chunks beyond the last power of two took half of what was
 * their sibling's. */
static uint32_t chunk_of(const struct store_cache *c, uint64_t hash)
{
    uint32_t half = power_below(c->chunks_n);
    uint32_t i = (uint32_t)hash & (2 * half - 1);

    return i < c->chunks_n ? i : i & (half - 1);
}

static struct bucket *bucket_at(const struct store_cache *c, uint32_t chunk, uint64_t hash)
{
    struct bucket *buckets = store_deref(c->heap, c->chunks[chunk]);

    return &buckets[hash >> 40 & (BUCKETS - 1)];
}

struct store_hash store_cache_hash(const struct store_cache *c, struct bytes key)
{
    struct store_hash hash;

    siphash_wide(c->key, key, hash.h);
    return hash;
}

static struct slot slot_of(const struct store_cache *c, const struct store_hash *key)
{
    return (struct slot){
        .bucket = bucket_at(c, chunk_of(c, key->h[0]), key->h[0]),
        .hash = *key,
        .mark = (uint8_t)(1 + key->h[1] % UINT8_MAX),
    };
}

/* The entry's number, or STORE_CACHE_WAYS. */
static unsigned search(const struct slot *s)
{
    unsigned i = 0;

    while (i < STORE_CACHE_WAYS &&
           (s->bucket->mark[i] != s->mark || s->bucket->e[i].hash[0] != s->hash.h[0] ||
            s->bucket->e[i].hash[1] != s->hash.h[1])) {
        i++;
    }
    return i;
}

const struct store_record *store_cache_get(struct store_cache *c, const struct store_hash *key)
{
    if (c->chunks_n == 0) {
        return NULL;
    }
    struct slot s = slot_of(c, key);
    unsigned i = search(&s);

    if (i == STORE_CACHE_WAYS) {
        return NULL;
    }
    if (s.bucket->hot[i] < HOT_MAX) {
        s.bucket->hot[i]++;
    }
    c->hits++;
    return &s.bucket->e[i].record;
}

void store_cache_fetch(const struct store_cache *c, const struct store_hash *key)
{
    struct slot s = slot_of(c, key);

    for (size_t i = 0; i < sizeof(struct bucket); i += LINE) {
        __builtin_prefetch((uint8_t *)s.bucket + i);
    }
}

void store_cache_expect(const struct store_cache *c, const struct store_hash *key)
{
    __builtin_prefetch(slot_of(c, key).bucket);
}

void store_cache_expect_entry(const struct store_cache *c, const struct store_hash *key)
{
    struct slot s = slot_of(c, key);

    for (unsigned i = 0; i < STORE_CACHE_WAYS; i++) {
        if (s.bucket->mark[i] == s.mark) {
            __builtin_prefetch(&s.bucket->e[i]);
            __builtin_prefetch((uint8_t *)&s.bucket->e[i + 1] - 1);
        }
    }
}

const struct store_record *store_cache_peek(const struct store_cache *c,
                                            const struct store_hash *key)
{
    struct slot s = slot_of(c, key);
    unsigned i = search(&s);

    return i == STORE_CACHE_WAYS ? NULL : &s.bucket->e[i].record;
}

static void fill(struct bucket *b, unsigned i, const struct slot *s, const struct store_record *r)
{
    b->mark[i] = s->mark;
    b->hot[i] = 0;
    b->e[i] = (struct entry){.hash = {s->hash.h[0], s->hash.h[1]}, .record = *r};
}

void store_cache_put(struct store_cache *c, const struct store_hash *key,
                     const struct store_record *r)
{
    if (c->chunks_n == 0) {
        c->turned_away++;
        return;
    }
    struct slot s = slot_of(c, key);
    struct bucket *b = s.bucket;
    unsigned i = search(&s);

    if (i < STORE_CACHE_WAYS) {
        b->e[i].record = *r;
        return;
    }
    for (i = 0; i < STORE_CACHE_WAYS; i++) {
        if (b->mark[i] == 0) {
            fill(b, i, &s, r);
            return;
        }
    }
    c->turned_away++;
    i = b->hand;
    b->hand = (uint8_t)((i + 1) % STORE_CACHE_WAYS);
    if (b->hot[i] > 0) {
        b->hot[i]--;
    } else {
        fill(b, i, &s, r);
    }
}

void store_cache_changed(struct store_cache *c, const struct store_hash *key,
                         const struct store_record *r)
{
    if (c->chunks_n == 0) {
        return;
    }
    struct slot s = slot_of(c, key);
    unsigned i = search(&s);

    if (i == STORE_CACHE_WAYS) {
        return;
    }
    if (r != NULL) {
        s.bucket->e[i].record = *r;
    } else {
        s.bucket->mark[i] = 0;
    }
}

/* What belongs into the new chunk moves there. Were it left behind, it would be found again, and
 * be old, when the new chunk goes. */
static void divide(struct store_cache *c, uint32_t from, uint32_t to)
{
    struct bucket *buckets = store_deref(c->heap, c->chunks[from]);

    for (uint32_t at = 0; at < BUCKETS; at++) {
        struct bucket *b = &buckets[at];

        for (unsigned i = 0; i < STORE_CACHE_WAYS; i++) {
            if (b->mark[i] != 0 && chunk_of(c, b->e[i].hash[0]) != from) {
                struct bucket *other = bucket_at(c, to, b->e[i].hash[0]);

                other->mark[i] = b->mark[i];
                other->hot[i] = b->hot[i];
                other->e[i] = b->e[i];
                b->mark[i] = 0;
            }
        }
    }
}

static bool have_table(struct store_cache *c)
{
    if (c->chunks == NULL) {
        c->chunks = heap_zalloc(c->heap, c->chunks_max * sizeof(*c->chunks));
    }
    return c->chunks != NULL;
}

bool store_cache_grow(struct store_cache *c)
{
    uint32_t n = c->chunks_n;
    void *chunk;

    if (n == c->chunks_max || !have_table(c)) {
        return false;
    }
    chunk = heap_zalloc(c->heap, STORE_CACHE_CHUNK);
    if (chunk == NULL) {
        return false;
    }
    c->chunks[n] = store_ref(c->heap, chunk);
    c->chunks_n++;
    c->turned_away = 0;
    if (n > 0) {
        divide(c, n - power_below(n), n);
    }
    return true;
}

void store_cache_shrink(struct store_cache *c)
{
    CHECK(c->chunks_n > 0);
    c->chunks_n--;
    heap_free(c->heap, store_deref(c->heap, c->chunks[c->chunks_n]), STORE_CACHE_CHUNK);
    if (c->chunks_n == 0) {
        heap_free(c->heap, c->chunks, c->chunks_max * sizeof(*c->chunks));
        c->chunks = NULL;
    }
}

size_t store_cache_bytes(const struct store_cache *c)
{
    return c->chunks == NULL
               ? 0
               : (size_t)c->chunks_n * STORE_CACHE_CHUNK + c->chunks_max * sizeof(*c->chunks);
}
