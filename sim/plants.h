// SPDX-License-Identifier: Apache-2.0
#ifndef SIM_PLANTS_H
#define SIM_PLANTS_H

/* Bugs that can be switched on, to prove that the simulator finds them. */

#include "sim/run.h"

/* Those of the simulator's own parts; the machines' are enum abd_plant and enum replica_plant. */
enum sim_plant {
    SIM_PLANT_MEMORYLESS_VOTER = 1 << 24,
    SIM_PLANT_CLONE_VOTES = 1 << 26,
    SIM_PLANT_NO_EPOCH_FENCE = 1 << 27,
};

enum { PLANT_CLIENT_SHIFT = 32 };

struct plant {
    const char *name;
    const char *text;
    uint64_t bits;          /* and in the upper half enum core_plant */
    bool protocol, replica; /* levels that it can be seen on */
};

extern const struct plant plants[];
extern const size_t plants_n;

/* NULL: no such plant. */
const struct plant *plant_find(const char *name);

#endif
