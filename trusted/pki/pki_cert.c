// SPDX-License-Identifier: Apache-2.0
#include "trusted/pki/pki_cert.h"

#include "trusted/config/explain.h"

#include <openssl/err.h>
#include <openssl/pem.h>
#include <openssl/rand.h>
#include <openssl/x509v3.h>

#include <stdlib.h>
#include <string.h>

enum {
    SERIAL_LEN = 16,
    HOUR_S = 3600,
};

enum err pki_refuse(struct explain *why, const char *what)
{
    const char *reason = ERR_reason_error_string(ERR_peek_last_error());

    explain(why, "%s: %s", what, reason == NULL ? "OpenSSL gave no reason" : reason);
    ERR_clear_error();
    return ERR_IO;
}

/* The contents of a memory BIO as a heap string; frees (and, for secmem, wipes) the BIO. */
char *pki_take_text(BIO *bio)
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

int pki_no_passphrase(char *to, int size, int rwflag, void *ctx)
{
    if (size > 0) {
        to[0] = '\0';
    }
    (void)rwflag;
    (void)ctx;
    return -1;
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

static bool set_dates(X509 *cert, const struct pki_dates *d)
{
    time_t from = (time_t)(d->now_s > HOUR_S ? d->now_s - HOUR_S : 0);
    time_t until = (time_t)(d->now_s + d->lifetime_s);

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

bool pki_cert_extend(X509 *cert, X509 *issuer, int nid, const char *value)
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

/* Version, serial number, dates, subject and key: what every certificate has. NULL: no memory. */
X509 *pki_cert_new(const char *common_name, EVP_PKEY *key, const struct pki_dates *dates)
{
    X509 *cert = X509_new();
    X509_NAME *subject = make_subject(common_name);
    bool good = cert != NULL && subject != NULL && X509_set_version(cert, X509_VERSION_3) == 1 &&
                set_serial(cert) && set_dates(cert, dates) &&
                X509_set_subject_name(cert, subject) == 1 && X509_set_pubkey(cert, key) == 1;

    X509_NAME_free(subject);
    if (!good) {
        X509_free(cert);
        cert = NULL;
    }
    return cert;
}
