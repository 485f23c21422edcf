// SPDX-License-Identifier: Apache-2.0
/* Rules: their one spelling, and what they permit. ACL-1 to ACL-4 */
#include "trusted/access/access.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

static struct bytes text(const char *s)
{
    return (struct bytes){(const uint8_t *)s, strlen(s)};
}

static struct access rules(const char *one, const char *two)
{
    struct access a = {0};

    assert_int_equal(access_add(&a, one), OK);
    if (two != NULL) {
        assert_int_equal(access_add(&a, two), OK);
    }
    return a;
}

static void test_one_spelling(void **state)
{
    static const char *const good[] = {"read:",        "read,write,scan,status:",
                                       "scan:a/b-._~", "read,scan:%00%FF%20%25",
                                       "status:",      "write:%3A"};
    static const char *const bad[] = {
        "",
        "read",
        ":a",
        "reads:a",
        "read,:a",
        ",read:a",
        "write,read:a",
        "read,read:",
        "read;:",
        "Read:a",
        "read:a b",
        "read:%",
        "read:%4",
        "read:%zz",
        "read:%2f",
        "read:%41",
        "read:a%",
        "read :a",
        "admin:a",
        "read:a:b",
        "read:\xc3\xa4",
        "read,status,scan:",
        "read:a\n",
    };
    char back[ACCESS_RULE_TEXT];

    (void)state;
    for (size_t i = 0; i < sizeof(good) / sizeof(good[0]); i++) {
        struct access a = rules(good[i], "read,write:zz");

        assert_int_equal(access_format(&a, 0, back), strlen(good[i]));
        assert_string_equal(back, good[i]);
        assert_int_equal(access_format(&a, 1, back), 13);
        assert_string_equal(back, "read,write:zz");
    }
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        struct access a = rules("read:a", NULL), before = a;

        if (access_add(&a, bad[i]) != ERR_MALFORMED) {
            fail_msg("taken: %s", bad[i]);
        }
        assert_memory_equal(&a, &before, sizeof(a));
    }
}

static void test_bounds(void **state)
{
    char rule[8 + ACCESS_PREFIXES_MAX + 2] = "read:";
    struct access a = {0};

    (void)state;
    memset(rule + 5, 'x', ACCESS_PREFIXES_MAX + 1);
    assert_int_equal(access_add(&a, rule), ERR_TOO_BIG);
    rule[5 + ACCESS_PREFIXES_MAX] = '\0';
    assert_int_equal(access_add(&a, rule), OK);
    assert_int_equal(access_add(&a, "read:a"), ERR_TOO_BIG);
    for (unsigned i = 1; i < ACCESS_RULES_MAX; i++) {
        assert_int_equal(access_add(&a, "read:"), OK);
    }
    assert_int_equal(access_add(&a, "read:"), ERR_TOO_BIG);
    assert_int_equal(a.rules_n, ACCESS_RULES_MAX);
}

static void test_keys(void **state)
{
    const struct access none = {0}, a = rules("read,scan:a/", "write:a/w");

    (void)state;
    assert_int_equal(access_lacks_key(&none, ACCESS_RIGHTS, text("x")), 0);
    assert_int_equal(access_lacks_key(&a, ACCESS_READ, text("a/")), 0);
    assert_int_equal(access_lacks_key(&a, ACCESS_READ, text("a")), ACCESS_READ);
    assert_int_equal(access_lacks_key(&a, ACCESS_READ, text("b/")), ACCESS_READ);
    assert_int_equal(access_lacks_key(&a, ACCESS_READ | ACCESS_WRITE, text("a/x")), ACCESS_WRITE);
    /* Two rules give together what neither gives alone. */
    assert_int_equal(access_lacks_key(&a, ACCESS_READ | ACCESS_WRITE, text("a/wx")), 0);
    assert_int_equal(access_lacks(&a, ACCESS_STATUS), ACCESS_STATUS);
    assert_int_equal(access_lacks(&a, ACCESS_WRITE), 0);
    assert_int_equal(access_lacks(&none, ACCESS_STATUS), 0);
}

/* Every string of up to three of these bytes, in bytewise order. Without gaps and up to the top:
 * what lies just above a prefix is among them. */
enum { STRINGS_N = 1 + 4 + 16 + 64 };
static const uint8_t letters[4] = {0xfc, 0xfd, 0xfe, 0xff};

static size_t all_strings(uint8_t to[STRINGS_N][3], size_t lengths[STRINGS_N])
{
    size_t n = 0;

    for (unsigned i = 0; i < 125; i++) { /* digits 0: the end; 1 to 4: a letter */
        unsigned digit[3] = {i / 25, i / 5 % 5, i % 5};
        size_t len = 0;

        if ((digit[0] == 0 && (digit[1] | digit[2]) != 0) || (digit[1] == 0 && digit[2] != 0)) {
            continue;
        }
        while (len < 3 && digit[len] != 0) {
            to[n][len] = letters[digit[len] - 1];
            len++;
        }
        lengths[n++] = len;
    }
    return n;
}

/* A range is permitted iff all of its keys are: compared with every key that can tell. */
static void test_ranges_are_their_keys(void **state)
{
    uint8_t s[STRINGS_N][3];
    size_t len[STRINGS_N];
    size_t n = all_strings(s, len);

    (void)state;
    assert_int_equal(n, STRINGS_N);
    for (size_t p = 0; p < n; p++) {
        struct access a = {.rules_n = 1, .rule = {{ACCESS_SCAN, (uint8_t)len[p]}}};

        memcpy(a.prefix, s[p], len[p]);
        if (len[p] == 3) {
            continue; /* its own keys are longer than ours */
        }
        for (size_t low = 0; low < n; low++) {
            for (size_t high = 0; high < n; high++) {
                struct bytes l = {s[low], len[low]}, h = {s[high], len[high]};
                bool all = true, some = false;

                if (h.n != 0 && high <= low) {
                    continue;
                }
                for (size_t k = low; k < (h.n == 0 ? n : high); k++) {
                    struct bytes key = {s[k], len[k]};

                    some = true;
                    all = all &&
                          (key.n == 0 ? len[p] == 0 : access_lacks_key(&a, ACCESS_SCAN, key) == 0);
                }
                if (some && (access_lacks_range(&a, ACCESS_SCAN, l, h) == 0) != all) {
                    fail_msg("prefix %zu, range %zu to %zu: keys say %d", p, low, high, all);
                }
            }
        }
    }
}

static void test_ranges(void **state)
{
    const struct access a = rules("scan:a/", "read:a/b");

    (void)state;
    assert_int_equal(access_lacks_range(&a, ACCESS_SCAN, text("a/"), text("a0")), 0);
    assert_int_equal(access_lacks_range(&a, ACCESS_SCAN, text("a/x"), text("a/y")), 0);
    assert_int_equal(access_lacks_range(&a, ACCESS_SCAN, text("a/"), text("a00")), ACCESS_SCAN);
    assert_int_equal(access_lacks_range(&a, ACCESS_SCAN, text("a/"), text("")), ACCESS_SCAN);
    assert_int_equal(access_lacks_range(&a, ACCESS_SCAN, text("a"), text("a/b")), ACCESS_SCAN);
    assert_int_equal(access_lacks_range(&a, ACCESS_SCAN, text(""), text("")), ACCESS_SCAN);
    assert_int_equal(access_lacks_range(&a, ACCESS_SCAN | ACCESS_READ, text("a/"), text("a0")),
                     ACCESS_READ);
    assert_int_equal(access_lacks_range(&a, ACCESS_SCAN | ACCESS_READ, text("a/b"), text("a/c")),
                     0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_one_spelling), cmocka_unit_test(test_bounds),
        cmocka_unit_test(test_keys),         cmocka_unit_test(test_ranges_are_their_keys),
        cmocka_unit_test(test_ranges),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
