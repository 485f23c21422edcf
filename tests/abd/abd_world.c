// SPDX-License-Identifier: Apache-2.0
#include "tests/abd/abd_world.h"

#include "common/check.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

static struct bytes text(const char *s)
{
    return (struct bytes){.p = (const uint8_t *)s, .n = strlen(s)};
}

static void open_node(struct world *w, uint8_t i, const struct world_options *o)
{
    struct world_node *n = &w->nodes[i];
    size_t heap_bytes = o->heap_bytes != 0 ? o->heap_bytes : (size_t)8 << 20;
    size_t arena_bytes = o->arena_bytes != 0 ? o->arena_bytes : (size_t)4 << 20;
    struct store_config sc = {.shard = 1, .arena_bytes = arena_bytes};
    struct abd_config ac = {.incarnation = 100U + i,
                            .self = i,
                            .members_n = o->n,
                            .value_max = o->value_max != 0 ? o->value_max : 1 << 20,
                            .ops_max = o->ops_max != 0 ? o->ops_max : 64,
                            .hedge_ns = o->hedge_ns != 0 ? o->hedge_ns : UINT64_MAX,
                            .sync_ns = o->sync_ns,
                            .collect_ns = o->collect_ns,
                            .seed = i};

    n->region = aligned_alloc(64, heap_bytes);
    n->arena = aligned_alloc(64, arena_bytes);
    assert_non_null(n->region);
    assert_non_null(n->arena);
    memset(n->region, 0, heap_bytes);
    memset(n->arena, 0, arena_bytes);
    assert_int_equal(heap_init(n->region, heap_bytes, &n->heap), OK);
    n->used_at_start = heap_used(n->heap);
    n->aead = aead_open_impl(aead_best());
    assert_non_null(n->aead);
    sc.heap = ac.heap = n->heap;
    sc.aead = n->aead;
    sc.arena = n->arena;
    memset(&sc.master, 7 + i, sizeof(sc.master));
    assert_int_equal(store_init(&sc, &n->store), OK);
    ac.store = n->store;
    assert_int_equal(abd_init(&ac, &n->abd), OK);
    if (o->leaves != 0) { /* now it is known what all others take */
        sc.reserve = heap_limit(n->heap) - heap_held(n->heap) - o->leaves;
        abd_fini(n->abd);
        store_fini(n->store);
        assert_int_equal(store_init(&sc, &n->store), OK);
        ac.store = n->store;
        assert_int_equal(abd_init(&ac, &n->abd), OK);
    }
}

struct world *world_open(const struct world_options *o)
{
    struct world *w = calloc(1, sizeof(*w));

    assert_non_null(w);
    w->n = o->n;
    w->now_ns = 1;
    for (uint8_t i = 0; i < o->n; i++) {
        open_node(w, i, o);
    }
    for (uint8_t i = 0; i < o->n && !o->nobody_up; i++) {
        for (uint8_t j = 0; j < o->n; j++) {
            if (i != j) {
                world_up(w, i, j, true);
            }
        }
    }
    return w;
}

void world_close(struct world *w)
{
    for (uint32_t i = 0; i < w->calls_n; i++) {
        free(w->calls[i].copy);
    }
    for (uint32_t i = 0; i < w->replies_n; i++) {
        free(w->replies[i].value);
    }
    for (uint8_t i = 0; i < w->n; i++) {
        struct world_node *n = &w->nodes[i];

        abd_fini(n->abd);
        store_fini(n->store);
        assert_int_equal(heap_used(n->heap), n->used_at_start);
        heap_fini(n->heap);
        aead_close_impl(n->aead);
        free(n->region);
        free(n->arena);
    }
    free(w->answer_value);
    free(w);
}

static uint8_t *copy_of(struct bytes a, struct bytes b)
{
    uint8_t *p = malloc(a.n + b.n + 1);

    assert_non_null(p);
    if (a.n != 0) {
        memcpy(p, a.p, a.n);
    }
    if (b.n != 0) {
        memcpy(p + a.n, b.p, b.n);
    }
    return p;
}

static void take_out(struct world *w, uint8_t node)
{
    struct abd_out *out = &w->out;

    for (uint32_t i = 0; i < out->cancels_n; i++) {
        for (uint32_t c = 0; c < w->calls_n; c++) {
            if (w->calls[c].live && w->calls[c].from == node &&
                w->calls[c].call.peer == out->cancels[i].peer &&
                w->calls[c].call.cookie == out->cancels[i].cookie) {
                w->calls[c].live = false;
                w->cancels_n++;
            }
        }
    }
    for (uint32_t i = 0; i < out->calls_n; i++) {
        assert_true(w->calls_n < WORLD_CALLS_MAX);
        for (uint32_t c = 0; c < w->calls_n; c++) { /* one call per place and peer */
            assert_false(w->calls[c].live && w->calls[c].from == node &&
                         w->calls[c].call.peer == out->calls[i].peer &&
                         abd_cookie_op(w->calls[c].call.cookie) ==
                             abd_cookie_op(out->calls[i].cookie));
        }
        w->calls[w->calls_n++] =
            (struct world_call){.live = true,
                                .from = node,
                                .call = out->calls[i],
                                .copy = copy_of(out->calls[i].ask.key, out->calls[i].ask.value)};
    }
    if (out->have_reply) {
        struct world_reply *r = &w->replies[out->reply.user];

        assert_true(out->reply.user < w->replies_n);
        assert_false(r->have);
        r->have = true;
        r->status = out->reply.response.status;
        r->tag = out->reply.response.tag;
        r->absent = out->reply.response.absent;
        r->value = copy_of(out->reply.response.value, (struct bytes){0});
        r->value_len = out->reply.response.value.n;
        r->value[r->value_len] = 0;
    }
}

static void step(struct world *w, uint8_t node, const struct abd_in *in)
{
    bool again;
    int n = 0;

    memset(&w->out, 0xee, sizeof(w->out));
    abd_step(w->nodes[node].abd, in, &w->out);
    take_out(w, node);
    w->have_answer = w->out.have_answer;
    if (w->have_answer) {
        free(w->answer_value);
        w->answer = w->out.answer;
        w->answer_value = copy_of(w->answer.value, (struct bytes){0});
        w->answer.value.p = w->answer_value;
    }
    for (again = w->out.again; again; again = w->out.again) {
        struct abd_in more = {.kind = ABD_IN_TIMER, .now_ns = w->now_ns};

        assert_true(n++ < 100000);
        abd_step(w->nodes[node].abd, &more, &w->out);
        take_out(w, node);
    }
}

void world_up(struct world *w, uint8_t node, uint8_t peer, bool up)
{
    step(w, node,
         &(struct abd_in){
             .kind = up ? ABD_IN_PEER_UP : ABD_IN_PEER_DOWN, .now_ns = w->now_ns, .peer = peer});
}

static uint32_t request(struct world *w, uint8_t node, const struct client_request *r)
{
    uint32_t user = w->replies_n++;

    assert_true(user < WORLD_REPLIES_MAX);
    step(w, node,
         &(struct abd_in){.kind = ABD_IN_REQUEST, .now_ns = w->now_ns, .user = user, .request = r});
    return user;
}

uint32_t world_get(struct world *w, uint8_t node, const char *key, uint32_t timeout_ms)
{
    return request(
        w, node,
        &(struct client_request){.op = CLIENT_GET, .timeout_ms = timeout_ms, .key = text(key)});
}

uint32_t world_put(struct world *w, uint8_t node, const char *key, const char *value,
                   uint32_t timeout_ms)
{
    return request(
        w, node,
        &(struct client_request){
            .op = CLIENT_PUT, .timeout_ms = timeout_ms, .key = text(key), .value = text(value)});
}

uint32_t world_put_bytes(struct world *w, uint8_t node, struct bytes key, struct bytes value)
{
    return request(
        w, node,
        &(struct client_request){.op = CLIENT_PUT, .timeout_ms = 1000, .key = key, .value = value});
}

uint32_t world_rmw(struct world *w, uint8_t node, enum client_rmw kind, const char *key,
                   const char *expect, const char *value)
{
    char both[256];
    bool incr = kind == CLIENT_RMW_INCR;
    size_t expect_n = expect == NULL ? 0 : strlen(expect);
    int n = snprintf(both, sizeof(both), "%s%s", expect == NULL ? "" : expect,
                     value == NULL || incr ? "" : value);
    struct client_request m = {.op = CLIENT_RMW,
                               .timeout_ms = 1000,
                               .key = text(key),
                               .value = text(both),
                               .rmw = kind,
                               .expect_len = (uint32_t)expect_n};

    assert_true(n >= 0 && n < (int)sizeof(both));
    if (incr && value != NULL) {
        m.delta = strtoll(value, NULL, 10);
    }
    return request(w, node, &m);
}

uint32_t world_delete(struct world *w, uint8_t node, const char *key, uint32_t timeout_ms)
{
    return request(
        w, node,
        &(struct client_request){.op = CLIENT_DELETE, .timeout_ms = timeout_ms, .key = text(key)});
}

uint32_t world_batch(struct world *w, uint8_t node, enum client_op op, struct bytes body)
{
    return request(w, node, &(struct client_request){.op = op, .timeout_ms = 1000, .value = body});
}

struct world_call *world_call(struct world *w, uint8_t from, uint8_t to)
{
    for (uint32_t i = 0; i < w->calls_n; i++) {
        if (w->calls[i].live && w->calls[i].from == from && w->calls[i].call.peer == to) {
            return &w->calls[i];
        }
    }
    return NULL;
}

uint32_t world_live_calls(const struct world *w)
{
    uint32_t n = 0;

    for (uint32_t i = 0; i < w->calls_n; i++) {
        n += w->calls[i].live;
    }
    return n;
}

void world_ask(struct world *w, struct world_call *c, struct peer_answer *ret)
{
    const struct peer_ask *ask = &c->call.ask;

    assert_true(c->live);
    if (ask->key.n != 0) {
        assert_memory_equal(ask->key.p, c->copy, ask->key.n);
    }
    if (ask->value.n != 0) {
        assert_memory_equal(ask->value.p, c->copy + ask->key.n, ask->value.n);
    }
    step(w, c->call.peer,
         &(struct abd_in){.kind = ABD_IN_ASK, .now_ns = w->now_ns, .peer = c->from, .ask = ask});
    assert_true(w->have_answer);
    *ret = w->answer;
}

void world_answer_again(struct world *w, uint8_t node, uint8_t peer, uint64_t cookie,
                        const struct peer_answer *m)
{
    step(w, node,
         &(struct abd_in){.kind = ABD_IN_ANSWER,
                          .now_ns = w->now_ns,
                          .peer = peer,
                          .cookie = cookie,
                          .answer = m});
}

void world_answer(struct world *w, struct world_call *c, const struct peer_answer *m)
{
    c->live = false;
    world_answer_again(w, c->from, c->call.peer, c->call.cookie, m);
}

bool world_exchange(struct world *w, uint8_t from, uint8_t to)
{
    struct world_call *c = world_call(w, from, to);
    struct peer_answer m;

    if (c == NULL) {
        return false;
    }
    world_ask(w, c, &m);
    world_answer(w, c, &m);
    return true;
}

void world_fail(struct world *w, struct world_call *c)
{
    c->live = false;
    step(w, c->from,
         &(struct abd_in){.kind = ABD_IN_CALL_FAILED,
                          .now_ns = w->now_ns,
                          .peer = c->call.peer,
                          .cookie = c->call.cookie});
}

void world_reconfigure(struct world *w, uint8_t node, uint8_t voters)
{
    const struct abd_members m = {
        .self = node, .members_n = w->n, .voters = voters, .epoch = ++w->nodes[node].epoch};

    for (uint8_t i = 0; i < w->n; i++) {
        if (i != node) {
            world_up(w, node, i, false);
        }
    }
    for (uint32_t i = 0; i < w->calls_n; i++) {
        if (w->calls[i].live && w->calls[i].from == node) {
            world_fail(w, &w->calls[i]);
        }
    }
    step(w, node, &(struct abd_in){.kind = ABD_IN_RECONFIGURE, .now_ns = w->now_ns, .members = &m});
}

/* Calls that have ended make room when there is need. */
static void forget_ended(struct world *w)
{
    uint32_t kept = 0;

    for (uint32_t i = 0; w->calls_n > WORLD_CALLS_MAX / 2 && i < w->calls_n; i++) {
        if (w->calls[i].live) {
            w->calls[kept++] = w->calls[i];
        } else {
            free(w->calls[i].copy);
        }
    }
    w->calls_n = w->calls_n > WORLD_CALLS_MAX / 2 ? kept : w->calls_n;
}

void world_settle(struct world *w)
{
    forget_ended(w);
    for (uint32_t i = 0; i < w->calls_n; i++) {
        if (w->calls[i].live) {
            struct peer_answer m;

            world_ask(w, &w->calls[i], &m);
            world_answer(w, &w->calls[i], &m);
        }
    }
    assert_int_equal(world_live_calls(w), 0);
}

void world_tick(struct world *w, uint8_t node, uint64_t ns)
{
    w->now_ns += ns;
    step(w, node, &(struct abd_in){.kind = ABD_IN_TIMER, .now_ns = w->now_ns});
}

bool world_holds(struct world *w, uint8_t node, const char *key, const char *value)
{
    struct store_entry e;
    uint8_t room[4096];
    enum err err = store_read(w->nodes[node].store, text(key),
                              (struct mbytes){.p = room, .n = sizeof(room)}, &e);

    if (value == NULL) {
        return err == ERR_NOT_FOUND || (err == OK && e.tombstone);
    }
    return err == OK && !e.tombstone && e.value_len == strlen(value) &&
           memcmp(room, value, e.value_len) == 0;
}

struct tag world_tag(struct world *w, uint8_t node, const char *key)
{
    struct store_entry e = {0};

    (void)!store_find(w->nodes[node].store, text(key), &e);
    return e.tag;
}

void world_plant(struct world *w, uint8_t node, const char *key, struct tag tag, const char *value)
{
    bool applied;

    assert_int_equal(store_apply(w->nodes[node].store, text(key), tag, value == NULL,
                                 value == NULL ? (struct bytes){0} : text(value), &applied),
                     OK);
    assert_true(applied);
}

void world_damage(struct world *w, uint8_t node)
{
    struct store_stats s;

    store_stats(w->nodes[node].store, &s);
    for (uint64_t i = 0; i < s.arena_limit; i++) {
        w->nodes[node].arena[i] ^= 0x10;
    }
}

const struct abd_counters *world_counters(const struct world *w, uint8_t node)
{
    return abd_counters(w->nodes[node].abd);
}

bool world_is(const struct world *w, uint32_t user, enum err status, const char *value)
{
    const struct world_reply *r = &w->replies[user];

    return r->have && r->status == status && r->value_len == (value == NULL ? 0 : strlen(value)) &&
           (value == NULL || memcmp(r->value, value, r->value_len) == 0);
}
