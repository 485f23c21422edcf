// SPDX-License-Identifier: Apache-2.0
#ifndef DAEMONS_CAS_BRIDGE_H
#define DAEMONS_CAS_BRIDGE_H

/*
 * Split mode: the renewal's thread talks with the CAS through a stream of the host's, which the
 * control thread moves, for by then the process has given up the network (RING-9). TLS ends in the
 * renewal's thread; the host sees no more of it than a network would.
 */

#include "host/net/streamio.h"
#include "trusted/https/https.h"

struct cas_bridge;

/* IO */
RESULT cas_bridge_open(struct cas_bridge **ret);
void cas_bridge_close(struct cas_bridge *b); /* NULL is allowed */

/* For the renewal's thread: how its bytes travel. */
const struct https_via *cas_bridge_via(struct cas_bridge *b);

/* ---- for the control thread ---- */

/* Dials, writes and hangs up through `io` from now on; `user` becomes that of each connection, and
 * who gets its events hands them on. IO */
RESULT cas_bridge_serve(struct cas_bridge *b, struct event_base *base, struct streamio *io,
                        void *user);
/* Before `base` and `io` go away. NULL is allowed. */
void cas_bridge_leave(struct cas_bridge *b);
void cas_bridge_connected(struct cas_bridge *b);
void cas_bridge_received(struct cas_bridge *b, struct bytes bytes);
void cas_bridge_closed(struct cas_bridge *b);

#endif
