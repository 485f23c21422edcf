// SPDX-License-Identifier: Apache-2.0
#ifndef CLIENT_CALLS_H
#define CLIENT_CALLS_H

/*
 * Batches that a scan or a multi-key operation of this client has under way. They end in whatever
 * call moves the client's packets, and are told to their owner there. Only client/ includes this.
 */

#include "client/client.h"

struct client_call;

/* `completion` is valid during the call. */
typedef void client_call_fn(void *owner, uint32_t which, const struct core_completion *completion);

struct client_call {
    struct client_call *next, **at; /* of the client's list */
    void *owner;                    /* NULL: given up, nobody is told */
    client_call_fn *done;
    uint32_t which;
};

/* Starts a batch at a shard; `body` is copied. On failure nobody is told later. */
enum avo_status client_call(struct avo_client *c, const struct core_request *q, void *owner,
                            client_call_fn *done, uint32_t which);
/* Tells the owners of all batches that have ended. */
void client_calls_serve(struct avo_client *c);
/* The owner goes: what it has under way ends untold. */
void client_calls_forget(struct avo_client *c, const void *owner);
/* The client goes. */
void client_calls_fini(struct avo_client *c);

/* Moves packets, at least once, until *ready or `until_ns`. */
void client_run(struct avo_client *c, const bool *ready, uint64_t until_ns);

#endif
