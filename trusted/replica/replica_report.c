// SPDX-License-Identifier: Apache-2.0
/* What a shard says of itself. */
#include "trusted/replica/replica_internal.h"

/* Members first: there is always room for them. */
static void report_sessions(const struct replica *r, struct replica_report *ret)
{
    _Static_assert((int)REPLICA_REPORT_SESSIONS >= (int)NODES_MAX, "every member is shown");
    for (int pass = 0; pass < 2; pass++) {
        struct rpc_session_info info;
        uint32_t cursor = 0;

        while (ret->sessions_n < REPLICA_REPORT_SESSIONS &&
               rpc_session_info(r->rpc, &cursor, &info)) {
            if (is_member(info.user) == (pass == 0)) {
                ret->sessions[ret->sessions_n++] = (struct replica_session_report){
                    .kind = pass == 0 ? REPLICA_PEER_MEMBER : REPLICA_PEER_CLIENT,
                    .member = member_of(info.user),
                    .info = info};
            }
        }
    }
}

void replica_report(const struct replica *r, struct replica_report *ret)
{
    *ret = (struct replica_report){
        .rpc = *rpc_counters(r->rpc),
        .abd = *abd_counters(r->abd),
        .heap_used = heap_used(r->heap),
        .heap_peak = heap_peak(r->heap),
        .heap_limit = heap_limit(r->heap),
        .requests_refused = r->requests_refused,
        .requests_joining = r->requests_joining,
        .requests_leaving = r->requests_leaving,
        .pending = r->pending_n,
        .requests_forbidden = r->requests_forbidden,
        .members_up = (uint8_t)(1U << r->self),
        .epoch = r->epoch,
        .votes = replica_votes(r),
        .copying = !copy_is_complete(&r->copy),
        .copied = r->copy.active && copy_is_complete(&r->copy),
        .copied_keys = r->copy.keys,
        .copied_bytes = r->copy.bytes,
        .copy_err = r->copy.err,
    };
    store_stats(r->store, &ret->store);
    report_sessions(r, ret);
    for (unsigned m = 0; m < r->members_n; m++) {
        if (r->member_up[m]) {
            ret->members_up |= (uint8_t)(1U << m);
        }
    }
}
