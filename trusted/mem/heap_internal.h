// SPDX-License-Identifier: Apache-2.0
#ifndef TRUSTED_MEM_HEAP_INTERNAL_H
#define TRUSTED_MEM_HEAP_INTERNAL_H

/*
 * Inside of the heap; for this folder and its tests.
 *
 *   region
 *   | struct heap | struct heap_page x pages_n | page 0 | page 1 | ... | tail < 1 page, unused |
 *                                              ^ base, 64-byte aligned
 *
 * A run is a row of neighbouring pages. It is free (listed by length in a bin), a slab (cut into
 * blocks of one class) or one large block. What a page is stands in its heap_page, outside of the
 * memory that is handed out: an overrun of a block cannot redirect the allocator's bookkeeping
 * beyond the links inside free blocks, and those are checked before use.
 *
 *   kind        entry of the first page      entries inside     entry of the last page
 *   FREE        length, bin list             INNER              length, kind END
 *   SLAB        class, counts, slab list     TAIL: distance to the first, in each
 *   LARGE       length                       INNER              INNER
 */

#include "trusted/mem/heap.h"

#include <stdbool.h>

/* gcc says it one way, clang the other. */
#if defined(__SANITIZE_ADDRESS__)
#define HEAP_ASAN 1
#elif defined(__has_feature)
#if __has_feature(address_sanitizer)
#define HEAP_ASAN 1
#endif
#endif

enum {
    HEAP_PAGE_BITS = 12,
    HEAP_PAGE = 1 << HEAP_PAGE_BITS,
    HEAP_SMALL_MAX = 32 << 10, /* larger blocks are runs of their own */
    HEAP_SLAB_PAGES_MAX = 16,
    HEAP_CLASSES = 72, /* 16-byte steps to 128, then eight per power of two */
    HEAP_BINS = 256,   /* run lengths: exact below 32 pages, then eight per power of two */
    HEAP_BINS_EXACT = 32,
    HEAP_SHORT = 1 << 7, /* in heap_page.aux: a short slab */
};

static const uint32_t HEAP_NONE = UINT32_MAX;

_Static_assert((int)HEAP_CLASSES <= (int)HEAP_SHORT, "class and flag share a byte");
_Static_assert(HEAP_SLAB_PAGES_MAX < HEAP_BINS_EXACT, "a slab is found without a search");
_Static_assert(HEAP_SLAB_PAGES_MAX *HEAP_PAGE / 16 < UINT16_MAX, "places of blocks are u16");

enum heap_kind {
    HEAP_INNER, /* zero: the region comes zero-filled */
    HEAP_FREE,
    HEAP_END,
    HEAP_SLAB,
    HEAP_MOVABLE, /* a slab of movable blocks */
    HEAP_TAIL,
    HEAP_LARGE,
};

struct heap_page {
    uint32_t next, prev; /* FREE: in its bin. SLAB: among slabs of its class with room */
    union {
        uint32_t len; /* FREE, END, LARGE: pages of the run */
        struct {
            uint16_t free;  /* SLAB: place of the first free block; 0: none */
            uint16_t fresh; /* SLAB: blocks below were handed out at least once */
        };
    };
    uint16_t used; /* SLAB: blocks in use */
    uint8_t kind;
    uint8_t aux; /* SLAB: class, and HEAP_SHORT. TAIL: pages back to the first */
};
_Static_assert(sizeof(struct heap_page) == 16, "0.4 % of the region");

/* Slabs are long: little is lost at their end, and they are opened seldom. When the free pages lie
 * too scattered for that, a slab is as short as one block allows. */
struct heap_shape {
    uint16_t pages;
    uint16_t blocks;
};

struct heap_class {
    uint32_t bytes; /* of one block */
    uint32_t recip; /* 2^32 / bytes, rounded up: divides offsets inside a slab exactly */
    struct heap_shape shape[2]; /* long, short */
    uint32_t partial;           /* slabs with free and used blocks; page number or HEAP_NONE */
    uint32_t empty; /* at most one long slab without used blocks is kept from thrashing */
};

struct heap {
    uint8_t *base;
    struct heap_page *pages;
    uint32_t pages_n;
    size_t used, peak, held, held_movable, limit;
    uint64_t bins_used[HEAP_BINS / 64];
    uint32_t bins[HEAP_BINS];
    struct heap_class classes[HEAP_CLASSES];
    struct heap_class movable[HEAP_CLASSES];
};

static inline uint8_t *heap_page_at(const struct heap *h, uint32_t page)
{
    return h->base + ((size_t)page << HEAP_PAGE_BITS);
}

/* One free run over all pages. */
void heap_runs_init(struct heap *h);
/* The first page of a run of `len` pages, len >= 1, its entries all INNER; HEAP_NONE if there is no
 * such run. O(1) below HEAP_BINS_EXACT; above, O(1) unless the heap is nearly full. */
uint32_t heap_runs_take(struct heap *h, uint32_t len);
/* Gives a run back; joins it with free neighbours. Its inner entries must be INNER or TAIL. */
void heap_runs_give(struct heap *h, uint32_t page, uint32_t len);

#endif
