// SPDX-License-Identifier: Apache-2.0
#ifndef TESTS_ABD_COLLECT_WORLD_H
#define TESTS_ABD_COLLECT_WORLD_H

/* What the tests of collection share. Node 0 leads. */

#include "tests/abd/abd_world.h"
#include "trusted/wire/collect_wire.h"

static const uint64_t ROUND = UINT64_C(20000000);
static const struct tag older = {.ts = 4, .writer = 9};
static const struct tag newer = {.ts = 5, .writer = 9};

struct world *collect_open(uint8_t n);
/* Lets the collector lead so many rounds. */
void rounds(struct world *w, int n);
uint64_t tombstones(struct world *w, uint8_t node);
uint64_t records(struct world *w, uint8_t node);
/* The step that a live call asks for; 0: it is no step of a collection. */
int step_of(const struct world_call *c);
/* The call as the network may deliver it again later. */
struct world_call kept(const struct world_call *c);
/* Exchanges what the collector asks until it asks all others for this step. */
void until(struct world *w, enum collect_step step);
void plant_all(struct world *w, const char *key, struct tag tag, const char *value);
void reconfigure_all(struct world *w, uint8_t voters);

#endif
