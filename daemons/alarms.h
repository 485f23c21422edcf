// SPDX-License-Identifier: Apache-2.0
#ifndef DAEMONS_ALARMS_H
#define DAEMONS_ALARMS_H

/* What an operator must hear of without asking: lines in the log, at most one per shard and kind
 * with each look. */

#include "daemons/node.h"

struct alarms {
    uint64_t divergences[SHARDS_MAX], integrity[SHARDS_MAX], lost[SHARDS_MAX],
        faults[SHARDS_MAX]; /* told */
};

/* After the shards have reported. */
void alarms_look(struct alarms *a, const struct node *n);

/* The nodes of a set of members, with commas between. */
enum { ALARM_NODES_TEXT = 12 * CLUSTER_MAX };
void alarm_nodes(const struct cluster *c, uint64_t members, char to[ALARM_NODES_TEXT]);

#endif
