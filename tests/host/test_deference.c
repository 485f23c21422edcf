// SPDX-License-Identifier: Apache-2.0
/* Threads that let others finish, and stop doing so where that takes long. */
#include "host/run/deference.h"

#include <pthread.h>
#include <sched.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

static const uint64_t MS = 1000000;

/* One window of `turns` turns, each of which was waited for this long. */
static bool window(struct deference *d, uint64_t now_ns, uint64_t turns, uint64_t wait_ns)
{
    d->defers = deference_judge(d, now_ns, d->waited_ns + turns * wait_ns, d->turns + turns);
    return d->defers;
}

static void test_long_turns_end_it_for_longer_each_time(void **state)
{
    struct deference d = {.fd = -1};
    uint64_t now = 1000 * MS, pause = DEFERENCE_PAUSE_NS;

    (void)state;
    assert_true(window(&d, now, 1000, MS / 10));
    assert_true(window(&d, now += 50 * MS, 0, 0)); /* asleep all the time: nobody is in the way */
    for (int i = 0; i < 4; i++) {
        assert_false(window(&d, now += 50 * MS, 10, 3 * MS));
        assert_int_equal(d.given_up, i + 1);
        assert_false(window(&d, now + pause - 1, 10, MS / 10));
        assert_false(window(&d, now + pause, 10, 3 * MS)); /* not well even now */
        assert_true(window(&d, now += pause, 10, MS / 10));
        pause *= 2;
    }
    for (int i = 0; i < 20; i++) {
        assert_false(window(&d, now += 50 * MS, 10, 3 * MS));
        assert_true(window(&d, now += DEFERENCE_PAUSE_MAX_NS, 10, MS / 10));
    }
}

static void test_it_is_trusted_again_once_it_was_well(void **state)
{
    struct deference d = {.fd = -1};
    uint64_t now = 1000 * MS;

    (void)state;
    assert_true(window(&d, now, 10, 0));
    assert_false(window(&d, now += 50 * MS, 10, 3 * MS));
    assert_true(window(&d, now += DEFERENCE_PAUSE_NS, 10, 0));
    assert_true(window(&d, now += DEFERENCE_PAUSE_NS + 1, 10, 0));
    assert_false(window(&d, now += 50 * MS, 10, 3 * MS));
    assert_true(window(&d, now + DEFERENCE_PAUSE_NS, 10, 0)); /* the first pause again */
}

/* Threads of the test's own, for a policy is the thread's. */
static void in_a_thread(void *(*f)(void *))
{
    pthread_t t;

    assert_int_equal(pthread_create(&t, NULL, f, NULL), 0);
    assert_int_equal(pthread_join(t, NULL), 0);
}

static void *look_until_it_defers(void *unused)
{
    struct deference d;
    uint64_t now = 0;
    int home = 0;
    cpu_set_t before, at;

    (void)unused;
    assert_int_equal(sched_getaffinity(0, sizeof(before), &before), 0);
    while (!CPU_ISSET((size_t)home, &before)) {
        home++;
    }
    deference_start(&d, home);
    if (d.fd < 0) { /* a kernel that does not say how long threads wait */
        deference_look(&d, DEFERENCE_WINDOW_NS);
        assert_int_equal(sched_getscheduler(0), SCHED_OTHER);
        return NULL;
    }
    deference_look(&d, DEFERENCE_WINDOW_NS - 1);
    assert_int_equal(sched_getscheduler(0), SCHED_OTHER); /* nothing is known yet */
    for (int i = 0; i < 1000 && !d.defers; i++) {
        deference_look(&d, now += DEFERENCE_PAUSE_MAX_NS);
    }
    assert_true(d.defers);
    assert_int_equal(sched_getscheduler(0), SCHED_BATCH);
    assert_int_equal(sched_getaffinity(0, sizeof(at), &at), 0);
    assert_int_equal(CPU_COUNT(&at), 1);
    assert_true(CPU_ISSET((size_t)home, &at));
    d.waited_ns -= 1000000 * MS; /* as if it had waited that long since */
    d.turns--;
    deference_look(&d, now += DEFERENCE_WINDOW_NS);
    assert_false(d.defers);
    assert_int_equal(sched_getscheduler(0), SCHED_OTHER);
    assert_int_equal(sched_getaffinity(0, sizeof(at), &at), 0);
    assert_true(CPU_EQUAL(&at, &before));
    deference_stop(&d);
    return NULL;
}

static void test_the_policy_follows(void **state)
{
    (void)state;
    in_a_thread(look_until_it_defers);
}

static void *look_under_a_chosen_policy(void *unused)
{
    struct sched_param none = {.sched_priority = 0};
    struct deference d;

    (void)unused;
    assert_int_equal(sched_setscheduler(0, SCHED_BATCH, &none), 0);
    deference_start(&d, -1);
    for (uint64_t i = 1; i < 100; i++) {
        deference_look(&d, i * DEFERENCE_PAUSE_MAX_NS);
    }
    assert_false(d.defers);
    assert_int_equal(sched_getscheduler(0), SCHED_BATCH);
    deference_stop(&d);
    return NULL;
}

static void test_a_policy_that_somebody_chose_stays(void **state)
{
    (void)state;
    in_a_thread(look_under_a_chosen_policy);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_long_turns_end_it_for_longer_each_time),
        cmocka_unit_test(test_it_is_trusted_again_once_it_was_well),
        cmocka_unit_test(test_the_policy_follows),
        cmocka_unit_test(test_a_policy_that_somebody_chose_stays),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
