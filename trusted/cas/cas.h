// SPDX-License-Identifier: Apache-2.0
#ifndef TRUSTED_CAS_CAS_H
#define TRUSTED_CAS_CAS_H

/*
 * The configuration and attestation service, without its sockets: a request and a time in, an
 * answer out, and between them a commit to the store before anything is acknowledged. Who proves
 * itself gets a certificate, the configuration and its secrets; everybody else one line that says
 * why not. docs/protocol/cas.md, clauses CAS-n.
 *
 * One thread. Ordinary heap, OpenSSL (which brings its own randomness), jansson.
 */

#include "trusted/cas/cas_policy.h"
#include "trusted/cas/cas_store.h"
#include "trusted/evidence/evidence.h"
#include "trusted/pki/pki.h"

#include <jansson.h>

struct cas;

enum {
    CAS_BODY_MAX = 2 << 20, /* of a request */
    CAS_NONCE_LIFE_S = 120,
    CAS_NONCES_MAX = 4096, /* used ones that are remembered: as many joins in two minutes */
    CAS_LOOK_S = 2,        /* between two looks of a member for news */
    CAS_SILENT_LOOKS = 15, /* that a member missed whose node another process may take over */
    CAS_LAS_MAX = 64,
    CAS_REVOKED_MAX = 256,
};

struct cas_founding {
    const char *policy; /* YAML text */
    size_t policy_n;
    const char *owner_key_pem; /* public key that may change the policy */
    uint64_t now_s;
};

/* A new cluster in an empty store. MALFORMED (policy, key), IO. The store is borrowed. */
RESULT cas_found(const struct cas_founding *f, struct cas_store *store, struct cas **ret,
                 struct explain *why);
/* The cluster in the store. AUTH: the store's contents contradict each other. */
RESULT cas_load(struct cas_store *store, struct cas **ret, struct explain *why);
void cas_free(struct cas *c); /* wipes; NULL is allowed */

/* Collateral for kinds of evidence whose maker sends none; borrowed. */
void cas_set_collateral(struct cas *c, enum attest_kind kind, const struct attest_collateral *from);

/* The CAS's own TLS identity, made anew at each start and never stored. IO */
RESULT cas_identity(const struct cas *c, uint64_t now_s, struct pki_pair *ret, struct explain *why);
/* Certificates that its peers may trust: one, or two while a CA is being replaced. */
const char *cas_ca_pem(const struct cas *c);
/* Grows whenever these change, CAS-41. */
uint64_t cas_ca_step(const struct cas *c);
const struct cas_policy *cas_policy(const struct cas *c);
uint64_t cas_epoch(const struct cas *c);

struct cas_request {
    const char *method, *path;
    const char *query; /* "" when there is none */
    struct bytes body;
    X509 *peer;     /* the certificate shown in TLS, of whatever issuer; NULL: none */
    uint64_t now_s; /* Unix time */
};

struct cas_response {
    unsigned status; /* of HTTP */
    json_t *body;    /* the caller's */
    char log[256];   /* one line for the log; "" when there is nothing to say */
};

/* Answers. Nothing is in the answer that is not on disk. */
void cas_handle(struct cas *c, const struct cas_request *r, struct cas_response *ret);

/* True once the store failed or a peer proved that our state was rolled back: the process must end.
 * *why says which. */
bool cas_is_broken(const struct cas *c, struct explain *why);

#endif
