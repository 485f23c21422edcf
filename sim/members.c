// SPDX-License-Identifier: Apache-2.0
/* What may happen to members: restarts, sleep, copies of processes, wishes of an operator. */
#include "common/check.h"
#include "sim/plants.h"
#include "sim/replicas.h"

#include <stdlib.h>

static const uint64_t ms = UINT64_C(1000000);

/* ---- who may be lost ---- */

/* Voters of a group whose memory is there, without one of them. */
static uint32_t voters_left(const struct replicas *c, const struct cluster *cluster, uint32_t group,
                            uint32_t without)
{
    uint32_t n = 0;

    for (uint32_t i = 0; i < cluster->members_n; i++) {
        const struct cluster_member *m = &cluster->members[i];
        uint8_t p = process_find(c, m->incarnation);

        n += (cluster->groups[group].voters >> i & 1) != 0 && m->incarnation != without &&
             p != NOBODY && !c->ends[p].given_up;
    }
    return n;
}

static bool keeps_majority(const struct replicas *c, const struct cluster *cluster,
                           uint32_t without)
{
    bool keeps = true;

    for (uint32_t g = 0; g < cluster->groups_n; g++) {
        uint32_t voters = (uint32_t)__builtin_popcount(cluster->groups[g].voters);

        keeps = keeps && voters_left(c, cluster, g, without) >= voters / 2 + 1;
    }
    return keeps;
}

bool members_may_lose(const struct run *r, uint32_t incarnation)
{
    const struct replicas *c = replicas_of(r);
    const struct config_register *k = &c->keeper.reg;

    return keeps_majority(c, &k->current, incarnation) &&
           (k->phase != REGISTER_PENDING || keeps_majority(c, &k->next, incarnation));
}

/* ---- restarts ---- */

static bool is_reborn(const struct run *r)
{
    return (r->plants & (SIM_PLANT_MEMORYLESS_VOTER | REPLICA_PLANT_SYNC_THEN_VOTE)) != 0;
}

void members_end(struct run *r, uint8_t process, bool told)
{
    struct replicas *c = replicas_of(r);
    uint8_t host = c->ends[process].host;
    struct birth *b = malloc(sizeof(*b));

    CHECK(b != NULL);
    *b = (struct birth){.host = host,
                        .incarnation = c->ends[process].incarnation,
                        .epoch = c->ends[process].epoch,
                        .copies = (r->plants & REPLICA_PLANT_SYNC_THEN_VOTE) != 0};
    process_end(r, process, told);
    if (is_reborn(r)) {
        c->reborn[host] = b->incarnation;
        world_push(&r->world, r->world.now_ns + prng_below(&r->faults, 20 * ms), EVENT_REBORN, host,
                   0, b);
    } else {
        free(b);
    }
}

/* A long run with many faults: what is left of the incarnations is for those who are needed. */
static bool is_worn(const struct replicas *c, uint8_t process)
{
    return c->ends[process].incarnation >= INCARNATIONS_MAX / 2;
}

void members_restart(struct run *r, uint8_t host)
{
    struct replicas *c = replicas_of(r);
    uint8_t process = c->runs[host];

    if (process == NOBODY || is_worn(c, process) ||
        !members_may_lose(r, c->ends[process].incarnation)) {
        return;
    }
    members_end(r, process, prng_chance(&r->faults, 1, 2));
    if (!is_reborn(r) && !r->healed && prng_chance(&r->faults, 1, 4)) {
        c->host_down_until_ns[host] = r->world.now_ns + prng_below(&r->faults, 1000 * ms);
    }
}

/* ---- sleepers and clones ---- */

static uint32_t ghosts(const struct replicas *c)
{
    uint32_t n = 0;

    for (uint8_t i = 0; i < processes_n; i++) {
        n += is_alive(c, i) && c->ends[i].is_ghost;
    }
    return n;
}

/* The keeper takes it for dead, although it will wake. */
void members_sleep(struct run *r, uint8_t host)
{
    struct replicas *c = replicas_of(r);
    uint8_t process = c->runs[host];
    struct end *e = &c->ends[process != NOBODY ? process : 0];

    if (process == NOBODY || is_worn(c, process) || ghosts(c) + 1 >= GHOSTS_MAX ||
        !members_may_lose(r, e->incarnation)) {
        return;
    }
    trace_event(&r->trace, r->world.now_ns, "sleep", process, host, 0);
    e->given_up = e->is_ghost = true;
    e->asleep_until_ns = r->world.now_ns + 50 * ms + prng_below(&r->faults, 2000 * ms);
    c->runs[host] = NOBODY;
    world_push(&r->world, e->asleep_until_ns, EVENT_WAKE, process, 0, NULL);
}

/* Whoever is in the network's power may come back to it. */
void members_wake(struct run *r, uint8_t process)
{
    struct replicas *c = replicas_of(r);
    struct end *e = &c->ends[process];

    if (!is_alive(c, process) || e->asleep_until_ns > r->world.now_ns) {
        return;
    }
    trace_event(&r->trace, r->world.now_ns, "wake", process, e->host, 0);
    if (!r->healed && prng_chance(&r->faults, 1, 2)) {
        sessions_invite(r, process, 20 * ms);
    }
}

/* A second process under the same name, with a memory and a boot id of its own. Of a single voter
 * there is nobody who could know better. */
void members_clone(struct run *r, uint8_t host)
{
    struct replicas *c = replicas_of(r);
    uint8_t process = c->runs[host], clone;
    const struct end *e = &c->ends[process != NOBODY ? process : 0];

    if (process == NOBODY || ghosts(c) + 1 >= GHOSTS_MAX || r->swarm.nodes_n < 3) {
        return;
    }
    clone = process_start(
        r, &(struct birth){
               .host = host, .incarnation = e->incarnation, .epoch = e->epoch, .is_clone = true});
    if (clone != NOBODY && !r->healed && prng_chance(&r->faults, 1, 2)) {
        sessions_invite(r, clone, 20 * ms);
    }
}

/* ---- wishes ---- */

/* With groups often the newest member: those that gave it groups get them back. */
static uint32_t any_wished(struct run *r, const struct config_register *k)
{
    const struct cluster_member *newest = &k->current.members[0];

    if (r->swarm.groups_n <= 1 || prng_chance(&r->faults, 1, 2)) {
        return k->wishes[prng_below(&r->faults, k->wishes_n)].node;
    }
    for (uint32_t i = 1; i < k->current.members_n; i++) {
        const struct cluster_member *m = &k->current.members[i];

        newest = m->incarnation > newest->incarnation ? m : newest;
    }
    return newest->node;
}

/* In the place of `node`, if it is not 0. */
static bool add_node(struct run *r, struct config_register *k, uint32_t node)
{
    uint8_t n = r->swarm.hosts_n, from = (uint8_t)prng_below(&r->faults, n);
    struct explain why;

    for (uint8_t i = 0; i < n; i++) {
        uint8_t host = (uint8_t)((from + i) % n);
        struct register_wish w = registrar_wish(host);

        if ((node == 0 ? register_wish_add(k, &w, &why)
                       : register_wish_replace(k, node, &w, &why)) == OK) {
            return true;
        }
    }
    return false;
}

static void remove_node(struct run *r, struct config_register *k)
{
    struct explain why;

    (void)(register_wish_remove(k, any_wished(r, k), &why) == OK);
}

static void replace_node(struct run *r, struct config_register *k)
{
    if (r->swarm.groups_n > 1 && prng_chance(&r->faults, 1, 2)) { /* it takes all groups over */
        (void)add_node(r, k, any_wished(r, k));
    } else if (add_node(r, k, 0)) {
        remove_node(r, k);
    }
}

static void change_factor(struct config_register *k)
{
    struct explain why;

    (void)(register_wish_factor(k, k->replication_factor == 3 ? 5 : 3, &why) == OK);
}

/* As is_worn(), and a fourth is left for those who then still wait for their process. */
static bool is_worn_out(const struct replicas *c)
{
    uint32_t newest = 0;

    for (uint8_t i = 0; i < processes_n; i++) {
        newest = c->ends[i].incarnation > newest ? c->ends[i].incarnation : newest;
    }
    return newest >= INCARNATIONS_MAX / 4 * 3;
}

void members_change(struct run *r)
{
    struct registrar *keeper = &replicas_of(r)->keeper;
    struct config_register *k = &keeper->reg;
    uint64_t what = prng_below(&r->faults, 4);

    if (keeper->is_away || is_worn_out(replicas_of(r))) {
        return;
    }
    if (what == 0) {
        (void)add_node(r, k, 0);
    } else if (what == 1) {
        remove_node(r, k);
    } else if (what == 2) {
        replace_node(r, k);
    } else if (r->swarm.nodes_n >= 3) { /* a single voter could be copied unseen */
        change_factor(k);
    }
    trace_event(&r->trace, r->world.now_ns, "wish", what, k->wishes_n, k->replication_factor);
    registrar_progress(r);
}

/* ---- after the network healed ---- */

void members_heal(struct run *r)
{
    struct replicas *c = replicas_of(r);

    c->keeper.back_at_ns = 0;
    memset(c->host_down_until_ns, 0, sizeof(c->host_down_until_ns));
    for (uint8_t i = 0; i < processes_n; i++) {
        if (is_alive(c, i) && c->ends[i].asleep_until_ns > r->world.now_ns) {
            c->ends[i].asleep_until_ns = r->world.now_ns;
            members_wake(r, i);
        }
    }
    for (uint8_t host = 0; host < c->hosts_n; host++) { /* clients come home */
        if (c->runs[host] != NOBODY) {
            sessions_invite(r, c->runs[host], 20 * ms);
        }
    }
}

const char *members_want(struct run *r)
{
    const struct replicas *c = replicas_of(r);
    const struct config_register *k = &c->keeper.reg;

    if (!r->swarm.dynamic) {
        return NULL;
    }
    if (c->keeper.is_away || register_health(k) != REGISTER_HEALTH_WHOLE) {
        return register_health(k) == REGISTER_HEALTH_MAJORITY_LOST ? "a majority is lost"
                                                                   : "not every wished node votes";
    }
    for (uint32_t i = 0; i < k->current.members_n; i++) {
        uint8_t p = process_find(c, k->current.members[i].incarnation);

        if (p == NOBODY || c->ends[p].given_up || c->ends[p].epoch != k->current.epoch) {
            return "a member lags behind its configuration";
        }
    }
    return NULL;
}

bool members_serve(struct run *r, uint8_t host, uint32_t group)
{
    const struct replicas *c = replicas_of(r);
    const struct cluster *latest = register_latest(&c->keeper.reg);
    struct replica_report report;
    int place;

    if (c->runs[host] == NOBODY) {
        return false;
    }
    place = keeping_place(latest, c->ends[c->runs[host]].incarnation);
    if (place < 0) {
        return false; /* a keeper that came back does not know who was about to leave */
    }
    replica_report(c->ends[c->runs[host]].replica, &report);
    return (latest->groups[group].voters >> place & report.groups_voting >> group & 1) != 0;
}
