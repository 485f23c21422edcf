// SPDX-License-Identifier: Apache-2.0
#include "trusted/store/store_index_internal.h"

uint8_t *store_index_find(const struct store_index *x, struct bytes key)
{
    struct store_node *node = enter(x, x->root);
    bool found;
    unsigned at;

    for (uint32_t level = 0; level < x->depth; level++) {
        node = enter(x, child(node, route(node, key)));
    }
    at = store_node_search(node, STORE_RECORD_LEN, store_node_suffix(node, key), &found);
    return found ? store_node_payload(node, at) : NULL;
}

uint8_t *store_index_seek(struct store_index *x, struct bytes key)
{
    struct store_node *node = enter(x, x->root);
    bool found;
    unsigned at;

    for (uint32_t level = 0; level < x->depth; level++) {
        at = route(node, key);
        x->path.level[level].node = node;
        x->path.level[level].at = at;
        node = enter(x, child(node, at));
    }
    at = store_node_search(node, STORE_RECORD_LEN, store_node_suffix(node, key), &found);
    x->path.level[x->depth].node = node;
    x->path.level[x->depth].at = at;
    return found ? store_node_payload(node, at) : NULL;
}

RESULT store_index_init(struct store_index *x, struct heap *heap)
{
    struct store_node *root;
    struct store_change c = {.index = x};

    *x = (struct store_index){.heap = heap};
    root = store_change_build(&c, sizeof(struct store_node), (struct bytes){0});
    if (root == NULL) {
        return ERR_ENCLAVE_MEMORY;
    }
    x->root = store_ref(heap, root);
    store_change_settle(&c);
    return OK;
}

static void discard_below(struct store_index *x, uint32_t ref, uint32_t inner_levels)
{
    struct store_node *node = node_at(x, ref);

    for (unsigned i = 0; inner_levels > 0 && i <= node->n; i++) {
        discard_below(x, child(node, i), inner_levels - 1);
    }
    store_index_discard(x, node);
}

void store_index_fini(struct store_index *x)
{
    if (x->root != 0) {
        discard_below(x, x->root, x->depth);
    }
    *x = (struct store_index){0};
}

/* ---- walks ---- */

/* Goes down to the first (or last) entry below `ref`, whose path ends above `level`. */
static void descend(struct store_index *x, uint32_t ref, uint32_t level, bool last)
{
    struct store_node *node = enter(x, ref);

    for (; level < x->depth; level++) {
        x->path.level[level].node = node;
        x->path.level[level].at = last ? node->n : 0;
        node = enter(x, child(node, x->path.level[level].at));
    }
    x->path.level[level].node = node;
    x->path.level[level].at = last && node->n > 0 ? node->n - 1U : 0;
}

/* From the edge of a leaf into its neighbour: up to where there is a way, and down again. */
static bool cross_once(struct store_index *x, bool backwards)
{
    struct store_path *path = &x->path;
    uint32_t level = x->depth;

    do {
        if (level == 0) {
            return false;
        }
        level--;
    } while (path->level[level].at == (backwards ? 0U : path->level[level].node->n));
    path->level[level].at += backwards ? UINT32_MAX : 1U;
    descend(x, child(path->level[level].node, path->level[level].at), level + 1, backwards);
    return true;
}

/* To the next leaf that is not empty. False: there is none. */
static bool cross(struct store_index *x, bool backwards)
{
    do {
        if (!cross_once(x, backwards)) {
            return false;
        }
    } while (x->path.level[x->depth].node->n == 0);
    return true;
}

uint8_t *store_index_here(const struct store_index *x)
{
    return store_node_payload(x->path.level[x->depth].node, x->path.level[x->depth].at);
}

uint8_t *store_index_walk(struct store_index *x, struct bytes from, bool backwards)
{
    struct store_node *leaf;
    uint32_t at;

    if (backwards && from.n == 0) {
        descend(x, x->root, 0, true);
        return x->path.level[x->depth].node->n > 0 || cross(x, true) ? store_index_here(x) : NULL;
    }
    (void)store_index_seek(x, from);
    leaf = x->path.level[x->depth].node;
    at = x->path.level[x->depth].at;
    if (backwards) {
        return store_index_step(x, true);
    }
    return at < leaf->n || cross(x, false) ? store_index_here(x) : NULL;
}

uint8_t *store_index_step(struct store_index *x, bool backwards)
{
    const struct store_node *leaf = x->path.level[x->depth].node;
    uint32_t *at = &x->path.level[x->depth].at;

    if (backwards ? *at > 0 : *at + 1 < leaf->n) {
        *at += backwards ? UINT32_MAX : 1U;
        return store_index_here(x);
    }
    return cross(x, backwards) ? store_index_here(x) : NULL;
}

size_t store_index_key(struct store_index *x, uint8_t *to)
{
    struct store_node *leaf = x->path.level[x->depth].node;
    struct store_cell c = store_node_cell(leaf, x->path.level[x->depth].at, STORE_RECORD_LEN);
    struct bytes prefix = store_node_prefix(leaf);

    if (prefix.n > 0) {
        memcpy(to, prefix.p, prefix.n);
    }
    store_node_write_suffix(&c, to + prefix.n);
    return prefix.n + c.suffix_len;
}
