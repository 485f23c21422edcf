// SPDX-License-Identifier: Apache-2.0
#ifndef SIM_LINEAR_H
#define SIM_LINEAR_H

/*
 * Is the history of one register linearizable? Knows only when operations were called and when they
 * returned what; no tags, no protocol. The search is that of Wing and Gong (1993) as Lowe (2017)
 * makes it fast: take operations off the front one after another, go back where a result does not
 * fit, and never visit the same (set of operations done, value) twice.
 */

#include <stddef.h>
#include <stdint.h>

enum linear_kind {
    LINEAR_READ = 1,
    LINEAR_WRITE,
    LINEAR_CAS,    /* writes `value` if the register holds `expect`, and did so */
    LINEAR_ADD,    /* adds `value` to a number (absent counts as 0); the sum was `expect` */
    LINEAR_APPEND, /* the register becomes linear_append(register, value) */
};

/* Numbers, so that a sum is none of the other values. */
static const uint64_t LINEAR_NUMBER = UINT64_C(1) << 62; /* the number 0 */
/* A value made of another and something behind it; never ABSENT. */
uint64_t linear_append(uint64_t value, uint64_t more);

static const uint64_t LINEAR_ABSENT = 0; /* the value before the first write, and after a delete */
static const uint64_t LINEAR_NEVER = UINT64_MAX;

/* Points in time are positions in one total order of calls and returns; no two are equal. A write
 * whose outcome is unknown returns NEVER: it may take effect at any time after its call, or not at
 * all. An operation that is known to have had no effect does not belong here. */
struct linear_op {
    enum linear_kind kind;
    uint64_t value;  /* written, or read */
    uint64_t expect; /* CAS; ADD unless it returns NEVER */
    uint64_t call, ret;
};

enum linear_verdict {
    LINEAR_YES = 0,
    LINEAR_NO,
    LINEAR_GAVE_UP, /* more than states_max states */
};

/* `ops` is reordered. *ret_worst (may be NULL) on NO: an operation at which no order got any
 * further. */
enum linear_verdict linear_check(struct linear_op *ops, size_t n, size_t states_max,
                                 struct linear_op *ret_worst);

#endif
