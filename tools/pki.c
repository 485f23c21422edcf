// SPDX-License-Identifier: Apache-2.0
#include "tools/pki.h"

#include "trusted/config/explain.h"

#include <openssl/err.h>
#include <openssl/pem.h>
#include <openssl/rand.h>
#include <openssl/x509v3.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum {
    SERIAL_LEN = 16,
    DAYS_MAX = 36500,
    HOUR_S = 3600,
    DAY_S = 86400,
};

void pki_pair_free(struct pki_pair *p)
{
    if (p->key_pem != NULL) {
        OPENSSL_cleanse(p->key_pem, strlen(p->key_pem));
    }
    free(p->key_pem);
    free(p->cert_pem);
    *p = (struct pki_pair){0};
}

static enum err refuse(struct explain *why, const char *what)
{
    const char *reason = ERR_reason_error_string(ERR_peek_last_error());

    explain(why, "%s: %s", what, reason == NULL ? "OpenSSL gave no reason" : reason);
    ERR_clear_error();
    return ERR_IO;
}

/* The contents of a memory BIO as a heap string; frees (and, for secmem, wipes) the BIO. */
static char *take_text(BIO *bio)
{
    char *data = NULL, *text = NULL;
    long n = BIO_get_mem_data(bio, &data);

    if (n > 0 && (text = malloc((size_t)n + 1)) != NULL) {
        memcpy(text, data, (size_t)n);
        text[n] = '\0';
    }
    BIO_free(bio);
    return text;
}

static enum err write_pair(X509 *cert, EVP_PKEY *key, struct pki_pair *ret, struct explain *why)
{
    BIO *cert_bio = BIO_new(BIO_s_mem());
    BIO *key_bio = BIO_new(BIO_s_secmem());
    bool good = cert_bio != NULL && key_bio != NULL && PEM_write_bio_X509(cert_bio, cert) == 1 &&
                PEM_write_bio_PKCS8PrivateKey(key_bio, key, NULL, NULL, 0, NULL, NULL) == 1;
    struct pki_pair p = {.cert_pem = take_text(cert_bio), .key_pem = take_text(key_bio)};

    if (!good || p.cert_pem == NULL || p.key_pem == NULL) {
        pki_pair_free(&p);
        return refuse(why, "a certificate cannot be written");
    }
    *ret = p;
    return OK;
}

static int no_passphrase(char *to, int size, int rwflag, void *ctx)
{
    if (size > 0) {
        to[0] = '\0';
    }
    (void)rwflag;
    (void)ctx;
    return -1;
}

static enum err read_ca(const struct pki_pair *ca, X509 **ret_cert, EVP_PKEY **ret_key,
                        struct explain *why)
{
    BIO *cert_bio = BIO_new_mem_buf(ca->cert_pem, -1);
    BIO *key_bio = BIO_new_mem_buf(ca->key_pem, -1);
    X509 *cert = cert_bio == NULL ? NULL : PEM_read_bio_X509(cert_bio, NULL, no_passphrase, NULL);
    EVP_PKEY *key =
        key_bio == NULL ? NULL : PEM_read_bio_PrivateKey(key_bio, NULL, no_passphrase, NULL);
    bool good = cert != NULL && key != NULL && X509_check_ca(cert) == 1 &&
                X509_check_private_key(cert, key) == 1;

    BIO_free(cert_bio);
    BIO_free(key_bio);
    ERR_clear_error();
    if (!good) {
        X509_free(cert);
        EVP_PKEY_free(key);
        explain(why, "the CA's certificate and key are not a pair that may issue certificates");
        return ERR_MALFORMED;
    }
    *ret_cert = cert;
    *ret_key = key;
    return OK;
}

/* 128 random bits, positive, never zero. */
static bool set_serial(X509 *cert)
{
    unsigned char serial[SERIAL_LEN];
    BIGNUM *number = NULL;
    bool good = false;

    if (RAND_bytes(serial, sizeof(serial)) != 1) {
        return false;
    }
    serial[0] = (unsigned char)((serial[0] & 0x7f) | 0x40);
    number = BN_bin2bn(serial, sizeof(serial), NULL);
    good = number != NULL && BN_to_ASN1_INTEGER(number, X509_get_serialNumber(cert)) != NULL;
    BN_free(number);
    return good;
}

static bool set_dates(X509 *cert, uint64_t now_s, uint32_t days)
{
    time_t from = (time_t)(now_s > HOUR_S ? now_s - HOUR_S : 0);
    time_t until = (time_t)(now_s + (uint64_t)days * DAY_S);

    return ASN1_TIME_set(X509_getm_notBefore(cert), from) != NULL &&
           ASN1_TIME_set(X509_getm_notAfter(cert), until) != NULL;
}

/* A subject of one common name. */
static X509_NAME *make_subject(const char *common_name)
{
    X509_NAME *name = X509_NAME_new();

    if (name != NULL &&
        X509_NAME_add_entry_by_NID(name, NID_commonName, MBSTRING_UTF8,
                                   (const unsigned char *)common_name, -1, -1, 0) != 1) {
        X509_NAME_free(name);
        name = NULL;
    }
    return name;
}

static bool add_extension(X509 *cert, X509 *issuer, int nid, const char *value)
{
    X509V3_CTX ctx;
    X509_EXTENSION *extension = NULL;
    bool good = false;

    X509V3_set_ctx_nodb(&ctx);
    X509V3_set_ctx(&ctx, issuer, cert, NULL, NULL, 0);
    extension = X509V3_EXT_conf_nid(NULL, &ctx, nid, value);
    good = extension != NULL && X509_add_ext(cert, extension, -1) == 1;
    X509_EXTENSION_free(extension);
    return good;
}

/* The subjectAltName, made as a structure: no text of ours is parsed as configuration. */
static bool add_uri(X509 *cert, const char *uri)
{
    GENERAL_NAMES *names = GENERAL_NAMES_new();
    GENERAL_NAME *name = GENERAL_NAME_new();
    ASN1_IA5STRING *text = ASN1_IA5STRING_new();
    bool good = false;

    if (names != NULL && name != NULL && text != NULL && ASN1_STRING_set(text, uri, -1) == 1) {
        GENERAL_NAME_set0_value(name, GEN_URI, text);
        text = NULL;
        if (sk_GENERAL_NAME_push(names, name) > 0) {
            name = NULL;
            good = X509_add1_ext_i2d(cert, NID_subject_alt_name, names, 1, 0) == 1;
        }
    }
    ASN1_IA5STRING_free(text);
    GENERAL_NAME_free(name);
    GENERAL_NAMES_free(names);
    return good;
}

/* Version, serial number, dates, subject and key: what every certificate has. NULL: no memory. */
static X509 *make_cert(const char *common_name, EVP_PKEY *key, uint64_t now_s, uint32_t days)
{
    X509 *cert = X509_new();
    X509_NAME *subject = make_subject(common_name);
    bool good = cert != NULL && subject != NULL && X509_set_version(cert, X509_VERSION_3) == 1 &&
                set_serial(cert) && set_dates(cert, now_s, days) &&
                X509_set_subject_name(cert, subject) == 1 && X509_set_pubkey(cert, key) == 1;

    X509_NAME_free(subject);
    if (!good) {
        X509_free(cert);
        cert = NULL;
    }
    return cert;
}

static bool good_dates(uint64_t now_s, uint32_t days, struct explain *why)
{
    if (days < 1 || days > DAYS_MAX || now_s > UINT32_MAX) {
        explain(why, "a certificate is valid for 1 to %d days from a time before 2106", DAYS_MAX);
        return false;
    }
    return true;
}

RESULT pki_make_ca(const char *name, uint64_t now_s, uint32_t days, struct pki_pair *ret,
                   struct explain *why)
{
    EVP_PKEY *key = NULL;
    X509 *cert = NULL;
    enum err err = OK;

    if (name[0] == '\0' || strlen(name) > NAME_MAX_LEN) {
        explain(why, "the name of a CA has 1 to %d bytes", NAME_MAX_LEN);
        return ERR_USAGE;
    }
    if (!good_dates(now_s, days, why)) {
        return ERR_USAGE;
    }
    key = EVP_EC_gen("P-256");
    cert = key == NULL ? NULL : make_cert(name, key, now_s, days);
    if (cert == NULL || X509_set_issuer_name(cert, X509_get_subject_name(cert)) != 1 ||
        !add_extension(cert, cert, NID_basic_constraints, "critical,CA:TRUE,pathlen:0") ||
        !add_extension(cert, cert, NID_key_usage,
                       "critical,digitalSignature,keyCertSign,cRLSign") ||
        !add_extension(cert, cert, NID_subject_key_identifier, "hash") ||
        !add_extension(cert, cert, NID_authority_key_identifier, "keyid:always") ||
        X509_sign(cert, key, EVP_sha256()) == 0) {
        err = refuse(why, "a CA certificate cannot be made");
        goto out;
    }
    err = write_pair(cert, key, ret, why);
out:
    X509_free(cert);
    EVP_PKEY_free(key);
    return err;
}

static void readable_name(const struct identity_name *n, char to[static 96])
{
    if (n->role == ROLE_REPLICA) {
        (void)snprintf(to, 96, "avocado replica %u incarnation %u", n->node, n->incarnation);
    } else {
        (void)snprintf(to, 96, "client %.*s", 50, n->client);
    }
}

RESULT pki_issue(const struct pki_pair *ca, const struct identity_name *name, uint64_t now_s,
                 uint32_t days, struct pki_pair *ret, struct explain *why)
{
    X509 *ca_cert = NULL, *cert = NULL;
    EVP_PKEY *ca_key = NULL, *key = NULL;
    struct identity_name again;
    char uri[160], common_name[96];
    enum err err = OK;

    identity_name_format(name, uri);
    if (identity_name_parse(uri, &again) != OK) {
        explain(why,
                "'%s' is no name: numbers are from 1, a client's name is 1 to %d letters, "
                "digits, '.', '_', '-'",
                uri, NAME_MAX_LEN);
        return ERR_USAGE;
    }
    if (!good_dates(now_s, days, why)) {
        return ERR_USAGE;
    }
    readable_name(name, common_name);
    TRY(read_ca(ca, &ca_cert, &ca_key, why));
    key = EVP_EC_gen("P-256");
    cert = key == NULL ? NULL : make_cert(common_name, key, now_s, days);
    if (cert == NULL || X509_set_issuer_name(cert, X509_get_subject_name(ca_cert)) != 1 ||
        !add_extension(cert, ca_cert, NID_basic_constraints, "critical,CA:FALSE") ||
        !add_extension(cert, ca_cert, NID_key_usage, "critical,digitalSignature") ||
        !add_extension(cert, ca_cert, NID_ext_key_usage, "serverAuth,clientAuth") ||
        !add_extension(cert, ca_cert, NID_subject_key_identifier, "hash") ||
        !add_extension(cert, ca_cert, NID_authority_key_identifier, "keyid:always") ||
        !add_uri(cert, uri) || X509_sign(cert, ca_key, EVP_sha256()) == 0) {
        err = refuse(why, "a certificate cannot be made");
        goto out;
    }
    err = write_pair(cert, key, ret, why);
out:
    X509_free(cert);
    EVP_PKEY_free(key);
    X509_free(ca_cert);
    EVP_PKEY_free(ca_key);
    return err;
}

RESULT pki_sign(const struct pki_pair *ca, struct bytes text, struct mbytes to, size_t *ret_len,
                struct explain *why)
{
    X509 *ca_cert = NULL;
    EVP_PKEY *ca_key = NULL;
    EVP_MD_CTX *ctx = EVP_MD_CTX_new();
    size_t n = to.n;
    enum err err = read_ca(ca, &ca_cert, &ca_key, why);

    if (err == OK) {
        if (ctx == NULL || EVP_DigestSignInit(ctx, NULL, EVP_sha256(), NULL, ca_key) != 1 ||
            EVP_DigestSign(ctx, to.p, &n, text.p, text.n) != 1) {
            err = refuse(why, "a signature cannot be made");
        } else {
            *ret_len = n;
        }
    }
    EVP_MD_CTX_free(ctx);
    X509_free(ca_cert);
    EVP_PKEY_free(ca_key);
    return err;
}
