// SPDX-License-Identifier: Apache-2.0
#ifndef HOST_DPDK_DPDK_INTERNAL_H
#define HOST_DPDK_DPDK_INTERNAL_H

/* avocado-dpdk.so: what ports.c starts, pktio_open.c puts together and pktio_dpdk.c uses. */

#include "host/net/dpdk.h"
#include "host/net/udp_batch.h"

#include <pthread.h>
#include <semaphore.h>
#include <stdatomic.h>

extern const struct dpdk_module dpdk_module;

struct rte_mbuf;
struct rte_mempool;
struct rte_ring;

enum {
    DPDK_FDS_MAX = 8, /* of one port: one per queue where the driver has any */
    DPDK_NONE = UINT16_MAX,
};

/* Queues of one device. Shard s uses queue s % queues, alone if there are as many queues as shards
 * and the device is never started again. */
struct dpdk_device {
    uint16_t id; /* DPDK_NONE: there is no such device */
    uint16_t queues;
    bool is_started;
    bool is_locked; /* whoever uses a queue holds its lock */
    pthread_spinlock_t rx_lock[SHARDS_MAX], tx_lock[SHARDS_MAX];
    unsigned left;         /* checksums that the device completes: FRAME_* */
    bool verifies;         /* says of what arrives whether its checksums are right */
    int fds[DPDK_FDS_MAX]; /* readable when a packet has arrived, by queue */
    uint32_t fds_n;        /* as many as queues, or 0: it can only be polled */
};

struct dpdk_port {
    const struct dpdk_port_options *o;
    struct dpdk_device device;
    struct dpdk_device kernel; /* where frames go that are not for us; DPDK_NONE: nowhere */
    struct link_config link;   /* each shard has a link of its own */
    _Atomic bool is_up;        /* both ends are there */
    bool dials; /* ours is the end that connects, and must do so again after a loss */
    _Atomic bool is_dialing;
    uint64_t dialed_ns;
};

struct dpdk {
    struct dpdk_options o;
    struct dpdk_node node;
    char *words; /* EAL keeps pointers into them */
    bool has_eal;
    sem_t closed;
    struct rte_mempool *pool;
    struct dpdk_port ports[DPDK_PORTS_MAX];
    uint32_t ports_n;
    struct rte_ring *inbox[SHARDS_MAX]; /* whole frames that other shards found in their queues */
    int bell[SHARDS_MAX];               /* eventfd, rung for a shard that sleeps */
    _Atomic bool is_asleep[SHARDS_MAX];
};

enum {
    DPDK_OUT_MAX = 2 * BURST_MAX, /* datagrams, and the questions that go before them */
    DPDK_NAP_FIRST_NS = 20000,
};
/* In front lie what the kernel's socket receives into, then a place for each packet of a burst. */
static const uint32_t DPDK_COPIES_OFF = UDP_BATCH * UDP_BUFFER;

struct dpdk_outbox {
    struct rte_mbuf *m[DPDK_OUT_MAX];
    uint16_t n;
};

/* One shard's I/O. */
struct pktio_dpdk {
    struct pktio base;
    struct dpdk *d;
    uint32_t shard;
    struct pktio *door; /* the kernel's socket; NULL: what no port leads to is dropped */
    int hold;           /* without a door: keeps the kernel from answering for us; -1: no need */
    int epoll_fd;
    uint8_t *region, *tx;
    bool is_ready, is_door_turn, has_slept;
    uint32_t first; /* the port that is looked at first */
    uint64_t now_ns, nap_ns, looked_ns;
    struct link *links; /* of each port */
    struct dpdk_outbox out[DPDK_PORTS_MAX];
};

RESULT dpdk_open_shard(struct dpdk *d, uint32_t shard, struct abi_regions *regions,
                       struct pktio **ret, char why[static DPDK_WHY]);
/* The data path, for the ops. */
uint32_t dpdk_rx(struct pktio *base, struct abi_packet *to);
void dpdk_tx(struct pktio *base, const struct abi_packet *packets, uint32_t n);

static inline uint16_t dpdk_queue_of(const struct pktio_dpdk *p, const struct dpdk_device *dev)
{
    return (uint16_t)(p->shard % dev->queues);
}

/* A pair's link: is the other end there? Dials again if that is ours to do. One thread. */
void dpdk_port_look(struct dpdk_port *p, uint64_t now_ns);

#endif
