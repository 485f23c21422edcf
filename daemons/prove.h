// SPDX-License-Identifier: Apache-2.0
#ifndef DAEMONS_PROVE_H
#define DAEMONS_PROVE_H

/*
 * A process proves itself to the CAS: nonce, evidence or token over it and over our TLS key, one
 * request. What replicas and LAS do at their start. Blocking. CAS-31, CAS-32
 */

#include "trusted/evidence/evidence.h"
#include "trusted/https/cas_call.h"

struct prove_options {
    struct https_peer cas;
    const struct evidence_source *evidence; /* or */
    const char *las;                        /* socket of the machine's LAS */
    uint32_t timeout_ms;                    /* of each request */
};

/* One request, and the certificate that we show. */
struct prove_ask {
    const char *method, *path;
    json_t *body; /* taken over in any case; NULL: none */
    EVP_PKEY *key;
    X509 *cert;
};

/* Adds the proof to the body and asks. *ret is the answer's JSON. POLICY: the CAS refuses, and *why
 * is its reason; UNAVAILABLE: try again; AUTH: it is not the CAS that we want; IO, MALFORMED: no
 * evidence to be had. */
RESULT prove(const struct prove_options *o, const struct prove_ask *ask, json_t **ret,
             struct explain *why);

/* The same without a proof. */
RESULT prove_call(const struct prove_options *o, const struct prove_ask *ask, json_t **ret,
                  struct explain *why);

#endif
