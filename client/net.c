// SPDX-License-Identifier: Apache-2.0
#include "client/net.h"

#include <errno.h>
#include <stdlib.h>
#include <unistd.h>

enum { SOCKET_BUFFER_BYTES = 4 << 20 };

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
    n->rx = calloc(NET_BATCH, UDP_BUFFER); /* pages come with use */
    n->tx = calloc(NET_BATCH, ABI_PACKET_STRIDE);
    if (n->fd < 0 || !tune(n->fd, is_v6) || n->rx == NULL || n->tx == NULL) {
        int saved = errno;

        net_close(n);
        errno = saved;
        return ERR_IO;
    }
    udp_receiver_init(&n->receiver, n->fd, n->rx);
    udp_sender_init(&n->sender);
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
    free(n->rx);
    free(n->tx);
    free(n);
}

uint32_t net_receive(struct net *n)
{
    return udp_receive(&n->receiver, n->fd, n->arrived, NET_BATCH, &n->calls);
}

bool net_pending(const struct net *n)
{
    return udp_pending(&n->receiver);
}

static const uint8_t mapped[12] = {[10] = 0xff, [11] = 0xff};

static struct abi_addr from_socket(const struct net *n, const union udp_name *name)
{
    struct abi_addr a = {0};

    if (!n->is_v6) {
        a.family = 4;
        a.port = ntohs(name->v4.sin_port);
        memcpy(a.ip, &name->v4.sin_addr, 4);
        return a;
    }
    a.port = ntohs(name->v6.sin6_port);
    if (memcmp(name->v6.sin6_addr.s6_addr, mapped, sizeof(mapped)) == 0) {
        a.family = 4;
        memcpy(a.ip, name->v6.sin6_addr.s6_addr + sizeof(mapped), 4);
        return a;
    }
    a.family = 6;
    a.scope = name->v6.sin6_scope_id;
    memcpy(a.ip, name->v6.sin6_addr.s6_addr, 16);
    return a;
}

static socklen_t to_socket(const struct net *n, const struct abi_addr *a, union udp_name *ret)
{
    if (!n->is_v6) {
        ret->v4 = (struct sockaddr_in){.sin_family = AF_INET, .sin_port = htons(a->port)};
        memcpy(&ret->v4.sin_addr, a->ip, 4);
        return sizeof(ret->v4);
    }
    ret->v6 = (struct sockaddr_in6){
        .sin6_family = AF_INET6, .sin6_port = htons(a->port), .sin6_scope_id = a->scope};
    if (a->family == 4) {
        memcpy(ret->v6.sin6_addr.s6_addr, mapped, sizeof(mapped));
        memcpy(ret->v6.sin6_addr.s6_addr + sizeof(mapped), a->ip, 4);
    } else {
        memcpy(ret->v6.sin6_addr.s6_addr, a->ip, 16);
    }
    return sizeof(ret->v6);
}

bool net_received(const struct net *n, uint32_t i, struct bytes *ret, struct abi_addr *ret_from)
{
    const struct udp_arrived *a = &n->arrived[i];

    if (a->len > DATAGRAM_MAX) {
        return false;
    }
    *ret = (struct bytes){.p = n->rx + a->off, .n = a->len};
    *ret_from = from_socket(n, a->from);
    return true;
}

struct mbytes net_room(struct net *n)
{
    if (n->sender.n == NET_BATCH && !net_flush(n)) {
        return (struct mbytes){0};
    }
    return (struct mbytes){.p = n->tx + (size_t)n->sender.n * ABI_PACKET_STRIDE,
                           .n = ABI_PACKET_STRIDE};
}

void net_queue(struct net *n, const struct abi_addr *to, size_t len)
{
    struct udp_departing *d = &n->sender.packets[n->sender.n];

    d->p = n->tx + (size_t)n->sender.n * ABI_PACKET_STRIDE;
    d->len = (uint32_t)len;
    d->name_len = to_socket(n, to, &d->name);
    n->sender.n++;
}

bool net_flush(struct net *n)
{
    return udp_send(&n->sender, n->fd, &n->calls);
}
