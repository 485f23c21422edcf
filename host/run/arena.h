// SPDX-License-Identifier: Apache-2.0
#ifndef HOST_RUN_ARENA_H
#define HOST_RUN_ARENA_H

#include "boundary/abi.h"
#include "common/result.h"

/*
 * Host memory for one shard: packet regions and the arena of sealed values. It holds nothing
 * secret. Pages appear when touched. With `dir` NULL the arena is anonymous memory, for which
 * nearly every kernel has huge pages (docs/adr/0078-anonymous-arenas.md); else a file in that
 * folder (a hugetlbfs or tmpfs mount), created with mode 0600 and unlinked by arena_unmap, that
 * other processes of the host could map. IO: errno tells.
 */
struct arena {
    struct abi_regions regions;
    int fd;         /* -1: anonymous */
    char path[256]; /* empty: anonymous */
};

/* `arena_bytes` is rounded up to whole blocks of the file system in `dir`. */
RESULT arena_map(const char *dir, uint32_t shard, uint64_t arena_bytes, struct arena *ret);
void arena_unmap(struct arena *a);

/* Gives the memory of a part of the arena back to the kernel; what is read there later is zero or
 * undefined. Any thread. Bytes that were given back: what is no part of the arena is not. */
uint64_t arena_drop(const struct arena *a, uint64_t off, uint64_t len);

/*
 * Pages of a file's mapping can be missing at any time: the file system is full, or somebody has
 * cut the file short. The kernel says so with SIGBUS, which would end the process. With this, the
 * page is replaced by an ordinary, empty one that nobody shares, and the shard loop says that the
 * arena must not grow for a while. Call once, before threads start; for arenas that are mapped
 * later. IO.
 */
RESULT arena_survive_faults(void);
/* How many pages were missing so far. Any thread. */
uint64_t arena_faults(const struct arena *a);

#endif
