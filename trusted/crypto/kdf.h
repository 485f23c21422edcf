// SPDX-License-Identifier: Apache-2.0
#ifndef TRUSTED_CRYPTO_KDF_H
#define TRUSTED_CRYPTO_KDF_H

/* Keys from keys: HKDF-Expand-SHA256 (RFC 5869 §2.3) with a label that names the purpose:
 * CRY-2. */

#include "common/bytes.h"
#include "trusted/crypto/key.h"

enum { KDF_OUT_MAX = 64, SHA256_LEN = 32 };

/* out.n <= KDF_OUT_MAX. `label` is a constant string such as "avocado rpc key". Deterministic.
 * Allocates nothing: SHA-256 and HMAC state are on the stack, and wiped. */
void kdf_expand(const struct secret *from, const char *label, struct mbytes out);
/* kdf_expand into a secret; `ret` may be `from`. */
void kdf_secret(const struct secret *from, const char *label, struct secret *ret);

/* SHA-256 (FIPS 180-4) over the concatenation of n parts. */
void sha256(const struct bytes *parts, size_t n, uint8_t ret[static SHA256_LEN]);
/* HMAC-SHA256 (RFC 2104) over the concatenation of n parts. */
void hmac_sha256(struct bytes key, const struct bytes *parts, size_t n,
                 uint8_t ret[static SHA256_LEN]);

#endif
