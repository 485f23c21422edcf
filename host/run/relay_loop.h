// SPDX-License-Identifier: Apache-2.0
#ifndef HOST_RUN_RELAY_LOOP_H
#define HOST_RUN_RELAY_LOOP_H

/*
 * Split mode, the host's end: one thread per shard moves packets between a socket or NIC and the
 * rings of that shard.
 *
 * It never sleeps long while the replica is awake, so that a busy replica need not wake it; and it
 * wakes the replica when it has brought something to one that waits.
 */

#include "host/net/handover.h"
#include "host/net/pktio.h"
#include "host/run/shard_loop.h"

struct relay_loop {
    /* set by the caller before relay_loop_start */
    struct pktio *io;
    struct abi_regions regions; /* of `io`: rx ordinary memory or its own, tx the ring's data */
    struct ring to_replica, to_host;
    int bell;
    enum shard_loop_polling polling;

    /* the loop's own */
    pthread_t thread;
    void *rx; /* ordinary memory that `io` may receive into */
    uint64_t rx_bytes;
    int epoll_fd;
    _Atomic bool stop;
    struct courtesy courtesy;
    uint64_t ring_full; /* packets that came in and found no room */
};

/* What `io` is opened with, and both rings. IO: no memory. */
RESULT relay_loop_init(struct relay_loop *l, const struct handover *h, uint32_t shard);
/* IO: errno tells. */
RESULT relay_loop_start(struct relay_loop *l);
void relay_loop_stop(struct relay_loop *l);

#endif
