// SPDX-License-Identifier: Apache-2.0
/* avocadod: one replica. */
#include "daemons/join.h"
#include "daemons/las_ask.h"
#include "daemons/mesh.h"
#include "daemons/node.h"
#include "trusted/port/port.h"

#include <errno.h>
#include <getopt.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

enum exit_code {
    EXIT_USAGE = 2,
    EXIT_UNAVAILABLE = 3,
    EXIT_REFUSED = 5,
};

struct options {
    const char *arena_dir;
    struct join_options join;
    uint32_t node;
    uint32_t sync_pages, collect_rounds;
    int ring_fd;
    bool is_ring, is_dpdk;
    struct dpdk_options dpdk;
    const char *mesh_dir;    /* with --io dpdk: links to all others there, instead of ports */
    char bad_port[DPDK_WHY]; /* what is wrong with --dpdk-port */
    enum shard_loop_polling polling;
    struct cpus cpus;
    enum shard_loop_place place;
    enum port_memory_choice memory;
};

static const char help[] =
    "Usage: avocadod --cas HOST:PORT --cas-ca FILE --node N (--las PATH | --evidence KIND[:DIR])\n"
    "                [options]\n"
    "\n"
    "One replica of an Avocado cluster. `avocado up` starts replicas; run this by hand only to\n"
    "supervise one yourself.\n"
    "\n"
    "  --node N             which node this is\n"
    "  --io udp|ring|dpdk   who does the network's work: this process by the kernel (default),\n"
    "                       avocado-hostd through shared memory, and this process makes no "
    "network\n"
    "                       call, or this process by DPDK, past the kernel\n"
    "  --dpdk-port PORT     with --io dpdk, up to 8 times: DEVICE,ip=ADDRESS/BITS and what else\n"
    "                       avocadod(8) says, or 'kernel': what no port leads to goes through it\n"
    "  --dpdk-eal WORDS     for DPDK's EAL, separated by blanks\n"
    "  --dpdk-mesh DIR      instead of ports: shared memory with the other members, all of them "
    "on\n"
    "                       this machine, sockets in DIR; clients through the kernel\n"
    "  --ring-fd FD         with --io ring: socket to avocado-hostd, which gives both options\n"
    "  --cas HOST:PORT      join through this CAS: it gives certificate and configuration to\n"
    "                       whoever proves to be a replica that its policy wants\n"
    "  --cas-ca FILE        certificate of the CA of the cluster that the CAS must belong to\n"
    "  --las PATH           socket of the machine's LAS, which vouches for us in milliseconds, or\n"
    "  --evidence KIND[:DIR] evidence of our own: sgx, snp, tdx, software:DIR\n"
    "  --collateral DIR     collateral to send along with it\n"
    "  --poll adaptive|busy how to wait for packets (default adaptive)\n"
    "  --cpus LIST          bind shards to processors, such as 0-3,8: those of node 1 to its "
    "first\n"
    "                       entries, those of node 2 to the next, and so on round the list\n"
    "  --homes LIST         the same, but only while nobody else computes there\n"
    "  --sync N             compare so many pages (64 keys, 16 KiB) per second and shard with "
    "other\n"
    "                       replicas, and copy what one of the two lacks (default 50; 0: never)\n"
    "  --collect N          forget what was deleted in so many rounds (256 keys) per second and "
    "shard\n"
    "                       while all members are up (default 50; 0: never)\n"
    "  --memory auto|secret|huge  what enclave memory is made of: the best kind to be had "
    "(default),\n"
    "                       memfd_secret or nothing, or ordinary memory with huge pages\n"
    "  --arena-dir DIR      put the host memory arena in a file there (hugetlbfs, tmpfs);\n"
    "                       default: anonymous memory; needed under Gramine\n"
    "  --help, --version\n"
    "\n"
    "Exit: 0 stopped in order, 2 usage or configuration, 3 ports or memory not to be had,\n"
    "5 identity refused, or replaced by a newer incarnation.\n";

static int fail(enum exit_code code, const char *what)
{
    (void)fprintf(stderr, "avocadod: %s\n", what);
    return (int)code;
}

static bool parse_number(const char *text, unsigned long max, unsigned long *ret)
{
    char *end;

    errno = 0;
    *ret = strtoul(text, &end, 10);
    return errno == 0 && *end == 0 && end != text && text[0] != '-' && *ret <= max;
}

static bool set_memory(struct options *o, const char *name)
{
    static const char *const names[] = {[PORT_MEMORY_AUTO] = "auto",
                                        [PORT_MEMORY_MUST_HIDE] = "secret",
                                        [PORT_MEMORY_HUGE] = "huge"};

    for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
        if (strcmp(name, names[i]) == 0) {
            o->memory = (enum port_memory_choice)i;
            return true;
        }
    }
    return false;
}

static bool set_dpdk_option(int which, struct options *o)
{
    switch (which) {
    case 'P':
        return dpdk_port_parse(optarg, &o->dpdk, o->bad_port) == OK;
    case 'W':
        o->dpdk.eal = optarg;
        return true;
    case 'M':
        o->mesh_dir = optarg;
        return true;
    default:
        return false;
    }
}

static bool set_option(int which, struct options *o)
{
    unsigned long n;

    switch (which) {
    case 'd':
        o->arena_dir = optarg;
        return true;
    case 'C':
        o->join.cas = optarg;
        return true;
    case 'A':
        o->join.cas_ca = optarg;
        return true;
    case 'L':
        o->join.las = optarg;
        return true;
    case 'E':
        o->join.evidence = optarg;
        return true;
    case 'K':
        o->join.collateral = optarg;
        return true;
    case 'n':
        if (!parse_number(optarg, UINT32_MAX, &n) || n == 0) {
            return false;
        }
        o->node = (uint32_t)n;
        return true;
    case 'o':
        o->is_ring = strcmp(optarg, "ring") == 0;
        o->is_dpdk = strcmp(optarg, "dpdk") == 0;
        return o->is_ring || o->is_dpdk || strcmp(optarg, "udp") == 0;
    case 'r':
        if (!parse_number(optarg, 1 << 20, &n)) {
            return false;
        }
        o->ring_fd = (int)n;
        return true;
    case 'p':
        o->polling = strcmp(optarg, "busy") == 0 ? SHARD_LOOP_BUSY : SHARD_LOOP_ADAPTIVE;
        return strcmp(optarg, "busy") == 0 || strcmp(optarg, "adaptive") == 0;
    case 'c':
    case 'H':
        o->place = which == 'c' ? SHARD_LOOP_BOUND : SHARD_LOOP_AT_HOME;
        return cpus_parse(optarg, &o->cpus);
    case 'm':
        return set_memory(o, optarg);
    case 's':
        if (!parse_number(optarg, SYNC_PAGES_MAX, &n)) {
            return false;
        }
        o->sync_pages = (uint32_t)n;
        return true;
    case 'g':
        if (!parse_number(optarg, COLLECT_ROUNDS_MAX, &n)) {
            return false;
        }
        o->collect_rounds = (uint32_t)n;
        return true;
    default:
        return set_dpdk_option(which, o);
    }
}

static bool is_complete(const struct options *o)
{
    const struct join_options *j = &o->join;

    return o->node != 0 && j->cas != NULL && j->cas_ca != NULL &&
           (j->las != NULL) != (j->evidence != NULL);
}

static bool dpdk_fits(const struct options *o, int *ret_code)
{
    bool has_ports = o->dpdk.ports_n > 0 || o->dpdk.has_kernel;

    if (o->is_dpdk ? has_ports == (o->mesh_dir != NULL)
                   : has_ports || o->mesh_dir != NULL || o->dpdk.eal != NULL) {
        *ret_code = fail(EXIT_USAGE, "--io dpdk needs --dpdk-port or --dpdk-mesh, one of the two, "
                                     "and neither goes with anything else");
        return false;
    }
    return true;
}

static bool cpus_fit(const struct options *o, int *ret_code)
{
    uint16_t bad;

    if (!cpus_allowed(&o->cpus, &bad)) {
        (void)fprintf(stderr,
                      "avocadod: --cpus, --homes: this process may not run on processor %u; "
                      "`taskset -pc $$` shows where it may\n",
                      bad);
        *ret_code = EXIT_USAGE;
        return false;
    }
    return true;
}

/* 0: go on; otherwise the process ends with ret_code. */
static bool parse_options(int argc, char **argv, struct options *o, int *ret_code)
{
    static const struct option longs[] = {{"node", required_argument, NULL, 'n'},
                                          {"poll", required_argument, NULL, 'p'},
                                          {"homes", required_argument, NULL, 'H'},
                                          {"cpus", required_argument, NULL, 'c'},
                                          {"memory", required_argument, NULL, 'm'},
                                          {"io", required_argument, NULL, 'o'},
                                          {"ring-fd", required_argument, NULL, 'r'},
                                          {"dpdk-port", required_argument, NULL, 'P'},
                                          {"dpdk-eal", required_argument, NULL, 'W'},
                                          {"dpdk-mesh", required_argument, NULL, 'M'},
                                          {"cas", required_argument, NULL, 'C'},
                                          {"cas-ca", required_argument, NULL, 'A'},
                                          {"las", required_argument, NULL, 'L'},
                                          {"evidence", required_argument, NULL, 'E'},
                                          {"collateral", required_argument, NULL, 'K'},
                                          {"arena-dir", required_argument, NULL, 'd'},
                                          {"help", no_argument, NULL, 'h'},
                                          {"version", no_argument, NULL, 'V'},
                                          {"sync", required_argument, NULL, 's'},
                                          {"collect", required_argument, NULL, 'g'},
                                          {NULL, 0, NULL, 0}};
    int c;

    while ((c = getopt_long(argc, argv, "", longs, NULL)) != -1) {
        if (c == 'h' || c == 'V') {
            (void)fputs(c == 'h' ? help : "avocadod " AVOCADO_VERSION "\n", stdout);
            *ret_code = 0;
            return false;
        }
        if (c == '?') {
            *ret_code = fail(EXIT_USAGE, "see `avocadod --help`");
            return false;
        }
        if (!set_option(c, o)) {
            (void)fprintf(stderr, "avocadod: bad value '%s'%s%s; see `avocadod --help`\n", optarg,
                          o->bad_port[0] == 0 ? "" : ": ", o->bad_port);
            *ret_code = EXIT_USAGE;
            return false;
        }
    }
    o->join.node = o->node;
    if (optind != argc || !is_complete(o)) {
        *ret_code = fail(EXIT_USAGE, "--cas, --cas-ca, --node and one of --las and --evidence are "
                                     "needed; see `avocadod --help`");
        return false;
    }
    if (o->arena_dir == NULL && las_in_gramine()) {
        *ret_code = fail(EXIT_USAGE, "under Gramine anonymous memory is the enclave's: --arena-dir "
                                     "is needed, a mount of untrusted_shm for host memory");
        return false;
    }
    if (!dpdk_fits(o, ret_code) || !cpus_fit(o, ret_code)) {
        return false;
    }
    if (o->is_ring != (o->ring_fd >= 0)) {
        *ret_code = fail(EXIT_USAGE, "--io ring and --ring-fd go together: start avocadod through "
                                     "avocado-hostd, which gives both");
        return false;
    }
    return true;
}

/* The certificate must be that of the member we were told to be, in this very configuration. */
static bool find_self(const struct cluster *c, const struct identity *id, uint32_t node,
                      uint8_t *ret_self, struct explain *why)
{
    const struct identity_name *name = identity_self(id);

    for (uint8_t i = 0; i < c->members_n; i++) {
        const struct cluster_member *m = &c->members[i];

        if (m->node != node) {
            continue;
        }
        if (name->role != ROLE_REPLICA || name->node != node ||
            name->incarnation != m->incarnation || name->epoch > c->epoch ||
            memcmp(name->cluster, c->id, CLUSTER_ID_LEN) != 0) {
            (void)snprintf(why->text, sizeof(why->text),
                           "the certificate is not for node %u, incarnation %u, epoch %llu of this "
                           "cluster; issue a new identity for the present configuration",
                           node, m->incarnation, (unsigned long long)c->epoch);
            return false;
        }
        *ret_self = i;
        return true;
    }
    (void)snprintf(why->text, sizeof(why->text), "node %u is not a member of this configuration",
                   node);
    return false;
}

/* Everything comes from the CAS. Before port_harden: a LAS that is not root could not see who we
 * are after it, and whoever could look at us now could have started us himself. */
static int join(const struct options *o, struct join *ret)
{
    struct explain why = {0};
    enum err err = join_cas(&o->join, ret, &why);

    if (err != OK) {
        return fail(err == ERR_POLICY || err == ERR_AUTH ? EXIT_REFUSED
                    : err == ERR_USAGE                   ? EXIT_USAGE
                                                         : EXIT_UNAVAILABLE,
                    why.text);
    }
    return 0;
}

static void log_memory(void)
{
    const char *why = port_memory_why();

    if (!port_is_protected()) {
        node_log("warning", "SOFTWARE, NOT PROTECTED: whoever administers this machine can read "
                            "the data");
    }
    if (why == NULL) {
        node_log("info", "enclave memory: secret (memfd_secret: hidden from other processes, never "
                         "swapped, never dumped)");
    } else {
        node_log("warning", "enclave memory: %s, readable by root through /proc: %s",
                 port_memory_name(), why);
    }
}

static int run(const struct node_options *o)
{
    const struct cluster *c = o->cluster;
    struct explain why;
    struct node *node;
    enum err err = node_start(o, &node, &why);

    if (err != OK) {
        return fail(EXIT_UNAVAILABLE, why.text);
    }
    node_log(
        "info",
        "avocadod %s: cluster %s, epoch %llu, node %u, incarnation %u, %u shards, AES-256-GCM by "
        "%s",
        AVOCADO_VERSION, c->name, (unsigned long long)c->epoch, c->members[o->self].node,
        c->members[o->self].incarnation, c->shards, shard_aead_name(node->shards[0].shard));
    log_memory();
    err = node_serve(node, &why);
    node_stop(node);
    return err == OK ? 0 : fail(err == ERR_POLICY ? EXIT_REFUSED : EXIT_UNAVAILABLE, why.text);
}

/* What the options say, once there are memory, configuration and identity. */
static int run_as(const struct options *o, const struct cluster *cluster,
                  const struct cluster_signed *config, const struct identity *identity,
                  struct renewal *renewal, struct cas_bridge *bridge)
{
    struct node_options n = {.cluster = cluster,
                             .config = config,
                             .identity = identity,
                             .polling = o->polling,
                             .cpus = &o->cpus,
                             .place = o->place,
                             .arena_dir = o->arena_dir,
                             .ring_fd = o->ring_fd,
                             .sync_pages = o->sync_pages,
                             .collect_rounds = o->collect_rounds,
                             .renewal = renewal,
                             .bridge = bridge};
    struct explain why = {0};
    static struct mesh mesh;

    if (!find_self(cluster, identity, o->node, &n.self, &why)) {
        return fail(EXIT_REFUSED, why.text);
    }
    n.dpdk = o->is_dpdk ? &o->dpdk : NULL;
    if (o->mesh_dir != NULL) {
        if (mesh_make(cluster, n.self, o->mesh_dir, o->dpdk.eal, &mesh, &why) != OK) {
            return fail(EXIT_UNAVAILABLE, why.text);
        }
        n.dpdk = &mesh.options;
    }
    return run(&n);
}

static int join_and_run(const struct options *o)
{
    struct join j = {0};
    struct renewal *renewal = NULL;
    struct cas_bridge *bridge = NULL;
    struct explain why = {.text = "out of memory"};
    int code = join(o, &j);

    if (code != 0) {
        return code;
    }
    port_harden();
    if ((o->is_ring && cas_bridge_open(&bridge) != OK) ||
        renewal_start(&j, bridge == NULL ? NULL : cas_bridge_via(bridge), &renewal, &why) != OK) {
        code = fail(EXIT_UNAVAILABLE, why.text);
    } else {
        code = run_as(o, &j.cluster, &j.config, j.identity, renewal, bridge);
    }
    renewal_stop(renewal);
    cas_bridge_close(bridge);
    identity_free(j.identity);
    cluster_signed_free(&j.config);
    return code;
}

int main(int argc, char **argv)
{
    struct options o = {
        .ring_fd = -1, .sync_pages = SYNC_PAGES_DEFAULT, .collect_rounds = COLLECT_ROUNDS_DEFAULT};
    struct explain why = {0};
    int code = 0;

    if (!parse_options(argc, argv, &o, &code)) {
        return code;
    }
    if (!port_memory_choose(o.memory)) {
        (void)snprintf(why.text, sizeof(why.text), "no enclave memory to be had: %s%s%s",
                       strerror(errno), port_memory_why() == NULL ? "" : "; ",
                       port_memory_why() == NULL ? "" : port_memory_why());
        return fail(EXIT_UNAVAILABLE, why.text);
    }
    (void)signal(SIGPIPE, SIG_IGN);
    return join_and_run(&o);
}
