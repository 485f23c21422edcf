// SPDX-License-Identifier: Apache-2.0
#include "client/core_internal.h"
#include "common/check.h"
#include "common/slots.h"

enum {
    LOOK_COOKIE = 0x80,     /* in the byte of a cookie that says which call it is */
    LOOK_OVERHEAD = 128,    /* of a datagram: headers of all layers, with some to spare */
    LOOK_TIMEOUT_MS = 1000, /* what the request says; a look keeps nobody waiting */
    LOOK_ALL = 1 << 16,
    LOOK_POOR = LOOK_ALL / 5 * 2, /* more fail: only some gets look, to see whether it got better */
    LOOK_SOME = 16,
    LOOK_SMOOTH = 64,
    LOOK_PROBE = 64,       /* one look of so many asks those who seem slow, too */
    LOOK_VALUE_GUESS = 64, /* until it is known how long values are */
    LOOK_VALUE_SMOOTH = 8,
};

static const uint64_t LOOK_HEDGE_NS = UINT64_C(2000000); /* at first */

_Static_assert((int)CORE_CALLS_MAX <= (int)LOOK_COOKIE, "kept apart");
_Static_assert((int)MESSAGE_HEAD_MAX >= (int)CLIENT_REQUEST_HEAD_LEN + (int)LOOK_ASK_HEAD_LEN,
               "fits a head");

/* ---- the pool ---- */

static bool is_under_way(const struct look *l)
{
    return (l->generation & 1) != 0;
}

RESULT core_look_init(struct core *c)
{
    struct looks *k = &c->looks;

    k->hedge.delay_ns = LOOK_HEDGE_NS;
    k->gathered_due_ns = UINT64_MAX;
    k->value_bytes = LOOK_VALUE_ITEM_LEN + LOOK_VALUE_GUESS;
    if (!c->config.looks) {
        return OK;
    }
    k->pool_n = c->config.in_flight_max < LOOKS_MAX ? c->config.in_flight_max : LOOKS_MAX;
    k->pool = heap_zalloc(c->config.heap, k->pool_n * sizeof(*k->pool));
    if (k->pool == NULL) {
        return ERR_ENCLAVE_MEMORY;
    }
    for (uint32_t i = 0; i < k->pool_n; i++) {
        k->pool[i].next = k->free;
        k->free = &k->pool[i];
    }
    return OK;
}

void core_look_fini(struct core *c)
{
    struct looks *k = &c->looks;

    for (uint32_t i = 0; k->pool != NULL && i < k->pool_n; i++) {
        heap_free(c->config.heap, k->pool[i].body, k->pool[i].body_n);
    }
    heap_free(c->config.heap, k->pool, k->pool_n * sizeof(*k->pool));
}

void core_look_values_give(struct core *c, struct look_values *v)
{
    if (v != NULL && --v->users == 0) {
        heap_free(c->config.heap, v, v->n);
    }
}

/* Due dates rise nearly always, so the place is found at once. */
static void enter(struct looks *k, struct look *l)
{
    struct look *at = k->last;

    while (at != NULL && at->due_at_ns > l->due_at_ns) {
        at = at->prev;
    }
    l->prev = at;
    l->next = at == NULL ? k->first : at->next;
    *(l->next == NULL ? &k->last : &l->next->prev) = l;
    *(at == NULL ? &k->first : &at->next) = l;
}

static void drop_call(struct core *c, struct look_call *call)
{
    struct session *s = &c->sessions[call->call.session & ((1U << 20) - 1)];

    call->live = false;
    if (s->index == call->call.session && s->in_rpc > 0) {
        s->in_rpc--;
    }
}

/* Takes back the calls under way. */
static void end(struct core *c, struct look *l)
{
    struct looks *k = &c->looks;

    CHECK(is_under_way(l) && l->left_n == 0);
    for (uint32_t i = 0; i < l->calls_n; i++) {
        if (l->calls[i].live) {
            rpc_cancel(c->rpc, &l->calls[i].call);
            drop_call(c, &l->calls[i]);
        }
    }
    heap_free(c->config.heap, l->body, l->body_n);
    l->body = NULL;
    *(l->prev == NULL ? &k->first : &l->prev->next) = l->next;
    *(l->next == NULL ? &k->last : &l->next->prev) = l->prev;
    l->generation++;
    l->next = k->free;
    k->free = l;
}

static void detach(struct look *l, struct op *o)
{
    l->ops[o->look_at] = NULL;
    l->left_n--;
    o->look = NULL;
}

void core_look_leave(struct core *c, struct op *o)
{
    struct look *l = o->look;

    if (l != NULL) {
        detach(l, o);
        if (l->left_n == 0) {
            end(c, l);
        }
    }
    CHECK(o->state != OP_GATHERED || o->in == NULL); /* it ends by core_look_scatter */
}

/* ---- whom to ask ---- */

static bool can_be_asked(const struct core *c, uint32_t place, uint32_t shard)
{
    const struct session *s = core_session(c, place, shard);

    return s->up && !s->leaving && core_has_room(s);
}

/* As many as make a majority of the group, from the preferred one on; those who are much slower
 * than the fastest come last. Returns how many, 0: there are not enough. */
static uint32_t choose(const struct core *c, uint32_t shard, uint32_t group,
                       uint8_t to[static LOOK_CALLS_MAX])
{
    const struct looks *k = &c->looks;
    uint32_t all = c->map.at[group], need = (uint32_t)__builtin_popcount(all) / 2 + 1, n = 0;
    uint32_t below = (UINT32_C(1) << c->start) - 1, slow = 0, can = 0;
    uint64_t best = UINT64_MAX;

    for (uint32_t left = all; left != 0; left &= left - 1) {
        uint32_t place = (uint32_t)__builtin_ctz(left);

        can |= can_be_asked(c, place, shard) ? UINT32_C(1) << place : 0;
        best = k->answer_ns[place] < best ? k->answer_ns[place] : best;
    }
    for (uint32_t left = k->begun % LOOK_PROBE == 0 ? 0 : can; left != 0; left &= left - 1) {
        uint32_t place = (uint32_t)__builtin_ctz(left);

        slow |= hedge_is_swift(k->answer_ns[place], best) ? 0 : UINT32_C(1) << place;
    }
    if (need > LOOK_CALLS_MAX || (uint32_t)__builtin_popcount(can) < need) {
        return 0;
    }
    while (n < need) {
        uint32_t set = (can & ~slow) != 0 ? can & ~slow : can;

        set = (set & ~below) != 0 ? set & ~below : set;
        to[n] = (uint8_t)__builtin_ctz(set);
        can &= ~(UINT32_C(1) << to[n++]);
    }
    return n;
}

/* ---- asking ---- */

bool core_look_gather(struct core *c, struct op *o)
{
    struct looks *k = &c->looks;

    if (k->pool == NULL || o->op != CLIENT_GET || !c->has_map) {
        return false;
    }
    if (k->fails > LOOK_POOR && c->counters.submitted % LOOK_SOME != 0) {
        return false;
    }
    o->state = OP_GATHERED;
    op_list_push(&k->gathered[slot_part(o->slot, c->config.shards_n, c->map.groups_n)], o);
    k->gathered_n++;
    k->gathered_due_ns =
        o->deadline_at_ns < k->gathered_due_ns ? o->deadline_at_ns : k->gathered_due_ns;
    return true;
}

static void scatter(struct core *c, struct op_list *l)
{
    struct op *o = op_list_pop(l);

    for (; o != NULL; o = op_list_pop(l)) {
        c->looks.gathered_n--;
        core_dispatch(c, o);
    }
}

void core_look_scatter(struct core *c)
{
    for (uint32_t part = 0; part < PARTS_MAX && c->looks.gathered_n > 0; part++) {
        scatter(c, &c->looks.gathered[part]);
    }
    c->looks.gathered_due_ns = UINT64_MAX;
}

/* How many of these one look takes: as the question and, by what is known of values, the answer
 * fit a datagram; but one in any case. */
static uint32_t count(const struct core *c, const struct op_list *from, size_t *ret_bytes)
{
    size_t room = c->config.datagram_bytes - LOOK_OVERHEAD;
    size_t most = room / c->looks.value_bytes, bytes = 0;
    const struct op *o = from->head;
    uint32_t n = 0;

    most = most < LOOK_KEYS_MAX ? most : LOOK_KEYS_MAX;
    do {
        bytes += 2 + o->key_len;
        n++;
        o = o->next;
    } while (o != NULL && n < most && bytes + 2 + o->key_len <= room);
    *ret_bytes = bytes;
    return n;
}

static RESULT ask(struct core *c, struct look *l, uint32_t group, uint32_t i)
{
    struct session *s = core_session(c, l->calls[i].place, l->shard);
    const struct client_request m = {.op = CLIENT_LOOK,
                                     .timeout_ms = LOOK_TIMEOUT_MS,
                                     .group = (uint8_t)group,
                                     .value = {.p = l->body, .n = l->body_n}};
    struct rpc_question q = {.value = m.value};

    q.head_len = (uint8_t)client_request_encode_head(&m, q.head);
    look_ask_encode_head(i == 0, l->keys_n, q.head + q.head_len);
    q.head_len += LOOK_ASK_HEAD_LEN;
    q.cookie = (uint64_t)l->generation << 32 | (uint64_t)(LOOK_COOKIE | i) << 24 |
               (uint64_t)(l - c->looks.pool);
    TRY(rpc_call(c->rpc, c->now_ns, s->index, &q, &l->calls[i].call));
    l->calls[i].live = true;
    s->in_rpc++;
    return OK;
}

static void take_keys(struct core *c, struct look *l, struct op_list *from)
{
    struct writer w = {.to = {.p = l->body, .n = l->body_n}};

    for (uint32_t i = 0; i < l->keys_n; i++) {
        struct op *o = op_list_pop(from);

        put_u16(&w, (uint16_t)o->key_len);
        put_bytes(&w, (struct bytes){.p = o->block, .n = o->key_len});
        c->looks.gathered_n--;
        o->state = OP_LOOKED;
        o->look = l;
        o->look_at = (uint8_t)i;
        l->ops[i] = o;
        l->due_at_ns = o->deadline_at_ns < l->due_at_ns ? o->deadline_at_ns : l->due_at_ns;
    }
    CHECK(!w.failed && w.len == l->body_n);
}

/* What the look was for goes to coordinators. */
static void give_up(struct core *c, struct look *l)
{
    for (uint32_t i = 0; i < l->keys_n && l->left_n > 0; i++) {
        struct op *o = l->ops[i];

        if (o != NULL) {
            detach(l, o);
            core_look_values_give(c, o->values);
            o->values = NULL;
            o->value = (struct bytes){0};
            o->tag = (struct tag){0};
            c->looks.fails += (LOOK_ALL - c->looks.fails) / LOOK_SMOOTH;
            core_dispatch(c, o);
        }
    }
    end(c, l);
}

/* False: it cannot be asked now. */
static bool begin(struct core *c, uint32_t part, struct op_list *from)
{
    struct looks *k = &c->looks;
    struct look *l = k->free;
    uint8_t places[LOOK_CALLS_MAX];
    uint32_t shard, group, calls_n, generation;
    size_t body_n;
    uint8_t *body;
    uint32_t keys_n = count(c, from, &body_n);

    if (l == NULL || !core_part(c, part, &shard, &group)) {
        return false;
    }
    calls_n = choose(c, shard, group, places);
    body = calls_n == 0 ? NULL : heap_alloc(c->config.heap, body_n);
    if (body == NULL) {
        return false;
    }
    k->free = l->next;
    k->begun++;
    generation = l->generation + 1;
    l->generation = generation;
    l->shard = shard;
    l->keys_n = l->left_n = keys_n;
    l->calls_n = calls_n;
    l->answered_n = 0;
    l->torn = false;
    l->body = body;
    l->body_n = body_n;
    l->began_at_ns = c->now_ns;
    l->due_at_ns = c->now_ns + k->hedge.delay_ns;
    take_keys(c, l, from);
    c->counters.looked += keys_n;
    enter(k, l);
    for (uint32_t i = 0; i < calls_n; i++) {
        l->calls[i] = (struct look_call){.place = places[i]};
    }
    for (uint32_t i = 0; i < calls_n; i++) {
        if (ask(c, l, group, i) != OK) {
            give_up(c, l);
            break;
        }
    }
    return true;
}

void core_look_flush(struct core *c)
{
    struct looks *k = &c->looks;
    uint32_t parts = core_parts(c);

    for (uint32_t part = 0; part < parts && k->gathered_n > 0; part++) {
        struct op_list *l = &k->gathered[part];

        while (l->head != NULL && begin(c, part, l)) {
        }
        scatter(c, l);
    }
    k->gathered_due_ns = UINT64_MAX;
}

/* ---- answers ---- */

/* The answer's values, once for all operations. NULL: there are none, or no room. */
static struct look_values *keep(struct core *c, struct bytes body)
{
    size_t n = sizeof(struct look_values) + body.n;
    struct look_values *v = heap_alloc(c->config.heap, n);

    if (v != NULL) {
        *v = (struct look_values){.users = 1, .n = n};
        memcpy(v->bytes, body.p, body.n);
    }
    return v;
}

/* One more says what it holds of the operation's key. */
static void merge(struct core *c, struct look *l, struct op *o, const struct look_item *m,
                  uint8_t place)
{
    bool one = (c->plants & CORE_PLANT_LOOK_ONE) != 0 && l->calls_n > 1;

    if (m->state == LOOK_ASK) { /* it will say why, and mend what is to be mended */
        o->look_state = LOOK_ASK;
        o->start = place;
    } else if (l->answered_n == 1) {
        o->look_state = (uint8_t)m->state;
        o->tag = m->tag;
        o->start = place;
    } else if (o->look_state != LOOK_ASK &&
               (o->look_state != m->state || tag_compare(o->tag, m->tag) != 0)) {
        o->start = tag_compare(o->tag, m->tag) < 0 ? place : o->start; /* who holds the newest */
        if (!one) {
            o->look_state = LOOK_ASK;
        } else if (l->calls[0].place == place) {
            o->look_state = (uint8_t)m->state;
            o->tag = m->tag;
        }
    }
}

/* All have answered. */
static void conclude(struct core *c, struct look *l)
{
    bool torn = l->torn || l->witnesses[0].majority > l->calls_n;

    for (uint32_t i = 0; i < l->keys_n; i++) {
        struct op *o = l->ops[i];

        if (o != NULL && !torn && o->look_state != LOOK_ASK) {
            bool live = o->look_state == LOOK_LIVE;

            detach(l, o);
            c->looks.fails -= c->looks.fails / LOOK_SMOOTH;
            o->tag = live ? o->tag : (struct tag){0};
            core_finish(c, o, live ? OK : ERR_NOT_FOUND, OK);
        }
    }
    c->counters.look_differed += l->left_n;
    give_up(c, l);
}

static bool agree(const struct core *c, const struct look_witness *a, const struct look_witness *b)
{
    struct look_witness other = *b;

    if ((c->plants & CORE_PLANT_LOOK_EPOCHS) != 0) {
        return true;
    }
    if ((c->plants & CORE_PLANT_LOOK_STRANGERS) != 0) {
        return a->epoch == b->epoch && a->place != b->place;
    }
    if ((c->plants & CORE_PLANT_LOOK_LIVES) != 0) {
        other.gc = a->gc;
    }
    return look_witnesses_agree(a, &other);
}

static void take_witness(const struct core *c, struct look *l, const struct look_witness *w)
{
    for (uint32_t i = 0; i < l->answered_n; i++) {
        l->torn = l->torn || !agree(c, w, &l->witnesses[i]);
    }
    l->witnesses[l->answered_n++] = *w;
}

static void note_time(struct core *c, const struct look *l, uint8_t place)
{
    hedge_smooth(&c->looks.answer_ns[place], c->now_ns - l->began_at_ns + 1);
    hedge_window(&c->looks.hedge, c->now_ns);
}

/* Values lie in `body`, of which operations get a copy that they share. */
static void lend_values(struct core *c, struct look *l, struct bytes body)
{
    struct look_item *items = c->looks.items;
    struct look_values *v = keep(c, body);
    uint32_t mean = (uint32_t)(body.n / l->keys_n), *smooth = &c->looks.value_bytes;

    *smooth = *smooth - *smooth / LOOK_VALUE_SMOOTH + mean / LOOK_VALUE_SMOOTH;
    *smooth = *smooth < LOOK_VALUE_ITEM_LEN ? LOOK_VALUE_ITEM_LEN : *smooth;
    for (uint32_t i = 0; i < l->keys_n; i++) {
        struct op *o = l->ops[i];

        if (v == NULL) {
            items[i] = (struct look_item){.state = LOOK_ASK};
        } else if (o != NULL && items[i].state == LOOK_LIVE) {
            o->value = (struct bytes){
                .p =
                    v->bytes + (items[i].value.p == NULL ? 0 : (size_t)(items[i].value.p - body.p)),
                .n = items[i].value.n};
            o->values = v;
            v->users++;
        }
    }
    core_look_values_give(c, v);
}

/* False: it is none. */
static bool take_answer(struct core *c, struct look *l, uint32_t call, struct bytes body)
{
    bool values = call == 0;
    struct client_response m;
    struct look_witness w;

    if (client_response_decode(body, &m) != OK) {
        c->counters.answers_malformed++;
        return false;
    }
    if (m.status != OK) {
        struct session *s = core_session(c, l->calls[call].place, l->shard);

        s->leaving = s->leaving || m.status == ERR_CLOSED;
        c->counters.busy += m.status == ERR_BUSY;
        return false;
    }
    if (look_witness_decode(&m.value, &w) != OK ||
        look_items_decode(m.value, values, l->keys_n, c->looks.items) != OK) {
        c->counters.answers_malformed++;
        return false;
    }
    take_witness(c, l, &w);
    note_time(c, l, l->calls[call].place);
    if (values) {
        lend_values(c, l, m.value);
    }
    for (uint32_t i = 0; i < l->keys_n; i++) {
        if (l->ops[i] != NULL) {
            merge(c, l, l->ops[i], &c->looks.items[i], l->calls[call].place);
        }
    }
    return true;
}

bool core_look_ended(struct core *c, const struct rpc_event *e)
{
    uint32_t i = (uint32_t)e->cookie & 0xffffff;
    uint32_t call = (uint32_t)e->cookie >> 24;
    struct look *l;

    if ((call & LOOK_COOKIE) == 0) {
        return false;
    }
    call &= ~(unsigned)LOOK_COOKIE;
    CHECK(i < c->looks.pool_n && call < LOOK_CALLS_MAX);
    l = &c->looks.pool[i];
    if (l->generation != (uint32_t)(e->cookie >> 32) || !l->calls[call].live) {
        c->counters.answers_stale++;
        return true;
    }
    drop_call(c, &l->calls[call]);
    if (e->kind == RPC_EVENT_FAILED || !take_answer(c, l, call, e->body)) {
        give_up(c, l);
    } else if (l->answered_n == l->calls_n) {
        conclude(c, l);
    }
    core_pump(c, &c->sessions[e->session & ((1U << 20) - 1)]);
    return true;
}

/* ---- time ---- */

void core_look_down(struct core *c, uint32_t index)
{
    struct look *next;

    for (struct look *l = c->looks.first; l != NULL; l = next) {
        next = l->next;
        for (uint32_t i = 0; i < l->calls_n; i++) {
            if (l->calls[i].live && l->calls[i].call.session == index) {
                give_up(c, l);
                break;
            }
        }
    }
}

/* Who is late is taken to be slower than that. */
static void note_late(struct core *c, const struct look *l)
{
    for (uint32_t i = 0; i < l->calls_n; i++) {
        if (l->calls[i].live) {
            hedge_smooth(&c->looks.answer_ns[l->calls[i].place], 2 * (c->now_ns - l->began_at_ns));
        }
    }
    c->looks.hedge.late = true;
    hedge_window(&c->looks.hedge, c->now_ns);
    c->counters.look_late += l->left_n;
}

void core_look_tick(struct core *c)
{
    while (c->looks.first != NULL && c->looks.first->due_at_ns <= c->now_ns) {
        note_late(c, c->looks.first);
        give_up(c, c->looks.first);
    }
    if (c->looks.gathered_due_ns <= c->now_ns) {
        core_look_scatter(c);
    }
}

uint64_t core_look_deadline(const struct core *c)
{
    const struct look *l = c->looks.first;
    uint64_t at = c->looks.gathered_due_ns;

    return l != NULL && l->due_at_ns < at ? l->due_at_ns : at;
}
