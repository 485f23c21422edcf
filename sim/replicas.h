// SPDX-License-Identifier: Apache-2.0
#ifndef SIM_REPLICAS_H
#define SIM_REPLICAS_H

/*
 * Level replica: whole replicas and the client's own machine, as they run in production, over a
 * network that may do to datagrams whatever it likes; and the register of configurations with its
 * keeper, so that members come and go.
 *
 * Endpoints are numbered: processes of replicas, then clients, then one client for each host that
 * speaks with that host alone (liveness phase). A host is a place in the network: links, clocks and
 * pauses belong to it. At most one process is the one that a host runs; others of the same host are
 * ghosts: clones, and those that slept while the keeper took them for dead.
 *
 * The control channel is a model of docs/protocol/control.md: who may have a session with whom
 * (CTL-3, CTL-4), and who tells whom of a newer configuration (CTL-11). Both ends of a session get
 * the same secrets, made from the seed.
 */

#include "client/core.h"
#include "sim/datagrams.h"
#include "sim/registrar.h"
#include "sim/run.h"
#include "sim/tamper.h"
#include "trusted/replica/replica.h"

enum {
    EVENT_DATAGRAM = EVENT_LEVEL, /* a: endpoint; payload */
    EVENT_TICK,                   /* a: endpoint */
    EVENT_SUBMIT,                 /* a: operation */
    EVENT_OPEN,                   /* a, b: endpoints */
    EVENT_HANG_UP,                /* a: endpoint, b: generation of the bond; another one has gone */
    EVENT_DIAL,                   /* a: process, b: boot; looks for members without a session */
    EVENT_CONFIG,                 /* a: process, b: epoch; it is told of a configuration */
    EVENT_KEEPER,                 /* the keeper's turn */
    EVENT_REPORT, /* a: incarnation, b: epoch and, below, the groups copied; to the keeper */
    EVENT_REBORN, /* a: host; payload: what ran there. Plants only */
    EVENT_WAKE,   /* a: process */
    EVENT_MAP,    /* a: client, b: epoch; it hears who holds which group */

    GHOSTS_MAX = 5,
    PROCESSES_MAX = NODES_MAX + GHOSTS_MAX,
    CLIENTS_MAX = 8,
    FIRST_CLIENT = PROCESSES_MAX,
    ENDS_MAX = PROCESSES_MAX + CLIENTS_MAX + NODES_MAX,
    SLOT_SETS = 4, /* a new session takes another slot than the one before */
    SLOTS_PER_SET = 32,
    CLIENT_HEAP = 8 << 20,
    NOBODY = 0xff,
};

_Static_assert((int)ENDS_MAX <= (int)SLOTS_PER_SET, "every peer has a slot");

static const uint8_t processes_n = PROCESSES_MAX;

/* A process of a replica, or a client. */
struct end {
    void *region; /* NULL: there is none */
    size_t region_bytes, heap_used;
    struct heap *heap;
    struct replica *replica;
    struct core *core;
    struct tamper_arena arena;
    uint64_t timer_at_ns;
    /* a process */
    uint8_t host, self; /* self: place in its configuration */
    bool is_ghost, is_clone;
    bool given_up; /* the keeper takes it for dead */
    uint32_t incarnation, boot;
    uint64_t epoch; /* of a client: of its map */
    uint64_t asleep_until_ns;
    uint32_t pins[INCARNATIONS_MAX]; /* boot id by incarnation; 0: never met */
};

/* Of a pair of endpoints: the session between them. */
struct bond {
    uint32_t generation; /* of the last session */
    uint32_t opened_n;
    bool smaller, larger; /* that endpoint has it */
};

struct replicas {
    struct aead *aead;
    uint8_t ends_n, hosts_n, clients_n;
    uint8_t runs[NODES_MAX]; /* by host: the process; NOBODY */
    uint64_t host_down_until_ns[NODES_MAX];
    uint32_t reborn[NODES_MAX]; /* the incarnation that comes back under its name. Plants only */
    bool held[NODES_MAX];       /* a scenario says when it may run something again */
    struct end ends[ENDS_MAX];
    uint8_t host_of[ENDS_MAX];             /* RUN_CLIENT: a client */
    struct bond bonds[ENDS_MAX][ENDS_MAX]; /* the smaller number first */
    uint32_t generation, boots;
    uint32_t fenced_n; /* processes that found out that they are no members any more */
    struct registrar keeper;
    struct datagrams datagrams;
    uint8_t buffer[DATAGRAM_MAX];
};

static inline struct replicas *replicas_of(const struct run *r)
{
    return r->cluster;
}

static inline bool is_process(uint8_t end)
{
    return end < PROCESSES_MAX;
}

static inline bool is_alive(const struct replicas *c, uint8_t end)
{
    return c->ends[end].region != NULL;
}

/* ---- replicas.c ---- */

/* After anything happened at an endpoint: what it says goes out, what it has finished is told. */
void replicas_pump(struct run *r, uint8_t end);
uint64_t replicas_clock(const struct run *r, uint8_t end);
/* False: dead, or asleep; then the event comes again. */
bool replicas_awake(struct run *r, uint8_t end, struct event *e);
/* The last endpoint that is a client's of all hosts, + 1. */
uint8_t replicas_own_first(const struct replicas *c);
void replicas_open_heap(struct end *e, size_t n);
/* Nothing was lost in it. */
void replicas_close_heap(struct end *e);

/* With groups of slots: a client learns who coordinates what (CLI-18), unless it knows better; and
 * all of them hear of a configuration, sooner or later. */
void replicas_take_map(struct run *r, uint8_t client, uint64_t epoch);
void replicas_spread_map(struct run *r, uint64_t epoch);

/* ---- sessions.c ---- */

/* The traffic secret of one direction of one session. */
struct secret sessions_secret(const struct run *r, uint8_t from, uint8_t to, uint32_t generation);
/* A new handshake; whatever session there was ends at both. `b` is a process, too: members meet if
 * each may have a session with the other. */
void sessions_open(struct run *r, uint8_t a, uint8_t b);
/* The session between two processes ends, and comes back. */
void sessions_reset(struct run *r, uint8_t a, uint8_t b);
/* An endpoint has gone: the others hear of it, or not. */
void sessions_drop(struct run *r, uint8_t end, bool told);
void sessions_hang_up(struct run *r, struct event *e);
/* The process dials the members that it has no session with. */
void sessions_dial(struct run *r, struct event *e);
/* Clients come to the process. */
void sessions_invite(struct run *r, uint8_t process, uint64_t within_ns);

/* ---- process.c ---- */

struct birth {
    uint8_t host;
    uint32_t incarnation;
    uint64_t epoch; /* a configuration that has the incarnation */
    bool is_clone;
    bool copies; /* although the configuration does not say so */
};

/* Its endpoint; NOBODY: there are too many. */
uint8_t process_start(struct run *r, const struct birth *b);
/* All its memory is lost. */
void process_end(struct run *r, uint8_t process, bool told);
/* It hears of a configuration. */
void process_configure(struct run *r, uint8_t process, uint64_t epoch);
/* The process that runs under an incarnation, no clone; NOBODY. */
uint8_t process_find(const struct replicas *c, uint32_t incarnation);
/* Like a new life under the old name: only with plants. */
void process_reborn(struct run *r, struct event *e);

/* ---- members.c: what may happen to members ---- */

/* The process ends; with plants its host runs another one under the same name. */
void members_end(struct run *r, uint8_t process, bool told);
/* The same, if a majority of voters does not need it. */
void members_restart(struct run *r, uint8_t host);
void members_sleep(struct run *r, uint8_t host);
void members_wake(struct run *r, uint8_t process);
void members_clone(struct run *r, uint8_t host);
/* A wish is added, taken back or changed; drawn. */
void members_change(struct run *r);
void members_heal(struct run *r);
/* What is still to come until all wishes are fulfilled; NULL: nothing. */
const char *members_want(struct run *r);
/* Whether the host runs a voter of the group, as of the configuration in force. */
bool members_serve(struct run *r, uint8_t host, uint32_t group);
/* Whether a majority of voters keeps its memory without this incarnation (MEM-11). */
bool members_may_lose(const struct run *r, uint32_t incarnation);

#endif
