// SPDX-License-Identifier: Apache-2.0
#include "trusted/attest/attest_x509.h"

#include <openssl/core_names.h>
#include <openssl/ecdsa.h>
#include <openssl/objects.h>

enum { ECDSA_DER_MAX = 128, P256_LEN = 32 };

/* r and s as the SEQUENCE that OpenSSL wants; 0 when out of memory. */
static int to_der(struct bytes rs, uint8_t to[static ECDSA_DER_MAX])
{
    ECDSA_SIG *sig = ECDSA_SIG_new();
    BIGNUM *r = BN_bin2bn(rs.p, (int)(rs.n / 2), NULL);
    BIGNUM *s = BN_bin2bn(rs.p + rs.n / 2, (int)(rs.n / 2), NULL);
    unsigned char *at = to;
    int n = 0;

    if (sig == NULL || r == NULL || s == NULL || ECDSA_SIG_set0(sig, r, s) != 1) {
        BN_free(r);
        BN_free(s);
        ECDSA_SIG_free(sig);
        return 0;
    }
    n = i2d_ECDSA_SIG(sig, NULL);
    n = n > 0 && n <= ECDSA_DER_MAX ? i2d_ECDSA_SIG(sig, &at) : 0;
    ECDSA_SIG_free(sig);
    return n;
}

bool attest_ecdsa_verify(EVP_PKEY *key, const char *digest, struct bytes rs, struct bytes message)
{
    uint8_t der[ECDSA_DER_MAX];
    int n = 0;
    EVP_MD_CTX *ctx = NULL;
    bool good = false;

    if (key == NULL || rs.n == 0 || rs.n % 2 != 0 || rs.n > 96) {
        return false;
    }
    n = to_der(rs, der);
    ctx = EVP_MD_CTX_new();
    good = n > 0 && ctx != NULL &&
           EVP_DigestVerifyInit_ex(ctx, NULL, digest, NULL, NULL, key, NULL) == 1 &&
           EVP_DigestVerify(ctx, der, (size_t)n, message.p, message.n) == 1;
    EVP_MD_CTX_free(ctx);
    return good;
}

EVP_PKEY *attest_p256_key(struct bytes xy)
{
    uint8_t point[1 + 2 * P256_LEN] = {0x04};
    char group[] = "prime256v1";
    OSSL_PARAM params[] = {
        OSSL_PARAM_construct_utf8_string(OSSL_PKEY_PARAM_GROUP_NAME, group, 0),
        OSSL_PARAM_construct_octet_string(OSSL_PKEY_PARAM_PUB_KEY, point, sizeof(point)),
        OSSL_PARAM_construct_end(),
    };
    EVP_PKEY_CTX *ctx = NULL;
    EVP_PKEY *key = NULL;

    if (xy.n != sizeof(point) - 1) {
        return NULL;
    }
    memcpy(point + 1, xy.p, xy.n);
    ctx = EVP_PKEY_CTX_new_from_name(NULL, "EC", NULL);
    if (ctx == NULL || EVP_PKEY_fromdata_init(ctx) != 1 ||
        EVP_PKEY_fromdata(ctx, &key, EVP_PKEY_PUBLIC_KEY, params) != 1) {
        key = NULL;
    }
    EVP_PKEY_CTX_free(ctx);
    return key;
}

bool attest_key_is_on(EVP_PKEY *key, const char *group)
{
    char found[32] = "";

    return key != NULL && EVP_PKEY_get_group_name(key, found, sizeof(found), NULL) == 1 &&
           strcmp(found, group) == 0;
}

bool attest_der_next(struct bytes *rest, struct attest_der *ret)
{
    size_t head = 2, n = 0;

    if (rest->n < 2 || (rest->p[0] & 0x1f) == 0x1f) {
        return false;
    }
    n = rest->p[1];
    if (n >= 0x80) {
        size_t octets = n & 0x7f;

        if (octets == 0 || octets > 2 || rest->n < 2 + octets) {
            return false;
        }
        n = rest->p[2];
        n = octets == 2 ? n << 8 | rest->p[3] : n;
        if (n < (octets == 2 ? 0x100U : 0x80U)) {
            return false; /* not the shortest form */
        }
        head += octets;
    }
    if (n > rest->n - head) {
        return false;
    }
    *ret = (struct attest_der){.tag = rest->p[0], .content = {rest->p + head, n}};
    *rest = (struct bytes){.p = rest->p + head + n, .n = rest->n - head - n};
    return true;
}

bool attest_der_uint(const struct attest_der *e, uint32_t *ret)
{
    uint32_t v = 0;
    const uint8_t *p = e->content.p;
    size_t n = e->content.n;

    if (e->tag != V_ASN1_INTEGER || n == 0 || n > 5 || (p[0] & 0x80) != 0 ||
        (n > 1 && p[0] == 0 && (p[1] & 0x80) == 0) || (n == 5 && p[0] != 0)) {
        return false;
    }
    for (size_t i = 0; i < n; i++) {
        v = v << 8 | p[i];
    }
    *ret = v;
    return true;
}

struct bytes attest_cert_extension(X509 *cert, const char *oid)
{
    ASN1_OBJECT *obj = OBJ_txt2obj(oid, 1);
    int at = obj == NULL ? -1 : X509_get_ext_by_OBJ(cert, obj, -1);
    const ASN1_OCTET_STRING *data = at < 0 ? NULL : X509_EXTENSION_get_data(X509_get_ext(cert, at));

    ASN1_OBJECT_free(obj);
    if (data == NULL) {
        return (struct bytes){0};
    }
    return (struct bytes){ASN1_STRING_get0_data(data), (size_t)ASN1_STRING_length(data)};
}
