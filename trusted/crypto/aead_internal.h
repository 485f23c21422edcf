// SPDX-License-Identifier: Apache-2.0
#ifndef TRUSTED_CRYPTO_AEAD_INTERNAL_H
#define TRUSTED_CRYPTO_AEAD_INTERNAL_H

/*
 * What an implementation of AES-256-GCM provides to aead.c; for this folder only. Lengths are
 * checked by the caller, pointers are never NULL, not even for zero bytes: ipsec-mb refuses NULL by
 * doing nothing at all, and an untouched buffer must never be taken for a result.
 */

#include "trusted/crypto/aead.h"

struct aead_io {
    const uint8_t *nonce;
    struct bytes aad;
    const uint8_t *in;
    uint8_t *out;
    size_t n; /* bytes of text, the tag not counted */
};

struct aead_ops {
    void (*close)(struct aead *a);
    void (*key_init)(struct aead *a, struct aead_key *k, const struct secret *key);
    void (*key_fini)(struct aead *a, const struct aead_key *k);
    void (*seal)(struct aead *a, const struct aead_key *k, const struct aead_io *io,
                 uint8_t ret_tag[static AEAD_TAG_LEN]);
    /* True iff `tag` is right. Whatever is in io->out otherwise, the caller wipes it. */
    bool (*open)(struct aead *a, const struct aead_key *k, const struct aead_io *io,
                 const uint8_t tag[static AEAD_TAG_LEN]);
};

/* First member of every implementation's state. */
struct aead {
    const struct aead_ops *ops;
    const char *name;
};

struct aead *aead_ipsec_mb_open(void);
struct aead *aead_openssl_open(void);

#endif
