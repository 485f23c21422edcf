// SPDX-License-Identifier: Apache-2.0
#include "tools/supervisor.h"

#include "tools/cli.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

enum {
    RETRY_MS = 50,
    ASK_SOON_MS = 15, /* while something changes */
    ASK_MS = 1000,
};

void supervisor_link_close(struct supervised *m)
{
    struct supervisor_link *l = &m->link;

    dialer_close(l->dialer);
    if (l->fd >= 0) {
        (void)close(l->fd);
    }
    *l = (struct supervisor_link){.fd = -1};
}

static void retry(struct supervisor *s, struct supervised *m)
{
    supervisor_link_close(m);
    m->link.retry_at_ms = s->now_ms + RETRY_MS;
    node_report_free(&m->report);
    m->report = (struct node_report){0};
}

static bool connect_to(struct supervisor_link *l, const struct cluster_member *c)
{
    struct sockaddr_in v4 = {.sin_family = AF_INET, .sin_port = htons(c->control_port)};
    struct sockaddr_in6 v6 = {.sin6_family = AF_INET6, .sin6_port = htons(c->control_port)};
    bool is_v6 = strchr(c->address, ':') != NULL;
    static const int on = 1;
    int done;

    if (inet_pton(is_v6 ? AF_INET6 : AF_INET, c->address,
                  is_v6 ? (void *)&v6.sin6_addr : (void *)&v4.sin_addr) != 1) {
        return false;
    }
    l->fd = socket(is_v6 ? AF_INET6 : AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (l->fd < 0) {
        return false;
    }
    (void)setsockopt(l->fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on));
    done = is_v6 ? connect(l->fd, (const struct sockaddr *)&v6, sizeof(v6))
                 : connect(l->fd, (const struct sockaddr *)&v4, sizeof(v4));
    return done == 0 || errno == EINPROGRESS;
}

static void dial(struct supervisor *s, struct supervised *m, const struct cluster_member *c)
{
    struct dialer_config k = {
        .self = s->owner,
        .node = m->node,
        .peer_incarnation = m->incarnation,
        .role = ROLE_CLIENT,
        .shards_n = SHARDS_MAX,
    };

    memcpy(k.cluster, s->cas.cluster.id, sizeof(k.cluster));
    memcpy(k.boot, s->boot, sizeof(k.boot));
    for (uint32_t i = 0; i < SHARDS_MAX; i++) {
        k.index[i] = i + 1; /* no datagram is ever sent */
    }
    if (!connect_to(&m->link, c) || dialer_open(&k, &m->link.dialer) != OK) {
        retry(s, m);
        return;
    }
    m->link.connecting = true;
}

/* False: broken. */
static bool push(struct supervisor_link *l)
{
    for (;;) {
        ssize_t sent;

        if (l->out_at == l->out_n) {
            l->out_at = 0;
            l->out_n = dialer_output(l->dialer, (struct mbytes){l->out, sizeof(l->out)});
            if (l->out_n == 0) {
                return true;
            }
        }
        sent = send(l->fd, l->out + l->out_at, l->out_n - l->out_at, MSG_NOSIGNAL | MSG_DONTWAIT);
        if (sent >= 0) {
            l->out_at += (size_t)sent;
        } else if (errno == EAGAIN) {
            return true;
        } else if (errno != EINTR) {
            return false;
        }
    }
}

static bool pull(struct supervisor_link *l)
{
    uint8_t in[16384];
    struct explain why;

    for (;;) {
        ssize_t got = recv(l->fd, in, sizeof(in), MSG_DONTWAIT);

        if (got > 0) {
            if (dialer_input(l->dialer, (struct bytes){in, (size_t)got}, &why) != OK) {
                return false;
            }
        } else if (got < 0 && errno == EAGAIN) {
            return true;
        } else if (got == 0 || errno != EINTR) {
            return false;
        }
    }
}

static void take_report(struct supervisor *s, struct supervised *m)
{
    size_t n = 0;
    const char *text = dialer_report(m->link.dialer, &n);
    struct node_report r;

    if (text != NULL) {
        m->link.asked = false;
        if (node_report_parse(text, &r)) {
            if (r.installed != m->report.installed || r.groups_copied != m->report.groups_copied) {
                s->cas.ask_at_ms = 0; /* it has told the CAS, too */
            }
            node_report_free(&m->report);
            m->report = r;
            m->heard_at_ms = s->now_ms;
        }
    }
}

/* Hands out what is newer than what the member has, and asks how far it is. */
static void speak(struct supervisor *s, struct supervised *m, bool urgent)
{
    struct supervisor_link *l = &m->link;
    const struct supervisor_cas *k = &s->cas;

    if (dialer_welcome(l->dialer)->epoch < k->cluster.epoch && l->told < k->cluster.epoch) {
        l->told = k->cluster.epoch;
        l->ask_at_ms = 0;
        (void)!dialer_send_config(l->dialer, k->config.text,
                                  k->config.sig); /* a broken connection shows itself */
    }
    if (urgent && l->ask_at_ms > s->now_ms + ASK_SOON_MS) {
        l->ask_at_ms = s->now_ms;
    }
    if (!l->asked && s->now_ms >= l->ask_at_ms) {
        l->asked = dialer_ask_report(l->dialer) == OK;
        l->ask_at_ms = s->now_ms + (urgent ? ASK_SOON_MS : ASK_MS);
    }
}

void supervisor_link_step(struct supervisor *s, struct supervised *m, bool ready, bool urgent)
{
    struct supervisor_link *l = &m->link;
    int place = supervisor_place(s, m);

    if (l->fd < 0) {
        if (place >= 0 && s->owner != NULL && s->now_ms >= l->retry_at_ms &&
            m->process.state == NODE_ALIVE) {
            dial(s, m, &s->cas.cluster.members[place]);
        }
        return;
    }
    if (ready && l->connecting) {
        int error = 0;
        socklen_t n = sizeof(error);

        l->connecting = false;
        if (getsockopt(l->fd, SOL_SOCKET, SO_ERROR, &error, &n) != 0 || error != 0) {
            retry(s, m);
            return;
        }
    }
    if (l->connecting) {
        return;
    }
    if (ready && !pull(l)) {
        retry(s, m);
        return;
    }
    if (dialer_ready(l->dialer)) {
        take_report(s, m);
        speak(s, m, urgent);
    }
    if (!push(l)) {
        retry(s, m);
    }
}

short supervisor_link_events(const struct supervised *m)
{
    const struct supervisor_link *l = &m->link;

    return (short)(POLLIN | (l->connecting || l->out_at < l->out_n ? POLLOUT : 0));
}
