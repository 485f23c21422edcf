// SPDX-License-Identifier: Apache-2.0
#ifndef TRUSTED_WIRE_TAG_H
#define TRUSTED_WIRE_TAG_H

#include "common/codec.h"

/*
 * The tag of a write (carstamp of Gryff, NSDI'20): orders all values a key ever had. `writer` is
 * the incarnation that minted it, never a host or node number, so that no two writes share a tag.
 * Lexicographic order; all zero means "absent, never written". Clauses ABD-1 and ABD-2.
 */
struct tag {
    uint64_t ts;
    uint32_t writer;
    uint32_t rmwc; /* read-modify-writes since the base write */
};

enum { TAG_WIRE_LEN = 16 };

static inline int tag_compare(struct tag a, struct tag b)
{
    if (a.ts != b.ts) {
        return a.ts < b.ts ? -1 : 1;
    }
    if (a.writer != b.writer) {
        return a.writer < b.writer ? -1 : 1;
    }
    if (a.rmwc != b.rmwc) {
        return a.rmwc < b.rmwc ? -1 : 1;
    }
    return 0;
}

static inline bool tag_is_zero(struct tag t)
{
    return t.ts == 0 && t.writer == 0 && t.rmwc == 0;
}

static inline struct tag get_tag(struct reader *r)
{
    struct tag t;

    t.ts = get_u64(r);
    t.writer = get_u32(r);
    t.rmwc = get_u32(r);
    return t;
}

static inline void put_tag(struct writer *w, struct tag t)
{
    put_u64(w, t.ts);
    put_u32(w, t.writer);
    put_u32(w, t.rmwc);
}

#endif
