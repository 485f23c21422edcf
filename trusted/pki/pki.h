// SPDX-License-Identifier: Apache-2.0
#ifndef TRUSTED_PKI_PKI_H
#define TRUSTED_PKI_PKI_H

/*
 * The cluster's private CA (ECDSA P-256): certificates for replicas and clients, signatures under
 * configurations. Keys are PEM texts in memory; what is written where is the caller's choice.
 * docs/protocol/control.md
 */

#include "common/bytes.h"
#include "trusted/control/identity.h"

struct pki_pair {
    char *cert_pem; /* heap, zero-terminated */
    char *key_pem;  /* heap, PKCS#8, zero-terminated; pki_pair_free wipes it */
};

void pki_pair_free(struct pki_pair *p);

struct pki_dates {
    uint64_t now_s; /* Unix time; validity begins an hour before */
    uint64_t lifetime_s;
};
/* A new self-signed CA named `name`, valid from an hour ago for `days`. */
RESULT pki_make_ca(const char *name, uint64_t now_s, uint32_t days, struct pki_pair *ret,
                   struct explain *why);
/* A new key and a certificate for `name`, issued by `ca`; server and client authentication. */
RESULT pki_issue(const struct pki_pair *ca, const struct identity_name *name, uint64_t now_s,
                 uint32_t days, struct pki_pair *ret, struct explain *why);
/* The same for somebody else's key: only its public half is looked at. *ret_pem is a heap string
 * that the caller frees. USAGE: a name or key that no certificate may have. */
RESULT pki_issue_for(const struct pki_pair *ca, const struct identity_name *name,
                     const struct pki_dates *dates, EVP_PKEY *key, char **ret_pem,
                     struct explain *why);
/* DER signature (ECDSA P-256, SHA-256) of `text` under the CA's key into `to`; at most 80 bytes. */
RESULT pki_sign(const struct pki_pair *ca, struct bytes text, struct mbytes to, size_t *ret_len,
                struct explain *why);

#endif
