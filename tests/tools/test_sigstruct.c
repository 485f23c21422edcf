// SPDX-License-Identifier: Apache-2.0
/* SIGSTRUCT: one made here by the layout of Intel's manual, signed by OpenSSL, and broken at every
 * byte and every length. */
#include "tools/sigstruct.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>

#include <cmocka.h>
#include <openssl/evp.h>
#include <openssl/rsa.h>
#include <openssl/sha.h>

static uint8_t made[SIGSTRUCT_LEN], mrsigner[32];
static struct explain why;

static EVP_PKEY *make_key(void)
{
    EVP_PKEY_CTX *ctx = EVP_PKEY_CTX_new_from_name(NULL, "RSA", NULL);
    BIGNUM *three = BN_new();
    EVP_PKEY *key = NULL;

    assert_int_equal(BN_set_word(three, 3), 1);
    assert_int_equal(EVP_PKEY_keygen_init(ctx), 1);
    assert_int_equal(EVP_PKEY_CTX_set_rsa_keygen_bits(ctx, 3072), 1);
    assert_int_equal(EVP_PKEY_CTX_set1_rsa_keygen_pubexp(ctx, three), 1);
    assert_int_equal(EVP_PKEY_generate(ctx, &key), 1);
    BN_free(three);
    EVP_PKEY_CTX_free(ctx);
    return key;
}

static void sign(EVP_PKEY *key, uint8_t s[static SIGSTRUCT_LEN])
{
    uint8_t message[256], signature[384];
    size_t n = sizeof(signature);
    EVP_MD_CTX *ctx = EVP_MD_CTX_new();
    BIGNUM *modulus = NULL;

    assert_int_equal(EVP_PKEY_get_bn_param(key, "n", &modulus), 1);
    assert_int_equal(BN_bn2lebinpad(modulus, s + 128, 384), 384);
    (void)SHA256(s + 128, 384, mrsigner);
    memcpy(message, s, 128);
    memcpy(message + 128, s + 900, 128);
    assert_int_equal(EVP_DigestSignInit_ex(ctx, NULL, "SHA256", NULL, NULL, key, NULL), 1);
    assert_int_equal(EVP_DigestSign(ctx, signature, &n, message, sizeof(message)), 1);
    assert_int_equal(n, 384);
    for (size_t i = 0; i < n; i++) {
        s[516 + i] = signature[n - 1 - i];
    }
    BN_free(modulus);
    EVP_MD_CTX_free(ctx);
}

static EVP_PKEY *key;

static int set_up(void **state)
{
    static const uint8_t head[44] = {6,    0, 0, 0, 0xe1, 0, 0, 0, 0,    0,    1, 0, 0, 0,
                                     0,    0, 0, 0, 0,    0, 1, 3, 0x26, 0x20, 1, 1, 0, 0,
                                     0x60, 0, 0, 0, 0x60, 0, 0, 0, 1,    0,    0, 0};

    (void)state;
    memcpy(made, head, sizeof(head));
    made[512] = 3;
    memset(made + 960, 0xab, 32);
    made[944] = 2; /* the mask says: DEBUG matters */
    made[1008] = 9;
    made[912] = 8;
    made[1024] = 7;
    made[1025] = 1;
    made[1026] = 5;
    key = make_key();
    sign(key, made);
    return 0;
}

static int tear_down(void **state)
{
    (void)state;
    EVP_PKEY_free(key);
    return 0;
}

static enum err take(const uint8_t *p, size_t n, struct sigstruct *ret)
{
    uint8_t *copy = malloc(n == 0 ? 1 : n); /* so that a sanitizer sees what is read beyond */
    enum err err;

    assert_non_null(copy);
    memcpy(copy, p, n);
    err = sigstruct_read((struct bytes){copy, n}, ret, &why);
    free(copy);
    return err;
}

static void test_fields(void **state)
{
    uint8_t wanted[32];
    struct sigstruct s = {0};

    (void)state;
    memset(wanted, 0xab, sizeof(wanted));
    assert_int_equal(take(made, sizeof(made), &s), OK);
    assert_memory_equal(s.mrenclave, wanted, sizeof(wanted));
    assert_memory_equal(s.mrsigner, mrsigner, sizeof(mrsigner));
    assert_int_equal(s.isvprodid, 0x107);
    assert_int_equal(s.isvsvn, 5);
    assert_int_equal(s.isvextprodid[0], 9);
    assert_int_equal(s.isvfamilyid[0], 8);
    assert_int_equal(s.date, 0x20260301);
    assert_int_equal(s.debug, SIGSTRUCT_DEBUG_NEVER);
}

static void test_debug(void **state)
{
    uint8_t s[SIGSTRUCT_LEN];
    struct sigstruct got = {0};

    (void)state;
    memcpy(s, made, sizeof(s));
    s[928] |= 2;
    sign(key, s);
    assert_int_equal(take(s, sizeof(s), &got), OK);
    assert_int_equal(got.debug, SIGSTRUCT_DEBUG_ALWAYS);
    s[944] = 0;
    sign(key, s);
    assert_int_equal(take(s, sizeof(s), &got), OK);
    assert_int_equal(got.debug, SIGSTRUCT_DEBUG_EITHER);
}

static void test_every_length(void **state)
{
    uint8_t longer[SIGSTRUCT_LEN + 1] = {0};
    struct sigstruct s;

    (void)state;
    for (size_t n = 0; n < sizeof(made); n++) {
        assert_int_equal(take(made, n, &s), ERR_MALFORMED);
    }
    memcpy(longer, made, sizeof(made));
    assert_int_equal(take(longer, sizeof(longer), &s), ERR_MALFORMED);
}

/* Whatever is signed, and whatever it is signed with. Q1 and Q2 (from 1040) only help EINIT. */
static void test_every_byte(void **state)
{
    uint8_t s[SIGSTRUCT_LEN];
    struct sigstruct got;

    (void)state;
    memcpy(s, made, sizeof(s));
    for (size_t i = 0; i < 1028; i++) {
        enum err err;

        s[i] ^= 0x10;
        err = take(s, sizeof(s), &got);
        assert_true(err == ERR_MALFORMED || err == ERR_AUTH);
        s[i] ^= 0x10;
    }
    assert_int_equal(take(s, sizeof(s), &got), OK);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_fields),
        cmocka_unit_test(test_debug),
        cmocka_unit_test(test_every_length),
        cmocka_unit_test(test_every_byte),
    };

    return cmocka_run_group_tests(tests, set_up, tear_down);
}
