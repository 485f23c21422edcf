// SPDX-License-Identifier: Apache-2.0
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

static void everywhere(struct world *w, const char *key, const char *value)
{
    for (uint8_t i = 0; i < w->n; i++) {
        world_plant(w, i, key, (struct tag){.ts = 4, .writer = 9}, value);
    }
}

static const struct tag newer = {.ts = 5, .writer = 9};

static void test_put_then_get(void **state)
{
    struct world *w = open_n(3);
    uint32_t user = world_put(w, 0, "k", "v", 1000);

    (void)state;
    assert_false(w->replies[user].have);
    world_settle(w);
    assert_true(world_is(w, user, OK, NULL));
    for (uint8_t i = 0; i < 3; i++) {
        assert_true(world_holds(w, i, "k", "v"));
        user = world_get(w, i, "k", 1000);
        world_settle(w);
        assert_true(world_is(w, user, OK, "v"));
        assert_int_equal(w->replies[user].tag.ts, 1);
        assert_int_equal(w->replies[user].tag.writer, 100);
        assert_int_equal(world_counters(w, i)->reads_one_round, 1);
    }
    world_close(w);
}

/* ABD-18: absent is the zero tag; a tombstone is a value like others, and read in one round. */
static void test_absent_and_deleted(void **state)
{
    struct world *w = open_n(3);
    uint32_t user = world_get(w, 0, "k", 1000);

    (void)state;
    world_settle(w);
    assert_true(world_is(w, user, ERR_NOT_FOUND, NULL));
    assert_int_equal(w->replies[user].tag.ts, 0);
    assert_int_equal(world_counters(w, 0)->reads_one_round, 1);
    (void)world_put(w, 0, "k", "v", 1000);
    world_settle(w);
    user = world_delete(w, 1, "k", 1000);
    world_settle(w);
    assert_true(world_is(w, user, OK, NULL));
    assert_int_equal(w->replies[user].tag.ts, 2);
    user = world_get(w, 2, "k", 1000);
    world_settle(w);
    assert_true(world_is(w, user, ERR_NOT_FOUND, NULL));
    assert_int_equal(w->replies[user].tag.ts, 2);
    world_close(w);
}

static void test_empty_value_is_not_absent(void **state)
{
    struct world *w = open_n(3);
    uint32_t user = world_put(w, 0, "k", "", 1000);

    (void)state;
    world_settle(w);
    assert_true(world_is(w, user, OK, NULL));
    user = world_get(w, 1, "k", 1000);
    world_settle(w);
    assert_true(world_is(w, user, OK, ""));
    world_close(w);
}

/* ABD-15: as few as a majority needs, and not always the same. */
static void test_quorum_rounds_ask_few_and_rotate(void **state)
{
    struct world *w = open_n(5);
    uint32_t asked[5] = {0};

    (void)state;
    for (int i = 0; i < 40; i++) {
        uint32_t before = w->calls_n;

        world_tick(w, 2, 1);
        (void)world_get(w, 2, "k", 1000);
        assert_int_equal(w->calls_n - before, 2);
        for (uint32_t c = before; c < w->calls_n; c++) {
            asked[w->calls[c].call.peer]++;
        }
        world_settle(w);
    }
    for (uint8_t i = 0; i < 5; i++) {
        assert_int_equal(asked[i], i == 2 ? 0 : 20);
    }
    world_close(w);
}

/* ABD-7, the prototype's first bug: no answer before the write-back stands at a majority. */
static void test_get_answers_after_its_write_back(void **state)
{
    struct world *w = open_n(3);
    uint32_t user;
    uint8_t peer;

    (void)state;
    everywhere(w, "k", "old");
    world_plant(w, 0, "k", newer, "new");
    user = world_get(w, 0, "k", 1000);
    peer = world_call(w, 0, 1) != NULL ? 1 : 2;
    assert_true(world_exchange(w, 0, peer)); /* OLDER */
    assert_false(w->replies[user].have);
    assert_int_equal(world_live_calls(w), 2);
    assert_int_equal(world_call(w, 0, 1)->call.ask.kind, PEER_APPLY);
    assert_true(world_exchange(w, 0, 1));
    assert_true(world_is(w, user, OK, "new"));
    assert_true(world_holds(w, 1, "k", "new"));
    assert_int_equal(world_counters(w, 0)->write_backs, 1);
    assert_int_equal(world_counters(w, 0)->reads_one_round, 0);
    world_settle(w); /* ABD-14: the other one converges too */
    assert_true(world_holds(w, 2, "k", "new"));
    world_close(w);
}

/* ABD-6, the prototype's second bug: agreement on an old tag says nothing about the maximum. */
static void test_agreement_is_about_the_maximum(void **state)
{
    struct world *w = open_n(5);
    uint32_t user;

    (void)state;
    everywhere(w, "k", "old");
    world_plant(w, 0, "k", newer, "new");
    world_up(w, 0, 3, false);
    world_up(w, 0, 4, false);
    user = world_get(w, 0, "k", 1000);
    assert_true(world_exchange(w, 0, 1));
    assert_true(world_exchange(w, 0, 2));
    assert_false(w->replies[user].have);
    assert_true(world_exchange(w, 0, 1)); /* the write-back: two hold it */
    assert_false(w->replies[user].have);
    assert_true(world_exchange(w, 0, 2)); /* three of five */
    assert_true(world_is(w, user, OK, "new"));
    world_close(w);
}

/* ABD-7: the write-back goes to those who do not hold the maximum, and to nobody else. */
static void test_write_back_spares_the_holders(void **state)
{
    struct world *w = open_n(5);
    uint32_t user;

    (void)state;
    everywhere(w, "k", "old");
    world_plant(w, 0, "k", newer, "new");
    world_plant(w, 1, "k", newer, "new");
    world_up(w, 0, 3, false);
    world_up(w, 0, 4, false);
    user = world_get(w, 0, "k", 1000);
    assert_true(world_exchange(w, 0, 1)); /* SAME */
    assert_true(world_exchange(w, 0, 2)); /* OLDER */
    assert_null(world_call(w, 0, 1));
    assert_int_equal(world_live_calls(w), 1);
    world_up(w, 0, 3, true);
    assert_null(world_call(w, 0, 1));
    assert_int_equal(world_live_calls(w), 2);
    assert_true(world_exchange(w, 0, 2));
    assert_true(world_is(w, user, OK, "new"));
    world_settle(w);
    world_close(w);
}

/* Being behind costs no second round among three: the peer's copy and our own make two. */
static void test_get_from_behind_applies_here(void **state)
{
    struct world *w = open_n(3);
    uint32_t user;

    (void)state;
    everywhere(w, "k", "old");
    world_plant(w, 1, "k", newer, "new");
    world_up(w, 0, 2, false);
    user = world_get(w, 0, "k", 1000);
    assert_true(world_exchange(w, 0, 1));
    assert_true(world_is(w, user, OK, "new"));
    assert_true(world_holds(w, 0, "k", "new"));
    world_close(w);
}

static void test_tombstone_is_written_back(void **state)
{
    struct world *w = open_n(3);
    uint32_t user;

    (void)state;
    everywhere(w, "k", "old");
    world_plant(w, 0, "k", newer, NULL);
    world_up(w, 0, 2, false);
    user = world_get(w, 0, "k", 1000);
    assert_true(world_exchange(w, 0, 1));
    assert_false(w->replies[user].have);
    assert_true(world_exchange(w, 0, 1));
    assert_true(world_is(w, user, ERR_NOT_FOUND, NULL));
    assert_true(world_holds(w, 1, "k", NULL));
    world_close(w);
}

/* ABD-4, the prototype's third bug: concurrent writes of one key through one coordinator. */
static void test_concurrent_puts_never_share_a_tag(void **state)
{
    struct world *w = open_n(3);
    uint32_t a = world_put(w, 0, "k", "a", 1000);
    uint32_t b = world_put(w, 0, "k", "b", 1000);
    uint32_t c = world_put(w, 1, "k", "c", 1000);
    struct tag t[3];

    (void)state;
    world_settle(w);
    t[0] = w->replies[a].tag;
    t[1] = w->replies[b].tag;
    t[2] = w->replies[c].tag;
    assert_int_not_equal(tag_compare(t[0], t[1]), 0);
    assert_int_not_equal(tag_compare(t[0], t[2]), 0);
    assert_int_not_equal(tag_compare(t[1], t[2]), 0);
    assert_int_equal(tag_compare(world_tag(w, 0, "k"), world_tag(w, 1, "k")), 0);
    assert_int_equal(tag_compare(world_tag(w, 0, "k"), world_tag(w, 2, "k")), 0);
    world_close(w);
}

/* ABD-5: the tag is above what a majority knows, and above what came here meanwhile. */
static void test_put_mints_above_everything(void **state)
{
    struct world *w = open_n(3);
    uint32_t user;
    uint8_t peer;

    (void)state;
    world_plant(w, 1, "k", (struct tag){.ts = 70, .writer = 9}, "x");
    world_plant(w, 2, "k", (struct tag){.ts = 70, .writer = 9}, "x");
    user = world_put(w, 0, "k", "v", 1000);
    peer = world_call(w, 0, 1) != NULL ? 1 : 2;
    world_plant(w, 0, "k", (struct tag){.ts = 90, .writer = 9}, "y");
    assert_true(world_exchange(w, 0, peer));
    assert_int_equal(world_tag(w, 0, "k").ts, 91);
    world_settle(w);
    assert_int_equal(w->replies[user].tag.ts, 91);
    world_close(w);
}

/* What begins at one moment shares datagrams, up to a turn's worth. */
static void test_a_burst_asks_the_same_peer(void **state)
{
    struct world *w = open_n(3);
    uint32_t asked[3] = {0};

    (void)state;
    for (int i = 0; i < 64; i++) {
        (void)world_get(w, 0, "k", 1000);
    }
    for (uint32_t c = 0; c < w->calls_n; c++) {
        assert_int_equal(w->calls[c].call.peer, w->calls[c - c % 16].call.peer);
        asked[w->calls[c].call.peer]++;
    }
    assert_int_equal(asked[1], 32);
    assert_int_equal(asked[2], 32);
    world_settle(w);
    world_close(w);
}

/* ABD-3: an apply that loses is acknowledged and changes nothing. */
static void test_losing_apply_is_acknowledged(void **state)
{
    struct world *w = open_n(5);
    uint32_t user = world_put(w, 0, "k", "v", 1000);

    (void)state;
    for (uint8_t i = 1; i < 5; i++) {
        (void)world_exchange(w, 0, i);
    }
    world_plant(w, 1, "k", (struct tag){.ts = 50, .writer = 9}, "later");
    assert_int_equal(world_call(w, 0, 1)->call.ask.kind, PEER_APPLY);
    assert_true(world_exchange(w, 0, 1));
    assert_true(world_exchange(w, 0, 2));
    assert_true(world_is(w, user, OK, NULL));
    assert_true(world_holds(w, 1, "k", "later"));
    world_settle(w);
    world_close(w);
}

/* ABD-8 */
static void test_one_vote_per_peer(void **state)
{
    struct world *w = open_n(5);
    uint32_t user = world_put(w, 0, "k", "v", 1000);
    struct world_call *c;
    struct peer_answer m;
    uint64_t cookie;

    (void)state;
    c = world_call(w, 0, 1) != NULL ? world_call(w, 0, 1) : world_call(w, 0, 3);
    cookie = c->call.cookie;
    world_ask(w, c, &m);
    world_answer(w, c, &m);
    world_answer_again(w, 0, c->call.peer, cookie, &m); /* would be three of five */
    assert_true(tag_is_zero(world_tag(w, 0, "k")));
    for (uint8_t peer = 1; peer < 5 && tag_is_zero(world_tag(w, 0, "k")); peer++) {
        (void)world_exchange(w, 0, peer);
    }
    c = world_call(w, 0, 2);
    assert_int_equal(c->call.ask.kind, PEER_APPLY);
    cookie = c->call.cookie;
    world_ask(w, c, &m);
    world_answer(w, c, &m);
    world_answer_again(w, 0, 2, cookie, &m);
    world_answer_again(w, 0, 2, cookie, &m);
    assert_false(w->replies[user].have);
    assert_true(world_exchange(w, 0, 4));
    assert_true(world_is(w, user, OK, NULL));
    world_settle(w);
    world_close(w);
}

/* ABD-8: answers to a former round, to another operation or to nothing at all find nobody. */
static void test_stale_answers_find_nobody(void **state)
{
    struct world *w = open_n(5);
    uint32_t user = world_put(w, 0, "k", "v", 1000);
    const struct peer_answer applied = {.kind = PEER_APPLIED};
    uint64_t w1 = w->calls[0].call.cookie, w2;

    (void)state;
    for (uint8_t i = 1; i < 5; i++) {
        if (world_call(w, 0, i) == NULL) { /* it was not asked */
            world_answer_again(w, 0, i, w1, &(struct peer_answer){.kind = PEER_TAG});
        }
    }
    assert_true(tag_is_zero(world_tag(w, 0, "k")));
    while (tag_is_zero(world_tag(w, 0, "k"))) {
        for (uint8_t i = 1; i < 5 && tag_is_zero(world_tag(w, 0, "k")); i++) {
            (void)world_exchange(w, 0, i);
        }
    }
    for (uint8_t i = 1; i < 5; i++) {
        world_answer_again(w, 0, i, w1, &applied);
    }
    world_answer_again(w, 0, 1, UINT64_MAX, &applied);
    world_answer_again(w, 0, 1, 0, &applied);
    assert_false(w->replies[user].have);
    w2 = world_call(w, 0, 1)->call.cookie;
    assert_true(w1 != w2 && abd_cookie_op(w1) == abd_cookie_op(w2));
    world_settle(w);
    assert_true(world_is(w, user, OK, NULL));
    user = world_put(w, 0, "k", "w", 1000); /* the same place, another generation */
    assert_int_equal(abd_cookie_op(w->calls[w->calls_n - 1].call.cookie), abd_cookie_op(w1));
    for (uint8_t i = 1; i < 5; i++) {
        world_answer_again(w, 0, i, w2, &applied);
    }
    assert_false(w->replies[user].have);
    world_settle(w);
    world_close(w);
}

static void test_answer_of_the_wrong_kind_is_no_vote(void **state)
{
    struct world *w = open_n(3);
    uint32_t user = world_put(w, 0, "k", "v", 1000);
    struct world_call *c = world_call(w, 0, world_call(w, 0, 1) != NULL ? 1 : 2);

    (void)state;
    world_answer(w, c, &(struct peer_answer){.kind = PEER_HOLDS, .holds = PEER_HOLDS_SAME});
    assert_true(tag_is_zero(world_tag(w, 0, "k")));
    assert_int_equal(world_live_calls(w), 1); /* the other peer is asked at once */
    world_settle(w);
    assert_true(world_is(w, user, OK, NULL));
    world_close(w);
}

/* ABD-14 */
static void test_tail_reaches_the_slow_peer(void **state)
{
    struct world *w = open_n(3);
    uint32_t user = world_put(w, 0, "k", "v", 1000);
    uint8_t peer = world_call(w, 0, 1) != NULL ? 1 : 2, slow = (uint8_t)(3 - peer);

    (void)state;
    assert_true(world_exchange(w, 0, peer));
    assert_true(world_is(w, user, OK, NULL));
    assert_int_equal(world_counters(w, 0)->ops, 0);
    assert_int_equal(world_live_calls(w), 1);
    assert_true(world_exchange(w, 0, slow));
    assert_true(world_holds(w, slow, "k", "v"));
    assert_true(abd_deadline(w->nodes[0].abd) == UINT64_MAX);
    world_close(w);
}

static void test_tail_ends_by_time(void **state)
{
    struct world *w = open_n(3);

    (void)state;
    (void)world_put(w, 0, "k", "v", 1000);
    assert_true(world_exchange(w, 0, world_call(w, 0, 1) != NULL ? 1 : 2));
    assert_int_equal(world_live_calls(w), 1);
    world_tick(w, 0, UINT64_C(1999999999));
    assert_int_equal(world_live_calls(w), 1);
    world_tick(w, 0, 1);
    assert_int_equal(world_live_calls(w), 0);
    assert_int_equal(w->cancels_n, 1);
    world_close(w);
}

static void test_tails_make_room_for_operations(void **state)
{
    struct world *w =
        world_open(&(struct world_options){.n = 3, .ops_max = 4, .hedge_ns = 1000000});

    (void)state;
    for (int i = 0; i < 20; i++) { /* 2 never answers, so that every put leaves a tail */
        uint32_t user = world_put(w, 0, "k", "v", 1000);

        world_tick(w, 0, 20000000); /* the longest that a hedge waits */
        while (world_exchange(w, 0, 1)) {
        }
        assert_true(world_is(w, user, OK, NULL));
        assert_true(world_live_calls(w) <= 4);
    }
    assert_int_equal(world_live_calls(w), 4);
    world_settle(w);
    assert_true(world_holds(w, 2, "k", "v"));
    world_close(w);
}

/* ABD-19 */
static void test_single_member(void **state)
{
    struct world *w = open_n(1);

    (void)state;
    assert_true(world_is(w, world_get(w, 0, "k", 1000), ERR_NOT_FOUND, NULL));
    assert_true(world_is(w, world_put(w, 0, "k", "v", 1000), OK, NULL));
    assert_true(world_is(w, world_get(w, 0, "k", 1000), OK, "v"));
    assert_true(world_is(w, world_delete(w, 0, "k", 1000), OK, NULL));
    assert_true(world_is(w, world_get(w, 0, "k", 1000), ERR_NOT_FOUND, NULL));
    assert_int_equal(w->calls_n, 0);
    world_close(w);
}

/* Two and seven members, long keys, many operations at once. */
static void test_many_at_once(void **state)
{
    static const uint8_t sizes[] = {2, 3, 5, 7};
    char key[200];

    (void)state;
    memset(key, 'x', sizeof(key) - 1);
    for (size_t s = 0; s < sizeof(sizes); s++) {
        struct world *w = open_n(sizes[s]);

        key[sizeof(key) - 1] = 0;
        for (int i = 0; i < 60; i++) {
            key[150] = (char)('a' + i % 5);
            if (i % 3 == 0) {
                (void)world_get(w, (uint8_t)(i % sizes[s]), key, 1000);
            } else {
                (void)world_put(w, (uint8_t)(i % sizes[s]), key, "value", 1000);
            }
        }
        world_settle(w);
        for (uint32_t i = 0; i < w->replies_n; i++) {
            assert_true(w->replies[i].have);
            assert_true(w->replies[i].status == OK || w->replies[i].status == ERR_NOT_FOUND);
        }
        world_close(w);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_put_then_get),
        cmocka_unit_test(test_absent_and_deleted),
        cmocka_unit_test(test_empty_value_is_not_absent),
        cmocka_unit_test(test_quorum_rounds_ask_few_and_rotate),
        cmocka_unit_test(test_a_burst_asks_the_same_peer),
        cmocka_unit_test(test_get_answers_after_its_write_back),
        cmocka_unit_test(test_agreement_is_about_the_maximum),
        cmocka_unit_test(test_write_back_spares_the_holders),
        cmocka_unit_test(test_get_from_behind_applies_here),
        cmocka_unit_test(test_tombstone_is_written_back),
        cmocka_unit_test(test_concurrent_puts_never_share_a_tag),
        cmocka_unit_test(test_put_mints_above_everything),
        cmocka_unit_test(test_losing_apply_is_acknowledged),
        cmocka_unit_test(test_one_vote_per_peer),
        cmocka_unit_test(test_stale_answers_find_nobody),
        cmocka_unit_test(test_answer_of_the_wrong_kind_is_no_vote),
        cmocka_unit_test(test_tail_reaches_the_slow_peer),
        cmocka_unit_test(test_tail_ends_by_time),
        cmocka_unit_test(test_tails_make_room_for_operations),
        cmocka_unit_test(test_single_member),
        cmocka_unit_test(test_many_at_once),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
