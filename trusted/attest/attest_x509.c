// SPDX-License-Identifier: Apache-2.0
#include "trusted/attest/attest_x509.h"

#include <openssl/x509v3.h>

#include <stdio.h>

RESULT attest_cert_pin(X509 *cert, uint8_t ret[static ATTEST_PIN_LEN])
{
    unsigned char *der = NULL;
    int n = i2d_X509_PUBKEY(X509_get_X509_PUBKEY(cert), &der);
    unsigned char pin[ATTEST_PIN_LEN];
    unsigned len = 0;
    bool good = n > 0 && EVP_Digest(der, (size_t)n, pin, &len, EVP_sha256(), NULL) == 1 &&
                len == ATTEST_PIN_LEN;

    OPENSSL_free(der);
    if (!good) {
        return ERR_MALFORMED;
    }
    memcpy(ret, pin, ATTEST_PIN_LEN);
    return OK;
}

RESULT attest_roots_add(struct attest_roots *roots, struct bytes file)
{
    X509 *cert = NULL;
    uint8_t pin[ATTEST_PIN_LEN];
    enum err err = OK;

    TRY(attest_cert_load(file, &cert, NULL));
    err = attest_cert_pin(cert, pin);
    X509_free(cert);
    if (err != OK) {
        return err;
    }
    if (roots->n == ATTEST_ROOTS_MAX) {
        return ERR_FULL;
    }
    memcpy(roots->pin[roots->n++], pin, ATTEST_PIN_LEN);
    return OK;
}

/* The last common name, as OpenSSL's own matching takes it; never with bytes that end it early. */
static const char *common_name(const X509_NAME *name, char to[static 96])
{
    int at = X509_NAME_get_index_by_NID(name, NID_commonName, -1);
    const ASN1_STRING *s = at < 0 ? NULL : X509_NAME_ENTRY_get_data(X509_NAME_get_entry(name, at));
    size_t n = s == NULL ? 0 : (size_t)ASN1_STRING_length(s);

    to[0] = '\0';
    if (n > 0 && n < 96 && memchr(ASN1_STRING_get0_data(s), 0, n) == NULL) {
        memcpy(to, ASN1_STRING_get0_data(s), n);
        to[n] = '\0';
    }
    return to;
}

const char *attest_cert_subject(X509 *cert, char to[static 96])
{
    return common_name(X509_get_subject_name(cert), to);
}

const char *attest_cert_issuer(X509 *cert, char to[static 96])
{
    return common_name(X509_get_issuer_name(cert), to);
}

static RESULT time_of(const ASN1_TIME *t, uint64_t *ret)
{
    ASN1_TIME *epoch = ASN1_TIME_set(NULL, 0);
    int days = 0, seconds = 0;
    bool good = t != NULL && epoch != NULL && ASN1_TIME_diff(&days, &seconds, epoch, t) == 1;

    ASN1_TIME_free(epoch);
    if (!good || days < 0 || seconds < 0) {
        return ERR_MALFORMED;
    }
    *ret = (uint64_t)days * 86400 + (uint64_t)seconds;
    return OK;
}

static bool is_pinned(const struct attest_roots *roots, X509 *cert)
{
    uint8_t pin[ATTEST_PIN_LEN];

    if (attest_cert_pin(cert, pin) != OK) {
        return false;
    }
    for (uint32_t i = 0; i < roots->n && i < ATTEST_ROOTS_MAX; i++) {
        if (memcmp(roots->pin[i], pin, ATTEST_PIN_LEN) == 0) {
            return true;
        }
    }
    return false;
}

/* Certificate i of the chain against its issuer; the root against itself. */
static bool judge_link(const struct attest_chain *c, uint32_t i,
                       const struct attest_chain_rules *rules, struct attest_verdict *v)
{
    X509 *cert = c->cert[i], *issuer = c->cert[i + 1 < c->n ? i + 1 : i];
    bool wants_ca = i > 0;
    EVP_PKEY *key = X509_get0_pubkey(issuer);
    char subject[96], by[96];
    uint32_t before = v->failures_n;

    (void)attest_cert_subject(cert, subject);
    (void)attest_cert_subject(issuer, by);
    if (key == NULL || X509_verify(cert, key) != 1) {
        attest_fail(v, rules->signature, "a signature by the next certificate's key",
                    "%s: '%s' is not signed by '%s'", rules->what, subject, by);
    }
    if (X509_NAME_cmp(X509_get_issuer_name(cert), X509_get_subject_name(issuer)) != 0) {
        attest_fail(v, rules->signature, "the issuer's name is the next certificate's subject",
                    "%s: '%s' names another issuer than '%s'", rules->what, subject, by);
    }
    if (wants_ca != (X509_check_ca(cert) == 1)) {
        attest_fail(v, rules->signature, wants_ca ? "a CA certificate" : "no CA certificate",
                    "%s: '%s' is %s", rules->what, subject, wants_ca ? "none" : "one");
    }
    if (X509_get_extension_flags(cert) & (EXFLAG_INVALID | EXFLAG_CRITICAL)) {
        attest_fail(v, rules->signature, "no unknown critical extension",
                    "%s: '%s' has one, or an invalid one", rules->what, subject);
    }
    if (i > 0 && X509_get_pathlen(cert) >= 0 && (long)i - 1 > X509_get_pathlen(cert)) {
        attest_fail(v, rules->signature, "no more intermediates than the path length permits",
                    "%s: '%s' permits %ld", rules->what, subject, X509_get_pathlen(cert));
    }
    if (strstr(subject, rules->names[i]) == NULL) {
        attest_fail(v,
                    rules->signature == ATTEST_RULE_TCB_CHAIN ? ATTEST_RULE_TCB_CHAIN
                                                              : ATTEST_RULE_CERT_NAME,
                    rules->names[i], "%s: certificate %u is named '%s'", rules->what, i + 1,
                    subject);
    }
    return v->failures_n == before;
}

static void judge_dates(const struct attest_input *in, X509 *cert, struct attest_verdict *v)
{
    uint64_t from_s = 0, until_s = 0;
    char subject[96], what[128];

    (void)snprintf(what, sizeof(what), "certificate '%s'", attest_cert_subject(cert, subject));
    if (time_of(X509_get0_notBefore(cert), &from_s) != OK ||
        time_of(X509_get0_notAfter(cert), &until_s) != OK) {
        attest_fail(v, ATTEST_RULE_EXPIRED, "dates", "%s has none that can be read", what);
        return;
    }
    attest_dates(v, what, in->now_s, from_s, until_s);
}

bool attest_chain_judge(const struct attest_input *in, const struct attest_chain *c,
                        const struct attest_chain_rules *rules, struct attest_verdict *v)
{
    bool whole = true;

    for (uint32_t i = 0; i < c->n; i++) {
        whole &= judge_link(c, i, rules, v);
        judge_dates(in, c->cert[i], v);
    }
    if (!is_pinned(&in->roots, c->cert[c->n - 1])) {
        uint8_t pin[ATTEST_PIN_LEN] = {0};
        char hex[80], subject[96];

        if (attest_cert_pin(c->cert[c->n - 1], pin) != OK) {
            memset(pin, 0, sizeof(pin));
        }
        attest_fail(v, rules->root, "a root whose key is pinned",
                    "%s ends in '%s' with key sha256:%s", rules->what,
                    attest_cert_subject(c->cert[c->n - 1], subject),
                    attest_hex((struct bytes){pin, sizeof(pin)}, hex, sizeof(hex)));
        whole = false;
    }
    return whole;
}

static X509_CRL *load_crl(struct bytes der)
{
    const unsigned char *at = der.p;
    X509_CRL *crl =
        der.n == 0 || der.n > ATTEST_COLLATERAL_MAX ? NULL : d2i_X509_CRL(NULL, &at, (long)der.n);
    unsigned char *again = NULL;
    int again_n = 0;

    if (crl == NULL) {
        return NULL;
    }
    again_n = at == der.p + der.n ? i2d_X509_CRL(crl, &again) : -1;
    if (again_n < 0 || (size_t)again_n != der.n || memcmp(again, der.p, der.n) != 0) {
        X509_CRL_free(crl);
        crl = NULL;
    }
    OPENSSL_free(again);
    return crl;
}

/* Partial and indirect lists say so in a critical extension, and do not list what they leave out.
 */
static bool has_critical_extension(const X509_CRL *crl)
{
    for (int i = 0; i < X509_CRL_get_ext_count(crl); i++) {
        if (X509_EXTENSION_get_critical(X509_CRL_get_ext(crl, i))) {
            return true;
        }
    }
    return false;
}

static void judge_listed(const struct attest_crl *ask, X509_CRL *crl, struct attest_verdict *v)
{
    for (uint32_t i = 0; i < ask->certs_n; i++) {
        X509_REVOKED *entry = NULL;
        char subject[96], serial[48];
        const ASN1_INTEGER *number = X509_get0_serialNumber(ask->certs[i]);

        if (X509_CRL_get0_by_cert(crl, &entry, ask->certs[i]) == 0) {
            continue;
        }
        attest_fail(v, ATTEST_RULE_REVOKED, "a certificate that is not revoked",
                    "%s lists '%s', serial %s", ask->what,
                    attest_cert_subject(ask->certs[i], subject),
                    attest_hex((struct bytes){ASN1_STRING_get0_data(number),
                                              (size_t)ASN1_STRING_length(number)},
                               serial, sizeof(serial)));
    }
}

void attest_crl_judge(const struct attest_input *in, const struct attest_crl *ask,
                      struct attest_verdict *v)
{
    X509_CRL *crl = load_crl(ask->der);
    EVP_PKEY *key = X509_get0_pubkey(ask->issuer);
    uint64_t from_s = 0, until_s = 0;
    char subject[96];

    if (crl == NULL || has_critical_extension(crl)) {
        attest_fail(v, ATTEST_RULE_COLLATERAL_MALFORMED, "a complete list in canonical DER",
                    "%s is not", ask->what);
        goto out;
    }
    if (key == NULL || X509_CRL_verify(crl, key) != 1 ||
        X509_NAME_cmp(X509_CRL_get_issuer(crl), X509_get_subject_name(ask->issuer)) != 0) {
        attest_fail(v, ATTEST_RULE_CRL_SIGNATURE, "a list by the certificate's issuer",
                    "%s is not issued by '%s'", ask->what,
                    attest_cert_subject(ask->issuer, subject));
        goto out;
    }
    if (time_of(X509_CRL_get0_lastUpdate(crl), &from_s) != OK ||
        time_of(X509_CRL_get0_nextUpdate(crl), &until_s) != OK) {
        attest_fail(v, ATTEST_RULE_EXPIRED, "dates of this and the next update",
                    "%s has none that can be read", ask->what);
    } else {
        attest_dates(v, ask->what, in->now_s, from_s, until_s);
        if (!ask->is_yearly) {
            attest_issued(v, from_s);
        }
    }
    judge_listed(ask, crl, v);
out:
    X509_CRL_free(crl);
}
