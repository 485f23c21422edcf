// SPDX-License-Identifier: Apache-2.0
#ifndef SIM_SHRINK_H
#define SIM_SHRINK_H

/*
 * From a run that fails to a small run that fails alike: first without as many kinds of faults as
 * possible, then with fewer clients and keys, then with fewer operations; over again until nothing
 * more can go. Every try runs in a process of its own, because a CHECK ends the process.
 */

#include "sim/run.h"

enum { SHRINK_TRIES_MAX = 600 };

/* In a process of its own: VERDICT_CHECK if that ends before it has told its result. */
void run_apart(const struct run_spec *spec, bool twice, struct run_result *ret);

/* `*spec` fails with `verdict`. It becomes the smallest run found; *ret_why says what fails there.
 */
void shrink(struct run_spec *spec, enum verdict verdict, char ret_why[200]);

#endif
