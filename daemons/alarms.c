// SPDX-License-Identifier: Apache-2.0
#include "daemons/alarms.h"

#include <inttypes.h>
#include <stdio.h>

void alarm_nodes(const struct cluster *c, uint64_t members, char to[ALARM_NODES_TEXT])
{
    size_t n = 0;

    to[0] = 0;
    for (uint32_t i = 0; i < c->members_n; i++) {
        if ((members >> i & 1) != 0) {
            n += (size_t)snprintf(to + n, ALARM_NODES_TEXT - n, "%s%u", n == 0 ? "" : ",",
                                  c->members[i].node);
        }
    }
}

/* How much a counter has grown since it was told. */
static uint64_t news(uint64_t *told, uint64_t now)
{
    uint64_t n = now - *told;

    *told = now;
    return n;
}

void alarms_look(struct alarms *a, const struct node *n)
{
    for (uint32_t i = 0; i < n->shards_n; i++) {
        const struct replica_report *r = &n->shards[i].report;
        uint64_t diverged = news(&a->divergences[i], r->abd.divergences);
        uint64_t damaged = news(&a->integrity[i], r->store.integrity_failures);
        uint64_t lost = news(&a->lost[i], r->store.pages_lost);
        uint64_t faults = news(&a->faults[i], arena_faults(&n->shards[i].arena));
        char nodes[ALARM_NODES_TEXT];

        if (diverged != 0) {
            alarm_nodes(&n->cluster, r->abd.diverged_from, nodes);
            node_log("error",
                     "DIVERGENCE: shard %u met %" PRIu64 " keys that have other values under equal "
                     "tags at node %s; nobody can tell which is right: replace the node that "
                     "differs from the others",
                     i, diverged, nodes);
        }
        if (damaged != 0) {
            node_log("error",
                     "INTEGRITY: shard %u met %" PRIu64 " values that this host has changed; they "
                     "are refused, and fetched from other nodes",
                     i, damaged);
        }
        if (faults != 0) {
            node_log("error",
                     "HOST MEMORY: shard %u: %" PRIu64
                     " pages of host memory could not be had; new values are refused for a while: "
                     "make room in the file system of --arena-dir, or lower `host_memory`",
                     i, faults);
        }
        if (lost != 0) { /* STORE-18 */
            node_log(
                "error",
                "INTEGRITY: shard %u: this host has changed %" PRIu64
                " pages of the index; %" PRIu64
                " keys are lost here by now; the other members serve them until this one is made "
                "anew: by the supervisor of 'avocado up', or 'avocado member replace'",
                i, lost, r->store.keys_lost);
        }
    }
}
