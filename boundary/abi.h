// SPDX-License-Identifier: Apache-2.0
#ifndef BOUNDARY_ABI_H
#define BOUNDARY_ABI_H

/*
 * Everything that the host and the trusted code agree on, and nothing else. No function bodies; the
 * only pointers are the region addresses given once at start. Calls go in, none come out:
 *
 *   host                                   trusted
 *   ----                                   -------
 *   rx packets, time  -- abi_poll in  -->  shard_poll():   copy in, authenticate, run, seal
 *   tx packets, wake  <-- abi_poll out --
 *
 * Packets lie in two host-memory regions and are named by offset and length. The host may write
 * both regions at any instant; every offset and length is checked by subtraction before use, and
 * packet bytes are copied in once. Time is a hint: it decides when we try again, never what is
 * true.
 */

#include "common/limits.h"

#include <stdint.h>

enum {
    ABI_VERSION = 2,
    ABI_PACKET_STRIDE = 9216, /* room for one packet in a region */
    ABI_REGION_PACKETS = BURST_MAX,
};

/* A UDP endpoint. Opaque to trusted code: echoed and compared, never trusted. */
struct abi_addr {
    uint8_t family; /* 4 or 6; 0 means none */
    uint8_t zero;
    uint16_t port; /* host byte order */
    uint32_t scope;
    uint8_t ip[16]; /* network byte order; IPv4 uses the first four and zeroes the rest */
};

struct abi_packet {
    uint32_t off; /* into the rx or tx region */
    uint32_t len;
    struct abi_addr addr; /* rx: where it came from; tx: where it goes */
};

/* One call of a shard. The trusted side copies the `in` part before it looks at it. */
struct abi_poll {
    /* in */
    uint64_t now_ns; /* monotonic hint; trusted time follows its steps and never runs backwards */
    uint32_t rx_n;   /* at most BURST_MAX */
    struct abi_packet rx[BURST_MAX];
    uint32_t no_growth; /* non-zero: the host has no memory for parts of the arena never used */
    /* out */
    uint32_t tx_n;
    struct abi_packet tx[BURST_MAX];
    uint64_t wake_at_ns; /* call again by then even if nothing arrives; UINT64_MAX: never */
    uint32_t more;       /* non-zero: more is ready to send, call again at once */
    uint32_t notify;     /* non-zero: a report is ready, wake the control thread */
    uint64_t idle_off; /* of the arena: what lies there is not needed any more, the host may take */
    uint64_t idle_len; /* its memory away until the next call; 0: none */
};

/* What a shard gets at start. Regions are ordinary host memory, aligned to 64 bytes. */
struct abi_regions {
    uint8_t *rx; /* ABI_PACKET_STRIDE * ABI_REGION_PACKETS bytes */
    uint8_t *tx; /* the same */
    uint8_t *arena;
    uint64_t rx_bytes, tx_bytes, arena_bytes;
};

_Static_assert((int)ABI_PACKET_STRIDE >= (int)DATAGRAM_MAX, "a packet fits");
_Static_assert(ABI_PACKET_STRIDE % 64 == 0, "packets are aligned");
_Static_assert(sizeof(struct abi_addr) == 24, "layout is part of the ABI");
_Static_assert(sizeof(struct abi_packet) == 32, "layout is part of the ABI");

#endif
