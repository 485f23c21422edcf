// SPDX-License-Identifier: Apache-2.0
#ifndef HOST_NET_DPDK_H
#define HOST_NET_DPDK_H

/*
 * Packets without the kernel: ports of DPDK, each with addresses of its own (host/frame), one queue
 * per shard. All of it lies in avocado-dpdk.so, which is loaded with dpdk_open and not before;
 * where it was not built (meson option `dpdk`) that fails, with the remedy. docs/dpdk.md is for
 * operators, docs/adr/0071 says why it is so.
 *
 *   shard 0   shard 1   ...          one thread each, polls its queue of every port
 *     |  \    /  |                   a datagram for another shard goes to that one's inbox
 *   port A   port B  kernel socket   by destination: the most specific route, then the kernel
 *
 * Nothing here is trusted, and nothing can do more harm than the network can.
 */

#include "common/result.h"
#include "host/frame/link.h"
#include "host/net/pktio.h"

enum {
    DPDK_PORTS_MAX = 8,
    DPDK_ROUTES_MAX = 8, /* of one port */
    DPDK_NAME_MAX = 64,
    DPDK_WHY = 384,
};

/* Where a port leads: destinations with this prefix and a UDP port within both. */
struct dpdk_route {
    struct link_prefix prefix;
    uint16_t port_first, port_last;
};

struct dpdk_port_options {
    char device[DPDK_NAME_MAX]; /* as DPDK calls it: 0000:3b:00.1, net_af_packet0 */
    char kernel[DPDK_NAME_MAX]; /* a device towards this machine's kernel; empty: none */
    struct link_prefix own[LINK_OWN_MAX];
    uint32_t own_n;
    struct abi_addr gateway4, gateway6; /* family 0: none */
    struct dpdk_route routes[DPDK_ROUTES_MAX];
    uint32_t routes_n; /* 0: it leads everywhere */
    bool is_pair;      /* one other end, `peer`: no ARP, no neighbour discovery */
    struct frame_mac peer;
    uint32_t mtu; /* 0: what the device has */
};

struct dpdk_options {
    const char *eal; /* words for EAL, separated by blanks; NULL: none */
    struct dpdk_port_options ports[DPDK_PORTS_MAX];
    uint32_t ports_n;
    bool has_kernel; /* what no port leads to goes through a socket of the kernel, and comes so */
};

/* "DEVICE[,ip=A/BITS][,via=A][,to=A/BITS[@P-Q]][,mac=M][,mtu=N][,kernel=DEVICE]", or "kernel", into
 * the next port of *o. USAGE: `why` says which word is wrong, and how. */
RESULT dpdk_port_parse(const char *text, struct dpdk_options *o, char why[static DPDK_WHY]);

struct dpdk;
struct dpdk_node {
    const char *address; /* of the kernel's socket: IPv4 or IPv6 literal */
    uint16_t port;       /* UDP port of the first shard */
    uint32_t shards;
    uint32_t datagram_bytes; /* the longest that is sent */
};

/* Starts DPDK and the ports; once in the life of a process. IO or USAGE: `why` says what and what
 * to do. */
RESULT dpdk_open(const struct dpdk_options *o, const struct dpdk_node *node, struct dpdk **ret,
                 char why[static DPDK_WHY]);
/* One shard's packets; sets regions->rx. After dpdk_close nothing of it may be used. */
RESULT pktio_dpdk_open(struct dpdk *d, uint32_t shard, struct abi_regions *regions,
                       struct pktio **ret, char why[static DPDK_WHY]);
void dpdk_close(struct dpdk *d); /* NULL is allowed; after all shards have closed theirs */

/* The only symbol of avocado-dpdk.so that is meant for others: the three functions above. */
struct dpdk_module {
    const char *version;
    RESULT(*open)
    (const struct dpdk_options *o, const struct dpdk_node *node, struct dpdk **ret,
     char why[static DPDK_WHY]);
    RESULT(*open_shard)
    (struct dpdk *d, uint32_t shard, struct abi_regions *regions, struct pktio **ret,
     char why[static DPDK_WHY]);
    void (*close)(struct dpdk *d);
};

#endif
