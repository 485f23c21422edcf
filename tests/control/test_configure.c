// SPDX-License-Identifier: Apache-2.0
/* CTL-13: configurations that arrive while nodes run. */
#include "tests/control/net.h"

#include <stdio.h>
#include <stdlib.h>

static struct net *mesh(void)
{
    struct net *n = net_open(0);

    net_sign(n, &n->cluster);
    for (int i = 0; i < NET_NODES; i++) {
        net_start(n, i, (uint8_t)(i + 1));
    }
    net_pass(n, 1000000000);
    for (int i = 0; i < NET_NODES; i++) {
        assert_int_equal(net_member_sessions(n, i), 4);
    }
    return n;
}

/* The same members in the next epoch, the second as a learner. */
static struct cluster next_of(const struct net *n)
{
    struct cluster c = n->cluster;

    c.epoch++;
    c.groups[0] = (struct cluster_group){.voters = 5, .learners = 2};
    return c;
}

/* One member is told; the others hear of it from each other, and clients too. */
static void test_spreads(void **state)
{
    struct net *n = mesh();
    struct identity_name name = fixture_client(&n->cluster, "alice");
    struct identity *alice = fixture_identity(&n->ca, &name);
    struct dialer_config k = net_client(n, alice, 1);
    struct net_conn *client = net_dial(n, &k, 1);
    struct cluster c = next_of(n);
    struct bytes text, sig;
    struct explain why = {0};

    (void)state;
    net_run(n);
    assert_true(dialer_ready(client->client));
    assert_true(dialer_take_config(client->client, &text, &sig)); /* the one in force */
    net_sign(n, &c);
    assert_int_equal(net_configure(n, 0, &why), OK);
    assert_int_equal(n->reconfigured[0], 1);
    assert_int_equal(net_member_sessions(n, 0), 0); /* keys of the old epoch are gone at once */
    net_pass(n, 1000000000);
    for (int i = 0; i < NET_NODES; i++) {
        assert_int_equal(control_cluster(n->nodes[i])->epoch, 6);
        assert_int_equal(control_cluster(n->nodes[i])->groups[0].learners, 2);
        assert_int_equal(net_member_sessions(n, i), 4);
        assert_int_equal(n->reconfigured[i], 1);
    }
    assert_true(dialer_ready(client->client)); /* the client stays, and is told */
    assert_true(dialer_take_config(client->client, &text, &sig));
    assert_int_equal(text.n, strlen(n->config));
    assert_memory_equal(text.p, n->config, text.n);
    assert_int_equal(net_configure(n, 0, &why), ERR_EPOCH); /* twice is once */
    identity_free(alice);
    net_close(n);
}

static void test_refused(void **state)
{
    struct net *n = mesh();
    struct cluster c = next_of(n);
    struct explain why = {0};

    (void)state;
    net_sign(n, &c);
    n->config_sig[10] ^= 1;
    assert_int_equal(net_configure(n, 0, &why), ERR_AUTH);
    c.id[0] ^= 1;
    net_sign(n, &c);
    assert_int_equal(net_configure(n, 0, &why), ERR_POLICY);
    c = n->cluster;
    c.epoch--;
    net_sign(n, &c);
    assert_int_equal(net_configure(n, 0, &why), ERR_EPOCH);
    c.epoch += 2;
    c.shards++;
    net_sign(n, &c);
    assert_int_equal(net_configure(n, 0, &why), ERR_POLICY);
    assert_int_equal(n->reconfigured[0], 0);
    assert_int_equal(net_member_sessions(n, 0), 4);
    net_close(n);
}

/* MEM-10: who sleeps through his replacement learns of it from whom he dials, or who dials him. */
static void test_fenced(void **state)
{
    for (int sleeper = 0; sleeper < NET_NODES; sleeper++) {
        struct net *n = mesh();
        struct cluster c = n->cluster;
        struct explain why = {0};

        (void)state;
        c.epoch++;
        c.members[sleeper].incarnation = 99;
        net_sign(n, &c);
        for (int i = 0; i < NET_NODES; i++) {
            if (i != sleeper) {
                assert_int_equal(net_configure(n, i, &why), OK);
            }
        }
        net_pass(n, UINT64_C(6000000000));
        assert_true(n->fenced[sleeper]);
        assert_int_equal(net_member_sessions(n, sleeper), 0);
        assert_int_equal(n->reconfigured[sleeper], 0);
        net_close(n);
    }
}

/* CAS-41: while two CAs are trusted, configurations of either are taken, and what is told of the
 * one in force is signed by the CA of now. */
static void test_other_ca(void **state)
{
    struct net *n = mesh();
    struct identity_name name = fixture_client(&n->cluster, "alice");
    struct identity *alice = fixture_identity(&n->ca, &name);
    struct dialer_config k = net_client(n, alice, 0);
    struct net_conn *client = NULL;
    struct pki_pair next_ca = fixture_ca(), first_ca = n->ca;
    struct cluster c = next_of(n), now = n->cluster;
    struct explain why = {0};
    struct bytes text, sig;
    char *both = NULL;

    (void)state;
    assert_true(asprintf(&both, "%s%s", next_ca.cert_pem, n->ca.cert_pem) > 0);
    n->ca = next_ca; /* signs from now on */
    net_sign(n, &c);
    assert_int_equal(net_configure(n, 0, &why), ERR_AUTH);
    net_sign(n, &now);
    control_set_trust(n->nodes[0], (struct bytes){(const uint8_t *)both, strlen(both)},
                      (struct bytes){(const uint8_t *)n->config, strlen(n->config)},
                      (struct bytes){n->config_sig, n->config_sig_n});
    client = net_dial(n, &k, 0);
    net_run(n);
    assert_true(dialer_take_config(client->client, &text, &sig));
    assert_true(bytes_equal(sig, (struct bytes){n->config_sig, n->config_sig_n}));
    net_sign(n, &c);
    assert_int_equal(net_configure(n, 0, &why), OK);
    n->ca = first_ca;
    c.epoch++;
    net_sign(n, &c);
    assert_int_equal(net_configure(n, 0, &why), OK);
    net_hang_up(n, client);
    pki_pair_free(&next_ca);
    free(both);
    identity_free(alice);
    net_close(n);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_other_ca),
        cmocka_unit_test(test_spreads),
        cmocka_unit_test(test_refused),
        cmocka_unit_test(test_fenced),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
