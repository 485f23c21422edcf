// SPDX-License-Identifier: Apache-2.0
#ifndef TRUSTED_HTTPS_CAS_CALL_H
#define TRUSTED_HTTPS_CAS_CALL_H

/* One question of the CAS's API: JSON there, JSON back, and what its refusals mean to who asks.
 * Blocking, as https_call is. docs/protocol/cas.md, CAS-1 */

#include "trusted/https/https.h"

#include <jansson.h>

struct cas_ask {
    const char *method, *path; /* ours, never somebody's input */
    json_t *body;              /* taken over in any case; NULL: none */
    X509 *cert;                /* that we show; NULL: none */
    EVP_PKEY *key;
    uint32_t timeout_ms;
    const char *refused; /* goes before the CAS's reason in *why */
};

/* *ret is the answer, the caller's to free. UNAVAILABLE: no answer, or not now; AUTH: somebody else
 * answers; USAGE, POLICY: refused, and *why has the reason that the CAS gives; MALFORMED: the
 * answer is no JSON. Any thread. */
RESULT cas_call(const struct https_peer *cas, const struct cas_ask *ask, json_t **ret,
                struct explain *why);

#endif
