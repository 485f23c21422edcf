// SPDX-License-Identifier: Apache-2.0
#ifndef TRUSTED_PORT_PORT_H
#define TRUSTED_PORT_PORT_H

#include <stdbool.h>
#include <stddef.h>

/*
 * What the platform gives trusted code at start. port_process.c is an ordinary process: a
 * confidential VM, or software mode for development, where the host's administrator can read
 * everything.
 */

/* Zero-filled private memory for secrets and state: kept out of core dumps, locked against swapping
 * where the limits permit. NULL: none to be had. Start-up only. */
void *port_memory_map(size_t bytes);
void port_memory_unmap(void *memory, size_t bytes); /* wipes first */

/* No core dumps, no debugger of the same user. Call before the first secret is read. */
void port_harden(void);

/* "software": nothing below us protects memory. */
const char *port_tee(void);
bool port_is_protected(void);

#endif
