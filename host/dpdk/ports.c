// SPDX-License-Identifier: Apache-2.0
/* Starts DPDK and its ports; what is slow and happens once. */
#include "host/dpdk/dpdk_internal.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/if_packet.h>
#include <pthread.h>
#include <rte_alarm.h>
#include <rte_dev.h>
#include <rte_devargs.h>
#include <rte_eal.h>
#include <rte_errno.h>
#include <rte_ethdev.h>
#include <rte_mbuf.h>
#include <rte_ring.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/random.h>
#include <sys/socket.h>
#include <unistd.h>

enum {
    WORDS_MAX = 64,
    RING_WANTED = 512, /* descriptors of a queue */
    INBOX = 1024,
    FD_MAX = 1024, /* of descriptors that a driver may have opened */
    DIAL_NS = 50000000,
    SOON_US = 1, /* the soonest alarm */
    SLACK = 256, /* some drivers want room for heads of their own */
    SPARE = 256, /* buffers in hands, per shard */
    CACHE = 64,
};

/* ---- EAL ---- */

/* EAL binds its caller to one processor; the threads of this program come from the caller. */
static int init_eal(char **argv, int argc)
{
    cpu_set_t cpus;
    bool has_cpus = pthread_getaffinity_np(pthread_self(), sizeof(cpus), &cpus) == 0;
    int n = rte_eal_init(argc, argv);

    if (has_cpus) {
        (void)pthread_setaffinity_np(pthread_self(), sizeof(cpus), &cpus);
    }
    return n;
}

static RESULT start_eal(struct dpdk *d, char why[static DPDK_WHY])
{
    static char name[] = "avocado";
    char *argv[WORDS_MAX + 1] = {name}, *rest;
    int argc = 1;

    d->words = strdup(d->o.eal == NULL ? "" : d->o.eal);
    rest = d->words;
    for (char *w; argc < WORDS_MAX && (w = strsep(&rest, " ")) != NULL;) {
        if (w[0] != 0) {
            argv[argc++] = w;
        }
    }
    if (init_eal(argv, argc) < 0) {
        (void)snprintf(
            why, DPDK_WHY,
            "DPDK does not start: %s; its own words are above. Without hugepages it needs "
            "--no-huge, without NICs --no-pci; see `avocado doctor` and docs/dpdk.md",
            rte_strerror(rte_errno));
        return ERR_IO;
    }
    d->has_eal = true;
    return OK;
}

/* ---- devices ---- */

/* The sockets of a driver that has the kernel's packets: bound to the device's interface, made in
 * the order of its queues. They can be waited for, which the driver itself does not offer. */
static void find_sockets(struct dpdk_device *dev, uint32_t interface)
{
    uint32_t n = 0;

    for (int fd = 3; fd < FD_MAX && interface != 0; fd++) {
        struct sockaddr_ll ll = {.sll_family = 0};
        socklen_t len = sizeof(ll);

        if (getsockname(fd, (struct sockaddr *)&ll, &len) == 0 && ll.sll_family == AF_PACKET &&
            ll.sll_ifindex == (int)interface) {
            if (n < DPDK_FDS_MAX) {
                dev->fds[n] = fd;
            }
            n++;
        }
    }
    dev->fds_n = n == dev->queues && n <= DPDK_FDS_MAX ? n : 0;
}

static RESULT refuse(const char *device, const char *what, int err, char why[static DPDK_WHY])
{
    (void)snprintf(why, DPDK_WHY, "port %s: %s: %s", device, what, rte_strerror(-err));
    return ERR_IO;
}

/* Virtual devices carry what their buffers hold, whatever they say of themselves. */
static bool is_elastic(const struct rte_eth_dev_info *info)
{
    return strcmp(info->driver_name, "net_memif") == 0 ||
           strcmp(info->driver_name, "net_af_packet") == 0;
}

static RESULT set_mtu(struct dpdk_device *dev, const char *name,
                      const struct rte_eth_dev_info *info, uint32_t wanted, uint32_t *ret,
                      char why[static DPDK_WHY])
{
    uint16_t has = RTE_ETHER_MTU;
    int err;

    (void)rte_eth_dev_get_mtu(dev->id, &has);
    *ret = wanted == 0 ? has : wanted;
    if (*ret == has || is_elastic(info)) {
        return OK;
    }
    err = rte_eth_dev_set_mtu(dev->id, (uint16_t)*ret);
    return err == 0 ? OK : refuse(name, "its MTU cannot be set", err, why);
}

static struct rte_eth_conf configuration(const struct rte_eth_dev_info *info, uint16_t queues)
{
    struct rte_eth_conf conf = {.rxmode = {.mq_mode = RTE_ETH_MQ_RX_NONE}};

    if (queues > 1 && info->flow_type_rss_offloads != 0) {
        conf.rxmode.mq_mode = RTE_ETH_MQ_RX_RSS;
        conf.rx_adv_conf.rss_conf.rss_hf =
            info->flow_type_rss_offloads & (RTE_ETH_RSS_IP | RTE_ETH_RSS_UDP);
    }
    conf.rxmode.offloads =
        info->rx_offload_capa & (RTE_ETH_RX_OFFLOAD_IPV4_CKSUM | RTE_ETH_RX_OFFLOAD_UDP_CKSUM);
    conf.txmode.offloads =
        info->tx_offload_capa & (RTE_ETH_TX_OFFLOAD_IPV4_CKSUM | RTE_ETH_TX_OFFLOAD_UDP_CKSUM);
    return conf;
}

static RESULT set_queues(const struct dpdk *d, struct dpdk_device *dev, const char *name,
                         char why[static DPDK_WHY])
{
    uint16_t rx = RING_WANTED, tx = RING_WANTED;
    int err = rte_eth_dev_adjust_nb_rx_tx_desc(dev->id, &rx, &tx);

    for (uint16_t q = 0; err == 0 && q < dev->queues; q++) {
        err = rte_eth_rx_queue_setup(dev->id, q, rx, (unsigned)SOCKET_ID_ANY, NULL, d->pool);
        if (err == 0) {
            err = rte_eth_tx_queue_setup(dev->id, q, tx, (unsigned)SOCKET_ID_ANY, NULL);
        }
        (void)pthread_spin_init(&dev->rx_lock[q], PTHREAD_PROCESS_PRIVATE);
        (void)pthread_spin_init(&dev->tx_lock[q], PTHREAD_PROCESS_PRIVATE);
    }
    return err == 0 ? OK : refuse(name, "its queues cannot be made", err, why);
}

static RESULT open_device(const struct dpdk *d, const char *name, struct dpdk_device *dev,
                          struct rte_eth_dev_info *ret_info, char why[static DPDK_WHY])
{
    struct rte_eth_conf conf;
    uint32_t most;
    int err;

    if (rte_eth_dev_get_port_by_name(name, &dev->id) != 0) {
        dev->id = DPDK_NONE;
        (void)snprintf(
            why, DPDK_WHY,
            "DPDK knows no device %s; a NIC must be bound to vfio-pci (dpdk-devbind.py), a "
            "virtual one be made by --vdev among the words for EAL",
            name);
        return ERR_IO;
    }
    err = rte_eth_dev_info_get(dev->id, ret_info);
    if (err != 0) {
        return refuse(name, "it does not say what it can", err, why);
    }
    most = ret_info->max_rx_queues < ret_info->max_tx_queues ? ret_info->max_rx_queues
                                                             : ret_info->max_tx_queues;
    dev->queues = (uint16_t)(most < d->node.shards ? most : d->node.shards);
    dev->is_locked = dev->queues < d->node.shards;
    conf = configuration(ret_info, dev->queues);
    err = rte_eth_dev_configure(dev->id, dev->queues, dev->queues, &conf);
    if (err != 0) {
        return refuse(name, "it cannot be configured", err, why);
    }
    dev->left = ((conf.txmode.offloads & RTE_ETH_TX_OFFLOAD_IPV4_CKSUM) != 0 ? FRAME_IP_SUM : 0U) |
                ((conf.txmode.offloads & RTE_ETH_TX_OFFLOAD_UDP_CKSUM) != 0 ? FRAME_UDP_SUM : 0U);
    dev->verifies = conf.rxmode.offloads != 0;
    return set_queues(d, dev, name, why);
}

static RESULT start_device(struct dpdk_device *dev, const char *name,
                           const struct rte_eth_dev_info *info, char why[static DPDK_WHY])
{
    int err = rte_eth_dev_start(dev->id);

    if (err != 0) {
        return refuse(name, "it does not start", err, why);
    }
    dev->is_started = true;
    /* Solicitations come to groups. A device without filters lets everything through. */
    if (rte_eth_allmulticast_enable(dev->id) != 0) {
        (void)rte_eth_promiscuous_enable(dev->id);
    }
    find_sockets(dev, info->if_index);
    return OK;
}

/* ---- ports ---- */

static RESULT describe_link(const struct dpdk *d, struct dpdk_port *p, uint32_t mtu,
                            char why[static DPDK_WHY])
{
    const struct dpdk_port_options *o = p->o;
    const uint32_t heads = FRAME_IP6_LEN + FRAME_UDP_LEN;
    struct rte_ether_addr mac;

    p->link = (struct link_config){.mtu = mtu,
                                   .own_n = o->own_n,
                                   .gateway4 = o->gateway4,
                                   .gateway6 = o->gateway6,
                                   .is_pair = o->is_pair,
                                   .peer = o->peer,
                                   .has_others = o->kernel[0] != 0,
                                   .port = d->node.port,
                                   .ports_n = (uint16_t)d->node.shards};
    memcpy(p->link.own, o->own, sizeof(p->link.own));
    if (rte_eth_macaddr_get(p->device.id, &mac) != 0 ||
        getrandom(p->link.key, sizeof(p->link.key), 0) != (ssize_t)sizeof(p->link.key)) {
        (void)snprintf(why, DPDK_WHY, "port %s has no MAC, or the kernel no randomness", o->device);
        return ERR_IO;
    }
    memcpy(p->link.mac.b, mac.addr_bytes, FRAME_MAC_LEN);
    if (mtu < d->node.datagram_bytes + heads) {
        (void)snprintf(
            why, DPDK_WHY,
            "port %s carries %u bytes, datagrams of this cluster have up to %u and %u of "
            "headers; give the port mtu=%u if it can, or lower `datagram_bytes`",
            o->device, mtu, d->node.datagram_bytes, heads, d->node.datagram_bytes + heads);
        return ERR_IO;
    }
    return OK;
}

/* A link by shared memory connects through a socket: one end listens, the other dials, once, when
 * it is started. */
static bool is_dialer(const struct rte_eth_dev_info *info)
{
    const struct rte_devargs *args = rte_dev_devargs(info->device);

    return strcmp(info->driver_name, "net_memif") == 0 &&
           (args == NULL || args->args == NULL || strstr(args->args, "role=server") == NULL);
}

/* In EAL's thread of interrupts and alarms: it ends a link when the other end goes, and must not do
 * so while somebody else stops the device. */
static void dial_again(void *port)
{
    struct dpdk_port *p = port;
    struct dpdk_device *dev = &p->device;

    for (uint16_t q = 0; q < dev->queues; q++) {
        (void)pthread_spin_lock(&dev->rx_lock[q]);
        (void)pthread_spin_lock(&dev->tx_lock[q]);
    }
    (void)rte_eth_dev_stop(dev->id);
    dev->is_started = rte_eth_dev_start(dev->id) == 0;
    for (uint16_t q = 0; q < dev->queues; q++) {
        (void)pthread_spin_unlock(&dev->tx_lock[q]);
        (void)pthread_spin_unlock(&dev->rx_lock[q]);
    }
    atomic_store_explicit(&p->is_dialing, false, memory_order_release);
}

void dpdk_port_look(struct dpdk_port *p, uint64_t now_ns)
{
    struct rte_eth_link link;
    bool is_up;

    if (atomic_load_explicit(&p->is_dialing, memory_order_acquire)) {
        return;
    }
    is_up = p->device.is_started && rte_eth_link_get_nowait(p->device.id, &link) == 0 &&
            link.link_status == RTE_ETH_LINK_UP;

    atomic_store_explicit(&p->is_up, is_up, memory_order_relaxed);
    if (!is_up && p->dials && now_ns - p->dialed_ns > DIAL_NS) {
        p->dialed_ns = now_ns;
        atomic_store_explicit(&p->is_dialing, true, memory_order_relaxed);
        if (rte_eal_alarm_set(SOON_US, dial_again, p) != 0) {
            atomic_store_explicit(&p->is_dialing, false, memory_order_relaxed);
        }
    }
}

static RESULT open_port(struct dpdk *d, struct dpdk_port *p, char why[static DPDK_WHY])
{
    struct rte_eth_dev_info info;
    uint32_t mtu;

    p->kernel.id = DPDK_NONE;
    TRY(open_device(d, p->o->device, &p->device, &info, why));
    TRY(set_mtu(&p->device, p->o->device, &info, p->o->mtu, &mtu, why));
    TRY(describe_link(d, p, mtu, why));
    p->dials = p->o->is_pair && is_dialer(&info);
    p->device.is_locked |= p->dials;
    if (!p->dials) {
        TRY(start_device(&p->device, p->o->device, &info, why));
    }
    if (p->o->kernel[0] != 0) {
        TRY(open_device(d, p->o->kernel, &p->kernel, &info, why));
        TRY(start_device(&p->kernel, p->o->kernel, &info, why));
    }
    atomic_store(&p->is_up, !p->o->is_pair);
    return OK;
}

/* Room in front of a frame and for the longest. */
static uint32_t buffer_bytes(const struct dpdk *d)
{
    uint32_t longest = RTE_MBUF_DEFAULT_DATAROOM;

    for (uint32_t i = 0; i < d->o.ports_n; i++) {
        uint32_t mtu = d->o.ports[i].mtu + FRAME_ETHER_LEN + SLACK;

        longest = mtu > longest ? mtu : longest;
    }
    return RTE_PKTMBUF_HEADROOM + (longest + 63) / 64 * 64;
}

static RESULT make_buffers(struct dpdk *d, char why[static DPDK_WHY])
{
    uint32_t devices = d->o.ports_n, n;
    char name[32];

    for (uint32_t i = 0; i < d->o.ports_n; i++) {
        devices += d->o.ports[i].kernel[0] != 0;
    }
    n = d->node.shards * (devices * 2 * RING_WANTED + SPARE + (d->node.shards > 1 ? INBOX : 0U));

    d->pool =
        rte_pktmbuf_pool_create("frames", n, CACHE, 0, (uint16_t)buffer_bytes(d), SOCKET_ID_ANY);
    if (d->pool == NULL) {
        (void)snprintf(
            why, DPDK_WHY,
            "DPDK has no memory for %u buffers of %u bytes: %s; give it more (-m MIB with "
            "--no-huge, hugepages without)",
            n, buffer_bytes(d), rte_strerror(rte_errno));
        return ERR_IO;
    }
    for (uint32_t s = 0; s < d->node.shards; s++) {
        (void)snprintf(name, sizeof(name), "inbox-%u", s);
        d->inbox[s] = rte_ring_create(name, INBOX, SOCKET_ID_ANY, RING_F_SC_DEQ);
        d->bell[s] = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
        if (d->inbox[s] == NULL || d->bell[s] < 0) {
            (void)snprintf(why, DPDK_WHY, "no memory for the inbox of shard %u", s);
            return ERR_IO;
        }
    }
    return OK;
}

static void close_device(const struct dpdk_device *dev)
{
    if (dev->id != DPDK_NONE) {
        (void)rte_eth_dev_stop(dev->id);
        (void)rte_eth_dev_close(dev->id);
    }
}

/* As dial_again(). */
static void close_devices(void *all)
{
    struct dpdk *d = all;

    for (uint32_t i = 0; i < d->ports_n; i++) {
        close_device(&d->ports[i].device);
        close_device(&d->ports[i].kernel);
    }
    (void)sem_post(&d->closed);
}

static void close_all(struct dpdk *d)
{
    for (uint32_t i = 0; i < d->ports_n; i++) {
        (void)rte_eal_alarm_cancel(dial_again, &d->ports[i]);
    }
    if (d->ports_n > 0) {
        (void)sem_init(&d->closed, 0, 0);
        if (rte_eal_alarm_set(SOON_US, close_devices, d) != 0) {
            close_devices(d);
        }
        while (sem_wait(&d->closed) != 0) { /* a signal came between */
        }
    }
    for (uint32_t s = 0; s < d->node.shards; s++) {
        if (d->bell[s] >= 0) {
            (void)close(d->bell[s]);
        }
    }
    if (d->has_eal) {
        (void)rte_eal_cleanup();
    }
    free(d->words);
    free(d);
}

static RESULT open_all(const struct dpdk_options *o, const struct dpdk_node *node,
                       struct dpdk **ret, char why[static DPDK_WHY])
{
    struct dpdk *d = calloc(1, sizeof(*d));
    enum err err = OK;

    if (d == NULL) {
        (void)snprintf(why, DPDK_WHY, "out of memory");
        return ERR_IO;
    }
    d->o = *o;
    d->node = *node;
    memset(d->bell, 0xff, sizeof(d->bell));
    err = start_eal(d, why);
    if (err == OK) {
        err = make_buffers(d, why);
    }
    for (uint32_t i = 0; i < o->ports_n && err == OK; i++) {
        d->ports_n++;
        d->ports[i].o = &d->o.ports[i];
        err = open_port(d, &d->ports[i], why);
    }
    if (err != OK) {
        close_all(d);
        return err;
    }
    *ret = d;
    return OK;
}

__attribute__((visibility("default"))) const struct dpdk_module dpdk_module = {
    .version = AVOCADO_VERSION,
    .open = open_all,
    .open_shard = dpdk_open_shard,
    .close = close_all,
};
