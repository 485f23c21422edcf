// SPDX-License-Identifier: Apache-2.0
#ifndef TOOLS_FOUND_H
#define TOOLS_FOUND_H

/*
 * What a new epoch of a cluster on this machine consists of: a configuration with incarnations that
 * the register gives out, and an identity for the client. Nothing is written.
 */

#include "trusted/config/cluster.h"
#include "trusted/pki/pki.h"

/* Zero: as before, or the default of a first founding. */
struct found_wishes {
    uint64_t nodes, workers, base_port;
    uint64_t value_max, enclave_memory, host_memory;
};

struct foundation {
    struct cluster cluster;
    struct pki_pair ca, client;
};

/* The first epoch, with a CA of its own. */
RESULT found_first(const struct found_wishes *w, struct foundation *ret, struct explain *why);
/* The epoch after `previous`, under its CA. `ca` is taken over in any case. */
RESULT found_next(const struct found_wishes *w, const struct cluster *previous, struct pki_pair *ca,
                  struct foundation *ret, struct explain *why);
/* Wipes the keys. */
void foundation_free(struct foundation *f);

#endif
