// SPDX-License-Identifier: Apache-2.0
#ifndef TESTS_CLIENT_WORLD_H
#define TESTS_CLIENT_WORLD_H

/*
 * A client's core and a few nodes that obey a script, joined by a network with virtual time. The
 * nodes speak real rpc; what they answer is told by the test. Deterministic: one seed, one run.
 */

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "client/core.h"
#include "common/prng.h"
#include "trusted/wire/look_wire.h"

enum {
    WORLD_NODES = 3,
    WORLD_KEYS = 64,
    WORLD_PACKETS = 1 << 14,
    WORLD_LATE = 16,
};

static const uint64_t MS_NS = UINT64_C(1000000);

enum node_mode {
    NODE_SERVES = 0,
    NODE_SAYS,      /* answers `says` to everything and does nothing */
    NODE_SAYS_LATE, /* the same when the time it was given is over */
    NODE_SILENT,    /* does what it is asked and never answers */
    NODE_BABBLES,   /* answers bytes that are no response */
};

struct world_value {
    uint8_t key[KEY_MAX];
    size_t key_len;
    uint8_t *value;
    size_t value_len;
    bool present;
    uint64_t ts;
};

/* An answer that is due later. */
struct world_late {
    uint64_t at_ns;
    struct rpc_request to;
    enum err says;
};

struct world_node {
    struct rpc *rpc;
    struct heap *heap;
    struct aead *aead;
    void *region;
    uint32_t generation;
    enum node_mode mode;
    enum err says;
    uint32_t says_times;          /* then it serves; 0: for ever */
    bool cut;                     /* nothing arrives, nothing leaves */
    uint32_t gets, writes, looks; /* requests that came, repeated ones not counted */
    uint32_t looked;              /* keys of the looks */
    bool looks_silently;          /* looks get no answer */
    bool shows_older;             /* and no newer tag than this minus one */
    struct look_witness witness;  /* what it says of itself */
    struct world_late late[WORLD_LATE];
    uint32_t late_n;
    uint32_t held, held_max; /* requests without an answer now, at most */
};

struct world_packet {
    uint64_t at_ns;
    uint32_t to; /* node; WORLD_NODES: the client */
    uint32_t from;
    size_t n;
    uint8_t *p;
};

struct world {
    uint64_t now_ns;
    struct prng prng;
    uint32_t shards;
    uint32_t loss_percent;
    uint64_t delay_ns;
    struct core *core;
    struct heap *heap;
    struct aead *aead;
    void *region;
    size_t region_bytes;
    size_t heap_before;
    uint32_t client_generation;
    struct world_node nodes[WORLD_NODES];
    struct world_packet packets[WORLD_PACKETS];
    uint32_t packets_n;
    struct world_value values[WORLD_KEYS];
    uint32_t values_n;
    uint64_t ts;
    uint32_t *executed; /* if not NULL: a put's value begins with a u32, whose element is counted */
};

struct world_setup {
    uint32_t shards;        /* 0: 1 */
    uint32_t prefer;        /* place + 1; 0: drawn */
    uint32_t in_flight_max; /* 0: 64 */
    uint32_t value_max;     /* 0: 2 MiB */
    size_t region_bytes;    /* 0: 64 MiB */
    uint64_t seed;
    bool no_sessions;
    bool looks; /* CLI-19; nodes know each other */
};

struct world *world_open(const struct world_setup *setup);
/* Ends the core and checks that it gave back all its memory. */
void world_close(struct world *w);

/* Sessions to all shards of a node, with new keys; what a WELCOME brings about. */
void world_join(struct world *w, uint32_t place);
/* The client sees the node's control connection end. The node forgets its sessions too. */
void world_part(struct world *w, uint32_t place);
/* The node ends its sessions in order, and says so. */
void world_hang_up(struct world *w, uint32_t place);

/* Runs until `until_ns`, or until an operation has ended (then true). */
bool world_run(struct world *w, uint64_t until_ns, struct core_completion *ret);
/* As above, and an operation must end. */
struct core_completion world_one(struct world *w, uint64_t within_ms);

/* Submits; must be accepted. The deadline is timeout_ms from now. */
void world_put(struct world *w, const char *key, const char *value, uint32_t timeout_ms);
void world_get(struct world *w, const char *key, uint32_t timeout_ms);

struct world_value *world_find(struct world *w, struct bytes key, bool make);

#endif
