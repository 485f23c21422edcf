// SPDX-License-Identifier: Apache-2.0
#include "common/limits.h"
#include "trusted/store/store_index_internal.h"

/*
 * Removal. A node that became small is joined with a neighbour under the same parent, or moves to
 * a shorter block. Both need memory for the new node first; when there is none, the node stays
 * as it is, an empty leaf too: the tree is right with small nodes, only larger than it must be.
 *
 * A leaf is never just unlinked: its neighbour would then be asked for keys that do not begin with
 * the neighbour's prefix. Joining builds a node whose prefix is that of the wider range.
 */

/* A node that uses less looks for a neighbour to join. */
static size_t join_below(const struct store_index *x, bool leaf)
{
    return store_index_soft(x, leaf) / 3;
}

/* With room for the next insertions. */
static size_t joined_max(const struct store_index *x, bool leaf)
{
    return store_index_soft(x, leaf) - store_index_soft(x, leaf) / 8;
}

/* Two neighbours below one parent, about to become one node. */
struct pair {
    struct store_node *parent;
    unsigned at; /* of the left one in the parent */
    struct store_node *left, *right;
    bool leaf;
    struct bytes prefix;    /* of the joined node */
    struct bytes separator; /* the parent's, whole */
};

/* Bytes of a node's entries once its prefix is only as long as `prefix`. */
static size_t entries_bytes(struct store_node *node, bool leaf, size_t prefix)
{
    size_t longer = node->prefix_len - prefix;
    size_t sum = 0;

    for (unsigned i = 0; i < node->n; i++) {
        size_t suffix = store_node_cell(node, i, payload_len(leaf)).suffix_len;

        sum += store_node_cost(payload_len(leaf), suffix + longer);
    }
    return sum;
}

/* Adds all entries of `from`, whose prefix is not shorter than that of `to`. */
static void append(struct store_node *to, struct store_node *from, bool leaf)
{
    uint8_t suffix[STORE_KEY_MAX];
    struct bytes prefix = store_node_prefix(from);
    size_t longer = prefix.n - to->prefix_len;

    if (longer > 0) {
        memcpy(suffix, prefix.p + to->prefix_len, longer);
    }
    for (unsigned i = 0; i < from->n; i++) {
        struct store_cell c = store_node_cell(from, i, payload_len(leaf));

        store_node_write_suffix(&c, suffix + longer);
        store_node_insert(to, to->n, (struct bytes){suffix, longer + c.suffix_len},
                          (struct bytes){c.payload, payload_len(leaf)});
    }
}

/* The joined node; NULL when it would be too long, or there is no memory. In an inner node the
 * separator comes down between the halves, for the right one's first child. */
static struct store_node *join(struct store_change *c, const struct pair *p)
{
    size_t need = sizeof(struct store_node) + p->prefix.n +
                  entries_bytes(p->left, p->leaf, p->prefix.n) +
                  entries_bytes(p->right, p->leaf, p->prefix.n);
    struct store_node *node;

    if (!p->leaf) {
        need += store_node_cost(STORE_CHILD_LEN, p->separator.n - p->prefix.n);
    }
    if (need > joined_max(c->index, p->leaf)) {
        return NULL;
    }
    node = store_change_build(c, p->leaf, need, p->prefix);
    if (node == NULL) {
        return NULL;
    }
    append(node, p->left, p->leaf);
    node->dirty = 1;
    node->hot = p->left->hot > p->right->hot ? p->left->hot : p->right->hot;
    if (!p->leaf) {
        node->first = p->left->first;
        store_node_insert(node, node->n, store_node_suffix(node, p->separator),
                          (struct bytes){(const uint8_t *)&p->right->first, STORE_CHILD_LEN});
    }
    append(node, p->right, p->leaf);
    return node;
}

/* Child `at` of a parent, resident and staying so; NULL: that cannot be had. */
static struct store_node *neighbour(struct store_index *x, uint32_t level,
                                    struct store_node *parent, unsigned at)
{
    bool lost = x->lost;
    struct store_node *node = go_down(x, parent, at, STORE_KEEP, STORE_HEAD_LINES);

    x->lost = lost; /* of a neighbour: nobody asked for it */
    if (node == NULL || (level == x->depth && !store_leaf_stays(node))) {
        return NULL;
    }
    x->pager.pinned[1] = node;
    return node;
}

/* Joins child `at` of the parent of `level` with the next one. */
static bool try_join(struct store_index *x, uint32_t level, unsigned at)
{
    struct store_path *path = &x->path;
    struct store_change c = {.index = x, .shrinks = true};
    uint8_t low[STORE_KEY_MAX], high[STORE_KEY_MAX], between[STORE_KEY_MAX];
    struct store_node *parent = path->level[level - 1].node;
    struct pair p = {
        .parent = parent,
        .at = at,
        .leaf = level == x->depth,
    };
    struct store_node *node =
        neighbour(x, level, parent, at == path->level[level - 1].at ? at + 1 : at);

    if (node == NULL) {
        return false;
    }
    p.left = node_at(x, child(parent, at));
    p.right = node_at(x, child(parent, at + 1));

    path->level[level - 1].at = at;
    struct bytes lo = store_index_fence(path, level, false, low);

    p.separator = store_index_fence(path, level, true, between);
    path->level[level - 1].at = at + 1;
    struct bytes hi = store_index_fence(path, level, true, high);

    p.prefix = (struct bytes){lo.p, common_len(lo, hi)};
    node = join(&c, &p);
    x->pager.pinned[1] = NULL;
    if (node == NULL) {
        return false;
    }
    if (p.leaf) {
        node->first = p.left->first;
        store_pager_forget(x, p.right->first);
        x->pager.pinned[0] = node;
    }
    c.stale[c.stale_n++] = p.left;
    c.stale[c.stale_n++] = p.right;
    set_child(parent, at, store_ref(x->heap, node));
    store_index_forget_ways(x, parent);
    store_node_remove(parent, at, STORE_CHILD_LEN);
    store_change_settle(&c);
    return true;
}

/* Moves a node to the shortest block that holds it, if that saves a quarter. */
static void shorten(struct store_index *x, uint32_t level)
{
    struct store_change c = {.index = x, .shrinks = true};
    struct store_node *node = x->path.level[level].node;
    struct store_node *copy;

    if (heap_block_bytes(store_node_used(node)) > (size_t)node->block * 3 / 4) {
        return;
    }
    copy = store_change_build(&c, level == x->depth, store_node_used(node), (struct bytes){0});
    if (copy != NULL) {
        store_node_copy(copy, copy->block, node);
        c.stale[c.stale_n++] = node;
        store_index_relink(x, &x->path, level, copy);
        x->pager.pinned[0] = copy;
        store_change_settle(&c);
    }
}

void store_index_remove(struct store_index *x, struct bytes key)
{
    struct store_path *path = &x->path;
    uint32_t level = x->depth;
    struct store_node *leaf = path->level[level].node;

    store_node_remove(leaf, path->level[level].at, STORE_RECORD_LEN);
    store_index_change_cached(x, key, NULL);
    if (!store_leaf_changed(x, leaf)) {
        return;
    }
    for (; level > 0; level--) {
        const struct store_node *parent = path->level[level - 1].node;
        unsigned at = path->level[level - 1].at;

        if (store_node_used(path->level[level].node) >= join_below(x, level == x->depth)) {
            break;
        }
        bool joined =
            (at < parent->n && try_join(x, level, at)) || (at > 0 && try_join(x, level, at - 1));

        path->level[level - 1].at = at; /* of no use any more when joined */
        if (!joined) {
            break;
        }
    }
    shorten(x, level);
    while (x->depth > 0 && node_at(x, x->root)->n == 0) {
        struct store_node *root = node_at(x, x->root);

        if (x->depth == 1 && neighbour(x, 1, root, 0) == NULL) {
            break; /* the only leaf is cold and cannot be loaded */
        }
        x->pager.pinned[1] = NULL;

        x->root = root->first;
        x->depth--;
        x->bytes -= root->block;
        store_index_discard(x, root);
    }
}
