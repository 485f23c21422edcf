// SPDX-License-Identifier: Apache-2.0
/* Tokens, the messages of the socket, and SGX local reports. LAS-2 to LAS-5 */
#include "trusted/las/las_wire.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>
#include <openssl/ec.h>
#include <stdio.h>
#include <stdlib.h>

static const uint64_t NOW_S = 1790000000;

static struct las_claim claim(void)
{
    struct las_claim c = {
        .las = "las.m1", .kind = ATTEST_SNP, .issued_s = NOW_S, .lifetime_s = LAS_LIFETIME_S};

    memset(c.measurement, 0xab, sizeof(c.measurement));
    memset(c.binding.key_hash, 1, sizeof(c.binding.key_hash));
    memset(c.binding.nonce, 2, sizeof(c.binding.nonce));
    memset(c.serial, 3, sizeof(c.serial));
    return c;
}

static void test_token(void **state)
{
    EVP_PKEY *key = EVP_EC_gen("P-256"), *other = EVP_EC_gen("P-256");
    struct las_claim c = claim(), again = {0};
    struct explain why = {0};
    uint8_t token[LAS_TOKEN_MAX];
    size_t n = 0;

    (void)state;
    assert_int_equal(las_token_sign(&c, key, token, &n), OK);
    assert_int_equal(las_token_verify((struct bytes){token, n}, key, NOW_S + 30, &again, &why), OK);
    assert_memory_equal(&c, &again, sizeof(c));
    assert_int_equal(las_token_verify((struct bytes){token, n}, other, NOW_S, &again, &why),
                     ERR_AUTH);
    assert_int_equal(las_token_verify((struct bytes){token, n}, key, NOW_S + 91, &again, &why),
                     ERR_AUTH);
    assert_int_equal(las_token_verify((struct bytes){token, n}, key, NOW_S - 31, &again, &why),
                     ERR_AUTH);
    for (size_t i = 0; i < n; i++) {
        token[i] ^= 0x10;
        assert_int_not_equal(las_token_verify((struct bytes){token, n}, key, NOW_S, &again, &why),
                             OK);
        token[i] ^= 0x10;
        assert_int_not_equal(las_token_verify((struct bytes){token, i}, key, NOW_S, &again, &why),
                             OK);
    }
    c.lifetime_s = LAS_LIFETIME_MAX_S + 1;
    assert_int_equal(las_token_sign(&c, key, token, &n), ERR_USAGE);
    EVP_PKEY_free(key);
    EVP_PKEY_free(other);
}

static void test_token_bytes(void **state)
{
    static const uint8_t golden[] = {1, ATTEST_SNP, 0, 6, 'l', 'a', 's', '.', 'm', '1', 0xab, 0xab};
    EVP_PKEY *key = EVP_EC_gen("P-256");
    struct las_claim c = claim(), again = {0};
    uint8_t token[LAS_TOKEN_MAX];
    size_t n = 0;

    (void)state;
    assert_int_equal(las_token_sign(&c, key, token, &n), OK);
    assert_memory_equal(token, golden, sizeof(golden));
    assert_memory_equal(token + 10 + 32 + 32 + 32, "\x80\x3b\xb1\x6a\0\0\0\0\x3c\0\0\0\3\3", 14);
    assert_int_equal(las_token_read((struct bytes){token, n}, &again), OK);
    token[2] = 2; /* one spelling */
    assert_int_equal(las_token_read((struct bytes){token, n}, &again), ERR_MALFORMED);
    EVP_PKEY_free(key);
}

static void test_messages(void **state)
{
    static const enum las_request_kind kinds[] = {LAS_HELLO, LAS_MEASURE, LAS_TARGET, LAS_REPORT};
    static const size_t lengths[] = {2, 2 + 16 + 64, 2, 2 + 64 + LAS_REPORT_LEN};

    (void)state;
    for (size_t k = 0; k < 4; k++) {
        struct las_request m = {.kind = kinds[k]}, again;
        struct las_reply r = {.token_n = 70}, reply;
        uint8_t b[LAS_REPLY_MAX > LAS_REQUEST_MAX ? LAS_REPLY_MAX : LAS_REQUEST_MAX];
        size_t n;

        memset(m.binding.nonce, 5, sizeof(m.binding.nonce));
        n = las_request_write(&m, (struct mbytes){b, sizeof(b)});
        assert_int_equal(n, lengths[k]);
        assert_true(b[0] == 1 && b[1] == (uint8_t)kinds[k]);
        assert_int_equal(las_request_read((struct bytes){b, n}, &again), OK);
        for (size_t i = 0; i < n; i++) {
            assert_int_equal(las_request_read((struct bytes){b, i}, &again), ERR_MALFORMED);
        }
        assert_int_equal(las_request_read((struct bytes){b, n + 1}, &again), ERR_MALFORMED);
        n = las_reply_write(&r, kinds[k], (struct mbytes){b, sizeof(b)});
        assert_int_equal(las_reply_read((struct bytes){b, n}, kinds[k], &reply), OK);
        r.err = ERR_POLICY;
        (void)snprintf(r.text, sizeof(r.text), "no");
        n = las_reply_write(&r, kinds[k], (struct mbytes){b, sizeof(b)});
        assert_int_equal(las_reply_read((struct bytes){b, n}, kinds[k], &reply), OK);
        assert_string_equal(reply.text, "no");
    }
}

/* ---- local reports ---- */

static const uint8_t known_key[LAS_REPORT_KEY_LEN] = {
    0x2b, 0x7e, 0x15, 0x16, 0x28, 0xae, 0xd2, 0xa6, 0xab, 0xf7, 0x15, 0x88, 0x09, 0xcf, 0x4f, 0x3c};

static bool give_key(void *ctx, const uint8_t key_id[static LAS_KEY_ID_LEN],
                     uint8_t ret[static LAS_REPORT_KEY_LEN])
{
    (void)key_id;
    if (ctx != NULL) {
        return false;
    }
    memcpy(ret, known_key, sizeof(known_key));
    return true;
}

/* The MAC of this report was computed with another implementation (RFC 4493 by hand over the
 * openssl program's AES) over 384 bytes of which byte i is i mod 251. */
static void make_report(uint8_t report[static LAS_REPORT_LEN])
{
    static const uint8_t mac[16] = {0x6d, 0x15, 0xa9, 0x24, 0xb1, 0x36, 0xfd, 0x5f,
                                    0xac, 0x65, 0x41, 0x00, 0x5d, 0xf1, 0x68, 0x48};

    for (size_t i = 0; i < 384; i++) {
        report[i] = (uint8_t)(i % 251);
    }
    memset(report + 384, 0x77, LAS_KEY_ID_LEN);
    memcpy(report + 416, mac, sizeof(mac));
}

static void test_report(void **state)
{
    uint8_t report[LAS_REPORT_LEN];
    struct las_report r = {0};
    int no_enclave = 1;

    (void)state;
    make_report(report);
    assert_int_equal(las_report_check(report, give_key, NULL, &r), OK);
    assert_memory_equal(r.mrenclave, report + 64, 32);
    assert_memory_equal(r.mrsigner, report + 128, 32);
    assert_memory_equal(r.report_data, report + 320, 64);
    assert_int_equal(r.isvsvn, report[258] | report[259] << 8);
    assert_true(r.debug == ((report[48] & 2) != 0));
    assert_int_equal(las_report_check(report, give_key, &no_enclave, &r), ERR_IO);
    for (size_t i = 0; i < LAS_REPORT_LEN; i++) {
        if (i >= 384 && i < 416) {
            continue; /* the key id: it makes another key, not here */
        }
        report[i] ^= 1;
        assert_int_equal(las_report_check(report, give_key, NULL, &r), ERR_AUTH);
        report[i] ^= 1;
    }
}

static void test_key_request(void **state)
{
    uint8_t id[LAS_KEY_ID_LEN], request[LAS_KEY_REQUEST_LEN], wanted[LAS_KEY_REQUEST_LEN] = {3};

    (void)state;
    memset(id, 0x99, sizeof(id));
    memset(wanted + 40, 0x99, sizeof(id));
    las_key_request(id, request);
    assert_memory_equal(request, wanted, sizeof(wanted));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_token),       cmocka_unit_test(test_token_bytes),
        cmocka_unit_test(test_messages),    cmocka_unit_test(test_report),
        cmocka_unit_test(test_key_request),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
