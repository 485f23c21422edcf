// SPDX-License-Identifier: Apache-2.0
#include "daemons/hostd.h"

#include <event2/event.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum {
    BUCKETS = 1024,
    RETRY_US = 1000, /* a full ring is looked at again */
};

/* One stream. What the replica must be told and did not fit stays owed. */
struct relayed {
    struct relayed *next;
    struct streamio_conn *conn; /* NULL: it has ended */
    uint32_t number;
    bool owes_connected, owes_closed;
    uint64_t owes_written;
};

struct hostd_streams {
    struct streamio *io;
    struct ring to_replica, to_host;
    int bell_replica;
    struct event *heard, *retry;
    uint32_t accepted; /* number of the last one */
    struct relayed *buckets[BUCKETS];
};

static struct relayed **place_of(struct hostd_streams *s, uint32_t number)
{
    struct relayed **at = &s->buckets[number % BUCKETS];

    while (*at != NULL && (*at)->number != number) {
        at = &(*at)->next;
    }
    return at;
}

static struct relayed *relayed_add(struct hostd_streams *s, uint32_t number)
{
    struct relayed **at = place_of(s, number);
    struct relayed *r = *at != NULL ? NULL : calloc(1, sizeof(*r));

    if (r != NULL) {
        r->number = number;
        *at = r;
    }
    return r;
}

static void relayed_free(struct hostd_streams *s, struct relayed *r)
{
    struct relayed **at = place_of(s, r->number);

    *at = r->next;
    free(r);
}

/* ---- to the replica ---- */

static void ring_the_bell(struct hostd_streams *s)
{
    uint64_t one = 1;

    ring_publish(&s->to_replica);
    if (ring_must_wake(&s->to_replica)) {
        (void)!write(s->bell_replica, &one, sizeof(one));
    }
}

static bool push(struct hostd_streams *s, enum ring_kind kind, uint32_t number, const void *payload,
                 uint32_t n)
{
    const struct timeval in = {.tv_usec = RETRY_US};
    struct ring_record record = {.kind = kind, .stream = number, .len = n};
    uint8_t *to = ring_reserve(&s->to_replica, n);

    if (to == NULL) {
        (void)event_add(s->retry, &in);
        return false;
    }
    if (n > 0) {
        memcpy(to, payload, n);
    }
    ring_add(&s->to_replica, &record);
    ring_the_bell(s);
    return true;
}

/* Tells what is owed, in order. False: not all of it. Frees what has ended and was told. */
static bool settle(struct hostd_streams *s, struct relayed *r)
{
    if (r->owes_connected) {
        r->owes_connected = !push(s, RING_CONNECTED, r->number, NULL, 0);
    }
    if (!r->owes_connected && r->owes_written > 0 &&
        push(s, RING_WRITTEN, r->number, &r->owes_written, sizeof(r->owes_written))) {
        r->owes_written = 0;
    }
    if (r->owes_connected || r->owes_written > 0) {
        return false;
    }
    if (r->owes_closed) {
        if (!push(s, RING_CLOSED, r->number, NULL, 0)) {
            return false;
        }
        relayed_free(s, r);
    }
    return true;
}

static void on_retry(evutil_socket_t fd, short what, void *arg)
{
    struct hostd_streams *s = arg;

    (void)fd;
    (void)what;
    for (size_t i = 0; i < BUCKETS; i++) {
        struct relayed *next;

        for (struct relayed *r = s->buckets[i]; r != NULL; r = next) {
            next = r->next;
            (void)settle(s, r);
        }
    }
    s->io->ops->resume(s->io);
}

/* ---- from TCP ---- */

static bool on_accepted(void *arg, struct streamio_conn *conn)
{
    struct hostd_streams *s = arg;
    struct relayed *r;

    s->accepted = (s->accepted + 1) | RING_STREAM_OF_HOST;
    r = relayed_add(s, s->accepted);
    if (r == NULL) {
        return false;
    }
    if (!push(s, RING_ACCEPTED, r->number, NULL, 0)) {
        relayed_free(s, r);
        return false;
    }
    r->conn = conn;
    conn->user = r;
    return true;
}

static void on_connected(void *arg, struct streamio_conn *conn)
{
    struct relayed *r = conn->user;

    r->owes_connected = true;
    (void)settle(arg, r);
}

static bool on_received(void *arg, struct streamio_conn *conn, struct bytes b)
{
    struct hostd_streams *s = arg;
    struct relayed *r = conn->user;

    return settle(s, r) && push(s, RING_DATA, r->number, b.p, (uint32_t)b.n);
}

static void on_written(void *arg, struct streamio_conn *conn, size_t n)
{
    struct relayed *r = conn->user;

    r->owes_written += n;
    (void)settle(arg, r);
}

static void on_closed(void *arg, struct streamio_conn *conn)
{
    struct relayed *r = conn->user;

    r->conn = NULL;
    r->owes_closed = true;
    (void)settle(arg, r);
}

static void on_turn(void *arg)
{
    (void)arg;
}

/* ---- from the replica ---- */

static void dial(struct hostd_streams *s, const struct ring_record *record)
{
    struct relayed *r = relayed_add(s, record->stream);

    if (r == NULL) {
        return; /* a number twice: the replica never does it */
    }
    r->conn = s->io->ops->dial(s->io, &record->addr);
    if (r->conn == NULL) {
        r->owes_closed = true;
        (void)settle(s, r);
    } else {
        r->conn->user = r;
    }
}

static void end(struct hostd_streams *s, struct relayed *r, enum ring_kind kind)
{
    struct streamio_conn *conn = r->conn;

    relayed_free(s, r);
    if (conn == NULL) {
        return;
    }
    if (kind == RING_CLOSE) {
        s->io->ops->close(conn);
    } else {
        s->io->ops->drop(conn);
    }
}

static void on_record(struct hostd_streams *s, const struct ring_record *record, uint32_t off)
{
    struct relayed *r = *place_of(s, record->stream);

    if (record->kind == RING_DIAL) {
        dial(s, record);
    } else if (r == NULL) {
        return; /* it ended while this was under way */
    } else if (record->kind == RING_DATA && r->conn != NULL) {
        if (!s->io->ops->write(r->conn, (struct bytes){s->to_host.data + off, record->len})) {
            s->io->ops->drop(r->conn);
            r->conn = NULL;
            r->owes_closed = true;
            (void)settle(s, r);
        }
    } else if (record->kind == RING_CLOSE || record->kind == RING_DROP) {
        end(s, r, (enum ring_kind)record->kind);
    }
}

static void on_bell(evutil_socket_t fd, short what, void *arg)
{
    struct hostd_streams *s = arg;
    struct ring_record record;
    uint64_t rung;
    uint32_t off;

    (void)what;
    (void)!read(fd, &rung, sizeof(rung));
    do {
        while (ring_next(&s->to_host, &record, &off)) {
            on_record(s, &record, off);
        }
        ring_release(&s->to_host);
    } while (!ring_doze(&s->to_host));
}

/* ---- life ---- */

RESULT hostd_streams_open(struct event_base *base, const struct handover *h, const char *address,
                          uint16_t port, struct hostd_streams **ret)
{
    struct hostd_streams *s = calloc(1, sizeof(*s));
    const struct streamio_handler handler = {.arg = s,
                                             .accepted = on_accepted,
                                             .connected = on_connected,
                                             .received = on_received,
                                             .written = on_written,
                                             .closed = on_closed,
                                             .turn = on_turn};

    if (s == NULL) {
        return ERR_IO;
    }
    s->to_replica = ring_of_streams(h->memory, RING_TO_REPLICA);
    s->to_host = ring_of_streams(h->memory, RING_TO_HOST);
    s->bell_replica = h->bell_replica;
    s->heard = event_new(base, h->bell_host, EV_READ | EV_PERSIST, on_bell, s);
    s->retry = evtimer_new(base, on_retry, s);
    if (s->heard == NULL || s->retry == NULL || event_add(s->heard, NULL) != 0 ||
        streamio_tcp_open(base, &handler, address, port, &s->io) != OK) {
        hostd_streams_close(s);
        return ERR_IO;
    }
    event_active(s->heard, EV_READ, 0);
    *ret = s;
    return OK;
}

void hostd_streams_close(struct hostd_streams *s)
{
    if (s->io != NULL) {
        s->io->ops->free(s->io);
    }
    if (s->heard != NULL) {
        event_free(s->heard);
    }
    if (s->retry != NULL) {
        event_free(s->retry);
    }
    for (size_t i = 0; i < BUCKETS; i++) {
        while (s->buckets[i] != NULL) {
            relayed_free(s, s->buckets[i]); /* takes it off the list. NOLINT */
        }
    }
    free(s);
}
