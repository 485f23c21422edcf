// SPDX-License-Identifier: Apache-2.0
#include "common/siphash.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

/* The vectors of the algorithm's reference implementation: key 00 01 ... 0f, text 00 01 ... of 0 to
 * 63 bytes. OpenSSL's SIPHASH gives the same. */
static const uint64_t reference[64] = {
    0x726fdb47dd0e0e31, 0x74f839c593dc67fd, 0x0d6c8009d9a94f5a, 0x85676696d7fb7e2d,
    0xcf2794e0277187b7, 0x18765564cd99a68d, 0xcbc9466e58fee3ce, 0xab0200f58b01d137,
    0x93f5f5799a932462, 0x9e0082df0ba9e4b0, 0x7a5dbbc594ddb9f3, 0xf4b32f46226bada7,
    0x751e8fbc860ee5fb, 0x14ea5627c0843d90, 0xf723ca908e7af2ee, 0xa129ca6149be45e5,
    0x3f2acc7f57c29bdb, 0x699ae9f52cbe4794, 0x4bc1b3f0968dd39c, 0xbb6dc91da77961bd,
    0xbed65cf21aa2ee98, 0xd0f2cbb02e3b67c7, 0x93536795e3a33e88, 0xa80c038ccd5ccec8,
    0xb8ad50c6f649af94, 0xbce192de8a85b8ea, 0x17d835b85bbb15f3, 0x2f2e6163076bcfad,
    0xde4daaaca71dc9a5, 0xa6a2506687956571, 0xad87a3535c49ef28, 0x32d892fad841c342,
    0x7127512f72f27cce, 0xa7f32346f95978e3, 0x12e0b01abb051238, 0x15e034d40fa197ae,
    0x314dffbe0815a3b4, 0x027990f029623981, 0xcadcd4e59ef40c4d, 0x9abfd8766a33735c,
    0x0e3ea96b5304a7d0, 0xad0c42d6fc585992, 0x187306c89bc215a9, 0xd4a60abcf3792b95,
    0xf935451de4f21df2, 0xa9538f0419755787, 0xdb9acddff56ca510, 0xd06c98cd5c0975eb,
    0xe612a3cb9ecba951, 0xc766e62cfcadaf96, 0xee64435a9752fe72, 0xa192d576b245165a,
    0x0a8787bf8ecb74b2, 0x81b3e73d20b49b6f, 0x7fa8220ba3b2ecea, 0x245731c13ca42499,
    0xb78dbfaf3a8d83bd, 0xea1ad565322a1a0b, 0x60e61c23a3795013, 0x6606d7e446282b93,
    0x6ca4ecb15c5f91e1, 0x9f626da15c9625f3, 0xe51b38608ef25f57, 0x958a324ceb064572,
};

static void test_reference_vectors(void **state)
{
    uint8_t key[SIPHASH_KEY_LEN], text[64];

    (void)state;
    for (size_t i = 0; i < sizeof(text); i++) {
        text[i] = (uint8_t)i;
    }
    memcpy(key, text, sizeof(key));
    for (size_t n = 0; n < sizeof(text); n++) {
        assert_true(siphash(key, (struct bytes){n != 0 ? text : NULL, n}) == reference[n]);
    }
}

/* Of the same key and texts, by OpenSSL's SIPHASH with a size of 16; the first is in the reference
 * implementation's list, too. */
static void test_wide(void **state)
{
    static const struct {
        size_t n;
        uint64_t want[2];
    } wide[] = {
        {0, {0xe6a825ba047f81a3, 0x930255c71472f66d}},
        {1, {0x44af996bd8c187da, 0x45fc229b11597634}},
        {7, {0x53c1dbd8beebf1a1, 0x3982f01fa64ab8c0}},
        {8, {0x61f55862baa9623b, 0xb49714f364e2830f}},
        {15, {0x11a8b03399e99354, 0xd9c3cf970fec087e}},
        {16, {0xbb54b067caa4e26e, 0x77052385bf1533fd}},
        {33, {0x321cf0467107c677, 0xcfffa94e5f9db6b6}},
        {63, {0x4a83502f77d15051, 0x7cbd3f979a063e50}},
    };
    uint8_t text[64];

    (void)state;
    for (size_t i = 0; i < sizeof(text); i++) {
        text[i] = (uint8_t)i;
    }
    for (size_t i = 0; i < sizeof(wide) / sizeof(wide[0]); i++) {
        uint64_t got[2];

        siphash_wide(text, (struct bytes){text, wide[i].n}, got);
        assert_true(got[0] == wide[i].want[0] && got[1] == wide[i].want[1]);
    }
}

static void test_key_and_alignment(void **state)
{
    uint8_t key[SIPHASH_KEY_LEN] = {0}, text[80] = {0};
    uint64_t first = 0;

    (void)state;
    for (size_t off = 0; off < 9; off++) {
        memset(text, 0xff, sizeof(text));
        memset(text + off, 7, 61);
        if (off == 0) {
            first = siphash(key, (struct bytes){text, 61});
        }
        assert_true(siphash(key, (struct bytes){text + off, 61}) == first);
    }
    for (size_t bit = 0; bit < sizeof(key) * 8; bit++) {
        uint8_t other[SIPHASH_KEY_LEN] = {0};

        other[bit / 8] = (uint8_t)(1U << bit % 8);
        assert_true(siphash(key, (struct bytes){text, 5}) !=
                    siphash(other, (struct bytes){text, 5}));
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_reference_vectors),
        cmocka_unit_test(test_wide),
        cmocka_unit_test(test_key_and_alignment),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
