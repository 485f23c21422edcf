// SPDX-License-Identifier: Apache-2.0
/* Who has a session with whom: the control channel, as a model. */
#include "common/check.h"
#include "sim/plants.h"
#include "sim/replicas.h"
#include "trusted/crypto/kdf.h"
#include "trusted/wire/rpc_wire.h"

static const uint64_t ms = UINT64_C(1000000);

static struct bond *bond_of(struct replicas *c, uint8_t a, uint8_t b)
{
    return a < b ? &c->bonds[a][b] : &c->bonds[b][a];
}

/* Whether `end` has its half of the session with `peer`. */
static bool *half_of(struct replicas *c, uint8_t end, uint8_t peer)
{
    struct bond *bond = bond_of(c, end, peer);

    return end < peer ? &bond->smaller : &bond->larger;
}

/* Under which index `end` receives from `peer`. */
static uint32_t index_of(struct replicas *c, uint8_t end, uint8_t peer)
{
    const struct bond *bond = bond_of(c, end, peer);

    if (!is_process(end)) {
        return core_index(c->ends[peer].host, 0, bond->generation);
    }
    return (bond->generation & 0xfff) << RPC_INDEX_SLOT_BITS |
           (bond->opened_n % SLOT_SETS * SLOTS_PER_SET + peer);
}

struct secret sessions_secret(const struct run *r, uint8_t from, uint8_t to, uint32_t generation)
{
    const uint64_t parts[4] = {r->seed, from, to, generation};
    struct bytes b = {.p = (const uint8_t *)parts, .n = sizeof(parts)};
    struct secret s;

    sha256(&b, 1, s.b);
    return s;
}

/* ---- one end of a session ---- */

static void close_end(struct run *r, uint8_t end, uint8_t peer)
{
    struct replicas *c = replicas_of(r);
    bool *half = half_of(c, end, peer);

    if (!*half || !is_alive(c, end)) {
        *half = false;
        return;
    }
    *half = false;
    if (is_process(end)) {
        replica_session_close(c->ends[end].replica, replicas_clock(r, end), index_of(c, end, peer));
    } else {
        core_node_down(c->ends[end].core, r->world.now_ns, c->ends[peer].host, true);
    }
    replicas_pump(r, end);
}

/* `place`: of a member among the members; 0 for a client. */
static void open_end(struct run *r, uint8_t end, uint8_t peer, uint8_t place)
{
    struct replicas *c = replicas_of(r);
    uint32_t generation = bond_of(c, end, peer)->generation;
    bool members = is_process(end) && is_process(peer);
    struct rpc_session_params p = {
        .index = index_of(c, end, peer),
        .peer_index = index_of(c, peer, end),
        .send = sessions_secret(r, end, peer, generation),
        .recv = sessions_secret(r, peer, end, generation),
        .slots = members ? RPC_SLOTS_PEER : RPC_SLOTS_CLIENT,
        .replay_bits = members ? REPLAY_BITS_PEER : REPLAY_BITS_CLIENT,
        .addr = {.family = 4, .port = peer},
    };

    *half_of(c, end, peer) = true;
    if (is_process(end)) {
        const struct replica_peer who = {members ? REPLICA_PEER_MEMBER : REPLICA_PEER_CLIENT, place,
                                         NULL};

        CHECK(replica_session_open(c->ends[end].replica, replicas_clock(r, end), &who, &p) == OK);
        return;
    }
    for (uint8_t other = 0; other < processes_n; other++) { /* one session for each host */
        if (other != peer && c->ends[other].host == c->ends[peer].host) {
            *half_of(c, end, other) = false;
        }
    }
    CHECK(core_session_up(c->ends[end].core, r->world.now_ns, c->ends[peer].host, 0, &p) == OK);
    replicas_take_map(r, end, c->ends[peer].epoch);
}

/* A new handshake between two endpoints: whatever session there was ends at both. */
static void open_both(struct run *r, uint8_t a, uint8_t b, uint8_t place_of_a, uint8_t place_of_b)
{
    struct replicas *c = replicas_of(r);
    struct bond *bond = bond_of(c, a, b);

    close_end(r, a, b);
    close_end(r, b, a);
    c->generation += (c->generation & 0xfff) == 0xfff ? 2 : 1; /* never 0 in an index */
    bond->generation = c->generation;
    bond->opened_n++;
    trace_event(&r->trace, r->world.now_ns, "session", a, b, bond->generation);
    open_end(r, a, b, place_of_b);
    open_end(r, b, a, place_of_a);
    replicas_pump(r, a);
    replicas_pump(r, b);
}

/* ---- members ---- */

/* The place of a process in a configuration. With the plant the node's name is enough. */
static uint8_t place_of(const struct run *r, uint64_t epoch, const struct end *e)
{
    const struct cluster *cluster = registrar_config(r, epoch);
    bool by_node = (r->plants & SIM_PLANT_NO_EPOCH_FENCE) != 0;

    for (uint8_t i = 0; i < cluster->members_n; i++) {
        const struct cluster_member *m = &cluster->members[i];

        if (by_node ? m->node == registrar_node(e->host) : m->incarnation == e->incarnation) {
            return i;
        }
    }
    return NOBODY;
}

/* CTL-4: the first process of an incarnation is the only one. A copy comes to nobody who has not
 * met the original: where keys are made inside the enclave there is no copy at all. */
static bool pin(const struct run *r, struct end *e, const struct end *peer)
{
    uint32_t *boot = &e->pins[peer->incarnation];
    const unsigned off = peer->is_clone ? SIM_PLANT_CLONE_VOTES
                                        : SIM_PLANT_MEMORYLESS_VOTER | REPLICA_PLANT_SYNC_THEN_VOTE;

    if (*boot == 0 && !peer->is_clone) {
        *boot = peer->boot;
    }
    return *boot == peer->boot || (r->plants & off) != 0;
}

static bool is_reachable(const struct run *r, const struct end *a, const struct end *b)
{
    uint64_t now = r->world.now_ns;

    return !r->blocked[a->host][b->host] && !r->blocked[b->host][a->host] &&
           (a->is_ghost || r->paused_until_ns[a->host] <= now) &&
           (b->is_ghost || r->paused_until_ns[b->host] <= now) && a->asleep_until_ns <= now &&
           b->asleep_until_ns <= now;
}

/* CTL-11: of two epochs the older process is told of the newer configuration. */
static void tell(struct run *r, uint8_t older, uint64_t epoch)
{
    world_push(&r->world, r->world.now_ns + r->swarm.delay_max_ns, EVENT_CONFIG, older,
               (uint32_t)epoch, NULL);
}

/* CTL-3 */
static void meet(struct run *r, uint8_t p, uint8_t q)
{
    struct replicas *c = replicas_of(r);
    struct end *a = &c->ends[p], *b = &c->ends[q];
    uint8_t place_of_a, place_of_b;

    if (p == q || !is_reachable(r, a, b)) {
        return;
    }
    if (a->epoch != b->epoch && (r->plants & SIM_PLANT_NO_EPOCH_FENCE) == 0) {
        tell(r, a->epoch < b->epoch ? p : q, a->epoch < b->epoch ? b->epoch : a->epoch);
        return;
    }
    place_of_a = place_of(r, b->epoch, a);
    place_of_b = place_of(r, a->epoch, b);
    if (place_of_a == NOBODY || place_of_b == NOBODY || place_of_a == b->self ||
        place_of_b == a->self || !pin(r, a, b) || !pin(r, b, a)) {
        return;
    }
    open_both(r, p, q, place_of_a, place_of_b);
}

void sessions_open(struct run *r, uint8_t a, uint8_t b)
{
    struct replicas *c = replicas_of(r);
    const struct end *process = &c->ends[is_process(a) ? a : b];
    uint64_t until = r->paused_until_ns[process->host];

    if (!is_alive(c, a) || !is_alive(c, b)) {
        return;
    }
    if (is_process(a) && is_process(b)) {
        meet(r, a, b);
    } else if (process->asleep_until_ns > r->world.now_ns) {
        return;
    } else if (!process->is_ghost && until > r->world.now_ns) {
        world_push(&r->world, until, EVENT_OPEN, a, b, NULL);
    } else {
        open_both(r, a, b, 0, 0);
    }
}

/* Members without a session are looked for: of two the one with the smaller node dials; and a
 * process that the keeper has given up or copied does not know that it is alone. */
static void dial_all(struct run *r, uint8_t p)
{
    struct replicas *c = replicas_of(r);
    const struct end *e = &c->ends[p];
    const struct cluster *cluster = registrar_config(r, e->epoch);
    uint64_t epoch = e->epoch;

    for (uint8_t i = 0; i < cluster->members_n && is_alive(c, p) && e->epoch == epoch; i++) {
        uint8_t host = registrar_host(cluster->members[i].node);
        uint8_t q = c->runs[host];

        if (i == e->self || q == NOBODY || (!e->is_ghost && host < e->host)) {
            continue;
        }
        if (!replica_has_session(e->replica, i) ||
            (c->ends[q].epoch == e->epoch ? !replica_has_session(c->ends[q].replica, e->self)
                                          : (r->plants & SIM_PLANT_NO_EPOCH_FENCE) == 0)) {
            meet(r, p, q);
        }
    }
}

void sessions_dial(struct run *r, struct event *e)
{
    struct replicas *c = replicas_of(r);
    uint8_t p = (uint8_t)e->a;

    if (!is_alive(c, p) || c->ends[p].boot != e->b) {
        return; /* another process has the number now */
    }
    if (replicas_awake(r, p, e)) {
        dial_all(r, p);
        world_push(&r->world, r->world.now_ns + 10 * ms + prng_below(&r->faults, 60 * ms),
                   EVENT_DIAL, p, e->b, NULL);
    }
}

/* ---- the end of sessions ---- */

void sessions_reset(struct run *r, uint8_t a, uint8_t b)
{
    close_end(r, a, b);
    if (prng_chance(&r->faults, 1, 2)) { /* else the other end hears of it, or not */
        close_end(r, b, a);
    }
    world_push(&r->world, r->world.now_ns + prng_below(&r->faults, 200 * ms), EVENT_OPEN, a, b,
               NULL);
}

void sessions_drop(struct run *r, uint8_t end, bool told)
{
    struct replicas *c = replicas_of(r);

    for (uint8_t other = 0; other < c->ends_n; other++) {
        if (other == end) {
            continue;
        }
        *half_of(c, end, other) = false;
        if (told && *half_of(c, other, end)) {
            world_push(&r->world, r->world.now_ns + prng_below(&r->faults, 20 * ms), EVENT_HANG_UP,
                       (uint32_t)other | (uint32_t)end << 8, bond_of(c, other, end)->generation,
                       NULL);
        }
    }
}

void sessions_hang_up(struct run *r, struct event *e)
{
    struct replicas *c = replicas_of(r);
    uint8_t end = (uint8_t)(e->a & 0xff), gone = (uint8_t)(e->a >> 8);

    if (is_alive(c, end) && bond_of(c, end, gone)->generation == e->b && *half_of(c, end, gone) &&
        replicas_awake(r, end, e)) {
        close_end(r, end, gone);
    }
}

void sessions_invite(struct run *r, uint8_t process, uint64_t within_ns)
{
    struct replicas *c = replicas_of(r);
    uint8_t own = replicas_own_first(c);

    for (uint8_t end = FIRST_CLIENT; end < own; end++) {
        world_push(&r->world, r->world.now_ns + prng_below(&r->faults, within_ns), EVENT_OPEN,
                   process, end, NULL);
    }
    world_push(&r->world, r->world.now_ns, EVENT_OPEN, process, own + c->ends[process].host, NULL);
}
