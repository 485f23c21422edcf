// SPDX-License-Identifier: Apache-2.0
/* Who gets no session, and what each end is told. CTL-3, CTL-4, CTL-5. */
#include "tests/control/net.h"

#include <stdio.h>
#include <stdlib.h>

static struct net *net;

static int setup(void **state)
{
    (void)state;
    net = net_open(0);
    for (int i = 0; i < NET_NODES; i++) {
        net_start(net, i, (uint8_t)(i + 1));
    }
    net_pass(net, 200 * NET_MS);
    assert_int_equal(control_members_up(net->nodes[0]), 7);
    net->log[0] = '\0';
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    net_close(net);
    return 0;
}

static void assert_logged(const char *what)
{
    if (strstr(net->log, what) == NULL) {
        fail_msg("the log does not say '%s':\n%s", what, net->log);
    }
}

/* The dialer is refused by `node`: it gets err and a line, the log has the same, no session opens,
 * the stream ends. */
static void refused(const struct dialer_config *k, int node, enum err want, const char *says)
{
    uint64_t before = control_counters(net->nodes[node])->refused;
    uint32_t sessions = net_sessions(net, node), opened = net->sessions_n;
    struct net_conn *c = net_dial(net, k, node);

    net_run(net);
    if (c->client_err != want) {
        fail_msg("%s: '%s', not %s", err_name(c->client_err), c->client_why.text, err_name(want));
    }
    assert_says(&c->client_why, "refused us");
    assert_says(&c->client_why, says);
    assert_logged(says);
    assert_false(dialer_ready(c->client));
    assert_true(c->acceptor_gone);
    assert_int_equal(control_counters(net->nodes[node])->refused, before + 1);
    assert_int_equal(net_sessions(net, node), sessions);
    assert_int_equal(net->sessions_n, opened);
    net_hang_up(net, c);
}

static struct identity *replica_identity(uint32_t node, uint32_t incarnation, uint64_t epoch)
{
    struct identity_name name = fixture_replica(&net->cluster, 0);

    name.node = node;
    name.incarnation = incarnation;
    name.epoch = epoch;
    return fixture_identity(&net->ca, &name);
}

static struct identity *client_identity(void)
{
    struct identity_name name = fixture_client(&net->cluster, "alice");

    return fixture_identity(&net->ca, &name);
}

static void test_roles(void **state)
{
    struct identity *alice = client_identity();
    struct dialer_config k = net_replica(net, alice, 0, 1);

    (void)state;
    refused(&k, 1, ERR_POLICY, "says that it is a replica");
    k = net_client(net, net->ids[0], 1);
    refused(&k, 1, ERR_POLICY, "says that it is a client");
    identity_free(alice);
}

static void test_wrong_cluster(void **state)
{
    struct identity_name name = fixture_client(&net->cluster, "alice");
    struct identity *other = NULL;
    struct dialer_config k;

    (void)state;
    name.cluster[3] ^= 1;
    other = fixture_identity(&net->ca, &name);
    k = net_client(net, other, 1);
    refused(&k, 1, ERR_POLICY, "another cluster");
    identity_free(other);
    name = fixture_replica(&net->cluster, 0);
    name.cluster[3] ^= 1;
    other = fixture_identity(&net->ca, &name);
    k = net_replica(net, other, 0, 1);
    refused(&k, 1, ERR_POLICY, "another cluster");
    identity_free(other);
}

static void test_incarnations(void **state)
{
    struct identity *id = replica_identity(1, 99, 5);
    struct dialer_config k = net_replica(net, id, 0, 1);

    (void)state;
    refused(&k, 1, ERR_POLICY, "incarnation 11 of node 1 is no member");
    k.incarnation = 99;
    refused(&k, 1, ERR_POLICY, "incarnation 99 of node 1 is no member");
    k = net_replica(net, net->ids[0], 0, 1);
    k.incarnation = 99;
    refused(&k, 1, ERR_POLICY, "incarnation 99 of node 1 is no member");
    identity_free(id);
    id = replica_identity(3, 13, 5);
    k = net_replica(net, id, 0, 1);
    k.incarnation = 13;
    refused(&k, 1, ERR_POLICY, "incarnation 13 of node 3 is no member");
    identity_free(id);
}

static void test_epochs(void **state)
{
    struct identity *id = replica_identity(1, 11, 6);
    struct identity *alice = client_identity();
    struct dialer_config k = net_replica(net, id, 0, 1);

    (void)state;
    refused(&k, 1, ERR_EPOCH, "it is of configuration epoch 6, we are of epoch 5");
    k = net_replica(net, net->ids[0], 0, 1);
    k.epoch = 4;
    refused(&k, 1, ERR_EPOCH, "it is of configuration epoch 4, we are of epoch 5");
    k.epoch = 6;
    refused(&k, 1, ERR_EPOCH, "it is of configuration epoch 6, we are of epoch 5");
    k = net_replica(net, net->ids[0], 0, 1);
    k.epoch = 0; /* a replica must say its epoch: no message at all */
    refused(&k, 1, ERR_MALFORMED, "no message");
    k = net_client(net, alice, 1);
    k.epoch = 5;
    k.role = ROLE_CLIENT;
    {
        struct net_conn *c = net_dial(net, &k, 1);

        net_run(net);
        assert_true(dialer_ready(c->client));
        net_hang_up(net, c);
    }
    identity_free(id);
    identity_free(alice);
}

/* CTL-4, accepted direction: a second process under the incarnation of a member. */
static void test_clone_dials(void **state)
{
    struct dialer_config k = net_replica(net, net->ids[0], 0, 1);
    const struct net_session *s = net_session(net, 1, 0, 0);
    uint32_t index = s->a.index;

    (void)state;
    memset(k.boot, 0x99, sizeof(k.boot));
    refused(&k, 1, ERR_POLICY,
            "another process already ran under incarnation 11 of node 1: a restarted or cloned "
            "member must join as a new one");
    s = net_session(net, 1, 0, 0); /* the first one is not disturbed */
    assert_int_equal(s->a.index, index);
    assert_int_equal(control_members_up(net->nodes[1]), 7);

    /* not even when the first one is gone */
    net_stop(net, 0);
    net_run(net);
    assert_int_equal(control_members_up(net->nodes[1]), 6);
    refused(&k, 1, ERR_POLICY, "another process already ran under incarnation 11 of node 1");
    net_start(net, 0, 0x99);
    net_pass(net, 6000 * NET_MS);
    assert_int_equal(control_members_up(net->nodes[0]), 1);
    assert_int_equal(control_members_up(net->nodes[1]), 6);
    assert_logged("0: dialing node 2: node 2 refused us: another process already ran");
    net_start(net, 0, 1); /* the very same process, after all, would be let in */
    net_pass(net, 6000 * NET_MS);
    assert_int_equal(control_members_up(net->nodes[1]), 7);
}

/* CTL-4, dialed direction. */
static void test_clone_is_dialed(void **state)
{
    (void)state;
    net_start(net, 2, 0x99);
    net_pass(net, 6000 * NET_MS);
    assert_int_equal(control_members_up(net->nodes[0]), 3);
    assert_int_equal(control_members_up(net->nodes[1]), 3);
    assert_int_equal(control_members_up(net->nodes[2]), 4);
    assert_int_equal(net_sessions(net, 2), 0);
    assert_int_equal(net_sessions(net, 0), 2);
    assert_logged("0: refused node 4: another process already ran under incarnation 14 of node 4");
    assert_logged("2: node 1 (incarnation 11) ended the connection: another process already ran");
    net_start(net, 2, 3);
    net_pass(net, 6000 * NET_MS);
    assert_int_equal(control_members_up(net->nodes[0]), 7);
}

/* A clone of ourselves, and members that dial the wrong way round. */
static void test_directions(void **state)
{
    struct dialer_config k = net_replica(net, net->ids[1], 1, 1);

    (void)state;
    refused(&k, 1, ERR_POLICY, "a second process runs under our own incarnation 12 of node 2");
    k = net_replica(net, net->ids[2], 2, 1);
    refused(&k, 1, ERR_POLICY, "the one with the smaller node dials");
}

static void test_shards(void **state)
{
    struct identity *alice = client_identity();
    struct dialer_config k = net_replica(net, net->ids[0], 0, 1);

    (void)state;
    k.shards_n = 3;
    refused(&k, 1, ERR_POLICY, "3 shards, the configuration says 2");
    k = net_client(net, alice, 1);
    k.shards_n = 1;
    refused(&k, 1, ERR_POLICY, "ready for 1 shards");
    identity_free(alice);
}

/* What the dialer itself refuses. */
static void dialer_refuses(const struct dialer_config *k, int node, enum err want, const char *says)
{
    uint32_t sessions = net_sessions(net, node);
    struct net_conn *c = net_dial(net, k, node);

    net_run(net);
    assert_int_equal(c->client_err, want);
    assert_says(&c->client_why, says);
    assert_false(dialer_ready(c->client));
    net_hang_up(net, c);
    assert_int_equal(net_sessions(net, node), sessions);
}

static void test_dialer(void **state)
{
    struct identity *alice = client_identity();
    struct dialer_config k = net_client(net, alice, 1);

    (void)state;
    dialer_refuses(&k, 0, ERR_POLICY, "node 1 answered where node 2 should");
    k.peer_incarnation = 13;
    dialer_refuses(&k, 1, ERR_POLICY,
                   "node 2 runs under incarnation 12, the configuration says 13");
    k = net_client(net, alice, 1);
    k.epoch = 6;
    dialer_refuses(&k, 1, ERR_EPOCH, "it expects configuration epoch 6, we are of epoch 5");
    k = net_client(net, alice, 1);
    k.cluster[0] ^= 1;
    dialer_refuses(&k, 1, ERR_POLICY, "another cluster");
    k = net_client(net, alice, 1);
    k.now_s = NOW_S + UINT64_C(400) * 86400;
    dialer_refuses(&k, 1, ERR_AUTH, "expired on 2028-01-15");
    k.now_s = NOW_S - 7200;
    dialer_refuses(&k, 1, ERR_AUTH, "not valid before");
    identity_free(alice);
}

/* A client that poses as a node cannot be one for long: its certificate says so. */
static void test_false_node(void **state)
{
    struct identity *alice = client_identity(), *mallory = client_identity();
    struct dialer_config k = net_client(net, alice, 1);
    struct dialer *d = NULL;
    struct tls *t = NULL;
    struct explain why = {0};
    enum err err = OK;
    uint8_t buf[4096];

    (void)state;
    assert_int_equal(dialer_open(&k, &d), OK);
    assert_int_equal(tls_open(mallory, true, &t), OK);
    for (int i = 0; i < 10 && err == OK; i++) {
        size_t n = dialer_output(d, (struct mbytes){buf, sizeof(buf)});

        assert_int_equal(tls_input(t, (struct bytes){buf, n}, &why), OK);
        n = tls_output(t, (struct mbytes){buf, sizeof(buf)});
        err = dialer_input(d, (struct bytes){buf, n}, &why);
    }
    assert_int_equal(err, ERR_POLICY);
    assert_says(&why, "the other end is the client 'alice'");
    assert_int_equal(dialer_input(d, (struct bytes){buf, 1}, &why), ERR_POLICY);
    tls_close(t);
    dialer_close(d);
    identity_free(alice);
    identity_free(mallory);
}

/* The node judges dates at its own time, which goes on after the start. */
static void test_time_goes_on(void **state)
{
    struct identity *alice = client_identity();
    struct dialer_config k = net_client(net, alice, 1);
    struct net_conn *c = NULL;

    (void)state;
    for (int day = 0; day < 2; day++) {
        net->now_ns += UINT64_C(183) * 86400 * 1000 * NET_MS;
        c = net_dial(net, &k, 1);
        net_run(net);
        assert_int_equal(c->client_err, day == 0 ? OK : ERR_AUTH);
        net_hang_up(net, c);
    }
    assert_logged("the other end's certificate expired on 2028-01-15");
    identity_free(alice);
}

/* CTL-5: strangers wait for each other, members do not. */
static void test_crowd(void **state)
{
    struct identity *alice = client_identity();
    struct dialer_config k = net_client(net, alice, 1);
    struct net_conn *c = NULL;

    (void)state;
    net_stop(net, 0);
    net_run(net);
    for (int i = 0; i < 300; i++) {
        assert_non_null(net_connect(net, 1));
    }
    net_run(net);
    assert_int_equal(control_counters(net->nodes[1])->evicted, 300 - CONTROL_UNPROVEN_MAX);
    net_start(net, 0, 1);
    net_pass(net, 10 * NET_MS);
    assert_int_equal(control_members_up(net->nodes[1]), 7);
    c = net_dial(net, &k, 1);
    for (int i = 0; i < CONTROL_UNPROVEN_MAX - 1; i++) { /* the oldest goes, so the client stays */
        assert_non_null(net_connect(net, 1));
    }
    net_run(net);
    assert_true(dialer_ready(c->client));
    assert_true(control_deadline(net->nodes[1]) < UINT64_MAX);
    net_pass(net, 1100 * NET_MS);
    /* 300 strangers, a member, a client, 127 strangers: 128 found room, one place came free */
    assert_int_equal(control_counters(net->nodes[1])->evicted, 300);
    assert_int_equal(control_counters(net->nodes[1])->timed_out, CONTROL_UNPROVEN_MAX - 1);
    /* Nothing is due but the end of the client's certificate, CTL-14. */
    assert_true(control_deadline(net->nodes[1]) > net->now_ns + UINT64_C(3600000) * NET_MS);
    assert_true(dialer_ready(c->client)); /* who is through stays */
    assert_int_equal(net_sessions(net, 1), 6);
    assert_logged("lines about connections were left out");
    identity_free(alice);
}

/* Proven, but silent: the time is for the whole of it. */
static void test_no_hello(void **state)
{
    struct identity *alice = client_identity();
    struct net_conn *c = net_connect(net, 1);
    struct tls *t = NULL;
    uint8_t buf[4096];
    struct explain why = {0};

    (void)state;
    assert_int_equal(tls_open(alice, false, &t), OK);
    for (int i = 0; i < 5; i++) {
        size_t n = tls_output(t, (struct mbytes){buf, sizeof(buf)});

        net_send(c, buf, n);
        net_run(net);
        assert_int_equal(tls_input(t, (struct bytes){c->down.p, c->down.len}, &why), OK);
        c->down.len = c->down.off = 0;
    }
    assert_true(tls_ready(t));
    net_pass(net, 999 * NET_MS);
    assert_false(c->acceptor_gone);
    net_pass(net, 2 * NET_MS);
    assert_true(c->acceptor_gone);
    assert_int_equal(control_counters(net->nodes[1])->timed_out, 1);
    tls_close(t);
    identity_free(alice);
}

/* Bytes of any kind at any point: no crash, no session that was not earned. */
static void test_garbage(void **state)
{
    struct identity *alice = client_identity();
    struct dialer_config k = net_client(net, alice, 1);
    struct prng rng = {.state = 3};
    uint32_t ready = 0;

    (void)state;
    for (int round = 0; round < 200; round++) {
        uint32_t before = net->sessions_n;
        struct net_conn *c = net_dial(net, &k, 1);
        size_t at = prng_below(&rng, 2500);
        uint8_t junk[300];
        bool was_ready = false;

        for (size_t i = 0; i < sizeof(junk); i++) {
            junk[i] = (uint8_t)prng_u64(&rng);
        }
        net->chunk = 1 + at % 97;
        if (c->up.len > at) {
            c->up.len = at; /* cut, then noise */
        }
        net_send(c, junk, prng_below(&rng, sizeof(junk)));
        net_run(net);
        was_ready = dialer_ready(c->client);
        ready += was_ready;
        if (!was_ready) {
            assert_int_equal(net->sessions_n, before);
        }
        net_hang_up(net, c);
        assert_int_equal(net_sessions(net, 1), 4);
    }
    assert_true(ready < 20);
    assert_int_equal(control_members_up(net->nodes[1]), 7);
    identity_free(alice);
}

/* Authenticated and then nonsense: a message too long, one at the wrong time, one that is none. */
static void test_nonsense(void **state)
{
    static const struct {
        uint8_t bytes[64];
        size_t n;
    } texts[] = {
        {{255, 255, 255, 255, 1}, 5},
        {{0, 0, 0, 0}, 4},
        {{1, 0, 0, 0, 9}, 5},
        {{3, 0, 0, 0, 4, 'h', 'i'}, 7},
        {{3, 0, 0, 0, 1, CONTROL_VERSION + 1, 0}, 7},
        {{1, 0, 0, 0, 3}, 5},
    };
    struct identity *alice = client_identity();
    uint8_t buf[4096];

    (void)state;
    for (size_t i = 0; i < sizeof(texts) / sizeof(texts[0]); i++) {
        struct net_conn *c = net_connect(net, 1);
        struct tls *t = NULL;
        struct explain why = {0};
        uint64_t refused_before = control_counters(net->nodes[1])->refused;

        assert_int_equal(tls_open(alice, false, &t), OK);
        for (int step = 0; step < 5; step++) {
            size_t n = 0;

            if (step == 3) {
                assert_true(tls_ready(t));
                assert_int_equal(tls_write(t, (struct bytes){texts[i].bytes, texts[i].n}), OK);
            }
            n = tls_output(t, (struct mbytes){buf, sizeof(buf)});
            net_send(c, buf, n);
            net_run(net);
            assert_int_equal(tls_input(t, (struct bytes){c->down.p, c->down.len}, &why), OK);
            c->down.len = c->down.off = 0;
        }
        assert_true(c->acceptor_gone);
        assert_true(tls_read(t, (struct mbytes){buf, sizeof(buf)}) > 6);
        assert_int_equal(buf[4], CONTROL_BYE);
        assert_int_equal(buf[5], i == 4 ? ERR_MISMATCH : ERR_MALFORMED);
        assert_int_equal(control_counters(net->nodes[1])->refused, refused_before + 1);
        tls_close(t);
    }
    assert_int_equal(net_sessions(net, 1), 4);
    identity_free(alice);
}

/* CTL-7: sessions are bounded; indices of former sessions never come back; members keep room. */
static void test_sessions_max(void **state)
{
    struct identity *alice = client_identity();
    struct dialer_config k = net_client(net, alice, 1);
    struct net_conn *c[3];

    (void)state;
    net->sessions_max = CLUSTER_MAX + 2;
    net_start(net, 1, 2);
    net_pass(net, 6000 * NET_MS);
    for (int round = 0; round < 40; round++) {
        c[0] = net_dial(net, &k, 1);
        net_run(net);
        /* two members and the reserve leave no room for a client */
        if (round == 0) {
            assert_int_equal(c[0]->client_err, ERR_FULL);
            assert_says(&c[0]->client_why, "greatest number of sessions");
            net->sessions_max = CLUSTER_MAX + 4;
            net_hang_up(net, c[0]);
            net_start(net, 1, 2);
            net_pass(net, 6000 * NET_MS);
            continue;
        }
        c[1] = net_dial(net, &k, 1);
        net_run(net);
        c[2] = net_dial(net, &k, 1);
        net_run(net);
        assert_int_equal(c[0]->client_err, OK);
        assert_int_equal(c[1]->client_err, OK);
        assert_int_equal(c[2]->client_err, ERR_FULL);
        for (int i = 0; i < 3; i++) {
            net_hang_up(net, c[i]);
        }
    }
    assert_int_equal(control_members_up(net->nodes[1]), 7);
    identity_free(alice);
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
    const struct CMUnitTest tests[] = {
        TEST(test_roles),        TEST(test_wrong_cluster), TEST(test_incarnations),
        TEST(test_epochs),       TEST(test_clone_dials),   TEST(test_clone_is_dialed),
        TEST(test_directions),   TEST(test_shards),        TEST(test_dialer),
        TEST(test_false_node),   TEST(test_time_goes_on),  TEST(test_crowd),
        TEST(test_no_hello),     TEST(test_garbage),       TEST(test_nonsense),
        TEST(test_sessions_max),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
