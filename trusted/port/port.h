// SPDX-License-Identifier: Apache-2.0
#ifndef TRUSTED_PORT_PORT_H
#define TRUSTED_PORT_PORT_H

#include "common/result.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/*
 * What the platform gives trusted code at start. port_process.c is an ordinary process: a
 * confidential VM, or software mode for development. docs/protocol/isolation.md says against whom
 * each kind of memory helps.
 */

enum port_memory_kind {
    PORT_MEMORY_SECRET, /* memfd_secret(2): outside the kernel's own map; zeroed by the kernel when
                           the process ends, however it ends */
    PORT_MEMORY_LOCKED, /* ordinary, never swapped, not in core dumps */
    PORT_MEMORY_PLAIN,  /* ordinary, may be swapped, not in core dumps */
};

enum port_memory_choice {
    PORT_MEMORY_AUTO,      /* the best kind to be had */
    PORT_MEMORY_HUGE,      /* no better than LOCKED, so that the kernel can use huge pages */
    PORT_MEMORY_MUST_HIDE, /* SECRET, or none at all */
};

/* Decides what the maps below are made of, and makes OpenSSL allocate from such memory. Call once,
 * first of all: before OpenSSL allocates anything, before any thread starts. False: OpenSSL was
 * used before, or MUST_HIDE cannot be; errno tells. */
bool port_memory_choose(enum port_memory_choice choice);
/* "secret", "locked", "plain": the worst of what was mapped so far. */
const char *port_memory_name(void);
/* Why it is not "secret", with the remedy; NULL when it is. */
const char *port_memory_why(void);
/* Bytes that OpenSSL holds in ordinary memory because its region was full; 0 is right. */
uint64_t port_memory_spilled(void);

/* Zero-filled private memory for secrets and state: kept out of core dumps. NULL: none to be had.
 * Start-up only. */
void *port_memory_map(size_t bytes);
void port_memory_unmap(void *p, size_t bytes); /* wipes first */

/* The same, for the stack of a thread that sees secrets: a page that faults lies below it. */
void *port_stack_map(size_t bytes);
void port_stack_unmap(void *stack, size_t bytes);

/* No core dumps, no debugger of the same user. Call before the first secret is read. */
void port_harden(void);

/* Gives up, for good and for every thread, all system calls but those that wait, use what is open,
 * and allocate: no socket, no file, no program. Split mode only; docs/protocol/ring.md. Call when
 * all is open. False: errno tells. */
bool port_sandbox(void);

/* "software": nothing below us protects memory. */
const char *port_tee(void);
bool port_is_protected(void);

#endif
