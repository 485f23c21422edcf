// SPDX-License-Identifier: Apache-2.0
#ifndef HOST_NET_HANDOVER_H
#define HOST_NET_HANDOVER_H

/*
 * Split mode, at start: the host makes the memory of the rings and gives it to the replica over a
 * Unix socket, with one bell (eventfd) per thread that may have to be woken. The memory is sealed
 * against shrinking, so that no access to it can ever fault. After that the socket carries nothing;
 * that it closes says that the other process has ended.
 */

#include "boundary/ring.h"
#include "common/result.h"

struct handover {
    uint8_t *memory;
    uint32_t shards;
    int socket;
    int fd;                     /* of the memory, until it is given; then -1 */
    int bell_replica;           /* rung by the host: there are stream frames */
    int bell_host;              /* rung by the replica: the same */
    int bell_shard[SHARDS_MAX]; /* rung by the replica: there are packets to send */
};

/* The host: makes memory and bells; sends them once it can serve, or why it cannot. IO: errno
 * tells.
 */
RESULT handover_make(int socket, uint32_t shards, struct handover *ret);
RESULT handover_give(struct handover *h);
void handover_refuse(int socket, const char *why);
/* The replica: waits for them, and checks that they are what was agreed (RING-5). BOUNDARY: they
 * are not, or the host refused; `why` says what. IO: errno tells. */
enum { HANDOVER_WHY = 256 };
RESULT handover_take(int socket, uint32_t shards, struct handover *ret,
                     char why[static HANDOVER_WHY]);
void handover_close(struct handover *h);

#endif
