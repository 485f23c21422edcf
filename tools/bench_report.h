// SPDX-License-Identifier: Apache-2.0
#ifndef TOOLS_BENCH_REPORT_H
#define TOOLS_BENCH_REPORT_H

/* What a run of the benchmark measured, for people and as JSON. */

#include "tools/bench_worker.h"

#include <jansson.h>

struct bench_result {
    struct bench_tally tally; /* of all threads */
    double seconds;           /* measured */
    uint64_t loaded;
    double load_seconds;
    bool interrupted;
};

/* Completed operations of every kind, and those that failed. */
uint64_t bench_result_ops(const struct bench_result *r);
uint64_t bench_result_errors(const struct bench_result *r);

void bench_report_print(const struct bench *b, const struct bench_result *r);
/* `config` is taken over. */
json_t *bench_report_json(const struct bench_result *r, json_t *config);

#endif
