// SPDX-License-Identifier: Apache-2.0
/* Where the cluster stands, for a person. */
#include "common/slots.h"
#include "trusted/config/explain.h"
#include "trusted/register/register_internal.h"

#include <stdio.h>

/* Learners that are on their way to a vote, or, with one group, to standing by. */
static uint32_t joining(const struct config_register *r, const struct cluster *c, uint32_t group)
{
    const struct cluster_group *g = &c->groups[group];

    return g->learners &
           (c->groups_n == 1 ? ~register_carry(r->groups[group].copied, &r->current, c)
                             : register_target(r, c, group));
}

struct register_moves register_moves(const struct config_register *r)
{
    struct register_moves m = {0};

    for (uint32_t g = 0; g < r->current.groups_n; g++) {
        const struct cluster_group *c = &register_latest(r)->groups[g];

        m.groups +=
            (r->current.groups_n == 1 ? joining(r, register_latest(r), g) : c->learners) != 0 ||
            c->voters != register_target(r, register_latest(r), g) || !r->groups[g].settled;
        m.copying +=
            register_count(r->current.groups[g].learners & ~r->groups[g].copied & ~r->lost);
        m.lost += register_majority_lost(r, g);
    }
    return m;
}

enum register_health register_health(const struct config_register *r)
{
    struct config_register probe = *r;
    struct register_moves m;

    if (r->phase == REGISTER_EMPTY) {
        return REGISTER_HEALTH_NONE;
    }
    m = register_moves(r);
    if (m.lost > 0) {
        return REGISTER_HEALTH_MAJORITY_LOST;
    }
    return r->phase == REGISTER_ACTIVE && r->lost == 0 && m.groups == 0 && !register_advance(&probe)
               ? REGISTER_HEALTH_WHOLE
               : REGISTER_HEALTH_CHANGING;
}

bool register_can_spare(const struct config_register *r, uint32_t place, uint32_t sound)
{
    bool votes = false;

    if (register_health(r) != REGISTER_HEALTH_WHOLE || place >= r->current.members_n) {
        return false;
    }
    for (uint32_t g = 0; g < r->current.groups_n; g++) {
        uint32_t voters = r->current.groups[g].voters;
        uint32_t rest = voters & ~register_bit(place);

        if (rest == voters) {
            continue;
        }
        votes = true;
        if (register_count(rest) < register_majority(voters) ||
            register_count(rest & sound) < register_majority(rest)) {
            return false;
        }
    }
    return votes;
}

void register_slots(const struct config_register *r, uint32_t place, uint32_t *ret_voting,
                    uint32_t *ret_joining)
{
    const struct cluster *c = register_latest(r);

    *ret_voting = *ret_joining = 0;
    for (uint32_t g = 0; g < c->groups_n; g++) {
        uint32_t n = slot_first(g + 1, c->groups_n) - slot_first(g, c->groups_n);

        *ret_voting += (c->groups[g].voters >> place & 1) * n;
        *ret_joining += joining(r, c, g) >> place & 1 ? n : 0;
    }
}

/* The worst group of all: who of its voters is alive. */
static void explain_loss(const struct config_register *r, struct explain *ret)
{
    uint32_t least = REGISTER_NOWHERE, worst = 0, voters, alive;
    char where[64] = "";

    for (uint32_t g = 0; g < r->current.groups_n; g++) {
        alive = register_count(r->current.groups[g].voters & ~r->lost);
        if (register_majority_lost(r, g) && alive < least) {
            least = alive;
            worst = g;
        }
    }
    voters = r->current.groups[worst].voters;
    if (r->current.groups_n > 1) {
        (void)snprintf(where, sizeof(where), " in %u of %u groups of slots; in the worst",
                       register_moves(r).lost, r->current.groups_n);
    }
    explain(ret,
            "data at risk: majority lost%s: %u of %u voters of epoch %llu still have their memory, "
            "%u are needed; nothing%s is served. If the others cannot come back, 'avocado member "
            "accept-loss' %s",
            where, least, register_count(voters), (unsigned long long)r->current.epoch,
            register_majority(voters), r->current.groups_n > 1 ? " there" : "",
            least == 0 ? "starts empty" : "goes on with what is left, which may be stale");
}

void register_explain(const struct config_register *r, struct explain *ret)
{
    struct register_moves m = register_moves(r);

    switch (register_health(r)) {
    case REGISTER_HEALTH_NONE:
        explain(ret, "no cluster was founded");
        break;
    case REGISTER_HEALTH_WHOLE:
        explain(ret, "all %u nodes are here, and %u hold each key", r->current.members_n,
                register_count(r->current.groups[0].voters));
        break;
    case REGISTER_HEALTH_MAJORITY_LOST:
        explain_loss(r, ret);
        break;
    case REGISTER_HEALTH_CHANGING:
        explain(ret,
                "epoch %llu: %u of %u groups of slots are not yet where they are wanted, %u copies "
                "are under way, %u of %u members lost%s",
                (unsigned long long)register_latest(r)->epoch, m.groups, r->current.groups_n,
                m.copying, register_count(r->lost), r->current.members_n,
                r->phase == REGISTER_PENDING ? "; the next configuration is being handed out" : "");
        break;
    }
}
