// SPDX-License-Identifier: Apache-2.0
/* ABD-15: whom a quorum round asks first and when it asks the others. */
#include "tests/abd/abd_world.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

static const uint64_t us = UINT64_C(1000);
static const uint64_t ms = UINT64_C(1000000);

/* A get through node 0; whoever is asked answers after its own time, unless the others are asked
 * before. Returns the peer that was asked first. */
static uint8_t get_from(struct world *w, const uint64_t answer_ns[3])
{
    uint64_t due;
    uint32_t user = world_get(w, 0, "k", 1000);
    uint8_t first = world_call(w, 0, 1) != NULL ? 1 : 2;

    assert_int_equal(world_live_calls(w), 1);
    due = abd_deadline(w->nodes[0].abd);
    if (w->now_ns + answer_ns[first] >= due) {
        world_tick(w, 0, due - w->now_ns);
        assert_int_equal(world_live_calls(w), 2);
        world_tick(w, 0, answer_ns[3 - first]);
        assert_true(world_exchange(w, 0, (uint8_t)(3 - first)));
    } else {
        world_tick(w, 0, answer_ns[first]);
        assert_true(world_exchange(w, 0, first));
    }
    assert_true(world_is(w, user, ERR_NOT_FOUND, NULL));
    assert_int_equal(world_live_calls(w), 0);
    return first;
}

/* How long the next get would wait for the one that it asks. */
static uint64_t patience(struct world *w)
{
    uint64_t due;

    (void)world_get(w, 0, "k", 1000);
    due = abd_deadline(w->nodes[0].abd) - w->now_ns;
    world_settle(w);
    return due;
}

static void test_hedge_asks_the_others(void **state)
{
    struct world *w = world_open(&(struct world_options){.n = 5, .hedge_ns = 3 * ms});
    uint32_t user = world_get(w, 0, "k", 1000);

    (void)state;
    assert_int_equal(world_live_calls(w), 2);
    assert_int_equal(abd_deadline(w->nodes[0].abd), w->now_ns + 3 * ms);
    world_tick(w, 0, 3 * ms);
    assert_int_equal(world_live_calls(w), 4);
    assert_int_equal(world_counters(w, 0)->hedges, 1);
    assert_true(world_exchange(w, 0, 4));
    assert_true(world_exchange(w, 0, 1));
    assert_true(world_is(w, user, ERR_NOT_FOUND, NULL));
    assert_int_equal(world_live_calls(w), 0);
    world_close(w);
}

/* Peers that answer in time are waited for less and less, peers that are late longer, both within
 * bounds. */
static void test_the_delay_follows_the_answers(void **state)
{
    struct world *w = world_open(&(struct world_options){.n = 3, .hedge_ns = 2 * ms});
    const uint64_t quick[3] = {0, 100 * us, 100 * us}, slow[3] = {0, 8 * ms, 8 * ms};
    const uint64_t dead[3] = {0, 500 * ms, 500 * ms};
    uint64_t hedges;

    (void)state;
    assert_int_equal(patience(w), 2 * ms);
    for (int i = 0; i < 1500; i++) {
        (void)get_from(w, quick);
    }
    assert_true(patience(w) >= 200 * us && patience(w) < 2 * ms);
    assert_int_equal(world_counters(w, 0)->hedges, 0);

    /* After a while of answers in 8 ms nobody is asked twice any more. */
    for (int i = 0; i < 100; i++) {
        (void)get_from(w, slow);
    }
    hedges = world_counters(w, 0)->hedges;
    assert_true(hedges < 25);
    assert_true(patience(w) > 8 * ms);

    for (int i = 0; i < 50; i++) {
        (void)get_from(w, dead);
    }
    assert_int_equal(patience(w), 20 * ms);
    world_close(w);
}

/* In the long run it is a few windows in a hundred that end with a question to everybody. */
static void test_hedges_are_few(void **state)
{
    struct world *w = world_open(&(struct world_options){.n = 3, .hedge_ns = 2 * ms});
    uint64_t before = 0;

    (void)state;
    for (uint32_t i = 0; i < 3500; i++) {
        uint64_t t = 300 * us + i * 2654435761U % 1000 * us; /* 0.3 to 1.3 ms, evenly */
        const uint64_t answer[3] = {0, t, t};

        before = i == 1500 ? world_counters(w, 0)->hedges : before;
        (void)get_from(w, answer);
    }
    assert_in_range(world_counters(w, 0)->hedges - before, 5, 80); /* of 2000 */
    world_close(w);
}

/* The fast peer is asked, the slow one now and then, to see whether it still is. */
static void test_the_fastest_is_asked_first(void **state)
{
    struct world *w = world_open(&(struct world_options){.n = 3, .hedge_ns = 2 * ms});
    const uint64_t second_slow[3] = {0, 50 * us, 1200 * us};
    const uint64_t first_slow[3] = {0, 1200 * us, 50 * us};
    uint32_t asked[3] = {0};

    (void)state;
    for (int i = 0; i < 328; i++) {
        uint8_t first = get_from(w, second_slow);

        asked[first] += i >= 200;
    }
    assert_in_range(asked[2], 1, 2);

    /* The world turns round, and so do we. */
    for (int i = 0; i < 1500; i++) {
        (void)get_from(w, first_slow);
    }
    asked[1] = 0;
    for (int i = 0; i < 128; i++) {
        asked[1] += get_from(w, first_slow) == 1;
    }
    assert_in_range(asked[1], 1, 2);
    world_close(w);
}

/* Small differences mean nothing: the load is shared. */
static void test_equals_take_turns(void **state)
{
    struct world *w = world_open(&(struct world_options){.n = 3, .hedge_ns = 2 * ms});
    const uint64_t near[3] = {0, 100 * us, 130 * us};
    uint32_t asked[3] = {0};

    (void)state;
    for (int i = 0; i < 400; i++) {
        asked[get_from(w, near)]++;
    }
    assert_int_equal(asked[1], 200);
    assert_int_equal(asked[2], 200);
    world_close(w);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_hedge_asks_the_others),
        cmocka_unit_test(test_the_delay_follows_the_answers),
        cmocka_unit_test(test_hedges_are_few),
        cmocka_unit_test(test_the_fastest_is_asked_first),
        cmocka_unit_test(test_equals_take_turns),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
