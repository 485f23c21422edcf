// SPDX-License-Identifier: Apache-2.0
#ifndef SIM_HISTORY_FILE_H
#define SIM_HISTORY_FILE_H

/*
 * A recorded history of a real cluster, as avocado-bench --history writes it (docs/man/
 * avocado-bench.1): JSON lines with get, put, delete, cas and incr, times of one monotonic clock.
 * Every key by itself is judged as a register.
 */

#include "sim/linear.h"

struct history_file {
    enum linear_verdict verdict;
    size_t ops_n, keys_n;
    char why[256]; /* on NO and GAVE_UP: which key, and the operation that fits nowhere */
};

/* 0, or -1 with one line in `why`: the file cannot be read or is no such history. */
int history_file_check(const char *path, struct history_file *ret);

#endif
