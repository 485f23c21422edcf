// SPDX-License-Identifier: Apache-2.0
#include "tests/client/world.h"

#include "common/check.h"

#include <stdlib.h>
#include <sys/mman.h>

enum { REGION_DEFAULT = 64 << 20, CLIENT = WORLD_NODES };

static const struct bytes none;

/* ---- what the nodes hold; all of them the same, as if replication were perfect ---- */

struct world_value *world_find(struct world *w, struct bytes key, bool make)
{
    struct world_value *v;

    for (uint32_t i = 0; i < w->values_n; i++) {
        v = &w->values[i];
        if (v->key_len == key.n && memcmp(v->key, key.p, key.n) == 0) {
            return v;
        }
    }
    if (!make) {
        return NULL;
    }
    assert_true(w->values_n < WORLD_KEYS);
    v = &w->values[w->values_n++];
    memcpy(v->key, key.p, key.n);
    v->key_len = key.n;
    return v;
}

static struct client_response execute(struct world *w, const struct client_request *q)
{
    struct world_value *v = world_find(w, q->key, q->op != CLIENT_GET);

    if (q->op == CLIENT_GET) {
        if (v == NULL || !v->present) {
            return (struct client_response){.status = ERR_NOT_FOUND};
        }
        return (struct client_response){.status = OK,
                                        .tag = {.ts = v->ts, .writer = 7},
                                        .value = {.p = v->value, .n = v->value_len}};
    }
    if (w->executed != NULL && q->op == CLIENT_PUT) {
        uint32_t id;

        memcpy(&id, q->value.p, sizeof(id));
        w->executed[id]++;
    }
    free(v->value);
    v->value = NULL;
    v->value_len = q->value.n;
    v->present = q->op == CLIENT_PUT;
    v->ts = ++w->ts;
    if (q->value.n > 0) {
        v->value = malloc(q->value.n);
        assert_non_null(v->value);
        memcpy(v->value, q->value.p, q->value.n);
    }
    return (struct client_response){.status = OK, .tag = {.ts = v->ts, .writer = 7}};
}

static void answer(struct world_node *n, struct rpc_request to, const struct client_response *m)
{
    size_t len = CLIENT_RESPONSE_HEAD_LEN + m->value.n;
    struct mbytes room;

    assert_int_equal(rpc_reply_begin(n->rpc, to, len, &room), OK);
    client_response_encode_head(m, room.p);
    if (m->value.n > 0) {
        memcpy(room.p + CLIENT_RESPONSE_HEAD_LEN, m->value.p, m->value.n);
    }
    rpc_reply_send(n->rpc, to, len);
}

static void babble(struct world_node *n, struct rpc_request to)
{
    struct mbytes room;

    assert_int_equal(rpc_reply_begin(n->rpc, to, 3, &room), OK);
    memset(room.p, 0xff, 3);
    rpc_reply_send(n->rpc, to, 3);
}

/* What stands under the keys, older by one version if the node is told to be behind. */
static void answer_look(struct world *w, struct world_node *n, struct rpc_request to,
                        struct bytes body)
{
    static uint8_t room[LOOK_BODY_MAX];
    struct look_ask ask;
    size_t at;

    assert_int_equal(look_ask_decode(body, &ask), OK);
    n->looked += ask.n;
    at = look_witness_encode(&n->witness, room);
    for (uint32_t i = 0; i < ask.n; i++) {
        const struct world_value *v = world_find(w, ask.keys[i], false);
        struct look_item m = {.state = LOOK_ABSENT};
        uint32_t value_len = 0;

        if (v != NULL && v->ts > 0) {
            m.state = v->present ? LOOK_LIVE : LOOK_TOMBSTONE;
            m.tag = (struct tag){.ts = v->ts - (n->shows_older ? 1 : 0), .writer = 7};
            value_len = ask.values && v->present ? (uint32_t)v->value_len : 0;
        }
        if (value_len > LOOK_BODY_MAX / 2) {
            m = (struct look_item){.state = LOOK_ASK};
            value_len = 0;
        }
        at += look_item_encode_head(&m, ask.values, value_len, room + at);
        if (value_len > 0) {
            memcpy(room + at, v->value, value_len);
            at += value_len;
        }
    }
    answer(n, to, &(struct client_response){.status = OK, .value = {room, at}});
}

static void on_request(struct world *w, struct world_node *n, const struct rpc_event *e)
{
    struct client_request q;
    struct client_response m;

    assert_int_equal(client_request_decode(e->body, &q), OK);
    n->gets += q.op == CLIENT_GET;
    n->looks += q.op == CLIENT_LOOK;
    n->writes += q.op != CLIENT_GET && q.op != CLIENT_LOOK;
    if (q.op == CLIENT_LOOK && n->looks_silently) {
        return;
    }
    switch (n->mode) {
    case NODE_SAYS_LATE:
        assert_true(n->late_n < WORLD_LATE);
        n->late[n->late_n++] = (struct world_late){
            .at_ns = w->now_ns + q.timeout_ms * MS_NS, .to = e->request, .says = n->says};
        return;
    case NODE_SILENT:
        if (q.op == CLIENT_LOOK) {
            return;
        }
        (void)execute(w, &q);
        n->held++;
        n->held_max = n->held > n->held_max ? n->held : n->held_max;
        return;
    case NODE_BABBLES:
        babble(n, e->request);
        return;
    case NODE_SAYS:
        answer(n, e->request, &(struct client_response){.status = n->says});
        if (n->says_times > 0 && --n->says_times == 0) {
            n->mode = NODE_SERVES;
        }
        return;
    case NODE_SERVES:
    default:
        if (q.op == CLIENT_LOOK) {
            answer_look(w, n, e->request, q.value);
            return;
        }
        m = execute(w, &q);
        answer(n, e->request, &m);
        return;
    }
}

static uint64_t late_at(const struct world_node *n)
{
    uint64_t at = UINT64_MAX;

    for (uint32_t i = 0; i < n->late_n; i++) {
        at = n->late[i].at_ns < at ? n->late[i].at_ns : at;
    }
    return at;
}

static void say_late(struct world *w, struct world_node *n)
{
    for (uint32_t i = 0; i < n->late_n;) {
        if (n->late[i].at_ns <= w->now_ns) {
            answer(n, n->late[i].to, &(struct client_response){.status = n->late[i].says});
            n->late[i] = n->late[--n->late_n];
        } else {
            i++;
        }
    }
}

/* ---- network ---- */

static struct abi_addr address_of(uint32_t who)
{
    struct abi_addr a = {.family = 4, .port = (uint16_t)(1000 + who), .ip = {10, 0, 0, 1}};

    return a;
}

static void post(struct world *w, uint32_t from, uint32_t to, struct bytes b)
{
    struct world_packet *p;

    if ((from < WORLD_NODES && w->nodes[from].cut) || (to < WORLD_NODES && w->nodes[to].cut) ||
        prng_below(&w->prng, 100) < w->loss_percent) {
        return;
    }
    if (w->packets_n == WORLD_PACKETS) {
        return; /* a full queue loses packets */
    }
    p = &w->packets[w->packets_n++];
    *p = (struct world_packet){
        .at_ns = w->now_ns + w->delay_ns, .to = to, .from = from, .n = b.n, .p = malloc(b.n)};
    assert_non_null(p->p);
    memcpy(p->p, b.p, b.n);
}

static void transmit_all(struct world *w)
{
    uint8_t out[DATAGRAM_MAX];
    struct mbytes room = {out, sizeof(out)};
    struct abi_addr to;
    size_t n;

    while (core_transmit(w->core, w->now_ns, room, &to, &n)) {
        post(w, CLIENT, to.port - 1000U, (struct bytes){out, n});
    }
    for (uint32_t i = 0; i < WORLD_NODES; i++) {
        while (rpc_transmit(w->nodes[i].rpc, w->now_ns, room, &to, &n)) {
            post(w, i, CLIENT, (struct bytes){out, n});
        }
    }
}

static void drain_node(struct world *w, uint32_t place)
{
    struct world_node *n = &w->nodes[place];
    struct rpc_event e;

    while (rpc_next(n->rpc, &e)) {
        if (e.kind == RPC_EVENT_REQUEST) {
            on_request(w, n, &e);
        } else if (e.kind == RPC_EVENT_CLOSED) {
            rpc_session_close(n->rpc, e.session, false);
        }
    }
}

static void deliver(struct world *w, const struct world_packet *p)
{
    struct bytes b = {p->p, p->n};

    if (p->to == CLIENT) {
        core_receive(w->core, w->now_ns, b, address_of(p->from));
        return;
    }
    /* What is wrong with a packet, the machine counts. */
    if (rpc_receive(w->nodes[p->to].rpc, w->now_ns, b, address_of(CLIENT)) == OK) {
        drain_node(w, p->to);
    }
}

static uint64_t next_at(const struct world *w)
{
    uint64_t at = core_deadline(w->core);

    for (uint32_t i = 0; i < WORLD_NODES; i++) {
        uint64_t d = rpc_deadline(w->nodes[i].rpc);

        at = d < at ? d : at;
        d = late_at(&w->nodes[i]);
        at = d < at ? d : at;
    }
    if (w->packets_n > 0) { /* the delay is constant: first in, first out */
        at = w->packets[0].at_ns < at ? w->packets[0].at_ns : at;
    }
    return at;
}

static void step(struct world *w)
{
    uint32_t due = 0;

    while (due < w->packets_n && w->packets[due].at_ns <= w->now_ns) {
        struct world_packet p = w->packets[due++];

        deliver(w, &p);
        free(p.p);
    }
    memmove(w->packets, w->packets + due, (w->packets_n - due) * sizeof(w->packets[0]));
    w->packets_n -= due;
    if (core_deadline(w->core) <= w->now_ns) {
        core_tick(w->core, w->now_ns);
    }
    for (uint32_t i = 0; i < WORLD_NODES; i++) {
        say_late(w, &w->nodes[i]);
        if (rpc_deadline(w->nodes[i].rpc) <= w->now_ns) {
            rpc_tick(w->nodes[i].rpc, w->now_ns);
            drain_node(w, i);
        }
    }
}

bool world_run(struct world *w, uint64_t until_ns, struct core_completion *ret)
{
    for (;;) {
        uint64_t at;

        transmit_all(w);
        if (core_take(w->core, ret)) {
            return true;
        }
        at = next_at(w);
        if (at > until_ns) {
            w->now_ns = until_ns;
            return false;
        }
        w->now_ns = at > w->now_ns ? at : w->now_ns;
        step(w);
    }
}

struct core_completion world_one(struct world *w, uint64_t within_ms)
{
    struct core_completion done;

    assert_true(world_run(w, w->now_ns + within_ms * MS_NS, &done));
    return done;
}

/* ---- sessions ---- */

static uint32_t node_index(uint32_t shard, uint32_t generation)
{
    return (generation & 0xfff) << 20 | shard;
}

void world_join(struct world *w, uint32_t place)
{
    struct world_node *n = &w->nodes[place];

    w->client_generation++;
    n->generation++;
    for (uint32_t shard = 0; shard < w->shards; shard++) {
        struct rpc_session_params p = {
            .index = core_index(place, shard, w->client_generation),
            .peer_index = node_index(shard, n->generation),
            .slots = RPC_SLOTS_CLIENT,
            .replay_bits = REPLAY_BITS_CLIENT,
            .addr = address_of(place),
        };
        struct rpc_session_params q = p;

        for (size_t i = 0; i < sizeof(p.send.b); i++) {
            p.send.b[i] = (uint8_t)prng_u64(&w->prng);
            p.recv.b[i] = (uint8_t)prng_u64(&w->prng);
        }
        q.index = p.peer_index;
        q.peer_index = p.index;
        q.send = p.recv;
        q.recv = p.send;
        q.addr = (struct abi_addr){0};
        assert_int_equal(rpc_session_open(n->rpc, w->now_ns, &q), OK);
        assert_int_equal(core_session_up(w->core, w->now_ns, place, shard, &p), OK);
    }
}

static void forget(struct world *w, uint32_t place, bool say)
{
    struct world_node *n = &w->nodes[place];

    for (uint32_t shard = 0; shard < w->shards; shard++) {
        rpc_session_close(n->rpc, node_index(shard, n->generation), say);
    }
    n->held = 0;
    n->late_n = 0;
    drain_node(w, place);
}

void world_part(struct world *w, uint32_t place)
{
    core_node_down(w->core, w->now_ns, place, false);
    forget(w, place, false);
}

void world_hang_up(struct world *w, uint32_t place)
{
    forget(w, place, true);
}

/* ---- life ---- */

static void *region_open(size_t n)
{
    void *p = mmap(NULL, n, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

    assert_true(p != MAP_FAILED);
    return p;
}

static void open_node(struct world_node *n, uint32_t value_max, uint64_t seed)
{
    struct rpc_config k = {
        .sessions_max = SHARDS_MAX,
        .datagram_bytes = DATAGRAM_DEFAULT,
        .message_max = value_max + KEY_MAX + MESSAGE_HEAD_MAX,
        .seed = seed,
    };

    n->region = region_open(REGION_DEFAULT);
    assert_int_equal(heap_init(n->region, REGION_DEFAULT, &n->heap), OK);
    n->aead = aead_open_impl(AEAD_OPENSSL);
    assert_non_null(n->aead);
    k.heap = n->heap;
    k.aead = n->aead;
    assert_int_equal(rpc_init(&k, &n->rpc), OK);
}

struct world *world_open(const struct world_setup *s)
{
    struct world *w = calloc(1, sizeof(*w));
    size_t region = s->region_bytes == 0 ? REGION_DEFAULT : s->region_bytes;
    uint32_t value_max = s->value_max == 0 ? 2 << 20 : s->value_max;
    struct core_config k = {
        .nodes_n = WORLD_NODES,
        .shards_n = s->shards == 0 ? 1 : s->shards,
        .datagram_bytes = DATAGRAM_DEFAULT,
        .value_max = value_max,
        .in_flight_max = s->in_flight_max == 0 ? 64 : s->in_flight_max,
        .prefer = s->prefer,
        .looks = s->looks,
        .seed = s->seed,
        .cluster = {1, 2, 3},
    };

    assert_non_null(w);
    w->now_ns = 1000 * MS_NS;
    w->prng = (struct prng){.state = s->seed};
    w->shards = k.shards_n;
    w->delay_ns = MS_NS / 20;
    w->region = region_open(region);
    w->region_bytes = region;
    assert_int_equal(heap_init(w->region, region, &w->heap), OK);
    w->heap_before = heap_used(w->heap);
    w->aead = aead_open_impl(AEAD_OPENSSL);
    assert_non_null(w->aead);
    k.heap = w->heap;
    k.aead = w->aead;
    assert_int_equal(core_init(&k, &w->core), OK);
    if (s->looks) {
        core_set_map(w->core, w->now_ns, &(struct core_map){.groups_n = 1, .at = {7}});
    }
    for (uint32_t i = 0; i < WORLD_NODES; i++) {
        open_node(&w->nodes[i], value_max, s->seed + i + 1);
        w->nodes[i].witness = (struct look_witness){
            .epoch = 5, .gc = 2, .majority = 2, .place = (uint8_t)i, .members_n = WORLD_NODES};
        for (uint32_t j = 0; j < WORLD_NODES; j++) {
            w->nodes[i].witness.bonds[j] = j == i ? 0 : 100 + i + j;
        }
        if (!s->no_sessions) {
            world_join(w, i);
        }
    }
    return w;
}

void world_close(struct world *w)
{
    core_fini(w->core);
    assert_int_equal(heap_used(w->heap), w->heap_before);
    (void)munmap(w->region, w->region_bytes);
    aead_close_impl(w->aead);
    for (uint32_t i = 0; i < WORLD_NODES; i++) {
        rpc_fini(w->nodes[i].rpc);
        aead_close_impl(w->nodes[i].aead);
        (void)munmap(w->nodes[i].region, REGION_DEFAULT);
    }
    for (uint32_t i = 0; i < w->packets_n; i++) {
        free(w->packets[i].p);
    }
    for (uint32_t i = 0; i < w->values_n; i++) {
        free(w->values[i].value);
    }
    free(w);
}

static void submit(struct world *w, enum client_op op, struct bytes key, struct bytes value,
                   uint32_t timeout_ms)
{
    struct core_request q = {
        .op = op, .timeout_ms = timeout_ms, .user = 0, .key = key, .value = value};

    assert_int_equal(core_submit(w->core, w->now_ns, &q), OK);
}

static struct bytes text(const char *s)
{
    return (struct bytes){.p = (const uint8_t *)s, .n = strlen(s)};
}

void world_put(struct world *w, const char *key, const char *value, uint32_t timeout_ms)
{
    submit(w, CLIENT_PUT, text(key), text(value), timeout_ms);
}

void world_get(struct world *w, const char *key, uint32_t timeout_ms)
{
    submit(w, CLIENT_GET, text(key), none, timeout_ms);
}
