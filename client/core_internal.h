// SPDX-License-Identifier: Apache-2.0
#ifndef CLIENT_CORE_INTERNAL_H
#define CLIENT_CORE_INTERNAL_H

/* The state of the core. Only client/core*.c include this. */

#include "client/core.h"
#include "client/core_look.h"
#include "client/core_ops.h"
#include "common/prng.h"

struct session {
    uint32_t index; /* ours */
    uint32_t in_rpc;
    bool open;
    bool up;      /* open and not silent */
    bool leaving; /* it said so (CLI-7), or we (CLI-17): asked only where nobody else can be */
    struct op_list waiting;
};

/* Memory of a value that was handed out and is freed by core_release. */
struct lent {
    void *block;
    size_t n;
    struct look_values *values; /* instead of block */
};

struct core {
    struct core_config config;
    struct rpc *rpc;
    struct prng prng;
    uint32_t start; /* place that is asked first */
    bool spill;     /* that place was not asked for by the user: any other will do */
    uint32_t lost;  /* places */
    bool has_map;
    struct core_map map;
    uint64_t sent;            /* datagrams that left */
    uint64_t now_ns;          /* the latest time heard of */
    struct session *sessions; /* nodes_n times SHARDS_MAX */
    struct op *ops;
    struct alarms alarms;
    struct op_list free, parked, done, done_batches;
    struct looks looks;
    uint32_t in_flight;
    struct lent *lent;
    uint32_t lent_n;
    struct lent lent_batch; /* of the batch that was taken last */
    struct core_counters counters;
    unsigned plants; /* enum core_plant; 0 in production */
};

static inline struct session *core_session(const struct core *c, uint32_t place, uint32_t shard)
{
    return &c->sessions[place * SHARDS_MAX + shard];
}

/* core_attempt.c: how an operation moves. */

/* Gives the operation, which is in no list and has no call, to a session, a queue or a pause. */
void core_dispatch(struct core *c, struct op *o);
/* Asks one more coordinator while calls are under way, if there is one that can take it. */
void core_hedge(struct core *c, struct op *o);
/* Its key and value are not needed any more. */
void core_free_block(struct core *c, struct op *o);
/* Ends the operation; cancels its calls. */
void core_finish(struct core *c, struct op *o, enum err status, enum err cause);
/* Its alarm rang. */
void core_alarm(struct core *c, struct op *o);
/* A slot of the session may have become free. */
void core_pump(struct core *c, struct session *s);
/* A RESPONSE or FAILED event. */
void core_ended(struct core *c, const struct rpc_event *e);
/* The session to place and shard can take one more call. */
bool core_has_room(const struct session *s);
/* The operation named by a cookie and which of its calls; NULL for one that has ended. */
struct op *core_lookup(struct core *c, uint64_t cookie, struct op_call **ret_call);

#endif
