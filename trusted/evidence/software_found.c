// SPDX-License-Identifier: Apache-2.0
#include "trusted/evidence/software_internal.h"

#include "trusted/attest/attest.h"
#include "trusted/config/explain.h"
#include "trusted/pki/pki_cert.h"

#include <openssl/ecdsa.h>
#include <openssl/err.h>
#include <openssl/pem.h>
#include <openssl/x509v3.h>

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

enum {
    FILE_ROOT,
    FILE_ROOT_KEY,
    FILE_PCK_CHAIN,
    FILE_PCK_KEY,
    FILE_TCB_INFO,
    FILE_QE_IDENTITY,
    FILE_TCB_CHAIN,
    FILE_PCK_CRL,
    FILE_ROOT_CRL,
    DAY_S = 86400,
    HOUR_S = 3600,
    STATEMENT_MAX = 4096,
};

static const struct {
    const char *name;
    bool is_secret;
} files[SOFTWARE_FILES_N] = {
    [FILE_ROOT] = {"root_ca.pem", false},
    [FILE_ROOT_KEY] = {"root_key.pem", true},
    [FILE_PCK_CHAIN] = {"pck_chain.pem", false},
    [FILE_PCK_KEY] = {"pck_key.pem", true},
    [FILE_TCB_INFO] = {"tcb_info.json", false},
    [FILE_QE_IDENTITY] = {"qe_identity.json", false},
    [FILE_TCB_CHAIN] = {"tcb_signing_chain.pem", false},
    [FILE_PCK_CRL] = {"pck_crl.der", false},
    [FILE_ROOT_CRL] = {"root_ca_crl.der", false},
};

/* A certificate and its key, while the deployment is made. */
struct holder {
    X509 *cert;
    EVP_PKEY *key;
};

struct maker {
    const struct software_wishes *w;
    struct holder root, ca, pck, signer;
    struct software_files out;
};

void software_files_free(struct software_files *f)
{
    for (size_t i = 0; i < SOFTWARE_FILES_N; i++) {
        if (f->file[i].p != NULL && f->file[i].is_secret) {
            OPENSSL_cleanse(f->file[i].p, f->file[i].n);
        }
        free(f->file[i].p);
    }
    *f = (struct software_files){0};
}

struct bytes software_file_get(const struct software_files *f, const char *name)
{
    for (size_t i = 0; i < SOFTWARE_FILES_N; i++) {
        if (f->file[i].name != NULL && strcmp(f->file[i].name, name) == 0) {
            return (struct bytes){f->file[i].p, f->file[i].n};
        }
    }
    return (struct bytes){0};
}

bool software_sign(EVP_PKEY *key, struct bytes message, uint8_t to[static 64])
{
    EVP_MD_CTX *ctx = EVP_MD_CTX_new();
    unsigned char der[128];
    const unsigned char *at = der;
    size_t n = sizeof(der);
    ECDSA_SIG *sig = NULL;
    bool good = ctx != NULL && EVP_DigestSignInit(ctx, NULL, EVP_sha256(), NULL, key) == 1 &&
                EVP_DigestSign(ctx, der, &n, message.p, message.n) == 1 &&
                (sig = d2i_ECDSA_SIG(NULL, &at, (long)n)) != NULL &&
                BN_bn2binpad(ECDSA_SIG_get0_r(sig), to, 32) == 32 &&
                BN_bn2binpad(ECDSA_SIG_get0_s(sig), to + 32, 32) == 32;

    ECDSA_SIG_free(sig);
    EVP_MD_CTX_free(ctx);
    return good;
}

/* Takes `p` over. */
static bool keep(struct maker *m, size_t at, void *p, size_t n)
{
    m->out.file[at] = (struct software_file){files[at].name, files[at].is_secret, p, n};
    return p != NULL;
}

static bool keep_text(struct maker *m, size_t at, char *text)
{
    return keep(m, at, text, text == NULL ? 0 : strlen(text));
}

static bool keep_certs(struct maker *m, size_t at, X509 *const *certs, size_t n)
{
    BIO *bio = BIO_new(BIO_s_mem());
    bool good = bio != NULL;

    for (size_t i = 0; good && i < n; i++) {
        good = PEM_write_bio_X509(bio, certs[i]) == 1;
    }
    return keep_text(m, at, pki_take_text(bio)) && good;
}

static bool keep_key(struct maker *m, size_t at, EVP_PKEY *key)
{
    BIO *bio = BIO_new(BIO_s_secmem());
    bool good =
        bio != NULL && PEM_write_bio_PKCS8PrivateKey(bio, key, NULL, NULL, 0, NULL, NULL) == 1;

    return keep_text(m, at, pki_take_text(bio)) && good;
}

/* A certificate under `by`; by == ret: the root itself. */
static bool certify(const struct maker *m, const char *name, const struct holder *by,
                    struct holder *ret)
{
    bool is_ca = by == ret || by == &m->root;
    const char *constraints =
        by == ret ? "critical,CA:TRUE,pathlen:1" : "critical,CA:TRUE,pathlen:0";

    /* Only the intermediate is a CA below the root; the signer of statements is a leaf. */
    is_ca = is_ca && ret != &m->signer;
    ret->key = EVP_EC_gen("P-256");
    ret->cert = ret->key == NULL
                    ? NULL
                    : pki_cert_new(name, ret->key,
                                   &(struct pki_dates){m->w->now_s, (uint64_t)m->w->days * 86400});
    return ret->cert != NULL &&
           X509_set_issuer_name(ret->cert, X509_get_subject_name(by->cert)) == 1 &&
           pki_cert_extend(ret->cert, by->cert, NID_basic_constraints,
                           is_ca ? constraints : "critical,CA:FALSE") &&
           pki_cert_extend(ret->cert, by->cert, NID_key_usage,
                           is_ca ? "critical,keyCertSign,cRLSign" : "critical,digitalSignature") &&
           pki_cert_extend(ret->cert, by->cert, NID_subject_key_identifier, "hash");
}

static bool finish(struct holder *h, const struct holder *by)
{
    return X509_sign(h->cert, by->key, EVP_sha256()) != 0;
}

static bool add_pck_extension(X509 *cert, uint8_t svn)
{
    struct mbytes value = software_pck_extension(svn);
    ASN1_OBJECT *oid = OBJ_txt2obj("1.2.840.113741.1.13.1", 1);
    ASN1_OCTET_STRING *data = ASN1_OCTET_STRING_new();
    X509_EXTENSION *extension = NULL;
    bool good = value.p != NULL && oid != NULL && data != NULL &&
                ASN1_OCTET_STRING_set(data, value.p, (int)value.n) == 1;

    extension = good ? X509_EXTENSION_create_by_OBJ(NULL, oid, 0, data) : NULL;
    good = extension != NULL && X509_add_ext(cert, extension, -1) == 1;
    X509_EXTENSION_free(extension);
    ASN1_OCTET_STRING_free(data);
    ASN1_OBJECT_free(oid);
    free(value.p);
    return good;
}

static bool make_root(struct maker *m)
{
    if (m->w->root == NULL) {
        return certify(m, "Avocado Software Root CA", &m->root, &m->root) &&
               finish(&m->root, &m->root);
    }
    BIO *cert = BIO_new_mem_buf(m->w->root->cert_pem, -1);
    BIO *key = BIO_new_mem_buf(m->w->root->key_pem, -1);

    m->root.cert = cert == NULL ? NULL : PEM_read_bio_X509(cert, NULL, pki_no_passphrase, NULL);
    m->root.key = key == NULL ? NULL : PEM_read_bio_PrivateKey(key, NULL, pki_no_passphrase, NULL);
    BIO_free(cert);
    BIO_free(key);
    return m->root.cert != NULL && m->root.key != NULL &&
           X509_check_private_key(m->root.cert, m->root.key) == 1;
}

static bool make_certs(struct maker *m)
{
    if (!make_root(m) || !certify(m, "Avocado Software PCK Platform CA", &m->root, &m->ca) ||
        !finish(&m->ca, &m->root) ||
        !certify(m, "Avocado Software PCK Certificate", &m->ca, &m->pck) ||
        !add_pck_extension(m->pck.cert, (uint8_t)m->w->platform_svn) || !finish(&m->pck, &m->ca) ||
        !certify(m, "Avocado Software TCB Signing", &m->root, &m->signer) ||
        !finish(&m->signer, &m->root)) {
        return false;
    }
    X509 *const pck[] = {m->pck.cert, m->ca.cert, m->root.cert};
    X509 *const signer[] = {m->signer.cert, m->root.cert};

    return keep_certs(m, FILE_PCK_CHAIN, pck, 3) && keep_certs(m, FILE_TCB_CHAIN, signer, 2) &&
           keep_certs(m, FILE_ROOT, &m->root.cert, 1) && keep_key(m, FILE_PCK_KEY, m->pck.key) &&
           keep_key(m, FILE_ROOT_KEY, m->root.key);
}

/* An empty revocation list. */
static bool make_crl(struct maker *m, size_t at, const struct holder *by)
{
    time_t from = (time_t)(m->w->now_s - HOUR_S);
    time_t until = (time_t)(m->w->now_s + (uint64_t)m->w->days * DAY_S);
    X509_CRL *crl = X509_CRL_new();
    ASN1_TIME *last = ASN1_TIME_set(NULL, from), *next = ASN1_TIME_set(NULL, until);
    unsigned char *der = NULL;
    uint8_t *copy = NULL;
    int n = 0;

    if (crl != NULL && last != NULL && next != NULL && X509_CRL_set_version(crl, 1) == 1 &&
        X509_CRL_set_issuer_name(crl, X509_get_subject_name(by->cert)) == 1 &&
        X509_CRL_set1_lastUpdate(crl, last) == 1 && X509_CRL_set1_nextUpdate(crl, next) == 1 &&
        X509_CRL_sign(crl, by->key, EVP_sha256()) != 0) {
        n = i2d_X509_CRL(crl, &der);
    }
    if (n > 0 && (copy = malloc((size_t)n)) != NULL) {
        memcpy(copy, der, (size_t)n);
    }
    OPENSSL_free(der);
    ASN1_TIME_free(last);
    ASN1_TIME_free(next);
    X509_CRL_free(crl);
    return keep(m, at, copy, copy == NULL ? 0 : (size_t)n);
}

/* {"KEY":OBJECT,"signature":"HEX"}, ATT-11. */
static bool make_statement(struct maker *m, size_t at, const char *key, const char *object)
{
    char *text = malloc(STATEMENT_MAX + 256);
    char hex[2 * 64 + 1];
    uint8_t sig[64];
    int n = -1;

    if (text != NULL &&
        software_sign(m->signer.key, (struct bytes){(const uint8_t *)object, strlen(object)},
                      sig)) {
        for (size_t i = 0; i < sizeof(sig); i++) {
            (void)snprintf(hex + 2 * i, 3, "%02x", (unsigned)sig[i]);
        }
        n = snprintf(text, STATEMENT_MAX + 256, "{\"%s\":%s,\"signature\":\"%s\"}", key, object,
                     hex);
    }
    if (n <= 0) {
        free(text);
        text = NULL;
    }
    return keep_text(m, at, text);
}

/* Sixteen components of one SVN. */
static const char *components(unsigned svn, char to[static 512])
{
    size_t n = 0;

    for (unsigned i = 0; i < 16; i++) {
        n += (size_t)snprintf(to + n, 512 - n, "%s{\"svn\":%u}", i == 0 ? "" : ",", svn);
    }
    return to;
}

static bool make_statements(struct maker *m)
{
    static const char mask16[] = "FBFFFFFFFFFFFFFF0000000000000000";
    static const char attr16[] = "11000000000000000000000000000000";
    char now[32], next[32], good[512], old[512], *text = malloc(STATEMENT_MAX);
    bool done = false;

    (void)attest_time_format(m->w->now_s - HOUR_S, now);
    (void)attest_time_format(m->w->now_s + (uint64_t)m->w->days * DAY_S, next);
    if (text != NULL &&
        snprintf(text, STATEMENT_MAX,
                 "{\"id\":\"SGX\",\"version\":3,\"issueDate\":\"%s\",\"nextUpdate\":\"%s\","
                 "\"fmspc\":\"%s\",\"pceId\":\"0000\",\"tcbType\":0,"
                 "\"tcbEvaluationDataNumber\":%u,\"tcbLevels\":["
                 "{\"tcb\":{\"sgxtcbcomponents\":[%s],\"pcesvn\":%d},\"tcbDate\":\"%s\","
                 "\"tcbStatus\":\"UpToDate\"},"
                 "{\"tcb\":{\"sgxtcbcomponents\":[%s],\"pcesvn\":0},\"tcbDate\":\"%s\","
                 "\"tcbStatus\":\"OutOfDate\"}]}",
                 now, next, software_fmspc, m->w->evaluation, components(SOFTWARE_SVN, good),
                 SOFTWARE_PCESVN, now, components(0, old), now) < STATEMENT_MAX) {
        done = make_statement(m, FILE_TCB_INFO, "tcbInfo", text);
    }
    if (done && snprintf(text, STATEMENT_MAX,
                         "{\"id\":\"QE\",\"version\":2,\"issueDate\":\"%s\",\"nextUpdate\":\"%s\","
                         "\"tcbEvaluationDataNumber\":%u,\"miscselect\":\"00000000\","
                         "\"miscselectMask\":\"FFFFFFFF\",\"attributes\":\"%s\","
                         "\"attributesMask\":\"%s\",\"mrsigner\":\"%s\",\"isvprodid\":%d,"
                         "\"tcbLevels\":[{\"tcb\":{\"isvsvn\":%d},\"tcbDate\":\"%s\","
                         "\"tcbStatus\":\"UpToDate\"}]}",
                         now, next, m->w->evaluation, attr16, mask16, software_qe_signer,
                         SOFTWARE_QE_PRODID, SOFTWARE_QE_SVN, now) < STATEMENT_MAX) {
        done = make_statement(m, FILE_QE_IDENTITY, "enclaveIdentity", text);
    }
    free(text);
    return done;
}

static void holder_free(struct holder *h)
{
    X509_free(h->cert);
    EVP_PKEY_free(h->key);
}

RESULT software_found(const struct software_wishes *w, struct software_files *ret,
                      struct explain *why)
{
    struct maker m = {.w = w};
    enum err err = OK;

    if (w->days == 0 || w->days > 36500 || w->platform_svn > UINT8_MAX || w->evaluation == 0 ||
        w->now_s < HOUR_S || w->now_s > UINT32_MAX) {
        explain(why, "software evidence holds for 1 to 36500 days from a time before 2106");
        return ERR_USAGE;
    }
    if (!make_certs(&m) || !make_crl(&m, FILE_PCK_CRL, &m.ca) ||
        !make_crl(&m, FILE_ROOT_CRL, &m.root) || !make_statements(&m)) {
        err = pki_refuse(why, "a root of software evidence cannot be made");
        software_files_free(&m.out);
    } else {
        *ret = m.out;
    }
    holder_free(&m.root);
    holder_free(&m.ca);
    holder_free(&m.pck);
    holder_free(&m.signer);
    return err;
}
