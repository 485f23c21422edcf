// SPDX-License-Identifier: Apache-2.0
#include "sim/replicas.h"

#include "common/check.h"
#include "sim/batches.h"
#include "sim/plants.h"

#include <stdlib.h>

static const uint64_t ms = UINT64_C(1000000);

uint8_t replicas_own_first(const struct replicas *c)
{
    return (uint8_t)(FIRST_CLIENT + c->clients_n);
}

/* ---- maps of clients ---- */

void replicas_take_map(struct run *r, uint8_t client, uint64_t epoch)
{
    struct end *e = &replicas_of(r)->ends[client];
    struct core_map map = {.groups_n = r->swarm.groups_n};
    const struct cluster *k;

    if (r->swarm.groups_n == 0 || epoch <= e->epoch) {
        return;
    }
    k = registrar_config(r, epoch);
    for (uint32_t g = 0; g < map.groups_n; g++) {
        for (uint32_t i = 0; i < k->members_n; i++) {
            map.at[g] |= (k->groups[g].voters >> i & 1) << registrar_host(k->members[i].node);
        }
    }
    e->epoch = epoch;
    core_set_map(e->core, r->world.now_ns, &map);
    replicas_pump(r, client);
}

void replicas_spread_map(struct run *r, uint64_t epoch)
{
    const struct replicas *c = replicas_of(r);

    for (uint8_t i = FIRST_CLIENT; r->swarm.groups_n != 0 && i < c->ends_n; i++) {
        uint64_t within = (r->healed ? 5 : 200) * ms;

        if (c->ends[i].epoch < epoch && (r->healed || prng_chance(&r->faults, 1, 8))) {
            world_push(&r->world, r->world.now_ns + prng_below(&r->faults, within), EVENT_MAP, i,
                       (uint32_t)epoch, NULL);
        }
    }
}

/* ---- endpoints ---- */

uint64_t replicas_clock(const struct run *r, uint8_t end)
{
    return is_process(end) ? run_clock(r, replicas_of(r)->ends[end].host) : r->world.now_ns;
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
    uint32_t lost = core_take_lost(c->ends[end].core);

    for (uint8_t host = 0; host < c->hosts_n; host++) {
        if ((lost & 1U << host) != 0 && c->runs[host] != NOBODY) {
            world_push(&r->world, r->world.now_ns + 10 * ms, EVENT_OPEN, c->runs[host], end, NULL);
        }
    }
}

void replicas_pump(struct run *r, uint8_t end)
{
    struct replicas *c = replicas_of(r);
    struct end *e = &c->ends[end];
    struct core_completion done;
    struct abi_addr addr;
    uint64_t deadline;
    size_t n;

    while (transmit(c, e, replicas_clock(r, end), &addr, &n)) {
        datagrams_send(r, &c->datagrams, end, (uint8_t)addr.port,
                       (struct bytes){.p = c->buffer, .n = n});
    }
    if (e->core != NULL) {
        while (core_take(e->core, &done)) {
            run_answer(r, (size_t)done.user, done.status, done.value);
        }
        core_release(e->core);
        while (core_take_batch(e->core, &done)) {
            run_answer(r, (size_t)done.user, done.status, done.value);
        }
        reconnect_lost(r, c, end);
    }
    deadline = e->replica != NULL ? run_due(r, e->host, replica_deadline(e->replica))
                                  : core_deadline(e->core);
    if (deadline < e->timer_at_ns) {
        e->timer_at_ns = deadline;
        world_push(&r->world, deadline, EVENT_TICK, end, 0, NULL);
    }
}

static uint64_t opened_n(const struct end *e)
{
    return e->core != NULL ? core_rpc_counters(e->core)->opened
                           : replica_rpc_counters(e->replica)->opened;
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
        replica_receive(e->replica, replicas_clock(r, end), view, from);
    } else {
        core_receive(e->core, r->world.now_ns, view, from);
    }
    if (opened_n(e) != before) {
        datagrams_accepted(r, &c->datagrams, d, end);
    }
    replicas_pump(r, end);
}

bool replicas_awake(struct run *r, uint8_t end, struct event *e)
{
    const struct end *at = &replicas_of(r)->ends[end];
    uint64_t until;

    if (!is_alive(replicas_of(r), end)) {
        return false;
    }
    if (!is_process(end)) {
        return true;
    }
    until = at->is_ghost ? 0 : r->paused_until_ns[at->host];
    until = at->asleep_until_ns > until ? at->asleep_until_ns : until;
    if (until > r->world.now_ns) {
        world_push(&r->world, until, e->kind, e->a, e->b, e->p);
        e->p = NULL;
        return false;
    }
    return true;
}

/* ---- operations ---- */

static void on_submit(struct run *r, struct replicas *c, size_t op)
{
    const struct history_op *o = &r->history.ops[op];
    uint8_t end =
        (uint8_t)(o->after_heal ? replicas_own_first(c) + o->node : FIRST_CLIENT + o->client);
    struct client_request m;
    struct core_request q;
    struct sim_key key;
    uint8_t *value;
    enum err err;

    run_request(r, op, &key, &m, &value);
    q = (struct core_request){.op = m.op,
                              .timeout_ms = m.timeout_ms,
                              .user = op,
                              .key = m.key,
                              .value = m.value,
                              .rmw = m.rmw,
                              .expect_len = m.expect_len,
                              .delta = m.delta,
                              .group = o->batch != 0 ? run_key_group(r, o->key) : 0};
    err = core_submit(c->ends[end].core, r->world.now_ns, &q);
    free(value);
    if (err != OK) {
        run_answer(r, op, err, (struct bytes){0});
    }
    replicas_pump(r, end);
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

static void on_tick(struct run *r, struct replicas *c, struct event *e)
{
    uint8_t number = (uint8_t)e->a;
    struct end *end = &c->ends[number];

    if (e->at_ns < end->timer_at_ns || !replicas_awake(r, number, e)) {
        return;
    }
    end->timer_at_ns = UINT64_MAX;
    if (end->replica != NULL) {
        replica_tick(end->replica, replicas_clock(r, number));
    } else {
        core_tick(end->core, r->world.now_ns);
    }
    replicas_pump(r, number);
}

static void event(struct run *r, struct event *e)
{
    struct replicas *c = r->cluster;

    switch (e->kind) {
    case EVENT_DATAGRAM:
        if (replicas_awake(r, (uint8_t)e->a, e)) {
            receive(r, c, (uint8_t)e->a, e->p);
        }
        break;
    case EVENT_TICK:
        on_tick(r, c, e);
        break;
    case EVENT_SUBMIT:
        on_submit(r, c, e->a);
        break;
    case EVENT_OPEN:
        sessions_open(r, (uint8_t)e->a, (uint8_t)e->b);
        break;
    case EVENT_HANG_UP:
        sessions_hang_up(r, e);
        break;
    case EVENT_DIAL:
        sessions_dial(r, e);
        break;
    case EVENT_CONFIG:
        if (replicas_awake(r, (uint8_t)e->a, e)) {
            process_configure(r, (uint8_t)e->a, e->b);
        }
        break;
    case EVENT_KEEPER:
        registrar_turn(r);
        break;
    case EVENT_REPORT:
        registrar_hear(r, e);
        break;
    case EVENT_REBORN:
        process_reborn(r, e);
        break;
    case EVENT_WAKE:
        members_wake(r, (uint8_t)e->a);
        break;
    case EVENT_MAP:
        replicas_take_map(r, (uint8_t)e->a, e->b);
        break;
    default:
        CHECK(false);
    }
}

/* ---- what happens to the cluster ---- */

/* The machines find out by themselves. */
static void link_changed(struct run *r, uint8_t from, uint8_t to)
{
    (void)r;
    (void)from;
    (void)to;
}

/* For good: the keeper waits for a person. */
static void host_crashed(struct run *r, uint8_t host)
{
    struct replicas *c = r->cluster;

    if (c->runs[host] != NOBODY) {
        process_end(r, c->runs[host], false);
    }
}

static void reset(struct run *r, uint8_t a, uint8_t b)
{
    const struct replicas *c = r->cluster;

    if (c->runs[a] != NOBODY && c->runs[b] != NOBODY) {
        sessions_reset(r, c->runs[a], c->runs[b]);
    }
}

static void keeper_away(struct run *r)
{
    registrar_leave(r, 1 + prng_below(&r->faults, 3000 * ms));
}

static void tamper(struct run *r, uint8_t host)
{
    struct replicas *c = r->cluster;

    if (c->runs[host] != NOBODY) {
        tamper_arena(&r->faults, &c->ends[c->runs[host]].arena);
    }
}

static struct replica *member_at(const struct replicas *c, uint8_t host)
{
    uint8_t p = c->runs[host];
    bool is_member =
        p != NOBODY && keeping_place(register_latest(&c->keeper.reg), c->ends[p].incarnation) >= 0;

    return is_member ? c->ends[p].replica : NULL;
}

static struct store *store_of(struct run *r, uint8_t host, uint32_t group)
{
    struct replica *at = member_at(r->cluster, host);

    return at == NULL ? NULL : replica_group_store(at, group);
}

static uint64_t divergences(struct run *r, uint8_t host)
{
    const struct replica *at = member_at(r->cluster, host);
    struct replica_report report;

    if (at == NULL) {
        return 0;
    }
    replica_report(at, &report);
    return report.abd.divergences;
}

static uint64_t listed(struct run *r, uint8_t host)
{
    const struct replica *at = member_at(r->cluster, host);
    struct replica_report report;

    if (at == NULL) {
        return 0;
    }
    replica_report(at, &report);
    return report.abd.listed;
}

/* ---- life ---- */

void replicas_open_heap(struct end *e, size_t n)
{
    e->region_bytes = n;
    e->region = heap_pages_take(n);
    e->timer_at_ns = UINT64_MAX;
    CHECK(heap_init(e->region, n, &e->heap) == OK);
    e->heap_used = heap_used(e->heap);
}

void replicas_close_heap(struct end *e)
{
    CHECK(heap_used(e->heap) == e->heap_used);
    heap_fini(e->heap);
    heap_pages_give(e->region, e->region_bytes);
    e->region = NULL;
}

static void open_client(struct run *r, struct replicas *c, uint8_t end, uint32_t prefer)
{
    struct end *e = &c->ends[end];
    struct core_config config = {.aead = c->aead,
                                 .nodes_n = c->hosts_n,
                                 .shards_n = 1,
                                 .datagram_bytes = r->swarm.datagram_bytes,
                                 .value_max = VALUE_MAX_DEFAULT,
                                 .in_flight_max = 16,
                                 .prefer = prefer,
                                 .looks = prefer == 0 && r->swarm.looks,
                                 .seed = r->seed + end};

    if (r->swarm.groups_n != 0) { /* without, as runs were drawn before there were groups */
        memcpy(config.cluster, run_cluster_id, sizeof(config.cluster));
    }
    replicas_open_heap(e, CLIENT_HEAP);
    c->host_of[end] = RUN_CLIENT;
    config.heap = e->heap;
    CHECK(core_init(&config, &e->core) == OK);
    core_plant(e->core, r->client_plants);
}

static void open_cluster(struct run *r)
{
    struct replicas *c = calloc(1, sizeof(*c));
    uint8_t own;

    CHECK(c != NULL);
    r->cluster = c;
    c->aead = aead_open_impl(aead_best());
    CHECK(c->aead != NULL);
    c->hosts_n = r->swarm.hosts_n;
    c->clients_n = (uint8_t)r->swarm.clients_n;
    own = replicas_own_first(c);
    c->ends_n = (uint8_t)(own + c->hosts_n);
    memset(c->runs, NOBODY, sizeof(c->runs));
    datagrams_open(&c->datagrams, EVENT_DATAGRAM, c->ends_n, c->host_of);
    for (uint8_t i = FIRST_CLIENT; i < c->ends_n; i++) {
        open_client(r, c, i, i < own ? 0 : i - own + 1U);
    }
    registrar_open(r, r->swarm.nodes_n);
    for (uint8_t i = FIRST_CLIENT; i < c->ends_n; i++) {
        replicas_take_map(r, i, register_latest(&c->keeper.reg)->epoch);
    }
    c->keeper.restarts = r->swarm.dynamic;
    registrar_found(r);
    if (r->swarm.dynamic) {
        world_push(&r->world, 0, EVENT_KEEPER, 0, 0, NULL);
    }
}

static void close_cluster(struct run *r)
{
    struct replicas *c = r->cluster;

    for (uint8_t i = 0; i < c->ends_n; i++) {
        if (is_process(i) && is_alive(c, i)) {
            process_end(r, i, false);
        } else if (!is_process(i)) {
            core_fini(c->ends[i].core);
            replicas_close_heap(&c->ends[i]);
        }
    }
    registrar_close(r);
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
    .crash = host_crashed,
    .reset = reset,
    .tamper = tamper,
    .heal = members_heal,
    .store = store_of,
    .divergences = divergences,
    .listed = listed,
    .restart = members_restart,
    .sleep = members_sleep,
    .clone = members_clone,
    .change = members_change,
    .keeper_away = keeper_away,
    .wants = members_want,
    .serves = members_serve,
};
