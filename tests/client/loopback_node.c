// SPDX-License-Identifier: Apache-2.0
#include "tests/client/loopback_internal.h"
#include "trusted/wire/client_wire.h"

#include <arpa/inet.h>
#include <errno.h>
#include <poll.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

static uint64_t now_ns(void)
{
    struct timespec t;

    (void)clock_gettime(CLOCK_MONOTONIC, &t);
    return (uint64_t)t.tv_sec * 1000000000U + (uint64_t)t.tv_nsec;
}

/* ---- the table ---- */

static struct value *find(struct loopback *l, struct bytes key)
{
    for (uint32_t i = 0; i < l->values_n; i++) {
        if (bytes_equal((struct bytes){l->values[i].key, l->values[i].key_len}, key)) {
            return &l->values[i];
        }
    }
    CHECK(l->values_n < VALUES);
    memcpy(l->values[l->values_n].key, key.p, key.n);
    l->values[l->values_n].key_len = key.n;
    return &l->values[l->values_n++];
}

static struct client_response execute(struct loopback *l, const struct client_request *q)
{
    struct value *v = find(l, q->key);

    if (q->op == CLIENT_GET && !v->present) {
        return (struct client_response){.status = ERR_NOT_FOUND};
    }
    if (q->op != CLIENT_GET) {
        free(v->value);
        v->value = NULL;
        v->value_len = q->value.n;
        v->present = q->op == CLIENT_PUT;
        v->ts = ++l->ts;
        if (q->value.n > 0) {
            v->value = malloc(q->value.n);
            CHECK(v->value != NULL);
            memcpy(v->value, q->value.p, q->value.n);
        }
    }
    return (struct client_response){
        .status = OK,
        .tag = {.ts = v->ts, .writer = 9},
        .value = {.p = v->value, .n = q->op == CLIENT_GET ? v->value_len : 0}};
}

static void on_request(struct node *n, struct shard *s, const struct rpc_event *e)
{
    struct client_request q;
    struct client_response m = {.status = ERR_MALFORMED};
    struct mbytes room;

    /* Of several keys at once these nodes know nothing: gets come back one by one (CLI-19). */
    if (client_request_decode(e->body, &q) == OK && !client_op_is_batch(q.op)) {
        m = execute(n->l, &q);
    }
    if (rpc_reply_begin(s->rpc, e->request, CLIENT_RESPONSE_HEAD_LEN + m.value.n, &room) != OK) {
        return;
    }
    client_response_encode_head(&m, room.p);
    if (m.value.n > 0) {
        memcpy(room.p + CLIENT_RESPONSE_HEAD_LEN, m.value.p, m.value.n);
    }
    rpc_reply_send(s->rpc, e->request, CLIENT_RESPONSE_HEAD_LEN + m.value.n);
}

/* ---- datagrams ---- */

static void serve_shard(struct node *n, struct shard *s)
{
    uint8_t packet[DATAGRAM_MAX];
    struct sockaddr_in from = {0};
    socklen_t from_len = sizeof(from);
    struct abi_addr addr = {.family = 4};
    struct rpc_event e;
    ssize_t got;
    size_t len;

    while ((got = recvfrom(s->udp, packet, sizeof(packet), MSG_DONTWAIT, (struct sockaddr *)&from,
                           &from_len)) >= 0) {
        enum err err;

        addr.port = ntohs(from.sin_port);
        memcpy(addr.ip, &from.sin_addr, 4);
        err = rpc_receive(s->rpc, now_ns(), (struct bytes){packet, (size_t)got}, addr);
        (void)err; /* counted below us */
        while (rpc_next(s->rpc, &e)) {
            if (e.kind == RPC_EVENT_REQUEST) {
                on_request(n, s, &e);
            }
        }
        from_len = sizeof(from);
    }
    if (rpc_deadline(s->rpc) <= now_ns()) {
        rpc_tick(s->rpc, now_ns());
        while (rpc_next(s->rpc, &e)) {
        }
    }
    while (rpc_transmit(s->rpc, now_ns(), (struct mbytes){packet, sizeof(packet)}, &addr, &len)) {
        struct sockaddr_in to = {.sin_family = AF_INET, .sin_port = htons(addr.port)};

        memcpy(&to.sin_addr, addr.ip, 4);
        (void)sendto(s->udp, packet, len, 0, (const struct sockaddr *)&to, sizeof(to));
    }
}

/* ---- streams ---- */

static struct stream *stream_of(struct node *n, uint32_t id)
{
    for (unsigned i = 0; i < STREAMS; i++) {
        if (n->streams[i].fd >= 0 && n->streams[i].id == id) {
            return &n->streams[i];
        }
    }
    return NULL;
}

static void send_all(int fd, struct bytes b)
{
    while (b.n > 0) {
        ssize_t sent = send(fd, b.p, b.n, MSG_NOSIGNAL);

        if (sent < 0) {
            return; /* the next read says that it is gone */
        }
        b.p += sent;
        b.n -= (size_t)sent;
    }
}

static void act(struct node *n, struct control_action *a)
{
    static const char report[] = "{\"state\":\"test\"}";
    struct stream *s = stream_of(n, a->stream);

    switch (a->kind) {
    case CONTROL_ACT_WRITE:
        if (s != NULL) {
            send_all(s->fd, a->bytes);
        }
        return;
    case CONTROL_ACT_CLOSE:
        if (s != NULL) {
            (void)close(s->fd);
            s->fd = -1;
        }
        return;
    case CONTROL_ACT_DIAL:
        control_dial_failed(n->control, now_ns(), a->member);
        return;
    case CONTROL_ACT_SESSION_OPEN:
        CHECK(rpc_session_open(n->shards[a->shard].rpc, now_ns(), &a->params) == OK);
        secret_wipe(&a->params.send);
        secret_wipe(&a->params.recv);
        return;
    case CONTROL_ACT_SESSION_CLOSE:
        rpc_session_close(n->shards[a->shard].rpc, a->index, true);
        return;
    case CONTROL_ACT_REPORT:
        control_report(n->control, a->stream,
                       (struct bytes){(const uint8_t *)report, sizeof(report) - 1});
        return;
    case CONTROL_ACT_RECONFIGURE:
    case CONTROL_ACT_FENCED:
    case CONTROL_ACT_LOG:
    default:
        return;
    }
}

static void act_all(struct node *n)
{
    struct control_action a;

    while (control_next(n->control, &a)) {
        act(n, &a);
    }
}

static void accept_all(struct node *n)
{
    int fd;

    while ((fd = accept4(n->listener, NULL, NULL, SOCK_CLOEXEC)) >= 0) {
        struct stream *s = NULL;

        for (unsigned i = 0; i < STREAMS && s == NULL; i++) {
            s = n->streams[i].fd < 0 ? &n->streams[i] : NULL;
        }
        if (s == NULL || control_accepted(n->control, now_ns(), &s->id) != OK) {
            (void)close(fd);
            continue;
        }
        s->fd = fd;
        act_all(n);
    }
}

static void read_streams(struct node *n)
{
    uint8_t in[16384];

    for (unsigned i = 0; i < STREAMS; i++) {
        struct stream *s = &n->streams[i];
        ssize_t got = 0;

        while (s->fd >= 0 && (got = recv(s->fd, in, sizeof(in), MSG_DONTWAIT)) > 0) {
            control_received(n->control, now_ns(), s->id, (struct bytes){in, (size_t)got});
            act_all(n);
        }
        if (s->fd >= 0 && (got == 0 || (errno != EAGAIN && errno != EINTR))) {
            (void)close(s->fd);
            s->fd = -1;
            control_closed(n->control, now_ns(), s->id);
            act_all(n);
        }
    }
}

/* ---- nodes ---- */

static struct sockaddr_in local(uint16_t port)
{
    struct sockaddr_in a = {.sin_family = AF_INET, .sin_port = htons(port)};

    a.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    return a;
}

int loopback_bind(int type, uint16_t port, uint16_t *ret_port)
{
    static const int on = 1;
    struct sockaddr_in a = local(port);
    socklen_t n = sizeof(a);
    int fd = socket(AF_INET, type | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);

    CHECK(fd >= 0);
    (void)setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on));
    if (bind(fd, (const struct sockaddr *)&a, sizeof(a)) != 0 ||
        (type == SOCK_STREAM && listen(fd, STREAMS) != 0) ||
        getsockname(fd, (struct sockaddr *)&a, &n) != 0) {
        (void)close(fd);
        return -1;
    }
    if (ret_port != NULL) {
        *ret_port = ntohs(a.sin_port);
    }
    return fd;
}

static void start_shard(struct node *n, uint32_t i)
{
    struct shard *s = &n->shards[i];
    struct rpc_config k = {
        .sessions_max = 64,
        .datagram_bytes = n->l->cluster.datagram_bytes,
        .message_max = VALUE_MAX_DEFAULT + KEY_MAX + MESSAGE_HEAD_MAX,
        .seed = i,
    };

    s->region = mmap(NULL, REGION, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    CHECK(s->region != MAP_FAILED);
    CHECK(heap_init(s->region, REGION, &s->heap) == OK);
    s->aead = aead_open_impl(aead_best());
    k.heap = s->heap;
    k.aead = s->aead;
    CHECK(rpc_init(&k, &s->rpc) == OK);
}

static void start(struct node *n)
{
    const struct cluster_member *m = &n->l->cluster.members[n->place];
    struct control_config k = {
        .cluster = &n->l->cluster,
        .config = {(const uint8_t *)n->l->config, strlen(n->l->config)},
        .config_sig = {n->l->sig, n->l->sig_n},
        .ca_pem = {(const uint8_t *)n->l->ca.cert_pem, strlen(n->l->ca.cert_pem)},
        .identity = n->identity,
        .boot = {(uint8_t)(n->place + 1), 1},
        .handshake_timeout_ns = UINT64_C(5000000000),
        .redial_ns = UINT64_C(1000000000),
    };
    struct explain why;

    CHECK(control_init(&k, &n->control, &why) == OK);
    for (uint32_t i = 0; i < LOOPBACK_SHARDS; i++) {
        if (n->shards[i].udp < 0) {
            n->shards[i].udp = loopback_bind(SOCK_DGRAM, (uint16_t)(m->data_port + i), NULL);
        }
        CHECK(n->shards[i].udp >= 0);
        start_shard(n, i);
    }
    if (n->listener < 0) {
        n->listener = loopback_bind(SOCK_STREAM, m->control_port, NULL);
    }
    CHECK(n->listener >= 0);
    n->up = true;
}

void loopback_stop(struct node *n)
{
    (void)close(n->listener);
    n->listener = -1;
    for (unsigned i = 0; i < STREAMS; i++) {
        if (n->streams[i].fd >= 0) {
            (void)close(n->streams[i].fd);
            n->streams[i].fd = -1;
        }
    }
    control_fini(n->control);
    for (uint32_t i = 0; i < LOOPBACK_SHARDS; i++) {
        struct shard *s = &n->shards[i];

        (void)close(s->udp);
        s->udp = -1;
        rpc_fini(s->rpc);
        aead_close_impl(s->aead);
        (void)munmap(s->region, REGION);
    }
    n->up = false;
}

static void serve(struct node *n)
{
    bool want = atomic_load(&n->want_up);

    if (want != n->up) {
        if (want) {
            start(n);
        } else {
            loopback_stop(n);
        }
        atomic_store(&n->is_up, want);
    }
    if (!n->up) {
        return;
    }
    accept_all(n);
    read_streams(n);
    if (control_deadline(n->control) <= now_ns()) {
        control_tick(n->control, now_ns());
        act_all(n);
    }
    for (uint32_t i = 0; i < LOOPBACK_SHARDS; i++) {
        serve_shard(n, &n->shards[i]);
    }
}

static void wait_for_news(struct loopback *l)
{
    struct pollfd fds[LOOPBACK_NODES * (1 + STREAMS + LOOPBACK_SHARDS)];
    nfds_t n = 0;

    for (uint32_t i = 0; i < LOOPBACK_NODES; i++) {
        struct node *node = &l->nodes[i];

        if (!node->up) {
            continue;
        }
        fds[n++] = (struct pollfd){.fd = node->listener, .events = POLLIN};
        for (unsigned k = 0; k < STREAMS; k++) {
            fds[n++] = (struct pollfd){.fd = node->streams[k].fd, .events = POLLIN};
        }
        for (unsigned k = 0; k < LOOPBACK_SHARDS; k++) {
            fds[n++] = (struct pollfd){.fd = node->shards[k].udp, .events = POLLIN};
        }
    }
    (void)poll(fds, n, 2);
}

void *loopback_run(void *arg)
{
    struct loopback *l = arg;

    while (!atomic_load(&l->stop)) {
        for (uint32_t i = 0; i < LOOPBACK_NODES; i++) {
            serve(&l->nodes[i]);
        }
        wait_for_news(l);
    }
    return NULL;
}
