// SPDX-License-Identifier: Apache-2.0
#ifndef TRUSTED_CRYPTO_KEY_H
#define TRUSTED_CRYPTO_KEY_H

/*
 * Secrets are types, not bytes: they cannot be formatted, compared with memcmp or encoded by
 * accident. One key, one direction, one purpose (CRY-2). Whoever owns one wipes it (CRY-7).
 */

#include "common/limits.h"

#include <stddef.h>
#include <stdint.h>

/* Raw secret from which keys are derived (exporter output, traffic secret, store master). */
struct secret {
    uint8_t b[32];
};

/* Overwrites n bytes in a way no compiler removes. */
void wipe(void *p, size_t n);

static inline void secret_wipe(struct secret *s)
{
    wipe(s, sizeof(*s));
}

/* A local secret that is wiped on every way out of its scope. */
#define SECRET_LOCAL __attribute__((cleanup(secret_wipe))) struct secret

#endif
