// SPDX-License-Identifier: Apache-2.0
#ifndef TRUSTED_WIRE_BATCH_WIRE_H
#define TRUSTED_WIRE_BATCH_WIRE_H

/*
 * Bodies that speak of several keys: pages of a scan, multi-key reads and writes, and what replicas
 * ask each other for them. docs/protocol/scan.md, SCAN-n.
 *
 * All are a head and a list. An item of a list has some of these fields, in this order:
 *
 *   state u8 | tag 16 | print u64 | key_len u16 | key | value_len u32 | value
 *
 *   client asks                                         is answered
 *   SCAN   flags u8 | keys_max u16 | bytes_max u32      PAGE     flags u8 | next | n u16 | items
 *          | low | high                                          (key; with VALUES value too)
 *   MGET   n u16 | items (key)                          VALUES   n u16 | items (state, value)
 *   MPUT   n u16 | items (state, key, value)            STATES   n u16 | items (state)
 *
 *   replica asks                                        is answered
 *   RANGE  flags u8 | keys_max u16 | bytes_max u32      SAME     empty
 *          | low | high | secret 16 | digest u64        LISTED   flags u8 | next | n u16 | items
 *          | count u16                                           (state, tag, key; with PRINTS
 * print) TAGS   n u16 | items (key)                          TAGGED   n u16 | items (tag) LOOK   n
 * u16 | items (tag, key)                     LOOKED   n u16 | items (state, tag, value) PUSH   n
 * u16 | items (state, tag, key, value)       PUSHED   n u16 | items (state)
 *
 * low, high and next are bounds: len u16 | bytes, 0 to BOUND_MAX.
 */

#include "common/codec.h"
#include "common/limits.h"
#include "common/result.h"
#include "trusted/wire/tag.h"

enum batch_fields {
    BATCH_STATE = 1 << 0,
    BATCH_TAG = 1 << 1,
    BATCH_PRINT = 1 << 2,
    BATCH_KEY = 1 << 3,
    BATCH_VALUE = 1 << 4,
};

/* The fields of each list. */
enum {
    BATCH_PAGE_KEYS = BATCH_KEY,
    BATCH_PAGE_VALUES = BATCH_KEY | BATCH_VALUE,
    BATCH_MGET = BATCH_KEY,
    BATCH_VALUES = BATCH_STATE | BATCH_VALUE,
    BATCH_MPUT = BATCH_STATE | BATCH_KEY | BATCH_VALUE,
    BATCH_STATES = BATCH_STATE,
    BATCH_LISTED = BATCH_STATE | BATCH_TAG | BATCH_KEY,
    BATCH_LISTED_PRINTS = BATCH_LISTED | BATCH_PRINT,
    BATCH_TAGS = BATCH_KEY,
    BATCH_TAGGED = BATCH_TAG,
    BATCH_LOOK = BATCH_TAG | BATCH_KEY,
    BATCH_LOOKED = BATCH_STATE | BATCH_TAG | BATCH_VALUE,
    BATCH_PUSH = BATCH_STATE | BATCH_TAG | BATCH_KEY | BATCH_VALUE,
    BATCH_PUSHED = BATCH_STATE,
};

/* `state` of LISTED, MPUT and PUSH: the key is (to be) deleted. */
enum { BATCH_LIVE = 0, BATCH_TOMBSTONE = 1, BATCH_DAMAGED = 2 /* LISTED: it does not open here */ };
/* `state` of LOOKED: enum peer_holds in the low bits, and this for NEWER. SKIPPED: no room. */
enum { BATCH_LOOKED_TOMBSTONE = 0x10, BATCH_LOOKED_SKIPPED = 0 };

struct batch_item {
    uint8_t state;
    struct tag tag;
    uint64_t print;
    struct bytes key, value;
};

/* n items that were checked once and are read one after another. */
struct batch_list {
    uint16_t n;
    unsigned fields;
    struct reader rest;
};

/* What an item takes on the wire. */
size_t batch_item_len(unsigned fields, const struct batch_item *m);
void batch_item_put(struct writer *w, unsigned fields, const struct batch_item *m);

/* n u16 | items, to the end of `r`: 1..BATCH_KEYS_MAX of them, or none if `may_be_empty`; keys of 1
 * to KEY_MAX bytes, values of at most VALUE_MAX, states below `states_n`. The list borrows. */
RESULT batch_list_get(struct reader *r, unsigned fields, unsigned states_n, bool may_be_empty,
                      struct batch_list *ret);
/* The same for a body that is a list and nothing else. */
RESULT batch_list_decode(struct bytes from, unsigned fields, unsigned states_n,
                         struct batch_list *ret);
/* False: that was the last one. */
bool batch_list_next(struct batch_list *l, struct batch_item *ret);

enum scan_flags {
    SCAN_DOWN = 1 << 0,   /* from high to low */
    SCAN_VALUES = 1 << 1, /* RANGE: the digest covers the values too */
};

/* SCAN and RANGE: a piece of [low, high) in bytewise order. An empty high is above all keys. */
struct scan_ask {
    bool down, values;
    uint16_t keys_max;  /* 1..BATCH_KEYS_MAX */
    uint32_t bytes_max; /* of keys and values; one key is answered whatever its size */
    struct bytes low, high;
    /* RANGE: what the asker holds in all of [low, high) */
    uint8_t secret[16];
    uint64_t digest;
    uint16_t count;
};

enum { SCAN_ASK_MAX = 1 + 2 + 4 + 2 * (2 + BOUND_MAX), RANGE_ASK_MAX = SCAN_ASK_MAX + 16 + 8 + 2 };

/* MALFORMED unless low < high (or high is empty). */
RESULT scan_ask_decode(struct bytes from, bool is_range, struct scan_ask *ret);
/* SCAN_ASK_MAX or RANGE_ASK_MAX bytes of room; returns the length. */
size_t scan_ask_encode(const struct scan_ask *m, bool is_range, struct mbytes to);

enum page_flags {
    PAGE_MORE = 1 << 0,   /* the page ends before the range does: at `next` */
    PAGE_VALUES = 1 << 1, /* LISTED: prints */
};

/* PAGE and LISTED. Without MORE it covers all that was asked. With MORE it covers [low, next), or,
 * downwards, [next, high): about keys beyond, an absent one included, it says nothing. */
struct scan_page {
    bool more, values;
    struct bytes next;
    struct batch_list list;
};

/* The bytes before the items; PAGE_HEAD_MAX bytes of room. */
enum { PAGE_HEAD_MAX = 1 + 2 + BOUND_MAX + 2 };
void scan_page_put_head(struct writer *w, const struct scan_page *m, uint16_t n);
RESULT scan_page_decode(struct bytes from, bool is_listed, struct scan_page *ret);

#endif
