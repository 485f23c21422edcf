// SPDX-License-Identifier: Apache-2.0
#include "common/slots.h"
#include "daemons/node.h"
#include "host/net/addr.h"
#include "host/run/clock.h"
#include "trusted/port/port.h"

#include <jansson.h>

struct field {
    const char *name;
    uint64_t value;
};

static void add_fields(json_t *to, const struct field *fields, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        (void)json_object_set_new(to, fields[i].name, json_integer((json_int_t)fields[i].value));
    }
}

enum { CONNECTIONS_MAX = 256 }; /* shown of a node */

#define ADD_FIELDS(to, ...)                                                                        \
    do {                                                                                           \
        const struct field fields_[] = {__VA_ARGS__};                                              \
        add_fields(to, fields_, sizeof(fields_) / sizeof(fields_[0]));                             \
    } while (0)

static json_t *rpc_json(const struct rpc_counters *c)
{
    json_t *o = json_object();

    ADD_FIELDS(o, {"rx_packets", c->rx_packets}, {"rx_bytes", c->rx_bytes},
               {"tx_packets", c->tx_packets}, {"tx_bytes", c->tx_bytes}, {"opened", c->opened},
               {"malformed", c->malformed}, {"unknown_index", c->unknown_index},
               {"replay_old", c->replay_old}, {"replay_dup", c->replay_dup},
               {"auth_failed", c->auth_failed}, {"old_phase", c->old_phase},
               {"frames_malformed", c->frames_malformed}, {"frames_stale", c->frames_stale},
               {"frames_refused", c->frames_refused}, {"requests_in", c->requests_in},
               {"requests_out", c->requests_out}, {"responses_in", c->responses_in},
               {"responses_out", c->responses_out}, {"retransmits", c->retransmits},
               {"duplicates_answered", c->duplicates_answered}, {"key_updates", c->key_updates},
               {"sessions", c->sessions}, {"sessions_down", c->sessions_down},
               {"no_memory", c->no_memory}, {"window_cuts", c->window_cuts});
    return o;
}

/* Element i counts round trips of 2^i to 2^(i+1) microseconds; the last one takes the rest. */
static json_t *rtt_json(const uint64_t buckets[static RPC_RTT_BUCKETS])
{
    json_t *a = json_array();

    for (uint32_t i = 0; i < RPC_RTT_BUCKETS; i++) {
        (void)json_array_append_new(a, json_integer((json_int_t)buckets[i]));
    }
    return a;
}

static json_t *connection_json(const struct cluster *c, const struct replica_session_report *s)
{
    const struct rpc_session_info *i = &s->info;
    bool is_member = s->kind == REPLICA_PEER_MEMBER && s->member < c->members_n;
    json_t *o = json_object();
    char address[ADDR_TEXT];

    (void)json_object_set_new(o, "peer", json_string(is_member ? "member" : "client"));
    if (is_member) {
        (void)json_object_set_new(o, "node", json_integer(c->members[s->member].node));
    }
    addr_format(&i->addr, address);
    (void)json_object_set_new(o, "address", json_string(address));
    (void)json_object_set_new(o, "down", json_boolean(i->down));
    ADD_FIELDS(o, {"srtt_us", i->srtt_ns / 1000}, {"rttvar_us", i->rttvar_ns / 1000},
               {"base_rtt_us", i->base_rtt_ns / 1000}, {"rto_us", i->rto_ns / 1000},
               {"window", i->window}, {"in_flight", i->flight}, {"rx_packets", i->rx_packets},
               {"rx_bytes", i->rx_bytes}, {"tx_packets", i->tx_packets}, {"tx_bytes", i->tx_bytes},
               {"retransmits", i->retransmits}, {"auth_failed", i->auth_failed},
               {"enclave_bytes", i->heap_bytes});
    (void)json_object_set_new(o, "rtt", rtt_json(i->rtt));
    return o;
}

/* Members always; clients as long as the whole report stays well below what a message may have. */
static json_t *connections_json(const struct node_shard *s, const struct cluster *c,
                                uint32_t shards_n)
{
    uint32_t room = CONNECTIONS_MAX / shards_n;
    json_t *a = json_array();

    for (uint32_t i = 0; i < s->report.sessions_n; i++) {
        const struct replica_session_report *r = &s->report.sessions[i];

        if (i < room || r->kind == REPLICA_PEER_MEMBER) {
            (void)json_array_append_new(a, connection_json(c, r));
        }
    }
    return a;
}

/* A set of members, by the numbers of their nodes. */
static json_t *members_json(const struct cluster *c, uint64_t set)
{
    json_t *a = json_array();

    for (uint32_t i = 0; i < c->members_n; i++) {
        if ((set >> i & 1) != 0) {
            (void)json_array_append_new(a, json_integer(c->members[i].node));
        }
    }
    return a;
}

static json_t *abd_json(const struct abd_counters *c)
{
    json_t *o = json_object();

    ADD_FIELDS(
        o, {"gets", c->gets}, {"puts", c->puts}, {"deletes", c->deletes}, {"scans", c->scans},
        {"scan_keys", c->scan_keys}, {"scan_lists", c->scan_lists}, {"batch_gets", c->batch_gets},
        {"batch_puts", c->batch_puts}, {"reads_one_round", c->reads_one_round}, {"shown", c->shown},
        {"shown_tags", c->shown_tags}, {"writes_one_round", c->writes_one_round},
        {"offers_denied", c->offers_denied}, {"write_backs", c->write_backs}, {"hedges", c->hedges},
        {"unavailable", c->unavailable}, {"indeterminate", c->indeterminate}, {"busy", c->busy},
        {"refused_tags", c->refused_tags}, {"repairs", c->repairs},
        {"repairs_failed", c->repairs_failed}, {"ops", c->ops}, {"rmws", c->rmws},
        {"rmw_outbid", c->rmw_outbid}, {"rmw_helped", c->rmw_helped}, {"rmw_doubts", c->rmw_doubts},
        {"rmw_records", c->rmw_records}, {"sync_pages", c->sync_pages},
        {"sync_passes", c->sync_passes}, {"sync_keys", c->sync_keys},
        {"divergences", c->divergences}, {"collected", c->collected},
        {"collections", c->collections}, {"collect_failed", c->collect_failed}, {"gc", c->gc},
        {"floor", c->floor}, {"gc_refused", c->gc_refused}, {"listed", c->listed});
    return o;
}

static json_t *store_json(const struct store_stats *s)
{
    json_t *o = json_object();

    ADD_FIELDS(o, {"keys", s->keys}, {"tombstones", s->tombstones}, {"value_bytes", s->value_bytes},
               {"host_used", s->arena_used}, {"host_limit", s->arena_limit},
               {"host_resident", s->arena_resident}, {"host_returned", s->arena_returned},
               {"values_moved", s->values_moved}, {"index_bytes", s->index_bytes},
               {"integrity_failures", s->integrity_failures}, {"repairs", s->repairs},
               {"damaged", s->damaged}, {"pages_cold", s->pages_cold},
               {"pages_lost", s->pages_lost}, {"keys_lost", s->keys_lost},
               {"page_ins", s->page_ins}, {"page_outs", s->page_outs},
               {"page_reads", s->page_reads}, {"cache_hits", s->cache_hits},
               {"cache_bytes", s->cache_bytes});
    return o;
}

static json_t *shard_json(const struct node *n, uint32_t i)
{
    const struct node_shard *s = &n->shards[i];
    const struct pktio_counters *io = &s->io->counters; /* racy reads of statistics: harmless */
    json_t *o = json_object();
    json_t *host = json_object();

    ADD_FIELDS(o, {"shard", i}, {"enclave_used", s->report.heap_used},
               {"enclave_peak", s->report.heap_peak}, {"enclave_limit", s->report.heap_limit},
               {"requests_refused", s->report.requests_refused}, {"epoch", s->report.epoch},
               {"requests_joining", s->report.requests_joining},
               {"requests_leaving", s->report.requests_leaving}, {"pending", s->report.pending},
               {"requests_forbidden", s->report.requests_forbidden},
               {"requests_strayed", s->report.requests_strayed},
               {"copied_keys", s->report.copied_keys}, {"copied_bytes", s->report.copied_bytes});
    ADD_FIELDS(
        host, {"bad_descriptors", s->host.bad_descriptors}, {"clock_lies", s->host.clock_lies},
        {"rx_calls", io->rx_calls}, {"rx_packets", io->rx_packets},
        {"rx_oversized", io->rx_oversized}, {"tx_calls", io->tx_calls},
        {"tx_packets", io->tx_packets}, {"tx_dropped", io->tx_dropped},
        {"rx_trains", io->rx_trains}, {"tx_trains", io->tx_trains}, {"sleeps", s->loop.sleeps},
        {"spin_hits", s->loop.spin_hits}, {"waits", io->waits}, {"wakes", io->wakes},
        {"ring_bad", io->ring_bad}, {"arena_dropped", s->loop.dropped},
        {"defers", s->loop.deference.defers}, {"defers_given_up", s->loop.deference.given_up},
        {"arena_faults", arena_faults(&s->arena)});
    if (s->loop.place != SHARD_LOOP_ANYWHERE) {
        ADD_FIELDS(host, {s->loop.place == SHARD_LOOP_BOUND ? "cpu" : "home", s->loop.cpu});
    }
    if (s->io->ops->dropped != NULL) {
        ADD_FIELDS(host, {"kernel_dropped", s->io->ops->dropped(s->io)});
    }
    if (n->dpdk != NULL) {
        ADD_FIELDS(host, {"rx_bad", io->rx_bad}, {"rx_others", io->rx_others},
                   {"rx_handed", io->rx_handed}, {"rx_dropped", io->rx_dropped},
                   {"rx_kernel", io->rx_kernel}, {"tx_kernel", io->tx_kernel},
                   {"neighbours_asked", io->neighbours_asked}, {"no_neighbour", io->no_neighbour});
    }
    (void)json_object_set_new(o, "aead", json_string(shard_aead_name(s->shard)));
    (void)json_object_set_new(o, "store", store_json(&s->report.store));
    (void)json_object_set_new(o, "abd", abd_json(&s->report.abd));
    (void)json_object_set_new(o, "diverged_from",
                              members_json(&n->cluster, s->report.abd.diverged_from));
    (void)json_object_set_new(o, "rpc", rpc_json(&s->report.rpc));
    (void)json_object_set_new(o, "rtt", rtt_json(s->report.rpc.rtt));
    (void)json_object_set_new(o, "connections", connections_json(s, &n->cluster, n->shards_n));
    (void)json_object_set_new(o, "host", host);
    return o;
}

static json_t *control_json(const struct control_counters *c)
{
    json_t *o = json_object();

    ADD_FIELDS(o, {"accepted", c->accepted}, {"dialed", c->dialed},
               {"handshakes_ok", c->handshakes_ok}, {"handshakes_failed", c->handshakes_failed},
               {"refused", c->refused}, {"timed_out", c->timed_out}, {"sessions", c->sessions});
    return o;
}

struct node_standing node_standing(const struct node *n)
{
    struct node_standing t = {.installed = UINT64_MAX};
    uint64_t copying = 0;

    for (uint32_t i = 0; i < n->shards_n; i++) {
        const struct replica_report *r = &n->shards[i].report;

        t.installed = r->epoch < t.installed ? r->epoch : t.installed;
        t.groups_copied |= r->groups_copied;
        copying |= r->groups_copying;
        t.shedding += r->shedding;
        t.keys += r->copied_keys;
        t.err = r->copy_err != OK ? r->copy_err : t.err;
    }
    t.copying = copying != 0;
    t.groups_copied &= ~copying;
    return t;
}

static bool has_majority(uint32_t voters, uint32_t up)
{
    return __builtin_popcount(up & voters) > __builtin_popcount(voters) / 2;
}

/* "voting": with every group of slots that it votes in a majority is up. */
static const char *state_of(const struct cluster *c, uint8_t self, uint32_t up)
{
    bool votes = false;

    for (uint32_t i = 0; i < c->groups_n; i++) {
        uint32_t voters = c->groups[i].voters;

        if ((voters >> self & 1) == 0) {
            continue;
        }
        votes = true;
        if (!has_majority(voters, up)) {
            return "no_majority";
        }
    }
    return votes ? "voting" : strcmp(cluster_role(c, self), "learner") == 0 ? "joining" : "spare";
}

/* Slots of which the node is a voter, such that it is joining, and such that nobody can serve as
 * far as this node can see. */
static void add_slots(json_t *o, const struct cluster *c, uint8_t self, uint32_t up)
{
    uint64_t voting = 0, joining = 0, unserved = 0;

    for (uint32_t i = 0; i < c->groups_n; i++) {
        uint64_t n = slot_first(i + 1, c->groups_n) - slot_first(i, c->groups_n);

        voting += (c->groups[i].voters >> self & 1) * n;
        joining += (c->groups[i].learners >> self & 1) * n;
        unserved += has_majority(c->groups[i].voters, up) ? 0 : n;
    }
    ADD_FIELDS(o, {"slots", voting}, {"slots_joining", joining}, {"groups", c->groups_n},
               {"slots_unserved", unserved});
}

char *node_report_json(const struct node *n, const struct control *control)
{
    const struct cluster *c = &n->cluster;
    const struct cluster_member *m = &c->members[n->self];
    struct node_standing t = node_standing(n);
    uint32_t up = control_members_up(control);
    json_t *o = json_object();
    json_t *shards = json_array();
    char *text;

    for (uint32_t i = 0; i < n->shards_n; i++) {
        up &= n->shards[i].report.members_up;
        (void)json_array_append_new(shards, shard_json(n, i));
    }
    ADD_FIELDS(o, {"node", m->node}, {"incarnation", m->incarnation}, {"epoch", c->epoch},
               {"installed", t.installed}, {"members", c->members_n},
               {"voters", (uint64_t)__builtin_popcount(cluster_voters(c))},
               {"members_up", (uint64_t)__builtin_popcount(up)}, {"copied_keys", t.keys},
               {"shedding", t.shedding}, {"groups_copied", t.groups_copied},
               {"uptime_s", (clock_now_ns() - n->started_ns) / 1000000000U});
    (void)json_object_set_new(o, "cluster", json_string(c->name));
    (void)json_object_set_new(o, "version", json_string(AVOCADO_VERSION));
    (void)json_object_set_new(o, "io",
                              json_string(n->rings != NULL  ? "ring"
                                          : n->dpdk != NULL ? "dpdk"
                                                            : "udp"));
    (void)json_object_set_new(o, "state", json_string(state_of(c, n->self, up)));
    (void)json_object_set_new(o, "role", json_string(cluster_role(c, n->self)));
    add_slots(o, c, n->self, up);
    (void)json_object_set_new(o, "copying", json_boolean(t.copying));
    if (t.err != OK) {
        (void)json_object_set_new(o, "copy_waits_for", json_string(err_name(t.err)));
    }
    (void)json_object_set_new(o, "tee", json_string(port_tee()));
    (void)json_object_set_new(o, "protected", json_boolean(port_is_protected()));
    (void)json_object_set_new(o, "memory", json_string(port_memory_name()));
    (void)json_object_set_new(o, "memory_spilled", json_integer((json_int_t)port_memory_spilled()));
    (void)json_object_set_new(o, "shards", shards);
    (void)json_object_set_new(o, "control", control_json(control_counters(control)));
    text = json_dumps(o, JSON_COMPACT);
    json_decref(o);
    return text;
}
