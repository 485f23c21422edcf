// SPDX-License-Identifier: Apache-2.0
#ifndef TRUSTED_CRYPTO_AEAD_H
#define TRUSTED_CRYPTO_AEAD_H

/*
 * AES-256-GCM (NIST SP 800-38D), 12-byte nonces, 16-byte tags, nothing else (CRY-1). Two
 * implementations behind one interface: intel-ipsec-mb (x86-64; picks the widest code path that the
 * CPU has) and OpenSSL. Both produce the same bytes (CRY-6). docs/protocol/crypto.md,
 * docs/adr/0002.
 *
 * An aead_key holds one expanded key. It is set for one direction and one purpose; the caller
 * guarantees that no nonce is used twice for sealing under it (CRY-3), and that the key ends before
 * the cipher is used up (CRY-9).
 */

#include "common/bytes.h"
#include "common/result.h"
#include "trusted/crypto/key.h"

enum aead_impl {
    AEAD_IPSEC_MB = 1,
    AEAD_OPENSSL,
};

/* One per thread; holds the implementation's scratch state. Opaque, allocated at start. */
struct aead;

struct aead_key {
    _Alignas(64) uint8_t opaque[1024]; /* expanded key and hash tables; wiped by aead_key_fini */
};

/* The best implementation that this CPU runs: IPSEC_MB where it has AES and PCLMUL, else OPENSSL.
 */
enum aead_impl aead_best(void);
/* NULL only for an implementation that this build or CPU does not have or that fails a known-answer
 * test, or out of memory. Start-up only: may allocate with malloc. Not thread-safe to share: one
 * struct aead per thread. */
struct aead *aead_open_impl(enum aead_impl impl);
void aead_close_impl(struct aead *a); /* NULL is allowed */
/* "ipsec-mb avx512-vaes", "openssl", ...; static storage. */
const char *aead_name(const struct aead *a);

/* A key works with every struct aead of the implementation that prepared it, and so does a copy of
 * it. `k` is not looked at: fini a key before another is prepared in its place, or OpenSSL's copy
 * of it stays until its context is needed for another key. */
void aead_key_init(struct aead *a, struct aead_key *k, const struct secret *key);
void aead_key_fini(struct aead *a, struct aead_key *k);

/* Seals `plain` into `to`, which has exactly plain.n + AEAD_TAG_LEN bytes of room or more; writes
 * plain.n bytes of ciphertext followed by the tag. `to` may equal plain.p (in place), may not
 * overlap it otherwise. Never fails. plain.n <= MESSAGE_MAX, aad.n <= 65536 (CRY-11). `to` must be
 * private memory: an implementation may read back what it wrote (CRY-5). */
void aead_seal(struct aead *a, const struct aead_key *k, const uint8_t nonce[static AEAD_IV_LEN],
               struct bytes aad, struct bytes plain, uint8_t *to);

/* Opens `sealed` (ciphertext ‖ tag) into `to`, which has at least sealed.n - AEAD_TAG_LEN bytes of
 * room; in place allowed as above. AUTH when the tag does not match: `to` then holds zeroes, never
 * unauthenticated plaintext. MALFORMED when sealed.n < AEAD_TAG_LEN. `sealed` must be private
 * memory: an implementation may read it twice (CRY-5). The tag is compared in constant time. CRY-4.
 */
RESULT aead_open(struct aead *a, const struct aead_key *k, const uint8_t nonce[static AEAD_IV_LEN],
                 struct bytes aad, struct bytes sealed, uint8_t *to);

#endif
