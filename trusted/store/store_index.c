// SPDX-License-Identifier: Apache-2.0
#include "trusted/store/store_index_internal.h"

/* In use: stays at least until the next call, and as a rule longer. */
static inline void use(struct store_index *x, struct store_node *leaf)
{
    if (leaf->hot < STORE_HOT_MAX) {
        leaf->hot++;
    }
    x->pager.pinned[0] = leaf;
}

/* The leaf where the key is or belongs; NULL: lost. */
static struct store_node *leaf_of(struct store_index *x, struct bytes key,
                                  const struct store_look *look)
{
    struct store_node *node;

    if (look != NULL && look->parent != NULL) {
        return go_down(x, look->parent, look->at, STORE_USE, STORE_HEAD_LINES);
    }
    node = enter(x, x->root, STORE_HEAD_LINES);
    for (uint32_t level = 0; node != NULL && level < x->depth; level++) {
        node = go_down(x, node, route(node, key), STORE_USE, store_index_lines(x, level));
    }
    return node;
}

/* How the cache knows the key; made once if the lookup was announced. */
static struct store_hash hash_of(const struct store_index *x, struct bytes key,
                                 const struct store_look *look)
{
    if (look != NULL && look->hashed) {
        return look->hash;
    }
    struct store_hash hash = store_cache_hash(&x->cache, key);

    store_cache_fetch(&x->cache, &hash);
    return hash;
}

void store_index_change_cached(struct store_index *x, struct bytes key,
                               const struct store_record *r)
{
    if (x->cache.chunks_n > 0) {
        struct store_hash hash = hash_of(x, key, store_index_expected(x, key));

        store_cache_changed(&x->cache, &hash, r);
    }
}

bool store_index_find(struct store_index *x, struct bytes key, struct store_record *ret)
{
    const struct store_look *look = store_index_expected(x, key);
    struct store_hash hash = {0}; /* of no use while there is no cache */
    struct store_node *node;
    bool found;
    unsigned at;

    x->lost = false;
    if (x->cache.chunks_n > 0) {
        hash = hash_of(x, key, look);
        const struct store_record *known = store_cache_get(&x->cache, &hash);

        if (known != NULL) {
            *ret = *known;
            return true;
        }
    }
    node = leaf_of(x, key, look);
    if (node == NULL) {
        return false;
    }
    at = store_node_search(node, STORE_RECORD_LEN, store_node_suffix(node, key), &found);
    use(x, node);
    if (found) {
        *ret = store_record_load(store_node_payload(node, at));
        if (!store_leaf_stays(node)) {
            store_leaf_remember(x, &hash, ret);
        }
    }
    return found;
}

/* Goes to where the key is or belongs. False: that is lost. */
static bool seek(struct store_index *x, struct bytes key, enum store_want want, bool *ret_found)
{
    struct store_node *node = enter(x, x->root, STORE_HEAD_LINES);
    unsigned at;

    x->lost = false;
    for (uint32_t level = 0; level < x->depth; level++) {
        at = route(node, key);
        x->path.level[level].node = node;
        x->path.level[level].at = at;
        node = go_down(x, node, at, want, store_index_lines(x, level));
        if (node == NULL) {
            return false;
        }
    }
    at = store_node_search(node, STORE_RECORD_LEN, store_node_suffix(node, key), ret_found);
    x->path.level[x->depth].node = node;
    x->path.level[x->depth].at = at;
    x->pager.pinned[0] = node;
    return true;
}

/* The payload of a key whose way is known already. NULL: to be sought. */
static uint8_t *seek_expected(struct store_index *x, struct bytes key)
{
    const struct store_look *look = store_index_expected(x, key);
    struct store_node *leaf;
    bool found;
    unsigned at;

    if (look == NULL || look->parent == NULL) {
        return NULL;
    }
    leaf = store_leaf_opened(x, child(look->parent, look->at));
    if (leaf == NULL) {
        return NULL;
    }
    at = store_node_search(leaf, STORE_RECORD_LEN, store_node_suffix(leaf, key), &found);
    if (!found) { /* what inserts needs the whole way */
        return NULL;
    }
    x->lost = false;
    leaf = go_down(x, look->parent, look->at, STORE_USE, 0);
    CHECK(leaf != NULL);
    use(x, leaf);
    return store_node_payload(leaf, at);
}

uint8_t *store_index_seek(struct store_index *x, struct bytes key, enum store_want want)
{
    uint8_t *payload = want == STORE_USE && x->looks.n > 0 ? seek_expected(x, key) : NULL;
    struct store_node *leaf;
    bool found;

    if (payload != NULL) {
        return payload;
    }
    if (!seek(x, key, want, &found)) {
        store_index_change_cached(x, key, NULL); /* what was called lost once stays lost */
        return NULL;
    }
    leaf = x->path.level[x->depth].node;
    use(x, leaf);
    return found ? store_node_payload(leaf, x->path.level[x->depth].at) : NULL;
}

void store_index_save(struct store_index *x, struct bytes key, uint8_t *payload,
                      const struct store_record *r)
{
    memcpy(payload, r, sizeof(*r));
    store_index_change_cached(x, key, r);
    (void)store_leaf_changed(x, x->pager.pinned[0]);
}

RESULT store_index_init(struct store_index *x, struct heap *heap, struct store_arena *arena,
                        struct store_sealer *sealer, size_t reserve,
                        const uint8_t key[static SIPHASH_KEY_LEN])
{
    struct store_node *root;
    struct store_change c = {.index = x};

    x->heap = heap;
    x->root = x->depth = 0;
    x->bytes = 0;
    x->pager =
        (struct store_pager){.arena = arena, .sealer = sealer, .reserve = reserve, .period = 1};
    x->pager.copies[0] = (void *)x->pager.scratch;
    x->looks.n = 0;
    store_cache_init(&x->cache, heap, key);
    root = store_change_build(&c, true, sizeof(struct store_node), (struct bytes){0});
    if (root == NULL) {
        return ERR_ENCLAVE_MEMORY;
    }
    x->root = store_ref(heap, root);
    store_change_settle(&c);
    return OK;
}

static void discard_below(struct store_index *x, uint32_t ref, uint32_t inner_levels)
{
    struct store_node *node = node_at(x, ref & ~STORE_REF_COLD);

    if (store_is_cold(ref)) {
        store_pager_forget(x, ref);
        return;
    }
    for (unsigned i = 0; inner_levels > 0 && i <= node->n; i++) {
        discard_below(x, child(node, i), inner_levels - 1);
    }
    if (inner_levels == 0) {
        store_pager_forget(x, node->first);
    }
    store_index_discard(x, node);
}

void store_index_fini(struct store_index *x)
{
    if (x->root != 0) {
        discard_below(x, x->root, x->depth);
    }
    store_cache_fini(&x->cache);
    store_pager_fini(x);
    wipe(x->cache.key, sizeof(x->cache.key));
    x->root = 0;
}

/* ---- walks ---- */

/* Goes down from `node` at `level` to the first (or last) entry below it. False: lost. */
static bool descend(struct store_index *x, struct store_node *node, uint32_t level, bool last)
{
    for (; level < x->depth; level++) {
        x->path.level[level].node = node;
        x->path.level[level].at = last ? node->n : 0;
        node = go_down(x, node, x->path.level[level].at, STORE_LOOK, store_index_lines(x, level));
        if (node == NULL) {
            return false;
        }
    }
    x->path.level[level].node = node;
    x->path.level[level].at = last && node->n > 0 ? node->n - 1U : 0;
    x->pager.pinned[0] = node;
    return true;
}

/* From the edge of a leaf into its neighbour: up to where there is a way, and down again. */
static bool cross_once(struct store_index *x, bool backwards)
{
    struct store_path *path = &x->path;
    uint32_t level = x->depth;
    struct store_node *node;

    do {
        if (level == 0) {
            return false;
        }
        level--;
    } while (path->level[level].at == (backwards ? 0U : path->level[level].node->n));
    path->level[level].at += backwards ? UINT32_MAX : 1U;
    node = go_down(x, path->level[level].node, path->level[level].at, STORE_LOOK,
                   store_index_lines(x, level));
    return node != NULL && descend(x, node, level + 1, backwards);
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
    bool found;
    uint32_t at;

    if (backwards && from.n == 0) {
        x->lost = false;
        if (!descend(x, node_at(x, x->root), 0, true)) {
            return NULL;
        }
        return x->path.level[x->depth].node->n > 0 || cross(x, true) ? store_index_here(x) : NULL;
    }
    if (!seek(x, from, STORE_LOOK, &found)) {
        return NULL;
    }
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
