// SPDX-License-Identifier: Apache-2.0
/* What a person may see of a shard. */
#include "trusted/replica/replica_internal.h"

/* Members first: there is always room for them. */
static void report_sessions(const struct replica *r, struct replica_report *ret)
{
    _Static_assert((int)REPLICA_REPORT_SESSIONS >= (int)CLUSTER_MAX, "every member is shown");
    for (int pass = 0; pass < 2; pass++) {
        struct rpc_session_info info;
        uint32_t cursor = 0;

        while (ret->sessions_n < REPLICA_REPORT_SESSIONS &&
               rpc_session_info(r->rpc, &cursor, &info)) {
            if (replica_is_member(info.user) == (pass == 0)) {
                ret->sessions[ret->sessions_n++] = (struct replica_session_report){
                    .kind = pass == 0 ? REPLICA_PEER_MEMBER : REPLICA_PEER_CLIENT,
                    .member = replica_member_of(info.user),
                    .info = info};
            }
        }
    }
}

static uint64_t greater(uint64_t a, uint64_t b)
{
    return a > b ? a : b;
}

/* Numbers of groups add up; of a number that a group has reached the greatest counts; sets of
 * places become sets of members. */
static void add_abd(struct abd_counters *to, const struct abd_counters *from,
                    const struct replica_group *g)
{
    uint64_t *sum = (uint64_t *)to, diverged = to->diverged_from;
    uint64_t gc = greater(to->gc, from->gc), floor = greater(to->floor, from->floor);
    const uint64_t *more = (const uint64_t *)from;

    _Static_assert(sizeof(*to) % sizeof(uint64_t) == 0, "nothing but numbers");
    for (size_t i = 0; i < sizeof(*to) / sizeof(uint64_t); i++) {
        sum[i] += more[i];
    }
    for (uint8_t i = 0; g != NULL && i < g->members_n; i++) {
        diverged |= (from->diverged_from >> i & 1) << g->member_at[i];
    }
    to->diverged_from = diverged;
    to->gc = gc;
    to->floor = floor;
}

static void add_store(struct store_stats *to, struct store *part)
{
    struct store_stats s;

    store_stats(part, &s);
    to->keys += s.keys;
    to->tombstones += s.tombstones;
    to->value_bytes += s.value_bytes;
    to->damaged += s.damaged;
    to->integrity_failures += s.integrity_failures;
    to->repairs += s.repairs;
}

static void add_group(struct replica_report *ret, const struct replica_group *g)
{
    uint64_t bit = UINT64_C(1) << g->number;

    add_abd(&ret->abd, abd_counters(g->abd), g);
    if (g->part != REPLICA_NOWHERE) {
        add_store(&ret->store, g->store);
    }
    ret->groups_voting |= replica_group_votes(g) ? bit : 0;
    if (g->copy == NULL) {
        return;
    }
    ret->copied_keys += g->copy->keys;
    ret->copied_bytes += g->copy->bytes;
    if (copy_is_complete(g->copy) || (g->replica->plants & REPLICA_PLANT_VOTE_UNFINISHED) != 0) {
        ret->groups_copied |= bit;
    } else {
        ret->groups_copying |= bit;
        ret->copy_err = g->copy->err != OK ? g->copy->err : ret->copy_err;
    }
}

/* What is wanted here and had no memory yet. */
static void add_lacking(struct replica_report *ret, const struct replica *r)
{
    for (uint32_t i = r->first_group; r->lacking_at_ns != UINT64_MAX && i < r->groups_end; i++) {
        struct replica_layout l;

        replica_layout(&r->members, i, &l);
        if (r->groups[i] == NULL ? l.self != REPLICA_NOWHERE
                                 : r->groups[i]->copies && r->groups[i]->copy == NULL) {
            ret->groups_copying |= UINT64_C(1) << i;
            ret->copy_err = ERR_ENCLAVE_MEMORY;
        }
    }
}

void replica_report(const struct replica *r, struct replica_report *ret)
{
    struct store_stats s;

    *ret = (struct replica_report){
        .rpc = *rpc_counters(r->rpc),
        .abd = r->left,
        .heap_used = heap_used(r->heap),
        .heap_peak = heap_peak(r->heap),
        .heap_limit = heap_limit(r->heap),
        .requests_refused = r->requests_refused,
        .requests_joining = r->requests_joining,
        .requests_leaving = r->requests_leaving,
        .pending = r->pending_n,
        .requests_forbidden = r->requests_forbidden,
        .requests_strayed = r->requests_strayed,
        .members_up = 1U << r->members.self,
        .epoch = r->members.epoch,
        .copied_keys = r->copied_keys,
        .copied_bytes = r->copied_bytes,
    };
    store_stats(r->store, &ret->store);
    for (uint32_t i = r->first_group; i < r->groups_end; i++) {
        if (r->groups[i] != NULL) {
            add_group(ret, r->groups[i]);
        }
    }
    add_lacking(ret, r);
    ret->votes = ret->groups_voting != 0;
    ret->copying = ret->groups_copying != 0;
    ret->copied = ret->groups_copied != 0 && !ret->copying;
    for (uint32_t i = 0; i < r->shedding_n; i++) {
        store_stats(r->shedding[i], &s);
        ret->shedding += s.keys + s.tombstones;
    }
    report_sessions(r, ret);
    for (unsigned m = 0; m < r->members.members_n; m++) {
        if (r->member_up[m]) {
            ret->members_up |= 1U << m;
        }
    }
}

const struct rpc_counters *replica_rpc_counters(const struct replica *r)
{
    return rpc_counters(r->rpc);
}

bool replica_has_session(const struct replica *r, uint8_t member)
{
    return member < CLUSTER_MAX && r->member_session[member] != 0;
}
