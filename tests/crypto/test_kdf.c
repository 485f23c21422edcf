// SPDX-License-Identifier: Apache-2.0
#include "trusted/crypto/entropy.h"
#include "trusted/crypto/kdf.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <stdlib.h>
#include <string.h>

static size_t from_hex(const char *hex, uint8_t *to, size_t cap)
{
    size_t n = strlen(hex) / 2;

    assert_true(strlen(hex) % 2 == 0 && n <= cap);
    for (size_t i = 0; i < n; i++) {
        const char pair[3] = {hex[2 * i], hex[2 * i + 1], 0};

        to[i] = (uint8_t)strtoul(pair, NULL, 16);
    }
    return n;
}

static void expect(const uint8_t *got, const char *hex)
{
    uint8_t want[256];
    size_t n = from_hex(hex, want, sizeof(want));

    assert_memory_equal(got, want, n);
}

static struct bytes text(const char *s)
{
    return (struct bytes){(const void *)s, strlen(s)};
}

/* FIPS 180-4: the examples that NIST publishes with it. */
static void test_sha256(void **state)
{
    static uint8_t million[1000000];
    uint8_t got[SHA256_LEN];
    struct bytes parts[3];

    (void)state;
    parts[0] = text("abc");
    sha256(parts, 1, got);
    expect(got, "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
    sha256(parts, 0, got);
    expect(got, "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855");
    parts[0] = text("abcdbcdecdefdefgefgh");
    parts[1] = (struct bytes){0};
    parts[2] = text("fghighijhijkijkljklmklmnlmnomnopnopq");
    sha256(parts, 3, got);
    expect(got, "248d6a61d20638b8e5c026930c3e6039a33ce45964ff2167f6ecedd419db06c1");
    memset(million, 'a', sizeof(million));
    parts[0] = (struct bytes){million, sizeof(million)};
    sha256(parts, 1, got);
    expect(got, "cdc76e5c9914fb9281a1c7e284d73e67f1809a48a497200e046d39ccc7112cd0");
}

/* RFC 4231, test cases 1 to 4, 6 and 7 (5 is about a shortened tag). */
static void test_hmac_sha256(void **state)
{
    static const struct {
        const char *key_text; /* or key_n times key_byte */
        const char *data;     /* or data_n times data_byte */
        const char *want;
        size_t key_n, data_n;
        uint8_t key_byte, data_byte;
    } cases[] = {
        {NULL, "Hi There", "b0344c61d8db38535ca8afceaf0bf12b881dc200c9833da726e9376c2e32cff7", 20,
         0, 0x0b, 0},
        {"Jefe", "what do ya want for nothing?",
         "5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843", 0, 0, 0, 0},
        {NULL, NULL, "773ea91e36800e46854db8ebd09181a72959098b3ef8c122d9635514ced565fe", 20, 50,
         0xaa, 0xdd},
        {NULL, "Test Using Larger Than Block-Size Key - Hash Key First",
         "60e431591ee0b67f0d8a26aacbf5b77f8e0bc6213728c5140546040f0ee37f54", 131, 0, 0xaa, 0},
        {NULL,
         "This is a test using a larger than block-size key and a larger than block-size data. "
         "The key needs to be hashed before being used by the HMAC algorithm.",
         "9b09ffa71b942fcb27635fbcd5b0e944bfdc63644f0713938a7f51535c3a35e2", 131, 0, 0xaa, 0},
    };
    uint8_t got[SHA256_LEN], key[160], data[64];
    struct bytes part;

    (void)state;
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        struct bytes k = {key, cases[i].key_n};

        memset(key, cases[i].key_byte, sizeof(key));
        memset(data, cases[i].data_byte, sizeof(data));
        if (cases[i].key_text != NULL) {
            k = text(cases[i].key_text);
        }
        part = cases[i].data != NULL ? text(cases[i].data) : (struct bytes){data, cases[i].data_n};
        hmac_sha256(k, &part, 1, got);
        expect(got, cases[i].want);
    }
    for (size_t i = 0; i < 25; i++) { /* test case 4 */
        key[i] = (uint8_t)(i + 1);
    }
    memset(data, 0xcd, 50);
    part = (struct bytes){data, 50};
    hmac_sha256((struct bytes){key, 25}, &part, 1, got);
    expect(got, "82558a389a443c0ea4cc819899f2083a85f0faa3e578f8077a2e3ff46729665b");
}

/* RFC 5869, A.1 to A.3: from the pseudorandom key to as much output as kdf_expand gives. */
static void test_hkdf_expand(void **state)
{
    struct secret prk;
    uint8_t out[KDF_OUT_MAX];
    char info[81] = {0};

    (void)state;
    from_hex("077709362c2e32df0ddc3f0dc47bba6390b6c73bb50f9c3122ec844ad7c2b3e5", prk.b, 32);
    for (size_t i = 0; i < 10; i++) {
        info[i] = (char)(0xf0 + i);
    }
    kdf_expand(&prk, info, (struct mbytes){out, 42});
    expect(out,
           "3cb25f25faacd57a90434f64d0362f2a2d2d0a90cf1a5a4c5db02d56ecc4c5bf34007208d5b887185865");

    from_hex("06a6b88c5853361a06104c9ceb35b45cef760014904671014a193f40c15fc244", prk.b, 32);
    for (size_t i = 0; i < 80; i++) {
        info[i] = (char)(0xb0 + i);
    }
    kdf_expand(&prk, info, (struct mbytes){out, KDF_OUT_MAX});
    expect(out, "b11e398dc80327a1c8e7f78c596a49344f012eda2d4efad8a050cc4c19afa97c"
                "59045a99cac7827271cb41c65e590e09da3275600c2f09b8367793a9aca3db71");

    from_hex("19ef24a32c717b167f33a91d6f648bdf96596776afdb6377ac434c1c293ccb04", prk.b, 32);
    kdf_expand(&prk, "", (struct mbytes){out, 42});
    expect(out,
           "8da4e775a563c18f715f802a063c5a31b8a11f5c5ee1879ec3454e5f3c738d2d9d201395faa4b61a96c8");
}

/* CRY-2: another label, another key; and exactly as many bytes as asked for. */
static void test_labels_separate(void **state)
{
    struct secret from = {{1}}, a, b, c;
    uint8_t out[KDF_OUT_MAX + 1];

    (void)state;
    kdf_secret(&from, "avocado rpc key", &a);
    kdf_secret(&from, "avocado rpc iv", &b);
    assert_memory_not_equal(&a, &b, sizeof(a));
    from.b[31] ^= 1;
    kdf_secret(&from, "avocado rpc key", &b);
    assert_memory_not_equal(&a, &b, sizeof(a));
    from.b[31] ^= 1;
    for (size_t n = 0; n <= KDF_OUT_MAX; n++) {
        memset(out, 0xee, sizeof(out));
        kdf_expand(&from, "avocado rpc key", (struct mbytes){out, n});
        assert_memory_equal(out, &a, n < 32 ? n : 32);
        assert_int_equal(out[n], 0xee);
    }
    c = from;
    kdf_secret(&c, "avocado rpc key", &c);
    assert_memory_equal(&a, &c, sizeof(a));
}

static void test_entropy_differs(void **state)
{
    static uint8_t big[200000];
    uint8_t a[32] = {0}, b[32] = {0}, zero[32] = {0};

    (void)state;
    entropy_fill(a, sizeof(a));
    entropy_fill(b, sizeof(b));
    assert_memory_not_equal(a, b, sizeof(a));
    assert_memory_not_equal(a, zero, sizeof(a));
    entropy_fill(a, 0);
    entropy_fill(big, sizeof(big)); /* in more than one step: the end is filled too */
    assert_memory_not_equal(big + sizeof(big) - sizeof(zero), zero, sizeof(zero));
}

static void test_wipe(void **state)
{
    uint8_t bytes[48], zero[32] = {0};

    (void)state;
    memset(bytes, 0xee, sizeof(bytes));
    wipe(bytes + 8, 32);
    assert_memory_equal(bytes + 8, zero, 32);
    assert_int_equal(bytes[7], 0xee);
    assert_int_equal(bytes[40], 0xee);
    wipe(NULL, 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_sha256),          cmocka_unit_test(test_hmac_sha256),
        cmocka_unit_test(test_hkdf_expand),     cmocka_unit_test(test_labels_separate),
        cmocka_unit_test(test_entropy_differs), cmocka_unit_test(test_wipe),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
