// SPDX-License-Identifier: Apache-2.0
#ifndef TRUSTED_SHARD_SHARD_H
#define TRUSTED_SHARD_SHARD_H

/*
 * The trusted end of the boundary for one worker: takes packet descriptors from the host, copies
 * the packets in, runs the replica, copies sealed packets out. One thread calls shard_poll; the
 * control thread posts commands through a single-producer ring. No system call, no lock.
 */

#include "boundary/abi.h"
#include "trusted/replica/replica.h"

struct shard;

struct shard_config {
    uint32_t shard;
    uint32_t incarnation;
    const struct replica_members *members; /* the configuration to begin with */
    uint32_t shards_n;                     /* of this node; with groups, like the next */
    uint8_t cluster_id[SIPHASH_KEY_LEN];
    uint32_t datagram_bytes;
    uint32_t value_max;
    uint32_t sessions_max;
    uint64_t hedge_ns;
    uint64_t sync_ns, collect_ns;
    void *
        memory; /* enclave memory of this shard, 64-byte aligned, zero-filled; stays the caller's */
    size_t memory_bytes;
    struct abi_regions regions; /* host memory; must lie outside `memory` */
};

enum shard_command_kind {
    SHARD_SESSION_OPEN = 1,
    SHARD_SESSION_CLOSE,
    SHARD_RECONFIGURE, /* after the sessions with members were closed, before new ones open */
    SHARD_LEAVE,       /* replica_leave */
    SHARD_REPORT,      /* then abi_poll.notify is set and shard_report gives it */
};

struct shard_command {
    enum shard_command_kind kind;
    enum replica_peer_kind peer;           /* SESSION_OPEN */
    uint8_t member;                        /* SESSION_OPEN of a member */
    struct access access;                  /* SESSION_OPEN of a client */
    uint32_t index;                        /* SESSION_CLOSE */
    const struct replica_members *members; /* RECONFIGURE; copied */
    struct rpc_session_params params;      /* SESSION_OPEN; wiped inside once used, wipe yours */
};

/* What the host did that it must not do; counted, survived. */
struct shard_host_counters {
    uint64_t bad_descriptors; /* offset or length outside the region, or too many packets */
    uint64_t clock_lies;      /* time ran backwards, or is impossible: ours stood still */
};

/* BOUNDARY: the regions overlap enclave memory, are misaligned or too small. ENCLAVE_MEMORY. Draws
 * the store's key and the jitter seed from the system's entropy. Start-up only. */
RESULT shard_open(const struct shard_config *c, struct shard **ret);
void shard_close(struct shard *s); /* wipes keys; NULL is allowed */

/* The shard's thread. `io` may be host memory: the `in` part is read once. */
void shard_poll(struct shard *s, struct abi_poll *io);

/* Control thread. False: the ring is full, or a RECONFIGURE waits already; try again after the
 * shard was polled. */
bool shard_post(struct shard *s, const struct shard_command *c);
/* Control thread. True once per answered SHARD_REPORT; post the next one only after that. */
bool shard_report(struct shard *s, struct replica_report *ret,
                  struct shard_host_counters *ret_host);
/* "ipsec-mb avx512-vaes", ...; static storage. */
const char *shard_aead_name(const struct shard *s);

#endif
