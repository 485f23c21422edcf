// SPDX-License-Identifier: Apache-2.0
#ifndef DAEMONS_CAS_CONNS_H
#define DAEMONS_CAS_CONNS_H

/*
 * How many connections the CAS has at most, and for how long each: who only connects must not be
 * able to use up its descriptors, nor keep others out. Under libevent's HTTP, which bounds neither.
 * CAS-3
 */

#include "common/result.h"
#include "trusted/config/cluster.h"

#include <event2/http.h>
#include <openssl/ssl.h>

enum {
    CAS_CONNS_MAX = 256,
    CAS_CONN_LIFE_S = 30, /* whatever it does; a request takes milliseconds */
};

struct cas_conns;

/* Listens at a numeric address, or at the first that the name has, on behalf of `http`.
 * UNAVAILABLE; *why is one line. */
RESULT cas_conns_open(struct evhttp *http, struct event_base *base, const char *address,
                      uint16_t port, struct cas_conns **ret, struct explain *why);
/* A bufferevent for a connection that is about to be accepted; takes `tls` over (NULL: out of
 * memory). NULL: there is none, and libevent goes on in plain text, which the server must refuse.
 */
struct bufferevent *cas_conns_add(struct cas_conns *c, struct event_base *base, SSL *tls);
/* Before evhttp_free, which frees the listener. */
void cas_conns_stop(struct cas_conns *c);
/* After event_base_free: connections end later than they are closed. NULL is allowed, for both. */
void cas_conns_free(struct cas_conns *c);

#endif
