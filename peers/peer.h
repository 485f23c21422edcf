// SPDX-License-Identifier: Apache-2.0
#ifndef PEERS_PEER_H
#define PEERS_PEER_H

/*
 * Other stores as targets of the benchmark, for fair comparisons: same loops, keys, histograms.
 *
 *   redis://HOST:PORT[,HOST:PORT...][?ca=FILE][&wait=R][&every=N]   commands go to the first, the
 *        primary. wait=R: a SET counts as done when WAIT R has answered, once for every N of them
 * on a connection (default 1). That R replicas have it does not make it linearizable.
 *   memcached://HOST:PORT[,...][?ca=FILE]     keys are spread over the servers; nothing is
 * replicated etcd://HOST:PORT[,...][?ca=FILE]          clients are spread over the members; its
 * JSON gateway
 *
 * ca=FILE: TLS, and the servers' certificates must be of that CA.
 */

#include "tools/bench_target.h"

#include <stddef.h>
#include <stdint.h>

enum { PEER_SERVERS_MAX = 9 };

struct peer_buffer {
    uint8_t *p;
    size_t at, n, room; /* p[at..n) is there */
};
/* False: no memory. */
bool peer_buffer_add(struct peer_buffer *b, const void *p, size_t n);
bool peer_buffer_text(struct peer_buffer *b, const char *format, ...)
    __attribute__((format(printf, 2, 3)));
void peer_buffer_free(struct peer_buffer *b);

struct peer_url {
    char text[1024];
    const char *hosts[PEER_SERVERS_MAX], *ports[PEER_SERVERS_MAX];
    size_t servers_n;
    const char *ca; /* or NULL */
    uint64_t wait, every;
};
/* False: `why` says what is wrong. The strings point into ret->text. */
bool peer_url_parse(const char *url, struct peer_url *ret, char *why, size_t why_size);

/* ---- a connection ---- */

struct peer_stream;

/* Connects and, with `ca`, shakes hands; blocks up to timeout_ms. NULL: `why` says the reason. */
struct peer_stream *peer_stream_open(const char *host, const char *port, const char *ca,
                                     uint64_t timeout_ms, char *why, size_t why_size);
void peer_stream_close(struct peer_stream *s);
int peer_stream_fd(const struct peer_stream *s);
/* What is to be sent. */
struct peer_buffer *peer_stream_out(struct peer_stream *s);
/* What has come; the reader moves `at`. */
struct peer_buffer *peer_stream_in(struct peer_stream *s);
struct peer_moved {
    bool blocked; /* there is more to send, but not now */
    bool more;    /* there may be more to receive, now */
};
/* Sends and receives what goes without waiting. False: the connection is over. */
bool peer_stream_move(struct peer_stream *s, struct peer_moved *ret);

/* ---- a protocol ---- */

struct peer_reply {
    enum avo_status status;
    const uint8_t *value; /* in the buffer */
    size_t value_len, used;
    uint64_t number; /* of redis' WAIT */
};

struct peer_protocol {
    const char *name;
    bool (*request)(struct peer_buffer *out, const struct avo_rmw *op, const char *host);
    /* 1: *ret; 0: it is not complete yet; -1: this is no reply. */
    int (*reply)(const uint8_t *p, size_t n, enum avo_op op, struct peer_reply *ret);
};

extern const struct peer_protocol peer_redis, peer_memcached, peer_etcd;
extern const struct bench_target bench_redis, bench_memcached, bench_etcd;

#endif
