// SPDX-License-Identifier: Apache-2.0
#ifndef TRUSTED_CONTROL_DIALER_H
#define TRUSTED_CONTROL_DIALER_H

/*
 * The client's end of one control connection as a machine: TLS, HELLO, WELCOME, one data session
 * per shard, and status reports. Bytes and nothing else; the caller owns socket and deadline. Used
 * by libavocado and, for the dialing half, by control.c.
 */

#include "trusted/control/tls.h"
#include "trusted/rpc/rpc.h"

struct dialer;

struct dialer_config {
    const struct identity *self; /* borrowed */
    uint8_t cluster[CLUSTER_ID_LEN];
    uint32_t node;                   /* who must answer: the certificate must name this node */
    uint64_t epoch;                  /* what we know; 0: learn it (clients) */
    struct bytes config, config_sig; /* ours, told before HELLO; borrowed; empty: say nothing */
    uint32_t incarnation;            /* ours; 0 for clients */
    uint32_t peer_incarnation; /* what the answerer's certificate must say; 0: any (clients) */
    uint8_t boot[BOOT_ID_LEN];
    enum control_role role;
    uint32_t index[SHARDS_MAX]; /* our receive index per shard */
    uint32_t shards_n;          /* how many are filled; clients may fill SHARDS_MAX */
    uint64_t now_s;             /* Unix time that judges certificates; 0: when `self` was loaded */
};

RESULT dialer_open(const struct dialer_config *c, struct dialer **ret);
void dialer_close(struct dialer *d); /* NULL is allowed */

/* Network bytes in and out. AUTH, POLICY, EPOCH, MALFORMED, CLOSED...: the connection is over, *why
 * (may be NULL) is one line; send what dialer_output still has, then close. */
RESULT dialer_input(struct dialer *d, struct bytes in, struct explain *why);
size_t dialer_output(struct dialer *d, struct mbytes to);

/* Tells the node why we leave (at most CONTROL_BYE_TEXT_MAX bytes count); the connection is over:
 * send what dialer_output still has, then close. */
void dialer_bye(struct dialer *d, enum err err, const char *text);

/* WELCOME has come: sessions can be opened. */
bool dialer_ready(const struct dialer *d);
/* The node's WELCOME; valid while ready. */
const struct control_message *dialer_welcome(const struct dialer *d);
/* Parameters of the session to shard s (s < welcome.shards_n): indices and secrets filled, addr
 * from `host` and the welcomed port. The caller wipes the secrets. */
RESULT dialer_session(struct dialer *d, uint32_t shard, struct abi_addr host,
                      struct rpc_session_params *ret);

/* The configuration that the node has sent, once (CTL-13); false: none came. Not yet checked: the
 * caller verifies the signature. The bytes are valid until the next dialer call. */
bool dialer_take_config(struct dialer *d, struct bytes *ret_text, struct bytes *ret_sig);
/* Tells the node a configuration. CLOSED unless ready. */
RESULT dialer_send_config(struct dialer *d, struct bytes text, struct bytes sig);

/* Asks for the node's state; later dialer_report gives the JSON text once (NULL until it came;
 * valid until the next dialer call). */
RESULT dialer_ask_report(struct dialer *d);
const char *dialer_report(struct dialer *d, size_t *ret_n);

#endif
