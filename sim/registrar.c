// SPDX-License-Identifier: Apache-2.0
#include "sim/registrar.h"

#include "common/check.h"
#include "sim/replicas.h"

#include <inttypes.h>
#include <stdlib.h>

static const uint64_t ms = UINT64_C(1000000);
static const uint64_t TURN_NS = UINT64_C(20000000), QUIET_NS = UINT64_C(150000000);
static const uint64_t LEAVE_NS =
    UINT64_C(5000000000); /* who has left stops by itself, or is ended */
static const uint64_t PAUSE_NS = UINT64_C(250000000); /* after a member that could not start */

enum { STEPS_MAX = 4 * NODES_MAX };

static struct registrar *keeper_of(const struct run *r)
{
    return &replicas_of(r)->keeper;
}

const struct cluster *registrar_config(const struct run *r, uint64_t epoch)
{
    const struct registrar *k = keeper_of(r);

    CHECK(epoch > 0 && epoch < k->epochs_n && k->configs[epoch].epoch == epoch);
    return &k->configs[epoch];
}

/* ---- what is stored, and what is handed out ---- */

static void store(struct registrar *k)
{
    CHECK(register_encode(&k->reg, (struct mbytes){k->stored, sizeof(k->stored)}, &k->stored_n) ==
          OK);
    k->stored_version = k->reg.version;
}

static bool same_members(const struct cluster *a, const struct cluster *b)
{
    bool same = a->members_n == b->members_n;

    for (uint32_t i = 0; same && i < a->members_n; i++) {
        same = a->members[i].incarnation == b->members[i].incarnation;
    }
    for (uint32_t g = 0; same && g < a->groups_n; g++) {
        same = a->groups[g].voters == b->groups[g].voters &&
               a->groups[g].learners == b->groups[g].learners;
    }
    return same;
}

/* MEM-2: an epoch has one meaning for ever. */
static void publish(struct run *r, struct registrar *k)
{
    const struct cluster *c = register_latest(&k->reg);

    CHECK(c->epoch < EPOCHS_MAX);
    if (c->epoch >= k->epochs_n) {
        uint64_t n = c->epoch + 1;

        k->configs = realloc(k->configs, n * sizeof(*k->configs));
        CHECK(k->configs != NULL);
        memset(&k->configs[k->epochs_n], 0, (n - k->epochs_n) * sizeof(*k->configs));
        k->epochs_n = n;
    }
    if (k->configs[c->epoch].epoch == 0) {
        k->configs[c->epoch] = *c;
        trace_event(&r->trace, r->world.now_ns, "configuration", c->epoch, c->members_n,
                    cluster_voters(c));
    } else if (!same_members(&k->configs[c->epoch], c)) {
        run_fault(r, VERDICT_WRONG, "configuration epoch %" PRIu64 " has two meanings", c->epoch);
    }
}

/* ---- processes that the keeper knows ---- */

static void know(struct registrar *k, uint32_t node, uint32_t incarnation, bool runs)
{
    CHECK(k->known_n < KNOWN_MAX);
    k->gone_at_ns[k->known_n] = 0;
    k->known[k->known_n++] = (struct keeping_process){node, incarnation, runs};
}

static void forget(struct registrar *k, uint32_t i)
{
    k->known[i] = k->known[--k->known_n];
    k->gone_at_ns[i] = k->gone_at_ns[k->known_n];
}

/* Whether a process runs under that incarnation, as far as the keeper can see. */
static bool runs(const struct replicas *c, uint32_t incarnation)
{
    uint8_t p = process_find(c, incarnation);

    for (uint8_t host = 0; host < c->hosts_n; host++) {
        if (c->reborn[host] == incarnation) {
            return true; /* with plants a host does not say that its process ended */
        }
    }
    return p != NOBODY && !c->ends[p].given_up;
}

static void start_new(struct run *r, struct registrar *k)
{
    const struct replicas *c = replicas_of(r);
    const struct cluster_member *m;

    while (k->known_n < KNOWN_MAX &&
           (m = keeping_to_start(register_latest(&k->reg), k->known, k->known_n)) != NULL) {
        struct birth b = {.host = registrar_host(m->node),
                          .incarnation = m->incarnation,
                          .epoch = register_latest(&k->reg)->epoch};
        bool up;

        if (c->held[b.host]) {
            return;
        }
        up = r->world.now_ns >= c->host_down_until_ns[b.host] && !r->crashed[b.host] &&
             process_start(r, &b) != NOBODY;

        know(k, m->node, b.incarnation, up);
        if (!up) {
            register_on_lost(&k->reg, b.incarnation);
            k->pause_until_ns = r->world.now_ns + PAUSE_NS;
        }
    }
}

/* Processes that have ended; those of members that have left are ended. */
static void reap(struct run *r, struct registrar *k)
{
    for (uint32_t i = k->known_n; i-- > 0;) {
        struct keeping_process *p = &k->known[i];
        bool is_member = keeping_place(register_latest(&k->reg), p->incarnation) >= 0;

        if (p->runs && !runs(replicas_of(r), p->incarnation)) {
            p->runs = false;
            register_on_lost(&k->reg, p->incarnation); /* MEM-4, of one that has left too */
        }
        if (is_member) {
            continue;
        }
        if (!p->runs) {
            forget(k, i);
        } else if (k->gone_at_ns[i] == 0) {
            k->gone_at_ns[i] = r->world.now_ns + LEAVE_NS;
        } else if (r->world.now_ns >= k->gone_at_ns[i]) {
            uint8_t process = process_find(replicas_of(r), p->incarnation);

            if (process != NOBODY) {
                process_end(r, process, true);
            }
        }
    }
}

/* ---- a turn ---- */

static bool dies(struct run *r)
{
    return !r->healed && r->swarm.keeper != 0 && prng_chance(&r->faults, 1, 16);
}

void registrar_leave(struct run *r, uint64_t for_ns)
{
    struct registrar *k = keeper_of(r);

    if (!k->is_away) {
        trace_event(&r->trace, r->world.now_ns, "keeper away", for_ns, 0, 0);
        k->is_away = true;
        k->back_at_ns = r->world.now_ns + for_ns;
    }
}

static void come_back(struct run *r, struct registrar *k)
{
    const struct replicas *c = replicas_of(r);
    const struct cluster *latest;

    trace_event(&r->trace, r->world.now_ns, "keeper back", 0, 0, 0);
    k->is_away = false;
    k->known_n = 0;
    CHECK(register_decode((struct bytes){k->stored, k->stored_n}, &k->reg) == OK);
    publish(r, k); /* it may have been stored and never handed out */
    latest = register_latest(&k->reg);
    for (uint32_t i = 0; i < latest->members_n; i++) {
        const struct cluster_member *m = &latest->members[i];

        know(k, m->node, m->incarnation, runs(c, m->incarnation));
    }
    keeping_adopt(&k->reg, k->known, k->known_n);
}

void registrar_progress(struct run *r)
{
    struct registrar *k = keeper_of(r);

    reap(r, k); /* no vote is taken while a loss is overlooked: production wakes up on every end */
    for (int i = 0; i < STEPS_MAX && !k->is_away; i++) {
        bool moved = r->world.now_ns >= k->pause_until_ns && keeping_advance(&k->reg, k->restarts);
        uint64_t away_ns = 1 + prng_below(&r->faults, 1500 * ms);

        if (k->reg.version != k->stored_version) {
            if (dies(r)) {
                registrar_leave(r, away_ns);
                return;
            }
            store(k);
            if (dies(r)) {
                registrar_leave(r, away_ns);
                return;
            }
        }
        publish(r, k);
        start_new(r, k);
        if (!moved && k->reg.version == k->stored_version) {
            break;
        }
    }
}

/* What members say arrives a little later, or not; so does what they are told. */
static void speak(struct run *r, struct registrar *k)
{
    const struct replicas *c = replicas_of(r);
    uint64_t latest = register_latest(&k->reg)->epoch;

    for (uint32_t i = 0; i < k->known_n; i++) {
        uint8_t p = k->known[i].runs ? process_find(c, k->known[i].incarnation) : NOBODY;
        uint64_t report_at, config_at;
        struct replica_report report;

        if (p == NOBODY || r->paused_until_ns[c->ends[p].host] > r->world.now_ns ||
            c->ends[p].asleep_until_ns > r->world.now_ns ||
            (!r->healed && prng_chance(&r->faults, 1, 8))) {
            continue;
        }
        report_at = r->world.now_ns + prng_below(&r->faults, 5 * ms);
        config_at = r->world.now_ns + prng_below(&r->faults, (r->healed ? 5 : 60) * ms);
        replica_report(c->ends[p].replica, &report);
        world_push(&r->world, report_at, EVENT_REPORT, k->known[i].incarnation,
                   (uint32_t)(report.epoch << SIM_GROUPS_MAX | report.groups_copied), NULL);
        if (c->ends[p].epoch < latest) {
            world_push(&r->world, config_at, EVENT_CONFIG, p, (uint32_t)latest, NULL);
        }
    }
    replicas_spread_map(r, latest);
}

void registrar_hear(struct run *r, const struct event *e)
{
    struct registrar *k = keeper_of(r);

    if (!k->is_away) {
        uint32_t epoch = e->b >> SIM_GROUPS_MAX;

        keeping_hear(&k->reg,
                     &(struct keeping_report){.incarnation = e->a,
                                              .epoch = epoch,
                                              .installed = epoch,
                                              .copied = e->b & ((1U << SIM_GROUPS_MAX) - 1)});
    }
}

void registrar_turn(struct run *r)
{
    struct registrar *k = keeper_of(r);
    bool changing;

    if (k->is_away && r->world.now_ns >= k->back_at_ns) {
        come_back(r, k);
    }
    if (!k->is_away) {
        registrar_progress(r);
    }
    if (!k->is_away) {
        speak(r, k);
    }
    changing = register_health(&k->reg) == REGISTER_HEALTH_CHANGING;
    world_push(&r->world, r->world.now_ns + (changing ? TURN_NS : QUIET_NS), EVENT_KEEPER, 0, 0,
               NULL);
}

/* ---- life ---- */

struct register_wish registrar_wish(uint8_t host)
{
    return (struct register_wish){.node = registrar_node(host),
                                  .address = "127.0.0.1",
                                  .control_port = (uint16_t)(7000 + host),
                                  .data_port = (uint16_t)(8000 + host)};
}

void registrar_open(struct run *r, uint8_t nodes_n)
{
    struct registrar *k = keeper_of(r);
    struct cluster first = {.name = "simulated",
                            .replication_factor = r->swarm.groups_n == 0 ? nodes_n : GROUP_FACTOR,
                            .groups_n = r->swarm.groups_n,
                            .shards = 1,
                            .datagram_bytes = r->swarm.datagram_bytes,
                            .value_max = VALUE_MAX_DEFAULT,
                            .enclave_memory = ENCLAVE_MEMORY_DEFAULT,
                            .host_memory = HOST_MEMORY_DEFAULT,
                            .members_n = nodes_n};
    struct explain why;

    memcpy(first.id, run_cluster_id, sizeof(first.id));
    for (uint8_t i = 0; i < nodes_n; i++) {
        first.members[i] = (struct cluster_member){.node = registrar_node(i),
                                                   .address = "127.0.0.1",
                                                   .control_port = (uint16_t)(7000 + i),
                                                   .data_port = (uint16_t)(8000 + i)};
    }
    CHECK(register_found(&k->reg, &first, &why) == OK);
    store(k);
    publish(r, k);
}

void registrar_found(struct run *r)
{
    start_new(r, keeper_of(r));
}

void registrar_close(struct run *r)
{
    free(keeper_of(r)->configs);
}
