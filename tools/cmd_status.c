// SPDX-License-Identifier: Apache-2.0
/* avocado status: what every node says of itself, and of those that say nothing why. */
#include "tools/cli.h"
#include "tools/cluster_dir.h"
#include "tools/node_process.h"
#include "tools/node_report.h"
#include "tools/status_connections.h"
#include "tools/status_services.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum {
    TIMEOUT_MS = 5000,
    ASK_MS_MAX = 1000,
};

struct row {
    char node[16], address[HOST_MAX_LEN + 8];
    enum node_state process;
    bool process_is_known;
    struct node_report report;
};

struct status {
    const struct cli *cli;
    bool connections;
    uint32_t n;
    struct row rows[CLUSTER_MAX];
    char why[512]; /* why nobody could be asked */
    struct status_services services;
};

/* What the cluster's folder on this machine knows. */
static void add_folder(struct status *s, const struct cluster_dir *d)
{
    s->n = d->cluster.members_n;
    for (uint32_t i = 0; i < s->n; i++) {
        const struct cluster_member *m = &d->cluster.members[i];
        struct node_process p = node_process_find(d->fd, m->node);
        struct row *r = &s->rows[i];

        (void)snprintf(r->node, sizeof(r->node), "%u", m->node);
        (void)snprintf(r->address, sizeof(r->address), "%s:%u", m->address, (unsigned)m->data_port);
        r->process = p.state;
        r->process_is_known = true;
        node_process_close(&p);
    }
}

static void ask_all(struct status *s, struct avo_client *client, uint64_t until_ms)
{
    size_t n = avo_nodes(client);

    if (s->n == 0) {
        s->n = n > CLUSTER_MAX ? CLUSTER_MAX : (uint32_t)n;
    }
    for (uint32_t i = 0; i < s->n && i < n; i++) {
        struct row *r = &s->rows[i];
        uint64_t now = cli_now_ms(), left = now < until_ms ? until_ms - now : 1;

        node_report_ask(client, i, (int)(left > ASK_MS_MAX ? ASK_MS_MAX : left), &r->report);
        if (r->node[0] == '\0') {
            (void)snprintf(r->node, sizeof(r->node), "%" PRIu64,
                           r->report.is_up ? r->report.node : i + UINT64_C(1));
        }
    }
}

static unsigned voting(const struct status *s)
{
    unsigned n = 0;

    for (uint32_t i = 0; i < s->n; i++) {
        n += s->rows[i].report.may_vote;
    }
    return n;
}

/* Slots without a majority, as whoever sees the most of the cluster says. */
static uint64_t unserved(const struct status *s)
{
    uint64_t least = SLOTS_N;

    for (uint32_t i = 0; i < s->n; i++) {
        const struct node_report *p = &s->rows[i].report;

        least = p->is_up && p->slots_unserved < least ? p->slots_unserved : least;
    }
    return least;
}

static const char *state_of(const struct row *r)
{
    if (r->report.is_up) {
        return r->report.state;
    }
    if (!r->process_is_known) {
        return "no answer";
    }
    switch (r->process) {
    case NODE_NONE:
        return "stopped";
    case NODE_DEAD:
        return "lost";
    case NODE_ALIVE:
        break;
    }
    return "no answer";
}

static const char *size_text(uint64_t bytes, char to[static 16])
{
    static const char *const units[] = {"B", "KiB", "MiB", "GiB", "TiB"};
    double v = (double)bytes;
    unsigned unit = 0;

    for (; v >= 1024 && unit < 4; unit++) {
        v /= 1024;
    }
    (void)snprintf(to, 16, unit == 0 ? "%.0f %s" : "%.1f %s", v, units[unit]);
    return to;
}

static void print_table(const struct status *s)
{
    const struct node_report *any = NULL;

    (void)printf("%-5s %-22s %-12s %-7s %11s %10s %22s %12s\n", "NODE", "ADDRESS", "STATE",
                 "MEMBERS", "SLOTS", "KEYS", "ENCLAVE MEMORY", "OPERATIONS");
    for (uint32_t i = 0; i < s->n; i++) {
        const struct row *r = &s->rows[i];
        const struct node_report *p = &r->report;
        char used[16], limit[16], memory[40], members[48], slots[48];

        if (!p->is_up) {
            (void)printf("%-5s %-22s %-12s %s\n", r->node, r->address, state_of(r), p->why);
            continue;
        }
        any = p;
        (void)snprintf(memory, sizeof(memory), "%s of %s", size_text(p->enclave_used, used),
                       size_text(p->enclave_limit, limit));
        (void)snprintf(members, sizeof(members), "%" PRIu64 "/%" PRIu64, p->members_up, p->members);
        (void)snprintf(slots, sizeof(slots), "%" PRIu64, p->slots);
        if (p->slots_joining != 0) { /* copied now, and voted on after */
            (void)snprintf(slots, sizeof(slots), "%" PRIu64 " + %" PRIu64, p->slots,
                           p->slots_joining);
        }
        (void)printf("%-5s %-22s %-12s %-7s %11s %10" PRIu64 " %22s %12" PRIu64 "\n", r->node,
                     r->address, p->state, members, slots, p->keys, memory, p->ops);
    }
    (void)printf("%u of %u nodes may vote: ", voting(s), s->n);
    if (unserved(s) == 0 || unserved(s) == SLOTS_N) {
        (void)puts(unserved(s) == 0 ? "a majority, the cluster serves"
                                    : "no majority, the cluster cannot serve");
    } else {
        (void)printf("%" PRIu64 " of %d slots have no majority and are not served\n", unserved(s),
                     SLOTS_N);
    }
    status_services_print(&s->services);
    for (uint32_t i = 0; i < s->n; i++) {
        const struct node_report *p = &s->rows[i].report;

        if (p->is_up && p->divergences != 0) {
            (void)printf("DIVERGENCE: node %s has met %" PRIu64
                         " keys with other values under equal "
                         "tags at node %s: replace the node that differs from the others.\n",
                         s->rows[i].node, p->divergences, p->diverged_from);
        }
    }
    if (any != NULL && !any->is_protected) {
        (void)puts("SOFTWARE, NOT PROTECTED: no hardware keeps this machine from looking inside.");
    }
    if (s->connections) {
        status_connections_head();
        for (uint32_t i = 0; i < s->n; i++) {
            status_connections(&s->rows[i].report);
        }
    }
}

static void print_json(const struct status *s)
{
    json_t *object = json_object(), *nodes = json_array();
    bool majority = unserved(s) == 0, is_protected = s->n > 0, is_diverged = false;

    for (uint32_t i = 0; i < s->n; i++) {
        const struct row *r = &s->rows[i];
        json_t *node = json_object();

        (void)json_object_set_new(node, "node", json_integer(strtoll(r->node, NULL, 10)));
        if (r->address[0] != '\0') {
            (void)json_object_set_new(node, "address", json_string(r->address));
        }
        (void)json_object_set_new(node, "up", json_boolean(r->report.is_up));
        (void)json_object_set_new(node, "state", json_string(state_of(r)));
        if (r->report.json != NULL) {
            (void)json_object_set(node, "report", r->report.json);
        } else {
            cli_json_bytes(node, "error", r->report.why, strlen(r->report.why));
        }
        is_diverged = is_diverged || r->report.divergences != 0;
        is_protected = is_protected && r->report.is_protected;
        (void)json_array_append_new(nodes, node);
    }
    (void)json_object_set_new(object, "status", json_string(majority ? "OK" : "UNAVAILABLE"));
    (void)json_object_set_new(object, "members", json_integer((json_int_t)s->n));
    (void)json_object_set_new(object, "voting", json_integer((json_int_t)voting(s)));
    (void)json_object_set_new(object, "majority", json_boolean(majority));
    (void)json_object_set_new(object, "slots_unserved", json_integer((json_int_t)unserved(s)));
    (void)json_object_set_new(object, "diverged", json_boolean(is_diverged));
    (void)json_object_set_new(object, "protected", json_boolean(is_protected));
    (void)json_object_set_new(object, "nodes", nodes);
    status_services_json(&s->services, object);
    if (s->why[0] != '\0') {
        cli_json_bytes(object, "error", s->why, strlen(s->why));
    }
    cli_json_print(object);
}

static int show(struct cli *c, const char *path, const struct cluster_dir *d, bool connections)
{
    struct status s = {.cli = c, .connections = connections};
    struct avo_client *client = NULL;
    uint32_t timeout_ms = c->timeout_ms == 0 ? TIMEOUT_MS : (uint32_t)c->timeout_ms;
    uint64_t until_ms = cli_now_ms() + timeout_ms;
    struct avo_options options = {.connect_ms = timeout_ms > ASK_MS_MAX ? ASK_MS_MAX : timeout_ms};
    enum avo_status status;
    bool majority;

    if (d != NULL) {
        add_folder(&s, d);
        status_services_ask(d->fd, (uint32_t)options.connect_ms, &s.services);
    }
    status = avo_open(path, &options, &client, s.why, sizeof(s.why));
    if (status == AVO_OK) {
        s.why[0] = '\0';
        ask_all(&s, client, until_ms);
    } else if (s.n == 0 || status != AVO_UNAVAILABLE) {
        status_services_free(&s.services);
        return cli_fail_status(c, status, s.why);
    }
    if (c->json) {
        print_json(&s);
    } else {
        print_table(&s);
    }
    majority = unserved(&s) == 0;
    for (uint32_t i = 0; i < s.n; i++) {
        node_report_free(&s.rows[i].report);
    }
    status_services_free(&s.services);
    avo_close(client);
    return majority ? CLI_OK : CLI_UNAVAILABLE;
}

/* The folder of a local cluster knows more than its client.yaml: addresses and processes. */
static int show_folder(struct cli *c, const char *dir, bool connections)
{
    char path[PATH_MAX + 32];
    struct explain why = {{0}};
    struct cluster_dir d;
    enum err err = cluster_dir_look(dir, &d, &why);
    int code;

    if (err != OK) {
        return cli_fail(c, err == ERR_AUTH ? CLI_REFUSED : CLI_UNAVAILABLE, err_name(err), "%s",
                        why.text);
    }
    (void)snprintf(path, sizeof(path), "%s/client.yaml", d.path);
    code = show(c, path, &d, connections);
    cluster_dir_close(&d);
    return code;
}

static int show_cluster(struct cli *c, const char *path, bool connections)
{
    const char *slash = strrchr(path, '/');
    char dir[PATH_MAX] = ".";

    if (slash != NULL) {
        (void)snprintf(dir, sizeof(dir), "%.*s", (int)(slash - path + 1), path);
    }
    if (strcmp(slash == NULL ? path : slash + 1, "client.yaml") == 0 &&
        cluster_dir_probe(dir) == CLUSTER_DIR_PRESENT) {
        return show_folder(c, dir, connections);
    }
    return show(c, path, NULL, connections);
}

int cmd_status(struct cli *c, int argc, char **argv)
{
    const char *dir = NULL;
    bool connections = false;
    const struct option_spec specs[] = {
        {"dir", "D", "folder of a cluster on this machine", OPTION_TEXT, &dir, 0, 0, NULL},
        {"connections", NULL, "show every data session, too: round trips, losses", OPTION_FLAG,
         &connections, 0, 0, NULL},
        {0},
    };
    int rest, code;

    if (!cli_parse(c, &(struct cli_line){"status", specs, 0, 0}, argc, argv, &rest, &code)) {
        return code;
    }
    if (dir != NULL && c->cluster != NULL) {
        return cli_fail(c, CLI_USAGE, "USAGE", "give --dir or --cluster, not both");
    }
    if (dir == NULL && (c->cluster != NULL || getenv("AVOCADO_CLUSTER") != NULL)) {
        return show_cluster(c, cli_cluster_path(c), connections);
    }
    dir = dir == NULL ? cli_default_dir : dir;
    if (cluster_dir_probe(dir) != CLUSTER_DIR_PRESENT) {
        return cli_fail(c, CLI_USAGE, "USAGE",
                        "no cluster in %s; found one with 'avocado up', or give --dir or --cluster",
                        dir);
    }
    return show_folder(c, dir, connections);
}
