// SPDX-License-Identifier: Apache-2.0
#include "sim/faults.h"

static const uint64_t ms = UINT64_C(1000000);

enum { FAULTS_N = 12 };

/* ---- the network ---- */

bool run_awake(const struct run *r, uint8_t node, uint64_t *ret_ns)
{
    *ret_ns = r->paused_until_ns[node];
    return !r->crashed[node];
}

uint64_t run_clock(const struct run *r, uint8_t node)
{
    uint64_t now = r->world.now_ns;

    now = r->stopped_until_ns[node] != 0 ? r->stopped_at_ns[node] : now; /* until EVENT_CLOCK */
    return (uint64_t)((int64_t)now + r->clock_ns[node]);
}

uint64_t run_due(const struct run *r, uint8_t node, uint64_t deadline_ns)
{
    uint64_t clock = run_clock(r, node), now = r->world.now_ns;

    if (deadline_ns == UINT64_MAX || deadline_ns <= clock) {
        return deadline_ns == UINT64_MAX ? deadline_ns : now;
    }
    now = now < r->stopped_until_ns[node] ? r->stopped_until_ns[node] : now;
    return now + (deadline_ns - clock);
}

static uint64_t delay(struct run *r, uint8_t from, uint8_t to)
{
    const struct swarm *s = &r->swarm;
    uint64_t d = s->delay_min_ns + prng_below(&r->net, s->delay_max_ns - s->delay_min_ns + 1);

    if (from != RUN_CLIENT && to != RUN_CLIENT) {
        d *= r->lag[from][to];
    }
    if (!r->healed && prng_chance(&r->net, s->slow, 1000)) {
        d *= 10 + prng_below(&r->net, 20);
    }
    return d;
}

uint32_t run_send(struct run *r, uint8_t from, uint8_t to, uint64_t ret_at_ns[RUN_COPIES_MAX])
{
    uint32_t n = 1;

    if (from != RUN_CLIENT && to != RUN_CLIENT && r->blocked[from][to]) {
        return 0;
    }
    if (!r->healed) {
        if (prng_chance(&r->net, r->swarm.loss, 1000)) {
            return 0;
        }
        n += prng_chance(&r->net, r->swarm.duplicate, 1000);
    }
    for (uint32_t i = 0; i < n; i++) {
        ret_at_ns[i] = r->world.now_ns + delay(r, from, to);
    }
    return n;
}

void faults_draw_lags(struct run *r)
{
    for (uint32_t i = 0; i < NODES_MAX; i++) {
        for (uint32_t j = 0; j < NODES_MAX; j++) {
            r->lag[i][j] = prng_chance(&r->net, r->swarm.skew, 1000)
                               ? 2 + (uint32_t)prng_below(&r->net, LAG_MAX - 1)
                               : 1;
        }
    }
}

/* ---- faults ---- */

static uint8_t any_node(struct run *r)
{
    return (uint8_t)prng_below(&r->faults, r->swarm.hosts_n);
}

void faults_set_blocked(struct run *r, uint8_t from, uint8_t to, bool blocked)
{
    if (from != to && r->blocked[from][to] != blocked) {
        r->blocked[from][to] = blocked;
        trace_event(&r->trace, r->world.now_ns, blocked ? "cut" : "join", from, to, 0);
        r->ops->link(r, from, to);
    }
}

/* One link one way, one both ways, or one node from all others. */
static void partition(struct run *r)
{
    uint8_t n = r->swarm.hosts_n;
    uint8_t a = (uint8_t)prng_below(&r->faults, n), b = (uint8_t)prng_below(&r->faults, n);
    uint64_t kind = prng_below(&r->faults, 3);
    uint64_t until = r->world.now_ns + prng_below(&r->faults, 4 * r->swarm.fault_ns + 50 * ms);

    if (r->swarm.spares_first) { /* a round of collection does not hear of it from its leader */
        kind = kind % 2;
        a = (uint8_t)(a == 0 ? n - 1 : a);
        b = (uint8_t)(b == 0 ? n - 1 : b);
    }
    for (uint8_t i = 0; i < n; i++) {
        if (i == a || (kind != 2 && i != b)) {
            continue;
        }
        faults_set_blocked(r, a, i, true);
        world_push(&r->world, until, EVENT_LINK, a, i, NULL);
        if (kind != 0) {
            faults_set_blocked(r, i, a, true);
            world_push(&r->world, until, EVENT_LINK, i, a, NULL);
        }
    }
}

static void pause_node(struct run *r)
{
    uint8_t node = (uint8_t)prng_below(&r->faults, r->swarm.hosts_n);
    uint64_t until = r->world.now_ns + prng_below(&r->faults, 2 * r->swarm.fault_ns + 20 * ms);

    if (!r->crashed[node] && until > r->paused_until_ns[node]) {
        r->paused_until_ns[node] = until;
        trace_event(&r->trace, r->world.now_ns, "pause", node, until, 0);
    }
}

static void crash(struct run *r)
{
    uint8_t node = (uint8_t)prng_below(&r->faults, r->swarm.hosts_n);

    if (!r->crashed[node] && r->crashes_n < r->swarm.crashes_max) {
        r->crashed[node] = true;
        r->crashes_n++;
        trace_event(&r->trace, r->world.now_ns, "crash", node, 0, 0);
        r->ops->crash(r, node);
    }
}

static void reset(struct run *r)
{
    uint8_t a = (uint8_t)prng_below(&r->faults, r->swarm.hosts_n);
    uint8_t b = (uint8_t)prng_below(&r->faults, r->swarm.hosts_n);

    if (a != b && !r->crashed[a] && !r->crashed[b]) {
        trace_event(&r->trace, r->world.now_ns, "reset", a, b, 0);
        r->ops->reset(r, a, b);
    }
}

/* The hosts that lie are the first ones: a fixed minority. */
static void tamper(struct run *r)
{
    if (r->swarm.tampered_n != 0) {
        uint8_t node = (uint8_t)prng_below(&r->faults, r->swarm.tampered_n);

        trace_event(&r->trace, r->world.now_ns, "tamper", node, 0, 0);
        r->ops->tamper(r, node);
    }
}

/* The host's clock runs ahead: everything that waits has waited long enough. */
static void jump(struct run *r)
{
    uint8_t node = any_node(r);
    uint64_t most = prng_chance(&r->faults, 1, 4) ? UINT64_C(3600000) * ms : 2000 * ms;

    r->clock_ns[node] += (int64_t)prng_below(&r->faults, most);
    trace_event(&r->trace, r->world.now_ns, "jump", node, (uint64_t)r->clock_ns[node], 0);
}

/* It stands still, and goes on from there: nothing that waits is over meanwhile. */
void faults_stop_clock(struct run *r, uint8_t node, uint64_t for_ns)
{
    if (r->stopped_until_ns[node] == 0) {
        r->stopped_at_ns[node] = r->world.now_ns;
        r->stopped_until_ns[node] = r->world.now_ns + for_ns;
        trace_event(&r->trace, r->world.now_ns, "stop", node, for_ns, 0);
        world_push(&r->world, r->stopped_until_ns[node], EVENT_CLOCK, node, 0, NULL);
    }
}

static void stop(struct run *r)
{
    uint8_t node = any_node(r);

    faults_stop_clock(r, node, prng_below(&r->faults, 1000 * ms) + 1);
}

void faults_clock_goes_on(struct run *r, uint8_t node)
{
    r->clock_ns[node] -= (int64_t)(r->stopped_until_ns[node] - r->stopped_at_ns[node]);
    r->stopped_at_ns[node] = r->stopped_until_ns[node] = 0;
}

static void restart(struct run *r)
{
    r->ops->restart(r, any_node(r));
}

static void sleeps(struct run *r)
{
    r->ops->sleep(r, any_node(r));
}

static void clone(struct run *r)
{
    r->ops->clone(r, any_node(r));
}

static void change(struct run *r)
{
    r->ops->change(r);
}

static void keeper(struct run *r)
{
    r->ops->keeper_away(r);
}

void faults_next(struct run *r)
{
    const struct swarm *s = &r->swarm;
    void (*const kinds[])(struct run *) = {partition, pause_node, crash,  reset, tamper, jump,
                                           stop,      restart,    sleeps, clone, change, keeper};
    const uint32_t weights[] = {s->partition, s->pause,   s->crash, s->reset, s->tamper, s->jump,
                                s->stop,      s->restart, s->sleep, s->clone, s->change, s->keeper};
    uint64_t sum = 0, at;

    for (size_t i = 0; i < FAULTS_N; i++) {
        sum += weights[i];
    }
    if (r->healed || sum == 0) {
        return;
    }
    at = prng_below(&r->faults, sum);
    for (size_t i = 0; i < FAULTS_N; i++) {
        if (at < weights[i]) {
            kinds[i](r);
            break;
        }
        at -= weights[i];
    }
    world_push(&r->world, r->world.now_ns + 1 + prng_below(&r->faults, 2 * s->fault_ns),
               EVENT_FAULT, 0, 0, NULL);
}

void faults_heal(struct run *r)
{
    r->healed = true;
    trace_event(&r->trace, r->world.now_ns, "heal", 0, 0, 0);
    for (uint8_t i = 0; i < r->swarm.hosts_n; i++) {
        r->paused_until_ns[i] = 0;
        for (uint8_t j = 0; j < r->swarm.hosts_n; j++) {
            faults_set_blocked(r, i, j, false);
        }
    }
    r->ops->heal(r);
}
