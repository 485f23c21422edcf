// SPDX-License-Identifier: Apache-2.0
#ifndef HOST_RUN_ARENA_FAULT_H
#define HOST_RUN_ARENA_FAULT_H

#include "host/run/arena.h"

/* The arenas whose missing pages are replaced (arena_survive_faults). Start-up only, by the one
 * thread that maps arenas; `block` is the page size of the mapping. Beyond SHARDS_MAX arenas
 * nothing is watched. */
void arena_watch(const struct abi_regions *r, uint64_t block);
void arena_unwatch(const struct abi_regions *r);

#endif
