// SPDX-License-Identifier: Apache-2.0
/* Collection of tombstones: read-modify-writes, rounds that break off, and joiners; COL-5 to COL-9.
 */
#include "tests/abd/collect_world.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

/* ---- COL-5, COL-6: read-modify-writes ---- */

static void a_listed_key_waits_for_read_modify_writes(void **state)
{
    struct world *w = collect_open(3);
    uint32_t one, two, get;

    (void)state;
    plant_all(w, "k", newer, NULL);
    until(w, COLLECT_DROP);
    assert_true(world_exchange(w, 0, 1)); /* 1 has dropped it, 2 has not */
    one = world_rmw(w, 1, CLIENT_RMW_INCR, "k", NULL, "1");
    two = world_rmw(w, 1, CLIENT_RMW_INCR, "k", NULL, "1"); /* waits in line behind it */
    get = world_get(w, 2, "k", 1000);                       /* this one does not wait */
    for (int i = 0; i < 4 && !w->replies[get].have; i++) {
        assert_true(world_exchange(w, 2, 1) || world_exchange(w, 2, 0));
    }
    assert_true(world_is(w, get, ERR_NOT_FOUND, NULL));
    assert_false(w->replies[one].have);
    for (int i = 0; i < 40 && !w->replies[two].have; i++) {
        world_settle(w);
        world_tick(w, 1, UINT64_C(7000000));
        world_tick(w, 0, UINT64_C(1000000));
    }
    assert_true(world_is(w, one, OK, "1"));
    assert_true(world_is(w, two, OK, "2"));
    world_settle(w);
    for (uint8_t i = 0; i < 3; i++) {
        assert_true(world_holds(w, i, "k", "2"));
    }
    world_close(w);
}

/* Something was accepted for the tombstone's successor: the key is left alone, and at once free. */
static void an_open_instance_is_not_collected(void **state)
{
    struct world *w = collect_open(3);
    uint32_t incr;

    (void)state;
    plant_all(w, "k", newer, NULL);
    plant_all(w, "other", newer, NULL);
    until(w, COLLECT_LIST);
    incr = world_rmw(w, 1, CLIENT_RMW_INCR, "k", NULL, "1");
    assert_true(world_exchange(w, 1, world_call(w, 1, 2) != NULL ? 2 : 0)); /* PREPARE */
    until(w, COLLECT_DROP); /* the owner has accepted by now */
    until(w, COLLECT_DRAIN);
    assert_int_equal(records(w, 0), 1);
    for (int i = 0; i < 20 && !w->replies[incr].have; i++) {
        (void)(world_exchange(w, 1, 0) || world_exchange(w, 1, 2));
        world_tick(w, 1, UINT64_C(7000000));
    }
    assert_true(world_is(w, incr, OK, "1")); /* though the round has not ended */
    world_settle(w);
    world_close(w);
}

/* COL-4: nobody goes on with it, and the rounds do not go on and on because of it. */
static void a_key_that_stays_open_is_looked_at_seldom(void **state)
{
    static const uint8_t value[] = "1";
    const struct abd_rmw_item item = {.base = newer,
                                      .op = {.number = 7, .writer = 5},
                                      .ballot = UINT64_C(1) << 4,
                                      .key = {(const uint8_t *)"k", 1},
                                      .value = {value, 1}};
    struct world *w = collect_open(3);

    (void)state;
    plant_all(w, "k", newer, NULL);
    assert_int_equal(abd_rmw_import(w->nodes[1].abd, &item), OK);
    rounds(w, 200);
    assert_in_range(world_counters(w, 0)->collections, 4, 12);
    assert_int_equal(tombstones(w, 0), 1);
    plant_all(w, "other", newer, NULL);
    rounds(w, 70);
    for (uint8_t i = 0; i < 3; i++) {
        assert_int_equal(tombstones(w, i), 1);
    }
    world_close(w);
}

/* COL-9: what a page says may be gone by the time it arrives; so nothing goes while it travels, and
 * the page need not be asked for again. */
static void a_page_of_copying_holds_the_barrier_back(void **state)
{
    struct world *w = collect_open(3);
    uint32_t stamp = abd_copy_asked(w->nodes[2].abd);

    (void)state;
    plant_all(w, "k", newer, NULL);
    rounds(w, 10);
    assert_int_equal(records(w, 0), 1);
    assert_int_equal(world_counters(w, 2)->gc, 0);
    abd_copy_ended(w->nodes[2].abd, stamp);
    rounds(w, 2);
    for (uint8_t i = 0; i < 3; i++) {
        assert_int_equal(records(w, i), 0);
    }
    world_close(w);
}

/* A commit that would put the dropped tombstone back: it was made by a compare-and-delete. */
static void a_late_commit_of_the_tombstone_is_ignored(void **state)
{
    const struct tag base = {.ts = 5, .writer = 9}, gone = {.ts = 5, .writer = 9, .rmwc = 1};
    struct world *w = collect_open(3);
    struct world_call commit = {.live = true, .from = 1, .call = {.peer = 2}};
    struct peer_answer m;
    uint8_t key[] = "k";

    (void)state;
    plant_all(w, "k", gone, NULL);
    until(w, COLLECT_DROP);
    assert_true(world_exchange(w, 0, 2));
    assert_int_equal(records(w, 2), 0);
    commit.copy = key;
    commit.call.ask = (struct peer_ask){.kind = PEER_COMMIT,
                                        .gc = UINT32_MAX,
                                        .tombstone = true,
                                        .value_given = true,
                                        .tag = base,
                                        .key = {key, 1},
                                        .ballot = UINT64_C(1) << 4,
                                        .op = {.number = 1, .writer = 101, .owner = 1}};
    world_ask(w, &commit, &m);
    assert_int_equal(m.kind, PEER_APPLIED);
    assert_int_equal(records(w, 2), 0);
    world_settle(w);
    world_close(w);
}

/* ---- COL-7, COL-8: when it breaks off ---- */

/* One has dropped it when the configuration changes: it is put back. */
static void what_is_half_dropped_comes_back(void **state)
{
    struct world *w = collect_open(3);
    uint32_t incr;

    (void)state;
    plant_all(w, "k", newer, NULL);
    until(w, COLLECT_DROP);
    assert_true(world_exchange(w, 0, 1));
    assert_int_equal(records(w, 1), 0);
    reconfigure_all(w, 0x7);
    for (uint8_t i = 0; i < 3; i++) {
        assert_int_equal(records(w, i), 1);
        assert_int_equal(world_counters(w, i)->listed, 0);
    }
    incr = world_rmw(w, 1, CLIENT_RMW_INCR, "k", NULL, "1");
    world_settle(w);
    assert_true(world_is(w, incr, OK, "1"));
    world_close(w);
}

/* One has finished when the configuration changes, so there is no way back. */
static void the_next_configuration_finishes_it(void **state)
{
    struct world *w = collect_open(3);
    uint32_t incr;

    (void)state;
    plant_all(w, "k", newer, NULL);
    until(w, COLLECT_FINISH);
    assert_true(world_exchange(w, 0, 1));
    world_up(w, 2, 1, false);
    reconfigure_all(w, 0x7);
    assert_int_equal(records(w, 2), 0);
    assert_int_equal(world_counters(w, 1)->listed, 0);
    assert_int_equal(world_counters(w, 2)->listed, 1);
    incr = world_rmw(w, 2, CLIENT_RMW_INCR, "k", NULL, "1");
    world_settle(w);
    assert_false(w->replies[incr].have);
    for (int i = 0; i < 40 && !w->replies[incr].have; i++) {
        world_tick(w, 0, ROUND);
        world_settle(w);
        world_tick(w, 2, UINT64_C(7000000));
        world_settle(w);
    }
    assert_true(world_is(w, incr, OK, "1"));
    for (uint8_t i = 0; i < 3; i++) {
        assert_true(world_holds(w, i, "k", "1"));
        assert_int_equal(world_counters(w, i)->listed, 0);
    }
    world_close(w);
}

/* The same, and those who have finished decide an increment meanwhile. The next round lists their
 * key, too, and breaks off behind its DROP: were they to go back, a tombstone would take the place
 * of what was acknowledged. */
static void who_lists_anew_does_not_go_back(void **state)
{
    struct world *w = collect_open(3);
    uint32_t incr;

    (void)state;
    plant_all(w, "k", newer, NULL);
    until(w, COLLECT_FINISH);
    assert_true(world_exchange(w, 0, 1));
    reconfigure_all(w, 0x7);
    assert_int_equal(world_counters(w, 2)->listed, 1);
    incr = world_rmw(w, 1, CLIENT_RMW_INCR, "k", NULL, "1");
    for (int i = 0; i < 20 && !w->replies[incr].have; i++) { /* nothing reaches 2 */
        if (world_call(w, 1, 2) != NULL) {
            world_fail(w, world_call(w, 1, 2));
        }
        (void)world_exchange(w, 1, 0);
    }
    assert_true(world_is(w, incr, OK, "1"));
    world_tick(w, 0, ROUND);
    until(w, COLLECT_DROP);
    assert_true(world_exchange(w, 0, 1));
    assert_true(world_exchange(w, 0, 2));
    world_up(w, 1, 2, false);
    world_up(w, 0, 2, false);
    assert_true(world_holds(w, 0, "k", "1"));
    assert_true(world_holds(w, 1, "k", "1"));
    world_up(w, 1, 2, true);
    world_up(w, 0, 2, true);
    world_settle(w);
    rounds(w, 4);
    for (uint8_t i = 0; i < 3; i++) {
        assert_int_equal(world_counters(w, i)->listed, 0);
    }
    incr = world_rmw(w, 2, CLIENT_RMW_INCR, "k", NULL, "1");
    world_settle(w);
    assert_true(world_is(w, incr, OK, "2"));
    world_close(w);
}

/* A second round takes up what a first has left, and breaks off when only some have heard which
 * keys stay: their lists are shorter than the others'. A third ends it all the same. */
static void lists_that_differ_are_put_together(void **state)
{
    struct world *w = collect_open(3);
    uint32_t put, incr;

    (void)state;
    plant_all(w, "a", newer, NULL);
    plant_all(w, "k", newer, NULL);
    until(w, COLLECT_SEAL);
    assert_true(world_exchange(w, 0, 2));
    world_up(w, 1, 0, false);
    reconfigure_all(w, 0x7);
    assert_int_equal(world_counters(w, 1)->listed, 0);
    assert_int_equal(world_counters(w, 2)->listed, 2);
    world_up(w, 1, 0, true);
    put = world_put(w, 0, "k", "1", 1000);
    world_settle(w);
    assert_true(world_is(w, put, OK, NULL));
    until(w, COLLECT_DROP);
    assert_true(world_exchange(w, 0, 1));
    reconfigure_all(w, 0x7);
    assert_int_equal(world_counters(w, 0)->listed, 1);
    assert_int_equal(world_counters(w, 1)->listed, 1);
    assert_int_equal(world_counters(w, 2)->listed, 2);
    rounds(w, 4);
    for (uint8_t i = 0; i < 3; i++) {
        assert_int_equal(world_counters(w, i)->listed, 0);
        assert_int_equal(records(w, i), 1);
        assert_true(world_holds(w, i, "k", "1"));
    }
    incr = world_rmw(w, 2, CLIENT_RMW_INCR, "a", NULL, "1");
    world_settle(w);
    assert_true(world_is(w, incr, OK, "1"));
    world_close(w);
}

/* The collector dies in the middle: the others take back what they have dropped, and nobody waits
 * for anybody who is down. */
static void who_is_left_goes_on(void **state)
{
    struct world *w = collect_open(3);
    uint32_t incr;

    (void)state;
    plant_all(w, "k", newer, NULL);
    until(w, COLLECT_SEAL);
    assert_int_equal(records(w, 1) + records(w, 2), 0);
    world_up(w, 1, 0, false);
    world_up(w, 2, 0, false);
    assert_int_equal(records(w, 1) + records(w, 2), 2);
    for (uint8_t i = 1; i < 3; i++) { /* what it had still sent */
        struct world_call *c = world_call(w, 0, i);
        struct collect_answer got;
        struct peer_answer m;

        world_ask(w, c, &m);
        assert_int_equal(collect_answer_decode(m.value, COLLECT_SEAL, &got), OK);
        assert_int_equal(got.status, ERR_EPOCH);
    }
    incr = world_rmw(w, 1, CLIENT_RMW_INCR, "k", NULL, "1");
    while (world_exchange(w, 1, 2)) {
    }
    assert_true(world_is(w, incr, OK, "1"));
    world_settle(w);
    world_close(w);
}

/* A member goes back because a peer is down to it alone; the leader knows nothing of that and goes
 * on. Were the round ended, the member would hold the tombstone while the others decide what
 * follows "never written": the increment below would be acknowledged, and lost. */
static void who_went_back_stays_out_of_the_round(void **state)
{
    struct world *w = collect_open(3);
    uint32_t incr;

    (void)state;
    plant_all(w, "k", newer, NULL);
    until(w, COLLECT_DROP);
    assert_true(world_exchange(w, 0, 1));
    assert_true(world_exchange(w, 0, 2));
    assert_int_equal(step_of(world_call(w, 0, 1)), COLLECT_DRAIN); /* the second barrier */
    world_up(w, 1, 2, false);
    assert_int_equal(records(w, 1), 1);
    assert_true(world_exchange(w, 0, 1));
    assert_int_equal(world_counters(w, 0)->collect_failed, 1);
    world_settle(w);
    for (uint8_t i = 0; i < 3; i++) {
        assert_int_equal(records(w, i), 1);
        assert_int_equal(world_counters(w, i)->listed, 0);
    }
    incr = world_rmw(w, 2, CLIENT_RMW_INCR, "k", NULL, "1");
    world_settle(w);
    assert_true(world_is(w, incr, OK, "1"));
    world_up(w, 1, 2, true);
    rounds(w, 3);
    for (uint8_t i = 0; i < 3; i++) {
        assert_true(world_holds(w, i, "k", "1"));
    }
    world_close(w);
}

/* Somebody goes down between the list and the drop: nothing was dropped, and nothing waits. */
static void a_round_that_cannot_go_on_is_cancelled(void **state)
{
    struct world *w = collect_open(3);

    (void)state;
    plant_all(w, "k", newer, NULL);
    until(w, COLLECT_LIST);
    assert_true(world_exchange(w, 0, 1));
    assert_int_equal(world_counters(w, 1)->listed, 1);
    world_up(w, 0, 2, false);
    assert_int_equal(step_of(world_call(w, 0, 1)), COLLECT_CANCEL);
    assert_true(world_exchange(w, 0, 1));
    for (uint8_t i = 0; i < 2; i++) {
        assert_int_equal(world_counters(w, i)->listed, 0);
        assert_int_equal(records(w, i), 1);
    }
    world_up(w, 0, 2, true);
    world_settle(w);
    rounds(w, 3);
    assert_int_equal(records(w, 2), 0);
    world_close(w);
}

/* A round goes back once: another peer that goes down while members are being told is no failure of
 * the round that may have begun since. */
static void a_cancelled_round_fails_once(void **state)
{
    struct world *w = collect_open(5);

    (void)state;
    plant_all(w, "k", newer, NULL);
    until(w, COLLECT_LIST);
    for (uint8_t down = 2; down < 4; down++) {
        world_up(w, 0, down, false);
        assert_int_equal(world_counters(w, 0)->collect_failed, 1);
        assert_int_equal(step_of(world_call(w, 0, 1)), COLLECT_CANCEL);
        assert_int_equal(step_of(world_call(w, 0, 4)), COLLECT_CANCEL);
    }
    for (uint8_t down = 2; down < 4; down++) {
        world_up(w, 0, down, true);
    }
    world_settle(w);
    rounds(w, 3);
    assert_int_equal(records(w, 2), 0);
    world_close(w);
}

/* A list that arrives after its round has ended, and a drop that does. */
static void late_steps_are_refused(void **state)
{
    static const enum collect_step steps[] = {COLLECT_LIST, COLLECT_DROP};
    struct world *w = collect_open(3);

    (void)state;
    for (int i = 0; i < 2; i++) {
        struct world_call late;
        struct peer_answer m;
        struct collect_answer got;

        plant_all(w, "k", (struct tag){.ts = 5 + (uint64_t)i, .writer = 9}, NULL);
        until(w, steps[i]);
        late = kept(world_call(w, 0, 2));
        world_settle(w);
        assert_int_equal(records(w, 2), 0);
        world_plant(w, 2, "k", (struct tag){.ts = 5 + (uint64_t)i, .writer = 9}, NULL);
        world_ask(w, &late, &m);
        assert_int_equal(m.kind, PEER_COLLECTED);
        assert_int_equal(collect_answer_decode(m.value, steps[i], &got), OK);
        assert_int_equal(got.status, ERR_EPOCH);
        assert_int_equal(records(w, 2), 1);
        assert_int_equal(world_counters(w, 2)->listed, 0);
        rounds(w, 3);
    }
    world_close(w);
}

/* ---- COL-9: a member that comes later ---- */

static void a_joiner_knows_floor_and_list(void **state)
{
    struct world *w = collect_open(3);
    uint8_t page[256];
    struct writer wr = {.to = {page, sizeof(page)}};

    (void)state;
    plant_all(w, "gone", older, NULL);
    plant_all(w, "k", newer, NULL);
    until(w, COLLECT_DROP);
    abd_gc_export(w->nodes[1].abd, &wr);
    assert_false(wr.failed);
    assert_int_equal(wr.len, abd_gc_export_len(w->nodes[1].abd));
    reconfigure_all(w, 0x7);
    {
        struct world *other = collect_open(3);
        struct abd *joiner = other->nodes[2].abd;
        bool applied = true;

        assert_int_equal(abd_gc_import(joiner, (struct bytes){page, wr.len}), OK);
        assert_int_equal(world_counters(other, 2)->floor, newer.ts);
        assert_int_equal(world_counters(other, 2)->listed, 2);
        assert_int_equal(abd_copy_in(joiner,
                                     &(struct abd_copied){.tag = newer,
                                                          .tombstone = true,
                                                          .key = {(const uint8_t *)"k", 1}},
                                     &applied),
                         OK);
        assert_false(applied); /* what is being dropped is not copied */
        for (size_t i = 0; i < wr.len; i++) {
            assert_int_equal(abd_gc_import(joiner, (struct bytes){page, i}), ERR_MALFORMED);
        }
        world_close(other);
    }
    world_close(w);
}

/* Anti-entropy meets a tombstone at one and none at the other: nothing is wrong with that. */
static void it_is_no_divergence(void **state)
{
    struct world *w =
        world_open(&(struct world_options){.n = 3, .collect_ns = ROUND, .sync_ns = ROUND / 2});

    (void)state;
    plant_all(w, "k", newer, NULL);
    until(w, COLLECT_DROP);
    assert_true(world_exchange(w, 0, 1));
    for (int i = 0; i < 4; i++) { /* 2 holds it and compares with 1, which dropped it */
        world_tick(w, 2, ROUND);
        while (world_exchange(w, 2, 1)) {
        }
    }
    assert_int_equal(records(w, 1), 0);
    rounds(w, 6);
    for (uint8_t i = 0; i < 3; i++) {
        assert_int_equal(records(w, i), 0);
        assert_int_equal(world_counters(w, i)->divergences, 0);
    }
    world_close(w);
}

/* STORE-16: tombstones whose part of the index lies in host memory. */
static void cold_pages_are_collected_too(void **state)
{
    struct world *w = world_open(
        &(struct world_options){.n = 3, .collect_ns = ROUND, .leaves = (size_t)64 << 10});
    struct store_stats s;
    char key[512];

    (void)state;
    for (int i = 0; i < 240; i++) {
        (void)snprintf(key, sizeof(key), "%05d%0400d", i, i * 7919);
        plant_all(w, key, older, i % 2 == 0 ? NULL : "");
    }
    store_stats(w->nodes[2].store, &s);
    assert_true(s.pages_cold > 0);
    rounds(w, 40);
    for (uint8_t i = 0; i < 3; i++) {
        assert_int_equal(tombstones(w, i), 0);
        assert_int_equal(records(w, i), 120);
    }
    world_close(w);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_listed_key_waits_for_read_modify_writes),
        cmocka_unit_test(an_open_instance_is_not_collected),
        cmocka_unit_test(a_key_that_stays_open_is_looked_at_seldom),
        cmocka_unit_test(a_page_of_copying_holds_the_barrier_back),
        cmocka_unit_test(a_late_commit_of_the_tombstone_is_ignored),
        cmocka_unit_test(what_is_half_dropped_comes_back),
        cmocka_unit_test(the_next_configuration_finishes_it),
        cmocka_unit_test(who_lists_anew_does_not_go_back),
        cmocka_unit_test(lists_that_differ_are_put_together),
        cmocka_unit_test(who_is_left_goes_on),
        cmocka_unit_test(who_went_back_stays_out_of_the_round),
        cmocka_unit_test(a_round_that_cannot_go_on_is_cancelled),
        cmocka_unit_test(a_cancelled_round_fails_once),
        cmocka_unit_test(late_steps_are_refused),
        cmocka_unit_test(a_joiner_knows_floor_and_list),
        cmocka_unit_test(it_is_no_divergence),
        cmocka_unit_test(cold_pages_are_collected_too),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
