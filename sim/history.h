// SPDX-License-Identifier: Apache-2.0
#ifndef SIM_HISTORY_H
#define SIM_HISTORY_H

/*
 * What clients called and what they were told. Points in time are positions in one order of calls
 * and returns. A put writes a value whose first bytes are its number in the history, the rest
 * follows from that number, so that a reader can tell a wrong byte from a wrong order.
 */

#include "common/result.h"
#include "sim/linear.h"
#include "trusted/wire/client_wire.h"

#include <stdbool.h>
#include <stdio.h>

struct history_op {
    uint32_t client, key, node;
    enum client_op op;
    uint32_t value_len; /* PUT */
    uint32_t timeout_ms;
    uint64_t call, ret; /* ret: LINEAR_NEVER while pending or when nobody told */
    uint64_t call_at_ns, ret_at_ns;
    enum err status; /* once returned */
    uint64_t read;   /* GET, OK: number + 1 of the put whose value it was */
    bool returned;   /* an answer came */
    bool gave_up;    /* the client stopped waiting */
    bool after_heal; /* must succeed */
};

struct history {
    struct history_op *ops;
    size_t n, cap;
    uint64_t clock;
};

void history_init(struct history *h);
void history_fini(struct history *h);
/* Number of the new operation. */
size_t history_call(struct history *h, const struct history_op *op);
/* `value` of a GET with status OK. False: the bytes are not what any put of this key wrote. */
bool history_return(struct history *h, size_t op, enum err status, struct bytes value,
                    uint64_t now_ns);
void history_give_up(struct history *h, size_t op);

/* The value that the put number `op` writes; at least 8 bytes of room, value_len in all. */
enum { HISTORY_VALUE_MIN = 8 };
void history_value(size_t op, uint8_t *to, size_t n);

/* Every key by itself. On NO, *ret_key and *ret_worst (numbers) say where. */
enum linear_verdict history_check(const struct history *h, uint32_t keys_n, uint32_t *ret_key,
                                  struct linear_op *ret_worst);
/* One line per operation on the key. */
void history_print(const struct history *h, uint32_t key, FILE *to);

#endif
