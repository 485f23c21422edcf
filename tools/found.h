// SPDX-License-Identifier: Apache-2.0
#ifndef TOOLS_FOUND_H
#define TOOLS_FOUND_H

/*
 * What a cluster on this machine begins with: the members that are wanted (incarnations and epochs
 * are the CAS's to give), and for the first time the files from which CAS, LAS and replicas can
 * prove themselves: a root of software evidence, the owner's key, a policy that names the programs
 * as they were built. Nothing is written.
 */

#include "tools/cluster_dir.h"
#include "trusted/evidence/measure.h"
#include "trusted/evidence/software.h"

/* Zero: as before, or the default of a first founding. */
struct found_wishes {
    uint64_t nodes, workers, base_port;
    uint64_t factor; /* replicas of each key */
    uint64_t groups; /* of slots; fixed for the cluster's life */
    uint64_t value_max, enclave_memory, host_memory;
};

/* The members that are wanted, at free ports. `previous`: the last configuration, or NULL.
 * *ret_cas_port: for the CAS of a first founding. USAGE, IO */
RESULT found_describe(const struct found_wishes *w, const struct cluster *previous,
                      struct cluster *ret, uint16_t *ret_cas_port, struct explain *why);

/* SHA-256 of the programs that may take part. */
struct found_measured {
    char avocadod[2 * MEASUREMENT_LEN + 1], las[2 * MEASUREMENT_LEN + 1];
};
/* Of the programs that stand beside this one. IO */
RESULT found_measure(struct found_measured *ret, struct explain *why);
/* As the file `measured` has them. */
char *found_measured_format(const struct found_measured *m);
bool found_measured_parse(const char *text, struct found_measured *ret);
/* The policy with other measurements and the version after its own; heap. NULL: it does not name
 * the former ones any more, so its owner sees to it himself. */
char *found_policy_renew(const char *policy, const struct found_measured *former,
                         const struct found_measured *now);

enum { FOUND_FILES_MAX = 16 };

struct foundation {
    struct cluster_dir_file files[FOUND_FILES_MAX];
    size_t n;
    /* What they consist of: */
    struct software_files software;
    char names[SOFTWARE_FILES_N][64];
    char address[32], *owner_key, *owner_pub, *policy, *measured;
};
/* Everything of a first founding. IO */
RESULT found_first(const struct cluster *c, uint16_t cas_port, const struct found_measured *m,
                   struct foundation *ret, struct explain *why);
/* Wipes the keys. */
void foundation_free(struct foundation *f);

#endif
