// SPDX-License-Identifier: Apache-2.0
/* The next configuration: one step of every group towards where it is wanted. MEM-6, MEM-17 */
#include "common/check.h"
#include "trusted/config/explain.h"
#include "trusted/register/register_internal.h"

static void begin(struct config_register *r)
{
    r->next = r->current;
    r->next.epoch++;
    r->next.replication_factor = r->replication_factor;
    for (uint32_t g = 0; g < r->next.groups_n; g++) {
        r->next.groups[g].settle = false;
    }
}

/* ---- one group ---- */

/* MEM-6: a vote is taken only from a configuration that is settled, and of which more than the
 * others are left. */
static bool may_take_vote(const struct config_register *r, uint32_t group)
{
    return r->groups[group].settled && register_count(r->current.groups[group].voters) > 1;
}

static uint32_t lowest(uint32_t set)
{
    return set & (0 - set);
}

static uint32_t highest(uint32_t set)
{
    return set == 0 ? 0 : UINT32_C(1) << (31 - __builtin_clz(set));
}

/* At most one vote: taken from a lost voter, or given to a learner that has copied, or taken from a
 * voter that is not wanted here. That one goes on as a learner until the next step, so that what it
 * coordinates ends in peace (MEM-8). */
static bool move_vote(struct config_register *r, uint32_t group, uint32_t target)
{
    const struct cluster_group *now = &r->current.groups[group];
    struct cluster_group *next = &r->next.groups[group];
    uint32_t staying = register_count(now->voters & ~r->lost & target);
    uint32_t lost = lowest(now->voters & r->lost);
    uint32_t ready = lowest(now->learners & r->groups[group].copied & target & ~r->lost);
    uint32_t leaver = highest(now->voters & ~r->lost & ~target);
    uint32_t wanted = register_count(r->groups[group].target); /* some are not members yet */

    if (lost != 0 && may_take_vote(r, group)) {
        next->voters &= ~lost;
        return true;
    }
    if (ready != 0 && staying < wanted) {
        next->voters |= ready;
        next->learners &= ~ready;
        return true;
    }
    if (leaver != 0 && staying >= wanted && may_take_vote(r, group)) {
        next->voters &= ~leaver;
        next->learners |= leaver;
        return true;
    }
    return false;
}

static bool step_group(struct config_register *r, uint32_t group)
{
    uint32_t target = register_target(r, &r->current, group);
    struct cluster_group *next = &r->next.groups[group];
    /* MEM-17: with one group the others stand by. */
    uint32_t here = r->current.groups_n == 1 ? register_wanted(r, &r->current) : target;
    uint32_t gone = next->learners & (r->lost | ~here);

    if (register_majority_lost(r, group)) {
        return false;
    }
    next->learners &= ~gone;
    return move_vote(r, group, target) || gone != 0;
}

static bool add_some(const struct config_register *r, struct cluster_group *next, uint32_t set)
{
    uint32_t lost = register_carry(r->lost, &r->current, &r->next);
    uint32_t missing = set & ~lost & ~(next->voters | next->learners);
    bool added = false;

    while (missing != 0 && register_count(next->voters | next->learners) < NODES_MAX) {
        next->learners |= lowest(missing);
        missing &= missing - 1;
        added = true;
    }
    return added;
}

/* Nodes that are to vote and are not here come as learners; with one group all others do, too. */
static bool add_learners(struct config_register *r, uint32_t group)
{
    struct cluster_group *next = &r->next.groups[group];
    bool added = add_some(r, next, register_target(r, &r->next, group));

    return (r->next.groups_n == 1 && add_some(r, next, register_wanted(r, &r->next))) || added;
}

/* Nobody is coming who would make the number odd again: no more voters are wanted, or none can join
 * before another group has let go of it. The voters must do it themselves, and are told so by a
 * configuration (MEM-5). True: some group is told so now. */
static bool mark_settling(struct config_register *r)
{
    bool news = false;

    for (uint32_t g = 0; g < r->next.groups_n; g++) {
        struct cluster_group *next = &r->next.groups[g];
        uint32_t n = register_count(next->voters);
        bool same =
            register_carry(r->current.groups[g].voters, &r->current, &r->next) == next->voters &&
            register_count(r->current.groups[g].voters) == n;

        next->settle = n % 2 == 0 && !(same && r->groups[g].settled) &&
                       (n >= register_count(r->groups[g].target) || next->learners == 0);
        news = news || (next->settle && !r->current.groups[g].settle);
    }
    return news;
}

/* ---- members ---- */

static void drop(struct cluster *c, uint32_t place)
{
    c->members_n--;
    memmove(&c->members[place], &c->members[place + 1],
            (c->members_n - place) * sizeof(c->members[0]));
    c->members[c->members_n] = (struct cluster_member){0};
    for (uint32_t g = 0; g < c->groups_n; g++) {
        c->groups[g].voters = register_remove_bit(c->groups[g].voters, place);
        c->groups[g].learners = register_remove_bit(c->groups[g].learners, place);
    }
}

static struct cluster_member fill(const struct register_wish *w, uint32_t incarnation)
{
    struct cluster_member m = {.node = w->node,
                               .incarnation = incarnation,
                               .control_port = w->control_port,
                               .data_port = w->data_port};

    memcpy(m.address, w->address, sizeof(m.address));
    return m;
}

static void add(struct config_register *r, const struct register_wish *w)
{
    struct cluster *c = &r->next;
    uint32_t at = 0;

    while (at < c->members_n && c->members[at].node < w->node) {
        at++;
    }
    memmove(&c->members[at + 1], &c->members[at], (c->members_n - at) * sizeof(c->members[0]));
    c->members[at] = fill(w, register_new_incarnation(r));
    c->members_n++;
    for (uint32_t g = 0; g < c->groups_n; g++) {
        c->groups[g].voters = register_insert_bit(c->groups[g].voters, at);
        c->groups[g].learners = register_insert_bit(c->groups[g].learners, at);
    }
}

static bool holds_something(const struct cluster *c, uint32_t place)
{
    for (uint32_t g = 0; g < c->groups_n; g++) {
        if (((c->groups[g].voters | c->groups[g].learners) & register_bit(place)) != 0) {
            return true;
        }
    }
    return false;
}

static bool is_member(const struct cluster *c, uint32_t node)
{
    for (uint32_t i = 0; i < c->members_n; i++) {
        if (c->members[i].node == node) {
            return true;
        }
    }
    return false;
}

/* Who has no memory any more starts again under a new incarnation once no group counts on the old
 * one; who is not wanted goes once no group has it; who is wanted comes. */
static bool change_members(struct config_register *r)
{
    bool changed = false;

    for (uint32_t i = r->current.members_n; i-- > 0;) {
        uint32_t wish = register_wish_of(r, r->current.members[i].node);
        bool lost = (r->lost & register_bit(i)) != 0;

        if (holds_something(&r->next, i) || (wish != REGISTER_NOWHERE && !lost)) {
            continue;
        }
        changed = true;
        if (wish == REGISTER_NOWHERE) {
            drop(&r->next, i);
        } else {
            r->next.members[i] = fill(&r->wishes[wish], register_new_incarnation(r));
        }
    }
    for (uint32_t w = 0; w < r->wishes_n && r->next.members_n < CLUSTER_MAX; w++) {
        if (!is_member(&r->next, r->wishes[w].node)) {
            add(r, &r->wishes[w]);
            changed = true;
        }
    }
    return changed;
}

bool register_advance(struct config_register *r)
{
    bool changed = false;

    if (r->phase != REGISTER_ACTIVE) {
        return false;
    }
    begin(r);
    for (uint32_t g = 0; g < r->next.groups_n; g++) {
        changed = step_group(r, g) || changed;
    }
    changed = change_members(r) || changed;
    for (uint32_t g = 0; g < r->next.groups_n; g++) {
        changed = (!register_majority_lost(r, g) && add_learners(r, g)) || changed;
    }
    changed = mark_settling(r) || changed;
    if (!changed) {
        r->next = (struct cluster){0};
        return false;
    }
    r->phase = REGISTER_PENDING;
    r->version++;
    return true;
}

/* ---- a majority is lost ---- */

/* Groups of which nobody is left begin empty, with whom they are wanted at. False: all of those
 * hold on to memory that is gone in other groups. */
static bool begin_empty(struct config_register *r, uint32_t group)
{
    struct cluster_group *next = &r->next.groups[group];
    uint32_t all = 0, lost = register_carry(r->lost, &r->current, &r->next), target;

    for (uint32_t i = 0; i < r->next.members_n; i++) {
        all |= register_bit(i);
    }
    target = register_target(r, &r->next, group) & ~lost;
    if (target == 0) {
        target = lowest(all & ~lost);
    }
    *next = (struct cluster_group){.voters = target};
    return target != 0;
}

static RESULT give_up(struct config_register *r, struct explain *why)
{
    bool lost[GROUPS_MAX], any = false;

    for (uint32_t g = 0; g < r->current.groups_n; g++) {
        lost[g] = register_majority_lost(r, g);
        any = any || lost[g];
    }
    if (r->phase == REGISTER_EMPTY || !any) {
        explain(why, "no majority is lost: there is no loss to accept");
        return ERR_POLICY;
    }
    if (r->phase == REGISTER_PENDING) {
        /* Some member may work in it already: its epoch must not get a second meaning. */
        r->current.epoch = r->next.epoch;
    }
    begin(r);
    for (uint32_t g = 0; g < r->next.groups_n; g++) {
        r->groups[g].forced = lost[g];
        if (lost[g]) {
            r->next.groups[g].voters &= ~r->lost;
            r->next.groups[g].learners &= ~r->lost;
        } else {
            (void)step_group(r, g);
        }
    }
    (void)change_members(r);
    for (uint32_t g = 0; g < r->next.groups_n; g++) {
        if (r->next.groups[g].voters == 0 && !begin_empty(r, g)) {
            explain(why, "no node with a memory is left to begin group %u of the slots anew", g);
            return ERR_POLICY;
        }
        (void)add_learners(r, g);
    }
    (void)mark_settling(r);
    return OK;
}

RESULT register_accept_loss(struct config_register *r, struct explain *why)
{
    struct config_register k = *r;

    TRY(give_up(&k, why));
    k.phase = REGISTER_PENDING;
    k.sealed = k.lost_next = 0;
    k.losses_accepted++;
    k.version++;
    register_activate_if_sealed(&k);
    *r = k;
    return OK;
}
