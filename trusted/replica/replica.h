// SPDX-License-Identifier: Apache-2.0
#ifndef TRUSTED_REPLICA_REPLICA_H
#define TRUSTED_REPLICA_REPLICA_H

/*
 * One shard of one replica: routes between the secure RPC and, for every group of slots of which it
 * is a member, an ABD machine with its part of the store (MEM-15). Pure,
 * like its parts: datagrams and time in, datagrams out. avocadod drives it from trusted/shard, the
 * simulator from a heap of virtual events; it cannot tell which.
 */

#include "common/siphash.h"
#include "trusted/abd/abd.h"
#include "trusted/access/access.h"
#include "trusted/rpc/rpc.h"
#include "trusted/store/store.h"

struct replica;

/* A group of slots, as a shard needs it: sets of places among the cluster's members. */
struct replica_group_members {
    uint32_t voters, learners;
    bool settle; /* voters copy too (MEM-5) */
};

/* A configuration, as a shard needs it. */
struct replica_members {
    uint64_t epoch;
    uint8_t self, members_n;            /* up to CLUSTER_MAX; NODES_MAX without groups */
    uint32_t incarnations[CLUSTER_MAX]; /* by place */
    /* Groups of slots with members of their own; 0: one, with these voters (bit = place) and all
     * others learners, in which this member copies or not. */
    uint32_t groups_n;
    uint8_t voters;
    bool copies;
    struct replica_group_members groups[GROUPS_MAX];
};

struct replica_config {
    struct heap *heap;
    struct aead *aead;
    uint32_t shard;
    uint32_t incarnation;
    uint8_t self, members_n;
    uint32_t datagram_bytes;
    uint32_t value_max;
    uint32_t sessions_max;
    uint64_t key_packets; /* as in rpc.h */
    uint64_t hedge_ns;
    uint64_t sync_ns, collect_ns; /* as in abd.h */
    uint64_t seed;                /* jitter only */
    uint64_t epoch;               /* of the configuration that the next three are of */
    uint8_t voters;               /* places that vote (bit = place); 0: all */
    bool copies;                  /* copy from a majority first: learners, and MEM-5 */
    uint32_t incarnations[NODES_MAX];
    /* A cluster whose slots are in groups: what is said here stands in place of self, members_n and
     * the four above; borrowed. NULL: every member holds every key. */
    const struct replica_members *members;
    uint32_t shards_n;                   /* of a node; with `members` */
    uint8_t cluster_id[SIPHASH_KEY_LEN]; /* the same */
    struct secret store_master;          /* copied */
    uint8_t *arena;
    uint64_t arena_bytes;
};

enum replica_peer_kind {
    REPLICA_PEER_MEMBER = 1,
    REPLICA_PEER_CLIENT,
};

struct replica_peer {
    enum replica_peer_kind kind;
    uint8_t member;              /* place of a MEMBER among the cluster's members */
    const struct access *access; /* of a CLIENT; NULL: everything. Copied */
};

/* Sessions that a report shows: all members, and clients while there is room. */
enum { REPLICA_REPORT_SESSIONS = CLUSTER_MAX + 8 };

struct replica_session_report {
    enum replica_peer_kind kind;
    uint8_t member; /* place of a MEMBER */
    struct rpc_session_info info;
};

struct replica_report {
    struct rpc_counters rpc;
    struct abd_counters abd;
    struct store_stats store;
    uint64_t heap_used, heap_peak, heap_limit;
    uint64_t requests_refused;   /* malformed, or not for this kind of peer */
    uint64_t requests_joining;   /* refused because we are a learner (MEM-9) */
    uint64_t requests_leaving;   /* sent elsewhere because we are about to end (MEM-14) */
    uint32_t pending;            /* operations of clients that have no answer yet */
    uint64_t requests_forbidden; /* refused by the rules of a client's certificate (ACL-3) */
    uint64_t requests_strayed;   /* refused because the key's group is not here (MEM-16) */
    uint32_t members_up;         /* bit = place; our own bit is set */
    uint32_t sessions_n;
    struct replica_session_report sessions[REPLICA_REPORT_SESSIONS];
    uint64_t epoch;
    bool votes, copying, copied;        /* in some group; in some; all that copies is done */
    uint64_t copied_keys, copied_bytes; /* taken over so far */
    enum err copy_err;                  /* why copying stands still */
    /* Bit = group: here, and as a voter; here, and copied from a majority in `epoch`; wanted here,
     * and not complete. Without groups: bit 0. */
    uint64_t groups_voting, groups_copied, groups_copying;
    uint64_t shedding; /* keys of groups that were left, still to be forgotten */
};

RESULT replica_init(const struct replica_config *c, struct replica **ret); /* ENCLAVE_MEMORY */
void replica_fini(struct replica *r);
/* Simulator only: enum abd_plant and these. */
enum replica_plant {
    REPLICA_PLANT_REPLAY_OFF = 1 << 16,     /* RPC_PLANT_REPLAY_OFF */
    REPLICA_PLANT_STORE_TRUSTING = 1 << 17, /* STORE_PLANT_TRUSTING */
    /* a replica that has left a group serves its clients there, from what it holds */
    REPLICA_PLANT_SERVES_LEFT = 1 << 21,
    REPLICA_PLANT_COPY_FROM_ONE = 1 << 22, /* one voter's stream completes a copy */
    /* a voter that copies refuses everything until it has; it does not count itself */
    REPLICA_PLANT_SYNC_THEN_VOTE = 1 << 23,
    REPLICA_PLANT_VOTE_UNFINISHED = 1 << 25, /* a copy that has begun is reported as complete */
    REPLICA_PLANT_KEEPS_LEFT = 1 << 29,      /* a group that was left is not forgotten (MEM-16) */
};
void replica_plant(struct replica *r, unsigned plants);
/* The whole store. For its host memory: store_trim, store_may_grow. */
struct store *replica_store(struct replica *r);
/* Simulator only: what is held of a group, to look into, and to put there what the protocol would
 * not. The replica's; good until the next configuration. NULL: nothing, it is no member. */
struct store *replica_group_store(struct replica *r, uint32_t group);

/* `params.user` is overwritten. An older session with the same member is closed first. */
RESULT replica_session_open(struct replica *r, uint64_t now_ns, const struct replica_peer *peer,
                            const struct rpc_session_params *params);
void replica_session_close(struct replica *r, uint64_t now_ns, uint32_t index);

/* Goes over to another configuration (MEM-4): leaves the old one for good, ends all sessions with
 * members, and begins rounds again. Sessions with the new members come after. Older ones, and the
 * one in force, change nothing. */
void replica_reconfigure(struct replica *r, uint64_t now_ns, const struct replica_members *m);

/* From now on clients are told CLOSED, which means that nothing was done and that others should be
 * asked; what they had asked before is finished, and members are served as ever (MEM-14). */
void replica_leave(struct replica *r);

/* One datagram in private memory. */
void replica_receive(struct replica *r, uint64_t now_ns, struct bytes datagram,
                     struct abi_addr from);
/* The next datagram to send, into private memory of at least datagram_bytes. False: none. */
bool replica_transmit(struct replica *r, uint64_t now_ns, struct mbytes to,
                      struct abi_addr *ret_addr, size_t *ret_len);
void replica_tick(struct replica *r, uint64_t now_ns);
uint64_t replica_deadline(const struct replica *r);

void replica_report(const struct replica *r, struct replica_report *ret);
/* Parts of it that cost nothing to tell. */
const struct rpc_counters *replica_rpc_counters(const struct replica *r);
bool replica_has_session(const struct replica *r, uint8_t member);

#endif
