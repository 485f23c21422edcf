// SPDX-License-Identifier: Apache-2.0
#ifndef TRUSTED_HTTPS_HTTPS_H
#define TRUSTED_HTTPS_HTTPS_H

/*
 * One request to an avocado-cas: TLS 1.3, HTTP/1.1, one answer, the end. Blocking; sockets and the
 * host's clock for its deadline. For start-up and renewal, not the data path. CAS-1
 */

#include "common/bytes.h"
#include "common/result.h"
#include "trusted/config/cluster.h"

#include <openssl/ssl.h>

enum {
    HTTPS_KEY_HASH_LEN = 32,
    HTTPS_HOST_MAX = 255,
};

/* Who moves the bytes, where we have no socket. Blocking; until_ms is of CLOCK_MONOTONIC. One
 * stream at a time. */
struct https_via {
    void *ctx;
    bool (*open)(void *ctx, const char *host, uint16_t port, uint64_t until_ms); /* a literal */
    size_t (*read)(void *ctx, void *to, size_t room, uint64_t until_ms); /* 0: end, or time over */
    bool (*write)(void *ctx, struct bytes bytes);
    void (*close)(void *ctx); /* also of one that was never opened */
};

/* Who must answer: the holder of this key, or somebody with a certificate of this CA in the name of
 * the service "cas". Neither: anybody; for the first look at evidence alone. */
struct https_peer {
    char host[HTTPS_HOST_MAX + 1];
    uint16_t port;
    const char *ca_pem;          /* NULL, or one or more certificates */
    const uint8_t *key_hash;     /* NULL, or SHA-512/256 of the SubjectPublicKeyInfo */
    const struct https_via *via; /* NULL: a socket of our own */
};

struct https_ask {
    const char *method, *path; /* ours, never somebody's input */
    struct bytes body;         /* JSON; n == 0: none */
    X509 *cert;                /* NULL: no client certificate */
    EVP_PKEY *key;
    uint32_t timeout_ms;
};

struct https_answer {
    unsigned status;
    char *body; /* heap, a zero byte after it */
    size_t body_n;
    uint8_t key_hash[HTTPS_KEY_HASH_LEN]; /* of who answered */
};

/* "host:port", "[v6]:port". USAGE */
RESULT https_peer_parse(const char *text, struct https_peer *ret, struct explain *why);
/* The host becomes a literal, for a time when names cannot be looked up any more. UNAVAILABLE */
RESULT https_peer_resolve(struct https_peer *p, struct explain *why);
/* UNAVAILABLE (no connection, no answer in time), AUTH (the other end is not whom we want),
 * MALFORMED (http_answer.h: no HTTP answer, or too long). Any status that it answers is OK here. */
RESULT https_call(const struct https_peer *peer, const struct https_ask *ask,
                  struct https_answer *ret, struct explain *why);
void https_answer_free(struct https_answer *a); /* wipes: answers may hold secrets */

/* A new P-256 key and a certificate that it signs itself, to show the key in TLS. IO */
RESULT https_new_key(EVP_PKEY **ret_key, X509 **ret_cert, struct explain *why);
/* The same for a key that there is. IO */
RESULT https_show_key(EVP_PKEY *key, X509 **ret_cert, struct explain *why);
/* SHA-512/256 of the certificate's SubjectPublicKeyInfo. MALFORMED */
RESULT https_key_hash(X509 *cert, uint8_t ret[static HTTPS_KEY_HASH_LEN]);

#endif
