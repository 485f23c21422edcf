// SPDX-License-Identifier: Apache-2.0
/* One shard's I/O: puts it together, and waits. */
#include "host/dpdk/dpdk_internal.h"
#include "host/net/addr.h"

#include <errno.h>
#include <linux/filter.h>
#include <rte_ring.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/mman.h>
#include <unistd.h>

enum { NAP_MAX_NS = 1000000 };
static const uint32_t REGION_BYTES = UDP_BATCH * UDP_BUFFER + BURST_MAX * ABI_PACKET_STRIDE;

/* ---- waiting ---- */

static int fd(const struct pktio *base)
{
    return ((const struct pktio_dpdk *)base)->epoll_fd;
}

/* Ports that can only be polled are looked at again after a nap, the longer the longer nothing
 * comes. */
static uint64_t nap(struct pktio *base)
{
    struct pktio_dpdk *p = (struct pktio_dpdk *)base;

    p->has_slept = true;
    atomic_store(&p->d->is_asleep[p->shard], true);
    if (rte_ring_count(p->d->inbox[p->shard]) > 0) {
        return 0;
    }
    if (!base->is_polled) {
        return UINT64_MAX;
    }
    p->nap_ns = p->nap_ns >= NAP_MAX_NS / 2 ? NAP_MAX_NS : 2 * p->nap_ns;
    return p->nap_ns;
}

static bool watch(struct pktio_dpdk *p, int what)
{
    struct epoll_event e = {.events = EPOLLIN, .data = {.fd = what}};

    return epoll_ctl(p->epoll_fd, EPOLL_CTL_ADD, what, &e) == 0;
}

static bool watch_device(struct pktio_dpdk *p, const struct dpdk_device *dev)
{
    if (dev->id == DPDK_NONE) {
        return true;
    }
    return dev->fds_n > 0 && watch(p, dev->fds[dpdk_queue_of(p, dev)]);
}

static bool watch_all(struct pktio_dpdk *p)
{
    p->epoll_fd = epoll_create1(EPOLL_CLOEXEC);
    if (p->epoll_fd < 0 || !watch(p, p->d->bell[p->shard])) {
        return false;
    }
    p->base.is_polled = false;
    for (uint32_t i = 0; i < p->d->ports_n; i++) {
        bool device = watch_device(p, &p->d->ports[i].device);

        p->base.is_polled |= !watch_device(p, &p->d->ports[i].kernel) || !device;
    }
    return p->door == NULL || watch(p, p->door->ops->fd(p->door));
}

/* ---- life ---- */

static void close_dpdk(struct pktio *base)
{
    struct pktio_dpdk *p = (struct pktio_dpdk *)base;

    if (p->door != NULL) {
        p->door->ops->close(p->door);
    }
    if (p->hold >= 0) {
        (void)close(p->hold);
    }
    if (p->epoll_fd >= 0) {
        (void)close(p->epoll_fd);
    }
    if (p->region != NULL) {
        (void)munmap(p->region, REGION_BYTES);
    }
    free(p->links);
    free(p);
}

static const struct pktio_ops dpdk_ops = {
    .rx = dpdk_rx, .tx = dpdk_tx, .fd = fd, .nap = nap, .close = close_dpdk};

/* If the address is the kernel's too, it would tell every sender that nobody is there; and somebody
 * else could take the port. A socket that hears nothing prevents both. */
static RESULT hold_port(struct pktio_dpdk *p, uint16_t port, char why[static DPDK_WHY])
{
    struct sock_filter nothing[] = {{.code = BPF_RET | BPF_K, .k = 0}};
    const struct sock_fprog filter = {.len = 1, .filter = nothing};
    struct sockaddr_storage sa;
    socklen_t n;

    if (!addr_parse(p->d->node.address, port, &sa, &n)) {
        (void)snprintf(why, DPDK_WHY, "'%s' is no address", p->d->node.address);
        return ERR_IO;
    }
    p->hold = socket(sa.ss_family, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    if (p->hold < 0 ||
        setsockopt(p->hold, SOL_SOCKET, SO_ATTACH_FILTER, &filter, sizeof(filter)) != 0 ||
        bind(p->hold, (const struct sockaddr *)&sa, n) != 0) {
        if (errno == EADDRNOTAVAIL) {
            return OK;
        }
        (void)snprintf(why, DPDK_WHY,
                       "cannot hold UDP port %s:%u: %s; free the port or configure another",
                       p->d->node.address, port, strerror(errno));
        return ERR_IO;
    }
    return OK;
}

static RESULT open_sockets(struct pktio_dpdk *p, const struct abi_regions *regions,
                           char why[static DPDK_WHY])
{
    uint16_t port = (uint16_t)(p->d->node.port + p->shard);

    if (!p->d->o.has_kernel) {
        TRY(hold_port(p, port, why));
    } else if (pktio_udp_open(p->d->node.address, port, regions, &p->door) != OK) {
        (void)snprintf(why, DPDK_WHY,
                       "cannot open UDP port %s:%u: %s; free the port or configure another",
                       p->d->node.address, port, strerror(errno));
        return ERR_IO;
    }
    if (!watch_all(p)) {
        (void)snprintf(why, DPDK_WHY, "cannot wait for packets: %s", strerror(errno));
        return ERR_IO;
    }
    return OK;
}

RESULT dpdk_open_shard(struct dpdk *d, uint32_t shard, struct abi_regions *regions,
                       struct pktio **ret, char why[static DPDK_WHY])
{
    struct pktio_dpdk *p = calloc(1, sizeof(*p));
    void *region =
        mmap(NULL, REGION_BYTES, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    enum err err;

    if (p == NULL || region == MAP_FAILED ||
        (p->links = calloc(d->ports_n + 1, sizeof(*p->links))) == NULL) {
        (void)snprintf(why, DPDK_WHY, "out of memory");
        free(p);
        return ERR_IO;
    }
    p->base.ops = &dpdk_ops;
    p->d = d;
    p->shard = shard;
    p->hold = p->epoll_fd = -1;
    p->nap_ns = DPDK_NAP_FIRST_NS;
    p->region = region;
    p->tx = regions->tx;
    for (uint32_t i = 0; i < d->ports_n; i++) {
        link_init(&p->links[i], &d->ports[i].link);
    }
    regions->rx = p->region;
    regions->rx_bytes = REGION_BYTES;
    err = open_sockets(p, regions, why);
    if (err != OK) {
        close_dpdk(&p->base);
        return err;
    }
    *ret = &p->base;
    return OK;
}
