// SPDX-License-Identifier: Apache-2.0
#include "common/prng.h"
#include "sim/linear.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <string.h>

enum { MANY = 1 << 20 };

#define READ(v, from, to)                                                                          \
    {                                                                                              \
        .kind = LINEAR_READ, .value = (v), .call = (from), .ret = (to)                             \
    }
#define WRITE(v, from, to)                                                                         \
    {                                                                                              \
        .kind = LINEAR_WRITE, .value = (v), .call = (from), .ret = (to)                            \
    }
#define NEVER LINEAR_NEVER
#define CHECK_HISTORY(verdict, ...)                                                                \
    do {                                                                                           \
        struct linear_op ops[] = {__VA_ARGS__};                                                    \
        assert_int_equal(linear_check(ops, sizeof(ops) / sizeof(ops[0]), MANY, NULL), verdict);    \
    } while (0)

static void test_sequential(void **state)
{
    (void)state;
    assert_int_equal(linear_check(NULL, 0, MANY, NULL), LINEAR_YES);
    CHECK_HISTORY(LINEAR_YES, READ(0, 1, 2), WRITE(7, 3, 4), READ(7, 5, 6));
    CHECK_HISTORY(LINEAR_NO, WRITE(7, 1, 2), READ(0, 3, 4));
    CHECK_HISTORY(LINEAR_NO, READ(7, 1, 2), WRITE(7, 3, 4)); /* from the future */
    CHECK_HISTORY(LINEAR_NO, READ(7, 1, 2));                 /* nobody wrote it */
    CHECK_HISTORY(LINEAR_NO, WRITE(7, 1, 2), WRITE(8, 3, 4), READ(7, 5, 6));
    CHECK_HISTORY(LINEAR_YES, WRITE(7, 1, 2), WRITE(0, 3, 4), READ(0, 5, 6));
    CHECK_HISTORY(LINEAR_NO, WRITE(7, 1, 2), WRITE(0, 3, 4), READ(7, 5, 6)); /* resurrected */
}

static void test_concurrent(void **state)
{
    (void)state;
    /* a read beside a write may see either */
    CHECK_HISTORY(LINEAR_YES, WRITE(7, 1, 4), READ(0, 2, 3));
    CHECK_HISTORY(LINEAR_YES, WRITE(7, 1, 4), READ(7, 2, 3));
    /* two reads beside a write: new, then old is the inversion */
    CHECK_HISTORY(LINEAR_YES, WRITE(7, 1, 10), READ(0, 2, 3), READ(7, 4, 5));
    CHECK_HISTORY(LINEAR_NO, WRITE(7, 1, 10), READ(7, 2, 3), READ(0, 4, 5));
    /* unless the reads are concurrent too */
    CHECK_HISTORY(LINEAR_YES, WRITE(7, 1, 10), READ(7, 2, 4), READ(0, 3, 5));
    /* two readers must agree on the order of two writes */
    CHECK_HISTORY(LINEAR_YES, WRITE(7, 1, 20), WRITE(8, 2, 21), READ(7, 3, 4), READ(8, 5, 6));
    CHECK_HISTORY(LINEAR_NO, WRITE(7, 1, 20), WRITE(8, 2, 21), READ(7, 3, 4), READ(8, 5, 6),
                  READ(7, 7, 8));
    /* each alone is fine, together they are not */
    CHECK_HISTORY(LINEAR_NO, WRITE(7, 1, 20), WRITE(8, 2, 21), READ(7, 3, 9), READ(8, 10, 11),
                  READ(8, 4, 5), READ(7, 12, 13));
}

static void test_unknown_outcome(void **state)
{
    (void)state;
    CHECK_HISTORY(LINEAR_YES, WRITE(7, 1, NEVER), READ(0, 2, 3), READ(0, 4, 5));
    CHECK_HISTORY(LINEAR_YES, WRITE(7, 1, NEVER), READ(0, 2, 3), READ(7, 4, 5), READ(7, 6, 7));
    CHECK_HISTORY(LINEAR_NO, WRITE(7, 1, NEVER), READ(7, 2, 3), READ(0, 4, 5));
    CHECK_HISTORY(LINEAR_NO, READ(7, 1, 2), WRITE(7, 3, NEVER));
    /* seen, overwritten, seen again */
    CHECK_HISTORY(LINEAR_NO, WRITE(7, 1, NEVER), READ(7, 2, 3), WRITE(8, 4, 5), READ(8, 6, 7),
                  READ(7, 8, 9));
    /* a late effect, after a write that came later */
    CHECK_HISTORY(LINEAR_YES, WRITE(7, 1, NEVER), WRITE(8, 4, 5), READ(8, 6, 7), READ(7, 8, 9));
    /* deletes of unknown outcome, one for each time the key went away */
    CHECK_HISTORY(LINEAR_YES, WRITE(0, 1, NEVER), WRITE(7, 2, 3), READ(0, 4, 5), WRITE(8, 6, 7),
                  READ(8, 8, 9));
    CHECK_HISTORY(LINEAR_NO, WRITE(0, 1, NEVER), WRITE(7, 2, 3), READ(0, 4, 5), WRITE(8, 6, 7),
                  READ(0, 8, 9));
    CHECK_HISTORY(LINEAR_YES, WRITE(0, 1, NEVER), WRITE(0, 2, NEVER), WRITE(7, 3, 4), READ(0, 5, 6),
                  WRITE(8, 7, 8), READ(0, 9, 10));
}

static void test_names_the_culprit(void **state)
{
    struct linear_op ops[] = {WRITE(7, 1, 2), READ(7, 3, 4), WRITE(8, 5, 6), READ(7, 7, 8)};
    struct linear_op worst = {0};

    (void)state;
    assert_int_equal(linear_check(ops, 4, MANY, &worst), LINEAR_NO);
    assert_int_equal(worst.call, 7);
}

static void test_gives_up(void **state)
{
    struct linear_op ops[200];

    (void)state;
    for (size_t i = 0; i < 200; i++) { /* all at once, and one read that cannot be */
        ops[i] = (struct linear_op){
            .kind = LINEAR_WRITE, .value = i + 1, .call = i + 1, .ret = 1000 + i};
    }
    ops[199] = (struct linear_op)READ(5000, 999, 2000);
    assert_int_equal(linear_check(ops, 200, 1000, NULL), LINEAR_GAVE_UP);
}

/* What an atomic register did, with calls before and returns after the moment of each effect. */
static void make_history(struct prng *p, struct linear_op *to, size_t n, unsigned overlap)
{
    uint64_t value = 0, now = 1;

    for (size_t i = 0; i < n; i++) {
        uint64_t early = prng_below(p, overlap), late = prng_below(p, overlap);

        now += 1000;
        to[i].kind = prng_chance(p, 1, 2) ? LINEAR_READ : LINEAR_WRITE;
        if (to[i].kind == LINEAR_WRITE) {
            value = prng_chance(p, 1, 6) ? 0 : i + 1;
        }
        to[i].value = value;
        /* unequal points in time: the low digits are the operation's */
        to[i].call = now + 1000000 - early * 1000 + 2 * (i % 400);
        to[i].ret = now + 1000000 + late * 1000 + 2 * (i % 400) + 1;
        if (to[i].kind == LINEAR_WRITE && prng_chance(p, 1, 10)) {
            to[i].ret = LINEAR_NEVER;
        }
    }
}

/* Hundreds of operations, up to a dozen at once. */
static void test_true_histories_hold(void **state)
{
    (void)state;
    for (uint64_t seed = 0; seed < 200; seed++) {
        struct prng p = {.state = seed};
        struct linear_op ops[400];

        make_history(&p, ops, 400, 2 + (unsigned)seed % 6);
        assert_int_equal(linear_check(ops, 400, MANY, NULL), LINEAR_YES);
    }
}

/* One read of a value that had been overwritten long before. */
static void test_stale_reads_are_found(void **state)
{
    uint64_t tried = 0;

    (void)state;
    for (uint64_t seed = 0; seed < 200; seed++) {
        struct prng p = {.state = seed};
        struct linear_op ops[400];
        uint64_t old = 0;

        make_history(&p, ops, 400, 2 + (unsigned)seed % 6);
        for (size_t i = 0; i < 100 && old == 0; i++) {
            if (ops[i].kind == LINEAR_WRITE && ops[i].ret != LINEAR_NEVER) {
                old = ops[i].value;
            }
        }
        for (size_t i = 300; i < 400 && old != 0; i++) {
            if (ops[i].kind == LINEAR_READ && ops[i].value != old) {
                ops[i].value = old;
                assert_int_equal(linear_check(ops, 400, MANY, NULL), LINEAR_NO);
                tried++;
                break;
            }
        }
    }
    assert_true(tried > 100);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_sequential),
        cmocka_unit_test(test_concurrent),
        cmocka_unit_test(test_unknown_outcome),
        cmocka_unit_test(test_names_the_culprit),
        cmocka_unit_test(test_gives_up),
        cmocka_unit_test(test_true_histories_hold),
        cmocka_unit_test(test_stale_reads_are_found),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
