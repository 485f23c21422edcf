// SPDX-License-Identifier: Apache-2.0
#include "trusted/las/las_report.h"

#include "common/codec.h"

#include <openssl/core_names.h>
#include <openssl/crypto.h>
#include <openssl/evp.h>

enum {
    BODY_LEN = 384,
    MAC_LEN = 16,
    FLAG_DEBUG = 1 << 1,
    KEY_NAME_REPORT = 3,
    KEY_ID_AT = 40, /* in a KEYREQUEST */
};

static bool cmac(const uint8_t key[static LAS_REPORT_KEY_LEN], struct bytes body,
                 uint8_t ret[static MAC_LEN])
{
    char cipher[] = "AES-128-CBC";
    const OSSL_PARAM params[] = {
        OSSL_PARAM_construct_utf8_string(OSSL_MAC_PARAM_CIPHER, cipher, 0),
        OSSL_PARAM_construct_end(),
    };
    EVP_MAC *mac = EVP_MAC_fetch(NULL, "CMAC", NULL);
    EVP_MAC_CTX *ctx = mac == NULL ? NULL : EVP_MAC_CTX_new(mac);
    size_t n = 0;
    bool good = ctx != NULL && EVP_MAC_init(ctx, key, LAS_REPORT_KEY_LEN, params) == 1 &&
                EVP_MAC_update(ctx, body.p, body.n) == 1 &&
                EVP_MAC_final(ctx, ret, &n, MAC_LEN) == 1 && n == MAC_LEN;

    EVP_MAC_CTX_free(ctx);
    EVP_MAC_free(mac);
    return good;
}

static void read_body(struct bytes body, struct las_report *ret)
{
    struct reader r = {.rest = body};

    (void)get_bytes(&r, 48);
    ret->debug = (get_u64(&r) & FLAG_DEBUG) != 0;
    (void)get_u64(&r);
    memcpy(ret->mrenclave, get_bytes(&r, 32).p, 32);
    (void)get_bytes(&r, 32);
    memcpy(ret->mrsigner, get_bytes(&r, 32).p, 32);
    (void)get_bytes(&r, 32 + 64);
    ret->isvprodid = get_u16(&r);
    ret->isvsvn = get_u16(&r);
    (void)get_bytes(&r, 2 + 42 + 16);
    memcpy(ret->report_data, get_bytes(&r, 64).p, 64);
}

RESULT las_report_check(const uint8_t report[static LAS_REPORT_LEN], las_report_key key, void *ctx,
                        struct las_report *ret)
{
    uint8_t k[LAS_REPORT_KEY_LEN], mac[MAC_LEN];
    struct bytes body = {report, BODY_LEN};
    bool good = key(ctx, report + BODY_LEN, k) && cmac(k, body, mac);

    OPENSSL_cleanse(k, sizeof(k));
    if (!good) {
        return ERR_IO;
    }
    if (CRYPTO_memcmp(mac, report + LAS_REPORT_LEN - MAC_LEN, MAC_LEN) != 0) {
        return ERR_AUTH;
    }
    read_body(body, ret);
    return OK;
}

void las_key_request(const uint8_t key_id[static LAS_KEY_ID_LEN],
                     uint8_t ret[static LAS_KEY_REQUEST_LEN])
{
    memset(ret, 0, LAS_KEY_REQUEST_LEN);
    ret[0] = KEY_NAME_REPORT;
    memcpy(ret + KEY_ID_AT, key_id, LAS_KEY_ID_LEN);
}

#if defined(__x86_64__)
bool las_egetkey(void *ctx, const uint8_t key_id[static LAS_KEY_ID_LEN],
                 uint8_t ret[static LAS_REPORT_KEY_LEN])
{
    _Alignas(512) uint8_t request[LAS_KEY_REQUEST_LEN];
    _Alignas(16) uint8_t key[LAS_REPORT_KEY_LEN] = {0};
    uint32_t status = 1; /* ENCLU's leaf EGETKEY; and its result */

    (void)ctx;
    las_key_request(key_id, request);
    /* ENCLU: leaf in eax, KEYREQUEST in rbx, where to in rcx (Intel SDM vol. 3D, EGETKEY). */
    __asm__ volatile(".byte 0x0f, 0x01, 0xd7"
                     : "+a"(status)
                     : "b"(request), "c"(key)
                     : "memory", "cc");
    memcpy(ret, key, sizeof(key));
    OPENSSL_cleanse(key, sizeof(key));
    return status == 0;
}
#else
bool las_egetkey(void *ctx, const uint8_t key_id[static LAS_KEY_ID_LEN],
                 uint8_t ret[static LAS_REPORT_KEY_LEN])
{
    (void)ctx;
    (void)key_id;
    (void)ret;
    return false;
}
#endif
