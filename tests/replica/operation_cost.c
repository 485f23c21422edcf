// SPDX-License-Identifier: Apache-2.0
/*
 * What an operation costs apart from the kernel: the client's machine and three replicas,
 * production objects, in one thread, joined by a queue of datagrams, with time and randomness of
 * their own. Two runs do the same. scripts/instructions runs it under callgrind, which counts from
 * when operation_cost_measured() is entered.
 *
 *   operation_cost get|put|incr DEPTH OPERATIONS
 *
 * Keys of 16 bytes, values of 64, one coordinator: replica 0. Prints one line of JSON: messages,
 * datagrams and bytes that each end has sent.
 */
#include "client/core.h"
#include "tests/replica/cluster.h"

#include <stdio.h>

enum {
    KEYS = 512,
    KEY_LEN = 16,
    VALUE_LEN = 64,
    HEAP = 48 << 20,
    ARENA = 32 << 20,
    DEPTH_MAX = 1024,
    CLIENT_REGION = 64 << 20,
    COORDINATOR = 0,
    ENDS = CLUSTER_NODES + 1,
};

/* One hop, which is also how long a burst gathers. */
static const uint64_t STEP_NS = 10000;

struct sent {
    uint64_t messages, datagrams, bytes;
};

struct world {
    struct test_cluster c;
    struct core *core;
    enum client_op op;
    uint64_t depth, submitted, done, total;
};

static void submit(struct world *w)
{
    uint32_t n = (uint32_t)(w->submitted * 2654435761U % KEYS);
    uint8_t key[KEY_LEN] = {0};
    uint8_t value[VALUE_LEN];
    struct core_request q = {
        .op = w->op, .timeout_ms = 5000, .user = w->submitted, .key = {key, sizeof(key)}};

    memcpy(key, &n, sizeof(n));
    memset(value, 'a' + (int)(w->submitted % 26), sizeof(value));
    if (w->op == CLIENT_PUT) {
        q.value = (struct bytes){value, sizeof(value)};
    } else if (w->op == CLIENT_RMW) {
        key[KEY_LEN - 1] = 1; /* numbers beside the values */
        q.rmw = CLIENT_RMW_INCR;
        q.delta = 1;
    }
    CHECK(core_submit(w->core, w->c.now_ns, &q) == OK);
    w->submitted++;
}

static struct cluster_packet *room(struct world *w)
{
    CHECK(w->c.tail - w->c.head < CLUSTER_QUEUE);
    return &w->c.queue[w->c.tail % CLUSTER_QUEUE];
}

static void post(struct world *w, uint8_t from, struct abi_addr to, size_t len)
{
    struct cluster_packet *p = room(w);

    p->from = from;
    p->to = (uint8_t)(to.port - 1);
    p->len = (uint16_t)len;
    w->c.tail++;
}

/* The three below are what an end does in a turn: takes what has come, works, sends. They are
 * functions of their own so that callgrind tells the ends apart. */

static __attribute__((noinline)) void client_turn(struct world *w, uint64_t end)
{
    struct test_cluster *c = &w->c;
    struct core_completion done;
    struct abi_addr to;
    size_t len;

    for (uint64_t i = c->head; i < end; i++) {
        const struct cluster_packet *p = &c->queue[i % CLUSTER_QUEUE];

        if (p->to == CLUSTER_CLIENT) {
            core_receive(w->core, c->now_ns, (struct bytes){p->bytes, p->len},
                         cluster_addr(p->from));
        }
    }
    if (core_deadline(w->core) <= c->now_ns) {
        core_tick(w->core, c->now_ns);
    }
    while (core_take(w->core, &done)) {
        CHECK(done.status == OK);
        CHECK(w->op != CLIENT_GET || done.value.n == VALUE_LEN);
        w->done++;
    }
    core_release(w->core);
    while (w->submitted < w->total && w->submitted - w->done < w->depth) {
        submit(w);
    }
    while (core_transmit(w->core, c->now_ns, (struct mbytes){room(w)->bytes, DATAGRAM_MAX}, &to,
                         &len)) {
        post(w, CLUSTER_CLIENT, to, len);
    }
}

static inline void replica_turn(struct world *w, uint8_t self, uint64_t end)
{
    struct test_cluster *c = &w->c;
    struct replica *r = c->nodes[self].replica;
    struct abi_addr to;
    size_t len;

    for (uint64_t i = c->head; i < end; i++) {
        const struct cluster_packet *p = &c->queue[i % CLUSTER_QUEUE];

        if (p->to == self) {
            replica_receive(r, c->now_ns, (struct bytes){p->bytes, p->len}, cluster_addr(p->from));
        }
    }
    if (replica_deadline(r) <= c->now_ns) {
        replica_tick(r, c->now_ns);
    }
    while (
        replica_transmit(r, c->now_ns, (struct mbytes){room(w)->bytes, DATAGRAM_MAX}, &to, &len)) {
        post(w, self, to, len);
    }
}

static __attribute__((noinline)) void coordinator_turn(struct world *w, uint64_t end)
{
    replica_turn(w, COORDINATOR, end);
}

static __attribute__((noinline)) void member_turn(struct world *w, uint8_t self, uint64_t end)
{
    replica_turn(w, self, end);
}

static void run(struct world *w, enum client_op op, uint64_t depth, uint64_t total)
{
    w->op = op;
    w->depth = depth;
    w->submitted = w->done = 0;
    w->total = total;
    while (w->done < total) {
        uint64_t end = w->c.tail;

        client_turn(w, end);
        coordinator_turn(w, end);
        for (uint8_t i = 1; i < (uint8_t)CLUSTER_NODES; i++) {
            member_turn(w, i, end);
        }
        w->c.head = end;
        w->c.now_ns += STEP_NS;
    }
}

/* callgrind is told this name. */
void operation_cost_measured(struct world *w, enum client_op op, uint64_t depth, uint64_t total);
__attribute__((noinline)) void operation_cost_measured(struct world *w, enum client_op op,
                                                       uint64_t depth, uint64_t total)
{
    run(w, op, depth, total);
}

static void sent(const struct world *w, struct sent to[static ENDS])
{
    for (uint8_t i = 0; i < (uint8_t)ENDS; i++) {
        static struct replica_report report; /* large */
        const struct rpc_counters *k = core_rpc_counters(w->core);

        if (i != CLUSTER_CLIENT) {
            replica_report(w->c.nodes[i].replica, &report);
            k = &report.rpc;
        }
        to[i] = (struct sent){k->requests_out + k->responses_out, k->tx_packets, k->tx_bytes};
    }
}

static void open_client(struct world *w)
{
    struct test_cluster *c = &w->c;
    struct core_config k = {.nodes_n = CLUSTER_NODES,
                            .shards_n = 1,
                            .datagram_bytes = DATAGRAM_LOOPBACK,
                            .value_max = VALUE_MAX_DEFAULT,
                            .in_flight_max = DEPTH_MAX,
                            .looks = true,
                            .prefer = COORDINATOR + 1};

    c->client_memory = cluster_map(CLIENT_REGION);
    CHECK(heap_init(c->client_memory, CLIENT_REGION, &c->client_heap) == OK);
    c->client_aead = aead_open_impl(aead_best());
    k.heap = c->client_heap;
    k.aead = c->client_aead;
    CHECK(core_init(&k, &w->core) == OK);
    core_set_map(w->core, c->now_ns,
                 &(struct core_map){.groups_n = 1, .at = {(1U << CLUSTER_NODES) - 1}});
    for (uint8_t i = 0; i < (uint8_t)CLUSTER_NODES; i++) {
        struct rpc_session_params p =
            cluster_params(CLUSTER_CLIENT, i, RPC_SLOTS_CLIENT, REPLAY_BITS_CLIENT);
        struct rpc_session_params q =
            cluster_params(i, CLUSTER_CLIENT, RPC_SLOTS_CLIENT, REPLAY_BITS_CLIENT);
        const struct replica_peer guest = {REPLICA_PEER_CLIENT, 0, NULL};

        p.index = q.peer_index = core_index(i, 0, 1);
        q.addr = (struct abi_addr){0};
        CHECK(replica_session_open(c->nodes[i].replica, c->now_ns, &guest, &q) == OK);
        CHECK(core_session_up(w->core, c->now_ns, i, 0, &p) == OK);
    }
}

static void close_client(struct world *w)
{
    core_fini(w->core);
    aead_close_impl(w->c.client_aead);
    heap_fini(w->c.client_heap);
    (void)munmap(w->c.client_memory, CLIENT_REGION);
}

static void print_end(const char *name, const struct sent *before, const struct sent *after)
{
    (void)printf(", \"%s\": {\"messages\": %llu, \"datagrams\": %llu, \"bytes\": %llu}", name,
                 (unsigned long long)(after->messages - before->messages),
                 (unsigned long long)(after->datagrams - before->datagrams),
                 (unsigned long long)(after->bytes - before->bytes));
}

int main(int argc, char **argv)
{
    static const char *const OPS[] = {"get", "put", "incr"};
    static const enum client_op CODES[] = {CLIENT_GET, CLIENT_PUT, CLIENT_RMW};
    static const char *const ENDS_ARE[] = {"coordinator", "member 1", "member 2", "client"};
    static struct world w;
    struct sent before[ENDS];
    struct sent after[ENDS];
    unsigned op = 0;
    uint64_t depth = argc == 4 ? strtoull(argv[2], NULL, 10) : 0;
    uint64_t total = argc == 4 ? strtoull(argv[3], NULL, 10) : 0;

    while (argc == 4 && op < 3 && strcmp(argv[1], OPS[op]) != 0) {
        op++;
    }
    if (op == 3 || depth < 1 || depth > DEPTH_MAX || total < 1) {
        (void)fprintf(stderr, "usage: operation_cost get|put|incr DEPTH OPERATIONS\n");
        return 2;
    }
    cluster_open_replicas(&w.c, DATAGRAM_LOOPBACK, HEAP, ARENA);
    open_client(&w);
    run(&w, CLIENT_PUT, 64, KEYS);
    /* What is done only once: first touches, and that numbers come into being. */
    run(&w, CODES[op], depth, CODES[op] == CLIENT_RMW ? (uint64_t)KEYS : depth);
    sent(&w, before);
    operation_cost_measured(&w, CODES[op], depth, total);
    sent(&w, after);
    (void)printf("{\"op\": \"%s\", \"depth\": %llu, \"operations\": %llu, \"aead\": \"%s\"",
                 argv[1], (unsigned long long)depth, (unsigned long long)total,
                 aead_name(w.c.client_aead));
    for (unsigned i = 0; i < ENDS; i++) {
        print_end(ENDS_ARE[i], &before[i], &after[i]);
    }
    (void)printf("}\n");
    close_client(&w);
    cluster_close_replicas(&w.c);
    return 0;
}
