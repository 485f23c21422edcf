// SPDX-License-Identifier: Apache-2.0
#ifndef DAEMONS_HOSTD_H
#define DAEMONS_HOSTD_H

/*
 * avocado-hostd: the untrusted half of a replica in split mode. It has the sockets; the replica has
 * none. Nothing it does can do more harm than the network can.
 */

#include "host/net/handover.h"
#include "host/net/streamio.h"

struct event_base;
struct hostd_streams;

/* Moves stream frames between the rings and TCP. IO: errno tells. */
RESULT hostd_streams_open(struct event_base *base, const struct handover *h, const char *address,
                          uint16_t port, struct hostd_streams **ret);
void hostd_streams_close(struct hostd_streams *s);

#endif
