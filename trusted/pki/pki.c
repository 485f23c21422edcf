// SPDX-License-Identifier: Apache-2.0
#include "trusted/pki/pki.h"

#include "trusted/config/explain.h"
#include "trusted/pki/pki_cert.h"

#include <openssl/err.h>
#include <openssl/pem.h>
#include <openssl/x509v3.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum {
    DAYS_MAX = 36500,
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

static enum err write_pair(X509 *cert, EVP_PKEY *key, struct pki_pair *ret, struct explain *why)
{
    BIO *cert_bio = BIO_new(BIO_s_mem());
    BIO *key_bio = BIO_new(BIO_s_secmem());
    bool good = cert_bio != NULL && key_bio != NULL && PEM_write_bio_X509(cert_bio, cert) == 1 &&
                PEM_write_bio_PKCS8PrivateKey(key_bio, key, NULL, NULL, 0, NULL, NULL) == 1;
    struct pki_pair p = {.cert_pem = pki_take_text(cert_bio), .key_pem = pki_take_text(key_bio)};

    if (!good || p.cert_pem == NULL || p.key_pem == NULL) {
        pki_pair_free(&p);
        return pki_refuse(why, "a certificate cannot be written");
    }
    *ret = p;
    return OK;
}

static enum err read_ca(const struct pki_pair *ca, X509 **ret_cert, EVP_PKEY **ret_key,
                        struct explain *why)
{
    BIO *cert_bio = BIO_new_mem_buf(ca->cert_pem, -1);
    BIO *key_bio = BIO_new_mem_buf(ca->key_pem, -1);
    X509 *cert =
        cert_bio == NULL ? NULL : PEM_read_bio_X509(cert_bio, NULL, pki_no_passphrase, NULL);
    EVP_PKEY *key =
        key_bio == NULL ? NULL : PEM_read_bio_PrivateKey(key_bio, NULL, pki_no_passphrase, NULL);
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

static bool push_uri(GENERAL_NAMES *names, const char *uri)
{
    GENERAL_NAME *name = GENERAL_NAME_new();
    ASN1_IA5STRING *text = ASN1_IA5STRING_new();
    bool good = false;

    if (names != NULL && name != NULL && text != NULL && ASN1_STRING_set(text, uri, -1) == 1) {
        GENERAL_NAME_set0_value(name, GEN_URI, text);
        text = NULL;
        good = sk_GENERAL_NAME_push(names, name) > 0;
        name = good ? NULL : name;
    }
    ASN1_IA5STRING_free(text);
    GENERAL_NAME_free(name);
    return good;
}

/* The subjectAltName, made as a structure: no text of ours is parsed as configuration. */
static bool add_names(X509 *cert, const struct identity_name *name)
{
    GENERAL_NAMES *names = GENERAL_NAMES_new();
    char uri[160], rule[sizeof(IDENTITY_RULE) + ACCESS_RULE_TEXT] = IDENTITY_RULE;
    bool good;

    identity_name_format(name, uri);
    good = push_uri(names, uri);
    for (unsigned i = 0; i < name->access.rules_n && good; i++) {
        (void)access_format(&name->access, i, rule + sizeof(IDENTITY_RULE) - 1);
        good = push_uri(names, rule);
    }
    good = good && X509_add1_ext_i2d(cert, NID_subject_alt_name, names, 1, 0) == 1;
    GENERAL_NAMES_free(names);
    return good;
}

static bool good_dates(const struct pki_dates *d, struct explain *why)
{
    if (d->lifetime_s < 1 || d->lifetime_s > (uint64_t)DAYS_MAX * DAY_S || d->now_s > UINT32_MAX) {
        explain(why, "a certificate is valid for 1 second to %d days from a time before 2106",
                DAYS_MAX);
        return false;
    }
    return true;
}

RESULT pki_make_ca(const char *name, uint64_t now_s, uint32_t days, struct pki_pair *ret,
                   struct explain *why)
{
    const struct pki_dates dates = {now_s, (uint64_t)days * DAY_S};
    EVP_PKEY *key = NULL;
    X509 *cert = NULL;
    enum err err = OK;

    if (name[0] == '\0' || strlen(name) > NAME_MAX_LEN) {
        explain(why, "the name of a CA has 1 to %d bytes", NAME_MAX_LEN);
        return ERR_USAGE;
    }
    if (!good_dates(&dates, why)) {
        return ERR_USAGE;
    }
    key = EVP_EC_gen("P-256");
    cert = key == NULL ? NULL : pki_cert_new(name, key, &dates);
    if (cert == NULL || X509_set_issuer_name(cert, X509_get_subject_name(cert)) != 1 ||
        !pki_cert_extend(cert, cert, NID_basic_constraints, "critical,CA:TRUE,pathlen:0") ||
        !pki_cert_extend(cert, cert, NID_key_usage,
                         "critical,digitalSignature,keyCertSign,cRLSign") ||
        !pki_cert_extend(cert, cert, NID_subject_key_identifier, "hash") ||
        !pki_cert_extend(cert, cert, NID_authority_key_identifier, "keyid:always") ||
        X509_sign(cert, key, EVP_sha256()) == 0) {
        err = pki_refuse(why, "a CA certificate cannot be made");
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
        (void)snprintf(to, 96, "%s %.*s", n->role == ROLE_SERVICE ? "service" : "client", 50,
                       n->client);
    }
}

/* The certificate of `key` under that name. */
static enum err issue(const struct pki_pair *ca, const struct identity_name *name, EVP_PKEY *key,
                      const struct pki_dates *dates, X509 **ret, struct explain *why)
{
    X509 *ca_cert = NULL, *cert = NULL;
    EVP_PKEY *ca_key = NULL;
    char common_name[96];
    enum err err = OK;

    readable_name(name, common_name);
    TRY(read_ca(ca, &ca_cert, &ca_key, why));
    cert = key == NULL ? NULL : pki_cert_new(common_name, key, dates);
    if (cert == NULL || X509_set_issuer_name(cert, X509_get_subject_name(ca_cert)) != 1 ||
        !pki_cert_extend(cert, ca_cert, NID_basic_constraints, "critical,CA:FALSE") ||
        !pki_cert_extend(cert, ca_cert, NID_key_usage, "critical,digitalSignature") ||
        !pki_cert_extend(cert, ca_cert, NID_ext_key_usage, "serverAuth,clientAuth") ||
        !pki_cert_extend(cert, ca_cert, NID_subject_key_identifier, "hash") ||
        !pki_cert_extend(cert, ca_cert, NID_authority_key_identifier, "keyid:always") ||
        !add_names(cert, name) || X509_sign(cert, ca_key, EVP_sha256()) == 0) {
        err = pki_refuse(why, "a certificate cannot be made");
        X509_free(cert);
        cert = NULL;
    }
    *ret = cert;
    X509_free(ca_cert);
    EVP_PKEY_free(ca_key);
    return err;
}

static enum err check_wishes(const struct identity_name *name, const struct pki_dates *dates,
                             struct explain *why)
{
    struct identity_name again;
    char uri[160];

    identity_name_format(name, uri);
    if (identity_name_parse(uri, &again) != OK ||
        (name->access.rules_n > 0 && name->role != ROLE_CLIENT)) {
        explain(why,
                "'%s' is no name: numbers are from 1, a client's name is 1 to %d letters, "
                "digits, '.', '_', '-', and only a client has rules",
                uri, NAME_MAX_LEN);
        return ERR_USAGE;
    }
    return good_dates(dates, why) ? OK : ERR_USAGE;
}

RESULT pki_issue(const struct pki_pair *ca, const struct identity_name *name, uint64_t now_s,
                 uint32_t days, struct pki_pair *ret, struct explain *why)
{
    const struct pki_dates dates = {now_s, (uint64_t)days * DAY_S};
    EVP_PKEY *key = NULL;
    X509 *cert = NULL;
    enum err err = OK;

    TRY(check_wishes(name, &dates, why));
    key = EVP_EC_gen("P-256");
    err = issue(ca, name, key, &dates, &cert, why);
    if (err == OK) {
        err = write_pair(cert, key, ret, why);
    }
    X509_free(cert);
    EVP_PKEY_free(key);
    return err;
}

RESULT pki_issue_for(const struct pki_pair *ca, const struct identity_name *name,
                     const struct pki_dates *dates, EVP_PKEY *key, char **ret_pem,
                     struct explain *why)
{
    char group[32] = "";
    X509 *cert = NULL;
    BIO *bio = NULL;
    enum err err = OK;

    TRY(check_wishes(name, dates, why));
    if (key == NULL || EVP_PKEY_get_group_name(key, group, sizeof(group), NULL) != 1 ||
        strcmp(group, "prime256v1") != 0) {
        explain(why, "certificates are for keys on the curve P-256; make such a key");
        return ERR_USAGE;
    }
    err = issue(ca, name, key, dates, &cert, why);
    if (err == OK) {
        bio = BIO_new(BIO_s_mem());
        *ret_pem = bio != NULL && PEM_write_bio_X509(bio, cert) == 1 ? pki_take_text(bio) : NULL;
        err = *ret_pem == NULL ? pki_refuse(why, "a certificate cannot be written") : OK;
    }
    X509_free(cert);
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
            err = pki_refuse(why, "a signature cannot be made");
        } else {
            *ret_len = n;
        }
    }
    EVP_MD_CTX_free(ctx);
    X509_free(ca_cert);
    EVP_PKEY_free(ca_key);
    return err;
}
