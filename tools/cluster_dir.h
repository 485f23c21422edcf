// SPDX-License-Identifier: Apache-2.0
#ifndef TOOLS_CLUSTER_DIR_H
#define TOOLS_CLUSTER_DIR_H

/*
 * The folder of a cluster that `avocado up` keeps on its owner's machine, all of it 0700:
 *
 *   cluster.yaml, cluster.yaml.sig   the signed configuration, as every replica gets it
 *   client.yaml, client.crt          what a client needs ...
 *   client.key                       ... and its secret (0600)
 *   ca/ca.crt, ca/ca.key             the owner's CA; the key (0600) signs everything
 *   log/node-N.log, run/node-N.pid   of each process
 *
 * A new folder appears by one rename. When a later epoch is founded, all that changes is written to
 * next/ and takes effect by one rename to commit/; from there the files move to their places, and
 * whoever opens the folder next finishes that if we could not.
 */

#include "trusted/config/cluster.h"
#include "trusted/pki/pki.h"

#include <limits.h>

enum cluster_dir_state {
    CLUSTER_DIR_ABSENT = 1, /* nothing there, or an empty folder: up may found a cluster */
    CLUSTER_DIR_PRESENT,
    CLUSTER_DIR_FOREIGN, /* something else is there */
};

struct cluster_dir {
    int fd;              /* holds an exclusive lock, so that two commands never change it at once */
    char path[PATH_MAX]; /* absolute */
    struct cluster cluster;
};

/* Looks, and changes nothing. */
enum cluster_dir_state cluster_dir_probe(const char *path);

/* Opens what is PRESENT and reads its verified configuration. BUSY when another command works on
 * it. */
RESULT cluster_dir_open(const char *path, struct cluster_dir *ret, struct explain *why);
/* The same for a look only: takes no lock and changes nothing. */
RESULT cluster_dir_look(const char *path, struct cluster_dir *ret, struct explain *why);
void cluster_dir_close(struct cluster_dir *d);

/* Everything that is founded anew with each epoch. */
struct cluster_dir_content {
    const struct cluster *cluster;
    const struct pki_pair *ca;
    struct bytes reg;              /* of a new folder: its configuration register */
    const struct pki_pair *client; /* NULL: the client keeps what it has */
};

/* A new folder where there was none. On failure nothing is left. */
RESULT cluster_dir_create(const char *path, const struct cluster_dir_content *content,
                          struct cluster_dir *ret, struct explain *why);
/* A later epoch in the same folder; d->cluster becomes content->cluster. The supervisor alone may
 * do this without the lock. */
RESULT cluster_dir_renew(struct cluster_dir *d, const struct cluster_dir_content *content,
                         struct explain *why);
/* Takes away the folder and all that we put there. */
void cluster_dir_remove(struct cluster_dir *d);

/* The owner's CA out of the folder. pki_pair_free. */
RESULT cluster_dir_ca(const struct cluster_dir *d, struct pki_pair *ret, struct explain *why);

#endif
