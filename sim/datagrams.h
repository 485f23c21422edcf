// SPDX-License-Identifier: Apache-2.0
#ifndef SIM_DATAGRAMS_H
#define SIM_DATAGRAMS_H

/*
 * The network of level replica: it loses, delays, doubles and reorders (run_send), and it changes,
 * cuts short, misdirects, replays and forges. Two rules are watched at every delivery: a datagram
 * that was changed is never accepted, and no datagram is accepted twice (RPC-8, RPC-9).
 */

#include "sim/run.h"

enum { DATAGRAMS_KEPT = 64 };

/* The payload of a delivery. */
struct datagram {
    uint64_t id;
    uint8_t from, to; /* who sealed it, for whom */
    bool changed;
    size_t n;
    uint8_t bytes[];
};

struct datagrams {
    uint32_t kind; /* of the event that delivers one; a: to which endpoint */
    uint8_t ends_n;
    const uint8_t *host_of;                /* by endpoint; RUN_CLIENT: a client */
    struct datagram *kept[DATAGRAMS_KEPT]; /* to be replayed */
    uint64_t n;
    uint8_t *accepted; /* by id */
    size_t accepted_cap;
};

/* `host_of` stays the caller's. */
void datagrams_open(struct datagrams *s, uint32_t kind, uint8_t ends_n, const uint8_t *host_of);
void datagrams_close(struct datagrams *s);
void datagrams_send(struct run *r, struct datagrams *s, uint8_t from, uint8_t to,
                    struct bytes bytes);
/* The machine at `end` says that it accepted this delivery. */
void datagrams_accepted(struct run *r, struct datagrams *s, const struct datagram *d, uint8_t end);

#endif
