// SPDX-License-Identifier: Apache-2.0
#include "trusted/crypto/key.h"

#include <string.h>

void wipe(void *p, size_t n)
{
    if (n != 0) {
        memset(p, 0, n);
        /* Says that the bytes at p may be read: the memset before it has to happen. */
        __asm__ volatile("" : : "r"(p) : "memory");
    }
}
