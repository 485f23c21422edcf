// SPDX-License-Identifier: Apache-2.0
#ifndef TESTS_STORE_FIXTURE_H
#define TESTS_STORE_FIXTURE_H

/* A store with a heap and an arena of its own, and a sorted array that says what it must hold. */

#include "common/prng.h"
#include "trusted/store/store.h"

struct fixture {
    void *region;
    struct heap *heap;
    size_t heap_before; /* used, before the store was made */
    struct aead *aead;
    uint8_t *arena;
    uint64_t arena_bytes;
    struct store *store;
};

struct fixture_options {
    size_t heap_bytes;
    uint64_t arena_bytes;
    uint32_t shard;
    uint8_t secret; /* the master secret is made of it */
    size_t leaves;  /* bytes of the heap for leaves of the index, about; 0: as many as there are */
};

/* Aborts when it cannot. */
void fixture_open(struct fixture *f, const struct fixture_options *o);
/* False when the store did not give everything back to the heap. */
bool fixture_close(struct fixture *f);

struct model_entry {
    struct tag tag;
    bool tombstone;
    bool damaged; /* the store reported INTEGRITY */
    uint32_t key_len;
    uint32_t value_len;
    uint8_t *key;
    uint8_t *value;
};

struct model {
    struct model_entry *entries; /* sorted */
    size_t n, cap;
};

void model_fini(struct model *m);
struct model_entry *model_find(struct model *m, struct bytes key);
/* The first entry >= from (> from when `after`); NULL at the end. */
struct model_entry *model_next(struct model *m, struct bytes from, bool after);
/* What store_apply must do; true when applied. */
bool model_apply(struct model *m, struct bytes key, struct tag tag, bool tombstone,
                 struct bytes value);
/* What store_remove must do; true when removed. */
bool model_remove(struct model *m, struct bytes key, struct tag tag);
/* The store holds exactly what the model does: order, metadata, values, counts. */
bool model_equals(struct model *m, struct store *s);

/* A key of one of several shapes: short ones of few letters, long common prefixes, zeroes and 0xff,
 * any length. Returns the length. */
size_t draw_key(struct prng *p, uint8_t to[static KEY_MAX]);
/* A length at or around the border of a size class, up to `max`. */
uint32_t draw_len(struct prng *p, uint32_t max);
void draw_bytes(struct prng *p, uint8_t *to, size_t n);

#endif
