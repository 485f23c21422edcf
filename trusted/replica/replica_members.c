// SPDX-License-Identifier: Apache-2.0
/* Changes of membership, and copying from other members. docs/protocol/membership.md */
#include "common/check.h"
#include "trusted/replica/replica_internal.h"

/* ---- another configuration ---- */

/* True if the same incarnations vote as before: what was copied from them stays copied (MEM-7). */
static bool same_voters(const struct replica *r, const struct replica_members *m)
{
    uint32_t common = 0;

    for (uint8_t i = 0; i < r->members_n; i++) {
        for (uint8_t k = 0; k < m->members_n; k++) {
            common += (r->voters >> i & m->voters >> k & 1) != 0 &&
                      r->incarnation[i] == m->incarnations[k];
        }
    }
    return common == (uint32_t)__builtin_popcount(r->voters) &&
           common == (uint32_t)__builtin_popcount(m->voters);
}

/* Copying goes on where it was if it may; places may have moved. *ret_anew: it may not. */
static void carry_copy(struct replica *r, const struct replica_members *m, bool *ret_anew)
{
    struct copy *c = &r->copy;

    if (!m->copies) {
        *c = (struct copy){0};
        return;
    }
    if (!c->active || !same_voters(r, m)) {
        *ret_anew = true;
        return;
    }
    for (unsigned i = 0; i < NODES_MAX; i++) {
        c->streams[i].up = c->streams[i].asked = false;
    }
    /* By swaps: seven places. Who moves may stand in front of its new place, if somebody comes in
     * there who was not here before and has no stream. */
    for (uint8_t k = 0; k < m->members_n; k++) {
        for (uint8_t i = 0; i < NODES_MAX; i++) {
            if (r->incarnation[i] == m->incarnations[k] && i != k) {
                uint32_t moved = r->incarnation[i];

                r->incarnation[i] = r->incarnation[k];
                r->incarnation[k] = moved;
                copy_swap(c, i, k);
                break;
            }
        }
    }
    for (uint8_t k = 0; k < NODES_MAX; k++) {
        c->streams[k].wanted = c->streams[k].wanted && k != m->self && (m->voters >> k & 1) != 0;
    }
}

void replica_reconfigure(struct replica *r, uint64_t now_ns, const struct replica_members *m)
{
    const struct abd_members members = {m->self, m->members_n, m->voters, m->epoch};
    struct abd_in in = {.kind = ABD_IN_RECONFIGURE, .members = &members};
    bool anew = false;

    CHECK(m->members_n >= 1 && m->members_n <= NODES_MAX && m->self < m->members_n);
    if (m->epoch <= r->epoch) {
        return;
    }
    for (uint8_t i = 0; i < r->members_n; i++) {
        if (r->member_session[i] != 0) {
            replica_session_close(r, now_ns, r->member_session[i]);
        }
    }
    carry_copy(r, m, &anew);
    r->epoch = m->epoch;
    r->self = m->self;
    r->members_n = m->members_n;
    r->voters = m->voters;
    memcpy(r->incarnation, m->incarnations, sizeof(r->incarnation));
    memset(r->copy_calls, 0, sizeof(r->copy_calls));
    if (anew) {
        replica_copy_begin(r);
    }
    replica_step(r, &in, NULL);
}

/* ---- the voter that is copied from ---- */

/* ABD-13: a read is what makes the ABD machine repair. */
static void repair(struct replica *r, uint8_t member, struct bytes key)
{
    const struct peer_ask read = {.kind = PEER_READ, .gc = abd_gc_epoch(r->abd), .key = key};
    struct abd_in in = {.kind = ABD_IN_ASK, .peer = member, .ask = &read};

    replica_step(r, &in, NULL);
}

void replica_on_copy(struct replica *r, uint8_t member, const struct peer_ask *ask,
                     struct rpc_request request)
{
    struct peer_answer a = {.kind = PEER_PAGE};
    struct copy_page page = {0};
    const struct copy_source from = {r->heap, r->store, r->abd};
    enum err err = copy_page_make(&from, ask, &page);

    if (err != OK) {
        a = (struct peer_answer){.kind = PEER_REFUSED, .err = err};
    } else {
        a.last = page.last;
        a.value = page.entries;
    }
    replica_answer(r, request, &a);
    if (page.damaged.n > 0) {
        repair(r, member, page.damaged);
    }
    heap_free(r->heap, page.block, page.block_n);
}

/* ---- the member that copies ---- */

void replica_copy_begin(struct replica *r)
{
    uint8_t own = (uint8_t)(1U << r->self);
    bool counts = (r->plants & REPLICA_PLANT_SYNC_THEN_VOTE) == 0;

    copy_begin(&r->copy, r->store, r->abd, counts ? r->voters : r->voters & (uint8_t)~own, r->self);
    if ((r->plants & REPLICA_PLANT_COPY_FROM_ONE) != 0 && r->copy.need > 1) {
        r->copy.need = 1;
    }
}

void replica_copy_on(struct replica *r)
{
    struct peer_ask ask;
    uint8_t peer;

    while (copy_next(&r->copy, r->now_ns, &peer, &ask)) {
        struct replica_call *call = &r->copy_calls[peer];
        struct rpc_question q = {.key = ask.key};

        call->cookie = q.cookie = REPLICA_COPY_COOKIE | ++r->copy_serial;
        q.head_len = (uint8_t)peer_ask_encode_head(&ask, q.head);
        if (r->member_session[peer] == 0 ||
            rpc_call(r->rpc, r->now_ns, r->member_session[peer], &q, &call->call) != OK) {
            call->cookie = 0;
            copy_on_failed(&r->copy, r->now_ns, peer);
        }
    }
}

void replica_on_page(struct replica *r, uint8_t member, uint64_t cookie,
                     const struct peer_answer *m)
{
    if (r->copy_calls[member].cookie != cookie) {
        return;
    }
    r->copy_calls[member].cookie = 0;
    if (m != NULL) {
        copy_on_answer(&r->copy, r->now_ns, member, m);
    } else {
        copy_on_failed(&r->copy, r->now_ns, member);
    }
    replica_copy_on(r);
}
