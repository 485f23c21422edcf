// SPDX-License-Identifier: Apache-2.0
#include "daemons/node.h"

#include "host/net/index_gate.h"
#include "host/run/clock.h"
#include "trusted/crypto/entropy.h"
#include "trusted/port/port.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

enum {
    POST_RETRY_US = 50,
    STACK_BYTES = 1 << 20, /* of a shard's thread; the pure rooms use a few KiB of it */
};

/* A quorum read waits this long for the peer it asked before it asks another. Well above a busy
 * neighbour's turn on the processor: hedging under load adds load. A peer that died is known
 * sooner, by its closed stream. */
static const uint64_t HEDGE_NS = 5000000;
static const uint64_t SECOND_NS = UINT64_C(1000000000);

void node_post(struct node *n, uint32_t shard, const struct shard_command *c)
{
    struct node_shard *s = &n->shards[shard];

    while (!shard_post(s->shard, c)) {
        shard_loop_wake(&s->loop);
        (void)usleep(POST_RETRY_US);
    }
    shard_loop_wake(&s->loop);
}

void node_post_all(struct node *n, const struct shard_command *c)
{
    for (uint32_t i = 0; i < n->shards_n; i++) {
        node_post(n, i, c);
    }
}

uint64_t node_pending(const struct node *n)
{
    uint64_t pending = 0;

    for (uint32_t i = 0; i < n->shards_n; i++) {
        pending += n->shards[i].report.pending;
    }
    return pending;
}

static void poll_shard(void *shard, struct abi_poll *io)
{
    shard_poll(shard, io);
}

static RESULT open_memory(struct node_shard *s, const struct node_options *o, struct explain *why)
{
    const struct cluster *c = o->cluster;

    s->memory_bytes = (size_t)(c->enclave_memory / c->shards) & ~(size_t)4095;
    s->memory = port_memory_map(s->memory_bytes);
    s->stack = port_stack_map(STACK_BYTES);
    if (s->memory == NULL || s->stack == NULL) {
        (void)snprintf(why->text, sizeof(why->text),
                       "cannot map %zu bytes of enclave memory: %s; lower `enclave_memory`%s%s",
                       s->memory_bytes, strerror(errno), port_memory_why() == NULL ? "" : "; ",
                       port_memory_why() == NULL ? "" : port_memory_why());
        return ERR_ENCLAVE_MEMORY;
    }
    return OK;
}

static RESULT open_arena(struct node *n, uint32_t i, struct explain *why)
{
    const struct node_options *o = &n->options;
    uint64_t bytes = (o->cluster->host_memory / o->cluster->shards) & ~(uint64_t)4095;

    if (arena_map(o->arena_dir, i, bytes, &n->shards[i].arena) != OK) {
        (void)snprintf(why->text, sizeof(why->text),
                       "cannot map %llu bytes of host memory%s%s: %s; lower `host_memory`%s",
                       (unsigned long long)bytes, o->arena_dir == NULL ? "" : " in ",
                       o->arena_dir == NULL ? "" : o->arena_dir, strerror(errno),
                       o->arena_dir == NULL ? "" : " or choose another folder");
        return ERR_HOST_MEMORY;
    }
    return OK;
}

static RESULT open_io(struct node *n, uint32_t i, struct explain *why)
{
    const struct cluster_member *m = &n->cluster.members[n->self];
    uint16_t port = (uint16_t)(m->data_port + i);
    struct node_shard *s = &n->shards[i];

    s->regions = s->arena.regions;
    if (n->rings != NULL) {
        return pktio_ring_open(n->rings, i, &s->regions, &s->io);
    }
    if (n->dpdk != NULL) {
        char what[DPDK_WHY];
        enum err err = pktio_dpdk_open(n->dpdk, i, &s->regions, &s->io, what);

        if (err != OK) {
            (void)snprintf(why->text, sizeof(why->text), "%s", what);
        }
        return err;
    }
    if (pktio_udp_open(m->address, port, &s->regions, &s->io) != OK) {
        (void)snprintf(why->text, sizeof(why->text),
                       "cannot open UDP port %s:%u: %s; free the port or configure another",
                       m->address, port, strerror(errno));
        return ERR_IO;
    }
    if (index_gate_attach(s->io->ops->fd(s->io), n->index_key) != OK) {
        node_log("warning",
                 "the kernel takes no filter for UDP port %u: forged datagrams will "
                 "cost more",
                 port);
    }
    return OK;
}

static RESULT open_rings(struct node *n, struct explain *why)
{
    char what[HANDOVER_WHY];
    enum err err;

    if (n->options.ring_fd < 0) {
        return OK;
    }
    err = handover_take(n->options.ring_fd, n->cluster.shards, &n->handover, what);
    if (err != OK) {
        (void)snprintf(why->text, sizeof(why->text), "no rings from avocado-hostd: %s", what);
        return err;
    }
    n->rings = &n->handover;
    n->index_key = ((const volatile struct ring_page *)(const void *)n->handover.memory)->index_key;
    return OK;
}

static RESULT open_dpdk(struct node *n, struct explain *why)
{
    const struct cluster *c = &n->cluster;
    const struct dpdk_node node = {.address = c->members[n->self].address,
                                   .port = c->members[n->self].data_port,
                                   .shards = c->shards,
                                   .datagram_bytes = c->datagram_bytes};
    char what[DPDK_WHY];
    enum err err = OK;

    if (n->options.dpdk != NULL) {
        err = dpdk_open(n->options.dpdk, &node, &n->dpdk, what);
    }
    if (err != OK) {
        (void)snprintf(why->text, sizeof(why->text), "--io dpdk: %s", what);
    }
    return err;
}

/* The configuration in force, as a shard needs it. */
static struct replica_members members_of(const struct node *n)
{
    const struct cluster *c = &n->cluster;
    struct replica_members m = {.epoch = c->epoch,
                                .self = n->self,
                                .members_n = (uint8_t)c->members_n,
                                .groups_n = c->groups_n};

    for (uint32_t i = 0; i < c->members_n; i++) {
        m.incarnations[i] = c->members[i].incarnation;
    }
    for (uint32_t i = 0; i < c->groups_n; i++) {
        m.groups[i] = (struct replica_group_members){c->groups[i].voters, c->groups[i].learners,
                                                     c->groups[i].settle};
    }
    return m;
}

void node_reconfigure(struct node *n)
{
    const struct replica_members m = members_of(n);
    const struct shard_command c = {.kind = SHARD_RECONFIGURE, .members = &m};

    node_post_all(n, &c);
}

static RESULT open_shard(struct node *n, uint32_t i, struct explain *why)
{
    const struct cluster *c = &n->cluster;
    const struct replica_members members = members_of(n);
    struct node_shard *s = &n->shards[i];
    struct shard_config config = {
        .shard = i,
        .incarnation = c->members[n->self].incarnation,
        .members = &members,
        .shards_n = c->shards,
        .datagram_bytes = c->datagram_bytes,
        .value_max = c->value_max,
        .sessions_max = RPC_SESSIONS_MAX,
        .hedge_ns = HEDGE_NS,
        .sync_ns = n->options.sync_pages == 0 ? 0 : SECOND_NS / n->options.sync_pages,
        .collect_ns = n->options.collect_rounds == 0 ? 0 : SECOND_NS / n->options.collect_rounds};
    bool has_place = n->options.cpus != NULL && n->options.cpus->n > 0;
    enum err err;

    memcpy(config.cluster_id, c->id, sizeof(config.cluster_id));
    TRY(open_memory(s, &n->options, why));
    TRY(open_arena(n, i, why));
    TRY(open_io(n, i, why));
    config.memory = s->memory;
    config.memory_bytes = s->memory_bytes;
    config.regions = s->regions;
    err = shard_open(&config, &s->shard);
    if (err != OK) {
        (void)snprintf(why->text, sizeof(why->text),
                       "cannot start shard %u: %s; it has %zu bytes of enclave memory: raise "
                       "`enclave_memory`, or "
                       "lower `host_memory` or `shards`",
                       i, err_text(err), s->memory_bytes);
        return err;
    }
    s->loop = (struct shard_loop){
        .shard = s->shard,
        .poll = poll_shard,
        .io = s->io,
        .arena = &s->arena,
        .polling = n->options.polling,
        .place = has_place ? n->options.place : SHARD_LOOP_ANYWHERE,
        .cpu =
            has_place ? cpus_of_shard(n->options.cpus, c->members[n->self].node, c->shards, i) : 0,
        .notify_fd = n->notify_fd,
        .stack = s->stack,
        .stack_bytes = STACK_BYTES};
    if (shard_loop_start(&s->loop) != OK) {
        (void)snprintf(why->text, sizeof(why->text), "cannot start the thread of shard %u: %s", i,
                       strerror(errno));
        return ERR_IO;
    }
    s->running = true;
    return OK;
}

static void close_shard(struct node_shard *s)
{
    if (s->running) {
        shard_loop_stop(&s->loop);
    }
    shard_close(s->shard);
    if (s->io != NULL) {
        s->io->ops->close(s->io);
    }
    if (s->arena.regions.arena != NULL) {
        arena_unmap(&s->arena);
    }
    if (s->memory != NULL) {
        port_memory_unmap(s->memory, s->memory_bytes);
    }
    if (s->stack != NULL) {
        port_stack_unmap(s->stack, STACK_BYTES);
    }
}

RESULT node_start(const struct node_options *o, struct node **ret, struct explain *why)
{
    struct node *n = calloc(1, sizeof(*n));
    enum err err = OK;

    if (n == NULL) {
        (void)snprintf(why->text, sizeof(why->text), "out of memory");
        return ERR_ENCLAVE_MEMORY;
    }
    n->options = *o;
    n->cluster = *o->cluster;
    n->self = o->self;
    n->started_ns = clock_now_ns();
    n->notify_fd = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
    if (arena_survive_faults() != OK) {
        (void)snprintf(why->text, sizeof(why->text), "cannot handle SIGBUS: %s", strerror(errno));
        err = ERR_IO;
    }
    err = err == OK ? open_rings(n, why) : err;
    if (err == OK) {
        err = open_dpdk(n, why);
    }
    if (n->rings == NULL && n->dpdk == NULL) {
        entropy_fill(&n->index_key, sizeof(n->index_key));
        n->index_key |= 1;
    }
    for (uint32_t i = 0; i < o->cluster->shards && err == OK; i++) {
        n->shards_n++;
        err = open_shard(n, i, why);
    }
    if (err != OK) {
        node_stop(n);
        return err;
    }
    *ret = n;
    return OK;
}

void node_stop(struct node *n)
{
    if (n == NULL) {
        return;
    }
    for (uint32_t i = 0; i < n->shards_n; i++) {
        close_shard(&n->shards[i]);
    }
    dpdk_close(n->dpdk);
    if (n->rings != NULL) {
        handover_close(n->rings);
    }
    if (n->notify_fd >= 0) {
        (void)close(n->notify_fd);
    }
    free(n);
}
