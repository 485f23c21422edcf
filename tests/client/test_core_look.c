// SPDX-License-Identifier: Apache-2.0
#include "tests/client/world.h"

#include <stdio.h>

/* CLI-19: what a client believes of what replicas show it, and what it does when it does not. */

static uint32_t gets(const struct world *w)
{
    return w->nodes[0].gets + w->nodes[1].gets + w->nodes[2].gets;
}

static uint32_t looks(const struct world *w)
{
    return w->nodes[0].looks + w->nodes[1].looks + w->nodes[2].looks;
}

static struct world *open_with(uint64_t seed, const char *key, const char *value)
{
    struct world *w = world_open(&(struct world_setup){.seed = seed, .prefer = 1, .looks = true});

    if (key != NULL) {
        world_put(w, key, value, 1000);
        assert_int_equal(world_one(w, 1000).status, OK);
    }
    return w;
}

static void expect_found(const struct core_completion *done, const char *value)
{
    assert_int_equal(done->status, OK);
    assert_int_equal(done->value.n, strlen(value));
    assert_non_null(done->value.p);
    assert_memory_equal(done->value.p, value, done->value.n);
}

/* ---- what is believed ---- */

static void test_two_who_agree_are_enough(void **state)
{
    struct world *w = open_with(1, "k", "value");
    struct core_completion done;

    (void)state;
    world_get(w, "k", 1000);
    done = world_one(w, 1000);
    expect_found(&done, "value");
    assert_int_equal(done.tag.ts, 1);
    assert_int_equal(w->nodes[0].looks, 1);
    assert_int_equal(looks(w), 2);
    assert_int_equal(gets(w), 0);
    world_close(w);
}

static void test_absent_deleted_and_empty(void **state)
{
    struct world *w = open_with(2, "empty", "");
    struct core_request gone = {
        .op = CLIENT_DELETE, .timeout_ms = 1000, .key = {(const uint8_t *)"gone", 4}};
    struct core_completion done;

    (void)state;
    assert_int_equal(core_submit(w->core, w->now_ns, &gone), OK);
    assert_int_equal(world_one(w, 1000).status, OK);
    world_get(w, "never", 1000);
    assert_int_equal(world_one(w, 1000).status, ERR_NOT_FOUND);
    world_get(w, "gone", 1000);
    done = world_one(w, 1000);
    assert_int_equal(done.status, ERR_NOT_FOUND);
    assert_true(tag_is_zero(done.tag)); /* as a coordinator has it */
    world_get(w, "empty", 1000);
    done = world_one(w, 1000);
    expect_found(&done, "");
    assert_int_equal(gets(w), 0);
    world_close(w);
}

static void test_gets_of_one_moment_share_a_look(void **state)
{
    struct world *w = open_with(3, "k1", "one");
    struct core_completion done;
    uint32_t found = 0;

    (void)state;
    for (int i = 0; i < 10; i++) {
        char key[8];

        (void)snprintf(key, sizeof(key), "k%d", i);
        world_get(w, key, 1000);
    }
    for (int i = 0; i < 10; i++) {
        done = world_one(w, 1000);
        found += done.status == OK;
    }
    assert_int_equal(found, 1);
    assert_int_equal(looks(w), 2);
    assert_int_equal(w->nodes[0].looked, 10);
    assert_int_equal(gets(w), 0);
    world_close(w);
}

/* More than fit an answer of one datagram, by what the client has learned of their length. */
static void test_long_values_travel_in_several_looks(void **state)
{
    struct world *w = open_with(4, NULL, NULL);
    char value[1001];
    struct core_completion done;

    (void)state;
    memset(value, 'v', sizeof(value) - 1);
    value[sizeof(value) - 1] = 0;
    world_put(w, "k", value, 1000);
    assert_int_equal(world_one(w, 1000).status, OK);
    for (int round = 0; round < 40; round++) {
        for (int i = 0; i < 4; i++) {
            world_get(w, "k", 1000);
        }
        for (int i = 0; i < 4; i++) {
            done = world_one(w, 1000);
            expect_found(&done, value);
        }
        core_release(w->core);
    }
    assert_int_equal(gets(w), 0);
    assert_true(looks(w) > 2 * 4 * 20); /* in the end one by one */
    world_close(w);
}

static void test_values_live_until_release(void **state)
{
    struct world *w = open_with(5, "a", "first");
    struct core_completion one, other;

    (void)state;
    world_put(w, "b", "second", 1000);
    assert_int_equal(world_one(w, 1000).status, OK);
    world_get(w, "a", 1000);
    world_get(w, "b", 1000);
    one = world_one(w, 1000);
    other = world_one(w, 1000);
    for (int i = 0; i < 200; i++) { /* places of operations are used again */
        world_get(w, "never", 1000);
        assert_int_equal(world_one(w, 1000).status, ERR_NOT_FOUND);
    }
    expect_found(&one, "first");
    expect_found(&other, "second");
    core_release(w->core);
    world_close(w);
}

/* ---- what is not ---- */

enum { DIFFERS_N = 9 };

/* One of the two who are asked says something else of itself, or of the key. */
static void differ(struct world_node *n, int how)
{
    struct look_witness *m = &n->witness;

    switch (how) {
    case 0:
        n->shows_older = true;
        break;
    case 1:
        m->epoch++;
        break;
    case 2:
        m->gc++;
        break;
    case 3:
        memset(m->bonds, 0, sizeof(m->bonds));
        break;
    case 4:
        m->bonds[0]++;
        break;
    case 5:
        m->place = 0; /* as the other one */
        break;
    case 6:
        m->members_n++;
        break;
    case 7:
        m->majority = 3;
        break;
    default:
        n->mode = NODE_BABBLES;
        break;
    }
}

static void test_who_differs_is_not_believed(void **state)
{
    (void)state;
    for (int how = 0; how < DIFFERS_N; how++) {
        struct world *w = open_with(10, "k", "value");
        struct core_completion done;

        differ(&w->nodes[1], how);
        world_get(w, "k", 1000);
        done = world_one(w, 1000);
        expect_found(&done, "value");
        assert_int_equal(looks(w), 2);
        assert_int_equal(gets(w), 1);
        core_release(w->core);
        world_close(w);
    }
}

/* As a copy of a member and who knows the original are. */
static void test_strangers_are_not_believed(void **state)
{
    struct world *w = open_with(9, "k", "value");
    struct core_completion done;

    (void)state;
    for (uint32_t i = 0; i < WORLD_NODES; i++) {
        memset(w->nodes[i].witness.bonds, 0, sizeof(w->nodes[i].witness.bonds));
    }
    world_get(w, "k", 1000);
    done = world_one(w, 1000);
    expect_found(&done, "value");
    assert_int_equal(gets(w), 1);
    world_close(w);
}

/* Both say the same of a cluster of five, where three are a majority. */
static void test_two_of_five_are_not_enough(void **state)
{
    struct world *w = open_with(11, "k", "value");
    struct core_completion done;

    (void)state;
    for (uint32_t i = 0; i < WORLD_NODES; i++) {
        w->nodes[i].witness.majority = 3;
        w->nodes[i].witness.members_n = 5;
    }
    world_get(w, "k", 1000);
    done = world_one(w, 1000);
    expect_found(&done, "value");
    assert_int_equal(gets(w), 1);
    world_close(w);
}

/* Whoever holds the newest is asked to coordinate. */
static void test_the_newest_coordinates(void **state)
{
    struct world *w = open_with(12, "k", "value");

    (void)state;
    w->nodes[0].shows_older = true;
    world_get(w, "k", 1000);
    assert_int_equal(world_one(w, 1000).status, OK);
    assert_int_equal(w->nodes[1].gets, 1);
    world_close(w);
}

static void test_refusals_lead_to_a_coordinator(void **state)
{
    static const enum err WHY[] = {ERR_BUSY,   ERR_CLOSED,         ERR_EPOCH,     ERR_USAGE,
                                   ERR_POLICY, ERR_ENCLAVE_MEMORY, ERR_MALFORMED, ERR_LOST};

    (void)state;
    for (size_t i = 0; i < sizeof(WHY) / sizeof(WHY[0]); i++) {
        struct world *w = open_with(13 + i, "k", "value");
        struct core_completion done;

        w->nodes[1].mode = NODE_SAYS;
        w->nodes[1].says = WHY[i];
        w->nodes[1].says_times = 1;
        world_get(w, "k", 1000);
        done = world_one(w, 1000);
        expect_found(&done, "value");
        assert_int_equal(gets(w), 1);
        world_close(w);
    }
}

static void test_a_value_too_long_for_a_look(void **state)
{
    static char value[20001];
    struct world *w = open_with(30, NULL, NULL);
    struct core_completion done;

    (void)state;
    memset(value, 'v', sizeof(value) - 1);
    world_put(w, "k", value, 1000);
    assert_int_equal(world_one(w, 1000).status, OK);
    world_get(w, "k", 1000);
    done = world_one(w, 1000);
    expect_found(&done, value);
    assert_int_equal(gets(w), 1);
    assert_int_equal(w->nodes[0].gets, 1); /* who did not show it has it */
    world_close(w);
}

/* ---- time ---- */

static void test_the_late_are_not_waited_for(void **state)
{
    struct world *w = open_with(40, "k", "value");
    uint64_t start = w->now_ns;
    struct core_completion done;

    (void)state;
    w->nodes[1].looks_silently = true;
    world_get(w, "k", 5000);
    done = world_one(w, 5000);
    expect_found(&done, "value");
    assert_true(w->now_ns - start < 10 * MS_NS);
    assert_int_equal(w->nodes[0].gets, 1);
    assert_int_equal(core_counters(w->core)->look_late, 1);
    world_close(w);
}

static void test_ends_at_its_deadline(void **state)
{
    struct world *w = open_with(41, NULL, NULL);
    uint64_t start = w->now_ns;

    (void)state;
    for (uint32_t i = 0; i < WORLD_NODES; i++) {
        w->nodes[i].cut = true;
    }
    world_get(w, "k", 1);
    assert_int_equal(world_one(w, 10).status, ERR_UNAVAILABLE);
    assert_int_equal(w->now_ns - start, 1 * MS_NS);
    world_close(w);
}

/* The deadline of a get that nobody lets leave. */
static void test_ends_though_nothing_is_transmitted(void **state)
{
    struct world *w = open_with(42, NULL, NULL);
    struct core_completion done;

    (void)state;
    world_get(w, "k", 100);
    assert_true(core_deadline(w->core) <= w->now_ns + 100 * MS_NS);
    core_tick(w->core, w->now_ns + 100 * MS_NS);
    assert_true(core_take(w->core, &done));
    assert_int_equal(done.status, ERR_UNAVAILABLE);
    world_close(w);
}

static void test_a_lost_node_is_not_looked_at(void **state)
{
    struct world *w = open_with(43, "k", "value");
    struct core_completion done;

    (void)state;
    w->nodes[0].mode = NODE_SILENT;
    world_get(w, "k", 5000);
    assert_false(world_run(w, w->now_ns + MS_NS / 2, &done));
    world_part(w, 0); /* while the look is under way */
    done = world_one(w, 5000);
    expect_found(&done, "value");
    world_get(w, "k", 5000);
    done = world_one(w, 5000);
    expect_found(&done, "value");
    assert_int_equal(w->nodes[1].looks + w->nodes[2].looks, 3);
    assert_int_equal(gets(w), 1);
    world_part(w, 1); /* one of three is left: no majority to look at */
    world_get(w, "k", 5000);
    done = world_one(w, 5000);
    expect_found(&done, "value");
    assert_int_equal(w->nodes[2].gets, 1);
    world_close(w);
}

/* Where looking leads to nothing most gets do not try; and they come back when it does again. */
static void test_what_does_not_help_is_seldom_tried(void **state)
{
    struct world *w = open_with(44, "k", "value");
    uint32_t before;

    (void)state;
    for (uint32_t i = 0; i < WORLD_NODES; i++) {
        w->nodes[i].witness.epoch = i;
    }
    for (int i = 0; i < 1000; i++) {
        world_get(w, "k", 1000);
        assert_int_equal(world_one(w, 1000).status, OK);
        core_release(w->core);
    }
    assert_true(looks(w) < 2 * 200);
    for (uint32_t i = 0; i < WORLD_NODES; i++) {
        w->nodes[i].witness.epoch = 9;
    }
    for (int i = 0; i < 2000; i++) {
        world_get(w, "k", 1000);
        assert_int_equal(world_one(w, 1000).status, OK);
        core_release(w->core);
    }
    before = looks(w);
    for (int i = 0; i < 100; i++) {
        world_get(w, "k", 1000);
        assert_int_equal(world_one(w, 1000).status, OK);
        core_release(w->core);
    }
    assert_int_equal(looks(w) - before, 2 * 100);
    world_close(w);
}

/* Nobody but the core itself asks that. */
static void test_a_look_is_no_operation(void **state)
{
    struct world *w = open_with(45, NULL, NULL);
    struct core_request q = {
        .op = CLIENT_LOOK, .timeout_ms = 1, .value = {(const uint8_t *)"x", 1}};

    (void)state;
    assert_int_equal(core_submit(w->core, w->now_ns, &q), ERR_USAGE);
    world_close(w);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_two_who_agree_are_enough),
        cmocka_unit_test(test_absent_deleted_and_empty),
        cmocka_unit_test(test_gets_of_one_moment_share_a_look),
        cmocka_unit_test(test_long_values_travel_in_several_looks),
        cmocka_unit_test(test_values_live_until_release),
        cmocka_unit_test(test_who_differs_is_not_believed),
        cmocka_unit_test(test_strangers_are_not_believed),
        cmocka_unit_test(test_two_of_five_are_not_enough),
        cmocka_unit_test(test_the_newest_coordinates),
        cmocka_unit_test(test_refusals_lead_to_a_coordinator),
        cmocka_unit_test(test_a_value_too_long_for_a_look),
        cmocka_unit_test(test_the_late_are_not_waited_for),
        cmocka_unit_test(test_ends_at_its_deadline),
        cmocka_unit_test(test_ends_though_nothing_is_transmitted),
        cmocka_unit_test(test_a_lost_node_is_not_looked_at),
        cmocka_unit_test(test_what_does_not_help_is_seldom_tried),
        cmocka_unit_test(test_a_look_is_no_operation),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
