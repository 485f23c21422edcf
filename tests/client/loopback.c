// SPDX-License-Identifier: Apache-2.0
#include "tests/client/loopback.h"

#include "tests/client/loopback_internal.h"

#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

/* ---- files ---- */

const char *loopback_path(struct loopback *l, const char *name)
{
    (void)snprintf(l->path, sizeof(l->path), "%s/%s", l->folder, name);
    return l->path;
}

static void write_file(struct loopback *l, const char *name, const char *text)
{
    FILE *f;

    (void)unlink(loopback_path(l, name));
    f = fopen(l->path, "w");
    assert_non_null(f);
    assert_int_equal(fchmod(fileno(f), 0600), 0);
    assert_true(fputs(text, f) >= 0);
    assert_int_equal(fclose(f), 0);
}

static void issue(struct loopback *l, const struct pki_pair *ca, struct identity_name *name,
                  struct pki_pair *ret)
{
    struct explain why;

    memcpy(name->cluster, l->cluster.id, sizeof(name->cluster));
    assert_int_equal(pki_issue(ca, name, (uint64_t)time(NULL), DAYS, ret, &why), OK);
}

static void issue_client(struct loopback *l, const struct pki_pair *ca)
{
    struct identity_name name = {.role = ROLE_CLIENT, .client = "tester"};
    struct pki_pair pair;

    issue(l, ca, &name, &pair);
    write_file(l, "ca.pem", ca->cert_pem);
    write_file(l, "client.pem", pair.cert_pem);
    write_file(l, "client.key", pair.key_pem);
    pki_pair_free(&pair);
}

void loopback_forge_client(struct loopback *l)
{
    struct pki_pair other;
    struct explain why;

    assert_int_equal(pki_make_ca("other", (uint64_t)time(NULL), DAYS, &other, &why), OK);
    issue_client(l, &other);
    pki_pair_free(&other);
}

static void write_profile(struct loopback *l)
{
    char text[1024];
    size_t n = (size_t)snprintf(text, sizeof(text), "cluster: ");

    for (unsigned i = 0; i < CLUSTER_ID_LEN; i++) {
        n += (size_t)snprintf(text + n, sizeof(text) - n, "%02x", l->cluster.id[i]);
    }
    n += (size_t)snprintf(text + n, sizeof(text) - n,
                          "\nname: test\nca_file: ca.pem\ncert_file: client.pem\n"
                          "key_file: client.key\nmembers:\n");
    for (unsigned i = 0; i < LOOPBACK_NODES; i++) {
        n += (size_t)snprintf(text + n, sizeof(text) - n,
                              "  - {node: %u, address: 127.0.0.1, control_port: %u}\n",
                              l->cluster.members[i].node, l->cluster.members[i].control_port);
    }
    write_file(l, "client.yaml", text);
}

/* Takes ports by binding them: a listener, and one UDP port a shard, in a row. */
static void prepare_node(struct loopback *l, uint32_t place)
{
    struct node *n = &l->nodes[place];
    struct cluster_member *m = &l->cluster.members[place];
    struct identity_name name = {.role = ROLE_REPLICA, .epoch = l->cluster.epoch};
    struct pki_pair pair;
    struct explain why;

    n->l = l;
    n->place = place;
    for (unsigned i = 0; i < STREAMS; i++) {
        n->streams[i].fd = -1;
    }
    *m = (struct cluster_member){
        .node = place + 1, .incarnation = 100 + place, .address = "127.0.0.1"};
    n->listener = loopback_bind(SOCK_STREAM, 0, &m->control_port);
    assert_true(n->listener >= 0);
    for (;;) {
        n->shards[0].udp = loopback_bind(SOCK_DGRAM, 0, &m->data_port);
        assert_true(n->shards[0].udp >= 0);
        n->shards[1].udp = m->data_port == UINT16_MAX
                               ? -1
                               : loopback_bind(SOCK_DGRAM, (uint16_t)(m->data_port + 1), NULL);
        if (n->shards[1].udp >= 0) {
            break;
        }
        (void)close(n->shards[0].udp);
    }
    name.node = m->node;
    name.incarnation = m->incarnation;
    issue(l, &l->ca, &name, &pair);
    assert_int_equal(identity_from_pem(l->ca.cert_pem, pair.cert_pem, pair.key_pem,
                                       (uint64_t)time(NULL), &n->identity, &why),
                     OK);
    pki_pair_free(&pair);
    atomic_store(&n->want_up, true);
}

struct loopback *loopback_open(void)
{
    struct loopback *l = calloc(1, sizeof(*l));
    struct explain why;

    assert_non_null(l);
    l->values = calloc(VALUES, sizeof(*l->values));
    assert_non_null(l->values);
    (void)snprintf(l->folder, sizeof(l->folder), "/tmp/avocado-client-XXXXXX");
    assert_non_null(mkdtemp(l->folder));
    l->cluster = (struct cluster){
        .id = {0xab, 0xcd, 1},
        .name = "test",
        .epoch = 3,
        .replication_factor = LOOPBACK_NODES,
        .shards = LOOPBACK_SHARDS,
        .datagram_bytes = DATAGRAM_DEFAULT,
        .value_max = VALUE_MAX_DEFAULT,
        .enclave_memory = ENCLAVE_MEMORY_DEFAULT,
        .host_memory = HOST_MEMORY_DEFAULT,
        .members_n = LOOPBACK_NODES,
    };
    assert_int_equal(pki_make_ca("test", (uint64_t)time(NULL), DAYS, &l->ca, &why), OK);
    for (uint32_t i = 0; i < LOOPBACK_NODES; i++) {
        prepare_node(l, i);
    }
    l->cluster.groups_n = 1;
    l->cluster.groups[0].voters = (1U << LOOPBACK_NODES) - 1;
    l->config = cluster_format(&l->cluster);
    assert_non_null(l->config);
    assert_int_equal(pki_sign(&l->ca, (struct bytes){(const uint8_t *)l->config, strlen(l->config)},
                              (struct mbytes){l->sig, sizeof(l->sig)}, &l->sig_n, &why),
                     OK);
    issue_client(l, &l->ca);
    write_profile(l);
    assert_int_equal(pthread_create(&l->thread, NULL, loopback_run, l), 0);
    for (unsigned i = 0; i < LOOPBACK_NODES; i++) {
        loopback_set_up(l, i, true);
    }
    return l;
}

void loopback_close(struct loopback *l)
{
    static const char *const files[] = {"ca.pem", "client.pem", "client.key", "client.yaml"};

    atomic_store(&l->stop, true);
    assert_int_equal(pthread_join(l->thread, NULL), 0);
    for (uint32_t i = 0; i < LOOPBACK_NODES; i++) {
        if (l->nodes[i].up) {
            loopback_stop(&l->nodes[i]);
        }
        identity_free(l->nodes[i].identity);
    }
    for (uint32_t i = 0; i < l->values_n; i++) {
        free(l->values[i].value);
    }
    for (size_t i = 0; i < sizeof(files) / sizeof(files[0]); i++) {
        (void)unlink(loopback_path(l, files[i]));
    }
    assert_int_equal(rmdir(l->folder), 0);
    pki_pair_free(&l->ca);
    free(l->config);
    free(l->values);
    free(l);
}

void loopback_set_up(struct loopback *l, unsigned node, bool up)
{
    atomic_store(&l->nodes[node].want_up, up);
    while (atomic_load(&l->nodes[node].is_up) != up) {
        (void)sched_yield();
    }
}

uint16_t loopback_control_port(const struct loopback *l, unsigned node)
{
    return l->cluster.members[node].control_port;
}
