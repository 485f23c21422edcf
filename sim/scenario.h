// SPDX-License-Identifier: Apache-2.0
#ifndef SIM_SCENARIO_H
#define SIM_SCENARIO_H

/*
 * A story about a cluster, told in a text file, one step a line; nothing in it is drawn, except
 * what a load does. docs/testing.md has the words. Runs at level replica.
 */

#include "sim/run.h"

#include <stdio.h>

/* VERDICT_HELD: every step did what it should, and the load's history is linearizable. Else
 * *ret_why says at which line and why. VERDICT_USAGE: the file cannot be read, or a line is no
 * step. */
enum { VERDICT_USAGE = 64, SCENARIO_WHY_MAX = 400 };
int scenario_run(const char *path, const struct run_spec *spec, char ret_why[SCENARIO_WHY_MAX]);
/* The words, one a line. */
void scenario_help(FILE *to);

#endif
