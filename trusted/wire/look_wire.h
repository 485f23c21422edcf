// SPDX-License-Identifier: Apache-2.0
#ifndef TRUSTED_WIRE_LOOK_WIRE_H
#define TRUSTED_WIRE_LOOK_WIRE_H

/*
 * A look: a client asks a majority of the replicas what each of them holds, and judges itself
 * whether that is an answer. docs/protocol/client.md, CLI-19; ABD-22.
 *
 *   LOOK    flags u8 | n u16 | n times: key_len u16 | key
 *           flags: 1 with values
 *   LOOKED  witness | n times: state u8 | tag 16, and with values: value_len u32 | value
 *           in the order of the keys
 *   witness epoch u64 | gc u32 | majority u8 | place u8 | members u8 | members times: bond u64
 */

#include "common/bytes.h"
#include "common/limits.h"
#include "common/result.h"
#include "trusted/wire/tag.h"

enum {
    LOOK_KEYS_MAX = 64,
    LOOK_BODY_MAX = 32 << 10, /* of an answer; what does not fit is ASK */
    LOOK_ASK_HEAD_LEN = 1 + 2,
    LOOK_ITEM_LEN = 1 + TAG_WIRE_LEN,
    LOOK_VALUE_ITEM_LEN = LOOK_ITEM_LEN + 4, /* and the value */
};

_Static_assert(LOOK_KEYS_MAX *LOOK_VALUE_ITEM_LEN + 128 <= LOOK_BODY_MAX,
               "all may be without a value");

enum look_state {
    LOOK_ABSENT = 0, /* zero tag */
    LOOK_LIVE,
    LOOK_TOMBSTONE,
    LOOK_ASK, /* zero tag; this replica cannot or may not say: a coordinator will tell why */
    LOOK_STATES_N,
};

/*
 * Who speaks. A bond belongs to the session between two members, both of which know it: whoever
 * names the same one has got through to the other under this epoch, as the process that each holds
 * the other to be (CTL-4). A copy of a member has none with those who know the original.
 */
struct look_witness {
    uint64_t epoch;
    uint32_t gc;               /* COL-2: keys may have begun a new life since another one */
    uint8_t majority;          /* so many voters are one */
    uint8_t place, members_n;  /* of the group, at most NODES_MAX */
    uint64_t bonds[NODES_MAX]; /* by place; 0: none */
};

enum { LOOK_WITNESS_MAX = 8 + 4 + 1 + 1 + 1 + 8 * NODES_MAX };

struct look_ask {
    bool values;
    uint32_t n;
    struct bytes keys[LOOK_KEYS_MAX]; /* borrowed */
};

struct look_item {
    enum look_state state;
    struct tag tag;
    struct bytes value; /* borrowed; of LIVE, if values were asked for */
};

/* The bytes before the keys. */
void look_ask_encode_head(bool values, uint32_t n, uint8_t to[static LOOK_ASK_HEAD_LEN]);
/* MALFORMED. */
RESULT look_ask_decode(struct bytes from, struct look_ask *ret);

/* Returns the length. */
size_t look_witness_encode(const struct look_witness *m, uint8_t to[static LOOK_WITNESS_MAX]);
/* Takes it from the front of *from. MALFORMED. */
RESULT look_witness_decode(struct bytes *from, struct look_witness *ret);
/* Whether two members speak for one configuration and one life of keys, and know each other. */
bool look_witnesses_agree(const struct look_witness *a, const struct look_witness *b);

/* Writes the item's head; with values the value_len bytes that belong behind it are the caller's
 * business. Returns the length of the head. */
size_t look_item_encode_head(const struct look_item *m, bool values, uint32_t value_len,
                             uint8_t to[static LOOK_VALUE_ITEM_LEN]);
/* An answer to n keys. MALFORMED. */
RESULT look_items_decode(struct bytes from, bool values, uint32_t n,
                         struct look_item ret[static LOOK_KEYS_MAX]);

#endif
