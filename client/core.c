// SPDX-License-Identifier: Apache-2.0
#include "client/core.h"

#include "client/core_internal.h"
#include "common/check.h"
#include "common/slots.h"

_Static_assert(RPC_SESSIONS_MAX >= CLUSTER_MAX * SHARDS_MAX, "a session per node and shard");

/* ---- life ---- */

static uint32_t places_below(uint32_t n)
{
    return n == 32 ? UINT32_MAX : (UINT32_C(1) << n) - 1;
}

static bool allocate(struct core *c)
{
    const struct core_config *k = &c->config;
    size_t n = k->in_flight_max;

    c->ops = heap_zalloc(k->heap, n * sizeof(*c->ops));
    c->alarms.at = heap_zalloc(k->heap, n * sizeof(struct op *));
    c->lent = heap_zalloc(k->heap, n * sizeof(*c->lent));
    c->sessions = heap_zalloc(k->heap, (size_t)k->nodes_n * SHARDS_MAX * sizeof(*c->sessions));
    return core_look_init(c) == OK && c->ops != NULL && c->alarms.at != NULL && c->lent != NULL &&
           c->sessions != NULL;
}

RESULT core_init(const struct core_config *k, struct core **ret)
{
    struct core *c = heap_zalloc(k->heap, sizeof(*c));
    struct rpc_config rpc = {
        .heap = k->heap,
        .aead = k->aead,
        .sessions_max = k->nodes_n * SHARDS_MAX,
        .datagram_bytes = k->datagram_bytes,
        .message_max = message_max_for(k->value_max),
        .seed = k->seed,
    };

    uint32_t first_n;

    if (c == NULL) {
        return ERR_ENCLAVE_MEMORY;
    }
    CHECK(k->first_n <= k->nodes_n);
    CHECK(k->nodes_n > 0 && k->nodes_n <= CLUSTER_MAX);
    CHECK(k->shards_n > 0 && k->shards_n <= SHARDS_MAX);
    CHECK(k->in_flight_max > 0 && k->in_flight_max <= CORE_IN_FLIGHT_MAX);
    CHECK(k->prefer <= k->nodes_n && k->value_max <= VALUE_MAX);
    c->config = *k;
    c->prng = (struct prng){.state = k->seed};
    c->spill = k->prefer == 0;
    first_n = k->first_n == 0 ? k->nodes_n : k->first_n;
    c->map = (struct core_map){.groups_n = 1, .at = {places_below(first_n)}};
    c->start = c->spill ? (uint32_t)prng_below(&c->prng, first_n) : k->prefer - 1;
    if (!allocate(c) || rpc_init(&rpc, &c->rpc) != OK) {
        core_fini(c);
        return ERR_ENCLAVE_MEMORY;
    }
    for (uint32_t i = 0; i < k->in_flight_max; i++) {
        op_list_push(&c->free, &c->ops[i]);
    }
    *ret = c;
    return OK;
}

static void free_op_memory(struct core *c, struct op *o)
{
    core_free_block(c, o);
    heap_free(c->config.heap, o->value_block, o->value_block_n);
    core_look_values_give(c, o->values);
    o->value_block = NULL;
    o->values = NULL;
}

void core_fini(struct core *c)
{
    struct heap *heap;

    if (c == NULL) {
        return;
    }
    heap = c->config.heap;
    rpc_fini(c->rpc); /* first: calls under way borrow from the operations */
    core_release(c);
    heap_free(heap, c->lent_batch.block, c->lent_batch.n);
    for (uint32_t i = 0; c->ops != NULL && i < c->config.in_flight_max; i++) {
        free_op_memory(c, &c->ops[i]);
    }
    core_look_fini(c);
    heap_free(heap, c->sessions, (size_t)c->config.nodes_n * SHARDS_MAX * sizeof(*c->sessions));
    heap_free(heap, c->lent, c->config.in_flight_max * sizeof(*c->lent));
    heap_free(heap, c->alarms.at, c->config.in_flight_max * sizeof(struct op *));
    heap_free(heap, c->ops, c->config.in_flight_max * sizeof(*c->ops));
    heap_free(heap, c, sizeof(*c));
}

void core_plant(struct core *c, unsigned plants)
{
    c->plants = plants;
}

/* ---- sessions ---- */

/* Everything that waited for the session goes elsewhere: none of it had left. */
static void scatter(struct core *c, struct session *s)
{
    uint32_t n = s->waiting.n;

    for (uint32_t i = 0; i < n; i++) {
        struct op *o = op_list_pop(&s->waiting);

        c->counters.failed_over++;
        core_dispatch(c, o);
    }
}

/* CLI-9: reads that wait for an answer of a silent node ask another one at once. */
static void hedge_all(struct core *c, uint32_t index)
{
    core_look_down(c, index);
    for (uint32_t i = 0; i < c->config.in_flight_max; i++) {
        struct op *o = &c->ops[i];

        for (uint32_t k = 0; o->state == OP_CALLED && op_is_read(o) && k < CORE_CALLS_MAX; k++) {
            if (o->calls[k].live && o->calls[k].call.session == index) {
                core_hedge(c, o);
                break;
            }
        }
    }
}

static void unpark(struct core *c)
{
    uint32_t n = c->parked.n;

    for (uint32_t i = 0; i < n; i++) {
        core_dispatch(c, op_list_pop(&c->parked));
    }
}

static void drain(struct core *c);

static void end_session(struct core *c, struct session *s, bool say)
{
    if (!s->open) {
        return;
    }
    s->open = false;
    s->up = false;
    rpc_session_close(c->rpc, s->index, say);
    drain(c); /* its calls end with FAILED */
    scatter(c, s);
}

/* The session of an event; NULL for one that was replaced meanwhile. */
static struct session *session_of(struct core *c, uint32_t index)
{
    uint32_t slot = index & ((1U << 20) - 1);
    struct session *s;

    CHECK(slot < c->config.nodes_n * SHARDS_MAX);
    s = &c->sessions[slot];
    return s->open && s->index == index ? s : NULL;
}

static void on_session_event(struct core *c, const struct rpc_event *e)
{
    struct session *s = session_of(c, e->session);

    if (s == NULL) {
        return;
    }
    switch (e->kind) {
    case RPC_EVENT_UP:
        s->up = true;
        unpark(c);
        return;
    case RPC_EVENT_DOWN:
        s->up = false;
        scatter(c, s);
        hedge_all(c, s->index);
        return;
    case RPC_EVENT_CLOSED:
        c->lost |= UINT32_C(1) << (e->session & ((1U << 20) - 1)) / SHARDS_MAX;
        end_session(c, s, false);
        return;
    case RPC_EVENT_REQUEST: /* nobody asks a client: the request stays without an answer */
    case RPC_EVENT_RESPONSE:
    case RPC_EVENT_FAILED:
    default:
        return;
    }
}

static void drain(struct core *c)
{
    struct rpc_event e;

    while (rpc_next(c->rpc, &e)) {
        if (e.kind == RPC_EVENT_RESPONSE || e.kind == RPC_EVENT_FAILED) {
            core_ended(c, &e);
        } else {
            on_session_event(c, &e);
        }
    }
}

static void hear(struct core *c, uint64_t now_ns)
{
    if (now_ns > c->now_ns) {
        c->now_ns = now_ns;
    }
}

RESULT core_session_up(struct core *c, uint64_t now_ns, uint32_t place, uint32_t shard,
                       const struct rpc_session_params *p)
{
    struct session *s;

    CHECK(place < c->config.nodes_n && shard < c->config.shards_n);
    CHECK((p->index & ((1U << 20) - 1)) == place * SHARDS_MAX + shard);
    CHECK(p->slots == RPC_SLOTS_CLIENT);
    hear(c, now_ns);
    s = core_session(c, place, shard);
    end_session(c, s, false);
    TRY(rpc_session_open(c->rpc, c->now_ns, p));
    s->index = p->index;
    s->in_rpc = 0;
    s->open = true;
    s->up = true;
    s->leaving = false;
    c->lost &= ~(UINT32_C(1) << place);
    unpark(c);
    return OK;
}

void core_node_leave(struct core *c, uint32_t place)
{
    CHECK(place < c->config.nodes_n);
    for (uint32_t shard = 0; shard < SHARDS_MAX; shard++) {
        core_session(c, place, shard)->leaving = true;
    }
}

bool core_node_idle(const struct core *c, uint32_t place)
{
    CHECK(place < c->config.nodes_n);
    for (uint32_t shard = 0; shard < SHARDS_MAX; shard++) {
        const struct session *s = core_session(c, place, shard);

        if (s->in_rpc > 0 || s->waiting.n > 0) {
            return false;
        }
    }
    return true;
}

void core_node_down(struct core *c, uint64_t now_ns, uint32_t place, bool say)
{
    CHECK(place < c->config.nodes_n);
    hear(c, now_ns);
    for (uint32_t shard = 0; shard < SHARDS_MAX; shard++) {
        end_session(c, core_session(c, place, shard), say);
    }
    c->lost &= ~(UINT32_C(1) << place);
}

void core_set_map(struct core *c, uint64_t now_ns, const struct core_map *m)
{
    CHECK(m->groups_n >= 1 && m->groups_n <= GROUPS_MAX);
    CHECK(!c->has_map || m->groups_n == c->map.groups_n);
    hear(c, now_ns);
    c->map = *m;
    c->has_map = true;
    core_look_scatter(c);
    unpark(c);
}

uint32_t core_groups(const struct core *c)
{
    return c->map.groups_n;
}

uint32_t core_parts(const struct core *c)
{
    return c->config.shards_n + c->map.groups_n - 1;
}

bool core_part(const struct core *c, uint32_t part, uint32_t *ret_shard, uint32_t *ret_group)
{
    return slot_part_is(part, c->config.shards_n, c->map.groups_n, ret_shard, ret_group);
}

uint32_t core_part_of(const struct core *c, struct bytes key)
{
    return slot_part(slot_of(c->config.cluster, key), c->config.shards_n, c->map.groups_n);
}

uint32_t core_take_lost(struct core *c)
{
    uint32_t lost = c->lost;

    c->lost = 0;
    return lost;
}

void core_set_shards(struct core *c, uint32_t shards_n)
{
    CHECK(shards_n > 0 && shards_n <= SHARDS_MAX);
    for (uint32_t i = 0; i < c->config.nodes_n * SHARDS_MAX; i++) {
        CHECK(!c->sessions[i].open);
    }
    c->config.shards_n = shards_n;
    core_look_scatter(c);
}

uint32_t core_shards(const struct core *c)
{
    return c->config.shards_n;
}

uint32_t core_sessions_up(const struct core *c)
{
    uint32_t n = 0;

    for (uint32_t i = 0; i < c->config.nodes_n * SHARDS_MAX; i++) {
        n += c->sessions[i].up ? 1 : 0;
    }
    return n;
}

/* ---- operations ---- */

static enum err check_request(const struct core *c, const struct core_request *q)
{
    const struct client_request m = {
        .op = q->op,
        .timeout_ms = q->timeout_ms,
        .key = q->key,
        .value = q->value,
        .rmw = q->rmw,
        .expect_len = q->expect_len,
        .delta = q->delta,
        .group = (uint8_t)(client_op_is_batch(q->op) ? q->group : 0),
    };
    size_t value_max = c->config.value_max;

    if (q->op == CLIENT_LOOK) { /* the core's own */
        return ERR_USAGE;
    }
    if (client_op_is_batch(q->op)) {
        value_max = message_max_for(c->config.value_max) - MESSAGE_HEAD_MAX;
        if (q->shard >= c->config.shards_n || q->group >= c->map.groups_n) {
            return ERR_USAGE;
        }
    }
    if (q->key.n > KEY_MAX || q->value.n > value_max) {
        return ERR_TOO_BIG;
    }
    return client_request_is_legal(&m) ? OK : ERR_USAGE;
}

/* One of the places by the slot; places are in the order of nodes, as a rule, for every client. */
static uint32_t nth_place(uint32_t set, uint32_t slot)
{
    uint32_t n = (uint32_t)__builtin_popcount(set);

    for (uint32_t i = n == 0 ? 0 : slot_run(slot, n); i > 0; i--) {
        set &= set - 1;
    }
    return set == 0 ? 0 : (uint32_t)__builtin_ctz(set);
}

RESULT core_submit(struct core *c, uint64_t now_ns, const struct core_request *q)
{
    struct op *o = c->free.head;
    uint64_t timeout_ns = q->timeout_ms * UINT64_C(1000000);
    uint8_t *block;

    TRY(check_request(c, q));
    if (o == NULL) {
        return ERR_BUSY;
    }
    block = o->key_inline;
    if (q->key.n + q->value.n > sizeof(o->key_inline)) {
        block = heap_alloc(c->config.heap, q->key.n + q->value.n);
    }
    if (block == NULL) {
        return ERR_FULL;
    }
    hear(c, now_ns);
    op_list_remove(o);
    *o = (struct op){
        .op = q->op,
        .generation = o->generation + 1,
        .deadline_at_ns = c->now_ns + timeout_ns,
        .share_ns = timeout_ns / CORE_CALLS_MAX,
        .no_memory_before = rpc_counters(c->rpc)->no_memory,
        .user = q->user,
        .block = block,
        .key_len = (uint32_t)q->key.n,
        .value_len = (uint32_t)q->value.n,
        .rmw = q->rmw,
        .expect_len = q->expect_len,
        .delta = q->delta,
        .start = (uint8_t)c->start,
        .shard = q->shard,
        .group = (uint8_t)q->group,
    };
    if (q->key.n != 0) {
        memcpy(block, q->key.p, q->key.n);
    }
    if (q->value.n != 0) {
        memcpy(block + q->key.n, q->value.p, q->value.n);
    }
    if (!client_op_is_batch(o->op)) {
        o->slot = (uint16_t)slot_of(c->config.cluster, q->key);
        o->group = (uint8_t)slot_run(o->slot, c->map.groups_n);
    }
    if (o->op == CLIENT_RMW && c->spill) { /* RMW-14: all clients ask the same one */
        o->start = (uint8_t)nth_place(c->map.at[o->group], o->slot);
    }
    c->in_flight++;
    c->counters.submitted++;
    if (!core_look_gather(c, o)) {
        core_dispatch(c, o);
    }
    return OK;
}

void core_receive(struct core *c, uint64_t now_ns, struct bytes datagram, struct abi_addr from)
{
    hear(c, now_ns);
    /* What was wrong with it, if anything, is in rpc's counters. */
    enum err err = rpc_receive(c->rpc, c->now_ns, datagram, from);

    (void)err;
    drain(c);
}

bool core_transmit(struct core *c, uint64_t now_ns, struct mbytes to, struct abi_addr *ret_addr,
                   size_t *ret_len)
{
    hear(c, now_ns);
    if (c->looks.gathered_n > 0) {
        core_look_flush(c);
    }
    if (!rpc_transmit(c->rpc, c->now_ns, to, ret_addr, ret_len)) {
        return false;
    }
    c->sent++;
    return true;
}

void core_tick(struct core *c, uint64_t now_ns)
{
    hear(c, now_ns);
    if (rpc_deadline(c->rpc) <= c->now_ns) {
        rpc_tick(c->rpc, c->now_ns);
        drain(c);
    }
    core_look_tick(c);
    for (;;) {
        struct op *o = alarms_first(&c->alarms);

        if (o == NULL || o->wake_at_ns > c->now_ns) {
            return;
        }
        core_alarm(c, o);
    }
}

uint64_t core_deadline(const struct core *c)
{
    const struct op *o = alarms_first(&c->alarms);
    uint64_t at = rpc_deadline(c->rpc), looks = core_look_deadline(c);

    at = looks < at ? looks : at;
    return o != NULL && o->wake_at_ns < at ? o->wake_at_ns : at;
}

static bool take_from(struct core *c, struct op_list *l, struct lent *lend,
                      struct core_completion *ret)
{
    struct op *o = op_list_pop(l);

    if (o == NULL) {
        return false;
    }
    *ret = (struct core_completion){
        .user = o->user,
        .op = o->op,
        .rmw = o->rmw,
        .status = o->status,
        .cause = o->cause,
        .lacks = o->lacks,
        .tag = o->tag,
        .value = o->value,
    };
    *lend = (struct lent){.block = o->value_block, .n = o->value_block_n, .values = o->values};
    o->value_block = NULL;
    o->values = NULL;
    o->state = OP_FREE;
    op_list_push(&c->free, o);
    c->in_flight--;
    return true;
}

bool core_take(struct core *c, struct core_completion *ret)
{
    struct lent lend = {0};

    if (!take_from(c, &c->done, &lend, ret)) {
        return false;
    }
    if (lend.block != NULL || lend.values != NULL) {
        CHECK(c->lent_n < c->config.in_flight_max);
        c->lent[c->lent_n++] = lend;
    }
    return true;
}

bool core_take_batch(struct core *c, struct core_completion *ret)
{
    heap_free(c->config.heap, c->lent_batch.block, c->lent_batch.n);
    c->lent_batch = (struct lent){0};
    return take_from(c, &c->done_batches, &c->lent_batch, ret);
}

void core_release(struct core *c)
{
    for (uint32_t i = 0; i < c->lent_n; i++) {
        heap_free(c->config.heap, c->lent[i].block, c->lent[i].n);
        core_look_values_give(c, c->lent[i].values);
    }
    c->lent_n = 0;
}

uint32_t core_in_flight(const struct core *c)
{
    return c->in_flight;
}

uint32_t core_done(const struct core *c)
{
    return c->done.n;
}

uint32_t core_done_batches(const struct core *c)
{
    return c->done_batches.n;
}

const struct core_counters *core_counters(const struct core *c)
{
    return &c->counters;
}

const struct rpc_counters *core_rpc_counters(const struct core *c)
{
    return rpc_counters(c->rpc);
}
