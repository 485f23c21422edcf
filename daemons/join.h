// SPDX-License-Identifier: Apache-2.0
#ifndef DAEMONS_JOIN_H
#define DAEMONS_JOIN_H

/*
 * How a replica gets everything from the CAS: it makes a key, proves itself, and receives its
 * certificate, the configuration and its secrets. Nothing of it is ever on a disk. CAS-33
 */

#include "daemons/prove.h"
#include "trusted/control/identity.h"

struct join_options {
    const char *cas, *cas_ca; /* HOST:PORT; file */
    const char *evidence;     /* KIND[:DIR], or */
    const char *las;          /* socket */
    const char *collateral;   /* folder, or NULL */
    uint32_t node;
};

enum { JOIN_MARK_LEN = 64 }; /* hexadecimal digits */

struct join {
    struct identity *identity; /* the caller's */
    struct cluster cluster;
    struct cluster_signed config; /* the same as the CAS signed it; the caller's */
    /* For what is asked of the CAS later: */
    struct https_peer cas; /* without ca_pem */
    char *ca_pem;          /* heap: the CA that the CAS must belong to */
    uint32_t look_s;       /* how often it wants to be asked for news */
    EVP_PKEY *key;         /* of our certificate */
    X509 *cert;
    uint32_t renew_after_s;
    uint64_t ca_step; /* which CAs these are, CAS-41 */
    uint64_t state_version;
    char state_mark[JOIN_MARK_LEN + 1];
};

void join_free(struct join *j); /* all but the identity and the configuration */

/* Waits for a CAS or LAS that does not answer, and says so in the log, as long as it takes. POLICY:
 * refused, and *why is the reason that the CAS gave; AUTH: a forged CAS; USAGE; IO, MALFORMED. */
RESULT join_cas(const struct join_options *o, struct join *ret, struct explain *why);

/* ---- for the renewal of what was given, renewal.c ---- */

/* {"key": our public key}; NULL: no memory. */
json_t *join_key_json(EVP_PKEY *key);
/* An answer with a certificate for `key`: identity, cert, renew_after_s. MALFORMED, AUTH */
RESULT join_accept(const json_t *answer, EVP_PKEY *key, struct join *ret, struct explain *why);
/* Text and signature of the configuration in an answer; *ret gets no ca_pem. MALFORMED.
 * cluster_signed_free */
RESULT join_read_config(const json_t *answer, struct cluster_signed *ret, struct explain *why);
/* State version and mark (unchanged if it is none) of an answer. */
void join_read_state(const json_t *answer, uint64_t *ret_version,
                     char ret_mark[static JOIN_MARK_LEN + 1]);

#endif
