// SPDX-License-Identifier: Apache-2.0
#ifndef HOST_NET_UDP_BATCH_H
#define HOST_NET_UDP_BATCH_H

/*
 * Bursts of datagrams through a kernel UDP socket, one system call a burst. Datagrams of one length
 * to one address leave as a train that the kernel carries through its stack once and cuts up at the
 * end (UDP_SEGMENT), and trains that arrive whole are taken apart here (UDP_GRO): 0.1 us a datagram
 * instead of 2 to 4. Where the kernel or a device cannot do that, they travel one by one.
 *
 * Members (host/net/pktio_udp) and clients (client/net) share this. Nothing here is trusted. One
 * thread per object.
 */

#include "common/limits.h"

#include <netinet/in.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/socket.h>
#include <sys/uio.h>

enum {
    UDP_BATCH = BURST_MAX,
    UDP_BUFFER = 1 << 16,  /* bytes that one received train may have */
    UDP_TRAIN_MAX = 65000, /* bytes of a train we send, below what IPv4 can name */
};

union udp_name {
    struct sockaddr sa;
    struct sockaddr_in v4;
    struct sockaddr_in6 v6;
};

/* What the kernel wants to know of a train, aligned as it wants it. */
struct udp_control {
    _Alignas(struct cmsghdr) uint8_t bytes[CMSG_SPACE(sizeof(int))];
};

struct udp_counters {
    uint64_t rx_calls, tx_calls;
    uint64_t rx_trains, tx_trains; /* of two and more */
};

/* ---- in ---- */

struct udp_receiver {
    uint8_t *buffers; /* UDP_BATCH times UDP_BUFFER, the caller's */
    uint32_t got, at; /* messages of the last call; the one that is taken apart */
    uint32_t off;     /* bytes of it that were handed out */
    struct mmsghdr msgs[UDP_BATCH];
    struct iovec iov[UDP_BATCH];
    union udp_name names[UDP_BATCH];
    struct udp_control control[UDP_BATCH];
};

struct udp_arrived {
    uint32_t off; /* into the buffers */
    uint32_t len;
    const union udp_name *from;
};

/* Asks the kernel for trains. */
void udp_receiver_init(struct udp_receiver *r, int fd, uint8_t *buffers);
/* Up to `max` datagrams, valid until the next call; never blocks. Asks the kernel only when nothing
 * is left of what it gave before, and then once. */
uint32_t udp_receive(struct udp_receiver *r, int fd, struct udp_arrived *to, uint32_t max,
                     struct udp_counters *counters);
/* Datagrams are left that the next call gives without asking the kernel. */
static inline bool udp_pending(const struct udp_receiver *r)
{
    return r->at < r->got;
}

/* ---- out ---- */

struct udp_departing {
    uint8_t *p;
    uint32_t len;
    socklen_t name_len; /* 0: nowhere; dropped */
    union udp_name name;
};

struct udp_sender {
    bool has_trains; /* the kernel has not refused one yet */
    uint32_t n;      /* queued */
    struct udp_departing packets[UDP_BATCH];

    uint32_t msgs_n, at; /* made of them; sent */
    struct mmsghdr msgs[UDP_BATCH];
    struct iovec iov[UDP_BATCH];
    struct udp_control control[UDP_BATCH];
    uint32_t sent, dropped; /* datagrams, growing */
};

void udp_sender_init(struct udp_sender *s);
/* Sends packets[0..n) and sets n to 0. False: the kernel takes no more now; the rest stays, call
 * again. A datagram that is refused for another reason is dropped and counted. */
bool udp_send(struct udp_sender *s, int fd, struct udp_counters *counters);

#endif
