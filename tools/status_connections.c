// SPDX-License-Identifier: Apache-2.0
#include "tools/status_connections.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

static uint64_t number(const json_t *o, const char *name)
{
    json_int_t v = json_integer_value(json_object_get(o, name));

    return v < 0 ? 0 : (uint64_t)v;
}

uint64_t rtt_percentile_us(const json_t *buckets, unsigned percent)
{
    uint64_t total = 0, below = 0;
    const json_t *b;
    size_t i;

    json_array_foreach(buckets, i, b)
    {
        total += (uint64_t)json_integer_value(b);
    }
    json_array_foreach(buckets, i, b)
    {
        below += (uint64_t)json_integer_value(b);
        if (total > 0 && below * 100 >= total * percent && i < 63) {
            return UINT64_C(2) << i;
        }
    }
    return 0;
}

static void print_one(uint64_t node, uint64_t shard, const json_t *c)
{
    const char *address = json_string_value(json_object_get(c, "address"));
    const json_t *rtt = json_object_get(c, "rtt");
    char peer[32] = "client", p50[24] = "-", p99[24] = "-", srtt[24] = "-";

    if (json_object_get(c, "node") != NULL) {
        (void)snprintf(peer, sizeof(peer), "node %" PRIu64, number(c, "node"));
    }
    if (number(c, "srtt_us") != 0) {
        (void)snprintf(srtt, sizeof(srtt), "%" PRIu64, number(c, "srtt_us"));
        (void)snprintf(p50, sizeof(p50), "<%" PRIu64, rtt_percentile_us(rtt, 50));
        (void)snprintf(p99, sizeof(p99), "<%" PRIu64, rtt_percentile_us(rtt, 99));
    }
    (void)printf("%-5" PRIu64 "%-6" PRIu64 "%-9s%-22s%-6s%8s%8s%8s%9" PRIu64 "%12" PRIu64
                 "%12" PRIu64 "%8" PRIu64 "\n",
                 node, shard, peer, address == NULL ? "" : address,
                 json_is_true(json_object_get(c, "down")) ? "down" : "up", srtt, p50, p99,
                 number(c, "window") / 1024, number(c, "rx_packets"), number(c, "tx_packets"),
                 number(c, "retransmits"));
}

void status_connections_head(void)
{
    (void)printf("\n%-5s%-6s%-9s%-22s%-6s%8s%8s%8s%9s%12s%12s%8s\n", "NODE", "SHARD", "PEER",
                 "ADDRESS", "STATE", "RTT us", "P50", "P99", "WIN KiB", "RECEIVED", "SENT",
                 "RESENT");
}

void status_connections(const struct node_report *r)
{
    const json_t *shard, *connection;
    size_t i, k;

    json_array_foreach(json_object_get(r->json, "shards"), i, shard)
    {
        json_array_foreach(json_object_get(shard, "connections"), k, connection)
        {
            print_one(r->node, number(shard, "shard"), connection);
        }
    }
}
