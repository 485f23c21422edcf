// SPDX-License-Identifier: Apache-2.0
#ifndef CLIENT_NET_H
#define CLIENT_NET_H

/*
 * The UDP socket of a client: datagrams of all nodes and shards, in batches (host/net/udp_batch.h).
 * A datagram that the kernel refuses is lost, as the network may lose it.
 */

#include "boundary/abi.h"
#include "common/bytes.h"
#include "common/result.h"
#include "host/net/udp_batch.h"

enum { NET_BATCH = UDP_BATCH };

struct net {
    int fd;
    bool is_v6; /* takes IPv4 too, as mapped addresses */
    uint8_t *rx, *tx;
    struct udp_counters calls;
    struct udp_receiver receiver;
    struct udp_sender sender;
    struct udp_arrived arrived[NET_BATCH];
};

/* IO: errno says why. */
RESULT net_open(bool is_v6, struct net **ret);
void net_close(struct net *n); /* NULL is allowed */

/* How many datagrams came, at most NET_BATCH; one system call or none. net_received gives each
 * until the next call. */
uint32_t net_receive(struct net *n);
/* False for one that is longer than any of ours. */
bool net_received(const struct net *n, uint32_t i, struct bytes *ret, struct abi_addr *ret_from);
/* More has come than the last call gave: the socket may not be readable, call again. */
bool net_pending(const struct net *n);

/* Room for one datagram; p is NULL when the batch is full and the kernel takes no more now. */
struct mbytes net_room(struct net *n);
/* What was written to net_room goes to `to`. */
void net_queue(struct net *n, const struct abi_addr *to, size_t len);
/* Sends what is queued. False: the kernel takes no more now; the rest stays queued. */
bool net_flush(struct net *n);

#endif
