// SPDX-License-Identifier: Apache-2.0
#include "common/check.h"
#include "trusted/abd/abd_rmw.h"

/*
 * Puts and deletes. In two rounds: W1 asks a majority for its tags, W2 makes a majority hold value
 * and tag. Or in one (ABD-21), where one peer's word besides our own is a majority: the write gets
 * its tag from what stands here and is *offered*. A peer that holds nothing greater takes it, and
 * that answers W1 and W2 at once; a peer that holds more says what, has taken nothing, and that
 * answers W1.
 *
 * A write has one tag for good as soon as anybody may hold it. So another one is given out only if
 * all who were asked have said no.
 */

enum { OFFER_VALUE_MAX = 16384 }; /* larger ones are not sent twice */

static const uint64_t TIGHT_NS = UINT64_C(1000000000);

/* ---- the offers that are out ---- */

void abd_write_init(struct abd *a)
{
    for (size_t i = 0; i < ABD_OFFER_HEADS; i++) {
        a->offers[i] = ABD_NONE;
    }
}

/*
 * A tag on offer does not stand in the store yet, and the next one of the same key has to be
 * another. Few share a head, so that nobody is slowed down by keys that collide.
 */
uint64_t abd_write_offered(const struct abd *a, struct bytes key)
{
    uint64_t ts = 0;
    uint16_t at;

    if (a->offers_n == 0) {
        return 0;
    }
    at = a->offers[abd_key_hash(a, key) % ABD_OFFER_HEADS];
    for (; at != ABD_NONE; at = a->ops[at].offer_next) {
        const struct abd_op *op = &a->ops[at];

        if (op->tag.ts > ts && bytes_equal(abd_key(op), key)) {
            ts = op->tag.ts;
        }
    }
    return ts;
}

static bool enter(struct abd *a, struct abd_op *op)
{
    uint16_t head = (uint16_t)(abd_key_hash(a, abd_key(op)) % ABD_OFFER_HEADS);
    int n = 0;

    for (uint16_t at = a->offers[head]; at != ABD_NONE; at = a->ops[at].offer_next) {
        n++;
    }
    if (n >= ABD_OFFER_CHAIN) {
        return false;
    }
    op->offer_head = head;
    op->offer_next = a->offers[head];
    a->offers[head] = abd_place(a, op);
    a->offers_n++;
    return true;
}

static void leave(struct abd *a, struct abd_op *op)
{
    uint16_t *at = &a->offers[op->offer_head];

    while (*at != abd_place(a, op)) {
        at = &a->ops[*at].offer_next;
    }
    *at = op->offer_next;
    a->offers_n--;
}

/* ---- W2 ---- */

/* ABD-4: in the same step, so that the next write of the key sees this one in the store. */
static void mint(struct abd *a, struct abd_op *op, struct abd_out *out)
{
    enum err err;

    abd_op_cancel(a, op, out);
    err = abd_mint(a, abd_key(op), op->tombstone, op->tombstone ? (struct bytes){0} : abd_value(op),
                   &op->tag, out);
    if (err != OK) {
        abd_finish(a, op, err, out); /* nothing was sent: nothing happened */
        return;
    }
    abd_round_enter(a, op, ABD_PHASE_APPLY, out);
    op->holders = 0;
    op->holders_n = 0;
    abd_round_hold(a, op, a->self_bit);
    abd_pursue(a, op, out);
    abd_check_applied(a, op, out);
}

/* Somebody may hold this write, so it stands here, too. If it cannot, no tag may be given out any
 * more that could be the same. */
static enum err hold_here(struct abd *a, struct abd_op *op, struct abd_out *out)
{
    enum err err = abd_hold_here(a, op, out);

    if (err != OK) {
        a->config.past.ts = op->tag.ts > a->config.past.ts ? op->tag.ts : a->config.past.ts;
        a->tight_until_ns = a->now_ns + TIGHT_NS;
    }
    return err;
}

/* ---- W1 ---- */

static void check_queried(struct abd *a, struct abd_op *op, struct abd_out *out)
{
    if (op->votes_n >= a->majority) {
        mint(a, op, out);
    }
}

static void query(struct abd *a, struct abd_op *op, struct abd_out *out)
{
    abd_round_enter(a, op, ABD_PHASE_QUERY, out);
    op->voted = 0;
    op->votes_n = 0;
    abd_round_vote(a, op, a->self_bit);
    abd_round_choose(a, op);
    abd_pursue(a, op, out);
    check_queried(a, op, out);
}

/* ---- both in one ---- */

static bool nobody_may_hold_it(const struct abd *a, const struct abd_op *op)
{
    return abd_has_plant(a, ABD_PLANT_OFFER_TWICE) ||
           (!op->doubt && op->outstanding == 0 && op->holders == 0);
}

static void taken(struct abd *a, struct abd_op *op, struct abd_out *out)
{
    enum err err;

    leave(a, op);
    err = hold_here(a, op, out);
    abd_round_enter(a, op, ABD_PHASE_APPLY, out); /* holders stay: they took it */
    abd_pursue(a, op, out);
    if (err != OK && abd_on_refused(a, op, a->self_bit, err, out)) {
        return;
    }
    a->counters.writes_one_round += op->holders_n >= a->majority;
    abd_check_applied(a, op, out);
}

void abd_write_give_up(struct abd *a, struct abd_op *op, enum err why, struct abd_out *out)
{
    leave(a, op);
    if (!nobody_may_hold_it(a, op)) {
        (void)hold_here(a, op, out);
        why = ERR_INDETERMINATE;
    }
    abd_finish(a, op, why, out);
}

/* Self votes for the offer if it holds nothing greater, as it did when the tag was given out. */
static void check_offered(struct abd *a, struct abd_op *op, struct abd_out *out)
{
    bool self = (a->voters & op->voted & a->self_bit) != 0;

    if (op->holders_n + self >= a->majority) {
        taken(a, op, out);
    } else if (op->votes_n >= a->majority && nobody_may_hold_it(a, op)) {
        leave(a, op);
        op->tag = op->own;
        mint(a, op, out);
    } else if (op->outstanding == 0 && (a->voters & ~(unsigned)(op->voted | a->self_bit)) == 0) {
        abd_write_give_up(a, op, ERR_UNAVAILABLE, out); /* all have said what they have to say */
    }
}

/* `self`: this replica votes for it. */
static void offer(struct abd *a, struct abd_op *op, bool self, struct abd_out *out)
{
    abd_round_enter(a, op, ABD_PHASE_OFFER, out);
    op->own = (struct tag){0};
    op->voted = op->holders = 0;
    op->votes_n = op->holders_n = 0;
    if (self) {
        abd_round_vote(a, op, a->self_bit);
    }
    abd_round_choose(a, op);
    abd_pursue(a, op, out);
    check_offered(a, op, out);
}

/*
 * Where more than one peer has to take it, some may and others not, and then it would have no way
 * on. And not while somebody is down or learns: then the members are about to change, with which
 * all sessions end, and what is out is in doubt.
 */
static bool may_offer(const struct abd *a, const struct abd_op *op)
{
    return a->majority - ((a->voters & a->self_bit) != 0) == 1 && a->voters == a->all &&
           (a->up | a->self_bit) == a->all && op->value_len <= OFFER_VALUE_MAX &&
           a->now_ns >= a->tight_until_ns;
}

void abd_write_start(struct abd *a, struct abd_op *op, struct abd_out *out)
{
    enum err err;

    op->kind = ABD_OP_WRITE;
    op->doubt = false;
    if (!may_offer(a, op)) {
        query(a, op, out);
        return;
    }
    err = abd_next_tag(a, abd_key(op), &op->tag);
    if (err != OK) {
        abd_finish(a, op, err, out);
        return;
    }
    if (!enter(a, op)) {
        op->tag = (struct tag){0};
        query(a, op, out);
        return;
    }
    offer(a, op, true, out);
}

/* MEM-8. What may stand somewhere goes on with its tag, among the members that there are now; it
 * must be above what stands here now, for that is what this majority knows. */
void abd_write_restart(struct abd *a, struct abd_op *op, struct abd_out *out)
{
    struct store_entry e;

    if (op->phase == ABD_PHASE_OFFER && !nobody_may_hold_it(a, op)) {
        op->doubt = true;
        if (abd_find(a, abd_key(op), &e) != OK) {
            abd_write_give_up(a, op, ERR_LOST, out);
            return;
        }
        offer(a, op, tag_compare(e.tag, op->tag) <= 0, out);
        return;
    }
    if (op->phase == ABD_PHASE_OFFER) {
        leave(a, op);
    }
    op->tag = (struct tag){0};
    abd_write_start(a, op, out);
}

void abd_write_retry(struct abd *a, struct abd_op *op, struct abd_out *out)
{
    if (op->phase == ABD_PHASE_OFFER && nobody_may_hold_it(a, op)) {
        abd_write_restart(a, op, out);
    } else {
        abd_pursue(a, op, out);
    }
}

/* ---- answers ---- */

/* Who was asked twice may have taken it the second time, and this be the answer to the first. */
static void note_no(struct abd_op *op, uint8_t bit)
{
    op->doubt = op->doubt || (op->repeated & bit) != 0;
}

void abd_write_on_tag(struct abd *a, struct abd_op *op, uint8_t bit, struct tag tag,
                      struct abd_out *out)
{
    bool offered = op->phase == ABD_PHASE_OFFER;
    struct tag *seen = offered ? &op->own : &op->tag;

    note_no(op, bit);
    if ((offered && tag.ts < op->tag.ts) || !abd_seen_plausible(a, abd_key(op), tag)) {
        op->doubt = true;
        abd_no_vote(a, op, bit, out);
        return;
    }
    if (tag_compare(tag, *seen) > 0) {
        *seen = tag;
    }
    abd_round_vote(a, op, bit);
    if (!offered) {
        check_queried(a, op, out);
        return;
    }
    a->counters.offers_denied++;
    check_offered(a, op, out);
}

void abd_write_on_taken(struct abd *a, struct abd_op *op, uint8_t bit, struct abd_out *out)
{
    abd_round_vote(a, op, bit);
    abd_round_hold(a, op, bit);
    check_offered(a, op, out);
}

void abd_write_on_refused(struct abd *a, struct abd_op *op, uint8_t bit, enum err why,
                          struct abd_out *out)
{
    note_no(op, bit);
    if (why == ERR_ENCLAVE_MEMORY || why == ERR_HOST_MEMORY) {
        op->refused |= bit;
        if (abd_set_n(a->voters & (uint8_t)~op->refused) < a->majority) {
            abd_write_give_up(a, op, why, out);
            return;
        }
    }
    abd_no_vote(a, op, bit, out);
}
