// SPDX-License-Identifier: Apache-2.0
#ifndef TOOLS_NODE_WORDS_H
#define TOOLS_NODE_WORDS_H

/*
 * What the processes of a cluster on this machine are started with. They start in its folder, so
 * that paths are short: a socket's must be.
 */

#include "tools/node_process.h"

struct node_words {
    struct node_start start; /* its argv points into the rest */
    char node[16], data_port[16], control_port[16], shards[16];
};

struct node_wishes {
    const char *cas; /* address */
    /* options of avocadod; NULL: its defaults */
    const char *poll, *cpus, *homes, *arena_dir, *memory;
    const char *program; /* absolute path of avocadod */
    const char *hostd;   /* absolute path of avocado-hostd: split mode; NULL: avocadod alone */
    bool is_dpdk;        /* members have links by shared memory among each other */
    uint32_t shards;
};

/* A member. All of *w and the texts of the other arguments must stay until it is started. */
void node_words_member(const struct node_wishes *n, const struct cluster_member *m,
                       struct node_words *w);
/* `founds`: the state is not there yet. */
void node_words_cas(const char *program, const char *address, bool founds, struct node_words *w);
void node_words_las(const char *program, const char *address, struct node_words *w);

/* One option with its value, if it has one. */
void node_words_add(struct node_words *w, const char *option, const char *value);
void node_words_flag(struct node_words *w, const char *option);

#endif
