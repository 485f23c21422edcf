// SPDX-License-Identifier: Apache-2.0
#include "tools/options.h"

#include <setjmp.h>
#include <stdarg.h>
#include <string.h>

#include <cmocka.h>

enum { ARGS_MAX = 12 };

static struct {
    bool flag;
    const char *text;
    uint64_t number, bytes, ms;
    double real;
    bool number_given;
} got;

static const struct option_spec specs[] = {
    {"flag", NULL, "", OPTION_FLAG, &got.flag, 0, 0, NULL},
    {"text", "T", "", OPTION_TEXT, &got.text, 0, 0, NULL},
    {"number", "N", "", OPTION_NUMBER, &got.number, 3, 10, &got.number_given},
    {"bytes", "B", "", OPTION_BYTES, &got.bytes, 1, UINT64_MAX, NULL},
    {"time", "S", "", OPTION_MS, &got.ms, 1, 60000, NULL},
    {"real", "R", "", OPTION_REAL, &got.real, 0, 1, NULL},
    {0},
};

static struct option_error why;
static char *args[ARGS_MAX];
static int rest;

/* Words separated by single spaces; getopt moves pointers, so that they are copied. */
static bool parse(const char *line, bool stop_at_first)
{
    static char copy[256];
    int n = 0;

    memset(&got, 0, sizeof(got));
    why.text[0] = '\0';
    (void)strncpy(copy, line, sizeof(copy) - 1);
    for (char *save = NULL, *w = strtok_r(copy, " ", &save); w != NULL;
         w = strtok_r(NULL, " ", &save)) {
        args[n++] = w;
    }
    args[n] = NULL;
    return options_parse(n, args, specs, stop_at_first, &rest, &why);
}

static void test_all_kinds(void **state)
{
    (void)state;
    assert_true(parse("x --flag --text a --number=10 --bytes 64k --time 0.5 --real 0.99", false));
    assert_true(got.flag);
    assert_string_equal(got.text, "a");
    assert_int_equal(got.number, 10);
    assert_true(got.number_given);
    assert_int_equal(got.bytes, 65536);
    assert_int_equal(got.ms, 500);
    assert_true(got.real == 0.99);
}

static void test_operands(void **state)
{
    (void)state;
    assert_true(parse("x a --flag b", false));
    assert_true(got.flag);
    assert_string_equal(args[rest], "a");
    assert_string_equal(args[rest + 1], "b");
    assert_true(parse("x --flag -- --text", false));
    assert_string_equal(args[rest], "--text");
    /* The program's own line ends where the command starts. */
    assert_true(parse("x --flag put --text", true));
    assert_string_equal(args[rest], "put");
    assert_null(got.text);
}

static void test_refusals_name_option_and_range(void **state)
{
    (void)state;
    assert_false(parse("x --number 11", false));
    assert_non_null(strstr(why.text, "--number 11"));
    assert_non_null(strstr(why.text, "3 to 10"));
    assert_false(got.number_given);
    assert_false(parse("x --number", false));
    assert_non_null(strstr(why.text, "needs a value"));
    assert_false(parse("x --wrong", false));
    assert_non_null(strstr(why.text, "--wrong"));
    assert_false(parse("x --flag=1", false));
}

static void test_numbers(void **state)
{
    static const char *const wrong[] = {"",   "-1", "+1",   " 1",
                                        "1 ", "1x", "0x10", "18446744073709551616"};
    uint64_t v = 0;

    (void)state;
    assert_true(options_number("18446744073709551615", &v));
    assert_true(v == UINT64_MAX);
    for (size_t i = 0; i < sizeof(wrong) / sizeof(wrong[0]); i++) {
        assert_false(options_number(wrong[i], &v));
        assert_false(options_bytes(wrong[i], &v));
    }
    assert_true(v == UINT64_MAX);
}

static void test_sizes(void **state)
{
    uint64_t v = 0;

    (void)state;
    assert_true(options_bytes("94M", &v) && v == UINT64_C(94) << 20);
    assert_true(options_bytes("1GiB", &v) && v == UINT64_C(1) << 30);
    assert_true(options_bytes("7", &v) && v == 7);
    assert_false(options_bytes("1MB", &v)); /* neither 10^6 nor 2^20 for sure */
    assert_false(options_bytes("17179869184G", &v));
}

static void test_times(void **state)
{
    uint64_t v = 0;

    (void)state;
    assert_true(options_ms("5", &v) && v == 5000);
    assert_true(options_ms("5s", &v) && v == 5000);
    assert_true(options_ms("250ms", &v) && v == 250);
    assert_true(options_ms(".5", &v) && v == 500);
    assert_false(options_ms("5m", &v));
    assert_false(options_ms("-5", &v));
    assert_false(options_ms("nan", &v));
    assert_false(options_ms("inf", &v));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_all_kinds),
        cmocka_unit_test(test_operands),
        cmocka_unit_test(test_refusals_name_option_and_range),
        cmocka_unit_test(test_numbers),
        cmocka_unit_test(test_sizes),
        cmocka_unit_test(test_times),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
