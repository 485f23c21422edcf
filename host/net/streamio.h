// SPDX-License-Identifier: Apache-2.0
#ifndef HOST_NET_STREAMIO_H
#define HOST_NET_STREAMIO_H

/*
 * Byte streams for the control channel, in one of two ways: kernel TCP, or in split mode frames
 * through the rings to a host that has the sockets. One thread, that of the libevent base.
 */

#include "boundary/abi.h"
#include "common/bytes.h"
#include "common/result.h"

struct event_base;
struct handover;
struct streamio;

struct streamio_conn {
    struct streamio *io;
    void *user;    /* the driver's; NULL at first */
    size_t unsent; /* bytes given that have not left */
};

/* What the driver is told. It may dial and write at any time; close and drop only from connected()
 * and turn(). */
struct streamio_handler {
    void *arg;
    /* Somebody connected. False: not wanted, and dropped. */
    bool (*accepted)(void *arg, struct streamio_conn *c);
    void (*connected)(void *arg, struct streamio_conn *c); /* a dial succeeded */
    /* False: not now; comes again, with more perhaps, after ops->resume. */
    bool (*received)(void *arg, struct streamio_conn *c, struct bytes b);
    void (*written)(void *arg, struct streamio_conn *c, size_t n); /* NULL: of no interest */
    void (*closed)(void *arg, struct streamio_conn *c); /* ended, or the dial failed; c is gone */
    void (*turn)(void *arg); /* after some of the above: a good moment to act */
};

struct streamio_ops {
    /* NULL: cannot be done at all. Otherwise connected() or closed() follows, after this returned.
     */
    struct streamio_conn *(*dial)(struct streamio *io, const struct abi_addr *to);
    /* False: out of memory. Nothing is sent in part. */
    bool (*write)(struct streamio_conn *c, struct bytes b);
    void (*close)(struct streamio_conn *c); /* once all is sent; c is no longer the caller's */
    void (*drop)(struct streamio_conn *c);  /* now; the same */
    void (*resume)(struct streamio *io);
    void (*free)(struct streamio *io); /* drops all connections, without a word */
};

struct streamio {
    const struct streamio_ops *ops;
    struct streamio_handler handler;
    uint64_t bad; /* frames of the host that cannot be */
};

/* Listens on an IPv4 or IPv6 literal. IO: errno tells. */
RESULT streamio_tcp_open(struct event_base *base, const struct streamio_handler *h,
                         const char *address, uint16_t port, struct streamio **ret);
/* The replica's end of the stream rings. IO: no memory. */
RESULT streamio_ring_open(struct event_base *base, const struct streamio_handler *h,
                          const struct handover *rings, struct streamio **ret);

#endif
