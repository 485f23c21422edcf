// SPDX-License-Identifier: Apache-2.0
#include "sim/run.h"

#include <string.h>

static const uint64_t us = UINT64_C(1000), ms = UINT64_C(1000000);

static uint64_t pick(struct prng *p, const uint64_t *of, size_t n)
{
    return of[prng_below(p, n)];
}

#define PICK(p, ...)                                                                               \
    pick(p, (const uint64_t[]){__VA_ARGS__}, sizeof((const uint64_t[]){__VA_ARGS__}) / 8)

static void draw_network(struct swarm *s, struct prng *p)
{
    s->delay_min_ns = PICK(p, 10 * us, 100 * us, 500 * us);
    s->delay_max_ns = s->delay_min_ns * PICK(p, 2, 10, 40);
    s->loss = (uint32_t)PICK(p, 0, 0, 10, 50, 200);
    s->duplicate = (uint32_t)PICK(p, 0, 20, 100, 400);
    s->slow = (uint32_t)PICK(p, 0, 10, 50, 200);
    s->skew = (uint32_t)PICK(p, 0, 0, 300, 600);
    s->rto_ns = 2 * s->delay_max_ns + PICK(p, 1, 5, 20) * ms;
}

static void draw_faults(struct swarm *s, struct prng *p)
{
    uint32_t minority = (s->nodes_n - 1U) / 2;

    s->fault_ns = PICK(p, 5 * ms, 20 * ms, 100 * ms, 1000 * ms);
    s->partition = (uint32_t)PICK(p, 0, 1, 3);
    s->pause = (uint32_t)PICK(p, 0, 1, 3);
    s->reset = (uint32_t)PICK(p, 0, 1);
    s->crash = (uint32_t)PICK(p, 0, 0, 1);
    s->tamper = (uint32_t)PICK(p, 0, 0, 1, 4);
    s->jump = (uint32_t)PICK(p, 0, 0, 1);
    s->crashes_max = s->crash != 0 ? minority : 0;
    s->tampered_n = s->tamper != 0 ? minority - s->crashes_max : 0;
    if (s->tamper != 0 && prng_chance(p, 1, 2)) {
        s->crash = s->crashes_max = 0;
        s->tampered_n = minority;
    }
}

static void draw_clients(struct swarm *s, struct prng *p)
{
    s->clients_n = (uint32_t)PICK(p, 2, 3, 4, 6, 8);
    s->keys_n = (uint32_t)PICK(p, 1, 1, 2, 4);
    s->get_chance = (uint32_t)PICK(p, 300, 500, 700, 900);
    s->delete_chance = (uint32_t)PICK(p, 0, 50, 200);
    s->sticky_chance = (uint32_t)PICK(p, 0, 500, 950);
    s->think_ns = s->delay_max_ns * PICK(p, 1, 2, 8);
    s->timeout_ms_min = (uint32_t)PICK(p, 5, 50, 500);
    s->timeout_ms_max = s->timeout_ms_min * (uint32_t)PICK(p, 1, 10);
    s->value_max = (uint32_t)PICK(p, 8, 40, 300, 3000);
    s->hedge_ns = PICK(p, 0, 200 * us, 2 * ms, 20 * ms, UINT64_MAX);
    s->ops_max = (uint32_t)PICK(p, 4, 16, 64, 64);
}

static void draw_rmw(struct swarm *s, struct prng *p)
{
    s->rmw_chance = (uint32_t)PICK(p, 0, 0, 0, 300, 600, 900);
    for (size_t i = 0; i < KEYS_MAX && s->rmw_chance != 0; i++) {
        s->flavours[i] = (enum history_flavour)PICK(p, HISTORY_REGISTER, HISTORY_REGISTER,
                                                    HISTORY_COUNTER, HISTORY_COUNTER, HISTORY_LOG);
    }
}

static void draw_entropy(struct swarm *s, struct prng *p)
{
    s->sync_ns = PICK(p, 0, 0, 10 * ms, 50 * ms, 200 * ms);
    s->old_keys_n = s->sync_ns == 0 ? 0 : (uint32_t)PICK(p, 0, 10, 100, 200);
    /* A host that destroys one of the values makes its replica fetch the other. */
    s->diverge = s->sync_ns != 0 && s->tamper == 0 && prng_chance(p, 1, 4);
}

/* Collection needs every member, and somebody who deletes, who is late and who comes back. */
static void draw_collection(struct swarm *s, struct prng *p)
{
    s->collect_ns = PICK(p, 0, 1 * ms, 5 * ms, 20 * ms);
    if (s->collect_ns == 0 || prng_chance(p, 1, 2)) {
        return;
    }
    s->crash = s->crashes_max = 0;
    s->delete_chance = 400;
    s->get_chance = 400;
    s->keys_n = (uint32_t)PICK(p, 1, 2);
    s->ops_max = s->ops_max < OPS_MAX ? 4 : s->ops_max; /* tails are given up */
    s->sync_ns = 0;
    s->old_keys_n = 0;
    s->diverge = false;
    if (s->rmw_chance != 0) {
        s->rmw_chance = 500;
        memset(s->flavours, 0, sizeof(s->flavours)); /* registers, which can be deleted */
    }
}

/* The replica level has its own scales: real retransmission, handshakes of hundreds of
 * milliseconds until a peer is DOWN, fixed tables. */
static void draw_replica(struct swarm *s, struct prng *p)
{
    s->datagram_bytes = (uint32_t)PICK(p, DATAGRAM_MIN, DATAGRAM_DEFAULT, DATAGRAM_MAX);
    s->key_packets = PICK(p, 0, 40, 200);
    s->flip = (uint32_t)PICK(p, 0, 10, 50);
    s->truncate = (uint32_t)PICK(p, 0, 0, 20);
    s->replay = (uint32_t)PICK(p, 0, 50, 200);
    s->inject = (uint32_t)PICK(p, 0, 0, 20);
    s->misdirect = (uint32_t)PICK(p, 0, 0, 20);
    s->spoof = (uint32_t)PICK(p, 0, 0, 50);
    s->value_max = (uint32_t)PICK(p, 8, 300, 3000, 20000);
    s->heap_bytes = (size_t)24 << 20;
    s->ops_max = OPS_MAX;
    s->tight = false;
    s->arena_bytes = (size_t)4 << 20;
    s->timeout_ms_min = (uint32_t)PICK(p, 20, 200, 2000);
    s->timeout_ms_max = s->timeout_ms_min * (uint32_t)PICK(p, 1, 4);
}

static void draw_batches(struct swarm *s, struct prng *p)
{
    s->batch_chance = (uint32_t)PICK(p, 0, 0, 0, 0, 100, 400, 800);
    if (s->batch_chance != 0) {
        s->keys_n = (uint32_t)PICK(p, 2, 4, KEYS_MAX);
    }
}

/* Members that come and go. Whoever crashes comes back then, as a new member; a host that destroys
 * what its replica holds would be one loss too many beside that. */
static void draw_members(struct swarm *s, struct prng *p)
{
    s->restart = (uint32_t)PICK(p, 0, 1, 2, 4);
    s->change = (uint32_t)PICK(p, 0, 0, 1, 2);
    s->sleep = (uint32_t)PICK(p, 0, 0, 1);
    s->keeper = (uint32_t)PICK(p, 0, 0, 1);
    s->clone = (uint32_t)PICK(p, 0, 0, 1);
    s->dynamic = s->restart + s->change + s->sleep != 0 && prng_chance(p, 3, 4);
    if (!s->dynamic) {
        s->restart = s->change = s->sleep = s->keeper = 0;
        return;
    }
    s->crash = s->crashes_max = s->tamper = s->tampered_n = 0;
    s->nodes_n |= 1; /* a replication factor is odd */
    s->hosts_n = (uint8_t)(s->nodes_n + (s->change != 0 ? PICK(p, 0, 1, 2, 3) : 0));
    s->hosts_n = s->hosts_n > NODES_MAX ? NODES_MAX : s->hosts_n;
}

/* Slots in groups, each at three of several nodes: what restarts, changes and deletions have to do
 * with groups, above all. Drawn from a source of its own, so that other runs stay as they are. */
static void draw_groups(struct swarm *s, const struct run_spec *spec)
{
    struct prng prng = {.state = spec->seed ^ 0x67726f757073};
    struct prng *p = &prng;
    bool some = prng_chance(p, 1, 4);
    uint32_t n = (uint32_t)PICK(p, 1, 2, 2, 3, 4);

    if (!some && spec->groups == 0) {
        return;
    }
    s->groups_n = (uint8_t)(spec->groups != 0 ? spec->groups : n);
    s->nodes_n = (uint8_t)PICK(p, 3, 4, 4, 5, 6);
    s->hosts_n = (uint8_t)(s->nodes_n + PICK(p, 0, 1, 1, 2));
    s->hosts_n = s->hosts_n > NODES_MAX ? NODES_MAX : s->hosts_n;
    s->keys_n = (uint32_t)PICK(p, 2, 3, 4, KEYS_MAX);
    s->crashes_max = s->crash != 0 ? 1 : 0; /* of three nodes */
    s->tampered_n = s->tamper != 0 ? 1 - s->crashes_max : 0;
    if (!s->dynamic && prng_chance(p, 3, 4)) {
        s->dynamic = true;
        s->restart = (uint32_t)PICK(p, 0, 1, 2);
        s->crash = s->crashes_max = s->tamper = s->tampered_n = 0;
    }
    s->hosts_n = s->dynamic ? s->hosts_n : s->nodes_n;
    s->change = s->dynamic ? (uint32_t)PICK(p, 2, 4, 8) : 0;
    s->fault_ns = s->dynamic ? PICK(p, 10 * ms, 20 * ms, 50 * ms) : s->fault_ns;
    s->think_ns *= PICK(p, 1, 4, 16); /* a change takes its time */
}

/* Rounds of collection that break off at any point, and somebody who notices what is lost. Drawn
 * from a source of its own, as groups are. */
static void draw_focus(struct swarm *s, const struct run_spec *spec)
{
    struct prng prng = {.state = spec->seed ^ 0x636f6c6c656374};
    struct prng *p = &prng;

    if (!spec->collects) {
        return;
    }
    if (spec->level == LEVEL_PROTOCOL) { /* of three, two ends of a link are a majority */
        s->nodes_n = s->hosts_n = (uint8_t)PICK(p, 3, 5, 5, 7);
    }
    s->crash = s->crashes_max = s->tamper = s->tampered_n = 0;
    s->tight = s->diverge = false;
    s->sync_ns = 0;
    s->old_keys_n = s->batch_chance = 0;
    s->keys_n = s->groups_n > 1 ? s->keys_n : (uint32_t)PICK(p, 1, 1, 2);
    s->collect_ns = PICK(p, 1 * ms, 1 * ms, 5 * ms);
    s->get_chance = (uint32_t)PICK(p, 200, 400);
    s->delete_chance = (uint32_t)PICK(p, 100, 300);
    s->rmw_chance = 900;
    memset(s->flavours, 0, sizeof(s->flavours));
    s->spares_first = prng_chance(p, 2, 3);
    s->partition = (uint32_t)PICK(p, 3, 6);
    s->pause = (uint32_t)PICK(p, 0, 0, 1);
    s->reset = (uint32_t)PICK(p, 0, 1, 3);
    s->delay_min_ns = PICK(p, 100 * us, 500 * us);
    s->delay_max_ns = 2 * s->delay_min_ns;
    s->rto_ns = 2 * s->delay_max_ns + 5 * ms;
    s->skew = (uint32_t)PICK(p, 0, 300, 600); /* somebody hears of each step late */
    s->fault_ns = PICK(p, 1 * ms, 2 * ms, 5 * ms);
    s->think_ns = PICK(p, 1 * ms, 4 * ms, 16 * ms);
}

/* Drawn from a source of its own, as groups are. */
static void draw_looks(struct swarm *s, const struct run_spec *spec)
{
    struct prng prng = {.state = spec->seed ^ 0x6c6f6f6b73};

    s->looks = prng_chance(&prng, 3, 4);
}

#define TRAIT(name, field)                                                                         \
    {                                                                                              \
        name, offsetof(struct swarm, field), sizeof(((struct swarm *)0)->field)                    \
    }

const struct trait traits[] = {
    TRAIT("loss", loss),
    TRAIT("duplicate", duplicate),
    TRAIT("slow", slow),
    TRAIT("skew", skew),
    TRAIT("partition", partition),
    TRAIT("pause", pause),
    TRAIT("crash", crash),
    TRAIT("reset", reset),
    TRAIT("tamper", tamper),
    TRAIT("jump", jump),
    TRAIT("stop", stop),
    TRAIT("restart", restart),
    TRAIT("sleep", sleep),
    TRAIT("clone", clone),
    TRAIT("change", change),
    TRAIT("keeper", keeper),
    TRAIT("tight", tight),
    TRAIT("execute-again", execute_again),
    TRAIT("late-answers", late_answers),
    TRAIT("key-update", key_packets),
    TRAIT("flip", flip),
    TRAIT("truncate", truncate),
    TRAIT("replay", replay),
    TRAIT("inject", inject),
    TRAIT("misdirect", misdirect),
    TRAIT("spoof", spoof),
    TRAIT("delete", delete_chance),
    TRAIT("rmw", rmw_chance),
    TRAIT("batch", batch_chance),
    TRAIT("sync", sync_ns),
    TRAIT("old-keys", old_keys_n),
    TRAIT("diverge", diverge),
    TRAIT("collect", collect_ns),
    TRAIT("groups", groups_n),
    TRAIT("looks", looks),
};

const size_t traits_n = sizeof(traits) / sizeof(traits[0]);

_Static_assert(sizeof(traits) / sizeof(traits[0]) <= 64, "each has a bit of run_spec.without");

/* Last, so that what stays is drawn as in the run that failed. */
static void restrict_to(struct swarm *s, const struct run_spec *spec)
{
    bool had_groups = s->groups_n != 0;

    for (size_t i = 0; i < traits_n; i++) {
        if ((spec->without >> i & 1) != 0) {
            memset((uint8_t *)s + traits[i].at, 0, traits[i].size);
        }
    }
    if (had_groups && s->groups_n == 0 && s->dynamic) { /* all are voters: an odd number again */
        s->nodes_n |= 1;
        s->hosts_n = s->hosts_n < s->nodes_n ? s->nodes_n : s->hosts_n;
    }
    if (spec->clients_max != 0 && s->clients_n > spec->clients_max) {
        s->clients_n = spec->clients_max;
    }
    if (spec->keys_max != 0 && s->keys_n > spec->keys_max) {
        s->keys_n = spec->keys_max;
    }
}

void swarm_draw(struct swarm *s, const struct run_spec *spec)
{
    struct prng prng = {.state = spec->seed};
    struct prng *p = &prng;

    *s = (struct swarm){.ops_n = spec->ops_n};
    s->nodes_n = (uint8_t)PICK(p, 3, 3, 3, 3, 5, 5, 1, 2, 4, 7);
    draw_network(s, p);
    draw_faults(s, p);
    draw_clients(s, p);
    s->execute_again = prng_chance(p, 1, 2);
    s->late_answers = prng_chance(p, 1, 2);
    s->tight = prng_chance(p, 1, 10);
    if (spec->level == LEVEL_REPLICA) {
        draw_replica(s, p);
    }
    draw_rmw(s, p);
    draw_entropy(s, p);
    s->hosts_n = s->nodes_n;
    s->stop = (uint32_t)PICK(p, 0, 0, 1);
    draw_batches(s, p);
    if (spec->level == LEVEL_REPLICA) {
        draw_members(s, p);
    }
    draw_collection(s, p);
    if (spec->level == LEVEL_REPLICA) {
        draw_groups(s, spec);
        draw_looks(s, spec);
    }
    draw_focus(s, spec);
    restrict_to(s, spec);
    if (spec->level == LEVEL_PROTOCOL) {
        s->heap_bytes = s->tight ? (size_t)1 << 20 : (size_t)4 << 20;
        s->arena_bytes = s->tight ? (size_t)1 << 16 : (size_t)1 << 20;
    }
}
