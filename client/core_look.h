// SPDX-License-Identifier: Apache-2.0
#ifndef CLIENT_CORE_LOOK_H
#define CLIENT_CORE_LOOK_H

/*
 * Looks (CLI-19): a client asks a majority of the replicas itself what each of them holds, one for
 * the values and the others for tags alone. What all say is the answer of a get: one way there and
 * one back, and no replica keeps anything of it. Where they do not agree, or somebody is late, the
 * get is put to a coordinator as if there had been no look.
 *
 *     gets of one moment, one part      a look            who is asked
 *       get  get  get  get  --->  [k1 k2 k3 k4]  --values--> A
 *                                                ----tags--> B
 *
 * Only client/core*.c include this.
 */

#include "client/core_ops.h"
#include "common/hedge.h"
#include "trusted/wire/look_wire.h"

enum {
    LOOKS_MAX = 64, /* under way */
    LOOK_CALLS_MAX = 3,
};

struct look_call {
    struct rpc_call call;
    uint8_t place;
    bool live;
};

struct look {
    struct look *prev, *next; /* of those under way, in order of due_at_ns; next: of the free */
    uint32_t generation;      /* even: free */
    uint32_t shard;
    uint32_t keys_n, left_n; /* operations at first, and now */
    uint32_t calls_n, answered_n;
    uint64_t began_at_ns, due_at_ns;
    bool torn; /* those who answered do not speak for one configuration */
    struct look_witness witnesses[LOOK_CALLS_MAX]; /* the first answered_n */
    uint8_t *body;
    size_t body_n;
    struct look_call calls[LOOK_CALLS_MAX]; /* the first one is asked for values */
    struct op *ops[LOOK_KEYS_MAX];          /* NULL: ended */
};

/* Values of one answer, where operations have them until they are released. */
struct look_values {
    uint32_t users;
    size_t n; /* of the block, this head included */
    uint8_t bytes[];
};

struct looks {
    struct look *pool;
    uint32_t pool_n;
    struct look *free;
    struct look *first, *last; /* under way */
    struct op_list gathered[PARTS_MAX];
    uint32_t gathered_n;
    uint64_t gathered_due_ns;        /* the earliest deadline of these */
    uint64_t answer_ns[CLUSTER_MAX]; /* smoothed, by place */
    struct hedge hedge;
    uint32_t begun;
    uint32_t fails;       /* share of looks that led to nothing, smoothed: of LOOK_ALL */
    uint32_t value_bytes; /* of an item in an answer, smoothed */
    struct look_item items[LOOK_KEYS_MAX]; /* of the answer under way */
};

RESULT core_look_init(struct core *c); /* ENCLAVE_MEMORY */
void core_look_fini(struct core *c);

/* Takes a get that was just submitted, if it is one to look for. */
bool core_look_gather(struct core *c, struct op *o);
/* Asks for all that were gathered. */
void core_look_flush(struct core *c);
/* Puts all that were gathered to coordinators: whom to ask has changed. */
void core_look_scatter(struct core *c);
/* The session went silent or ended: its looks lead to nothing. */
void core_look_down(struct core *c, uint32_t index);
/* The operation ends otherwise. */
void core_look_leave(struct core *c, struct op *o);
/* A RESPONSE or FAILED event, if it is of a look. */
bool core_look_ended(struct core *c, const struct rpc_event *e);
void core_look_tick(struct core *c);
uint64_t core_look_deadline(const struct core *c);
void core_look_values_give(struct core *c, struct look_values *v); /* NULL is allowed */

#endif
