// SPDX-License-Identifier: Apache-2.0
#ifndef TOOLS_CLIENT_YAML_H
#define TOOLS_CLIENT_YAML_H

/* The client.yaml of a cluster folder: where the replicas are, and the client's own identity beside
 * it. Heap string, the caller frees; NULL: no memory. docs/protocol/client.md */

#include "trusted/config/cluster.h"

/* `ca_file`: relative to it. */
char *client_yaml_format(const struct cluster *c, const char *ca_file);

#endif
