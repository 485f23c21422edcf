// SPDX-License-Identifier: Apache-2.0
#ifndef TRUSTED_STORE_STORE_INDEX_INTERNAL_H
#define TRUSTED_STORE_STORE_INDEX_INTERNAL_H

/* Inside of the index: how nodes refer to each other, and changes that either happen or do not. */

#include "common/check.h"
#include "trusted/store/store_index.h"
#include "trusted/store/store_ref.h"

enum {
    STORE_LINE = 64,
    STORE_HEAD_LINES = 4,  /* head and entries of a typical leaf, */
    STORE_INNER_LINES = 6, /* and of a full inner node */
};

/* Nodes that a change builds and those they replace. */
struct store_change {
    struct store_index *index;
    bool shrinks; /* less memory is needed afterwards: the reserve may be used */
    uint32_t fresh_n, stale_n;
    struct store_node *fresh[2 * STORE_DEPTH_MAX + 2];
    struct store_node *stale[2 * STORE_DEPTH_MAX + 2];
};

static inline struct store_node *node_at(const struct store_index *x, uint32_t ref)
{
    return store_deref(x->heap, ref);
}

static inline size_t payload_len(bool leaf)
{
    return leaf ? STORE_RECORD_LEN : STORE_CHILD_LEN;
}

/* The child left of entry `at`. */
static inline uint32_t child(struct store_node *x, unsigned at)
{
    uint32_t ref = x->first;

    if (at > 0) {
        memcpy(&ref, store_node_payload(x, at - 1), sizeof(ref));
    }
    return ref;
}

static inline void set_child(struct store_node *x, unsigned at, uint32_t ref)
{
    if (at > 0) {
        memcpy(store_node_payload(x, at - 1), &ref, sizeof(ref));
    } else {
        x->first = ref;
    }
}

static inline struct store_node *enter(const struct store_index *x, uint32_t ref, unsigned lines)
{
    struct store_node *node = node_at(x, ref);

    for (unsigned i = 0; i < STORE_HEAD_LINES; i++) {
        __builtin_prefetch((const uint8_t *)node + (size_t)i * STORE_LINE);
    }
    for (unsigned i = STORE_HEAD_LINES; i < lines; i++) {
        __builtin_prefetch((const uint8_t *)node + (size_t)i * STORE_LINE);
    }
    return node;
}

/* How many separators are not above the key: the child to go down to. */
static inline unsigned route(struct store_node *node, struct bytes key)
{
    bool equal;
    unsigned at = store_node_search(node, STORE_CHILD_LEN, store_node_suffix(node, key), &equal);

    return equal ? at + 1 : at;
}

/* What nodes should not be longer than. Small pages keep keys that are used apart from others, and
 * cost less to load. */
static inline size_t store_index_soft(const struct store_index *x, bool leaf)
{
    return !leaf ? STORE_INNER_SOFT : x->pager.cold > 0 ? STORE_PAGE_SOFT : STORE_NODE_SOFT;
}

/* Lines of the node below `level` that are asked for at once. Of a leaf all: in which of them the
 * key lies is known only when the first ones are there, and that would be one wait more. */
static inline unsigned store_index_lines(const struct store_index *x, uint32_t level)
{
    if (!store_index_is_far(x)) {
        return STORE_HEAD_LINES;
    }
    return level + 1 < x->depth ? (unsigned)STORE_INNER_LINES
                                : (unsigned)store_index_soft(x, true) * 3 / 4 / STORE_LINE;
}

/* ---- store_index.c ---- */

/* The cache learns what the key is held with now, if it knows it; NULL: nothing. */
void store_index_change_cached(struct store_index *x, struct bytes key,
                               const struct store_record *r);

/* ---- store_index_expect.c ---- */

/* The key's lookup, if it was announced. */
struct store_look *store_index_expected(struct store_index *x, struct bytes key);
/* An inner node changes, or goes: ways that end there are not known any more. */
void store_index_forget_ways(struct store_index *x, const struct store_node *node);

/* ---- store_index_page.c ---- */

/* A block for a leaf of n bytes; others are paged out for it. NULL: none could. */
void *store_leaf_alloc(struct store_index *x, size_t n);
/* The same from the heap's reserve, and nothing makes way. */
void *store_leaf_alloc_briefly(struct store_index *x, size_t n);
/* The cold leaf below place `at` of its parent, resident from now on, or a copy that is good until
 * the next such call. NULL: it is lost. */
struct store_node *store_leaf_load(struct store_index *x, struct store_node *parent, unsigned at,
                                   enum store_want want);
/* A record of a cold leaf was used: remembers it, and sees to it that there is room for more. */
void store_leaf_remember(struct store_index *x, const struct store_hash *key,
                         const struct store_record *r);
/* The leaf, if it is resident or a copy of it open. */
struct store_node *store_leaf_opened(struct store_index *x, uint32_t ref);
/* Opens a cold leaf for announced lookup `i`. NULL: not now. */
struct store_node *store_leaf_expect(struct store_index *x, uint32_t ref, unsigned i);
void store_pager_fini(struct store_index *x);
/* Memory is so full of what cannot be paged out that there must not be more of it. */
bool store_leaf_cramped(const struct store_index *x);
/* What the leaf holds has changed. False: it is a copy; the cold leaf has changed with it. */
bool store_leaf_changed(struct store_index *x, struct store_node *leaf);
/* False: it is a copy. */
bool store_leaf_stays(const struct store_node *leaf);
/* Gives the place in host memory back. */
void store_pager_release(struct store_index *x, struct store_cold *cold);
/* Gives the place and the descriptor back; 0 is allowed. */
void store_pager_forget(struct store_index *x, uint32_t ref);

/* One step down; `lines` of what is there are asked for. NULL: lost. */
static inline struct store_node *go_down(struct store_index *x, struct store_node *node,
                                         unsigned at, enum store_want want, unsigned lines)
{
    uint32_t ref = child(node, at);

    if (__builtin_expect(store_is_cold(ref), 0)) {
        return store_leaf_load(x, node, at, want);
    }
    return enter(x, ref, lines);
}

/* ---- store_index_change.c ---- */

/* A new node with room for `need` bytes, head and prefix included; NULL when the heap is full. */
struct store_node *store_change_build(struct store_change *c, bool leaf, size_t need,
                                      struct bytes prefix);
/* The change failed: only the new nodes go. */
void store_change_undo(struct store_change *c);
/* The change is linked in: the nodes that it replaced go. */
void store_change_settle(struct store_change *c);
void store_index_discard(struct store_index *x, struct store_node *node);

/* Puts a reference to a new node where the one at `level` of the path was. */
void store_index_relink(struct store_index *x, const struct store_path *path, uint32_t level,
                        const struct store_node *node);
/* The separator that bounds level `level` of the path from below (or above), written to `to`;
 * empty where there is none: then that side has nothing in common with the other. */
struct bytes store_index_fence(const struct store_path *path, uint32_t level, bool above,
                               uint8_t *to);

static inline size_t common_len(struct bytes a, struct bytes b)
{
    size_t n = a.n < b.n ? a.n : b.n;
    size_t i = 0;

    while (i < n && a.p[i] == b.p[i]) {
        i++;
    }
    return i;
}

#endif
