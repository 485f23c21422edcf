// SPDX-License-Identifier: Apache-2.0
#include "host/net/addr.h"
#include "host/net/pktio.h"

#include <errno.h>
#include <netinet/in.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

struct pktio_udp {
    struct pktio base;
    int fd;
    struct abi_regions regions;
    struct mmsghdr rx[BURST_MAX], tx[BURST_MAX];
    struct iovec rx_iov[BURST_MAX], tx_iov[BURST_MAX];
    struct sockaddr_storage rx_addr[BURST_MAX], tx_addr[BURST_MAX];
};

static uint32_t rx(struct pktio *p, struct abi_packet *to)
{
    struct pktio_udp *u = (struct pktio_udp *)p;
    uint32_t n = 0;
    int got;

    for (uint32_t i = 0; i < BURST_MAX; i++) {
        u->rx[i].msg_hdr.msg_namelen = sizeof(u->rx_addr[i]);
    }
    got = recvmmsg(u->fd, u->rx, BURST_MAX, MSG_DONTWAIT, NULL);
    p->counters.rx_calls++;
    for (int i = 0; i < got; i++) {
        if ((u->rx[i].msg_hdr.msg_flags & MSG_TRUNC) != 0) {
            p->counters.rx_oversized++;
            continue;
        }
        to[n].off = (uint32_t)i * ABI_PACKET_STRIDE;
        to[n].len = u->rx[i].msg_len;
        addr_from_sockaddr(&u->rx_addr[i], &to[n].addr);
        n++;
    }
    p->counters.rx_packets += n;
    return n;
}

static void tx(struct pktio *p, const struct abi_packet *packets, uint32_t n)
{
    struct pktio_udp *u = (struct pktio_udp *)p;
    uint32_t done = 0;

    for (uint32_t i = 0; i < n; i++) {
        u->tx_iov[i] = (struct iovec){u->regions.tx + packets[i].off, packets[i].len};
        u->tx[i].msg_hdr.msg_namelen = addr_to_sockaddr(&packets[i].addr, &u->tx_addr[i]);
    }
    while (done < n) {
        int sent = sendmmsg(u->fd, u->tx + done, n - done, MSG_DONTWAIT);

        p->counters.tx_calls++;
        if (sent > 0) {
            p->counters.tx_packets += (uint32_t)sent;
            done += (uint32_t)sent;
        } else if (errno != EINTR) {
            /* The socket's buffer is full, or this one destination cannot be reached: an error
             * of a former datagram (ICMP) is reported here too. Skip one and go on. */
            p->counters.tx_dropped++;
            done++;
        }
    }
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

static const struct pktio_ops udp_ops = {.rx = rx, .tx = tx, .fd = fd, .close = close_udp};

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
    struct pktio_udp *u = calloc(1, sizeof(*u));

    if (u == NULL) {
        return ERR_IO;
    }
    if (bind_udp(address, port, &u->fd) != OK) {
        free(u);
        return ERR_IO;
    }
    u->base.ops = &udp_ops;
    u->regions = *regions;
    for (size_t i = 0; i < BURST_MAX; i++) {
        u->rx_iov[i] = (struct iovec){regions->rx + i * ABI_PACKET_STRIDE, DATAGRAM_MAX};
        u->rx[i].msg_hdr =
            (struct msghdr){.msg_iov = &u->rx_iov[i], .msg_iovlen = 1, .msg_name = &u->rx_addr[i]};
        u->tx[i].msg_hdr =
            (struct msghdr){.msg_iov = &u->tx_iov[i], .msg_iovlen = 1, .msg_name = &u->tx_addr[i]};
    }
    *ret = &u->base;
    return OK;
}
