// SPDX-License-Identifier: Apache-2.0
#ifndef TOOLS_VERIFY_FILES_H
#define TOOLS_VERIFY_FILES_H

/* What `avocado verify --out` leaves of a CAS that held: CA, key, certificate or request,
 * client.yaml. */

#include "trusted/https/https.h"

#include <jansson.h>

struct verify_wishes {
    const char *out;       /* path of client.yaml; the others go beside it */
    const char *client;    /* name */
    const char *owner_key; /* file; NULL: the owner will sign later */
    const char *request;   /* file of a request by somebody else; NULL: a new key */
    /* Of the CAS that was verified: */
    const char *ca_pem;
    const struct https_peer *peer;
    uint32_t timeout_ms;
};

/* Paths that were written; "" for what was not. */
struct verify_written {
    char ca[4096], key[4096], request[4096], cert[4096], yaml[4096];
};

/* IO, USAGE (there is a file already, or one that is wrong); POLICY, UNAVAILABLE, AUTH: what the
 * CAS says to the order. Whatever was written before stays. */
RESULT verify_files_write(const struct verify_wishes *w, struct verify_written *ret,
                          struct explain *why);
void verify_files_print(const struct verify_written *w);
void verify_files_json(const struct verify_written *w, json_t *to);

/* A PEM file as a string; heap. IO */
RESULT verify_files_read(const char *path, char **ret, struct explain *why);

#endif
