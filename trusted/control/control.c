// SPDX-License-Identifier: Apache-2.0
#include "trusted/control/control_internal.h"

#include "common/check.h"
#include "trusted/control/identity_internal.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

enum {
    CHUNK = 4096,
    SLOT_MASK = CONTROL_STREAMS_MAX - 1,
    FROM_DIALER_MAX = CONTROL_CONFIG_MAX, /* the longest message that a dialer may send */
};
_Static_assert((int)FROM_DIALER_MAX + 4 >= (int)CONTROL_HELLO_MAX &&
                   (int)FROM_DIALER_MAX >= 2 + (int)CONTROL_BYE_TEXT_MAX,
               "a CONFIG is the longest");
static const uint64_t NS_PER_S = UINT64_C(1000000000);

/* ---- streams ---- */

void control_stream_free(struct control *c, struct stream *s)
{
    uint32_t slot = s->id & SLOT_MASK;

    tls_close(s->tls);
    frames_fini(&s->frames);
    dialer_close(s->dialer);
    c->streams[slot] = NULL;
    c->dirty[slot / 64] &= ~(UINT64_C(1) << slot % 64);
    c->streams_n--;
    free(s);
}

struct stream *control_stream(struct control *c, uint32_t id)
{
    struct stream *s = c->streams[id & SLOT_MASK];

    return s != NULL && s->id == id ? s : NULL;
}

void control_set_time(struct control *c, uint64_t now_ns)
{
    if (!c->has_time) {
        c->has_time = true;
        c->first_ns = c->now_ns = c->log_refilled_ns = now_ns;
    }
    if (now_ns > c->now_ns) {
        c->now_ns = now_ns;
    }
}

uint64_t control_unix_time(const struct control *c)
{
    return c->first_s + (c->now_ns - c->first_ns) / NS_PER_S;
}

void control_touch(struct control *c, const struct stream *s)
{
    uint32_t slot = s->id & SLOT_MASK;

    c->dirty[slot / 64] |= UINT64_C(1) << slot % 64;
}

static uint32_t free_slot(const struct control *c)
{
    uint32_t slot = 0;

    while (slot < CONTROL_STREAMS_MAX && c->streams[slot] != NULL) {
        slot++;
    }
    return slot;
}

/* NULL when there is no slot. */
static struct stream *stream_new(struct control *c)
{
    uint32_t slot = free_slot(c);
    struct stream *s = NULL;

    if (slot == CONTROL_STREAMS_MAX) {
        return NULL;
    }
    s = calloc(1, sizeof(*s));
    CHECK(s != NULL);
    c->generation[slot]++;
    if (c->generation[slot] << STREAM_SLOT_BITS == 0) {
        c->generation[slot] = 1; /* it wrapped: no id is 0 */
    }
    s->id = c->generation[slot] << STREAM_SLOT_BITS | slot;
    s->phase = STREAM_OPENING;
    s->member = NO_MEMBER;
    s->opened_serial = ++c->serial;
    s->due_at_ns = c->now_ns + c->c.handshake_timeout_ns;
    c->streams[slot] = s;
    c->streams_n++;
    control_touch(c, s);
    return s;
}

bool control_take_indices(struct control *c, struct stream *s, uint32_t reserve)
{
    for (uint32_t i = 0; i < c->c.cluster->shards; i++) {
        if (c->pools[i].free_n <= reserve) {
            return false;
        }
    }
    for (uint32_t i = 0; i < c->c.cluster->shards; i++) {
        s->index[i] = index_pool_take(&c->pools[i]);
    }
    s->has_indices = true;
    return true;
}

static void close_sessions(struct control *c, struct stream *s)
{
    for (uint32_t i = 0; s->has_indices && i < c->c.cluster->shards; i++) {
        if (s->has_sessions) {
            struct queued *e = control_queue_add(c, CONTROL_ACT_SESSION_CLOSE);

            e->stream = s->id;
            e->shard = i;
            e->index = s->index[i];
            e->member = s->member;
            e->role = s->role;
            c->counters.sessions--;
        }
        index_pool_give(&c->pools[i], s->index[i]);
    }
    s->has_indices = s->has_sessions = false;
}

/* CTL-10 */
static void dial_later(struct control *c, struct member *m)
{
    uint64_t longest =
        c->c.redial_ns > CONTROL_REDIAL_MAX_NS ? c->c.redial_ns : CONTROL_REDIAL_MAX_NS;

    m->dial = DIAL_WAIT;
    m->dial_at_ns = c->now_ns + m->pause_ns;
    m->pause_ns = m->pause_ns > longest / 2 ? longest : 2 * m->pause_ns;
}

void control_end(struct control *c, struct stream *s)
{
    if (s->phase == STREAM_CLOSING) {
        return;
    }
    close_sessions(c, s);
    if (s->phase == STREAM_OPENING && !s->is_dialed) {
        c->unproven_n--;
    }
    if (s->phase == STREAM_LIVE && s->role == ROLE_CLIENT) {
        c->clients_n--;
    }
    if (s->member != NO_MEMBER) {
        struct member *m = &c->members[s->member];

        if (m->live == s->id) {
            m->live = 0;
            control_say(c, "the connection with node %u is over",
                        c->c.cluster->members[s->member].node);
        }
        if (s->is_dialed) {
            dial_later(c, m);
        }
    }
    s->phase = STREAM_CLOSING;
    control_touch(c, s);
}

/* Ends a stream whose peer has not proven who it is, or has broken the protocol. */
static void fail(struct control *c, struct stream *s, const struct explain *why)
{
    if (s->phase == STREAM_OPENING) {
        c->counters.handshakes_failed++;
    }
    if (s->is_dialed) {
        control_say_bounded(c, "dialing node %u: %s", c->c.cluster->members[s->member].node,
                            why->text);
    } else {
        control_say_bounded(c, "a connection from outside failed: %s", why->text);
    }
    control_end(c, s);
}

void control_refuse(struct control *c, struct stream *s, enum err err, const char *fmt, ...)
{
    struct control_message bye = {.kind = CONTROL_BYE, .err = err};
    char text[CONTROL_BYE_TEXT_MAX + 1], name[96] = "a member";
    va_list args;
    int n = 0;

    va_start(args, fmt);
    n = vsnprintf(text, sizeof(text), fmt, args);
    va_end(args);
    CHECK(n >= 0);
    if (s->is_dialed) {
        control_say(c, "refused node %u: %s", c->c.cluster->members[s->member].node, text);
        dialer_bye(s->dialer, err, text);
    } else {
        control_name(tls_peer(s->tls), name);
        control_say_bounded(c, "refused %s: %s", name, text);
        bye.text = (struct bytes){.p = (const uint8_t *)text, .n = strlen(text)};
        /* If the connection is over already nobody is left to be told. */
        (void)!frames_send(s->tls, &bye);
    }
    c->counters.refused++;
    control_end(c, s);
}

/* Room for one more stranger: the one that has been at it for longest goes. */
static void evict(struct control *c)
{
    struct stream *oldest = NULL;

    for (uint32_t i = 0; i < CONTROL_STREAMS_MAX; i++) {
        struct stream *s = c->streams[i];

        if (s != NULL && s->phase == STREAM_OPENING && !s->is_dialed &&
            (oldest == NULL || s->opened_serial < oldest->opened_serial)) {
            oldest = s;
        }
    }
    CHECK(oldest != NULL);
    c->counters.evicted++;
    control_say_bounded(c, "more than %d connections are not through; the oldest is closed",
                        CONTROL_UNPROVEN_MAX);
    control_end(c, oldest);
}

RESULT control_accepted(struct control *c, uint64_t now_ns, uint32_t *ret_stream)
{
    struct stream *s = NULL;

    control_set_time(c, now_ns);
    if (c->unproven_n >= CONTROL_UNPROVEN_MAX) {
        evict(c);
    }
    /* The last slots are for our own dials. */
    s = c->streams_n >= CONTROL_STREAMS_MAX - CLUSTER_MAX ? NULL : stream_new(c);
    if (s == NULL) {
        return ERR_FULL;
    }
    if (tls_open(c->c.identity, true, &s->tls) != OK) {
        control_stream_free(c, s);
        return ERR_FULL;
    }
    tls_set_time(s->tls, control_unix_time(c));
    c->unproven_n++;
    c->counters.accepted++;
    *ret_stream = s->id;
    return OK;
}

static enum err open_dialer(struct control *c, struct stream *s)
{
    const struct cluster_member *peer = &c->c.cluster->members[s->member];
    struct dialer_config k = {
        .self = c->c.identity,
        .node = peer->node,
        .epoch = c->c.cluster->epoch,
        .incarnation = c->c.cluster->members[c->self].incarnation,
        .peer_incarnation = peer->incarnation,
        .role = ROLE_REPLICA,
        .shards_n = c->c.cluster->shards,
        .now_s = control_unix_time(c),
        .config = {.p = (const uint8_t *)c->config, .n = c->config_n},
        .config_sig = {.p = c->config_sig, .n = c->config_sig_n},
    };

    memcpy(k.cluster, c->c.cluster->id, sizeof(k.cluster));
    memcpy(k.boot, c->c.boot, sizeof(k.boot));
    memcpy(k.index, s->index, sizeof(k.index));
    return dialer_open(&k, &s->dialer);
}

RESULT control_dialed(struct control *c, uint64_t now_ns, uint8_t member, uint32_t *ret_stream)
{
    struct stream *s = NULL;

    control_set_time(c, now_ns);
    if (member >= c->c.cluster->members_n || c->members[member].dial != DIAL_ASKED) {
        return ERR_USAGE;
    }
    s = stream_new(c);
    if (s == NULL) {
        dial_later(c, &c->members[member]);
        return ERR_FULL;
    }
    s->is_dialed = true;
    s->role = ROLE_REPLICA;
    s->member = member;
    c->members[member].dial = DIAL_STREAM;
    if (!control_take_indices(c, s, 0) || open_dialer(c, s) != OK) {
        close_sessions(c, s);
        control_stream_free(c, s);
        dial_later(c, &c->members[member]);
        return ERR_FULL;
    }
    c->counters.dialed++;
    *ret_stream = s->id;
    return OK;
}

void control_dial_failed(struct control *c, uint64_t now_ns, uint8_t member)
{
    control_set_time(c, now_ns);
    if (member < c->c.cluster->members_n && c->members[member].dial == DIAL_ASKED) {
        control_say_bounded(c, "node %u at %s port %u does not answer; dialing it again",
                            c->c.cluster->members[member].node,
                            c->c.cluster->members[member].address,
                            (unsigned)c->c.cluster->members[member].control_port);
        dial_later(c, &c->members[member]);
    }
}

/* ---- bytes ---- */

/* ACL-5: who may not ask gets an answer that says so. */
static void ask_report(struct control *c, const struct stream *s)
{
    static const char no[] = CONTROL_REPORT_REFUSED;

    if (access_lacks(&tls_peer(s->tls)->access, ACCESS_STATUS) != 0) {
        control_report(c, s->id, (struct bytes){(const uint8_t *)no, sizeof(no) - 1});
    } else {
        control_queue_add(c, CONTROL_ACT_REPORT)->stream = s->id;
    }
}

static void on_message(struct control *c, struct stream *s, const struct control_message *m)
{
    char name[96];

    if (s->phase == STREAM_OPENING && m->kind == CONTROL_HELLO) {
        control_admit(c, s, m);
    } else if (s->phase == STREAM_LIVE && m->kind == CONTROL_STATUS) {
        if (!s->owes_report) { /* CTL-9: one at a time */
            s->owes_report = true;
            ask_report(c, s);
        }
    } else if (m->kind == CONTROL_CONFIG) {
        control_on_config(c, s, m);
    } else if (m->kind == CONTROL_BYE) {
        control_name(tls_peer(s->tls), name);
        control_say_bounded(c, "%s ended the connection: %.*s (%s)", name, (int)m->text.n,
                            m->text.n == 0 ? "" : (const char *)m->text.p, err_name(m->err));
        control_end(c, s);
    } else {
        control_refuse(c, s, ERR_MALFORMED, "it sent a message that it may not send now");
    }
}

/* CTL-5: nothing that a dialer may send is longer than a CONFIG. */
static void read_messages(struct control *c, struct stream *s)
{
    bool have = true;

    while (have && s->phase != STREAM_CLOSING) {
        struct control_message m = {0};
        enum err err = frames_take(&s->frames, s->tls, FROM_DIALER_MAX, &m, &have);

        if (err == ERR_MISMATCH) {
            control_refuse(c, s, err,
                           "it speaks another version of the control protocol; run the same "
                           "release on both ends");
        } else if (err != OK) {
            control_refuse(c, s, err, "it sent bytes that are no message");
        } else if (have) {
            on_message(c, s, &m);
        }
    }
}

static void take_accepted(struct control *c, struct stream *s, struct bytes in)
{
    struct explain why = {0};
    enum err err = tls_input(s->tls, in, &why);

    if (tls_ready(s->tls)) {
        read_messages(c, s);
    }
    if (err == ERR_CLOSED) {
        control_end(c, s);
    } else if (err != OK && s->phase != STREAM_CLOSING) {
        fail(c, s, &why);
    }
}

static void take_dialed(struct control *c, struct stream *s, struct bytes in)
{
    struct explain why = {0}, no = {0};
    enum err err = dialer_input(s->dialer, in, &why);
    struct bytes text, sig;

    if (dialer_take_config(s->dialer, &text, &sig) &&
        control_configure(c, c->now_ns, text, sig, &no) == OK) {
        return; /* this stream was of the former epoch */
    }
    if (err != OK) {
        fail(c, s, &why);
    } else if (s->phase == STREAM_OPENING && dialer_ready(s->dialer)) {
        control_admit_dialed(c, s);
    }
}

void control_received(struct control *c, uint64_t now_ns, uint32_t stream, struct bytes bytes)
{
    struct stream *s = control_stream(c, stream);

    control_set_time(c, now_ns);
    while (s != NULL && s->phase != STREAM_CLOSING && bytes.n > 0) {
        size_t n = bytes.n < CHUNK ? bytes.n : CHUNK;
        struct bytes in = {.p = bytes.p, .n = n};

        if (s->is_dialed) {
            take_dialed(c, s, in);
        } else {
            take_accepted(c, s, in);
        }
        control_touch(c, s);
        bytes = (struct bytes){.p = bytes.p + n, .n = bytes.n - n};
    }
}

void control_closed(struct control *c, uint64_t now_ns, uint32_t stream)
{
    struct stream *s = control_stream(c, stream);

    control_set_time(c, now_ns);
    if (s != NULL) {
        control_end(c, s);
        control_stream_free(c, s);
    }
}

void control_report(struct control *c, uint32_t stream, struct bytes text)
{
    struct stream *s = control_stream(c, stream);

    CHECK(text.n <= CONTROL_REPORT_MAX);
    if (s == NULL || s->phase != STREAM_LIVE || !s->owes_report) {
        return;
    }
    s->owes_report = false;
    if (frames_send(s->tls, &(struct control_message){.kind = CONTROL_REPORT, .text = text}) !=
        OK) {
        control_end(c, s);
    }
    control_touch(c, s);
}

/* ---- time ---- */

static void time_out(struct control *c, struct stream *s)
{
    if (s->phase == STREAM_LIVE) { /* CTL-14 */
        control_refuse(c, s, ERR_AUTH,
                       "its certificate has ended; connect again with a renewed one");
        return;
    }
    c->counters.timed_out++;
    if (s->is_dialed) {
        control_say_bounded(c, "node %u took the connection and then did not answer in time",
                            c->c.cluster->members[s->member].node);
    } else {
        control_say_bounded(c, "a connection from outside was not through in time");
    }
    control_end(c, s);
}

void control_tick(struct control *c, uint64_t now_ns)
{
    control_set_time(c, now_ns);
    for (uint32_t i = 0; i < CONTROL_STREAMS_MAX; i++) {
        struct stream *s = c->streams[i];

        if (s != NULL && s->phase != STREAM_CLOSING && s->due_at_ns != UINT64_MAX &&
            s->due_at_ns <= c->now_ns) {
            time_out(c, s);
        }
    }
    for (uint8_t i = 0; i < c->c.cluster->members_n; i++) {
        struct member *m = &c->members[i];

        if (m->dial == DIAL_WAIT && m->dial_at_ns <= c->now_ns) {
            m->dial = DIAL_ASKED;
            control_queue_add(c, CONTROL_ACT_DIAL)->member = i;
        }
    }
}

uint64_t control_deadline(const struct control *c)
{
    uint64_t at = UINT64_MAX;

    for (uint32_t i = 0; i < CONTROL_STREAMS_MAX; i++) {
        const struct stream *s = c->streams[i];

        if (s != NULL && s->phase != STREAM_CLOSING && s->due_at_ns < at) {
            at = s->due_at_ns;
        }
    }
    for (uint8_t i = 0; i < c->c.cluster->members_n; i++) {
        if (c->members[i].dial == DIAL_WAIT && c->members[i].dial_at_ns < at) {
            at = c->members[i].dial_at_ns;
        }
    }
    return at;
}

/* ---- actions ---- */

/* What a stream has to write, or its end. False: nothing. */
static bool next_of(struct control *c, struct stream *s, struct control_action *ret)
{
    struct mbytes room = {.p = c->out, .n = sizeof(c->out)};
    size_t n = s->is_dialed ? dialer_output(s->dialer, room) : tls_output(s->tls, room);
    struct control_action a = {.kind = CONTROL_ACT_WRITE, .stream = s->id, .member = s->member};

    if (n > 0) {
        a.bytes = (struct bytes){.p = c->out, .n = n};
        *ret = a;
        return true;
    }
    c->dirty[(s->id & SLOT_MASK) / 64] &= ~(UINT64_C(1) << s->id % 64);
    if (s->phase == STREAM_CLOSING) {
        a.kind = CONTROL_ACT_CLOSE;
        *ret = a;
        control_stream_free(c, s);
        return true;
    }
    return false;
}

bool control_next(struct control *c, struct control_action *ret)
{
    /* Sessions open before anything is written, so before the WELCOME that tells of them. */
    if (control_queue_take(c, ret)) {
        return true;
    }
    for (uint32_t i = 0; i < CONTROL_STREAMS_MAX / 64; i++) {
        while (c->dirty[i] != 0) {
            uint32_t slot = i * 64 + (uint32_t)__builtin_ctzll(c->dirty[i]);

            CHECK(c->streams[slot] != NULL);
            if (next_of(c, c->streams[slot], ret)) {
                return true;
            }
        }
    }
    return false;
}

uint32_t control_members_up(const struct control *c)
{
    uint32_t up = UINT32_C(1) << c->self;

    for (uint8_t i = 0; i < c->c.cluster->members_n; i++) {
        up |= (uint32_t)(c->members[i].live != 0) << i;
    }
    return up;
}

const struct control_counters *control_counters(const struct control *c)
{
    return &c->counters;
}
