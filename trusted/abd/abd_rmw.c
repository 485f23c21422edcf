// SPDX-License-Identifier: Apache-2.0
#include "trusted/abd/abd_rmw.h"
#include "common/check.h"

/* The coordinator's half of read-modify-write; the picture stands above enum abd_phase. */

/* ---- rounds ---- */

struct peer_ask abd_rmw_question(const struct abd_op *op, uint8_t peer)
{
    const struct abd_rmw *rmw = op->rmw;
    const struct abd_proposal *p = rmw->helping ? &rmw->other : &rmw->own;
    struct peer_ask ask = {.kind = PEER_PREPARE,
                           .gc = op->gc,
                           .tag = rmw->base,
                           .ballot = rmw->ballot,
                           .key = abd_key(op)};

    if (op->phase != ABD_PHASE_COMMIT && (rmw->lacking & abd_bit(peer)) != 0) {
        ask.kind = PEER_APPLY;
        ask.tombstone = op->tombstone;
        ask.value = op->tombstone ? (struct bytes){0} : abd_value(op);
        return ask;
    }
    if (op->phase == ABD_PHASE_PREPARE) {
        ask.op = rmw->own.op;
        return ask;
    }
    ask.op = p->op;
    ask.kind = op->phase == ABD_PHASE_ACCEPT ? PEER_ACCEPT : PEER_COMMIT;
    ask.decides = op->phase == ABD_PHASE_ACCEPT && rmw->decides;
    if (op->phase == ABD_PHASE_COMMIT && (rmw->accepted & abd_bit(peer)) != 0) {
        return ask; /* RMW-6: it has the value */
    }
    ask.value_given = op->phase == ABD_PHASE_COMMIT;
    ask.tombstone = p->tombstone;
    ask.value = (struct bytes){.p = p->value, .n = p->len};
    return ask;
}

void abd_rmw_asked(struct abd_op *op, uint8_t bit)
{
    if (op->rmw->decides && !op->rmw->helping) {
        op->rmw->deciders |= bit;
    }
}

/* This replica's own answer to the round that has just begun. */
static void ask_self(struct abd *a, struct abd_op *op, struct abd_out *out, struct peer_answer *ret)
{
    struct peer_ask ask = abd_rmw_question(op, a->config.self);

    abd_on_instance(a, a->config.self, &ask, out, ret);
}

/* RMW-14 */
static void pause_op(struct abd *a, struct abd_op *op, struct abd_out *out)
{
    uint8_t tries = op->rmw->tries;
    uint64_t most_ns = ABD_PAUSE_NS << (tries < 6 ? tries : 6);

    abd_round_enter(a, op, ABD_PHASE_WAIT, out);
    abd_list_enter(a, op, ABD_LIST_PAUSE, tries == 0 ? 0 : prng_below(&a->prng, most_ns));
    if (tries < UINT8_MAX) {
        op->rmw->tries++;
    }
}

static void begin_votes(struct abd_op *op)
{
    op->voted = op->holders = 0;
    op->votes_n = op->holders_n = 0;
}

/* ---- COMMIT ---- */

static void commit(struct abd *a, struct abd_op *op, struct abd_out *out)
{
    struct abd_rmw *rmw = op->rmw;
    struct peer_answer self;
    uint8_t accepted = rmw->accepted;

    abd_round_enter(a, op, ABD_PHASE_COMMIT, out);
    rmw->decided = !rmw->helping;
    op->tag = abd_successor(rmw->base);
    begin_votes(op);
    rmw->accepted = (uint8_t)(accepted & ~a->self_bit);
    for (uint8_t peer = 0; rmw->applied >> peer != 0; peer++) {
        if ((rmw->applied & abd_bit(peer)) != 0) {
            abd_round_hold(a, op, abd_bit(peer));
        }
    }
    ask_self(a, op, out, &self);
    if (self.kind == PEER_APPLIED) {
        abd_round_hold(a, op, a->self_bit);
    } else if (abd_on_refused(a, op, a->self_bit, self.err, out)) {
        return;
    }
    abd_pursue(a, op, out);
    abd_check_applied(a, op, out);
}

void abd_rmw_committed(struct abd *a, struct abd_op *op, struct abd_out *out)
{
    struct abd_rmw *rmw = op->rmw;

    if (!rmw->helping) {
        abd_finish(a, op, OK, out);
        return;
    }
    a->counters.rmw_helped++; /* RMW-10: now our own, on the new base */
    abd_round_enter(a, op, ABD_PHASE_WAIT, out);
    rmw->helping = false;
    rmw->tries = 0;
    abd_rmw_go(a, op, out);
}

/* ---- ACCEPT ---- */

static void check_accepted(struct abd *a, struct abd_op *op, struct abd_out *out)
{
    if (op->votes_n >= a->majority) {
        op->rmw->in_doubt = op->rmw->in_doubt && !op->rmw->helping; /* RMW-13: dead, or decided */
        commit(a, op, out);
    }
}

static void propose(struct abd *a, struct abd_op *op, bool helping, struct abd_out *out)
{
    struct abd_rmw *rmw = op->rmw;
    uint8_t promised = op->voted;
    bool was_in_doubt = rmw->in_doubt;
    struct peer_answer self;

    if (abd_gc_is_listed(a, abd_key(op))) {
        pause_op(a, op, out); /* COL-5 */
        return;
    }
    abd_round_enter(a, op, ABD_PHASE_ACCEPT, out);
    rmw->helping = helping;
    rmw->in_doubt = rmw->in_doubt || !helping;
    rmw->accepted = rmw->applied = 0;
    rmw->decides = false;
    if (helping && abd_has_plant(a, ABD_PLANT_LOSE_ID)) {
        rmw->other.op = rmw->own.op;
    }
    begin_votes(op);
    op->wide = false;
    op->chosen = (uint8_t)(promised & ~a->self_bit);
    if (a->config.hedge_ns == 0) {
        op->wide = true;
    } else if (op->chosen != 0) {
        abd_list_enter(a, op, ABD_LIST_HEDGE, a->pace.hedge.delay_ns);
    }
    ask_self(a, op, out, &self);
    if (self.kind != PEER_INSTANCE) {
        op->failed |= a->self_bit; /* no memory for a vote of our own */
        abd_round_widen(a, op);
    } else if (self.instance == PEER_ACCEPTED) {
        abd_round_vote(a, op, a->self_bit);
        rmw->decides = a->majority == 2 && (a->voters & a->self_bit) != 0; /* RMW-18 */
    } else {
        rmw->in_doubt = was_in_doubt; /* nobody has seen this proposal */
        pause_op(a, op, out); /* meanwhile this replica promised to somebody else, or moved on */
        return;
    }
    abd_pursue(a, op, out);
    check_accepted(a, op, out);
}

/* ---- nothing to write: a read of the base (RMW-11) ---- */

static void answer_read(struct abd *a, struct abd_op *op, enum err status, struct abd_out *out)
{
    op->rmw->answering = true;
    op->rmw->status = status;
    op->tag = op->rmw->base;
    if (op->holders_n >= a->majority) {
        abd_rmw_read_done(a, op, out);
        return;
    }
    a->counters.write_backs++;
    abd_round_enter(a, op, ABD_PHASE_APPLY, out);
    abd_pursue(a, op, out);
}

/* ---- PREPARE ---- */

static enum err evaluate(struct abd *a, struct abd_op *op, struct abd_out *out)
{
    struct abd_rmw *rmw = op->rmw;
    struct abd_eval_in in = {.request = &rmw->request,
                             .absent = op->tombstone || tag_is_zero(rmw->base),
                             .value = abd_value(op),
                             .value_max = a->config.value_max};
    struct abd_eval result;
    enum err err = abd_evaluate(&in, &result);

    if (err == OK && !abd_has_successor(rmw->base)) {
        err = ERR_OVERFLOW;
    }
    rmw->was_absent = in.absent;
    rmw->deciders = 0; /* nothing was proposed yet */
    rmw->own.tombstone = result.tombstone;
    rmw->text_len = result.text_len;
    memcpy(rmw->text, result.text, sizeof(rmw->text));
    if (err != OK) {
        return err;
    }
    if (result.tombstone) {
        result.parts[0].n = result.parts[1].n = 0;
    }
    return abd_rmw_set_value(a, &rmw->own, result.parts, out);
}

static void check_prepared(struct abd *a, struct abd_op *op, struct abd_out *out)
{
    struct abd_rmw *rmw = op->rmw;
    enum err err;

    if (op->votes_n < a->majority) {
        if (rmw->in_doubt && op->outstanding == 0) {
            pause_op(a, op, out);
        }
        return;
    }
    if (rmw->other_ballot != 0) { /* RMW-8 */
        propose(a, op, !(rmw->in_doubt && rmw_id_equal(rmw->other.op, rmw->own.op)), out);
        return;
    }
    if (rmw->in_doubt) {
        propose(a, op, false, out);
        return;
    }
    err = evaluate(a, op, out);
    if (err == OK) {
        propose(a, op, false, out);
    } else if (err == ERR_ENCLAVE_MEMORY) {
        abd_finish(a, op, err, out);
    } else {
        answer_read(a, op, err, out);
    }
}

static void prepare(struct abd *a, struct abd_op *op, struct abd_out *out)
{
    struct abd_rmw *rmw = op->rmw;
    struct peer_answer self;

    if (abd_gc_is_listed(a, abd_key(op))) {
        pause_op(a, op, out); /* COL-5 */
        return;
    }
    abd_round_enter(a, op, ABD_PHASE_PREPARE, out);
    rmw->ballot = abd_next_ballot(a, abd_key(op), rmw->base, rmw->outbid);
    rmw->other_ballot = 0;
    rmw->clean = rmw->accepted = rmw->applied = rmw->lacking = 0;
    rmw->helping = false;
    abd_rmw_drop_value(a, &rmw->other);
    begin_votes(op);
    if (rmw->ballot == 0) {
        abd_finish(a, op, ERR_UNAVAILABLE, out);
        return;
    }
    abd_round_choose(a, op);
    if (rmw->in_doubt) {
        abd_round_widen(a, op);
    }
    ask_self(a, op, out, &self);
    if (self.kind == PEER_INSTANCE) {
        abd_rmw_answer(a, op, a->self_bit, &self, out);
    } else {
        /* No memory for a record, or for the base that the others hold. */
        abd_finish(a, op, self.err == ERR_MISMATCH ? ERR_ENCLAVE_MEMORY : self.err, out);
    }
}

/* PREPARE, RMW-8: keeps what was accepted with the greatest ballot. */
static void on_promised(struct abd *a, struct abd_op *op, uint8_t bit, const struct peer_answer *m,
                        struct abd_out *out)
{
    struct abd_rmw *rmw = op->rmw;
    const struct bytes parts[2] = {m->value};

    if (m->value_given && m->ballot > rmw->other_ballot) {
        if (abd_rmw_set_value(a, &rmw->other, parts, out) != OK) {
            abd_no_vote(a, op, bit, out);
            return;
        }
        rmw->other.op = m->op;
        rmw->other.tombstone = m->tombstone;
        rmw->other_ballot = m->ballot;
    }
    abd_round_vote(a, op, bit);
    if (m->holds_base) {
        abd_round_hold(a, op, bit);
    }
    abd_pursue(a, op, out);
    check_prepared(a, op, out);
}

void abd_rmw_lacks(struct abd *a, struct abd_op *op, uint8_t bit, bool lacks, struct abd_out *out)
{
    struct abd_rmw *rmw = op->rmw;

    if (((rmw->lacking & bit) != 0) == lacks) {
        abd_no_vote(a, op, bit, out); /* it said so before: let some time pass */
        return;
    }
    rmw->lacking = (uint8_t)(lacks ? rmw->lacking | bit : rmw->lacking & ~bit);
    abd_pursue(a, op, out);
}

/* RMW-13: the instance is closed at this replica, and our proposal's fate is not known. */
static void on_closed_in_doubt(struct abd *a, struct abd_op *op, uint8_t bit,
                               const struct peer_answer *m, struct abd_out *out)
{
    struct abd_rmw *rmw = op->rmw;

    if (m->committed) {
        rmw->helping = false;
        rmw->accepted = rmw->applied = 0;
        commit(a, op, out);
        return;
    }
    a->counters.rmw_doubts++;
    op->failed |= bit;
    rmw->clean |= m->helped ? 0 : bit;
    if ((abd_set_n(rmw->clean & a->voters) >= a->majority &&
         (rmw->deciders & ~(unsigned)rmw->clean) == 0) ||
        abd_has_plant(a, ABD_PLANT_NO_DOUBT)) {
        rmw->in_doubt = false;
        rmw->behind = true;
        pause_op(a, op, out);
        return;
    }
    abd_round_widen(a, op);
    abd_pursue(a, op, out);
    if (op->outstanding == 0) {
        pause_op(a, op, out); /* nobody is left to ask: a helper may be about to commit it */
    }
}

/* RMW-7: something newer than the base stands there. */
static void on_closed(struct abd *a, struct abd_op *op, uint8_t bit, const struct peer_answer *m,
                      struct abd_out *out)
{
    enum err err;

    if (!m->value_given) {
        op->rmw->behind = bit != a->self_bit; /* damaged there; or here by now */
        pause_op(a, op, out);
        return;
    }
    abd_round_enter(a, op, ABD_PHASE_WAIT, out);
    err = abd_op_reserve(a, op, m->value.n, out);
    if (err == OK) {
        op->tag = m->tag;
        op->tombstone = m->tombstone;
        op->value_len = (uint32_t)m->value.n;
        op->damaged = false;
        if (m->value.n != 0) {
            memcpy(op->value, m->value.p, m->value.n);
        }
        err = abd_hold_here(a, op, out);
    }
    if (err != OK) {
        abd_finish(a, op, err, out);
        return;
    }
    abd_rmw_go(a, op, out);
}

static bool makes_sense(struct abd *a, const struct abd_op *op, const struct peer_answer *m)
{
    switch (m->instance) {
    case PEER_PROMISED:
        return op->phase == ABD_PHASE_PREPARE && m->value.n <= a->config.value_max &&
               (!m->value_given ||
                (m->ballot != 0 && m->ballot <= op->rmw->ballot && abd_is_rmw_id(a, m->op)));
    case PEER_ACCEPTED:
        return op->phase == ABD_PHASE_ACCEPT;
    case PEER_OUTBID:
        return m->ballot > op->rmw->ballot && abd_ballot_is_of(m->ballot, a->config.epoch);
    case PEER_CLOSED:
        return tag_compare(m->tag, op->rmw->base) > 0 && m->value.n <= a->config.value_max &&
               abd_tag_plausible(a, abd_key(op), m->tag);
    }
    return false;
}

void abd_rmw_answer(struct abd *a, struct abd_op *op, uint8_t bit, const struct peer_answer *m,
                    struct abd_out *out)
{
    struct abd_rmw *rmw = op->rmw;

    if (!makes_sense(a, op, m)) {
        abd_no_vote(a, op, bit, out);
        return;
    }
    switch (m->instance) {
    case PEER_PROMISED:
        on_promised(a, op, bit, m, out);
        return;
    case PEER_ACCEPTED:
        rmw->accepted |= bit;
        rmw->applied |= m->committed ? bit : 0;
        abd_round_vote(a, op, bit);
        check_accepted(a, op, out);
        return;
    case PEER_OUTBID:
        a->counters.rmw_outbid++;
        rmw->outbid = m->ballot > rmw->outbid ? m->ballot : rmw->outbid;
        pause_op(a, op, out);
        return;
    case PEER_CLOSED:
        if (op->phase == ABD_PHASE_ACCEPT && (rmw->helping || !m->committed)) {
            pause_op(a, op, out); /* ask all what became of it */
        } else if (rmw->in_doubt) {
            on_closed_in_doubt(a, op, bit, m, out);
        } else {
            on_closed(a, op, bit, m, out);
        }
        return;
    }
}

/* ---- from the start ---- */

void abd_rmw_read_done(struct abd *a, struct abd_op *op, struct abd_out *out)
{
    struct abd_rmw *rmw = op->rmw;

    if (rmw->answering) {
        abd_finish(a, op, rmw->status, out);
        return;
    }
    rmw->base = op->tag;
    prepare(a, op, out);
}

static RESULT begin(struct abd *a, struct abd_op *op, struct abd_out *out)
{
    struct abd_rmw *rmw = op->rmw;

    if (rmw->in_doubt) {
        prepare(a, op, out);
        return OK;
    }
    rmw->outbid = 0; /* of another base */
    if (!rmw->behind) {
        TRY(abd_read_own(a, op, out));
        rmw->base = op->tag;
        if (!op->damaged) {
            if (abd_has_plant(a, ABD_PLANT_LOCAL_COMPARE)) {
                enum err err = evaluate(a, op, out);

                if (err != OK) {
                    rmw->answering = true;
                    abd_finish(a, op, err, out);
                    return OK;
                }
            }
            prepare(a, op, out);
            return OK;
        }
    }
    rmw->behind = false;
    return abd_start_read(a, op, ABD_OP_RMW, out);
}

void abd_rmw_go(struct abd *a, struct abd_op *op, struct abd_out *out)
{
    enum err err;

    abd_list_leave(a, op);
    if (!op->rmw->in_doubt && !op->rmw->decided && op->outstanding == 0) {
        abd_flight_renew(a, &op->gc); /* COL-3: what it sent before is void */
    }
    err = begin(a, op, out);
    if (err != OK) {
        abd_finish(a, op, err, out);
    }
}

RESULT abd_rmw_start(struct abd *a, struct abd_op *op, const struct client_request *r,
                     struct abd_out *out)
{
    struct abd_rmw *rmw;

    TRY(abd_acceptor_need(a));
    rmw = abd_alloc(a, sizeof(*rmw), out);
    if (rmw == NULL) {
        return ERR_ENCLAVE_MEMORY;
    }
    memset(rmw, 0, sizeof(*rmw));
    rmw->line = ABD_NONE;
    rmw->request = *r;
    rmw->request.value.n = 0;
    rmw->own.op = (struct rmw_id){
        .number = op->cookie >> ABD_GENERATION_SHIFT << ABD_GENERATION_SHIFT | abd_place(a, op),
        .writer = a->config.incarnation,
        .owner = a->config.self};
    op->rmw = rmw;
    op->kind = ABD_OP_RMW;
    op->phase = ABD_PHASE_WAIT;
    if (r->value.n != 0) {
        rmw->arg = abd_alloc(a, r->value.n, out);
        if (rmw->arg == NULL) {
            return ERR_ENCLAVE_MEMORY;
        }
        memcpy(rmw->arg, r->value.p, r->value.n);
    }
    rmw->request.value = (struct bytes){.p = rmw->arg, .n = r->value.n};
    TRY(abd_rmw_enter_line(a, op));
    if (abd_rmw_is_first(a, op)) {
        abd_rmw_go(a, op, out);
    }
    return OK;
}

/* RMW-17. What was decided is committed; what is in doubt stays so; the rest begins again. */
void abd_rmw_restart(struct abd *a, struct abd_op *op, struct abd_out *out)
{
    struct abd_rmw *rmw = op->rmw;

    rmw->own.op.owner = a->config.self;
    rmw->accepted = rmw->applied = 0;
    if (rmw->decided) {
        commit(a, op, out);
    } else if (rmw->in_doubt) {
        abd_finish(a, op, ERR_UNAVAILABLE, out); /* INDETERMINATE, that is */
    } else if (abd_rmw_is_first(a, op)) {
        rmw->answering = rmw->helping = false;
        rmw->tries = 0;
        pause_op(a, op, out);
    }
}

/* ---- the end ---- */

enum err abd_rmw_outcome(const struct abd_op *op, enum err status)
{
    return status != OK && op->rmw != NULL && (op->rmw->in_doubt || op->rmw->decided)
               ? ERR_INDETERMINATE
               : status;
}

void abd_rmw_reply(struct abd *a, struct abd_op *op, struct client_response *ret)
{
    const struct abd_rmw *rmw = op->rmw;
    bool answered = rmw != NULL && (ret->status == OK || rmw->answering);

    if (!answered) {
        return;
    }
    ret->tag = op->tag;
    if (ret->status == ERR_MISMATCH) {
        ret->value = abd_value(op);
    } else if (ret->status == OK && rmw->request.rmw == CLIENT_RMW_GET_SET) {
        ret->absent = rmw->was_absent;
        ret->value = rmw->was_absent ? (struct bytes){0} : abd_value(op);
    } else if (ret->status == OK && rmw->text_len != 0) {
        memcpy(a->text, rmw->text, rmw->text_len);
        ret->value = (struct bytes){.p = a->text, .n = rmw->text_len};
    }
}
