// SPDX-License-Identifier: Apache-2.0
/* The replica's end of the rings of one shard. It runs inside the trusted process: whatever it
 * reads of shared memory comes through boundary/ring.c, and the shard checks each descriptor again.
 */
#include "host/net/handover.h"
#include "host/net/pktio.h"
#include "host/run/clock.h"
#include "host/run/futex.h"
#include "host/run/tsc.h"

#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

struct pktio_ring {
    struct pktio base;
    struct ring in, out;
    const struct ring_page *page;
    struct ring_clock clock; /* our copy */
    uint32_t shard;
    int bell;
    uint8_t *tx;         /* where the shard leaves packets */
    bool owes_wake;      /* packets were published since we last looked whether the host sleeps */
    _Atomic bool is_due; /* wake() was called */
};

/* No wait is longer: a host that loses a wake costs this much, not for ever. */
static const uint64_t WAIT_MAX_NS = 100000000;

/* Nothing to do for the moment: the only time at which the host may be told of packets by a system
 * call. While we are busy it looks by itself (RING-6). */
static void wake_host(struct pktio_ring *p)
{
    uint64_t one = 1;

    if (p->owes_wake && ring_must_wake(&p->out)) {
        p->base.counters.wakes++;
        (void)!write(p->bell, &one, sizeof(one));
    }
    p->owes_wake = false;
}

static uint32_t rx(struct pktio *base, struct abi_packet *to)
{
    struct pktio_ring *p = (struct pktio_ring *)base;
    struct ring_record r;
    uint32_t n = 0, off;

    ring_release(&p->in); /* the packets of the last call have been copied in */
    while (n < BURST_MAX && ring_next(&p->in, &r, &off)) {
        if (r.kind == RING_PACKET) {
            to[n++] = (struct abi_packet){.off = off, .len = r.len, .addr = r.addr};
        } else {
            p->in.bad++;
        }
    }
    if (n == 0) {
        wake_host(p);
    }
    base->counters.rx_calls++;
    base->counters.rx_packets += n;
    base->counters.ring_bad = p->in.bad + p->out.bad;
    return n;
}

static void tx(struct pktio *base, const struct abi_packet *packets, uint32_t n)
{
    struct pktio_ring *p = (struct pktio_ring *)base;

    for (uint32_t i = 0; i < n; i++) {
        struct ring_record r = {
            .kind = RING_PACKET, .len = packets[i].len, .addr = packets[i].addr};
        uint8_t *to = ring_reserve(&p->out, r.len);

        if (to == NULL) {
            base->counters.tx_dropped += n - i; /* the RPC layer repeats them */
            n = i;
            break;
        }
        memcpy(to, p->tx + packets[i].off, r.len);
        ring_add(&p->out, &r);
    }
    ring_publish(&p->out);
    p->owes_wake = true;
    base->counters.tx_calls++;
    base->counters.tx_packets += n;
}

static void wait_for_packets(struct pktio *base, uint64_t timeout_ns)
{
    struct pktio_ring *p = (struct pktio_ring *)base;

    wake_host(p);
    if (!ring_doze(&p->in)) {
        return;
    }
    if (!atomic_exchange(&p->is_due, false)) {
        base->counters.waits++;
        futex_wait(&p->in.shared->asleep, 1, timeout_ns < WAIT_MAX_NS ? timeout_ns : WAIT_MAX_NS);
        atomic_store(&p->is_due, false);
    }
    ring_awake(&p->in);
}

static void wake(struct pktio *base)
{
    struct pktio_ring *p = (struct pktio_ring *)base;

    atomic_store(&p->is_due, true);
    ring_awake(&p->in);
    futex_wake(&p->in.shared->asleep);
}

/* RING-7: a hint. The host can make it say anything; the shard lets it never run backwards. */
static uint64_t now(struct pktio *base)
{
    struct pktio_ring *p = (struct pktio_ring *)base;
    const volatile struct ring_clock *shared = &p->page->clock;
    uint32_t seq = shared->seq;

    if (seq != p->clock.seq && (seq & 1) == 0) {
        struct ring_clock c = {.seq = seq};

        atomic_thread_fence(memory_order_acquire);
        c.tsc_base = shared->tsc_base;
        c.ns_base = shared->ns_base;
        c.mult = shared->mult;
        atomic_thread_fence(memory_order_acquire);
        if (shared->seq == seq) {
            p->clock = c;
        }
    }
    if (p->clock.mult == 0) {
        return clock_now_ns();
    }
    return p->clock.ns_base + tsc_scale(tsc_now() - p->clock.tsc_base, p->clock.mult);
}

static void close_ring(struct pktio *base)
{
    free(base);
}

static uint64_t dropped(const struct pktio *base)
{
    const struct pktio_ring *p = (const struct pktio_ring *)base;

    return ((const volatile struct ring_page *)p->page)->kernel_dropped[p->shard];
}

static const struct pktio_ops ring_ops = {.rx = rx,
                                          .tx = tx,
                                          .close = close_ring,
                                          .dropped = dropped,
                                          .wait = wait_for_packets,
                                          .wake = wake,
                                          .now = now};

RESULT pktio_ring_open(const struct handover *h, uint32_t shard, struct abi_regions *regions,
                       struct pktio **ret)
{
    struct pktio_ring *p = calloc(1, sizeof(*p));

    if (p == NULL) {
        return ERR_IO;
    }
    p->base.ops = &ring_ops;
    p->in = ring_of_packets(h->memory, shard, RING_TO_REPLICA);
    p->out = ring_of_packets(h->memory, shard, RING_TO_HOST);
    p->page = (const struct ring_page *)(const void *)h->memory;
    p->shard = shard;
    p->bell = h->bell_shard[shard];
    p->tx = regions->tx;
    regions->rx = p->in.data;
    regions->rx_bytes = p->in.size;
    *ret = &p->base;
    return OK;
}
