// SPDX-License-Identifier: Apache-2.0
#ifndef TRUSTED_STORE_STORE_PAGER_H
#define TRUSTED_STORE_STORE_PAGER_H

/*
 * Leaves of the index that lie sealed in host memory (STORE-16 to STORE-20).
 *
 *   parent --> leaf                       resident; leaf.first --> descriptor, once it was out
 *   parent --> descriptor --> host        cold: the top bit of the reference is set
 *
 * The descriptor keeps the counter that the page was sealed with. Under a nonce that was used for
 * one page only, nothing else opens: no older page, no other page, none of another life. A leaf
 * that is loaded keeps its descriptor and its place, so that giving it up again unchanged costs
 * nothing.
 */

#include "common/limits.h"
#include "common/result.h"
#include "trusted/mem/heap.h"
#include "trusted/store/store_arena.h"
#include "trusted/store/store_node.h"
#include "trusted/store/store_seal.h"

enum {
    STORE_PAGE_MAX = 4096, /* bytes of the longest leaf */
    STORE_LOOKS_MAX = 16,  /* lookups that are announced together */
    STORE_COPIES = 1 + STORE_LOOKS_MAX,
    STORE_COPY_MAX = 2048, /* bytes of a leaf that is opened for an announced lookup */
    STORE_HOT_MAX = 3,
    STORE_HANDS = 40, /* size classes of leaves: eight per power of two */
};

/* What a cold leaf is wanted for. */
enum store_want {
    STORE_LOOK, /* a copy will do */
    STORE_USE,  /* resident if it was used before, a short while ago; else a copy */
    STORE_KEEP, /* resident, if there is room for it; else a copy */
};

static const uint32_t STORE_REF_COLD = UINT32_C(1) << 31;

/* Of a leaf that is or was cold. */
struct store_cold {
    uint64_t counter;
    uint32_t place; /* in the arena */
    uint16_t block; /* bytes of the leaf; 0: nothing is there, and if it is cold, it is lost */
    uint8_t n;      /* its keys */
    uint8_t seen;   /* the period of its last use while cold; 0: none */
};

struct store_pager {
    struct store_arena *arena;
    struct store_sealer *sealer;
    size_t reserve;                 /* bytes of the heap that leaves leave to others */
    struct store_node *pinned[2];   /* in use: not to be paged out */
    uint32_t hand;                  /* page of the heap where the search over all classes goes on */
    uint32_t hands[STORE_HANDS];    /* the same for one class of leaves */
    uint32_t period, uses;          /* of cold leaves: see store_leaf_load */
    uint32_t effort;                /* slabs emptied for the cache's next chunk */
    uint64_t cold, lost;            /* leaves */
    uint64_t lost_keys;             /* in the lost ones */
    uint64_t ins, outs, reads;      /* loads, seals, looks at a cold leaf that stayed cold */
    void *swept[HEAP_MOVABLE_SLAB]; /* what a step of the hand looks at */
    uint8_t key[STORE_KEY_MAX];     /* of a leaf that is looked for */
    /* Cold leaves that are open: what each copy is of, or 0. The first is `scratch`; the others are
     * for announced lookups and come from the heap when they are first needed. */
    uint32_t copy_of[STORE_COPIES];
    struct store_node *copies[STORE_COPIES];
    _Alignas(64) uint8_t scratch[STORE_PAGE_MAX];
};

static inline bool store_is_cold(uint32_t ref)
{
    return (ref & STORE_REF_COLD) != 0;
}

#endif
