// SPDX-License-Identifier: Apache-2.0
#ifndef TRUSTED_WIRE_COLLECT_WIRE_H
#define TRUSTED_WIRE_COLLECT_WIRE_H

/*
 * Bodies of COLLECT and COLLECTED, by which members agree to forget tombstones.
 * docs/protocol/collect.md, COL-n.
 *
 *   COLLECT    step u8 | round u64 | gc u32 | n u16 | items (tag, key)
 *   COLLECTED  status u8 | gc u32 | n u16 | items
 *                DRAIN: (tag, key), what is listed here from before
 *                LIST, RELIST: (state), of each key that was asked about, in that order
 *                else none
 *
 * An item is one of batch_wire.h. COPY_GC is answered by a PAGE that holds
 *
 *   gc u32 | stamp u32 | floor u64 | n u16 | items (tag, key)        (COL-9)
 */

#include "trusted/wire/batch_wire.h"

enum collect_step {
    COLLECT_DRAIN = 1, /* new operations are stamped `gc`; have the older ones ended? */
    COLLECT_LIST,      /* what is older than `gc` is refused from now on, and these are listed */
    COLLECT_RELIST,    /* LIST of what is left of another round: sealed until the DROP (COL-8) */
    COLLECT_DROP,      /* these of the list are removed, the others of it are unlisted */
    COLLECT_SEAL,      /* whoever says yes does not go back on its own any more (COL-8) */
    COLLECT_FINISH,    /* what is older than `gc` is refused; the list is empty */
    COLLECT_CANCEL,    /* back to before LIST, unless it is sealed */
    COLLECT_STEPS_END,
};

static inline bool collect_step_lists(enum collect_step step)
{
    return step == COLLECT_LIST || step == COLLECT_RELIST;
}

/* What a member holds of a listed key. */
enum collect_state {
    COLLECT_HELD = 0, /* exactly the tombstone */
    COLLECT_ABSENT,   /* nothing: it was dropped here */
    COLLECT_OTHER,    /* something else */
    COLLECT_OPEN,     /* the tombstone, and something accepted for its successor */
    COLLECT_STATES_END,
};

struct collect_ask {
    enum collect_step step;
    uint64_t round;
    uint32_t gc;
    struct batch_list list; /* LIST, RELIST, DROP; else empty */
};

/* `status`: OK; BUSY: ask again; EPOCH: not in this round, `gc` is what operations are stamped with
 * here; ENCLAVE_MEMORY. */
struct collect_answer {
    enum err status;
    uint32_t gc;
    struct batch_list list;
};

struct collect_copy {
    uint32_t gc, stamp;
    uint64_t floor;
    struct batch_list list;
};

enum {
    COLLECT_ASK_HEAD = 1 + 8 + 4 + 2,
    COLLECT_ANSWER_HEAD = 1 + 4 + 2,
    COLLECT_COPY_HEAD = 4 + 4 + 8 + 2,
};

/* The bytes before the items, of which n follow (batch_item_put). */
void collect_ask_put_head(struct writer *w, const struct collect_ask *m, uint16_t n);
void collect_answer_put_head(struct writer *w, const struct collect_answer *m, uint16_t n);
void collect_copy_put_head(struct writer *w, const struct collect_copy *m, uint16_t n);

/* MALFORMED unless `from` is exactly one of them. Views borrow. */
RESULT collect_ask_decode(struct bytes from, struct collect_ask *ret);
/* `step` is that of the question. */
RESULT collect_answer_decode(struct bytes from, enum collect_step step, struct collect_answer *ret);
RESULT collect_copy_decode(struct bytes from, struct collect_copy *ret);

#endif
