// SPDX-License-Identifier: Apache-2.0
#ifndef TRUSTED_STORE_STORE_INDEX_H
#define TRUSTED_STORE_STORE_INDEX_H

/*
 * The ordered index of one shard: a B+tree in the enclave heap (STORE-1, STORE-2; store_node.h
 * draws a node). All leaves lie at one depth. Nodes that removals made small are joined with a
 * neighbour; without memory for that they stay, empty ones too. What a key is held with is changed
 * in its record.
 *
 * An insertion builds every node that it needs aside and links them with one write at the end, so
 * that running out of memory half-way leaves the tree as it was.
 */

#include "common/result.h"
#include "trusted/mem/heap.h"
#include "trusted/store/store_cache.h"
#include "trusted/store/store_node.h"
#include "trusted/store/store_pager.h"
#include "trusted/store/store_record.h"
#include "trusted/wire/tag.h"

enum {
    STORE_NODE_SOFT = 2048,  /* leaves are split beyond this, */
    STORE_INNER_SOFT = 1024, /* inner nodes beyond this, */
    STORE_PAGE_SOFT = 1024,  /* leaves beyond this once some are cold, */
    STORE_NODE_MAX = 4096,   /* or beyond this when they have few, long keys */
    STORE_NODE_ENTRIES = 16, /* what "few" is */
    STORE_DEPTH_MAX = 32,
    STORE_NEAR = 4 << 20, /* bytes */
    STORE_LEAF_MIN = HEAP_MOVABLE_MIN,
    STORE_LOOK_KEY_MAX = 64,  /* longer keys are looked up from the root again */
    STORE_EXPECT_BYTES = 512, /* of a value's beginning; then the processor sees where we go */
};

/* From the root ([0]) to a leaf ([depth]): the node, and the entry before which the key belongs
 * (inner nodes: the number of separators not above the key). */
struct store_path {
    struct {
        struct store_node *node;
        uint32_t at;
    } level[STORE_DEPTH_MAX + 1];
};

/* A lookup that was announced, and how far its way is known. */
struct store_look {
    struct store_node *parent; /* of the leaf; NULL: not known (any more) */
    uint32_t at;
    uint32_t key_len;
    struct store_hash hash; /* if `hashed` */
    bool hashed;
    uint8_t key[STORE_LOOK_KEY_MAX];
};

struct store_looks {
    uint64_t digest[STORE_LOOKS_MAX]; /* of the key: not secret, and compared first */
    uint32_t n;
    uint32_t next;   /* they come in the order in which they were announced, as a rule */
    uint32_t misses; /* lookups since then that were not announced */
    struct store_look look[STORE_LOOKS_MAX];
};

struct store_index {
    struct heap *heap;
    uint32_t root;
    uint32_t depth;         /* inner levels above the leaves */
    uint64_t bytes;         /* of heap that nodes and descriptors of cold leaves take */
    struct store_path path; /* of the last seek; here, for on the stack it would be cleared first */
    struct store_looks looks;
    bool lost; /* the last call met a leaf that the host destroyed: see below */
    struct store_pager pager;
    struct store_cache cache; /* records in cold leaves */
};

/* It is larger than what a processor keeps near: some second-level caches and more. */
static inline bool store_index_is_far(const struct store_index *x)
{
    return x->bytes > STORE_NEAR || x->pager.cold > 0;
}

/*
 * A leaf that was paged out and does not open any more is lost, for good: what stood there is
 * unknown, which is not the same as absent. Every function below that finds nothing may have done
 * so because of that, and has set `lost` then. Seek and find load a cold leaf that is used again;
 * walks look at a copy of it and disturb nothing. A payload is good until the next call.
 */

/* ENCLAVE_MEMORY when the heap cannot hold one node. `arena` and `sealer` are borrowed, for cold
 * leaves; `reserve` bytes of the heap are not used for leaves. `key` is secret and random: for the
 * table of cached records. */
RESULT store_index_init(struct store_index *x, struct heap *heap, struct store_arena *arena,
                        struct store_sealer *sealer, size_t reserve,
                        const uint8_t key[static SIPHASH_KEY_LEN]);
void store_index_fini(struct store_index *x);

/* What the key is held with; false if there is nothing. */
bool store_index_find(struct store_index *x, struct bytes key, struct store_record *ret);
/* Lookups of n <= STORE_LOOKS_MAX keys are about to come: the memory that they need is asked for,
 * cold leaves are opened, and the ways remembered. Changes nothing else. */
void store_index_expect(struct store_index *x, const struct bytes *keys, size_t n);
/* The payload of the key's entry, to change it, and remembers the way there; NULL if there is none.
 * `want`: STORE_USE, or STORE_KEEP for what changes the leaf's shape. */
uint8_t *store_index_seek(struct store_index *x, struct bytes key, enum store_want want);
/* Changes the record of `key` at the payload that the last call, a seek or a step of a walk, found.
 * Needs no memory. */
void store_index_save(struct store_index *x, struct bytes key, uint8_t *payload,
                      const struct store_record *r);
/* Pages leaves out until the heap's reserve is whole again, a bounded number of them. */
void store_index_balance(struct store_index *x);
/* Adds the key that the last call, a store_index_seek, did not find. ENCLAVE_MEMORY: nothing
 * changed. LOST: likewise, its leaf was needed inside and did not open. */
RESULT store_index_insert(struct store_index *x, struct bytes key,
                          const struct store_record *record);
/* Removes the entry of `key` that the last call, a store_index_seek, found. Needs no memory, but
 * may leave more nodes than necessary without. */
void store_index_remove(struct store_index *x, struct bytes key);
/* A walk in order over the entries, by the path of the last seek: any seek or change ends it. */

/* The payload of the first entry >= from, or, backwards, of the last one < from (an empty `from` is
 * then above all keys); NULL: there is none. `from` may be longer than a key. */
uint8_t *store_index_walk(struct store_index *x, struct bytes from, bool backwards);
/* The next entry in that direction; NULL at the end. */
uint8_t *store_index_step(struct store_index *x, bool backwards);
/* The payload of the entry that the walk stands at. */
uint8_t *store_index_here(const struct store_index *x);
/* Writes the key that the walk stands at to `to`, which has STORE_KEY_MAX bytes of room. */
size_t store_index_key(struct store_index *x, uint8_t *to);

#endif
