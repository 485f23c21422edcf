// SPDX-License-Identifier: Apache-2.0
#include "trusted/register/register.h"

#include "common/check.h"
#include "trusted/config/explain.h"

enum { NOWHERE = 0xff };

static uint8_t bit(uint32_t place)
{
    return (uint8_t)(1U << place);
}

static uint32_t count(uint8_t set)
{
    return (uint32_t)__builtin_popcount(set);
}

static uint32_t majority(uint8_t voters)
{
    return count(voters) / 2 + 1;
}

static uint32_t place_of(const struct cluster *c, uint32_t incarnation)
{
    for (uint32_t i = 0; i < c->members_n; i++) {
        if (c->members[i].incarnation == incarnation) {
            return i;
        }
    }
    return NOWHERE;
}

static uint32_t wish_of(const struct config_register *r, uint32_t node)
{
    for (uint32_t i = 0; i < r->wishes_n; i++) {
        if (r->wishes[i].node == node) {
            return i;
        }
    }
    return NOWHERE;
}

static bool is_wanted(const struct config_register *r, uint32_t place)
{
    return wish_of(r, r->current.members[place].node) != NOWHERE;
}

/* Places of one configuration as places of another, by incarnation. */
static uint8_t carry(uint8_t set, const struct cluster *from, const struct cluster *to)
{
    uint8_t out = 0;

    for (uint32_t i = 0; i < from->members_n; i++) {
        uint32_t place = place_of(to, from->members[i].incarnation);

        if ((set & bit(i)) != 0 && place != NOWHERE) {
            out |= bit(place);
        }
    }
    return out;
}

/* ---- founding ---- */

/* CHECKed: a cluster that restarted four billion members has other worries. */
static uint32_t new_incarnation(struct config_register *r)
{
    CHECK(r->incarnation_next != 0 && r->incarnation_next < UINT32_MAX);
    return r->incarnation_next++; /* MEM-3 */
}

/* All members are new voters of a first or a next beginning. */
static void begin_whole(struct config_register *k, const struct cluster *first, uint64_t epoch)
{
    CHECK(first->members_n >= 1 && first->members_n <= NODES_MAX);
    k->version++;
    k->phase = REGISTER_ACTIVE;
    k->current = *first;
    k->current.epoch = epoch;
    k->current.settle = false;
    k->next = (struct cluster){0};
    k->sealed = k->copied = k->lost = k->lost_next = 0;
    k->forced = false;
    k->settled = true;
    k->replication_factor = first->members_n;
    k->wishes_n = first->members_n;
    memset(k->wishes, 0, sizeof(k->wishes));
    for (uint32_t i = 0; i < first->members_n; i++) {
        struct cluster_member *m = &k->current.members[i];

        m->incarnation = new_incarnation(k);
        m->is_learner = false;
        k->wishes[i].node = m->node;
        memcpy(k->wishes[i].address, m->address, sizeof(m->address));
        k->wishes[i].control_port = m->control_port;
        k->wishes[i].data_port = m->data_port;
    }
}

RESULT register_found(struct config_register *r, const struct cluster *first, struct explain *why)
{
    if (r->phase != REGISTER_EMPTY) { /* MEM-2 */
        explain(why,
                "cluster '%s' was founded before and is in epoch %llu: it is not founded a second "
                "time; members that lost their memory join it as new ones",
                r->current.name, (unsigned long long)r->current.epoch);
        return ERR_POLICY;
    }
    r->incarnation_next = 1;
    begin_whole(r, first, 1);
    return OK;
}

RESULT register_found_again(struct config_register *r, const struct cluster *first,
                            struct explain *why)
{
    if (r->phase == REGISTER_EMPTY || (cluster_voters(&r->current) & (uint8_t)~r->lost) != 0) {
        explain(why, "some voters still have their memory: the cluster goes on with them");
        return ERR_POLICY;
    }
    r->losses_accepted++;
    begin_whole(r, first, register_latest(r)->epoch + 1);
    return OK;
}

/* ---- what happened ---- */

static bool majority_lost(const struct config_register *r)
{
    uint8_t voters = cluster_voters(&r->current);

    return count(voters & (uint8_t)~r->lost) < majority(voters);
}

/* MEM-4: once a majority of the voters has left C(e), or is known not to run, nothing completes
 * there any more. A forced configuration waits for every survivor. */
static void activate_if_sealed(struct config_register *r)
{
    uint8_t voters = cluster_voters(&r->current), voters_next = cluster_voters(&r->next);
    uint8_t survivors = voters & (uint8_t)~r->lost;
    bool same =
        carry(voters, &r->current, &r->next) == voters_next && count(voters) == count(voters_next);
    uint8_t copied = carry(r->copied, &r->current, &r->next);

    if (r->forced ? (survivors & (uint8_t)~r->sealed) != 0
                  : count(voters & (r->sealed | r->lost)) < majority(voters)) {
        return;
    }
    /* MEM-5. Votes that were taken from or given to an odd number leave an even one that has still
     * to copy; the way from even to odd restores what the way to even lost. */
    r->settled = same ? r->settled : count(voters_next) % 2 == 1;
    r->copied = same ? copied : 0;
    r->lost = carry(r->lost, &r->current, &r->next) | r->lost_next;
    r->current = r->next;
    r->next = (struct cluster){0};
    r->sealed = r->lost_next = 0;
    r->forced = false;
    r->phase = REGISTER_ACTIVE;
}

void register_on_lost(struct config_register *r, uint32_t incarnation)
{
    uint32_t here = place_of(&r->current, incarnation), there = place_of(&r->next, incarnation);
    uint8_t lost = r->lost, lost_next = r->lost_next, copied = r->copied;

    if (here != NOWHERE) {
        r->lost |= bit(here);
        r->copied &= (uint8_t)~bit(here);
    }
    if (there != NOWHERE) {
        r->lost_next |= bit(there);
    }
    if (r->lost == lost && r->lost_next == lost_next && r->copied == copied) {
        return;
    }
    r->version++;
    if (r->phase == REGISTER_PENDING) {
        activate_if_sealed(r);
    }
}

void register_on_installed(struct config_register *r, uint32_t incarnation, uint64_t epoch)
{
    uint32_t here = place_of(&r->current, incarnation);

    if (r->phase != REGISTER_PENDING || epoch != r->next.epoch || here == NOWHERE ||
        ((r->sealed | r->lost) & bit(here)) != 0) {
        return;
    }
    r->sealed |= bit(here);
    r->version++;
    activate_if_sealed(r);
}

void register_on_copied(struct config_register *r, uint32_t incarnation, uint64_t epoch)
{
    uint32_t here = place_of(&r->current, incarnation);
    uint8_t voters = cluster_voters(&r->current);

    if (r->phase != REGISTER_ACTIVE || epoch != r->current.epoch || here == NOWHERE ||
        ((r->copied | r->lost) & bit(here)) != 0) {
        return;
    }
    r->copied |= bit(here);
    r->settled = r->settled || count(r->copied & voters) >= majority(voters);
    r->version++;
}

/* ---- what is wanted ---- */

RESULT register_wish_add(struct config_register *r, const struct register_wish *w,
                         struct explain *why)
{
    uint32_t at = 0;

    if (r->phase == REGISTER_EMPTY || w->node == 0) {
        explain(why, "there is no cluster to add node %u to", w->node);
        return ERR_USAGE;
    }
    if (wish_of(r, w->node) != NOWHERE) {
        explain(why, "node %u is a member already", w->node);
        return ERR_USAGE;
    }
    for (uint32_t i = 0; i < r->current.members_n; i++) {
        if (r->current.members[i].node == w->node) {
            explain(why, "node %u is still on its way out; wait until it has left", w->node);
            return ERR_POLICY;
        }
    }
    if (r->wishes_n == NODES_MAX) {
        explain(why, "a cluster has at most %d nodes", NODES_MAX);
        return ERR_POLICY;
    }
    while (at < r->wishes_n && r->wishes[at].node < w->node) {
        at++;
    }
    memmove(&r->wishes[at + 1], &r->wishes[at], (r->wishes_n - at) * sizeof(r->wishes[0]));
    r->wishes[at] = *w;
    r->wishes_n++;
    r->version++;
    return OK;
}

RESULT register_wish_remove(struct config_register *r, uint32_t node, struct explain *why)
{
    uint32_t at = wish_of(r, node);

    if (at == NOWHERE) {
        explain(why, "node %u is no member", node);
        return ERR_USAGE;
    }
    if (r->wishes_n <= r->replication_factor) {
        explain(why,
                "%u nodes are needed for replication factor %u; add another node or lower the "
                "factor first",
                r->replication_factor, r->replication_factor);
        return ERR_POLICY;
    }
    r->wishes_n--;
    memmove(&r->wishes[at], &r->wishes[at + 1], (r->wishes_n - at) * sizeof(r->wishes[0]));
    r->wishes[r->wishes_n] = (struct register_wish){0};
    r->version++;
    return OK;
}

RESULT register_wish_factor(struct config_register *r, uint32_t factor, struct explain *why)
{
    if (factor % 2 == 0 || factor > NODES_MAX || r->phase == REGISTER_EMPTY) {
        explain(why, "replication factor %u: must be 1, 3, 5 or 7", factor);
        return ERR_USAGE;
    }
    if (factor > r->wishes_n) {
        explain(why, "replication factor %u needs %u nodes, there are %u; add nodes first", factor,
                factor, r->wishes_n);
        return ERR_POLICY;
    }
    r->version += r->replication_factor != factor;
    r->replication_factor = factor;
    return OK;
}

/* ---- the next configuration ---- */

static void begin(struct config_register *r)
{
    r->next = r->current;
    r->next.epoch++;
    r->next.replication_factor = r->replication_factor;
}

static void drop(struct cluster *c, uint32_t place)
{
    c->members_n--;
    memmove(&c->members[place], &c->members[place + 1],
            (c->members_n - place) * sizeof(c->members[0]));
    c->members[c->members_n] = (struct cluster_member){0};
}

static struct cluster_member fill(const struct register_wish *w, uint32_t incarnation)
{
    struct cluster_member m = {.node = w->node,
                               .incarnation = incarnation,
                               .control_port = w->control_port,
                               .data_port = w->data_port,
                               .is_learner = true};

    memcpy(m.address, w->address, sizeof(m.address));
    return m;
}

/* The node has no memory any more: it starts again as a learner, or goes. */
static void renew(struct config_register *r, uint32_t place)
{
    uint32_t wish = wish_of(r, r->current.members[place].node);

    begin(r);
    if (wish == NOWHERE) {
        drop(&r->next, place);
    } else {
        r->next.members[place] = fill(&r->wishes[wish], new_incarnation(r));
    }
}

static void add(struct config_register *r, const struct register_wish *w)
{
    uint32_t at = 0;

    begin(r);
    while (at < r->next.members_n && r->next.members[at].node < w->node) {
        at++;
    }
    memmove(&r->next.members[at + 1], &r->next.members[at],
            (r->next.members_n - at) * sizeof(r->next.members[0]));
    r->next.members[at] = fill(w, new_incarnation(r));
    r->next.members_n++;
}

/* MEM-6: a vote is taken only from a configuration that is settled, and of which more than the
 * others are left. */
static bool may_take_vote(const struct config_register *r)
{
    return r->settled && count(cluster_voters(&r->current)) > 1;
}

static bool advance_lost(struct config_register *r)
{
    for (uint32_t i = 0; i < r->current.members_n; i++) {
        if ((r->lost & bit(i)) != 0 && (r->current.members[i].is_learner || may_take_vote(r))) {
            renew(r, i);
            return true;
        }
    }
    return false;
}

/* Voters that are to stay. */
static uint32_t staying(const struct config_register *r)
{
    uint32_t n = 0;

    for (uint32_t i = 0; i < r->current.members_n; i++) {
        n += !r->current.members[i].is_learner && (r->lost & bit(i)) == 0 && is_wanted(r, i);
    }
    return n;
}

static bool advance_votes(struct config_register *r)
{
    for (uint32_t i = 0; i < r->current.members_n && staying(r) < r->replication_factor; i++) {
        if (r->current.members[i].is_learner && (r->copied & bit(i)) != 0 && is_wanted(r, i)) {
            begin(r);
            r->next.members[i].is_learner = false;
            return true;
        }
    }
    return false;
}

static bool advance_new(struct config_register *r)
{
    for (uint32_t w = 0; w < r->wishes_n && r->current.members_n < NODES_MAX; w++) {
        bool is_member = false;

        for (uint32_t i = 0; i < r->current.members_n; i++) {
            is_member = is_member || r->current.members[i].node == r->wishes[w].node;
        }
        if (!is_member) {
            add(r, &r->wishes[w]);
            return true;
        }
    }
    return false;
}

/* Those that are not wanted go; of voters beyond the factor the last becomes a learner. A voter
 * goes only when enough others stay. */
static bool advance_leavers(struct config_register *r)
{
    bool too_many = staying(r) > r->replication_factor;

    for (uint32_t i = r->current.members_n; i-- > 0;) {
        bool wanted = is_wanted(r, i);

        if (r->current.members[i].is_learner && !wanted) {
            begin(r);
            drop(&r->next, i);
            return true;
        }
        if (r->current.members[i].is_learner || !may_take_vote(r)) {
            continue;
        }
        if (!wanted && staying(r) >= r->replication_factor) {
            begin(r);
            drop(&r->next, i);
            return true;
        }
        if (wanted && too_many) {
            begin(r);
            r->next.members[i].is_learner = true;
            return true;
        }
    }
    return false;
}

/* From an even configuration that is not settled no vote may be taken, and once fewer voters are
 * wanted none may be given: the voters must copy, and are told so by a configuration (MEM-5). */
static bool advance_settle(struct config_register *r)
{
    if (r->settled || r->current.settle ||
        count(cluster_voters(&r->current)) < r->replication_factor) {
        return false;
    }
    begin(r);
    return true;
}

bool register_advance(struct config_register *r)
{
    uint32_t voters;

    if (r->phase != REGISTER_ACTIVE || majority_lost(r)) {
        return false;
    }
    if (!advance_lost(r) && !advance_votes(r) && !advance_new(r) && !advance_leavers(r) &&
        !advance_settle(r)) {
        return false;
    }
    voters = count(cluster_voters(&r->next));
    /* Nobody is coming who would make the number odd again: the voters must do it themselves. */
    r->next.settle = voters % 2 == 0 && voters >= r->replication_factor;
    r->phase = REGISTER_PENDING;
    r->version++;
    return true;
}

RESULT register_accept_loss(struct config_register *r, struct explain *why)
{
    uint8_t survivors = cluster_voters(&r->current) & (uint8_t)~r->lost;

    if (r->phase == REGISTER_EMPTY || !majority_lost(r)) {
        explain(why, "no majority is lost: there is no loss to accept");
        return ERR_POLICY;
    }
    if (r->phase == REGISTER_PENDING) {
        /* Some member may work in it already: its epoch must not get a second meaning. */
        r->current.epoch = r->next.epoch;
    }
    begin(r);
    for (uint32_t i = r->next.members_n; i-- > 0;) {
        uint32_t wish = wish_of(r, r->next.members[i].node);

        if ((survivors & bit(i)) != 0) {
            continue;
        }
        if (wish == NOWHERE) {
            drop(&r->next, i);
        } else {
            r->next.members[i] = fill(&r->wishes[wish], new_incarnation(r));
            r->next.members[i].is_learner = survivors != 0;
        }
    }
    r->phase = REGISTER_PENDING;
    r->forced = true;
    r->sealed = r->lost_next = 0;
    r->losses_accepted++;
    r->version++;
    activate_if_sealed(r);
    return OK;
}

/* ---- looking ---- */

const struct cluster *register_latest(const struct config_register *r)
{
    return r->phase == REGISTER_PENDING ? &r->next : &r->current;
}

bool register_is_lost(const struct config_register *r, uint32_t incarnation)
{
    uint32_t here = place_of(&r->current, incarnation), there = place_of(&r->next, incarnation);

    return (here != NOWHERE && (r->lost & bit(here)) != 0) ||
           (there != NOWHERE && (r->lost_next & bit(there)) != 0);
}

static bool all_copied(const struct config_register *r)
{
    uint8_t all = (uint8_t)((1U << r->current.members_n) - 1);

    return (all & (uint8_t) ~(cluster_voters(&r->current) | r->copied)) == 0;
}

enum register_health register_health(const struct config_register *r)
{
    struct config_register probe = *r;

    if (r->phase == REGISTER_EMPTY) {
        return REGISTER_HEALTH_NONE;
    }
    if (majority_lost(r)) {
        return REGISTER_HEALTH_MAJORITY_LOST;
    }
    if (r->phase == REGISTER_ACTIVE && r->lost == 0 && r->settled && all_copied(r) &&
        count(cluster_voters(&r->current)) == r->replication_factor && !register_advance(&probe)) {
        return REGISTER_HEALTH_WHOLE;
    }
    return REGISTER_HEALTH_CHANGING;
}

bool register_can_spare(const struct config_register *r, uint32_t place, uint8_t sound)
{
    uint8_t voters = cluster_voters(&r->current);
    uint8_t rest = voters & (uint8_t) ~(1U << place);

    return register_health(r) == REGISTER_HEALTH_WHOLE && place < r->current.members_n &&
           rest != voters && count(rest) >= majority(voters) &&
           count(rest & sound) >= majority(rest);
}

void register_explain(const struct config_register *r, struct explain *ret)
{
    uint8_t voters = cluster_voters(&r->current);
    unsigned alive = count(voters & (uint8_t)~r->lost);

    switch (register_health(r)) {
    case REGISTER_HEALTH_NONE:
        explain(ret, "no cluster was founded");
        break;
    case REGISTER_HEALTH_WHOLE:
        explain(ret, "all %u voters hold everything", count(voters));
        break;
    case REGISTER_HEALTH_MAJORITY_LOST:
        explain(
            ret,
            "data at risk: majority lost: %u of %u voters of epoch %llu still have their memory, "
            "%u are needed; nothing is served. If the others cannot come back, 'avocado member "
            "accept-loss' %s",
            alive, count(voters), (unsigned long long)r->current.epoch, majority(voters),
            alive == 0 ? "starts empty" : "goes on with what is left, which may be stale");
        break;
    case REGISTER_HEALTH_CHANGING:
        explain(ret, "epoch %llu: %u of %u wanted voters vote, %u of %u members lost, %u copying%s",
                (unsigned long long)register_latest(r)->epoch, alive, r->replication_factor,
                count(r->lost), r->current.members_n,
                count((uint8_t)((1U << r->current.members_n) - 1) &
                      (uint8_t) ~(voters | r->copied | r->lost)),
                r->phase == REGISTER_PENDING ? "; the next configuration is being handed out" : "");
        break;
    }
}
