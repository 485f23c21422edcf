// SPDX-License-Identifier: Apache-2.0
#ifndef TOOLS_BENCH_SLOTS_H
#define TOOLS_BENCH_SLOTS_H

/* Inside of the benchmark's threads: a client, and the operations that it has in flight. */

#include "host/run/courtesy.h"
#include "tools/bench_pace.h"
#include "tools/bench_worker.h"

enum { NOISE_BYTES = 1 << 16 };

enum stage {
    STAGE_ONLY = 0,
    STAGE_RMW_GET,
    STAGE_RMW_PUT,
    STAGE_CAS_GET,
    STAGE_CAS,
};

struct slot {
    struct workload_step step;
    enum stage stage;
    bool is_load;
    uint64_t logical;  /* number of this sequential client in the history */
    uint64_t began_ns; /* of the whole; open loop: when it should have begun */
    uint64_t invoke_ns;
    uint32_t serial; /* makes values unique in a history */
    char *found;     /* CAS: what the get found; NULL: nothing */
    size_t found_len;
    struct avo_scan *scan; /* under way, or NULL */
    size_t scanned_n, scanned_bytes;
};

struct client {
    void *handle; /* of the target */
    struct slot *slots;
    uint32_t *free;
    uint32_t free_n, scans_n;
    uint64_t due_ms; /* poll by then even if nothing is readable; UINT64_MAX: never */
    bool is_ready;
};

struct state {
    struct bench_worker *w;
    struct bench *b;
    struct client *clients;
    struct prng prng;
    struct pace pace; /* open loop */
    uint64_t turn;    /* open loop: whose turn it is */
    uint8_t *noise;   /* values are windows of it */
    char *text;       /* a unique value, for a history */
    int epoll;
    struct courtesy courtesy;
    uint32_t slots_n; /* of each client */
    uint64_t in_flight;
};

/* Starts what the next free slot of the client is to do. `due_ns`: when it should have begun, 0:
 * now. False: there is nothing to start, or it failed at once. */
bool slot_start(struct state *t, struct client *c, uint64_t due_ns);
/* An operation has ended. */
void slot_complete(struct state *t, struct client *c, const struct avo_completion *got,
                   uint64_t now_ns);
/* Moves the scans of a client on as far as pages are there. */
void slots_scan(struct state *t, struct client *c);
/* The slot's operation never ended: its outcome is unknown. For histories. */
void slot_give_up(struct state *t, struct client *c, uint32_t place);

#endif
