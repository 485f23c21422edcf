// SPDX-License-Identifier: Apache-2.0
#include "daemons/join.h"

#include "daemons/log.h"
#include "trusted/config/explain.h"
#include "trusted/config/file.h"
#include "trusted/crypto/key.h"
#include "trusted/pki/pki_cert.h"

#include <openssl/pem.h>
#include <openssl/x509.h>

#include <stdlib.h>
#include <time.h>
#include <unistd.h>

enum { CA_MAX = 64 << 10, TIMEOUT_MS = 10000, PAUSE_MIN_MS = 20, PAUSE_MAX_MS = 5000 };

static const char *text_of(const json_t *j, const char *key)
{
    const char *text = json_string_value(json_object_get(j, key));

    return text == NULL ? "" : text;
}

static char *key_text(EVP_PKEY *key)
{
    BIO *bio = BIO_new(BIO_s_secmem());

    if (bio == NULL || PEM_write_bio_PKCS8PrivateKey(bio, key, NULL, NULL, 0, NULL, NULL) != 1) {
        BIO_free(bio);
        return NULL;
    }
    return pki_take_text(bio);
}

json_t *join_key_json(EVP_PKEY *key)
{
    unsigned char *der = NULL;
    int n = i2d_PUBKEY(key, &der);
    char *text = n <= 0 ? NULL : evidence_base64((struct bytes){der, (size_t)n});
    json_t *json = text == NULL ? NULL : json_pack("{s:s}", "key", text);

    OPENSSL_free(der);
    free(text);
    return json;
}

void join_read_state(const json_t *answer, uint64_t *ret_version,
                     char ret_mark[static JOIN_MARK_LEN + 1])
{
    const char *mark = text_of(answer, "state_mark");

    *ret_version = (uint64_t)json_integer_value(json_object_get(answer, "state_version"));
    if (strlen(mark) == JOIN_MARK_LEN && strspn(mark, "0123456789abcdef") == JOIN_MARK_LEN) {
        memcpy(ret_mark, mark, JOIN_MARK_LEN + 1);
    }
}

RESULT join_read_config(const json_t *answer, struct cluster_signed *ret, struct explain *why)
{
    const char *yaml = text_of(answer, "cluster"), *sig = text_of(answer, "signature");
    struct cluster_signed s = {0};
    size_t n = 0;

    s.sig.p = evidence_unbase64(sig, strlen(sig), &n);
    s.sig.n = n;
    s.text.n = strlen(yaml);
    s.text.p = (const uint8_t *)strdup(yaml);
    if (s.sig.p == NULL || s.text.p == NULL || s.text.n == 0) {
        cluster_signed_free(&s);
        explain(why, "the configuration that the CAS gave us is of no use: it is not signed");
        return ERR_MALFORMED;
    }
    *ret = s;
    return OK;
}

static X509 *read_cert(const char *pem)
{
    BIO *bio = BIO_new_mem_buf(pem, -1);
    X509 *cert = bio == NULL ? NULL : PEM_read_bio_X509(bio, NULL, NULL, NULL);

    BIO_free(bio);
    return cert;
}

RESULT join_accept(const json_t *answer, EVP_PKEY *key, struct join *ret, struct explain *why)
{
    const json_int_t renew_s = json_integer_value(json_object_get(answer, "renew_after_s"));
    struct explain inner = {0};
    char *pem = key_text(key);
    enum err err = ERR_IO;

    if (pem == NULL) {
        explain(why, "out of memory");
        return err;
    }
    err = identity_from_pem(text_of(answer, "ca"), text_of(answer, "certificate"), pem,
                            (uint64_t)time(NULL), &ret->identity, &inner);
    wipe(pem, strlen(pem));
    free(pem);
    ret->cert = err == OK ? read_cert(text_of(answer, "certificate")) : NULL;
    if (err == OK && (renew_s < 1 || renew_s > UINT32_MAX || ret->cert == NULL)) {
        explain(&inner, "it does not say for how long");
        identity_free(ret->identity);
        X509_free(ret->cert);
        ret->identity = NULL;
        ret->cert = NULL;
        err = ERR_MALFORMED;
    }
    if (err != OK) {
        explain(why, "the certificate that the CAS gave us is of no use: %s", inner.text);
        return err;
    }
    ret->renew_after_s = (uint32_t)renew_s;
    ret->ca_step = (uint64_t)json_integer_value(json_object_get(answer, "ca_step"));
    return OK;
}

/* The answer of the CAS, which our channel to it vouches for. */
static enum err accept_all(const json_t *answer, EVP_PKEY *key, struct join *ret,
                           struct explain *why)
{
    const char *ca = text_of(answer, "ca");
    struct cluster_signed config = {0};
    struct explain inner = {0};
    enum err err;

    TRY(join_read_config(answer, &config, why));
    config.ca_pem = (struct bytes){(const uint8_t *)strdup(ca), strlen(ca)};
    err = config.ca_pem.p == NULL
              ? ERR_IO
              : cluster_check(config.text, config.sig, config.ca_pem, &ret->cluster, &inner);
    if (err != OK) {
        explain(why, "the configuration that the CAS gave us is of no use: %s", inner.text);
    } else {
        join_read_state(answer, &ret->state_version, ret->state_mark);
        ret->look_s = (uint32_t)json_integer_value(json_object_get(answer, "look_s"));
        err = join_accept(answer, key, ret, why);
    }
    if (err != OK) {
        cluster_signed_free(&config);
        return err;
    }
    ret->config = config;
    return OK;
}

static enum err attempt(const struct join_options *o, const struct prove_options *p, EVP_PKEY *key,
                        X509 *cert, struct join *ret, struct explain *why)
{
    const struct prove_ask ask = {
        "POST", "/v1/join", json_pack("{s:s,s:I}", "role", "replica", "node", (json_int_t)o->node),
        key, cert};
    json_t *answer = NULL;
    enum err err;

    TRY(prove(p, &ask, &answer, why));
    err = accept_all(answer, key, ret, why);
    json_decref(answer);
    return err;
}

void join_free(struct join *j)
{
    free(j->ca_pem);
    EVP_PKEY_free(j->key);
    X509_free(j->cert);
    j->ca_pem = NULL;
    j->key = NULL;
    j->cert = NULL;
}

RESULT join_cas(const struct join_options *o, struct join *ret, struct explain *why)
{
    struct prove_options p = {.las = o->las, .timeout_ms = TIMEOUT_MS};
    struct evidence_source source = {0};
    EVP_PKEY *key = NULL;
    X509 *cert = NULL;
    char *ca = NULL;
    size_t ca_n = 0;
    unsigned pause_ms = PAUSE_MIN_MS;
    char said[sizeof(why->text)] = "";
    enum err err = OK;

    TRY(https_peer_parse(o->cas, &p.cas, why));
    if (o->las == NULL) {
        TRY(evidence_source_parse(o->evidence, &source, why));
        source.collateral = o->collateral;
        p.evidence = &source;
    }
    TRY(https_new_key(&key, &cert, why));
    err = file_read(o->cas_ca, FILE_PUBLIC, CA_MAX, &ca, &ca_n, why);
    p.cas.ca_pem = ca;
    while (err == OK) {
        err = attempt(o, &p, key, cert, ret, why);
        if (err != ERR_UNAVAILABLE) {
            break;
        }
        if (strcmp(said, why->text) != 0) {
            node_log("warning", "waiting to join: %s", why->text);
            memcpy(said, why->text, sizeof(said));
        }
        (void)usleep(pause_ms * 1000);
        pause_ms = pause_ms * 3 / 2 > PAUSE_MAX_MS ? PAUSE_MAX_MS : pause_ms * 3 / 2;
        err = OK;
    }
    X509_free(cert);
    if (err != OK) {
        file_free(ca, ca_n);
        EVP_PKEY_free(key);
        return err;
    }
    ret->cas = p.cas;
    ret->cas.ca_pem = NULL;
    ret->ca_pem = ca;
    ret->key = key;
    return OK;
}
