// SPDX-License-Identifier: Apache-2.0
/*
 * avocado up: founds a cluster on this machine, or says why it must not.
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
#include "tools/cli.h"
#include "tools/cluster_dir.h"
#include "tools/found.h"
#include "tools/keeper.h"
#include "tools/node_process.h"
#include "tools/node_report.h"
#include "tools/supervisor_call.h"

#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum {
    READY_TIMEOUT_MS = 30000,
    ASK_MS = 1000,
    PAUSE_MS = 20,
    STOP_MS = 5000,
};

struct up {
    struct cli *cli;
    const char *dir;
    struct found_wishes wishes;
    uint64_t rf;
    const char *io, *poll, *arena_dir, *memory, *restart;
    bool accept_data_loss;
    char program[PATH_MAX], hostd[PATH_MAX];
    bool is_split;
    struct cluster_dir folder;
    struct node_process supervisor, nodes[NODES_MAX];
    uint64_t until_ms;
};

static volatile sig_atomic_t interrupted;

static void on_signal(int number)
{
    interrupted = number;
}

static void close_nodes(struct up *u)
{
    node_process_close(&u->supervisor);
    for (uint32_t i = 0; i < NODES_MAX; i++) {
        node_process_close(&u->nodes[i]);
    }
}

/* Who runs, as the records say. */
static void find_nodes(struct up *u)
{
    close_nodes(u);
    u->supervisor = node_process_find(u->folder.fd, NODE_SUPERVISOR);
    for (uint32_t i = 0; i < u->folder.cluster.members_n; i++) {
        u->nodes[i] = node_process_find(u->folder.fd, u->folder.cluster.members[i].node);
    }
}

static uint32_t count_nodes(const struct up *u, enum node_state state)
{
    uint32_t n = 0;

    for (uint32_t i = 0; i < u->folder.cluster.members_n; i++) {
        n += u->nodes[i].state == state;
    }
    return n;
}

static void stop_nodes(struct up *u)
{
    const uint32_t supervisor = NODE_SUPERVISOR;
    uint32_t numbers[NODES_MAX];

    find_nodes(u);
    (void)node_process_stop(u->folder.fd, &u->supervisor, &supervisor, 1, STOP_MS);
    find_nodes(u);
    for (uint32_t i = 0; i < u->folder.cluster.members_n; i++) {
        numbers[i] = u->folder.cluster.members[i].node;
    }
    (void)node_process_stop(u->folder.fd, u->nodes, numbers, u->folder.cluster.members_n, STOP_MS);
}

static RESULT start_supervisor(struct up *u, bool founds, struct explain *why)
{
    const struct node_start start = {.dir = u->folder.fd,
                                     .dir_path = u->folder.path,
                                     .program = u->program,
                                     .node = NODE_SUPERVISOR,
                                     .restart = u->restart,
                                     .io = u->io,
                                     .founds = founds,
                                     .poll = u->poll,
                                     .arena_dir = u->arena_dir,
                                     .memory = u->memory};

    node_process_close(&u->supervisor);
    return node_process_start(&start, &u->supervisor, why);
}

/* Waits a moment. False when a process has ended or we are to stop; *why says which. */
static bool all_alive(struct up *u, struct explain *why)
{
    const struct cluster *c = &u->folder.cluster;
    struct pollfd p = {.fd = u->supervisor.pidfd, .events = POLLIN};
    uint32_t node = NODE_SUPERVISOR;
    bool ended = poll(&p, 1, PAUSE_MS) == 1;
    char last[256];

    for (uint32_t i = 0; i < c->members_n && !ended; i++) {
        node_process_close(&u->nodes[i]);
        u->nodes[i] = node_process_find(u->folder.fd, c->members[i].node);
        node = c->members[i].node;
        ended = u->nodes[i].state == NODE_DEAD;
    }
    if (ended) {
        node_process_last_words(u->folder.fd, node, last, sizeof(last));
        (void)snprintf(why->text, sizeof(why->text), "%s %u ended at once: %s",
                       node == NODE_SUPERVISOR ? "supervisor" : "node", node,
                       last[0] == '\0' ? "it said nothing" : last);
        return false;
    }
    if (interrupted != 0) {
        (void)snprintf(why->text, sizeof(why->text), "interrupted");
        return false;
    }
    return true;
}

static bool all_vote(struct up *u, struct avo_client *client, struct explain *why)
{
    const struct cluster *c = &u->folder.cluster;
    bool all = true;

    for (size_t i = 0; all && i < c->members_n; i++) {
        struct node_report r;

        node_report_ask(client, i, ASK_MS, &r);
        all = r.is_up && r.may_vote && r.members_up == c->members_n;
        if (!all) {
            (void)snprintf(why->text, sizeof(why->text), "node %u %s%s", c->members[i].node,
                           r.is_up ? "does not see all others yet" : "does not answer: ", r.why);
        }
        node_report_free(&r);
    }
    return all;
}

/* Until every node reports that all are up. */
static RESULT wait_ready(struct up *u, struct explain *why)
{
    struct explain last = {.text = "no node answers"};
    struct avo_client *client = NULL;
    char path[PATH_MAX + 32];
    bool ready = false;

    (void)snprintf(path, sizeof(path), "%s/client.yaml", u->folder.path);
    while (!ready) {
        if (!all_alive(u, why)) {
            break;
        }
        if (client == NULL) {
            (void)avo_open(path, &(struct avo_options){.connect_ms = ASK_MS}, &client, last.text,
                           sizeof(last.text));
        }
        ready = client != NULL && all_vote(u, client, &last);
        if (!ready && cli_now_ms() > u->until_ms) {
            (void)snprintf(why->text, sizeof(why->text), "not ready in time: %.400s", last.text);
            break;
        }
    }
    avo_close(client);
    return ready ? OK : ERR_UNAVAILABLE;
}

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

/* Puts the foundation into the folder: a new one, or the next epoch of one whose members all ended.
 */
static enum err settle_in(struct up *u, struct foundation *f, bool is_new, struct explain *why)
{
    uint8_t bytes[REGISTER_BYTES_MAX];
    struct cluster_dir_content content = {
        .cluster = &f->cluster, .ca = &f->ca, .client = &f->client};
    struct config_register first = {0};
    struct keeper k = {0};
    enum err err;

    if (is_new) {
        TRY(register_found(&first, &f->cluster, why));
        f->cluster = first.current;
        content.reg.p = bytes;
        TRY(register_encode(&first, (struct mbytes){bytes, sizeof(bytes)}, &content.reg.n));
        return cluster_dir_create(u->dir, &content, &u->folder, why);
    }
    TRY(keeper_open(&k, &u->folder, why));
    for (uint32_t i = 0; i < k.reg.current.members_n; i++) {
        register_on_lost(&k.reg, k.reg.current.members[i].incarnation);
    }
    err = register_found_again(&k.reg, &f->cluster, why);
    if (err == OK) {
        err = keeper_publish(&k, &f->ca, &f->client, why);
    }
    keeper_close(&k);
    return err;
}

/* From a foundation in memory to a cluster that serves. A folder that is new goes away again if
 * that fails; one that was there stays, stopped. */
static int bring_up(struct up *u, struct foundation *f, bool is_new, const char *what)
{
    struct explain why = {{0}};
    enum err err = settle_in(u, f, is_new, &why);
    int code = CLI_UNAVAILABLE;

    if (err != OK) {
        return cli_fail(u->cli, CLI_UNAVAILABLE, err_name(err), "%s", why.text);
    }
    err = start_supervisor(u, true, &why);
    if (err == OK) {
        err = wait_ready(u, &why);
    }
    if (err == OK) {
        find_nodes(u);
        code = report(u, what);
    } else {
        stop_nodes(u);
        if (is_new) {
            cluster_dir_remove(&u->folder);
        }
        (void)cli_fail(u->cli, code, err_name(err), "%s; all that was started is stopped again",
                       why.text);
    }
    return code;
}

static int found_anew(struct up *u, const char *what)
{
    struct foundation f = {0};
    struct pki_pair ca = {0};
    struct explain why = {{0}};
    enum err err = cluster_dir_ca(&u->folder, &ca, &why);
    int code;

    if (err == OK) {
        stop_nodes(u); /* only records of processes that are gone, and perhaps the supervisor */
        err = found_next(&u->wishes, &u->folder.cluster, &ca, &f, &why);
    }
    if (err != OK) {
        return cli_fail(u->cli, err == ERR_POLICY ? CLI_REFUSED : CLI_UNAVAILABLE, err_name(err),
                        "%s", why.text);
    }
    if (!u->cli->json) {
        (void)printf("founding an empty cluster in epoch %llu: what was stored before is gone\n",
                     (unsigned long long)f.cluster.epoch);
    }
    code = bring_up(u, &f, false, what);
    foundation_free(&f);
    return code;
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

    while (a == NULL && cli_now_ms() < u->until_ms && interrupted == 0) {
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
        a = ask_supervisor(u, "status");
        if (a == NULL) {
            break;
        }
        (void)snprintf(health, sizeof(health), "%s",
                       json_string_value(json_object_get(a, "health")));
        (void)snprintf(what, sizeof(what), "%s", json_string_value(json_object_get(a, "what")));
        json_decref(a);
        if (strcmp(health, "majority_lost") == 0 && u->accept_data_loss) {
            json_decref(ask_supervisor(u, "accept-loss"));
            u->accept_data_loss = false;
            (void)snprintf(health, sizeof(health), "changing");
        }
        (void)usleep(PAUSE_MS * 1000);
    }
    if (strcmp(health, "whole") == 0) {
        struct cluster_dir now;
        struct explain why = {{0}};

        if (cluster_dir_look(u->dir, &now, &why) == OK) {
            u->folder.cluster = now.cluster;
            cluster_dir_close(&now);
        }
        find_nodes(u);
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
    find_nodes(u);
    alive = count_nodes(u, NODE_ALIVE);
    list_missing(u, missing, sizeof(missing));
    if (alive == 0 && count_nodes(u, NODE_DEAD) > 0 && !u->accept_data_loss) {
        return cli_fail(u->cli, CLI_REFUSED, "DATA_AT_RISK",
                        "data at risk: all replicas lost their memory (they ended without 'avocado "
                        "down'); to found a new, empty cluster give --accept-data-loss");
    }
    if (alive == 0) {
        return found_anew(u, "are up");
    }
    if (u->supervisor.state != NODE_ALIVE && start_supervisor(u, false, &why) != OK) {
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
    struct explain why = {{0}};
    enum err err = found_first(&u->wishes, &f, &why);
    int code;

    if (err != OK) {
        return cli_fail(u->cli, err == ERR_USAGE ? CLI_USAGE : CLI_UNAVAILABLE, err_name(err), "%s",
                        why.text);
    }
    code = bring_up(u, &f, true, "are up");
    foundation_free(&f);
    return code;
}

/* What a number's range alone cannot say. 0, or the exit code after a report. */
static int check_wishes(struct up *u)
{
    const struct found_wishes *w = &u->wishes;

    if (u->cli->cluster != NULL) {
        return cli_fail(u->cli, CLI_USAGE, "USAGE", "up takes --dir, not --cluster");
    }
    if (w->nodes % 2 == 0 && w->nodes != 0) {
        return cli_fail(u->cli, CLI_USAGE, "USAGE",
                        "--nodes %u: must be 1, 3, 5 or 7: an even number survives no more losses "
                        "than one fewer",
                        (unsigned)w->nodes);
    }
    if (u->rf != 0 && u->rf != (w->nodes == 0 ? 3 : w->nodes)) {
        return cli_fail(u->cli, CLI_USAGE, "USAGE",
                        "--rf %u: this version keeps every key on every node; leave it out or set "
                        "it to the number of nodes",
                        (unsigned)u->rf);
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
    if (!cli_find_program("avocadod", u->program) ||
        (u->is_split && !cli_find_program("avocado-hostd", u->hostd)) ||
        !cli_find_program("avocado", u->program)) {
        return cli_fail(
            u->cli, CLI_UNAVAILABLE, "NO_PROGRAM",
            "avocadod%s is neither beside this program nor in PATH; install or build it",
            u->is_split ? " or avocado-hostd" : "");
    }
    return 0;
}

static int go(struct up *u)
{
    struct sigaction on = {.sa_handler = on_signal};
    int code = check_wishes(u);

    if (code != 0) {
        return code;
    }
    (void)sigaction(SIGINT, &on, NULL);
    (void)sigaction(SIGTERM, &on, NULL);
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
    u->supervisor.pidfd = -1;
    u->folder.fd = -1;
    w = &u->wishes;
    for (size_t i = 0; i < NODES_MAX; i++) {
        u->nodes[i].pidfd = -1;
    }
    const struct option_spec specs[] = {
        {"dir", "D", "folder of the cluster (default ./avocado-data)", OPTION_TEXT, &u->dir, 0, 0,
         NULL},
        {"nodes", "N", "replicas: 1, 3, 5 or 7 (default 3)", OPTION_NUMBER, &w->nodes, 1, NODES_MAX,
         NULL},
        {"rf", "R", "replicas that keep each key (default: all)", OPTION_NUMBER, &u->rf, 1,
         NODES_MAX, NULL},
        {"workers", "W", "worker threads, each with a shard, per node (default 1)", OPTION_NUMBER,
         &w->workers, 1, SHARDS_MAX, NULL},
        {"io", "KIND",
         "udp (default), ring: a process of its own has the sockets, replicas make no network "
         "call; "
         "or dpdk: replicas talk by DPDK through shared memory",
         OPTION_TEXT, &u->io, 0, 0, NULL},
        {"poll", "KIND", "adaptive (default) or busy: spin instead of sleeping", OPTION_TEXT,
         &u->poll, 0, 0, NULL},
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
    close_nodes(u);
    cluster_dir_close(&u->folder);
    free(u);
    return code;
}
