// SPDX-License-Identifier: Apache-2.0
#ifndef TESTS_ABD_ABD_WORLD_H
#define TESTS_ABD_ABD_WORLD_H

/*
 * A few replicas and the questions between them, delivered one by one in the order that a test
 * wants. Every question is also kept as a copy: if the machine gives memory up that it has lent,
 * the comparison at delivery fails.
 */

#include "trusted/abd/abd.h"

enum { WORLD_CALLS_MAX = 4096, WORLD_REPLIES_MAX = 4096 };

struct world_node {
    void *region;
    uint8_t *arena;
    struct heap *heap;
    struct aead *aead;
    struct store *store;
    struct abd *abd;
    size_t used_at_start;
    uint64_t epoch; /* of its configuration */
};

struct world_call {
    bool live;
    uint8_t from;
    struct abd_call call;
    uint8_t *copy; /* key, then value */
};

struct world_reply {
    bool have, absent;
    enum err status;
    struct tag tag;
    uint8_t *value;
    size_t value_len;
};

struct world {
    uint8_t n;
    uint64_t now_ns;
    struct world_node nodes[NODES_MAX];
    struct world_call calls[WORLD_CALLS_MAX];
    struct world_reply replies[WORLD_REPLIES_MAX]; /* by user */
    uint32_t calls_n, replies_n, cancels_n;
    struct abd_out out;
    bool have_answer;
    struct peer_answer answer;
    uint8_t *answer_value;
};

struct world_options {
    uint8_t n;
    uint32_t ops_max;
    uint32_t value_max;
    uint64_t hedge_ns; /* 0 here means never */
    uint64_t sync_ns, collect_ns;
    size_t heap_bytes, arena_bytes;
    size_t leaves; /* bytes of the index that stay inside, about; 0: all */
    bool nobody_up;
};

struct world *world_open(const struct world_options *o);
/* Checks that every heap has returned to where it was. */
void world_close(struct world *w);

void world_up(struct world *w, uint8_t node, uint8_t peer, bool up);
/* Node `node` goes over to the next configuration, with these voters among all nodes: its calls
 * end, and nobody is up to it. */
void world_reconfigure(struct world *w, uint8_t node, uint8_t voters);
/* Starts an operation; returns its user number, the index into replies. */
uint32_t world_get(struct world *w, uint8_t node, const char *key, uint32_t timeout_ms);
uint32_t world_put(struct world *w, uint8_t node, const char *key, const char *value,
                   uint32_t timeout_ms);
uint32_t world_put_bytes(struct world *w, uint8_t node, struct bytes key, struct bytes value);
uint32_t world_delete(struct world *w, uint8_t node, const char *key, uint32_t timeout_ms);
/* `expect` may be NULL; `value` for an increment is the amount. */
uint32_t world_rmw(struct world *w, uint8_t node, enum client_rmw kind, const char *key,
                   const char *expect, const char *value);

/* A scan or another operation on several keys; the reply's value is a body of batch_wire.h. */
uint32_t world_batch(struct world *w, uint8_t node, enum client_op op, struct bytes body);

/* The oldest live call, or NULL. */
struct world_call *world_call(struct world *w, uint8_t from, uint8_t to);
uint32_t world_live_calls(const struct world *w);
/* The peer executes the question. The answer's value is good until the next world_ask. */
void world_ask(struct world *w, struct world_call *c, struct peer_answer *ret);
/* The answer arrives; the call ends. */
void world_answer(struct world *w, struct world_call *c, const struct peer_answer *m);
/* The same answer again, whatever became of the call. */
void world_answer_again(struct world *w, uint8_t node, uint8_t peer, uint64_t cookie,
                        const struct peer_answer *m);
/* Both, for the oldest live call between the two. False: there is none. */
bool world_exchange(struct world *w, uint8_t from, uint8_t to);
void world_fail(struct world *w, struct world_call *c);
/* Until no call is live. */
void world_settle(struct world *w);
/* Lets time pass at `node`. */
void world_tick(struct world *w, uint8_t node, uint64_t ns);

/* What stands in the store of a node. */
bool world_holds(struct world *w, uint8_t node, const char *key, const char *value);
struct tag world_tag(struct world *w, uint8_t node, const char *key);
/* Puts a value where the protocol would not. */
void world_plant(struct world *w, uint8_t node, const char *key, struct tag tag, const char *value);
/* Flips a bit in every byte of the host memory of a node. */
void world_damage(struct world *w, uint8_t node);

const struct abd_counters *world_counters(const struct world *w, uint8_t node);
bool world_is(const struct world *w, uint32_t user, enum err status, const char *value);

#endif
