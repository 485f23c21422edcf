// SPDX-License-Identifier: Apache-2.0
#ifndef TRUSTED_STORE_STORE_NODE_H
#define TRUSTED_STORE_STORE_NODE_H

/*
 * One node of the index: a block of the enclave heap, as long as its contents need (STORE-2).
 *
 *   | head | entry 0 | entry 1 | ... |  free  | ... | cell | cell | cell | prefix |
 *            sorted, 6 bytes each               in the order of arrival
 *
 *   entry   first 4 bytes of the suffix, as a number | distance of the cell from the block's end
 *   cell    payload | suffix length, 1 or 2 bytes | the suffix from its fifth byte on
 *   payload leaf: struct store_record (24 bytes); inner node: reference to a child (4 bytes)
 *
 * A key is prefix ‖ suffix. The prefix is what the two separators around the node have in common:
 * every key that is ever routed here begins with it, so it is never compared. Searching reads the
 * entries, which lie together, and then as a rule one cell.
 *
 * The key of an inner node's entry separates: keys below it are in the child before (`first` for
 * entry 0), keys not below it are in its own child.
 */

#include "common/bytes.h"
#include "common/limits.h"

enum {
    STORE_KEY_MAX = KEY_MAX + 1, /* a key, and the byte before it that names its part */
    STORE_ENTRY_LEN = 6,
    STORE_HEAD_LEN = 4, /* bytes of the suffix that stand in the entry */
    STORE_RECORD_LEN = 24,
    STORE_CHILD_LEN = 4,
};

struct store_node {
    uint32_t first; /* inner: the child before entry 0. Leaf: its struct store_cold, or 0 */
    uint16_t block; /* bytes of the whole */
    uint16_t n;     /* entries */
    uint16_t cells; /* bytes taken at the end, prefix included */
    uint16_t prefix_len;
    uint8_t hot;   /* leaf: how often it was used lately, saturating */
    uint8_t dirty; /* leaf: its sealed copy, if any, is not what it holds */
    uint8_t leaf;
    uint8_t copy; /* leaf: it is cold, and this a copy of it */
    uint8_t b[];
};

/* One entry, decoded; borrows from the node. */
struct store_cell {
    uint8_t *payload;
    const uint8_t *tail;
    uint32_t head;
    uint32_t suffix_len;
};

static inline uint32_t store_node_head(const struct store_node *x, unsigned i)
{
    uint32_t head;

    memcpy(&head, x->b + (size_t)i * STORE_ENTRY_LEN, sizeof(head));
    return head;
}

static inline uint8_t *store_node_payload(struct store_node *x, unsigned i)
{
    uint16_t distance;

    memcpy(&distance, x->b + (size_t)i * STORE_ENTRY_LEN + STORE_HEAD_LEN, sizeof(distance));
    return (uint8_t *)x + x->block - distance;
}

static inline struct bytes store_node_prefix(const struct store_node *x)
{
    return (struct bytes){(const uint8_t *)x + x->block - x->prefix_len, x->prefix_len};
}

/* Bytes that an entry with such a suffix takes. */
static inline size_t store_node_cost(size_t payload_len, size_t suffix_len)
{
    size_t tail = suffix_len > STORE_HEAD_LEN ? suffix_len - STORE_HEAD_LEN : 0;

    return STORE_ENTRY_LEN + payload_len + (suffix_len < 128 ? 1 : 2) + tail;
}

static inline size_t store_node_used(const struct store_node *x)
{
    return sizeof(*x) + (size_t)x->n * STORE_ENTRY_LEN + x->cells;
}

/* The part of a key that is routed to x which x stores. */
static inline struct bytes store_node_suffix(const struct store_node *x, struct bytes key)
{
    /* The empty key may come without a pointer, and null must not be moved, not even by nothing. */
    return x->prefix_len == 0 ? key : (struct bytes){key.p + x->prefix_len, key.n - x->prefix_len};
}

struct store_cell store_node_cell(struct store_node *x, unsigned i, size_t payload_len);

/* Position of the first entry that is not below `suffix`; *ret_found: that entry equals it. */
unsigned store_node_search(struct store_node *x, size_t payload_len, struct bytes suffix,
                           bool *ret_found);

/* The same, by what the entries tell: right as a rule, and the entry's cell is not looked at. */
unsigned store_node_guess(const struct store_node *x, struct bytes suffix);

/* Makes an empty node of a block that has room for the prefix. */
void store_node_init(struct store_node *x, size_t block, struct bytes prefix);
/* Copies everything into a block that is at least as long as what is used. */
void store_node_copy(struct store_node *to, size_t block, const struct store_node *from);
/* Inserts before entry i; the room is there (CHECK). */
void store_node_insert(struct store_node *x, unsigned i, struct bytes suffix, struct bytes payload);
/* Removes entry i; what it took is free again. */
void store_node_remove(struct store_node *x, unsigned i, size_t payload_len);
/* Writes the suffix to `to`, which has suffix_len bytes of room. */
void store_node_write_suffix(const struct store_cell *c, uint8_t *to);

#endif
