// SPDX-License-Identifier: Apache-2.0
#ifndef TOOLS_KEEPER_H
#define TOOLS_KEEPER_H

/*
 * The configuration register in the folder of a cluster on this machine: the file `register`, and
 * beside it the signed configuration that follows from it. Whoever changes the register stores it
 * before anything is signed or started (MEM-3).
 */

#include "tools/cluster_dir.h"
#include "trusted/register/register.h"

struct keeper {
    struct cluster_dir *folder; /* borrowed */
    struct config_register reg;
    uint64_t stored; /* the version on disk */
    uint64_t epoch;  /* the configuration that is written and signed */
    char *text;      /* heap: that configuration, */
    uint8_t sig[80]; /* and its signature */
    size_t sig_n;
};

/* Reads the register of an open folder. IO, MALFORMED. */
RESULT keeper_open(struct keeper *k, struct cluster_dir *folder, struct explain *why);
void keeper_close(struct keeper *k);
/* Stores the register if it has changed. IO: nothing that follows from it may be done. */
RESULT keeper_store(struct keeper *k, struct explain *why);
/* Stores it, then writes and signs the configuration to hand out. `client`: a new identity for it,
 * or NULL. */
RESULT keeper_publish(struct keeper *k, const struct pki_pair *ca, const struct pki_pair *client,
                      struct explain *why);

#endif
