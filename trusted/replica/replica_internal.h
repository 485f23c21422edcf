// SPDX-License-Identifier: Apache-2.0
#ifndef TRUSTED_REPLICA_REPLICA_INTERNAL_H
#define TRUSTED_REPLICA_REPLICA_INTERNAL_H

#include "trusted/replica/replica.h"

enum {
    /* Calls that could not be handed to the transport wait here to be reported to the ABD machine.
     * One operation has at most one call to each member, and a failed call is not repeated before
     * the member comes up, so the list stays below the square of the members. */
    REPLICA_FAILED_MAX = NODES_MAX * NODES_MAX,
};

/* A client's request that the ABD machine works on; `user` of the operation is its place here. */
struct replica_pending {
    struct rpc_request request;
    uint16_t next_free;
};

/* The call to one member that belongs to one operation. */
struct replica_call {
    uint64_t cookie; /* 0: none */
    struct rpc_call call;
};

struct replica {
    struct heap *heap;
    struct store *store;
    struct abd *abd;
    struct rpc *rpc;
    uint64_t now_ns;
    uint8_t self, members_n;
    uint32_t value_max;
    uint32_t member_session[NODES_MAX]; /* our index; 0: none (a generation is never 0) */
    bool member_up[NODES_MAX];
    struct replica_pending *pending;       /* OPS_MAX */
    struct replica_call *calls[NODES_MAX]; /* ABD_PLACES each */
    uint16_t free_head;                    /* OPS_MAX: none */
    uint32_t failed_n;
    struct abd_cancel failed[REPLICA_FAILED_MAX];
    uint64_t requests_refused;
    struct abd_out out; /* of the step under way; here because it is large for a stack */
};

#endif
