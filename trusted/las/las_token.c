// SPDX-License-Identifier: Apache-2.0
#include "trusted/las/las_token.h"

#include "common/codec.h"
#include "trusted/config/explain.h"

#include <openssl/err.h>

#include <stdio.h>

enum {
    VERSION = 1,
    SIGNATURE_MAX = 80,
    CLOCK_SLACK_S = 30, /* of two clocks on one machine or close by; a hint, not a proof */
};

/* Signed before the statement, so that no signature for another purpose can pass for a token. */
static const char purpose[] = "avocado-las-token-v1";

static void put_claim(struct writer *w, const struct las_claim *c)
{
    size_t name_n = strnlen(c->las, sizeof(c->las));

    put_u8(w, VERSION);
    put_u8(w, (uint8_t)c->kind);
    put_u8(w, c->debug ? 1 : 0);
    put_u8(w, (uint8_t)name_n);
    put_bytes(w, (struct bytes){(const uint8_t *)c->las, name_n});
    put_bytes(w, (struct bytes){c->measurement, sizeof(c->measurement)});
    put_bytes(w, (struct bytes){c->binding.key_hash, sizeof(c->binding.key_hash)});
    put_bytes(w, (struct bytes){c->binding.nonce, sizeof(c->binding.nonce)});
    put_u64(w, c->issued_s);
    put_u32(w, c->lifetime_s);
    put_bytes(w, (struct bytes){c->serial, sizeof(c->serial)});
}

static bool is_name(struct bytes b)
{
    for (size_t i = 0; i < b.n; i++) {
        if (b.p[i] <= ' ' || b.p[i] > '~') {
            return false;
        }
    }
    return b.n >= 1 && b.n <= NAME_MAX_LEN;
}

/* The statement; what is left in `r` is its signature. */
static bool get_claim(struct reader *r, struct las_claim *c)
{
    uint8_t version = get_u8(r), kind = get_u8(r), debug = get_u8(r);
    struct bytes name = get_bytes(r, get_u8(r));

    get_array(r, c->measurement, sizeof(c->measurement));
    get_array(r, c->binding.key_hash, sizeof(c->binding.key_hash));
    get_array(r, c->binding.nonce, sizeof(c->binding.nonce));
    c->issued_s = get_u64(r);
    c->lifetime_s = get_u32(r);
    get_array(r, c->serial, sizeof(c->serial));
    if (r->failed || version != VERSION || debug > 1 || !is_name(name) ||
        attest_kind_name((enum attest_kind)kind) == NULL || c->lifetime_s == 0 ||
        c->lifetime_s > LAS_LIFETIME_MAX_S || c->issued_s > UINT32_MAX) {
        return false;
    }
    (void)snprintf(c->las, sizeof(c->las), "%.*s", (int)name.n, (const char *)name.p);
    c->kind = (enum attest_kind)kind;
    c->debug = debug == 1;
    return true;
}

/* SHA-256 over the purpose, its zero byte, and the statement; for signing and for checking. */
static bool add(EVP_MD_CTX *ctx, struct bytes claim, bool signs)
{
    return signs ? EVP_DigestSignUpdate(ctx, purpose, sizeof(purpose)) == 1 &&
                       EVP_DigestSignUpdate(ctx, claim.p, claim.n) == 1
                 : EVP_DigestVerifyUpdate(ctx, purpose, sizeof(purpose)) == 1 &&
                       EVP_DigestVerifyUpdate(ctx, claim.p, claim.n) == 1;
}

RESULT las_token_sign(const struct las_claim *claim, EVP_PKEY *key,
                      uint8_t ret[static LAS_TOKEN_MAX], size_t *ret_n)
{
    struct writer w = {.to = {ret, LAS_TOKEN_MAX - SIGNATURE_MAX}};
    struct las_claim again = {0};
    struct reader r = {0};
    EVP_MD_CTX *ctx = NULL;
    size_t n = 0, sig_n = SIGNATURE_MAX;
    bool good = false;

    put_claim(&w, claim);
    if (!writer_done(&w, &n)) {
        return ERR_USAGE;
    }
    r.rest = (struct bytes){ret, n};
    if (!get_claim(&r, &again) || r.rest.n != 0) {
        return ERR_USAGE;
    }
    ctx = EVP_MD_CTX_new();
    good = ctx != NULL && EVP_DigestSignInit(ctx, NULL, EVP_sha256(), NULL, key) == 1 &&
           add(ctx, (struct bytes){ret, n}, true) && EVP_DigestSignFinal(ctx, ret + n, &sig_n) == 1;
    EVP_MD_CTX_free(ctx);
    ERR_clear_error();
    if (!good) {
        return ERR_IO;
    }
    *ret_n = n + sig_n;
    return OK;
}

RESULT las_token_read(struct bytes token, struct las_claim *ret)
{
    struct reader r = {.rest = token};
    struct las_claim c = {0};

    if (token.n > LAS_TOKEN_MAX || !get_claim(&r, &c) || r.rest.n == 0) {
        return ERR_MALFORMED;
    }
    *ret = c;
    return OK;
}

RESULT las_token_verify(struct bytes token, EVP_PKEY *key, uint64_t now_s, struct las_claim *ret,
                        struct explain *why)
{
    struct reader r = {.rest = token};
    struct las_claim c = {0};
    EVP_MD_CTX *ctx = NULL;
    bool good = false;

    if (token.n > LAS_TOKEN_MAX || !get_claim(&r, &c) || r.rest.n == 0) {
        explain(why, "the token is malformed");
        return ERR_MALFORMED;
    }
    ctx = EVP_MD_CTX_new();
    good = ctx != NULL && EVP_DigestVerifyInit(ctx, NULL, EVP_sha256(), NULL, key) == 1 &&
           add(ctx, (struct bytes){token.p, token.n - r.rest.n}, false) &&
           EVP_DigestVerifyFinal(ctx, r.rest.p, r.rest.n) == 1;
    EVP_MD_CTX_free(ctx);
    ERR_clear_error();
    if (!good) {
        explain(why, "the token is not signed by the key of LAS '%s'; did it restart meanwhile?",
                c.las);
        return ERR_AUTH;
    }
    if (now_s + CLOCK_SLACK_S < c.issued_s || now_s > c.issued_s + c.lifetime_s + CLOCK_SLACK_S) {
        explain(why,
                "the token of LAS '%s' was for the %u seconds from %llu, it is %llu now; ask "
                "for a new one, and compare the clocks if that does not help",
                c.las, c.lifetime_s, (unsigned long long)c.issued_s, (unsigned long long)now_s);
        return ERR_AUTH;
    }
    *ret = c;
    return OK;
}
