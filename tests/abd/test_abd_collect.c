// SPDX-License-Identifier: Apache-2.0
/* Collection of tombstones: COL-1 to COL-4 and COL-10. */
#include "tests/abd/collect_world.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

/* ---- COL-1, COL-4 ---- */

static void what_was_deleted_takes_no_memory(void **state)
{
    struct world *w = collect_open(3);
    size_t used = 0;
    char key[16];

    (void)state;
    for (int life = 0; life < 3; life++) {
        for (int i = 0; i < 600; i++) { /* more than one round takes */
            (void)snprintf(key, sizeof(key), "k%03d", i);
            (void)world_put(w, (uint8_t)(i % 3), key, "v", 1000);
            world_settle(w);
            (void)world_delete(w, (uint8_t)(life % 3), key, 1000);
            world_settle(w);
        }
        assert_int_equal(tombstones(w, 1), 600);
        rounds(w, 12);
        for (uint8_t i = 0; i < 3; i++) {
            assert_int_equal(records(w, i), 0);
        }
        assert_true(life == 0 || heap_used(w->nodes[2].heap) <= used);
        used = heap_used(w->nodes[2].heap);
    }
    assert_int_equal(world_counters(w, 2)->collected, 1800);
    assert_true(world_counters(w, 0)->collections >= 9);
    (void)world_get(w, 1, "k001", 1000);
    world_settle(w);
    assert_int_equal(w->replies[w->replies_n - 1].status, ERR_NOT_FOUND);
    world_close(w);
}

/* A body of CLIENT_MPUT: keys that no other life has, to be written or deleted. */
/* NOLINTNEXTLINE(readability-non-const-parameter): the writer writes there */
static size_t life_body(uint8_t *to, size_t room, int life, int n, bool deletes)
{
    struct writer w = {.to = {to, room}};

    put_u16(&w, (uint16_t)n);
    for (int i = 0; i < n; i++) {
        char key[320];
        int len = snprintf(key, sizeof(key), "%05d%0280d", i, life);
        struct batch_item m = {.state = deletes ? BATCH_TOMBSTONE : BATCH_LIVE,
                               .key = {(const uint8_t *)key, (size_t)len}};

        batch_item_put(&w, BATCH_MPUT, &m);
    }
    assert_false(w.failed);
    return w.len;
}

/* Keys for five times the enclave's memory and twenty times the host's come and go. */
static void a_small_enclave_goes_on(void **state)
{
    enum { LIVES = 150, KEYS = 100 };
    struct world *w = world_open(&(struct world_options){.n = 3,
                                                         .collect_ns = ROUND,
                                                         .ops_max = 16,
                                                         .value_max = 1024,
                                                         .heap_bytes = (size_t)1 << 20,
                                                         .arena_bytes = (size_t)256 << 10});
    uint8_t *body = malloc(64 << 10);

    (void)state;
    assert_non_null(body);
    for (int life = 0; life < LIVES; life++) {
        for (int deletes = 0; deletes < 2; deletes++) {
            size_t n = life_body(body, 64 << 10, life, KEYS, deletes != 0);
            uint32_t user =
                world_batch(w, (uint8_t)(life % 3), CLIENT_MPUT, (struct bytes){body, n});

            world_settle(w);
            assert_int_equal(w->replies[user].status, OK);
            for (size_t i = 2; i < w->replies[user].value_len; i++) {
                assert_int_equal(w->replies[user].value[i], OK);
            }
        }
        rounds(w, 2);
    }
    rounds(w, 4);
    for (uint8_t i = 0; i < 3; i++) {
        assert_int_equal(records(w, i), 0);
        assert_int_equal(world_counters(w, i)->collected, LIVES * KEYS);
    }
    free(body);
    world_close(w);
}

static void what_lives_stays(void **state)
{
    struct world *w = collect_open(3);
    char key[16];

    (void)state;
    for (int i = 0; i < 600; i++) {
        (void)snprintf(key, sizeof(key), "k%03d", i);
        plant_all(w, key, older, i % 50 == 0 ? NULL : "v");
    }
    rounds(w, 12);
    for (uint8_t i = 0; i < 3; i++) {
        assert_int_equal(tombstones(w, i), 0);
        assert_int_equal(records(w, i), 588);
    }
    world_close(w);
}

static void a_single_member_collects_alone(void **state)
{
    struct world *w = collect_open(1);

    (void)state;
    world_plant(w, 0, "k", older, NULL);
    rounds(w, 2);
    assert_int_equal(records(w, 0), 0);
    (void)world_put(w, 0, "k", "v", 1000);
    assert_true(world_tag(w, 0, "k").ts > older.ts);
    world_close(w);
}

/* ---- COL-4: everybody must hold it, and everybody must be there ---- */

static void nothing_is_collected_while_a_member_is_down(void **state)
{
    struct world *w = collect_open(3);

    (void)state;
    plant_all(w, "k", older, NULL);
    world_up(w, 0, 2, false);
    rounds(w, 5);
    assert_int_equal(tombstones(w, 0), 1);
    assert_int_equal(world_counters(w, 0)->collections, 0);
    world_up(w, 0, 2, true);
    rounds(w, 2);
    assert_int_equal(tombstones(w, 0), 0);
    world_close(w);
}

static void who_missed_the_delete_is_told_first(void **state)
{
    struct world *w = collect_open(3);

    (void)state;
    world_plant(w, 0, "k", newer, NULL);
    world_plant(w, 1, "k", newer, NULL);
    world_plant(w, 2, "k", older, "old");
    rounds(w, 3);
    for (uint8_t i = 0; i < 3; i++) {
        assert_int_equal(records(w, i), 0);
    }
    world_close(w);
}

static void what_was_written_since_stays(void **state)
{
    struct world *w = collect_open(3);

    (void)state;
    world_plant(w, 0, "k", older, NULL);
    world_plant(w, 1, "k", older, NULL);
    world_plant(w, 2, "k", newer, "new");
    rounds(w, 3);
    for (uint8_t i = 0; i < 3; i++) {
        assert_true(world_holds(w, i, "k", "new"));
    }
    world_close(w);
}

/* Learners have no vote, and must hold it all the same. */
static void learners_count(void **state)
{
    struct world *w = collect_open(3);

    (void)state;
    for (uint8_t i = 0; i < 3; i++) {
        world_reconfigure(w, i, 0x3);
        for (uint8_t j = 0; j < 3; j++) {
            if (i != j) {
                world_up(w, i, j, true);
            }
        }
    }
    world_plant(w, 0, "k", newer, NULL);
    world_plant(w, 1, "k", newer, NULL);
    world_plant(w, 2, "k", older, "old"); /* copied before the delete */
    rounds(w, 3);
    for (uint8_t i = 0; i < 3; i++) {
        assert_int_equal(records(w, i), 0);
    }
    world_close(w);
}

/* ---- COL-2, COL-3: barriers ---- */

/* A write that was sent before the barrier and arrives behind it. */
static void what_comes_late_resurrects_nothing(void **state)
{
    struct world *w = collect_open(3);
    struct peer_answer m;
    struct world_call *c, late;

    (void)state;
    (void)world_put(w, 1, "k", "old", 1000);
    if (world_call(w, 1, 2) == NULL) { /* it is offered to 0 first */
        assert_true(world_exchange(w, 1, 0));
    }
    c = world_call(w, 1, 2);
    late = kept(c);
    world_ask(w, c, &m); /* it arrives, */
    world_answer(w, c, &m);
    (void)world_delete(w, 0, "k", 1000);
    world_settle(w);
    rounds(w, 2);
    assert_int_equal(records(w, 2), 0);
    world_ask(w, &late, &m); /* and once more, very late */
    assert_int_equal(m.kind, PEER_REFUSED);
    assert_int_equal(m.err, ERR_EPOCH);
    assert_int_equal(records(w, 2), 0);
    assert_int_equal(world_counters(w, 2)->gc_refused, 1);
    world_close(w);
}

static void operations_at_work_are_waited_for(void **state)
{
    struct world *w = collect_open(3);
    uint32_t put = world_put(w, 1, "other", "v", 60000); /* its question stays on the way */

    (void)state;
    plant_all(w, "k", older, NULL);
    until(w, COLLECT_DRAIN);
    for (int i = 0; i < 20; i++) {
        (void)world_exchange(w, 0, 1);
        (void)world_exchange(w, 0, 2);
        world_tick(w, 0, ROUND / 4);
    }
    assert_int_equal(tombstones(w, 0), 1);
    assert_false(w->replies[put].have);
    while (!w->replies[put].have) {
        assert_true(world_exchange(w, 1, 0) || world_exchange(w, 1, 2));
    }
    assert_true(world_is(w, put, OK, NULL)); /* nothing was cancelled */
    world_settle(w);
    rounds(w, 2);
    assert_int_equal(tombstones(w, 0), 0);
    world_close(w);
}

/* ---- COL-10: the floor ---- */

static void a_new_put_is_above_what_is_still_held(void **state)
{
    struct world *w = collect_open(3);
    uint32_t put;

    (void)state;
    plant_all(w, "k", newer, NULL);
    until(w, COLLECT_DROP);
    assert_true(world_exchange(w, 0, 1));
    assert_int_equal(records(w, 1), 0);
    assert_int_equal(records(w, 2), 1); /* it has not heard of it */
    world_up(w, 1, 2, false);           /* nor is it asked */
    put = world_put(w, 1, "k", "v", 1000);
    assert_true(world_exchange(w, 1, 0)); /* in two rounds, for somebody is down */
    assert_true(world_exchange(w, 1, 0));
    world_up(w, 1, 2, true);
    assert_true(world_is(w, put, OK, NULL));
    assert_true(world_tag(w, 1, "k").ts > newer.ts);
    world_settle(w);
    rounds(w, 1);
    put = world_get(w, 2, "k", 1000);
    world_settle(w);
    assert_true(world_is(w, put, OK, "v"));
    world_close(w);
}

/* The same for several keys at once, and for a coordinator that has nothing of its own to go by. */
static void batches_are_above_the_floor_too(void **state)
{
    static const uint8_t body[] = "\x02\0\0\x01\0a\x01\0\0\0v\0\x01\0b\x01\0\0\0v";
    struct world *w = collect_open(3);

    (void)state;
    plant_all(w, "k", newer, NULL);
    rounds(w, 2);
    (void)world_batch(w, 2, CLIENT_MPUT, (struct bytes){body, sizeof(body) - 1});
    world_settle(w);
    assert_true(world_holds(w, 0, "b", "v"));
    assert_true(world_tag(w, 0, "a").ts > newer.ts && world_tag(w, 0, "b").ts > newer.ts);
    world_close(w);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_was_deleted_takes_no_memory),
        cmocka_unit_test(a_small_enclave_goes_on),
        cmocka_unit_test(what_lives_stays),
        cmocka_unit_test(a_single_member_collects_alone),
        cmocka_unit_test(nothing_is_collected_while_a_member_is_down),
        cmocka_unit_test(who_missed_the_delete_is_told_first),
        cmocka_unit_test(what_was_written_since_stays),
        cmocka_unit_test(learners_count),
        cmocka_unit_test(what_comes_late_resurrects_nothing),
        cmocka_unit_test(operations_at_work_are_waited_for),
        cmocka_unit_test(a_new_put_is_above_what_is_still_held),
        cmocka_unit_test(batches_are_above_the_floor_too),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
