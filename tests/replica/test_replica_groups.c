// SPDX-License-Identifier: Apache-2.0
/* Groups of slots with members of their own (MEM-15, MEM-16): who serves which key, and a group
 * that moves from one node to another while it is in use. */
#include "trusted/replica/replica.h"

static void configure(struct replica_config *c, uint8_t node);

#define CLUSTER_NODES_N 4
#define CLUSTER_CONFIGURE(config, node) configure(config, node)
#include "tests/replica/cluster.h"

#include "common/slots.h"
#include "trusted/wire/batch_wire.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>

#include <cmocka.h>

enum { HEAP = 64 << 20, ARENA = 64 << 20, GROUPS = 4, KEYS = 400, VALUE = 100 };

static const uint8_t cluster_id[SIPHASH_KEY_LEN] = {7};

struct ctx {
    struct test_cluster c;
    struct replica_members members; /* self is not set */
    uint64_t answers;
    enum err status;
    struct tag tag;
    size_t value_len;
    uint8_t value[VALUE + 1];
};

/* Group g is at nodes g, g+1, g+2. */
static struct replica_members first(void)
{
    struct replica_members m = {.epoch = 1, .members_n = CLUSTER_NODES, .groups_n = GROUPS};

    for (uint32_t i = 0; i < (uint32_t)CLUSTER_NODES; i++) {
        m.incarnations[i] = 100 + i;
    }
    for (uint32_t g = 0; g < GROUPS; g++) {
        m.groups[g].voters = 0xfU & ~(1U << (g + 3) % 4);
    }
    return m;
}

static void configure(struct replica_config *c, uint8_t node)
{
    static struct replica_members m;

    m = first();
    m.self = node;
    c->members = &m;
    c->shards_n = 1;
    memcpy(c->cluster_id, cluster_id, sizeof(cluster_id));
}

static void on_done(void *self, const struct rpc_event *e)
{
    struct ctx *x = self;
    struct client_response r;

    if (e->kind == RPC_EVENT_RESPONSE) {
        assert_int_equal(client_response_decode(e->body, &r), OK);
        x->answers++;
        x->status = r.status;
        x->tag = r.tag;
        x->value_len = r.value.n < sizeof(x->value) ? r.value.n : sizeof(x->value);
        if (x->value_len > 0) {
            memcpy(x->value, r.value.p, x->value_len);
        }
    }
}

static enum err ask(struct ctx *x, uint8_t node, const struct client_request *m)
{
    uint64_t before = x->answers;

    assert_int_equal(cluster_submit(&x->c, node, m, before), OK);
    cluster_settle(&x->c);
    for (int i = 0; i < 10 && x->answers == before; i++) {
        cluster_pass(&x->c, 1000000000);
    }
    assert_int_equal(x->answers, before + 1);
    return x->status;
}

static struct bytes key_of(uint32_t i, char to[16])
{
    return (struct bytes){(const uint8_t *)to, (size_t)snprintf(to, 16, "key %u", i)};
}

static uint32_t group_of(struct bytes key)
{
    return slot_run(slot_of(cluster_id, key), GROUPS);
}

static enum err put(struct ctx *x, uint8_t node, uint32_t i, uint8_t fill)
{
    char text[16];
    uint8_t value[VALUE];
    struct client_request m = {.op = CLIENT_PUT, .timeout_ms = 3000, .key = key_of(i, text)};

    memset(value, fill, sizeof(value));
    m.value = (struct bytes){value, sizeof(value)};
    return ask(x, node, &m);
}

static enum err get(struct ctx *x, uint8_t node, uint32_t i)
{
    char text[16];
    struct client_request m = {.op = CLIENT_GET, .timeout_ms = 3000, .key = key_of(i, text)};

    return ask(x, node, &m);
}

static uint32_t key_group(uint32_t i)
{
    char text[16];

    return group_of(key_of(i, text));
}

static struct replica_report report(struct ctx *x, uint8_t node)
{
    struct replica_report r;

    replica_report(x->c.nodes[node].replica, &r);
    return r;
}

static int setup(void **state)
{
    struct ctx *x = calloc(1, sizeof(*x));

    cluster_open(&x->c, 1400, HEAP, ARENA);
    x->c.on_done = on_done;
    x->c.self = x;
    x->members = first();
    for (uint32_t i = 0; i < KEYS; i++) {
        assert_int_equal(put(x, (uint8_t)key_group(i), i, 1), OK);
    }
    *state = x;
    return 0;
}

static int teardown(void **state)
{
    struct ctx *x = *state;

    cluster_close(&x->c);
    free(x);
    return 0;
}

/* All nodes go over to x->members in the next epoch, and meet again. */
static void reconfigure(struct ctx *x)
{
    uint32_t generation;

    x->members.epoch++;
    generation = (uint32_t)x->members.epoch;
    for (uint8_t i = 0; i < (uint8_t)CLUSTER_NODES; i++) {
        struct replica_members m = x->members;

        m.self = i;
        replica_reconfigure(x->c.nodes[i].replica, x->c.now_ns, &m);
    }
    cluster_settle(&x->c);
    for (uint8_t i = 0; i < (uint8_t)CLUSTER_NODES; i++) {
        for (uint8_t k = 0; k < (uint8_t)CLUSTER_NODES; k++) {
            struct rpc_session_params p = cluster_params(i, k, RPC_SLOTS_PEER, REPLAY_BITS_PEER);

            p.index = generation << RPC_INDEX_SLOT_BITS | k;
            p.peer_index = generation << RPC_INDEX_SLOT_BITS | i;
            if (i != k) {
                const struct replica_peer peer = {.kind = REPLICA_PEER_MEMBER, .member = k};

                assert_int_equal(
                    replica_session_open(x->c.nodes[i].replica, x->c.now_ns, &peer, &p), OK);
            }
        }
    }
    cluster_pass(&x->c, 1000000000);
}

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

/* Node 3 takes over group 0 from node 0, one vote at a time. */
static void move(struct ctx *x)
{
    struct replica_group_members *g = &x->members.groups[0];

    g->learners = 8;
    reconfigure(x);
    assert_int_equal(report(x, 3).groups_copied & 1, 1);
    g->voters = 15;
    g->learners = 0;
    g->settle = true;
    reconfigure(x);
    for (uint8_t i = 0; i < (uint8_t)CLUSTER_NODES; i++) {
        assert_int_equal(report(x, i).groups_copied, 1); /* and no other group is copied */
    }
    g->voters = 14;
    g->learners = 1;
    g->settle = false;
    reconfigure(x);
    g->learners = 0;
    reconfigure(x);
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
