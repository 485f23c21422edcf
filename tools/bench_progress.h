// SPDX-License-Identifier: Apache-2.0
#ifndef TOOLS_BENCH_PROGRESS_H
#define TOOLS_BENCH_PROGRESS_H

/* What the benchmark shows while it runs, once a second, and keeps of every interval that it
 * measured. */

#include "tools/bench_team.h"

struct timeline_point {
    double at_s; /* end of the interval, since measuring began */
    double ops_per_s;
    uint64_t ops, p50_ns, p99_ns, max_ns, errors; /* errors: in the interval */
    uint64_t behind;
};

struct timeline {
    struct timeline_point *points;
    size_t n, room;
};

enum { PROGRESS_BARS = 40 };

struct progress {
    bool quiet;
    uint64_t interval_ns;
    uint64_t began_ns, last_ns, next_ns, shown_ns, errors_before;
    struct timeline *timeline; /* while measuring; else NULL */
    struct histogram interval;
    double bars[PROGRESS_BARS]; /* throughput of the last seconds, newest last */
    size_t bars_n;
};

/* Begins a phase; what was counted until now is dropped. */
void progress_start(struct progress *p, struct team *t, struct timeline *timeline);
/* Takes an interval if it has passed, and shows a line if a second has. `part` of the phase is
 * over, 0 to 1. */
void progress_show(struct progress *p, struct team *t, const char *what, double part);
/* Ends the phase: the rest of a second counts for the timeline, too. */
void progress_end(struct progress *p, struct team *t);

/* CSV with a head line. False: errno says why. */
bool timeline_write(const struct timeline *t, const char *path);
void timeline_free(struct timeline *t);

#endif
