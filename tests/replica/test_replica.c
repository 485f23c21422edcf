// SPDX-License-Identifier: Apache-2.0
/* Three replicas and a client over a perfect network: what a user gets from one shard. */
#include "tests/replica/cluster.h"

#include <setjmp.h>
#include <stdarg.h>

#include <cmocka.h>

enum {
    HEAP = 64 << 20,
    ARENA = 32 << 20,
};

struct ctx {
    struct test_cluster c;
    uint64_t answers;
    uint64_t cookie;
    enum err status;
    struct tag tag;
    size_t value_len;
    uint8_t value[VALUE_MAX_DEFAULT + 1];
};

static void on_done(void *self, const struct rpc_event *e)
{
    struct ctx *x = self;
    struct client_response r;

    if (e->kind != RPC_EVENT_RESPONSE) {
        return;
    }
    assert_int_equal(client_response_decode(e->body, &r), OK);
    x->answers++;
    x->cookie = e->cookie;
    x->status = r.status;
    x->tag = r.tag;
    assert_true(bytes_copy((struct mbytes){x->value, sizeof(x->value)}, r.value, &x->value_len));
}

static int setup(void **state)
{
    struct ctx *x = calloc(1, sizeof(*x));

    cluster_open(&x->c, 1400, HEAP, ARENA);
    x->c.on_done = on_done;
    x->c.self = x;
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

static struct bytes text(const char *s)
{
    return (struct bytes){(const uint8_t *)s, strlen(s)};
}

/* Runs one operation to its end; virtual time passes if it has to. */
static enum err run(struct ctx *x, uint8_t node, enum client_op op, struct bytes key,
                    struct bytes value)
{
    const struct client_request m = {.op = op, .timeout_ms = 3000, .key = key, .value = value};
    uint64_t before = x->answers;

    assert_int_equal(cluster_submit(&x->c, node, &m, before), OK);
    cluster_settle(&x->c);
    for (int i = 0; i < 10 && x->answers == before; i++) {
        cluster_pass(&x->c, 1000000000);
    }
    assert_int_equal(x->answers, before + 1);
    assert_int_equal(x->cookie, before);
    return x->status;
}

static void expect_read(struct ctx *x, uint8_t node, const char *key, const char *value)
{
    assert_int_equal(run(x, node, CLIENT_GET, text(key), (struct bytes){0}), OK);
    assert_int_equal(x->value_len, strlen(value));
    assert_memory_equal(x->value, value, strlen(value));
}

static void test_every_replica_serves_what_any_wrote(void **state)
{
    struct ctx *x = *state;

    assert_int_equal(run(x, 0, CLIENT_GET, text("k"), (struct bytes){0}), ERR_NOT_FOUND);
    for (uint8_t writer = 0; writer < (uint8_t)CLUSTER_NODES; writer++) {
        char value[2] = {(char)('a' + writer), 0};

        assert_int_equal(run(x, writer, CLIENT_PUT, text("k"), text(value)), OK);
        for (uint8_t reader = 0; reader < (uint8_t)CLUSTER_NODES; reader++) {
            expect_read(x, reader, "k", value);
        }
    }
    assert_int_equal(run(x, 1, CLIENT_DELETE, text("k"), (struct bytes){0}), OK);
    for (uint8_t reader = 0; reader < (uint8_t)CLUSTER_NODES; reader++) {
        assert_int_equal(run(x, reader, CLIENT_GET, text("k"), (struct bytes){0}), ERR_NOT_FOUND);
    }
}

static void test_a_quiet_read_takes_one_round(void **state)
{
    struct ctx *x = *state;
    struct replica_report before, after;

    assert_int_equal(run(x, 0, CLIENT_PUT, text("k"), text("v")), OK);
    replica_report(x->c.nodes[0].replica, &before);
    expect_read(x, 0, "k", "v");
    replica_report(x->c.nodes[0].replica, &after);
    assert_int_equal(after.abd.reads_one_round, before.abd.reads_one_round + 1);
    assert_int_equal(after.rpc.requests_out, before.rpc.requests_out + 1);
}

static void test_one_replica_dead_changes_nothing(void **state)
{
    struct ctx *x = *state;

    assert_int_equal(run(x, 0, CLIENT_PUT, text("k"), text("v1")), OK);
    x->c.nodes[2].dead = true;
    expect_read(x, 0, "k", "v1");
    assert_int_equal(run(x, 1, CLIENT_PUT, text("k"), text("v2")), OK);
    expect_read(x, 0, "k", "v2");
    expect_read(x, 1, "k", "v2");
}

static void test_two_replicas_dead_refuse_in_time(void **state)
{
    struct ctx *x = *state;

    x->c.nodes[1].dead = true;
    x->c.nodes[2].dead = true;
    assert_int_equal(run(x, 0, CLIENT_PUT, text("k"), text("v")), ERR_UNAVAILABLE);
    assert_int_equal(run(x, 0, CLIENT_GET, text("k"), (struct bytes){0}), ERR_UNAVAILABLE);
}

static void test_large_values_travel_in_fragments(void **state)
{
    struct ctx *x = *state;
    static uint8_t big[VALUE_MAX_DEFAULT];

    for (size_t i = 0; i < sizeof(big); i++) {
        big[i] = (uint8_t)(i * 31 >> 3);
    }
    assert_int_equal(run(x, 0, CLIENT_PUT, text("big"), (struct bytes){big, sizeof(big)}), OK);
    assert_int_equal(run(x, 2, CLIENT_GET, text("big"), (struct bytes){0}), OK);
    assert_int_equal(x->value_len, sizeof(big));
    assert_memory_equal(x->value, big, sizeof(big));
}

static void test_bad_requests_are_refused_and_counted(void **state)
{
    struct ctx *x = *state;
    static uint8_t big[VALUE_MAX_DEFAULT + 1];
    const uint8_t garbage[3] = {1, 2, 3};
    struct rpc_question q = {.cookie = 77, .value = {garbage, sizeof(garbage)}};
    struct replica_report r;
    struct rpc_call call;

    assert_int_equal(run(x, 0, CLIENT_PUT, text("k"), (struct bytes){big, sizeof(big)}),
                     ERR_TOO_BIG);
    assert_int_equal(rpc_call(x->c.client, x->c.now_ns, x->c.client_session[0], &q, &call), OK);
    cluster_settle(&x->c);
    assert_int_equal(x->cookie, 77);
    assert_int_equal(x->status, ERR_MALFORMED);
    replica_report(x->c.nodes[0].replica, &r);
    assert_int_equal(r.requests_refused, 2);
}

/* A client holds a session like a member does; it must not be able to speak as one. */
static void test_a_client_cannot_vote_or_apply(void **state)
{
    struct ctx *x = *state;
    const struct peer_ask apply = {.kind = PEER_APPLY,
                                   .tag = {.ts = 99, .writer = 1},
                                   .key = text("k"),
                                   .value = text("evil")};
    struct rpc_question q = {.cookie = 78, .key = apply.key, .value = apply.value};
    struct rpc_call call;

    assert_int_equal(run(x, 0, CLIENT_PUT, text("k"), text("good")), OK);
    q.head_len = (uint8_t)peer_ask_encode_head(&apply, q.head);
    for (uint8_t i = 0; i < (uint8_t)CLUSTER_NODES; i++) {
        assert_int_equal(rpc_call(x->c.client, x->c.now_ns, x->c.client_session[i], &q, &call), OK);
        cluster_settle(&x->c);
    }
    expect_read(x, 0, "k", "good");
}

/* The host rewrites the whole arena of one replica: right answers, and the value is put back. */
static void test_a_tampered_value_is_repaired(void **state)
{
    struct ctx *x = *state;
    struct replica_report r;

    assert_int_equal(run(x, 0, CLIENT_PUT, text("k"), text("precious")), OK);
    memset(x->c.nodes[0].arena, 0xee, ARENA);
    expect_read(x, 0, "k", "precious");
    replica_report(x->c.nodes[0].replica, &r);
    assert_true(r.store.integrity_failures >= 1);
    assert_true(r.abd.repairs >= 1);
    x->c.nodes[1].dead = true;
    x->c.nodes[2].dead = true;
    replica_report(x->c.nodes[0].replica, &r);
    assert_int_equal(r.store.integrity_failures, 1);
}

/* On every replica at once there is nothing to repair from: say so, never return other bytes. */
static void test_a_value_tampered_everywhere_is_refused(void **state)
{
    struct ctx *x = *state;

    assert_int_equal(run(x, 0, CLIENT_PUT, text("k"), text("precious")), OK);
    for (uint8_t i = 0; i < (uint8_t)CLUSTER_NODES; i++) {
        memset(x->c.nodes[i].arena, 0xee, ARENA);
    }
    assert_int_equal(run(x, 0, CLIENT_GET, text("k"), (struct bytes){0}), ERR_INTEGRITY);
    assert_int_equal(x->value_len, 0);
    assert_int_equal(run(x, 1, CLIENT_PUT, text("k"), text("again")), OK);
    expect_read(x, 2, "k", "again");
}

static void test_a_new_session_replaces_the_old(void **state)
{
    struct ctx *x = *state;
    struct rpc_session_params a = cluster_params(0, 1, RPC_SLOTS_PEER, REPLAY_BITS_PEER);
    struct rpc_session_params b = cluster_params(1, 0, RPC_SLOTS_PEER, REPLAY_BITS_PEER);

    a.index += 1U << RPC_INDEX_SLOT_BITS;
    a.peer_index += 1U << RPC_INDEX_SLOT_BITS;
    b.index += 1U << RPC_INDEX_SLOT_BITS;
    b.peer_index += 1U << RPC_INDEX_SLOT_BITS;
    memset(&a.send, 0x77, sizeof(a.send));
    b.recv = a.send;
    x->c.nodes[2].dead = true;
    assert_int_equal(
        replica_session_open(x->c.nodes[0].replica, x->c.now_ns, REPLICA_PEER_MEMBER, 1, &a), OK);
    assert_int_equal(
        replica_session_open(x->c.nodes[1].replica, x->c.now_ns, REPLICA_PEER_MEMBER, 0, &b), OK);
    cluster_settle(&x->c);
    assert_int_equal(run(x, 0, CLIENT_PUT, text("k"), text("v")), OK);
    expect_read(x, 1, "k", "v");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_every_replica_serves_what_any_wrote, setup, teardown),
        cmocka_unit_test_setup_teardown(test_a_quiet_read_takes_one_round, setup, teardown),
        cmocka_unit_test_setup_teardown(test_one_replica_dead_changes_nothing, setup, teardown),
        cmocka_unit_test_setup_teardown(test_two_replicas_dead_refuse_in_time, setup, teardown),
        cmocka_unit_test_setup_teardown(test_large_values_travel_in_fragments, setup, teardown),
        cmocka_unit_test_setup_teardown(test_bad_requests_are_refused_and_counted, setup, teardown),
        cmocka_unit_test_setup_teardown(test_a_client_cannot_vote_or_apply, setup, teardown),
        cmocka_unit_test_setup_teardown(test_a_tampered_value_is_repaired, setup, teardown),
        cmocka_unit_test_setup_teardown(test_a_value_tampered_everywhere_is_refused, setup,
                                        teardown),
        cmocka_unit_test_setup_teardown(test_a_new_session_replaces_the_old, setup, teardown),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
