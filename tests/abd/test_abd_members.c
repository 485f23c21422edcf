// SPDX-License-Identifier: Apache-2.0
/* Clauses MEM-1 and MEM-8: learners, and operations across a change of members. */
#include "tests/abd/abd_world.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

static struct world *open_n(uint8_t n)
{
    return world_open(&(struct world_options){.n = n});
}

static const struct tag newer = {.ts = 5, .writer = 9};

static void test_learner_gets_writes_and_has_no_vote(void **state)
{
    struct world *w = open_n(3);
    uint32_t user;

    (void)state;
    for (uint8_t i = 0; i < 3; i++) {
        world_reconfigure(w, i, 0x3); /* node 2 learns */
    }
    world_up(w, 0, 2, true);
    world_plant(w, 1, "k", newer, "other");
    user = world_put(w, 0, "k", "v", 1000);
    assert_null(world_call(w, 0, 2)); /* it is offered nothing */
    assert_false(w->replies[user].have);
    world_up(w, 0, 1, true);
    assert_true(world_exchange(w, 0, 1)); /* denied, and that is W1 */
    assert_true(world_exchange(w, 0, 2)); /* W2: the learner applies */
    assert_true(world_holds(w, 2, "k", "v"));
    assert_false(w->replies[user].have); /* and that does not count */
    assert_null(world_call(w, 0, 2));    /* once is enough */
    assert_true(world_exchange(w, 0, 1));
    assert_true(world_is(w, user, OK, NULL));
    world_settle(w);
    world_close(w);
}

/* MEM-8: a write in W2 keeps its tag; votes of the former configuration are void. */
static void test_write_across_configurations(void **state)
{
    struct world *w = open_n(5);
    uint32_t user = world_put(w, 0, "k", "v", 1000);
    struct tag tag;

    (void)state;
    assert_true(world_exchange(w, 0, world_call(w, 0, 1) != NULL ? 1 : 2));
    for (uint8_t i = 1; i < 5; i++) { /* whichever were asked */
        struct world_call *c = world_call(w, 0, i);

        if (c != NULL && c->call.ask.kind == PEER_QUERY) {
            assert_true(world_exchange(w, 0, i));
        }
    }
    tag = world_tag(w, 0, "k");
    assert_int_equal(tag.ts, 1);
    assert_true(world_exchange(w, 0, 4)); /* {0, 4} of five hold it */
    world_reconfigure(w, 0, 0xf);         /* 4 has no vote any more; three of four are needed */
    world_up(w, 0, 1, true);
    assert_true(world_exchange(w, 0, 1));
    assert_false(w->replies[user].have);
    world_up(w, 0, 2, true);
    assert_true(world_exchange(w, 0, 2));
    assert_true(world_is(w, user, OK, NULL));
    assert_int_equal(tag_compare(world_tag(w, 2, "k"), tag), 0);
    world_close(w);
}

static void test_rounds_begin_again(void **state)
{
    struct world *w = open_n(3);
    uint32_t put = world_put(w, 0, "a", "1", 1000), get = world_get(w, 0, "b", 1000);

    (void)state;
    world_plant(w, 2, "b", newer, "2");
    for (int i = 0; i < 40; i++) { /* more often than a cookie counts rounds */
        world_reconfigure(w, 0, i % 2 == 0 ? 0x3 : 0x7);
        assert_false(w->replies[put].have || w->replies[get].have);
    }
    world_up(w, 0, 2, true);
    world_settle(w);
    assert_true(world_is(w, put, OK, NULL));
    assert_true(world_is(w, get, OK, "2"));
    world_close(w);
}

/* A voter that is left alone answers from what it has, at once. */
static void test_last_voter(void **state)
{
    struct world *w = open_n(3);
    uint32_t put = world_put(w, 0, "a", "1", 1000), get = world_get(w, 0, "b", 1000);

    (void)state;
    world_reconfigure(w, 0, 0x1);
    assert_true(world_is(w, put, OK, NULL));
    assert_true(world_is(w, get, ERR_NOT_FOUND, NULL));
    world_close(w);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_learner_gets_writes_and_has_no_vote),
        cmocka_unit_test(test_write_across_configurations),
        cmocka_unit_test(test_rounds_begin_again),
        cmocka_unit_test(test_last_voter),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
