// SPDX-License-Identifier: Apache-2.0
#ifndef TOOLS_CLUSTER_DIR_H
#define TOOLS_CLUSTER_DIR_H

/*
 * The folder of a cluster that `avocado up` keeps on its owner's machine, all of it 0700:
 *
 *   cluster.yaml, cluster.yaml.sig   the configuration as the CAS signed it last
 *   client.yaml, client.crt          what a client needs ...
 *   client.key                       ... and its secret (0600)
 *   owner.key, owner.pub             the owner's key: whoever has it orders the CAS about
 *   policy.yaml, measured            the policy, and the measurements in it that are of our making
 *   sw/                              root and platform of software evidence
 *   cas/, ca/ca.crt                  state, seal key and address of the CAS; the CA that it made
 *   log/, run/                       of each process; sockets
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

/* Opens what is PRESENT and reads its verified configuration; epoch 0 while it has none, because
 * its founding has not come to an end. BUSY when another command works on it. */
RESULT cluster_dir_open(const char *path, struct cluster_dir *ret, struct explain *why);
/* The same for a look only: takes no lock and changes nothing. */
RESULT cluster_dir_look(const char *path, struct cluster_dir *ret, struct explain *why);
void cluster_dir_close(struct cluster_dir *d);

/* A file of a new folder, below it. */
struct cluster_dir_file {
    const char *name;
    bool is_secret;
    struct bytes content;
};
/* A new folder where there was none, without a configuration yet: ret->cluster.epoch is 0. On
 * failure nothing is left. */
RESULT cluster_dir_create(const char *path, const struct cluster_dir_file *files, size_t n,
                          struct cluster_dir *ret, struct explain *why);

/* What the CAS hands out. */
struct cluster_dir_epoch {
    const struct cluster *cluster; /* as `text` says */
    struct bytes text, sig;
    const struct pki_pair *client; /* NULL: the client keeps what it has */
};
/* A later epoch in the folder; d->cluster becomes epoch->cluster. The supervisor alone may do this
 * without the lock. */
RESULT cluster_dir_renew(struct cluster_dir *d, const struct cluster_dir_epoch *epoch,
                         struct explain *why);
/* Takes away the folder and all that we put there. */
void cluster_dir_remove(struct cluster_dir *d);

#endif
