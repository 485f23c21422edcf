// SPDX-License-Identifier: Apache-2.0
#ifndef DAEMONS_NODE_H
#define DAEMONS_NODE_H

/*
 * One replica process: W shards with a thread each, and the control thread (libevent) that owns
 * TCP, TLS and the log. The composition root: here, and only here, host and trusted code meet. In
 * split mode the process has no socket; packets and streams come through rings from avocado-hostd.
 */

#include "daemons/cas_bridge.h"
#include "daemons/log.h"
#include "daemons/renewal.h"
#include "host/net/dpdk.h"
#include "host/net/handover.h"
#include "host/run/arena.h"
#include "host/run/cpus.h"
#include "host/run/shard_loop.h"
#include "trusted/config/cluster.h"
#include "trusted/control/control.h"
#include "trusted/shard/shard.h"

struct event_base;

enum { SYNC_PAGES_DEFAULT = 50, SYNC_PAGES_MAX = 10000 };
enum { COLLECT_ROUNDS_DEFAULT = 50, COLLECT_ROUNDS_MAX = 10000 };

struct node_options {
    const struct cluster *cluster;       /* to begin with */
    const struct cluster_signed *config; /* the same as it was signed */
    const struct identity *identity;
    uint8_t self; /* our place among its members */
    enum shard_loop_polling polling;
    const struct cpus *cpus;     /* where shards run, by cpus_of_shard; NULL or none: anywhere */
    enum shard_loop_place place; /* with `cpus`: how strictly */
    const char *arena_dir;       /* NULL: anonymous */
    uint32_t collect_rounds;     /* per second and shard; at most COLLECT_ROUNDS_MAX; 0: none */
    uint32_t sync_pages;         /* of anti-entropy, per second and shard; at most SYNC_PAGES_MAX */
    int ring_fd;                 /* split mode: socket to avocado-hostd; -1: we do our own I/O */
    const struct dpdk_options *dpdk; /* NULL: I/O by the kernel's UDP */
    struct renewal *renewal;
    struct cas_bridge *bridge; /* split mode: how the renewal reaches the CAS */
};

struct node_shard {
    struct shard *shard;
    struct shard_loop loop;
    struct arena arena;
    struct abi_regions regions; /* the arena's, or with the ring for rx */
    struct pktio *io;
    void *memory, *stack;
    size_t memory_bytes;
    bool running;
    struct replica_report report;
    struct shard_host_counters host;
};

struct node {
    struct node_options options;
    struct cluster cluster; /* in force; control thread */
    uint8_t self;
    uint64_t started_ns;
    int notify_fd;
    struct handover *rings; /* split mode: &handover; else NULL */
    struct handover handover;
    struct dpdk *dpdk;  /* NULL: not used */
    uint32_t index_key; /* the host's, CTL-7; 0: none */
    uint32_t shards_n;
    struct node_shard shards[SHARDS_MAX];
};

/* Maps memory, opens sockets, starts threads. Whatever was opened is closed again on failure. */
RESULT node_start(const struct node_options *o, struct node **ret, struct explain *why);
void node_stop(struct node *n); /* wipes; NULL is allowed */

/* Posts a command to a shard and wakes it. Waits while its ring is full: the shard always drains.
 */
void node_post(struct node *n, uint32_t shard, const struct shard_command *c);
/* To every shard. */
void node_post_all(struct node *n, const struct shard_command *c);
/* Operations of clients without an answer, as of the last reports. */
uint64_t node_pending(const struct node *n);

/* n->cluster and n->self have changed: so will the shards. */
void node_reconfigure(struct node *n);

/* Serves control connections until SIGTERM or SIGINT. POLICY: we are no member any more. */
RESULT node_serve(struct node *n, struct explain *why);

/* How far the node is in its epoch, by the last reports of its shards. */
struct node_standing {
    uint64_t installed, keys;
    uint64_t groups_copied; /* bits: in every shard that has a part of the group */
    uint64_t shedding;      /* keys of groups that it left */
    bool copying;
    enum err err; /* why copying waits */
};
struct node_standing node_standing(const struct node *n);

/* The node's state as JSON (heap string, the caller frees); NULL: no memory. Uses the last reports.
 */
char *node_report_json(const struct node *n, const struct control *control);

#endif
