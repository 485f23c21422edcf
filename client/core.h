// SPDX-License-Identifier: Apache-2.0
#ifndef CLIENT_CORE_H
#define CLIENT_CORE_H

/*
 * What a client does, as a pure machine: operations in, datagrams out, datagrams in, completions
 * out. No socket, clock, thread or global; memory only from the heap given at start, so that the
 * simulator runs the same code. One rpc endpoint serves all sessions, one session per node and
 * shard.
 *
 *     core_submit --> [waiting for a slot] --> rpc --> core_transmit
 *         get --> gathered until core_transmit --> looks (core_look.h) --> rpc
 *     core_receive, core_tick --> rpc --> answer, or another attempt --> core_take
 *
 * CLI-1: an operation ends exactly once, at its deadline at the latest. Reads (GET, SCAN, MGET)
 * move freely between coordinators. A write is given to a second coordinator only when it is
 * certain that the first did nothing; else it ends as INDETERMINATE. Clauses CLI-n:
 * docs/protocol/client.md.
 */

#include "trusted/config/cluster.h"
#include "trusted/rpc/rpc.h"
#include "trusted/wire/client_wire.h"

struct core;

enum {
    CORE_IN_FLIGHT_MAX = 1 << 16,
};

struct core_config {
    struct heap *heap;
    struct aead *aead; /* borrowed, this thread's */
    uint8_t cluster[CLUSTER_ID_LEN];
    uint32_t nodes_n;        /* places for nodes, 1..CLUSTER_MAX */
    uint32_t first_n;        /* of these, the first ones are taken at the beginning; 0: all */
    uint32_t shards_n;       /* of every node, 1..SHARDS_MAX */
    uint32_t datagram_bytes; /* as welcomed */
    uint32_t value_max;      /* as welcomed */
    uint32_t in_flight_max;  /* 1..CORE_IN_FLIGHT_MAX */
    uint32_t prefer;         /* place of the coordinator to ask first + 1; 0: drawn from the seed */
    bool looks;              /* gets ask a majority themselves (CLI-19) */
    uint64_t seed;           /* jitter and that draw; never keys */
};

struct core_request {
    enum client_op op;
    uint32_t timeout_ms; /* 1..CLIENT_TIMEOUT_MS_MAX */
    uint64_t user;       /* comes back in the completion */
    struct bytes key, value;
    uint32_t shard, group; /* of a batch, which has no key: core_part() */
    enum client_rmw rmw;   /* RMW, and what follows: as in client_wire.h */
    uint32_t expect_len;
    int64_t delta;
};

struct core_completion {
    uint64_t user;
    enum client_op op;
    enum client_rmw rmw;
    /* OK, NOT_FOUND (get, RMW), MISMATCH, NOT_NUMBER, OVERFLOW (RMW), UNAVAILABLE, INDETERMINATE
     * (writes), INTEGRITY, TOO_BIG, ENCLAVE_MEMORY, HOST_MEMORY (the cluster's), POLICY, USAGE, or
     * FULL: our own heap has no room for the value.
     */
    enum err status;
    uint8_t lacks;  /* POLICY: the rights that our certificate does not give, access.h */
    enum err cause; /* what led to UNAVAILABLE or INDETERMINATE, for a person; else OK */
    struct tag tag;
    /* GET or batch with OK, RMW as client_wire.h says: valid until core_release (batch: until the
     * next one is taken). p is NULL only if there is no value: not for an empty one. */
    struct bytes value;
};

struct core_counters {
    uint64_t submitted, completed, hedges, retries, busy, failed_over, indeterminate, unavailable;
    uint64_t answers_malformed, answers_stale;
    uint64_t looked, look_differed, look_late; /* gets (CLI-19) */
};

/* ENCLAVE_MEMORY. */
RESULT core_init(const struct core_config *c, struct core **ret);
/* Wipes keys, forgets operations. NULL is allowed. */
void core_fini(struct core *c);

/* The index under which we want to receive from shard `shard` of the node at `place`: what HELLO
 * says and rpc_session_params.index must be. A new generation for every new session. */
static inline uint32_t core_index(uint32_t place, uint32_t shard, uint32_t generation)
{
    return (generation & 0xfff) << 20 | (place * SHARDS_MAX + shard);
}

/* A session to a shard stands; an older one to the same shard ends. FULL, ENCLAVE_MEMORY. */
RESULT core_session_up(struct core *c, uint64_t now_ns, uint32_t place, uint32_t shard,
                       const struct rpc_session_params *p);
/* The node is asked only where nobody else can be, until a session to it stands anew: its
 * connection is about to be replaced. */
void core_node_leave(struct core *c, uint32_t place);
/* No operation is at the node, or waits for a place there. */
bool core_node_idle(const struct core *c, uint32_t place);
/* The node's control connection ended: so do its sessions. `say`: tell the node. */
void core_node_down(struct core *c, uint64_t now_ns, uint32_t place, bool say);
/* Which places hold the keys of which group of slots. Before the first map every key is taken to
 * be everywhere. The number of groups never changes after that (CHECK). */
struct core_map {
    uint32_t groups_n;
    uint32_t at[GROUPS_MAX]; /* places (bits) that may coordinate */
};
void core_set_map(struct core *c, uint64_t now_ns, const struct core_map *m);
uint32_t core_groups(const struct core *c);
/* Keys are asked for by parts (common/slots.h): how many numbers there are, and what one of them
 * is; false: that number is left out. */
uint32_t core_parts(const struct core *c);
bool core_part(const struct core *c, uint32_t part, uint32_t *ret_shard, uint32_t *ret_group);
uint32_t core_part_of(const struct core *c, struct bytes key);

/* Places (bits) of which a session ended by itself since the last call: connect them anew. */
uint32_t core_take_lost(struct core *c);
/* The number of shards changed. Only while no session stands (CHECK). */
void core_set_shards(struct core *c, uint32_t shards_n);
uint32_t core_shards(const struct core *c);
uint32_t core_sessions_up(const struct core *c);

/* Key and value are copied. BUSY: in_flight_max operations are not yet taken. USAGE: no such
 * operation, timeout, key or shard; a value that is not a put's or a batch's. TOO_BIG. FULL: no
 * room in our heap. */
RESULT core_submit(struct core *c, uint64_t now_ns, const struct core_request *q);

void core_receive(struct core *c, uint64_t now_ns, struct bytes datagram, struct abi_addr from);
/* Seals the next datagram into `to`, at least datagram_bytes. False: nothing due. */
bool core_transmit(struct core *c, uint64_t now_ns, struct mbytes to, struct abi_addr *ret_addr,
                   size_t *ret_len);
void core_tick(struct core *c, uint64_t now_ns);
/* When core_tick is due; UINT64_MAX: never. */
uint64_t core_deadline(const struct core *c);

/* Next operation on one key that ended; false when there is none. */
bool core_take(struct core *c, struct core_completion *ret);
/* Next batch that ended. Its value goes with the next call. */
bool core_take_batch(struct core *c, struct core_completion *ret);
/* The values of all completions taken so far may go. */
void core_release(struct core *c);

/* Simulator only. */
enum core_plant {
    CORE_PLANT_RETRY_TWICE =
        1 << 0,                   /* a write of unknown outcome is given to another coordinator */
    CORE_PLANT_LOOK_ONE = 1 << 1, /* the first who shows the value is believed */
    CORE_PLANT_LOOK_EPOCHS = 1 << 2,    /* who shows it may be of different epochs */
    CORE_PLANT_LOOK_STRANGERS = 1 << 3, /* and need not know each other */
    CORE_PLANT_LOOK_LIVES = 1 << 4,     /* a collection may lie between what they show */
};
void core_plant(struct core *c, unsigned plants);

/* Submitted and not yet taken. */
uint32_t core_in_flight(const struct core *c);
/* Operations on one key, batches: ended and not yet taken. */
uint32_t core_done(const struct core *c);
uint32_t core_done_batches(const struct core *c);
const struct core_counters *core_counters(const struct core *c);
const struct rpc_counters *core_rpc_counters(const struct core *c);

#endif
