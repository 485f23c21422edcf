// SPDX-License-Identifier: Apache-2.0
#ifndef DAEMONS_CAS_HTTP_H
#define DAEMONS_CAS_HTTP_H

/*
 * HTTPS around the CAS: libevent's HTTP over OpenSSL. Every client may show a certificate of
 * whatever issuer; who it proves to be is the CAS's to judge. Bodies and heads are bounded, idle
 * connections end. CAS-1, CAS-2
 */

#include "trusted/cas/cas.h"
#include "trusted/evidence/evidence.h"

struct cas_http;

struct cas_http_options {
    const char *address;
    uint16_t port;
    const struct evidence_source *evidence; /* NULL: the CAS has no evidence of itself */
};

/* Listens. UNAVAILABLE; *why is one line. `cas` is borrowed. */
RESULT cas_http_start(const struct cas_http_options *o, struct cas *cas, struct cas_http **ret,
                      struct explain *why);
/* Serves until SIGTERM or SIGINT (OK), or until the CAS is broken (IO). */
RESULT cas_http_serve(struct cas_http *h, struct explain *why);
void cas_http_stop(struct cas_http *h); /* NULL is allowed */

#endif
