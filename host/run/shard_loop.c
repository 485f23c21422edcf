// SPDX-License-Identifier: Apache-2.0
#include "host/run/shard_loop.h"

#include "host/run/arena.h"
#include "host/run/clock.h"

#include <errno.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/prctl.h>
#include <unistd.h>

enum {
    /* Sleeping and being woken costs about 5 us of CPU; spinning longer than that cannot pay, as
     * long as somebody else computes on this core. */
    SPIN_NS = 5000,
    JOIN_PAUSE_US = 200,
};

static const uint64_t NO_GROWTH_NS = 5000000000;

static void drain_wakes(struct shard_loop *l)
{
    uint64_t n;

    (void)!read(l->wake_fd, &n, sizeof(n)); /* EAGAIN when nobody wrote: fine */
}

static uint64_t now_ns(struct shard_loop *l)
{
    return l->io->ops->now != NULL ? l->io->ops->now(l->io) : clock_now_ns();
}

/* Sleeps until a packet, a wake, or `wake_at_ns`. */
static void sleep_until(struct shard_loop *l, uint64_t wake_at_ns)
{
    struct epoll_event events[2];
    uint64_t now = now_ns(l);
    struct timespec ts, *timeout = NULL;
    uint64_t nap = UINT64_MAX;
    int n;

    if (wake_at_ns <= now) {
        return;
    }
    if (l->io->ops->wait != NULL) {
        atomic_fetch_add_explicit(&l->sleeps, 1, memory_order_relaxed);
        l->io->ops->wait(l->io, wake_at_ns - now);
        return;
    }
    if (l->io->ops->nap != NULL) {
        nap = l->io->ops->nap(l->io);
    }
    if (nap < wake_at_ns - now) {
        wake_at_ns = now + nap;
    }
    if (wake_at_ns != UINT64_MAX) {
        ts.tv_sec = (time_t)((wake_at_ns - now) / 1000000000U);
        ts.tv_nsec = (long)((wake_at_ns - now) % 1000000000U);
        timeout = &ts;
    }
    atomic_fetch_add_explicit(&l->sleeps, 1, memory_order_relaxed);
    n = epoll_pwait2(l->epoll_fd, events, 2, timeout, NULL);
    for (int i = 0; i < n; i++) {
        if (events[i].data.fd == l->wake_fd) {
            drain_wakes(l);
        }
    }
}

/* How long to look before a sleep. Where nobody would wake us a sleep is a guess; elsewhere we look
 * if packets have come soon of late. *ret_yields: give the core away at each turn; not in split
 * mode, where that would be a system call beside the one that waits. */
static uint64_t patience_of(const struct shard_loop *l, bool *ret_yields)
{
    *ret_yields = l->io->ops->wait == NULL && courtesy_pays(&l->courtesy, clock_now_ns());
    if (*ret_yields) {
        return l->io->is_polled || l->courtesy.gap_ns < COURTESY_LOOK_NS ? COURTESY_LOOK_NS : 0;
    }
    return !l->io->is_polled && l->courtesy.gap_ns < SPIN_NS ? SPIN_NS : 0;
}

/* Nothing to do at the moment. With others who compute on our core turns are long: then looking
 * stops by itself (courtesy.h), and with it all but the shortest of spinning. */
static void idle(struct shard_loop *l, uint64_t since_ns)
{
    struct abi_poll *b = &l->block;
    bool yields;
    uint64_t now, patience = patience_of(l, &yields);

    do {
        b->rx_n = l->io->ops->rx(l->io, b->rx);
        now = now_ns(l);
        if (b->rx_n > 0) {
            atomic_fetch_add_explicit(&l->spin_hits, 1, memory_order_relaxed);
            courtesy_waited(&l->courtesy, now - since_ns);
            return;
        }
        if (l->polling == SHARD_LOOP_BUSY) {
            return; /* commands and timers are looked at in every turn */
        }
        if (yields && patience > 0) {
            courtesy_yield(&l->courtesy);
        }
    } while (now - since_ns < patience && now < b->wake_at_ns);
    sleep_until(l, b->wake_at_ns);
    courtesy_waited(&l->courtesy, now_ns(l) - since_ns);
    b->rx_n = l->io->ops->rx(l->io, b->rx);
}

/* After a page was missing, nothing new is used for a while; then it is tried again. */
static void look_after_arena(struct shard_loop *l)
{
    struct abi_poll *b = &l->block;
    uint64_t faults = arena_faults(l->arena);

    if (faults != l->faults) {
        l->faults = faults;
        l->no_growth_until_ns = b->now_ns + NO_GROWTH_NS;
    }
    b->no_growth = b->now_ns < l->no_growth_until_ns;
}

static void drop_idle(struct shard_loop *l)
{
    uint64_t n = arena_drop(l->arena, l->block.idle_off, l->block.idle_len);

    atomic_fetch_add_explicit(&l->dropped, n, memory_order_relaxed);
}

/* In split mode the thread may not even ask the kernel how long it waited. */
static bool may_defer(const struct shard_loop *l)
{
    return l->io->ops->wait == NULL;
}

static void *run(void *self)
{
    struct shard_loop *l = self;
    struct abi_poll *b = &l->block;

    (void)prctl(PR_SET_NAME, "shard");
    if (may_defer(l)) {
        deference_start(&l->deference, l->place == SHARD_LOOP_AT_HOME ? l->cpu : -1);
    }
    b->rx_n = 0;
    while (!atomic_load_explicit(&l->stop, memory_order_relaxed)) {
        uint32_t rx_n = b->rx_n;

        b->now_ns = now_ns(l);
        if (may_defer(l)) {
            deference_look(&l->deference, b->now_ns);
        }
        if (l->arena != NULL) {
            look_after_arena(l);
        }
        l->poll(l->shard, b);
        if (l->arena != NULL && b->idle_len != 0) {
            drop_idle(l);
        }
        if (b->tx_n > 0) {
            l->io->ops->tx(l->io, b->tx, b->tx_n);
        }
        if (b->notify != 0 && l->notify_fd >= 0) {
            uint64_t one = 1;

            (void)!write(l->notify_fd, &one, sizeof(one));
        }
        if (b->more != 0 || rx_n == BURST_MAX) {
            b->rx_n = l->io->ops->rx(l->io, b->rx);
        } else {
            idle(l, b->now_ns);
        }
    }
    if (may_defer(l)) {
        deference_stop(&l->deference);
    }
    return NULL;
}

static RESULT watch(struct shard_loop *l, int fd)
{
    struct epoll_event e = {.events = EPOLLIN, .data = {.fd = fd}};

    return epoll_ctl(l->epoll_fd, EPOLL_CTL_ADD, fd, &e) == 0 ? OK : ERR_IO;
}

static int start_thread(struct shard_loop *l)
{
    pthread_attr_t attr;
    int err = pthread_attr_init(&attr);

    if (err == 0 && l->stack != NULL) {
        err = pthread_attr_setstack(&attr, l->stack, l->stack_bytes);
    }
    if (err == 0 && l->place == SHARD_LOOP_BOUND) {
        cpu_set_t only;

        CPU_ZERO(&only);
        CPU_SET(l->cpu, &only);
        err = pthread_attr_setaffinity_np(&attr, sizeof(only), &only);
    }
    if (err == 0) {
        err = pthread_create(&l->thread, &attr, run, l);
    }
    (void)pthread_attr_destroy(&attr);
    return err;
}

RESULT shard_loop_start(struct shard_loop *l)
{
    l->wake_fd = l->epoll_fd = -1;
    l->courtesy.gap_ns = COURTESY_GAP_MAX_NS;
    if (l->io->ops->wait == NULL) {
        l->wake_fd = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
        l->epoll_fd = epoll_create1(EPOLL_CLOEXEC);
        if (l->wake_fd < 0 || l->epoll_fd < 0) {
            return ERR_IO;
        }
        TRY(watch(l, l->wake_fd));
        TRY(watch(l, l->io->ops->fd(l->io)));
    }
    errno = start_thread(l);
    return errno == 0 ? OK : ERR_IO;
}

void shard_loop_wake(struct shard_loop *l)
{
    uint64_t one = 1;

    if (l->io->ops->wake != NULL) {
        l->io->ops->wake(l->io);
    } else {
        (void)!write(l->wake_fd, &one, sizeof(one));
    }
}

void shard_loop_stop(struct shard_loop *l)
{
    atomic_store(&l->stop, true);
    shard_loop_wake(l);
    /* pthread_join would wait on a word in the thread's stack; the kernel refuses that for a stack
     * in memory that is hidden from it. */
    while (pthread_tryjoin_np(l->thread, NULL) == EBUSY) {
        (void)usleep(JOIN_PAUSE_US);
    }
    if (l->epoll_fd >= 0) {
        (void)close(l->wake_fd);
        (void)close(l->epoll_fd);
    }
}
