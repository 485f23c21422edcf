// SPDX-License-Identifier: Apache-2.0
#ifndef SIM_TAMPER_H
#define SIM_TAMPER_H

/* The host's side of a replica's memory: zeroed pages, and an arena that the host rewrites. */

#include "common/prng.h"

#include <stddef.h>
#include <stdint.h>

void *pages_take(size_t n);
void pages_give(void *p, size_t n);
/* For a heap: what an earlier one left is in them. A run must not depend on that (one that does is
 * not the same twice), and faults of fresh pages would be a third of its time. */
void *heap_pages_take(size_t n);
void heap_pages_give(void *p, size_t n);

struct tamper_arena {
    uint8_t *now;
    uint8_t *old; /* what stood there earlier, for rolling back */
    size_t n;
};

void tamper_arena_open(struct tamper_arena *a, size_t n);
void tamper_arena_close(struct tamper_arena *a);
/* Flips bytes, copies one place over another, puts back what stood there earlier, or remembers what
 * stands there now. */
void tamper_arena(struct prng *p, struct tamper_arena *a);

#endif
