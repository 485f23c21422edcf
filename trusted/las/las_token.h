// SPDX-License-Identifier: Apache-2.0
#ifndef TRUSTED_LAS_LAS_TOKEN_H
#define TRUSTED_LAS_LAS_TOKEN_H

/*
 * What an avocado-las says of a process of its machine: a short statement under the key that the
 * CAS attested. Bytes, keys and time are arguments. docs/protocol/las.md, clauses LAS-n.
 */

#include "trusted/attest/attest.h"
#include "trusted/evidence/evidence.h"
#include "trusted/evidence/measure.h"

#include <openssl/evp.h>

enum {
    LAS_SERIAL_LEN = 16,
    LAS_TOKEN_MAX = 320,
    LAS_LIFETIME_S = 60,     /* of a token: a join takes a second */
    LAS_LIFETIME_MAX_S = 600 /* longer ones are not believed */
};

struct las_claim {
    char las[NAME_MAX_LEN + 1]; /* who says so */
    enum attest_kind kind;      /* SGX: by local report; else by the executable's file */
    bool debug;
    uint8_t measurement[MEASUREMENT_LEN];
    struct evidence_binding binding; /* the process's TLS key, and the CAS's nonce */
    uint64_t issued_s;               /* Unix time of the LAS */
    uint32_t lifetime_s;
    uint8_t serial[LAS_SERIAL_LEN];
};

/* LAS-2. Signs (ECDSA P-256, SHA-256). USAGE: a field out of range; IO. */
RESULT las_token_sign(const struct las_claim *claim, EVP_PKEY *key,
                      uint8_t ret[static LAS_TOKEN_MAX], size_t *ret_n);
/* What a token says, whoever signed it: to find the key to check it with. MALFORMED */
RESULT las_token_read(struct bytes token, struct las_claim *ret);
/* ... under this key and in its time. MALFORMED, AUTH; *why is one line. */
RESULT las_token_verify(struct bytes token, EVP_PKEY *key, uint64_t now_s, struct las_claim *ret,
                        struct explain *why);

#endif
