// SPDX-License-Identifier: Apache-2.0
#include "trusted/replica/replica.h"

#include "common/check.h"
#include "trusted/replica/replica_internal.h"
#include "trusted/wire/batch_wire.h"

static bool has_rules(const struct replica_peer *p)
{
    return p->kind == REPLICA_PEER_CLIENT && p->access != NULL && p->access->rules_n > 0;
}

static uint64_t user_of(const struct replica_peer *p)
{
    return (has_rules(p) ? REPLICA_HAS_RULES : 0) | (uint64_t)p->kind << 8 | p->member;
}

/* ---- requests of clients that wait for an ABD machine ---- */

static bool pending_take(struct replica *r, const struct replica_pending *p, uint64_t *ret_user)
{
    uint16_t i = r->free_head;

    if (i == OPS_MAX) {
        return false;
    }
    r->free_head = r->pending[i].next_free;
    r->pending[i] = *p;
    r->pending_n++;
    *ret_user = i;
    return true;
}

struct rpc_request replica_pending_give(struct replica *r, uint64_t user)
{
    CHECK(user < OPS_MAX && r->pending[user].group != GROUPS_MAX);
    r->pending[user].group = GROUPS_MAX;
    r->pending[user].next_free = r->free_head;
    r->free_head = (uint16_t)user;
    r->pending_n--;
    return r->pending[user].request;
}

/* ---- answers ---- */

void replica_respond(struct replica *r, struct rpc_request to, const struct client_response *m)
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

/* ---- events of the transport ---- */

void replica_refuse_client(struct replica *r, struct rpc_request request, enum err err)
{
    const struct client_response no = {.status = err};

    r->requests_refused++;
    replica_respond(r, request, &no);
}

/* Whether all keys of a batch lie in the group that it names. A scan has none. */
static bool batch_is_of(const struct replica *r, const struct client_request *m)
{
    unsigned fields = m->op == CLIENT_MPUT ? BATCH_MPUT : BATCH_MGET;
    struct batch_list list;
    struct batch_item i;

    if (m->op == CLIENT_SCAN || m->op == CLIENT_LOOK) { /* keys of a look: replica_on_look */
        return true;
    }
    if (batch_list_decode(m->value, fields, BATCH_TOMBSTONE + 1, &list) != OK) {
        return true; /* refused for that where it is looked at */
    }
    while (batch_list_next(&list, &i)) {
        if (slot_run(slot_of(r->cluster_id, i.key), r->members.groups_n) != m->group) {
            return false;
        }
    }
    return true;
}

/* MEM-16. The group that a request belongs to. Without groups nothing is looked at. False: its keys
 * belong elsewhere, or to several. */
static bool find_group(const struct replica *r, const struct client_request *m, uint32_t *ret)
{
    uint32_t slot;

    *ret = m->group;
    if (r->members.groups_n <= 1) {
        return m->group == 0;
    }
    if (client_op_is_batch(m->op)) {
        return m->group >= r->first_group && m->group < r->groups_end && batch_is_of(r, m);
    }
    slot = slot_of(r->cluster_id, m->key);
    *ret = slot_run(slot, r->members.groups_n);
    return slot_run(slot, r->shards_n) == r->shard;
}

static bool is_read(const struct client_request *m)
{
    return m->op == CLIENT_GET || m->op == CLIENT_SCAN || m->op == CLIENT_MGET;
}

/* ACL-3: may this client ask that? */
static enum err judge(struct replica *r, const struct rpc_event *e, const struct client_request *m,
                      unsigned *ret_lacks)
{
    enum err err =
        (e->user & REPLICA_HAS_RULES) == 0 ? OK : replica_access_judge(r, e->session, m, ret_lacks);

    return err == OK && *ret_lacks != 0 ? ERR_POLICY : err;
}

/* The group that serves the request, here and now. NULL: it was refused. */
static struct replica_group *admit(struct replica *r, const struct rpc_event *e,
                                   const struct client_request *m)
{
    const struct client_response leaving = {.status = ERR_CLOSED};
    const struct client_response strayed = {.status = ERR_EPOCH, .tag = {.ts = r->members.epoch}};
    const struct client_response joining = {.status = ERR_BUSY};
    struct replica_group *g;
    uint32_t number = 0;

    if (r->is_leaving) { /* MEM-14 */
        r->requests_leaving++;
        replica_respond(r, e->request, &leaving);
        return NULL;
    }
    if (!find_group(r, m, &number)) {
        replica_refuse_client(r, e->request, ERR_USAGE);
        return NULL;
    }
    g = r->groups[number];
    if (g == NULL) { /* MEM-16 */
        r->requests_strayed++;
        replica_respond(r, e->request, &strayed);
        return NULL;
    }
    if (!replica_group_votes(g) || replica_holds_back(g)) { /* MEM-9 */
        r->requests_joining++;
        replica_respond(r, e->request, &joining);
        return NULL;
    }
    return g;
}

static void on_client_request(struct replica *r, const struct rpc_event *e)
{
    struct client_request m;
    struct abd_in in = {.kind = ABD_IN_REQUEST, .request = &m};
    struct replica_group *g;
    unsigned lacks = 0;
    enum err err = client_request_decode(e->body, &m);

    if (err == OK && m.op != CLIENT_LOOK) { /* of a look each key is judged alone */
        err = judge(r, e, &m, &lacks);
    }
    if (err == ERR_POLICY) {
        const struct client_response no = {.status = err, .lacks = (uint8_t)lacks};

        r->requests_forbidden++;
        replica_respond(r, e->request, &no);
        return;
    }
    if (err != OK) {
        replica_refuse_client(r, e->request, err);
        return;
    }
    g = admit(r, e, &m);
    if (g == NULL) {
        return;
    }
    if (m.op == CLIENT_LOOK) {
        replica_on_look(g, e, &m);
    } else if (m.value.n > r->value_max && !client_op_is_batch(m.op)) {
        replica_refuse_client(r, e->request, ERR_TOO_BIG);
    } else if (!pending_take(r,
                             &(struct replica_pending){
                                 .request = e->request, .group = g->number, .is_read = is_read(&m)},
                             &in.user)) {
        replica_refuse_client(r, e->request, ERR_BUSY);
    } else {
        replica_step(g, &in, NULL);
    }
}

static void set_member_up(struct replica *r, uint8_t member, bool up)
{
    if (r->member_up[member] == up) {
        return;
    }
    r->member_up[member] = up;
    for (uint32_t i = r->first_group; i < r->groups_end; i++) {
        if (r->groups[i] != NULL) {
            replica_group_peer(r->groups[i], member, up);
        }
    }
}

static void lose_member(struct replica *r, uint8_t member)
{
    r->member_session[member] = 0;
    r->member_bond[member] = 0;
    replica_bundle_drop(r, member);
    set_member_up(r, member, false);
}

static void on_closed(struct replica *r, const struct rpc_event *e)
{
    rpc_session_close(r->rpc, e->session, false);
    if ((e->user & REPLICA_HAS_RULES) != 0) {
        replica_access_drop(r, e->session);
    }
    if (replica_is_member(e->user) && r->member_session[replica_member_of(e->user)] == e->session) {
        lose_member(r, replica_member_of(e->user));
    }
}

static void on_event(struct replica *r, const struct rpc_event *e)
{
    switch (e->kind) {
    case RPC_EVENT_REQUEST:
        if (replica_is_member(e->user)) {
            replica_on_member_request(r, e);
        } else {
            on_client_request(r, e);
        }
        break;
    case RPC_EVENT_RESPONSE:
    case RPC_EVENT_FAILED:
        if (replica_is_member(e->user)) {
            replica_on_member_answer(r, e);
        } /* we ask clients nothing */
        break;
    case RPC_EVENT_DOWN:
    case RPC_EVENT_UP:
        if (replica_is_member(e->user) &&
            r->member_session[replica_member_of(e->user)] == e->session) {
            set_member_up(r, replica_member_of(e->user), e->kind == RPC_EVENT_UP);
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

static RESULT meet(struct replica *r, uint64_t now_ns, uint8_t member)
{
    if (member >= r->members.members_n || member == r->members.self) {
        return ERR_POLICY;
    }
    for (uint32_t i = r->first_group; i < r->groups_end; i++) {
        if (r->groups[i] != NULL) {
            TRY(replica_group_meet(r->groups[i], member));
        }
    }
    if (r->member_session[member] != 0) {
        replica_session_close(r, now_ns, r->member_session[member]);
    }
    return OK;
}

RESULT replica_session_open(struct replica *r, uint64_t now_ns, const struct replica_peer *peer,
                            const struct rpc_session_params *params)
{
    struct rpc_session_params p = *params;
    uint64_t bond = 0;
    enum err err = OK;

    advance(r, now_ns);
    p.user = user_of(peer);
    if (peer->kind == REPLICA_PEER_MEMBER) {
        bond = replica_bond(&p.send, &p.recv);
        err = meet(r, now_ns, peer->member);
    }
    if (err == OK) {
        err = rpc_session_open(r->rpc, now_ns, &p);
    }
    if (err == OK && has_rules(peer)) {
        err = replica_access_keep(r, p.index, peer->access);
        if (err != OK) {
            rpc_session_close(r->rpc, p.index, true);
        }
    }
    if (err == OK && peer->kind == REPLICA_PEER_MEMBER) {
        r->member_session[peer->member] = p.index;
        r->member_bond[peer->member] = bond;
        set_member_up(r, peer->member, true);
    }
    wipe(&p, sizeof(p));
    return err;
}

void replica_session_close(struct replica *r, uint64_t now_ns, uint32_t index)
{
    advance(r, now_ns);
    rpc_session_close(r->rpc, index, true);
    replica_access_drop(r, index);
    for (uint8_t m = 0; m < r->members.members_n; m++) {
        if (index != 0 && r->member_session[m] == index) {
            lose_member(r, m);
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

static __attribute__((noinline)) bool send_and_transmit(struct replica *r, struct mbytes to,
                                                        struct abi_addr *ret_addr, size_t *ret_len)
{
    replica_bundles_send(r);
    return rpc_transmit(r->rpc, r->now_ns, to, ret_addr, ret_len);
}

bool replica_transmit(struct replica *r, uint64_t now_ns, struct mbytes to,
                      struct abi_addr *ret_addr, size_t *ret_len)
{
    advance(r, now_ns);
    if (__builtin_expect(r->staged != 0, 0)) { /* once in a turn, out of the way of the others */
        return send_and_transmit(r, to, ret_addr, ret_len);
    }
    return rpc_transmit(r->rpc, now_ns, to, ret_addr, ret_len);
}

void replica_tick(struct replica *r, uint64_t now_ns)
{
    advance(r, now_ns);
    if (rpc_deadline(r->rpc) <= now_ns) {
        rpc_tick(r->rpc, now_ns);
        drain(r);
    }
    replica_groups_tick(r);
}

uint64_t replica_deadline(const struct replica *r)
{
    uint64_t a = rpc_deadline(r->rpc);
    uint64_t b = r->shedding_n > 0 ? r->now_ns : replica_groups_deadline(r);

    b = b < r->lacking_at_ns ? b : r->lacking_at_ns;
    return a < b ? a : b;
}

void replica_leave(struct replica *r)
{
    r->is_leaving = true;
    r->leaving_at_ns = r->now_ns;
}

void replica_plant(struct replica *r, unsigned plants)
{
    r->plants = plants;
    for (uint32_t i = 0; i < GROUPS_MAX; i++) {
        if (r->groups[i] != NULL) {
            replica_group_plant(r->groups[i]);
            if (plants != 0 && r->groups[i]->copies) {
                replica_copy_end(r->groups[i]);
                (void)!replica_copy_begin(r->groups[i]);
            }
        }
    }
    rpc_plant(r->rpc, (plants & REPLICA_PLANT_REPLAY_OFF) != 0 ? RPC_PLANT_REPLAY_OFF : 0);
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
        r->pending[i].group = GROUPS_MAX;
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
    enum err err = store_init(&store, &r->store);

    secret_wipe(&store.master);
    TRY(err);
    TRY(init_tables(r));
    TRY(replica_groups_open(r));
    return rpc_init(&rpc, &r->rpc);
}

static void take_members(struct replica *r, const struct replica_config *c)
{
    if (c->members != NULL) {
        r->members = *c->members;
        memcpy(r->cluster_id, c->cluster_id, sizeof(r->cluster_id));
    } else {
        r->members = (struct replica_members){.epoch = c->epoch,
                                              .self = c->self,
                                              .members_n = c->members_n,
                                              .voters = c->voters,
                                              .copies = c->copies};
        memcpy(r->members.incarnations, c->incarnations, sizeof(c->incarnations));
    }
    r->groups_end = 1;
    if (r->members.groups_n > 1) {
        uint32_t end = slot_first(c->shard + 1, c->shards_n);

        r->first_group = slot_run(slot_first(c->shard, c->shards_n), r->members.groups_n);
        r->groups_end = slot_run(end - 1, r->members.groups_n) + 1;
    }
}

RESULT replica_init(const struct replica_config *c, struct replica **ret)
{
    struct replica *r;
    enum err err;

    CHECK(c->value_max <= VALUE_MAX && c->incarnation != 0);
    CHECK(c->members == NULL || (c->shards_n >= 1 && c->shard < c->shards_n));
    r = heap_zalloc(c->heap, sizeof(*r));
    if (r == NULL) {
        return ERR_ENCLAVE_MEMORY;
    }
    r->heap = c->heap;
    r->value_max = c->value_max;
    r->sessions_max = c->sessions_max;
    r->datagram_bytes = c->datagram_bytes;
    r->shard = c->shard;
    r->shards_n = c->shards_n;
    r->groups_at_ns = r->lacking_at_ns = UINT64_MAX;
    r->abd_config = (struct abd_config){.heap = c->heap,
                                        .incarnation = c->incarnation,
                                        .value_max = c->value_max,
                                        .ops_max = OPS_MAX,
                                        .hedge_ns = c->hedge_ns,
                                        .sync_ns = c->sync_ns,
                                        .collect_ns = c->collect_ns,
                                        .seed = c->seed ^ 1};
    take_members(r, c);
    CHECK(r->members.members_n >= 1 && r->members.members_n <= CLUSTER_MAX);
    CHECK(r->members.self < r->members.members_n && r->members.groups_n <= GROUPS_MAX);
    err = init_parts(r, c);
    if (err != OK) {
        replica_fini(r);
        return err;
    }
    *ret = r;
    return OK;
}

struct store *replica_store(struct replica *r)
{
    return r->store;
}

struct store *replica_group_store(struct replica *r, uint32_t group)
{
    CHECK(group < GROUPS_MAX);
    return r->groups[group] == NULL ? NULL : r->groups[group]->store;
}

void replica_fini(struct replica *r)
{
    struct heap *heap;

    if (r == NULL) {
        return;
    }
    heap = r->heap;
    rpc_fini(r->rpc);
    replica_bundles_fini(r); /* rpc had borrowed them */
    replica_access_fini(r);
    replica_groups_fini(r);
    store_fini(r->store);
    heap_free(heap, r->pending, OPS_MAX * sizeof(*r->pending));
    heap_free(heap, r, sizeof(*r));
}
