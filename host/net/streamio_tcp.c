// SPDX-License-Identifier: Apache-2.0
#include "host/net/addr.h"
#include "host/net/streamio.h"

#include <errno.h>
#include <event2/buffer.h>
#include <event2/bufferevent.h>
#include <event2/event.h>
#include <event2/listener.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdlib.h>
#include <unistd.h>

enum { PIECE = 16384 };

struct conn {
    struct streamio_conn base;
    struct conn *next, **prev;
    struct bufferevent *bev;
    bool is_dialing;
    bool is_closing; /* the driver has forgotten it; goes when its output is written */
    bool is_stalled; /* the driver could not take its input */
};

struct tcp {
    struct streamio base;
    struct event_base *events;
    struct evconnlistener *listener;
    struct conn *conns;
};

static void conn_free(struct conn *c)
{
    *c->prev = c->next;
    if (c->next != NULL) {
        c->next->prev = c->prev;
    }
    bufferevent_free(c->bev);
    free(c);
}

static struct streamio_handler *handler(struct conn *c)
{
    return &c->base.io->handler;
}

/* How much has left since we last looked. */
static void note_written(struct conn *c)
{
    size_t left = evbuffer_get_length(bufferevent_get_output(c->bev));
    size_t n = c->base.unsent - left;

    c->base.unsent = left;
    if (n > 0 && !c->is_closing && handler(c)->written != NULL) {
        handler(c)->written(handler(c)->arg, &c->base, n);
    }
}

static void take_input(struct conn *c)
{
    struct evbuffer *in = bufferevent_get_input(c->bev);
    struct evbuffer_iovec piece;

    c->is_stalled = false;
    while (!c->is_closing && evbuffer_peek(in, PIECE, NULL, &piece, 1) > 0) {
        size_t n = piece.iov_len < PIECE ? piece.iov_len : PIECE;

        if (!handler(c)->received(handler(c)->arg, &c->base, (struct bytes){piece.iov_base, n})) {
            c->is_stalled = true;
            (void)bufferevent_disable(c->bev, EV_READ);
            return;
        }
        (void)evbuffer_drain(in, n);
    }
}

static void on_read(struct bufferevent *bev, void *arg)
{
    struct conn *c = arg;
    struct streamio_handler *h = handler(c);

    (void)bev;
    if (c->is_closing) {
        (void)evbuffer_drain(bufferevent_get_input(bev), SIZE_MAX);
        return;
    }
    take_input(c);
    h->turn(h->arg);
}

static void on_written(struct bufferevent *bev, void *arg)
{
    struct conn *c = arg;

    (void)bev;
    if (c->is_closing) {
        conn_free(c);
    } else {
        note_written(c);
    }
}

static void on_event(struct bufferevent *bev, short what, void *arg)
{
    struct conn *c = arg;
    struct streamio_handler *h = handler(c);

    (void)bev;
    if (c->is_dialing && (what & BEV_EVENT_CONNECTED) != 0) {
        c->is_dialing = false;
        h->connected(h->arg, &c->base);
    } else if (c->is_closing) {
        conn_free(c);
        return;
    } else {
        h->closed(h->arg, &c->base);
        conn_free(c);
    }
    h->turn(h->arg);
}

static struct conn *conn_new(struct tcp *t, evutil_socket_t fd)
{
    struct conn *c = calloc(1, sizeof(*c));
    const int on = 1;

    if (c == NULL) {
        return NULL;
    }
    c->base.io = &t->base;
    c->bev = bufferevent_socket_new(t->events, fd, BEV_OPT_CLOSE_ON_FREE);
    if (c->bev == NULL) {
        free(c);
        return NULL;
    }
    if (fd >= 0) {
        (void)setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on));
    }
    bufferevent_setcb(c->bev, on_read, on_written, on_event, c);
    c->next = t->conns;
    c->prev = &t->conns;
    if (t->conns != NULL) {
        t->conns->prev = &c->next;
    }
    t->conns = c;
    return c;
}

static void on_accept(struct evconnlistener *listener, evutil_socket_t fd, struct sockaddr *sa,
                      int sa_len, void *arg)
{
    struct tcp *t = arg;
    struct streamio_handler *h = &t->base.handler;
    struct conn *c = conn_new(t, fd);

    (void)listener;
    (void)sa;
    (void)sa_len;
    if (c == NULL) {
        (void)close(fd);
        return;
    }
    if (!h->accepted(h->arg, &c->base)) {
        conn_free(c);
        return;
    }
    (void)bufferevent_enable(c->bev, EV_READ | EV_WRITE);
    h->turn(h->arg);
}

static struct streamio_conn *dial(struct streamio *io, const struct abi_addr *to)
{
    struct tcp *t = (struct tcp *)io;
    struct sockaddr_storage sa;
    socklen_t sa_len = addr_to_sockaddr(to, (struct sockaddr *)&sa);
    struct conn *c = sa_len == 0 ? NULL : conn_new(t, -1);

    if (c == NULL) {
        return NULL;
    }
    c->is_dialing = true;
    (void)bufferevent_enable(c->bev, EV_READ | EV_WRITE);
    /* A failure is told through on_event, now or later. */
    if (bufferevent_socket_connect(c->bev, (const struct sockaddr *)&sa, (int)sa_len) != 0) {
        errno = 0;
    }
    return &c->base;
}

static bool write_tcp(struct streamio_conn *base, struct bytes b)
{
    struct conn *c = (struct conn *)base;

    note_written(c);
    if (bufferevent_write(c->bev, b.p, b.n) != 0) {
        return false;
    }
    base->unsent += b.n;
    return true;
}

static void drop(struct streamio_conn *base)
{
    conn_free((struct conn *)base);
}

static void close_tcp(struct streamio_conn *base)
{
    struct conn *c = (struct conn *)base;

    c->is_closing = true;
    if (evbuffer_get_length(bufferevent_get_output(c->bev)) == 0) {
        conn_free(c);
    }
}

static void resume(struct streamio *io)
{
    struct tcp *t = (struct tcp *)io;

    for (struct conn *c = t->conns; c != NULL; c = c->next) {
        if (c->is_stalled && !c->is_closing) {
            take_input(c);
            if (c->is_stalled) {
                return; /* nobody else will get through either */
            }
            (void)bufferevent_enable(c->bev, EV_READ);
        }
    }
}

static void free_tcp(struct streamio *io)
{
    struct tcp *t = (struct tcp *)io;

    while (t->conns != NULL) {
        conn_free(t->conns); /* takes it off the list. NOLINT */
    }
    if (t->listener != NULL) {
        evconnlistener_free(t->listener);
    }
    free(t);
}

static const struct streamio_ops tcp_ops = {.dial = dial,
                                            .write = write_tcp,
                                            .close = close_tcp,
                                            .drop = drop,
                                            .resume = resume,
                                            .free = free_tcp};

RESULT streamio_tcp_open(struct event_base *base, const struct streamio_handler *h,
                         const char *address, uint16_t port, struct streamio **ret)
{
    struct tcp *t = calloc(1, sizeof(*t));
    struct sockaddr_storage sa;
    socklen_t sa_len;

    if (t == NULL) {
        return ERR_IO;
    }
    t->base.ops = &tcp_ops;
    t->base.handler = *h;
    t->events = base;
    if (!addr_parse(address, port, &sa, &sa_len)) {
        free(t);
        errno = EINVAL;
        return ERR_IO;
    }
    t->listener = evconnlistener_new_bind(
        base, on_accept, t, LEV_OPT_CLOSE_ON_FREE | LEV_OPT_REUSEABLE | LEV_OPT_CLOSE_ON_EXEC, -1,
        (const struct sockaddr *)&sa, (int)sa_len);
    if (t->listener == NULL) {
        int saved = errno;

        free(t);
        errno = saved;
        return ERR_IO;
    }
    *ret = &t->base;
    return OK;
}
