// SPDX-License-Identifier: Apache-2.0
#include "host/run/relay_loop.h"

#include "host/net/udp_batch.h"
#include "host/run/clock.h"
#include "host/run/futex.h"

#include <errno.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/mman.h>
#include <unistd.h>

enum {
    SPIN_NS = 100000, /* an answer that comes at all comes soon; each turn gives the core away */
    NAP_NS = 100000,  /* while the replica is awake */
    SLEEP_NS = 100000000, /* while it sleeps: whoever wakes first rings */
};

RESULT relay_loop_init(struct relay_loop *l, const struct handover *h, uint32_t shard)
{
    uint64_t bytes = (uint64_t)UDP_BATCH * UDP_BUFFER; /* trains arrive whole */
    void *rx = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

    if (rx == MAP_FAILED) {
        return ERR_IO;
    }
    l->to_replica = ring_of_packets(h->memory, shard, RING_TO_REPLICA);
    l->to_host = ring_of_packets(h->memory, shard, RING_TO_HOST);
    l->bell = h->bell_shard[shard];
    l->rx = rx;
    l->rx_bytes = bytes;
    l->regions = (struct abi_regions){
        .rx = rx, .rx_bytes = bytes, .tx = l->to_host.data, .tx_bytes = l->to_host.size};
    return OK;
}

/* From the network to the replica. */
static bool bring(struct relay_loop *l)
{
    struct abi_packet in[BURST_MAX];
    uint32_t n = l->io->ops->rx(l->io, in);

    for (uint32_t i = 0; i < n; i++) {
        struct ring_record r = {.kind = RING_PACKET, .len = in[i].len, .addr = in[i].addr};
        uint8_t *to = ring_reserve(&l->to_replica, r.len);

        if (to == NULL) {
            l->ring_full++;
            continue;
        }
        memcpy(to, l->regions.rx + in[i].off, r.len);
        ring_add(&l->to_replica, &r);
    }
    if (n > 0) {
        ring_publish(&l->to_replica);
        if (ring_must_wake(&l->to_replica)) {
            futex_wake(&l->to_replica.shared->asleep);
        }
    }
    return n > 0;
}

/* From the replica to the network; the packets are sent from where they lie. */
static bool take_away(struct relay_loop *l)
{
    struct abi_packet out[BURST_MAX];
    struct ring_record r;
    uint32_t n = 0, off;

    while (n < BURST_MAX && ring_next(&l->to_host, &r, &off)) {
        if (r.kind == RING_PACKET) {
            out[n++] = (struct abi_packet){.off = off, .len = r.len, .addr = r.addr};
        }
    }
    if (n > 0) {
        l->io->ops->tx(l->io, out, n);
    }
    ring_release(&l->to_host);
    return n > 0;
}

static bool replica_sleeps(const struct relay_loop *l)
{
    return *(const volatile uint32_t *)&l->to_replica.shared->asleep != 0;
}

static void rest(struct relay_loop *l)
{
    uint64_t rung, longest = replica_sleeps(l) ? SLEEP_NS : NAP_NS;
    struct epoll_event events[2];
    struct timespec ts = {.tv_sec = 0};

    if (!ring_doze(&l->to_host)) {
        return;
    }
    if (l->io->ops->nap != NULL) {
        uint64_t nap = l->io->ops->nap(l->io);

        longest = nap < longest ? nap : longest;
    }
    ts.tv_nsec = (long)longest;
    if (epoll_pwait2(l->epoll_fd, events, 2, &ts, NULL) > 0) {
        (void)!read(l->bell, &rung, sizeof(rung));
    }
    ring_awake(&l->to_host);
}

static bool looks(const struct relay_loop *l, uint64_t since_ns)
{
    uint64_t now = clock_now_ns();

    return now - since_ns < SPIN_NS && courtesy_pays(&l->courtesy, now);
}

static void *run(void *self)
{
    struct relay_loop *l = self;
    uint64_t since = clock_now_ns();

    while (!atomic_load_explicit(&l->stop, memory_order_relaxed)) {
        bool moved = bring(l);

        moved |= take_away(l);
        if (moved) {
            since = clock_now_ns();
        } else if (l->polling == SHARD_LOOP_BUSY || looks(l, since)) {
            courtesy_yield(&l->courtesy); /* to the replica, if it waits for this core */
        } else {
            rest(l);
            since = clock_now_ns();
        }
    }
    return NULL;
}

static RESULT watch(struct relay_loop *l, int fd)
{
    struct epoll_event e = {.events = EPOLLIN, .data = {.fd = fd}};

    return epoll_ctl(l->epoll_fd, EPOLL_CTL_ADD, fd, &e) == 0 ? OK : ERR_IO;
}

RESULT relay_loop_start(struct relay_loop *l)
{
    l->epoll_fd = epoll_create1(EPOLL_CLOEXEC);
    if (l->epoll_fd < 0) {
        return ERR_IO;
    }
    TRY(watch(l, l->bell));
    if (l->io->ops->fd != NULL) {
        TRY(watch(l, l->io->ops->fd(l->io)));
    }
    errno = pthread_create(&l->thread, NULL, run, l);
    return errno == 0 ? OK : ERR_IO;
}

void relay_loop_stop(struct relay_loop *l)
{
    uint64_t one = 1;

    atomic_store(&l->stop, true);
    (void)!write(l->bell, &one, sizeof(one));
    (void)pthread_join(l->thread, NULL);
    (void)close(l->epoll_fd);
    (void)munmap(l->rx, l->rx_bytes);
}
