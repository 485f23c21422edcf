// SPDX-License-Identifier: Apache-2.0
#ifndef TRUSTED_REPLICA_REPLICA_INTERNAL_H
#define TRUSTED_REPLICA_REPLICA_INTERNAL_H

#include "trusted/copy/copy.h"
#include "trusted/replica/replica.h"

enum {
    /* Calls that could not be handed to the transport wait here to be reported to the ABD machine.
     * One operation has at most one call to each member, and a failed call is not repeated before
     * the member comes up, so the list stays below the square of the members. */
    REPLICA_FAILED_MAX = NODES_MAX * NODES_MAX,
    REPLICA_EXPECT = STORE_EXPECT_MAX,
};

/* A client's request that the ABD machine works on; `user` of the operation is its place here. */
struct replica_pending {
    struct rpc_request request;
    uint16_t next_free;
};

/* The rules of one session; a later one in the same slot has another index. */
struct replica_access {
    uint32_t session;
    struct access rules;
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
    uint32_t pending_n;
    bool is_leaving; /* MEM-14 */
    uint64_t requests_leaving;
    uint64_t requests_refused, requests_joining, requests_forbidden;
    uint32_t sessions_max;
    struct replica_access **access; /* of clients with rules, by slot; NULL: there was none yet */
    uint64_t epoch;
    uint8_t voters;
    uint32_t incarnation[NODES_MAX]; /* of the members there are now */
    struct copy copy;
    struct replica_call copy_calls[NODES_MAX];
    uint64_t copy_serial;
    unsigned plants;    /* enum replica_plant; 0 in production */
    struct abd_out out; /* of the step under way; here because it is large for a stack */
};

/* What the transport calls a session: user = has rules << 16 | kind << 8 | member. */
static const uint64_t HAS_RULES = UINT64_C(1) << 16;

static inline bool is_member(uint64_t user)
{
    return user >> 8 == REPLICA_PEER_MEMBER;
}

static inline uint8_t member_of(uint64_t user)
{
    return (uint8_t)(user & 0xff);
}

/* ---- replica_access.c: what clients with rules may ask, ACL-3 ---- */

/* Keeps a copy for as long as the session stands. ENCLAVE_MEMORY */
RESULT replica_access_keep(struct replica *r, uint32_t session, const struct access *a);
void replica_access_drop(struct replica *r, uint32_t session);
void replica_access_fini(struct replica *r);
/* For a session that has some: which rights it lacks for this request. MALFORMED */
enum err replica_access_judge(const struct replica *r, uint32_t session,
                              const struct client_request *m, unsigned *ret_lacks);

/* ---- replica_members.c: changes of membership, and copying ---- */

/* Cookies of calls that copy; those of the ABD machine never come so far, but for their top bit. */
static const uint64_t REPLICA_COPY_COOKIE = UINT64_C(1) << 62;

static inline bool replica_votes(const struct replica *r)
{
    return (r->voters >> r->self & 1) != 0;
}

void replica_answer(struct replica *r, struct rpc_request to, const struct peer_answer *a);
/* One event for the ABD machine and all that follows from it. `request` is where an answer to a
 * peer's question goes; NULL: nowhere. */
void replica_step(struct replica *r, struct abd_in *in, const struct rpc_request *request);

/* A member asks for a page. */
void replica_on_copy(struct replica *r, uint8_t member, const struct peer_ask *ask,
                     struct rpc_request request);
/* Our question for a page has ended: an answer, or NULL. */
void replica_on_page(struct replica *r, uint8_t member, uint64_t cookie,
                     const struct peer_answer *m);
/* From the beginning, from a majority of the voters there are now. */
void replica_copy_begin(struct replica *r);
/* Asks for the pages that can be asked for now. */
void replica_copy_on(struct replica *r);

/* Tells the store of the next REPLICA_EXPECT requests of the datagram under way, if it waits for
 * memory: these then wait together. Does nothing else. */
void replica_expect(const struct replica *r);

#endif
