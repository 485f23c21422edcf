// SPDX-License-Identifier: Apache-2.0
#ifndef DAEMONS_LEAVE_H
#define DAEMONS_LEAVE_H

/* How a replica ends in order (MEM-14). Control thread only. */

#include "daemons/node.h"

#include <event2/event.h>

struct leave {
    struct event_base *base;
    struct event *look;     /* of the caller: asks for reports */
    uint64_t since_ns;      /* 0: we are not leaving */
    uint64_t idle_since_ns; /* 0: something is pending */
};

/* A signal came: from now on clients are sent elsewhere, and `look` is due every 20 ms. The second
 * one ends the loop at once. */
void leave_begin(struct leave *l, struct node *n, int sig);
/* There are new reports: ends the loop once nobody has waited for an answer for a moment. */
void leave_look(struct leave *l, const struct node *n);

#endif
