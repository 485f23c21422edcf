// SPDX-License-Identifier: Apache-2.0
/* Streams for the control machine: libevent or the rings move bytes, the machine decides. */
#include "daemons/alarms.h"
#include "daemons/leave.h"
#include "daemons/news.h"
#include "host/net/addr.h"
#include "host/net/streamio.h"
#include "host/run/clock.h"
#include "trusted/crypto/entropy.h"
#include "trusted/port/port.h"

#include <errno.h>
#include <event2/event.h>
#include <inttypes.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

struct server;

struct stream {
    struct stream *next;
    struct server *server;
    struct streamio_conn *conn;
    uint32_t id;
    uint8_t member; /* while dialing */
    bool dialing;
    bool is_cas; /* the bridge's, and not among the others */
};

struct report_wait {
    struct report_wait *next;
    uint32_t stream;
};

struct server {
    struct node *node;
    struct control *control;
    struct event_base *base;
    struct streamio *io;
    struct event *timer, *notify, *term, *interrupt;
    struct event *host; /* split mode: avocado-hostd has ended */
    bool is_host_gone;
    struct event *news;       /* of the renewal */
    struct stream to_cas;     /* split mode */
    struct identity *renewed; /* in use instead of the one that we started with */
    struct stream *streams;
    struct report_wait *asked;    /* wait for the next round of reports */
    struct report_wait *waiting;  /* wait for the round under way */
    uint32_t reports_missing;     /* shards that have not answered this round */
    bool is_round;                /* of reports */
    struct event *look, *soon;    /* at the reports, without being asked */
    struct renewal_standing told; /* to the CAS, of the last reports */
    struct leave leave;
    struct alarms alarms;
    struct explain fenced; /* why we are no member any more; empty: we are */
};

enum {
    UNSENT_MAX = 4 * CONTROL_MESSAGE_MAX, /* bytes that wait for one stream's socket */
};

static const uint64_t HANDSHAKE_TIMEOUT_NS = UINT64_C(5000000000);
static const struct timeval LOOK_EVERY = {.tv_sec = 10};
static const struct timeval LOOK_SOON = {.tv_usec = 10000};
static const uint64_t REDIAL_NS = UINT64_C(200000000);

static void drive(struct server *s);

/* ---- streams ---- */

static struct stream *stream_by_id(struct server *s, uint32_t id)
{
    for (struct stream *t = s->streams; t != NULL; t = t->next) {
        /* The list has no cycle, which the analyzer cannot know. NOLINTNEXTLINE */
        if (t->id == id && !t->dialing) {
            return t;
        }
    }
    return NULL;
}

/* Forgets it; its connection is the caller's to close or drop. */
static void stream_free(struct stream *t)
{
    struct stream **at = &t->server->streams;

    while (*at != t) {
        at = &(*at)->next;
    }
    *at = t->next;
    free(t);
}

static struct stream *stream_new(struct server *s, struct streamio_conn *conn)
{
    struct stream *t = calloc(1, sizeof(*t));

    if (t == NULL) {
        return NULL;
    }
    t->server = s;
    t->conn = conn;
    t->next = s->streams;
    s->streams = t;
    conn->user = t;
    return t;
}

static bool on_accepted(void *arg, struct streamio_conn *conn)
{
    struct server *s = arg;
    struct stream *t = stream_new(s, conn);

    if (t == NULL) {
        return false;
    }
    if (control_accepted(s->control, clock_now_ns(), &t->id) != OK) {
        stream_free(t);
        return false;
    }
    return true;
}

static void on_connected(void *arg, struct streamio_conn *conn)
{
    struct server *s = arg;
    struct stream *t = conn->user;

    if (t->is_cas) {
        cas_bridge_connected(s->node->options.bridge);
        return;
    }
    t->dialing = false;
    if (control_dialed(s->control, clock_now_ns(), t->member, &t->id) != OK) {
        stream_free(t);
        s->io->ops->drop(conn);
    }
}

static bool on_received(void *arg, struct streamio_conn *conn, struct bytes b)
{
    struct server *s = arg;
    const struct stream *t = conn->user;

    if (t->is_cas) {
        cas_bridge_received(s->node->options.bridge, b);
        return true;
    }
    control_received(s->control, clock_now_ns(), t->id, b);
    return true;
}

static void on_closed(void *arg, struct streamio_conn *conn)
{
    struct server *s = arg;
    struct stream *t = conn->user;
    struct stream was = *t;

    if (t->is_cas) {
        cas_bridge_closed(s->node->options.bridge);
        return;
    }
    stream_free(t);
    if (was.dialing) {
        control_dial_failed(s->control, clock_now_ns(), was.member);
    } else {
        control_closed(s->control, clock_now_ns(), was.id);
    }
}

static void on_turn(void *arg)
{
    drive(arg);
}

static void dial(struct server *s, uint8_t member)
{
    const struct cluster_member *m = &s->node->cluster.members[member];
    struct streamio_conn *conn = NULL;
    struct sockaddr_storage sa;
    struct abi_addr to;
    socklen_t sa_len;
    struct stream *t;

    if (addr_parse(m->address, m->control_port, &sa, &sa_len)) {
        addr_from_sockaddr((const struct sockaddr *)&sa, &to);
        conn = s->io->ops->dial(s->io, &to);
    }
    t = conn == NULL ? NULL : stream_new(s, conn);
    if (t != NULL) {
        t->dialing = true;
        t->member = member;
        return;
    }
    if (conn != NULL) {
        s->io->ops->drop(conn);
    }
    control_dial_failed(s->control, clock_now_ns(), member);
}

/* ---- reports: one round at a time over all shards ---- */

static void start_reports(struct server *s)
{
    const struct shard_command c = {.kind = SHARD_REPORT};

    if (s->is_round) {
        return;
    }
    s->waiting = s->asked;
    s->asked = NULL; /* `waiting` was empty: that round had ended. NOLINT */
    s->is_round = true;
    s->reports_missing = s->node->shards_n;
    node_post_all(s->node, &c);
}

static void on_look(evutil_socket_t fd, short what, void *arg)
{
    (void)fd;
    (void)what;
    start_reports(arg);
}

/* Tells the CAS how far we are; while we are on the way to what it waits for, looks again soon. */
static void tell_standing(struct server *s)
{
    const struct cluster *c = &s->node->cluster;
    struct node_standing t = node_standing(s->node);
    const struct renewal_standing now = {t.installed, t.groups_copied};
    uint64_t copies = 0;

    for (uint32_t g = 0; g < c->groups_n; g++) {
        const struct cluster_group *k = &c->groups[g];
        uint32_t who = k->learners | (k->settle ? k->voters : 0);

        copies |= (uint64_t)(who >> s->node->self & 1) << g;
    }
    if (now.installed != s->told.installed || now.copied != s->told.copied) {
        s->told = now;
        renewal_report(s->node->options.renewal, &now);
    }
    if (t.installed != c->epoch || (copies & ~t.groups_copied) != 0) {
        (void)event_add(s->soon, &LOOK_SOON);
    }
}

static void finish_reports(struct server *s)
{
    char *json = s->waiting == NULL ? NULL : node_report_json(s->node, s->control);

    s->is_round = false;
    tell_standing(s);
    alarms_look(&s->alarms, s->node);
    leave_look(&s->leave, s->node);
    while (s->waiting != NULL) {
        struct report_wait *w = s->waiting;

        s->waiting = w->next;
        if (json != NULL && strlen(json) <= CONTROL_REPORT_MAX) {
            control_report(s->control, w->stream,
                           (struct bytes){(const uint8_t *)json, strlen(json)});
        }
        free(w);
    }
    free(json);
}

static void on_notify(evutil_socket_t fd, short what, void *arg)
{
    struct server *s = arg;
    uint64_t n;

    (void)what;
    (void)!read(fd, &n, sizeof(n));
    for (uint32_t i = 0; i < s->node->shards_n; i++) {
        struct node_shard *sh = &s->node->shards[i];

        if (shard_report(sh->shard, &sh->report, &sh->host)) {
            s->reports_missing--;
        }
    }
    if (s->reports_missing == 0 && s->is_round) {
        finish_reports(s);
        if (s->asked != NULL) {
            start_reports(s);
        }
        drive(s);
    }
}

static void want_report(struct server *s, uint32_t stream)
{
    struct report_wait *w = calloc(1, sizeof(*w));

    if (w != NULL) {
        *w = (struct report_wait){.next = s->asked, .stream = stream};
        s->asked = w;
        start_reports(s);
    }
}

/* ---- actions of the control machine ---- */

/* A peer that asks and never reads must not grow our memory: it loses its stream. */
static void stream_write(struct server *s, struct stream *t, struct bytes b)
{
    if (t->conn->unsent + b.n > UNSENT_MAX || !s->io->ops->write(t->conn, b)) {
        uint32_t id = t->id;

        s->io->ops->drop(t->conn);
        stream_free(t);
        control_closed(s->control, clock_now_ns(), id);
    }
}

static void open_session(struct server *s, struct control_action *a)
{
    struct shard_command c = {.kind = SHARD_SESSION_OPEN,
                              .peer = a->role == ROLE_REPLICA ? REPLICA_PEER_MEMBER
                                                              : REPLICA_PEER_CLIENT,
                              .member = a->member,
                              .access = a->access,
                              .params = a->params};

    node_post(s->node, a->shard, &c);
    wipe(&c, sizeof(c));
    wipe(&a->params, sizeof(a->params));
}

static void act(struct server *s, struct control_action *a)
{
    struct shard_command c = {.kind = SHARD_SESSION_CLOSE, .index = a->index};
    struct stream *t;

    switch (a->kind) {
    case CONTROL_ACT_WRITE:
        t = stream_by_id(s, a->stream);
        if (t != NULL) {
            stream_write(s, t, a->bytes);
        }
        break;
    case CONTROL_ACT_CLOSE:
        t = stream_by_id(s, a->stream);
        if (t != NULL) {
            s->io->ops->close(t->conn);
            stream_free(t);
        }
        break;
    case CONTROL_ACT_DIAL:
        dial(s, a->member);
        break;
    case CONTROL_ACT_SESSION_OPEN:
        open_session(s, a);
        break;
    case CONTROL_ACT_SESSION_CLOSE:
        node_post(s->node, a->shard, &c);
        break;
    case CONTROL_ACT_RECONFIGURE:
        s->node->cluster = *control_cluster(s->control);
        s->node->self = control_self(s->control);
        node_reconfigure(s->node);
        (void)event_add(s->soon, &LOOK_SOON);
        break;
    case CONTROL_ACT_FENCED:
        node_log("error", "%s", a->why.text);
        s->fenced = a->why;
        (void)event_base_loopbreak(s->base);
        break;
    case CONTROL_ACT_REPORT:
        want_report(s, a->stream);
        break;
    case CONTROL_ACT_LOG:
        node_log("info", "%s", a->why.text);
        break;
    }
}

/* Does what the machine asks for, then sets the timer to its next deadline. */
static void drive(struct server *s)
{
    struct control_action a;
    struct timeval in;
    uint64_t at, now;

    while (control_next(s->control, &a)) {
        act(s, &a);
    }
    at = control_deadline(s->control);
    if (at == UINT64_MAX) {
        (void)evtimer_del(s->timer);
        return;
    }
    now = clock_now_ns();
    at = at > now ? at - now : 0;
    in = (struct timeval){.tv_sec = (time_t)(at / 1000000000U),
                          .tv_usec = (suseconds_t)(at % 1000000000U / 1000 + 1)};
    (void)evtimer_add(s->timer, &in);
}

static void on_timer(evutil_socket_t fd, short what, void *arg)
{
    struct server *s = arg;

    (void)fd;
    (void)what;
    control_tick(s->control, clock_now_ns());
    drive(s);
}

static void on_signal(evutil_socket_t sig, short what, void *arg)
{
    struct server *s = arg;

    (void)what;
    leave_begin(&s->leave, s->node, (int)sig);
}

static void on_news(evutil_socket_t fd, short what, void *arg)
{
    struct server *s = arg;

    (void)fd;
    (void)what;
    news_take(s->node->options.renewal, s->control, &s->renewed);
    drive(s);
}

/* ---- life ---- */

static void on_host_gone(evutil_socket_t fd, short what, void *arg)
{
    struct server *s = arg;

    (void)fd;
    (void)what;
    s->is_host_gone = true;
    (void)event_base_loopbreak(s->base);
}

static RESULT open_streams(struct server *s, struct explain *why)
{
    const struct cluster_member *m = &s->node->cluster.members[s->node->self];
    const struct streamio_handler handler = {.arg = s,
                                             .accepted = on_accepted,
                                             .connected = on_connected,
                                             .received = on_received,
                                             .closed = on_closed,
                                             .turn = on_turn};

    if (s->node->rings != NULL) {
        TRY(streamio_ring_open(s->base, &handler, s->node->rings, &s->io));
        s->host = event_new(s->base, s->node->rings->socket, EV_READ, on_host_gone, s);
        s->to_cas.is_cas = true;
        TRY(cas_bridge_serve(s->node->options.bridge, s->base, s->io, &s->to_cas));
        return s->host != NULL && event_add(s->host, NULL) == 0 ? OK : ERR_IO;
    }
    if (streamio_tcp_open(s->base, &handler, m->address, m->control_port, &s->io) != OK) {
        (void)snprintf(why->text, sizeof(why->text),
                       "cannot listen on TCP %s:%u: %s; free the port or configure another",
                       m->address, m->control_port, strerror(errno));
        return ERR_IO;
    }
    return OK;
}

static RESULT open_events(struct server *s, struct explain *why)
{
    (void)snprintf(why->text, sizeof(why->text), "cannot start the event loop");
    s->base = event_base_new();
    if (s->base == NULL) {
        return ERR_IO;
    }
    TRY(open_streams(s, why));
    s->timer = evtimer_new(s->base, on_timer, s);
    s->notify = event_new(s->base, s->node->notify_fd, EV_READ | EV_PERSIST, on_notify, s);
    s->term = evsignal_new(s->base, SIGTERM, on_signal, s);
    s->interrupt = evsignal_new(s->base, SIGINT, on_signal, s);
    s->look = event_new(s->base, -1, EV_PERSIST, on_look, s);
    s->leave.base = s->base;
    s->leave.look = event_new(s->base, -1, EV_PERSIST, on_look, s);
    s->soon = event_new(s->base, -1, 0, on_look, s);
    s->news =
        event_new(s->base, renewal_fd(s->node->options.renewal), EV_READ | EV_PERSIST, on_news, s);
    if (s->news == NULL || event_add(s->news, NULL) != 0 || s->soon == NULL ||
        event_add(s->soon, &LOOK_SOON) != 0 || s->look == NULL || s->leave.look == NULL ||
        event_add(s->look, &LOOK_EVERY) != 0 || s->timer == NULL || s->notify == NULL ||
        s->term == NULL || s->interrupt == NULL || event_add(s->notify, NULL) != 0 ||
        evsignal_add(s->term, NULL) != 0 || evsignal_add(s->interrupt, NULL) != 0) {
        return ERR_IO;
    }
    return OK;
}

static void close_events(struct server *s)
{
    struct event *events[] = {s->timer, s->notify, s->term, s->interrupt, s->host,
                              s->news,  s->look,   s->soon, s->leave.look};

    cas_bridge_leave(s->node->options.bridge);
    if (s->io != NULL) {
        s->io->ops->free(s->io);
    }
    while (s->streams != NULL) {
        stream_free(s->streams); /* takes it off the list. NOLINT */
    }
    for (size_t i = 0; i < sizeof(events) / sizeof(events[0]); i++) {
        if (events[i] != NULL) {
            event_free(events[i]);
        }
    }
    if (s->base != NULL) {
        event_base_free(s->base);
    }
    s->asked = s->asked == NULL ? s->waiting : s->asked;
    while (s->asked != NULL) {
        struct report_wait *w = s->asked;

        s->asked = w->next;
        free(w);
    }
}

/* In split mode there is no way back from here: only what is open already can be used. */
static RESULT shut_in(const struct node *n, struct explain *why)
{
    if (n->rings != NULL && !port_sandbox()) {
        (void)snprintf(why->text, sizeof(why->text),
                       "cannot give up system calls: %s; the kernel must have seccomp filters",
                       strerror(errno));
        return ERR_IO;
    }
    return OK;
}

RESULT node_serve(struct node *n, struct explain *why)
{
    struct server s = {.node = n};
    struct control_config config = {.cluster = &n->cluster,
                                    .config = n->options.config->text,
                                    .config_sig = n->options.config->sig,
                                    .ca_pem = n->options.config->ca_pem,
                                    .identity = n->options.identity,
                                    .handshake_timeout_ns = HANDSHAKE_TIMEOUT_NS,
                                    .redial_ns = REDIAL_NS,
                                    .index_key = n->index_key};
    enum err err = open_events(&s, why);

    entropy_fill(config.boot, sizeof(config.boot));
    if (err == OK) {
        err = control_init(&config, &s.control, why);
    }
    if (err == OK) {
        err = shut_in(n, why);
    }
    if (err == OK) {
        const struct cluster_member *m = &n->cluster.members[n->self];

        node_log("info", "ready: node %u listens on %s, TCP %u and UDP %u-%u", m->node, m->address,
                 m->control_port, m->data_port, m->data_port + n->shards_n - 1);
        control_tick(s.control, clock_now_ns());
        drive(&s);
        (void)event_base_dispatch(s.base);
        if (s.is_host_gone) {
            (void)snprintf(why->text, sizeof(why->text),
                           "avocado-hostd has ended, and with it every way to reach anybody");
            err = ERR_IO;
        } else if (s.fenced.text[0] != '\0') {
            *why = s.fenced;
            err = ERR_POLICY;
        }
    }
    close_events(&s);
    control_fini(s.control);
    identity_free(s.renewed);
    return err;
}
