// SPDX-License-Identifier: Apache-2.0
#ifndef TOOLS_STATUS_CONNECTIONS_H
#define TOOLS_STATUS_CONNECTIONS_H

/* avocado status --connections: a line for every data session that the nodes' reports show. */

#include "tools/node_report.h"

void status_connections_head(void);
void status_connections(const struct node_report *r);

/* The upper end, in microseconds, of the bucket in which this percentile of a report's `rtt` lies;
 * 0 without samples. */
uint64_t rtt_percentile_us(const json_t *buckets, unsigned percent);

#endif
