// SPDX-License-Identifier: Apache-2.0
#include "trusted/register/placement.h"

#include "common/check.h"

#include <stdbool.h>

/*
 * 1. Groups with too many nodes lose those that have the most groups.
 * 2. Groups with too few get the nodes that have the fewest.
 * 3. While one node has two groups more than another, one of its groups goes there.
 *
 * Step 3 ends: each move makes the sum of the squares of the loads smaller. It always finds a
 * group, because the fuller node has one that the emptier has not.
 */

struct loads {
    uint32_t of[CLUSTER_MAX];
};

static uint32_t bit(uint32_t node)
{
    return UINT32_C(1) << node;
}

static struct loads count(const struct placement *p)
{
    struct loads l = {{0}};

    for (uint32_t g = 0; g < p->groups_n; g++) {
        for (uint32_t i = 0; i < p->nodes_n; i++) {
            l.of[i] += p->at[g] >> i & 1;
        }
    }
    return l;
}

/* Of `set`, the node with the most groups (or the fewest); of equals the last (or the first). */
static uint32_t pick(const struct placement *p, const struct loads *l, uint32_t set, bool most)
{
    uint32_t best = CLUSTER_MAX;

    for (uint32_t i = 0; i < p->nodes_n; i++) {
        if ((set & bit(i)) != 0 &&
            (best == CLUSTER_MAX || (most ? l->of[i] >= l->of[best] : l->of[i] < l->of[best]))) {
            best = i;
        }
    }
    CHECK(best != CLUSTER_MAX);
    return best;
}

static void fit(struct placement *p, struct loads *l, uint32_t all, uint32_t factor)
{
    for (uint32_t g = 0; g < p->groups_n; g++) {
        while ((uint32_t)__builtin_popcount(p->at[g]) > factor) {
            uint32_t node = pick(p, l, p->at[g], true);

            p->at[g] &= ~bit(node);
            l->of[node]--;
        }
    }
    for (uint32_t g = 0; g < p->groups_n; g++) {
        while ((uint32_t)__builtin_popcount(p->at[g]) < factor) {
            uint32_t node = pick(p, l, all & ~p->at[g], false);

            p->at[g] |= bit(node);
            l->of[node]++;
        }
    }
}

/* Moves one group from a node to another that has not got it. */
static void move_one(struct placement *p, struct loads *l, uint32_t from, uint32_t to)
{
    for (uint32_t g = 0; g < p->groups_n; g++) {
        if ((p->at[g] & bit(from)) != 0 && (p->at[g] & bit(to)) == 0) {
            p->at[g] = (p->at[g] & ~bit(from)) | bit(to);
            l->of[from]--;
            l->of[to]++;
            return;
        }
    }
    CHECK(false); /* the fuller one has a group that the emptier has not */
}

void placement_plan(struct placement *p)
{
    uint32_t all = p->nodes_n == 32 ? UINT32_MAX : bit(p->nodes_n) - 1;
    struct loads l;

    CHECK(p->nodes_n >= 1 && p->nodes_n <= CLUSTER_MAX && p->factor >= 1);
    CHECK(p->groups_n >= 1 && p->groups_n <= GROUPS_MAX);
    for (uint32_t g = 0; g < p->groups_n; g++) {
        p->at[g] &= all;
    }
    l = count(p);
    fit(p, &l, all, p->factor < p->nodes_n ? p->factor : p->nodes_n);
    for (;;) {
        uint32_t from = pick(p, &l, all, true), to = pick(p, &l, all, false);

        if (l.of[from] - l.of[to] <= 1) {
            return;
        }
        move_one(p, &l, from, to);
    }
}
