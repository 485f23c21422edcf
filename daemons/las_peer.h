// SPDX-License-Identifier: Apache-2.0
#ifndef DAEMONS_LAS_PEER_H
#define DAEMONS_LAS_PEER_H

/*
 * Who is at the other end of a Unix socket: the process, held by a pidfd so that its number cannot
 * come to mean another one, and the file that it runs. LAS-4
 */

#include "trusted/evidence/measure.h"

#include <stdbool.h>
#include <sys/types.h>

struct las_peer {
    pid_t pid;
    int pidfd; /* -1: nobody */
    dev_t dev; /* of the executable that was measured */
    ino_t ino;
    uint8_t measurement[MEASUREMENT_LEN];
};

/* Opens /proc/PID/exe once and measures what it opened. NOT_FOUND: the process has ended; POLICY:
 * it hides its executable from us; IO. Files that were measured before and did not change since
 * are not read again. */
RESULT las_peer_measure(pid_t pid, struct las_peer *ret, struct explain *why);
/* Does the process still live, and run that very file? */
bool las_peer_is_same(const struct las_peer *p);
void las_peer_close(struct las_peer *p);

#endif
