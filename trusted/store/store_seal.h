// SPDX-License-Identifier: Apache-2.0
#ifndef TRUSTED_STORE_STORE_SEAL_H
#define TRUSTED_STORE_STORE_SEAL_H

/*
 * Values into host memory and back. A value is padded with zeroes to its class (store_padded) and
 * sealed in chunks, so that values of any size are opened without a second large buffer:
 *
 *   | chunk 0: ciphertext, authenticator | chunk 1 ... | ... | counter u64 |       STORE-5, STORE-6
 *
 * The nonce of a chunk is (counter, number of the chunk). The counter is new for every seal and
 * lies beside the ciphertext: it is not a secret, and a wrong one opens nothing. What makes an old
 * value useless is the tag in the associated data, which only ever rises (STORE-8).
 */

#include "common/bytes.h"
#include "trusted/crypto/aead.h"
#include "trusted/wire/tag.h"

enum {
    STORE_CHUNK = 16384,
    STORE_COUNTER_LEN = 8,
    STORE_AAD_HEAD_LEN = 4 + TAG_WIRE_LEN + 4,
};

struct store_sealer {
    struct aead_key key;
    /* One chunk, private: sealed here before the host sees it, copied here before it is opened. */
    _Alignas(64) uint8_t chunk[STORE_CHUNK + AEAD_TAG_LEN];
    uint8_t aad[STORE_AAD_HEAD_LEN + KEY_MAX];
    struct aead *aead;
    uint64_t counter; /* of the last seal */
    uint32_t shard;
    uint64_t page_counter; /* of the last page that was sealed */
    struct aead_key page_key;
};

/* What a sealed value is bound to, besides the shard. STORE-4. */
struct store_binding {
    struct tag tag;
    struct bytes key;
    uint32_t value_len;
};

/* `master` is borrowed; the key is derived from it. */
void store_seal_init(struct store_sealer *s, struct aead *aead, uint32_t shard,
                     const struct secret *master);
void store_seal_fini(struct store_sealer *s);

/* Bytes of host memory that a value padded to `padded` takes; 0 for 0. */
uint32_t store_seal_block(uint32_t padded);

/* Seals value (binding->value_len == value.n > 0), padded to `padded`, into host memory at `to`. */
void store_seal_put(struct store_sealer *s, const struct store_binding *b, struct bytes value,
                    uint32_t padded, uint8_t *to);

/* Opens into `to`, which has room for the value; bytes of `to` beyond it may be overwritten.
 * INTEGRITY: the value's bytes of `to` are zero. */
RESULT store_seal_get(struct store_sealer *s, const struct store_binding *b, uint32_t padded,
                      const uint8_t *from, struct mbytes to);

/* Seals a page of the index, n <= STORE_CHUNK bytes, into host memory: n + AEAD_TAG_LEN bytes at
 * `to`. Returns the counter that it opens with, a new one for every seal. STORE-17. */
uint64_t store_seal_page(struct store_sealer *s, const void *page, uint32_t n, uint8_t *to);
/* Opens into `to`, n bytes of private memory. INTEGRITY: `to` is zeroed. */
RESULT store_open_page(struct store_sealer *s, uint64_t counter, const uint8_t *from, uint32_t n,
                       void *to);

#endif
