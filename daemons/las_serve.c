// SPDX-License-Identifier: Apache-2.0
#include "daemons/las_serve.h"

#include "daemons/las_peer.h"
#include "daemons/log.h"
#include "trusted/config/explain.h"
#include "trusted/crypto/ct.h"
#include "trusted/crypto/entropy.h"

#include <event2/event.h>

#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

enum { CONNECTIONS_MAX = 256, IDLE_S = 10, BACKLOG = 128 };

struct connection {
    struct las_serve *s;
    struct event *event;
    int fd;
    bool said_hello;
    struct las_peer peer;
    uint8_t challenge[LAS_CHALLENGE_LEN];
};

struct las_serve {
    struct las_serve_options o;
    struct event_base *base;
    struct event *on_accept;
    int fd;
    bool is_attested;
    unsigned open_n;
    uint8_t target[LAS_TARGET_LEN]; /* SGX: our own TARGETINFO */
};

static void connection_end(struct connection *c)
{
    las_peer_close(&c->peer);
    if (c->event != NULL) {
        event_free(c->event);
    }
    (void)close(c->fd);
    c->s->open_n--;
    free(c);
}

/* ---- requests ---- */

__attribute__((format(printf, 3, 4))) static void refuse(struct las_reply *to, enum err err,
                                                         const char *format, ...)
{
    va_list args;

    va_start(args, format);
    (void)vsnprintf(to->text, sizeof(to->text), format, args);
    va_end(args);
    to->err = err;
    node_log("warning", "refused a process: %s", to->text);
}

static void give_token(struct connection *c, struct las_claim *claim, struct las_reply *to)
{
    const struct las_serve *s = c->s;

    (void)snprintf(claim->las, sizeof(claim->las), "%s", s->o.name);
    claim->kind = s->o.kind;
    claim->issued_s = (uint64_t)time(NULL);
    claim->lifetime_s = LAS_LIFETIME_S;
    entropy_fill(claim->serial, sizeof(claim->serial));
    if (las_token_sign(claim, s->o.key, to->token, &to->token_n) != OK) {
        refuse(to, ERR_IO, "the LAS cannot sign");
    }
}

static void on_hello(struct connection *c, pid_t pid, struct las_reply *to)
{
    struct explain why = {0};

    las_peer_close(&c->peer);
    c->said_hello = false;
    if (c->s->o.kind != ATTEST_SGX) {
        enum err err = las_peer_measure(pid, &c->peer, &why);

        if (err != OK) {
            refuse(to, err, "%s", why.text);
            return;
        }
    }
    entropy_fill(c->challenge, sizeof(c->challenge));
    memcpy(to->challenge, c->challenge, sizeof(to->challenge));
    c->said_hello = true;
}

/* LAS-4: who sends the challenge back runs the file that was measured since before it was made, for
 * it is the same process with the same executable. A program that connects, asks, and then replaces
 * itself by a trusted one does not get that far. */
static void on_measure(struct connection *c, pid_t pid, const struct las_request *m,
                       struct las_reply *to)
{
    struct las_claim claim = {.binding = m->binding};

    if (!c->said_hello || c->s->o.kind == ATTEST_SGX ||
        !ct_equal(m->challenge, c->challenge, sizeof(c->challenge))) {
        refuse(to, ERR_POLICY, "process %d gave no answer to our challenge", (int)pid);
        return;
    }
    c->said_hello = false; /* one challenge, one token */
    if (pid != c->peer.pid || !las_peer_is_same(&c->peer)) {
        refuse(to, ERR_POLICY,
               "process %d is not the one that was measured, or runs another program "
               "by now",
               (int)pid);
        return;
    }
    memcpy(claim.measurement, c->peer.measurement, sizeof(claim.measurement));
    give_token(c, &claim, to);
}

/* LAS-5 */
static void on_report(struct connection *c, const struct las_request *m, struct las_reply *to)
{
    struct las_claim claim = {.binding = m->binding};
    struct las_report report;
    uint8_t data[EVIDENCE_REPORT_DATA_LEN];

    evidence_report_data(&m->binding, data);
    if (c->s->o.kind != ATTEST_SGX ||
        las_report_check(m->report, las_egetkey, NULL, &report) != OK) {
        refuse(to, ERR_AUTH, "the local report is not for this LAS, or not of this processor");
        return;
    }
    if (memcmp(report.report_data, data, sizeof(data)) != 0) {
        refuse(to, ERR_POLICY, "the local report is over other report data");
        return;
    }
    claim.debug = report.debug;
    memcpy(claim.measurement, report.mrenclave, sizeof(claim.measurement));
    give_token(c, &claim, to);
}

static void handle(struct connection *c, pid_t pid, const struct las_request *m,
                   struct las_reply *to)
{
    if (!c->s->is_attested) {
        refuse(to, ERR_UNAVAILABLE, "this LAS is not attested by the CAS yet; try again");
        return;
    }
    switch (m->kind) {
    case LAS_HELLO:
        on_hello(c, pid, to);
        return;
    case LAS_MEASURE:
        on_measure(c, pid, m, to);
        return;
    case LAS_TARGET:
        if (c->s->o.kind != ATTEST_SGX) {
            refuse(to, ERR_USAGE, "this LAS measures executables; it takes no reports");
        }
        memcpy(to->target, c->s->target, sizeof(to->target));
        return;
    case LAS_REPORT:
        on_report(c, m, to);
        return;
    }
}

/* One packet and the process that the kernel says sent it; 0: nothing more. */
static ssize_t receive(int fd, struct mbytes to, pid_t *ret_pid)
{
    union {
        struct cmsghdr head;
        uint8_t room[CMSG_SPACE(sizeof(struct ucred))];
    } control = {0};
    struct iovec v = {.iov_base = to.p, .iov_len = to.n};
    struct msghdr m = {.msg_iov = &v,
                       .msg_iovlen = 1,
                       .msg_control = control.room,
                       .msg_controllen = sizeof(control.room)};
    ssize_t n = recvmsg(fd, &m, MSG_CMSG_CLOEXEC);
    const struct cmsghdr *h = n <= 0 ? NULL : CMSG_FIRSTHDR(&m);
    struct ucred who;

    *ret_pid = 0;
    if (h != NULL && h->cmsg_level == SOL_SOCKET && h->cmsg_type == SCM_CREDENTIALS &&
        (m.msg_flags & (MSG_TRUNC | MSG_CTRUNC)) == 0) {
        memcpy(&who, CMSG_DATA(h), sizeof(who));
        *ret_pid = who.pid;
    }
    return n;
}

static void on_readable(evutil_socket_t fd, short what, void *arg)
{
    struct connection *c = arg;
    uint8_t in[LAS_REQUEST_MAX], out[LAS_REPLY_MAX];
    struct las_request m;
    struct las_reply reply = {0};
    pid_t pid = 0;
    ssize_t n = (what & EV_TIMEOUT) != 0 ? 0 : receive(fd, (struct mbytes){in, sizeof(in)}, &pid);
    size_t out_n;

    if (n < 0 && (errno == EAGAIN || errno == EINTR)) {
        return;
    }
    if (n <= 0 || pid <= 0 || las_request_read((struct bytes){in, (size_t)n}, &m) != OK) {
        connection_end(c);
        return;
    }
    handle(c, pid, &m, &reply);
    out_n = las_reply_write(&reply, m.kind, (struct mbytes){out, sizeof(out)});
    if (send(fd, out, out_n, MSG_NOSIGNAL | MSG_DONTWAIT) != (ssize_t)out_n) {
        connection_end(c);
    }
}

static void on_accept(evutil_socket_t fd, short what, void *arg)
{
    const struct timeval idle = {.tv_sec = IDLE_S};
    struct las_serve *s = arg;
    int one = 1, accepted = accept4(fd, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);
    struct connection *c = NULL;

    (void)what;
    if (accepted < 0) {
        return;
    }
    c = s->open_n < CONNECTIONS_MAX ? calloc(1, sizeof(*c)) : NULL;
    if (c == NULL || setsockopt(accepted, SOL_SOCKET, SO_PASSCRED, &one, sizeof(one)) != 0) {
        free(c);
        (void)close(accepted);
        return;
    }
    *c = (struct connection){.s = s, .fd = accepted, .peer = {.pidfd = -1}};
    s->open_n++;
    c->event = event_new(s->base, accepted, EV_READ | EV_PERSIST, on_readable, c);
    if (c->event == NULL || event_add(c->event, &idle) != 0) {
        connection_end(c);
    }
}

/* ---- life ---- */

static enum err listen_at(const char *path, int *ret, struct explain *why)
{
    struct sockaddr_un a = {.sun_family = AF_UNIX};
    int fd = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC | SOCK_NONBLOCK, 0), one = 1;

    if (strlen(path) >= sizeof(a.sun_path) || fd < 0) {
        explain(why, "%s: the path of a socket has at most %zu bytes", path,
                sizeof(a.sun_path) - 1);
        if (fd >= 0) {
            (void)close(fd);
        }
        return ERR_USAGE;
    }
    memcpy(a.sun_path, path, strlen(path) + 1);
    if (connect(fd, (const struct sockaddr *)&a, sizeof(a)) == 0) {
        explain(why, "another LAS serves at %s", path);
        (void)close(fd);
        return ERR_UNAVAILABLE;
    }
    (void)unlink(path);
    /* SO_PASSCRED before anybody connects: every packet then carries its sender. */
    if (setsockopt(fd, SOL_SOCKET, SO_PASSCRED, &one, sizeof(one)) != 0 ||
        bind(fd, (const struct sockaddr *)&a, sizeof(a)) != 0 || listen(fd, BACKLOG) != 0) {
        explain(why, "cannot listen at %s: %s", path, strerror(errno));
        (void)close(fd);
        return ERR_UNAVAILABLE;
    }
    *ret = fd;
    return OK;
}

static enum err read_target(const struct las_serve_options *o, uint8_t to[static LAS_TARGET_LEN],
                            struct explain *why)
{
    char path[EVIDENCE_PATH_MAX + 32];
    int fd;
    ssize_t n;

    (void)snprintf(path, sizeof(path), "%s/my_target_info", o->gramine);
    fd = open(path, O_RDONLY | O_CLOEXEC);
    n = fd < 0 ? -1 : read(fd, to, LAS_TARGET_LEN);
    if (fd >= 0) {
        (void)close(fd);
    }
    if (n != LAS_TARGET_LEN) {
        explain(why, "%s cannot be read: a LAS of kind sgx runs under gramine-sgx", path);
        return ERR_UNAVAILABLE;
    }
    return OK;
}

RESULT las_serve_start(const struct las_serve_options *o, struct event_base *base,
                       struct las_serve **ret, struct explain *why)
{
    struct las_serve *s = calloc(1, sizeof(*s));
    enum err err = s == NULL ? ERR_UNAVAILABLE : OK;

    if (s == NULL) {
        explain(why, "out of memory");
        return err;
    }
    *s = (struct las_serve){.o = *o, .base = base, .fd = -1};
    if (o->kind == ATTEST_SGX) {
        err = read_target(o, s->target, why);
    }
    if (err == OK) {
        err = listen_at(o->socket, &s->fd, why);
    }
    if (err == OK) {
        s->on_accept = event_new(base, s->fd, EV_READ | EV_PERSIST, on_accept, s);
        if (s->on_accept == NULL || event_add(s->on_accept, NULL) != 0) {
            explain(why, "out of memory");
            err = ERR_UNAVAILABLE;
        }
    }
    if (err != OK) {
        las_serve_stop(s);
        return err;
    }
    *ret = s;
    return OK;
}

void las_serve_set_attested(struct las_serve *s, bool is_attested)
{
    s->is_attested = is_attested;
}

void las_serve_stop(struct las_serve *s)
{
    if (s == NULL) {
        return;
    }
    if (s->on_accept != NULL) {
        event_free(s->on_accept);
    }
    if (s->fd >= 0) {
        (void)unlink(s->o.socket);
        (void)close(s->fd);
    }
    free(s);
}
