// SPDX-License-Identifier: Apache-2.0
#include "client/net.h"

#include <errno.h>
#include <stdlib.h>
#include <unistd.h>

enum { SOCKET_BUFFER_BYTES = 4 << 20 };

static bool prepare(struct net_side *s)
{
    s->packets = calloc(NET_BATCH, ABI_PACKET_STRIDE);
    if (s->packets == NULL) {
        return false;
    }
    for (size_t i = 0; i < NET_BATCH; i++) {
        s->iov[i] = (struct iovec){.iov_base = s->packets + i * ABI_PACKET_STRIDE,
                                   .iov_len = ABI_PACKET_STRIDE};
        s->msgs[i].msg_hdr =
            (struct msghdr){.msg_iov = &s->iov[i], .msg_iovlen = 1, .msg_name = &s->names[i]};
    }
    return true;
}

static bool tune(int fd, bool is_v6)
{
    static const int bytes = SOCKET_BUFFER_BYTES, off = 0;

    /* As much as the system permits; less only costs retransmissions. */
    (void)setsockopt(fd, SOL_SOCKET, SO_RCVBUF, &bytes, sizeof(bytes));
    (void)setsockopt(fd, SOL_SOCKET, SO_SNDBUF, &bytes, sizeof(bytes));
    return !is_v6 || setsockopt(fd, IPPROTO_IPV6, IPV6_V6ONLY, &off, sizeof(off)) == 0;
}

RESULT net_open(bool is_v6, struct net **ret)
{
    struct net *n = calloc(1, sizeof(*n));

    if (n == NULL) {
        return ERR_IO;
    }
    n->is_v6 = is_v6;
    n->fd = socket(is_v6 ? AF_INET6 : AF_INET, SOCK_DGRAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (n->fd < 0 || !tune(n->fd, is_v6) || !prepare(&n->rx) || !prepare(&n->tx)) {
        int saved = errno;

        net_close(n);
        errno = saved;
        return ERR_IO;
    }
    *ret = n;
    return OK;
}

void net_close(struct net *n)
{
    if (n == NULL) {
        return;
    }
    if (n->fd >= 0) {
        (void)close(n->fd);
    }
    free(n->rx.packets);
    free(n->tx.packets);
    free(n);
}

uint32_t net_receive(struct net *n)
{
    int got;

    for (size_t i = 0; i < NET_BATCH; i++) {
        n->rx.msgs[i].msg_hdr.msg_namelen = sizeof(n->rx.names[i]);
    }
    do {
        got = recvmmsg(n->fd, n->rx.msgs, NET_BATCH, MSG_DONTWAIT, NULL);
    } while (got < 0 && errno == EINTR);
    return got < 0 ? 0 : (uint32_t)got;
}

static const uint8_t mapped[12] = {[10] = 0xff, [11] = 0xff};

static struct abi_addr from_socket(const struct net *n, const struct sockaddr_in6 *name)
{
    struct abi_addr a = {0};
    struct sockaddr_in v4;

    if (!n->is_v6) {
        memcpy(&v4, name, sizeof(v4));
        a.family = 4;
        a.port = ntohs(v4.sin_port);
        memcpy(a.ip, &v4.sin_addr, 4);
        return a;
    }
    a.port = ntohs(name->sin6_port);
    if (memcmp(name->sin6_addr.s6_addr, mapped, sizeof(mapped)) == 0) {
        a.family = 4;
        memcpy(a.ip, name->sin6_addr.s6_addr + sizeof(mapped), 4);
        return a;
    }
    a.family = 6;
    a.scope = name->sin6_scope_id;
    memcpy(a.ip, name->sin6_addr.s6_addr, 16);
    return a;
}

static socklen_t to_socket(const struct net *n, const struct abi_addr *a, struct sockaddr_in6 *ret)
{
    struct sockaddr_in v4 = {.sin_family = AF_INET, .sin_port = htons(a->port)};

    if (!n->is_v6) {
        memcpy(&v4.sin_addr, a->ip, 4);
        memcpy(ret, &v4, sizeof(v4));
        return sizeof(v4);
    }
    *ret = (struct sockaddr_in6){
        .sin6_family = AF_INET6, .sin6_port = htons(a->port), .sin6_scope_id = a->scope};
    if (a->family == 4) {
        memcpy(ret->sin6_addr.s6_addr, mapped, sizeof(mapped));
        memcpy(ret->sin6_addr.s6_addr + sizeof(mapped), a->ip, 4);
    } else {
        memcpy(ret->sin6_addr.s6_addr, a->ip, 16);
    }
    return sizeof(*ret);
}

bool net_received(const struct net *n, uint32_t i, struct bytes *ret, struct abi_addr *ret_from)
{
    const struct mmsghdr *m = &n->rx.msgs[i];

    if ((m->msg_hdr.msg_flags & MSG_TRUNC) != 0) {
        return false;
    }
    *ret = (struct bytes){.p = n->rx.iov[i].iov_base, .n = m->msg_len};
    *ret_from = from_socket(n, &n->rx.names[i]);
    return true;
}

struct mbytes net_room(struct net *n)
{
    if (n->tx_n == NET_BATCH && !net_flush(n)) {
        return (struct mbytes){0};
    }
    return (struct mbytes){.p = n->tx.packets + (size_t)n->tx_n * ABI_PACKET_STRIDE,
                           .n = ABI_PACKET_STRIDE};
}

void net_queue(struct net *n, const struct abi_addr *to, size_t len)
{
    struct msghdr *h = &n->tx.msgs[n->tx_n].msg_hdr;

    n->tx.iov[n->tx_n].iov_len = len;
    h->msg_namelen = to_socket(n, to, &n->tx.names[n->tx_n]);
    n->tx_n++;
}

bool net_flush(struct net *n)
{
    while (n->tx_at < n->tx_n) {
        int sent = sendmmsg(n->fd, n->tx.msgs + n->tx_at, n->tx_n - n->tx_at, MSG_DONTWAIT);

        if (sent > 0) {
            n->tx_at += (uint32_t)sent;
        } else if (errno == EAGAIN) {
            return false;
        } else if (errno != EINTR) {
            n->tx_at++; /* no route, no memory: as good as lost on the way */
        }
    }
    n->tx_at = 0;
    n->tx_n = 0;
    return true;
}
