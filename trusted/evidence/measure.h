// SPDX-License-Identifier: Apache-2.0
#ifndef TRUSTED_EVIDENCE_MEASURE_H
#define TRUSTED_EVIDENCE_MEASURE_H

/* The measurement of a program where no hardware measures it: SHA-256 of its file. EVD-6 */

#include "trusted/config/cluster.h"

enum { MEASUREMENT_LEN = 32 };

/* All bytes of an open file from its beginning, whatever its position. IO; TOO_BIG above 1 GiB. */
RESULT measure_fd(int fd, uint8_t ret[static MEASUREMENT_LEN], struct explain *why);

#endif
