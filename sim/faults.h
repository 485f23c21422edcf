// SPDX-License-Identifier: Apache-2.0
#ifndef SIM_FAULTS_H
#define SIM_FAULTS_H

/* The network between nodes, their clocks, and what goes wrong with them: drawn, in virtual time.
 */

#include "sim/run.h"

enum { LAG_MAX = 31 /* of the slowest link, times the delay of the others */ };

void faults_draw_lags(struct run *r);
/* Something goes wrong now, and again later. */
void faults_next(struct run *r);
void faults_set_blocked(struct run *r, uint8_t from, uint8_t to, bool blocked);
/* The clock of a node stands still for so long. */
void faults_stop_clock(struct run *r, uint8_t node, uint64_t for_ns);
/* A clock that stood still goes on from there. */
void faults_clock_goes_on(struct run *r, uint8_t node);
void faults_heal(struct run *r);

#endif
