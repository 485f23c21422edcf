// SPDX-License-Identifier: Apache-2.0
#include "trusted/control/control_internal.h"

#include "common/check.h"

#include <openssl/crypto.h>

#include <stdio.h>

void control_name(const struct identity_name *n, char to[static 96])
{
    if (n->role == ROLE_REPLICA) {
        (void)snprintf(to, 96, "node %u (incarnation %u)", n->node, n->incarnation);
    } else {
        (void)snprintf(to, 96, "%s %s", n->role == ROLE_SERVICE ? "service" : "client", n->client);
    }
}

bool control_is_revoked(const struct control *c, const struct identity_name *n)
{
    for (uint32_t i = 0; i < c->revoked.n; i++) {
        if (strcmp(c->revoked.name[i], n->client) == 0) {
            return true;
        }
    }
    return false;
}

static uint8_t place_of(const struct cluster *cluster, uint32_t node)
{
    for (uint8_t i = 0; i < cluster->members_n; i++) {
        if (cluster->members[i].node == node) {
            return i;
        }
    }
    return NO_MEMBER;
}

/* CTL-4. The first boot id of an incarnation is pinned; any other is another process. */
static bool pin(struct member *m, const uint8_t boot[static BOOT_ID_LEN])
{
    if (!m->is_pinned) {
        memcpy(m->boot, boot, BOOT_ID_LEN);
        m->is_pinned = true;
    }
    return memcmp(m->boot, boot, BOOT_ID_LEN) == 0;
}

#define CLONE_TEXT                                                                                 \
    "another process already ran under incarnation %u of node %u: a restarted or cloned member "   \
    "must join as a new one"

/* CTL-3, a replica that dialed us. True: member and epoch are right; otherwise refused. */
static bool check_replica(struct control *c, struct stream *s, const struct control_message *hello)
{
    const struct identity_name *peer = tls_peer(s->tls);
    const struct cluster *cluster = c->c.cluster;
    uint8_t place = place_of(cluster, peer->node);

    if (peer->epoch > cluster->epoch || hello->epoch != cluster->epoch) {
        if (hello->epoch < cluster->epoch) {
            control_tell_config(c, s); /* CTL-13: it will come again, or stop */
        }
        control_refuse(
            c, s, ERR_EPOCH,
            "it is of configuration epoch %llu, we are of epoch %llu; the older one "
            "needs the newer configuration",
            (unsigned long long)(peer->epoch > cluster->epoch ? peer->epoch : hello->epoch),
            (unsigned long long)cluster->epoch);
        return false;
    }
    if (place == NO_MEMBER || peer->incarnation != cluster->members[place].incarnation ||
        hello->incarnation != peer->incarnation) {
        control_refuse(c, s, ERR_POLICY,
                       "incarnation %u of node %u is no member of this configuration; a restarted "
                       "member must join as a new one",
                       hello->incarnation, peer->node);
        return false;
    }
    if (place == c->self) {
        control_refuse(c, s, ERR_POLICY,
                       "a second process runs under our own incarnation %u of node %u: a restarted "
                       "or cloned member must join as a new one",
                       peer->incarnation, peer->node);
        return false;
    }
    if (place > c->self) {
        control_refuse(c, s, ERR_POLICY, "of two members the one with the smaller node dials");
        return false;
    }
    if (hello->shards_n != cluster->shards) {
        control_refuse(c, s, ERR_POLICY, "it has %u shards, the configuration says %u",
                       (unsigned)hello->shards_n, cluster->shards);
        return false;
    }
    if (!pin(&c->members[place], hello->boot)) {
        control_refuse(c, s, ERR_POLICY, CLONE_TEXT, peer->incarnation, peer->node);
        return false;
    }
    s->member = place;
    return true;
}

static bool check_client(struct control *c, struct stream *s, const struct control_message *hello)
{
    if (control_is_revoked(c, tls_peer(s->tls))) {
        control_refuse(c, s, ERR_POLICY, CONTROL_REVOKED_TEXT);
        return false;
    }
    if (hello->epoch != 0 && hello->epoch != c->c.cluster->epoch) {
        control_refuse(c, s, ERR_EPOCH,
                       "it expects configuration epoch %llu, we are of epoch %llu; read the newer "
                       "configuration",
                       (unsigned long long)hello->epoch, (unsigned long long)c->c.cluster->epoch);
        return false;
    }
    if (hello->shards_n < c->c.cluster->shards) {
        control_refuse(c, s, ERR_POLICY, "it is ready for %u shards, this node has %u",
                       (unsigned)hello->shards_n, c->c.cluster->shards);
        return false;
    }
    if (c->clients_n >= CONTROL_CLIENTS_MAX) {
        control_refuse(c, s, ERR_FULL, "this node has its greatest number of clients, %u",
                       c->clients_n);
        return false;
    }
    return true;
}

/* Queues one SESSION_OPEN; takes the secrets out of *p. */
static void open_session(struct control *c, struct stream *s, uint32_t shard,
                         struct rpc_session_params *p)
{
    struct queued *e = control_queue_add(c, CONTROL_ACT_SESSION_OPEN);

    e->stream = s->id;
    e->shard = shard;
    e->index = p->index;
    e->member = s->member;
    e->role = s->role;
    if (s->role == ROLE_CLIENT) {
        e->access = tls_peer(s->tls)->access;
    }
    e->params = *p;
    OPENSSL_cleanse(p, sizeof(*p));
    c->counters.sessions++;
}

static void go_live(struct control *c, struct stream *s)
{
    s->has_sessions = true;
    s->phase = STREAM_LIVE;
    c->counters.handshakes_ok++;
    if (!s->is_dialed) {
        c->unproven_n--;
    }
    s->due_at_ns = UINT64_MAX;
    if (s->role == ROLE_CLIENT) {
        s->due_at_ns = control_expiry(c, s);
        c->clients_n++;
    } else {
        c->members[s->member].live = s->id;
    }
}

/* CTL-6, CTL-7: the acceptor's end of every session of a stream. False: refused. */
static bool open_sessions(struct control *c, struct stream *s, const struct control_message *hello)
{
    bool is_replica = s->role == ROLE_REPLICA;
    struct tls_binding b = {
        .epoch = c->c.cluster->epoch,
        .dialer_incarnation = hello->incarnation,
        .acceptor_incarnation = c->c.cluster->members[c->self].incarnation,
        .dialer_role = s->role,
    };
    struct rpc_session_params p[SHARDS_MAX] = {0};
    enum err err = OK;

    memcpy(b.cluster, c->c.cluster->id, sizeof(b.cluster));
    memcpy(b.dialer_boot, hello->boot, sizeof(b.dialer_boot));
    memcpy(b.acceptor_boot, c->c.boot, sizeof(b.acceptor_boot));
    for (uint32_t i = 0; i < c->c.cluster->shards && err == OK; i++) {
        b.shard = (uint16_t)i;
        p[i].index = s->index[i];
        p[i].peer_index = hello->index[i];
        p[i].slots = is_replica ? RPC_SLOTS_PEER : RPC_SLOTS_CLIENT;
        p[i].replay_bits = is_replica ? REPLAY_BITS_PEER : REPLAY_BITS_CLIENT;
        if (is_replica) {
            p[i].addr = c->addr[s->member];
            p[i].addr.port = (uint16_t)(c->c.cluster->members[s->member].data_port + i);
        }
        err = tls_export(s->tls, &b, &p[i].recv, &p[i].send);
    }
    if (err != OK) {
        OPENSSL_cleanse(p, sizeof(p));
        control_refuse(c, s, err, "keys cannot be made");
        return false;
    }
    for (uint32_t i = 0; i < c->c.cluster->shards; i++) {
        open_session(c, s, i, &p[i]);
    }
    return true;
}

static void welcome(struct control *c, struct stream *s)
{
    const struct cluster *cluster = c->c.cluster;
    const struct cluster_member *self = &cluster->members[c->self];
    struct control_message m = {
        .kind = CONTROL_WELCOME,
        .version = CONTROL_VERSION,
        .epoch = cluster->epoch,
        .incarnation = self->incarnation,
        .datagram_bytes = cluster->datagram_bytes,
        .value_max = cluster->value_max,
        .shards_n = (uint16_t)cluster->shards,
    };

    memcpy(m.boot, c->c.boot, sizeof(m.boot));
    for (uint32_t i = 0; i < cluster->shards; i++) {
        m.index[i] = s->index[i];
        m.port[i] = (uint16_t)(self->data_port + i);
    }
    if (frames_send(s->tls, &m) != OK) {
        control_end(c, s);
    }
}

void control_admit(struct control *c, struct stream *s, const struct control_message *hello)
{
    const struct identity_name *peer = tls_peer(s->tls);
    struct stream *older = NULL;
    char name[96];

    if (memcmp(peer->cluster, c->c.cluster->id, sizeof(peer->cluster)) != 0) {
        control_refuse(c, s, ERR_POLICY,
                       "its certificate is of another cluster; correct the address or the "
                       "configuration");
        return;
    }
    if (hello->role != peer->role) {
        control_refuse(c, s, ERR_POLICY, "it says that it is a %s, its certificate does not",
                       hello->role == ROLE_REPLICA ? "replica" : "client");
        return;
    }
    s->role = peer->role;
    if (!(s->role == ROLE_REPLICA ? check_replica(c, s, hello) : check_client(c, s, hello))) {
        return;
    }
    control_name(peer, name);
    if (s->role == ROLE_REPLICA) {
        /* CTL-8: the same process dialed again, so the older stream is dead or about to be. */
        older = control_stream(c, c->members[s->member].live);
        if (older != NULL) {
            control_say(c, "%s connected again; its former connection is closed", name);
            control_end(c, older);
        }
    }
    if (!control_take_indices(c, s, s->role == ROLE_REPLICA ? 0 : CLUSTER_MAX)) {
        control_refuse(c, s, ERR_FULL, "a shard of this node has its greatest number of sessions");
        return;
    }
    if (!open_sessions(c, s, hello)) {
        return;
    }
    go_live(c, s);
    if (s->role == ROLE_REPLICA) {
        control_say(c, "%s connected", name);
    }
    welcome(c, s);
    if (s->role == ROLE_CLIENT) {
        control_tell_config(c, s);
    }
}

void control_admit_dialed(struct control *c, struct stream *s)
{
    const struct control_message *m = dialer_welcome(s->dialer);
    const struct cluster_member *peer = &c->c.cluster->members[s->member];
    struct rpc_session_params p[SHARDS_MAX] = {0};
    enum err err = OK;

    if (!pin(&c->members[s->member], m->boot)) {
        control_refuse(c, s, ERR_POLICY, CLONE_TEXT, peer->incarnation, peer->node);
        return;
    }
    for (uint32_t i = 0; i < c->c.cluster->shards && err == OK; i++) {
        if (m->port[i] != peer->data_port + i) {
            control_refuse(c, s, ERR_POLICY,
                           "node %u says data port %u for shard %u, the configuration says %u",
                           peer->node, (unsigned)m->port[i], i, peer->data_port + i);
            err = ERR_POLICY;
            break;
        }
        err = dialer_session(s->dialer, i, c->addr[s->member], &p[i]);
    }
    if (err != OK) {
        OPENSSL_cleanse(p, sizeof(p));
        control_end(c, s);
        return;
    }
    for (uint32_t i = 0; i < c->c.cluster->shards; i++) {
        open_session(c, s, i, &p[i]);
    }
    go_live(c, s);
    c->members[s->member].pause_ns = c->c.redial_ns;
    control_say(c, "connected to node %u (incarnation %u)", peer->node, peer->incarnation);
}
