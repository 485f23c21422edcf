// SPDX-License-Identifier: Apache-2.0
#include "trusted/store/store_index_internal.h"

/*
 * Lookups that are about to come, made side by side: each step of one asks for the memory that its
 * next step needs and goes on with the others. One lookup waits for memory some five times; sixteen
 * of these wait hardly longer than one. Copies of cold leaves are opened, so that the values can be
 * asked for as well. What is read here is read again by the lookup itself, from the processor's
 * caches; only the way from the root is not gone twice.
 */

enum { KEY_TAIL = 24 }; /* what stands behind a record, for most keys */

enum way {
    GOES_DOWN,
    AT_LEAF,
    COLD,
    ENDS, /* nothing more to ask for */
};

struct step {
    struct bytes key;
    enum way way;
    uint32_t ref; /* of the node that is next */
    struct store_node *node;
    const uint8_t *payload; /* on its way; NULL: none */
};

struct steps {
    struct step s[STORE_LOOKS_MAX];
    unsigned n;
};

/* All lines that the bytes lie in: what is sealed begins anywhere in a line. */
static void fetch(const uint8_t *p, size_t bytes)
{
    size_t into = (uintptr_t)p % STORE_LINE;

    for (size_t i = 0; i < into + bytes; i += STORE_LINE) {
        __builtin_prefetch(p - into + i);
    }
}

static void fetch_value(const struct store_index *x, const uint8_t *payload)
{
    const struct store_record r = store_record_load(payload);
    uint32_t len = store_record_len(&r);

    if (len > STORE_SMALL_MAX) {
        size_t block = store_seal_block(store_padded(len));

        fetch(store_arena_at(x->pager.arena, r.place),
              block < STORE_EXPECT_BYTES ? block : STORE_EXPECT_BYTES);
    }
}

/* ---- down to the leaf ---- */

static void go(const struct store_index *x, struct store_look *l, struct step *s, bool above_leaf)
{
    unsigned at;

    if (s->way != GOES_DOWN) {
        return;
    }
    at = route(s->node, s->key);
    s->ref = child(s->node, at);
    if (above_leaf) {
        l->parent = s->node;
        l->at = at;
        s->way = store_is_cold(s->ref) ? COLD : AT_LEAF;
    }
    s->node = node_at(x, s->ref & ~STORE_REF_COLD);
    fetch((const uint8_t *)s->node, s->way == COLD ? sizeof(struct store_cold)
                                    : above_leaf   ? (size_t)STORE_HEAD_LINES * STORE_LINE
                                                   : (size_t)STORE_INNER_LINES * STORE_LINE);
}

/* The entry whose head is the key's, or the next one: as a rule it is the one. */
static const uint8_t *guess_payload(struct store_node *leaf, struct bytes key)
{
    unsigned at = store_node_guess(leaf, store_node_suffix(leaf, key));

    return at < leaf->n ? store_node_payload(leaf, at) : NULL;
}

static void guess_record(struct step *s)
{
    s->payload = s->way == AT_LEAF ? guess_payload(s->node, s->key) : NULL;
    if (s->payload != NULL) {
        fetch(s->payload, STORE_RECORD_LEN + KEY_TAIL);
    }
}

/* ---- cold leaves ---- */

/* Pages are long: so many are on their way while one is opened. */
enum { PAGES_AHEAD = 4 };

static void fetch_page(const struct store_index *x, const struct step *s, size_t most)
{
    const struct store_cold *cold = (const void *)s->node;
    size_t n = cold->block + (size_t)AEAD_TAG_LEN;

    if (cold->block != 0) {
        fetch(store_arena_at(x->pager.arena, cold->place), n < most ? n : most);
    }
}

static void open_page(struct store_index *x, const struct step *s, unsigned i)
{
    struct store_node *leaf = store_leaf_expect(x, s->ref, i);
    const uint8_t *payload = leaf == NULL ? NULL : guess_payload(leaf, s->key);

    if (payload != NULL) {
        fetch_value(x, payload);
    }
}

static void open_pages(struct store_index *x, struct steps *all)
{
    unsigned cold[STORE_LOOKS_MAX];
    unsigned n = 0;

    for (unsigned i = 0; i < all->n; i++) {
        if (all->s[i].way == COLD) {
            cold[n++] = i;
        }
    }
    for (unsigned k = 0; k < n; k++) {
        fetch_page(x, &all->s[cold[k]], 1);
    }
    for (unsigned k = 0; k < n && k < PAGES_AHEAD; k++) {
        fetch_page(x, &all->s[cold[k]], STORE_COPY_MAX);
    }
    for (unsigned k = 0; k < n; k++) {
        if (k + PAGES_AHEAD < n) {
            fetch_page(x, &all->s[cold[k + PAGES_AHEAD]], STORE_COPY_MAX);
        }
        open_page(x, &all->s[cold[k]], cold[k]);
    }
}

/* ---- cached records ---- */

static void find_cached(struct store_index *x, struct steps *all)
{
    struct store_look *looks = x->looks.look;

    for (unsigned i = 0; i < all->n; i++) {
        looks[i].hash = store_cache_hash(&x->cache, all->s[i].key);
        looks[i].hashed = true;
    }
    for (unsigned i = 0; i < all->n; i++) {
        store_cache_expect(&x->cache, &looks[i].hash);
    }
    for (unsigned i = 0; i < all->n; i++) {
        store_cache_expect_entry(&x->cache, &looks[i].hash);
    }
    for (unsigned i = 0; i < all->n; i++) {
        const struct store_record *known = store_cache_peek(&x->cache, &looks[i].hash);

        if (known != NULL) {
            fetch_value(x, (const uint8_t *)known);
            all->s[i].way = ENDS;
        }
    }
}

/* ---- what is remembered ---- */

static struct bytes key_of(const struct store_look *l)
{
    return (struct bytes){l->key, l->key_len};
}

static uint64_t digest_of(struct bytes key)
{
    uint64_t a = 0;
    uint64_t b = 0;

    if (key.n >= sizeof(a)) {
        memcpy(&a, key.p, sizeof(a));
        memcpy(&b, key.p + key.n - sizeof(b), sizeof(b));
    } else if (key.n > 0) {
        memcpy(&a, key.p, key.n);
    }
    return a ^ (b << 32 | b >> 32) ^ key.n;
}

/* Keys that are too long are not remembered: no key is as long as nothing. */
static void remember(struct store_looks *all, unsigned i, struct bytes key)
{
    struct store_look *l = &all->look[i];

    all->digest[i] = digest_of(key);
    l->parent = NULL;
    l->hashed = false;
    l->key_len = 0;
    if (key.n <= sizeof(l->key)) {
        l->key_len = (uint32_t)key.n;
        memcpy(l->key, key.p, key.n);
    }
}

void store_index_expect(struct store_index *x, const struct bytes *keys, size_t n)
{
    struct steps all;

    CHECK(n <= STORE_LOOKS_MAX);
    all.n = x->looks.n = (uint32_t)n;
    x->looks.next = x->looks.misses = 0;
    for (unsigned i = 0; i < n; i++) {
        remember(&x->looks, i, keys[i]);
        all.s[i] = (struct step){.key = keys[i],
                                 .way = x->depth == 0 ? AT_LEAF : GOES_DOWN,
                                 .node = node_at(x, x->root)};
    }
    if (x->cache.chunks_n > 0) {
        find_cached(x, &all);
    }
    for (uint32_t level = 0; level < x->depth; level++) {
        for (unsigned i = 0; i < n; i++) {
            go(x, &x->looks.look[i], &all.s[i], level + 1 == x->depth);
        }
    }
    for (unsigned i = 0; i < n; i++) {
        guess_record(&all.s[i]);
    }
    for (unsigned i = 0; i < n; i++) {
        if (all.s[i].payload != NULL) {
            fetch_value(x, all.s[i].payload);
        }
    }
    if (x->pager.cold > 0) {
        open_pages(x, &all);
    }
}

struct store_look *store_index_expected(struct store_index *x, struct bytes key)
{
    struct store_looks *all = &x->looks;
    uint64_t digest;

    if (all->n == 0) {
        return NULL;
    }
    digest = digest_of(key);
    for (uint32_t k = 0; k < all->n; k++) {
        uint32_t i = all->next + k < all->n ? all->next + k : all->next + k - all->n;

        if (all->digest[i] == digest && bytes_equal(key_of(&all->look[i]), key)) {
            all->next = i;
            return &all->look[i];
        }
    }
    all->misses++;
    if (all->misses >= STORE_LOOKS_MAX) {
        all->n = 0;
    }
    return NULL;
}

void store_index_forget_ways(struct store_index *x, const struct store_node *node)
{
    for (uint32_t i = 0; i < x->looks.n; i++) {
        if (x->looks.look[i].parent == node) {
            x->looks.look[i].parent = NULL;
        }
    }
}
