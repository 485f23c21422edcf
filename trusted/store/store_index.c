// SPDX-License-Identifier: Apache-2.0
#include "trusted/store/store_index.h"

#include "common/check.h"
#include "common/limits.h"
#include "trusted/store/store_ref.h"

enum {
    PREFETCH_LINES = 4, /* head and entries of a typical node */
    LINE = 64,
    COST_MAX = STORE_ENTRY_LEN + STORE_RECORD_LEN + 2 + KEY_MAX - STORE_HEAD_LEN,
};

_Static_assert((int)VALUE_MAX <= (int)STORE_VALUE_LEN_MASK, "a length fits its bits");
_Static_assert(KEY_MAX < 1 << 15, "a suffix length fits two bytes");
/* A full node and one entry more, cut where the halves are most alike: see split(). */
_Static_assert(sizeof(struct store_node) + STORE_NODE_MAX / 2 + 3 * COST_MAX / 2 <= STORE_NODE_MAX,
               "each half fits a node");

/* Nodes that an insertion builds and those they replace. */
struct change {
    struct store_index *index;
    uint32_t fresh_n, stale_n;
    struct store_node *fresh[2 * STORE_DEPTH_MAX + 2];
    struct store_node *stale[STORE_DEPTH_MAX + 1];
};

/* An entry to be inserted at `at` of a node. In an inner node the entry is the right half of a
 * child that was split, and `left` replaces that child. */
struct addition {
    unsigned at;
    struct bytes key;
    struct bytes payload;
    uint32_t left;
};

static struct store_node *node_at(const struct store_index *x, uint32_t ref)
{
    return store_deref(x->heap, ref);
}

static size_t payload_len(bool leaf)
{
    return leaf ? STORE_RECORD_LEN : STORE_CHILD_LEN;
}

/* The child left of entry `at`. */
static uint32_t child(struct store_node *x, unsigned at)
{
    uint32_t ref = x->first;

    if (at > 0) {
        memcpy(&ref, store_node_payload(x, at - 1), sizeof(ref));
    }
    return ref;
}

static void set_child(struct store_node *x, unsigned at, uint32_t ref)
{
    if (at > 0) {
        memcpy(store_node_payload(x, at - 1), &ref, sizeof(ref));
    } else {
        x->first = ref;
    }
}

static struct store_node *enter(const struct store_index *x, uint32_t ref)
{
    struct store_node *node = node_at(x, ref);

    for (unsigned i = 0; i < PREFETCH_LINES; i++) {
        __builtin_prefetch((const uint8_t *)node + (size_t)i * LINE);
    }
    return node;
}

/* One step down: how many separators are not above the key. */
static unsigned route(struct store_node *node, struct bytes key)
{
    bool equal;
    unsigned at = store_node_search(node, STORE_CHILD_LEN, store_node_suffix(node, key), &equal);

    return equal ? at + 1 : at;
}

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

/* ---- building nodes ---- */

static struct store_node *build(struct change *c, size_t need, struct bytes prefix)
{
    size_t block = heap_block_bytes(need);
    struct store_node *node = heap_alloc(c->index->heap, block);

    if (node != NULL) {
        CHECK(c->fresh_n < sizeof(c->fresh) / sizeof(c->fresh[0]));
        c->fresh[c->fresh_n++] = node;
        store_node_init(node, block, prefix);
    }
    return node;
}

static void discard(struct store_index *x, struct store_node *node)
{
    heap_free(x->heap, node, node->block);
}

/* The insertion failed: only the new nodes go. */
static void undo(struct change *c)
{
    for (uint32_t i = 0; i < c->fresh_n; i++) {
        discard(c->index, c->fresh[i]);
    }
}

/* The insertion is linked in: the nodes that it replaced go. */
static void settle(struct change *c)
{
    for (uint32_t i = 0; i < c->fresh_n; i++) {
        c->index->bytes += c->fresh[i]->block;
    }
    for (uint32_t i = 0; i < c->stale_n; i++) {
        c->index->bytes -= c->stale[i]->block;
        discard(c->index, c->stale[i]);
    }
}

static void insert_into(struct store_node *node, bool leaf, const struct addition *add)
{
    if (!leaf) {
        set_child(node, add->at, add->left);
    }
    store_node_insert(node, add->at, store_node_suffix(node, add->key), add->payload);
}

/* The separator that bounds level `level` of the path from below (or above), written to `to`;
 * empty where there is none: then that side has nothing in common with the other. */
static struct bytes fence(const struct store_path *path, uint32_t level, bool above, uint8_t *to)
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

static size_t common_len(struct bytes a, struct bytes b)
{
    size_t n = a.n < b.n ? a.n : b.n;
    size_t i = 0;

    while (i < n && a.p[i] == b.p[i]) {
        i++;
    }
    return i;
}

/* ---- splitting ---- */

/* A full node with one more entry, before it is cut in two. */
struct overfull {
    struct store_node *node;
    bool leaf;
    const struct addition *add;
};

/* Suffix length of entry i, counted with the addition. */
static size_t suffix_len_of(const struct overfull *o, unsigned i)
{
    if (i == o->add->at) {
        return o->add->key.n - o->node->prefix_len;
    }
    return store_node_cell(o->node, i < o->add->at ? i : i - 1, payload_len(o->leaf)).suffix_len;
}

/* Key of entry i behind the node's prefix, in `to` if it must be put together. */
static struct bytes suffix_of(const struct overfull *o, unsigned i, uint8_t *to,
                              struct bytes *ret_payload)
{
    size_t len = payload_len(o->leaf);

    if (i == o->add->at) {
        *ret_payload = o->add->payload;
        return store_node_suffix(o->node, o->add->key);
    }
    unsigned at = i < o->add->at ? i : i - 1;
    struct store_cell c = store_node_cell(o->node, at, len);

    store_node_write_suffix(&c, to);
    *ret_payload = (struct bytes){c.payload, len};
    if (!o->leaf && at + 1 == o->add->at) {
        *ret_payload = (struct bytes){(const uint8_t *)&o->add->left, len};
    }
    return (struct bytes){to, c.suffix_len};
}

/* The number of entries for the left half: bytes alike on both sides, neither side empty. In a leaf
 * entry `cut` goes right; in an inner node it goes up. */
static unsigned choose_cut(const struct overfull *o)
{
    unsigned n = o->node->n + 1U;
    size_t total = 0;
    size_t left = 0;
    unsigned cut = 0;

    for (unsigned i = 0; i < n; i++) {
        total += store_node_cost(payload_len(o->leaf), suffix_len_of(o, i));
    }
    while (cut < n && left < total / 2) {
        left += store_node_cost(payload_len(o->leaf), suffix_len_of(o, cut));
        cut++;
    }
    CHECK(n >= 3);
    return cut > n - 2 ? n - 2 : cut;
}

/* Builds one half from entries [from, to); `prefix` extends the node's own. */
static struct store_node *build_half(struct change *c, const struct overfull *o, unsigned from,
                                     unsigned to, struct bytes prefix)
{
    uint8_t buffer[KEY_MAX];
    size_t longer = prefix.n - o->node->prefix_len;
    size_t need = sizeof(struct store_node) + prefix.n;
    struct store_node *half;

    for (unsigned i = from; i < to; i++) {
        need += store_node_cost(payload_len(o->leaf), suffix_len_of(o, i) - longer);
    }
    half = build(c, need, prefix);
    for (unsigned i = from; half != NULL && i < to; i++) {
        struct bytes payload;
        struct bytes suffix = suffix_of(o, i, buffer, &payload);

        store_node_insert(half, i - from, (struct bytes){suffix.p + longer, suffix.n - longer},
                          payload);
    }
    return half;
}

/* The shortest key above everything left of the cut and not above anything right of it. */
static struct bytes separator(const struct overfull *o, unsigned cut, uint8_t *to)
{
    uint8_t before[KEY_MAX];
    struct bytes payload;
    struct bytes prefix = store_node_prefix(o->node);
    struct bytes b = suffix_of(o, cut, to + prefix.n, &payload);
    size_t len = b.n;

    if (o->leaf) {
        struct bytes a = suffix_of(o, cut - 1, before, &payload);

        len = common_len(a, b) + 1;
    }
    if (prefix.n > 0) {
        memcpy(to, prefix.p, prefix.n);
    }
    if (b.p != to + prefix.n) {
        memcpy(to + prefix.n, b.p, len);
    }
    return (struct bytes){to, prefix.n + len};
}

/* Cuts level `level` of the path into two new nodes. On success *add becomes what the parent needs:
 * the separator (in `sep`) and references to both halves. False: out of memory. */
static bool split(struct change *c, const struct store_path *path, uint32_t level,
                  struct addition *add, uint8_t sep[static KEY_MAX], uint32_t *ret_right)
{
    const struct overfull o = {
        .node = path->level[level].node,
        .leaf = level == c->index->depth,
        .add = add,
    };
    uint8_t bound[KEY_MAX];
    uint8_t middle[KEY_MAX];
    unsigned n = o.node->n + 1U;
    unsigned cut = choose_cut(&o);
    struct bytes between = separator(&o, cut, middle);
    struct bytes low = fence(path, level, false, bound);
    struct store_node *left =
        build_half(c, &o, 0, cut, (struct bytes){between.p, common_len(low, between)});
    struct bytes high = fence(path, level, true, bound);
    struct store_node *right = build_half(c, &o, o.leaf ? cut : cut + 1, n,
                                          (struct bytes){between.p, common_len(high, between)});

    if (left == NULL || right == NULL) {
        return false;
    }
    if (!o.leaf) {
        uint8_t buffer[KEY_MAX];
        struct bytes payload;

        left->first = add->at == 0 ? add->left : o.node->first;
        (void)suffix_of(&o, cut, buffer, &payload);
        memcpy(&right->first, payload.p, sizeof(right->first));
    }
    memcpy(sep, between.p, between.n);
    *ret_right = store_ref(c->index->heap, right);
    *add = (struct addition){
        .at = level > 0 ? path->level[level - 1].at : 0,
        .key = {sep, between.n},
        .payload = {(const uint8_t *)ret_right, sizeof(*ret_right)},
        .left = store_ref(c->index->heap, left),
    };
    return true;
}

/* A copy of a node with room for one more entry of `cost` bytes. */
static struct store_node *grow(struct change *c, const struct store_node *node, size_t cost)
{
    struct store_node *copy = build(c, store_node_used(node) + cost, (struct bytes){0});

    if (copy != NULL) {
        store_node_copy(copy, copy->block, node);
    }
    return copy;
}

/* Puts a reference to a new node where the one at `level` of the path was. */
static void relink(struct store_index *x, const struct store_path *path, uint32_t level,
                   const struct store_node *node)
{
    uint32_t ref = store_ref(x->heap, node);

    if (level == 0) {
        x->root = ref;
    } else {
        set_child(path->level[level - 1].node, path->level[level - 1].at, ref);
    }
}

/* The root was split: a new one above both halves. */
static bool add_root(struct change *c, const struct addition *add)
{
    struct store_index *x = c->index;
    size_t need = sizeof(struct store_node) + store_node_cost(STORE_CHILD_LEN, add->key.n);
    struct store_node *root = build(c, need, (struct bytes){0});

    if (root == NULL) {
        return false;
    }
    CHECK(x->depth < STORE_DEPTH_MAX);
    insert_into(root, false, add);
    x->root = store_ref(x->heap, root);
    x->depth++;
    return true;
}

/* The leaf is full: it moves to a longer block or is cut, and so on upwards. */
static RESULT make_room(struct store_index *x, struct addition *add)
{
    struct change c = {.index = x};
    const struct store_path *path = &x->path;
    uint8_t sep[KEY_MAX];
    uint32_t right;

    for (uint32_t level = x->depth;; level--) {
        struct store_node *node = path->level[level].node;
        bool leaf = level == x->depth;
        size_t cost = store_node_cost(add->payload.n, add->key.n - node->prefix_len);
        size_t need = store_node_used(node) + cost;

        if (need <= node->block) {
            insert_into(node, leaf, add);
            break;
        }
        if (need <= (node->n < STORE_NODE_ENTRIES ? STORE_NODE_MAX : STORE_NODE_SOFT)) {
            struct store_node *copy = grow(&c, node, cost);

            if (copy == NULL) {
                goto failed;
            }
            insert_into(copy, leaf, add);
            c.stale[c.stale_n++] = node;
            relink(x, path, level, copy);
            break;
        }
        if (!split(&c, path, level, add, sep, &right)) {
            goto failed;
        }
        c.stale[c.stale_n++] = node;
        if (level == 0) {
            if (!add_root(&c, add)) {
                goto failed;
            }
            break;
        }
    }
    settle(&c);
    return OK;
failed:
    undo(&c);
    return ERR_ENCLAVE_MEMORY;
}

RESULT store_index_insert(struct store_index *x, struct bytes key,
                          const struct store_record *record)
{
    struct store_node *leaf = x->path.level[x->depth].node;
    struct addition add = {
        .at = x->path.level[x->depth].at,
        .key = key,
        .payload = {(const uint8_t *)record, sizeof(*record)},
    };

    if (store_node_used(leaf) + store_node_cost(add.payload.n, key.n - leaf->prefix_len) >
        leaf->block) {
        return make_room(x, &add);
    }
    insert_into(leaf, true, &add);
    return OK;
}

/* ---- the rest ---- */

RESULT store_index_init(struct store_index *x, struct heap *heap)
{
    struct store_node *root;
    struct change c = {.index = x};

    *x = (struct store_index){.heap = heap};
    root = build(&c, sizeof(struct store_node), (struct bytes){0});
    if (root == NULL) {
        return ERR_ENCLAVE_MEMORY;
    }
    x->root = store_ref(heap, root);
    settle(&c);
    return OK;
}

static void discard_below(struct store_index *x, uint32_t ref, uint32_t inner_levels)
{
    struct store_node *node = node_at(x, ref);

    for (unsigned i = 0; inner_levels > 0 && i <= node->n; i++) {
        discard_below(x, child(node, i), inner_levels - 1);
    }
    discard(x, node);
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

/* From the edge of a leaf into its neighbour: up to where there is a way, and down again. False:
 * this was the outermost leaf. */
static bool cross(struct store_index *x, bool backwards)
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
        return x->path.level[x->depth].node->n == 0 ? NULL : store_index_here(x);
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
