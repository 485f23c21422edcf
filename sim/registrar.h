// SPDX-License-Identifier: Apache-2.0
#ifndef SIM_REGISTRAR_H
#define SIM_REGISTRAR_H

/*
 * The keeper of the register of configurations: trusted/register and its decisions as in
 * production; processes, reports and the stored bytes are the simulator's. It may be away at any
 * point, between storing and acting too, and goes on from what is stored.
 */

#include "trusted/register/keeping.h"

#include <stdbool.h>
#include <stdint.h>

struct run;
struct event;

enum { INCARNATIONS_MAX = 1024, KNOWN_MAX = 64, EPOCHS_MAX = 4096 };

struct registrar {
    bool restarts, is_away;
    uint64_t back_at_ns, pause_until_ns;
    struct config_register reg; /* while it is there */
    uint8_t stored[REGISTER_BYTES_MAX];
    size_t stored_n;
    uint64_t stored_version;
    uint32_t known_n;
    struct keeping_process known[KNOWN_MAX];
    uint64_t gone_at_ns[KNOWN_MAX]; /* no member any more; ended by force then. 0: a member */
    struct cluster *configs;        /* by epoch, as they were handed out */
    uint64_t epochs_n;
};

/* Founds the cluster with the first `nodes_n` hosts; nobody runs yet. */
void registrar_open(struct run *r, uint8_t nodes_n);
void registrar_close(struct run *r);
/* Starts the founding members. */
void registrar_found(struct run *r);
void registrar_turn(struct run *r);
void registrar_hear(struct run *r, const struct event *e);
/* It is away for so long. */
void registrar_leave(struct run *r, uint64_t for_ns);
/* A configuration that was handed out. */
const struct cluster *registrar_config(const struct run *r, uint64_t epoch);
/* After a wish: stores it and acts. */
void registrar_progress(struct run *r);

struct register_wish registrar_wish(uint8_t host);

static inline uint32_t registrar_node(uint8_t host)
{
    return host + 1U;
}

static inline uint8_t registrar_host(uint32_t node)
{
    return (uint8_t)(node - 1);
}

#endif
