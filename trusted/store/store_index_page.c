// SPDX-License-Identifier: Apache-2.0
#include "common/limits.h"
#include "trusted/store/store_index_internal.h"

/*
 * Which leaves stay. All leaves lie in slabs of the heap that hold nothing else; a hand goes over
 * the slabs of one size class as it does in the CLOCK algorithm, with a small counter in place of
 * its bit (GCLOCK): a leaf that was used often lately survives several turns. Room for a leaf is
 * made in its own class, where others of its size come free. When that fails, or others than leaves
 * need memory, whole slabs are emptied, so that their pages serve any size.
 *
 * The hand finds a leaf by its address and then the way to it by its first key: leaves need no
 * reference to their parent.
 */

enum {
    /* Of the heap beside the reserve: when the rest is full of what cannot be paged out, there must
     * not be more of it. */
    RESIDENT_MIN_SHARE = 8,
    /* Of what leaves and cached records have together, an eighth is for leaves. */
    CACHE_SHARE_NUM = 7,
    CACHE_SHARE_DEN = 8,
    /* Entries that a chunk would have had room for, before there is one more; slabs that are
     * emptied for it before it is given up for this time. */
    CACHE_DEMAND = 96,
    CACHE_EFFORT = 16,
    PERIOD_MIN = 16,
    COPIES_SHARE = 32,
};

static struct store_cold *cold_at(const struct store_index *x, uint32_t ref)
{
    return store_deref(x->heap, ref & ~STORE_REF_COLD);
}

/* The copy of a cold leaf, or STORE_COPIES. */
static unsigned copy_of(const struct store_pager *p, uint32_t ref)
{
    unsigned i = 0;

    while (i < STORE_COPIES && p->copy_of[i] != ref) {
        i++;
    }
    return i;
}

static void drop_copy(struct store_index *x, uint32_t ref)
{
    unsigned i = copy_of(&x->pager, ref);

    if (i < STORE_COPIES) {
        x->pager.copy_of[i] = 0;
    }
}

/* Classes of blocks as the heap has them: eight for each power of two. */
static unsigned hand_of(size_t block)
{
    uint32_t m = (uint32_t)block - 1;
    uint32_t lg = 31U - (uint32_t)__builtin_clz(m);

    CHECK(block >= STORE_LEAF_MIN && block <= STORE_PAGE_MAX);
    return (lg - 7) * 8 + (m >> (lg - 3)) - 8;
}

/* ---- out ---- */

/* Where the leaf hangs. False for one that does not hang in the tree: it is being built, or it is
 * empty and has no key to go by. */
static bool locate(struct store_index *x, struct store_node *leaf, struct store_node **ret_parent,
                   unsigned *ret_at)
{
    uint8_t *buffer = x->pager.key;
    struct bytes prefix = store_node_prefix(leaf);
    struct store_node *node = node_at(x, x->root);
    struct store_cell c;

    if (leaf->n == 0 || x->depth == 0) {
        return false;
    }
    c = store_node_cell(leaf, 0, STORE_RECORD_LEN);
    if (prefix.n > 0) {
        memcpy(buffer, prefix.p, prefix.n);
    }
    store_node_write_suffix(&c, buffer + prefix.n);
    struct bytes key = {buffer, prefix.n + c.suffix_len};

    for (uint32_t level = 0;; level++) {
        unsigned at = route(node, key);

        if (level + 1 == x->depth) {
            *ret_parent = node;
            *ret_at = at;
            return child(node, at) == store_ref(x->heap, leaf);
        }
        node = enter(x, child(node, at), STORE_INNER_LINES);
    }
}

/* A place for a sealed page; one of the same class stays. */
static bool find_place(struct store_index *x, struct store_cold *cold, uint16_t block)
{
    struct store_arena *a = x->pager.arena;
    uint32_t padded = store_padded(block);
    uint32_t place;

    if (cold->block == 0 || store_padded(cold->block) != padded) {
        if (store_arena_take(a, padded, store_seal_block(padded), &place) != OK) {
            return false;
        }
        store_pager_release(x, cold);
        cold->place = place;
    }
    cold->block = block;
    return true;
}

void store_pager_release(struct store_index *x, struct store_cold *cold)
{
    if (cold->block != 0) {
        store_arena_give(x->pager.arena, cold->place, store_seal_block(store_padded(cold->block)));
        cold->block = 0;
    }
}

void store_pager_forget(struct store_index *x, uint32_t ref)
{
    if (ref != 0) {
        struct store_cold *cold = cold_at(x, ref);

        drop_copy(x, ref & ~STORE_REF_COLD);
        store_pager_release(x, cold);
        heap_free(x->heap, cold, sizeof(*cold));
        x->bytes -= sizeof(*cold);
    }
}

static bool seal(struct store_index *x, struct store_node *leaf)
{
    struct store_cold *cold;

    if (leaf->first == 0) {
        cold = heap_zalloc(x->heap, sizeof(*cold));
        if (cold == NULL) {
            return false;
        }
        x->bytes += sizeof(*cold);
        leaf->first = store_ref(x->heap, cold);
        leaf->dirty = 1;
    }
    cold = cold_at(x, leaf->first);
    if (leaf->dirty != 0) {
        if (!find_place(x, cold, leaf->block)) {
            if (cold->block == 0) {
                store_pager_forget(x, leaf->first);
                leaf->first = 0;
            }
            return false;
        }
        leaf->dirty = 0;
        CHECK(leaf->n <= UINT8_MAX);
        cold->n = (uint8_t)leaf->n;
        cold->counter = store_seal_page(x->pager.sealer, leaf, leaf->block,
                                        store_arena_at(x->pager.arena, cold->place));
        x->pager.outs++;
    }
    return true;
}

enum outcome { STAYS, GONE, NO_MEMORY };

static enum outcome page_out(struct store_index *x, struct store_node *leaf)
{
    struct store_pager *p = &x->pager;
    struct store_node *parent;
    unsigned at;

    if (leaf == p->pinned[0] || leaf == p->pinned[1] || !locate(x, leaf, &parent, &at)) {
        return STAYS;
    }
    leaf->hot = 0;
    if (!seal(x, leaf)) {
        return NO_MEMORY;
    }
    set_child(parent, at, leaf->first | STORE_REF_COLD);
    p->cold++;
    x->bytes -= leaf->block;
    store_index_discard(x, leaf);
    return GONE;
}

/* ---- the hand ---- */

enum sweep {
    SWEEP_OK,
    SWEEP_TURN, /* once around */
    SWEEP_FULL, /* the host's or the enclave's memory does not suffice to page out */
};

/* Looks at the leaves of one slab; of class `n` if that is not 0. `all`: hot ones go too. */
static enum sweep sweep(struct store_index *x, size_t n, uint32_t *hand, bool all)
{
    void **leaves = x->pager.swept;
    uint32_t count = heap_movable(x->heap, n, hand, leaves);

    for (uint32_t i = 0; i < count; i++) {
        struct store_node *leaf = leaves[i];

        if (i + 4 < count) {
            __builtin_prefetch(leaves[i + 4]);
        }
        if (!all && leaf->hot > 0) {
            leaf->hot--;
        } else if (page_out(x, leaf) == NO_MEMORY) {
            return SWEEP_FULL;
        }
    }
    return count > 0 ? SWEEP_OK : SWEEP_TURN;
}

/* What leaves leave to others, and to the chunk that is being made. */
static size_t reserve_of(const struct store_index *x)
{
    return x->pager.reserve + (x->pager.effort > 0 ? STORE_CACHE_CHUNK : 0);
}

static void *make_frame(struct store_index *x, size_t n)
{
    struct store_pager *p = &x->pager;
    uint32_t *hand = &p->hands[hand_of(n)];
    void *frame = NULL;
    enum sweep s;

    /* The first turn may begin anywhere. */
    for (unsigned turns = 0; frame == NULL && turns <= STORE_HOT_MAX + 1;) {
        s = sweep(x, n, hand, false);
        if (s == SWEEP_FULL) {
            return NULL;
        }
        turns += s == SWEEP_TURN;
        frame = heap_alloc_movable(x->heap, n, reserve_of(x));
    }
    for (unsigned turns = 0; frame == NULL && turns < 2;) {
        s = sweep(x, 0, &p->hand, true);
        if (s == SWEEP_FULL) {
            return NULL;
        }
        turns += s == SWEEP_TURN;
        frame = heap_alloc_movable(x->heap, n, reserve_of(x));
    }
    p->effort = frame != NULL ? p->effort : 0;
    while (frame == NULL && x->cache.chunks_n > 0) { /* a leaf that is needed comes first */
        store_cache_shrink(&x->cache);
        frame = heap_alloc_movable(x->heap, n, p->reserve);
    }
    return frame;
}

void *store_leaf_alloc(struct store_index *x, size_t n)
{
    void *frame = heap_alloc_movable(x->heap, n, reserve_of(x));

    return frame != NULL ? frame : make_frame(x, n);
}

void *store_leaf_alloc_briefly(struct store_index *x, size_t n)
{
    return heap_alloc_movable(x->heap, n, 0);
}

/* Bytes of the heap that are neither leaves nor cached records. */
static size_t others_of(const struct store_index *x)
{
    return heap_held(x->heap) - heap_held_movable(x->heap) - store_cache_bytes(&x->cache);
}

bool store_leaf_cramped(const struct store_index *x)
{
    size_t room = heap_limit(x->heap) - x->pager.reserve;

    return x->pager.cold > 0 && others_of(x) > room - room / RESIDENT_MIN_SHARE;
}

/* ---- cached records ---- */

/* Bytes of chunks that there may be. */
static size_t cache_max(const struct store_index *x)
{
    size_t room = heap_limit(x->heap) - x->pager.reserve;
    size_t others = others_of(x);

    return others >= room ? 0 : (room - others) / CACHE_SHARE_DEN * CACHE_SHARE_NUM;
}

static bool cache_is_wanted(const struct store_index *x)
{
    return x->cache.turned_away >= CACHE_DEMAND &&
           store_cache_bytes(&x->cache) + 2 * (size_t)STORE_CACHE_CHUNK <= cache_max(x);
}

static size_t free_bytes(const struct store_index *x)
{
    return heap_limit(x->heap) - heap_held(x->heap);
}

/* A step towards one chunk more: leaves go, a slab at a time, and their pages are kept for it. */
static void grow_cache(struct store_index *x)
{
    struct store_pager *p = &x->pager;

    if (free_bytes(x) >= p->reserve + STORE_CACHE_CHUNK && store_cache_grow(&x->cache)) {
        p->effort = 0;
        return;
    }
    p->effort++;
    if (p->effort > CACHE_EFFORT || sweep(x, 0, &p->hand, true) == SWEEP_FULL) {
        p->effort = 0;
        x->cache.turned_away = 0; /* not now */
    }
}

void store_leaf_remember(struct store_index *x, const struct store_hash *key,
                         const struct store_record *r)
{
    store_cache_put(&x->cache, key, r);
    if (cache_is_wanted(x)) {
        grow_cache(x);
    }
}

void store_index_balance(struct store_index *x)
{
    if (x->cache.chunks_n > 0 && store_cache_bytes(&x->cache) > cache_max(x)) {
        store_cache_shrink(&x->cache);
    } else if (free_bytes(x) < x->pager.reserve) {
        (void)sweep(x, 0, &x->pager.hand, true);
    }
}

/* ---- in ---- */

/* STORE-18: what stood there is unknown from now on, whatever the host puts back. */
static void lose(struct store_index *x, struct store_cold *cold)
{
    store_pager_release(x, cold);
    x->pager.cold--;
    x->pager.lost++;
    x->pager.lost_keys += cold->n;
}

static RESULT open_leaf(struct store_index *x, const struct store_cold *cold, bool copy,
                        struct store_node *to)
{
    TRY(store_open_page(x->pager.sealer, cold->counter, store_arena_at(x->pager.arena, cold->place),
                        cold->block, to));
    CHECK(to->block == cold->block);
    to->copy = copy;
    return OK;
}

/* A copy in place `i`. NULL: it does not open. */
static struct store_node *open_copy(struct store_index *x, uint32_t ref, unsigned i)
{
    struct store_pager *p = &x->pager;

    p->copy_of[i] = 0;
    p->reads++;
    if (open_leaf(x, cold_at(x, ref), true, p->copies[i]) != OK) {
        return NULL;
    }
    p->copy_of[i] = ref;
    return p->copies[i];
}

/* A copy: nothing is displaced. */
static struct store_node *look(struct store_index *x, uint32_t ref)
{
    unsigned i = copy_of(&x->pager, ref);
    struct store_node *copy = i < STORE_COPIES ? x->pager.copies[i] : open_copy(x, ref, 0);

    if (copy == NULL) {
        lose(x, cold_at(x, ref));
        x->lost = true;
    }
    return copy;
}

struct store_node *store_leaf_opened(struct store_index *x, uint32_t ref)
{
    unsigned i;

    if (!store_is_cold(ref)) {
        return node_at(x, ref);
    }
    i = copy_of(&x->pager, ref & ~STORE_REF_COLD);
    return i < STORE_COPIES ? x->pager.copies[i] : NULL;
}

/* Copies are of use for a moment only: they get a small part of what leaves and records have. */
static size_t copies_max(const struct store_index *x)
{
    size_t leaves = heap_held_movable(x->heap) + store_cache_bytes(&x->cache);

    return leaves / COPIES_SHARE / STORE_COPY_MAX;
}

struct store_node *store_leaf_expect(struct store_index *x, uint32_t ref, unsigned i)
{
    struct store_pager *p = &x->pager;
    const struct store_cold *cold = cold_at(x, ref);
    unsigned have = copy_of(p, ref & ~STORE_REF_COLD);

    if (have < STORE_COPIES) {
        return p->copies[have];
    }
    if (cold->block == 0 || cold->block > STORE_COPY_MAX) {
        return NULL;
    }
    if (p->copies[1 + i] == NULL && i < copies_max(x)) {
        p->copies[1 + i] = heap_alloc(x->heap, STORE_COPY_MAX);
    }
    /* If it does not open, that is for the lookup itself to find out. */
    return p->copies[1 + i] == NULL ? NULL : open_copy(x, ref & ~STORE_REF_COLD, 1 + i);
}

void store_pager_fini(struct store_index *x)
{
    struct store_pager *p = &x->pager;

    wipe(p->scratch, sizeof(p->scratch));
    for (unsigned i = 1; i < STORE_COPIES; i++) {
        if (p->copies[i] != NULL) {
            wipe(p->copies[i], STORE_COPY_MAX);
            heap_free(x->heap, p->copies[i], STORE_COPY_MAX);
        }
    }
}

/* Whether a cold leaf that is used now was used a short while ago: in this period or the last. A
 * period is half as many uses of cold leaves as there are resident ones, about. So a leaf that is
 * used once displaces no other; the record that was asked for is remembered alone. */
static bool used_again(struct store_index *x, struct store_cold *cold)
{
    struct store_pager *p = &x->pager;
    uint8_t now = (uint8_t)(1 + p->period % UINT8_MAX);
    uint8_t before = (uint8_t)(1 + (p->period + UINT8_MAX - 1) % UINT8_MAX);
    bool again = cold->seen == now || cold->seen == before;

    cold->seen = now;
    p->uses++;
    if (p->uses > PERIOD_MIN && p->uses > heap_held_movable(x->heap) / STORE_PAGE_SOFT / 2) {
        p->uses = 0;
        p->period++;
    }
    return again;
}

struct store_node *store_leaf_load(struct store_index *x, struct store_node *parent, unsigned at,
                                   enum store_want want)
{
    struct store_pager *p = &x->pager;
    uint32_t ref = child(parent, at) & ~STORE_REF_COLD;
    struct store_cold *cold = cold_at(x, ref);
    struct store_node *leaf;
    unsigned copy;

    if (cold->block == 0) {
        x->lost = true;
        return NULL;
    }
    if (want == STORE_USE) {
        want = used_again(x, cold) ? STORE_KEEP : STORE_LOOK;
    }
    leaf = want == STORE_KEEP ? store_leaf_alloc(x, cold->block) : NULL;
    if (leaf == NULL) {
        return look(x, ref);
    }
    copy = copy_of(p, ref);
    if (copy < STORE_COPIES) {
        memcpy(leaf, p->copies[copy], cold->block);
        leaf->copy = false;
        p->copy_of[copy] = 0;
    } else if (open_leaf(x, cold, false, leaf) != OK) {
        heap_free(x->heap, leaf, cold->block);
        lose(x, cold);
        x->lost = true;
        return NULL;
    }
    set_child(parent, at, store_ref(x->heap, leaf));
    x->bytes += leaf->block;
    p->cold--;
    p->ins++;
    return leaf;
}

bool store_leaf_changed(struct store_index *x, struct store_node *leaf)
{
    leaf->dirty = 1;
    if (leaf->copy == 0) {
        return true;
    }
    (void)seal(x, leaf); /* in the place that it has: needs no memory */
    return false;
}

bool store_leaf_stays(const struct store_node *leaf)
{
    return leaf->copy == 0;
}
