// SPDX-License-Identifier: Apache-2.0
#ifndef TRUSTED_WIRE_RMW_ID_H
#define TRUSTED_WIRE_RMW_ID_H

#include "common/codec.h"

/* RMW-12: names a read-modify-write for ever. */
struct rmw_id {
    uint64_t number; /* cookie of the owner's place in work */
    uint32_t writer; /* incarnation of the owner */
    uint8_t owner;   /* place of the owner among the members, or RMW_ORPHAN */
};

/* The owner proposed it to members of a former configuration and has given it up (RMW-17). */
enum { RMW_ORPHAN = 0xff };

enum { RMW_ID_LEN = 1 + 4 + 8 };

static inline bool rmw_id_equal(struct rmw_id a, struct rmw_id b)
{
    return a.number == b.number && a.writer == b.writer && a.owner == b.owner;
}

static inline struct rmw_id get_rmw_id(struct reader *r)
{
    struct rmw_id op = {0};

    op.owner = get_u8(r);
    op.writer = get_u32(r);
    op.number = get_u64(r);
    return op;
}

static inline void put_rmw_id(struct writer *w, struct rmw_id op)
{
    put_u8(w, op.owner);
    put_u32(w, op.writer);
    put_u64(w, op.number);
}

#endif
