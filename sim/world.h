// SPDX-License-Identifier: Apache-2.0
#ifndef SIM_WORLD_H
#define SIM_WORLD_H

/*
 * Virtual time: a heap of events ordered by (time, age). Nothing else decides what happens next, so
 * a seed replays exactly.
 */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct event {
    uint64_t at_ns, age;
    uint32_t kind, a, b;
    void *p; /* malloc'ed, goes with the event */
};

struct world {
    uint64_t now_ns, age;
    struct event *heap;
    size_t n, cap;
};

void world_init(struct world *w);
void world_fini(struct world *w);
void world_push(struct world *w, uint64_t at_ns, uint32_t kind, uint32_t a, uint32_t b, void *p);
/* The next event; time moves to it. False: there is none. The payload is the caller's. */
bool world_pop(struct world *w, struct event *ret);

#endif
