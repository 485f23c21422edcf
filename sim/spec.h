// SPDX-License-Identifier: Apache-2.0
#ifndef SIM_SPEC_H
#define SIM_SPEC_H

/* A run in words: the options of avocado-sim that lead to it. */

#include "sim/plants.h"
#include "sim/run.h"

enum { SPEC_COMMAND_MAX = 512 };

const char *level_name(enum level level);
const char *verdict_name(enum verdict verdict);

/* The command that replays the run. `plant` may be NULL. */
void spec_command(const struct run_spec *spec, const struct plant *plant,
                  char ret[SPEC_COMMAND_MAX]);
/* Names of traits, with commas between. False: *ret_bad says which name is none; at most 31 of its
 * bytes. */
bool spec_without(const char *names, uint64_t *ret_bits, char ret_bad[32]);

#endif
