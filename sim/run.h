// SPDX-License-Identifier: Apache-2.0
#ifndef SIM_RUN_H
#define SIM_RUN_H

/*
 * One seed: options drawn from it, a cluster in virtual time, clients, faults; then everything but
 * the dead heals and all that is pending must end.
 *
 *   safety phase: M operations under loss, duplication, reordering, partitions, pauses, crashes,
 *                 resets, tampering with host memory (and with datagrams, level replica)
 *   liveness phase: the network is well, the tamperer stops; the living come to hold the same
 *                   without a client's help, if anti-entropy is on; every key is read, written and
 * read again through every living node, and that must succeed verdict: every key's history is
 * linearizable, nothing is pending, no invariant was broken
 */

#include "common/limits.h"
#include "common/prng.h"
#include "common/siphash.h"
#include "sim/history.h"
#include "sim/trace.h"
#include "sim/world.h"

enum { KEYS_MAX = 8, SIM_GROUPS_MAX = 4, GROUP_FACTOR = 3 };

/* Its id decides in which group a key is. */
extern const uint8_t run_cluster_id[SIPHASH_KEY_LEN];

enum level {
    LEVEL_PROTOCOL, /* abd and store; the transport is simulated */
    LEVEL_REPLICA,  /* whole replicas: rpc, crypto, abd, store; datagrams are simulated */
};

enum verdict {
    VERDICT_HELD = 0,
    VERDICT_WRONG = 1,    /* not linearizable, or a broken invariant that a client could see */
    VERDICT_NOT_LIVE = 2, /* operations pending, or failing, after the network healed */
    VERDICT_CHECK = 3,
    VERDICT_UNEQUAL = 4, /* two runs of one seed differ */
};

/* Options of a run, drawn from the seed. Chances are in 1/1000. */
struct swarm {
    uint64_t think_ns, hedge_ns;
    uint64_t delay_min_ns, delay_max_ns; /* of one message */
    uint64_t rto_ns;                     /* level protocol: when a call is repeated */
    uint64_t fault_ns;                   /* mean time between faults */
    uint64_t sync_ns;                    /* between two pages of anti-entropy; 0: there is none */
    uint64_t collect_ns;                 /* between two rounds of collection; 0: there is none */
    uint64_t key_packets;                /* level replica */
    size_t heap_bytes, arena_bytes;
    uint32_t clients_n, keys_n, ops_n;
    uint32_t get_chance, delete_chance, sticky_chance, rmw_chance, batch_chance;
    enum history_flavour flavours[KEYS_MAX];
    uint32_t timeout_ms_min, timeout_ms_max;
    uint32_t value_max, ops_max;
    uint32_t loss, duplicate, slow; /* slow: ten times the delay and more */
    /* weights of the faults */
    uint32_t partition, pause, crash, reset, tamper, jump, stop;
    bool spares_first;                              /* no link of the first node is cut */
    uint32_t restart, sleep, clone, change, keeper; /* level replica */
    uint32_t crashes_max, tampered_n;
    uint32_t old_keys_n; /* that no client touches, in different versions from the start */
    uint32_t skew;       /* chance of a link, one way, to be slower than others for the whole run */
    /* level replica */
    uint32_t datagram_bytes;
    uint32_t flip, truncate, replay, inject, misdirect, spoof;
    uint8_t nodes_n, hosts_n; /* the first members; where members can be */
    /* level replica: groups of slots, of GROUP_FACTOR nodes each; 0: every node holds everything */
    uint8_t groups_n;
    bool dynamic; /* the keeper starts lost members again */
    bool tight;   /* memory may run out */
    bool looks;   /* clients ask a majority themselves (CLI-19) */
    bool diverge; /* a key has different values under one tag from the start */
    /* level protocol: a repeated question is executed again, not answered from memory */
    bool execute_again;
    bool late_answers; /* level protocol: answers to calls that have ended are delivered */
};

/* What decides a run: everything that is not named here follows from the seed. */
struct run_spec {
    uint64_t seed;
    enum level level;
    uint32_t ops_n;
    uint32_t clients_max, keys_max; /* at most so many; 0: as drawn */
    uint32_t groups;                /* level replica: so many, in every run; 0: as drawn */
    bool collects;                  /* every run is about the collection of tombstones */
    uint64_t without;               /* bit i: traits[i] is off, whatever was drawn */
    unsigned plants;                /* enum abd_plant, enum replica_plant */
    unsigned client_plants;         /* enum core_plant */
    bool verbose; /* prints the transcript, and the history of a key that is wrong */
};

/* A part of the swarm that can be switched off to make a failing run smaller. */
struct trait {
    const char *name;
    size_t at, size; /* of its option in struct swarm; off is all zero */
};

extern const struct trait traits[];
extern const size_t traits_n; /* at most 64 */

struct run;
struct store;

/* A kind of cluster. `op` is the number of the operation in the history. */
struct level_ops {
    void (*open)(struct run *r);
    void (*close)(struct run *r);
    void (*submit)(struct run *r, size_t op); /* the client sends its request */
    void (*give_up)(struct run *r, size_t op);
    void (*event)(struct run *r, struct event *e);         /* kinds from EVENT_LEVEL on */
    void (*link)(struct run *r, uint8_t from, uint8_t to); /* blocked[from][to] has changed */
    void (*crash)(struct run *r, uint8_t node);            /* for good */
    void (*reset)(struct run *r, uint8_t a, uint8_t b);
    void (*tamper)(struct run *r, uint8_t node);
    void (*heal)(struct run *r);
    /* What the node holds of a group; NULL: nothing. */
    struct store *(*store)(struct run *r, uint8_t node, uint32_t group);
    uint64_t (*divergences)(struct run *r, uint8_t node); /* that the node has noticed */
    uint64_t (*listed)(struct run *r, uint8_t node);      /* keys that wait for a collection */
    /* Where members come and go; else NULL. */
    void (*restart)(struct run *r, uint8_t node);
    void (*sleep)(struct run *r, uint8_t node);
    void (*clone)(struct run *r, uint8_t node);
    void (*change)(struct run *r);
    void (*keeper_away)(struct run *r);
    /* What keeps the members from being those that are wished; NULL: nothing. */
    const char *(*wants)(struct run *r);
    bool (*serves)(struct run *r, uint8_t node, uint32_t group); /* a voter of it is there */
};

enum {
    EVENT_CLIENT = 1, /* a: client; its next operation */
    EVENT_GIVE_UP,    /* a: operation; the client has waited long enough */
    EVENT_FAULT,
    EVENT_LINK,  /* a: from, b: to; the partition ends */
    EVENT_CLOCK, /* a: node; its clock goes on */
    EVENT_HEAL,
    EVENT_FINAL, /* the liveness phase begins */
    EVENT_LEVEL, /* and above: of the cluster */
};

struct run {
    uint64_t seed;
    enum level level;
    unsigned plants, client_plants;
    struct swarm swarm;
    struct world world;
    struct trace trace;
    struct history history;
    struct prng net, work, faults;
    const struct level_ops *ops;
    void *cluster;

    /* faults */
    bool healed;
    bool blocked[NODES_MAX][NODES_MAX];
    uint32_t lag[NODES_MAX][NODES_MAX]; /* factor on the delay of a link */
    bool crashed[NODES_MAX];
    uint64_t paused_until_ns[NODES_MAX];
    int64_t clock_ns[NODES_MAX]; /* how far the clock of a node is ahead */
    uint64_t stopped_at_ns[NODES_MAX], stopped_until_ns[NODES_MAX]; /* it stands */
    uint32_t crashes_n;

    /* clients */
    uint32_t started_n, pending_n;
    uint64_t settle_by_ns; /* liveness phase: the living must hold the same */
    uint32_t final_step;   /* liveness phase: which operation comes next */

    enum verdict verdict;
    bool undecided;
    char why[200];
    /* NULL unless a scenario runs: then nothing is drawn. It has operations of its own. */
    struct story *story;
    void (*story_answer)(struct run *r, size_t op, enum err status, struct bytes value);
};

struct run_result {
    enum verdict verdict;
    uint64_t hash, events, virtual_ns;
    uint32_t ops_n, unknown_n, failed_n;
    bool undecided; /* the checker gave up */
    char why[200];
};

void swarm_draw(struct swarm *s, const struct run_spec *spec);

/* What an operation asks, of one key or several; *ret_block (free it) holds the value, *ret_key the
 * key. */
struct sim_key;
void run_request(const struct run *r, size_t op, struct sim_key *ret_key,
                 struct client_request *ret, uint8_t **ret_block);

void run_once(const struct run_spec *spec, struct run_result *ret);
/* A run that does not repeat itself proves nothing: VERDICT_UNEQUAL if the transcripts differ. */
void run_twice(const struct run_spec *spec, struct run_result *ret);

/* ---- for scenarios ---- */

struct story;
/* A run that does nothing by itself. run_end frees it. */
struct run *run_begin(const struct run_spec *spec, const struct swarm *swarm);
/* The next event. There must be one. */
void run_step(struct run *r);
/* The clients do so many operations more. */
void run_load(struct run *r, uint32_t ops_n);
/* Closes the cluster; what the history says. */
enum verdict run_judge(struct run *r);
void run_end(struct run *r);

/* ---- for the clusters ---- */

/* How many groups there are at least, and where a key is. */
static inline uint32_t run_groups(const struct run *r)
{
    return r->swarm.groups_n == 0 ? 1 : r->swarm.groups_n;
}
uint32_t run_group_of(const struct run *r, struct bytes key);
uint32_t run_key_group(const struct run *r, uint32_t key);
/* The first reason stays. */
void run_fault(struct run *r, enum verdict verdict, const char *format, ...)
    __attribute__((format(printf, 3, 4)));
/* The answer has reached the client. value.p is NULL when there is no value, not for an empty one.
 */
void run_answer(struct run *r, size_t op, enum err status, struct bytes value);
/* True while a node runs; false when it has crashed. A paused node: *ret_ns says until when. */
bool run_awake(const struct run *r, uint8_t node, uint64_t *ret_ns);
/* What the host tells a node of the time. */
uint64_t run_clock(const struct run *r, uint8_t node);
/* When a deadline on the clock of a node is due, in virtual time. */
uint64_t run_due(const struct run *r, uint8_t node, uint64_t deadline_ns);
/* When copies of a message arrive; 0: lost. At most 2. `from` and `to` are nodes, or RUN_CLIENT. */
enum { RUN_COPIES_MAX = 2, RUN_CLIENT = 0xff };
uint32_t run_send(struct run *r, uint8_t from, uint8_t to, uint64_t ret_at_ns[RUN_COPIES_MAX]);

extern const struct level_ops protocol_level, replica_level;

#endif
