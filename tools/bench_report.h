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
    uint64_t rate;   /* open loop: operations a second that were asked for; 0: closed loop */
    uint64_t behind; /* open loop: operations that were due and not begun at the end */
};

/* Completed operations of every kind, and those that failed. */
uint64_t bench_result_ops(const struct bench_result *r);
uint64_t bench_result_errors(const struct bench_result *r);

/* `title`: what ran. */
void bench_report_print(const char *title, const struct bench_result *r);
/* `config` is taken over. */
json_t *bench_report_json(const struct bench_result *r, json_t *config);
/* Adds up files of bench_report_json, of runs at the same time: their counts and histograms. `to`
 * is zero before. False: `why` says which file and what about it. */
bool bench_report_merge(struct bench_result *to, char *const *paths, size_t n,
                        char why[static 256]);

#endif
