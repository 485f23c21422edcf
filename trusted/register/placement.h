// SPDX-License-Identifier: Apache-2.0
#ifndef TRUSTED_REGISTER_PLACEMENT_H
#define TRUSTED_REGISTER_PLACEMENT_H

/*
 * Which nodes hold which groups of slots. A function of what holds them now and of what is wanted:
 * every node gets as many groups as any other, or one more, and as few groups as possible change
 * hands. No I/O, no clock, no chance: the same arguments give the same answer.
 */

#include "common/limits.h"

#include <stdint.h>

struct placement {
    uint32_t nodes_n;        /* 1..CLUSTER_MAX */
    uint32_t factor;         /* nodes that each group wants; as many as there are if that is less */
    uint32_t groups_n;       /* 1..GROUPS_MAX */
    uint32_t at[GROUPS_MAX]; /* in: who holds the group (bit = node); out: who is to hold it */
};

void placement_plan(struct placement *p);

#endif
