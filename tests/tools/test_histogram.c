// SPDX-License-Identifier: Apache-2.0
#include "tools/histogram.h"

#include "common/prng.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>

#include <cmocka.h>

static struct histogram a, b;

static void test_empty(void **state)
{
    (void)state;
    histogram_reset(&a);
    assert_int_equal(histogram_quantile(&a, 0.5), 0);
    assert_true(histogram_mean(&a) == 0);
}

/* Below 256 every value has a bucket of its own, so quantiles are exact. */
static void test_small_values_are_exact(void **state)
{
    (void)state;
    histogram_reset(&a);
    for (uint64_t v = 1; v <= 200; v++) {
        histogram_add(&a, v);
    }
    assert_int_equal(histogram_quantile(&a, 0.5), 100);
    assert_int_equal(histogram_quantile(&a, 0.99), 198);
    assert_int_equal(histogram_quantile(&a, 0), 1);
    assert_int_equal(histogram_quantile(&a, 1), 200);
    assert_int_equal(a.min, 1);
    assert_int_equal(a.max, 200);
}

/* One value alone: what comes back is at most 1/128 above, at every power of two and around it. */
static void test_error_is_bounded(void **state)
{
    (void)state;
    for (unsigned bit = 0; bit < HISTOGRAM_VALUE_BITS; bit++) {
        for (int d = -1; d <= 1; d++) {
            uint64_t v = (UINT64_C(1) << bit) + (uint64_t)(int64_t)d;
            uint64_t q;

            histogram_reset(&a);
            histogram_add(&a, v);
            histogram_add(&a, UINT64_MAX); /* so that the maximum does not cap the bucket */
            q = histogram_quantile(&a, 0.5);
            assert_true(q >= v);
            assert_true(q - v <= v / 128);
        }
    }
}

static int compare(const void *x, const void *y)
{
    const uint64_t *p = x, *q = y;

    return (*p > *q) - (*p < *q);
}

static void test_quantiles_of_random_values(void **state)
{
    enum { N = 20000 };
    static uint64_t values[N];
    static const double fractions[] = {0.01, 0.5, 0.9, 0.99, 0.999, 1};
    struct prng p = {.state = 7};

    (void)state;
    histogram_reset(&a);
    for (size_t i = 0; i < N; i++) {
        values[i] = prng_u64(&p) >> (22 + prng_below(&p, 40));
        histogram_add(&a, values[i]);
    }
    qsort(values, N, sizeof(values[0]), compare);
    for (size_t i = 0; i < sizeof(fractions) / sizeof(fractions[0]); i++) {
        uint64_t exact = values[(size_t)(fractions[i] * N) - 1];
        uint64_t got = histogram_quantile(&a, fractions[i]);

        assert_true(got >= exact && got - exact <= exact / 128);
    }
}

static void test_merge_equals_adding_all(void **state)
{
    struct prng p = {.state = 9};

    (void)state;
    histogram_reset(&a);
    histogram_reset(&b);
    histogram_merge(&a, &b);
    assert_int_equal(a.n, 0);
    for (int i = 0; i < 1000; i++) {
        histogram_add(i % 3 == 0 ? &a : &b, prng_u64(&p) >> 40);
    }
    histogram_merge(&a, &b);
    p.state = 9;
    histogram_reset(&b);
    for (int i = 0; i < 1000; i++) {
        histogram_add(&b, prng_u64(&p) >> 40);
    }
    assert_memory_equal(&a, &b, sizeof(a));
}

/* What a file holds makes the same counts again. */
static void test_buckets_out_and_in(void **state)
{
    static struct histogram one, two;
    struct prng p = {.state = 5};
    uint64_t top, n;
    size_t at = 0;

    (void)state;
    histogram_reset(&one);
    histogram_reset(&two);
    for (int i = 0; i < 10000; i++) {
        histogram_add(&one, prng_u64(&p) >> (24 + prng_below(&p, 36)));
    }
    while (histogram_next(&one, &at, &top, &n)) {
        histogram_put(&two, top, n);
    }
    assert_int_equal(two.n, one.n);
    assert_memory_equal(two.counts, one.counts, sizeof(one.counts));
    assert_int_equal(histogram_quantile(&two, 0.5), histogram_quantile(&one, 0.5));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_empty),
        cmocka_unit_test(test_small_values_are_exact),
        cmocka_unit_test(test_error_is_bounded),
        cmocka_unit_test(test_quantiles_of_random_values),
        cmocka_unit_test(test_merge_equals_adding_all),
        cmocka_unit_test(test_buckets_out_and_in),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
