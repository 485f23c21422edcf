// SPDX-License-Identifier: Apache-2.0
#ifndef TOOLS_SUPERVISOR_CALL_H
#define TOOLS_SUPERVISOR_CALL_H

#include <jansson.h>

/* One question to the supervisor of the cluster in the folder `dir` (descriptor), which takes `q`
 * over: its answer, or NULL if there is no supervisor. "status" is OK or a name, then "why". */
json_t *supervisor_call(int dir, json_t *q);

#endif
