// SPDX-License-Identifier: Apache-2.0
#ifndef TOOLS_BENCH_TEAM_H
#define TOOLS_BENCH_TEAM_H

/*
 * The workers of the benchmark as one. They are threads of this process, or of several: then what
 * they share is in memory that all of them have mapped, and a lock of each worker guards its counts
 * as ever.
 */

#include "tools/bench_worker.h"

#include <sys/types.h>

enum { THREADS_MAX = 64 };

struct team {
    struct bench bench;
    uint64_t processes; /* 1: threads of this one */
    struct bench_worker workers[THREADS_MAX];
    pid_t pids[THREADS_MAX];
};

/* In shared memory, all zero; NULL: none. */
struct team *team_new(void);
void team_free(struct team *t);

/* Starts bench.threads workers over bench.processes; bench.clients are shared out among them.
 * False: no memory, no thread or no process; those that run must be joined. */
bool team_start(struct team *t);
/* Before PHASE_DRAIN: a process has died. */
bool team_lost(struct team *t);
/* Connected all, or else over all. */
bool team_is(struct team *t, bool open);
/* First error of any worker, or OK; `why` is one line about it. A process that died is one, too. */
enum avo_status team_error(struct team *t, char why[static 256]);
/* Takes the interval of every worker into one. Returns errors of any phase; *ret_behind may be
 * NULL. */
uint64_t team_interval(struct team *t, struct histogram *to, uint64_t *ret_behind);
/* Adds up what every worker counted while measuring. */
void team_tally(struct team *t, struct bench_tally *to);
/* After PHASE_DRAIN. The counts stay readable. */
void team_join(struct team *t);

#endif
