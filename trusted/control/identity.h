// SPDX-License-Identifier: Apache-2.0
#ifndef TRUSTED_CONTROL_IDENTITY_H
#define TRUSTED_CONTROL_IDENTITY_H

/*
 * Who one is: an X.509 certificate of the cluster's CA whose first subjectAltName is a URI
 *
 *   avocado:<cluster id, 32 hex digits>:replica:<node>:<incarnation>:<epoch>
 *   avocado:<cluster id, 32 hex digits>:client:<name>
 *   avocado:<cluster id, 32 hex digits>:service:<name>
 *
 * and, for a client that may not do everything, a URI avocado:may:<rule> for each of its rules
 * (ACL-1); and its private key. Ordinary code with OpenSSL's heap; not the data path. CTL-n.
 */

#include "trusted/access/access.h"
#include "trusted/config/cluster.h"
#include "trusted/wire/hello_wire.h"

#include <openssl/ssl.h>

#define IDENTITY_RULE "avocado:may:" /* before a rule, in a certificate */

struct identity_name {
    enum control_role role;
    uint8_t cluster[CLUSTER_ID_LEN];
    uint32_t node, incarnation;    /* REPLICA */
    uint64_t epoch;                /* REPLICA */
    char client[NAME_MAX_LEN + 1]; /* CLIENT, SERVICE: letters, digits, '.', '_', '-' */
    struct access access;          /* CLIENT: what it may do */
};

struct identity; /* own certificate, key, trust anchor, and the SSL_CTX made of them */

/* PEM texts; that of the CA may hold two certificates, while one follows the other: whoever has a
 * certificate of either is believed. Checks that the key fits the certificate, that it is in date
 * at `now_s` (Unix time) and was issued by the CA. MALFORMED, AUTH (not ours, expired); *why is one
 * line. */
RESULT identity_from_pem(const char *ca_pem, const char *cert_pem, const char *key_pem,
                         uint64_t now_s, struct identity **ret, struct explain *why);
/* The same from files. The key file must be readable by nobody but its owner (POLICY otherwise). */
RESULT identity_from_files(const char *ca_path, const char *cert_path, const char *key_path,
                           uint64_t now_s, struct identity **ret, struct explain *why);
void identity_free(struct identity *id); /* NULL is allowed */

const struct identity_name *identity_self(const struct identity *id);
/* The last second (Unix time) in which our certificate is good. */
uint64_t identity_until(const struct identity *id);
SSL_CTX *
identity_ssl_ctx(const struct identity *id); /* borrowed; TLS 1.3 only, peer certificate required */

/* The SAN URI of a name without its rules into `to` (at least 160 bytes); and back. MALFORMED. */
void identity_name_format(const struct identity_name *n, char to[static 160]);
RESULT identity_name_parse(const char *uri, struct identity_name *ret);
/* The name in a certificate, with its rules. MALFORMED unless its SANs are exactly what ACL-1 and
 * CTL-1 permit: who cannot read a rule must not take it for none. */
RESULT identity_name_of(X509 *cert, struct identity_name *ret);

#endif
