// SPDX-License-Identifier: Apache-2.0
/* avocado down: stops the processes of a cluster on this machine, and only those. */
#include "tools/cli.h"
#include "tools/cluster_dir.h"
#include "tools/node_process.h"

#include <stdio.h>
#include <unistd.h>

enum { GRACE_MS = 10000, SUPERVISOR_MS = 3000 };

enum { NODES_SEEN = 64 }; /* members that have just left may still run */

static int stop(const struct cli *c, struct cluster_dir *d)
{
    const uint32_t supervisor = NODE_SUPERVISOR, services[] = {NODE_LAS, NODE_CAS};
    struct node_process others[2], own = node_process_find(d->fd, supervisor);
    struct node_process nodes[NODES_SEEN];
    uint32_t numbers[NODES_SEEN];
    unsigned alive = 0, dead = 0, n = 0, killed;

    (void)node_process_stop(d->fd, &own, &supervisor, 1, SUPERVISOR_MS);
    for (uint32_t node = 1; node <= NODES_SEEN; node++) {
        nodes[n] = node_process_find(d->fd, node);
        if (nodes[n].state != NODE_NONE) {
            alive += nodes[n].state == NODE_ALIVE;
            dead += nodes[n].state == NODE_DEAD;
            numbers[n++] = node;
        }
    }
    killed =
        node_process_stop(d->fd, nodes, numbers, n, c->timeout_ms == 0 ? GRACE_MS : c->timeout_ms);
    for (size_t i = 0; i < 2; i++) {
        others[i] = node_process_find(d->fd, services[i]);
    }
    (void)node_process_stop(d->fd, others, services, 2, SUPERVISOR_MS);
    (void)unlinkat(d->fd, "run/supervisor.sock", 0);
    (void)unlinkat(d->fd, "run/las.sock", 0);
    if (c->json) {
        cli_json_print(json_pack("{s:s,s:i,s:i,s:i}", "status", "OK", "stopped", (int)alive,
                                 "killed", (int)killed, "lost_before", (int)dead));
    } else if (alive + dead == 0) {
        (void)printf("the cluster in %s is not running\n", d->path);
    } else {
        (void)printf("stopped %u nodes", alive);
        if (killed > 0) {
            (void)printf(" (%u had to be killed)", killed);
        }
        if (dead > 0) {
            (void)printf("; %u had ended before", dead);
        }
        (void)printf("; the data was in their memory and is gone\n");
    }
    return CLI_OK;
}

int cmd_down(struct cli *c, int argc, char **argv)
{
    const char *dir = cli_default_dir;
    const struct option_spec specs[] = {
        {"dir", "D", "folder of the cluster (default ./avocado-data)", OPTION_TEXT, &dir, 0, 0,
         NULL},
        {0},
    };
    struct explain why = {{0}};
    struct cluster_dir d;
    enum err err;
    int rest, code;

    if (!cli_parse(c, &(struct cli_line){"down", specs, 0, 0}, argc, argv, &rest, &code)) {
        return code;
    }
    if (c->cluster != NULL) {
        return cli_fail(c, CLI_USAGE, "USAGE", "down takes --dir, not --cluster");
    }
    if (cluster_dir_probe(dir) != CLUSTER_DIR_PRESENT) {
        return cli_fail(c, CLI_USAGE, "USAGE", "no cluster in %s; give its folder with --dir", dir);
    }
    err = cluster_dir_open(dir, &d, &why);
    if (err != OK) {
        return cli_fail(c, err == ERR_AUTH ? CLI_REFUSED : CLI_UNAVAILABLE, err_name(err), "%s",
                        why.text);
    }
    code = stop(c, &d);
    cluster_dir_close(&d);
    return code;
}
