// SPDX-License-Identifier: Apache-2.0
/* The data path of one shard: its queue of every port, its inbox, and the kernel's socket. */
#include "host/dpdk/dpdk_internal.h"
#include "host/run/clock.h"

#include <rte_ethdev.h>
#include <rte_lcore.h>
#include <rte_mbuf.h>
#include <rte_ring.h>
#include <string.h>
#include <sys/prctl.h>
#include <unistd.h>

enum {
    LOOK_NS = 1000000, /* at the state of links */
    SLACK_NS = 1000,   /* of this thread's timers: naps are short */
};

/* ---- out ---- */

/* Returns how many the device took; the others are the caller's still. */
static uint16_t burst_out(struct pktio_dpdk *p, struct dpdk_device *dev, struct rte_mbuf **m,
                          uint16_t n)
{
    uint16_t q = dpdk_queue_of(p, dev), sent;

    if (!dev->is_locked) {
        return rte_eth_tx_burst(dev->id, q, m, n);
    }
    (void)pthread_spin_lock(&dev->tx_lock[q]);
    sent = dev->is_started ? rte_eth_tx_burst(dev->id, q, m, n) : 0;
    (void)pthread_spin_unlock(&dev->tx_lock[q]);
    return sent;
}

/* What a full queue does not take is lost, and the RPC layer sends it again. */
static void flush(struct pktio_dpdk *p, uint32_t port)
{
    struct dpdk_outbox *o = &p->out[port];
    uint16_t sent = burst_out(p, &p->d->ports[port].device, o->m, o->n);

    if (sent < o->n) {
        p->base.counters.tx_dropped += o->n - sent;
        rte_pktmbuf_free_bulk(o->m + sent, o->n - sent);
    }
    p->base.counters.tx_calls++;
    o->n = 0;
}

/* A frame to fill, `n` bytes long, at the end of the port's outbox; NULL: no room. */
static uint8_t *frame_new(struct pktio_dpdk *p, uint32_t port, uint32_t n)
{
    struct dpdk_outbox *o = &p->out[port];
    struct rte_mbuf *m = o->n < DPDK_OUT_MAX ? rte_pktmbuf_alloc(p->d->pool) : NULL;
    char *to = m == NULL || n > UINT16_MAX ? NULL : rte_pktmbuf_append(m, (uint16_t)n);

    if (to == NULL) {
        rte_pktmbuf_free(m);
        p->base.counters.tx_dropped++;
        return NULL;
    }
    o->m[o->n++] = m;
    return (uint8_t *)to;
}

static void send_frame(struct pktio_dpdk *p, uint32_t port, const uint8_t *frame, uint32_t n)
{
    uint8_t *to = frame_new(p, port, n);

    if (to != NULL) {
        memcpy(to, frame, n);
    }
}

/* Tells the device which checksums it is to complete. */
static void leave_sums(struct rte_mbuf *m, unsigned left, bool is_v6)
{
    m->l2_len = FRAME_ETHER_LEN;
    m->l3_len = is_v6 ? FRAME_IP6_LEN : FRAME_IP4_LEN;
    m->ol_flags |= is_v6 ? RTE_MBUF_F_TX_IPV6 : RTE_MBUF_F_TX_IPV4;
    if ((left & FRAME_IP_SUM) != 0 && !is_v6) {
        m->ol_flags |= RTE_MBUF_F_TX_IP_CKSUM;
    }
    if ((left & FRAME_UDP_SUM) != 0) {
        m->ol_flags |= RTE_MBUF_F_TX_UDP_CKSUM;
    }
}

static void send_datagram(struct pktio_dpdk *p, uint32_t port, const struct abi_packet *packet)
{
    struct dpdk_port *dp = &p->d->ports[port];
    const struct link_datagram g = {.port = p->shard,
                                    .left = dp->device.left,
                                    .to = &packet->addr,
                                    .payload = {p->tx + packet->off, packet->len}};
    struct link_departure dep;
    uint8_t *to;

    link_out(&p->links[port], &g, p->now_ns, &dep);
    if (dep.question_len > 0) {
        send_frame(p, port, dep.question, dep.question_len);
    }
    if (dep.head_len == 0) {
        p->base.counters.tx_dropped++;
        return;
    }
    to = frame_new(p, port, dep.head_len + packet->len);
    if (to != NULL) {
        memcpy(to, dep.head, dep.head_len);
        memcpy(to + dep.head_len, g.payload.p, g.payload.n);
        if (dp->device.left != 0) {
            leave_sums(p->out[port].m[p->out[port].n - 1], dp->device.left,
                       packet->addr.family == 6);
        }
        p->base.counters.tx_packets++;
    }
}

/* How many bits of `a` the best route of the port has; -1: it does not lead there. */
static int route_bits(const struct dpdk_port *dp, const struct abi_addr *a)
{
    int best = dp->o->routes_n == 0 ? 0 : -1;

    for (uint32_t i = 0; i < dp->o->routes_n; i++) {
        const struct dpdk_route *r = &dp->o->routes[i];

        if (a->port >= r->port_first && a->port <= r->port_last && r->prefix.bits > best &&
            link_prefix_has(&r->prefix, a)) {
            best = r->prefix.bits;
        }
    }
    return best;
}

/* The port for a destination; ports_n: the kernel. */
static uint32_t choose_port(const struct pktio_dpdk *p, const struct abi_addr *a)
{
    uint32_t chosen = p->d->ports_n;
    int best = -1;

    for (uint32_t i = 0; i < p->d->ports_n; i++) {
        int bits = route_bits(&p->d->ports[i], a);

        if (bits > best && atomic_load_explicit(&p->d->ports[i].is_up, memory_order_relaxed)) {
            best = bits;
            chosen = i;
        }
    }
    return chosen;
}

void dpdk_tx(struct pktio *base, const struct abi_packet *packets, uint32_t n)
{
    struct pktio_dpdk *p = (struct pktio_dpdk *)base;
    struct abi_packet rest[BURST_MAX];
    uint32_t rest_n = 0;

    for (uint32_t i = 0; i < n; i++) {
        uint32_t port = choose_port(p, &packets[i].addr);

        if (port < p->d->ports_n) {
            send_datagram(p, port, &packets[i]);
        } else if (p->door != NULL) {
            rest[rest_n++] = packets[i];
        } else {
            base->counters.tx_dropped++;
        }
    }
    for (uint32_t i = 0; i < p->d->ports_n; i++) {
        if (p->out[i].n > 0) {
            flush(p, i);
        }
    }
    if (rest_n > 0) {
        uint64_t lost = p->door->counters.tx_dropped;

        p->door->ops->tx(p->door, rest, rest_n);
        lost = p->door->counters.tx_dropped - lost;
        base->counters.tx_dropped += lost;
        base->counters.tx_kernel += rest_n - lost;
    }
}

/* ---- in ---- */

static uint32_t port_of(const struct pktio_dpdk *p, const struct rte_mbuf *m)
{
    uint32_t i = 0;

    while (i + 1 < p->d->ports_n && p->d->ports[i].device.id != m->port) {
        i++;
    }
    return i;
}

/* Takes over m. */
static void hand_over(struct pktio_dpdk *p, uint32_t shard, struct rte_mbuf *m)
{
    static const uint64_t one = 1;

    if (rte_ring_enqueue(p->d->inbox[shard], m) != 0) {
        p->base.counters.rx_dropped++;
        rte_pktmbuf_free(m);
        return;
    }
    p->base.counters.rx_handed++;
    if (atomic_exchange(&p->d->is_asleep[shard], false)) {
        (void)!write(p->d->bell[shard], &one, sizeof(one));
    }
}

/* Every shard knows its neighbours by itself; what one hears, all hear. */
static void spread(struct pktio_dpdk *p, struct rte_mbuf *m)
{
    for (uint32_t s = 0; s < p->d->node.shards; s++) {
        if (s != p->shard) {
            rte_mbuf_refcnt_update(m, 1);
            hand_over(p, s, m);
        }
    }
}

/* Takes over m. */
static void to_kernel(struct pktio_dpdk *p, struct dpdk_port *dp, struct rte_mbuf *m)
{
    if (dp->kernel.id == DPDK_NONE || burst_out(p, &dp->kernel, &m, 1) == 0) {
        rte_pktmbuf_free(m);
    }
}

static unsigned verified(const struct dpdk_device *dev, const struct rte_mbuf *m)
{
    if (!dev->verifies) {
        return 0;
    }
    return ((m->ol_flags & RTE_MBUF_F_RX_IP_CKSUM_MASK) == RTE_MBUF_F_RX_IP_CKSUM_GOOD
                ? FRAME_IP_SUM
                : 0U) |
           ((m->ol_flags & RTE_MBUF_F_RX_L4_CKSUM_MASK) == RTE_MBUF_F_RX_L4_CKSUM_GOOD
                ? FRAME_UDP_SUM
                : 0U);
}

/* Copies the payload to the place of the next packet of this burst. */
static uint32_t take(struct pktio_dpdk *p, const uint8_t *frame, const struct link_arrival *in,
                     struct abi_packet *to, uint32_t n)
{
    uint32_t off = DPDK_COPIES_OFF + n * ABI_PACKET_STRIDE;

    if (in->len > DATAGRAM_MAX) {
        p->base.counters.rx_oversized++;
        return n;
    }
    memcpy(p->region + off, frame + in->off, in->len);
    to[n] = (struct abi_packet){.off = off, .len = in->len, .addr = in->from};
    return n + 1;
}

/* One frame, which it takes over. Returns the packets of this burst so far. */
static uint32_t on_frame(struct pktio_dpdk *p, struct rte_mbuf *m, bool is_handed,
                         struct abi_packet *to, uint32_t n)
{
    uint32_t port = port_of(p, m);
    struct dpdk_port *dp = &p->d->ports[port];
    struct link_arrival in;
    const uint8_t *frame;

    if (m->nb_segs > 1 && rte_pktmbuf_linearize(m) != 0) {
        p->base.counters.rx_oversized++;
        rte_pktmbuf_free(m);
        return n;
    }
    frame = rte_pktmbuf_mtod(m, const uint8_t *);
    switch (link_in(&p->links[port], (struct bytes){frame, m->data_len}, verified(&dp->device, m),
                    p->now_ns, &in)) {
    case LINK_DATAGRAM:
        if (in.port == p->shard) {
            n = take(p, frame, &in, to, n);
        } else if (!is_handed) {
            hand_over(p, in.port, m);
            return n;
        }
        break;
    case LINK_ANSWER:
        if (!is_handed) {
            send_frame(p, port, in.answer, in.answer_len);
            spread(p, m);
        }
        break;
    case LINK_OTHERS:
        if (!is_handed) {
            if (in.is_news) {
                spread(p, m);
            }
            to_kernel(p, dp, m);
            return n;
        }
        break;
    case LINK_NOTHING:
        break;
    }
    rte_pktmbuf_free(m);
    return n;
}

static uint16_t burst_in(struct pktio_dpdk *p, struct dpdk_device *dev, struct rte_mbuf **m,
                         uint32_t n)
{
    uint16_t q = dpdk_queue_of(p, dev), got;

    if (!dev->is_locked) {
        return rte_eth_rx_burst(dev->id, q, m, (uint16_t)n);
    }
    if (pthread_spin_trylock(&dev->rx_lock[q]) != 0) {
        return 0; /* another shard is at it and brings us what is ours */
    }
    got = dev->is_started ? rte_eth_rx_burst(dev->id, q, m, (uint16_t)n) : 0;
    (void)pthread_spin_unlock(&dev->rx_lock[q]);
    return got;
}

/* From the kernel to the network, unchanged. */
static void from_kernel(struct pktio_dpdk *p, struct dpdk_port *dp)
{
    struct rte_mbuf *m[BURST_MAX];
    uint16_t got = burst_in(p, &dp->kernel, m, BURST_MAX), sent;

    if (got > 0) {
        sent = burst_out(p, &dp->device, m, got);
        rte_pktmbuf_free_bulk(m + sent, got - sent);
    }
}

static uint32_t rx_ports(struct pktio_dpdk *p, struct abi_packet *to)
{
    struct rte_mbuf *m[BURST_MAX];
    uint32_t n = 0,
             got = rte_ring_dequeue_burst(p->d->inbox[p->shard], (void **)m, BURST_MAX, NULL);

    for (uint32_t i = 0; i < got; i++) {
        n = on_frame(p, m[i], true, to, n);
    }
    p->first++;
    for (uint32_t i = 0; i < p->d->ports_n && n < BURST_MAX; i++) {
        uint32_t port = (p->first + i) % p->d->ports_n;

        got = burst_in(p, &p->d->ports[port].device, m, BURST_MAX - n);
        for (uint32_t k = 0; k < got; k++) {
            n = on_frame(p, m[k], false, to, n);
        }
        if (p->out[port].n > 0) {
            flush(p, port);
        }
        if (p->d->ports[port].kernel.id != DPDK_NONE) {
            from_kernel(p, &p->d->ports[port]);
        }
    }
    return n;
}

/* A pair whose other end is not there leads nowhere: the kernel may. */
static void look_at_links(struct pktio_dpdk *p)
{
    for (uint32_t i = 0; i < p->d->ports_n; i++) {
        if (p->d->ports[i].o->is_pair) {
            dpdk_port_look(&p->d->ports[i], p->now_ns);
        }
    }
    p->looked_ns = p->now_ns;
}

/* In the thread that will do this shard's I/O. */
static void get_ready(struct pktio_dpdk *p)
{
    (void)rte_thread_register(); /* a number of its own: caches of buffers are by number */
    (void)prctl(PR_SET_TIMERSLACK, SLACK_NS, 0, 0, 0);
    p->is_ready = true;
}

static void note_links(struct pktio_dpdk *p)
{
    struct pktio_counters *c = &p->base.counters;

    c->rx_bad = c->rx_others = c->neighbours_asked = c->no_neighbour = 0;
    for (uint32_t i = 0; i < p->d->ports_n; i++) {
        const struct link_counters *l = &p->links[i].counters;

        for (int k = 0; k < FRAME_BAD_N; k++) {
            c->rx_bad += l->bad[k];
        }
        c->rx_others += l->not_ours;
        c->neighbours_asked += l->questions;
        c->no_neighbour += l->no_neighbour + l->no_route + l->too_long;
    }
}

static void wake_up(struct pktio_dpdk *p)
{
    uint64_t rung;

    p->has_slept = false;
    if (!atomic_exchange(&p->d->is_asleep[p->shard], false)) {
        (void)!read(p->d->bell[p->shard], &rung, sizeof(rung));
    }
}

static uint32_t rx_door(struct pktio_dpdk *p, struct abi_packet *to)
{
    uint32_t n = p->door == NULL ? 0 : p->door->ops->rx(p->door, to);

    p->base.counters.rx_kernel += n;
    return n;
}

uint32_t dpdk_rx(struct pktio *base, struct abi_packet *to)
{
    struct pktio_dpdk *p = (struct pktio_dpdk *)base;
    uint32_t n;

    if (!p->is_ready) {
        get_ready(p);
    }
    if (p->has_slept) {
        wake_up(p);
    }
    p->now_ns = clock_now_ns();
    if (p->shard == 0 && p->now_ns - p->looked_ns > LOOK_NS) {
        look_at_links(p);
        note_links(p);
    }
    p->is_door_turn = !p->is_door_turn; /* neither starves the other */
    n = p->is_door_turn ? rx_door(p, to) : rx_ports(p, to);
    if (n == 0) {
        n = p->is_door_turn ? rx_ports(p, to) : rx_door(p, to);
    }
    if (n > 0) {
        p->nap_ns = DPDK_NAP_FIRST_NS;
        base->counters.rx_packets += n;
    }
    base->counters.rx_calls++;
    return n;
}
