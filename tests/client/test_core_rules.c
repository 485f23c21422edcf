// SPDX-License-Identifier: Apache-2.0
#include "tests/client/world.h"

/* CLI-6 to CLI-11: who is asked, when, and what may be said of the outcome. */

static uint32_t writes(const struct world *w)
{
    return w->nodes[0].writes + w->nodes[1].writes + w->nodes[2].writes;
}

/* ---- reads ---- */

static void test_get_moves_after_a_third(void **state)
{
    struct world *w = world_open(&(struct world_setup){.seed = 1, .prefer = 1});
    uint64_t start = w->now_ns;
    struct core_completion done;

    (void)state;
    w->nodes[0].mode = NODE_SILENT;
    world_get(w, "k", 900);
    done = world_one(w, 900);
    assert_int_equal(done.status, ERR_NOT_FOUND);
    assert_true(w->now_ns - start >= 300 * MS_NS && w->now_ns - start < 400 * MS_NS);
    assert_int_equal(w->nodes[0].gets, 1);
    assert_int_equal(w->nodes[1].gets, 1);
    assert_int_equal(core_counters(w->core)->hedges, 1);
    world_close(w);
}

static void test_get_finds_the_only_one_that_answers(void **state)
{
    struct world *w = world_open(&(struct world_setup){.seed = 2, .prefer = 1});

    (void)state;
    w->nodes[0].mode = NODE_SILENT;
    w->nodes[1].cut = true;
    world_get(w, "k", 900);
    assert_int_equal(world_one(w, 900).status, ERR_NOT_FOUND);
    assert_int_equal(w->nodes[2].gets, 1);
    world_close(w);
}

static void test_get_moves_at_once_when_the_node_leaves(void **state)
{
    struct world *w = world_open(&(struct world_setup){.seed = 3, .prefer = 1});
    uint64_t start = w->now_ns;
    struct core_completion done;

    (void)state;
    w->nodes[0].mode = NODE_SILENT;
    world_get(w, "k", 5000);
    assert_false(world_run(w, w->now_ns + 10 * MS_NS, &done));
    world_part(w, 0);
    assert_int_equal(world_one(w, 5000).status, ERR_NOT_FOUND);
    assert_true(w->now_ns - start < 20 * MS_NS);
    world_close(w);
}

static void test_get_moves_at_once_when_the_node_hangs_up(void **state)
{
    struct world *w = world_open(&(struct world_setup){.seed = 4, .prefer = 1});
    uint64_t start = w->now_ns;
    struct core_completion done;

    (void)state;
    w->nodes[0].mode = NODE_SILENT;
    world_get(w, "k", 5000);
    assert_false(world_run(w, w->now_ns + 10 * MS_NS, &done));
    world_hang_up(w, 0);
    assert_int_equal(world_one(w, 5000).status, ERR_NOT_FOUND);
    assert_true(w->now_ns - start < 20 * MS_NS);
    assert_int_equal(core_take_lost(w->core), 1); /* the place to connect anew */
    assert_int_equal(core_take_lost(w->core), 0);
    world_close(w);
}

/* CLI-9: rpc notices a silent node before a third of a long deadline has passed. */
static void test_get_moves_when_the_node_is_down(void **state)
{
    struct world *w = world_open(&(struct world_setup){.seed = 5, .prefer = 1});
    uint64_t start = w->now_ns;

    (void)state;
    w->nodes[0].cut = true;
    world_get(w, "k", 60000);
    assert_int_equal(world_one(w, 60000).status, ERR_NOT_FOUND);
    assert_true(w->now_ns - start < 2 * RPC_DEAD_NS);

    world_get(w, "k", 60000); /* and now it is not asked at all */
    start = w->now_ns;
    assert_int_equal(world_one(w, 60000).status, ERR_NOT_FOUND);
    assert_true(w->now_ns - start < 10 * MS_NS);

    w->nodes[0].cut = false; /* heard again: preferred again */
    {
        struct core_completion done;

        assert_false(world_run(w, w->now_ns + 2000 * MS_NS, &done));
    }
    world_get(w, "k", 1000);
    assert_int_equal(world_one(w, 1000).status, ERR_NOT_FOUND);
    assert_int_equal(w->nodes[0].gets, 1); /* the first question was taken back */
    world_close(w);
}

static void test_get_ends_at_its_deadline(void **state)
{
    struct world *w = world_open(&(struct world_setup){.seed = 6});
    uint64_t start = w->now_ns;
    struct core_completion done;

    (void)state;
    for (uint32_t i = 0; i < WORLD_NODES; i++) {
        w->nodes[i].mode = NODE_SILENT;
    }
    world_get(w, "k", 700);
    done = world_one(w, 701);
    assert_int_equal(done.status, ERR_UNAVAILABLE);
    assert_int_equal(done.cause, ERR_TIMEOUT);
    assert_true(w->now_ns - start == 700 * MS_NS);
    world_close(w);
}

/* CLI-11 */
static void test_get_of_damaged_value(void **state)
{
    struct world *w = world_open(&(struct world_setup){.seed = 7, .prefer = 2});

    (void)state;
    w->nodes[1].mode = NODE_SAYS;
    w->nodes[1].says = ERR_INTEGRITY;
    world_get(w, "k", 1000);
    assert_int_equal(world_one(w, 1000).status, ERR_NOT_FOUND); /* another one knows better */
    for (uint32_t i = 0; i < WORLD_NODES; i++) {
        w->nodes[i].mode = NODE_SAYS;
        w->nodes[i].says = ERR_INTEGRITY;
    }
    world_get(w, "k", 200);
    assert_int_equal(world_one(w, 201).status, ERR_INTEGRITY);
    world_close(w);
}

static void test_get_survives_babble(void **state)
{
    struct world *w = world_open(&(struct world_setup){.seed = 8, .prefer = 1});

    (void)state;
    w->nodes[0].mode = NODE_BABBLES;
    world_get(w, "k", 1000);
    assert_int_equal(world_one(w, 1000).status, ERR_NOT_FOUND);
    assert_int_equal(core_counters(w->core)->answers_malformed, 1);
    world_close(w);
}

/* ---- writes ---- */

static void test_put_to_a_silent_node_is_unknown(void **state)
{
    struct world *w = world_open(&(struct world_setup){.seed = 10, .prefer = 1});
    uint64_t start = w->now_ns;

    (void)state;
    w->nodes[0].mode = NODE_SILENT;
    world_put(w, "k", "v", 900);
    assert_int_equal(world_one(w, 901).status, ERR_INDETERMINATE);
    assert_true(w->now_ns - start == 900 * MS_NS);
    assert_int_equal(w->nodes[0].writes, 1);
    assert_int_equal(writes(w), 1); /* nobody else was asked */
    world_close(w);
}

static void test_put_to_a_cut_node_is_unknown(void **state)
{
    struct world *w = world_open(&(struct world_setup){.seed = 11, .prefer = 1});

    (void)state;
    w->nodes[0].cut = true;
    world_put(w, "k", "v", 3000);
    assert_int_equal(world_one(w, 3001).status, ERR_INDETERMINATE);
    assert_int_equal(writes(w), 0);
    world_close(w);
}

static void test_put_is_unknown_when_the_node_leaves(void **state)
{
    struct world *w = world_open(&(struct world_setup){.seed = 12, .prefer = 1});
    struct core_completion done;

    (void)state;
    for (int how = 0; how < 2; how++) {
        w->nodes[0].mode = NODE_SILENT;
        world_put(w, "k", "v", 5000);
        assert_false(world_run(w, w->now_ns + 10 * MS_NS, &done));
        if (how == 0) {
            world_part(w, 0);
        } else {
            world_hang_up(w, 0);
        }
        done = world_one(w, 100);
        assert_int_equal(done.status, ERR_INDETERMINATE);
        assert_int_equal(done.cause, ERR_CLOSED);
        world_join(w, 0);
    }
    assert_int_equal(w->nodes[0].writes, 2);
    assert_int_equal(writes(w), 2);
    world_close(w);
}

/* CLI-7: what never left may go elsewhere. */
static void test_put_that_never_left_moves(void **state)
{
    struct world *w = world_open(&(struct world_setup){.seed = 13, .prefer = 1});

    (void)state;
    world_put(w, "k", "v", 1000); /* given to rpc, but nothing was transmitted */
    world_part(w, 0);
    assert_int_equal(world_one(w, 1000).status, OK);
    assert_int_equal(w->nodes[0].writes, 0);
    assert_int_equal(writes(w), 1);
    world_close(w);
}

static void test_put_that_waits_for_a_slot_moves(void **state)
{
    struct world *w =
        world_open(&(struct world_setup){.seed = 14, .prefer = 1, .in_flight_max = 200});
    uint32_t ok = 0, unknown = 0;
    struct core_completion done;

    (void)state;
    w->nodes[0].mode = NODE_SILENT;
    for (int i = 0; i < 200; i++) {
        world_put(w, "k", "v", 5000);
    }
    assert_false(world_run(w, w->now_ns + 10 * MS_NS, &done));
    world_part(w, 0);
    for (int i = 0; i < 200; i++) {
        done = world_one(w, 1000);
        ok += done.status == OK;
        unknown += done.status == ERR_INDETERMINATE;
    }
    assert_int_equal(unknown, RPC_SLOTS_CLIENT);
    assert_int_equal(ok, 200 - RPC_SLOTS_CLIENT);
    world_close(w);
}

static void test_put_with_nobody_there(void **state)
{
    struct world *w = world_open(&(struct world_setup){.seed = 15, .no_sessions = true});
    uint64_t start = w->now_ns;
    struct core_completion done;

    (void)state;
    world_put(w, "k", "v", 300);
    done = world_one(w, 301);
    assert_int_equal(done.status, ERR_UNAVAILABLE); /* certain: it never left */
    assert_true(w->now_ns - start == 300 * MS_NS);

    world_put(w, "k", "v", 300);
    assert_false(world_run(w, w->now_ns + 100 * MS_NS, &done));
    world_join(w, 2); /* somebody comes in time */
    assert_int_equal(world_one(w, 50).status, OK);
    world_close(w);
}

/* CLI-8 */
static void test_busy_is_retried(void **state)
{
    struct world *w = world_open(&(struct world_setup){.seed = 16, .prefer = 1});

    (void)state;
    for (uint32_t i = 0; i < WORLD_NODES; i++) {
        w->nodes[i].mode = NODE_SAYS;
        w->nodes[i].says = ERR_BUSY;
        w->nodes[i].says_times = 3;
    }
    world_put(w, "k", "v", 5000);
    assert_int_equal(world_one(w, 5000).status, OK);
    assert_true(core_counters(w->core)->busy >= 3);
    assert_int_equal(w->ts, 1); /* done once */

    world_get(w, "k", 5000);
    assert_int_equal(world_one(w, 5000).status, OK);
    world_close(w);
}

static void test_busy_for_ever_is_unavailable(void **state)
{
    struct world *w = world_open(&(struct world_setup){.seed = 17});
    uint64_t start = w->now_ns;
    struct core_completion done;

    (void)state;
    for (uint32_t i = 0; i < WORLD_NODES; i++) {
        w->nodes[i].mode = NODE_SAYS;
        w->nodes[i].says = ERR_BUSY;
    }
    world_put(w, "k", "v", 1000);
    done = world_one(w, 1001);
    assert_int_equal(done.status, ERR_UNAVAILABLE);
    assert_int_equal(done.cause, ERR_BUSY);
    assert_true(w->now_ns - start > 900 * MS_NS && w->now_ns - start <= 1000 * MS_NS);
    assert_true(writes(w) > 8 && writes(w) < 100); /* pauses grow */
    world_close(w);
}

/* CLI-7: no majority there, and nothing was done: another coordinator may see one. */
static void test_unavailable_moves(void **state)
{
    static const enum err says[] = {ERR_UNAVAILABLE, ERR_EPOCH};

    (void)state;
    for (size_t i = 0; i < sizeof(says) / sizeof(says[0]); i++) {
        struct world *w = world_open(&(struct world_setup){.seed = 18, .prefer = 3});

        w->nodes[2].mode = NODE_SAYS;
        w->nodes[2].says = says[i];
        world_put(w, "k", "v", 1000);
        assert_int_equal(world_one(w, 1000).status, OK);
        assert_int_equal(w->nodes[2].writes, 1);
        assert_int_equal(writes(w), 2);
        assert_int_equal(w->ts, 1);
        world_close(w);
    }
}

/* CLI-5, CLI-10: coordinators that find no majority say so at the end of the time they were given.
 * The client asks all of them, and its "nothing was done" stays certain. */
static void test_no_majority_stays_certain(void **state)
{
    (void)state;
    for (uint32_t timeout_ms = 50; timeout_ms <= 5000; timeout_ms += 495) {
        struct world *w = world_open(&(struct world_setup){.seed = 24, .prefer = 1});

        for (uint32_t i = 0; i < WORLD_NODES; i++) {
            w->nodes[i].mode = NODE_SAYS_LATE;
            w->nodes[i].says = ERR_UNAVAILABLE;
        }
        world_put(w, "k", "v", timeout_ms);
        assert_int_equal(world_one(w, timeout_ms + 1).status, ERR_UNAVAILABLE);
        for (uint32_t i = 0; i < WORLD_NODES; i++) {
            assert_int_equal(w->nodes[i].writes > 0, 1);
        }
        w->nodes[1].mode = NODE_SERVES; /* and one that does see a majority is found in time */
        world_put(w, "k", "v", timeout_ms);
        assert_int_equal(world_one(w, timeout_ms + 1).status, OK);
        world_close(w);
    }
}

static void test_final_answers(void **state)
{
    static const struct {
        enum err says, get, put;
    } cases[] = {
        {ERR_TOO_BIG, ERR_TOO_BIG, ERR_TOO_BIG},
        {ERR_ENCLAVE_MEMORY, ERR_ENCLAVE_MEMORY, ERR_ENCLAVE_MEMORY},
        {ERR_HOST_MEMORY, ERR_HOST_MEMORY, ERR_HOST_MEMORY},
        {ERR_POLICY, ERR_POLICY, ERR_POLICY},
        {ERR_USAGE, ERR_USAGE, ERR_USAGE},
        {ERR_INDETERMINATE, ERR_UNAVAILABLE, ERR_INDETERMINATE},
        {ERR_TIMEOUT, ERR_UNAVAILABLE, ERR_INDETERMINATE},
        {ERR_NOT_FOUND, ERR_NOT_FOUND, ERR_INDETERMINATE}, /* no answer to a put */
    };

    (void)state;
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        struct world *w = world_open(&(struct world_setup){.seed = 19, .prefer = 1});

        for (uint32_t k = 0; k < WORLD_NODES; k++) {
            w->nodes[k].mode = NODE_SAYS;
            w->nodes[k].says = cases[i].says;
        }
        world_get(w, "k", 300);
        assert_int_equal(world_one(w, 300).status, cases[i].get);
        world_put(w, "k", "v", 300);
        assert_int_equal(world_one(w, 300).status, cases[i].put);
        assert_int_equal(writes(w), 1);
        world_close(w);
    }
}

static void test_put_answered_by_babble_is_unknown(void **state)
{
    struct world *w = world_open(&(struct world_setup){.seed = 20, .prefer = 1});

    (void)state;
    w->nodes[0].mode = NODE_BABBLES;
    world_put(w, "k", "v", 1000);
    assert_int_equal(world_one(w, 1000).status, ERR_INDETERMINATE);
    assert_int_equal(writes(w), 1);
    world_close(w);
}

/* CLI-5: the coordinator is told to answer before we stop listening. */
static void test_loss_is_not_the_users_business(void **state)
{
    struct world *w = world_open(&(struct world_setup){.seed = 21, .shards = 2});

    (void)state;
    w->loss_percent = 30;
    for (int i = 0; i < 100; i++) {
        world_put(w, "k", "v", 5000);
        assert_int_equal(world_one(w, 5000).status, OK);
    }
    assert_int_equal(w->ts, 100); /* repeated datagrams, but nothing was done twice */
    world_close(w);
}

/* ---- sessions ---- */

static void test_sessions_are_replaced(void **state)
{
    struct world *w = world_open(&(struct world_setup){.seed = 22, .prefer = 1, .shards = 4});
    struct core_completion done;

    (void)state;
    assert_int_equal(core_sessions_up(w->core), 12);
    for (int round = 0; round < 20; round++) {
        world_get(w, "k", 5000);
        (void)world_run(w, w->now_ns + MS_NS / 30, &done);
        world_part(w, 0);
        assert_int_equal(core_sessions_up(w->core), 8);
        world_join(w, 0);
    }
    while (core_in_flight(w->core) > 0) {
        assert_int_equal(world_one(w, 5000).status, ERR_NOT_FOUND);
    }
    world_close(w);
}

static void test_shards_may_change_between_connections(void **state)
{
    struct world *w = world_open(&(struct world_setup){.seed = 23, .shards = 1});
    struct core_completion done;

    (void)state;
    for (uint32_t i = 0; i < WORLD_NODES; i++) {
        world_part(w, i);
    }
    for (int i = 0; i < 30; i++) {
        char key[8] = {'k', (char)('a' + i), '\0'};

        world_put(w, key, "v", 5000);
    }
    assert_false(world_run(w, w->now_ns + 10 * MS_NS, &done));
    w->shards = 5;
    core_set_shards(w->core, 5);
    for (uint32_t i = 0; i < WORLD_NODES; i++) {
        world_join(w, i);
    }
    for (int i = 0; i < 30; i++) {
        assert_int_equal(world_one(w, 1000).status, OK);
    }
    world_close(w);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_get_moves_after_a_third),
        cmocka_unit_test(test_get_finds_the_only_one_that_answers),
        cmocka_unit_test(test_get_moves_at_once_when_the_node_leaves),
        cmocka_unit_test(test_get_moves_at_once_when_the_node_hangs_up),
        cmocka_unit_test(test_get_moves_when_the_node_is_down),
        cmocka_unit_test(test_get_ends_at_its_deadline),
        cmocka_unit_test(test_get_of_damaged_value),
        cmocka_unit_test(test_get_survives_babble),
        cmocka_unit_test(test_put_to_a_silent_node_is_unknown),
        cmocka_unit_test(test_put_to_a_cut_node_is_unknown),
        cmocka_unit_test(test_put_is_unknown_when_the_node_leaves),
        cmocka_unit_test(test_put_that_never_left_moves),
        cmocka_unit_test(test_put_that_waits_for_a_slot_moves),
        cmocka_unit_test(test_put_with_nobody_there),
        cmocka_unit_test(test_busy_is_retried),
        cmocka_unit_test(test_busy_for_ever_is_unavailable),
        cmocka_unit_test(test_unavailable_moves),
        cmocka_unit_test(test_no_majority_stays_certain),
        cmocka_unit_test(test_final_answers),
        cmocka_unit_test(test_put_answered_by_babble_is_unknown),
        cmocka_unit_test(test_loss_is_not_the_users_business),
        cmocka_unit_test(test_sessions_are_replaced),
        cmocka_unit_test(test_shards_may_change_between_connections),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
