// SPDX-License-Identifier: Apache-2.0
#ifndef TRUSTED_CAS_CAS_STORE_INTERNAL_H
#define TRUSTED_CAS_CAS_STORE_INTERNAL_H

#include "trusted/cas/cas_store.h"
#include "trusted/crypto/aead.h"
#include "trusted/crypto/kdf.h"

#include <sqlite3.h>

struct cas_store {
    struct aead_key key;
    struct aead *aead;
    struct secret mark_key;
    sqlite3 *db;
    sqlite3_stmt *put, *remove, *find;
    char *path, *anchor;
    uint64_t version;
    uint8_t digest[SHA256_LEN]; /* of all rows, CAS-22 */
    bool has_key, broken;
};

/* The anchor: the highest version that was acknowledged, with a MAC. CAS-23 */
RESULT cas_anchor_write(const struct cas_store *s, uint64_t version, struct explain *why);
/* REPLAY: the store is older than the anchor says. AUTH: the anchor is not ours. */
RESULT cas_anchor_check(const struct cas_store *s, struct explain *why);

#endif
