// SPDX-License-Identifier: Apache-2.0
#include "common/check.h"
#include "trusted/abd/abd_rmw.h"

/* ---- get ---- */

/* Makes this replica hold the maximum too; that is its own vote. */
RESULT abd_hold_here(struct abd *a, struct abd_op *op, struct abd_out *out)
{
    bool applied;
    enum err err;

    if (op->damaged && tag_compare(op->tag, op->own) == 0) {
        err = abd_mend(a, abd_key(op), op->tag, abd_value(op));
    } else {
        err = abd_keep(a, abd_key(op), op->tag, op->tombstone,
                       op->tombstone ? (struct bytes){0} : abd_value(op), &applied, out);
    }
    if (err == OK) {
        abd_round_hold(a, op, a->self_bit);
    }
    return err;
}

static bool agreed(const struct abd *a, const struct abd_op *op)
{
    if (op->holders_n >= a->majority || abd_has_plant(a, ABD_PLANT_NO_WRITE_BACK)) {
        return true;
    }
    return abd_has_plant(a, ABD_PLANT_WRONG_AGREEMENT) && op->agree_n + 1 >= a->majority;
}

static void check_read(struct abd *a, struct abd_op *op, struct abd_out *out)
{
    enum err err = OK;

    if (op->votes_n < a->majority) {
        return;
    }
    if (!op->readable) {
        /* ABD-12: an older value would be wrong; somebody else may be able to open this one. */
        if ((a->voters & ~(unsigned)op->voted) == 0) {
            abd_finish(a, op, ERR_INTEGRITY, out);
        } else {
            abd_round_widen(a, op);
            abd_pursue(a, op, out);
        }
        return;
    }
    if ((op->holders & a->self_bit) == 0) {
        err = abd_hold_here(a, op, out);
    }
    if (agreed(a, op)) {
        a->counters.reads_one_round += op->kind == ABD_OP_GET;
        abd_finish_read(a, op, out);
        return;
    }
    a->counters.write_backs++;
    abd_round_enter(a, op, ABD_PHASE_APPLY, out);
    abd_pursue(a, op, out);
    if (err != OK && abd_on_refused(a, op, a->self_bit, err, out)) {
        return;
    }
    if (abd_has_plant(a, ABD_PLANT_EARLY_REPLY)) {
        abd_finish_read(a, op, out);
    }
}

/* `opens`: the voter can open its value. The caller has taken the value if it is the one to keep.
 */
static void vote_read(struct abd *a, struct abd_op *op, uint8_t bit, struct tag tag, bool opens)
{
    int c = tag_compare(tag, op->tag);

    abd_round_vote(a, op, bit);
    if (c > 0) {
        op->tag = tag;
        op->holders = 0;
        op->holders_n = 0;
        op->readable = opens;
    }
    if (c >= 0 && opens) {
        op->readable = true;
        abd_round_hold(a, op, bit);
    }
    if (abd_has_plant(a, ABD_PLANT_WRONG_AGREEMENT)) {
        op->agree_n = tag_compare(tag, op->agree) == 0 ? (uint8_t)(op->agree_n + 1) : 1;
        op->agree = tag;
    }
}

/* Reads what stands here into the operation: one search of the index unless the value is large. */
RESULT abd_read_own(struct abd *a, struct abd_op *op, struct abd_out *out)
{
    struct store_entry e = {0};
    enum err err;

    TRY(abd_op_reserve(a, op, ABD_READ_ROOM, out));
    err = store_read(a->store, abd_key(op), (struct mbytes){op->value, op->value_cap}, &e);
    if (err == ERR_TOO_BIG) {
        TRY(abd_op_reserve(a, op, e.value_len, out));
        err = store_read(a->store, abd_key(op), (struct mbytes){op->value, op->value_cap}, &e);
    }
    if (err == ERR_LOST) {
        return err;
    }
    CHECK(err == OK || err == ERR_NOT_FOUND || err == ERR_INTEGRITY);
    op->own = op->tag = e.tag;
    op->tombstone = e.tombstone;
    op->value_len = e.value_len;
    op->damaged = err == ERR_INTEGRITY;
    return OK;
}

RESULT abd_start_read(struct abd *a, struct abd_op *op, enum abd_op_kind kind, struct abd_out *out)
{
    op->kind = (uint8_t)kind;
    abd_round_enter(a, op, ABD_PHASE_READ, out);
    TRY(abd_read_own(a, op, out));
    op->voted = op->holders = 0;
    op->votes_n = op->holders_n = op->agree_n = 0;
    op->readable = !op->damaged;
    abd_round_vote(a, op, a->self_bit);
    if (op->readable) {
        abd_round_hold(a, op, a->self_bit);
    }
    abd_round_choose(a, op);
    if (op->damaged) {
        abd_round_widen(a, op);
    }
    abd_pursue(a, op, out);
    check_read(a, op, out);
    return OK;
}

/* ---- answers ---- */

void abd_no_vote(struct abd *a, struct abd_op *op, uint8_t bit, struct abd_out *out)
{
    op->failed |= bit;
    if (!abd_is_last_round(op)) {
        abd_round_widen(a, op);
    }
    if ((a->up & bit) != 0 && op->list != ABD_LIST_RETRY) {
        abd_list_enter(a, op, ABD_LIST_RETRY, ABD_RETRY_NS);
    }
    abd_pursue(a, op, out);
}

/* What a peer may say about its tag, given the one we asked with. */
static bool holds_makes_sense(struct abd *a, const struct abd_op *op, const struct peer_answer *m)
{
    int c = tag_compare(m->tag, op->damaged ? (struct tag){0} : op->own);

    switch (m->holds) {
    case PEER_HOLDS_SAME:
        return c == 0;
    case PEER_HOLDS_OLDER:
        return c < 0;
    case PEER_HOLDS_NEWER:
        return c > 0 && m->value.n <= a->config.value_max && (!m->tombstone || m->value.n == 0) &&
               abd_tag_plausible(a, abd_key(op), m->tag);
    case PEER_HOLDS_DAMAGED:
        return c >= 0 && !tag_is_zero(m->tag) && abd_tag_plausible(a, abd_key(op), m->tag);
    }
    return false;
}

static void on_holds(struct abd *a, struct abd_op *op, uint8_t bit, const struct peer_answer *m,
                     struct abd_out *out)
{
    bool opens = m->holds != PEER_HOLDS_DAMAGED;
    int c = tag_compare(m->tag, op->tag);

    if (!holds_makes_sense(a, op, m)) {
        abd_no_vote(a, op, bit, out);
        return;
    }
    if (m->holds == PEER_HOLDS_NEWER && (c > 0 || (c == 0 && !op->readable))) {
        if (abd_op_reserve(a, op, m->value.n, out) != OK) {
            abd_finish(a, op, ERR_ENCLAVE_MEMORY, out);
            return;
        }
        op->tombstone = m->tombstone;
        op->value_len = (uint32_t)m->value.n;
        if (m->value.n != 0) {
            memcpy(op->value, m->value.p, m->value.n);
        }
    }
    vote_read(a, op, bit, m->tag, opens);
    check_read(a, op, out);
}

static bool answers_round(const struct abd_op *op, const struct peer_answer *m)
{
    switch (m->kind) {
    case PEER_TAG:
        return op->phase == ABD_PHASE_QUERY || op->phase == ABD_PHASE_OFFER;
    case PEER_HOLDS:
        return op->phase == ABD_PHASE_READ;
    case PEER_APPLIED:
        return abd_is_last_round(op) || op->phase == ABD_PHASE_OFFER ||
               op->phase >= ABD_PHASE_PREPARE;
    case PEER_INSTANCE:
        return op->phase == ABD_PHASE_PREPARE || op->phase == ABD_PHASE_ACCEPT;
    case PEER_REFUSED:
        return true;
    case PEER_SAME:
    case PEER_LISTED:
    case PEER_TAGGED:
    case PEER_LOOKED:
    case PEER_PUSHED:
    case PEER_COLLECTED:
    case PEER_PAGE:
    default:
        return false;
    }
}

static void on_refusal(struct abd *a, struct abd_op *op, uint8_t bit, enum err why,
                       struct abd_out *out)
{
    if (op->phase == ABD_PHASE_COMMIT && (op->rmw->accepted & bit) != 0 && why == ERR_MISMATCH) {
        op->rmw->accepted = (uint8_t)(op->rmw->accepted & ~bit); /* RMW-6: now with the value */
        abd_pursue(a, op, out);
    } else if (op->phase >= ABD_PHASE_PREPARE && why == ERR_MISMATCH && !abd_is_last_round(op)) {
        abd_rmw_lacks(a, op, bit, true, out);
    } else if (abd_is_last_round(op)) {
        (void)abd_on_refused(a, op, bit, why, out);
    } else if (op->phase == ABD_PHASE_OFFER) {
        abd_write_on_refused(a, op, bit, why, out);
    } else {
        abd_no_vote(a, op, bit, out);
    }
}

static void on_vote(struct abd *a, struct abd_op *op, uint8_t bit, const struct peer_answer *m,
                    struct abd_out *out)
{
    if (!answers_round(op, m)) {
        op->doubt = true; /* whatever it means by that */
        abd_no_vote(a, op, bit, out);
        return;
    }
    switch (m->kind) {
    case PEER_TAG:
        abd_write_on_tag(a, op, bit, m->tag, out);
        return;
    case PEER_HOLDS:
        on_holds(a, op, bit, m, out);
        return;
    case PEER_APPLIED:
        if (op->phase == ABD_PHASE_OFFER) {
            abd_write_on_taken(a, op, bit, out);
            return;
        }
        if (!abd_is_last_round(op)) {
            abd_rmw_lacks(a, op, bit, false, out);
            return;
        }
        abd_round_hold(a, op, bit);
        abd_check_applied(a, op, out);
        return;
    case PEER_INSTANCE:
        abd_rmw_answer(a, op, bit, m, out);
        return;
    case PEER_REFUSED:
        on_refusal(a, op, bit, m->err, out);
        return;
    case PEER_SAME:
    case PEER_LISTED:
    case PEER_TAGGED:
    case PEER_LOOKED:
    case PEER_PUSHED:
    case PEER_COLLECTED:
    case PEER_PAGE:
    default:
        CHECK(false); /* answers_round */
    }
}

/* The operation whose round under way has this cookie, or NULL: late, or never ours. */
static struct abd_op *op_of(struct abd *a, uint64_t cookie)
{
    uint32_t place = abd_cookie_op(cookie);
    struct abd_op *op = &a->ops[place < a->used_n ? place : 0]; /* batches lie beyond all */

    return place < a->used_n && op->phase != ABD_PHASE_FREE && op->cookie == cookie ? op : NULL;
}

void abd_on_answer(struct abd *a, const struct abd_in *in, struct abd_out *out)
{
    struct abd_op *op = op_of(a, in->cookie);
    uint8_t bit = abd_bit(in->peer);

    if ((in->cookie & ABD_COOKIE_BATCH) != 0) {
        abd_batch_on_answer(a, in, out);
        return;
    }
    if (op == NULL) {
        return;
    }
    if ((op->outstanding & bit) == 0) { /* ABD-8: counted already, or not asked */
        if (!abd_has_plant(a, ABD_PLANT_COUNT_DUPLICATES) || op->list == ABD_LIST_TAIL) {
            return;
        }
    }
    op->outstanding = (uint8_t)(op->outstanding & ~bit);
    if (in->answer->kind == PEER_REFUSED && in->answer->err == ERR_CLOSED) {
        abd_peer_leaves(a, in->peer);
    }
    if ((op->repeated & bit) != 0) {
        /* Perhaps late, to a call that had failed: then its successor ends here, unanswered. */
        out->cancels[out->cancels_n++] =
            (struct abd_cancel){.peer = in->peer, .cookie = in->cookie};
    }
    if (op->list != ABD_LIST_TAIL) {
        abd_pace_answered(a, op, in->peer);
        on_vote(a, op, bit, in->answer, out);
    } else if (op->outstanding == 0) {
        abd_op_give(a, op);
    }
}

void abd_on_call_failed(struct abd *a, const struct abd_in *in, struct abd_out *out)
{
    struct abd_op *op = op_of(a, in->cookie);
    uint8_t bit = abd_bit(in->peer);

    if ((in->cookie & ABD_COOKIE_BATCH) != 0) {
        abd_batch_on_call_failed(a, in, out);
        return;
    }
    if (op == NULL || (op->outstanding & bit) == 0) {
        return;
    }
    op->outstanding = (uint8_t)(op->outstanding & ~bit);
    op->doubt = true;
    if (op->list != ABD_LIST_TAIL) {
        abd_no_vote(a, op, bit, out);
    } else if (op->outstanding == 0) {
        abd_op_give(a, op);
    }
}

/* ---- time ---- */

/* ABD-10 */
void abd_expire(struct abd *a, struct abd_op *op, struct abd_out *out)
{
    if (op->phase == ABD_PHASE_OFFER) {
        abd_write_give_up(a, op, ERR_UNAVAILABLE, out);
    } else if (op->kind == ABD_OP_WRITE && op->phase == ABD_PHASE_APPLY) {
        abd_finish(a, op, ERR_INDETERMINATE, out);
    } else {
        abd_finish(a, op, ERR_UNAVAILABLE, out);
    }
}

void abd_nudge(struct abd *a, struct abd_op *op, struct abd_out *out)
{
    if (op->list == ABD_LIST_PAUSE) {
        abd_rmw_go(a, op, out);
        return;
    }
    if (op->list == ABD_LIST_HEDGE) {
        a->counters.hedges++;
        abd_pace_late(a, op);
        abd_round_widen(a, op);
        abd_pursue(a, op, out);
    } else {
        abd_list_leave(a, op);
        op->failed = 0;
        abd_write_retry(a, op, out);
    }
}

/* ---- requests ---- */

static enum err request_fault(const struct abd *a, const struct client_request *r)
{
    if (r->key.n == 0 || r->key.n > KEY_MAX) {
        return ERR_USAGE;
    }
    if (r->op < CLIENT_GET || r->op > CLIENT_RMW) {
        return ERR_USAGE;
    }
    if (r->op == CLIENT_RMW &&
        (r->rmw < CLIENT_RMW_CAS || r->rmw > CLIENT_RMW_DELETE_IF || r->expect_len > r->value.n)) {
        return ERR_USAGE;
    }
    if (r->op >= CLIENT_PUT && r->value.n > a->config.value_max) {
        return ERR_TOO_BIG;
    }
    return OK;
}

static RESULT start_request(struct abd *a, struct abd_op *op, const struct client_request *r,
                            struct abd_out *out)
{
    switch (r->op) {
    case CLIENT_GET:
        a->counters.gets++;
        return abd_start_read(a, op, ABD_OP_GET, out);
    case CLIENT_PUT:
        a->counters.puts++;
        TRY(abd_op_reserve(a, op, r->value.n, out));
        op->value_len = (uint32_t)r->value.n;
        if (r->value.n != 0) {
            memcpy(op->value, r->value.p, r->value.n);
        }
        break;
    case CLIENT_DELETE:
        a->counters.deletes++;
        op->tombstone = true;
        break;
    case CLIENT_RMW:
        a->counters.rmws++;
        return abd_rmw_start(a, op, r, out);
    case CLIENT_SCAN:
    case CLIENT_MGET:
    case CLIENT_MPUT:
    case CLIENT_LOOK:
    default:
        CHECK(false); /* request_fault */
    }
    abd_write_start(a, op, out);
    return OK;
}

void abd_on_request(struct abd *a, const struct abd_in *in, struct abd_out *out)
{
    const struct client_request *r = in->request;
    uint32_t ms = r->timeout_ms > CLIENT_TIMEOUT_MS_MAX ? CLIENT_TIMEOUT_MS_MAX : r->timeout_ms;
    struct abd_op *op = NULL;
    enum err err;

    if (client_op_is_batch(r->op)) {
        abd_batch_on_request(a, in, out);
        return;
    }
    err = request_fault(a, r);
    if (err == OK) {
        err = abd_op_take(a, r->key, a->now_ns + ms * UINT64_C(1000000), out, &op);
    }
    if (err != OK) {
        abd_reply_now(a, in->user, err, out);
        return;
    }
    op->user = in->user;
    op->kind = ABD_OP_GET;
    op->phase = ABD_PHASE_QUERY; /* taken, whatever comes */
    err = start_request(a, op, r, out);
    if (err != OK) {
        abd_finish(a, op, err, out);
    }
}

/* ---- another configuration ---- */

/*
 * MEM-8. QUERY and READ begin again, and so does OFFER (abd_write_restart). APPLY goes on with the
 * tag it has: another one would be a second write. Its value stands in the own store (or is on its
 * way there), so that is where it begins.
 */
void abd_restart(struct abd *a, struct abd_op *op, struct abd_out *out)
{
    enum err err = OK;

    op->stale = false;
    if (op->kind == ABD_OP_RMW) {
        abd_rmw_restart(a, op, out);
        return;
    }
    if (op->phase == ABD_PHASE_QUERY || op->phase == ABD_PHASE_OFFER) {
        abd_write_restart(a, op, out);
        return;
    }
    if (op->phase == ABD_PHASE_READ) {
        err = abd_start_read(a, op, (enum abd_op_kind)op->kind, out);
        if (err != OK) {
            abd_finish(a, op, err, out);
        }
        return;
    }
    abd_round_enter(a, op, ABD_PHASE_APPLY, out);
    op->holders = 0;
    op->holders_n = 0;
    err = abd_hold_here(a, op, out);
    abd_pursue(a, op, out);
    if (err != OK && abd_on_refused(a, op, a->self_bit, err, out)) {
        return;
    }
    abd_check_applied(a, op, out);
}

/* ---- repair ---- */

void abd_repair(struct abd *a, struct bytes key, struct abd_out *out)
{
    struct abd_op *op;

    for (uint16_t i = 0; i < a->repairs_n; i++) {
        if (bytes_equal(abd_key(&a->ops[a->repairs[i]]), key)) {
            return;
        }
    }
    if (a->repairs_n == ABD_REPAIRS_MAX ||
        abd_op_take(a, key, a->now_ns + ABD_REPAIR_NS, out, &op) != OK) {
        return;
    }
    a->repairs[a->repairs_n++] = abd_place(a, op);
    op->phase = ABD_PHASE_READ;
    if (abd_start_read(a, op, ABD_OP_REPAIR, out) != OK) {
        abd_finish(a, op, ERR_ENCLAVE_MEMORY, out);
    }
}
