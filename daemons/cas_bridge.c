// SPDX-License-Identifier: Apache-2.0
#include "daemons/cas_bridge.h"

#include "host/net/addr.h"

#include <errno.h>
#include <event2/event.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <time.h>
#include <unistd.h>

enum { IN_MAX = 8 << 20, OUT_MAX = 4 << 20 }; /* an answer; a request */

struct buffer {
    uint8_t *p;
    size_t n, room;
};

struct cas_bridge {
    struct https_via via;
    int fd;
    /* Control thread alone: */
    struct event *event;
    struct streamio *io;
    void *user;
    struct streamio_conn *conn;

    pthread_mutex_t lock; /* over what follows */
    pthread_cond_t changed;
    struct abi_addr to;
    bool wants_open, wants_close; /* the renewal's */
    bool is_open, is_closed;      /* the stream's */
    struct buffer in, out;
    size_t in_at;
};

/* False: no memory, or more than anybody has a use for. */
static bool append(struct buffer *b, const void *p, size_t n, size_t max)
{
    size_t room = b->room == 0 ? 4096 : b->room;
    uint8_t *more;

    if (n > max - b->n) {
        return false;
    }
    while (room < b->n + n) {
        room *= 2;
    }
    more = room == b->room ? b->p : realloc(b->p, room);
    if (more == NULL) {
        return false;
    }
    b->p = more;
    b->room = room;
    memcpy(b->p + b->n, p, n);
    b->n += n;
    return true;
}

static void wake(const struct cas_bridge *b)
{
    (void)eventfd_write(b->fd, 1);
}

/* ---- the renewal's thread ---- */

/* Under the lock: waits for news; false once time is over. */
static bool wait_until(struct cas_bridge *b, uint64_t until_ms)
{
    const struct timespec until = {.tv_sec = (time_t)(until_ms / 1000),
                                   .tv_nsec = (long)(until_ms % 1000) * 1000000};

    return pthread_cond_timedwait(&b->changed, &b->lock, &until) != ETIMEDOUT;
}

static bool via_open(void *ctx, const char *host, uint16_t port, uint64_t until_ms)
{
    struct cas_bridge *b = ctx;
    struct sockaddr_storage sa;
    struct abi_addr to;
    socklen_t n;
    bool good;

    if (!addr_parse(host, port, &sa, &n)) {
        return false;
    }
    addr_from_sockaddr((const struct sockaddr *)&sa, &to);
    (void)pthread_mutex_lock(&b->lock);
    good = true;
    while (b->wants_close && good) { /* the former stream is still to be hung up */
        good = wait_until(b, until_ms);
    }
    if (good) {
        b->to = to;
        b->is_open = b->is_closed = false;
        b->in.n = b->out.n = b->in_at = 0;
        b->wants_open = true;
        wake(b);
    }
    while (good && !b->is_open && !b->is_closed) {
        good = wait_until(b, until_ms);
    }
    good = b->is_open;
    (void)pthread_mutex_unlock(&b->lock);
    return good;
}

static size_t via_read(void *ctx, void *to, size_t room, uint64_t until_ms)
{
    struct cas_bridge *b = ctx;
    bool good = true;
    size_t n = 0;

    (void)pthread_mutex_lock(&b->lock);
    while (good && b->in_at == b->in.n && !b->is_closed) {
        good = wait_until(b, until_ms);
    }
    n = b->in.n - b->in_at;
    n = n < room ? n : room;
    if (n > 0) {
        memcpy(to, b->in.p + b->in_at, n);
        b->in_at += n;
    }
    (void)pthread_mutex_unlock(&b->lock);
    return n;
}

static bool via_write(void *ctx, struct bytes bytes)
{
    struct cas_bridge *b = ctx;
    bool good;

    (void)pthread_mutex_lock(&b->lock);
    good = b->is_open && append(&b->out, bytes.p, bytes.n, OUT_MAX);
    (void)pthread_mutex_unlock(&b->lock);
    wake(b);
    return good;
}

static void via_close(void *ctx)
{
    struct cas_bridge *b = ctx;

    (void)pthread_mutex_lock(&b->lock);
    b->wants_open = false;
    b->wants_close = true;
    (void)pthread_mutex_unlock(&b->lock);
    wake(b);
}

const struct https_via *cas_bridge_via(struct cas_bridge *b)
{
    return &b->via;
}

/* ---- the control thread ---- */

static void end(struct cas_bridge *b)
{
    b->is_open = false;
    b->is_closed = true;
    (void)pthread_cond_signal(&b->changed);
}

static void on_wake(evutil_socket_t fd, short what, void *arg)
{
    struct cas_bridge *b = arg;
    struct streamio *io = b->io;
    eventfd_t n;

    (void)what;
    (void)eventfd_read(fd, &n);
    (void)pthread_mutex_lock(&b->lock);
    if (b->wants_close) {
        if (b->conn != NULL) {
            io->ops->drop(b->conn);
            b->conn = NULL;
        }
        b->wants_close = false;
        end(b);
    }
    if (b->wants_open) {
        b->wants_open = false;
        b->conn = io->ops->dial(io, &b->to);
        if (b->conn == NULL) {
            end(b);
        } else {
            b->conn->user = b->user;
        }
    }
    if (b->is_open && b->out.n > 0 && io->ops->write(b->conn, (struct bytes){b->out.p, b->out.n})) {
        b->out.n = 0;
    }
    (void)pthread_mutex_unlock(&b->lock);
}

RESULT cas_bridge_serve(struct cas_bridge *b, struct event_base *base, struct streamio *io,
                        void *user)
{
    b->io = io;
    b->user = user;
    b->event = event_new(base, b->fd, EV_READ | EV_PERSIST, on_wake, b);
    return b->event != NULL && event_add(b->event, NULL) == 0 ? OK : ERR_IO;
}

void cas_bridge_leave(struct cas_bridge *b)
{
    if (b == NULL) {
        return;
    }
    if (b->event != NULL) {
        event_free(b->event);
        b->event = NULL;
    }
    (void)pthread_mutex_lock(&b->lock);
    b->conn = NULL;
    end(b); /* and whoever waits for an answer goes on without */
    (void)pthread_mutex_unlock(&b->lock);
}

void cas_bridge_connected(struct cas_bridge *b)
{
    (void)pthread_mutex_lock(&b->lock);
    b->is_open = true;
    (void)pthread_cond_signal(&b->changed);
    (void)pthread_mutex_unlock(&b->lock);
}

void cas_bridge_received(struct cas_bridge *b, struct bytes bytes)
{
    (void)pthread_mutex_lock(&b->lock);
    if (!append(&b->in, bytes.p, bytes.n, IN_MAX)) {
        b->wants_close = true; /* whoever sends so much is no CAS */
        wake(b);
    }
    (void)pthread_cond_signal(&b->changed);
    (void)pthread_mutex_unlock(&b->lock);
}

void cas_bridge_closed(struct cas_bridge *b)
{
    (void)pthread_mutex_lock(&b->lock);
    b->conn = NULL;
    end(b);
    (void)pthread_mutex_unlock(&b->lock);
}

/* ---- life ---- */

static bool make_condition(pthread_cond_t *c)
{
    pthread_condattr_t by_monotonic;
    bool good = pthread_condattr_init(&by_monotonic) == 0;

    if (good) {
        good = pthread_condattr_setclock(&by_monotonic, CLOCK_MONOTONIC) == 0 &&
               pthread_cond_init(c, &by_monotonic) == 0;
        (void)pthread_condattr_destroy(&by_monotonic);
    }
    return good;
}

RESULT cas_bridge_open(struct cas_bridge **ret)
{
    struct cas_bridge *b = calloc(1, sizeof(*b));

    if (b == NULL) {
        return ERR_IO;
    }
    b->via = (struct https_via){b, via_open, via_read, via_write, via_close};
    b->is_closed = true;
    b->fd = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
    if (b->fd < 0 || pthread_mutex_init(&b->lock, NULL) != 0 || !make_condition(&b->changed)) {
        if (b->fd >= 0) {
            (void)close(b->fd);
        }
        free(b);
        return ERR_IO;
    }
    *ret = b;
    return OK;
}

void cas_bridge_close(struct cas_bridge *b)
{
    if (b == NULL) {
        return;
    }
    (void)close(b->fd);
    (void)pthread_cond_destroy(&b->changed);
    (void)pthread_mutex_destroy(&b->lock);
    free(b->in.p);
    free(b->out.p);
    free(b);
}
