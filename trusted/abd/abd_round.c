// SPDX-License-Identifier: Apache-2.0
#include "common/check.h"
#include "trusted/abd/abd_rmw.h"

/* ---- whom to ask ---- */

/* Members that this round still needs something from and that can be asked now. */
static uint8_t wanted(const struct abd *a, const struct abd_op *op)
{
    unsigned set = a->all & ~(unsigned)a->self_bit;

    if (op->phase == ABD_PHASE_WAIT) {
        set = 0;
    } else if (abd_is_last_round(op)) {
        set &= ~(unsigned)(op->holders | op->refused);
    } else {
        set &= (op->wide ? a->voters : op->chosen) & ~(unsigned)op->voted;
    }
    return (uint8_t)(set & a->up & ~(unsigned)(op->failed | op->outstanding));
}

static struct peer_ask question(const struct abd_op *op, uint8_t peer)
{
    struct peer_ask ask = {.gc = op->gc, .key = abd_key(op)};

    if (op->phase >= ABD_PHASE_PREPARE) {
        return abd_rmw_question(op, peer);
    }
    if (op->phase == ABD_PHASE_QUERY) {
        ask.kind = PEER_QUERY;
    } else if (op->phase == ABD_PHASE_READ) {
        ask.kind = PEER_READ;
        /* ABD-11: who cannot open its own value asks as if it held nothing. */
        ask.tag = op->damaged ? (struct tag){0} : op->own;
    } else {
        ask.kind = op->phase == ABD_PHASE_OFFER ? PEER_OFFER : PEER_APPLY;
        ask.tag = op->tag;
        ask.tombstone = op->tombstone;
        ask.value = op->tombstone ? (struct bytes){0} : abd_value(op);
    }
    return ask;
}

void abd_round_widen(struct abd *a, struct abd_op *op)
{
    op->wide = true;
    if (op->list == ABD_LIST_HEDGE) {
        abd_list_leave(a, op);
    }
}

void abd_pursue(struct abd *a, struct abd_op *op, struct abd_out *out)
{
    uint8_t set;

    CHECK(op->phase != ABD_PHASE_FREE && op->list != ABD_LIST_TAIL);
    if (!abd_is_last_round(op) && op->phase != ABD_PHASE_WAIT && !op->wide &&
        (op->chosen & ~(unsigned)(op->voted | a->up)) != 0) {
        abd_round_widen(a, op); /* ABD-15: one of the few went down */
    }
    set = wanted(a, op);
    for (uint8_t peer = 0; set != 0 && peer < a->config.members_n; peer++) {
        if ((set & abd_bit(peer)) != 0) {
            CHECK(out->calls_n < ABD_CALLS_MAX);
            out->calls[out->calls_n++] =
                (struct abd_call){.peer = peer, .cookie = op->cookie, .ask = question(op, peer)};
            op->outstanding |= abd_bit(peer);
            op->repeated |= op->asked & abd_bit(peer);
            op->asked |= abd_bit(peer);
            op->first |= a->now_ns == op->round_at_ns ? abd_bit(peer) : 0;
            if (op->phase == ABD_PHASE_ACCEPT) {
                abd_rmw_asked(op, abd_bit(peer));
            }
            set = (uint8_t)(set & ~abd_bit(peer));
        }
    }
}

/* ABD-8: a round has a cookie of its own, so that answers to an earlier one find nobody. */
void abd_round_enter(struct abd *a, struct abd_op *op, enum abd_phase phase, struct abd_out *out)
{
    abd_op_cancel(a, op, out);
    abd_list_leave(a, op);
    op->round++;
    if (op->round == 1 << (ABD_GENERATION_SHIFT - ABD_ROUND_SHIFT)) { /* many restarts */
        op->round = 0;
        op->cookie = ++a->generation << ABD_GENERATION_SHIFT;
    }
    op->cookie = (op->cookie >> ABD_GENERATION_SHIFT << ABD_GENERATION_SHIFT) |
                 (uint64_t)op->round << ABD_ROUND_SHIFT | abd_place(a, op);
    op->phase = (uint8_t)phase;
    op->failed = op->refused = op->asked = op->repeated = op->first = 0;
    op->round_at_ns = a->now_ns;
}

/* Takes up to `need` of the set, beginning with whose turn it is. Returns how many are wanting. */
static uint8_t choose_among(struct abd *a, struct abd_op *op, uint8_t set, uint8_t need)
{
    uint8_t peer = a->rotor;

    for (uint8_t i = 0; need > 0 && i < a->config.members_n; i++) {
        bool first = op->chosen == 0;

        if ((set & abd_bit(peer)) != 0) {
            op->chosen |= abd_bit(peer);
            need--;
        }
        peer = (uint8_t)(peer + 1 < a->config.members_n ? peer + 1 : 0);
        a->rotor_next = first ? peer : a->rotor_next;
    }
    return need;
}

/* What begins at one moment asks the same peers, so that the questions share datagrams. */
static void take_turns(struct abd *a)
{
    if (a->now_ns != a->turn_at_ns || a->turn_n == ABD_TURN) {
        a->turn_at_ns = a->now_ns;
        a->turn_n = 0;
        a->rotor = a->rotor_next;
    }
    a->turn_n++;
}

/* ABD-15: QUERY, OFFER and READ go to as many peers as a majority needs: the fast ones, by turns.
 */
void abd_round_choose(struct abd *a, struct abd_op *op)
{
    uint8_t need = (uint8_t)(a->majority - ((a->voters & a->self_bit) != 0));
    uint8_t preferred = abd_pace_preferred(a);

    take_turns(a);
    op->chosen = 0;
    op->wide = false;
    need = choose_among(a, op, preferred, need);
    need = choose_among(a, op, (uint8_t)(a->up & a->voters & ~(unsigned)preferred), need);
    if (need > 0 || a->config.hedge_ns == 0) {
        op->wide = true;
    } else if (op->chosen != 0) {
        abd_list_enter(a, op, ABD_LIST_HEDGE, a->pace.hedge.delay_ns);
    }
}

/* ---- votes ---- */

void abd_round_vote(struct abd *a, struct abd_op *op, uint8_t bit)
{
    if ((bit & a->voters) != 0 &&
        ((op->voted & bit) == 0 || abd_has_plant(a, ABD_PLANT_COUNT_DUPLICATES))) {
        op->votes_n++;
    }
    op->voted |= bit;
}

void abd_round_hold(struct abd *a, struct abd_op *op, uint8_t bit)
{
    if ((bit & a->voters) != 0 &&
        ((op->holders & bit) == 0 || abd_has_plant(a, ABD_PLANT_COUNT_DUPLICATES))) {
        op->holders_n++;
    }
    op->holders |= bit;
}

/* ---- the end ---- */

void abd_reply_now(struct abd *a, uint64_t user, enum err status, struct abd_out *out)
{
    CHECK(!out->have_reply);
    out->have_reply = true;
    out->reply = (struct abd_reply){.user = user, .response = {.status = status}};
    a->counters.busy += status == ERR_BUSY;
    a->counters.unavailable += status == ERR_UNAVAILABLE;
    a->counters.indeterminate += status == ERR_INDETERMINATE;
}

/* Answers the client; then the operation ends, or its last calls go on as a tail (ABD-14). */
void abd_finish(struct abd *a, struct abd_op *op, enum err status, struct abd_out *out)
{
    bool lends = false;

    if (op->kind == ABD_OP_REPAIR) {
        a->counters.repairs_failed += status != OK && status != ERR_NOT_FOUND;
    } else {
        status = op->kind == ABD_OP_RMW ? abd_rmw_outcome(op, status) : status;
        abd_reply_now(a, op->user, status, out);
        if (status == OK || status == ERR_NOT_FOUND) {
            out->reply.response.tag = op->tag;
        }
        if (status == OK && op->kind == ABD_OP_GET) {
            out->reply.response.value = abd_value(op);
        }
        if (op->kind == ABD_OP_RMW) {
            abd_rmw_reply(a, op, &out->reply.response);
            abd_rmw_leave(a, op);
        }
        lends = out->reply.response.value.n != 0 && out->reply.response.value.p == op->value;
    }
    if (abd_is_last_round(op) && op->outstanding != 0) {
        abd_op_linger(a, op);
        return;
    }
    abd_op_cancel(a, op, out);
    if (lends) {
        abd_lend(a, op->value, op->value_cap);
        op->value = NULL;
        op->value_cap = 0;
    }
    abd_op_give(a, op);
}

/* What a get answers once a majority holds the maximum (ABD-6, ABD-18). */
void abd_finish_read(struct abd *a, struct abd_op *op, struct abd_out *out)
{
    CHECK(a->plants != 0 || abd_set_n(op->holders & a->voters) >= a->majority);
    if (op->kind == ABD_OP_RMW) {
        abd_rmw_read_done(a, op, out);
        return;
    }
    abd_finish(a, op, op->tombstone || tag_is_zero(op->tag) ? ERR_NOT_FOUND : OK, out);
}

/* ---- APPLY: W2 and R2 ---- */

void abd_check_applied(struct abd *a, struct abd_op *op, struct abd_out *out)
{
    if (op->holders_n >= a->majority) {
        if (op->kind == ABD_OP_WRITE) {
            CHECK(a->plants != 0 || abd_set_n(op->holders & a->voters) >= a->majority);
            abd_finish(a, op, OK, out);
        } else if (op->phase == ABD_PHASE_COMMIT) {
            CHECK(a->plants != 0 || abd_set_n(op->holders & a->voters) >= a->majority);
            abd_rmw_committed(a, op, out);
        } else {
            abd_finish_read(a, op, out);
        }
    }
}

/* ABD-9, ABD-10: once too many have said no, waiting does not help. A write stands here at least,
 * so its outcome is unknown; a get had no effect and says why. True: that was the end. */
bool abd_on_refused(struct abd *a, struct abd_op *op, uint8_t bit, enum err why,
                    struct abd_out *out)
{
    bool memory = why == ERR_ENCLAVE_MEMORY || why == ERR_HOST_MEMORY;

    op->refused |= bit;
    if (abd_set_n(a->voters & (uint8_t)~op->refused) >= a->majority) {
        return false;
    }
    if (op->kind == ABD_OP_WRITE) {
        abd_finish(a, op, ERR_INDETERMINATE, out);
    } else {
        abd_finish(a, op, memory ? why : ERR_UNAVAILABLE, out);
    }
    return true;
}
