// SPDX-License-Identifier: Apache-2.0
#ifndef SIM_HISTORY_H
#define SIM_HISTORY_H

/*
 * What clients called and what they were told. Points in time are positions in one order of calls
 * and returns. Keys have flavours. A value of a register starts with the number of its write in the
 * history and the rest follows from that number, so that a reader can tell a wrong byte from a
 * wrong order; a counter holds a decimal number; a log holds the numbers of those who wrote and
 * appended.
 */

#include "common/prng.h"
#include "common/result.h"
#include "sim/linear.h"
#include "trusted/wire/client_wire.h"

#include <stdbool.h>
#include <stdio.h>

enum history_flavour {
    HISTORY_REGISTER = 0,
    HISTORY_COUNTER,
    HISTORY_LOG,
    HISTORY_FLAVOURS_N,
};

struct history_op {
    uint32_t client, key, node;
    enum client_op op;
    enum history_flavour flavour; /* of the key, always the same */
    enum client_rmw rmw;          /* RMW */
    int64_t delta;                /* RMW INCR */
    uint64_t expect;              /* RMW that compares: number + 1 of the write */
    uint32_t value_len;           /* of what it writes; a register's */
    uint32_t timeout_ms;
    /* Of several keys: in the head, which kind and how many operations it has (batches.h). */
    enum client_op batch;
    uint32_t batch_n;
    uint64_t call, ret; /* ret: LINEAR_NEVER while pending or when nobody told */
    uint64_t call_at_ns, ret_at_ns;
    enum err status; /* once returned */
    uint64_t read;   /* what was met, as the checker names it; INCR: the sum */
    uint64_t seen;   /* log: when an answer first showed what this wrote; 0: none did */
    bool returned;   /* an answer came */
    bool gave_up;    /* the client stopped waiting */
    bool after_heal; /* must succeed */
    bool in_batch, scan_down;
    uint16_t scan_keys_max;
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
/* What the operation asks; *ret_block (free it) holds the value. The key is left out. */
void history_request(const struct history *h, size_t op, struct client_request *ret,
                     uint8_t **ret_block);
/* `value` as it was answered; p is NULL when there was none. False: the answer makes no sense, or
 * the bytes are not what anybody wrote. */
bool history_return(struct history *h, size_t op, enum err status, struct bytes value,
                    uint64_t now_ns);
void history_give_up(struct history *h, size_t op);

enum { HISTORY_VALUE_MIN = 8 };
/* Number + 1 of a write to the key, to compare with: mostly the last one that was seen. 0: none. */
uint64_t history_guess(const struct history *h, uint32_t key, struct prng *prng);

/* Every key by itself. On NO, *ret_key and *ret_worst (numbers) say where. */
enum linear_verdict history_check(const struct history *h, uint32_t keys_n, uint32_t *ret_key,
                                  struct linear_op *ret_worst);
/* One line per operation on the key. */
void history_print(const struct history *h, uint32_t key, FILE *to);

#endif
