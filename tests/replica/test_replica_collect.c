// SPDX-License-Identifier: Apache-2.0
/* Collection of tombstones with several groups of slots at six nodes (COL-11): memory comes back,
 * the floor goes where its group goes, and a group may move at any point of a round. */
enum { KEYS = 200 };

#define CLUSTER_NODES_N 6
#define GROUPS_KEYS KEYS
#define GROUPS_COLLECT_NS 1000000
#define GROUPS_CHANGE_NS 60000000
#include "tests/replica/groups.h"

static void pass(struct ctx *x, uint64_t ms)
{
    cluster_pass(&x->c, ms * 1000000);
}

static uint64_t tombstones(struct ctx *x)
{
    uint64_t n = 0;

    for (uint8_t i = 0; i < (uint8_t)CLUSTER_NODES; i++) {
        n += report(x, i).store.tombstones;
    }
    return n;
}

static uint64_t index_bytes(struct ctx *x)
{
    uint64_t n = 0;

    for (uint8_t i = 0; i < (uint8_t)CLUSTER_NODES; i++) {
        n += report(x, i).store.index_bytes;
    }
    return n;
}

static void test_the_memory_of_deleted_keys_comes_back(void **state)
{
    struct ctx *x = *state;
    uint64_t full = index_bytes(x), collected = 0, led = 0;

    for (uint32_t i = 0; i < KEYS; i++) {
        assert_int_equal(del(x, (uint8_t)key_group(i), i), OK);
    }
    assert_true(tombstones(x) > KEYS);
    pass(x, 300);
    assert_int_equal(tombstones(x), 0);
    assert_true(index_bytes(x) < full / 2);
    for (uint8_t i = 0; i < (uint8_t)CLUSTER_NODES; i++) {
        struct replica_report r = report(x, i);

        assert_int_equal(r.abd.listed, 0);
        assert_int_equal(r.abd.floor, 2); /* the greatest of its groups' */
        collected += r.abd.collected;
        led += r.abd.collections != 0;
    }
    assert_int_equal(collected, 3 * KEYS);
    assert_int_equal(led, GROUPS); /* each group by a node of its own, here */
    for (uint32_t i = 0; i < KEYS; i++) {
        assert_int_equal(get(x, (uint8_t)key_group(i), i), ERR_NOT_FOUND);
    }
    assert_int_equal(put(x, (uint8_t)key_group(0), 0, 9), OK);
    assert_int_equal(x->tag.ts, 3);
}

/* COL-4: a member of one group that is down keeps no other group from it. */
static void test_a_dead_member_holds_its_own_groups_back(void **state)
{
    struct ctx *x = *state;
    uint64_t kept = 0;

    x->c.nodes[0].dead = true; /* it is in group 0 and in no other */
    pass(x, 3000);             /* the others notice */
    for (uint32_t i = 0; i < KEYS; i++) {
        uint32_t g = key_group(i);

        kept += g == 0 ? 1 : 0;
        assert_int_equal(del(x, (uint8_t)(g == 0 ? 1 : g), i), OK);
    }
    pass(x, 300);
    assert_int_equal(report(x, 1).store.tombstones, kept);
    assert_int_equal(report(x, 2).store.tombstones, kept);
    assert_int_equal(report(x, 3).store.tombstones, 0);
    assert_int_equal(report(x, 4).store.tombstones, 0);
}

static uint32_t key_of_group(uint32_t group)
{
    uint32_t i = 0;

    while (key_group(i) != group) {
        i++;
    }
    return i;
}

/* COL-10: who joins a group begins above what was collected there. */
static void test_the_floor_moves_with_its_group(void **state)
{
    struct ctx *x = *state;
    uint32_t key = key_of_group(0);
    uint64_t floor;

    for (int i = 0; i < 20; i++) {
        assert_int_equal(put(x, 0, key, 2), OK);
    }
    assert_int_equal(del(x, 0, key), OK);
    floor = x->tag.ts;
    pass(x, 200);
    assert_int_equal(tombstones(x), 0);
    assert_true(report(x, 3).abd.floor < floor);
    move(x);
    assert_int_equal(report(x, 3).abd.floor, floor);
    assert_int_equal(put(x, 3, key, 3), OK);
    assert_true(x->tag.ts > floor);
}

/* The next datagrams, one after the other; time passes when there is none. False: there are not so
 * many. */
static bool deliver(struct ctx *x, uint32_t n)
{
    struct test_cluster *c = &x->c;
    uint64_t end_ns = c->now_ns + 50000000;

    for (uint32_t i = 0; i < n;) {
        for (uint8_t end = 0; end <= (uint8_t)CLUSTER_CLIENT; end++) {
            cluster_collect(c, end);
        }
        if (c->head < c->tail) {
            cluster_deliver(c, &c->queue[c->head++ % CLUSTER_QUEUE]);
            i++;
            continue;
        }
        if (c->now_ns > end_ns) {
            return false;
        }
        c->now_ns += 1000000;
        for (uint8_t node = 0; node < (uint8_t)CLUSTER_NODES; node++) {
            if (replica_deadline(c->nodes[node].replica) <= c->now_ns) {
                replica_tick(c->nodes[node].replica, c->now_ns);
            }
        }
    }
    return true;
}

static enum err put_new(struct ctx *x, uint8_t node, uint32_t i)
{
    static const uint8_t one[] = "1";
    char text[16];
    struct client_request m = {.op = CLIENT_RMW,
                               .timeout_ms = 3000,
                               .rmw = CLIENT_RMW_PUT_NEW,
                               .key = key_of(i, text),
                               .value = {one, 1}};

    return ask(x, node, &m);
}

/* Some keys of group 0 are deleted; after `cut` datagrams of what follows the group goes over to
 * other members. Nothing comes back, no put is lost, and the round ends one way or the other.
 * False: it had ended before. */
static bool move_in_a_round(struct ctx *x, uint32_t cut)
{
    uint32_t keys[6], n = 0;
    bool in_time;

    pass(x, 50); /* the first rounds find nothing */
    for (uint32_t i = 0; n < 6; i++) {
        if (key_group(i) == 0) {
            assert_int_equal(del(x, (uint8_t)(n % 3), i), OK);
            keys[n++] = i;
        }
    }
    in_time = deliver(x, cut);
    move(x);
    for (uint32_t i = 0; i < n; i++) {
        for (uint8_t node = 1; node <= 3; node++) {
            assert_int_equal(get(x, node, keys[i]), ERR_NOT_FOUND);
        }
    }
    assert_int_equal(put(x, 3, keys[0], 5), OK);
    assert_int_equal(put(x, 1, keys[1], 6), OK);
    assert_int_equal(put_new(x, 2, keys[2]), OK);
    for (uint8_t node = 1; node <= 3; node++) {
        assert_int_equal(get(x, node, keys[0]), OK);
        assert_int_equal(x->value[0], 5);
        assert_int_equal(get(x, node, keys[1]), OK);
        assert_int_equal(x->value[0], 6);
        assert_int_equal(get(x, node, keys[2]), OK);
    }
    pass(x, 300);
    assert_int_equal(tombstones(x), 0);
    for (uint8_t node = 0; node < (uint8_t)CLUSTER_NODES; node++) {
        assert_int_equal(report(x, node).abd.listed, 0);
    }
    return in_time;
}

static void test_a_group_may_move_in_the_middle_of_a_round(void **state)
{
    uint32_t cut = 0;

    (void)state;
    for (bool in_time = true; in_time; cut++) {
        void *x;

        assert_int_equal(setup(&x), 0);
        in_time = move_in_a_round(x, cut);
        assert_int_equal(teardown(&x), 0);
    }
    assert_true(cut > 20);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_the_memory_of_deleted_keys_comes_back, setup,
                                        teardown),
        cmocka_unit_test_setup_teardown(test_a_dead_member_holds_its_own_groups_back, setup,
                                        teardown),
        cmocka_unit_test_setup_teardown(test_the_floor_moves_with_its_group, setup, teardown),
        cmocka_unit_test(test_a_group_may_move_in_the_middle_of_a_round),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
