// SPDX-License-Identifier: Apache-2.0
#ifndef TESTS_CLIENT_LOOPBACK_H
#define TESTS_CLIENT_LOOPBACK_H

/*
 * Three nodes on loopback in one thread: the real control channel and the real rpc, and instead of
 * replication one table that all of them share. For tests of what lies around the client's core.
 */

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <stdbool.h>

enum { LOOPBACK_NODES = 3, LOOPBACK_SHARDS = 2 };

struct loopback;

/* Makes a CA, identities and client.yaml in a new folder, and starts all nodes. */
struct loopback *loopback_open(void);
void loopback_close(struct loopback *l);

/* Path of a file in the folder: "client.yaml", "client.key", ... Valid until the next call. */
const char *loopback_path(struct loopback *l, const char *name);
/* Replaces the client's identity by one that another CA has issued. */
void loopback_forge_client(struct loopback *l);

/* Starts or stops a node; returns when it is so. Stopping closes connections without a word. */
void loopback_set_up(struct loopback *l, unsigned node, bool up);
uint16_t loopback_control_port(const struct loopback *l, unsigned node);

#endif
