// SPDX-License-Identifier: Apache-2.0
#ifndef TESTS_REPLICA_CLUSTER_H
#define TESTS_REPLICA_CLUSTER_H

/*
 * Three replicas and a client in one thread, joined by a queue of datagrams that loses nothing:
 * production objects, no kernel. For tests of the composition and for counting what an operation
 * costs apart from system calls.
 */

#include "common/check.h"
#include "trusted/replica/replica.h"
#include "trusted/wire/rpc_wire.h"

#include <stdlib.h>
#include <sys/mman.h>

/* A test that wants other than three nodes that hold everything defines these two. */
#ifndef CLUSTER_NODES_N
#define CLUSTER_NODES_N 3
#define CLUSTER_CONFIGURE(config, node) (void)0
#endif

enum {
    CLUSTER_NODES = CLUSTER_NODES_N,
    CLUSTER_CLIENT = CLUSTER_NODES,
    CLUSTER_QUEUE = 4096,
    CLUSTER_HEAP = 256 << 20,
    CLUSTER_ARENA = 512 << 20,
};

struct cluster_packet {
    uint8_t from, to;
    uint16_t len;
    uint8_t bytes[DATAGRAM_MAX];
};

struct cluster_node {
    void *memory;
    uint8_t *arena;
    size_t memory_bytes, arena_bytes;
    struct heap *heap;
    struct aead *aead;
    struct replica *replica;
    bool dead;
};

struct cluster_done {
    uint64_t cookie;
    enum err status;
    struct tag tag;
    size_t value_len;
    uint8_t value[1024];
};

struct test_cluster {
    uint64_t now_ns;
    struct cluster_node nodes[CLUSTER_NODES];
    void *client_memory;
    struct heap *client_heap;
    struct aead *client_aead;
    struct rpc *client;
    uint32_t client_session[CLUSTER_NODES];
    struct cluster_packet *queue;
    uint64_t head, tail; /* of the queue, growing */
    uint64_t datagrams, bytes;
    void (*on_done)(void *self, const struct rpc_event *e);
    void *self;
};

static inline struct abi_addr cluster_addr(uint8_t node)
{
    return (struct abi_addr){.family = 4, .port = (uint16_t)(1 + node)};
}

/* Zero-filled and lazy: large regions cost nothing until they are used. */
static inline void *cluster_map(size_t n)
{
    void *p = mmap(NULL, n, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

    CHECK(p != MAP_FAILED);
    return p;
}

static inline struct secret cluster_secret(uint8_t a, uint8_t b)
{
    struct secret s;

    memset(&s, 1 + a * 16 + b, sizeof(s));
    return s;
}

/* Generations start at 1, so that an index is never 0. */
static inline struct rpc_session_params cluster_params(uint8_t self, uint8_t peer, uint32_t slots,
                                                       uint32_t replay_bits)
{
    return (struct rpc_session_params){.index = 1U << RPC_INDEX_SLOT_BITS | peer,
                                       .peer_index = 1U << RPC_INDEX_SLOT_BITS | self,
                                       .send = cluster_secret(self, peer),
                                       .recv = cluster_secret(peer, self),
                                       .slots = slots,
                                       .replay_bits = replay_bits,
                                       .addr = cluster_addr(peer)};
}

static inline void cluster_open_node(struct test_cluster *c, uint8_t i, uint32_t datagram_bytes,
                                     uint64_t heap_bytes, uint64_t arena_bytes)
{
    struct cluster_node *n = &c->nodes[i];
    struct replica_config config = {.shard = 0,
                                    .incarnation = 100U + i,
                                    .self = i,
                                    .members_n = CLUSTER_NODES,
                                    .datagram_bytes = datagram_bytes,
                                    .value_max = VALUE_MAX_DEFAULT,
                                    .sessions_max = 64,
                                    .hedge_ns = 2000000,
                                    .seed = i,
                                    .arena_bytes = arena_bytes};

    n->memory_bytes = heap_bytes;
    n->arena_bytes = arena_bytes;
    n->memory = cluster_map(heap_bytes);
    n->arena = cluster_map(arena_bytes);
    n->aead = aead_open_impl(aead_best());
    CHECK(heap_init(n->memory, heap_bytes, &n->heap) == OK);
    config.heap = n->heap;
    config.aead = n->aead;
    config.arena = n->arena;
    memset(&config.store_master, 0x55 + i, sizeof(config.store_master));
    CLUSTER_CONFIGURE(&config, i);
    CHECK(replica_init(&config, &n->replica) == OK);
}

/* The replicas with sessions between them, and nobody else. */
static inline void cluster_open_replicas(struct test_cluster *c, uint32_t datagram_bytes,
                                         uint64_t heap_bytes, uint64_t arena_bytes)
{
    memset(c, 0, sizeof(*c));
    c->now_ns = 1;
    c->queue = cluster_map(CLUSTER_QUEUE * sizeof(*c->queue));
    for (uint8_t i = 0; i < (uint8_t)CLUSTER_NODES; i++) {
        cluster_open_node(c, i, datagram_bytes, heap_bytes, arena_bytes);
    }
    for (uint8_t i = 0; i < (uint8_t)CLUSTER_NODES; i++) {
        for (uint8_t j = 0; j < (uint8_t)CLUSTER_NODES; j++) {
            if (i != j) {
                const struct rpc_session_params p =
                    cluster_params(i, j, RPC_SLOTS_PEER, REPLAY_BITS_PEER);
                const struct replica_peer member = {REPLICA_PEER_MEMBER, j, NULL};

                CHECK(replica_session_open(c->nodes[i].replica, c->now_ns, &member, &p) == OK);
            }
        }
    }
}

/* The replica's end of the client's session, which is to say where it comes from. */
static inline void cluster_admit_client(struct test_cluster *c, uint8_t node)
{
    struct rpc_session_params p =
        cluster_params(node, CLUSTER_CLIENT, RPC_SLOTS_CLIENT, REPLAY_BITS_CLIENT);
    const struct replica_peer guest = {REPLICA_PEER_CLIENT, 0, NULL};

    p.addr = (struct abi_addr){0};
    CHECK(replica_session_open(c->nodes[node].replica, c->now_ns, &guest, &p) == OK);
}

static inline void cluster_open(struct test_cluster *c, uint32_t datagram_bytes,
                                uint64_t heap_bytes, uint64_t arena_bytes)
{
    struct rpc_config client;

    cluster_open_replicas(c, datagram_bytes, heap_bytes, arena_bytes);
    c->client_memory = cluster_map(64 << 20);
    c->client_aead = aead_open_impl(aead_best());
    CHECK(heap_init(c->client_memory, 64 << 20, &c->client_heap) == OK);
    client = (struct rpc_config){.heap = c->client_heap,
                                 .aead = c->client_aead,
                                 .sessions_max = 16,
                                 .datagram_bytes = datagram_bytes,
                                 .message_max = MESSAGE_MAX};
    CHECK(rpc_init(&client, &c->client) == OK);
    for (uint8_t i = 0; i < (uint8_t)CLUSTER_NODES; i++) {
        struct rpc_session_params p =
            cluster_params(CLUSTER_CLIENT, i, RPC_SLOTS_CLIENT, REPLAY_BITS_CLIENT);

        cluster_admit_client(c, i);
        p.user = i;
        CHECK(rpc_session_open(c->client, c->now_ns, &p) == OK);
        c->client_session[i] = p.index;
    }
}

/* Another session of the client with node 0, under keys of its own and with these rules. */
static inline void cluster_renew_client(struct test_cluster *c, const struct access *access)
{
    const struct replica_peer guest = {REPLICA_PEER_CLIENT, 0, access};
    uint32_t next = (c->client_session[0] >> RPC_INDEX_SLOT_BITS) + 1;
    struct rpc_session_params p =
        cluster_params(0, CLUSTER_CLIENT, RPC_SLOTS_CLIENT, REPLAY_BITS_CLIENT);

    replica_session_close(c->nodes[0].replica, c->now_ns,
                          (next - 1) << RPC_INDEX_SLOT_BITS | CLUSTER_CLIENT);
    rpc_session_close(c->client, c->client_session[0], false);
    p.index = next << RPC_INDEX_SLOT_BITS | CLUSTER_CLIENT;
    p.peer_index = next << RPC_INDEX_SLOT_BITS | 0;
    p.addr = (struct abi_addr){0};
    memset(&p.send, (int)(0x80 + next), sizeof(p.send));
    memset(&p.recv, (int)(0x90 + next), sizeof(p.recv));
    CHECK(replica_session_open(c->nodes[0].replica, c->now_ns, &guest, &p) == OK);
    p = cluster_params(CLUSTER_CLIENT, 0, RPC_SLOTS_CLIENT, REPLAY_BITS_CLIENT);
    p.index = c->client_session[0] = next << RPC_INDEX_SLOT_BITS | 0;
    p.peer_index = next << RPC_INDEX_SLOT_BITS | CLUSTER_CLIENT;
    memset(&p.send, (int)(0x90 + next), sizeof(p.send));
    memset(&p.recv, (int)(0x80 + next), sizeof(p.recv));
    CHECK(rpc_session_open(c->client, c->now_ns, &p) == OK);
}

static inline void cluster_close_replicas(struct test_cluster *c)
{
    for (uint8_t i = 0; i < (uint8_t)CLUSTER_NODES; i++) {
        struct cluster_node *n = &c->nodes[i];

        replica_fini(n->replica);
        aead_close_impl(n->aead);
        heap_fini(n->heap);
        (void)munmap(n->memory, n->memory_bytes);
        (void)munmap(n->arena, n->arena_bytes);
    }
    (void)munmap(c->queue, CLUSTER_QUEUE * sizeof(*c->queue));
}

static inline void cluster_close(struct test_cluster *c)
{
    cluster_close_replicas(c);
    rpc_fini(c->client);
    aead_close_impl(c->client_aead);
    heap_fini(c->client_heap);
    (void)munmap(c->client_memory, 64 << 20);
}

/* Moves what one end wants to send into the queue. */
static inline void cluster_collect(struct test_cluster *c, uint8_t from)
{
    for (;;) {
        struct cluster_packet *p = &c->queue[c->tail % CLUSTER_QUEUE];
        struct mbytes to = {p->bytes, sizeof(p->bytes)};
        struct abi_addr addr;
        size_t len;
        bool some = from == CLUSTER_CLIENT
                        ? rpc_transmit(c->client, c->now_ns, to, &addr, &len)
                        : replica_transmit(c->nodes[from].replica, c->now_ns, to, &addr, &len);

        if (!some) {
            return;
        }
        p->from = from;
        p->to = (uint8_t)(addr.port - 1);
        p->len = (uint16_t)len;
        c->datagrams++;
        c->bytes += len;
        c->tail++;
        CHECK(c->tail - c->head < CLUSTER_QUEUE);
    }
}

static inline void cluster_deliver(struct test_cluster *c, const struct cluster_packet *p)
{
    struct bytes b = {p->bytes, p->len};

    if (p->to == CLUSTER_CLIENT) {
        struct rpc_event e;

        if (rpc_receive(c->client, c->now_ns, b, cluster_addr(p->from)) == OK) {
            while (rpc_next(c->client, &e)) {
                c->on_done(c->self, &e);
            }
        }
    } else if (!c->nodes[p->to].dead) {
        replica_receive(c->nodes[p->to].replica, c->now_ns, b, cluster_addr(p->from));
    }
}

/* Delivers everything that is on its way, a burst per end as the real loop does, until quiet. */
static inline void cluster_settle(struct test_cluster *c)
{
    for (;;) {
        uint64_t burst_end;

        for (uint8_t i = 0; i <= (uint8_t)CLUSTER_CLIENT; i++) {
            if (i == CLUSTER_CLIENT || !c->nodes[i].dead) {
                cluster_collect(c, i);
            }
        }
        burst_end = c->tail;
        if (c->head == burst_end) {
            return;
        }
        while (c->head < burst_end) {
            cluster_deliver(c, &c->queue[c->head % CLUSTER_QUEUE]);
            c->head++;
        }
        c->now_ns += 1000;
    }
}

/* Lets virtual time pass in steps of a millisecond, with timers. */
static inline void cluster_pass(struct test_cluster *c, uint64_t ns)
{
    uint64_t end = c->now_ns + ns;

    while (c->now_ns < end) {
        c->now_ns += 1000000;
        for (uint8_t i = 0; i < (uint8_t)CLUSTER_NODES; i++) {
            if (!c->nodes[i].dead && replica_deadline(c->nodes[i].replica) <= c->now_ns) {
                replica_tick(c->nodes[i].replica, c->now_ns);
            }
        }
        if (rpc_deadline(c->client) <= c->now_ns) {
            struct rpc_event e;

            rpc_tick(c->client, c->now_ns);
            while (rpc_next(c->client, &e)) {
                c->on_done(c->self, &e);
            }
        }
        cluster_settle(c);
    }
}

/* Key and value must stay until the operation has ended. */
static inline RESULT cluster_submit(struct test_cluster *c, uint8_t node,
                                    const struct client_request *m, uint64_t cookie)
{
    struct rpc_question q = {.cookie = cookie, .key = m->key, .value = m->value};
    struct rpc_call call;

    q.head_len = (uint8_t)client_request_encode_head(m, q.head);
    return rpc_call(c->client, c->now_ns, c->client_session[node], &q, &call);
}

/* The same, and runs it to its end; virtual time passes if it has to. `answers` is what on_done
 * counts. */
static inline void cluster_ask(struct test_cluster *c, uint8_t node, const struct client_request *m,
                               const uint64_t *answers)
{
    uint64_t before = *answers;

    CHECK(cluster_submit(c, node, m, before) == OK);
    cluster_settle(c);
    for (int i = 0; i < 10 && *answers == before; i++) {
        cluster_pass(c, 1000000000);
    }
    CHECK(*answers == before + 1);
}

/* The bytes of a literal. */
static inline struct bytes text(const char *s)
{
    return (struct bytes){(const uint8_t *)s, strlen(s)};
}

#endif
