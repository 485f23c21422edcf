// SPDX-License-Identifier: Apache-2.0
/* Three replicas and a client over a perfect network: what a user gets from one shard. */
#include "tests/replica/cluster.h"
#include "trusted/wire/batch_wire.h"

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
    uint8_t lacks;
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
    x->lacks = r.lacks;
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

/* Runs one request to its end; virtual time passes if it has to. */
static enum err ask(struct ctx *x, uint8_t node, struct client_request m)
{
    uint64_t before = x->answers;

    m.timeout_ms = 3000;
    cluster_ask(&x->c, node, &m, &x->answers);
    assert_int_equal(x->cookie, before);
    return x->status;
}

static enum err run(struct ctx *x, uint8_t node, enum client_op op, struct bytes key,
                    struct bytes value)
{
    return ask(x, node, (struct client_request){.op = op, .key = key, .value = value});
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
    /* On its way when they died: nobody knows. Later ones are not sent at all. */
    assert_int_equal(run(x, 0, CLIENT_PUT, text("k"), text("v")), ERR_INDETERMINATE);
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

/* A new session of the client with node 0, under these rules (NULL: none). */
static void restrict_client(struct ctx *x, const char *one, const char *two)
{
    struct access access = {0};

    assert_true(one == NULL || access_add(&access, one) == OK);
    assert_true(two == NULL || access_add(&access, two) == OK);
    cluster_renew_client(&x->c, &access);
}

static void expect_lacks(struct ctx *x, struct client_request m, unsigned lacks)
{
    assert_int_equal(ask(x, 0, m), ERR_POLICY);
    assert_int_equal(x->lacks, lacks);
    assert_int_equal(x->value_len, 0); /* not a byte of what is there */
}

/* A body for MGET of two keys, or MPUT. */
static struct bytes two_keys(struct mbytes to, unsigned fields, const char *a, const char *b)
{
    const struct batch_item items[] = {{.key = text(a), .value = text("v")},
                                       {.key = text(b), .value = text("v")}};
    struct writer w = {.to = to};

    put_u16(&w, 2);
    batch_item_put(&w, fields, &items[0]);
    batch_item_put(&w, fields, &items[1]);
    assert_false(w.failed);
    return (struct bytes){to.p, w.len};
}

static struct bytes range(uint8_t to[SCAN_ASK_MAX], const char *low, const char *high, bool values)
{
    const struct scan_ask m = {
        .keys_max = 9, .bytes_max = 999, .low = text(low), .high = text(high), .values = values};

    return (struct bytes){to, scan_ask_encode(&m, false, (struct mbytes){to, SCAN_ASK_MAX})};
}

/* ACL-3, ACL-4: every operation, inside and outside of what is permitted. */
static void test_rules_bind_every_operation(void **state)
{
    struct ctx *x = *state;
    const struct client_request secret = {.op = CLIENT_GET, .key = text("b/secret")};
    uint8_t body[SCAN_ASK_MAX];
    const struct mbytes room = {body, sizeof(body)};
    struct replica_report r;
    unsigned refused = 0;

    assert_int_equal(run(x, 0, CLIENT_PUT, text("b/secret"), text("hidden")), OK);
    assert_int_equal(run(x, 0, CLIENT_PUT, text("a/1"), text("one")), OK);
    restrict_client(x, "read,scan:a/", NULL);
    expect_read(x, 0, "a/1", "one");
    expect_lacks(x, secret, ACCESS_READ);
    expect_lacks(x, (struct client_request){.op = CLIENT_GET, .key = text("a")}, ACCESS_READ);
    expect_lacks(x, (struct client_request){.op = CLIENT_PUT, .key = text("a/1")}, ACCESS_WRITE);
    expect_lacks(x, (struct client_request){.op = CLIENT_DELETE, .key = text("a/1")}, ACCESS_WRITE);
    refused += 4;
    for (int rmw = CLIENT_RMW_CAS; rmw <= CLIENT_RMW_DELETE_IF; rmw++) {
        struct client_request m = {
            .op = CLIENT_RMW, .rmw = (enum client_rmw)rmw, .key = text("b/secret")};

        expect_lacks(x, m, ACCESS_READ | ACCESS_WRITE);
        m.key = text("a/1");
        expect_lacks(x, m, ACCESS_WRITE);
        refused += 2;
    }
    expect_lacks(x,
                 (struct client_request){.op = CLIENT_MGET,
                                         .value = two_keys(room, BATCH_MGET, "a/1", "b/secret")},
                 ACCESS_READ);
    expect_lacks(x,
                 (struct client_request){.op = CLIENT_MPUT,
                                         .value = two_keys(room, BATCH_MPUT, "a/1", "a/2")},
                 ACCESS_WRITE);
    expect_lacks(x, (struct client_request){.op = CLIENT_SCAN, .value = range(body, "", "", false)},
                 ACCESS_SCAN);
    expect_lacks(x,
                 (struct client_request){.op = CLIENT_SCAN, .value = range(body, "a/", "b", true)},
                 ACCESS_SCAN | ACCESS_READ);
    refused += 4;
    assert_int_equal(run(x, 0, CLIENT_MGET, text(""), two_keys(room, BATCH_MGET, "a/1", "a/2")),
                     OK);
    assert_int_equal(run(x, 0, CLIENT_SCAN, text(""), range(body, "a/", "a0", true)), OK);
    body[0] = 0x7f; /* what cannot be read is not let through to somebody who reads it otherwise */
    assert_int_equal(ask(x, 0, (struct client_request){.op = CLIENT_SCAN, .value = {body, 9}}),
                     ERR_MALFORMED);
    replica_report(x->c.nodes[0].replica, &r);
    assert_int_equal(r.requests_forbidden, refused);

    restrict_client(x, "write:b/", "scan:");
    assert_int_equal(run(x, 0, CLIENT_PUT, text("b/secret"), text("blind")), OK);
    expect_lacks(x, secret, ACCESS_READ);
    assert_int_equal(run(x, 0, CLIENT_SCAN, text(""), range(body, "", "", false)), OK);
    expect_lacks(x, (struct client_request){.op = CLIENT_SCAN, .value = range(body, "", "", true)},
                 ACCESS_READ);
    restrict_client(x, NULL, NULL); /* a session after another in the same place has none of it */
    expect_read(x, 0, "b/secret", "blind");
    expect_read(x, 0, "a/1", "one");
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
    assert_int_equal(replica_session_open(x->c.nodes[0].replica, x->c.now_ns,
                                          &(struct replica_peer){REPLICA_PEER_MEMBER, 1, NULL}, &a),
                     OK);
    assert_int_equal(replica_session_open(x->c.nodes[1].replica, x->c.now_ns,
                                          &(struct replica_peer){REPLICA_PEER_MEMBER, 0, NULL}, &b),
                     OK);
    cluster_settle(&x->c);
    assert_int_equal(run(x, 0, CLIENT_PUT, text("k"), text("v")), OK);
    expect_read(x, 1, "k", "v");
}

/* The places of all who were there move up because a node with a smaller number comes in: copying
 * goes on from where the voter stands now. */
static void test_copying_goes_on_when_places_move(void **state)
{
    struct ctx *x = *state;
    struct replica_members m = {
        .epoch = 2, .members_n = 2, .voters = 2, .incarnations = {102, 103}};
    struct replica_report r;

    assert_int_equal(run(x, 0, CLIENT_PUT, text("k"), text("v")), OK);
    for (uint8_t i = 1; i < (uint8_t)CLUSTER_NODES; i++) { /* nodes 1 and 2, who do not meet */
        m.self = (uint8_t)(i - 1);
        m.copies = i == 1;
        replica_reconfigure(x->c.nodes[i].replica, x->c.now_ns, &m);
    }
    m = (struct replica_members){
        .epoch = 3, .members_n = 3, .voters = 4, .incarnations = {104, 102, 103}};
    for (uint8_t i = 0; i < (uint8_t)CLUSTER_NODES; i++) {
        m.self = i;
        m.copies = i != 2;
        replica_reconfigure(x->c.nodes[i].replica, x->c.now_ns, &m);
    }
    cluster_settle(&x->c);
    for (uint8_t i = 0; i < (uint8_t)CLUSTER_NODES; i++) {
        for (uint8_t k = 0; k < (uint8_t)CLUSTER_NODES; k++) {
            const struct replica_peer peer = {.kind = REPLICA_PEER_MEMBER, .member = k};
            struct rpc_session_params p = cluster_params(i, k, RPC_SLOTS_PEER, REPLAY_BITS_PEER);

            p.index = 3U << RPC_INDEX_SLOT_BITS | k;
            p.peer_index = 3U << RPC_INDEX_SLOT_BITS | i;
            if (i != k) {
                assert_int_equal(
                    replica_session_open(x->c.nodes[i].replica, x->c.now_ns, &peer, &p), OK);
            }
        }
    }
    cluster_pass(&x->c, 1000000000);
    for (uint8_t i = 0; i < 2; i++) {
        replica_report(x->c.nodes[i].replica, &r);
        assert_true(r.copied && !r.copying);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_copying_goes_on_when_places_move, setup, teardown),
        cmocka_unit_test_setup_teardown(test_every_replica_serves_what_any_wrote, setup, teardown),
        cmocka_unit_test_setup_teardown(test_a_quiet_read_takes_one_round, setup, teardown),
        cmocka_unit_test_setup_teardown(test_one_replica_dead_changes_nothing, setup, teardown),
        cmocka_unit_test_setup_teardown(test_two_replicas_dead_refuse_in_time, setup, teardown),
        cmocka_unit_test_setup_teardown(test_large_values_travel_in_fragments, setup, teardown),
        cmocka_unit_test_setup_teardown(test_bad_requests_are_refused_and_counted, setup, teardown),
        cmocka_unit_test_setup_teardown(test_a_client_cannot_vote_or_apply, setup, teardown),
        cmocka_unit_test_setup_teardown(test_rules_bind_every_operation, setup, teardown),
        cmocka_unit_test_setup_teardown(test_a_tampered_value_is_repaired, setup, teardown),
        cmocka_unit_test_setup_teardown(test_a_value_tampered_everywhere_is_refused, setup,
                                        teardown),
        cmocka_unit_test_setup_teardown(test_a_new_session_replaces_the_old, setup, teardown),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
