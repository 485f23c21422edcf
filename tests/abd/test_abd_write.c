// SPDX-License-Identifier: Apache-2.0
/* Clause ABD-21: writes in one round. */
#include "tests/abd/abd_world.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

static const uint64_t ms = UINT64_C(1000000);
static const struct tag newer = {.ts = 5, .writer = 9};

static struct world *open_n(uint8_t n)
{
    return world_open(&(struct world_options){.n = n});
}

/* Who has been offered something, or asked, and who has not. */
static uint8_t asked(struct world *w)
{
    return world_call(w, 0, 1) != NULL ? 1 : 2;
}

static void one_question_is_enough(void **state)
{
    struct world *w = open_n(3);
    uint32_t user = world_put(w, 0, "k", "v", 1000);
    uint8_t peer = asked(w);

    (void)state;
    assert_int_equal(w->calls_n, 1);
    assert_int_equal(world_call(w, 0, peer)->call.ask.kind, PEER_OFFER);
    assert_true(tag_is_zero(world_tag(w, 0, "k"))); /* nobody has taken it */
    assert_true(world_exchange(w, 0, peer));
    assert_true(world_is(w, user, OK, NULL));
    assert_true(world_holds(w, 0, "k", "v"));
    assert_true(world_holds(w, peer, "k", "v"));
    assert_int_equal(world_counters(w, 0)->writes_one_round, 1);
    world_settle(w);
    assert_true(world_holds(w, 3 - peer, "k", "v"));
    assert_int_equal(w->calls_n, 2);
    user = world_delete(w, peer, "k", 1000);
    world_settle(w);
    assert_true(world_is(w, user, OK, NULL));
    assert_int_equal(w->replies[user].tag.ts, 2);
    assert_int_equal(w->calls_n, 4);
    world_close(w);
}

static void who_holds_more_takes_nothing(void **state)
{
    struct world *w = open_n(3);
    uint32_t user;
    uint8_t peer;

    (void)state;
    world_plant(w, 1, "k", newer, "x");
    world_plant(w, 2, "k", newer, "x");
    user = world_put(w, 0, "k", "v", 1000);
    peer = asked(w);
    assert_true(world_exchange(w, 0, peer));
    assert_false(w->replies[user].have);
    assert_true(world_holds(w, peer, "k", "x"));
    assert_int_equal(world_tag(w, 0, "k").ts, newer.ts + 1); /* the answer was W1 */
    assert_int_equal(world_call(w, 0, 1)->call.ask.kind, PEER_APPLY);
    assert_int_equal(world_call(w, 0, 2)->call.ask.kind, PEER_APPLY);
    world_settle(w);
    assert_true(world_is(w, user, OK, NULL));
    assert_true(world_holds(w, peer, "k", "v"));
    assert_int_equal(world_counters(w, 0)->writes_one_round, 0);
    assert_int_equal(world_counters(w, 0)->offers_denied, 1);
    world_close(w);
}

/* Two on offer at once, and a batch that mints meanwhile: none stands in the store yet. */
static void what_is_on_offer_counts_for_the_next_tag(void **state)
{
    static const uint8_t body[] = "\x01\0\0\x01\0k\x01\0\0\0c";
    struct world *w = open_n(3);
    uint32_t a = world_put(w, 0, "k", "a", 1000), b = world_put(w, 0, "k", "b", 1000);
    uint8_t peer = asked(w);
    struct tag first = world_call(w, 0, peer)->call.ask.tag;

    (void)state;
    (void)world_batch(w, 0, CLIENT_MPUT, (struct bytes){body, sizeof(body) - 1});
    for (uint32_t i = 2; i < w->calls_n && tag_is_zero(world_tag(w, 0, "k")); i++) {
        struct peer_answer m;

        assert_int_equal(w->calls[i].call.ask.kind, PEER_TAGS);
        world_ask(w, &w->calls[i], &m);
        world_answer(w, &w->calls[i], &m);
    }
    assert_int_equal(world_tag(w, 0, "k").ts, first.ts + 2);
    world_settle(w);
    assert_true(world_is(w, a, OK, NULL) && world_is(w, b, OK, NULL));
    assert_int_not_equal(w->replies[a].tag.ts, w->replies[b].tag.ts);
    for (uint8_t i = 0; i < 3; i++) {
        assert_int_equal(world_tag(w, i, "k").ts, world_tag(w, 0, "k").ts);
    }
    world_close(w);
}

/* Somebody has taken it, though his answer is lost: it has this tag for good. */
static void a_lost_answer_is_no_denial(void **state)
{
    struct world *w = open_n(3);
    uint32_t user = world_put(w, 0, "k", "v", 50), next;
    uint8_t peer = asked(w), other = (uint8_t)(3 - peer);
    struct tag tag = world_call(w, 0, peer)->call.ask.tag;
    struct peer_answer m;

    (void)state;
    world_ask(w, world_call(w, 0, peer), &m);
    assert_int_equal(m.kind, PEER_APPLIED);
    world_up(w, 0, peer, false);
    world_fail(w, world_call(w, 0, peer));
    world_plant(w, other, "k", newer, "x");
    assert_true(world_exchange(w, 0, other)); /* denied, and it must not be offered as another */
    assert_false(w->replies[user].have);
    assert_true(tag_is_zero(world_tag(w, 0, "k")));
    world_tick(w, 0, 50 * ms);
    assert_true(world_is(w, user, ERR_INDETERMINATE, NULL));
    assert_int_equal(tag_compare(world_tag(w, 0, "k"), tag), 0);
    next = world_put(w, 0, "k", "w", 1000);
    world_settle(w);
    assert_true(world_is(w, next, OK, NULL));
    assert_true(w->replies[next].tag.ts > newer.ts);
    world_close(w);
}

static void a_lost_answer_costs_nothing_if_another_takes_it(void **state)
{
    struct world *w = open_n(3);
    uint32_t user = world_put(w, 0, "k", "v", 1000);
    uint8_t peer = asked(w), other = (uint8_t)(3 - peer);
    struct tag tag = world_call(w, 0, peer)->call.ask.tag;
    struct peer_answer m;

    (void)state;
    world_ask(w, world_call(w, 0, peer), &m);
    world_fail(w, world_call(w, 0, peer));
    assert_true(world_exchange(w, 0, other));
    assert_true(world_is(w, user, OK, NULL));
    assert_int_equal(tag_compare(w->replies[user].tag, tag), 0);
    world_settle(w);
    assert_int_equal(tag_compare(world_tag(w, peer, "k"), tag), 0);
    world_close(w);
}

/* Asked twice, a peer may have taken it the second time, and its "no" be the answer to the first.
 */
static void a_late_no_is_no_denial(void **state)
{
    const struct peer_answer no = {.kind = PEER_REFUSED, .err = ERR_BUSY};
    struct world *w = open_n(3);
    uint32_t user = world_put(w, 0, "k", "v", 50);
    uint8_t peer = asked(w), other = (uint8_t)(3 - peer);
    uint64_t cookie = world_call(w, 0, peer)->call.cookie;
    struct peer_answer m;

    (void)state;
    world_answer(w, world_call(w, 0, peer), &no);
    world_up(w, 0, peer, false);
    world_up(w, 0, peer, true); /* it is asked again */
    world_ask(w, world_call(w, 0, peer), &m);
    assert_int_equal(m.kind, PEER_APPLIED);
    world_answer_again(w, 0, peer, cookie, &no);
    world_plant(w, other, "k", newer, "x");
    assert_true(world_exchange(w, 0, other));
    assert_true(tag_is_zero(world_tag(w, 0, "k")));
    world_tick(w, 0, 50 * ms);
    assert_true(world_is(w, user, ERR_INDETERMINATE, NULL));
    world_settle(w);
    world_close(w);
}

/* MEM-14: it says that it is about to end, and is down from then on. */
static void who_leaves_is_asked_nothing(void **state)
{
    const struct peer_answer no = {.kind = PEER_REFUSED, .err = ERR_CLOSED};
    struct world *w = open_n(3);
    uint32_t user = world_put(w, 0, "k", "v", 1000);
    uint8_t peer = asked(w), other = (uint8_t)(3 - peer);

    (void)state;
    world_answer_again(w, 0, other, world_call(w, 0, peer)->call.cookie, &no); /* was not asked */
    world_answer(w, world_call(w, 0, peer), &no);
    assert_true(world_exchange(w, 0, other));
    assert_true(world_is(w, user, OK, NULL));
    for (int i = 0; i < 10; i++) {
        world_tick(w, 0, 5 * ms);
        (void)world_get(w, 0, "k", 1000);
        assert_null(world_call(w, 0, peer));
    }
    world_settle(w);
    world_close(w);
}

/* Nobody could, for a while: it begins anew, and what is said to the first offer finds nobody. */
static void all_refuse_at_first(void **state)
{
    const struct peer_answer no = {.kind = PEER_REFUSED, .err = ERR_EPOCH};
    struct world *w = open_n(3);
    uint32_t user = world_put(w, 0, "k", "v", 1000);
    uint64_t first = w->calls[0].call.cookie;

    (void)state;
    world_answer(w, world_call(w, 0, asked(w)), &no);
    world_answer(w, world_call(w, 0, asked(w)), &no);
    assert_int_equal(world_live_calls(w), 0);
    world_tick(w, 0, 5 * ms);
    assert_int_equal(world_live_calls(w), 1);
    assert_true(w->calls[w->calls_n - 1].call.cookie != first);
    world_answer_again(w, 0, 1, first, &no);
    world_answer_again(w, 0, 2, first, &no);
    world_settle(w);
    assert_true(world_is(w, user, OK, NULL));
    assert_int_equal(world_counters(w, 0)->writes_one_round, 1);
    world_close(w);
}

static void asked_again_it_says_the_same(void **state)
{
    struct world *w = open_n(3);
    uint32_t user = world_put(w, 0, "k", "v", 1000);
    uint8_t peer = asked(w);
    struct peer_answer m;

    (void)state;
    world_up(w, 0, 3 - peer, false);
    world_ask(w, world_call(w, 0, peer), &m);
    world_fail(w, world_call(w, 0, peer));
    world_tick(w, 0, 5 * ms);
    assert_true(world_exchange(w, 0, peer)); /* it holds exactly this */
    assert_true(world_is(w, user, OK, NULL));
    world_close(w);
}

/* MEM-8: among other members it goes on with the tag that it has, */
static void a_doubtful_offer_across_configurations(void **state)
{
    struct world *w = open_n(3);
    uint32_t user = world_put(w, 0, "k", "v", 1000);
    uint8_t peer = asked(w), other = (uint8_t)(3 - peer);
    struct tag tag = world_call(w, 0, peer)->call.ask.tag;
    struct peer_answer m;

    (void)state;
    world_ask(w, world_call(w, 0, peer), &m);
    world_reconfigure(w, 0, 0x7);
    world_up(w, 0, other, true);
    assert_int_equal(tag_compare(world_call(w, 0, other)->call.ask.tag, tag), 0);
    assert_true(world_exchange(w, 0, other));
    assert_true(world_is(w, user, OK, NULL));
    assert_int_equal(tag_compare(w->replies[user].tag, tag), 0);
    world_settle(w);
    world_close(w);
}

/* and what has come here since is a vote against it. */
static void a_doubtful_offer_that_came_too_late(void **state)
{
    struct world *w = open_n(3);
    uint32_t user = world_put(w, 0, "k", "v", 1000);
    uint8_t peer = asked(w), other = (uint8_t)(3 - peer);
    struct peer_answer m;

    (void)state;
    world_ask(w, world_call(w, 0, peer), &m);
    world_plant(w, 0, "k", newer, "x");
    world_reconfigure(w, 0, 0x7);
    world_up(w, 0, other, true);
    assert_true(world_exchange(w, 0, other)); /* takes it: one of the two that are needed */
    assert_false(w->replies[user].have);
    world_up(w, 0, peer, true);
    assert_true(world_exchange(w, 0, peer));
    assert_true(world_is(w, user, OK, NULL)); /* before "x", which they had not */
    world_settle(w);
    assert_true(world_holds(w, 0, "k", "x"));

    user = world_put(w, 0, "j", "v", 1000);
    world_ask(w, world_call(w, 0, asked(w)), &m);
    for (uint8_t i = 0; i < 3; i++) {
        world_plant(w, i, "j", newer, "x");
    }
    world_reconfigure(w, 0, 0x7);
    world_up(w, 0, 1, true);
    world_up(w, 0, 2, true);
    while (world_exchange(w, 0, 1) || world_exchange(w, 0, 2)) {
    }
    assert_true(world_is(w, user, ERR_INDETERMINATE, NULL)); /* at once: nobody is left to ask */
    assert_true(world_holds(w, 0, "j", "x"));
    world_close(w);
}

/* Nothing that may stand elsewhere is forgotten here, room or not. */
static void no_room_here(void **state)
{
    const struct peer_answer no = {.kind = PEER_REFUSED, .err = ERR_HOST_MEMORY};
    struct world *w = open_n(3);
    char value[300] = {0};
    uint32_t user;
    uint8_t peer;

    (void)state;
    memset(value, 'v', sizeof(value) - 1);
    store_may_grow(w->nodes[0].store, false);
    user = world_put(w, 0, "k", value, 1000);
    world_settle(w);
    assert_true(world_is(w, user, OK, NULL)); /* the other two hold it */
    assert_true(tag_is_zero(world_tag(w, 0, "k")));
    assert_true(world_holds(w, 1, "k", value) && world_holds(w, 2, "k", value));

    user = world_put(w, 0, "j", value, 1000); /* for a while writes come here first, */
    assert_int_equal(world_call(w, 0, asked(w))->call.ask.kind, PEER_QUERY);
    world_settle(w);
    assert_true(world_is(w, user, ERR_HOST_MEMORY, NULL)); /* and end well defined */

    world_tick(w, 0, 1000 * ms);
    user = world_put(w, 0, "j", value, 1000);
    peer = asked(w);
    assert_true(world_exchange(w, 0, peer));
    world_answer(w, world_call(w, 0, 3 - peer), &no);
    assert_true(world_is(w, user, ERR_INDETERMINATE, NULL));
    store_may_grow(w->nodes[0].store, true);
    world_tick(w, 0, 1000 * ms);
    user = world_put(w, 0, "j", value, 1000);
    assert_true(w->calls[w->calls_n - 1].call.ask.tag.ts > world_tag(w, peer, "j").ts);
    world_settle(w);
    assert_true(world_is(w, user, OK, NULL));
    world_close(w);
}

static void when_it_takes_two_rounds(void **state)
{
    static uint8_t big[20000];
    struct world *w = open_n(5);
    uint8_t key[1] = {'b'};

    (void)state;
    (void)world_put(w, 0, "k", "v", 1000); /* two peers would have to take it */
    assert_int_equal(w->calls[0].call.ask.kind, PEER_QUERY);
    world_settle(w);
    world_close(w);

    w = open_n(3);
    world_up(w, 0, 2, false); /* the members may be about to change */
    (void)world_put(w, 0, "k", "v", 1000);
    assert_int_equal(w->calls[0].call.ask.kind, PEER_QUERY);
    world_settle(w);
    world_close(w);

    w = open_n(3);
    (void)world_put_bytes(w, 0, (struct bytes){key, 1}, (struct bytes){big, sizeof(big)});
    assert_int_equal(w->calls[0].call.ask.kind, PEER_QUERY);
    for (int i = 0; i < 5; i++) { /* more at once of one key than are looked through */
        (void)world_put(w, 0, "k", "v", 1000);
        assert_int_equal(w->calls[1 + i].call.ask.kind, i < 4 ? PEER_OFFER : PEER_QUERY);
    }
    world_settle(w);
    assert_true(world_holds(w, 1, "k", "v"));
    world_close(w);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(one_question_is_enough),
        cmocka_unit_test(who_holds_more_takes_nothing),
        cmocka_unit_test(what_is_on_offer_counts_for_the_next_tag),
        cmocka_unit_test(a_lost_answer_is_no_denial),
        cmocka_unit_test(a_lost_answer_costs_nothing_if_another_takes_it),
        cmocka_unit_test(a_late_no_is_no_denial),
        cmocka_unit_test(all_refuse_at_first),
        cmocka_unit_test(who_leaves_is_asked_nothing),
        cmocka_unit_test(asked_again_it_says_the_same),
        cmocka_unit_test(a_doubtful_offer_across_configurations),
        cmocka_unit_test(a_doubtful_offer_that_came_too_late),
        cmocka_unit_test(no_room_here),
        cmocka_unit_test(when_it_takes_two_rounds),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
