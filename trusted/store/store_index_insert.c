// SPDX-License-Identifier: Apache-2.0
#include "trusted/store/store_index_internal.h"

#include "common/limits.h"

enum { COST_MAX = STORE_ENTRY_LEN + STORE_RECORD_LEN + 2 + STORE_KEY_MAX - STORE_HEAD_LEN };

_Static_assert((int)VALUE_MAX <= (int)STORE_VALUE_LEN_MASK, "a length fits its bits");
_Static_assert(STORE_KEY_MAX < 1 << 15, "a suffix length fits two bytes");
/* A full node and one entry more, cut where the halves are most alike: see split(). */
_Static_assert(sizeof(struct store_node) + STORE_NODE_MAX / 2 + 3 * COST_MAX / 2 <= STORE_NODE_MAX,
               "each half fits a node");

/* An entry to be inserted at `at` of a node. In an inner node the entry is the right half of a
 * child that was split, and `left` replaces that child. */
struct addition {
    unsigned at;
    struct bytes key;
    struct bytes payload;
    uint32_t left;
};

static void insert_into(struct store_index *x, struct store_node *node, bool leaf,
                        const struct addition *add)
{
    if (!leaf) {
        set_child(node, add->at, add->left);
        store_index_forget_ways(x, node);
    }
    store_node_insert(node, add->at, store_node_suffix(node, add->key), add->payload);
    node->dirty = 1;
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
static struct store_node *build_half(struct store_change *c, const struct overfull *o,
                                     unsigned from, unsigned to, struct bytes prefix)
{
    uint8_t buffer[STORE_KEY_MAX];
    size_t longer = prefix.n - o->node->prefix_len;
    size_t need = sizeof(struct store_node) + prefix.n;
    struct store_node *half;

    for (unsigned i = from; i < to; i++) {
        need += store_node_cost(payload_len(o->leaf), suffix_len_of(o, i) - longer);
    }
    half = store_change_build(c, o->leaf, need, prefix);
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
    uint8_t before[STORE_KEY_MAX];
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
static bool split(struct store_change *c, const struct store_path *path, uint32_t level,
                  struct addition *add, uint8_t sep[static STORE_KEY_MAX], uint32_t *ret_right)
{
    const struct overfull o = {
        .node = path->level[level].node,
        .leaf = level == c->index->depth,
        .add = add,
    };
    uint8_t bound[STORE_KEY_MAX];
    uint8_t middle[STORE_KEY_MAX];
    unsigned n = o.node->n + 1U;
    unsigned cut = choose_cut(&o);
    struct bytes between = separator(&o, cut, middle);
    struct bytes low = store_index_fence(path, level, false, bound);
    struct store_node *left =
        build_half(c, &o, 0, cut, (struct bytes){between.p, common_len(low, between)});
    struct bytes high = store_index_fence(path, level, true, bound);
    struct store_node *right = build_half(c, &o, o.leaf ? cut : cut + 1, n,
                                          (struct bytes){between.p, common_len(high, between)});

    if (left == NULL || right == NULL) {
        return false;
    }
    if (!o.leaf) {
        uint8_t buffer[STORE_KEY_MAX];
        struct bytes payload;

        left->first = add->at == 0 ? add->left : o.node->first;
        (void)suffix_of(&o, cut, buffer, &payload);
        memcpy(&right->first, payload.p, sizeof(right->first));
    }
    if (o.leaf) {
        /* The left half takes the place in host memory over; its contents there are stale. */
        left->first = o.node->first;
        left->dirty = right->dirty = 1;
        left->hot = right->hot = o.node->hot;
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
static struct store_node *grow(struct store_change *c, bool leaf, const struct store_node *node,
                               size_t cost)
{
    struct store_node *copy =
        store_change_build(c, leaf, store_node_used(node) + cost, (struct bytes){0});

    if (copy != NULL) {
        store_node_copy(copy, copy->block, node);
    }
    return copy;
}

/* The root was split: a new one above both halves. */
static bool add_root(struct store_change *c, const struct addition *add)
{
    struct store_index *x = c->index;
    size_t need = sizeof(struct store_node) + store_node_cost(STORE_CHILD_LEN, add->key.n);
    struct store_node *root = store_change_build(c, false, need, (struct bytes){0});

    if (root == NULL) {
        return false;
    }
    CHECK(x->depth < STORE_DEPTH_MAX);
    insert_into(x, root, false, add);
    x->root = store_ref(x->heap, root);
    x->depth++;
    return true;
}

/* The leaf is full: it moves to a longer block or is cut, and so on upwards. */
static RESULT make_room(struct store_index *x, struct addition *add)
{
    struct store_change c = {.index = x};
    const struct store_path *path = &x->path;
    uint8_t sep[STORE_KEY_MAX];
    uint32_t right;

    for (uint32_t level = x->depth;; level--) {
        struct store_node *node = path->level[level].node;
        bool leaf = level == x->depth;
        size_t cost = store_node_cost(add->payload.n, add->key.n - node->prefix_len);
        size_t need = store_node_used(node) + cost;

        if (need <= node->block) {
            insert_into(x, node, leaf, add);
            break;
        }
        if (need <= (node->n < STORE_NODE_ENTRIES ? STORE_NODE_MAX : store_index_soft(x, leaf))) {
            struct store_node *copy = grow(&c, leaf, node, cost);

            if (copy == NULL) {
                goto failed;
            }
            insert_into(x, copy, leaf, add);
            c.stale[c.stale_n++] = node;
            store_index_relink(x, path, level, copy);
            break;
        }
        if (leaf && store_leaf_cramped(x)) {
            goto failed;
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
    store_change_settle(&c);
    return OK;
failed:
    store_change_undo(&c);
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

    if (store_node_used(leaf) + store_node_cost(add.payload.n, key.n - leaf->prefix_len) <=
        leaf->block) {
        insert_into(x, leaf, true, &add);
        (void)store_leaf_changed(x, leaf);
        return OK;
    }
    if (!store_leaf_stays(leaf)) { /* a longer one moves, and that is done inside */
        (void)store_index_seek(x, key, STORE_KEEP);
        if (x->lost) {
            return ERR_LOST;
        }
        if (!store_leaf_stays(x->path.level[x->depth].node)) {
            return ERR_ENCLAVE_MEMORY;
        }
    }
    return make_room(x, &add);
}
