// SPDX-License-Identifier: Apache-2.0
#ifndef HOST_NET_PKTIO_H
#define HOST_NET_PKTIO_H

/*
 * Packet I/O back-ends: bursts of UDP datagrams between a socket or NIC and the packet regions of
 * one shard. Untrusted code; nothing here can do more harm than the network can.
 */

#include "boundary/abi.h"
#include "common/result.h"

#include <stdbool.h>

struct pktio;

struct pktio_counters {
    uint64_t rx_packets, rx_calls, tx_packets, tx_calls, tx_dropped, rx_oversized;
    uint64_t rx_trains,
        tx_trains;         /* datagrams that the kernel carried together: UDP_GRO, UDP_SEGMENT */
    uint64_t waits, wakes; /* system calls of the ring: to wait, and to wake the host */
    uint64_t ring_bad;     /* positions and records of the host that cannot be */
    /* DPDK: frames that cannot be, and that are not for us; packets that another shard brought, or
     * that found its inbox full; through the kernel's socket */
    uint64_t rx_bad, rx_others, rx_handed, rx_dropped, rx_kernel, tx_kernel;
    uint64_t neighbours_asked, no_neighbour; /* questions; datagrams without anybody to give to */
};

struct pktio_ops {
    /* Fills up to BURST_MAX descriptors and the rx region; returns how many. Never blocks. */
    uint32_t (*rx)(struct pktio *p, struct abi_packet *to);
    /* Sends n packets of the tx region. What the kernel refuses is dropped and counted: the RPC
     * layer repeats it. Never blocks. */
    void (*tx)(struct pktio *p, const struct abi_packet *packets, uint32_t n);
    int (*fd)(const struct pktio *p); /* readable when rx has something; NULL: wait and wake */
    void (*close)(struct pktio *p);
    /* Datagrams that the kernel dropped on their way here (index_gate.h); NULL: nobody knows. */
    uint64_t (*dropped)(const struct pktio *p);
    /* Called before each wait for `fd`: nanoseconds after which rx must be called again although fd
     * is not readable; 0: at once. NULL: fd tells everything. */
    uint64_t (*nap)(struct pktio *p);

    /* Only where there is no fd. Waits for packets, wake() or timeout_ns, and may return early. */
    void (*wait)(struct pktio *p, uint64_t timeout_ns);
    void (*wake)(struct pktio *p); /* any thread: the present or the next wait ends at once */
    /* The clock to go by; NULL: CLOCK_MONOTONIC. */
    uint64_t (*now)(struct pktio *p);
};

struct pktio {
    const struct pktio_ops *ops;
    bool is_polled; /* packets can come that wake nobody: look longer before a sleep */
    struct pktio_counters counters;
};

/* Kernel UDP. `address` is an IPv4 or IPv6 literal; the rx region must have UDP_BATCH times
 * UDP_BUFFER bytes (udp_batch.h). On failure IO and errno tells why. Free with ops->close. */
RESULT pktio_udp_open(const char *address, uint16_t port, const struct abi_regions *regions,
                      struct pktio **ret);

/* Split mode, the replica's end of one shard's rings: no system call but to wait when there is
 * nothing to do, and to wake the host before that. Sets regions->rx to the ring; regions->tx stays
 * private. */
struct handover;
RESULT pktio_ring_open(const struct handover *h, uint32_t shard, struct abi_regions *regions,
                       struct pktio **ret);

#endif
