// SPDX-License-Identifier: Apache-2.0
#include "host/run/deference.h"

#include <fcntl.h>
#include <sched.h>
#include <stdlib.h>
#include <unistd.h>

/* Goes past blanks and a number. */
static bool take(const char **at, uint64_t *ret)
{
    char *end;

    *ret = strtoull(*at, &end, 10);
    if (end == *at) {
        return false;
    }
    *at = end;
    return true;
}

/* proc(5): time on a core, time spent waiting for one, and turns taken. */
static bool read_waits(int fd, uint64_t *ret_waited_ns, uint64_t *ret_turns)
{
    const char *at;
    char text[96];
    uint64_t ran;
    ssize_t n = pread(fd, text, sizeof(text) - 1, 0);

    if (n <= 0) {
        return false;
    }
    text[n] = '\0';
    at = text;
    return take(&at, &ran) && take(&at, ret_waited_ns) && take(&at, ret_turns);
}

static void give_up(struct deference *d)
{
    (void)close(d->fd);
    d->fd = -1;
}

static void follow(struct deference *d, bool defers)
{
    struct sched_param none = {.sched_priority = 0};

    if (sched_setscheduler(0, defers ? SCHED_BATCH : SCHED_OTHER, &none) == 0) {
        if (d->has_home) { /* a processor that is gone since is no home: anywhere, then */
            (void)sched_setaffinity(0, sizeof(d->home), defers ? &d->home : &d->anywhere);
        }
        atomic_store_explicit(&d->defers, defers, memory_order_relaxed);
    } else {
        give_up(d);
    }
}

void deference_start(struct deference *d, int home)
{
    *d = (struct deference){.fd = -1};
    if (home >= 0 && home < CPU_SETSIZE &&
        sched_getaffinity(0, sizeof(d->anywhere), &d->anywhere) == 0) {
        CPU_ZERO(&d->home);
        CPU_SET((size_t)home, &d->home);
        d->has_home = true;
    }
    if (sched_getscheduler(0) == SCHED_OTHER) {
        d->fd = open("/proc/thread-self/schedstat", O_RDONLY | O_CLOEXEC);
    }
}

bool deference_judge(struct deference *d, uint64_t now_ns, uint64_t waited_ns, uint64_t turns)
{
    uint64_t waited = waited_ns - d->waited_ns, n = turns - d->turns;
    bool long_turns = n > 0 && waited / n > DEFERENCE_WAIT_NS;

    d->looked_ns = now_ns;
    d->waited_ns = waited_ns;
    d->turns = turns;
    if (!d->defers) {
        return !long_turns && trial_may(&d->trial, now_ns);
    }
    if (long_turns) {
        trial_failed(&d->trial, now_ns, DEFERENCE_PAUSE_NS, DEFERENCE_PAUSE_MAX_NS);
        atomic_fetch_add_explicit(&d->given_up, 1, memory_order_relaxed);
        return false;
    }
    trial_well(&d->trial, now_ns);
    return true;
}

void deference_look(struct deference *d, uint64_t now_ns)
{
    uint64_t waited, turns;
    bool defers;

    if (d->fd < 0 || now_ns - d->looked_ns < DEFERENCE_WINDOW_NS) {
        return;
    }
    if (!read_waits(d->fd, &waited, &turns)) {
        if (d->defers) {
            follow(d, false);
        }
        give_up(d);
        return;
    }
    defers = deference_judge(d, now_ns, waited, turns);
    if (defers != d->defers) {
        follow(d, defers);
    }
}

void deference_stop(struct deference *d)
{
    if (d->fd >= 0) {
        give_up(d);
    }
}
