// SPDX-License-Identifier: Apache-2.0
/* SCAN-8: a cursor goes on where its scan stood, and nowhere else. */
#include "client/cursor.h"

#include "common/prng.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

static const uint8_t cluster[CLUSTER_ID_LEN] = {1, 2, 3};

static struct bytes text(const char *s)
{
    return (struct bytes){.p = (const uint8_t *)s, .n = strlen(s)};
}

static struct cursor_scan scan_of(const char *low, const char *high, bool down)
{
    return (struct cursor_scan){
        .cluster = cluster, .low = text(low), .high = text(high), .down = down};
}

static void any_key_comes_back(void **state)
{
    struct cursor_scan s = scan_of("", "", false);
    struct prng p = {7};

    (void)state;
    for (size_t n = 1; n <= KEY_MAX; n = n < 20 ? n + 1 : n + 167) {
        uint8_t key[KEY_MAX], got[KEY_MAX];
        char to[CURSOR_TEXT_MAX];
        size_t got_n = 0;

        for (size_t i = 0; i < n; i++) {
            key[i] = (uint8_t)prng_u64(&p);
        }
        cursor_write(&s, (struct bytes){key, n}, to);
        assert_true(strlen(to) < CURSOR_TEXT_MAX && strpbrk(to, "+/= ") == NULL);
        assert_int_equal(cursor_read(&s, to, got, &got_n), OK);
        assert_int_equal(got_n, n);
        assert_memory_equal(got, key, n);
    }
}

static void a_cursor_of_another_scan_is_told(void **state)
{
    struct cursor_scan s = scan_of("a", "x", false);
    static const uint8_t other[CLUSTER_ID_LEN] = {1, 2, 4};
    const struct cursor_scan others[] = {scan_of("a", "x", true),
                                         scan_of("a", "y", false),
                                         scan_of("", "x", false),
                                         scan_of("a", "", false),
                                         {.cluster = other, .low = text("a"), .high = text("x")}};
    uint8_t got[KEY_MAX];
    char to[CURSOR_TEXT_MAX];
    size_t n;

    (void)state;
    cursor_write(&s, text("key"), to);
    assert_int_equal(cursor_read(&s, to, got, &n), OK);
    for (size_t i = 0; i < sizeof(others) / sizeof(others[0]); i++) {
        assert_int_equal(cursor_read(&others[i], to, got, &n), ERR_MISMATCH);
    }
    cursor_write(&s, text("z"), to); /* beyond the range: nobody stood there */
    assert_int_equal(cursor_read(&s, to, got, &n), ERR_MISMATCH);
}

static void what_is_no_cursor_is_refused(void **state)
{
    struct cursor_scan s = scan_of("", "", false);
    static char longest[CURSOR_TEXT_MAX + 8];
    const char *const bad[] = {"",     "x",    "AQ", "A A", "Ab2KU0OoW5Zf", "\xff\xff\xff\xff",
                               "====", longest};
    uint8_t got[KEY_MAX];
    char to[CURSOR_TEXT_MAX];
    size_t n, len;

    (void)state;
    memset(longest, 'A', sizeof(longest) - 1);
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        assert_int_equal(cursor_read(&s, bad[i], got, &n), ERR_MALFORMED);
    }
    cursor_write(&s, text("key"), to);
    len = strlen(to);
    for (size_t i = 0; i < len; i++) { /* every other character at every place, and every cut */
        char c = to[i];

        to[i] = c == 'A' ? 'B' : 'A';
        assert_int_not_equal(cursor_read(&s, to, got, &n), OK);
        to[i] = '\0';
        assert_int_not_equal(cursor_read(&s, to, got, &n), OK);
        to[i] = c;
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(any_key_comes_back),
        cmocka_unit_test(a_cursor_of_another_scan_is_told),
        cmocka_unit_test(what_is_no_cursor_is_refused),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
