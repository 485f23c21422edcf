// SPDX-License-Identifier: Apache-2.0
#ifndef CLIENT_PROFILE_H
#define CLIENT_PROFILE_H

/*
 * client.yaml: whom to connect with, and as whom. A fixed schema; unknown keys are errors. CLI-13.
 *
 *   cluster: 32 hex digits        name: demo
 *   ca_file: ca.pem               cert_file: client.pem          key_file: client.key
 *   members:
 *     - {node: 1, address: 127.0.0.1, control_port: 7001}
 *
 * Paths are relative to the folder of the file itself.
 */

#include "boundary/abi.h"
#include "trusted/config/cluster.h"

enum { PROFILE_PATH_MAX = 4096 };

struct profile_member {
    uint32_t node;
    char address[HOST_MAX_LEN + 1];
    struct abi_addr host; /* the same address; port 0 */
    uint16_t control_port;
};

struct profile {
    uint8_t cluster[CLUSTER_ID_LEN];
    char name[NAME_MAX_LEN + 1];
    char ca_file[PROFILE_PATH_MAX];
    char cert_file[PROFILE_PATH_MAX];
    char key_file[PROFILE_PATH_MAX];
    uint32_t members_n;
    struct profile_member members[CLUSTER_MAX]; /* ascending by node: the place is the cluster's */
};

/* IO, TOO_BIG, MALFORMED; *why is one line for a person that names `path`. */
RESULT profile_load(const char *path, struct profile *ret, struct explain *why);

#endif
