// SPDX-License-Identifier: Apache-2.0
#ifndef TESTS_REPLICA_GROUPS_H
#define TESTS_REPLICA_GROUPS_H

/*
 * Nodes with four groups of slots, each at three of them, on tests/replica/cluster.h. Who wants
 * others than the defaults defines all four: CLUSTER_NODES_N; GROUPS_KEYS, which are there from the
 * start; GROUPS_COLLECT_NS, between two rounds of collection; GROUPS_CHANGE_NS, which passes after
 * each change of members.
 */

#include "trusted/replica/replica.h"

static inline void configure(struct replica_config *c, uint8_t node);

#ifndef CLUSTER_NODES_N
#define CLUSTER_NODES_N 4
#define GROUPS_KEYS 400
#define GROUPS_COLLECT_NS 0
#define GROUPS_CHANGE_NS 1000000000
#endif
#define CLUSTER_CONFIGURE(config, node) configure(config, node)
#include "tests/replica/cluster.h"

#include "common/slots.h"
#include "trusted/wire/batch_wire.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>

#include <cmocka.h>

enum { HEAP = 64 << 20, ARENA = 64 << 20, GROUPS = 4, VALUE = 100 };

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

/* Group g is at nodes g, g+1, g+2, counted around. */
static inline struct replica_members first(void)
{
    struct replica_members m = {.epoch = 1, .members_n = CLUSTER_NODES, .groups_n = GROUPS};

    for (uint32_t i = 0; i < (uint32_t)CLUSTER_NODES; i++) {
        m.incarnations[i] = 100 + i;
    }
    for (uint32_t g = 0; g < GROUPS; g++) {
        for (uint32_t i = g; i < g + 3; i++) {
            m.groups[g].voters |= 1U << i % (uint32_t)CLUSTER_NODES;
        }
    }
    return m;
}

static inline void configure(struct replica_config *c, uint8_t node)
{
    static struct replica_members m;

    m = first();
    m.self = node;
    c->members = &m;
    c->shards_n = 1;
    c->collect_ns = GROUPS_COLLECT_NS;
    memcpy(c->cluster_id, cluster_id, sizeof(cluster_id));
}

static inline void on_done(void *self, const struct rpc_event *e)
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

static inline enum err ask(struct ctx *x, uint8_t node, const struct client_request *m)
{
    cluster_ask(&x->c, node, m, &x->answers);
    return x->status;
}

static inline struct bytes key_of(uint32_t i, char to[16])
{
    return (struct bytes){(const uint8_t *)to, (size_t)snprintf(to, 16, "key %u", i)};
}

static inline uint32_t group_of(struct bytes key)
{
    return slot_run(slot_of(cluster_id, key), GROUPS);
}

static inline enum err put(struct ctx *x, uint8_t node, uint32_t i, uint8_t fill)
{
    char text[16];
    uint8_t value[VALUE];
    struct client_request m = {.op = CLIENT_PUT, .timeout_ms = 3000, .key = key_of(i, text)};

    memset(value, fill, sizeof(value));
    m.value = (struct bytes){value, sizeof(value)};
    return ask(x, node, &m);
}

static inline enum err del(struct ctx *x, uint8_t node, uint32_t i)
{
    char text[16];
    struct client_request m = {.op = CLIENT_DELETE, .timeout_ms = 3000, .key = key_of(i, text)};

    return ask(x, node, &m);
}

static inline enum err get(struct ctx *x, uint8_t node, uint32_t i)
{
    char text[16];
    struct client_request m = {.op = CLIENT_GET, .timeout_ms = 3000, .key = key_of(i, text)};

    return ask(x, node, &m);
}

static inline uint32_t key_group(uint32_t i)
{
    char text[16];

    return group_of(key_of(i, text));
}

static inline struct replica_report report(struct ctx *x, uint8_t node)
{
    struct replica_report r;

    replica_report(x->c.nodes[node].replica, &r);
    return r;
}

static inline int setup(void **state)
{
    struct ctx *x = calloc(1, sizeof(*x));

    cluster_open(&x->c, 1400, HEAP, ARENA);
    x->c.on_done = on_done;
    x->c.self = x;
    x->members = first();
    for (uint32_t i = 0; i < GROUPS_KEYS; i++) {
        assert_int_equal(put(x, (uint8_t)key_group(i), i, 1), OK);
    }
    *state = x;
    return 0;
}

static inline int teardown(void **state)
{
    struct ctx *x = *state;

    cluster_close(&x->c);
    free(x);
    return 0;
}

/* All nodes go over to x->members in the next epoch, and meet again. */
static inline void reconfigure(struct ctx *x)
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
    cluster_pass(&x->c, GROUPS_CHANGE_NS);
}

/* Node 3 takes over group 0 from node 0, one vote at a time. */
static inline void move(struct ctx *x)
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
        assert_int_equal(report(x, i).groups_copied, i < 4 ? 1 : 0); /* and no other group */
    }
    g->voters = 14;
    g->learners = 1;
    g->settle = false;
    reconfigure(x);
    g->learners = 0;
    reconfigure(x);
}

#endif
