// SPDX-License-Identifier: Apache-2.0
/* The replica's end of the stream rings. It runs inside the trusted process; what the host says
 * about streams can end or confuse a stream, which TLS then refuses, and nothing else. */
#include "host/net/handover.h"
#include "host/net/streamio.h"

#include <event2/buffer.h>
#include <event2/event.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum {
    BUCKETS = 1024,
    TURN_RECORDS = 256,    /* taken before the driver has its turn */
    RETRY_US = 1000,       /* a full ring is looked at again */
    PENDING_MAX = 1 << 24, /* bytes that wait for a host that does not take them */
};

struct conn {
    struct streamio_conn base;
    struct conn *next;
    uint32_t number;
    bool is_dialing;
};

struct ringio {
    struct streamio base;
    struct ring in, out;
    int bell, bell_host;
    struct event *heard, *retry;
    struct evbuffer *pending; /* whole frames that found the ring full */
    uint32_t dialed;          /* number of the last dial */
    struct conn *buckets[BUCKETS];
};

static struct ringio *ringio_of(struct streamio_conn *c)
{
    return (struct ringio *)c->io;
}

/* ---- connections by number ---- */

static struct conn **place_of(struct ringio *r, uint32_t number)
{
    struct conn **at = &r->buckets[number % BUCKETS];

    while (*at != NULL && (*at)->number != number) {
        at = &(*at)->next;
    }
    return at;
}

static struct conn *conn_add(struct ringio *r, uint32_t number)
{
    struct conn **at = place_of(r, number);
    struct conn *c = *at != NULL ? NULL : calloc(1, sizeof(*c));

    if (c != NULL) {
        c->base.io = &r->base;
        c->number = number;
        *at = c;
    }
    return c;
}

static void conn_free(struct conn *c)
{
    struct conn **at = place_of(ringio_of(&c->base), c->number);

    *at = c->next;
    free(c);
}

/* ---- to the host ---- */

static void ring_the_bell(struct ringio *r)
{
    uint64_t one = 1;

    ring_publish(&r->out);
    if (ring_must_wake(&r->out)) {
        (void)!write(r->bell_host, &one, sizeof(one));
    }
}

static bool push(struct ringio *r, const struct ring_record *record, const uint8_t *payload)
{
    uint8_t *to = ring_reserve(&r->out, record->len);

    if (to == NULL) {
        return false;
    }
    if (record->len > 0) {
        memcpy(to, payload, record->len);
    }
    ring_add(&r->out, record);
    return true;
}

/* In order: behind what waits already. */
static bool send_frame(struct ringio *r, const struct ring_record *record, const uint8_t *payload)
{
    const struct timeval in = {.tv_usec = RETRY_US};

    if (evbuffer_get_length(r->pending) == 0 && push(r, record, payload)) {
        ring_the_bell(r);
        return true;
    }
    (void)event_add(r->retry, &in);
    return evbuffer_get_length(r->pending) < PENDING_MAX &&
           evbuffer_expand(r->pending, sizeof(*record) + record->len) == 0 &&
           evbuffer_add(r->pending, record, sizeof(*record)) == 0 &&
           (record->len == 0 || evbuffer_add(r->pending, payload, record->len) == 0);
}

static void on_retry(evutil_socket_t fd, short what, void *arg)
{
    const struct timeval in = {.tv_usec = RETRY_US};
    struct ringio *r = arg;
    struct ring_record record;

    (void)fd;
    (void)what;
    while (evbuffer_copyout(r->pending, &record, sizeof(record)) == (ev_ssize_t)sizeof(record)) {
        const uint8_t *frame =
            evbuffer_pullup(r->pending, (ev_ssize_t)(sizeof(record) + record.len));

        if (frame == NULL || !push(r, &record, frame + sizeof(record))) {
            (void)event_add(r->retry, &in);
            break;
        }
        (void)evbuffer_drain(r->pending, sizeof(record) + record.len);
    }
    ring_the_bell(r);
}

static struct streamio_conn *dial(struct streamio *io, const struct abi_addr *to)
{
    struct ringio *r = (struct ringio *)io;
    struct ring_record record = {.kind = RING_DIAL, .addr = *to};
    struct conn *c;

    r->dialed = (r->dialed + 1) & ~RING_STREAM_OF_HOST;
    c = conn_add(r, r->dialed);
    if (c == NULL) {
        return NULL;
    }
    c->is_dialing = true;
    record.stream = c->number;
    if (!send_frame(r, &record, NULL)) {
        conn_free(c);
        return NULL;
    }
    return &c->base;
}

static bool write_ring(struct streamio_conn *base, struct bytes b)
{
    struct conn *c = (struct conn *)base;

    while (b.n > 0) {
        uint32_t n = b.n < RING_PAYLOAD_MAX ? (uint32_t)b.n : RING_PAYLOAD_MAX;
        struct ring_record record = {.kind = RING_DATA, .stream = c->number, .len = n};

        if (!send_frame(ringio_of(base), &record, b.p)) {
            return false;
        }
        base->unsent += n;
        b = (struct bytes){b.p + n, b.n - n};
    }
    return true;
}

static void give_up(struct streamio_conn *base, enum ring_kind kind)
{
    struct conn *c = (struct conn *)base;
    struct ring_record record = {.kind = kind, .stream = c->number};

    (void)send_frame(ringio_of(base), &record, NULL);
    conn_free(c);
}

static void close_ring(struct streamio_conn *c)
{
    give_up(c, RING_CLOSE);
}

static void drop(struct streamio_conn *c)
{
    give_up(c, RING_DROP);
}

/* ---- from the host: copied once, RING-8 ---- */

static void on_accepted(struct ringio *r, uint32_t number)
{
    struct streamio_handler *h = &r->base.handler;
    struct conn *c = (number & RING_STREAM_OF_HOST) == 0 ? NULL : conn_add(r, number);

    if (c == NULL) {
        r->base.bad++;
    } else if (!h->accepted(h->arg, &c->base)) {
        give_up(&c->base, RING_DROP);
    }
}

static void on_written(struct ringio *r, struct conn *c, const uint8_t *payload, uint32_t len)
{
    uint64_t n;

    if (len != sizeof(n)) {
        r->base.bad++;
        return;
    }
    memcpy(&n, payload, sizeof(n));
    if (n > c->base.unsent) {
        r->base.bad++;
        return;
    }
    c->base.unsent -= n;
}

static void on_record(struct ringio *r, const struct ring_record *record, const uint8_t *payload)
{
    struct streamio_handler *h = &r->base.handler;
    struct conn *c = *place_of(r, record->stream);

    if (record->kind == RING_ACCEPTED) {
        on_accepted(r, record->stream);
    } else if (c == NULL) {
        return; /* we have just given it up */
    } else if (record->kind == RING_CLOSED) {
        h->closed(h->arg, &c->base);
        conn_free(c);
    } else if (record->kind == RING_CONNECTED && c->is_dialing) {
        c->is_dialing = false;
        h->connected(h->arg, &c->base);
    } else if (record->kind == RING_DATA && !c->is_dialing) {
        (void)h->received(h->arg, &c->base, (struct bytes){payload, record->len});
    } else if (record->kind == RING_WRITTEN) {
        on_written(r, c, payload, record->len);
    } else {
        r->base.bad++;
    }
}

static void on_bell(evutil_socket_t fd, short what, void *arg)
{
    struct ringio *r = arg;
    uint8_t payload[RING_PAYLOAD_MAX];
    struct ring_record record;
    uint32_t taken = 0, off;
    uint64_t n;

    (void)what;
    (void)!read(fd, &n, sizeof(n));
    while (taken < TURN_RECORDS && ring_next(&r->in, &record, &off)) {
        memcpy(payload, r->in.data + off, record.len);
        on_record(r, &record, payload);
        taken++;
    }
    ring_release(&r->in);
    r->base.handler.turn(r->base.handler.arg);
    if (taken == TURN_RECORDS || !ring_doze(&r->in)) {
        event_active(r->heard, EV_READ, 0);
    }
}

static void resume(struct streamio *io)
{
    (void)io; /* received() always takes what it gets */
}

static void free_ring(struct streamio *io)
{
    struct ringio *r = (struct ringio *)io;

    for (size_t i = 0; i < BUCKETS; i++) {
        while (r->buckets[i] != NULL) {
            conn_free(r->buckets[i]); /* takes it off the list. NOLINT */
        }
    }
    if (r->heard != NULL) {
        event_free(r->heard);
    }
    if (r->retry != NULL) {
        event_free(r->retry);
    }
    if (r->pending != NULL) {
        evbuffer_free(r->pending);
    }
    free(r);
}

static const struct streamio_ops ring_ops = {.dial = dial,
                                             .write = write_ring,
                                             .close = close_ring,
                                             .drop = drop,
                                             .resume = resume,
                                             .free = free_ring};

RESULT streamio_ring_open(struct event_base *base, const struct streamio_handler *h,
                          const struct handover *rings, struct streamio **ret)
{
    struct ringio *r = calloc(1, sizeof(*r));

    if (r == NULL) {
        return ERR_IO;
    }
    r->base.ops = &ring_ops;
    r->base.handler = *h;
    r->in = ring_of_streams(rings->memory, RING_TO_REPLICA);
    r->out = ring_of_streams(rings->memory, RING_TO_HOST);
    r->bell = rings->bell_replica;
    r->bell_host = rings->bell_host;
    r->heard = event_new(base, r->bell, EV_READ | EV_PERSIST, on_bell, r);
    r->retry = evtimer_new(base, on_retry, r);
    r->pending = evbuffer_new();
    if (r->heard == NULL || r->retry == NULL || r->pending == NULL ||
        event_add(r->heard, NULL) != 0) {
        free_ring(&r->base);
        return ERR_IO;
    }
    event_active(r->heard, EV_READ, 0);
    *ret = &r->base;
    return OK;
}
