// SPDX-License-Identifier: Apache-2.0
#include "tests/control/net.h"

#include <stdio.h>
#include <stdlib.h>

static struct net *mesh(size_t chunk)
{
    struct net *n = net_open(chunk);

    for (int i = 0; i < NET_NODES; i++) {
        net_start(n, i, (uint8_t)(i + 1));
    }
    net_run(n);
    net_pass(n, 200 * NET_MS); /* who dialed before the other was there */
    return n;
}

static struct identity *client_identity(const struct net *n, const char *name)
{
    struct identity_name id = fixture_client(&n->cluster, name);

    return fixture_identity(&n->ca, &id);
}

static void assert_mesh(const struct net *n)
{
    for (int a = 0; a < NET_NODES; a++) {
        assert_int_equal(control_members_up(n->nodes[a]), 7);
        for (int b = a + 1; b < NET_NODES; b++) {
            for (uint32_t s = 0; s < n->cluster.shards; s++) {
                const struct net_session *at_a = net_session(n, a, (uint8_t)b, s);
                const struct net_session *at_b = net_session(n, b, (uint8_t)a, s);

                assert_non_null(at_a);
                assert_non_null(at_b);
                net_assert_joined(&at_a->a.params, &at_b->a.params);
            }
        }
    }
}

/* Three nodes, one stream and one session per shard for each pair. CTL-3, CTL-6, CTL-7. */
static void test_mesh(void **state)
{
    static const size_t chunks[] = {1, 100, 4096, 0};

    (void)state;
    for (size_t i = 0; i < sizeof(chunks) / sizeof(chunks[0]); i++) {
        struct net *n = mesh(chunks[i]);
        const struct rpc_session_params *p = NULL;

        assert_mesh(n);
        for (int a = 0; a < NET_NODES; a++) {
            assert_int_equal(net_sessions(n, a), 4);
            assert_int_equal(control_counters(n->nodes[a])->sessions, 4);
            assert_int_equal(control_counters(n->nodes[a])->handshakes_ok, 2);
            assert_int_equal(control_counters(n->nodes[a])->handshakes_failed, 0);
        }
        /* every secret of the cluster is its own */
        for (uint32_t x = 0; x < n->sessions_n; x++) {
            for (uint32_t y = 0; y < x; y++) {
                const struct net_session *s = &n->sessions[x], *t = &n->sessions[y];

                if (s->node == t->node) {
                    assert_memory_not_equal(&s->a.params.send, &t->a.params.send, 32);
                    assert_memory_not_equal(&s->a.params.recv, &t->a.params.recv, 32);
                    assert_memory_not_equal(&s->a.params.send, &t->a.params.recv, 32);
                }
            }
        }
        p = &net_session(n, 0, 2, 1)->a.params;
        assert_int_equal(p->addr.family, 6);
        assert_int_equal(p->addr.ip[15], 1);
        assert_int_equal(p->addr.port, 7402);
        assert_int_equal(p->slots, RPC_SLOTS_PEER);
        assert_int_equal(p->replay_bits, REPLAY_BITS_PEER);
        p = &net_session(n, 2, 1, 0)->a.params;
        assert_int_equal(p->addr.family, 4);
        assert_int_equal(p->addr.ip[0], 127);
        assert_int_equal(p->addr.port, 7301);
        net_close(n);
    }
}

/* A client learns the cluster and gets a session with every shard. */
static void test_client(void **state)
{
    struct net *n = mesh(0);
    struct identity *alice = client_identity(n, "alice");
    struct dialer_config k = net_client(n, alice, 1);
    struct net_conn *c[2];
    struct rpc_session_params p[2][2];

    (void)state;
    for (int i = 0; i < 2; i++) {
        c[i] = net_dial(n, &k, 1);
        assert_false(dialer_ready(c[i]->client));
        net_run(n);
        assert_true(dialer_ready(c[i]->client));
        assert_int_equal(dialer_welcome(c[i]->client)->epoch, 5);
        assert_int_equal(dialer_welcome(c[i]->client)->shards_n, 2);
        assert_int_equal(dialer_welcome(c[i]->client)->datagram_bytes, DATAGRAM_DEFAULT);
        for (uint32_t s = 0; s < 2; s++) {
            const struct net_session *at = net_session(n, 1, 0xff, s);
            struct abi_addr host = {.family = 4, .ip = {127, 0, 0, 1}};

            assert_int_equal(dialer_session(c[i]->client, s, host, &p[i][s]), OK);
            net_assert_joined(&p[i][s], &at->a.params);
            assert_int_equal(at->a.role, ROLE_CLIENT);
            assert_int_equal(at->a.params.addr.family, 0);
            assert_int_equal(at->a.params.slots, RPC_SLOTS_CLIENT);
            assert_int_equal(p[i][s].addr.port, 7301 + s);
            assert_int_equal(p[i][s].addr.family, 4);
        }
    }
    assert_memory_not_equal(&p[0][0].send, &p[0][1].send, 32);
    assert_memory_not_equal(&p[0][0].send, &p[1][0].send, 32);
    assert_int_equal(net_sessions(n, 1), 8);
    assert_int_equal(control_members_up(n->nodes[1]), 7);

    net_hang_up(n, c[0]);
    assert_int_equal(net_sessions(n, 1), 6);
    net_hang_up(n, c[1]);
    assert_int_equal(net_sessions(n, 1), 4);
    identity_free(alice);
    net_close(n);
}

/* CTL-9 */
static void test_report(void **state)
{
    struct net *n = mesh(0);
    struct identity *alice = client_identity(n, "alice");
    struct dialer_config k = net_client(n, alice, 0);
    struct net_conn *c = net_dial(n, &k, 0);
    const char *text = NULL;
    char *big = malloc(CONTROL_REPORT_MAX + 1);
    size_t len = 0;

    (void)state;
    assert_int_equal(dialer_ask_report(c->client), ERR_CLOSED);
    net_run(n);
    assert_int_equal(dialer_ask_report(c->client), OK);
    assert_int_equal(dialer_ask_report(c->client), OK);
    net_run(n);
    assert_int_equal(n->reports_asked, 1);
    assert_null(dialer_report(c->client, &len));
    control_report(n->nodes[0], n->last_report_stream,
                   (struct bytes){(const uint8_t *)"{\"a\":1}", 7});
    control_report(n->nodes[0], n->last_report_stream, (struct bytes){(const uint8_t *)"{}", 2});
    control_report(n->nodes[0], 0, (struct bytes){(const uint8_t *)"{}", 2});
    control_report(n->nodes[0], n->last_report_stream + 1024, (struct bytes){0});
    net_drain(n, 0);
    net_run(n);
    text = dialer_report(c->client, &len);
    assert_non_null(text);
    assert_int_equal(len, 7);
    assert_string_equal(text, "{\"a\":1}");
    assert_null(dialer_report(c->client, &len));

    memset(big, 'x', CONTROL_REPORT_MAX);
    big[CONTROL_REPORT_MAX] = '\0';
    n->report = big;
    n->chunk = 4096;
    for (int i = 0; i < 2; i++) {
        assert_int_equal(dialer_ask_report(c->client), OK);
        net_run(n);
        assert_non_null(dialer_report(c->client, &len));
        assert_int_equal(len, CONTROL_REPORT_MAX);
    }
    assert_int_equal(n->reports_asked, 3);
    assert_int_equal(c->client_err, OK);
    net_hang_up(n, c);
    free(big);
    identity_free(alice);
    net_close(n);
}

/* A stream that breaks takes its sessions along; the pair finds itself again. CTL-8, CTL-10. */
/* ACL-2, ACL-5: the rules of a certificate go with its sessions, and say who may see our state. */
static void test_rules(void **state)
{
    static const char refused[] = CONTROL_REPORT_REFUSED;
    struct net *n = mesh(0);
    struct identity_name name = fixture_client(&n->cluster, "reader");
    struct identity *reader = NULL, *alice = client_identity(n, "alice");
    const struct net_session *s = NULL;
    struct dialer_config k;
    struct net_conn *c = NULL;
    const char *text = NULL;
    size_t len = 0;

    (void)state;
    k = net_client(n, alice, 0);
    c = net_dial(n, &k, 0);
    net_run(n);
    s = net_session(n, 0, 0xff, 1);
    assert_int_equal(s->a.access.rules_n, 0);
    net_hang_up(n, c);
    assert_int_equal(access_add(&name.access, "read,scan:a/"), OK);
    reader = fixture_identity(&n->ca, &name);
    k = net_client(n, reader, 0);
    c = net_dial(n, &k, 0);
    net_run(n);
    for (uint32_t shard = 0; shard < n->cluster.shards; shard++) {
        s = net_session(n, 0, 0xff, shard);
        assert_non_null(s);
        assert_memory_equal(&s->a.access, &name.access, sizeof(name.access));
    }
    for (int i = 0; i < 2; i++) { /* it may ask again, in vain */
        assert_int_equal(dialer_ask_report(c->client), OK);
        net_run(n);
        text = dialer_report(c->client, &len);
        assert_non_null(text);
        assert_int_equal(len, sizeof(refused) - 1);
        assert_string_equal(text, refused);
    }
    assert_int_equal(n->reports_asked, 0);
    identity_free(alice);
    identity_free(reader);
    net_close(n);
}

static void test_lost(void **state)
{
    struct net *n = mesh(0);

    (void)state;
    net_stop(n, 2);
    net_run(n);
    assert_int_equal(control_members_up(n->nodes[0]), 3);
    assert_int_equal(control_members_up(n->nodes[1]), 3);
    assert_int_equal(net_sessions(n, 0), 2);
    assert_non_null(strstr(n->log, "the connection with node 4 is over"));

    /* the dialing end of a pair loses the stream, the other has not noticed */
    control_closed(n->nodes[0], n->now_ns, n->conns[0].dialer_stream);
    n->conns[0].dialer_gone = true;
    net_drain(n, 0);
    assert_int_equal(control_members_up(n->nodes[0]), 1);
    assert_int_equal(control_members_up(n->nodes[1]), 3);
    net_pass(n, 150 * NET_MS);
    assert_int_equal(control_members_up(n->nodes[0]), 3);
    assert_int_equal(net_sessions(n, 0), 2);
    assert_int_equal(net_sessions(n, 1), 2);
    net_assert_joined(&net_session(n, 0, 1, 1)->a.params, &net_session(n, 1, 0, 1)->a.params);
    assert_non_null(strstr(n->log, "its former connection is closed"));
    net_close(n);
}

/* CTL-10: dials of a member that is down become rarer, up to five seconds, and never stop. */
static void test_redial(void **state)
{
    struct net *n = net_open(0);
    uint32_t before = 0;

    (void)state;
    net_start(n, 1, 2);
    net_pass(n, 1000 * NET_MS);
    assert_int_equal(n->dials_total, 4); /* at 0, 100, 300, 700 ms */
    net_pass(n, 60000 * NET_MS);
    before = n->dials_total;
    assert_in_range(before, 14, 18);
    net_pass(n, 50000 * NET_MS);
    assert_int_equal(n->dials_total, before + 10);
    net_start(n, 2, 3);
    net_pass(n, 5000 * NET_MS);
    assert_int_equal(control_members_up(n->nodes[1]), 6);
    net_stop(n, 2);
    net_run(n);
    before = n->dials_total;
    net_pass(n, 100 * NET_MS); /* and soon again after it was there */
    assert_int_equal(n->dials_total, before + 1);
    net_close(n);
}

static void test_deadline(void **state)
{
    struct net *n = net_open(0);
    uint32_t stream = 0;

    (void)state;
    net_start(n, 0, 1);
    assert_int_equal(n->dials_n, 2);
    assert_int_equal(control_deadline(n->nodes[0]), UINT64_MAX); /* the driver is connecting */
    net_run(n);
    assert_int_equal(control_deadline(n->nodes[0]), n->now_ns + 100 * NET_MS);
    assert_int_equal(control_dialed(n->nodes[0], n->now_ns, 1, &stream), ERR_USAGE);
    assert_int_equal(control_dialed(n->nodes[0], n->now_ns, 0, &stream), ERR_USAGE);
    assert_int_equal(control_dialed(n->nodes[0], n->now_ns, 200, &stream), ERR_USAGE);
    control_dial_failed(n->nodes[0], n->now_ns, 200);
    net_close(n);
}

/* A clock that jumps or runs backwards changes when, never what. */
static void test_clock(void **state)
{
    struct net *n = mesh(0);

    (void)state;
    control_tick(n->nodes[0], UINT64_MAX);
    net_drain(n, 0);
    control_tick(n->nodes[0], 0);
    net_drain(n, 0);
    net_run(n);
    assert_mesh(n);
    net_close(n);
}

static enum err init(const struct net *n, const struct identity *id, struct explain *why)
{
    struct control_config k = {
        .cluster = &n->cluster, .identity = id, .handshake_timeout_ns = 1, .redial_ns = 1};
    struct control *c = NULL;
    enum err err = control_init(&k, &c, why);

    control_fini(c);
    return err;
}

/* A node whose certificate is not of its configuration does not start. */
static void test_init(void **state)
{
    struct net *n = net_open(0);
    struct identity *alice = client_identity(n, "alice");
    struct explain why = {0};

    (void)state;
    assert_int_equal(init(n, n->ids[0], &why), OK);
    assert_int_equal(init(n, alice, &why), ERR_POLICY);
    assert_says(&why, "not of a replica of cluster 'demo'");
    n->cluster.epoch--; /* the identity is of a later one */
    assert_int_equal(init(n, n->ids[0], &why), ERR_EPOCH);
    n->cluster.epoch++;
    n->cluster.members[0].incarnation++;
    assert_int_equal(init(n, n->ids[0], &why), ERR_POLICY);
    assert_says(&why, "incarnation 11 of node 1");
    n->cluster.members[0].incarnation--;
    n->cluster.id[0]++;
    assert_int_equal(init(n, n->ids[0], &why), ERR_POLICY);
    n->cluster.id[0]--;
    memcpy(n->cluster.members[2].address, "::x", 4);
    assert_int_equal(init(n, n->ids[0], &why), ERR_MALFORMED);
    identity_free(alice);
    net_close(n);
}

/* CTL-11: a renewed certificate serves new handshakes; nobody who is through notices. */
static void test_renewed(void **state)
{
    struct net *n = mesh(0);
    struct identity *alice = client_identity(n, "alice"), *renewed = NULL;
    struct identity_name name = fixture_replica(&n->cluster, 1);
    struct dialer_config k = net_client(n, alice, 1);
    struct net_conn *before = net_dial(n, &k, 1), *after = NULL;

    (void)state;
    net_run(n);
    assert_true(dialer_ready(before->client));
    assert_int_equal(control_set_identity(n->nodes[1], n->now_ns, n->ids[0]), ERR_POLICY);
    assert_int_equal(control_set_identity(n->nodes[1], n->now_ns, alice), ERR_POLICY);
    renewed = fixture_identity(&n->ca, &name);
    assert_int_equal(control_set_identity(n->nodes[1], n->now_ns, renewed), OK);
    identity_free(n->ids[1]); /* nothing may look at it again */
    n->ids[1] = renewed;
    net_run(n);
    assert_mesh(n);
    assert_int_equal(net_sessions(n, 1), 6);
    after = net_dial(n, &k, 1);
    net_run(n);
    assert_true(dialer_ready(after->client));
    assert_int_equal(net_sessions(n, 1), 8);
    net_start(n, 0, 1); /* a member comes again: also by the renewed certificate */
    net_run(n);
    net_pass(n, 400 * NET_MS);
    assert_mesh(n);
    net_hang_up(n, before);
    net_hang_up(n, after);
    identity_free(alice);
    net_close(n);
}

/* CTL-12 */
static void test_revoked(void **state)
{
    static struct control_revoked names = {2, {"mallory", "alice"}};
    struct net *n = mesh(0);
    struct identity *alice = client_identity(n, "alice"), *bob = client_identity(n, "bob");
    struct dialer_config k = net_client(n, alice, 1), good = net_client(n, bob, 1);
    struct net_conn *a = net_dial(n, &k, 1), *b = net_dial(n, &good, 1), *again = NULL;

    (void)state;
    net_run(n);
    assert_int_equal(net_sessions(n, 1), 8);
    control_set_revoked(n->nodes[1], n->now_ns, &names);
    net_drain(n, 1);
    net_run(n);
    assert_int_equal(net_sessions(n, 1), 6);
    assert_non_null(strstr(n->log, "refused client alice: its name is revoked"));
    again = net_dial(n, &k, 1);
    net_run(n);
    assert_int_equal(again->client_err, ERR_POLICY);
    assert_says(&again->client_why, "its name is revoked");
    assert_int_equal(net_sessions(n, 1), 6);
    assert_mesh(n);
    names.n = 1; /* and taken back */
    control_set_revoked(n->nodes[1], n->now_ns, &names);
    again = net_dial(n, &k, 1);
    net_run(n);
    assert_true(dialer_ready(again->client));
    net_hang_up(n, again);
    net_hang_up(n, a);
    net_hang_up(n, b);
    identity_free(alice);
    identity_free(bob);
    net_close(n);
}

/* CTL-14: a client's sessions end with its certificate; a member's do not. */
static void test_ended(void **state)
{
    const uint64_t day_ns = UINT64_C(86400000000000);
    struct net *n = mesh(0);
    struct identity_name name = fixture_client(&n->cluster, "brief");
    struct pki_pair pair = {0};
    struct explain why = {0};
    struct identity *brief = NULL, *alice = client_identity(n, "alice");
    struct dialer_config k, good = net_client(n, alice, 1);
    struct net_conn *a = NULL, *b = net_dial(n, &good, 1);

    (void)state;
    assert_int_equal(pki_issue(&n->ca, &name, NOW_S, 1, &pair, &why), OK);
    assert_int_equal(
        identity_from_pem(n->ca.cert_pem, pair.cert_pem, pair.key_pem, NOW_S, &brief, &why), OK);
    k = net_client(n, brief, 1);
    a = net_dial(n, &k, 1);
    net_run(n);
    assert_int_equal(net_sessions(n, 1), 8);
    assert_true(control_deadline(n->nodes[1]) > n->now_ns);
    assert_true(control_deadline(n->nodes[1]) <= n->now_ns + day_ns + NET_MS * 1000);
    n->now_ns += day_ns - NET_MS * 1000;
    control_tick(n->nodes[1], n->now_ns);
    net_run(n);
    assert_int_equal(net_sessions(n, 1), 8);
    n->now_ns = control_deadline(n->nodes[1]);
    control_tick(n->nodes[1], n->now_ns);
    net_drain(n, 1);
    net_run(n);
    assert_int_equal(net_sessions(n, 1), 6);
    assert_int_equal(a->client_err, ERR_AUTH);
    assert_says(&a->client_why, "its certificate has ended");
    assert_mesh(n);
    net_hang_up(n, a);
    net_hang_up(n, b);
    pki_pair_free(&pair);
    identity_free(brief);
    identity_free(alice);
    net_close(n);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_mesh),     cmocka_unit_test(test_client),
        cmocka_unit_test(test_report),   cmocka_unit_test(test_lost),
        cmocka_unit_test(test_rules),    cmocka_unit_test(test_redial),
        cmocka_unit_test(test_deadline), cmocka_unit_test(test_clock),
        cmocka_unit_test(test_init),     cmocka_unit_test(test_renewed),
        cmocka_unit_test(test_revoked),  cmocka_unit_test(test_ended),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
