// SPDX-License-Identifier: Apache-2.0
#ifndef TRUSTED_WIRE_BUNDLE_WIRE_H
#define TRUSTED_WIRE_BUNDLE_WIRE_H

/*
 * Questions of one moment from one member to another, as one RPC (ABD-23). They have nothing to do
 * with each other, except that each is answered at once, so that none waits for another.
 *
 *   question  0xff | items: len u16 | group u8 | a question of peer_wire.h, QUERY, APPLY or OFFER
 *   answer    items, one for each: len u8 | an answer of peer_wire.h
 *
 * 0xff stands where a question alone has its group.
 */

#include "common/bytes.h"
#include "common/codec.h"
#include "common/limits.h"
#include "common/result.h"
#include "trusted/wire/peer_wire.h"

enum {
    BUNDLE_MARK = 0xff,
    BUNDLE_MAX = 64, /* questions */
    BUNDLE_ITEM_HEAD = 2 + 1,
    BUNDLE_ANSWER_MAX = 1 + 1 + TAG_WIRE_LEN, /* the longest item of an answer */
    BUNDLE_ANSWERS_MAX = BUNDLE_MAX * BUNDLE_ANSWER_MAX,
};

_Static_assert((int)GROUPS_MAX <= (int)BUNDLE_MARK, "no group has the mark");

/* Whether its answer is short, and so may share a bundle. */
static inline bool bundle_takes(enum peer_ask_kind kind)
{
    return kind == PEER_QUERY || peer_ask_is_write(kind);
}

static inline bool bundle_is(struct bytes body)
{
    return body.n > 0 && body.p[0] == BUNDLE_MARK;
}

/* The next item; false: there is no more, or r->failed. */
static inline bool bundle_next(struct reader *r, uint8_t *ret_group, struct bytes *ret_ask)
{
    struct bytes item;

    if (r->failed || r->rest.n == 0) {
        return false;
    }
    item = get_bytes(r, get_u16(r));
    if (item.n < 1) {
        r->failed = true;
        return false;
    }
    *ret_group = item.p[0];
    *ret_ask = (struct bytes){.p = item.p + 1, .n = item.n - 1};
    return true;
}

static inline void bundle_put_answer(struct writer *w, const struct peer_answer *a)
{
    uint8_t bytes[BUNDLE_ANSWER_MAX];
    const struct peer_answer odd = {.kind = PEER_REFUSED, .err = ERR_MALFORMED};
    size_t n;

    if (peer_answer_encode(a, (struct mbytes){bytes, sizeof(bytes)}, &n) != OK) {
        (void)!peer_answer_encode(&odd, (struct mbytes){bytes, sizeof(bytes)}, &n);
    }
    put_u8(w, (uint8_t)n);
    put_bytes(w, (struct bytes){bytes, n});
}

/* MALFORMED: it is none; then all that follows fails, too. */
static inline enum err bundle_get_answer(struct reader *r, struct peer_answer *ret)
{
    struct bytes item = get_bytes(r, get_u8(r));

    return r->failed ? ERR_MALFORMED : peer_answer_decode(item, ret);
}

#endif
