// SPDX-License-Identifier: Apache-2.0
#include "tools/verify_files.h"

#include "tools/cas_link.h"
#include "tools/cli.h"
#include "tools/client_yaml.h"
#include "tools/slurp.h"
#include "trusted/config/explain.h"
#include "trusted/evidence/evidence.h"
#include "trusted/pki/pki_cert.h"

#include <openssl/pem.h>

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { PEM_MAX = 1 << 16 };

RESULT verify_files_read(const char *path, char **ret, struct explain *why)
{
    size_t n = 0;

    if (slurp_at(AT_FDCWD, path, PEM_MAX, (uint8_t **)ret, &n) != SLURP_OK) {
        explain(why, "%s: %s", path, strerror(errno));
        return ERR_IO;
    }
    return OK;
}

/* Beside client.yaml. */
static void place(const struct verify_wishes *w, const char *name, char to[static 4096])
{
    const char *slash = strrchr(w->out, '/');

    (void)snprintf(to, 4096, "%.*s%s", slash == NULL ? 0 : (int)(slash - w->out + 1), w->out, name);
}

static enum err write_text(const char *path, mode_t mode, const char *text, struct explain *why)
{
    /* A key that is there must not be lost for a mistake. */
    const struct spit how = {AT_FDCWD, mode, mode != 0600};

    if (!spit_at(&how, path, text, strlen(text))) {
        explain(why, "%s cannot be written: %s", path, strerror(errno));
        return errno == EEXIST ? ERR_USAGE : ERR_IO;
    }
    return OK;
}

/* ---- the client's key ---- */

static char *text_of_key(EVP_PKEY *key)
{
    BIO *bio = BIO_new(BIO_s_secmem());

    if (bio == NULL || PEM_write_bio_PKCS8PrivateKey(bio, key, NULL, NULL, 0, NULL, NULL) != 1) {
        BIO_free(bio);
        return NULL;
    }
    return pki_take_text(bio);
}

/* PKCS #10, so that every tool can show what it asks for. */
static char *make_request(EVP_PKEY *key, const char *client)
{
    X509_REQ *r = X509_REQ_new();
    BIO *bio = BIO_new(BIO_s_mem());
    X509_NAME *name = r == NULL ? NULL : X509_REQ_get_subject_name(r);
    bool good = name != NULL && bio != NULL &&
                X509_NAME_add_entry_by_txt(name, "CN", MBSTRING_UTF8, (const unsigned char *)client,
                                           -1, -1, 0) == 1 &&
                X509_REQ_set_pubkey(r, key) == 1 && X509_REQ_sign(r, key, EVP_sha256()) > 0 &&
                PEM_write_bio_X509_REQ(bio, r) == 1;
    char *text = good ? pki_take_text(bio) : NULL;

    if (!good) {
        BIO_free(bio);
    }
    X509_REQ_free(r);
    return text;
}

static enum err new_key(const struct verify_wishes *w, struct verify_written *to, EVP_PKEY **ret,
                        struct explain *why)
{
    EVP_PKEY *key = EVP_EC_gen("P-256");
    char *text = key == NULL ? NULL : text_of_key(key), *request = NULL;
    enum err err = ERR_IO;

    if (text == NULL) {
        explain(why, "no key can be made");
    } else {
        place(w, "client.key", to->key);
        err = write_text(to->key, 0600, text, why);
        OPENSSL_cleanse(text, strlen(text));
    }
    if (err == OK && w->owner_key == NULL) {
        request = make_request(key, w->client);
        place(w, "client.csr", to->request);
        err = request == NULL ? ERR_IO : write_text(to->request, 0644, request, why);
    }
    free(request);
    free(text);
    if (err != OK) {
        EVP_PKEY_free(key);
        return err;
    }
    *ret = key;
    return OK;
}

/* The key in a request whose owner signed it. */
static enum err requested_key(const char *path, EVP_PKEY **ret, struct explain *why)
{
    BIO *bio = BIO_new_file(path, "r");
    X509_REQ *r = bio == NULL ? NULL : PEM_read_bio_X509_REQ(bio, NULL, pki_no_passphrase, NULL);
    EVP_PKEY *key = r == NULL ? NULL : X509_REQ_get_pubkey(r);

    if (key == NULL || X509_REQ_verify(r, key) != 1) {
        explain(why, "%s is no certificate request, or was not signed by its own key", path);
        EVP_PKEY_free(key);
        key = NULL;
    }
    X509_REQ_free(r);
    BIO_free(bio);
    *ret = key;
    return key == NULL ? ERR_USAGE : OK;
}

/* ---- the certificate ---- */

static enum err order(const struct verify_wishes *w, EVP_PKEY *client, json_t **ret,
                      struct explain *why)
{
    struct cas_link link = {.at = *w->peer};
    unsigned char *der = NULL;
    int n = i2d_PUBKEY(client, &der);
    char *text = n <= 0 ? NULL : evidence_base64((struct bytes){der, (size_t)n});
    const struct cas_link_ask ask = {
        "POST", "/v1/client",
        text == NULL ? NULL : json_pack("{s:s,s:s}", "name", w->client, "key", text),
        w->timeout_ms};
    BIO *bio = BIO_new_file(w->owner_key, "r");
    enum err err = ERR_USAGE;

    link.key = bio == NULL ? NULL : PEM_read_bio_PrivateKey(bio, NULL, pki_no_passphrase, NULL);
    if (link.key == NULL) {
        explain(why, "%s is no private key in PEM", w->owner_key);
        json_decref(ask.body);
    } else {
        err = https_show_key(link.key, &link.cert, why);
        if (err == OK) {
            err = cas_link_call(&link, &ask, ret, why);
        } else {
            json_decref(ask.body);
        }
    }
    BIO_free(bio);
    OPENSSL_free(der);
    free(text);
    cas_link_close(&link);
    return err;
}

static enum err write_answer(const struct verify_wishes *w, const json_t *answer,
                             struct verify_written *to, struct explain *why)
{
    const char *cert = json_string_value(json_object_get(answer, "certificate"));
    const char *text = json_string_value(json_object_get(answer, "cluster"));
    const char *signature = json_string_value(json_object_get(answer, "signature"));
    struct cluster c = {0};
    struct bytes sig = {0};
    uint8_t *bytes = NULL;
    char *yaml = NULL;
    enum err err = ERR_MALFORMED;

    if (cert == NULL || text == NULL || signature == NULL) {
        explain(why, "the CAS gives no certificate");
        return err;
    }
    bytes = evidence_unbase64(signature, strlen(signature), &sig.n);
    sig.p = bytes;
    err = cluster_check((struct bytes){(const uint8_t *)text, strlen(text)}, sig,
                        (struct bytes){(const uint8_t *)w->ca_pem, strlen(w->ca_pem)}, &c, why);
    if (err == OK) {
        place(w, "client.crt", to->cert);
        err = write_text(to->cert, 0644, cert, why);
    }
    if (err == OK) {
        yaml = client_yaml_format(&c, "ca.crt");
        (void)snprintf(to->yaml, sizeof(to->yaml), "%s", w->out);
        err = yaml == NULL ? ERR_IO : write_text(w->out, 0644, yaml, why);
    }
    free(yaml);
    free(bytes);
    return err;
}

RESULT verify_files_write(const struct verify_wishes *w, struct verify_written *ret,
                          struct explain *why)
{
    EVP_PKEY *key = NULL;
    json_t *answer = NULL;
    enum err err;

    place(w, "ca.crt", ret->ca);
    TRY(write_text(ret->ca, 0644, w->ca_pem, why));
    err = w->request != NULL ? requested_key(w->request, &key, why) : new_key(w, ret, &key, why);
    if (err == OK && w->owner_key != NULL) {
        err = order(w, key, &answer, why);
        if (err == OK) {
            err = write_answer(w, answer, ret, why);
            json_decref(answer);
        }
    }
    EVP_PKEY_free(key);
    return err;
}

void verify_files_print(const struct verify_written *w)
{
    const char *const paths[] = {w->ca, w->key, w->request, w->cert, w->yaml};

    for (size_t i = 0; i < sizeof(paths) / sizeof(paths[0]); i++) {
        if (paths[i][0] != '\0') {
            (void)printf("  %s\n", paths[i]);
        }
    }
    if (w->request[0] != '\0') {
        (void)printf("Give %s to the owner, who runs 'avocado verify ... --owner-key KEY --request "
                     "FILE --client NAME --out client.yaml'\nand gives back client.crt and "
                     "client.yaml; they belong beside the key.\n",
                     w->request);
    }
}

void verify_files_json(const struct verify_written *w, json_t *to)
{
    const struct {
        const char *name, *path;
    } all[] = {{"ca_file", w->ca},
               {"key_file", w->key},
               {"request_file", w->request},
               {"cert_file", w->cert},
               {"client_yaml", w->yaml}};

    for (size_t i = 0; i < sizeof(all) / sizeof(all[0]); i++) {
        if (all[i].path[0] != '\0') {
            cli_json_bytes(to, all[i].name, all[i].path, strlen(all[i].path));
        }
    }
}
