// SPDX-License-Identifier: Apache-2.0
#ifndef TRUSTED_STORE_STORE_RECORD_H
#define TRUSTED_STORE_STORE_RECORD_H

#include "trusted/store/store_node.h"

#include <stdbool.h>
#include <stdint.h>
#include <string.h>

/* What is known of a key. Kept unaligned in a leaf's cell: loaded and stored as a whole. */
struct store_record {
    uint64_t ts;
    uint32_t writer;
    uint32_t rmwc;
    uint32_t place; /* of the sealed value; up to STORE_SMALL_MAX bytes, the value itself */
    uint32_t value; /* length in the low 25 bits, then flags */
};

enum {
    STORE_VALUE_LEN_MASK = (1 << 25) - 1,
    STORE_TOMBSTONE = 1 << 25,
    STORE_DAMAGED = 1 << 26,
    STORE_SMALL_MAX = 4, /* bytes of a value that has its own place in the record */
};

static inline struct store_record store_record_load(const uint8_t *payload)
{
    struct store_record r;

    memcpy(&r, payload, sizeof(r));
    return r;
}

static inline uint32_t store_record_len(const struct store_record *r)
{
    return r->value & STORE_VALUE_LEN_MASK;
}

/* STORE-25: shorter values stand in the record. */
static inline bool store_record_is_outside(const struct store_record *r)
{
    return store_record_len(r) > STORE_SMALL_MAX;
}

_Static_assert(sizeof(struct store_record) == STORE_RECORD_LEN, "no padding");
_Static_assert(sizeof(((struct store_record *)0)->place) == STORE_SMALL_MAX, "it fits");

#endif
