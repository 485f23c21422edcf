// SPDX-License-Identifier: Apache-2.0
#include "client/link.h"

#include "trusted/config/explain.h"

#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

static const uint64_t MS = UINT64_C(1000000);

enum {
    PATIENCE_MS = 5000, /* to connect and shake hands */
    PAUSE_MIN_MS = 50,
    PAUSE_DOUBLINGS = 6, /* up to 3.2 s */
    PULL_ROUNDS = 16,
    SILENCE_MS = 10000, /* of a standing connection whose bytes nobody acknowledges */
};

void link_init(struct link *l, uint32_t place)
{
    *l = (struct link){.place = place, .fd = -1};
}

void link_fini(struct link *l)
{
    dialer_close(l->dialer);
    if (l->fd >= 0) {
        (void)close(l->fd);
    }
    l->dialer = NULL;
    l->fd = -1;
}

static const struct profile_member *member_of(const struct link *l, const struct link_env *env)
{
    return &env->profile->members[l->place];
}

/* CLI-12: 50 ms at first, doubling up to 3.2 s, half of it drawn. */
static void rest(struct link *l, struct link_env *env, uint64_t now_ns)
{
    uint32_t doublings = l->failures < PAUSE_DOUBLINGS ? l->failures : PAUSE_DOUBLINGS;
    uint64_t full = (PAUSE_MIN_MS * MS) << doublings;

    link_fini(l);
    l->state = LINK_RESTING;
    l->wants_report = false;
    l->wants_out = false;
    l->out_n = 0;
    l->out_at = 0;
    l->wake_at_ns = now_ns + full / 2 + prng_below(&env->prng, full / 2 + 1);
    if (l->failures < UINT32_MAX) {
        l->failures++;
    }
}

/* Notes why and closes. */
static enum link_news fail(struct link *l, struct link_env *env, uint64_t now_ns, enum err err,
                           const char *why)
{
    const struct profile_member *m = member_of(l, env);
    enum link_news news = l->state == LINK_STANDING ? LINK_DOWN : LINK_NOTHING;

    l->err = err;
    explain(&l->why, "node %u at %s port %u: %s", m->node, m->address, m->control_port, why);
    rest(l, env, now_ns);
    return news;
}

static void watch(const struct link *l, const struct link_env *env, int op, bool out)
{
    struct epoll_event e = {.events = EPOLLIN | (out ? EPOLLOUT : 0U), .data.u32 = l->place};

    /* Cannot fail but for memory; then the deadline of the state ends it. */
    (void)epoll_ctl(env->epoll, op, l->fd, &e);
}

static void tune(int fd)
{
    static const int on = 1, idle_s = 5, interval_s = 2, probes = 3;
    static const unsigned silence_ms = SILENCE_MS;

    (void)setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on));
    (void)setsockopt(fd, SOL_SOCKET, SO_KEEPALIVE, &on, sizeof(on));
    (void)setsockopt(fd, IPPROTO_TCP, TCP_KEEPIDLE, &idle_s, sizeof(idle_s));
    (void)setsockopt(fd, IPPROTO_TCP, TCP_KEEPINTVL, &interval_s, sizeof(interval_s));
    (void)setsockopt(fd, IPPROTO_TCP, TCP_KEEPCNT, &probes, sizeof(probes));
    (void)setsockopt(fd, IPPROTO_TCP, TCP_USER_TIMEOUT, &silence_ms, sizeof(silence_ms));
}

static int connect_to(int fd, const struct profile_member *m)
{
    struct sockaddr_in v4 = {.sin_family = AF_INET, .sin_port = htons(m->control_port)};
    struct sockaddr_in6 v6 = {.sin6_family = AF_INET6, .sin6_port = htons(m->control_port)};

    if (m->host.family == 4) {
        memcpy(&v4.sin_addr, m->host.ip, 4);
        return connect(fd, (const struct sockaddr *)&v4, sizeof(v4));
    }
    memcpy(&v6.sin6_addr, m->host.ip, 16);
    return connect(fd, (const struct sockaddr *)&v6, sizeof(v6));
}

static enum link_news dial(struct link *l, struct link_env *env, uint64_t now_ns)
{
    const struct profile_member *m = member_of(l, env);

    l->fd = socket(m->host.family == 4 ? AF_INET : AF_INET6,
                   SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (l->fd < 0) {
        return fail(l, env, now_ns, ERR_IO, strerror(errno));
    }
    tune(l->fd);
    if (connect_to(l->fd, m) != 0 && errno != EINPROGRESS) {
        return fail(l, env, now_ns, ERR_IO, strerror(errno));
    }
    l->state = LINK_CONNECTING;
    l->wants_out = true;
    l->wake_at_ns = now_ns + PATIENCE_MS * MS;
    watch(l, env, EPOLL_CTL_ADD, true);
    return LINK_NOTHING;
}

static enum err open_dialer(struct link *l, const struct link_env *env)
{
    struct dialer_config k = {
        .self = env->identity,
        .node = member_of(l, env)->node,
        .role = ROLE_CLIENT,
        .shards_n = SHARDS_MAX,
        .now_s = (uint64_t)time(NULL),
    };

    memcpy(k.cluster, env->profile->cluster, sizeof(k.cluster));
    memcpy(k.boot, env->boot, sizeof(k.boot));
    l->generation++;
    l->identity = env->identity_serial;
    for (uint32_t shard = 0; shard < SHARDS_MAX; shard++) {
        k.index[shard] = core_index(l->place, shard, l->generation);
    }
    return dialer_open(&k, &l->dialer);
}

/* Sends what TLS has to say. False: the connection is broken, errno says why. */
static bool push(struct link *l, const struct link_env *env)
{
    for (;;) {
        ssize_t sent;

        if (l->out_at == l->out_n) {
            l->out_at = 0;
            l->out_n = dialer_output(l->dialer, (struct mbytes){l->out, sizeof(l->out)});
            if (l->out_n == 0) {
                break;
            }
        }
        sent = send(l->fd, l->out + l->out_at, l->out_n - l->out_at, MSG_NOSIGNAL | MSG_DONTWAIT);
        if (sent >= 0) {
            l->out_at += (size_t)sent;
        } else if (errno == EAGAIN) {
            break;
        } else if (errno != EINTR) {
            return false;
        }
    }
    if ((l->out_at < l->out_n) != l->wants_out) {
        l->wants_out = !l->wants_out;
        watch(l, env, EPOLL_CTL_MOD, l->wants_out);
    }
    return true;
}

void link_leave(struct link *l, const struct link_env *env, enum err err, const char *why)
{
    if (l->state == LINK_STANDING) {
        dialer_bye(l->dialer, err, why);
        (void)push(l, env); /* a word more than closing; it may be lost */
    }
}

void link_drop(struct link *l, struct link_env *env, uint64_t now_ns, enum err err, const char *why)
{
    link_leave(l, env, err, why);
    (void)fail(l, env, now_ns, err, why);
}

static const char *end_text(const struct link *l, ssize_t got)
{
    if (got < 0) {
        return strerror(errno);
    }
    return l->state == LINK_STANDING
               ? "the node closed the connection"
               : "the node closed the connection during the handshake; its log says why";
}

/* Takes what came; what is more than a few rounds waits for the next step, so that nobody can keep
 * us here. False: over; *ret_err and *why say how. */
static bool pull(struct link *l, const struct link_env *env, enum err *ret_err, struct explain *why)
{
    uint8_t in[16384];

    for (int round = 0; round < PULL_ROUNDS; round++) {
        ssize_t got = recv(l->fd, in, sizeof(in), MSG_DONTWAIT);

        if (got > 0) {
            *ret_err = dialer_input(l->dialer, (struct bytes){.p = in, .n = (size_t)got}, why);
            if (*ret_err != OK) {
                (void)push(l, env); /* an alert, so that the node's log can say why */
                return false;
            }
        } else if (got < 0 && errno == EAGAIN) {
            return true;
        } else if (got == 0 || errno != EINTR) {
            *ret_err = got == 0 ? ERR_CLOSED : ERR_IO;
            explain(why, "%s", end_text(l, got));
            return false;
        }
    }
    return true;
}

static enum link_news exchange(struct link *l, struct link_env *env, uint64_t now_ns)
{
    struct explain why = {0};
    enum err err = OK;

    if (!pull(l, env, &err, &why)) {
        return fail(l, env, now_ns, err, why.text[0] == '\0' ? err_text(err) : why.text);
    }
    if (!push(l, env)) {
        return fail(l, env, now_ns, ERR_IO, strerror(errno));
    }
    if (l->state == LINK_SHAKING && dialer_ready(l->dialer)) {
        l->state = LINK_STANDING;
        l->wake_at_ns = UINT64_MAX;
        l->failures = 0;
        return LINK_UP;
    }
    return LINK_NOTHING;
}

static enum link_news connected(struct link *l, struct link_env *env, uint64_t now_ns)
{
    int error = 0;
    socklen_t n = sizeof(error);

    if (getsockopt(l->fd, SOL_SOCKET, SO_ERROR, &error, &n) != 0) {
        error = errno;
    }
    if (error != 0) {
        return fail(l, env, now_ns, ERR_IO, strerror(error));
    }
    if (open_dialer(l, env) != OK) {
        return fail(l, env, now_ns, ERR_IO, "out of memory for a TLS connection");
    }
    l->state = LINK_SHAKING;
    return exchange(l, env, now_ns);
}

enum link_news link_step(struct link *l, struct link_env *env, uint64_t now_ns, bool ready)
{
    if (l->state == LINK_RESTING) {
        return now_ns >= l->wake_at_ns ? dial(l, env, now_ns) : LINK_NOTHING;
    }
    if (ready) {
        return l->state == LINK_CONNECTING ? connected(l, env, now_ns) : exchange(l, env, now_ns);
    }
    if (now_ns >= l->wake_at_ns) {
        return fail(l, env, now_ns, ERR_TIMEOUT,
                    l->state == LINK_CONNECTING ? "no answer to a connection attempt"
                                                : "no answer in the handshake");
    }
    return LINK_NOTHING;
}

RESULT link_ask_report(struct link *l, struct link_env *env, uint64_t now_ns)
{
    if (l->state != LINK_STANDING) {
        return ERR_CLOSED;
    }
    TRY(dialer_ask_report(l->dialer));
    l->wants_report = true;
    if (!push(l, env)) {
        /* The next step meets the broken connection and reports it. */
        l->wake_at_ns = now_ns;
    }
    return OK;
}

const char *link_report(struct link *l, size_t *ret_n)
{
    const char *text;

    if (l->state != LINK_STANDING || !l->wants_report) {
        return NULL;
    }
    text = dialer_report(l->dialer, ret_n);
    if (text != NULL) {
        l->wants_report = false;
    }
    return text;
}
