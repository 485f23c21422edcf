// SPDX-License-Identifier: Apache-2.0
#include "tools/cas_link.h"

#include "tools/slurp.h"
#include "trusted/config/explain.h"
#include "trusted/pki/pki_cert.h"

#include <openssl/crypto.h>
#include <openssl/pem.h>

#include <stdlib.h>
#include <string.h>

enum { PEM_MAX = 1 << 16 };

void cas_link_address(int dir, char to[static HOST_MAX_LEN + 16])
{
    uint8_t *text = NULL;
    size_t n = 0;

    to[0] = '\0';
    if (slurp_at(dir, "cas/address", HOST_MAX_LEN + 15, &text, &n) == SLURP_OK) {
        memcpy(to, text, n + 1);
        to[strcspn(to, "\n")] = '\0';
    }
    free(text);
}

static EVP_PKEY *read_key(int dir)
{
    uint8_t *pem = NULL;
    size_t n = 0;
    BIO *bio = NULL;
    EVP_PKEY *key = NULL;

    if (slurp_at(dir, "owner.key", PEM_MAX, &pem, &n) != SLURP_OK) {
        return NULL;
    }
    bio = BIO_new_mem_buf(pem, (int)n);
    key = bio == NULL ? NULL : PEM_read_bio_PrivateKey(bio, NULL, pki_no_passphrase, NULL);
    BIO_free(bio);
    OPENSSL_cleanse(pem, n);
    free(pem);
    return key;
}

RESULT cas_link_open(int dir, struct cas_link *ret, struct explain *why)
{
    struct cas_link l = {0};
    size_t n = 0;
    enum err err;

    cas_link_address(dir, l.address);
    TRY(https_peer_parse(l.address, &l.at, why));
    if (slurp_at(dir, "ca/ca.crt", PEM_MAX, (uint8_t **)&l.ca_pem, &n) != SLURP_OK || n == 0) {
        free(l.ca_pem);
        explain(why, "the CAS at %s has not told its CA yet", l.address);
        return ERR_UNAVAILABLE;
    }
    l.at.ca_pem = l.ca_pem;
    l.key = read_key(dir);
    if (l.key == NULL) {
        explain(why, "owner.key cannot be read, or is no private key");
        err = ERR_IO;
    } else {
        err = https_show_key(l.key, &l.cert, why);
    }
    if (err != OK) {
        cas_link_close(&l);
        return err;
    }
    *ret = l;
    return OK;
}

void cas_link_close(struct cas_link *l)
{
    free(l->ca_pem);
    EVP_PKEY_free(l->key);
    X509_free(l->cert);
    *l = (struct cas_link){0};
}

RESULT cas_link_call(const struct cas_link *l, const struct cas_link_ask *ask, json_t **ret,
                     struct explain *why)
{
    const struct cas_ask whole = {.method = ask->method,
                                  .path = ask->path,
                                  .body = ask->body,
                                  .cert = l->cert,
                                  .key = l->key,
                                  .timeout_ms = ask->timeout_ms,
                                  .refused = ""};

    return cas_call(&l->at, &whole, ret, why);
}
