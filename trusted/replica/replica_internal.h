// SPDX-License-Identifier: Apache-2.0
#ifndef TRUSTED_REPLICA_REPLICA_INTERNAL_H
#define TRUSTED_REPLICA_REPLICA_INTERNAL_H

/*
 * Inside a shard:
 *
 *   replica.c          requests and answers, sessions, the door
 *   replica_access.c   what clients with rules may ask
 *   replica_look.c     what clients ask a majority themselves
 *   replica_bundle.c   questions to a member that share an RPC
 *   replica_peer.c     what members ask and answer
 *   replica_group.c    one group of slots: its ABD machine, and what that machine says
 *   replica_members.c  changes of membership, copying
 *   replica_report.c   what a person may see
 *
 * "Member" is a place among the members of the cluster, "place" one among those of a group.
 */

#include "common/slots.h"
#include "trusted/copy/copy.h"
#include "trusted/replica/replica.h"
#include "trusted/wire/bundle_wire.h"

enum {
    /* Calls that could not be handed to the transport wait here to be reported to the ABD machine.
     * One operation has at most one call to each member, and a failed call is not repeated before
     * the member comes up, so the list stays below the square of the members. */
    REPLICA_FAILED_MAX = NODES_MAX * NODES_MAX,
    REPLICA_EXPECT = STORE_EXPECT_MAX,
    REPLICA_NOWHERE = 0xff,
    REPLICA_GROUP_OPS_MIN = 512,
    REPLICA_SHED_STEP = 64, /* keys that one step forgets */
    REPLICA_SHEDDING_MAX = 2 * GROUPS_MAX,
};

/* A client's request that an ABD machine works on; `user` of the operation is its place here. */
struct replica_pending {
    struct rpc_request request;
    uint16_t next_free;
    uint8_t group; /* GROUPS_MAX: free */
    bool is_read;
};

/* The rules of one session; a later one in the same slot has another index. */
struct replica_access {
    uint32_t session;
    struct access rules;
};

enum replica_call_way {
    REPLICA_CALL_NONE = 0,
    REPLICA_CALL_ALONE,
    REPLICA_CALL_STAGED, /* in the stage of its member */
    REPLICA_CALL_BUNDLED,
};

/* The call to one member that belongs to one operation. */
struct replica_call {
    uint64_t cookie; /* 0: none */
    union {
        struct rpc_call call;          /* ALONE */
        struct replica_bundle *bundle; /* BUNDLED */
    } u;
    enum replica_call_way way;
};

struct replica_group {
    struct replica *replica;
    uint8_t number;
    uint8_t part; /* of the store; REPLICA_NOWHERE: it is the whole */
    uint8_t self, members_n, voters;
    uint8_t member_at[NODES_MAX];  /* by place */
    uint8_t place_of[CLUSTER_MAX]; /* by member; REPLICA_NOWHERE: not in the group */
    uint32_t incarnation[NODES_MAX];
    struct store *store;
    struct abd *abd;
    uint32_t places_n;                     /* of its operations and batches */
    struct replica_call *calls[NODES_MAX]; /* places_n each; NULL before the first session */
    struct replica_call copy_calls[NODES_MAX];
    uint64_t copy_serial;
    bool copies;
    struct copy *copy; /* NULL: there is nothing to copy, or, if `copies`, no memory for it yet */
    uint32_t failed_n;
    struct abd_cancel failed[REPLICA_FAILED_MAX];
};

struct replica {
    struct heap *heap;
    struct store *store; /* the whole */
    struct rpc *rpc;
    struct abd_config abd_config; /* of every group, but for what differs */
    uint64_t now_ns;
    uint32_t value_max;
    uint32_t shard, shards_n;
    uint8_t cluster_id[SIPHASH_KEY_LEN];
    unsigned plants;
    struct replica_members members;   /* in force */
    uint32_t first_group, groups_end; /* those that lie in this shard */
    uint32_t hosted_n;
    struct replica_group *only;               /* if it is one */
    struct replica_group *groups[GROUPS_MAX]; /* NULL: not here */
    struct abd_past past[GROUPS_MAX];         /* of groups that were left */
    uint64_t groups_at_ns;                    /* nothing is due in any group before */
    uint64_t
        lacking_at_ns; /* when to try again to open what had no memory; UINT64_MAX: all is here */
    uint32_t shedding_n;
    struct store *shedding[REPLICA_SHEDDING_MAX];
    uint8_t shedding_part[REPLICA_SHEDDING_MAX];
    bool part_used[STORE_PART_MAX + 1];
    uint32_t member_session[CLUSTER_MAX]; /* our index; 0: none (a generation is never 0) */
    uint64_t member_bond[CLUSTER_MAX];    /* of that session (look_wire.h); 0: there is none */
    bool member_up[CLUSTER_MAX];
    struct replica_pending *pending; /* OPS_MAX */
    uint16_t free_head;              /* OPS_MAX: none */
    uint32_t pending_n;
    bool is_leaving; /* MEM-14 */
    uint64_t leaving_at_ns;
    uint64_t requests_leaving;
    uint64_t requests_refused, requests_joining, requests_forbidden, requests_strayed;
    uint32_t sessions_max;
    struct replica_access **access; /* of clients with rules, by slot; NULL: there was none yet */
    struct abd_counters left;       /* of groups that were left */
    uint64_t copied_keys, copied_bytes; /* by copies that ended */
    struct abd_out out; /* of the step under way; here because it is large for a stack */
    uint32_t datagram_bytes;
    uint32_t staged;                           /* members (bits) whose stage is not empty */
    struct replica_stage *stages[CLUSTER_MAX]; /* NULL: nothing was asked yet */
    struct replica_bundle *bundles;            /* under way */
    uint8_t bundle_answers[BUNDLE_ANSWERS_MAX];
    struct look_ask look_ask;    /* the look under way, */
    uint8_t look[LOOK_BODY_MAX]; /* and the answer to it */
};

/* ---- cookies of calls, as the transport knows them ----
 *
 * bit 63: a batch's; bit 62: of a copy; both: a bundle's. Then six bits for the group. Of the
 * generation in an ABD cookie the top bits give way: no call is under way while 2^40 others of its
 * place come and go. */

enum { REPLICA_GROUP_SHIFT = 56 };
static const uint64_t REPLICA_COPY_COOKIE = UINT64_C(1) << 62;
static const uint64_t REPLICA_BUNDLE_COOKIE = UINT64_C(3) << 62; /* and where the bundle lies */
static const uint64_t REPLICA_COOKIE_MASK = (UINT64_C(1) << REPLICA_GROUP_SHIFT) - 1;

_Static_assert(GROUPS_MAX <= 1 << (62 - REPLICA_GROUP_SHIFT), "a group fits its bits");

static inline uint64_t replica_wire_cookie(const struct replica_group *g, uint64_t cookie)
{
    return (cookie & (ABD_COOKIE_BATCH | REPLICA_COOKIE_MASK)) | (uint64_t)g->number
                                                                     << REPLICA_GROUP_SHIFT;
}

static inline uint32_t replica_cookie_group(uint64_t wire)
{
    return wire >> REPLICA_GROUP_SHIFT & (GROUPS_MAX - 1);
}

static inline bool replica_group_votes(const struct replica_group *g)
{
    return (g->voters >> g->self & 1) != 0;
}

/* Simulator only. */
static inline bool replica_holds_back(const struct replica_group *g)
{
    return (g->replica->plants & REPLICA_PLANT_SYNC_THEN_VOTE) != 0 && replica_group_votes(g) &&
           g->copy != NULL && !copy_is_complete(g->copy);
}

/* ---- replica.c ---- */

/* What the transport calls a session: user = has rules << 16 | kind << 8 | member. */
static const uint64_t REPLICA_HAS_RULES = UINT64_C(1) << 16;

static inline bool replica_is_member(uint64_t user)
{
    return user >> 8 == REPLICA_PEER_MEMBER;
}

static inline uint8_t replica_member_of(uint64_t user)
{
    return (uint8_t)(user & 0xff);
}

void replica_respond(struct replica *r, struct rpc_request to, const struct client_response *m);

void replica_refuse_client(struct replica *r, struct rpc_request request, enum err err);
struct rpc_request replica_pending_give(struct replica *r, uint64_t user);

/* ---- replica_peer.c ---- */

/* Who asks: a member's question alone, or one of a bundle. */
struct replica_asker {
    struct rpc_request request;
    uint64_t user;
    struct writer *bundle; /* where the answer goes; NULL: to the request */
};

void replica_on_member_request(struct replica *r, const struct rpc_event *e);
void replica_on_member_answer(struct replica *r, const struct rpc_event *e);
void replica_on_question(struct replica *r, const struct replica_asker *to, uint8_t group,
                         struct bytes body);
void replica_answer(struct replica *r, const struct replica_asker *to, const struct peer_answer *a);

/* ---- replica_access.c: what clients with rules may ask, ACL-3 ---- */

/* Keeps a copy for as long as the session stands. ENCLAVE_MEMORY */
RESULT replica_access_keep(struct replica *r, uint32_t session, const struct access *a);
void replica_access_drop(struct replica *r, uint32_t session);
void replica_access_fini(struct replica *r);
/* For a session that has some: which rights it lacks for this request. MALFORMED */
enum err replica_access_judge(const struct replica *r, uint32_t session,
                              const struct client_request *m, unsigned *ret_lacks);

/* Whether that session may read the key; one without rules may. */
bool replica_access_may_read(const struct replica *r, uint64_t user, uint32_t session,
                             struct bytes key);

/* ---- replica_look.c: what a client asks us of what we hold, CLI-19 ---- */

/* What both ends of a session between members know, and nobody else; tells nothing of its keys. */
uint64_t replica_bond(const struct secret *send, const struct secret *recv);
void replica_on_look(struct replica_group *g, const struct rpc_event *e,
                     const struct client_request *m);

/* ---- replica_group.c ---- */

/* One event for the group's ABD machine and all that follows from it. `asker` is who gets an answer
 * to a peer's question; NULL: nobody. */
void replica_step(struct replica_group *g, struct abd_in *in, const struct replica_asker *asker);
/* The call that the operation of this cookie has, or may have, to the member at this place. */
struct replica_call *replica_call_of(struct replica_group *g, uint8_t place, uint64_t cookie);
/* A call to the member has ended: an answer, or NULL. */
void replica_group_answered(struct replica_group *g, uint8_t place, uint64_t wire,
                            const struct peer_answer *m);
/* A member's session opens: room for the calls to it. ENCLAVE_MEMORY. */
RESULT replica_group_meet(struct replica_group *g, uint8_t member);
void replica_group_peer(struct replica_group *g, uint8_t member, bool up);
/* Simulator only: what the replica's plants mean for this group. */
void replica_group_plant(struct replica_group *g);
/* What is due. */
void replica_groups_tick(struct replica *r);
/* Opens what the configuration in force wants here and is not here. ENCLAVE_MEMORY: some are
 * lacking, and are tried again in a while. */
RESULT replica_groups_open(struct replica *r);
/* Leaves the group: answers its clients, and forgets. */
void replica_group_leave(struct replica_group *g);
void replica_groups_fini(struct replica *r);
/* Nothing is due in any group before. */
uint64_t replica_groups_deadline(const struct replica *r);
static inline uint64_t replica_group_deadline(const struct replica_group *g)
{
    uint64_t at = abd_deadline(g->abd);
    uint64_t copy = g->copy == NULL ? UINT64_MAX : copy_deadline(g->copy);

    return at < copy ? at : copy;
}

/* ---- replica_bundle.c: questions that share an RPC ---- */

/* Takes the question, to be asked at the end of the turn. False: it has to go alone. */
bool replica_bundle_add(struct replica_group *g, const struct abd_call *c,
                        struct replica_call *call);
/* Nobody waits for this question any more, or it was answered. */
void replica_bundle_cancel(struct replica *r, struct replica_call *call);
/* The member's session has ended: so does what was to be asked. */
void replica_bundle_drop(struct replica *r, uint8_t member);
/* The end of the turn. */
void replica_bundles_send(struct replica *r);
/* A RESPONSE or FAILED event of a bundle. */
void replica_bundle_ended(struct replica *r, const struct rpc_event *e);
/* A member asks. */
void replica_on_bundle(struct replica *r, const struct rpc_event *e);
void replica_bundles_fini(struct replica *r);

/* ---- replica_members.c ---- */

/* Who is in a group, seen from here. */
struct replica_layout {
    uint8_t self; /* REPLICA_NOWHERE: not we */
    uint8_t members_n, voters;
    bool copies;
    uint8_t member_at[NODES_MAX];
    uint8_t place_of[CLUSTER_MAX];
    uint32_t incarnation[NODES_MAX];
};

void replica_layout(const struct replica_members *m, uint32_t group, struct replica_layout *ret);
void replica_group_place(struct replica_group *g, const struct replica_layout *l);
/* Begins to copy if it has to and does not yet. ENCLAVE_MEMORY. */
RESULT replica_copy_begin(struct replica_group *g);
void replica_copy_end(struct replica_group *g);
/* A member asks for a page. */
void replica_on_copy(struct replica_group *g, uint8_t place, const struct peer_ask *ask,
                     const struct replica_asker *asker);
/* Our question for a page has ended: an answer, or NULL. */
void replica_on_page(struct replica_group *g, uint8_t place, uint64_t wire,
                     const struct peer_answer *m);
/* Asks for the pages that can be asked for now. */
void replica_copy_on(struct replica_group *g);

/* Tells the store of the next REPLICA_EXPECT requests of the datagram under way, if it waits for
 * memory: these then wait together. Does nothing else. */
void replica_expect(const struct replica *r);

#endif
