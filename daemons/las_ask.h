// SPDX-License-Identifier: Apache-2.0
#ifndef DAEMONS_LAS_ASK_H
#define DAEMONS_LAS_ASK_H

/* The process's end of the LAS's socket: LAS-3. */

#include "trusted/las/las_wire.h"

/* A token over this binding: by our executable, or, inside an SGX enclave, by a local report.
 * UNAVAILABLE: nobody serves there, or it is not attested yet; otherwise the LAS's own error. */
RESULT las_ask(const char *socket, const struct evidence_binding *b,
               uint8_t ret[static LAS_TOKEN_MAX], size_t *ret_n, struct explain *why);
/* Whether we run inside an SGX enclave, which Gramine makes. */
bool las_in_gramine(void);

#endif
