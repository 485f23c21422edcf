// SPDX-License-Identifier: Apache-2.0
/* A process of a replica, from its start until all its memory is lost. */
#include "common/check.h"
#include "sim/plants.h"
#include "sim/replicas.h"

#include <stdlib.h>

static const uint64_t ms = UINT64_C(1000000);

uint8_t process_find(const struct replicas *c, uint32_t incarnation)
{
    for (uint8_t i = 0; i < processes_n; i++) {
        if (is_alive(c, i) && c->ends[i].incarnation == incarnation && !c->ends[i].is_clone) {
            return i;
        }
    }
    return NOBODY;
}

static uint8_t free_end(const struct replicas *c)
{
    for (uint8_t i = 0; i < processes_n; i++) {
        if (!is_alive(c, i)) {
            return i;
        }
    }
    return NOBODY;
}

static uint8_t place_of(const struct cluster *c, uint32_t incarnation)
{
    for (uint8_t i = 0; i < c->members_n; i++) {
        if (c->members[i].incarnation == incarnation) {
            return i;
        }
    }
    return NOBODY;
}

/* The configuration as a process sees it. */
static struct replica_members members_of(const struct run *r, uint64_t epoch, uint32_t incarnation)
{
    const struct cluster *c = registrar_config(r, epoch);
    struct replica_members m = {.epoch = epoch,
                                .self = place_of(c, incarnation),
                                .members_n = (uint8_t)c->members_n,
                                .groups_n = r->swarm.groups_n,
                                .voters = (uint8_t)c->groups[0].voters};

    m.copies = c->groups[0].settle || (m.voters >> m.self & 1) == 0;
    for (uint32_t i = 0; i < c->members_n; i++) {
        m.incarnations[i] = c->members[i].incarnation;
    }
    for (uint32_t g = 0; g < m.groups_n; g++) {
        m.groups[g] = (struct replica_group_members){c->groups[g].voters, c->groups[g].learners,
                                                     c->groups[g].settle};
    }
    return m;
}

static struct replica_config config_of(const struct run *r, const struct birth *b, uint32_t boot,
                                       const struct replica_members *m)
{
    const struct swarm *s = &r->swarm;
    struct replica_config config = {.aead = replicas_of(r)->aead,
                                    .incarnation = b->incarnation,
                                    .self = m->self,
                                    .members_n = m->members_n,
                                    .datagram_bytes = s->datagram_bytes,
                                    .value_max = VALUE_MAX_DEFAULT,
                                    .sessions_max = SLOT_SETS * SLOTS_PER_SET,
                                    .key_packets = s->key_packets,
                                    .hedge_ns = s->hedge_ns,
                                    .sync_ns = s->sync_ns,
                                    .collect_ns = s->collect_ns,
                                    .seed = r->seed + boot,
                                    .epoch = b->epoch,
                                    .voters = m->voters,
                                    .copies = b->copies || m->copies,
                                    .members = m->groups_n == 0 ? NULL : m,
                                    .shards_n = 1,
                                    .arena_bytes = s->arena_bytes};

    CHECK(config.self != NOBODY);
    memcpy(config.cluster_id, run_cluster_id, sizeof(config.cluster_id));
    memcpy(config.incarnations, m->incarnations, sizeof(config.incarnations));
    return config;
}

/* What the host runs now; the one before, if it is still there, is out of its sight. */
static void take_host(struct replicas *c, uint8_t host, uint8_t process)
{
    if (c->runs[host] != NOBODY) {
        c->ends[c->runs[host]].is_ghost = true;
    }
    c->runs[host] = process;
}

uint8_t process_start(struct run *r, const struct birth *b)
{
    struct replicas *c = replicas_of(r);
    uint8_t process = free_end(c);
    struct end *e = &c->ends[process != NOBODY ? process : 0];
    uint32_t boot = ++c->boots;
    struct replica_members members;
    struct replica_config config;

    if (process == NOBODY) {
        return NOBODY;
    }
    CHECK(b->incarnation < INCARNATIONS_MAX);
    members = members_of(r, b->epoch, b->incarnation);
    config = config_of(r, b, boot, &members);
    *e = (struct end){.host = b->host,
                      .self = config.self,
                      .is_clone = b->is_clone,
                      .is_ghost = b->is_clone,
                      .incarnation = b->incarnation,
                      .boot = boot,
                      .epoch = b->epoch};
    c->host_of[process] = b->host;
    replicas_open_heap(e, r->swarm.heap_bytes);
    tamper_arena_open(&e->arena, r->swarm.arena_bytes);
    config.heap = e->heap;
    config.arena = e->arena.now;
    config.store_master = sessions_secret(r, NOBODY, NOBODY, boot);
    CHECK(replica_init(&config, &e->replica) == OK);
    replica_plant(e->replica, r->plants);
    trace_event(&r->trace, r->world.now_ns, b->is_clone ? "clone" : "start", process, b->host,
                b->incarnation);
    if (!b->is_clone) {
        take_host(c, b->host, process);
        sessions_invite(r, process, 20 * ms);
    }
    world_push(&r->world, r->world.now_ns + prng_below(&r->faults, 20 * ms), EVENT_DIAL, process,
               boot, NULL);
    return process;
}

void process_end(struct run *r, uint8_t process, bool told)
{
    struct replicas *c = replicas_of(r);
    struct end *e = &c->ends[process];
    struct replica_report report;

    trace_event(&r->trace, r->world.now_ns, "end", process, e->host, e->incarnation);
    replica_report(e->replica, &report);
    trace_bytes(&r->trace,
                (struct bytes){.p = (const uint8_t *)&report.rpc, .n = sizeof(report.rpc)});
    trace_bytes(&r->trace,
                (struct bytes){.p = (const uint8_t *)&report.abd, .n = sizeof(report.abd)});
    replica_fini(e->replica);
    tamper_arena_close(&e->arena);
    replicas_close_heap(e);
    e->replica = NULL;
    if (c->runs[e->host] == process) {
        c->runs[e->host] = NOBODY;
    }
    sessions_drop(r, process, told);
}

/* MEM-10 */
static void stop(struct run *r, uint8_t process)
{
    trace_event(&r->trace, r->world.now_ns, "fenced", process, 0, 0);
    replicas_of(r)->fenced_n++;
    process_end(r, process, true);
}

void process_configure(struct run *r, uint8_t process, uint64_t epoch)
{
    struct replicas *c = replicas_of(r);
    struct end *e = &c->ends[process];
    const struct cluster *cluster = registrar_config(r, epoch);
    struct replica_members m;

    if (epoch <= e->epoch) {
        return;
    }
    if (place_of(cluster, e->incarnation) == NOBODY) {
        stop(r, process);
        return;
    }
    m = members_of(r, epoch, e->incarnation);
    trace_event(&r->trace, r->world.now_ns, "configure", process, epoch, m.voters);
    e->epoch = epoch;
    e->self = m.self;
    replica_reconfigure(e->replica, replicas_clock(r, process), &m);
    replicas_pump(r, process);
    for (uint32_t i = 0; i < cluster->members_n; i++) { /* they look for each other at once */
        uint8_t q = c->runs[registrar_host(cluster->members[i].node)];

        if (q != NOBODY && q != process) {
            world_push(&r->world, r->world.now_ns + 2 * ms + prng_below(&r->faults, 2 * ms),
                       EVENT_OPEN, process, q, NULL);
        }
    }
}

void process_reborn(struct run *r, struct event *e)
{
    struct replicas *c = replicas_of(r);
    const struct birth *b = e->p;

    c->reborn[e->a] = 0;
    if (c->runs[e->a] == NOBODY) {
        (void)process_start(r, b);
    }
}
