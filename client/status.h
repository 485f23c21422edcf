// SPDX-License-Identifier: Apache-2.0
#ifndef CLIENT_STATUS_H
#define CLIENT_STATUS_H

#include "client/avocado.h"
#include "common/result.h"

/* CLI-14: what the core and the files of a client end with, in the terms of the API. */
enum avo_status status_of(enum err err);
/* "get", "compare-and-set"; static storage. */
const char *status_op_name(enum avo_op op);

#endif
