// SPDX-License-Identifier: Apache-2.0
/* Anti-entropy: SYNC-1 to SYNC-6. */
#include "tests/abd/abd_world.h"
#include "trusted/wire/batch_wire.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

static const uint64_t PAGE = UINT64_C(20000000);
static const struct tag older = {.ts = 4, .writer = 9};
static const struct tag newer = {.ts = 5, .writer = 9};

static struct world *open_n(uint8_t n)
{
    return world_open(&(struct world_options){.n = n, .sync_ns = PAGE});
}

/* Lets the replica compare so many pages. */
static void pages(struct world *w, uint8_t node, int n)
{
    for (int i = 0; i < n; i++) {
        world_tick(w, node, PAGE);
        world_settle(w);
    }
}

static void a_lagging_replica_converges_without_clients(void **state)
{
    struct world *w = open_n(3);
    char key[16];

    (void)state;
    for (int i = 0; i < 600; i++) { /* more than a page */
        (void)snprintf(key, sizeof(key), "k%03d", i);
        world_plant(w, 0, key, older, i % 3 == 0 ? NULL : "v");
        world_plant(w, 1, key, older, i % 3 == 0 ? NULL : "v");
    }
    world_plant(w, 2, "only-there", newer, "x");
    world_plant(w, 0, "k001", newer, "newer here");
    world_plant(w, 2, "k002", newer, "newer there");
    pages(w, 0, 30);
    for (int i = 3; i < 600; i++) {
        (void)snprintf(key, sizeof(key), "k%03d", i);
        assert_true(world_holds(w, 2, key, i % 3 == 0 ? NULL : "v"));
        assert_int_equal(world_tag(w, 2, key).ts, older.ts);
    }
    assert_true(world_holds(w, 0, "only-there", "x"));
    assert_true(world_holds(w, 2, "k001", "newer here"));
    assert_true(world_holds(w, 0, "k002", "newer there"));
    assert_true(world_holds(w, 1, "k001", "newer here") &&
                world_holds(w, 1, "k002", "newer there"));
    assert_true(world_counters(w, 0)->sync_passes >= 2);
    assert_true(world_counters(w, 0)->sync_keys > 0);
    assert_int_equal(world_counters(w, 0)->divergences, 0);
    world_close(w);
}

static uint32_t calls_from(const struct world *w, uint8_t node)
{
    uint32_t n = 0;

    for (uint32_t i = 0; i < w->calls_n; i++) {
        n += w->calls[i].from == node;
    }
    return n;
}

/* SYNC-1 */
static void one_page_at_a_time_and_not_too_often(void **state)
{
    struct world *w = open_n(3);
    uint32_t calls;

    (void)state;
    world_plant(w, 0, "a", older, "1");
    world_plant(w, 1, "a", older, "1");
    world_plant(w, 2, "a", older, "1");
    pages(w, 0, 3); /* what began before there was anything differed */
    calls = calls_from(w, 0);
    world_tick(w, 0, PAGE / 2);
    assert_int_equal(calls_from(w, 0), calls);
    world_tick(w, 0, PAGE / 2);
    assert_int_equal(calls_from(w, 0), calls + 1); /* equal: one question, answered by SAME */
    world_tick(w, 0, PAGE);
    assert_int_equal(calls_from(w, 0), calls + 1); /* it is under way */
    world_settle(w);
    assert_int_equal(calls_from(w, 0), calls + 1);
    world_close(w);
}

/* SYNC-4: nothing but the values differs. */
static void other_values_under_equal_tags_raise_the_alarm(void **state)
{
    struct world *w = open_n(3);

    (void)state;
    for (uint8_t i = 0; i < 3; i++) {
        world_plant(w, i, "a", older, "same");
        world_plant(w, i, "b", older, i == 2 ? "other" : "value");
        world_plant(w, i, "c", older, i == 1 ? "" : "x");
        world_plant(w, i, "d", older, i == 1 ? NULL : "");
        world_plant(w, i, "e", older, i == 1 ? "" : NULL);
    }
    pages(w, 0, 2); /* one with each of the others */
    assert_int_equal(world_counters(w, 0)->divergences, 4);
    assert_int_equal(world_counters(w, 0)->diverged_from, 1 << 1 | 1 << 2);
    pages(w, 2, 2);
    assert_int_equal(world_counters(w, 2)->diverged_from, 1 << 0 | 1 << 1);
    assert_true(world_holds(w, 2, "b", "other")); /* nobody can tell which is right */
    world_close(w);
}

/* SYNC-5: what the host destroyed is found by looking and fetched from others. */
static void damaged_values_are_found_and_repaired(void **state)
{
    for (uint8_t node = 0; node < 2; node++) {
        struct world *w = open_n(3);

        (void)state;
        for (uint8_t i = 0; i < 3; i++) {
            world_plant(w, i, "a", older, "long 1");
            world_plant(w, i, "b", older, "long 2");
        }
        world_damage(w, node);
        pages(w, 0, 12);
        assert_true(world_holds(w, node, "a", "long 1") && world_holds(w, node, "b", "long 2"));
        assert_int_equal(world_counters(w, 0)->divergences, 0);
        assert_true(world_counters(w, node)->repairs >= 2);
        world_close(w);
    }
}

/* The value of both is destroyed at one, and one of them at both. */
static void a_page_repairs_both_sides(void **state)
{
    struct world *w = open_n(3);

    (void)state;
    world_plant(w, 0, "a", older, "long 1");
    world_plant(w, 1, "b", older, "long 2");
    world_damage(w, 0);
    world_damage(w, 1);
    world_plant(w, 1, "a", older, "long 1");
    world_plant(w, 0, "b", older, "long 2");
    world_plant(w, 2, "a", older, "long 1");
    pages(w, 0, 1);
    assert_true(world_holds(w, 0, "a", "long 1") && world_holds(w, 1, "b", "long 2"));
    assert_int_equal(world_counters(w, 0)->divergences, 0);
    world_close(w);
}

/* SYNC-3: what is newer by the time the copy arrives stays. */
static void a_copy_never_replaces_anything_newer(void **state)
{
    static const struct tag newest = {.ts = 6, .writer = 9};
    struct world *w = open_n(2);

    (void)state;
    world_plant(w, 0, "here", older, "old");
    world_plant(w, 1, "here", newer, "new");
    world_plant(w, 0, "there", newer, "new");
    world_plant(w, 1, "there", older, "old");
    world_tick(w, 0, PAGE);
    assert_true(world_exchange(w, 0, 1)); /* RANGE */
    world_plant(w, 0, "here", newest, "newest");
    assert_true(world_exchange(w, 0, 1)); /* LOOK */
    world_plant(w, 1, "there", newest, "newest");
    world_settle(w); /* PUSH */
    assert_true(world_holds(w, 0, "here", "newest") && world_holds(w, 1, "there", "newest"));
    pages(w, 0, 1);
    assert_true(world_holds(w, 1, "here", "newest") && world_holds(w, 0, "there", "newest"));
    world_close(w);
}

/* SYNC-2: proposals that may still lose are nobody's business. */
static void what_is_accepted_and_not_decided_is_not_copied(void **state)
{
    struct world *w = open_n(5);
    struct peer_answer m;
    uint64_t keys;
    uint32_t user;

    (void)state;
    for (uint8_t i = 0; i < 5; i++) {
        world_plant(w, i, "k", older, "old");
    }
    pages(w, 2, 3);
    keys = world_counters(w, 2)->sync_keys;
    world_up(w, 1, 0, false); /* nobody asks on behalf of 1 */
    world_up(w, 0, 4, false);
    world_up(w, 0, 3, false);
    user = world_rmw(w, 0, CLIENT_RMW_CAS, "k", "old", "new");
    while (world_call(w, 0, 1)->call.ask.kind != PEER_ACCEPT) {
        assert_true(world_exchange(w, 0, 1));
        (void)world_exchange(w, 0, 2);
    }
    world_ask(w, world_call(w, 0, 1), &m); /* accepted there; the proposer does not know */
    for (int i = 0; i < 4; i++) {
        world_tick(w, 2, PAGE);
        while (world_exchange(w, 2, 0) || world_exchange(w, 2, 1) || world_exchange(w, 2, 3) ||
               world_exchange(w, 2, 4)) {
        }
    }
    assert_true(world_counters(w, 2)->sync_passes >= 6);
    assert_int_equal(world_counters(w, 2)->sync_keys, keys);
    assert_int_equal(world_counters(w, 2)->divergences, 0);
    assert_true(world_holds(w, 2, "k", "old"));
    world_settle(w);
    assert_true(world_is(w, user, OK, NULL));
    world_close(w);
}

/* SYNC-6: one place in the keys cannot hold up all the others. */
static void a_page_that_always_fails_is_passed_over(void **state)
{
    struct world *w = open_n(2);
    char key[8];

    (void)state;
    for (int i = 0; i < 100; i++) {
        (void)snprintf(key, sizeof(key), "k%02d", i);
        world_plant(w, 1, key, older, "v");
    }
    world_plant(w, 0, "k00", older, "v");
    for (int i = 0; i < 200 && !world_holds(w, 0, "k99", "v"); i++) {
        struct world_call *c;

        world_tick(w, 0, PAGE);
        while ((c = world_call(w, 0, 1)) != NULL) {
            struct scan_ask ask;
            bool is_first = c->call.ask.kind == PEER_RANGE &&
                            scan_ask_decode(c->call.ask.value, true, &ask) == OK && ask.low.n == 0;

            if (is_first) {
                world_fail(w, c);
                world_tick(w, 0, UINT64_C(2000000000)); /* the page's time is over */
            } else {
                assert_true(world_exchange(w, 0, 1));
            }
        }
    }
    assert_true(world_holds(w, 0, "k99", "v"));
    world_close(w);
}

/* SYNC-6 */
static void a_page_ends_with_the_configuration(void **state)
{
    struct world *w = open_n(3);

    (void)state;
    for (int phase = 0; phase < 3; phase++) {
        world_plant(w, 1, "k", (struct tag){.ts = 10 + (uint64_t)phase, .writer = 9}, "v");
        world_plant(w, 0, "m", (struct tag){.ts = 10 + (uint64_t)phase, .writer = 9}, "v");
        world_tick(w, 0, PAGE);
        for (int i = 0; i < phase; i++) {
            (void)(world_exchange(w, 0, 1) || world_exchange(w, 0, 2));
        }
        for (uint8_t node = 0; node < 3; node++) {
            world_reconfigure(w, node, 7);
        }
        for (uint8_t node = 0; node < 3; node++) {
            for (uint8_t peer = 0; peer < 3; peer++) {
                if (peer != node) {
                    world_up(w, node, peer, true);
                }
            }
        }
        pages(w, 0, 3);
        assert_true(world_holds(w, 0, "k", "v") && world_holds(w, 1, "m", "v"));
    }
    world_close(w);
}

static void a_dead_peer_is_passed_over(void **state)
{
    struct world *w = open_n(3);

    (void)state;
    world_plant(w, 0, "a", older, "1");
    world_tick(w, 0, PAGE);
    world_up(w, 0, 1, false);
    world_tick(w, 0, 100 * PAGE + UINT64_C(2000000000)); /* the page has ended */
    world_up(w, 0, 2, true);
    pages(w, 0, 4);
    assert_true(world_holds(w, 2, "a", "1"));
    world_up(w, 0, 2, false);
    world_tick(w, 0, 10 * PAGE);
    world_settle(w);
    world_close(w);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_lagging_replica_converges_without_clients),
        cmocka_unit_test(one_page_at_a_time_and_not_too_often),
        cmocka_unit_test(other_values_under_equal_tags_raise_the_alarm),
        cmocka_unit_test(damaged_values_are_found_and_repaired),
        cmocka_unit_test(a_page_repairs_both_sides),
        cmocka_unit_test(a_copy_never_replaces_anything_newer),
        cmocka_unit_test(what_is_accepted_and_not_decided_is_not_copied),
        cmocka_unit_test(a_page_that_always_fails_is_passed_over),
        cmocka_unit_test(a_page_ends_with_the_configuration),
        cmocka_unit_test(a_dead_peer_is_passed_over),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
