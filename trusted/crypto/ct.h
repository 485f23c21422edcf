// SPDX-License-Identifier: Apache-2.0
#ifndef TRUSTED_CRYPTO_CT_H
#define TRUSTED_CRYPTO_CT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Constant-time equality of n bytes; the only way to compare secrets and authenticators. */
static inline bool ct_equal(const void *a, const void *b, size_t n)
{
    const volatile uint8_t *x = a;
    const volatile uint8_t *y = b;
    uint8_t diff = 0;

    for (size_t i = 0; i < n; i++) {
        diff |= (uint8_t)(x[i] ^ y[i]);
    }
    return diff == 0;
}

#endif
