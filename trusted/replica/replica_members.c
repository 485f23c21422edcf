// SPDX-License-Identifier: Apache-2.0
/* Changes of membership, and copying from other members. docs/protocol/membership.md */
#include "common/check.h"
#include "trusted/replica/replica_internal.h"

/* ---- who is in a group ---- */

static void add_place(struct replica_layout *l, const struct replica_members *m, uint8_t member)
{
    uint8_t place = l->members_n++;

    CHECK(place < NODES_MAX);
    l->member_at[place] = member;
    l->place_of[member] = place;
    l->incarnation[place] = m->incarnations[member];
    if (member == m->self) {
        l->self = place;
    }
}

void replica_layout(const struct replica_members *m, uint32_t group, struct replica_layout *ret)
{
    const struct replica_group_members *g = &m->groups[group];
    struct replica_layout l = {.self = REPLICA_NOWHERE};

    memset(l.place_of, REPLICA_NOWHERE, sizeof(l.place_of));
    for (uint8_t i = 0; i < m->members_n; i++) {
        if (m->groups_n == 0 || ((g->voters | g->learners) >> i & 1) != 0) {
            add_place(&l, m, i);
            if (m->groups_n != 0 && (g->voters >> i & 1) != 0) {
                l.voters |= (uint8_t)(1U << l.place_of[i]);
            }
        }
    }
    if (m->groups_n == 0) {
        l.voters = m->voters != 0 ? m->voters : (uint8_t)((1U << m->members_n) - 1);
        l.copies = m->copies;
    } else {
        l.copies = g->settle || (g->learners >> m->self & 1) != 0;
    }
    *ret = l;
}

void replica_group_place(struct replica_group *g, const struct replica_layout *l)
{
    g->self = l->self;
    g->members_n = l->members_n;
    g->voters = l->voters;
    memcpy(g->member_at, l->member_at, sizeof(g->member_at));
    memcpy(g->place_of, l->place_of, sizeof(g->place_of));
    memcpy(g->incarnation, l->incarnation, sizeof(g->incarnation));
    g->copies = l->copies;
}

/* ---- another configuration ---- */

RESULT replica_copy_begin(struct replica_group *g)
{
    unsigned plants = g->replica->plants;
    bool counts = (plants & REPLICA_PLANT_SYNC_THEN_VOTE) == 0;

    if (!g->copies || g->copy != NULL) {
        return OK;
    }
    g->copy = heap_alloc(g->replica->heap, sizeof(*g->copy));
    if (g->copy == NULL) {
        return ERR_ENCLAVE_MEMORY;
    }
    copy_begin(g->copy, g->store, g->abd,
               counts ? g->voters : g->voters & (uint8_t) ~(1U << g->self), g->self);
    if ((plants & REPLICA_PLANT_COPY_FROM_ONE) != 0 && g->copy->need > 1) {
        g->copy->need = 1;
    }
    for (uint8_t i = 0; i < g->members_n; i++) {
        copy_peer(g->copy, i, i != g->self && g->replica->member_up[g->member_at[i]]);
    }
    return OK;
}

void replica_copy_end(struct replica_group *g)
{
    if (g->copy != NULL) {
        copy_stop(g->copy);
        g->replica->copied_keys += g->copy->keys;
        g->replica->copied_bytes += g->copy->bytes;
        heap_free(g->replica->heap, g->copy, sizeof(*g->copy));
        g->copy = NULL;
    }
}

/* True if the same incarnations vote as before: what was copied from them stays copied (MEM-7). */
static bool same_voters(const struct replica_group *g, const struct replica_layout *l)
{
    uint32_t common = 0;

    for (uint8_t i = 0; i < g->members_n; i++) {
        for (uint8_t k = 0; k < l->members_n; k++) {
            common += (g->voters >> i & l->voters >> k & 1) != 0 &&
                      g->incarnation[i] == l->incarnation[k];
        }
    }
    return common == (uint32_t)__builtin_popcount(g->voters) &&
           common == (uint32_t)__builtin_popcount(l->voters);
}

/* Copying goes on where it was if it may; places may have moved. */
static void carry_copy(struct replica_group *g, const struct replica_layout *l)
{
    struct copy *c = g->copy;

    if (c == NULL || !l->copies || !same_voters(g, l)) {
        replica_copy_end(g); /* replica_groups_open begins it anew if it has to be */
        return;
    }
    copy_stop(c);
    /* By swaps: seven places. Who moves may stand in front of its new place, if somebody comes in
     * there who was not here before and has no stream. */
    for (uint8_t k = 0; k < l->members_n; k++) {
        for (unsigned i = 0; i < NODES_MAX; i++) {
            if (g->incarnation[i] == l->incarnation[k] && i != k) {
                uint32_t moved = g->incarnation[i];

                g->incarnation[i] = g->incarnation[k];
                g->incarnation[k] = moved;
                copy_swap(c, (uint8_t)i, k);
                break;
            }
        }
    }
    for (unsigned k = 0; k < NODES_MAX; k++) {
        c->streams[k].wanted = c->streams[k].wanted && k != l->self && (l->voters >> k & 1) != 0;
    }
}

static void change_group(struct replica_group *g, const struct replica_layout *l)
{
    const struct abd_members members = {l->self, l->members_n, l->voters,
                                        g->replica->members.epoch};
    struct abd_in in = {.kind = ABD_IN_RECONFIGURE, .members = &members};

    carry_copy(g, l);
    replica_group_place(g, l);
    memset(g->copy_calls, 0, sizeof(g->copy_calls));
    replica_step(g, &in, NULL);
}

/* MEM-16, broken on purpose. */
static void go_alone(struct replica_group *g)
{
    const struct replica_members *m = &g->replica->members;
    struct replica_layout l = {.members_n = 1, .voters = 1};

    memset(l.place_of, REPLICA_NOWHERE, sizeof(l.place_of));
    l.place_of[m->self] = 0;
    l.member_at[0] = m->self;
    l.incarnation[0] = m->incarnations[m->self];
    change_group(g, &l);
}

void replica_reconfigure(struct replica *r, uint64_t now_ns, const struct replica_members *m)
{
    CHECK(m->members_n >= 1 && m->members_n <= CLUSTER_MAX && m->self < m->members_n);
    CHECK(m->groups_n <= GROUPS_MAX);
    if (m->epoch <= r->members.epoch ||
        (m->groups_n != r->members.groups_n && m->groups_n + r->members.groups_n > 1)) {
        return; /* CFG-9: the number of groups never changes */
    }
    for (uint8_t i = 0; i < r->members.members_n; i++) {
        if (r->member_session[i] != 0) {
            replica_session_close(r, now_ns, r->member_session[i]);
        }
    }
    r->members = *m;
    for (uint32_t i = r->first_group; i < r->groups_end; i++) {
        struct replica_layout l;

        replica_layout(m, i, &l);
        if (r->groups[i] != NULL && l.self == REPLICA_NOWHERE &&
            (r->plants & REPLICA_PLANT_SERVES_LEFT) != 0) {
            go_alone(r->groups[i]);
        } else if (r->groups[i] != NULL && l.self == REPLICA_NOWHERE) {
            replica_group_leave(r->groups[i]);
        } else if (r->groups[i] != NULL) {
            change_group(r->groups[i], &l);
        }
    }
    (void)!replica_groups_open(r); /* what has no memory is tried again */
}

/* ---- the voter that is copied from ---- */

/* ABD-13: a read is what makes the ABD machine repair. */
static void repair(struct replica_group *g, uint8_t place, struct bytes key)
{
    const struct peer_ask read = {.kind = PEER_READ, .gc = abd_gc_epoch(g->abd), .key = key};
    struct abd_in in = {.kind = ABD_IN_ASK, .peer = place, .ask = &read};

    replica_step(g, &in, NULL);
}

void replica_on_copy(struct replica_group *g, uint8_t place, const struct peer_ask *ask,
                     const struct replica_asker *asker)
{
    struct peer_answer a = {.kind = PEER_PAGE};
    struct copy_page page = {0};
    struct replica *r = g->replica;
    const struct copy_source from = {r->heap, g->store, g->abd};
    enum err err = copy_page_make(&from, ask, &page);

    if (err != OK) {
        a = (struct peer_answer){.kind = PEER_REFUSED, .err = err};
    } else {
        a.last = page.last;
        a.value = page.entries;
    }
    replica_answer(r, asker, &a);
    if (page.damaged.n > 0) {
        repair(g, place, page.damaged);
    }
    heap_free(r->heap, page.block, page.block_n);
}

/* ---- the member that copies ---- */

void replica_copy_on(struct replica_group *g)
{
    struct replica *r = g->replica;
    struct peer_ask ask;
    uint8_t place;

    while (copy_next(g->copy, r->now_ns, &place, &ask)) {
        struct replica_call *call = &g->copy_calls[place];
        uint32_t session = r->member_session[g->member_at[place]];
        struct rpc_question q = {.key = ask.key};

        call->cookie = q.cookie =
            REPLICA_COPY_COOKIE |
            replica_wire_cookie(g, ++g->copy_serial << 16 & REPLICA_COOKIE_MASK);
        q.head[0] = g->number;
        q.head_len = (uint8_t)(1 + peer_ask_encode_head(&ask, q.head + 1));
        if (session == 0 || rpc_call(r->rpc, r->now_ns, session, &q, &call->u.call) != OK) {
            call->cookie = 0;
            copy_on_failed(g->copy, r->now_ns, place);
        }
    }
}

void replica_on_page(struct replica_group *g, uint8_t place, uint64_t wire,
                     const struct peer_answer *m)
{
    struct replica *r = g->replica;

    if (g->copy_calls[place].cookie != wire || g->copy == NULL) {
        return;
    }
    g->copy_calls[place].cookie = 0;
    if (m != NULL) {
        copy_on_answer(g->copy, r->now_ns, place, m);
    } else {
        copy_on_failed(g->copy, r->now_ns, place);
    }
    replica_copy_on(g);
}
