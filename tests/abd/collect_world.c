// SPDX-License-Identifier: Apache-2.0
#include "tests/abd/collect_world.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

struct world *collect_open(uint8_t n)
{
    return world_open(&(struct world_options){.n = n, .collect_ns = ROUND});
}

void rounds(struct world *w, int n)
{
    for (int i = 0; i < n; i++) {
        world_tick(w, 0, ROUND);
        world_settle(w);
    }
}

uint64_t tombstones(struct world *w, uint8_t node)
{
    struct store_stats s;

    store_stats(w->nodes[node].store, &s);
    return s.tombstones;
}

uint64_t records(struct world *w, uint8_t node)
{
    struct store_stats s;

    store_stats(w->nodes[node].store, &s);
    return s.tombstones + s.keys;
}

/* The step that a live call asks for; 0: it is no step of a collection. */
int step_of(const struct world_call *c)
{
    return c != NULL && c->call.ask.kind == PEER_COLLECT ? c->copy[0] : 0;
}

/* The call as the network may deliver it again later. */
struct world_call kept(const struct world_call *c)
{
    struct world_call late = *c;

    late.live = true;
    late.call.ask.key.p = late.copy;
    late.call.ask.value.p = late.copy + late.call.ask.key.n;
    return late;
}

/* Exchanges what the collector asks until it asks all others for this step. */
void until(struct world *w, enum collect_step step)
{
    for (int i = 0; i < 1000; i++) {
        if (step_of(world_call(w, 0, 1)) == (int)step &&
            step_of(world_call(w, 0, 2)) == (int)step) {
            return;
        }
        for (uint8_t peer = 1; peer < w->n; peer++) {
            if (step_of(world_call(w, 0, peer)) != (int)step) {
                (void)world_exchange(w, 0, peer);
            }
        }
        if (world_call(w, 0, 1) == NULL && world_call(w, 0, 2) == NULL) {
            world_tick(w, 0, ROUND);
        }
    }
    fail_msg("step %d is never reached", (int)step);
}

void plant_all(struct world *w, const char *key, struct tag tag, const char *value)
{
    for (uint8_t i = 0; i < w->n; i++) {
        world_plant(w, i, key, tag, value);
    }
}

void reconfigure_all(struct world *w, uint8_t voters)
{
    for (uint8_t i = 0; i < w->n; i++) {
        world_reconfigure(w, i, voters);
    }
    for (uint8_t i = 0; i < w->n; i++) {
        for (uint8_t j = 0; j < w->n; j++) {
            if (i != j) {
                world_up(w, i, j, true);
            }
        }
    }
}
