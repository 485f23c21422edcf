// SPDX-License-Identifier: Apache-2.0
/* One group of slots in this shard: its ABD machine, and what that machine says. MEM-15 */
#include "common/check.h"
#include "trusted/replica/replica_internal.h"

static const uint64_t LACKING_RETRY_NS = UINT64_C(200000000);

/* ---- calls ---- */

struct replica_call *replica_call_of(struct replica_group *g, uint8_t place, uint64_t cookie)
{
    uint32_t op = abd_cookie_op(cookie);

    /* Batches stand behind the operations. */
    op = op < OPS_MAX ? op : op - (uint32_t)OPS_MAX + g->places_n - (uint32_t)BATCHES_MAX;
    CHECK(op < g->places_n);
    return &g->calls[place][op];
}

static void cancel(struct replica_group *g, struct abd_cancel c)
{
    struct replica_call *call =
        g->calls[c.peer] == NULL ? NULL : replica_call_of(g, c.peer, c.cookie);

    if (call == NULL || call->cookie != c.cookie) {
        return;
    }
    call->cookie = 0;
    if (call->way == REPLICA_CALL_ALONE) {
        rpc_cancel(g->replica->rpc, &call->u.call);
    } else {
        replica_bundle_cancel(g->replica, call);
    }
}

static void ask(struct replica_group *g, const struct abd_call *c)
{
    struct replica *r = g->replica;
    struct replica_call *call =
        g->calls[c->peer] == NULL ? NULL : replica_call_of(g, c->peer, c->cookie);
    struct rpc_question q;
    uint32_t session = r->member_session[g->member_at[c->peer]];

    if (session != 0 && call != NULL && replica_bundle_add(g, c, call)) {
        call->cookie = c->cookie;
        return;
    }
    q = (struct rpc_question){
        .cookie = replica_wire_cookie(g, c->cookie), .key = c->ask.key, .value = c->ask.value};
    _Static_assert(1 + (int)PEER_ASK_HEAD_MAX <= (int)MESSAGE_HEAD_MAX, "the head fits");
    q.head[0] = g->number;
    q.head_len = (uint8_t)(1 + peer_ask_encode_head(&c->ask, q.head + 1));
    if (session == 0 || call == NULL ||
        rpc_call(r->rpc, r->now_ns, session, &q, &call->u.call) != OK) {
        CHECK(g->failed_n < REPLICA_FAILED_MAX);
        g->failed[g->failed_n++] = (struct abd_cancel){.peer = c->peer, .cookie = c->cookie};
        return;
    }
    call->way = REPLICA_CALL_ALONE;
    call->cookie = c->cookie;
}

/* ---- steps ---- */

/* Cancels before calls: both may name the same place of an operation. Who waits for an answer comes
 * before those who only have to know, too. */
static void carry_out(struct replica_group *g, const struct abd_out *out)
{
    for (uint32_t i = 0; i < out->cancels_n; i++) {
        cancel(g, out->cancels[i]);
    }
    if (out->have_reply) {
        replica_respond(g->replica, replica_pending_give(g->replica, out->reply.user),
                        &out->reply.response);
    }
    for (uint32_t i = 0; i < out->calls_n; i++) {
        ask(g, &out->calls[i]);
    }
}

/* May be early, never late. One group alone is asked when it matters: replica_groups_deadline. */
static inline void note_deadline(struct replica_group *g)
{
    struct replica *r = g->replica;

    if (r->hosted_n > 1) {
        uint64_t at = replica_group_deadline(g);

        r->groups_at_ns = at < r->groups_at_ns ? at : r->groups_at_ns;
    }
}

void replica_step(struct replica_group *g, struct abd_in *in, const struct replica_asker *asker)
{
    struct replica *r = g->replica;
    struct abd_out *out = &r->out;
    bool again;

    in->now_ns = r->now_ns;
    abd_step(g->abd, in, out);
    if (out->have_answer && asker != NULL) {
        replica_answer(r, asker, &out->answer);
    }
    carry_out(g, out);
    again = out->again;
    while (again || g->failed_n > 0) {
        struct abd_in next = {.kind = ABD_IN_TIMER, .now_ns = r->now_ns};

        if (g->failed_n > 0) {
            struct abd_cancel f = g->failed[--g->failed_n];

            next.kind = ABD_IN_CALL_FAILED;
            next.peer = f.peer;
            next.cookie = f.cookie;
        } else {
            again = false;
        }
        abd_step(g->abd, &next, out);
        CHECK(!out->have_answer);
        carry_out(g, out);
        again = again || out->again;
    }
    note_deadline(g);
}

void replica_group_answered(struct replica_group *g, uint8_t place, uint64_t wire,
                            const struct peer_answer *m)
{
    struct abd_in in = {.kind = ABD_IN_ANSWER, .peer = place, .answer = m};
    struct replica_call *call;

    if ((wire & REPLICA_COPY_COOKIE) != 0) {
        replica_on_page(g, place, wire, m);
        note_deadline(g);
        return;
    }
    if (g->calls[place] == NULL) {
        return;
    }
    call = replica_call_of(g, place, wire);
    if (call->cookie == 0 || replica_wire_cookie(g, call->cookie) != wire) {
        return; /* of a former life of the group */
    }
    in.cookie = call->cookie;
    call->cookie = 0;
    replica_bundle_cancel(g->replica, call);
    if (m == NULL) {
        in.kind = ABD_IN_CALL_FAILED;
    }
    replica_step(g, &in, NULL);
}

RESULT replica_group_meet(struct replica_group *g, uint8_t member)
{
    uint8_t place = g->place_of[member];

    if (place != REPLICA_NOWHERE && g->calls[place] == NULL) {
        g->calls[place] = heap_zalloc(g->replica->heap, g->places_n * sizeof(*g->calls[place]));
        return g->calls[place] == NULL ? ERR_ENCLAVE_MEMORY : OK;
    }
    return OK;
}

void replica_group_peer(struct replica_group *g, uint8_t member, bool up)
{
    uint8_t place = g->place_of[member];
    struct abd_in in = {.kind = up ? ABD_IN_PEER_UP : ABD_IN_PEER_DOWN, .peer = place};

    if (place == REPLICA_NOWHERE || place == g->self) {
        return;
    }
    replica_step(g, &in, NULL);
    if (g->copy != NULL) {
        copy_peer(g->copy, place, up);
        replica_copy_on(g);
        note_deadline(g);
    }
}

/* ---- time ---- */

uint64_t replica_groups_deadline(const struct replica *r)
{
    return r->only != NULL ? replica_group_deadline(r->only) : r->groups_at_ns;
}

/* The set of groups here has changed. */
static void recount(struct replica *r)
{
    r->only = NULL;
    r->hosted_n = 0;
    for (uint32_t i = r->first_group; i < r->groups_end; i++) {
        if (r->groups[i] != NULL) {
            r->hosted_n++;
            r->only = r->groups[i];
        }
    }
    r->only = r->hosted_n == 1 ? r->only : NULL;
    r->groups_at_ns = r->hosted_n > 0 ? r->now_ns : UINT64_MAX; /* look at all of them */
}

static void shed_some(struct replica *r)
{
    uint32_t last = r->shedding_n - 1;

    if (store_shed(r->shedding[last], REPLICA_SHED_STEP)) {
        store_fini(r->shedding[last]);
        r->part_used[r->shedding_part[last]] = false;
        r->shedding_n--;
    }
}

void replica_groups_tick(struct replica *r)
{
    uint64_t at = UINT64_MAX;

    if (r->shedding_n > 0) {
        shed_some(r);
    }
    if (r->lacking_at_ns <= r->now_ns) {
        (void)!replica_groups_open(r); /* once more, later */
    }
    if (replica_groups_deadline(r) > r->now_ns) {
        return;
    }
    for (uint32_t i = r->first_group; i < r->groups_end; i++) {
        struct replica_group *g = r->groups[i];
        uint64_t due;

        if (g == NULL) {
            continue;
        }
        if (abd_deadline(g->abd) <= r->now_ns) {
            struct abd_in in = {.kind = ABD_IN_TIMER};

            replica_step(g, &in, NULL);
        }
        if (g->copy != NULL && copy_deadline(g->copy) <= r->now_ns) {
            replica_copy_on(g);
        }
        due = replica_group_deadline(g);
        at = due < at ? due : at;
    }
    r->groups_at_ns = at;
}

/* ---- life ---- */

static RESULT take_store(struct replica_group *g)
{
    struct replica *r = g->replica;

    g->part = REPLICA_NOWHERE;
    g->store = r->store;
    for (uint32_t i = 0; r->members.groups_n > 1 && i <= STORE_PART_MAX; i++) {
        if (!r->part_used[i]) {
            TRY(store_open_part(r->store, (uint8_t)i, &g->store));
            g->part = (uint8_t)i;
            r->part_used[i] = true;
            return OK;
        }
    }
    return OK;
}

static void give_store(struct replica_group *g)
{
    struct replica *r = g->replica;
    bool keeps = (r->plants & REPLICA_PLANT_KEEPS_LEFT) != 0;
    bool queued = g->part != REPLICA_NOWHERE && r->shedding_n < REPLICA_SHEDDING_MAX && !keeps;

    if (queued) {
        r->shedding_part[r->shedding_n] = g->part;
        r->shedding[r->shedding_n++] = g->store;
        return;
    }
    while (!keeps && !store_shed(g->store, UINT32_MAX)) {
    }
    if (g->part != REPLICA_NOWHERE) {
        r->part_used[g->part] = false;
        store_fini(g->store);
    }
}

void replica_group_plant(struct replica_group *g)
{
    unsigned plants = g->replica->plants;

    abd_plant(g->abd, plants & ABD_PLANTS);
    store_plant(g->store, (plants & REPLICA_PLANT_STORE_TRUSTING) != 0 ? STORE_PLANT_TRUSTING : 0);
}

static RESULT open_abd(struct replica_group *g, const struct replica_layout *l)
{
    struct replica *r = g->replica;
    struct abd_config c = r->abd_config;
    uint32_t share = r->groups_end - r->first_group;

    c.store = g->store;
    c.self = l->self;
    c.members_n = l->members_n;
    c.voters = l->voters;
    c.epoch = r->members.epoch;
    c.past = r->past[g->number];
    c.seed ^= (uint64_t)g->number << 8;
    if (share > 1) {
        c.ops_max =
            OPS_MAX / share < REPLICA_GROUP_OPS_MIN ? REPLICA_GROUP_OPS_MIN : OPS_MAX / share;
        c.sync_ns *= share;
        c.collect_ns *= share; /* COL-11 */
    }
    g->places_n = c.ops_max + BATCHES_MAX;
    TRY(abd_init(&c, &g->abd));
    replica_group_plant(g);
    return OK;
}

static void group_free(struct replica_group *g)
{
    struct heap *heap = g->replica->heap;

    replica_copy_end(g);
    abd_fini(g->abd);
    for (unsigned i = 0; i < NODES_MAX; i++) {
        heap_free(heap, g->calls[i], g->places_n * sizeof(*g->calls[i]));
    }
    heap_free(heap, g, sizeof(*g));
}

static RESULT open_group(struct replica *r, uint32_t number, const struct replica_layout *l)
{
    struct replica_group *g = heap_zalloc(r->heap, sizeof(*g));
    enum err err;

    if (g == NULL) {
        return ERR_ENCLAVE_MEMORY;
    }
    g->replica = r;
    g->number = (uint8_t)number;
    replica_group_place(g, l);
    err = take_store(g);
    if (err != OK) {
        group_free(g);
        return err;
    }
    err = open_abd(g, l);
    if (err == OK) {
        err = replica_copy_begin(g);
    }
    for (uint8_t m = 0; m < r->members.members_n && err == OK; m++) {
        err = r->member_session[m] != 0 ? replica_group_meet(g, m) : OK;
    }
    if (err != OK) {
        give_store(g);
        group_free(g);
        return err;
    }
    r->groups[number] = g;
    recount(r);
    for (uint8_t m = 0; m < r->members.members_n; m++) {
        if (r->member_up[m]) {
            replica_group_peer(g, m, true);
        }
    }
    return OK;
}

RESULT replica_groups_open(struct replica *r)
{
    enum err first = OK;

    for (uint32_t i = r->first_group; i < r->groups_end; i++) {
        struct replica_layout l;
        enum err err = OK;

        replica_layout(&r->members, i, &l);
        if (r->groups[i] != NULL) {
            err = replica_copy_begin(r->groups[i]);
            note_deadline(r->groups[i]);
        } else if (l.self != REPLICA_NOWHERE) {
            err = open_group(r, i, &l);
        }
        first = first == OK ? err : first;
    }
    r->lacking_at_ns = first == OK ? UINT64_MAX : r->now_ns + LACKING_RETRY_NS;
    return first;
}

/* Who waits for an answer learns that this replica has none. Of a write it is not known how far it
 * came. */
static void end_requests(struct replica_group *g)
{
    struct replica *r = g->replica;

    for (uint32_t i = 0; i < OPS_MAX; i++) {
        const struct replica_pending *p = &r->pending[i];
        struct client_response m = {.status = p->is_read ? ERR_EPOCH : ERR_INDETERMINATE};

        if (p->group == g->number) {
            m.tag.ts = p->is_read ? r->members.epoch : 0;
            replica_respond(r, replica_pending_give(r, i), &m);
        }
    }
}

static void add_counters(struct abd_counters *to, const struct abd_counters *from)
{
    to->gets += from->gets;
    to->puts += from->puts;
    to->deletes += from->deletes;
    to->divergences += from->divergences;
    to->collected += from->collected;
    to->collections += from->collections;
    to->collect_failed += from->collect_failed;
    to->gc_refused += from->gc_refused;
}

void replica_group_leave(struct replica_group *g)
{
    struct replica *r = g->replica;

    end_requests(g);
    r->past[g->number] = abd_past(g->abd);
    add_counters(&r->left, abd_counters(g->abd));
    r->groups[g->number] = NULL;
    recount(r);
    replica_copy_end(g);
    abd_fini(g->abd); /* before its store */
    g->abd = NULL;
    give_store(g);
    group_free(g);
}

void replica_groups_fini(struct replica *r)
{
    for (uint32_t i = 0; i < GROUPS_MAX; i++) {
        struct replica_group *g = r->groups[i];

        if (g != NULL) {
            struct store *part = g->part != REPLICA_NOWHERE ? g->store : NULL;

            group_free(g);
            store_fini(part);
        }
    }
    for (uint32_t i = 0; i < r->shedding_n; i++) {
        store_fini(r->shedding[i]);
    }
}
