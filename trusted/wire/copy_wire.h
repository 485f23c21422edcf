// SPDX-License-Identifier: Apache-2.0
#ifndef TRUSTED_WIRE_COPY_WIRE_H
#define TRUSTED_WIRE_COPY_WIRE_H

/*
 * The pages in which a member copies another one's keys (PEER_COPY): entries in bytewise order of
 * their keys, one after the other.
 *
 *   kind u8 | tag 16 | key_len u16 | value_len u32 | key | value
 *   ACCEPTED, ACCEPTED_TOMBSTONE: kind u8 | base 16 | key_len u16 | value_len u32
 *                                 | ballot u64 | op 13 | key | value
 */

#include "common/codec.h"
#include "common/limits.h"
#include "trusted/wire/rmw_id.h"
#include "trusted/wire/tag.h"

enum copy_kind {
    COPY_VALUE = 0,
    COPY_TOMBSTONE, /* no value */
    COPY_DAMAGED,   /* the value does not open there: only the tag is known */
    /* The key stands there with the tag `base`, and this was accepted for its successor (RMW-16).
     */
    COPY_ACCEPTED,
    COPY_ACCEPTED_TOMBSTONE,
    /* With the first three: something was accepted there for the successor of this tag. It ends the
     * page and is asked for by key and tag. */
    COPY_FOLLOWS = 8,
};

enum {
    COPY_ENTRY_HEAD_LEN = 1 + TAG_WIRE_LEN + 2 + 4,
    COPY_ACCEPTED_HEAD_LEN = COPY_ENTRY_HEAD_LEN + 8 + RMW_ID_LEN,
};

struct copy_entry {
    struct tag tag; /* zero only with `accepted`: the key never existed there */
    bool tombstone, damaged, follows;
    bool accepted; /* and what comes with it; tombstone and value are of what was accepted */
    uint64_t ballot;
    struct rmw_id op;
    struct bytes key, value;
};

/* All but the value, e->value.n bytes of which the caller writes next. Sets the writer's failure
 * flag when it does not fit. */
void copy_entry_put_head(struct writer *w, const struct copy_entry *e);
/* False: malformed. Call it while r->rest.n > 0. Views borrow from the reader's bytes. */
bool copy_entry_get(struct reader *r, struct copy_entry *ret);

#endif
