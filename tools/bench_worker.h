// SPDX-License-Identifier: Apache-2.0
#ifndef TOOLS_BENCH_WORKER_H
#define TOOLS_BENCH_WORKER_H

/*
 * One thread of the benchmark: it owns some clients. Closed loop: it keeps `depth` operations in
 * flight on each, the next one starts when one has ended. Open loop: operations start when they are
 * due (tools/bench_pace.h), as far as `depth` leaves room. What it counts is guarded by a lock that
 * it takes once per batch, so that the main thread can look at any time.
 */

#include "client/avocado.h"
#include "tools/bench_history.h"
#include "tools/bench_target.h"
#include "tools/bench_workload.h"
#include "tools/histogram.h"

#include <pthread.h>

enum bench_phase {
    PHASE_WAIT = 0, /* connected, and nothing to do yet */
    PHASE_LOAD,     /* write every record once */
    PHASE_RUN,
    PHASE_DRAIN, /* start nothing; wait for what is in flight */
};

enum {
    STATUSES_N = AVO_OVERFLOW + 1,
    CLIENTS_MAX = 4096,
    DEPTH_MAX = 1024,
};

/* What all threads share. Set before they start, except for the atomics. */
struct bench {
    const struct bench_target *target;
    const char *cluster;
    struct workload workload;
    struct bench_history *history; /* or NULL */
    uint64_t clients, depth, load_depth, threads, value_size, timeout_ms, seed;
    uint64_t rate;        /* operations a second of all clients, open loop; 0: closed loop */
    uint64_t coordinator; /* place + 1; 0: client i prefers node i modulo their number */
    uint64_t nodes_n;
    _Atomic int phase;
    _Atomic bool measuring; /* what ends now counts */
    _Atomic uint64_t load_next, loaded;
};

struct bench_tally {
    struct histogram by_op[BENCH_OPS];
    uint64_t errors[STATUSES_N]; /* by status; NOT_FOUND is no error */
    uint64_t not_found, lost_races, value_bytes, scanned;
};

struct bench_worker {
    struct bench *bench;
    uint64_t first, clients_n; /* which clients are ours */
    pthread_t thread;
    bool is_started;

    pthread_mutex_t lock;
    struct bench_tally tally;    /* since measuring began */
    struct histogram interval;   /* since the main thread last took it */
    uint64_t errors_ever;        /* in any phase */
    uint64_t behind;             /* open loop: operations that are due and not begun */
    enum avo_status first_error; /* AVO_OK: none yet */
    char why[256];               /* one line about it */
    bool is_open, is_over;       /* all clients connected; the thread ends */
};

void bench_tally_add(struct bench_tally *to, const struct bench_tally *from);

/* Before it starts. `shared`: processes other than ours look at it. */
void bench_worker_init(struct bench_worker *w, bool shared);
/* False: no memory or no thread. */
bool bench_worker_start(struct bench_worker *w);
/* After PHASE_DRAIN. The counts stay readable. */
void bench_worker_join(struct bench_worker *w);

uint64_t bench_now_ns(void);

#endif
