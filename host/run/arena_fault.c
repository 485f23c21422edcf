// SPDX-License-Identifier: Apache-2.0
#include "host/run/arena_fault.h"

#include "common/limits.h"

#include <errno.h>
#include <signal.h>
#include <stdatomic.h>
#include <string.h>
#include <sys/mman.h>

/* Read by the signal handler: a place is taken for good before `begin` is set, and given up by
 * setting `begin` to 0. */
static struct watched {
    _Atomic uintptr_t begin;
    _Atomic uintptr_t bytes;
    _Atomic uintptr_t block; /* the file system's: what a mapping can be replaced by */
    _Atomic uint64_t faults;
} watched[SHARDS_MAX];

static struct watched *find(uintptr_t at)
{
    for (size_t i = 0; i < SHARDS_MAX; i++) {
        uintptr_t begin = atomic_load(&watched[i].begin);

        if (begin != 0 && at >= begin && at - begin < atomic_load(&watched[i].bytes)) {
            return &watched[i];
        }
    }
    return NULL;
}

/* Runs on the thread that touched the page, in the middle of what it was doing. */
static void on_fault(int signal_, siginfo_t *info, void *context)
{
    int err = errno;
    uintptr_t at = (uintptr_t)info->si_addr;
    struct watched *w = find(at);

    (void)context;
    if (w != NULL) {
        uintptr_t begin = atomic_load(&w->begin);
        uintptr_t block = atomic_load(&w->block);
        void *to =
            (void *)(begin + (at - begin) / block * block); /* NOLINT(performance-no-int-to-ptr) */

        atomic_fetch_add(&w->faults, 1);
        if (mmap(to, block, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1,
                 0) != MAP_FAILED) {
            errno = err;
            return;
        }
    }
    (void)signal(signal_, SIG_DFL); /* not ours, or no memory at all: the access fails again */
    errno = err;
}

RESULT arena_survive_faults(void)
{
    struct sigaction act = {.sa_flags = SA_SIGINFO};

    act.sa_sigaction = on_fault;
    return sigaction(SIGBUS, &act, NULL) == 0 ? OK : ERR_IO;
}

void arena_watch(const struct abi_regions *r, uint64_t block)
{
    for (size_t i = 0; i < SHARDS_MAX; i++) {
        uintptr_t none = 0;

        if (atomic_load(&watched[i].begin) == 0) {
            atomic_store(&watched[i].bytes, r->arena_bytes);
            atomic_store(&watched[i].block, block);
            atomic_store(&watched[i].faults, 0);
            if (atomic_compare_exchange_strong(&watched[i].begin, &none, (uintptr_t)r->arena)) {
                return;
            }
        }
    }
}

void arena_unwatch(const struct abi_regions *r)
{
    struct watched *w = find((uintptr_t)r->arena);

    if (w != NULL) {
        atomic_store(&w->begin, 0);
    }
}

uint64_t arena_faults(const struct arena *a)
{
    const struct watched *w = find((uintptr_t)a->regions.arena);

    return w == NULL ? 0 : atomic_load(&w->faults);
}
