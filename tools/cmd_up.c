// SPDX-License-Identifier: Apache-2.0
/*
 * avocado up: founds a cluster on this machine, or says why it must not: CAS, LAS and replicas, in
 * software mode.
 *
 *   the folder         its processes            what happens
 *   ----------         -------------            ------------
 *   absent or empty    -                        the first epoch is founded
 *   present            some run                 their supervisor is started if it does not run; it
 *                                               starts the others again as new members
 *   present            none, after `down`       the next epoch is founded, empty
 *   present            none, without `down`     refused unless the loss is accepted
 *
 * The processes are started by the supervisor (supervisor.h), which outlives this command.
 */
#include "host/run/cpus.h"
#include "tools/cas_link.h"
#include "tools/ports.h"
#include "tools/slurp.h"
#include "tools/supervisor_call.h"
#include "tools/up.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum {
    READY_TIMEOUT_MS = 30000,
    PAUSE_MS = 20,
};

static int report(const struct up *u, const char *what)
{
    const struct cluster *c = &u->folder.cluster;

    if (u->cli->json) {
        json_t *object = json_object(), *nodes = json_array();
        char path[PATH_MAX + 32];

        (void)snprintf(path, sizeof(path), "%s/client.yaml", u->folder.path);
        for (uint32_t i = 0; i < c->members_n; i++) {
            const struct cluster_member *m = &c->members[i];

            (void)json_array_append_new(
                nodes, json_pack("{s:i,s:i,s:s,s:i,s:I}", "node", (int)m->node, "pid",
                                 (int)u->nodes[i].pid, "address", m->address, "port",
                                 (int)m->data_port, "incarnation", (json_int_t)m->incarnation));
        }
        (void)json_object_set_new(object, "status", json_string("OK"));
        (void)json_object_set_new(object, "what", json_string(what));
        cli_json_bytes(object, "cluster", path, strlen(path));
        (void)json_object_set_new(object, "epoch", json_integer((json_int_t)c->epoch));
        (void)json_object_set_new(object, "protected", json_false());
        (void)json_object_set_new(object, "nodes", nodes);
        cli_json_print(object);
        return CLI_OK;
    }
    (void)printf("%u replicas %s, epoch %llu, in %s\n", c->members_n, what,
                 (unsigned long long)c->epoch, u->folder.path);
    for (uint32_t i = 0; i < c->members_n; i++) {
        (void)printf("  node %u  %s:%u  pid %d\n", c->members[i].node, c->members[i].address,
                     (unsigned)c->members[i].data_port, (int)u->nodes[i].pid);
    }
    (void)puts("SOFTWARE, NOT PROTECTED: no hardware keeps this machine from looking inside.");
    (void)printf("\n  export AVOCADO_CLUSTER=%s/client.yaml\n", u->folder.path);
    (void)puts("  avocado put greeting hello");
    (void)puts("  avocado get greeting");
    (void)printf("  avocado status --dir %s\n  avocado down --dir %s\n", u->dir, u->dir);
    return CLI_OK;
}

/* What the CAS gave: incarnations and epoch. */
static void look_again(struct up *u)
{
    struct cluster_dir now;
    struct explain why = {{0}};

    if (cluster_dir_look(u->dir, &now, &why) == OK) {
        u->folder.cluster = now.cluster;
        cluster_dir_close(&now);
    }
    up_find_nodes(u);
}

/* From a folder to a cluster that serves. A folder that is new goes away again if that fails; one
 * that was there stays, stopped. */
static int bring_up(struct up *u, const struct cluster *wanted, bool is_new)
{
    struct explain why = {{0}};
    enum err err;

    u->folder.cluster = *wanted;
    err = up_start_supervisor(u, is_new, &why);
    if (err == OK) {
        err = up_wait_ready(u, &why);
    }
    if (err == OK) {
        look_again(u);
        return report(u, "are up");
    }
    up_stop_nodes(u);
    (void)unlinkat(u->folder.fd, "wanted.yaml", 0);
    if (is_new) {
        cluster_dir_remove(&u->folder);
    }
    return cli_fail(u->cli, CLI_UNAVAILABLE, err_name(err),
                    "%s; all that was started is stopped again", why.text);
}

/* The CAS keeps its place; if somebody else has taken it meanwhile, it gets another. */
static enum err place_cas(struct up *u, struct explain *why)
{
    char address[HOST_MAX_LEN + 16];
    struct https_peer at;
    uint16_t busy = 0;
    int n;

    cas_link_address(u->folder.fd, address);
    TRY(https_peer_parse(address, &at, why));
    if (u->services[0].state == NODE_ALIVE || ports_are_free(at.port, 1, 1, &busy)) {
        return OK;
    }
    n = snprintf(address, sizeof(address), "127.0.0.1:%u\n", (unsigned)ports_find(1, 1));
    if (!spit_at(&(struct spit){u->folder.fd, 0644, true}, "cas/address", address, (size_t)n)) {
        (void)snprintf(why->text, sizeof(why->text), "cas/address: %s", strerror(errno));
        return ERR_IO;
    }
    return OK;
}

/* The next epoch, empty: what is wanted goes into a file, which the supervisor hands to the CAS. */
static enum err want(struct up *u, struct cluster *ret, struct explain *why)
{
    const struct spit how = {u->folder.fd, 0644, true};
    uint16_t unused;
    char *text;
    bool good;

    TRY(found_describe(&u->wishes, &u->folder.cluster, ret, &unused, why));
    TRY(place_cas(u, why));
    text = cluster_format(ret);
    good = text != NULL && spit_at(&how, "wanted.yaml", text, strlen(text));
    if (!good) {
        (void)snprintf(why->text, sizeof(why->text), "wanted.yaml: %s", strerror(errno));
    }
    /* Whoever waits for the new epoch must not take the old one for it. */
    (void)unlinkat(u->folder.fd, "client.yaml", 0);
    free(text);
    return good ? OK : ERR_IO;
}

static int found_anew(struct up *u)
{
    struct cluster wanted = {0};
    struct explain why = {{0}};
    enum err err;

    up_stop_nodes(u); /* records of processes that are gone, and perhaps the supervisor */
    err = want(u, &wanted, &why);
    if (err != OK) {
        return cli_fail(u->cli, CLI_UNAVAILABLE, err_name(err), "%s", why.text);
    }
    if (!u->cli->json) {
        (void)printf("founding an empty cluster in epoch %llu: what was stored before is gone\n",
                     (unsigned long long)wanted.epoch);
    }
    return bring_up(u, &wanted, false);
}

static void list_missing(const struct up *u, char *to, size_t size)
{
    const struct cluster *c = &u->folder.cluster;
    size_t len = 0;

    for (uint32_t i = 0; i < c->members_n && len < size; i++) {
        if (u->nodes[i].state != NODE_ALIVE) {
            len += (size_t)snprintf(to + len, size - len, "%s%u", len == 0 ? "" : ", ",
                                    c->members[i].node);
        }
    }
}

/* What the supervisor says, once it can be asked; NULL in time. */
static json_t *ask_supervisor(struct up *u, const char *what)
{
    json_t *a = NULL;

    while (a == NULL && cli_now_ms() < u->until_ms && !up_is_interrupted()) {
        a = supervisor_call(u->folder.fd, json_pack("{s:s}", "do", what));
        if (a == NULL) {
            (void)usleep(PAUSE_MS * 1000);
        }
    }
    return a;
}

/* Some members run and the supervisor is at work on the others. */
static int wait_whole(struct up *u)
{
    char health[32] = "changing", what[512] = "the supervisor does not answer";
    json_t *a;

    while (strcmp(health, "changing") == 0) {
        const char *now, *text;

        a = ask_supervisor(u, "status");
        if (a == NULL) {
            break;
        }
        now = json_string_value(json_object_get(a, "health"));
        text = json_string_value(json_object_get(a, now == NULL ? "why" : "what"));
        (void)snprintf(health, sizeof(health), "%s", now == NULL ? "changing" : now);
        (void)snprintf(what, sizeof(what), "%s", text == NULL ? "" : text);
        json_decref(a);
        if (strcmp(health, "majority_lost") == 0 && u->accept_data_loss) {
            json_decref(ask_supervisor(u, "accept-loss"));
            u->accept_data_loss = false;
            (void)snprintf(health, sizeof(health), "changing");
        }
        (void)usleep(PAUSE_MS * 1000);
    }
    if (strcmp(health, "whole") == 0) {
        look_again(u);
        return report(u, "are up");
    }
    if (strcmp(health, "majority_lost") == 0) {
        return cli_fail(u->cli, CLI_REFUSED, "DATA_AT_RISK", "%s", what);
    }
    return cli_fail(u->cli, CLI_UNAVAILABLE, "TIMEOUT", "not all members are back in time: %s",
                    what);
}

static int up_present(struct up *u)
{
    const struct cluster *c = &u->folder.cluster;
    struct explain why = {{0}};
    char missing[64] = "";
    uint32_t alive;
    enum err err = cluster_dir_open(u->dir, &u->folder, &why);

    if (err != OK) {
        return cli_fail(u->cli, err == ERR_AUTH ? CLI_REFUSED : CLI_UNAVAILABLE, err_name(err),
                        "%s", why.text);
    }
    if (c->epoch == 0) {
        return cli_fail(u->cli, CLI_UNAVAILABLE, "UNFINISHED",
                        "the founding of the cluster in %s was interrupted and nothing was ever "
                        "stored in it; 'avocado down --dir %s', then remove the folder",
                        u->folder.path, u->dir);
    }
    up_find_nodes(u);
    alive = up_count_nodes(u, NODE_ALIVE);
    list_missing(u, missing, sizeof(missing));
    if (alive == 0 && up_count_nodes(u, NODE_DEAD) > 0 && !u->accept_data_loss) {
        return cli_fail(u->cli, CLI_REFUSED, "DATA_AT_RISK",
                        "data at risk: all replicas lost their memory (they ended without 'avocado "
                        "down'); to found a new, empty cluster give --accept-data-loss");
    }
    if (alive == 0) {
        return found_anew(u);
    }
    if (u->supervisor.state == NODE_ALIVE) {
        json_decref(ask_supervisor(u, "measure"));
    } else if (up_start_supervisor(u, false, &why) != OK) {
        return cli_fail(u->cli, CLI_UNAVAILABLE, "IO", "%s", why.text);
    }
    if (alive == c->members_n) {
        return report(u, "are already running");
    }
    if (u->restart == NULL || strcmp(u->restart, "no") != 0) {
        return wait_whole(u);
    }
    if (alive > c->members_n / 2) {
        return cli_fail(
            u->cli, CLI_UNAVAILABLE, "MEMBER_LOST",
            "the cluster runs and serves without node %s, whose memory is lost; without "
            "--restart no it comes back as a new member",
            missing);
    }
    return cli_fail(
        u->cli, CLI_UNAVAILABLE, "MAJORITY_LOST",
        "data at risk: majority lost: node %s lost its memory; see 'avocado member list'", missing);
}

static int up_absent(struct up *u)
{
    struct foundation f = {0};
    struct found_measured m;
    struct cluster wanted = {0};
    struct explain why = {{0}};
    uint16_t cas_port = 0;
    enum err err = found_describe(&u->wishes, NULL, &wanted, &cas_port, &why);

    if (err == OK) {
        err = found_measure(&m, &why);
    }
    if (err == OK) {
        err = found_first(&wanted, cas_port, &m, &f, &why);
    }
    if (err == OK) {
        err = cluster_dir_create(u->dir, f.files, f.n, &u->folder, &why);
    }
    foundation_free(&f);
    if (err != OK) {
        return cli_fail(u->cli, err == ERR_USAGE ? CLI_USAGE : CLI_UNAVAILABLE, err_name(err), "%s",
                        why.text);
    }
    return bring_up(u, &wanted, true);
}

static int find_programs(struct up *u)
{
    static const char *const needed[] = {"avocadod", "avocado-cas", "avocado-las", "avocado-hostd",
                                         "avocado"};

    for (size_t i = 0; i < sizeof(needed) / sizeof(needed[0]); i++) {
        if ((u->is_split || strcmp(needed[i], "avocado-hostd") != 0) &&
            !cli_find_program(needed[i], u->program)) {
            return cli_fail(u->cli, CLI_UNAVAILABLE, "NO_PROGRAM",
                            "%s is neither beside this program nor in PATH; install or build it",
                            needed[i]);
        }
    }
    return 0; /* the last one was ours */
}

static int check_cpus(const struct up *u)
{
    struct cpus cpus;
    uint16_t bad;

    if (!up_has_cpus(u)) {
        return 0;
    }
    if (!cpus_parse(u->cpus, &cpus)) {
        return cli_fail(u->cli, CLI_USAGE, "USAGE",
                        "--cpus %s: must be auto, any, or a list such as 0-3,8", u->cpus);
    }
    if (!cpus_allowed(&cpus, &bad)) {
        return cli_fail(u->cli, CLI_USAGE, "USAGE",
                        "--cpus %s: processes started from here may not run on processor %u; "
                        "`taskset -pc $$` shows where they may",
                        u->cpus, bad);
    }
    return 0;
}

/* What a number's range alone cannot say. 0, or the exit code after a report. */
static int check_wishes(struct up *u)
{
    const struct found_wishes *w = &u->wishes;
    uint64_t nodes = w->nodes == 0 ? 3 : w->nodes;

    if (u->cli->cluster != NULL) {
        return cli_fail(u->cli, CLI_USAGE, "USAGE", "up takes --dir, not --cluster");
    }
    if (w->factor % 2 == 0 && w->factor != 0) {
        return cli_fail(
            u->cli, CLI_USAGE, "USAGE",
            "--rf %u: must be 1, 3, 5 or 7: an even number survives no more losses than "
            "one fewer",
            (unsigned)w->factor);
    }
    if (w->factor > nodes) {
        return cli_fail(u->cli, CLI_USAGE, "USAGE",
                        "--rf %u: %u nodes cannot keep each key %u times; give more --nodes or a "
                        "lower --rf",
                        (unsigned)w->factor, (unsigned)nodes, (unsigned)w->factor);
    }
    if (w->enclave_memory > (w->workers == 0 ? 1 : w->workers) * ENCLAVE_MEMORY_SHARD_MAX) {
        return cli_fail(
            u->cli, CLI_USAGE, "USAGE",
            "--enclave-memory: %u workers can use %u GiB at most; give less, or more "
            "--workers",
            (unsigned)(w->workers == 0 ? 1 : w->workers),
            (unsigned)((w->workers == 0 ? 1 : w->workers) * (ENCLAVE_MEMORY_SHARD_MAX >> 30)));
    }
    u->is_split = strcmp(u->io, "ring") == 0;
    if (strcmp(u->io, "udp") != 0 && strcmp(u->io, "dpdk") != 0 && !u->is_split) {
        return cli_fail(u->cli, CLI_USAGE, "USAGE", "--io %s: must be udp, ring or dpdk", u->io);
    }
    if (u->poll != NULL && strcmp(u->poll, "adaptive") != 0 && strcmp(u->poll, "busy") != 0) {
        return cli_fail(u->cli, CLI_USAGE, "USAGE", "--poll %s: must be adaptive or busy", u->poll);
    }
    if (u->memory != NULL && strcmp(u->memory, "auto") != 0 && strcmp(u->memory, "secret") != 0 &&
        strcmp(u->memory, "huge") != 0) {
        return cli_fail(u->cli, CLI_USAGE, "USAGE", "--memory %s: must be auto, secret or huge",
                        u->memory);
    }
    if (u->restart != NULL && strcmp(u->restart, "yes") != 0 && strcmp(u->restart, "no") != 0) {
        return cli_fail(u->cli, CLI_USAGE, "USAGE", "--restart %s: must be yes or no", u->restart);
    }
    if (check_cpus(u) != 0) {
        return CLI_USAGE;
    }
    return find_programs(u);
}

static int go(struct up *u)
{
    int code = check_wishes(u);

    if (code != 0) {
        return code;
    }
    up_catch_signals();
    u->until_ms = cli_now_ms() + (u->cli->timeout_ms == 0 ? READY_TIMEOUT_MS : u->cli->timeout_ms);
    switch (cluster_dir_probe(u->dir)) {
    case CLUSTER_DIR_ABSENT:
        return up_absent(u);
    case CLUSTER_DIR_PRESENT:
        return up_present(u);
    case CLUSTER_DIR_FOREIGN:
        break;
    }
    return cli_fail(u->cli, CLI_USAGE, "USAGE",
                    "%s holds something else than a cluster; choose another --dir", u->dir);
}

int cmd_up(struct cli *c, int argc, char **argv)
{
    const uint64_t mib = UINT64_C(1) << 20;
    struct up *u = calloc(1, sizeof(*u));
    struct found_wishes *w;
    int rest, code;

    if (u == NULL) {
        return cli_fail_status(c, AVO_NO_MEMORY, NULL);
    }
    u->cli = c;
    u->dir = cli_default_dir;
    u->io = "udp";
    u->supervisor.pidfd = u->services[0].pidfd = u->services[1].pidfd = -1;
    u->folder.fd = -1;
    w = &u->wishes;
    for (size_t i = 0; i < CLUSTER_MAX; i++) {
        u->nodes[i].pidfd = -1;
    }
    const struct option_spec specs[] = {
        {"dir", "D", "folder of the cluster (default ./avocado-data)", OPTION_TEXT, &u->dir, 0, 0,
         NULL},
        {"nodes", "N", "nodes, 1 to 32 (default 3)", OPTION_NUMBER, &w->nodes, 1, CLUSTER_MAX,
         NULL},
        {"rf", "R", "nodes that keep each key: 1, 3, 5 or 7 (default 3; 1 if there are fewer)",
         OPTION_NUMBER, &w->factor, 1, NODES_MAX, NULL},
        {"groups", "G",
         "groups of slots, for good: what moves between nodes (default 1 if every node keeps every "
         "key, 16 up to 12 nodes, else 64)",
         OPTION_NUMBER, &w->groups, 1, GROUPS_MAX, NULL},
        {"workers", "W", "worker threads, each with a shard, per node (default 1)", OPTION_NUMBER,
         &w->workers, 1, SHARDS_MAX, NULL},
        {"io", "KIND",
         "udp (default), ring: a process of its own has the sockets, replicas make no network "
         "call; "
         "or dpdk: replicas talk by DPDK through shared memory",
         OPTION_TEXT, &u->io, 0, 0, NULL},
        {"poll", "KIND", "adaptive (default) or busy: spin instead of sleeping", OPTION_TEXT,
         &u->poll, 0, 0, NULL},
        {"cpus", "LIST",
         "bind shards to these processors in turn, e.g. 0-3,8; auto (default): with fewer "
         "processors than shards each stays on one while nobody else computes there; any: never",
         OPTION_TEXT, &u->cpus, 0, 0, NULL},
        {"arena-dir", "DIR", "keep host memory in files there, e.g. on hugetlbfs", OPTION_TEXT,
         &u->arena_dir, 0, 0, NULL},
        {"memory", "KIND", "enclave memory: auto (default), secret or none at all, or huge pages",
         OPTION_TEXT, &u->memory, 0, 0, NULL},
        {"restart", "yes|no", "start members that end again, as new ones (default yes)",
         OPTION_TEXT, &u->restart, 0, 0, NULL},
        {"base-port", "P", "first of the ports to use (default: free ones)", OPTION_NUMBER,
         &w->base_port, 1024, UINT16_MAX, NULL},
        {"value-max", "BYTES", "largest value, e.g. 64k (default 1M)", OPTION_BYTES, &w->value_max,
         1, VALUE_MAX, NULL},
        {"enclave-memory", "BYTES", "enclave memory of a node (default 94M)", OPTION_BYTES,
         &w->enclave_memory, 8 * mib, mib << 20, NULL},
        {"host-memory", "BYTES", "host memory for values of a node (default 1G)", OPTION_BYTES,
         &w->host_memory, 8 * mib, mib << 24, NULL},
        {"accept-data-loss", NULL, "found anew although all replicas lost their memory",
         OPTION_FLAG, &u->accept_data_loss, 0, 0, NULL},
        {0},
    };

    if (cli_parse(c, &(struct cli_line){"up", specs, 0, 0}, argc, argv, &rest, &code)) {
        code = go(u);
    }
    up_close_nodes(u);
    cluster_dir_close(&u->folder);
    free(u);
    return code;
}
