// SPDX-License-Identifier: Apache-2.0
#ifndef TRUSTED_CRYPTO_CT_H
#define TRUSTED_CRYPTO_CT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

/* Constant-time equality of n bytes; the only way to compare secrets and authenticators. Every byte
 * is read whatever the others are: the compiler has to believe that `diff` may change at each step,
 * so it cannot leave early. */
static inline bool ct_equal(const void *a, const void *b, size_t n)
{
    const uint8_t *x = a, *y = b;
    uint64_t diff = 0;

    for (; n >= sizeof(uint64_t); n -= sizeof(uint64_t)) {
        uint64_t v, w;

        memcpy(&v, x, sizeof(v));
        memcpy(&w, y, sizeof(w));
        x += sizeof(v);
        y += sizeof(w);
        diff |= v ^ w;
        __asm__ volatile("" : "+r"(diff));
    }
    for (; n != 0; n--) {
        diff |= (uint64_t)(*x++ ^ *y++);
        __asm__ volatile("" : "+r"(diff));
    }
    return diff == 0;
}

#endif
