// SPDX-License-Identifier: Apache-2.0
#include "tools/bench_pace.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>

#include <cmocka.h>

enum { ARRIVALS = 200000 };

/* Gaps of a Poisson process: mean 1/rate, and a share of e^-1 is longer than that. */
static void test_arrivals_are_a_poisson_process(void **state)
{
    struct pace p;
    uint64_t last = 5000, due, longer = 0;

    (void)state;
    pace_init(&p, 1e6, 7, last);
    assert_false(pace_take(&p, last, &due)); /* not before its time */
    for (int i = 0; i < ARRIVALS; i++) {
        assert_true(pace_take(&p, pace_next_ns(&p), &due));
        assert_true(due >= last);
        longer += due - last > 1000;
        last = due;
    }
    assert_in_range(last, UINT64_C(1000) * ARRIVALS * 99 / 100,
                    UINT64_C(1000) * ARRIVALS * 101 / 100);
    assert_in_range(longer, ARRIVALS * 36 / 100, ARRIVALS * 38 / 100);
}

/* Who comes late finds everything that was due, with the times at which it was. */
static void test_lateness_loses_nothing(void **state)
{
    struct pace p;
    uint64_t due, n = 0, last = 0;

    (void)state;
    pace_init(&p, 1e6, 9, 0);
    assert_in_range(pace_behind(&p, 10000000), 9900, 10100);
    while (pace_take(&p, 10000000, &due)) {
        assert_true(due >= last && due <= 10000000);
        last = due;
        n++;
    }
    assert_in_range(n, 9600, 10400);
    assert_int_equal(pace_behind(&p, 10000000), 0);
    assert_true(pace_next_ns(&p) > 10000000);
}

/* Also an arrival that became due after the last look, which is what a loop that sends first finds.
 */
static void test_no_arrival_is_slept_over(void **state)
{
    enum { MAX = 100000 };
    struct pace p;
    uint64_t due, next;

    (void)state;
    pace_init(&p, 1e6, 11, 0);
    next = pace_next_ns(&p);
    assert_int_equal(pace_sleep_ns(&p, next - 1, true, MAX), 1);
    assert_int_equal(pace_sleep_ns(&p, next, true, MAX), 0);
    assert_int_equal(pace_sleep_ns(&p, next + 50, true, MAX), 0);
    assert_int_equal(pace_sleep_ns(&p, next + 50, false, MAX), MAX);
    assert_true(pace_take(&p, next + 50, &due));
    assert_true(pace_sleep_ns(&p, due, true, MAX) <= MAX);
    pace_init(&p, 1, 11, 0); /* a second between two: longer than one may sleep */
    assert_int_equal(pace_sleep_ns(&p, 0, true, 5), 5);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_arrivals_are_a_poisson_process),
        cmocka_unit_test(test_lateness_loses_nothing),
        cmocka_unit_test(test_no_arrival_is_slept_over),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
