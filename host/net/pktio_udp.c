// SPDX-License-Identifier: Apache-2.0
#include "host/net/addr.h"
#include "host/net/index_gate.h"
#include "host/net/pktio.h"
#include "host/net/udp_batch.h"

#include <errno.h>
#include <netinet/in.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

struct pktio_udp {
    struct pktio base;
    int fd;
    uint8_t *tx_region;
    struct udp_counters calls;
    struct udp_receiver receiver;
    struct udp_sender sender;
};

static uint32_t rx(struct pktio *p, struct abi_packet *to)
{
    struct pktio_udp *u = (struct pktio_udp *)p;
    struct udp_arrived arrived[BURST_MAX];
    uint32_t got = udp_receive(&u->receiver, u->fd, arrived, BURST_MAX, &u->calls);
    uint32_t n = 0;

    for (uint32_t i = 0; i < got; i++) {
        if (arrived[i].len > DATAGRAM_MAX) {
            p->counters.rx_oversized++;
            continue;
        }
        to[n].off = arrived[i].off;
        to[n].len = arrived[i].len;
        addr_from_sockaddr(&arrived[i].from->sa, &to[n].addr);
        n++;
    }
    p->counters.rx_calls = u->calls.rx_calls;
    p->counters.rx_trains = u->calls.rx_trains;
    p->counters.rx_packets += n;
    return n;
}

static void tx(struct pktio *p, const struct abi_packet *packets, uint32_t n)
{
    struct pktio_udp *u = (struct pktio_udp *)p;
    struct udp_sender *s = &u->sender;

    for (uint32_t i = 0; i < n; i++) {
        s->packets[i].p = u->tx_region + packets[i].off;
        s->packets[i].len = packets[i].len;
        s->packets[i].name_len = addr_to_sockaddr(&packets[i].addr, &s->packets[i].name.sa);
    }
    s->n = n;
    while (!udp_send(s, u->fd, &u->calls)) {
        /* The socket's buffer is full. Waiting would stop the shard; the RPC layer repeats it. */
        s->dropped += (uint32_t)s->msgs[s->at++].msg_hdr.msg_iovlen;
    }
    p->counters.tx_calls = u->calls.tx_calls;
    p->counters.tx_trains = u->calls.tx_trains;
    p->counters.tx_packets = s->sent;
    p->counters.tx_dropped = s->dropped;
}

static int fd(const struct pktio *p)
{
    return ((const struct pktio_udp *)p)->fd;
}

static void close_udp(struct pktio *p)
{
    struct pktio_udp *u = (struct pktio_udp *)p;

    (void)close(u->fd);
    free(u);
}

static uint64_t dropped(const struct pktio *base)
{
    return index_gate_dropped(fd(base));
}

static const struct pktio_ops udp_ops = {
    .rx = rx, .tx = tx, .fd = fd, .close = close_udp, .dropped = dropped};

/* Deep socket buffers absorb the bursts of a neighbour that was scheduled away; the kernel caps
 * them at its own limit. */
static void deepen(int sock)
{
    const int bytes = 8 << 20;

    if (setsockopt(sock, SOL_SOCKET, SO_RCVBUFFORCE, &bytes, sizeof(bytes)) != 0) {
        (void)setsockopt(sock, SOL_SOCKET, SO_RCVBUF, &bytes, sizeof(bytes));
    }
    if (setsockopt(sock, SOL_SOCKET, SO_SNDBUFFORCE, &bytes, sizeof(bytes)) != 0) {
        (void)setsockopt(sock, SOL_SOCKET, SO_SNDBUF, &bytes, sizeof(bytes));
    }
}

static RESULT bind_udp(const char *address, uint16_t port, int *ret_fd)
{
    struct sockaddr_storage sa;
    socklen_t sa_len;
    int sock;

    if (!addr_parse(address, port, &sa, &sa_len)) {
        errno = EINVAL;
        return ERR_IO;
    }
    sock = socket(sa.ss_family, SOCK_DGRAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (sock < 0) {
        return ERR_IO;
    }
    deepen(sock);
    if (bind(sock, (const struct sockaddr *)&sa, sa_len) != 0) {
        int saved = errno;

        (void)close(sock);
        errno = saved;
        return ERR_IO;
    }
    *ret_fd = sock;
    return OK;
}

RESULT pktio_udp_open(const char *address, uint16_t port, const struct abi_regions *regions,
                      struct pktio **ret)
{
    struct pktio_udp *u;

    if (regions->rx_bytes < (uint64_t)UDP_BATCH * UDP_BUFFER) {
        errno = EINVAL;
        return ERR_IO;
    }
    u = calloc(1, sizeof(*u));
    if (u == NULL) {
        return ERR_IO;
    }
    if (bind_udp(address, port, &u->fd) != OK) {
        free(u);
        return ERR_IO;
    }
    u->base.ops = &udp_ops;
    u->tx_region = regions->tx;
    udp_receiver_init(&u->receiver, u->fd, regions->rx);
    udp_sender_init(&u->sender);
    *ret = &u->base;
    return OK;
}
