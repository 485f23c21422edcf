// SPDX-License-Identifier: Apache-2.0
#ifndef TOOLS_NODE_PROCESS_H
#define TOOLS_NODE_PROCESS_H

/*
 * The processes of a cluster on this machine. Each leaves run/node-N.pid in the cluster's
 * folder, "PID START BOOT": its start time in clock ticks and the boot it belongs to, so that a
 * number that the kernel has given to somebody else is never taken for ours.
 */

#include "trusted/config/cluster.h"

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

/* What else belongs to a cluster is a process like its nodes, recorded in run/NAME.pid. */
enum { NODE_SUPERVISOR = 0 };
static const uint32_t NODE_CAS = UINT32_MAX, NODE_LAS = UINT32_MAX - 1;

enum node_state {
    NODE_NONE = 0, /* no record: never started, or stopped in order */
    NODE_DEAD,     /* a record, but the process is gone: its memory is lost */
    NODE_ALIVE,
};

struct node_process {
    enum node_state state;
    pid_t pid;
    int pidfd; /* ALIVE: a handle on this very process; -1 otherwise */
};

/* The record of node `node` in the folder `dir`. node_process_close gives up the handle. */
struct node_process node_process_find(int dir, uint32_t node);
void node_process_close(struct node_process *p);

enum { NODE_WORDS_MAX = 48 };

struct node_start {
    int dir;             /* the cluster's folder, and where the process starts: relative paths do */
    const char *program; /* absolute path */
    uint32_t node;       /* or one of the numbers above */
    const char *argv[NODE_WORDS_MAX + 1]; /* ended by NULL */
};

/* Starts it as a process of its own (session, log file, record). IO: *why says what failed. That
 * the program could be executed shows in the process's life. */
RESULT node_process_start(const struct node_start *s, struct node_process *ret,
                          struct explain *why);

/* "node 3", "CAS". */
const char *node_process_title(uint32_t node, char to[static 24]);

/* Asks all to end, waits up to grace_ms together, then kills what still runs. Records of processes
 * that ended go away. Returns how many had to be killed. */
unsigned node_process_stop(int dir, struct node_process *processes, const uint32_t *nodes,
                           unsigned n, uint64_t grace_ms);

/* The process has ended: takes note, so that it leaves no zombie. */
void node_process_reaped(struct node_process *p);

/* The last line of the node's log into `to`; empty if there is none. */
void node_process_last_words(int dir, uint32_t node, char *to, size_t size);

#endif
