// SPDX-License-Identifier: Apache-2.0
/* Groups of slots with members of their own (MEM-15, MEM-16): who serves which key, and a group
 * that moves from one node to another while it is in use. */
#include "tests/replica/groups.h"

enum { KEYS = GROUPS_KEYS };

static void test_each_node_serves_its_groups(void **state)
{
    struct ctx *x = *state;
    uint64_t keys = 0;

    for (uint32_t i = 0; i < KEYS; i++) {
        for (uint8_t node = 0; node < (uint8_t)CLUSTER_NODES; node++) {
            bool here = node != (key_group(i) + 3) % 4;

            assert_int_equal(get(x, node, i), here ? OK : ERR_EPOCH);
            assert_true(here || x->tag.ts == 1); /* the epoch of whom we asked */
        }
    }
    for (uint8_t node = 0; node < (uint8_t)CLUSTER_NODES; node++) {
        struct replica_report r = report(x, node);

        assert_int_equal(__builtin_popcountll(r.groups_voting), 3);
        assert_true(r.requests_strayed > 0);
        keys += r.store.keys;
    }
    assert_int_equal(keys, 3 * KEYS);
}

static void test_a_batch_is_of_one_group(void **state)
{
    struct ctx *x = *state;
    uint8_t body[256];
    struct writer w = {.to = {body, sizeof(body)}};
    char a[16], b[16];
    struct batch_item one = {.key = key_of(0, a)}, two = {0};
    struct client_request m = {.op = CLIENT_MGET, .timeout_ms = 3000};
    uint32_t other = 1;

    while (key_group(other) == key_group(0)) {
        other++;
    }
    two.key = key_of(other, b);
    put_u16(&w, 2);
    batch_item_put(&w, BATCH_MGET, &one);
    batch_item_put(&w, BATCH_MGET, &two);
    m.value = (struct bytes){body, w.len};
    m.group = (uint8_t)key_group(0);
    assert_int_equal(ask(x, m.group, &m), ERR_USAGE);
    m.group = GROUPS; /* there is none */
    assert_int_equal(ask(x, 0, &m), ERR_USAGE);
}

static void test_a_group_moves(void **state)
{
    struct ctx *x = *state;
    struct replica_report before = report(x, 0), after;
    uint64_t of_group = 0;

    for (uint32_t i = 0; i < KEYS; i++) {
        of_group += key_group(i) == 0;
    }
    move(x);
    after = report(x, 0);
    assert_int_equal(after.shedding, 0);
    assert_int_equal(after.store.keys, before.store.keys - of_group);
    assert_true(after.heap_used < before.heap_used);
    assert_int_equal(report(x, 3).store.keys, KEYS); /* it has all four now */
    for (uint32_t i = 0; i < KEYS; i++) {
        assert_int_equal(get(x, 3, i), OK);
        assert_int_equal(get(x, 0, i), key_group(i) <= 1 ? ERR_EPOCH : OK);
    }
}

/* ABD-2: who comes back under its incarnation never gives a tag out twice. The others forget here
 * what node 0 wrote before it left, as if its write had reached nobody. */
static void test_tags_of_a_former_life(void **state)
{
    struct ctx *x = *state;
    struct replica_group_members *g = &x->members.groups[0];
    struct tag last;
    uint32_t key = 0;

    while (key_group(key) != 0) {
        key++;
    }
    for (int i = 0; i < 5; i++) {
        assert_int_equal(put(x, 0, key, 2), OK);
    }
    last = x->tag;
    move(x);
    g->learners = 1;
    reconfigure(x);
    g->voters = 15;
    g->learners = 0;
    reconfigure(x);
    while (key_group(key) != 0 || get(x, 0, key) != ERR_NOT_FOUND) {
        key++; /* one that was never written */
    }
    assert_int_equal(put(x, 0, key, 3), OK);
    assert_int_equal(x->tag.writer, last.writer);
    assert_true(x->tag.ts > last.ts);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_each_node_serves_its_groups, setup, teardown),
        cmocka_unit_test_setup_teardown(test_a_batch_is_of_one_group, setup, teardown),
        cmocka_unit_test_setup_teardown(test_a_group_moves, setup, teardown),
        cmocka_unit_test_setup_teardown(test_tags_of_a_former_life, setup, teardown),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
