// SPDX-License-Identifier: Apache-2.0
#ifndef TRUSTED_WIRE_CLIENT_WIRE_H
#define TRUSTED_WIRE_CLIENT_WIRE_H

/*
 * What clients ask a shard, as RPC request and response bodies. docs/protocol/client.md, CLI-n.
 *
 *   request   op u8 | flags u8 (zero) | timeout_ms u32 | key_len u16 | key | value
 *   response  status u8 (enum err) | flags u8 (zero) | tag 16 | value
 */

#include "common/limits.h"
#include "common/result.h"
#include "trusted/wire/tag.h"

enum client_op {
    CLIENT_GET = 1,
    CLIENT_PUT,
    CLIENT_DELETE,
    /* Of several keys: no key; the value is a body of batch_wire.h, in the answer too. */
    CLIENT_SCAN = 5,
    CLIENT_MGET,
    CLIENT_MPUT,
};

static inline bool client_op_is_batch(enum client_op op)
{
    return op >= CLIENT_SCAN && op <= CLIENT_MPUT;
}

enum {
    CLIENT_TIMEOUT_MS_MAX = 60000,
    CLIENT_REQUEST_HEAD_LEN = 1 + 1 + 4 + 2,
    CLIENT_RESPONSE_HEAD_LEN = 1 + 1 + TAG_WIRE_LEN,
    CLIENT_BODY_MAX = MESSAGE_MAX - MESSAGE_HEAD_MAX,
};

struct client_request {
    enum client_op op;
    uint32_t timeout_ms; /* how long the asker will wait; 1..CLIENT_TIMEOUT_MS_MAX */
    struct bytes key;    /* 1..KEY_MAX bytes, any values; a batch has none */
    struct bytes value;  /* PUT: at most VALUE_MAX; a batch: its body */
};

struct client_response {
    enum err status;    /* OK, NOT_FOUND (get only), or why not */
    struct tag tag;     /* of the value read or written; zero when there is none */
    struct bytes value; /* GET or batch with status OK */
};

/* The bytes before the key; the whole body is head ‖ key ‖ value. */
void client_request_encode_head(const struct client_request *m,
                                uint8_t to[static CLIENT_REQUEST_HEAD_LEN]);
RESULT client_request_decode(struct bytes from, struct client_request *ret);

/* The bytes before the value; the whole body is head ‖ value. */
void client_response_encode_head(const struct client_response *m,
                                 uint8_t to[static CLIENT_RESPONSE_HEAD_LEN]);
RESULT client_response_decode(struct bytes from, struct client_response *ret);

#endif
