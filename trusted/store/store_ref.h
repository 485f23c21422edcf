// SPDX-License-Identifier: Apache-2.0
#ifndef TRUSTED_STORE_STORE_REF_H
#define TRUSTED_STORE_STORE_REF_H

/*
 * References to heap blocks in 32 bits: the distance from the heap's own state, which lies at the
 * start of its region, in steps of the heap's alignment. Zero is that state and so means "none".
 * The top bit is free for the user: a heap has up to 32 GiB.
 */

#include "common/check.h"
#include "trusted/mem/heap.h"

#include <stdint.h>

enum { STORE_REF_UNIT = 16 };
static const uint32_t STORE_REF_MAX = UINT32_MAX >> 1;

static inline void *store_deref(const struct heap *h, uint32_t ref)
{
    return (void *)((uintptr_t)h + (uintptr_t)ref * STORE_REF_UNIT);
}

static inline uint32_t store_ref(const struct heap *h, const void *p)
{
    uintptr_t distance = (uintptr_t)p - (uintptr_t)h;

    CHECK(distance % STORE_REF_UNIT == 0 && distance / STORE_REF_UNIT <= STORE_REF_MAX);
    return (uint32_t)(distance / STORE_REF_UNIT);
}

#endif
