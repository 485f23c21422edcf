// SPDX-License-Identifier: Apache-2.0
#include "tools/sigstruct.h"

#include "trusted/config/explain.h"

#include <openssl/core_names.h>
#include <openssl/evp.h>
#include <openssl/param_build.h>
#include <openssl/rsa.h>
#include <openssl/sha.h>

/* Offsets; integers and the numbers of RSA are little-endian. */
enum {
    AT_HEADER = 0,
    AT_DATE = 20,
    AT_HEADER2 = 24,
    AT_MODULUS = 128,
    AT_EXPONENT = 512,
    AT_SIGNATURE = 516,
    AT_BODY = 900, /* to AT_BODY_END: signed, with the first HEAD_LEN bytes */
    AT_FAMILY_ID = 912,
    AT_ATTRIBUTES = 928,
    AT_ATTRIBUTE_MASK = 944,
    AT_MRENCLAVE = 960,
    AT_EXT_PROD_ID = 1008,
    AT_PROD_ID = 1024,
    AT_SVN = 1026,
    AT_BODY_END = 1028,
    HEAD_LEN = 128,
    RSA_LEN = 384,
    HEADER_LEN = 16,
    RSA_EXPONENT = 3, /* the only one that EINIT takes */
    ATTRIBUTE_DEBUG = 1 << 1,
};

static const uint8_t header[HEADER_LEN] = {6, 0, 0, 0, 0xe1, 0, 0, 0, 0, 0, 1, 0, 0, 0, 0, 0};
static const uint8_t header2[HEADER_LEN] = {1, 1, 0, 0, 0x60, 0, 0, 0, 0x60, 0, 0, 0, 1, 0, 0, 0};

static uint32_t read_u32(const uint8_t *p)
{
    return (uint32_t)p[0] | (uint32_t)p[1] << 8 | (uint32_t)p[2] << 16 | (uint32_t)p[3] << 24;
}

static uint16_t read_u16(const uint8_t *p)
{
    return (uint16_t)(p[0] | p[1] << 8);
}

static EVP_PKEY *signer_key(const uint8_t *s)
{
    EVP_PKEY_CTX *ctx = EVP_PKEY_CTX_new_from_name(NULL, "RSA", NULL);
    OSSL_PARAM_BLD *build = OSSL_PARAM_BLD_new();
    BIGNUM *n = BN_lebin2bn(s + AT_MODULUS, RSA_LEN, NULL);
    OSSL_PARAM *params = NULL;
    EVP_PKEY *key = NULL;

    if (ctx != NULL && build != NULL && n != NULL &&
        OSSL_PARAM_BLD_push_BN(build, OSSL_PKEY_PARAM_RSA_N, n) == 1 &&
        OSSL_PARAM_BLD_push_uint(build, OSSL_PKEY_PARAM_RSA_E, RSA_EXPONENT) == 1) {
        params = OSSL_PARAM_BLD_to_param(build);
    }
    if (params == NULL || EVP_PKEY_fromdata_init(ctx) != 1 ||
        EVP_PKEY_fromdata(ctx, &key, EVP_PKEY_PUBLIC_KEY, params) != 1) {
        key = NULL;
    }
    OSSL_PARAM_free(params);
    OSSL_PARAM_BLD_free(build);
    BN_free(n);
    EVP_PKEY_CTX_free(ctx);
    return key;
}

/* PKCS #1 v1.5 with SHA-256 over both signed parts. */
static bool verifies(const uint8_t *s)
{
    uint8_t signature[RSA_LEN];
    EVP_PKEY *key = signer_key(s);
    EVP_MD_CTX *ctx = EVP_MD_CTX_new();
    bool good;

    for (size_t i = 0; i < RSA_LEN; i++) {
        signature[i] = s[AT_SIGNATURE + RSA_LEN - 1 - i];
    }
    good = key != NULL && ctx != NULL &&
           EVP_DigestVerifyInit_ex(ctx, NULL, "SHA256", NULL, NULL, key, NULL) == 1 &&
           EVP_DigestVerifyUpdate(ctx, s, HEAD_LEN) == 1 &&
           EVP_DigestVerifyUpdate(ctx, s + AT_BODY, AT_BODY_END - AT_BODY) == 1 &&
           EVP_DigestVerifyFinal(ctx, signature, RSA_LEN) == 1;
    EVP_MD_CTX_free(ctx);
    EVP_PKEY_free(key);
    return good;
}

bool sigstruct_is(struct bytes b)
{
    return b.n >= HEADER_LEN && memcmp(b.p + AT_HEADER, header, HEADER_LEN) == 0;
}

RESULT sigstruct_read(struct bytes b, struct sigstruct *ret, struct explain *why)
{
    struct sigstruct s = {0};

    if (b.n != SIGSTRUCT_LEN || !sigstruct_is(b) ||
        memcmp(b.p + AT_HEADER2, header2, HEADER_LEN) != 0 ||
        read_u32(b.p + AT_EXPONENT) != RSA_EXPONENT) {
        explain(why, "no SIGSTRUCT: it has %u bytes, fixed headers and exponent 3", SIGSTRUCT_LEN);
        return ERR_MALFORMED;
    }
    if (!verifies(b.p)) {
        explain(why, "the signature of this SIGSTRUCT does not verify: no processor would start "
                     "its enclave; sign it again");
        return ERR_AUTH;
    }
    memcpy(s.mrenclave, b.p + AT_MRENCLAVE, sizeof(s.mrenclave));
    (void)SHA256(b.p + AT_MODULUS, RSA_LEN, s.mrsigner);
    memcpy(s.isvextprodid, b.p + AT_EXT_PROD_ID, sizeof(s.isvextprodid));
    memcpy(s.isvfamilyid, b.p + AT_FAMILY_ID, sizeof(s.isvfamilyid));
    s.isvprodid = read_u16(b.p + AT_PROD_ID);
    s.isvsvn = read_u16(b.p + AT_SVN);
    s.date = read_u32(b.p + AT_DATE);
    if ((b.p[AT_ATTRIBUTE_MASK] & ATTRIBUTE_DEBUG) == 0) {
        s.debug = SIGSTRUCT_DEBUG_EITHER;
    } else {
        s.debug = (b.p[AT_ATTRIBUTES] & ATTRIBUTE_DEBUG) != 0 ? SIGSTRUCT_DEBUG_ALWAYS
                                                              : SIGSTRUCT_DEBUG_NEVER;
    }
    *ret = s;
    return OK;
}
