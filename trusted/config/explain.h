// SPDX-License-Identifier: Apache-2.0
#ifndef TRUSTED_CONFIG_EXPLAIN_H
#define TRUSTED_CONFIG_EXPLAIN_H

/* Fills a struct explain: one line for a person. Whatever came from outside may stand in it: bytes
 * that a terminal or a log could take for something else become '?'. */

#include "trusted/config/cluster.h"

/* `why` may be NULL. Cut off at its size. */
__attribute__((format(printf, 2, 3))) void explain(struct explain *why, const char *fmt, ...);

#endif
