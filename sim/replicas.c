// SPDX-License-Identifier: Apache-2.0
#include "client/core.h"
#include "common/check.h"
#include "sim/datagrams.h"
#include "sim/run.h"
#include "sim/tamper.h"
#include "trusted/crypto/kdf.h"
#include "trusted/replica/replica.h"
#include "trusted/wire/rpc_wire.h"

#include <stdlib.h>

/*
 * Level replica: whole replicas and the client's own machine, as they run in production, over a
 * network that may do to datagrams whatever it likes. Endpoints are numbered: nodes, then clients,
 * then one client for each node that speaks with that node alone (liveness phase).
 *
 * The control channel is not here: both ends of a session get the same secrets, made from the seed.
 */

static const uint64_t ms = UINT64_C(1000000);

enum {
    EVENT_DATAGRAM = EVENT_LEVEL, /* a: endpoint; payload */
    EVENT_TICK,                   /* a: endpoint */
    EVENT_SUBMIT,                 /* a: operation */
    EVENT_OPEN,                   /* a, b: endpoints */

    CLIENTS_MAX = 8,
    ENDS_MAX = NODES_MAX + CLIENTS_MAX + NODES_MAX,
    SLOT_SETS = 4, /* a new session takes another slot than the one before */
    SLOTS_PER_SET = 32,
    CLIENT_HEAP = 8 << 20,
};

_Static_assert((int)ENDS_MAX <= (int)SLOTS_PER_SET, "every peer has a slot");

/* A node or a client. */
struct end {
    void *region;
    size_t region_bytes, heap_used;
    struct heap *heap;
    struct replica *replica;
    struct core *core;
    struct tamper_arena arena;
    uint64_t timer_at_ns;
};

/* Of a pair of endpoints: the session between them. */
struct bond {
    uint32_t generation;
    bool open;
};

struct replicas {
    struct aead *aead;
    uint8_t ends_n, nodes_n, clients_n;
    struct end ends[ENDS_MAX];
    struct bond bonds[ENDS_MAX][ENDS_MAX]; /* the smaller number first */
    struct datagrams datagrams;
    uint8_t buffer[DATAGRAM_MAX];
};

static bool is_node(const struct replicas *c, uint8_t end)
{
    return end < c->nodes_n;
}

/* ---- endpoints ---- */

static uint64_t clock_of(const struct run *r, const struct replicas *c, uint8_t end)
{
    return is_node(c, end) ? run_clock(r, end) : r->world.now_ns;
}

static bool transmit(struct replicas *c, struct end *e, uint64_t now_ns, struct abi_addr *ret_addr,
                     size_t *ret_len)
{
    struct mbytes to = {.p = c->buffer, .n = sizeof(c->buffer)};

    return e->replica != NULL ? replica_transmit(e->replica, now_ns, to, ret_addr, ret_len)
                              : core_transmit(e->core, now_ns, to, ret_addr, ret_len);
}

static void reconnect_lost(struct run *r, struct replicas *c, uint8_t end)
{
    uint8_t lost = core_take_lost(c->ends[end].core);

    for (uint8_t node = 0; node < c->nodes_n; node++) {
        if ((lost & 1U << node) != 0) {
            world_push(&r->world, r->world.now_ns + 10 * ms, EVENT_OPEN, node, end, NULL);
        }
    }
}

/* After anything happened at an endpoint: what it says goes out, what it has finished is told. */
static void pump(struct run *r, struct replicas *c, uint8_t end)
{
    struct end *e = &c->ends[end];
    struct core_completion done;
    struct abi_addr addr;
    uint64_t deadline;
    size_t n;

    while (transmit(c, e, clock_of(r, c, end), &addr, &n)) {
        datagrams_send(r, &c->datagrams, end, (uint8_t)addr.port,
                       (struct bytes){.p = c->buffer, .n = n});
    }
    if (e->core != NULL) {
        while (core_take(e->core, &done)) {
            run_answer(r, (size_t)done.user, done.status, done.value);
        }
        core_release(e->core);
        reconnect_lost(r, c, end);
    }
    deadline =
        e->replica != NULL ? run_due(r, end, replica_deadline(e->replica)) : core_deadline(e->core);
    if (deadline < e->timer_at_ns) {
        e->timer_at_ns = deadline;
        world_push(&r->world, deadline, EVENT_TICK, end, 0, NULL);
    }
}

static uint64_t opened_n(const struct end *e)
{
    struct replica_report report;

    if (e->core != NULL) {
        return core_rpc_counters(e->core)->opened;
    }
    replica_report(e->replica, &report);
    return report.rpc.opened;
}

static void receive(struct run *r, struct replicas *c, uint8_t end, const struct datagram *d)
{
    struct end *e = &c->ends[end];
    struct bytes view = {.p = d->bytes, .n = d->n};
    const struct abi_addr from = {.family = 4, .port = d->from};
    uint64_t before = opened_n(e);

    trace_event(&r->trace, r->world.now_ns, "datagram", d->id, end, d->n);
    trace_bytes(&r->trace, view);
    if (e->replica != NULL) {
        replica_receive(e->replica, run_clock(r, end), view, from);
    } else {
        core_receive(e->core, r->world.now_ns, view, from);
    }
    if (opened_n(e) != before) {
        datagrams_accepted(r, &c->datagrams, d, end);
    }
    pump(r, c, end);
}

/* False: dead, or asleep; then the event comes again. */
static bool awake(struct run *r, const struct replicas *c, uint8_t end, struct event *e)
{
    uint64_t until;

    if (!is_node(c, end)) {
        return true;
    }
    if (!run_awake(r, end, &until)) {
        return false;
    }
    if (until > r->world.now_ns) {
        world_push(&r->world, until, e->kind, e->a, e->b, e->p);
        e->p = NULL;
        return false;
    }
    return true;
}

/* ---- sessions ---- */

static struct bond *bond_of(struct replicas *c, uint8_t a, uint8_t b)
{
    return a < b ? &c->bonds[a][b] : &c->bonds[b][a];
}

/* Under which index `end` receives from `peer`. */
static uint32_t index_of(struct replicas *c, uint8_t end, uint8_t peer, uint32_t generation)
{
    if (!is_node(c, end)) {
        return core_index(peer, 0, generation);
    }
    return (generation & 0xfff) << RPC_INDEX_SLOT_BITS |
           (generation % SLOT_SETS * SLOTS_PER_SET + peer);
}

/* The traffic secret of one direction of one session. */
static struct secret secret_of(const struct run *r, uint8_t from, uint8_t to, uint32_t generation)
{
    const uint64_t parts[4] = {r->seed, from, to, generation};
    struct bytes b = {.p = (const uint8_t *)parts, .n = sizeof(parts)};
    struct secret s;

    sha256(&b, 1, s.b);
    return s;
}

static void close_end(struct run *r, struct replicas *c, uint8_t end, uint8_t peer)
{
    struct bond *bond = bond_of(c, end, peer);

    if (!bond->open || (is_node(c, end) && r->crashed[end])) {
        return;
    }
    if (is_node(c, end)) {
        replica_session_close(c->ends[end].replica, run_clock(r, end),
                              index_of(c, end, peer, bond->generation));
    } else {
        core_node_down(c->ends[end].core, r->world.now_ns, peer, true);
    }
    pump(r, c, end);
}

static void open_end(struct run *r, struct replicas *c, uint8_t end, uint8_t peer)
{
    uint32_t generation = bond_of(c, end, peer)->generation;
    bool members = is_node(c, end) && is_node(c, peer);
    struct rpc_session_params p = {
        .index = index_of(c, end, peer, generation),
        .peer_index = index_of(c, peer, end, generation),
        .send = secret_of(r, end, peer, generation),
        .recv = secret_of(r, peer, end, generation),
        .slots = members ? RPC_SLOTS_PEER : RPC_SLOTS_CLIENT,
        .replay_bits = members ? REPLAY_BITS_PEER : REPLAY_BITS_CLIENT,
        .addr = {.family = 4, .port = peer},
    };

    if (is_node(c, end)) {
        if (!r->crashed[end]) {
            CHECK(replica_session_open(c->ends[end].replica, run_clock(r, end),
                                       members ? REPLICA_PEER_MEMBER : REPLICA_PEER_CLIENT,
                                       members ? peer : 0, &p) == OK);
        }
    } else {
        CHECK(core_session_up(c->ends[end].core, r->world.now_ns, peer, 0, &p) == OK);
    }
}

/* A new handshake between two endpoints: whatever session there was ends at both. */
static void open_bond(struct run *r, struct replicas *c, uint8_t a, uint8_t b)
{
    struct bond *bond = bond_of(c, a, b);

    if ((is_node(c, a) && r->crashed[a]) || (is_node(c, b) && r->crashed[b])) {
        return;
    }
    close_end(r, c, a, b);
    close_end(r, c, b, a);
    bond->generation++;
    bond->open = true;
    trace_event(&r->trace, r->world.now_ns, "session", a, b, bond->generation);
    open_end(r, c, a, b);
    open_end(r, c, b, a);
    pump(r, c, a);
    pump(r, c, b);
}

static void close_bond(struct run *r, uint8_t a, uint8_t b)
{
    struct replicas *c = r->cluster;

    close_end(r, c, a, b);
    if (prng_chance(&r->faults, 1, 2)) { /* else the other end hears of it, or not */
        close_end(r, c, b, a);
    }
    world_push(&r->world, r->world.now_ns + prng_below(&r->faults, 200 * ms), EVENT_OPEN, a, b,
               NULL);
}

/* ---- operations ---- */

static void on_submit(struct run *r, struct replicas *c, size_t op)
{
    const struct history_op *o = &r->history.ops[op];
    uint8_t key[2] = {'k', (uint8_t)o->key};
    uint8_t end = (uint8_t)(c->nodes_n + (o->after_heal ? c->clients_n + o->node : o->client));
    struct client_request m;
    struct core_request q;
    uint8_t *value;
    enum err err;

    history_request(&r->history, op, &m, &value);
    q = (struct core_request){.op = m.op,
                              .timeout_ms = m.timeout_ms,
                              .user = op,
                              .key = {.p = key, .n = sizeof(key)},
                              .value = m.value,
                              .rmw = m.rmw,
                              .expect_len = m.expect_len,
                              .delta = m.delta};
    err = core_submit(c->ends[end].core, r->world.now_ns, &q);
    free(value);
    if (err != OK) {
        run_answer(r, op, err, (struct bytes){0});
    }
    pump(r, c, end);
}

static void submit(struct run *r, size_t op)
{
    world_push(&r->world, r->world.now_ns, EVENT_SUBMIT, (uint32_t)op, 0, NULL);
}

/* CLI-1: an operation ends at its deadline at the latest. */
static void give_up(struct run *r, size_t op)
{
    run_fault(r, VERDICT_NOT_LIVE, "operation #%zu outlived its deadline", op + 1);
}

/* ---- events ---- */

static void event(struct run *r, struct event *e)
{
    struct replicas *c = r->cluster;
    struct end *end;

    switch (e->kind) {
    case EVENT_DATAGRAM:
        if (awake(r, c, (uint8_t)e->a, e)) {
            receive(r, c, (uint8_t)e->a, e->p);
        }
        break;
    case EVENT_TICK:
        end = &c->ends[e->a];
        if (e->at_ns >= end->timer_at_ns && awake(r, c, (uint8_t)e->a, e)) {
            end->timer_at_ns = UINT64_MAX;
            if (end->replica != NULL) {
                replica_tick(end->replica, run_clock(r, (uint8_t)e->a));
            } else {
                core_tick(end->core, r->world.now_ns);
            }
            pump(r, c, (uint8_t)e->a);
        }
        break;
    case EVENT_SUBMIT:
        on_submit(r, c, e->a);
        break;
    case EVENT_OPEN:
        open_bond(r, c, (uint8_t)e->a, (uint8_t)e->b);
        break;
    default:
        CHECK(false);
    }
}

/* The machines find out by themselves. */
static void link_changed(struct run *r, uint8_t from, uint8_t to)
{
    (void)r;
    (void)from;
    (void)to;
}

static void node_crashed(struct run *r, uint8_t node)
{
    (void)r;
    (void)node;
}

static void healed(struct run *r)
{
    (void)r;
}

static void tamper(struct run *r, uint8_t node)
{
    struct replicas *c = r->cluster;

    tamper_arena(&r->faults, &c->ends[node].arena);
}

static struct store *store_of(struct run *r, uint8_t node)
{
    struct replicas *c = r->cluster;

    return replica_store(c->ends[node].replica);
}

static uint64_t divergences(struct run *r, uint8_t node)
{
    struct replicas *c = r->cluster;
    struct replica_report report;

    replica_report(c->ends[node].replica, &report);
    return report.abd.divergences;
}

/* ---- life ---- */

static void open_heap(struct end *e, size_t n)
{
    e->region_bytes = n;
    e->region = pages_take(n);
    e->timer_at_ns = UINT64_MAX;
    CHECK(heap_init(e->region, n, &e->heap) == OK);
    e->heap_used = heap_used(e->heap);
}

static void open_node(struct run *r, struct replicas *c, uint8_t node)
{
    const struct swarm *s = &r->swarm;
    struct end *e = &c->ends[node];
    struct replica_config config = {.aead = c->aead,
                                    .shard = 0,
                                    .incarnation = 1000U + node,
                                    .self = node,
                                    .members_n = s->nodes_n,
                                    .datagram_bytes = s->datagram_bytes,
                                    .value_max = VALUE_MAX_DEFAULT,
                                    .sessions_max = SLOT_SETS * SLOTS_PER_SET,
                                    .key_packets = s->key_packets,
                                    .hedge_ns = s->hedge_ns,
                                    .sync_ns = s->sync_ns,
                                    .seed = r->seed + node,
                                    .arena_bytes = s->arena_bytes};

    open_heap(e, s->heap_bytes);
    tamper_arena_open(&e->arena, s->arena_bytes);
    config.heap = e->heap;
    config.arena = e->arena.now;
    config.store_master = secret_of(r, node, node, 0);
    CHECK(replica_init(&config, &e->replica) == OK);
    replica_plant(e->replica, r->plants);
}

static void open_client(struct run *r, struct replicas *c, uint8_t end, uint32_t prefer)
{
    struct end *e = &c->ends[end];
    struct core_config config = {.aead = c->aead,
                                 .nodes_n = r->swarm.nodes_n,
                                 .shards_n = 1,
                                 .datagram_bytes = r->swarm.datagram_bytes,
                                 .value_max = VALUE_MAX_DEFAULT,
                                 .in_flight_max = 16,
                                 .prefer = prefer,
                                 .seed = r->seed + end};

    open_heap(e, CLIENT_HEAP);
    config.heap = e->heap;
    CHECK(core_init(&config, &e->core) == OK);
}

static void open_cluster(struct run *r)
{
    struct replicas *c = calloc(1, sizeof(*c));
    uint8_t n = r->swarm.nodes_n;
    uint32_t own; /* of clients that speak with one node alone: the first */

    CHECK(c != NULL);
    r->cluster = c;
    c->aead = aead_open_impl(aead_best());
    CHECK(c->aead != NULL);
    c->nodes_n = n;
    c->clients_n = (uint8_t)r->swarm.clients_n;
    own = n + r->swarm.clients_n;
    c->ends_n = (uint8_t)(own + n);
    datagrams_open(&c->datagrams, EVENT_DATAGRAM, c->ends_n);
    for (uint8_t i = 0; i < c->ends_n; i++) {
        if (is_node(c, i)) {
            open_node(r, c, i);
        } else {
            open_client(r, c, i, i < own ? 0 : i - own + 1U);
        }
    }
    for (uint8_t node = 0; node < n; node++) {
        for (uint32_t peer = node + 1U; peer < own; peer++) {
            world_push(&r->world, prng_below(&r->faults, 20 * ms), EVENT_OPEN, node, peer, NULL);
        }
        world_push(&r->world, 0, EVENT_OPEN, node, own + node, NULL);
    }
}

static void close_end_of(struct run *r, struct replicas *c, uint8_t i)
{
    struct end *e = &c->ends[i];
    struct replica_report report;

    if (is_node(c, i)) {
        replica_report(e->replica, &report);
        trace_bytes(&r->trace,
                    (struct bytes){.p = (const uint8_t *)&report.rpc, .n = sizeof(report.rpc)});
        trace_bytes(&r->trace,
                    (struct bytes){.p = (const uint8_t *)&report.abd, .n = sizeof(report.abd)});
        replica_fini(e->replica);
        tamper_arena_close(&e->arena);
    } else {
        core_fini(e->core);
    }
    CHECK(heap_used(e->heap) == e->heap_used); /* nothing was lost */
    heap_fini(e->heap);
    pages_give(e->region, e->region_bytes);
}

static void close_cluster(struct run *r)
{
    struct replicas *c = r->cluster;

    for (uint8_t i = 0; i < c->ends_n; i++) {
        close_end_of(r, c, i);
    }
    datagrams_close(&c->datagrams);
    aead_close_impl(c->aead);
    free(c);
}

const struct level_ops replica_level = {
    .open = open_cluster,
    .close = close_cluster,
    .submit = submit,
    .give_up = give_up,
    .event = event,
    .link = link_changed,
    .crash = node_crashed,
    .reset = close_bond,
    .tamper = tamper,
    .heal = healed,
    .store = store_of,
    .divergences = divergences,
};
