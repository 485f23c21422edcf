// SPDX-License-Identifier: Apache-2.0
#include "common/check.h"
#include "sim/batches.h"
#include "sim/run.h"
#include "sim/tamper.h"
#include "trusted/crypto/kdf.h"
#include "trusted/replica/replica.h"

#include <inttypes.h>
#include <stdlib.h>

/*
 * Level protocol: the ABD machine on the real store. The transport between the machines is this
 * file: it repeats a question until it is answered, cancelled or failed, executes a question at
 * most once (or, by draw, as often as it arrives: the machine must bear that too, but for offers,
 * ABD-21), and may deliver answers late and twice.
 */

static const uint64_t ms = UINT64_C(1000000);

enum {
    EVENT_ASK = EVENT_LEVEL, /* a: call */
    EVENT_ANSWER,            /* a: call */
    EVENT_REPEAT,            /* a: call */
    EVENT_TIMER,             /* a: node */
    EVENT_DETECT,            /* a: node, b: peer */
    EVENT_REQUEST,           /* a: operation */
    EVENT_RESPONSE,          /* a: operation, payload */
};

/* Answer of a coordinator on its way to the client. */
struct response {
    enum err status;
    bool absent;
    size_t value_len;
    uint8_t value[];
};

struct call {
    uint8_t from, to;
    bool live, executed;
    uint64_t cookie;
    struct peer_ask lent; /* what the machine lends */
    uint8_t *ask, *answer;
    size_t ask_len, answer_len, repeats;
};

struct node {
    void *region;
    struct tamper_arena arena;
    struct heap *heap;
    struct store *store;
    struct abd *abd;
    size_t heap_used;
    uint64_t timer_at_ns;
    bool up[NODES_MAX];
};

struct protocol {
    struct aead *aead;
    struct node nodes[NODES_MAX];
    struct call *calls;
    size_t calls_n, calls_cap;
    struct abd_out out;
};

/* ---- nodes ---- */

static void open_node(struct run *r, struct protocol *c, uint8_t i)
{
    const struct swarm *s = &r->swarm;
    struct node *n = &c->nodes[i];
    struct store_config store = {.shard = 3, .aead = c->aead, .arena_bytes = s->arena_bytes};
    struct abd_config abd = {.incarnation = 1000U + i,
                             .self = i,
                             .members_n = s->nodes_n,
                             .value_max = VALUE_MAX_DEFAULT,
                             .ops_max = s->ops_max,
                             .hedge_ns = s->hedge_ns,
                             .sync_ns = s->sync_ns,
                             .collect_ns = s->collect_ns,
                             .seed = r->seed + i};
    const uint64_t seed[2] = {r->seed, i};
    struct bytes part = {.p = (const uint8_t *)seed, .n = sizeof(seed)};

    n->region = heap_pages_take(s->heap_bytes);
    tamper_arena_open(&n->arena, s->arena_bytes);
    store.arena = n->arena.now;
    n->timer_at_ns = UINT64_MAX;
    CHECK(heap_init(n->region, s->heap_bytes, &n->heap) == OK);
    n->heap_used = heap_used(n->heap);
    sha256(&part, 1, store.master.b);
    store.heap = abd.heap = n->heap;
    CHECK(store_init(&store, &n->store) == OK);
    abd.store = n->store;
    CHECK(abd_init(&abd, &n->abd) == OK);
    abd_plant(n->abd, r->plants & ABD_PLANTS);
    store_plant(n->store,
                (r->plants & REPLICA_PLANT_STORE_TRUSTING) != 0 ? STORE_PLANT_TRUSTING : 0);
}

static void close_node(struct run *r, struct node *n)
{
    struct store_stats stats;

    store_stats(n->store, &stats);
    trace_bytes(&r->trace, (struct bytes){.p = (const uint8_t *)&stats, .n = sizeof(stats)});
    trace_bytes(&r->trace, (struct bytes){.p = (const uint8_t *)abd_counters(n->abd),
                                          .n = sizeof(struct abd_counters)});
    abd_fini(n->abd);
    store_fini(n->store);
    CHECK(heap_used(n->heap) == n->heap_used); /* nothing was lost */
    heap_fini(n->heap);
    heap_pages_give(n->region, r->swarm.heap_bytes);
    tamper_arena_close(&n->arena);
}

/* ---- calls ---- */

static void transmit_ask(struct run *r, struct protocol *c, size_t id)
{
    uint64_t at_ns[RUN_COPIES_MAX];
    uint32_t n = run_send(r, c->calls[id].from, c->calls[id].to, at_ns);

    for (uint32_t i = 0; i < n; i++) {
        world_push(&r->world, at_ns[i], EVENT_ASK, (uint32_t)id, 0, NULL);
    }
}

static void transmit_answer(struct run *r, struct protocol *c, size_t id)
{
    uint64_t at_ns[RUN_COPIES_MAX];
    uint32_t n = run_send(r, c->calls[id].to, c->calls[id].from, at_ns);

    for (uint32_t i = 0; i < n; i++) {
        world_push(&r->world, at_ns[i], EVENT_ANSWER, (uint32_t)id, 0, NULL);
    }
}

static size_t encode_ask(const struct peer_ask *ask, uint8_t **ret)
{
    uint8_t head[PEER_ASK_HEAD_MAX];
    size_t head_len = peer_ask_encode_head(ask, head);
    size_t n = head_len + ask->key.n + ask->value.n;
    uint8_t *to = malloc(n);

    CHECK(to != NULL);
    memcpy(to, head, head_len);
    if (ask->key.n != 0) {
        memcpy(to + head_len, ask->key.p, ask->key.n);
    }
    if (ask->value.n != 0) {
        memcpy(to + head_len + ask->key.n, ask->value.p, ask->value.n);
    }
    *ret = to;
    return n;
}

/* The machine lends key and value as long as the call lives: they must still say the same. */
static bool is_still_lent(const struct call *call)
{
    uint8_t *now;
    size_t n = encode_ask(&call->lent, &now);
    bool same = n == call->ask_len && memcmp(now, call->ask, n) == 0;

    free(now);
    return same;
}

static void place_call(struct run *r, struct protocol *c, uint8_t from, const struct abd_call *call)
{
    size_t id = c->calls_n++;

    if (c->calls_n > c->calls_cap) {
        c->calls_cap = c->calls_cap == 0 ? 256 : 2 * c->calls_cap;
        c->calls = realloc(c->calls, c->calls_cap * sizeof(*c->calls));
        CHECK(c->calls != NULL);
    }
    c->calls[id] = (struct call){
        .from = from, .to = call->peer, .live = true, .cookie = call->cookie, .lent = call->ask};
    c->calls[id].ask_len = encode_ask(&call->ask, &c->calls[id].ask);
    trace_event(&r->trace, r->world.now_ns, "place", from, call->peer, call->cookie);
    transmit_ask(r, c, id);
    world_push(&r->world, r->world.now_ns + r->swarm.rto_ns, EVENT_REPEAT, (uint32_t)id, 0, NULL);
}

static void cancel_call(struct run *r, struct protocol *c, uint8_t from,
                        const struct abd_cancel *cancel)
{
    for (size_t i = c->calls_n; i-- > 0;) {
        struct call *call = &c->calls[i];

        if (call->live && call->from == from && call->to == cancel->peer &&
            call->cookie == cancel->cookie) {
            call->live = false;
            trace_event(&r->trace, r->world.now_ns, "cancel", from, call->to, call->cookie);
            return;
        }
    }
}

/* ---- one step of a machine ---- */

static void carry_out(struct run *r, struct protocol *c, uint8_t node)
{
    const struct abd_out *out = &c->out;

    for (uint32_t i = 0; i < out->cancels_n; i++) {
        cancel_call(r, c, node, &out->cancels[i]);
    }
    for (uint32_t i = 0; i < out->calls_n; i++) {
        place_call(r, c, node, &out->calls[i]);
    }
    if (out->have_reply) {
        const struct client_response *m = &out->reply.response;
        uint64_t at_ns[RUN_COPIES_MAX];
        uint32_t n = run_send(r, node, RUN_CLIENT, at_ns);

        for (uint32_t i = 0; i < n; i++) {
            struct response *copy = malloc(sizeof(*copy) + m->value.n);

            CHECK(copy != NULL);
            *copy = (struct response){
                .status = m->status, .absent = m->absent, .value_len = m->value.n};
            if (m->value.n != 0) {
                memcpy(copy->value, m->value.p, m->value.n);
            }
            world_push(&r->world, at_ns[i], EVENT_RESPONSE, (uint32_t)out->reply.user, 0, copy);
        }
    }
}

/* A copy of the answer's bytes in *ret when the step made one. */
static size_t step(struct run *r, uint8_t node, struct abd_in *in, uint8_t **ret)
{
    struct protocol *c = r->cluster;
    struct node *n = &c->nodes[node];
    size_t answer_len = 0;
    uint64_t deadline;

    in->now_ns = run_clock(r, node);
    abd_step(n->abd, in, &c->out);
    if (c->out.have_answer && ret != NULL) {
        size_t cap = peer_answer_len(&c->out.answer);

        *ret = malloc(cap);
        CHECK(*ret != NULL);
        CHECK(peer_answer_encode(&c->out.answer, (struct mbytes){.p = *ret, .n = cap},
                                 &answer_len) == OK);
    }
    carry_out(r, c, node);
    while (c->out.again) {
        abd_step(n->abd, &(struct abd_in){.kind = ABD_IN_TIMER, .now_ns = in->now_ns}, &c->out);
        carry_out(r, c, node);
    }
    deadline = run_due(r, node, abd_deadline(n->abd));
    if (deadline < n->timer_at_ns) {
        n->timer_at_ns = deadline;
        world_push(&r->world, deadline, EVENT_TIMER, node, 0, NULL);
    }
    return answer_len;
}

/* False: the node is dead, or it sleeps and the event comes again when it wakes. */
static bool awake(struct run *r, uint8_t node, struct event *e)
{
    uint64_t until;

    if (!run_awake(r, node, &until)) {
        return false;
    }
    if (until > r->world.now_ns) {
        world_push(&r->world, until, e->kind, e->a, e->b, e->p);
        e->p = NULL;
        return false;
    }
    return true;
}

/* ---- events ---- */

static void on_ask(struct run *r, struct protocol *c, struct event *e)
{
    struct call *call = &c->calls[e->a];
    struct peer_ask ask;
    uint8_t *answer;
    size_t n;

    if (!awake(r, call->to, e)) {
        return;
    }
    CHECK(peer_ask_decode((struct bytes){.p = call->ask, .n = call->ask_len}, &ask) == OK);
    if (!call->executed || (r->swarm.execute_again && ask.kind != PEER_OFFER)) {
        trace_event(&r->trace, r->world.now_ns, "ask", call->from, call->to, call->cookie);
        n = step(r, call->to, &(struct abd_in){.kind = ABD_IN_ASK, .peer = call->from, .ask = &ask},
                 &answer);
        CHECK(n != 0);
        call = &c->calls[e->a]; /* the step may have made the table grow */
        free(call->answer);
        call->answer = answer;
        call->answer_len = n;
        call->executed = true;
    }
    transmit_answer(r, c, e->a);
}

static void on_answer(struct run *r, struct protocol *c, struct event *e)
{
    struct call *call = &c->calls[e->a];
    struct peer_answer m;
    struct abd_in in = {
        .kind = ABD_IN_ANSWER, .peer = call->to, .cookie = call->cookie, .answer = &m};
    uint8_t *copy;

    if (!awake(r, call->from, e) || (!call->live && !r->swarm.late_answers)) {
        return;
    }
    trace_event(&r->trace, r->world.now_ns, "answer", call->to, call->from, call->cookie);
    call->live = false;
    copy = malloc(call->answer_len);
    CHECK(copy != NULL);
    memcpy(copy, call->answer, call->answer_len);
    CHECK(peer_answer_decode((struct bytes){.p = copy, .n = call->answer_len}, &m) == OK);
    (void)step(r, call->from, &in, NULL);
    free(copy);
}

static void on_repeat(struct run *r, struct protocol *c, struct event *e)
{
    struct call *call = &c->calls[e->a];
    uint64_t wait = r->swarm.rto_ns;

    if (!call->live || !awake(r, call->from, e)) {
        return;
    }
    if (!is_still_lent(call)) {
        run_fault(r, VERDICT_CHECK, "call %u (cookie %" PRIx64 ") of node %u lost what it was lent",
                  e->a, call->cookie, call->from);
        return;
    }
    transmit_ask(r, c, e->a);
    call->repeats++;
    wait <<= call->repeats < 4 ? call->repeats : 4;
    world_push(&r->world, r->world.now_ns + wait, EVENT_REPEAT, e->a, 0, NULL);
}

static void fail_calls(struct run *r, uint8_t from, uint8_t to)
{
    struct protocol *c = r->cluster;

    for (size_t i = 0; i < c->calls_n; i++) {
        if (c->calls[i].live && c->calls[i].from == from && c->calls[i].to == to) {
            c->calls[i].live = false;
            (void)step(r, from,
                       &(struct abd_in){
                           .kind = ABD_IN_CALL_FAILED, .peer = to, .cookie = c->calls[i].cookie},
                       NULL);
        }
    }
}

/* A node hears of a peer nothing any more, or again. */
static void on_detect(struct run *r, struct protocol *c, struct event *e)
{
    uint8_t node = (uint8_t)e->a, peer = (uint8_t)e->b;
    bool up = !r->crashed[peer] && !r->blocked[node][peer] && !r->blocked[peer][node];

    if (!awake(r, node, e) || c->nodes[node].up[peer] == up) {
        return;
    }
    trace_event(&r->trace, r->world.now_ns, up ? "up" : "down", node, peer, 0);
    c->nodes[node].up[peer] = up;
    (void)step(r, node,
               &(struct abd_in){.kind = up ? ABD_IN_PEER_UP : ABD_IN_PEER_DOWN, .peer = peer},
               NULL);
    if (!up && (r->crashed[peer] || prng_chance(&r->faults, 1, 2))) {
        fail_calls(r, node, peer);
    }
}

static void on_request(struct run *r, struct event *e)
{
    const struct history_op *o = &r->history.ops[e->a];
    struct client_request m;
    struct sim_key key;
    uint8_t *value;

    if (!awake(r, (uint8_t)o->node, e)) {
        return;
    }
    run_request(r, e->a, &key, &m, &value);
    (void)step(r, (uint8_t)o->node,
               &(struct abd_in){.kind = ABD_IN_REQUEST, .user = e->a, .request = &m}, NULL);
    free(value);
}

static void event(struct run *r, struct event *e)
{
    struct protocol *c = r->cluster;
    const struct response *m = e->p;

    switch (e->kind) {
    case EVENT_ASK:
        on_ask(r, c, e);
        break;
    case EVENT_ANSWER:
        on_answer(r, c, e);
        break;
    case EVENT_REPEAT:
        on_repeat(r, c, e);
        break;
    case EVENT_TIMER:
        if (awake(r, (uint8_t)e->a, e) && e->at_ns >= c->nodes[e->a].timer_at_ns) {
            c->nodes[e->a].timer_at_ns = UINT64_MAX;
            (void)step(r, (uint8_t)e->a, &(struct abd_in){.kind = ABD_IN_TIMER}, NULL);
        }
        break;
    case EVENT_DETECT:
        on_detect(r, c, e);
        break;
    case EVENT_REQUEST:
        on_request(r, e);
        break;
    case EVENT_RESPONSE:
        run_answer(r, e->a, m->status,
                   (struct bytes){.p = m->absent ? NULL : m->value, .n = m->value_len});
        break;
    default:
        CHECK(false);
    }
}

/* ---- what happens to the cluster ---- */

/* A request is executed once: no copy of it arrives later. */
static void submit(struct run *r, size_t op)
{
    uint64_t at_ns[RUN_COPIES_MAX];

    if (run_send(r, RUN_CLIENT, (uint8_t)r->history.ops[op].node, at_ns) != 0) {
        world_push(&r->world, at_ns[0], EVENT_REQUEST, (uint32_t)op, 0, NULL);
    }
}

static void client_gives_up(struct run *r, size_t op)
{
    (void)r;
    (void)op;
}

static void detect_later(struct run *r, uint8_t node, uint8_t peer)
{
    uint64_t at = r->world.now_ns + (r->healed ? 100 * ms : prng_below(&r->faults, 200 * ms));

    world_push(&r->world, at, EVENT_DETECT, node, peer, NULL);
}

static void link_changed(struct run *r, uint8_t from, uint8_t to)
{
    detect_later(r, from, to);
    detect_later(r, to, from);
}

static void node_crashed(struct run *r, uint8_t node)
{
    for (uint8_t i = 0; i < r->swarm.nodes_n; i++) {
        if (i != node) {
            detect_later(r, i, node);
        }
    }
}

/* The session between the two ends and comes back. */
static void sessions_reset(struct run *r, uint8_t a, uint8_t b)
{
    struct protocol *c = r->cluster;
    const uint8_t ends[2] = {a, b};

    if (r->paused_until_ns[a] > r->world.now_ns || r->paused_until_ns[b] > r->world.now_ns) {
        return;
    }
    for (int i = 0; i < 2; i++) {
        uint8_t node = ends[i], peer = ends[1 - i];

        if (c->nodes[node].up[peer]) {
            c->nodes[node].up[peer] = false;
            (void)step(r, node, &(struct abd_in){.kind = ABD_IN_PEER_DOWN, .peer = peer}, NULL);
            fail_calls(r, node, peer);
            detect_later(r, node, peer);
        }
    }
}

static void tamper(struct run *r, uint8_t node)
{
    struct protocol *c = r->cluster;

    tamper_arena(&r->faults, &c->nodes[node].arena);
}

static struct store *store_of(struct run *r, uint8_t node, uint32_t group)
{
    struct protocol *c = r->cluster;

    CHECK(group == 0);
    return r->crashed[node] ? NULL : c->nodes[node].store;
}

static bool serves(struct run *r, uint8_t node, uint32_t group)
{
    return group == 0 && !r->crashed[node];
}

static uint64_t divergences(struct run *r, uint8_t node)
{
    struct protocol *c = r->cluster;

    return abd_counters(c->nodes[node].abd)->divergences;
}

static uint64_t listed(struct run *r, uint8_t node)
{
    struct protocol *c = r->cluster;

    return abd_counters(c->nodes[node].abd)->listed;
}

static void healed(struct run *r)
{
    for (uint8_t i = 0; i < r->swarm.nodes_n; i++) {
        for (uint8_t j = 0; j < r->swarm.nodes_n; j++) {
            if (i != j) {
                detect_later(r, i, j);
            }
        }
    }
}

static void open_cluster(struct run *r)
{
    struct protocol *c = calloc(1, sizeof(*c));

    CHECK(c != NULL);
    r->cluster = c;
    c->aead = aead_open_impl(aead_best());
    CHECK(c->aead != NULL);
    for (uint8_t i = 0; i < r->swarm.nodes_n; i++) {
        open_node(r, c, i);
        for (uint8_t j = 0; j < r->swarm.nodes_n; j++) {
            if (i != j) {
                world_push(&r->world, prng_below(&r->faults, 20 * ms), EVENT_DETECT, i, j, NULL);
            }
        }
    }
}

static void close_cluster(struct run *r)
{
    struct protocol *c = r->cluster;

    for (uint8_t i = 0; i < r->swarm.nodes_n; i++) {
        close_node(r, &c->nodes[i]);
    }
    for (size_t i = 0; i < c->calls_n; i++) {
        free(c->calls[i].ask);
        free(c->calls[i].answer);
    }
    aead_close_impl(c->aead);
    free(c->calls);
    free(c);
}

const struct level_ops protocol_level = {
    .open = open_cluster,
    .close = close_cluster,
    .submit = submit,
    .give_up = client_gives_up,
    .event = event,
    .link = link_changed,
    .crash = node_crashed,
    .reset = sessions_reset,
    .tamper = tamper,
    .heal = healed,
    .store = store_of,
    .divergences = divergences,
    .listed = listed,
    .serves = serves,
};
