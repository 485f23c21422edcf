// SPDX-License-Identifier: Apache-2.0
#include "trusted/crypto/entropy.h"

#include "common/check.h"

#include <openssl/rand.h>

void entropy_fill(void *to, size_t n)
{
    enum { STEP = 1 << 16 };
    uint8_t *p = to;

    while (n != 0) {
        size_t now = n < STEP ? n : STEP;

        CHECK(RAND_priv_bytes(p, (int)now) == 1);
        p += now;
        n -= now;
    }
}
