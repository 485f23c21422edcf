// SPDX-License-Identifier: Apache-2.0
#ifndef TRUSTED_WIRE_CLIENT_WIRE_H
#define TRUSTED_WIRE_CLIENT_WIRE_H

/*
 * What clients ask a shard, as RPC request and response bodies. docs/protocol/client.md, CLI-n.
 *
 *   request   op u8 | group u8 | timeout_ms u32 | key_len u16 | key | value
 *             group: of a batch, whose keys are all of one; zero where there is a key
 *   RMW       op 4  | flags u8 (zero) | timeout_ms u32 | key_len u16 |
 *             kind u8 | delta i64 | expect_len u32 | key | expected value | new value
 *   response  status u8 (enum err) | flags u8 | tag 16 | value
 *             flags: 1 there was no old value; of POLICY the rights that the asker lacks
 *             EPOCH: the replica does not serve this key, in the epoch that stands in tag.ts
 */

#include "common/limits.h"
#include "common/result.h"
#include "trusted/wire/tag.h"

enum client_op {
    CLIENT_GET = 1,
    CLIENT_PUT,
    CLIENT_DELETE,
    CLIENT_RMW,
    /* Of several keys: no key; the value is a body of batch_wire.h, in the answer too, or of
     * look_wire.h. */
    CLIENT_SCAN,
    CLIENT_MGET,
    CLIENT_MPUT,
    CLIENT_LOOK, /* CLI-19: what this replica alone holds of several keys (look_wire.h) */
};

/* What a read-modify-write does. Its answer has a value where it says so. */
enum client_rmw {
    CLIENT_RMW_CAS = 1,  /* new if the value is `expect`; else MISMATCH with the value, NOT_FOUND */
    CLIENT_RMW_PUT_NEW,  /* new if there is none; else MISMATCH with the value */
    CLIENT_RMW_INCR,     /* adds delta to a decimal int64, absent being 0: the sum as text, or
                            NOT_NUMBER, OVERFLOW */
    CLIENT_RMW_APPEND,   /* new behind the value: the length as decimal text, or TOO_BIG */
    CLIENT_RMW_GET_SET,  /* new: the old value, or the flag ABSENT */
    CLIENT_RMW_DELETE_IF /* deletes if the value is `expect`; else MISMATCH with it, NOT_FOUND */
};

static inline bool client_op_is_batch(enum client_op op)
{
    return op >= CLIENT_SCAN && op <= CLIENT_LOOK;
}

enum {
    CLIENT_FLAG_ABSENT = 1, /* response: there was no old value */
    CLIENT_RIGHTS = 0x0f,   /* flags of a response POLICY: what the asker lacks, access.md */

    CLIENT_TIMEOUT_MS_MAX = 60000,
    CLIENT_REQUEST_HEAD_LEN = 1 + 1 + 4 + 2,
    CLIENT_RMW_HEAD_LEN = CLIENT_REQUEST_HEAD_LEN + 1 + 8 + 4,
    CLIENT_REQUEST_HEAD_MAX = CLIENT_RMW_HEAD_LEN,
    CLIENT_NUMBER_MAX = 20, /* bytes of a decimal int64 */
    CLIENT_RESPONSE_HEAD_LEN = 1 + 1 + TAG_WIRE_LEN,
    CLIENT_BODY_MAX = MESSAGE_MAX - MESSAGE_HEAD_MAX,
};

struct client_request {
    enum client_op op;
    uint32_t timeout_ms; /* how long the asker will wait; 1..CLIENT_TIMEOUT_MS_MAX */
    struct bytes key;    /* 1..KEY_MAX bytes, any values; a batch has none */
    struct bytes value;  /* PUT: at most VALUE_MAX; RMW: the expected value, then the new one; a
                            batch: its body */
    enum client_rmw rmw; /* RMW, and what follows */
    uint32_t expect_len;
    int64_t delta;
    uint8_t group; /* of a batch: below GROUPS_MAX */
};

/* Of an RMW, within its value. */
static inline struct bytes client_request_expect(const struct client_request *m)
{
    return (struct bytes){.p = m->value.p, .n = m->expect_len};
}

static inline struct bytes client_request_new(const struct client_request *m)
{
    return (struct bytes){.p = m->value.p == NULL ? NULL : m->value.p + m->expect_len,
                          .n = m->value.n - m->expect_len};
}

struct client_response {
    enum err status;    /* OK, NOT_FOUND (get and RMW), or why not */
    bool absent;        /* RMW GET_SET, OK: there was no old value */
    uint8_t lacks;      /* POLICY: rights (access.md) that the asker's certificate does not give */
    struct tag tag;     /* of the value read or written; zero when there is none */
    struct bytes value; /* GET or batch with OK; RMW with OK or MISMATCH */
};

/* CLI-2: what both ends hold to be one request. */
bool client_request_is_legal(const struct client_request *m);
/* The bytes before the key, at most CLIENT_REQUEST_HEAD_MAX: how many. The whole body is
 * head ‖ key ‖ value. */
size_t client_request_encode_head(const struct client_request *m,
                                  uint8_t to[static CLIENT_REQUEST_HEAD_MAX]);
RESULT client_request_decode(struct bytes from, struct client_request *ret);

/* The bytes before the value; the whole body is head ‖ value. */
void client_response_encode_head(const struct client_response *m,
                                 uint8_t to[static CLIENT_RESPONSE_HEAD_LEN]);
RESULT client_response_decode(struct bytes from, struct client_response *ret);

#endif
