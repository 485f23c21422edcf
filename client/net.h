// SPDX-License-Identifier: Apache-2.0
#ifndef CLIENT_NET_H
#define CLIENT_NET_H

/*
 * The UDP socket of a client: datagrams of all nodes and shards, in batches. One system call moves
 * up to NET_BATCH of them. A datagram that the kernel refuses is lost, as the network may lose it.
 */

#include "boundary/abi.h"
#include "common/bytes.h"
#include "common/result.h"

#include <netinet/in.h>
#include <sys/socket.h>

enum { NET_BATCH = BURST_MAX };

struct net_side {
    uint8_t *packets; /* NET_BATCH times ABI_PACKET_STRIDE */
    struct mmsghdr msgs[NET_BATCH];
    struct iovec iov[NET_BATCH];
    struct sockaddr_in6 names[NET_BATCH];
};

struct net {
    int fd;
    bool is_v6; /* takes IPv4 too, as mapped addresses */
    uint32_t tx_n, tx_at;
    struct net_side rx, tx;
};

/* IO: errno says why. */
RESULT net_open(bool is_v6, struct net **ret);
void net_close(struct net *n); /* NULL is allowed */

/* One receive call; how many datagrams came. net_received gives each until the next call. */
uint32_t net_receive(struct net *n);
/* False for one that was cut off. */
bool net_received(const struct net *n, uint32_t i, struct bytes *ret, struct abi_addr *ret_from);

/* Room for one datagram; p is NULL when the batch is full and the kernel takes no more now. */
struct mbytes net_room(struct net *n);
/* What was written to net_room goes to `to`. */
void net_queue(struct net *n, const struct abi_addr *to, size_t len);
/* Sends what is queued. False: the kernel takes no more now; the rest stays queued. */
bool net_flush(struct net *n);

#endif
