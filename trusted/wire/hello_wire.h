// SPDX-License-Identifier: Apache-2.0
#ifndef TRUSTED_WIRE_HELLO_WIRE_H
#define TRUSTED_WIRE_HELLO_WIRE_H

/*
 * Messages inside the TLS control channel. docs/protocol/control.md, CTL-2.
 * Each is framed as: len u32 (bytes that follow) | kind u8 | fields.
 *
 *   HELLO    kind 1 | version u16 | role u8 | epoch u64 | incarnation u32 | boot 16
 *            | shards_n u16 | index u32 each
 *   WELCOME  kind 2 | version u16 | epoch u64 | incarnation u32 | boot 16 | datagram_bytes u32
 *            | value_max u32 | shards_n u16 | (index u32 | port u16) each
 *   STATUS   kind 3                    asks for the node's state
 *   REPORT   kind 4 | JSON text        the answer
 *   BYE      kind 5 | err u8 | text    refusal or farewell: the last message; why, for a person
 *   CONFIG   kind 16 | sig_len u8 | sig | text     a configuration, signed by the CA (CTL-13)
 */

#include "common/codec.h"
#include "common/limits.h"
#include "common/result.h"

enum {
    CONTROL_VERSION = 2,
    CONTROL_MESSAGE_MAX = 1 << 18,                 /* bytes after the length field */
    CONTROL_HELLO_MAX = 4 + 34 + SHARDS_MAX * 4,   /* longest HELLO, length field included */
    CONTROL_WELCOME_MAX = 4 + 41 + SHARDS_MAX * 6, /* the same of WELCOME */
    CONTROL_BYE_TEXT_MAX = 384,
    CONTROL_CONFIG_TEXT_MAX = 16384,
    CONTROL_SIGNATURE_MAX = 80,
    CONTROL_CONFIG_MAX = 2 + CONTROL_SIGNATURE_MAX + CONTROL_CONFIG_TEXT_MAX,
    BOOT_ID_LEN = 16,
};

/* The whole text of a REPORT to whom the node's state is none of his business, ACL-5. */
#define CONTROL_REPORT_REFUSED "{\"refused\":\"status\"}"

enum control_kind {
    CONTROL_HELLO = 1,
    CONTROL_WELCOME,
    CONTROL_STATUS,
    CONTROL_REPORT,
    CONTROL_BYE,
    CONTROL_CONFIG = 16,
};

enum control_role {
    ROLE_REPLICA = 1,
    ROLE_CLIENT,
    ROLE_SERVICE, /* in certificates alone: the CAS, a LAS; opens no session here */
};

struct control_message {
    enum control_kind kind;
    enum err err; /* BYE */
    enum control_role role;
    uint16_t version;
    uint64_t epoch;            /* HELLO: 0 lets a client learn it */
    uint32_t incarnation;      /* 0 for clients */
    uint8_t boot[BOOT_ID_LEN]; /* random per process: fences a second process of one incarnation */
    uint32_t datagram_bytes;
    uint32_t value_max;
    uint16_t shards_n;
    uint32_t index[SHARDS_MAX]; /* where the sender of this message wants datagrams, per shard */
    uint16_t port[SHARDS_MAX];  /* WELCOME: UDP port of each shard */
    struct bytes text;          /* REPORT, BYE, CONFIG; borrows from the input */
    struct bytes sig;           /* CONFIG; the same */
};

/* TOO_BIG when it does not fit. Writes the length field too. */
RESULT control_message_encode(const struct control_message *m, struct mbytes to, size_t *ret_len);
/* `from` is one message without its length field. MISMATCH: a HELLO or WELCOME of another version,
 * about whose fields nothing is said. MALFORMED: anything else that is not exactly one message. */
RESULT control_message_decode(struct bytes from, struct control_message *ret);

#endif
