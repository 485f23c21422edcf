// SPDX-License-Identifier: Apache-2.0
#include "daemons/cas_conns.h"

#include "trusted/config/explain.h"

#include <event2/bufferevent_ssl.h>
#include <event2/event.h>
#include <event2/listener.h>

#include <errno.h>
#include <netdb.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

enum { BACKLOG = 128 };

/* Lives as long as its SSL object, which libevent frees when it closes the descriptor. */
struct conn {
    struct cas_conns *of;
    struct conn *older, *newer;
    struct bufferevent *bev;
    struct event *deadline;
};

struct cas_conns {
    struct evconnlistener *listener; /* evhttp's; NULL once it may be gone */
    struct conn *oldest, *newest;
    unsigned n;
    bool is_full; /* nobody is accepted */
};

/* libevent sees the end of the stream and frees everything in its own time. */
static void end(const struct conn *x)
{
    (void)shutdown(bufferevent_getfd(x->bev), SHUT_RDWR);
}

static void on_deadline(evutil_socket_t fd, short what, void *arg)
{
    (void)fd;
    (void)what;
    end(arg);
}

static void unlink_conn(struct conn *x)
{
    struct cas_conns *c = x->of;

    *(x->older == NULL ? &c->oldest : &x->older->newer) = x->newer;
    *(x->newer == NULL ? &c->newest : &x->newer->older) = x->older;
    c->n--;
}

static void on_tls_free(void *tls, void *conn, CRYPTO_EX_DATA *data, int index, long argl,
                        void *argp)
{
    struct conn *x = conn;
    struct cas_conns *c = x == NULL ? NULL : x->of;

    (void)tls;
    (void)data;
    (void)index;
    (void)argl;
    (void)argp;
    if (c == NULL) {
        return;
    }
    unlink_conn(x);
    event_free(x->deadline);
    free(x);
    if (c->is_full && c->listener != NULL && evconnlistener_enable(c->listener) == 0) {
        c->is_full = false;
    }
}

/* Our place among what an SSL object carries; -1: no memory. */
static int place(void)
{
    static int index = -1;

    if (index < 0) {
        index = SSL_get_ex_new_index(0, NULL, NULL, NULL, on_tls_free);
    }
    return index;
}

static bool keep(struct cas_conns *c, struct event_base *base, struct bufferevent *bev, SSL *tls)
{
    static const struct timeval life = {.tv_sec = CAS_CONN_LIFE_S};
    struct conn *x = calloc(1, sizeof(*x));

    if (x == NULL) {
        return false;
    }
    *x = (struct conn){.of = c, .older = c->newest, .bev = bev};
    x->deadline = evtimer_new(base, on_deadline, x);
    if (x->deadline == NULL || evtimer_add(x->deadline, &life) != 0 ||
        SSL_set_ex_data(tls, place(), x) != 1) {
        if (x->deadline != NULL) {
            event_free(x->deadline);
        }
        free(x);
        return false;
    }
    *(c->newest == NULL ? &c->oldest : &c->newest->newer) = x;
    c->newest = x;
    c->n++;
    return true;
}

struct bufferevent *cas_conns_add(struct cas_conns *c, struct event_base *base, SSL *tls)
{
    struct bufferevent *b =
        tls == NULL ? NULL
                    : bufferevent_openssl_socket_new(base, -1, tls, BUFFEREVENT_SSL_ACCEPTING,
                                                     BEV_OPT_CLOSE_ON_FREE);

    if (b == NULL) {
        return NULL;
    }
    if (!keep(c, base, b, tls)) {
        bufferevent_free(b);
        return NULL;
    }
    bufferevent_openssl_set_allow_dirty_shutdown(b, 1);
    if (c->n >= CAS_CONNS_MAX && evconnlistener_disable(c->listener) == 0) {
        c->is_full = true;
        end(c->oldest);
    }
    return b;
}

static struct evconnlistener *listen_at(struct event_base *base, const char *address, uint16_t port)
{
    const struct addrinfo hints = {.ai_socktype = SOCK_STREAM,
                                   .ai_flags = AI_PASSIVE | AI_NUMERICSERV};
    struct evconnlistener *listener = NULL;
    struct addrinfo *list = NULL;
    int on = 1;
    char text[8];

    (void)snprintf(text, sizeof(text), "%u", (unsigned)port);
    if (getaddrinfo(address, text, &hints, &list) != 0) {
        errno = EADDRNOTAVAIL;
        return NULL;
    }
    /* evhttp puts its own callback in the place of none. */
    listener = evconnlistener_new_bind(
        base, NULL, NULL, LEV_OPT_CLOSE_ON_FREE | LEV_OPT_CLOSE_ON_EXEC | LEV_OPT_REUSEABLE,
        BACKLOG, list->ai_addr, (int)list->ai_addrlen);
    if (listener !=
        NULL) { /* what is accepted inherits it: an answer follows the session tickets */
        (void)setsockopt(evconnlistener_get_fd(listener), IPPROTO_TCP, TCP_NODELAY, &on,
                         sizeof(on));
    }
    freeaddrinfo(list);
    return listener;
}

RESULT cas_conns_open(struct evhttp *http, struct event_base *base, const char *address,
                      uint16_t port, struct cas_conns **ret, struct explain *why)
{
    struct cas_conns *c = calloc(1, sizeof(*c));

    if (c == NULL || place() < 0) {
        explain(why, "out of memory");
        free(c);
        return ERR_UNAVAILABLE;
    }
    c->listener = listen_at(base, address, port);
    if (c->listener == NULL) {
        explain(why, "cannot listen at %s:%u: %s; stop who uses it, or choose another --listen",
                address, (unsigned)port, strerror(errno));
        free(c);
        return ERR_UNAVAILABLE;
    }
    if (evhttp_bind_listener(http, c->listener) == NULL) {
        explain(why, "out of memory");
        evconnlistener_free(c->listener);
        free(c);
        return ERR_UNAVAILABLE;
    }
    *ret = c;
    return OK;
}

void cas_conns_stop(struct cas_conns *c)
{
    if (c != NULL) {
        c->listener = NULL;
    }
}

void cas_conns_free(struct cas_conns *c)
{
    free(c);
}
