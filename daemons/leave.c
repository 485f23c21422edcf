// SPDX-License-Identifier: Apache-2.0
#include "daemons/leave.h"

#include "daemons/log.h"
#include "host/run/clock.h"

#include <signal.h>

static const struct timeval LOOK_EVERY = {.tv_usec = 20000};
/* Clients whose answers were lost ask again so soon. */
static const uint64_t IDLE_NS = UINT64_C(300000000);
static const uint64_t MOST_NS = UINT64_C(3000000000);

void leave_begin(struct leave *l, struct node *n, int sig)
{
    const struct shard_command leave = {.kind = SHARD_LEAVE};

    if (l->since_ns != 0) {
        (void)event_base_loopbreak(l->base);
        return;
    }
    node_log("info",
             "stopping on %s: clients are sent elsewhere; the data of this replica is gone with it",
             sig == SIGTERM ? "SIGTERM" : "SIGINT");
    l->since_ns = clock_now_ns();
    node_post_all(n, &leave);
    if (event_add(l->look, &LOOK_EVERY) != 0) {
        (void)event_base_loopbreak(l->base);
    }
}

void leave_look(struct leave *l, const struct node *n)
{
    uint64_t now_ns = clock_now_ns();
    uint64_t pending = node_pending(n);

    if (l->since_ns == 0) {
        return;
    }
    l->idle_since_ns = pending != 0 ? 0 : l->idle_since_ns == 0 ? now_ns : l->idle_since_ns;
    if ((l->idle_since_ns != 0 && now_ns - l->idle_since_ns >= IDLE_NS) ||
        now_ns - l->since_ns >= MOST_NS) {
        node_log(pending == 0 ? "info" : "warning",
                 "stopped: %llu operations of clients were not finished",
                 (unsigned long long)pending);
        (void)event_base_loopbreak(l->base);
    }
}
