// SPDX-License-Identifier: Apache-2.0
/* Questions to one member that share an RPC. ABD-23, bundle_wire.h */
#include "common/check.h"
#include "trusted/replica/replica_internal.h"

/*
 *    ask --> stage of the member --replica_transmit, or full--> bundle, lent to rpc --> answers
 *
 * A stage is filled in one turn and emptied at its end; nothing is delayed. What it was filled with
 * is then copied once more, to a block of its own size: many bundles can be under way when a member
 * is silent.
 */
enum { STAGE_BYTES = 8192, STAGE_OVERHEAD = 128 /* of a datagram: headers of all layers */ };

/* One that is alone so far: its operation lends key and value as to any call. */
struct single {
    uint64_t cookie;
    uint8_t group, head_n;
    uint8_t head[PEER_ASK_HEAD_MAX];
    struct bytes key, value;
};

struct replica_stage {
    uint32_t n; /* in `body`; 0 and staged: there is one in `single` */
    size_t len;
    struct single single;
    uint64_t cookies[BUNDLE_MAX]; /* as the transport knows them */
    uint8_t body[STAGE_BYTES];
};

struct replica_bundle {
    struct replica_bundle *prev, *next; /* of those under way */
    struct rpc_call call;
    uint32_t n, left_n; /* questions at first; those that somebody still waits for */
    uint8_t member;
    bool ending;
    size_t block_n;
    uint64_t cookies[];
};

static size_t stage_room(const struct replica *r)
{
    size_t n = r->datagram_bytes - STAGE_OVERHEAD;

    return n < STAGE_BYTES ? n : STAGE_BYTES;
}

static void bundle_free(struct replica *r, struct replica_bundle *b)
{
    *(b->prev == NULL ? &r->bundles : &b->prev->next) = b->next;
    if (b->next != NULL) {
        b->next->prev = b->prev;
    }
    heap_free(r->heap, b, b->block_n);
}

/* The call that the cookie belongs to, if it is still that. */
static struct replica_call *call_with(struct replica *r, uint8_t member, uint64_t wire,
                                      struct replica_group **ret_group, uint8_t *ret_place)
{
    struct replica_group *g = r->groups[replica_cookie_group(wire)];
    uint8_t place = g == NULL ? REPLICA_NOWHERE : g->place_of[member];
    struct replica_call *call;

    if (place == REPLICA_NOWHERE || g->calls[place] == NULL) {
        return NULL;
    }
    call = replica_call_of(g, place, wire);
    *ret_group = g;
    *ret_place = place;
    return call->cookie != 0 && replica_wire_cookie(g, call->cookie) == wire ? call : NULL;
}

static RESULT send_single(struct replica *r, uint8_t member, const struct single *one)
{
    struct rpc_question q = {.cookie = one->cookie,
                             .head_len = (uint8_t)(1 + one->head_n),
                             .key = one->key,
                             .value = one->value};
    struct replica_group *g;
    uint8_t place;
    struct replica_call *call = call_with(r, member, one->cookie, &g, &place);

    if (call == NULL || call->way != REPLICA_CALL_STAGED) {
        return OK; /* taken back before it left */
    }
    q.head[0] = one->group;
    memcpy(q.head + 1, one->head, one->head_n);
    TRY(rpc_call(r->rpc, r->now_ns, r->member_session[member], &q, &call->u.call));
    call->way = REPLICA_CALL_ALONE;
    return OK;
}

static struct replica_bundle *bundle_make(struct replica *r, uint8_t member,
                                          const struct replica_stage *s)
{
    size_t cookies_n = s->n * sizeof(s->cookies[0]);
    size_t block_n = sizeof(struct replica_bundle) + cookies_n + s->len;
    struct replica_bundle *b = heap_alloc(r->heap, block_n);

    if (b != NULL) {
        *b = (struct replica_bundle){
            .next = r->bundles, .n = s->n, .member = member, .block_n = block_n};
        memcpy(b->cookies, s->cookies, cookies_n);
        memcpy((uint8_t *)b->cookies + cookies_n, s->body, s->len);
        if (b->next != NULL) {
            b->next->prev = b;
        }
        r->bundles = b;
    }
    return b;
}

static RESULT send_bundle(struct replica *r, uint8_t member, const struct replica_stage *s)
{
    struct replica_bundle *b = bundle_make(r, member, s);
    struct rpc_question q = {.cookie = REPLICA_BUNDLE_COOKIE | (uint64_t)(uintptr_t)b};
    enum err err;

    if (b == NULL) {
        return ERR_ENCLAVE_MEMORY;
    }
    q.value = (struct bytes){.p = (uint8_t *)&b->cookies[b->n], .n = s->len};
    err = rpc_call(r->rpc, r->now_ns, r->member_session[member], &q, &b->call);
    for (uint32_t i = 0; err == OK && i < b->n; i++) {
        struct replica_group *g;
        uint8_t place;
        struct replica_call *call = call_with(r, member, b->cookies[i], &g, &place);

        if (call != NULL && call->way == REPLICA_CALL_STAGED) {
            call->u.bundle = b;
            call->way = REPLICA_CALL_BUNDLED;
            b->left_n++;
        }
    }
    if (err == OK && b->left_n == 0) { /* all were taken back before they left */
        rpc_cancel(r->rpc, &b->call);
    }
    if (b->left_n == 0) {
        bundle_free(r, b);
    }
    return err;
}

static RESULT send(struct replica *r, uint8_t member, const struct replica_stage *s)
{
    if (r->member_session[member] == 0) {
        return ERR_CLOSED;
    }
    return s->n == 0 ? send_single(r, member, &s->single) : send_bundle(r, member, s);
}

/* False: there is no room. */
static bool put(const struct replica *r, struct replica_stage *s, const struct single *one)
{
    size_t n = BUNDLE_ITEM_HEAD + one->head_n + one->key.n + one->value.n;
    struct writer w = {.to = {.p = s->body, .n = sizeof(s->body)}, .len = s->n == 0 ? 1 : s->len};

    if (s->n == BUNDLE_MAX || w.len + n > stage_room(r)) {
        return false;
    }
    s->body[0] = BUNDLE_MARK;
    put_u16(&w, (uint16_t)(n - 2));
    put_u8(&w, one->group);
    put_bytes(&w, (struct bytes){one->head, one->head_n});
    put_bytes(&w, one->key);
    put_bytes(&w, one->value);
    CHECK(!w.failed);
    s->len = w.len;
    s->cookies[s->n++] = one->cookie;
    return true;
}

/* Behind what is staged already; false: that could not be sent to make room. */
static bool stage(struct replica *r, uint8_t member, const struct single *one)
{
    struct replica_stage *s = r->stages[member];
    struct replica_group *g;
    uint8_t place;

    if ((r->staged >> member & 1) == 0) {
        r->staged |= UINT32_C(1) << member;
        s->n = 0;
        s->single = *one;
        return true;
    }
    if (s->n == 0 && call_with(r, member, s->single.cookie, &g, &place) == NULL) {
        s->single = *one; /* the former was taken back */
        return true;
    }
    if (s->n == 0) {
        CHECK(put(r, s, &s->single));
    }
    if (!put(r, s, one)) {
        if (send(r, member, s) != OK) {
            return false;
        }
        s->n = 0;
        s->single = *one;
    }
    return true;
}

bool replica_bundle_add(struct replica_group *g, const struct abd_call *c,
                        struct replica_call *call)
{
    struct replica *r = g->replica;
    uint8_t member = g->member_at[c->peer];
    struct single one;

    if (!bundle_takes(c->ask.kind) ||
        c->ask.key.n + c->ask.value.n > stage_room(r) / 4) { /* a long one goes without a copy */
        return false;
    }
    if (r->stages[member] == NULL) {
        r->stages[member] = heap_alloc(r->heap, sizeof(struct replica_stage));
        if (r->stages[member] == NULL) {
            return false;
        }
    }
    one.cookie = replica_wire_cookie(g, c->cookie);
    one.group = g->number;
    one.head_n = (uint8_t)peer_ask_encode_head(&c->ask, one.head);
    one.key = c->ask.key;
    one.value = c->ask.value;
    if (!stage(r, member, &one)) {
        return false;
    }
    call->way = REPLICA_CALL_STAGED;
    return true;
}

void replica_bundle_cancel(struct replica *r, struct replica_call *call)
{
    struct replica_bundle *b = call->way == REPLICA_CALL_BUNDLED ? call->u.bundle : NULL;

    call->way = REPLICA_CALL_NONE;
    if (b != NULL && --b->left_n == 0 && !b->ending) {
        rpc_cancel(r->rpc, &b->call);
        bundle_free(r, b);
    }
}

/* The question has ended: an answer, or NULL. */
static void ended(struct replica *r, uint8_t member, uint64_t wire, const struct peer_answer *m)
{
    struct replica_group *g;
    uint8_t place;

    if (call_with(r, member, wire, &g, &place) != NULL) {
        replica_group_answered(g, place, wire, m);
    }
}

/* What follows from it may be staged at once, so it is copied. */
static __attribute__((noinline)) void fail(struct replica *r, uint8_t member,
                                           const struct replica_stage *s)
{
    uint64_t cookies[BUNDLE_MAX];
    uint32_t n = s->n == 0 ? 1 : s->n;

    memcpy(cookies, s->n == 0 ? &s->single.cookie : s->cookies, n * sizeof(cookies[0]));
    for (uint32_t i = 0; i < n; i++) {
        ended(r, member, cookies[i], NULL);
    }
}

void replica_bundle_drop(struct replica *r, uint8_t member)
{
    if ((r->staged >> member & 1) != 0) {
        r->staged &= ~(UINT32_C(1) << member);
        fail(r, member, r->stages[member]);
    }
}

void replica_bundles_send(struct replica *r)
{
    while (r->staged != 0) {
        uint8_t member = (uint8_t)__builtin_ctz(r->staged);

        r->staged &= r->staged - 1;
        if (send(r, member, r->stages[member]) != OK) {
            fail(r, member, r->stages[member]);
        }
    }
}

void replica_bundle_ended(struct replica *r, const struct rpc_event *e)
{
    struct replica_bundle *b =
        (struct replica_bundle *)(uintptr_t)(e->cookie & ~REPLICA_BUNDLE_COOKIE);
    struct reader answers = {.rest = e->body, .failed = e->kind == RPC_EVENT_FAILED};

    b->ending = true;
    for (uint32_t i = 0; i < b->n; i++) {
        struct peer_answer m;
        bool good = bundle_get_answer(&answers, &m) == OK;

        r->requests_refused += e->kind != RPC_EVENT_FAILED && !good;
        ended(r, b->member, b->cookies[i], good ? &m : NULL);
    }
    bundle_free(r, b);
}

void replica_bundles_fini(struct replica *r)
{
    while (r->bundles != NULL) {
        bundle_free(r, r->bundles);
    }
    for (unsigned i = 0; i < CLUSTER_MAX; i++) {
        heap_free(r->heap, r->stages[i], sizeof(*r->stages[i]));
    }
}

/* ---- the member that is asked ---- */

/* The next few keys, so that the store waits for them together (STORE-28). */
static void expect(struct replica *r, struct reader items)
{
    struct bytes keys[REPLICA_EXPECT], body;
    size_t n = 0;
    uint8_t group;

    if (r->members.groups_n > 1 || !store_waits(r->store)) {
        return;
    }
    while (n < REPLICA_EXPECT && bundle_next(&items, &group, &body)) {
        struct peer_ask m;

        if (peer_ask_decode(body, &m) == OK && m.key.n > 0) {
            keys[n++] = m.key;
        }
    }
    if (n > 1) {
        store_expect(r->store, keys, n);
    }
}

void replica_on_bundle(struct replica *r, const struct rpc_event *e)
{
    struct reader items = {.rest = {.p = e->body.p + 1, .n = e->body.n - 1}};
    struct writer w = {.to = {.p = r->bundle_answers, .n = sizeof(r->bundle_answers)}};
    struct replica_asker to = {.request = e->request, .user = e->user, .bundle = &w};
    struct mbytes room;
    uint8_t group;
    enum err err;

    for (uint32_t i = 0; i < BUNDLE_MAX; i++) {
        struct bytes body;

        if (i % REPLICA_EXPECT == 0) {
            expect(r, items);
        }
        if (!bundle_next(&items, &group, &body)) {
            break;
        }
        replica_on_question(r, &to, group, body);
    }
    r->requests_refused += !reader_done(&items);
    if (w.len == 0) {
        bundle_put_answer(&w, &(struct peer_answer){.kind = PEER_REFUSED, .err = ERR_MALFORMED});
    }
    CHECK(!w.failed);
    err = rpc_reply_begin(r->rpc, e->request, w.len, &room);
    if (err == ERR_ENCLAVE_MEMORY) {
        /* They have been executed and cannot be answered: nothing that could be taken for a no. */
        r->bundle_answers[0] = UINT8_MAX;
        w.len = 1;
        err = rpc_reply_begin(r->rpc, e->request, w.len, &room);
    }
    if (err == OK) {
        memcpy(room.p, r->bundle_answers, w.len);
        rpc_reply_send(r->rpc, e->request, w.len);
    }
}
