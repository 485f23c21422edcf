// SPDX-License-Identifier: Apache-2.0
#ifndef HOST_RUN_DEFERENCE_H
#define HOST_RUN_DEFERENCE_H

/*
 * A thread that is woken up interrupts who runs on its core, if the scheduler owes it time. Among
 * replicas and clients that share cores this is what costs most: who is interrupted was about to
 * send to the same thread again. Under SCHED_BATCH (sched(7)) a thread waits for its turn, and
 * then finds more to do. And where threads are more than cores the scheduler moves them to and
 * fro, and a core stands still meanwhile: a thread with a home stays there.
 *
 * Beside somebody who computes for milliseconds, its turn is milliseconds away. So the thread
 * reads how long it was made to wait (the kernel's schedstat), and interrupts and goes where it
 * can again, for a while, where turns are long. docs/adr/0076-shards-let-others-finish.md has the
 * numbers.
 */

#include "host/run/trial.h"

#include <sched.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

enum {
    DEFERENCE_WINDOW_NS = 50000000,
    DEFERENCE_WAIT_NS = 1000000, /* for a turn, in the mean of a window: too long */
    DEFERENCE_PAUSE_NS = 100000000,
};
#define DEFERENCE_PAUSE_MAX_NS UINT64_C(12800000000)

struct deference {
    struct trial trial;
    uint64_t looked_ns, waited_ns, turns; /* at the last look */
    int fd;                               /* the thread's schedstat; -1: this is not used */
    bool has_home;
    cpu_set_t home, anywhere;  /* processors */
    _Atomic bool defers;       /* now */
    _Atomic uint64_t given_up; /* how often turns were too long */
};

/* Called by the thread itself. `home`: the processor where it is to run while it defers; -1: any.
 * Where the kernel does not say how long threads wait, or whoever started the process has chosen a
 * policy, nothing is changed. */
void deference_start(struct deference *d, int home);
/* At any turn of the thread; almost always one comparison. */
void deference_look(struct deference *d, uint64_t now_ns);
/* By the thread itself, at its end. */
void deference_stop(struct deference *d);

/* The rule alone: `waited_ns` and `turns` since the thread began, at `now_ns`. Returns whether it
 * is to defer from now on. */
bool deference_judge(struct deference *d, uint64_t now_ns, uint64_t waited_ns, uint64_t turns);

#endif
