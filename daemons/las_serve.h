// SPDX-License-Identifier: Apache-2.0
#ifndef DAEMONS_LAS_SERVE_H
#define DAEMONS_LAS_SERVE_H

/* The Unix socket of a LAS: LAS-3. One thread; a connection has one process at its other end. */

#include "trusted/las/las_wire.h"

struct event_base;
struct las_serve;

struct las_serve_options {
    const char *socket;    /* path; replaced when nobody listens there */
    const char *name;      /* las.NAME */
    enum attest_kind kind; /* of the evidence that the CAS attested us with */
    EVP_PKEY *key;         /* signs tokens; borrowed */
    const char *gramine;   /* SGX: /dev/attestation */
};

/* UNAVAILABLE; *why is one line. */
RESULT las_serve_start(const struct las_serve_options *o, struct event_base *base,
                       struct las_serve **ret, struct explain *why);
/* Tokens are given only while this is true: the CAS knows us. */
void las_serve_set_attested(struct las_serve *s, bool is_attested);
void las_serve_stop(struct las_serve *s); /* NULL is allowed */

#endif
