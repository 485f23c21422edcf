// SPDX-License-Identifier: Apache-2.0
#ifndef TRUSTED_WIRE_PEER_WIRE_H
#define TRUSTED_WIRE_PEER_WIRE_H

/*
 * What replicas ask each other, as RPC request and response bodies. docs/protocol/abd.md, ABD-n,
 * and docs/protocol/rmw.md, RMW-n. Behind the kind of every question stands gc u32, the stamp of
 * the operation that asks (COL-2; COLLECT and COPY* have 0); it is left out below.
 *
 *   QUERY    kind 1 | key_len u16 | key                             W1: which tag do you hold?
 *   READ     kind 2 | tag 16 | key_len u16 | key                    R1: I hold this tag; and you?
 *   APPLY    kind 3 | flags u8 | tag 16 | key_len u16 | key | value                  W2 and R2
 *   PREPARE  kind 4 | flags u8 | tag 16 | ballot u64 | op 13 | key_len u16 | key      RMW-4
 *   ACCEPT   kind 5 | the same | value                                                RMW-4
 *   COMMIT   kind 6 | the same | value                                                RMW-6
 *     op     owner u8 | writer u32 | number u64                     the operation's id, RMW-12
 *   OFFER    kind 7 | as APPLY                         W1 and W2 in one: take this if it is newer
 *   batch    kind 8 to 11 | body                                    batch_wire.h
 *   COLLECT  kind 12 | body                                         collect_wire.h
 *   COPY     kind 20 | tag 16 | key_len u16 | key     the page of entries after this key; none:
 *                                                     from the beginning (MEM-7). A tag that is not
 *                                                     zero: from this key on, which the asker holds
 *                                                     with this tag
 *   COPY_ABSENT kind 21 | the same, zero tag          likewise, what was accepted for keys that do
 *                                                     not exist (RMW-16)
 *   COPY_GC  kind 22 | the same, zero tag, no key     what must be known before all else (COL-9)
 *
 *   answers
 *   TAG      kind 1 | tag 16                                        to QUERY; to OFFER: no, this
 *                                                                   is what I hold
 *   HOLDS    kind 2 | state u8 | flags u8 | tag 16 | value          to READ
 *   APPLIED  kind 3                                                 to APPLY (also when it lost),
 *                                                                   COMMIT, and OFFER if taken
 *   REFUSED  kind 4 | err u8                                        to any: not counted as a vote
 *   INSTANCE kind 5 | state u8 | flags u8 | tag 16 | ballot u64 | op 13 | value
 *                                                                   to PREPARE and ACCEPT
 *   batch    kind 8 to 12 | body                                    batch_wire.h
 *   COLLECTED kind 13 | body                                        collect_wire.h
 *   PAGE     kind 20 | flags u8 | entries (copy_wire.h)             to COPY and COPY_ABSENT;
 *                                                                   to COPY_GC: collect_wire.h
 */

#include "common/limits.h"
#include "common/result.h"
#include "trusted/wire/rmw_id.h"
#include "trusted/wire/tag.h"

enum peer_ask_kind {
    PEER_QUERY = 1,
    PEER_READ,
    PEER_APPLY,
    PEER_PREPARE,
    PEER_ACCEPT,
    PEER_COMMIT,
    PEER_OFFER,
    /* Of several keys: no key and no tag; the value is a body of batch_wire.h. */
    PEER_RANGE = 8,
    PEER_TAGS,
    PEER_LOOK,
    PEER_PUSH,
    PEER_COLLECT,
    PEER_COPY = 20,
    PEER_COPY_ABSENT,
    PEER_COPY_GC,
};

enum peer_answer_kind {
    PEER_TAG = 1,
    PEER_HOLDS,
    PEER_APPLIED,
    PEER_REFUSED,
    PEER_INSTANCE,
    /* To questions of several keys: SAME or LISTED to RANGE, and so on. The value is a body. */
    PEER_SAME = 8,
    PEER_LISTED,
    PEER_TAGGED,
    PEER_LOOKED,
    PEER_PUSHED,
    PEER_COLLECTED,
    PEER_PAGE = 20,
};

static inline bool peer_ask_is_write(enum peer_ask_kind kind)
{
    return kind == PEER_APPLY || kind == PEER_OFFER;
}

static inline bool peer_ask_is_batch(enum peer_ask_kind kind)
{
    return kind >= PEER_RANGE && kind <= PEER_COLLECT;
}

static inline bool peer_ask_is_copy(enum peer_ask_kind kind)
{
    return kind >= PEER_COPY && kind <= PEER_COPY_GC;
}

static inline bool peer_answer_is_batch(enum peer_answer_kind kind)
{
    return kind >= PEER_SAME && kind <= PEER_COLLECTED;
}

enum {
    PEER_FLAG_TOMBSTONE = 1,
    PEER_FLAG_LAST = 1, /* PAGE: nothing comes after it */
    /* COMMIT, INSTANCE: a value (or tombstone) comes along. */
    PEER_FLAG_VALUE = 2,
    /* INSTANCE: holds the base itself; the asker's operation was accepted from a helper; it was
     * committed (RMW-13). */
    PEER_FLAG_HOLDS_BASE = 4,
    PEER_FLAG_HELPED = 8,
    PEER_FLAG_COMMITTED = 16,
    /* ACCEPT: the asker has accepted it, and one more voice decides (RMW-18). */
    PEER_FLAG_DECIDES = 32,
};

/* READ's answer, relative to the asker's tag. */
enum peer_holds {
    PEER_HOLDS_SAME = 1, /* exactly the asker's tag */
    PEER_HOLDS_OLDER,    /* an older tag, given; no value */
    PEER_HOLDS_NEWER,    /* a newer tag, given, with the value (or a tombstone) */
    PEER_HOLDS_DAMAGED,  /* the same or a newer tag, given, whose value no longer opens here */
};

/* INSTANCE: what became of the question. */
enum peer_instance {
    PEER_PROMISED = 1, /* with what was accepted, if `value_given`: ballot, op, value */
    PEER_ACCEPTED,     /* `committed`: and applied (RMW-18) */
    PEER_OUTBID,       /* `ballot` was promised */
    PEER_CLOSED,       /* `tag` is above the base; with its value if `value_given` */
};

struct peer_ask {
    enum peer_ask_kind kind;
    uint32_t gc;        /* stamp of the operation (COL-2) */
    bool tombstone;     /* APPLY, OFFER, ACCEPT, COMMIT */
    bool value_given;   /* COMMIT: else the peer has it */
    bool decides;       /* ACCEPT */
    struct tag tag;     /* READ, APPLY, OFFER, COPY; PREPARE, ACCEPT, COMMIT: the base */
    struct bytes key;   /* 1..KEY_MAX bytes, any values; a batch has none; COPY*: may be empty */
    struct bytes value; /* APPLY, OFFER, ACCEPT, COMMIT; empty for a tombstone. Batch: its body */
    uint64_t ballot;    /* PREPARE, ACCEPT, COMMIT */
    struct rmw_id op;   /* PREPARE: the asker's own; ACCEPT, COMMIT: whose proposal it is */
};

struct peer_answer {
    enum peer_answer_kind kind;
    enum peer_holds holds;       /* HOLDS */
    bool tombstone;              /* HOLDS NEWER; INSTANCE with a value */
    struct tag tag;              /* TAG, HOLDS; CLOSED: what is above the base, else zero */
    struct bytes value;          /* HOLDS NEWER; INSTANCE; batch: its body; PAGE: the entries */
    bool last;                   /* PAGE */
    enum err err;                /* REFUSED */
    enum peer_instance instance; /* INSTANCE, and what follows */
    bool value_given, holds_base, helped, committed;
    uint64_t ballot;
    struct rmw_id op;
};

enum {
    PEER_ASK_HEAD_MAX = 1 + 4 + 1 + TAG_WIRE_LEN + 8 + RMW_ID_LEN + 2, /* bytes before the key */
    PEER_HOLDS_HEAD_LEN = 1 + 1 + 1 + TAG_WIRE_LEN,
    PEER_INSTANCE_HEAD_LEN = 1 + 1 + 1 + TAG_WIRE_LEN + 8 + RMW_ID_LEN,
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
