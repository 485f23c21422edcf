// SPDX-License-Identifier: Apache-2.0
#include "tools/bench_team.h"

#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

struct team *team_new(void)
{
    void *p =
        mmap(NULL, sizeof(struct team), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);

    return p == MAP_FAILED ? NULL : p;
}

void team_free(struct team *t)
{
    (void)munmap(t, sizeof(*t));
}

static void share_out(struct team *t)
{
    struct bench *b = &t->bench;
    uint64_t next = 0;

    for (uint64_t i = 0; i < b->threads; i++) {
        struct bench_worker *w = &t->workers[i];

        w->bench = b;
        w->first = next;
        w->clients_n = b->clients / b->threads + (i < b->clients % b->threads);
        next += w->clients_n;
        bench_worker_init(w, t->processes > 1);
    }
}

/* A process of its own: every processes-th worker. */
static void be_process(struct team *t, uint64_t number, pid_t parent)
{
    (void)prctl(PR_SET_PDEATHSIG, SIGKILL);
    if (getppid() != parent) {
        _exit(1);
    }
    (void)signal(SIGINT,
                 SIG_IGN); /* the terminal tells all of us; the first process ends the run */
    (void)signal(SIGTERM, SIG_DFL);
    for (uint64_t i = number; i < t->bench.threads; i += t->processes) {
        if (!bench_worker_start(&t->workers[i])) {
            _exit(1);
        }
    }
    for (uint64_t i = number; i < t->bench.threads; i += t->processes) {
        bench_worker_join(&t->workers[i]);
    }
    _exit(0);
}

bool team_start(struct team *t)
{
    pid_t self = getpid();

    share_out(t);
    if (t->processes > 1) {
        for (uint64_t i = 0; i < t->processes; i++) {
            t->pids[i] = fork();
            if (t->pids[i] == 0) {
                be_process(t, i, self);
            }
            if (t->pids[i] < 0) {
                return false;
            }
        }
        return true;
    }
    for (uint64_t i = 0; i < t->bench.threads; i++) {
        if (!bench_worker_start(&t->workers[i])) {
            t->bench.threads = i; /* those that run are joined */
            return false;
        }
    }
    return true;
}

bool team_is(struct team *t, bool open)
{
    bool all = true;

    for (uint64_t i = 0; i < t->bench.threads; i++) {
        struct bench_worker *w = &t->workers[i];

        (void)pthread_mutex_lock(&w->lock);
        all = all && (open ? w->is_open : w->is_over);
        (void)pthread_mutex_unlock(&w->lock);
    }
    return all;
}

bool team_lost(struct team *t)
{
    for (uint64_t i = 0; t->processes > 1 && i < t->processes; i++) {
        siginfo_t info = {0};

        if (t->pids[i] > 0 && atomic_load(&t->bench.phase) != PHASE_DRAIN &&
            waitid(P_PID, (id_t)t->pids[i], &info, WEXITED | WNOHANG | WNOWAIT) == 0 &&
            info.si_pid != 0) {
            return true;
        }
    }
    return false;
}

enum avo_status team_error(struct team *t, char why[static 256])
{
    enum avo_status status = AVO_OK;

    for (uint64_t i = 0; status == AVO_OK && i < t->bench.threads; i++) {
        struct bench_worker *w = &t->workers[i];

        (void)pthread_mutex_lock(&w->lock);
        status = w->first_error;
        memcpy(why, w->why, 256);
        (void)pthread_mutex_unlock(&w->lock);
    }
    if (status == AVO_OK && team_lost(t)) {
        (void)snprintf(why, 256, "a process of the benchmark died");
        return AVO_NO_MEMORY;
    }
    return status;
}

uint64_t team_interval(struct team *t, struct histogram *to, uint64_t *ret_behind)
{
    uint64_t errors = 0, behind = 0;

    histogram_reset(to);
    for (uint64_t i = 0; i < t->bench.threads; i++) {
        struct bench_worker *w = &t->workers[i];

        (void)pthread_mutex_lock(&w->lock);
        histogram_merge(to, &w->interval);
        histogram_reset(&w->interval);
        errors += w->errors_ever;
        behind += w->behind;
        (void)pthread_mutex_unlock(&w->lock);
    }
    if (ret_behind != NULL) {
        *ret_behind = behind;
    }
    return errors;
}

void team_tally(struct team *t, struct bench_tally *to)
{
    for (uint64_t i = 0; i < t->bench.threads; i++) {
        struct bench_worker *w = &t->workers[i];

        (void)pthread_mutex_lock(&w->lock);
        bench_tally_add(to, &w->tally);
        (void)pthread_mutex_unlock(&w->lock);
    }
}

void team_join(struct team *t)
{
    for (uint64_t i = 0; t->processes == 1 && i < t->bench.threads; i++) {
        bench_worker_join(&t->workers[i]);
    }
    for (uint64_t i = 0; t->processes > 1 && i < t->processes; i++) {
        if (t->pids[i] > 0) {
            (void)waitpid(t->pids[i], NULL, 0);
            t->pids[i] = 0;
        }
    }
}
