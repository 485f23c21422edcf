// SPDX-License-Identifier: Apache-2.0
#include "trusted/control/control_internal.h"

#include "common/check.h"
#include "trusted/config/explain.h"

#include <arpa/inet.h>
#include <stdlib.h>

/* After a change members look for each other at once: they arrive within milliseconds. */
static const uint64_t CHANGE_REDIAL_NS = UINT64_C(2000000);

static bool read_address(const char *text, struct abi_addr *ret)
{
    struct abi_addr a = {.family = strchr(text, ':') == NULL ? 4 : 6};

    if (inet_pton(a.family == 4 ? AF_INET : AF_INET6, text, a.ip) != 1) {
        return false;
    }
    *ret = a;
    return true;
}

void control_keep_config(struct control *c, struct bytes text, struct bytes sig)
{
    CHECK(text.n > 0 && sig.n <= sizeof(c->config_sig));
    free(c->config);
    c->config = malloc(text.n);
    CHECK(c->config != NULL);
    memcpy(c->config, text.p, text.n);
    c->config_n = text.n;
    memcpy(c->config_sig, sig.p, sig.n);
    c->config_sig_n = sig.n;
}

RESULT control_meet_members(struct control *c, struct explain *why)
{
    for (unsigned i = 0; i < c->cluster.members_n; i++) {
        if (!read_address(c->cluster.members[i].address, &c->addr[i])) {
            explain(why, "member %u: '%s' is no address", c->cluster.members[i].node,
                    c->cluster.members[i].address);
            return ERR_MALFORMED;
        }
        c->members[i].live = 0;
        c->members[i].pause_ns = c->c.redial_ns;
        c->members[i].dial = i > c->self ? DIAL_WAIT : DIAL_NEVER;
        c->members[i].dial_at_ns = 0;
    }
    return OK;
}

void control_tell_config(struct control *c, struct stream *s)
{
    struct control_message m = {
        .kind = CONTROL_CONFIG,
        .text = {.p = (const uint8_t *)c->config, .n = c->config_n},
        .sig = {.p = c->config_sig, .n = c->config_sig_n},
    };

    if (c->config_n > 0 && frames_send(s->tls, &m) != OK) {
        control_end(c, s);
    }
}

/* Boot ids stay pinned to incarnations (CTL-4), wherever their places are now. */
static void move_members(struct control *c, const struct cluster *next)
{
    struct member moved[CLUSTER_MAX] = {0};

    for (uint32_t k = 0; k < next->members_n; k++) {
        for (uint32_t i = 0; i < c->cluster.members_n; i++) {
            if (c->cluster.members[i].incarnation == next->members[k].incarnation) {
                moved[k] = c->members[i];
            }
        }
    }
    memcpy(c->members, moved, sizeof(moved));
}

/* Streams with members end: their keys are of the epoch that is over. Those that have not said
 * HELLO yet may be of the new one. Clients stay, and hear of it. */
static void end_epoch(struct control *c)
{
    for (uint32_t i = 0; i < CONTROL_STREAMS_MAX; i++) {
        struct stream *s = c->streams[i];

        if (s != NULL && s->phase != STREAM_CLOSING && (s->is_dialed || s->member != NO_MEMBER)) {
            control_end(c, s);
            s->member = NO_MEMBER; /* places mean something else from now on */
        }
    }
}

static void tell_clients(struct control *c)
{
    for (uint32_t i = 0; i < CONTROL_STREAMS_MAX; i++) {
        struct stream *s = c->streams[i];

        if (s != NULL && s->phase == STREAM_LIVE && s->role == ROLE_CLIENT) {
            control_tell_config(c, s);
            control_touch(c, s);
        }
    }
}

/* Our place in `next`; NO_MEMBER: none. */
static uint8_t find_us(const struct control *c, const struct cluster *next)
{
    for (uint8_t i = 0; i < next->members_n; i++) {
        if (next->members[i].incarnation == c->cluster.members[c->self].incarnation) {
            return i;
        }
    }
    return NO_MEMBER;
}

static void fence(struct control *c, const struct cluster *next)
{
    struct queued *e = control_queue_add(c, CONTROL_ACT_FENCED);
    struct explain why = {0};

    explain(
        &why,
        "incarnation %u of node %u is no member of configuration epoch %llu: it was replaced or "
        "removed, and stops",
        c->cluster.members[c->self].incarnation, c->cluster.members[c->self].node,
        (unsigned long long)next->epoch);
    c->fenced = true;
    e->text = strdup(why.text);
    CHECK(e->text != NULL);
}

RESULT control_configure(struct control *c, uint64_t now_ns, struct bytes text, struct bytes sig,
                         struct explain *why)
{
    struct bytes ca = {.p = (const uint8_t *)c->ca_pem, .n = c->ca_pem_n};
    struct cluster next = {0};
    uint8_t self;

    if (text.n == c->config_n && memcmp(text.p, c->config, text.n) == 0) {
        explain(why, "it is the configuration in force");
        return ERR_EPOCH;
    }
    if (c->ca_pem_n == 0) {
        explain(why, "this node takes no configurations");
        return ERR_POLICY;
    }
    TRY(cluster_check(text, sig, ca, &next, why));
    if (memcmp(next.id, c->cluster.id, sizeof(next.id)) != 0 || next.shards != c->cluster.shards) {
        explain(why, "the configuration is of another cluster, or of another number of shards");
        return ERR_POLICY;
    }
    if (next.epoch <= c->cluster.epoch || c->fenced) {
        explain(why, "configuration epoch %llu is not newer than ours, %llu",
                (unsigned long long)next.epoch, (unsigned long long)c->cluster.epoch);
        return ERR_EPOCH;
    }
    self = find_us(c, &next);
    end_epoch(c);
    if (self == NO_MEMBER) {
        fence(c, &next);
        return OK;
    }
    move_members(c, &next);
    c->cluster = next;
    c->self = self;
    control_keep_config(c, text, sig);
    TRY(control_meet_members(c, why)); /* cannot fail: the reader has checked the addresses */
    for (unsigned i = 0; i < next.members_n; i++) {
        c->members[i].pause_ns = CHANGE_REDIAL_NS;
    }
    (void)control_queue_add(c, CONTROL_ACT_RECONFIGURE);
    control_say(c, "configuration epoch %llu is in force here: %u members, %d vote",
                (unsigned long long)next.epoch, next.members_n,
                __builtin_popcount(cluster_voters(&next)));
    tell_clients(c);
    control_tick(c, now_ns); /* dials what is to be dialed */
    return OK;
}

void control_on_config(struct control *c, struct stream *s, const struct control_message *m)
{
    struct explain why = {0};
    enum err err = control_configure(c, c->now_ns, m->text, m->sig, &why);

    if (err != OK && err != ERR_EPOCH) {
        control_refuse(c, s, err, "its configuration is not taken: %s", why.text);
    }
}

const struct cluster *control_cluster(const struct control *c)
{
    return &c->cluster;
}

uint8_t control_self(const struct control *c)
{
    return c->self;
}
