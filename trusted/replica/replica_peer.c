// SPDX-License-Identifier: Apache-2.0
/* What members ask, and what they answer. */
#include "common/check.h"
#include "trusted/replica/replica_internal.h"

void replica_answer(struct replica *r, const struct replica_asker *to, const struct peer_answer *a)
{
    const struct peer_answer no_memory = {.kind = PEER_REFUSED, .err = ERR_ENCLAVE_MEMORY};
    struct mbytes room;
    size_t len;
    enum err err;

    if (to->bundle != NULL) {
        bundle_put_answer(to->bundle, a);
        return;
    }
    err = rpc_reply_begin(r->rpc, to->request, peer_answer_len(a), &room);
    if (err == ERR_ENCLAVE_MEMORY) {
        a = &no_memory;
        err = rpc_reply_begin(r->rpc, to->request, peer_answer_len(a), &room);
    }
    if (err == OK) {
        CHECK(peer_answer_encode(a, room, &len) == OK);
        rpc_reply_send(r->rpc, to->request, len);
    }
}

/* So long a replica that leaves goes on serving its peers (MEM-14). */
static const uint64_t LEAVE_PEERS_NS = UINT64_C(200000000);

/* A question, alone or of a bundle. */
void replica_on_question(struct replica *r, const struct replica_asker *to, uint8_t group,
                         struct bytes body)
{
    struct peer_ask m;
    struct abd_in in = {.kind = ABD_IN_ASK, .ask = &m};
    struct replica_group *g = NULL;
    const struct peer_answer malformed = {.kind = PEER_REFUSED, .err = ERR_MALFORMED};
    const struct peer_answer strayed = {.kind = PEER_REFUSED, .err = ERR_EPOCH};
    const struct peer_answer busy = {.kind = PEER_REFUSED, .err = ERR_BUSY};
    const struct peer_answer leaving = {.kind = PEER_REFUSED, .err = ERR_CLOSED};

    if (r->is_leaving && r->now_ns - r->leaving_at_ns >= LEAVE_PEERS_NS) { /* MEM-14 */
        replica_answer(r, to, &leaving);
        return;
    }
    if (group >= GROUPS_MAX || peer_ask_decode(body, &m) != OK ||
        (m.value.n > r->value_max && !peer_ask_is_batch(m.kind)) ||
        (to->bundle != NULL && !bundle_takes(m.kind))) {
        r->requests_refused++;
        replica_answer(r, to, &malformed);
        return;
    }
    g = r->groups[group];
    in.peer = g == NULL ? REPLICA_NOWHERE : g->place_of[replica_member_of(to->user)];
    if (in.peer == REPLICA_NOWHERE) {
        r->requests_strayed++;
        replica_answer(r, to, &strayed);
        return;
    }
    if (peer_ask_is_copy(m.kind)) {
        replica_on_copy(g, in.peer, &m, to);
        return;
    }
    if (replica_holds_back(g)) {
        replica_answer(r, to, &busy);
        return;
    }
    replica_step(g, &in, to);
}

/* What a member asks begins with the number of the group, or the mark of a bundle. */
void replica_on_member_request(struct replica *r, const struct rpc_event *e)
{
    const struct replica_asker to = {.request = e->request, .user = e->user};

    if (bundle_is(e->body)) {
        replica_on_bundle(r, e);
    } else if (e->body.n == 0) {
        replica_on_question(r, &to, BUNDLE_MARK, e->body); /* refused */
    } else {
        replica_on_question(r, &to, e->body.p[0], (struct bytes){e->body.p + 1, e->body.n - 1});
    }
}

/* An answer that does not parse is no vote: the call has failed. */
void replica_on_member_answer(struct replica *r, const struct rpc_event *e)
{
    struct peer_answer m;
    struct replica_group *g;
    uint8_t place;
    bool good;

    if ((e->cookie & REPLICA_BUNDLE_COOKIE) == REPLICA_BUNDLE_COOKIE) {
        replica_bundle_ended(r, e);
        return;
    }
    good = e->kind != RPC_EVENT_FAILED && peer_answer_decode(e->body, &m) == OK;
    g = r->groups[replica_cookie_group(e->cookie)];
    place = g == NULL ? REPLICA_NOWHERE : g->place_of[replica_member_of(e->user)];
    r->requests_refused += e->kind != RPC_EVENT_FAILED && !good;
    if (place != REPLICA_NOWHERE) {
        replica_group_answered(g, place, e->cookie, good ? &m : NULL);
    }
}
