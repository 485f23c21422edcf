// SPDX-License-Identifier: Apache-2.0
#ifndef HOST_RUN_SHARD_LOOP_H
#define HOST_RUN_SHARD_LOOP_H

/*
 * One thread per shard: moves packets, calls into the trusted side, and waits when there is nothing
 * to do. It knows the trusted side only as `poll`.
 */

#include "boundary/abi.h"
#include "host/net/pktio.h"
#include "host/run/arena.h"
#include "host/run/courtesy.h"
#include "host/run/deference.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>

enum shard_loop_polling {
    SHARD_LOOP_ADAPTIVE, /* spin while spinning pays, then sleep in epoll */
    SHARD_LOOP_BUSY,     /* never sleep: one core per shard and nothing else on it */
};

enum shard_loop_place {
    SHARD_LOOP_ANYWHERE,
    SHARD_LOOP_AT_HOME, /* on a processor of its own choice while that pays: deference.h */
    SHARD_LOOP_BOUND,   /* on that processor and no other */
};

struct shard_loop {
    /* set by the caller before shard_loop_start */
    void *shard;
    void (*poll)(void *shard, struct abi_poll *io);
    struct pktio *io;
    enum shard_loop_polling polling;
    enum shard_loop_place place;
    uint16_t cpu;              /* unless it is SHARD_LOOP_ANYWHERE */
    const struct arena *arena; /* whose memory is given back and watched; NULL: none */
    int notify_fd;             /* eventfd written when abi_poll.notify is set; -1: none */
    void *stack; /* the thread's, for trusted code runs on it; NULL: an ordinary one */
    size_t stack_bytes;

    /* the loop's own */
    pthread_t thread;
    int wake_fd, epoll_fd;
    _Atomic bool stop;
    struct courtesy courtesy;
    struct deference deference;
    _Atomic uint64_t sleeps, spin_hits;
    _Atomic uint64_t dropped; /* bytes of the arena given back to the kernel */
    uint64_t faults;          /* of the arena, known so far */
    uint64_t no_growth_until_ns;
    struct abi_poll block;
};

/* IO: a descriptor or the thread could not be made; errno tells. */
RESULT shard_loop_start(struct shard_loop *l);
/* Any thread: makes the loop poll soon. */
void shard_loop_wake(struct shard_loop *l);
/* Stops and joins; `io` is not closed. */
void shard_loop_stop(struct shard_loop *l);

#endif
