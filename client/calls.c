// SPDX-License-Identifier: Apache-2.0
#include "client/calls.h"

#include "client/status.h"

#include <stdlib.h>

static void unlink_call(struct avo_client *c, struct client_call *k)
{
    *k->at = k->next;
    if (k->next != NULL) {
        k->next->at = k->at;
    }
    c->calls_n--;
    free(k);
}

enum avo_status client_call(struct avo_client *c, const struct core_request *q, void *owner,
                            client_call_fn *done, uint32_t which)
{
    struct client_call *k = calloc(1, sizeof(*k));
    struct core_request copy = *q;
    enum err err;

    if (k == NULL) {
        return AVO_NO_MEMORY;
    }
    copy.user = (uint64_t)(uintptr_t)k;
    err = core_submit(c->core, client_now_ns(), &copy);
    if (err != OK) {
        free(k);
        return status_of(err);
    }
    c->unsent++;
    *k = (struct client_call){
        .next = c->calls, .at = &c->calls, .owner = owner, .done = done, .which = which};
    if (k->next != NULL) {
        k->next->at = &k->next;
    }
    c->calls = k;
    c->calls_n++;
    return AVO_OK;
}

void client_calls_serve(struct avo_client *c)
{
    struct core_completion done;

    while (core_take_batch(c->core, &done)) {
        struct client_call *k = (struct client_call *)(uintptr_t)done.user;

        if (k->owner != NULL) {
            k->done(k->owner, k->which, &done);
        }
        unlink_call(c, k);
    }
}

void client_calls_forget(struct avo_client *c, const void *owner)
{
    for (struct client_call *k = c->calls; k != NULL; k = k->next) {
        if (k->owner == owner) {
            k->owner = NULL;
        }
    }
}

void client_calls_fini(struct avo_client *c)
{
    struct client_call *k = c->calls;

    c->calls = NULL;
    while (k != NULL) {
        struct client_call *next = k->next;

        free(k);
        k = next;
    }
}

void client_run(struct avo_client *c, const bool *ready, uint64_t until_ns)
{
    uint64_t now_ns = client_now_ns();

    for (;;) {
        client_serve(c, now_ns);
        client_calls_serve(c);
        if (*ready || now_ns >= until_ns) {
            break;
        }
        client_wait(c, now_ns, until_ns);
        now_ns = client_now_ns();
    }
    client_arm(c, now_ns);
}
