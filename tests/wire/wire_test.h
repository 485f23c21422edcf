// SPDX-License-Identifier: Apache-2.0
#ifndef TESTS_WIRE_WIRE_TEST_H
#define TESTS_WIRE_WIRE_TEST_H

/* What every codec of a message family must hold, said once. */

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "common/bytes.h"
#include "common/result.h"

#include <stdlib.h>

/* A literal with its length, without the final zero. */
#define LITERAL(s) ((struct bytes){.p = (const uint8_t *)(s), .n = sizeof(s) - 1})

/* Copies exactly n bytes to the heap, so that a sanitizer sees a read beyond the end. */
static inline uint8_t *exact_copy(const uint8_t *p, size_t n)
{
    uint8_t *copy = malloc(n == 0 ? 1 : n);

    assert_non_null(copy);
    if (n != 0) {
        memcpy(copy, p, n);
    }
    return copy;
}

static inline void assert_bytes(struct bytes got, struct bytes want)
{
    assert_int_equal(got.n, want.n);
    if (want.n != 0) {
        assert_memory_equal(got.p, want.p, want.n);
    }
}

#endif
