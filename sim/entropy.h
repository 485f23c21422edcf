// SPDX-License-Identifier: Apache-2.0
#ifndef SIM_ENTROPY_H
#define SIM_ENTROPY_H

/*
 * What anti-entropy has to do (docs/protocol/sync.md), seen from outside: keys that no client
 * touches stand in different versions at the nodes from the start, and perhaps one under one tag
 * with different values. After the network has healed the living must come to hold the same, and
 * say so if they cannot; before that no client may help them.
 */

#include "sim/run.h"

/* Fills the stores of a cluster that was just opened. */
void entropy_sow(struct run *r);

/* NULL: every key is held in its greatest version by every living node, and a planted divergence
 * was noticed; or there is no anti-entropy. Otherwise what is wanting. A false alarm is a fault of
 * the run. */
const char *entropy_wants(struct run *r);

#endif
