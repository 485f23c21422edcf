// SPDX-License-Identifier: Apache-2.0
#ifndef TESTS_MEM_FIXTURE_H
#define TESTS_MEM_FIXTURE_H

/* A heap in a region of its own. */

#include "trusted/mem/heap.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <stdlib.h>
#include <string.h>

static const size_t MIB = (size_t)1 << 20;

struct fixture {
    uint8_t *region;
    size_t region_n;
    struct heap *h;
};

static inline struct fixture open_heap(size_t n)
{
    struct fixture f = {.region = aligned_alloc(64, n), .region_n = n};

    assert_non_null(f.region);
    memset(f.region, 0, n);
    assert_int_equal(heap_init(f.region, n, &f.h), OK);
    return f;
}

static inline void close_heap(struct fixture *f)
{
    heap_fini(f->h);
    free(f->region);
}

#endif
