// SPDX-License-Identifier: Apache-2.0
#include "trusted/replica/replica.h"

#include "common/check.h"
#include "trusted/replica/replica_internal.h"

/* ---- what the transport calls a session ---- */

static bool has_rules(const struct replica_peer *p)
{
    return p->kind == REPLICA_PEER_CLIENT && p->access != NULL && p->access->rules_n > 0;
}

static uint64_t user_of(const struct replica_peer *p)
{
    return (has_rules(p) ? HAS_RULES : 0) | (uint64_t)p->kind << 8 | p->member;
}

/* ---- requests of clients that wait for the ABD machine ---- */

static bool pending_take(struct replica *r, struct rpc_request request, uint64_t *ret_user)
{
    uint16_t i = r->free_head;

    if (i == OPS_MAX) {
        return false;
    }
    r->free_head = r->pending[i].next_free;
    r->pending[i].request = request;
    r->pending_n++;
    *ret_user = i;
    return true;
}

static struct rpc_request pending_give(struct replica *r, uint64_t user)
{
    CHECK(user < OPS_MAX);
    r->pending[user].next_free = r->free_head;
    r->free_head = (uint16_t)user;
    r->pending_n--;
    return r->pending[user].request;
}

/* ---- output of the ABD machine ---- */

static struct replica_call *call_of(struct replica *r, uint8_t member, uint64_t cookie)
{
    return &r->calls[member][abd_cookie_op(cookie)];
}

static void cancel(struct replica *r, struct abd_cancel c)
{
    struct replica_call *call = r->calls[c.peer] == NULL ? NULL : call_of(r, c.peer, c.cookie);

    if (call != NULL && call->cookie == c.cookie) {
        rpc_cancel(r->rpc, &call->call);
        call->cookie = 0;
    }
}

static void ask(struct replica *r, const struct abd_call *c)
{
    struct replica_call *call = r->calls[c->peer] == NULL ? NULL : call_of(r, c->peer, c->cookie);
    struct rpc_question q = {.cookie = c->cookie, .key = c->ask.key, .value = c->ask.value};
    uint32_t session = r->member_session[c->peer];

    _Static_assert((int)PEER_ASK_HEAD_MAX <= (int)MESSAGE_HEAD_MAX, "the head fits");
    q.head_len = (uint8_t)peer_ask_encode_head(&c->ask, q.head);
    if (session == 0 || call == NULL ||
        rpc_call(r->rpc, r->now_ns, session, &q, &call->call) != OK) {
        CHECK(r->failed_n < REPLICA_FAILED_MAX);
        r->failed[r->failed_n++] = (struct abd_cancel){.peer = c->peer, .cookie = c->cookie};
        return;
    }
    call->cookie = c->cookie;
}

static void respond(struct replica *r, struct rpc_request to, const struct client_response *m)
{
    size_t n = CLIENT_RESPONSE_HEAD_LEN + m->value.n;
    struct client_response small = {.status = ERR_ENCLAVE_MEMORY};
    struct mbytes room;
    enum err err = rpc_reply_begin(r->rpc, to, n, &room);

    if (err == ERR_ENCLAVE_MEMORY) {
        /* The value was read but cannot be carried: say so in the few bytes that always fit. */
        _Static_assert((int)CLIENT_RESPONSE_HEAD_LEN <= (int)RPC_SMALL_REPLY, "always fits");
        n = CLIENT_RESPONSE_HEAD_LEN;
        m = &small;
        err = rpc_reply_begin(r->rpc, to, n, &room);
    }
    if (err != OK) {
        return; /* the client has gone, or gave the request up */
    }
    client_response_encode_head(m, room.p);
    if (m->value.n != 0) {
        memcpy(room.p + CLIENT_RESPONSE_HEAD_LEN, m->value.p, m->value.n);
    }
    rpc_reply_send(r->rpc, to, n);
}

void replica_answer(struct replica *r, struct rpc_request to, const struct peer_answer *a)
{
    const struct peer_answer no_memory = {.kind = PEER_REFUSED, .err = ERR_ENCLAVE_MEMORY};
    struct mbytes room;
    size_t len;
    enum err err = rpc_reply_begin(r->rpc, to, peer_answer_len(a), &room);

    if (err == ERR_ENCLAVE_MEMORY) {
        a = &no_memory;
        err = rpc_reply_begin(r->rpc, to, peer_answer_len(a), &room);
    }
    if (err == OK) {
        CHECK(peer_answer_encode(a, room, &len) == OK);
        rpc_reply_send(r->rpc, to, len);
    }
}

/* Cancels before calls: both may name the same place of an operation. */
static void carry_out(struct replica *r, const struct abd_out *out)
{
    for (uint32_t i = 0; i < out->cancels_n; i++) {
        cancel(r, out->cancels[i]);
    }
    for (uint32_t i = 0; i < out->calls_n; i++) {
        ask(r, &out->calls[i]);
    }
    if (out->have_reply) {
        respond(r, pending_give(r, out->reply.user), &out->reply.response);
    }
}

void replica_step(struct replica *r, struct abd_in *in, const struct rpc_request *request)
{
    struct abd_out *out = &r->out;
    bool again;

    in->now_ns = r->now_ns;
    abd_step(r->abd, in, out);
    if (out->have_answer && request != NULL) {
        replica_answer(r, *request, &out->answer);
    }
    carry_out(r, out);
    again = out->again;
    while (again || r->failed_n > 0) {
        struct abd_in next = {.kind = ABD_IN_TIMER, .now_ns = r->now_ns};

        if (r->failed_n > 0) {
            struct abd_cancel f = r->failed[--r->failed_n];

            next.kind = ABD_IN_CALL_FAILED;
            next.peer = f.peer;
            next.cookie = f.cookie;
        } else {
            again = false;
        }
        abd_step(r->abd, &next, out);
        CHECK(!out->have_answer);
        carry_out(r, out);
        again = again || out->again;
    }
}

/* ---- events of the transport ---- */

static void refuse_client(struct replica *r, struct rpc_request request, enum err err)
{
    const struct client_response no = {.status = err};

    r->requests_refused++;
    respond(r, request, &no);
}

static bool holds_back(const struct replica *r)
{
    return (r->plants & REPLICA_PLANT_SYNC_THEN_VOTE) != 0 && replica_votes(r) &&
           !copy_is_complete(&r->copy);
}

/* ACL-3: may this client ask that? */
static enum err judge(struct replica *r, const struct rpc_event *e, const struct client_request *m,
                      unsigned *ret_lacks)
{
    enum err err =
        (e->user & HAS_RULES) == 0 ? OK : replica_access_judge(r, e->session, m, ret_lacks);

    return err == OK && *ret_lacks != 0 ? ERR_POLICY : err;
}

static void on_client_request(struct replica *r, const struct rpc_event *e)
{
    struct client_request m;
    struct abd_in in = {.kind = ABD_IN_REQUEST, .request = &m};
    unsigned lacks = 0;
    enum err err = client_request_decode(e->body, &m);

    if (err == OK) {
        err = judge(r, e, &m, &lacks);
    }
    if (err == ERR_POLICY) {
        const struct client_response no = {.status = err, .lacks = (uint8_t)lacks};

        r->requests_forbidden++;
        respond(r, e->request, &no);
    } else if (err != OK) {
        refuse_client(r, e->request, err);
    } else if (r->is_leaving) { /* MEM-14 */
        const struct client_response leaving = {.status = ERR_CLOSED};

        r->requests_leaving++;
        respond(r, e->request, &leaving);
    } else if (!replica_votes(r) || holds_back(r)) { /* MEM-9 */
        const struct client_response joining = {.status = ERR_BUSY};

        r->requests_joining++;
        respond(r, e->request, &joining);
    } else if (m.value.n > r->value_max && !client_op_is_batch(m.op)) {
        refuse_client(r, e->request, ERR_TOO_BIG);
    } else if (!pending_take(r, e->request, &in.user)) {
        refuse_client(r, e->request, ERR_BUSY);
    } else {
        replica_step(r, &in, NULL);
    }
}

static void on_member_request(struct replica *r, const struct rpc_event *e)
{
    struct peer_ask m;
    struct abd_in in = {.kind = ABD_IN_ASK, .peer = member_of(e->user), .ask = &m};
    const struct peer_answer malformed = {.kind = PEER_REFUSED, .err = ERR_MALFORMED};

    if (peer_ask_decode(e->body, &m) != OK ||
        (m.value.n > r->value_max && !peer_ask_is_batch(m.kind))) {
        r->requests_refused++;
        replica_answer(r, e->request, &malformed);
        return;
    }
    if (peer_ask_is_copy(m.kind)) {
        replica_on_copy(r, in.peer, &m, e->request);
        return;
    }
    if (holds_back(r)) {
        replica_answer(r, e->request, &(struct peer_answer){.kind = PEER_REFUSED, .err = ERR_BUSY});
        return;
    }
    replica_step(r, &in, &e->request);
}

/* An answer that does not parse is no vote: the call has failed. */
static void on_member_answer(struct replica *r, const struct rpc_event *e)
{
    struct peer_answer m;
    struct abd_in in = {
        .kind = ABD_IN_ANSWER, .peer = member_of(e->user), .cookie = e->cookie, .answer = &m};
    bool good = e->kind != RPC_EVENT_FAILED && peer_answer_decode(e->body, &m) == OK;
    struct replica_call *call = call_of(r, in.peer, e->cookie);

    r->requests_refused += e->kind != RPC_EVENT_FAILED && !good;
    if ((e->cookie & REPLICA_COPY_COOKIE) != 0) {
        replica_on_page(r, in.peer, e->cookie, good ? &m : NULL);
        return;
    }
    if (call->cookie == e->cookie) {
        call->cookie = 0;
    }
    if (!good) {
        in.kind = ABD_IN_CALL_FAILED;
    }
    replica_step(r, &in, NULL);
}

static void set_member_up(struct replica *r, uint8_t member, bool up)
{
    struct abd_in in = {.kind = up ? ABD_IN_PEER_UP : ABD_IN_PEER_DOWN, .peer = member};

    if (r->member_up[member] != up) {
        r->member_up[member] = up;
        replica_step(r, &in, NULL);
        copy_peer(&r->copy, member, up);
        replica_copy_on(r);
    }
}

static void on_closed(struct replica *r, const struct rpc_event *e)
{
    rpc_session_close(r->rpc, e->session, false);
    if ((e->user & HAS_RULES) != 0) {
        replica_access_drop(r, e->session);
    }
    if (is_member(e->user) && r->member_session[member_of(e->user)] == e->session) {
        r->member_session[member_of(e->user)] = 0;
        set_member_up(r, member_of(e->user), false);
    }
}

static void on_event(struct replica *r, const struct rpc_event *e)
{
    switch (e->kind) {
    case RPC_EVENT_REQUEST:
        if (is_member(e->user)) {
            on_member_request(r, e);
        } else {
            on_client_request(r, e);
        }
        break;
    case RPC_EVENT_RESPONSE:
    case RPC_EVENT_FAILED:
        if (is_member(e->user)) {
            on_member_answer(r, e);
        } /* we ask clients nothing */
        break;
    case RPC_EVENT_DOWN:
    case RPC_EVENT_UP:
        if (is_member(e->user) && r->member_session[member_of(e->user)] == e->session) {
            set_member_up(r, member_of(e->user), e->kind == RPC_EVENT_UP);
        }
        break;
    case RPC_EVENT_CLOSED:
        on_closed(r, e);
        break;
    }
}

static void drain(struct replica *r)
{
    struct rpc_event e;

    for (unsigned i = 0;; i++) {
        if (i % REPLICA_EXPECT == 0) {
            replica_expect(r);
        }
        if (!rpc_next(r->rpc, &e)) {
            break;
        }
        on_event(r, &e);
    }
}

static void advance(struct replica *r, uint64_t now_ns)
{
    CHECK(now_ns >= r->now_ns);
    r->now_ns = now_ns;
}

/* ---- the door ---- */

RESULT replica_session_open(struct replica *r, uint64_t now_ns, const struct replica_peer *peer,
                            const struct rpc_session_params *params)
{
    struct rpc_session_params p = *params;
    uint8_t member = peer->member;
    enum err err;

    advance(r, now_ns);
    p.user = user_of(peer);
    if (peer->kind == REPLICA_PEER_MEMBER) {
        if (member >= r->members_n || member == r->self) {
            err = ERR_POLICY;
            goto out;
        }
        if (r->calls[member] == NULL) {
            r->calls[member] = heap_zalloc(r->heap, ABD_PLACES * sizeof(*r->calls[member]));
        }
        if (r->calls[member] == NULL) {
            err = ERR_ENCLAVE_MEMORY;
            goto out;
        }
        if (r->member_session[member] != 0) {
            replica_session_close(r, now_ns, r->member_session[member]);
        }
    }
    err = rpc_session_open(r->rpc, now_ns, &p);
    if (err == OK && has_rules(peer)) {
        err = replica_access_keep(r, p.index, peer->access);
        if (err != OK) {
            rpc_session_close(r->rpc, p.index, true);
        }
    }
    if (err == OK && peer->kind == REPLICA_PEER_MEMBER) {
        r->member_session[member] = p.index;
        set_member_up(r, member, true);
    }
out:
    wipe(&p, sizeof(p));
    return err;
}

void replica_session_close(struct replica *r, uint64_t now_ns, uint32_t index)
{
    advance(r, now_ns);
    rpc_session_close(r->rpc, index, true);
    replica_access_drop(r, index);
    for (uint8_t m = 0; m < r->members_n; m++) {
        if (index != 0 && r->member_session[m] == index) {
            r->member_session[m] = 0;
            set_member_up(r, m, false);
        }
    }
    drain(r);
}

void replica_receive(struct replica *r, uint64_t now_ns, struct bytes datagram,
                     struct abi_addr from)
{
    advance(r, now_ns);
    /* Refusals are counted by the transport; there is nobody to tell. */
    if (rpc_receive(r->rpc, now_ns, datagram, from) == OK) {
        drain(r);
    }
}

bool replica_transmit(struct replica *r, uint64_t now_ns, struct mbytes to,
                      struct abi_addr *ret_addr, size_t *ret_len)
{
    advance(r, now_ns);
    return rpc_transmit(r->rpc, now_ns, to, ret_addr, ret_len);
}

void replica_tick(struct replica *r, uint64_t now_ns)
{
    advance(r, now_ns);
    if (rpc_deadline(r->rpc) <= now_ns) {
        rpc_tick(r->rpc, now_ns);
        drain(r);
    }
    if (abd_deadline(r->abd) <= now_ns) {
        struct abd_in in = {.kind = ABD_IN_TIMER};

        replica_step(r, &in, NULL);
    }
    if (copy_deadline(&r->copy) <= now_ns) {
        replica_copy_on(r);
    }
}

uint64_t replica_deadline(const struct replica *r)
{
    uint64_t a = rpc_deadline(r->rpc);
    uint64_t b = abd_deadline(r->abd);
    uint64_t c = copy_deadline(&r->copy);

    b = b < c ? b : c;
    return a < b ? a : b;
}

void replica_leave(struct replica *r)
{
    r->is_leaving = true;
}

void replica_plant(struct replica *r, unsigned plants)
{
    r->plants = plants;
    if (plants != 0 && r->copy.active) {
        replica_copy_begin(r);
    }
    abd_plant(r->abd, plants & ABD_PLANTS);
    rpc_plant(r->rpc, (plants & REPLICA_PLANT_REPLAY_OFF) != 0 ? RPC_PLANT_REPLAY_OFF : 0);
    store_plant(r->store, (plants & REPLICA_PLANT_STORE_TRUSTING) != 0 ? STORE_PLANT_TRUSTING : 0);
}

/* ---- life ---- */

static RESULT init_tables(struct replica *r)
{
    r->pending = heap_zalloc(r->heap, OPS_MAX * sizeof(*r->pending));
    if (r->pending == NULL) {
        return ERR_ENCLAVE_MEMORY;
    }
    for (uint32_t i = 0; i < OPS_MAX; i++) {
        r->pending[i].next_free = (uint16_t)(i + 1);
    }
    return OK;
}

static RESULT init_parts(struct replica *r, const struct replica_config *c)
{
    struct store_config store = {.shard = c->shard,
                                 .heap = c->heap,
                                 .aead = c->aead,
                                 .master = c->store_master,
                                 .arena = c->arena,
                                 .arena_bytes = c->arena_bytes};
    const struct rpc_config rpc = {.heap = c->heap,
                                   .aead = c->aead,
                                   .sessions_max = c->sessions_max,
                                   .datagram_bytes = c->datagram_bytes,
                                   .message_max = message_max_for(c->value_max),
                                   .key_packets = c->key_packets,
                                   .seed = c->seed};
    struct abd_config abd = {.heap = c->heap,
                             .incarnation = c->incarnation,
                             .self = c->self,
                             .members_n = c->members_n,
                             .voters = c->voters,
                             .epoch = c->epoch,
                             .value_max = c->value_max,
                             .ops_max = OPS_MAX,
                             .hedge_ns = c->hedge_ns,
                             .sync_ns = c->sync_ns,
                             .collect_ns = c->collect_ns,
                             .seed = c->seed ^ 1};

    enum err err = store_init(&store, &r->store);

    secret_wipe(&store.master);
    TRY(err);
    TRY(init_tables(r));
    abd.store = r->store;
    TRY(abd_init(&abd, &r->abd));
    return rpc_init(&rpc, &r->rpc);
}

RESULT replica_init(const struct replica_config *c, struct replica **ret)
{
    struct replica *r;
    enum err err;

    CHECK(c->members_n >= 1 && c->members_n <= NODES_MAX && c->self < c->members_n);
    CHECK(c->value_max <= VALUE_MAX && c->incarnation != 0);
    r = heap_zalloc(c->heap, sizeof(*r));
    if (r == NULL) {
        return ERR_ENCLAVE_MEMORY;
    }
    r->heap = c->heap;
    r->self = c->self;
    r->members_n = c->members_n;
    r->value_max = c->value_max;
    r->sessions_max = c->sessions_max;
    r->epoch = c->epoch;
    r->voters = c->voters != 0 ? c->voters : (uint8_t)((1U << c->members_n) - 1);
    memcpy(r->incarnation, c->incarnations, sizeof(r->incarnation));
    err = init_parts(r, c);
    if (err != OK) {
        replica_fini(r);
        return err;
    }
    if (c->copies) {
        replica_copy_begin(r);
    }
    *ret = r;
    return OK;
}

struct store *replica_store(struct replica *r)
{
    return r->store;
}

void replica_fini(struct replica *r)
{
    struct heap *heap;

    if (r == NULL) {
        return;
    }
    heap = r->heap;
    rpc_fini(r->rpc);
    replica_access_fini(r);
    abd_fini(r->abd);
    store_fini(r->store);
    for (unsigned m = 0; m < NODES_MAX; m++) {
        heap_free(heap, r->calls[m], ABD_PLACES * sizeof(*r->calls[m]));
    }
    heap_free(heap, r->pending, OPS_MAX * sizeof(*r->pending));
    heap_free(heap, r, sizeof(*r));
}
