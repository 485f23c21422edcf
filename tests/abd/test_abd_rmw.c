// SPDX-License-Identifier: Apache-2.0
#include "tests/abd/abd_world.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

/* Read-modify-write, message by message. docs/protocol/rmw.md */

static struct world *open_n(uint8_t n)
{
    return world_open(&(struct world_options){.n = n});
}

/* Delivers everything and lets pauses pass until the operation has ended. */
static void finish(struct world *w, uint32_t user)
{
    for (int i = 0; i < 2000 && !w->replies[user].have; i++) {
        world_settle(w);
        for (uint8_t node = 0; node < w->n && !w->replies[user].have; node++) {
            world_tick(w, node, 100000);
        }
    }
    assert_true(w->replies[user].have);
}

static uint32_t rmw(struct world *w, uint8_t node, enum client_rmw kind, const char *expect,
                    const char *value)
{
    uint32_t user = world_rmw(w, node, kind, "k", expect, value);

    finish(w, user);
    return user;
}

#define IS(w, user, status, value) assert_true(world_is(w, user, status, value))

static void test_compare_and_set(void **state)
{
    struct world *w = open_n(3);
    uint32_t user;

    (void)state;
    IS(w, rmw(w, 0, CLIENT_RMW_CAS, "a", "b"), ERR_NOT_FOUND, NULL);
    (void)world_put(w, 1, "k", "a", 1000);
    world_settle(w);
    user = rmw(w, 2, CLIENT_RMW_CAS, "a", "b");
    IS(w, user, OK, NULL);
    /* RMW-1: directly behind its base */
    assert_int_equal(w->replies[user].tag.ts, 1);
    assert_int_equal(w->replies[user].tag.writer, 101);
    assert_int_equal(w->replies[user].tag.rmwc, 1);
    IS(w, rmw(w, 0, CLIENT_RMW_CAS, "a", "c"), ERR_MISMATCH, "b");
    IS(w, rmw(w, 1, CLIENT_RMW_DELETE_IF, "a", NULL), ERR_MISMATCH, "b");
    user = world_get(w, 1, "k", 1000);
    world_settle(w);
    IS(w, user, OK, "b");
    IS(w, rmw(w, 1, CLIENT_RMW_DELETE_IF, "b", NULL), OK, NULL);
    IS(w, rmw(w, 1, CLIENT_RMW_DELETE_IF, "b", NULL), ERR_NOT_FOUND, NULL);
    /* empty is not absent, in the key and in the comparison */
    IS(w, rmw(w, 0, CLIENT_RMW_PUT_NEW, NULL, ""), OK, NULL);
    IS(w, rmw(w, 2, CLIENT_RMW_PUT_NEW, NULL, "x"), ERR_MISMATCH, "");
    IS(w, rmw(w, 2, CLIENT_RMW_CAS, "", "y"), OK, NULL);
    world_close(w);
}

static void test_increment(void **state)
{
    struct world *w = open_n(3);

    (void)state;
    IS(w, rmw(w, 0, CLIENT_RMW_INCR, NULL, "5"), OK, "5");
    IS(w, rmw(w, 1, CLIENT_RMW_INCR, NULL, "-7"), OK, "-2");
    IS(w, rmw(w, 2, CLIENT_RMW_INCR, NULL, "0"), OK, "-2");
    IS(w, rmw(w, 2, CLIENT_RMW_CAS, "-2", "9223372036854775806"), OK, NULL);
    IS(w, rmw(w, 0, CLIENT_RMW_INCR, NULL, "1"), OK, "9223372036854775807");
    IS(w, rmw(w, 0, CLIENT_RMW_INCR, NULL, "1"), ERR_OVERFLOW, NULL);
    IS(w, rmw(w, 0, CLIENT_RMW_GET_SET, NULL, "-9223372036854775808"), OK, "9223372036854775807");
    IS(w, rmw(w, 0, CLIENT_RMW_INCR, NULL, "-1"), ERR_OVERFLOW, NULL);
    IS(w, rmw(w, 0, CLIENT_RMW_INCR, NULL, "1"), OK, "-9223372036854775807");
    world_close(w);
}

static void test_not_a_number(void **state)
{
    static const char *const not_numbers[] = {"",
                                              "-",
                                              "x",
                                              "1x",
                                              " 1",
                                              "1 ",
                                              "+1",
                                              "01",
                                              "-0",
                                              "00",
                                              "1.0",
                                              "9223372036854775808",
                                              "-9223372036854775809",
                                              "99999999999999999999"};
    struct world *w = open_n(3);

    (void)state;
    for (size_t i = 0; i < sizeof(not_numbers) / sizeof(not_numbers[0]); i++) {
        (void)world_put(w, 0, "k", not_numbers[i], 1000);
        world_settle(w);
        IS(w, rmw(w, 1, CLIENT_RMW_INCR, NULL, "1"), ERR_NOT_NUMBER, NULL);
        assert_true(world_holds(w, 1, "k", not_numbers[i]));
    }
    world_close(w);
}

static void test_append_and_get_set(void **state)
{
    struct world *w = world_open(&(struct world_options){.n = 3, .value_max = 8});
    uint32_t user;

    (void)state;
    IS(w, rmw(w, 0, CLIENT_RMW_APPEND, NULL, "abc"), OK, "3");
    IS(w, rmw(w, 1, CLIENT_RMW_APPEND, NULL, "de"), OK, "5");
    IS(w, rmw(w, 1, CLIENT_RMW_APPEND, NULL, "fghi"), ERR_TOO_BIG, NULL);
    IS(w, rmw(w, 2, CLIENT_RMW_GET_SET, NULL, "z"), OK, "abcde");
    (void)world_delete(w, 0, "k", 1000);
    world_settle(w);
    user = rmw(w, 2, CLIENT_RMW_GET_SET, NULL, "y");
    IS(w, user, OK, NULL);
    assert_true(w->replies[user].absent);
    user = rmw(w, 0, CLIENT_RMW_GET_SET, NULL, "");
    IS(w, user, OK, "y");
    user = rmw(w, 0, CLIENT_RMW_GET_SET, NULL, "x");
    IS(w, user, OK, "");
    assert_false(w->replies[user].absent);
    world_close(w);
}

/* A put is two questions, and a read-modify-write without rivals one more (RMW-18). */
static void test_costs_less_than_two_puts(void **state)
{
    struct world *w = open_n(3);
    uint32_t before;

    (void)state;
    (void)world_put(w, 0, "k", "1", 1000);
    world_settle(w);
    before = w->calls_n;
    (void)world_put(w, 0, "k", "2", 1000);
    world_settle(w);
    assert_int_equal(w->calls_n - before, 2);
    before = w->calls_n;
    IS(w, rmw(w, 0, CLIENT_RMW_CAS, "2", "3"), OK, NULL);
    world_settle(w);
    assert_int_equal(w->calls_n - before, 3);
    for (uint8_t i = 0; i < 3; i++) {
        assert_true(world_holds(w, i, "k", "3"));
    }
    before = w->calls_n; /* and one question when there is nothing to write */
    IS(w, rmw(w, 0, CLIENT_RMW_CAS, "2", "4"), ERR_MISMATCH, "3");
    assert_int_equal(w->calls_n - before, 1);
    world_close(w);
}

/* The next call of a kind between two nodes: asked and answered. */
static void exchange(struct world *w, uint8_t from, uint8_t to, enum peer_ask_kind kind)
{
    struct world_call *c = world_call(w, from, to);

    assert_non_null(c);
    assert_int_equal(c->call.ask.kind, kind);
    assert_true(world_exchange(w, from, to));
}

static uint8_t asked_by(struct world *w, uint8_t node)
{
    return world_call(w, node, (uint8_t)((node + 1) % 3)) != NULL ? (uint8_t)((node + 1) % 3)
                                                                  : (uint8_t)((node + 2) % 3);
}

/* RMW-9, RMW-10: nothing shows before the commit, and the answer comes after it. */
static void test_answers_after_a_majority_applied(void **state)
{
    struct world *w = open_n(5);
    uint32_t user = world_rmw(w, 0, CLIENT_RMW_INCR, "k", NULL, "1");
    uint8_t peers[2], n = 0;

    (void)state;
    for (uint8_t i = 1; i < 5; i++) {
        if (world_call(w, 0, i) != NULL) {
            peers[n++] = i;
        }
    }
    assert_int_equal(n, 2);
    exchange(w, 0, peers[0], PEER_PREPARE);
    exchange(w, 0, peers[1], PEER_PREPARE);
    exchange(w, 0, peers[0], PEER_ACCEPT);
    assert_true(tag_is_zero(world_tag(w, 0, "k")));
    exchange(w, 0, peers[1], PEER_ACCEPT);
    assert_false(w->replies[user].have);
    assert_true(world_holds(w, 0, "k", "1")); /* decided: the coordinator applies first */
    assert_true(tag_is_zero(world_tag(w, peers[0], "k")));
    assert_false(world_call(w, 0, peers[0])->call.ask.value_given); /* RMW-6: it has the value */
    exchange(w, 0, peers[0], PEER_COMMIT);
    assert_false(w->replies[user].have);
    exchange(w, 0, peers[1], PEER_COMMIT);
    IS(w, user, OK, "1");
    world_settle(w);
    world_close(w);
}

/* RMW-18: among three the peer that accepts decides, and applies at once. */
static void test_the_last_voice_applies_at_once(void **state)
{
    struct world *w = open_n(3);
    uint32_t user = world_rmw(w, 0, CLIENT_RMW_INCR, "k", NULL, "1");
    uint8_t peer = asked_by(w, 0), third = (uint8_t)(3 - peer);

    (void)state;
    exchange(w, 0, peer, PEER_PREPARE);
    assert_true(tag_is_zero(world_tag(w, 0, "k")) && tag_is_zero(world_tag(w, peer, "k")));
    exchange(w, 0, peer, PEER_ACCEPT);
    IS(w, user, OK, "1");
    assert_true(world_holds(w, 0, "k", "1") && world_holds(w, peer, "k", "1"));
    assert_null(world_call(w, 0, peer));
    exchange(w, 0, third, PEER_COMMIT);
    assert_true(world_holds(w, third, "k", "1"));
    world_close(w);
}

/* It decided and cannot say so: that everybody else knows nothing proves nothing. */
static void test_doubt_about_the_last_voice(void **state)
{
    for (int answers = 0; answers < 2; answers++) {
        struct world *w = open_n(3);
        uint32_t user = world_rmw(w, 0, CLIENT_RMW_INCR, "k", NULL, "1");
        uint8_t peer = asked_by(w, 0), third = (uint8_t)(3 - peer);
        struct peer_answer lost;

        (void)state;
        exchange(w, 0, peer, PEER_PREPARE);
        world_ask(w, world_call(w, 0, peer), &lost);
        assert_true(world_holds(w, peer, "k", "1"));
        world_up(w, 0, peer, false);
        world_plant(w, 0, "k", (struct tag){.ts = 5, .writer = 9}, "40");
        world_plant(w, third, "k", (struct tag){.ts = 5, .writer = 9}, "40");
        world_fail(w, world_call(w, 0, peer));
        for (int i = 0; i < 20; i++) { /* closed at two of three, and neither has heard of it */
            world_tick(w, 0, UINT64_C(5000000));
            while (world_exchange(w, 0, third)) {
            }
        }
        assert_false(w->replies[user].have);
        assert_true(world_holds(w, 0, "k", "40"));
        if (answers == 1) {
            world_up(w, 0, peer, true);
        }
        for (int i = 0; i < 1000 && !w->replies[user].have; i++) {
            world_tick(w, 0, UINT64_C(5000000));
            while (world_exchange(w, 0, third) || world_exchange(w, 0, peer)) {
            }
        }
        IS(w, user, answers == 1 ? OK : ERR_INDETERMINATE, answers == 1 ? "1" : NULL);
        assert_true(world_holds(w, 0, "k", "40"));
        world_settle(w);
        world_close(w);
    }
}

/* RMW-8, RMW-13: who finds an accepted operation finishes it, under its own id, and its owner then
 * learns that it happened: once. */
static void test_helping_keeps_the_operation(void **state)
{
    struct world *w = open_n(3);
    uint32_t mine, other;

    (void)state;
    world_up(w, 0, 2, false); /* 0 speaks with 1 only */
    mine = world_rmw(w, 0, CLIENT_RMW_INCR, "k", NULL, "10");
    exchange(w, 0, 1, PEER_PREPARE);
    assert_int_equal(world_call(w, 0, 1)->call.ask.kind, PEER_ACCEPT); /* accepted at 0 */
    world_up(w, 2, 1, false);                                          /* 2 speaks with 0 only */
    other = world_rmw(w, 2, CLIENT_RMW_INCR, "k", NULL, "1");
    for (int i = 0; i < 100 && !w->replies[other].have; i++) {
        (void)world_exchange(w, 2, 0);
        world_tick(w, 2, 100000);
    }
    IS(w, other, OK, "11");
    assert_int_equal(world_counters(w, 2)->rmw_helped, 1);
    world_up(w, 0, 2, true);
    world_up(w, 2, 1, true);
    world_fail(w, world_call(w, 0, 1));
    for (int i = 0; i < 100 && !w->replies[mine].have; i++) {
        world_tick(w, 0, 5000000);
        while (world_exchange(w, 0, 1) || world_exchange(w, 0, 2)) {
        }
    }
    IS(w, mine, OK, "10");
    IS(w, rmw(w, 1, CLIENT_RMW_INCR, NULL, "0"), OK, "11");
    world_settle(w);
    world_close(w);
}

/* RMW-13: overtaken by a put at a majority before anybody else accepted it: dead, and done again.
 */
static void test_overtaken_by_a_put(void **state)
{
    struct world *w = open_n(3);
    uint32_t user = world_rmw(w, 0, CLIENT_RMW_INCR, "k", NULL, "1");
    uint8_t peer = asked_by(w, 0), third = (uint8_t)(3 - peer);
    uint32_t put;

    (void)state;
    exchange(w, 0, peer, PEER_PREPARE); /* now accepted here, and an ACCEPT is under way */
    put = world_put(w, peer, "k", "40", 1000);
    while (world_exchange(w, peer, third)) {
    }
    IS(w, put, OK, NULL);
    finish(w, user);
    IS(w, user, OK, "41");
    assert_true(world_counters(w, 0)->rmw_doubts > 0);
    assert_true(world_holds(w, 0, "k", "41"));
    world_settle(w);
    world_close(w);
}

/* Proposed, then silence: unknown. Never proposed: nothing was done. */
static void test_outcomes_without_a_majority(void **state)
{
    struct world *w = open_n(3);
    uint32_t user = world_rmw(w, 0, CLIENT_RMW_INCR, "k", NULL, "1");

    (void)state;
    exchange(w, 0, asked_by(w, 0), PEER_PREPARE);
    world_tick(w, 0, UINT64_C(1000000000));
    IS(w, user, ERR_INDETERMINATE, NULL);
    user = world_rmw(w, 1, CLIENT_RMW_INCR, "k", NULL, "1");
    world_tick(w, 1, UINT64_C(1000000000));
    IS(w, user, ERR_UNAVAILABLE, NULL);
    world_close(w);
}

/* RMW-14: through one coordinator in order of arrival; through all, every one of them once. */
static void test_everybody_counts_once(void **state)
{
    enum { EACH = 40, ALL = 3 * EACH };
    struct world *w = open_n(3);
    uint32_t users[ALL];
    bool seen[ALL + 1] = {false};
    char last[16];

    (void)state;
    for (uint32_t i = 0; i < ALL; i++) {
        users[i] = world_rmw(w, (uint8_t)(i % 3), CLIENT_RMW_INCR, "k", NULL, "1");
    }
    for (uint32_t i = 0; i < ALL; i++) {
        long n;

        finish(w, users[i]);
        assert_int_equal(w->replies[users[i]].status, OK);
        n = strtol((const char *)w->replies[users[i]].value, NULL, 10);
        assert_true(n >= 1 && n <= ALL && !seen[n]);
        seen[n] = true;
        if (i >= 3) {
            long before = strtol((const char *)w->replies[users[i - 3]].value, NULL, 10);

            assert_true(before < n); /* the same coordinator */
        }
    }
    (void)snprintf(last, sizeof(last), "%d", ALL);
    IS(w, rmw(w, 0, CLIENT_RMW_INCR, NULL, "0"), OK, last);
    world_settle(w);
    world_close(w);
}

/* RMW-3, RMW-5: neither writes nor failed compares leave much behind. */
static void test_keys_at_rest_cost_nothing(void **state)
{
    struct world *w = world_open(&(struct world_options){.n = 1});
    size_t base;
    char key[16];

    (void)state;
    for (int i = 0; i < 600; i++) {
        (void)snprintf(key, sizeof(key), "k%d", i);
        (void)world_put(w, 0, key, "v", 1000);
        (void)world_rmw(w, 0, CLIENT_RMW_CAS, key, "w", "x");
    }
    base = heap_used(w->nodes[0].heap);
    for (int round = 0; round < 2; round++) {
        for (int i = 0; i < 600; i++) {
            (void)snprintf(key, sizeof(key), "k%d", i);
            (void)world_rmw(w, 0, CLIENT_RMW_CAS, key, "w", "x");
        }
    }
    assert_true(world_counters(w, 0)->rmw_records <= 520);
    assert_true(heap_used(w->nodes[0].heap) <= base);
    for (int i = 0; i < 600; i++) {
        uint32_t user;

        (void)snprintf(key, sizeof(key), "k%d", i);
        user = world_rmw(w, 0, CLIENT_RMW_CAS, key, "v", "x");
        assert_int_equal(w->replies[user].status, OK);
    }
    assert_int_equal(world_counters(w, 0)->rmw_records, 0);
    world_close(w);
}

/* A joiner that holds the keys and takes over what was accepted helps it to its end. */
static void test_export_and_import(void **state)
{
    struct world *w = open_n(3);
    struct abd_rmw_item item = {0};
    const struct bytes key = {(const uint8_t *)"k", 1};
    uint32_t user;
    uint8_t peer;

    (void)state;
    (void)world_put(w, 0, "k", "7", 1000);
    world_settle(w);
    (void)world_rmw(w, 0, CLIENT_RMW_INCR, "k", NULL, "1");
    peer = asked_by(w, 0);
    exchange(w, 0, peer, PEER_PREPARE);
    assert_false(abd_rmw_absent(w->nodes[0].abd, item.key, &item));
    assert_false(abd_rmw_accepted(w->nodes[0].abd, key, (struct tag){0}, &item));
    assert_true(abd_rmw_accepted(w->nodes[0].abd, key, (struct tag){1, 100, 0}, &item));
    assert_memory_equal(item.value.p, "8", 1);
    assert_int_equal(abd_rmw_import(w->nodes[3 - peer].abd, &item), OK);
    world_fail(w, world_call(w, 0, peer));
    world_up(w, 0, peer, false);
    world_up(w, 0, (uint8_t)(3 - peer), false);
    user = world_rmw(w, (uint8_t)(3 - peer), CLIENT_RMW_INCR, "k", NULL, "1");
    finish(w, user);
    IS(w, user, OK, "9");
    item = (struct abd_rmw_item){.ballot = 1, .op = {1, 1, 0}};
    assert_int_equal(abd_rmw_import(w->nodes[0].abd, &item), ERR_MALFORMED);
    world_close(w);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_compare_and_set),
        cmocka_unit_test(test_increment),
        cmocka_unit_test(test_not_a_number),
        cmocka_unit_test(test_append_and_get_set),
        cmocka_unit_test(test_costs_less_than_two_puts),
        cmocka_unit_test(test_answers_after_a_majority_applied),
        cmocka_unit_test(test_the_last_voice_applies_at_once),
        cmocka_unit_test(test_doubt_about_the_last_voice),
        cmocka_unit_test(test_helping_keeps_the_operation),
        cmocka_unit_test(test_overtaken_by_a_put),
        cmocka_unit_test(test_outcomes_without_a_majority),
        cmocka_unit_test(test_everybody_counts_once),
        cmocka_unit_test(test_keys_at_rest_cost_nothing),
        cmocka_unit_test(test_export_and_import),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
