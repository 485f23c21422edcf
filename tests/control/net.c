// SPDX-License-Identifier: Apache-2.0
#include "tests/control/net.h"

#include <stdio.h>
#include <stdlib.h>

static void push(struct net_pipe *p, const uint8_t *bytes, size_t n)
{
    if (p->len + n > p->cap) {
        p->cap = 2 * (p->len + n);
        p->p = realloc(p->p, p->cap);
        assert_non_null(p->p);
    }
    memcpy(p->p + p->len, bytes, n);
    p->len += n;
}

static void pipe_free(struct net_pipe *p)
{
    free(p->p);
    *p = (struct net_pipe){0};
}

static void conn_free(struct net_conn *c)
{
    pipe_free(&c->up);
    pipe_free(&c->down);
    dialer_close(c->client);
    *c = (struct net_conn){0};
}

struct net *net_open(size_t chunk)
{
    struct net *n = calloc(1, sizeof(*n));

    assert_non_null(n);
    n->cluster = fixture_cluster();
    n->ca = fixture_ca();
    n->chunk = chunk;
    n->rng.state = chunk + 1;
    n->now_ns = 1000 * NET_MS;
    for (int i = 0; i < NET_NODES; i++) {
        struct identity_name name = fixture_replica(&n->cluster, (uint32_t)i);

        n->ids[i] = fixture_identity(&n->ca, &name);
    }
    return n;
}

void net_close(struct net *n)
{
    for (int i = 0; i < NET_CONNS_MAX; i++) {
        conn_free(&n->conns[i]);
    }
    for (int i = 0; i < NET_NODES; i++) {
        control_fini(n->nodes[i]);
        identity_free(n->ids[i]);
    }
    pki_pair_free(&n->ca);
    free(n->config);
    free(n);
}

static struct net_conn *conn_new(struct net *n)
{
    for (int i = 0; i < NET_CONNS_MAX; i++) {
        if (!n->conns[i].is_used) {
            n->conns[i] = (struct net_conn){
                .is_used = true, .dialer_node = NET_NOBODY, .acceptor_node = NET_NOBODY};
            return &n->conns[i];
        }
    }
    fail_msg("too many connections");
    abort();
}

/* The connection that a node calls `stream`, and which end of it the node is. */
static struct net_conn *conn_of(struct net *n, int node, uint32_t stream, bool *ret_is_dialer)
{
    for (int i = 0; i < NET_CONNS_MAX; i++) {
        struct net_conn *c = &n->conns[i];

        if (c->is_used && c->dialer_node == node && c->dialer_stream == stream && !c->dialer_gone) {
            *ret_is_dialer = true;
            return c;
        }
        if (c->is_used && c->acceptor_node == node && c->acceptor_stream == stream &&
            !c->acceptor_gone) {
            *ret_is_dialer = false;
            return c;
        }
    }
    fail_msg("node %d speaks of stream %u, which is not its", node, stream);
    abort();
}

static void on_close(struct net *n, int node, uint32_t stream)
{
    bool is_dialer = false;
    struct net_conn *c = conn_of(n, node, stream, &is_dialer);

    if (is_dialer) {
        c->dialer_gone = true;
        c->up.is_closed = true;
    } else {
        c->acceptor_gone = true;
        c->down.is_closed = true;
    }
}

static void on_session_open(struct net *n, int node, const struct control_action *a)
{
    assert_true(n->sessions_n < NET_SESSIONS_MAX);
    for (uint32_t i = 0; i < n->sessions_n; i++) {
        const struct net_session *s = &n->sessions[i];

        /* CTL-7: an index is never used twice, and its slot is free. */
        if (s->node == node && s->a.shard == a->shard) {
            assert_int_not_equal(s->a.index, a->index);
            assert_false(s->is_open && (s->a.index & 0xfffff) == (a->index & 0xfffff));
        }
    }
    assert_int_equal(a->index, a->params.index);
    assert_true(a->index >> 20 != 0);
    n->sessions[n->sessions_n++] = (struct net_session){.node = node, .is_open = true, .a = *a};
}

static void on_session_close(struct net *n, int node, const struct control_action *a)
{
    for (uint32_t i = 0; i < n->sessions_n; i++) {
        struct net_session *s = &n->sessions[i];

        if (s->node == node && s->a.shard == a->shard && s->a.index == a->index) {
            assert_true(s->is_open);
            s->is_open = false;
            return;
        }
    }
    fail_msg("a session is closed that was not opened");
}

static void act(struct net *n, int node, const struct control_action *a)
{
    bool is_dialer = false;
    struct net_conn *c = NULL;
    size_t used = strlen(n->log);

    switch (a->kind) {
    case CONTROL_ACT_WRITE:
        c = conn_of(n, node, a->stream, &is_dialer);
        assert_in_range(a->bytes.n, 1, CONTROL_WRITE_MAX);
        push(is_dialer ? &c->up : &c->down, a->bytes.p, a->bytes.n);
        break;
    case CONTROL_ACT_CLOSE:
        on_close(n, node, a->stream);
        break;
    case CONTROL_ACT_DIAL:
        assert_true(n->dials_n < 64);
        n->dial_from[n->dials_n] = node;
        n->dial_to[n->dials_n++] = a->member;
        n->dials_total++;
        break;
    case CONTROL_ACT_SESSION_OPEN:
        on_session_open(n, node, a);
        break;
    case CONTROL_ACT_SESSION_CLOSE:
        on_session_close(n, node, a);
        break;
    case CONTROL_ACT_REPORT:
        n->reports_asked++;
        n->last_report_stream = a->stream;
        if (n->report != NULL) {
            control_report(n->nodes[node], a->stream,
                           (struct bytes){(const uint8_t *)n->report, strlen(n->report)});
        }
        break;
    case CONTROL_ACT_RECONFIGURE:
        assert_int_equal(net_member_sessions(n, node), 0);
        n->reconfigured[node]++;
        break;
    case CONTROL_ACT_FENCED:
        n->fenced[node] = true;
        break;
    case CONTROL_ACT_LOG:
        assert_null(strchr(a->why.text, '\n'));
        (void)snprintf(n->log + used, sizeof(n->log) - used, "%d: %s\n", node, a->why.text);
        break;
    }
}

void net_drain(struct net *n, int node)
{
    struct control_action a;

    while (n->nodes[node] != NULL && control_next(n->nodes[node], &a)) {
        act(n, node, &a);
    }
}

void net_stop(struct net *n, int node)
{
    control_fini(n->nodes[node]);
    n->nodes[node] = NULL;
    for (int i = 0; i < NET_CONNS_MAX; i++) {
        struct net_conn *c = &n->conns[i];

        if (c->is_used && c->dialer_node == node) {
            c->dialer_gone = c->up.is_closed = true;
        }
        if (c->is_used && c->acceptor_node == node) {
            c->acceptor_gone = c->down.is_closed = true;
        }
    }
    for (uint32_t i = 0; i < n->sessions_n; i++) {
        if (n->sessions[i].node == node) {
            n->sessions[i].node = NET_NOBODY;
        }
    }
}

void net_start(struct net *n, int node, uint8_t boot)
{
    struct control_config k = {
        .cluster = &n->cluster,
        .identity = n->ids[node],
        .handshake_timeout_ns = 1000 * NET_MS,
        .redial_ns = 100 * NET_MS,
        .sessions_max = n->sessions_max,
    };
    struct explain why = {0};

    net_stop(n, node);
    memset(n->boots[node], boot, BOOT_ID_LEN);
    memcpy(k.boot, n->boots[node], BOOT_ID_LEN);
    if (n->config != NULL) {
        k.config = (struct bytes){(const uint8_t *)n->config, strlen(n->config)};
        k.config_sig = (struct bytes){n->config_sig, n->config_sig_n};
        k.ca_pem = (struct bytes){(const uint8_t *)n->ca.cert_pem, strlen(n->ca.cert_pem)};
    }
    assert_int_equal(control_init(&k, &n->nodes[node], &why), OK);
    control_tick(n->nodes[node], n->now_ns);
    net_drain(n, node);
}

/* One chunk, or the end, up the pipe to a node or a client. True: something moved. */
static bool deliver_to_node(struct net *n, struct net_pipe *p, int node, uint32_t stream,
                            bool *is_gone)
{
    size_t left = p->len - p->off;
    size_t want = n->chunk != 0 ? n->chunk : 1 + prng_below(&n->rng, 700);

    if (*is_gone) {
        p->off = p->len;
        return false;
    }
    if (left > 0) {
        size_t take = left < want ? left : want;

        p->off += take;
        control_received(n->nodes[node], n->now_ns, stream,
                         (struct bytes){p->p + p->off - take, take});
        net_drain(n, node);
        return true;
    }
    if (p->is_closed) {
        *is_gone = true;
        control_closed(n->nodes[node], n->now_ns, stream);
        net_drain(n, node);
        return true;
    }
    return false;
}

static void client_output(struct net_conn *c)
{
    uint8_t buf[1024];
    size_t got = 0;

    while (c->client != NULL &&
           (got = dialer_output(c->client, (struct mbytes){buf, sizeof(buf)})) > 0) {
        push(&c->up, buf, got);
    }
}

static bool deliver_to_client(struct net *n, struct net_conn *c)
{
    struct net_pipe *p = &c->down;
    size_t left = p->len - p->off;
    size_t want = n->chunk != 0 ? n->chunk : 1 + prng_below(&n->rng, 700);
    size_t take = left < want ? left : want;

    if (c->dialer_gone || left == 0) {
        return false;
    }
    p->off += take;
    if (c->client != NULL && c->client_err == OK) {
        c->client_err =
            dialer_input(c->client, (struct bytes){p->p + p->off - take, take}, &c->client_why);
        client_output(c);
    }
    return true;
}

static bool do_dials(struct net *n)
{
    uint32_t dials_n = n->dials_n;
    bool moved = dials_n > 0;

    for (uint32_t i = 0; i < dials_n; i++) {
        int from = n->dial_from[i];
        uint8_t to = n->dial_to[i];
        struct net_conn *c = NULL;

        if (n->nodes[from] == NULL) {
            continue;
        }
        if (n->nodes[to] == NULL || n->is_cut[to]) {
            control_dial_failed(n->nodes[from], n->now_ns, to);
            net_drain(n, from);
            continue;
        }
        c = net_connect(n, to);
        assert_non_null(c);
        c->dialer_node = from;
        assert_int_equal(control_dialed(n->nodes[from], n->now_ns, to, &c->dialer_stream), OK);
        net_drain(n, from);
    }
    memmove(n->dial_from, n->dial_from + dials_n, (n->dials_n - dials_n) * sizeof(n->dial_from[0]));
    memmove(n->dial_to, n->dial_to + dials_n, (n->dials_n - dials_n) * sizeof(n->dial_to[0]));
    n->dials_n -= dials_n;
    return moved;
}

void net_run(struct net *n)
{
    bool moved = true;

    while (moved) {
        moved = do_dials(n);
        for (int i = 0; i < NET_CONNS_MAX; i++) {
            struct net_conn *c = &n->conns[i];

            if (!c->is_used) {
                continue;
            }
            client_output(c);
            moved |=
                deliver_to_node(n, &c->up, c->acceptor_node, c->acceptor_stream, &c->acceptor_gone);
            if (c->dialer_node == NET_NOBODY) {
                moved |= deliver_to_client(n, c);
            } else {
                moved |=
                    deliver_to_node(n, &c->down, c->dialer_node, c->dialer_stream, &c->dialer_gone);
            }
            if (c->dialer_gone && c->acceptor_gone && c->dialer_node != NET_NOBODY) {
                conn_free(c);
            }
        }
    }
}

void net_pass(struct net *n, uint64_t ns)
{
    uint64_t end_ns = n->now_ns + ns;

    for (;;) {
        uint64_t next_ns = end_ns;

        for (int i = 0; i < NET_NODES; i++) {
            if (n->nodes[i] != NULL) {
                control_tick(n->nodes[i], n->now_ns);
                net_drain(n, i);
            }
        }
        net_run(n);
        for (int i = 0; i < NET_NODES; i++) {
            if (n->nodes[i] != NULL && control_deadline(n->nodes[i]) < next_ns) {
                next_ns = control_deadline(n->nodes[i]);
            }
        }
        if (n->now_ns >= end_ns) {
            return;
        }
        n->now_ns = next_ns > n->now_ns ? next_ns : n->now_ns + 1;
    }
}

struct net_conn *net_connect(struct net *n, int node)
{
    struct net_conn *c = conn_new(n);

    c->acceptor_node = node;
    if (control_accepted(n->nodes[node], n->now_ns, &c->acceptor_stream) != OK) {
        conn_free(c);
        return NULL;
    }
    net_drain(n, node);
    return c;
}

struct net_conn *net_dial(struct net *n, const struct dialer_config *k, int node)
{
    struct net_conn *c = net_connect(n, node);

    assert_non_null(c);
    assert_int_equal(dialer_open(k, &c->client), OK);
    client_output(c);
    return c;
}

void net_send(struct net_conn *c, const void *bytes, size_t len)
{
    push(&c->up, bytes, len);
}

void net_hang_up(struct net *n, struct net_conn *c)
{
    if (!c->acceptor_gone) {
        control_closed(n->nodes[c->acceptor_node], n->now_ns, c->acceptor_stream);
        c->acceptor_gone = true;
        net_drain(n, c->acceptor_node);
    }
    conn_free(c);
}

struct dialer_config net_client(const struct net *n, const struct identity *id, int node)
{
    struct dialer_config k = {
        .self = id,
        .node = n->cluster.members[node].node,
        .boot = {0xc1},
        .role = ROLE_CLIENT,
        .shards_n = SHARDS_MAX,
    };

    memcpy(k.cluster, n->cluster.id, sizeof(k.cluster));
    for (uint32_t i = 0; i < SHARDS_MAX; i++) {
        k.index[i] = 1u << 20 | (500 + i);
    }
    return k;
}

struct dialer_config net_replica(const struct net *n, const struct identity *id, int from, int to)
{
    struct dialer_config k = net_client(n, id, to);

    k.role = ROLE_REPLICA;
    k.epoch = n->cluster.epoch;
    k.incarnation = n->cluster.members[from].incarnation;
    k.peer_incarnation = n->cluster.members[to].incarnation;
    k.shards_n = n->cluster.shards;
    memset(k.boot, from + 1, sizeof(k.boot));
    return k;
}

const struct net_session *net_session(const struct net *n, int node, uint8_t member, uint32_t shard)
{
    for (uint32_t i = n->sessions_n; i-- > 0;) {
        const struct net_session *s = &n->sessions[i];

        if (s->node == node && s->is_open && s->a.member == member && s->a.shard == shard) {
            return s;
        }
    }
    return NULL;
}

uint32_t net_sessions(const struct net *n, int node)
{
    uint32_t open = 0;

    for (uint32_t i = 0; i < n->sessions_n; i++) {
        open += n->sessions[i].node == node && n->sessions[i].is_open;
    }
    return open;
}

uint32_t net_member_sessions(const struct net *n, int node)
{
    uint32_t open = 0;

    for (uint32_t i = 0; i < n->sessions_n; i++) {
        const struct net_session *s = &n->sessions[i];

        open += s->node == node && s->is_open && s->a.role == ROLE_REPLICA;
    }
    return open;
}

void net_sign(struct net *n, const struct cluster *c)
{
    struct explain why = {0};

    free(n->config);
    n->config = cluster_format(c);
    assert_non_null(n->config);
    assert_int_equal(pki_sign(&n->ca, (struct bytes){(const uint8_t *)n->config, strlen(n->config)},
                              (struct mbytes){n->config_sig, sizeof(n->config_sig)},
                              &n->config_sig_n, &why),
                     OK);
}

enum err net_configure(struct net *n, int node, struct explain *why)
{
    enum err err = control_configure(n->nodes[node], n->now_ns,
                                     (struct bytes){(const uint8_t *)n->config, strlen(n->config)},
                                     (struct bytes){n->config_sig, n->config_sig_n}, why);

    net_drain(n, node);
    return err;
}

void net_assert_joined(const struct rpc_session_params *a, const struct rpc_session_params *b)
{
    assert_memory_equal(&a->send, &b->recv, sizeof(a->send));
    assert_memory_equal(&a->recv, &b->send, sizeof(a->recv));
    assert_memory_not_equal(&a->send, &a->recv, sizeof(a->send));
    assert_int_equal(a->index, b->peer_index);
    assert_int_equal(a->peer_index, b->index);
    assert_int_equal(a->slots, b->slots);
    assert_int_equal(a->replay_bits, b->replay_bits);
}
