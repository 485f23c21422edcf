// SPDX-License-Identifier: Apache-2.0
#ifndef TRUSTED_ATTEST_ATTEST_X509_H
#define TRUSTED_ATTEST_ATTEST_X509_H

/*
 * Certificates, chains and revocation lists. Every encoding is canonical or refused (ATT-6): two
 * different files never mean the same certificate, so no byte can change unnoticed.
 */

#include "trusted/attest/attest_internal.h"

#include <openssl/evp.h>
#include <openssl/x509.h>

enum {
    ATTEST_CHAIN_MAX = 4,
    ATTEST_PEM_MAX = 64 << 10,
};

/* Leaf first, root last. Zeroed: empty. attest_chain_free is always allowed. */
struct attest_chain {
    uint32_t n;
    X509 *cert[ATTEST_CHAIN_MAX];
};

/* One or more PEM certificates, as quotes and collateral carry them. MALFORMED */
RESULT attest_chain_load(struct bytes pem, struct attest_chain *ret, struct explain *why);
void attest_chain_free(struct attest_chain *c);
/* One certificate in PEM or DER. MALFORMED */
RESULT attest_cert_load(struct bytes file, X509 **ret, struct explain *why);
RESULT attest_cert_pin(X509 *cert, uint8_t ret[static ATTEST_PIN_LEN]);
/* The common name of subject or issuer, cut off; "" when there is none. */
const char *attest_cert_subject(X509 *cert, char to[static 96]);
const char *attest_cert_issuer(X509 *cert, char to[static 96]);

/* What to judge a chain by, and which rules to name. */
struct attest_chain_rules {
    const char *what;
    enum attest_rule signature, root;
    const char *const *names; /* what the subjects' common names must contain, leaf first */
};

/* ATT-7: signatures, names, CA flags, the pinned root, dates. True iff the chain is whole and
 * trusted (whatever its dates). */
bool attest_chain_judge(const struct attest_input *in, const struct attest_chain *c,
                        const struct attest_chain_rules *rules, struct attest_verdict *v);

/* ATT-8: the list is its issuer's, in force, and names none of the certificates. */
struct attest_crl {
    const char *what;
    struct bytes der;
    X509 *issuer;
    X509 *const *certs;
    uint32_t certs_n;
    bool is_yearly; /* the root's: its age is no sign of neglect */
};
void attest_crl_judge(const struct attest_input *in, const struct attest_crl *ask,
                      struct attest_verdict *v);

/* True iff `rs` (two halves, big-endian) is an ECDSA signature of `message` under `key`. */
bool attest_ecdsa_verify(EVP_PKEY *key, const char *digest, struct bytes rs, struct bytes message);
/* A P-256 key from X||Y; NULL if that is no point of the curve. */
EVP_PKEY *attest_p256_key(struct bytes xy);
bool attest_key_is_on(EVP_PKEY *key, const char *group);

/* One element of DER; strict lengths. False at the end and on anything else. */
struct attest_der {
    uint8_t tag;
    struct bytes content;
};
bool attest_der_next(struct bytes *rest, struct attest_der *ret);
/* A non-negative INTEGER of at most 32 bits. */
bool attest_der_uint(const struct attest_der *e, uint32_t *ret);
/* The content of the extension with this OID; n == 0 when there is none. */
struct bytes attest_cert_extension(X509 *cert, const char *oid);

#endif
