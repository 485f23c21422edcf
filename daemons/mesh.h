// SPDX-License-Identifier: Apache-2.0
#ifndef DAEMONS_MESH_H
#define DAEMONS_MESH_H

/*
 * DPDK among replicas of one machine: a link by shared memory (net_memif) to every other member of
 * the configuration; clients, and members that joined later, come through the kernel.
 */

#include "host/net/dpdk.h"
#include "trusted/config/cluster.h"

enum { MESH_EAL_MAX = 4096 };

struct mesh {
    char eal[MESH_EAL_MAX]; /* what options.eal points to */
    struct dpdk_options options;
};

/* The links of member `self`, with their sockets in the folder `dir`. `eal`: more words for EAL, or
 * NULL. IO: the folder cannot be used. USAGE: too many words. */
RESULT mesh_make(const struct cluster *c, uint8_t self, const char *dir, const char *eal,
                 struct mesh *ret, struct explain *why);

#endif
