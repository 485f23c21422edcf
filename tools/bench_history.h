// SPDX-License-Identifier: Apache-2.0
#ifndef TOOLS_BENCH_HISTORY_H
#define TOOLS_BENCH_HISTORY_H

/*
 * A record of operations for independent checkers: one JSON object a line,
 *
 *   {"client":int,"op":"get|put|delete|cas|incr","key":str,"value":str|null,"expect":str|null,
 *    "ok":bool|null,"result":str|null,"invoke_ns":int,"return_ns":int|null}
 *
 * `return_ns` null: the outcome is unknown. `ok` false: refused, known to have had no effect; of a
 * cas, that the compare failed, and then `result` is the value it met, null if none (a refused cas
 * is left out). A get of an absent key has `ok` true and `result` null. A cas with `expect` null
 * expects that there is no value; `value` of an incr is the amount, `result` the sum. Each `client`
 * does one operation at a time.
 */

#include "client/avocado.h"

#include <stdbool.h>

struct bench_history;

struct history_op {
    uint64_t client;
    enum avo_op op;
    const char *key, *value, *expect; /* `value` NULL unless it writes; `expect` of a CAS */
    size_t key_len, value_len, expect_len;
    uint64_t invoke_ns, return_ns;
    enum avo_status status;
    const void *result; /* of a get that found something, a failed cas likewise, an incr */
    size_t result_len;
};

/* NULL: errno says why. */
struct bench_history *bench_history_open(const char *path);
/* May be called by several threads at once. */
void bench_history_add(struct bench_history *h, const struct history_op *o);
/* False if anything could not be written. NULL is allowed. */
bool bench_history_close(struct bench_history *h);

#endif
