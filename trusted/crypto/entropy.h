// SPDX-License-Identifier: Apache-2.0
#ifndef TRUSTED_CRYPTO_ENTROPY_H
#define TRUSTED_CRYPTO_ENTROPY_H

#include <stddef.h>
#include <stdint.h>

/* Random bytes for keys, boot ids and nonces-at-start from OpenSSL's DRBG. Never used by a protocol
 * machine: machines take seeds and secrets as arguments. Never fails: no entropy, no process
 * (CHECK). Thread-safe. CRY-8. */
void entropy_fill(void *to, size_t n);

#endif
