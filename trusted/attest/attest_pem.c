// SPDX-License-Identifier: Apache-2.0
#include "trusted/attest/attest_x509.h"

#include <stdlib.h>

/*
 * A PEM reader that accepts one spelling (ATT-6). OpenSSL's skips what it does not understand,
 * ignores stray bits behind the last character and stops where two certificates stand on one line,
 * as some platforms write them.
 */

static const char begin_mark[] = "-----BEGIN CERTIFICATE-----";
static const char end_mark[] = "-----END CERTIFICATE-----";

static bool take_mark(struct bytes *rest, const char *mark)
{
    size_t n = strlen(mark);

    if (rest->n < n || memcmp(rest->p, mark, n) != 0) {
        return false;
    }
    *rest = (struct bytes){.p = rest->p + n, .n = rest->n - n};
    return true;
}

/* "\n" or "\r\n". */
static bool take_newline(struct bytes *rest)
{
    size_t n = rest->n >= 2 && rest->p[0] == '\r' ? 2 : 1;

    if (rest->n < n || rest->p[n - 1] != '\n') {
        return false;
    }
    *rest = (struct bytes){.p = rest->p + n, .n = rest->n - n};
    return true;
}

static bool is_base64(uint8_t c)
{
    return (c >= 'A' && c <= 'Z') || (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') || c == '+' ||
           c == '/' || c == '=';
}

/* The lines between the marks, joined into `to`, which has room for all of them. */
static bool take_lines(struct bytes *rest, uint8_t *to, size_t *ret_n)
{
    size_t n = 0;

    if (!take_newline(rest)) {
        return false;
    }
    while (rest->n > 0 && rest->p[0] != '-') {
        size_t line = 0;

        while (line < rest->n && is_base64(rest->p[line])) {
            line++;
        }
        if (line == 0) {
            return false;
        }
        memcpy(to + n, rest->p, line);
        n += line;
        *rest = (struct bytes){.p = rest->p + line, .n = rest->n - line};
        if (!take_newline(rest)) {
            return false;
        }
    }
    *ret_n = n;
    return n > 0 && n % 4 == 0;
}

/* Decodes, encodes again and compares: the text then has no second spelling. */
static bool decode(const uint8_t *text, size_t n, uint8_t *to, uint8_t *again, size_t *ret_n)
{
    int got = EVP_DecodeBlock(to, text, (int)n);
    size_t pad = (size_t)(text[n - 1] == '=') + (size_t)(text[n - 2] == '=');

    if (got < (int)pad) {
        return false;
    }
    *ret_n = (size_t)got - pad;
    return EVP_EncodeBlock(again, to, (int)*ret_n) == (int)n && memcmp(again, text, n) == 0;
}

/* DER that OpenSSL would write the same way. */
static X509 *cert_of_der(const uint8_t *der, size_t n)
{
    const unsigned char *at = der;
    X509 *cert = d2i_X509(NULL, &at, (long)n);
    unsigned char *again = NULL;
    int again_n = 0;

    if (cert == NULL) {
        return NULL;
    }
    again_n = at == der + n ? i2d_X509(cert, &again) : -1;
    if (again_n < 0 || (size_t)again_n != n || memcmp(again, der, n) != 0) {
        X509_free(cert);
        cert = NULL;
    }
    OPENSSL_free(again);
    return cert;
}

static bool take_cert(struct bytes *rest, uint8_t *scratch, size_t scratch_n, X509 **ret)
{
    uint8_t *text = scratch, *der = scratch + scratch_n, *again = scratch + 2 * scratch_n;
    size_t text_n = 0, der_n = 0;

    if (!take_mark(rest, begin_mark) || !take_lines(rest, text, &text_n) ||
        !take_mark(rest, end_mark) || !decode(text, text_n, der, again, &der_n)) {
        return false;
    }
    *ret = cert_of_der(der, der_n);
    return *ret != NULL;
}

RESULT attest_chain_load(struct bytes pem, struct attest_chain *ret, struct explain *why)
{
    struct attest_chain c = {0};
    struct bytes rest = pem;
    size_t room = pem.n + 4; /* EVP_EncodeBlock adds a zero byte */
    uint8_t *scratch = NULL;
    bool good = true;

    if (pem.n == 0 || pem.n > ATTEST_PEM_MAX) {
        explain(why, "%zu bytes where 1 to %d are permitted", pem.n, ATTEST_PEM_MAX);
        return ERR_MALFORMED;
    }
    scratch = malloc(3 * room);
    if (scratch == NULL) {
        explain(why, "out of memory");
        return ERR_MALFORMED;
    }
    while (good && rest.n > 0 && c.n < ATTEST_CHAIN_MAX) {
        good = take_cert(&rest, scratch, room, &c.cert[c.n]);
        c.n += good ? 1 : 0;
        (void)take_newline(&rest); /* may be missing: ATT-6 */
        if (rest.n == 1 && rest.p[0] == 0) {
            rest.n = 0;
        }
    }
    free(scratch);
    if (!good || rest.n > 0) {
        explain(why, "certificate %u is not canonical PEM", c.n + 1);
        attest_chain_free(&c);
        return ERR_MALFORMED;
    }
    *ret = c;
    return OK;
}

void attest_chain_free(struct attest_chain *c)
{
    for (uint32_t i = 0; i < c->n; i++) {
        X509_free(c->cert[i]);
    }
    *c = (struct attest_chain){0};
}

RESULT attest_cert_load(struct bytes file, X509 **ret, struct explain *why)
{
    struct attest_chain c = {0};
    X509 *cert = NULL;

    if (file.n > 0 && file.p[0] == '-') {
        TRY(attest_chain_load(file, &c, why));
        if (c.n != 1) {
            explain(why, "%u certificates where one is permitted", c.n);
            attest_chain_free(&c);
            return ERR_MALFORMED;
        }
        *ret = c.cert[0];
        return OK;
    }
    cert = file.n == 0 || file.n > ATTEST_PEM_MAX ? NULL : cert_of_der(file.p, file.n);
    if (cert == NULL) {
        explain(why, "not a certificate in canonical DER");
        return ERR_MALFORMED;
    }
    *ret = cert;
    return OK;
}
