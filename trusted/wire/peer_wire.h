// SPDX-License-Identifier: Apache-2.0
#ifndef TRUSTED_WIRE_PEER_WIRE_H
#define TRUSTED_WIRE_PEER_WIRE_H

/*
 * What replicas ask each other, as RPC request and response bodies. docs/protocol/abd.md, ABD-n.
 *
 *   QUERY   kind 1 | key_len u16 | key                              W1: which tag do you hold?
 *   READ    kind 2 | tag 16 | key_len u16 | key                     R1: I hold this tag; and you?
 *   APPLY   kind 3 | flags u8 | tag 16 | key_len u16 | key | value  W2 and R2
 *   batch   kind 8 to 11 | body                                     batch_wire.h
 *
 *   answers
 *   TAG     kind 1 | tag 16                                         to QUERY
 *   HOLDS   kind 2 | state u8 | flags u8 | tag 16 | value           to READ
 *   APPLIED kind 3                                                  to APPLY, also when it lost
 *   REFUSED kind 4 | err u8                                         to any: not counted as a vote
 *   batch   kind 8 to 12 | body                                     batch_wire.h
 */

#include "common/limits.h"
#include "common/result.h"
#include "trusted/wire/tag.h"

enum peer_ask_kind {
    PEER_QUERY = 1,
    PEER_READ,
    PEER_APPLY,
    /* Of several keys: no key and no tag; the value is a body of batch_wire.h. */
    PEER_RANGE = 8,
    PEER_TAGS,
    PEER_LOOK,
    PEER_PUSH,
};

enum peer_answer_kind {
    PEER_TAG = 1,
    PEER_HOLDS,
    PEER_APPLIED,
    PEER_REFUSED,
    /* To questions of several keys: SAME or LISTED to RANGE, and so on. The value is a body. */
    PEER_SAME = 8,
    PEER_LISTED,
    PEER_TAGGED,
    PEER_LOOKED,
    PEER_PUSHED,
};

static inline bool peer_ask_is_batch(enum peer_ask_kind kind)
{
    return kind >= PEER_RANGE && kind <= PEER_PUSH;
}

static inline bool peer_answer_is_batch(enum peer_answer_kind kind)
{
    return kind >= PEER_SAME && kind <= PEER_PUSHED;
}

enum {
    PEER_FLAG_TOMBSTONE = 1,
};

/* READ's answer, relative to the asker's tag. */
enum peer_holds {
    PEER_HOLDS_SAME = 1, /* exactly the asker's tag */
    PEER_HOLDS_OLDER,    /* an older tag, given; no value */
    PEER_HOLDS_NEWER,    /* a newer tag, given, with the value (or a tombstone) */
    PEER_HOLDS_DAMAGED,  /* the same or a newer tag, given, whose value no longer opens here */
};

struct peer_ask {
    enum peer_ask_kind kind;
    bool tombstone;     /* APPLY */
    struct tag tag;     /* READ, APPLY */
    struct bytes key;   /* 1..KEY_MAX bytes, any values; a batch has none */
    struct bytes value; /* APPLY; empty for a tombstone. Batch: its body */
};

struct peer_answer {
    enum peer_answer_kind kind;
    enum peer_holds holds; /* HOLDS */
    bool tombstone;        /* HOLDS NEWER */
    struct tag tag;        /* TAG, HOLDS */
    struct bytes value;    /* HOLDS NEWER; batch: its body */
    enum err err;          /* REFUSED */
};

enum {
    PEER_ASK_HEAD_MAX = 1 + 1 + TAG_WIRE_LEN + 2, /* bytes before the key */
    PEER_HOLDS_HEAD_LEN = 1 + 1 + 1 + TAG_WIRE_LEN,
};

/* The bytes before the key; the whole body is head ‖ key ‖ value. At most PEER_ASK_HEAD_MAX. */
size_t peer_ask_encode_head(const struct peer_ask *m, uint8_t to[static PEER_ASK_HEAD_MAX]);
/* MALFORMED unless `from` is exactly one well-formed question. Views borrow from `from`. */
RESULT peer_ask_decode(struct bytes from, struct peer_ask *ret);

size_t peer_answer_len(const struct peer_answer *m);
/* TOO_BIG when `to` is smaller than peer_answer_len(). */
RESULT peer_answer_encode(const struct peer_answer *m, struct mbytes to, size_t *ret_len);
RESULT peer_answer_decode(struct bytes from, struct peer_answer *ret);

#endif
