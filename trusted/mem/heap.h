// SPDX-License-Identifier: Apache-2.0
#ifndef TRUSTED_MEM_HEAP_H
#define TRUSTED_MEM_HEAP_H

/*
 * The enclave memory of one shard: everything that the data path allocates (index, sessions,
 * reassembly, operations in flight) comes from here, so that the budget is one number that cannot
 * be exceeded. A region is handed over once; size classes inside (eight per power of two: a block
 * is at most an eighth larger than asked, 16-byte steps below 128), page runs for large blocks, all
 * bookkeeping inside the region too and counted as used. No system call, no lock: one shard, one
 * thread. Blocks are freed with the size they were asked for; that saves a header per block.
 */

#include "common/result.h"

#include <stddef.h>
#include <stdint.h>

struct heap;

/* Bytes that heap_init needs for its own state: the caller places a struct heap at the start of
 * `region`. `region` is 64-byte aligned enclave memory of at least 1 MiB, whatever is in it; it
 * stays the caller's and must outlive the heap. ENCLAVE_MEMORY if it is too small. */
RESULT heap_init(void *region, size_t region_bytes, struct heap **ret);
/* The region is the caller's again, whatever was not freed goes with it. NULL is allowed. */
void heap_fini(struct heap *h);

/* At least n bytes (n >= 1), 16-byte aligned, 64-byte aligned from n = 512 on; contents undefined;
 * NULL when the budget is used up. O(1) up to 32 KiB. */
void *heap_alloc(struct heap *h, size_t n);
/* As heap_alloc, zero-filled. */
void *heap_zalloc(struct heap *h, size_t n);
/* `n` is what heap_alloc was asked for. NULL is allowed. Wipes nothing: see key.h for secrets. */
void heap_free(struct heap *h, void *p, size_t n);

/*
 * Blocks that their owner can move or give up at any time, HEAP_MOVABLE_MIN bytes or more. They lie
 * apart from all others, and their owner can ask what lies together: to free whole pages, which
 * then serve any size, or to look at all blocks in turn.
 */
enum { HEAP_MOVABLE_MIN = 256, HEAP_MOVABLE_MAX = 8192, HEAP_MOVABLE_SLAB = 256 };

/* As heap_alloc, but takes fresh pages only if `spare` bytes of them are left for others then. */
void *heap_alloc_movable(struct heap *h, size_t n, size_t spare);
/* The blocks of the first slab of movable blocks at or after page *page, written to `ret`; *page
 * becomes the page behind that slab. `n` not 0: only slabs of blocks that hold n bytes. Returns how
 * many blocks; 0: no such slab up to the end of the region, and *page is 0. */
uint32_t heap_movable(const struct heap *h, size_t n, uint32_t *page,
                      void *ret[static HEAP_MOVABLE_SLAB]);

/* Bytes in use, bookkeeping and slack of size classes included; the most there ever were; the
 * limit. What is used depends on the live blocks alone, not on their history. */
size_t heap_used(const struct heap *h);
size_t heap_peak(const struct heap *h);
size_t heap_limit(const struct heap *h);
/* heap_used and the free blocks between used ones, which only blocks of their class can have: a
 * page serves other sizes again when its last block is freed. What is left up to heap_limit serves
 * any. */
size_t heap_held(const struct heap *h);
/* The part of it that is pages of movable blocks. */
size_t heap_held_movable(const struct heap *h);
/* What one block of n bytes really takes. */
size_t heap_block_bytes(size_t n);

#endif
