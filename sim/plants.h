// SPDX-License-Identifier: Apache-2.0
#ifndef SIM_PLANTS_H
#define SIM_PLANTS_H

/* Bugs that can be switched on, to prove that the simulator finds them. */

#include "sim/run.h"

struct plant {
    const char *name;
    const char *text;
    unsigned bits;
    bool protocol, replica; /* levels that it can be seen on */
};

extern const struct plant plants[];
extern const size_t plants_n;

/* NULL: no such plant. */
const struct plant *plant_find(const char *name);

#endif
