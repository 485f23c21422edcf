// SPDX-License-Identifier: Apache-2.0
#ifndef TOOLS_NODE_REPORT_H
#define TOOLS_NODE_REPORT_H

/* A node's status report: JSON of a newer or older node may have more or fewer fields than we know;
 * what is missing counts as zero. */

#include "client/avocado.h"

#include <jansson.h>
#include <stdbool.h>

struct node_report {
    bool is_up; /* the node answered */
    bool may_vote;
    bool is_protected;
    char state[24], tee[24];
    uint64_t copied_keys;
    uint64_t installed;            /* the epoch that all its shards work under */
    uint64_t groups_copied;        /* bits: from a majority of that epoch's voters (MEM-7) */
    uint64_t slots, slots_joining; /* that it votes on; that it copies */
    uint64_t slots_unserved;       /* of the cluster, as this node sees it: without a majority */
    uint64_t shedding;             /* keys of groups that it left, still to be forgotten */
    uint64_t node, incarnation, epoch, members, members_up, uptime_s;
    uint64_t keys, value_bytes, enclave_used, enclave_limit, host_used, host_limit, ops;
    uint64_t keys_lost;     /* that it held in pages which its host destroyed (STORE-18) */
    uint64_t divergences;   /* keys that were met with other values under equal tags */
    char diverged_from[64]; /* nodes, with commas between */
    json_t *json;           /* the whole report, or NULL */
    char why[256];          /* when it is not up */
};

/* Asks the node at `place`. node_report_free. */
void node_report_ask(struct avo_client *client, size_t place, int timeout_ms,
                     struct node_report *ret);
/* Reads a report's text; false if it is no JSON object. */
bool node_report_parse(const char *text, struct node_report *ret);
void node_report_free(struct node_report *r);

#endif
