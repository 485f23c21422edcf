// SPDX-License-Identifier: Apache-2.0
#include "trusted/control/identity.h"

#include "trusted/config/explain.h"
#include "trusted/config/file.h"
#include "trusted/control/identity_internal.h"

#include <openssl/err.h>
#include <openssl/pem.h>
#include <openssl/x509v3.h>

#include <stdlib.h>
#include <string.h>

enum {
    PEM_FILE_MAX = 64 << 10,
    PEER_CERT_MAX = 16 << 10,
};

struct identity {
    struct identity_name self;
    SSL_CTX *ctx;
    uint64_t loaded_at_s;
};

/* Never ask a terminal for a pass phrase: a key that needs one is refused. */
static int no_passphrase(char *to, int size, int rwflag, void *ctx)
{
    if (size > 0) {
        to[0] = '\0';
    }
    (void)rwflag;
    (void)ctx;
    return -1;
}

/* Exactly one certificate; NULL otherwise. */
static X509 *read_cert(const char *pem)
{
    BIO *bio = BIO_new_mem_buf(pem, -1);
    X509 *cert = bio == NULL ? NULL : PEM_read_bio_X509(bio, NULL, no_passphrase, NULL);
    X509 *more = cert == NULL ? NULL : PEM_read_bio_X509(bio, NULL, no_passphrase, NULL);

    if (more != NULL) {
        X509_free(more);
        X509_free(cert);
        cert = NULL;
    }
    BIO_free(bio);
    ERR_clear_error();
    return cert;
}

static EVP_PKEY *read_key(const char *pem)
{
    BIO *bio = BIO_new_mem_buf(pem, -1);
    EVP_PKEY *key = bio == NULL ? NULL : PEM_read_bio_PrivateKey(bio, NULL, no_passphrase, NULL);

    BIO_free(bio);
    ERR_clear_error();
    return key;
}

static bool is_p256(EVP_PKEY *key)
{
    char group[32] = "";

    return key != NULL && EVP_PKEY_get_group_name(key, group, sizeof(group), NULL) == 1 &&
           strcmp(group, "prime256v1") == 0;
}

static void print_date(const ASN1_TIME *t, char to[static 32])
{
    BIO *bio = BIO_new(BIO_s_mem());
    int n = 0;

    if (bio != NULL && ASN1_TIME_print_ex(bio, t, ASN1_DTFLGS_ISO8601) == 1) {
        n = BIO_read(bio, to, 31);
    }
    to[n > 0 ? n : 0] = '\0';
    BIO_free(bio);
}

void identity_explain_verify(struct explain *why, const char *whose, long verify_err, X509 *cert)
{
    char date[32] = "an unknown date";

    switch (verify_err) {
    case X509_V_ERR_CERT_HAS_EXPIRED:
        if (cert != NULL) {
            print_date(X509_get0_notAfter(cert), date);
        }
        explain(why, "%s expired on %s; issue a new one", whose, date);
        return;
    case X509_V_ERR_CERT_NOT_YET_VALID:
        if (cert != NULL) {
            print_date(X509_get0_notBefore(cert), date);
        }
        explain(why, "%s is not valid before %s; correct the clock or issue a new one", whose,
                date);
        return;
    case X509_V_ERR_UNABLE_TO_GET_ISSUER_CERT_LOCALLY:
    case X509_V_ERR_UNABLE_TO_GET_ISSUER_CERT:
    case X509_V_ERR_UNABLE_TO_VERIFY_LEAF_SIGNATURE:
    case X509_V_ERR_DEPTH_ZERO_SELF_SIGNED_CERT:
    case X509_V_ERR_SELF_SIGNED_CERT_IN_CHAIN:
    case X509_V_ERR_CERT_SIGNATURE_FAILURE:
    case X509_V_ERR_CERT_CHAIN_TOO_LONG: /* somebody between it and a CA */
        explain(why, "%s was not issued by our CA; are both ends of the same cluster?", whose);
        return;
    case X509_V_ERR_INVALID_PURPOSE:
        explain(why, "%s is not for both TLS server and TLS client authentication; issue a new one",
                whose);
        return;
    default:
        explain(why, "%s was refused: %s; issue a new one", whose,
                X509_verify_cert_error_string(verify_err));
        return;
    }
}

/* A store whose only anchors are these and whose chains have no certificate between. */
static X509_STORE *make_store(X509 *const ca[static CA_CERTS_MAX])
{
    X509_STORE *store = X509_STORE_new();
    X509_VERIFY_PARAM *param = store == NULL ? NULL : X509_STORE_get0_param(store);

    if (param == NULL || X509_STORE_add_cert(store, ca[0]) != 1 ||
        (ca[1] != NULL && X509_STORE_add_cert(store, ca[1]) != 1) ||
        X509_VERIFY_PARAM_set_flags(param, X509_V_FLAG_X509_STRICT) != 1) {
        X509_STORE_free(store);
        return NULL;
    }
    X509_VERIFY_PARAM_set_depth(param, 0);
    return store;
}

/* What a certificate of ours must be good for, whichever end we are. */
static enum err verify_own(X509_STORE *store, X509 *cert, uint64_t now_s, struct explain *why)
{
    static const int purposes[] = {X509_PURPOSE_SSL_SERVER, X509_PURPOSE_SSL_CLIENT};

    for (unsigned i = 0; i < sizeof(purposes) / sizeof(purposes[0]); i++) {
        X509_STORE_CTX *ctx = X509_STORE_CTX_new();
        long verify_err = X509_V_ERR_OUT_OF_MEM;
        bool good = false;

        if (ctx != NULL && X509_STORE_CTX_init(ctx, store, cert, NULL) == 1 &&
            X509_STORE_CTX_set_purpose(ctx, purposes[i]) == 1) {
            X509_STORE_CTX_set_time(ctx, 0, (time_t)now_s);
            good = X509_verify_cert(ctx) == 1;
            verify_err = X509_STORE_CTX_get_error(ctx);
        }
        X509_STORE_CTX_free(ctx);
        ERR_clear_error();
        if (!good) {
            identity_explain_verify(why, "our certificate", verify_err, cert);
            return ERR_AUTH;
        }
    }
    return OK;
}

/* CTL-1. Takes its own references; the caller keeps store, certificate and key. The time stands in
 * the context and not in the store, whose time no connection could replace. */
static SSL_CTX *make_ctx(X509_STORE *store, X509 *cert, EVP_PKEY *key, uint64_t now_s)
{
    char groups[] = "X25519:P-256", signatures[] = "ecdsa_secp256r1_sha256";
    SSL_CTX *ctx = SSL_CTX_new(TLS_method());

    if (ctx == NULL || SSL_CTX_set_min_proto_version(ctx, TLS1_3_VERSION) != 1 ||
        SSL_CTX_set_max_proto_version(ctx, TLS1_3_VERSION) != 1 ||
        SSL_CTX_set_ciphersuites(ctx, "TLS_AES_256_GCM_SHA384:TLS_CHACHA20_POLY1305_SHA256") != 1 ||
        SSL_CTX_set1_groups_list(ctx, groups) != 1 ||
        SSL_CTX_set1_sigalgs_list(ctx, signatures) != 1 ||
        SSL_CTX_use_certificate(ctx, cert) != 1 || SSL_CTX_use_PrivateKey(ctx, key) != 1 ||
        SSL_CTX_check_private_key(ctx) != 1 || SSL_CTX_set_num_tickets(ctx, 0) != 1 ||
        SSL_CTX_set_max_early_data(ctx, 0) != 1 || SSL_CTX_set_recv_max_early_data(ctx, 0) != 1 ||
        SSL_CTX_set1_param(ctx, X509_STORE_get0_param(store)) != 1) {
        SSL_CTX_free(ctx);
        return NULL;
    }
    X509_VERIFY_PARAM_set_time(SSL_CTX_get0_param(ctx), (time_t)now_s);
    SSL_CTX_set1_cert_store(ctx, store);
    SSL_CTX_set_verify(ctx, SSL_VERIFY_PEER | SSL_VERIFY_FAIL_IF_NO_PEER_CERT, NULL);
    SSL_CTX_set_session_cache_mode(ctx, SSL_SESS_CACHE_OFF);
    (void)SSL_CTX_set_options(ctx,
                              SSL_OP_NO_TICKET | SSL_OP_NO_COMPRESSION | SSL_OP_NO_RENEGOTIATION);
    (void)SSL_CTX_set_mode(ctx, SSL_MODE_RELEASE_BUFFERS);
    SSL_CTX_set_max_cert_list(ctx, PEER_CERT_MAX);
    SSL_CTX_set_security_level(ctx, 3);
    return ctx;
}

struct parts {
    X509 *ca[CA_CERTS_MAX], *cert;
    EVP_PKEY *key;
};

/* One or two CA certificates and no more. */
static bool read_cas(const char *pem, X509 *ret[static CA_CERTS_MAX])
{
    BIO *bio = BIO_new_mem_buf(pem, -1);
    X509 *cert = NULL;
    bool good = bio != NULL;
    unsigned n = 0;

    while (good && (cert = PEM_read_bio_X509(bio, NULL, no_passphrase, NULL)) != NULL) {
        good = n < CA_CERTS_MAX && X509_check_ca(cert) == 1 && is_p256(X509_get0_pubkey(cert));
        if (good) {
            ret[n++] = cert;
        } else {
            X509_free(cert);
        }
    }
    BIO_free(bio);
    ERR_clear_error();
    return good && n > 0;
}

static enum err read_parts(struct parts *p, const char *ca_pem, const char *cert_pem,
                           const char *key_pem, struct explain *why)
{
    if (!read_cas(ca_pem, p->ca)) {
        explain(why, "the CA's PEM text is not one CA certificate of a P-256 key, or two while one "
                     "follows the other");
        return ERR_MALFORMED;
    }
    p->cert = read_cert(cert_pem);
    if (p->cert == NULL || !is_p256(X509_get0_pubkey(p->cert))) {
        explain(why, "the certificate's PEM text is not one certificate of a P-256 key");
        return ERR_MALFORMED;
    }
    p->key = read_key(key_pem);
    if (!is_p256(p->key)) {
        explain(why, "the key's PEM text is not one private P-256 key without a pass phrase");
        return ERR_MALFORMED;
    }
    if (X509_check_private_key(p->cert, p->key) != 1) {
        explain(why, "the private key does not belong to the certificate; give the pair");
        return ERR_AUTH;
    }
    return OK;
}

RESULT identity_from_pem(const char *ca_pem, const char *cert_pem, const char *key_pem,
                         uint64_t now_s, struct identity **ret, struct explain *why)
{
    struct parts p = {0};
    struct identity *id = NULL;
    X509_STORE *store = NULL;
    enum err err = now_s <= INT64_MAX ? OK : ERR_MALFORMED;

    if (err != OK) {
        explain(why, "the time of day is out of range");
        goto out;
    }
    err = read_parts(&p, ca_pem, cert_pem, key_pem, why);
    if (err != OK) {
        goto out;
    }
    id = calloc(1, sizeof(*id));
    store = make_store(p.ca);
    if (id == NULL || store == NULL) {
        explain(why, "out of memory");
        err = ERR_IO;
        goto out;
    }
    err = verify_own(store, p.cert, now_s, why);
    if (err != OK) {
        goto out;
    }
    if (identity_name_of(p.cert, &id->self) != OK) {
        explain(why, "our certificate names neither a replica nor a client of a cluster "
                     "(subjectAltName URI avocado:...); issue a new one");
        err = ERR_MALFORMED;
        goto out;
    }
    id->loaded_at_s = now_s;
    id->ctx = make_ctx(store, p.cert, p.key, now_s);
    if (id->ctx == NULL) {
        explain(why, "OpenSSL refuses this certificate and key: %s",
                ERR_reason_error_string(ERR_peek_last_error()));
        err = ERR_MALFORMED;
        goto out;
    }
    *ret = id;
    id = NULL;
out:
    X509_STORE_free(store);
    EVP_PKEY_free(p.key);
    X509_free(p.cert);
    X509_free(p.ca[0]);
    X509_free(p.ca[1]);
    identity_free(id);
    ERR_clear_error();
    return err;
}

RESULT identity_from_files(const char *ca_path, const char *cert_path, const char *key_path,
                           uint64_t now_s, struct identity **ret, struct explain *why)
{
    struct explain inner = {0};
    char *ca = NULL, *cert = NULL, *key = NULL;
    size_t ca_n = 0, cert_n = 0, key_n = 0;
    enum err err = file_read(ca_path, FILE_PUBLIC, PEM_FILE_MAX, &ca, &ca_n, why);

    if (err == OK) {
        err = file_read(cert_path, FILE_PUBLIC, PEM_FILE_MAX, &cert, &cert_n, why);
    }
    if (err == OK) {
        err = file_read(key_path, FILE_SECRET, PEM_FILE_MAX, &key, &key_n, why);
    }
    if (err == OK) {
        err = identity_from_pem(ca, cert, key, now_s, ret, &inner);
        if (err != OK) {
            explain(why, "identity of %s and %s under %s: %s", cert_path, key_path, ca_path,
                    inner.text);
        }
    }
    file_free(key, key_n);
    file_free(cert, cert_n);
    file_free(ca, ca_n);
    return err == ERR_TOO_BIG ? ERR_MALFORMED : err;
}

void identity_free(struct identity *id)
{
    if (id != NULL) {
        SSL_CTX_free(id->ctx);
        free(id);
    }
}

const struct identity_name *identity_self(const struct identity *id)
{
    return &id->self;
}

SSL_CTX *identity_ssl_ctx(const struct identity *id)
{
    return id->ctx;
}

bool identity_read_time(const ASN1_TIME *from, uint64_t *ret)
{
    struct tm tm;
    time_t at;

    if (ASN1_TIME_to_tm(from, &tm) != 1 || (at = timegm(&tm)) < 0) {
        return false;
    }
    *ret = (uint64_t)at;
    return true;
}

uint64_t identity_until(const struct identity *id)
{
    X509 *own = SSL_CTX_get0_certificate(id->ctx);
    uint64_t until_s;

    return own != NULL && identity_read_time(X509_get0_notAfter(own), &until_s) ? until_s : 0;
}

uint64_t identity_loaded_at_s(const struct identity *id)
{
    return id->loaded_at_s;
}
