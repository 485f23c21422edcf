// SPDX-License-Identifier: Apache-2.0
#include "trusted/register/register.h"

#include "common/check.h"
#include "common/slots.h"
#include "trusted/config/explain.h"
#include "trusted/register/placement.h"
#include "trusted/register/register_internal.h"

uint32_t register_place_of(const struct cluster *c, uint32_t incarnation)
{
    for (uint32_t i = 0; i < c->members_n; i++) {
        if (c->members[i].incarnation == incarnation) {
            return i;
        }
    }
    return REGISTER_NOWHERE;
}

uint32_t register_wish_of(const struct config_register *r, uint32_t node)
{
    for (uint32_t i = 0; i < r->wishes_n; i++) {
        if (r->wishes[i].node == node) {
            return i;
        }
    }
    return REGISTER_NOWHERE;
}

uint32_t register_carry(uint32_t set, const struct cluster *from, const struct cluster *to)
{
    uint32_t out = 0;

    for (uint32_t i = 0; i < from->members_n; i++) {
        uint32_t place = register_place_of(to, from->members[i].incarnation);

        if ((set & register_bit(i)) != 0 && place != REGISTER_NOWHERE) {
            out |= register_bit(place);
        }
    }
    return out;
}

uint32_t register_wanted(const struct config_register *r, const struct cluster *c)
{
    uint32_t out = 0;

    for (uint32_t i = 0; i < c->members_n; i++) {
        out |= register_wish_of(r, c->members[i].node) == REGISTER_NOWHERE ? 0 : register_bit(i);
    }
    return out;
}

/* With one group who votes may go on voting, and who has copied comes before who has not: a plan
 * would send a vote back to the node that lost it. */
static uint32_t target_of_one(const struct config_register *r, const struct cluster *c)
{
    const struct cluster_group *g = &c->groups[0];
    uint32_t copied = register_carry(r->groups[0].copied, &r->current, c);
    uint32_t lost = register_carry(r->lost, &r->current, c) | (c == &r->next ? r->lost_next : 0);
    const uint32_t ranks[] = {g->voters, g->learners & copied, g->learners, UINT32_MAX};
    uint32_t wanted = register_wanted(r, c) & ~lost, out = 0;

    for (size_t k = 0; k < sizeof(ranks) / sizeof(ranks[0]); k++) {
        uint32_t left = ranks[k] & wanted & ~out;

        for (; left != 0 && register_count(out) < r->replication_factor; left &= left - 1) {
            out |= left & (~left + 1);
        }
    }
    return out;
}

uint32_t register_target(const struct config_register *r, const struct cluster *c, uint32_t group)
{
    uint32_t out = 0;

    if (c->groups_n == 1) {
        return target_of_one(r, c);
    }
    for (uint32_t i = 0; i < c->members_n; i++) {
        uint32_t wish = register_wish_of(r, c->members[i].node);

        if (wish != REGISTER_NOWHERE && (r->groups[group].target & register_bit(wish)) != 0) {
            out |= register_bit(i);
        }
    }
    return out;
}

/* ---- founding ---- */

/* CHECKed: a cluster that restarted four billion members has other worries. */
uint32_t register_new_incarnation(struct config_register *r)
{
    CHECK(r->incarnation_next != 0 && r->incarnation_next < UINT32_MAX);
    return r->incarnation_next++; /* MEM-3 */
}

/* The targets, after something that is wanted has changed (MEM-17). */
static void plan(struct config_register *r)
{
    struct placement p = {
        .nodes_n = r->wishes_n, .factor = r->replication_factor, .groups_n = r->current.groups_n};

    for (uint32_t g = 0; g < p.groups_n; g++) {
        p.at[g] = r->groups[g].target;
    }
    placement_plan(&p);
    for (uint32_t g = 0; g < p.groups_n; g++) {
        r->groups[g].target = p.at[g];
    }
}

/* All members are new voters of a first or a next beginning. */
static void begin_whole(struct config_register *k, const struct cluster *first, uint64_t epoch)
{
    CHECK(first->members_n >= 1 && first->members_n <= CLUSTER_MAX);
    CHECK(first->replication_factor >= 1 && first->groups_n <= GROUPS_MAX);
    k->version++;
    k->phase = REGISTER_ACTIVE;
    k->current = *first;
    k->current.epoch = epoch;
    k->current.groups_n = first->groups_n == 0 ? 1 : first->groups_n;
    k->next = (struct cluster){0};
    k->sealed = k->lost = k->lost_next = 0;
    memset(k->groups, 0, sizeof(k->groups));
    memset(k->current.groups, 0, sizeof(k->current.groups));
    k->replication_factor = first->replication_factor;
    k->wishes_n = first->members_n;
    memset(k->wishes, 0, sizeof(k->wishes));
    for (uint32_t i = 0; i < first->members_n; i++) {
        struct cluster_member *m = &k->current.members[i];

        m->incarnation = register_new_incarnation(k);
        k->wishes[i].node = m->node;
        memcpy(k->wishes[i].address, m->address, sizeof(m->address));
        k->wishes[i].control_port = m->control_port;
        k->wishes[i].data_port = m->data_port;
    }
    plan(k);
    for (uint32_t g = 0; g < k->current.groups_n; g++) {
        k->current.groups[g].voters = k->groups[g].target; /* members and wishes are alike */
        k->groups[g].settled = true;
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
    if (r->phase == REGISTER_EMPTY || (cluster_voters(&r->current) & ~r->lost) != 0) {
        explain(why, "some voters still have their memory: the cluster goes on with them");
        return ERR_POLICY;
    }
    r->losses_accepted++;
    begin_whole(r, first, register_latest(r)->epoch + 1);
    return OK;
}

/* ---- what happened ---- */

bool register_majority_lost(const struct config_register *r, uint32_t group)
{
    uint32_t voters = r->current.groups[group].voters;

    return register_count(voters & ~r->lost) < register_majority(voters);
}

/* MEM-4: once a majority of the voters has left C(e), or is known not to run, nothing completes
 * there any more. A forced configuration waits for every survivor. */
static bool is_sealed(const struct config_register *r, uint32_t group)
{
    uint32_t voters = r->current.groups[group].voters;

    return r->groups[group].forced
               ? (voters & ~r->lost & ~r->sealed) == 0
               : register_count(voters & (r->sealed | r->lost)) >= register_majority(voters);
}

/* MEM-5. Votes that were taken from or given to an odd number leave an even one that has still to
 * copy; the way from even to odd restores what the way to even lost. */
static void activate_group(struct config_register *r, uint32_t group)
{
    struct register_group *g = &r->groups[group];
    uint32_t voters = r->current.groups[group].voters;
    uint32_t voters_next = r->next.groups[group].voters;
    bool same = register_carry(voters, &r->current, &r->next) == voters_next &&
                register_count(voters) == register_count(voters_next);

    g->settled = same ? g->settled : register_count(voters_next) % 2 == 1;
    g->copied = same ? register_carry(g->copied, &r->current, &r->next) &
                           (voters_next | r->next.groups[group].learners)
                     : 0;
    g->forced = false;
}

void register_activate_if_sealed(struct config_register *r)
{
    for (uint32_t g = 0; g < r->current.groups_n; g++) {
        if (!is_sealed(r, g)) {
            return;
        }
    }
    for (uint32_t g = 0; g < r->current.groups_n; g++) {
        activate_group(r, g);
    }
    r->lost = register_carry(r->lost, &r->current, &r->next) | r->lost_next;
    r->current = r->next;
    r->next = (struct cluster){0};
    r->sealed = r->lost_next = 0;
    r->phase = REGISTER_ACTIVE;
}

void register_on_lost(struct config_register *r, uint32_t incarnation)
{
    uint32_t here = register_place_of(&r->current, incarnation);
    uint32_t there = register_place_of(&r->next, incarnation);
    uint32_t lost = r->lost, lost_next = r->lost_next;

    if (here != REGISTER_NOWHERE) {
        r->lost |= register_bit(here);
    }
    if (there != REGISTER_NOWHERE) {
        r->lost_next |= register_bit(there);
    }
    if (r->lost == lost && r->lost_next == lost_next) {
        return;
    }
    for (uint32_t g = 0; g < r->current.groups_n; g++) {
        r->groups[g].copied &= ~r->lost;
    }
    r->version++;
    if (r->phase == REGISTER_PENDING) {
        register_activate_if_sealed(r);
    }
}

void register_on_installed(struct config_register *r, uint32_t incarnation, uint64_t epoch)
{
    uint32_t here = register_place_of(&r->current, incarnation);

    if (r->phase != REGISTER_PENDING || epoch != r->next.epoch || here == REGISTER_NOWHERE ||
        ((r->sealed | r->lost) & register_bit(here)) != 0) {
        return;
    }
    r->sealed |= register_bit(here);
    r->version++;
    register_activate_if_sealed(r);
}

void register_on_copied(struct config_register *r, uint32_t incarnation, uint64_t epoch,
                        uint64_t groups)
{
    uint32_t here = register_place_of(&r->current, incarnation);
    bool news = false;

    if (r->phase != REGISTER_ACTIVE || epoch != r->current.epoch || here == REGISTER_NOWHERE ||
        (r->lost & register_bit(here)) != 0) {
        return;
    }
    for (uint32_t i = 0; i < r->current.groups_n; i++) {
        const struct cluster_group *c = &r->current.groups[i];
        struct register_group *g = &r->groups[i];

        if ((groups >> i & 1) == 0 || (g->copied & register_bit(here)) != 0 ||
            ((c->voters | c->learners) & register_bit(here)) == 0) {
            continue;
        }
        g->copied |= register_bit(here);
        g->settled =
            g->settled || register_count(g->copied & c->voters) >= register_majority(c->voters);
        news = true;
    }
    r->version += news;
}

/* ---- what is wanted ---- */

static RESULT check_new(const struct config_register *r, uint32_t node, struct explain *why)
{
    if (r->phase == REGISTER_EMPTY || node == 0) {
        explain(why, "there is no cluster to add node %u to", node);
        return ERR_USAGE;
    }
    if (register_wish_of(r, node) != REGISTER_NOWHERE) {
        explain(why, "node %u is a member already", node);
        return ERR_USAGE;
    }
    for (uint32_t i = 0; i < r->current.members_n; i++) {
        if (r->current.members[i].node == node) {
            explain(why, "node %u is still on its way out; wait until it has left", node);
            return ERR_POLICY;
        }
    }
    if (r->wishes_n == CLUSTER_MAX) {
        explain(why, "a cluster has at most %d nodes", CLUSTER_MAX);
        return ERR_POLICY;
    }
    if (r->replication_factor == NODES_MAX) {
        explain(why,
                "with replication factor %d there is no place for another node beside the old "
                "ones; lower the factor first",
                NODES_MAX);
        return ERR_POLICY;
    }
    return OK;
}

static void insert_wish(struct config_register *r, const struct register_wish *w)
{
    uint32_t at = 0;

    while (at < r->wishes_n && r->wishes[at].node < w->node) {
        at++;
    }
    memmove(&r->wishes[at + 1], &r->wishes[at], (r->wishes_n - at) * sizeof(r->wishes[0]));
    r->wishes[at] = *w;
    r->wishes_n++;
    for (uint32_t g = 0; g < r->current.groups_n; g++) {
        r->groups[g].target = register_insert_bit(r->groups[g].target, at);
    }
}

static void remove_wish(struct config_register *r, uint32_t at)
{
    r->wishes_n--;
    memmove(&r->wishes[at], &r->wishes[at + 1], (r->wishes_n - at) * sizeof(r->wishes[0]));
    r->wishes[r->wishes_n] = (struct register_wish){0};
    for (uint32_t g = 0; g < r->current.groups_n; g++) {
        r->groups[g].target = register_remove_bit(r->groups[g].target, at);
    }
}

RESULT register_wish_add(struct config_register *r, const struct register_wish *w,
                         struct explain *why)
{
    TRY(check_new(r, w->node, why));
    insert_wish(r, w);
    plan(r);
    r->version++;
    return OK;
}

RESULT register_wish_remove(struct config_register *r, uint32_t node, struct explain *why)
{
    uint32_t at = register_wish_of(r, node);

    if (at == REGISTER_NOWHERE) {
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
    remove_wish(r, at);
    plan(r);
    r->version++;
    return OK;
}

RESULT register_wish_replace(struct config_register *r, uint32_t node,
                             const struct register_wish *by, struct explain *why)
{
    uint32_t from, to;

    if (register_wish_of(r, node) == REGISTER_NOWHERE) {
        explain(why, "node %u is no member", node);
        return ERR_USAGE;
    }
    TRY(check_new(r, by->node, why));
    insert_wish(r, by);
    from = register_wish_of(r, node);
    to = register_wish_of(r, by->node);
    CHECK(from < CLUSTER_MAX && to < CLUSTER_MAX);
    for (uint32_t g = 0; g < r->current.groups_n; g++) {
        if ((r->groups[g].target & register_bit(from)) != 0) {
            r->groups[g].target |= register_bit(to);
        }
    }
    remove_wish(r, from);
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
    plan(r);
    return OK;
}

/* ---- looking ---- */

const struct cluster *register_latest(const struct config_register *r)
{
    return r->phase == REGISTER_PENDING ? &r->next : &r->current;
}

bool register_is_lost(const struct config_register *r, uint32_t incarnation)
{
    uint32_t here = register_place_of(&r->current, incarnation);
    uint32_t there = register_place_of(&r->next, incarnation);

    return (here != REGISTER_NOWHERE && (r->lost & register_bit(here)) != 0) ||
           (there != REGISTER_NOWHERE && (r->lost_next & register_bit(there)) != 0);
}
