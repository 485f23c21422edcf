// SPDX-License-Identifier: Apache-2.0
#include "trusted/store/store_index_internal.h"

struct store_node *store_change_build(struct store_change *c, bool leaf, size_t need,
                                      struct bytes prefix)
{
    size_t block = heap_block_bytes(leaf && need < STORE_LEAF_MIN ? STORE_LEAF_MIN : need);
    struct store_node *node;

    if (!leaf) {
        node = heap_alloc(c->index->heap, block);
    } else if (c->shrinks) {
        node = store_leaf_alloc_briefly(c->index, block);
    } else {
        node = store_leaf_alloc(c->index, block);
    }
    if (node != NULL) {
        CHECK(c->fresh_n < sizeof(c->fresh) / sizeof(c->fresh[0]));
        c->fresh[c->fresh_n++] = node;
        store_node_init(node, block, prefix);
        node->leaf = leaf;
    }
    return node;
}

void store_index_discard(struct store_index *x, struct store_node *node)
{
    if (node->leaf == 0) {
        store_index_forget_ways(x, node);
    }
    heap_free(x->heap, node, node->block);
}

void store_change_undo(struct store_change *c)
{
    for (uint32_t i = 0; i < c->fresh_n; i++) {
        store_index_discard(c->index, c->fresh[i]);
    }
}

void store_change_settle(struct store_change *c)
{
    for (uint32_t i = 0; i < c->fresh_n; i++) {
        c->index->bytes += c->fresh[i]->block;
    }
    for (uint32_t i = 0; i < c->stale_n; i++) {
        c->index->bytes -= c->stale[i]->block;
        store_index_discard(c->index, c->stale[i]);
    }
}

struct bytes store_index_fence(const struct store_path *path, uint32_t level, bool above,
                               uint8_t *to)
{
    while (level-- > 0) {
        struct store_node *node = path->level[level].node;
        unsigned at = path->level[level].at;

        if (above ? at < node->n : at > 0) {
            struct store_cell c = store_node_cell(node, above ? at : at - 1, STORE_CHILD_LEN);
            struct bytes prefix = store_node_prefix(node);

            if (prefix.n > 0) {
                memcpy(to, prefix.p, prefix.n);
            }
            store_node_write_suffix(&c, to + prefix.n);
            return (struct bytes){to, prefix.n + c.suffix_len};
        }
    }
    return (struct bytes){to, 0};
}

void store_index_relink(struct store_index *x, const struct store_path *path, uint32_t level,
                        const struct store_node *node)
{
    uint32_t ref = store_ref(x->heap, node);

    if (level == 0) {
        x->root = ref;
    } else {
        set_child(path->level[level - 1].node, path->level[level - 1].at, ref);
    }
}
