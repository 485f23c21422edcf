// SPDX-License-Identifier: Apache-2.0
#ifndef COMMON_LIMITS_H
#define COMMON_LIMITS_H

/*
 * Every size and count of the system in one place, with the relations that must hold between them.
 * docs/limits.md gives the reasons. Sizes are in bytes unless the name says otherwise.
 */

#include <stdint.h>

enum {
    KEY_MAX = 1024,
    VALUE_MAX = 16 << 20,        /* what formats and arithmetic are built for */
    VALUE_MAX_DEFAULT = 1 << 20, /* what a cluster accepts unless configured otherwise */

    CLUSTER_MAX = 32, /* nodes of a cluster: members of one configuration */
    NODES_MAX = 7,    /* members of a group, learners included: the nodes that hold a key */
    GROUPS_MAX = 64,  /* groups of slots, each with members of its own */
    SHARDS_MAX = 64,  /* worker threads of one node */
    SLOTS_N = 1024,   /* hash slots that map to groups and to shards */
    PARTS_MAX = GROUPS_MAX + SHARDS_MAX - 1, /* numbers of slots.h */

    /* Datagrams: UDP payload, clear header and AEAD tag included. */
    DATAGRAM_MAX = 8960,      /* fits a jumbo frame with IPv6 and UDP headers */
    DATAGRAM_MIN = 1200,      /* smallest `datagram_bytes` that a configuration may name */
    DATAGRAM_DEFAULT = 1400,  /* safe on Ethernet inside a tunnel */
    DATAGRAM_LOOPBACK = 8192, /* what `avocado up` configures: loopback carries 64 KiB frames */
    RPC_HEADER_LEN = 16,
    AEAD_KEY_LEN = 32,
    AEAD_IV_LEN = 12,
    AEAD_TAG_LEN = 16,
    RPC_BODY_MAX = DATAGRAM_MAX - RPC_HEADER_LEN - AEAD_TAG_LEN,

    /* A message is a request or a response: operation header, key and value; or a batch: several
     * keys with what is said of each, at most so many bytes of keys and values unless one alone
     * is longer. */
    MESSAGE_HEAD_MAX = 64,
    BATCH_KEYS_MAX = 256,
    BATCH_BYTES = 64 << 10,
    BATCH_ITEM_MAX = 32,     /* what is said of a key, besides its bytes and its value's */
    BOUND_MAX = KEY_MAX + 1, /* a bound of a range: also just above the longest key */
    MESSAGE_MAX = VALUE_MAX + 2 * BOUND_MAX + MESSAGE_HEAD_MAX,

    BATCHES_MAX = 64, /* batches one shard coordinates at a time */

    /* Outstanding requests per session; the answering end keeps a record for each. */
    RPC_SLOTS_PEER = 4096,
    RPC_SLOTS_CLIENT = 128,
    RPC_SESSIONS_MAX = 4096, /* of one shard; the connection index has 20 bits for it */

    OPS_MAX = 4096, /* operations one shard coordinates at a time */

    REPLAY_BITS_PEER = 8192,
    REPLAY_BITS_CLIENT = 1024,

    BURST_MAX = 32, /* packets that cross the boundary in one call, each way */
};

static const uint64_t ENCLAVE_MEMORY_DEFAULT = UINT64_C(94) << 20;   /* per node */
static const uint64_t ENCLAVE_MEMORY_SHARD_MAX = UINT64_C(32) << 30; /* 31 bits of 16-byte steps */
static const uint64_t HOST_MEMORY_DEFAULT = UINT64_C(1) << 30;       /* per node, mapped lazily */
static const uint64_t TAG_JUMP_MAX = UINT64_C(1) << 40; /* a larger step of ts is refused */

_Static_assert((SLOTS_N & (SLOTS_N - 1)) == 0, "slots are masked");
_Static_assert(SHARDS_MAX <= SLOTS_N, "every shard owns a slot");
_Static_assert(GROUPS_MAX <= SLOTS_N && GROUPS_MAX <= 64, "every group owns a slot and is a bit");
_Static_assert(CLUSTER_MAX <= 32, "sets of nodes are words");
_Static_assert(DATAGRAM_MIN >= KEY_MAX + MESSAGE_HEAD_MAX + 64 + RPC_HEADER_LEN + AEAD_TAG_LEN,
               "a request without a value fits one datagram of any permitted size");
_Static_assert((OPS_MAX & (OPS_MAX - 1)) == 0, "an operation's place is the low bits of a cookie");
_Static_assert(OPS_MAX <= RPC_SLOTS_PEER, "an operation never waits for a slot to a peer");
_Static_assert(BATCH_BYTES + BATCH_KEYS_MAX * BATCH_ITEM_MAX <= VALUE_MAX, "a batch is a message");
_Static_assert((REPLAY_BITS_PEER & (REPLAY_BITS_PEER - 1)) == 0, "window is masked");
_Static_assert((REPLAY_BITS_CLIENT & (REPLAY_BITS_CLIENT - 1)) == 0, "window is masked");
_Static_assert(RPC_SESSIONS_MAX <= 1 << 20, "connection index has 20 bits");
_Static_assert(NODES_MAX <= 8, "sets of members of a group are bytes");

/* The longest message of a cluster that accepts values of `value_max` bytes. */
static inline uint32_t message_max_for(uint32_t value_max)
{
    uint32_t batch = BATCH_BYTES + BATCH_KEYS_MAX * BATCH_ITEM_MAX;

    return (value_max > batch ? value_max : batch) + 2 * BOUND_MAX + MESSAGE_HEAD_MAX;
}

#endif
