// SPDX-License-Identifier: Apache-2.0
#ifndef TRUSTED_CONTROL_TLS_H
#define TRUSTED_CONTROL_TLS_H

/*
 * One mutual TLS 1.3 connection as a machine: bytes in, bytes out (OpenSSL over memory BIOs). No
 * socket. Early data, tickets, renegotiation and compression are off.
 */

#include "common/bytes.h"
#include "trusted/control/identity.h"
#include "trusted/crypto/key.h"

struct tls;

enum {
    TLS_UNREAD_MAX = 64 << 10,  /* application bytes that wait for tls_read; more is TOO_BIG */
    TLS_UNPROVEN_MAX = 8 << 10, /* network bytes taken before the peer proved who it is */
};

/* IO: out of memory. */
RESULT tls_open(const struct identity *self, bool is_server, struct tls **ret);
void tls_close(struct tls *t); /* wipes and frees; NULL is allowed */
/* Unix time at which the peer's certificate is judged; before the first input. Without it: the time
 * at which the identity was loaded. */
void tls_set_time(struct tls *t, uint64_t now_s);

/* Network bytes in. AUTH: the handshake or the peer's certificate was refused; *why (may be NULL)
 * is one line; whatever tls_output still has (an alert) may be sent before closing. CLOSED: the
 * peer ended the connection in order. TOO_BIG: one of the bounds above. A connection that failed
 * once fails for ever. */
RESULT tls_input(struct tls *t, struct bytes in, struct explain *why);
/* Network bytes out: up to to.n; returns how many. Call until 0. */
size_t tls_output(struct tls *t, struct mbytes to);
/* True once the handshake is complete and the peer's certificate verified. */
bool tls_ready(const struct tls *t);
/* The peer's name from its certificate, and the last second (Unix time) in which that is good;
 * valid when ready. */
const struct identity_name *tls_peer(const struct tls *t);
uint64_t tls_peer_until(const struct tls *t);

/* Application bytes. tls_write queues all of `in` (CLOSED if the connection is over). tls_read
 * returns how many bytes it gave, 0 when there are none. */
RESULT tls_write(struct tls *t, struct bytes in);
size_t tls_read(struct tls *t, struct mbytes to);

/* What the data keys are bound to besides this very handshake. CTL-6. */
struct tls_binding {
    uint8_t cluster[CLUSTER_ID_LEN];
    uint64_t epoch;
    uint32_t dialer_incarnation, acceptor_incarnation;
    uint8_t dialer_boot[BOOT_ID_LEN], acceptor_boot[BOOT_ID_LEN];
    enum control_role dialer_role;
    uint16_t shard;
};
/* RFC 8446 §7.5 exporter, label "EXPORTER-avocado-rpc-v1", context SHA-256 of the binding's
 * encoding: one secret per direction. */
RESULT tls_export(struct tls *t, const struct tls_binding *b, struct secret *ret_dialer_sends,
                  struct secret *ret_acceptor_sends);

#endif
