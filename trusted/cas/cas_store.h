// SPDX-License-Identifier: Apache-2.0
#ifndef TRUSTED_CAS_CAS_STORE_H
#define TRUSTED_CAS_CAS_STORE_H

/*
 * The state of the CAS on a disk that is not trusted: SQLite, every row sealed with AES-256-GCM
 * under a key that only this TEE has. What is committed is on disk when cas_store_commit returns;
 * what is not has never been. CAS-20 and following.
 */

#include "common/bytes.h"
#include "common/result.h"
#include "trusted/config/cluster.h"
#include "trusted/crypto/key.h"

enum { CAS_TABLE_LEN = 15, CAS_ROW_ID_LEN = 79, CAS_VALUE_MAX = 1 << 20 };

struct cas_store;

struct cas_row {
    char table[CAS_TABLE_LEN + 1];
    char id[CAS_ROW_ID_LEN + 1];
    struct bytes value; /* n == 0: remove the row */
};

struct cas_store_options {
    const char *path;
    /* A file with the highest state version that was ever acknowledged, best on another disk. */
    const char *anchor;
    const struct secret *key;
    bool create; /* USAGE when there is one already; otherwise USAGE when there is none */
};

/* IO; USAGE; AUTH (sealed under another key, or a row was changed, exchanged, taken away or is an
 * older one); REPLAY (the whole file is older than what was acknowledged). *why is one line. */
RESULT cas_store_open(const struct cas_store_options *o, struct cas_store **ret,
                      struct explain *why);
void cas_store_close(struct cas_store *s); /* NULL is allowed */

/* Counts commits: grows by one with each. */
uint64_t cas_store_version(const struct cas_store *s);

enum { CAS_MARK_LEN = 32 };
/* What only the holder of the seal key can make of a version: proof that it was ours. CAS-23 */
void cas_store_mark(const struct cas_store *s, uint64_t version, uint8_t ret[static CAS_MARK_LEN]);

/* Every row, in the order of table and id; stops at the first that `each` does not return OK for,
 * and returns that. */
typedef enum err (*cas_store_each)(void *ctx, const struct cas_row *row);
RESULT cas_store_read(struct cas_store *s, cas_store_each each, void *ctx, struct explain *why);

/* All of the rows or none. IO: nothing has changed, and the store must be opened again. */
RESULT cas_store_commit(struct cas_store *s, const struct cas_row *rows, size_t n,
                        struct explain *why);

#endif
