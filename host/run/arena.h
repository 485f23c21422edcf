// SPDX-License-Identifier: Apache-2.0
#ifndef HOST_RUN_ARENA_H
#define HOST_RUN_ARENA_H

#include "boundary/abi.h"
#include "common/result.h"

/*
 * Host memory for one shard: packet regions and the arena of sealed values, the latter as shared
 * memory that other processes of the host could map. It holds nothing secret. Pages appear when
 * touched. With `dir` NULL the arena is an anonymous memfd named avocado-arena; else a file in that
 * folder (a hugetlbfs or tmpfs mount), created with mode 0600 and unlinked by arena_unmap. IO:
 * errno tells.
 */
struct arena {
    struct abi_regions regions;
    int fd;
    char path[256]; /* empty for a memfd */
};

RESULT arena_map(const char *dir, uint32_t shard, uint64_t arena_bytes, struct arena *ret);
void arena_unmap(struct arena *a);

#endif
