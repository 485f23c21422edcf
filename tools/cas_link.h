// SPDX-License-Identifier: Apache-2.0
#ifndef TOOLS_CAS_LINK_H
#define TOOLS_CAS_LINK_H

/*
 * Questions to the CAS of a cluster on this machine, by its owner: the folder has the address
 * (cas/address), the CA that must have certified who answers (ca/ca.crt), and the owner's key.
 * Blocking, with a deadline of seconds. docs/protocol/cas.md
 */

#include "trusted/https/cas_call.h"

struct cas_link {
    struct https_peer at;
    char address[HOST_MAX_LEN + 16]; /* of the folder, as a text */
    char *ca_pem;
    EVP_PKEY *key;
    X509 *cert; /* shows the key */
};

/* UNAVAILABLE: the CAS has not left its CA yet; IO, MALFORMED. */
RESULT cas_link_open(int dir, struct cas_link *ret, struct explain *why);
void cas_link_close(struct cas_link *l); /* of one that was never opened, too */

struct cas_link_ask {
    const char *method, *path;
    json_t *body; /* taken over in any case; NULL: none */
    uint32_t timeout_ms;
};
/* cas_call with the owner's key. */
RESULT cas_link_call(const struct cas_link *l, const struct cas_link_ask *ask, json_t **ret,
                     struct explain *why);

/* Only the address, for those who have no more; "" if there is none. */
void cas_link_address(int dir, char to[static HOST_MAX_LEN + 16]);

#endif
