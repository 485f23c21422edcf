// SPDX-License-Identifier: Apache-2.0
#include "trusted/evidence/software_internal.h"

#include "common/codec.h"
#include "trusted/config/explain.h"
#include "trusted/pki/pki_cert.h"

#include <openssl/core_names.h>
#include <openssl/err.h>
#include <openssl/pem.h>

#include <stdlib.h>

enum {
    HEADER_LEN = 48,
    BODY_LEN = 384,
    ECDSA_LEN = 64,
    AUTH_LEN = 32,
    CERT_PCK_CHAIN = 5,
    FLAG_INIT = 1 << 0,
    FLAG_DEBUG = 1 << 1,
    FLAG_MODE64 = 1 << 2,
    FLAG_PROVISION = 1 << 4,
    CHAIN_MAX = 32 << 10,
};

static const uint8_t vendor[16] = {0x93, 0x9a, 0x72, 0x33, 0xf7, 0x9c, 0x4c, 0xa9,
                                   0x94, 0x0a, 0x0d, 0xb3, 0x95, 0x7f, 0x06, 0x07};

struct software_platform {
    EVP_PKEY *pck, *att;
    uint8_t att_key[ECDSA_LEN];
    uint8_t auth[AUTH_LEN];
    uint8_t qe_report[BODY_LEN], qe_signature[ECDSA_LEN];
    uint8_t *chain;
    size_t chain_n;
};

/* What an SGX report body says; the rest is zero. */
struct report {
    const uint8_t *mrenclave, *mrsigner, *report_data;
    uint64_t flags;
    uint16_t isvprodid, isvsvn;
};

static void put_zeros(struct writer *w, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        put_u8(w, 0);
    }
}

/* 384 bytes, ATT-9. */
static void put_report(struct writer *w, const struct report *r)
{
    put_zeros(w, 48);
    put_u64(w, r->flags);
    put_u64(w, 3); /* XFRM: x87 and SSE */
    put_bytes(w, (struct bytes){r->mrenclave, 32});
    put_zeros(w, 32);
    put_bytes(w, (struct bytes){r->mrsigner, 32});
    put_zeros(w, 32 + 64);
    put_u16(w, r->isvprodid);
    put_u16(w, r->isvsvn);
    put_zeros(w, 2 + 42 + 16);
    put_bytes(w, (struct bytes){r->report_data, 64});
}

static bool read_signer(uint8_t to[static 32])
{
    for (size_t i = 0; i < 32; i++) {
        const char *p = software_qe_signer + 2 * i;
        unsigned high = (unsigned)(p[0] <= '9' ? p[0] - '0' : p[0] - 'a' + 10);
        unsigned low = (unsigned)(p[1] <= '9' ? p[1] - '0' : p[1] - 'a' + 10);

        to[i] = (uint8_t)(high << 4 | low);
    }
    return true;
}

/* The report of the quoting enclave that we stand in for: ties the attestation key to the
 * platform's, ATT-12. */
static bool make_qe_report(struct software_platform *p)
{
    uint8_t data[64] = {0}, signer[32], mrenclave[32] = {0}, point[1 + ECDSA_LEN];
    struct report r = {.mrenclave = mrenclave,
                       .mrsigner = signer,
                       .report_data = data,
                       .flags = FLAG_INIT | FLAG_PROVISION,
                       .isvprodid = SOFTWARE_QE_PRODID,
                       .isvsvn = SOFTWARE_QE_SVN};
    struct writer w = {.to = {p->qe_report, sizeof(p->qe_report)}};
    EVP_MD_CTX *ctx = EVP_MD_CTX_new();
    size_t n = 0;
    bool good = read_signer(signer) && ctx != NULL &&
                EVP_PKEY_get_octet_string_param(p->att, OSSL_PKEY_PARAM_ENCODED_PUBLIC_KEY, point,
                                                sizeof(point), &n) == 1 &&
                n == sizeof(point);

    if (good) {
        memcpy(p->att_key, point + 1, sizeof(p->att_key));
        for (size_t i = 0; i < AUTH_LEN; i++) {
            p->auth[i] = (uint8_t)i;
        }
        good = EVP_DigestInit_ex(ctx, EVP_sha256(), NULL) == 1 &&
               EVP_DigestUpdate(ctx, p->att_key, sizeof(p->att_key)) == 1 &&
               EVP_DigestUpdate(ctx, p->auth, sizeof(p->auth)) == 1 &&
               EVP_DigestFinal_ex(ctx, data, NULL) == 1;
    }
    EVP_MD_CTX_free(ctx);
    put_report(&w, &r);
    return good && writer_done(&w, &n) && n == BODY_LEN &&
           software_sign(p->pck, (struct bytes){p->qe_report, BODY_LEN}, p->qe_signature);
}

RESULT software_platform_open(struct bytes pck_chain, struct bytes pck_key,
                              struct software_platform **ret, struct explain *why)
{
    struct software_platform *p = calloc(1, sizeof(*p));
    BIO *bio =
        pck_key.n == 0 || pck_key.n > CHAIN_MAX ? NULL : BIO_new_mem_buf(pck_key.p, (int)pck_key.n);

    if (p != NULL && pck_chain.n > 0 && pck_chain.n <= CHAIN_MAX) {
        p->pck = bio == NULL ? NULL : PEM_read_bio_PrivateKey(bio, NULL, pki_no_passphrase, NULL);
        p->att = EVP_EC_gen("P-256");
        p->chain = malloc(pck_chain.n);
    }
    BIO_free(bio);
    if (p == NULL || p->pck == NULL || p->att == NULL || p->chain == NULL || !make_qe_report(p)) {
        ERR_clear_error();
        explain(why, "pck_key.pem and pck_chain.pem are no key and chain of a software platform; "
                     "make one with 'avocado attest found DIR'");
        software_platform_close(p);
        return ERR_MALFORMED;
    }
    memcpy(p->chain, pck_chain.p, pck_chain.n);
    p->chain_n = pck_chain.n;
    *ret = p;
    return OK;
}

void software_platform_close(struct software_platform *p)
{
    if (p != NULL) {
        EVP_PKEY_free(p->pck);
        EVP_PKEY_free(p->att);
        free(p->chain);
        free(p);
    }
}

RESULT software_quote(const struct software_platform *p, const struct software_body *body,
                      uint8_t **ret, size_t *ret_n, struct explain *why)
{
    size_t data_n =
        (size_t)ECDSA_LEN + ECDSA_LEN + BODY_LEN + ECDSA_LEN + 2 + AUTH_LEN + 2 + 4 + p->chain_n;
    size_t room = (size_t)HEADER_LEN + BODY_LEN + 4 + data_n, n = 0;
    uint8_t *quote = malloc(room), sig[ECDSA_LEN];
    struct writer w = {.to = {quote, quote == NULL ? 0 : room}};
    const struct report r = {
        .mrenclave = body->mrenclave,
        .mrsigner = body->mrsigner,
        .report_data = body->report_data,
        .flags = (uint64_t)FLAG_INIT | FLAG_MODE64 | (body->debug ? FLAG_DEBUG : 0),
        .isvprodid = body->isvprodid,
        .isvsvn = body->isvsvn,
    };

    put_u16(&w, 3);
    put_u16(&w, 2); /* ECDSA with P-256 */
    put_zeros(&w, 8);
    put_bytes(&w, (struct bytes){vendor, sizeof(vendor)});
    put_zeros(&w, 20);
    put_report(&w, &r);
    if (w.failed ||
        !software_sign(p->att, (struct bytes){quote, (size_t)HEADER_LEN + BODY_LEN}, sig)) {
        free(quote);
        return pki_refuse(why, "a software quote cannot be signed");
    }
    put_u32(&w, (uint32_t)data_n);
    put_bytes(&w, (struct bytes){sig, sizeof(sig)});
    put_bytes(&w, (struct bytes){p->att_key, sizeof(p->att_key)});
    put_bytes(&w, (struct bytes){p->qe_report, sizeof(p->qe_report)});
    put_bytes(&w, (struct bytes){p->qe_signature, sizeof(p->qe_signature)});
    put_u16(&w, AUTH_LEN);
    put_bytes(&w, (struct bytes){p->auth, sizeof(p->auth)});
    put_u16(&w, CERT_PCK_CHAIN);
    put_u32(&w, (uint32_t)p->chain_n);
    put_bytes(&w, (struct bytes){p->chain, p->chain_n});
    if (!writer_done(&w, &n) || n != room) {
        free(quote);
        return pki_refuse(why, "a software quote cannot be written");
    }
    *ret = quote;
    *ret_n = n;
    return OK;
}
