// SPDX-License-Identifier: Apache-2.0
#ifndef TOOLS_UP_H
#define TOOLS_UP_H

/* `avocado up` and the processes that it has started: found, waited for, stopped. */

#include "tools/cli.h"
#include "tools/found.h"
#include "tools/node_process.h"

struct up {
    struct cli *cli;
    const char *dir;
    struct found_wishes wishes;
    uint64_t rf;
    const char *io, *poll, *cpus, *arena_dir, *memory, *restart;
    bool accept_data_loss;
    char program[PATH_MAX]; /* of ours, for the supervisor */
    bool is_split;
    struct cluster_dir folder;
    struct node_process supervisor, services[2], nodes[CLUSTER_MAX];
    uint64_t until_ms;
};

/* Who runs, as the records say. */
void up_find_nodes(struct up *u);
void up_close_nodes(struct up *u);
uint32_t up_count_nodes(const struct up *u, enum node_state state);
/* The supervisor first, or it would start the others again. */
void up_stop_nodes(struct up *u);
/* `founds`: the folder is new. IO */
/* --cpus is a list, neither auto nor any. */
bool up_has_cpus(const struct up *u);
RESULT up_start_supervisor(struct up *u, bool founds, struct explain *why);
/* Until every node reports that all are up. UNAVAILABLE: one has ended, or time is over. */
RESULT up_wait_ready(struct up *u, struct explain *why);
/* SIGINT and SIGTERM end the waiting. */
void up_catch_signals(void);
bool up_is_interrupted(void);

#endif
