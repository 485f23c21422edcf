// SPDX-License-Identifier: Apache-2.0
#include "peers/peer.h"

#include "common/siphash.h"
#include "tools/bench_worker.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <unistd.h>

enum { CALL_WAIT = -1 }; /* redis' WAIT, which is nobody's operation */

struct call {
    uint64_t user;
    int op;
};

/* A connection, and what it owes us in this order. */
struct lane {
    struct peer_stream *stream;
    struct call *calls; /* a ring */
    size_t first, n;
    uint64_t *held;        /* puts that were answered, until WAIT is */
    size_t held_n, sent_n; /* puts sent since the last WAIT */
    bool wants_out;
};

struct peer {
    const struct peer_protocol *protocol;
    struct peer_url url;
    struct lane lanes[PEER_SERVERS_MAX];
    size_t lanes_n, in_flight_max, calls_max;
    uint64_t *confirmed; /* puts whose WAIT was answered; handed out first */
    size_t confirmed_n;
    bool confirmed_good;
    int epoll;
    bool broken, more;
    char why[256];
};

static const struct peer_protocol *protocol_of(const char *url)
{
    static const struct peer_protocol *const all[] = {&peer_redis, &peer_memcached, &peer_etcd};

    for (size_t i = 0; i < 3; i++) {
        if (strncmp(url, all[i]->name, strlen(all[i]->name)) == 0) {
            return all[i];
        }
    }
    return NULL;
}

static void peer_close(void *handle)
{
    struct peer *p = handle;

    if (p == NULL) {
        return;
    }
    for (size_t i = 0; i < p->lanes_n; i++) {
        peer_stream_close(p->lanes[i].stream);
        free(p->lanes[i].calls);
        free(p->lanes[i].held);
    }
    free(p->confirmed);
    if (p->epoll >= 0) {
        (void)close(p->epoll);
    }
    free(p);
}

static bool open_lane(struct peer *p, size_t server, uint64_t timeout_ms)
{
    struct lane *l = &p->lanes[p->lanes_n++];
    struct epoll_event event = {.events = EPOLLIN, .data.ptr = l};

    l->calls = calloc(p->calls_max, sizeof(l->calls[0]));
    l->held = calloc(p->in_flight_max, sizeof(l->held[0]));
    l->stream = peer_stream_open(p->url.hosts[server], p->url.ports[server], p->url.ca, timeout_ms,
                                 p->why, sizeof(p->why));
    return l->calls != NULL && l->held != NULL && l->stream != NULL &&
           epoll_ctl(p->epoll, EPOLL_CTL_ADD, peer_stream_fd(l->stream), &event) == 0;
}

static enum avo_status peer_open(const struct bench *b, uint64_t number, uint32_t in_flight,
                                 void **ret, char *why, size_t why_size)
{
    struct peer *p = calloc(1, sizeof(*p));
    bool good;

    *ret = NULL;
    if (p == NULL) {
        return AVO_NO_MEMORY;
    }
    p->epoll = epoll_create1(EPOLL_CLOEXEC);
    p->protocol = protocol_of(b->cluster);
    p->in_flight_max = in_flight;
    p->calls_max = 2 * (size_t)in_flight; /* a WAIT for each, at most */
    p->confirmed = calloc(in_flight, sizeof(p->confirmed[0]));
    good = p->epoll >= 0 && p->confirmed != NULL &&
           peer_url_parse(b->cluster, &p->url, p->why, sizeof(p->why));
    if (good && p->protocol == &peer_memcached) {
        for (size_t i = 0; good && i < p->url.servers_n; i++) {
            good = open_lane(p, i, b->timeout_ms);
        }
    } else if (good) {
        good =
            open_lane(p, p->protocol == &peer_etcd ? number % p->url.servers_n : 0, b->timeout_ms);
    }
    if (!good) {
        (void)snprintf(why, why_size, "%s", p->why);
        peer_close(p);
        return AVO_UNAVAILABLE;
    }
    *ret = p;
    return AVO_OK;
}

static enum avo_status peer_look(struct bench *b, char *why, size_t why_size)
{
    struct peer_url url;
    void *handle;
    enum avo_status status;

    if (!peer_url_parse(b->cluster, &url, why, why_size)) {
        return AVO_USAGE;
    }
    b->nodes_n = url.servers_n;
    status = peer_open(b, 0, 1, &handle, why, why_size);
    peer_close(handle);
    return status;
}

static void push(const struct peer *p, struct lane *l, int op, uint64_t user)
{
    l->calls[(l->first + l->n++) % p->calls_max] = (struct call){.user = user, .op = op};
}

static bool add_wait(const struct peer *p, struct lane *l)
{
    char count[24];
    int n = snprintf(count, sizeof(count), "%" PRIu64, p->url.wait);

    if (!peer_buffer_text(peer_stream_out(l->stream),
                          "*3\r\n$4\r\nWAIT\r\n$%d\r\n%s\r\n$1\r\n0\r\n", n, count)) {
        return false;
    }
    push(p, l, CALL_WAIT, 0);
    l->sent_n = 0;
    return true;
}

static enum avo_status peer_submit(void *handle, const struct avo_rmw *op, uint64_t user)
{
    struct peer *p = handle;
    static const uint8_t key[16];
    struct lane *l =
        &p->lanes[p->lanes_n == 1
                      ? 0
                      : siphash(key, (struct bytes){op->key, op->key_len}) % p->lanes_n];
    bool is_put = op->op == AVO_PUT;

    if (p->broken) {
        return AVO_UNAVAILABLE;
    }
    if (!p->protocol->request(peer_stream_out(l->stream), op, p->url.hosts[0])) {
        (void)snprintf(p->why, sizeof(p->why), "this target has no such operation");
        return AVO_USAGE;
    }
    push(p, l, (int)op->op, user);
    if (is_put && p->url.wait > 0 && ++l->sent_n >= p->url.every && !add_wait(p, l)) {
        return AVO_NO_MEMORY;
    }
    return AVO_OK;
}

/* Hands one completion out, or keeps it until WAIT confirms it. True: it was handed out. */
static bool take(struct peer *p, struct lane *l, const struct peer_reply *r,
                 struct avo_completion *to)
{
    struct call call = l->calls[l->first];

    l->first = (l->first + 1) % p->calls_max;
    l->n--;
    if (call.op == CALL_WAIT) {
        p->confirmed_good = r->status == AVO_OK && r->number >= p->url.wait;
        memcpy(p->confirmed, l->held, l->held_n * sizeof(l->held[0]));
        p->confirmed_n = l->held_n;
        l->held_n = 0;
        return false;
    }
    if (call.op == AVO_PUT && p->url.wait > 0 && r->status == AVO_OK) {
        l->held[l->held_n++] = call.user;
        return false;
    }
    *to = (struct avo_completion){.user = call.user,
                                  .op = (enum avo_op)call.op,
                                  .status = r->status,
                                  .value = r->value,
                                  .value_len = r->value_len};
    return true;
}

static size_t hand_confirmed(struct peer *p, struct avo_completion *got, size_t n)
{
    size_t done = 0;

    while (done < n && p->confirmed_n > 0) {
        got[done++] = (struct avo_completion){
            .user = p->confirmed[--p->confirmed_n],
            .op = AVO_PUT,
            .status = p->confirmed_good ? AVO_OK : AVO_UNAVAILABLE,
        };
    }
    return done;
}

static size_t read_lane(struct peer *p, struct lane *l, struct avo_completion *got, size_t n)
{
    struct peer_buffer *in = peer_stream_in(l->stream);
    size_t done = hand_confirmed(p, got, n);

    while (done < n && l->n > 0 && p->confirmed_n == 0) {
        struct peer_reply r;
        int op = l->calls[l->first].op;
        int is = p->protocol->reply(in->p + in->at, in->n - in->at,
                                    op == CALL_WAIT ? AVO_PUT : (enum avo_op)op, &r);

        if (is < 0) {
            p->broken = true;
            (void)snprintf(p->why, sizeof(p->why), "the server's answer is not understood");
        }
        if (is <= 0) {
            return done;
        }
        in->at += r.used;
        done += take(p, l, &r, &got[done]);
        done += hand_confirmed(p, got + done, n - done);
    }
    /* There was no room for more, or a WAIT is to be sent. */
    p->more |= l->n > 0 || p->confirmed_n > 0 || (l->held_n > 0 && l->n == 0);
    return done;
}

/* After the end of a connection everything fails that it owes us. */
static size_t fail_lane(struct peer *p, struct lane *l, struct avo_completion *got, size_t n)
{
    size_t done = 0;

    while (done < n && (l->n > 0 || l->held_n > 0)) {
        struct call call = {.op = AVO_PUT};

        if (l->held_n > 0) {
            call.user = l->held[--l->held_n];
        } else {
            call = l->calls[l->first];
            l->first = (l->first + 1) % p->calls_max;
            l->n--;
        }
        if (call.op != CALL_WAIT) {
            got[done++] = (struct avo_completion){.user = call.user,
                                                  .op = (enum avo_op)call.op,
                                                  .status = call.op == AVO_GET ? AVO_UNAVAILABLE
                                                                               : AVO_INDETERMINATE};
        }
    }
    return done;
}

static void watch(struct peer *p, struct lane *l, bool out)
{
    struct epoll_event event = {.events = EPOLLIN | (out ? EPOLLOUT : 0U), .data.ptr = l};

    if (out != l->wants_out) {
        (void)epoll_ctl(p->epoll, EPOLL_CTL_MOD, peer_stream_fd(l->stream), &event);
        l->wants_out = out;
    }
}

static size_t peer_poll(void *handle, struct avo_completion *got, size_t n)
{
    struct peer *p = handle;
    size_t done = 0;

    p->more = false;
    for (size_t i = 0; i < p->lanes_n; i++) {
        struct lane *l = &p->lanes[i];
        struct peer_moved moved = {0};

        /* The rest of a batch that will not become full: all that were sent are answered. */
        if (l->held_n > 0 && l->n == 0) {
            (void)add_wait(p, l);
        }
        if (!p->broken && !peer_stream_move(l->stream, &moved)) {
            p->broken = true;
            (void)snprintf(p->why, sizeof(p->why), "the server closed the connection");
        }
        done += p->broken ? fail_lane(p, l, got + done, n - done)
                          : read_lane(p, l, got + done, n - done);
        p->more |= moved.more;
        watch(p, l, moved.blocked);
    }
    return done;
}

static int peer_fd(void *handle)
{
    return ((struct peer *)handle)->epoll;
}

static int peer_next_ms(void *handle)
{
    const struct peer *p = handle;

    return p->more ? 0 : -1;
}

static const char *peer_last_error(void *handle)
{
    return ((struct peer *)handle)->why;
}

/* etcd reads HTTP/1.1 requests one by one. memcached 1.6.18 stops for ever when the rest of a TLS
 * record is left in OpenSSL's buffer, which more than one request at a time makes happen. */
#define TARGET(NAME, LOCK_STEP)                                                                    \
    {                                                                                              \
        .name = NAME, .lock_step = LOCK_STEP, .look = peer_look, .open = peer_open,                \
        .submit = peer_submit, .poll = peer_poll, .fd = peer_fd, .next_ms = peer_next_ms,          \
        .last_error = peer_last_error, .close = peer_close,                                        \
    }

const struct bench_target bench_redis = TARGET("redis", false);
const struct bench_target bench_memcached = TARGET("memcached", true);
const struct bench_target bench_etcd = TARGET("etcd", true);
