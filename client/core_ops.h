// SPDX-License-Identifier: Apache-2.0
#ifndef CLIENT_CORE_OPS_H
#define CLIENT_CORE_OPS_H

/* Operations of the core, their lists and their alarms. Only client/core*.c include this. */

#include "client/core.h"

enum {
    CORE_CALLS_MAX = 3, /* a GET asks at most so many coordinators at a time */
    CORE_KEY_INLINE = 128,
};

/*
 *   submit --> GATHERED --core_transmit--> LOOKED --they agree--> DONE
 *                                            | they do not
 *              no slot                    slot v as submitted, without looking
 *   submit --> WAITING ---------------------------> CALLED --> DONE
 *     |           ^  \ session gone                  |  ^
 *     |           |   v                         BUSY |  | alarm
 *     +------> PARKED (no session stands)            v  |
 *                                                   PAUSED
 */
enum op_state {
    OP_FREE = 0,
    OP_WAITING,  /* in the queue of a session */
    OP_PARKED,   /* no session to its shard stands */
    OP_PAUSED,   /* until wake_at_ns */
    OP_CALLED,   /* calls_n calls are in rpc */
    OP_GATHERED, /* waits for company until the next datagrams leave */
    OP_LOOKED,   /* its look is under way */
    OP_DONE,
};

struct look;
struct look_values;
struct op;

struct op_list {
    struct op *head, *tail;
    uint32_t n;
};

struct op_call {
    struct rpc_call call;
    uint64_t sent_before; /* datagrams that had left when it was given to rpc */
    uint8_t place;
    bool live;
};

struct op {
    enum op_state state;
    enum client_op op;
    struct op *prev, *next;
    struct op_list *in; /* the list it is in */
    uint32_t alarm;     /* place in the alarm heap + 1; 0: none */
    uint32_t generation;
    uint64_t wake_at_ns, deadline_at_ns, share_ns;
    uint64_t no_memory_before; /* rpc's counter when it was submitted */
    uint64_t user;
    uint32_t shard;
    uint8_t *block; /* key, then value: key_inline or of the heap */
    uint32_t key_len, value_len;
    enum client_rmw rmw;
    uint32_t expect_len;
    int64_t delta;
    uint32_t calls_n;
    struct op_call calls[CORE_CALLS_MAX];
    uint8_t group;
    uint16_t slot;    /* of the key; a batch has none */
    uint32_t tried;   /* places that were asked and have not answered well (bits) */
    uint8_t start;    /* place to ask first */
    uint8_t attempts; /* pauses so far */
    enum err status, cause;
    uint8_t lacks; /* POLICY: as in client_wire.h */
    struct tag tag;
    struct bytes value; /* of the answer */
    void *value_block;
    size_t value_block_n;
    /* LOOKED, and then the value: */
    struct look *look;
    struct look_values *values; /* where the value lies; NULL: in value_block */
    uint8_t look_at;            /* which of the look's keys */
    uint8_t look_state;         /* enum look_state: what all who answered agree on; ASK: nothing */
    uint8_t key_inline[CORE_KEY_INLINE];
};

/* Reads may be asked of any coordinator, and of several. */
static inline bool op_is_read(const struct op *o)
{
    return o->op == CLIENT_GET || o->op == CLIENT_SCAN || o->op == CLIENT_MGET;
}

void op_list_push(struct op_list *l, struct op *o);
void op_list_remove(struct op *o); /* from the list it is in, if any */
struct op *op_list_pop(struct op_list *l);

/* A binary heap of operations by wake_at_ns; room for as many as there are operations. */
struct alarms {
    struct op **at;
    uint32_t n;
};

void alarms_set(struct alarms *a, struct op *o, uint64_t wake_at_ns);
void alarms_clear(struct alarms *a, struct op *o);
/* The earliest; NULL when there is none. */
struct op *alarms_first(const struct alarms *a);

#endif
