// SPDX-License-Identifier: Apache-2.0
/* What an operation costs without the kernel: three replicas and a client in one thread. Not a
 * test; run it under perf or callgrind.
 * Usage: bench_replica [get|put] [operations] [in flight] [keys] */
#include "tests/replica/cluster.h"

#include <stdio.h>
#include <time.h>

enum {
    KEYS = 10000,
    VALUE = 64,
};

struct load {
    struct test_cluster *c;
    uint64_t started, done, total, keys_n;
    bool is_put;
    uint8_t (*keys)[16];
    uint8_t value[VALUE];
};

static void submit(struct load *l, uint8_t node)
{
    struct client_request m = {.op = l->is_put ? CLIENT_PUT : CLIENT_GET, .timeout_ms = 5000};

    m.key = (struct bytes){l->keys[l->started * 2654435761U % l->keys_n], 16};
    if (l->is_put) {
        m.value = (struct bytes){l->value, VALUE};
    }
    CHECK(cluster_submit(l->c, node, &m, l->started) == OK);
    l->started++;
}

static void on_done(void *self, const struct rpc_event *e)
{
    struct load *l = self;
    struct client_response r;

    CHECK(e->kind == RPC_EVENT_RESPONSE);
    CHECK(client_response_decode(e->body, &r) == OK);
    CHECK(r.status == OK);
    l->done++;
    if (l->started < l->total) {
        submit(l, (uint8_t)e->user); /* whoever has answered has a slot free */
    }
}

static double seconds(void)
{
    struct timespec ts;

    (void)clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &ts);
    return (double)ts.tv_sec + (double)ts.tv_nsec * 1e-9;
}

static void run(struct load *l, bool is_put, uint64_t total, uint64_t in_flight)
{
    l->is_put = is_put;
    l->started = 0;
    l->done = 0;
    l->total = total;
    while (l->started < in_flight && l->started < total) {
        submit(l, (uint8_t)(l->started % CLUSTER_NODES));
    }
    while (l->done < total) {
        cluster_settle(l->c);
    }
}

int main(int argc, char **argv)
{
    static struct test_cluster c;
    static struct load l;
    bool is_put = argc > 1 && strcmp(argv[1], "put") == 0;
    uint64_t total = argc > 2 ? strtoull(argv[2], NULL, 10) : 1000000;
    uint64_t in_flight = argc > 3 ? strtoull(argv[3], NULL, 10) : 128;
    uint64_t datagrams;
    double t;

    cluster_open(&c, 8192, CLUSTER_HEAP, CLUSTER_ARENA);
    l.keys_n = argc > 4 ? strtoull(argv[4], NULL, 10) : KEYS;
    l.keys = calloc(l.keys_n, sizeof(l.keys[0]));
    CHECK(l.keys != NULL);
    l.c = &c;
    c.self = &l;
    c.on_done = on_done;
    for (uint32_t i = 0; i < l.keys_n; i++) {
        memcpy(l.keys[i], &i, sizeof(i));
    }
    run(&l, true, l.keys_n, 64);
    datagrams = c.datagrams;
    t = seconds();
    run(&l, is_put, total, in_flight);
    t = seconds() - t;
    printf("%s: %.0f ops/s, %.0f ns of CPU an operation on all four ends, %.2f datagrams an "
           "operation\n",
           is_put ? "put" : "get", (double)total / t, t * 1e9 / (double)total,
           (double)(c.datagrams - datagrams) / (double)total);
    cluster_close(&c);
    free(l.keys);
    return 0;
}
