// SPDX-License-Identifier: Apache-2.0
#ifndef TRUSTED_STORE_STORE_ARENA_H
#define TRUSTED_STORE_STORE_ARENA_H

/*
 * Allocator of host memory whose whole state lies in the enclave heap: what the host does to the
 * arena can damage values, never this (STORE-9). It hands out places, not pointers.
 *
 *   arena   | span 64 KiB | span 64 KiB | ...              one word of `free_pages` each
 *   span    | slot | slot | slot | ... | rest |            blocks of one class, one bit each; or
 *           | page 1 KiB | page | ... 64 of them           runs of pages, which may cross spans
 *
 * Blocks of up to STORE_SLOT_MAX bytes share spans by class and take O(1); larger ones take runs of
 * pages, found by a scan of 64 pages a step that begins where the last one ended. A span whose
 * last slot is given back becomes 64 free pages again. Nothing here remembers one block's size:
 * the caller gives it back.
 */

#include "common/result.h"
#include "trusted/mem/heap.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum {
    STORE_UNIT = 8, /* bytes that one step of a place stands for */
    STORE_PAGE = 1024,
    STORE_SPAN = 64 * STORE_PAGE,
    STORE_PADDED_SLOT_MAX = 8192, /* larger padded values take runs of pages */
    STORE_SLOT_CLASSES = 56,
    STORE_BLOCK_EXTRA = 24,     /* counter and one authentication tag */
    STORE_IDLE_MIN = 16,        /* spans that are kept for the next value rather than given back */
    STORE_IDLE_SHARE = 8,       /* or this part of those in use, if that is more */
    STORE_TRIM_MAX = 32,        /* spans given back at once */
    STORE_SPARSE_MIN = 1 << 20, /* free bytes in slots that are worth moving values for, */
    STORE_SPARSE_SHARE = 3,     /* if they are this part of all slots */
};

/* Places are 32 bits wide; host memory beyond this is not used. */
static const uint64_t STORE_ARENA_MAX = (uint64_t)STORE_UNIT << 32;

struct store_arena {
    struct heap *heap;
    uint8_t *base;        /* host memory */
    uint32_t spans_n;     /* the last one may be partial */
    uint32_t cursor;      /* word in which the next search for a run begins */
    uint32_t hopeless;    /* no run of this many pages exists since the last give; 0: unknown */
    uint64_t pages_n;     /* usable */
    uint64_t pages_taken; /* by spans of slots and by runs */
    uint64_t *free_pages; /* per span: bit i says that page i is free */
    uint64_t *free_spans; /* bit i says that free_pages[i] is all ones */
    uint64_t *touched;   /* bit i says that the host has memory there: written and not given back */
    uint32_t *span_at;   /* per span: reference to struct span, 0 when it holds no slots */
    uint32_t touched_n;  /* spans */
    uint32_t idle_n;     /* of them, all free */
    uint32_t draining_n; /* spans that are to become empty */
    bool may_grow;       /* spans that the host has no memory for may be used */
    uint64_t slots_bytes;                 /* of all spans of slots, */
    uint64_t slots_free;                  /* and of free slots in them */
    uint64_t returned;                    /* bytes that were offered to the host so far */
    uint32_t partial[STORE_SLOT_CLASSES]; /* spans of the class that have a free slot */
};

/* The length that a value of n bytes is padded to before it is sealed; 0 for 0. STORE-7. */
uint32_t store_padded(uint32_t n);

/* ENCLAVE_MEMORY when the heap cannot hold the tables. */
RESULT store_arena_init(struct store_arena *a, struct heap *heap, uint8_t *base, uint64_t bytes);
/* Gives everything back to the heap, spans still in use included. */
void store_arena_fini(struct store_arena *a);

/* A place of `block` bytes (a multiple of STORE_UNIT) for a value padded to `padded`. HOST_MEMORY
 * when the arena, ENCLAVE_MEMORY when the heap has no room. */
RESULT store_arena_take(struct store_arena *a, uint32_t padded, uint32_t block,
                        uint32_t *ret_place);
void store_arena_give(struct store_arena *a, uint32_t place, uint32_t block);
/* Makes a place of `was` bytes hold one block of `block` bytes instead, if that fits; needs no
 * memory. False, and nothing changed, if not. */
bool store_arena_reuse(struct store_arena *a, uint32_t place, uint32_t was, uint32_t block);

/*
 * Moving values together (STORE-27). When a third of the slots' memory is free, drain_begin marks
 * the emptiest spans of each class, as many as the others have room for; slots of a marked one are
 * not given out. drain_end takes back the marks of those that did not become empty; so does an
 * arena that has no other room.
 */
static inline bool store_arena_is_sparse(const struct store_arena *a)
{
    return a->slots_free > STORE_SPARSE_MIN && a->slots_free > a->slots_bytes / STORE_SPARSE_SHARE;
}
void store_arena_drain_begin(struct store_arena *a);
void store_arena_drain_end(struct store_arena *a);
bool store_arena_is_draining(const struct store_arena *a, uint32_t place);
/* As store_arena_take, for a value that moves: HOST_MEMORY rather than one more span. */
RESULT store_arena_take_tight(struct store_arena *a, uint32_t padded, uint32_t block,
                              uint32_t *ret_place);

/* Whether the host has memory for spans that it never had to back so far, or took back. While it
 * has not, only the others are used. */
void store_arena_may_grow(struct store_arena *a, bool may);
/* Finds host memory that is worth giving back: spans that were used and are free now, beyond a
 * cushion. The host may take it away at once: what is written there later makes it come back.
 * False: there is none. STORE-24. */
bool store_arena_trim(struct store_arena *a, uint64_t *ret_off, uint64_t *ret_len);
static inline bool store_arena_has_idle(const struct store_arena *a)
{
    uint32_t used = a->touched_n - a->idle_n;
    uint32_t cushion = used / STORE_IDLE_SHARE;

    return a->idle_n > (cushion > STORE_IDLE_MIN ? cushion : STORE_IDLE_MIN);
}

static inline uint8_t *store_arena_at(const struct store_arena *a, uint32_t place)
{
    return a->base + (uint64_t)place * STORE_UNIT;
}

#endif
