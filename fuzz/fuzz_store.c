// SPDX-License-Identifier: Apache-2.0
/* Operations drawn from the input, compared with a sorted array, over an arena that the input also
 * overwrites, in a heap that others fill up and a host that takes memory back. Whatever the host
 * does: metadata is right, or LOST for good when its page of the index was in host memory, and a
 * value is right or INTEGRITY. */
#include "common/check.h"
#include "common/codec.h"
#include "common/limits.h"
#include "trusted/store/store.h"

#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

enum {
    HEAP_BYTES = 1 << 20,
    ARENA_BYTES = 2 << 20, /* small: it fills up */
    ENTRIES_MAX = 512,
    FUZZ_VALUE_MAX = 40000, /* several chunks */
    LEAVES = 32 << 10,      /* bytes of the index that stay inside, when pages are put out */
    FILLERS = 8,
    FILLER_STEP = 3000,
};

struct entry {
    uint16_t key_len;
    bool tombstone;
    bool damaged, lost;
    uint8_t fill; /* a value is this byte, repeated, its first byte counted up */
    uint32_t value_len;
    struct tag tag;
    uint8_t key[KEY_MAX];
};

static struct entry entries[ENTRIES_MAX];
static uint32_t order[ENTRIES_MAX]; /* entries by key */
static uint32_t entries_n;
static bool attacked;          /* before that nothing may be lost */
static void *fillers[FILLERS]; /* other users of the heap */
static size_t filler_bytes[FILLERS];
static uint8_t value[FUZZ_VALUE_MAX];
static uint8_t got[FUZZ_VALUE_MAX];
static _Alignas(64) uint8_t region[HEAP_BYTES];
static _Alignas(64) uint8_t arena[ARENA_BYTES];

static struct bytes key_of(const struct entry *e)
{
    return (struct bytes){e->key, e->key_len};
}

static uint32_t rank(struct bytes key)
{
    uint32_t i = 0;

    while (i < entries_n && bytes_compare(key_of(&entries[order[i]]), key) < 0) {
        i++;
    }
    return i;
}

static struct entry *find(struct bytes key)
{
    uint32_t i = rank(key);

    return i < entries_n && bytes_equal(key_of(&entries[order[i]]), key) ? &entries[order[i]]
                                                                         : NULL;
}

static struct bytes make_value(uint8_t fill, uint32_t len)
{
    memset(value, fill, len);
    if (len > 0) {
        value[0]++;
    }
    return (struct bytes){value, len};
}

/* A key from few input bytes: repeated, so that long ones with common prefixes are cheap to find.
 */
static struct bytes draw_key(struct reader *r, uint8_t to[static KEY_MAX])
{
    size_t len = 1 + get_u8(r) % 8;
    size_t repeat = get_u8(r);
    struct bytes part = get_bytes(r, len);
    size_t n = 0;

    if (part.n == 0) {
        to[n++] = 0;
    }
    for (size_t i = 0; i < (repeat > 64 ? repeat * 4 : 0) && n + part.n < KEY_MAX; i++) {
        to[n++] = part.n > 0 ? part.p[0] : 0;
    }
    if (part.n > 0) {
        memcpy(to + n, part.p, part.n);
        n += part.n;
    }
    return (struct bytes){to, n};
}

static bool same(const struct entry *e, const struct store_entry *found)
{
    return tag_compare(e->tag, found->tag) == 0 && e->tombstone == found->tombstone &&
           e->value_len == found->value_len;
}

/* True: the key is lost, now and from now on. */
static bool is_lost(struct entry *e, enum err err)
{
    CHECK(err != ERR_LOST || attacked);
    CHECK(e == NULL || !e->lost || err == ERR_LOST);
    if (e != NULL) {
        e->lost = err == ERR_LOST;
    }
    return err == ERR_LOST;
}

/* Where pages lie may change though the operation fails, what is held may not. */
static void check_unchanged(const struct store_stats *a, const struct store_stats *b)
{
    CHECK(a->keys == b->keys && a->tombstones == b->tombstones);
    CHECK(a->value_bytes == b->value_bytes && a->damaged == b->damaged);
    if (a->page_ins == b->page_ins && a->page_outs == b->page_outs &&
        a->pages_cold == b->pages_cold) {
        CHECK(a->arena_used == b->arena_used && a->index_bytes == b->index_bytes);
    }
}

static void do_apply(struct store *s, struct reader *r, struct bytes key)
{
    struct entry *e = find(key);
    struct tag tag = {.ts = get_u8(r), .writer = get_u8(r)};
    uint8_t fill = get_u8(r);
    bool tombstone = fill % 8 == 7;
    uint32_t raw = get_u16(r);
    uint32_t len = tombstone ? 0 : raw >= 0xf000 ? raw % 8 : raw % FUZZ_VALUE_MAX;
    struct store_stats before;
    struct store_stats after;
    bool applied = false;
    enum err err;

    if (e == NULL && entries_n == ENTRIES_MAX) {
        return;
    }
    store_stats(s, &before);
    err = store_apply(s, key, tag, tombstone, make_value(fill, len), &applied);
    if (is_lost(e, err)) {
        return;
    }
    if (err != OK) {
        store_stats(s, &after);
        CHECK(err == ERR_HOST_MEMORY || err == ERR_ENCLAVE_MEMORY);
        check_unchanged(&before, &after);
        return;
    }
    CHECK(applied == (tag_compare(tag, e == NULL ? (struct tag){0} : e->tag) > 0));
    if (!applied) {
        return;
    }
    if (e == NULL) {
        uint32_t at = rank(key);

        memmove(&order[at + 1], &order[at], (entries_n - at) * sizeof(order[0]));
        order[at] = entries_n;
        e = &entries[entries_n++];
        e->key_len = (uint16_t)key.n;
        memcpy(e->key, key.p, key.n);
    }
    e->tag = tag;
    e->tombstone = tombstone;
    e->fill = fill;
    e->value_len = len;
    e->damaged = e->lost = false;
}

static void do_read(struct store *s, struct bytes key)
{
    struct entry *e = find(key);
    struct store_entry found;
    enum err err = store_read(s, key, (struct mbytes){got, sizeof(got)}, &found);

    if (is_lost(e, err)) {
        return;
    }
    if (e == NULL) {
        CHECK(err == ERR_NOT_FOUND);
        return;
    }
    CHECK(same(e, &found));
    if (err == OK) {
        struct bytes want = make_value(e->fill, e->value_len);

        CHECK(!e->damaged && (want.n == 0 || memcmp(got, want.p, want.n) == 0));
    } else {
        CHECK(err == ERR_INTEGRITY && found.damaged && e->value_len > 0);
        e->damaged = true;
        for (uint32_t i = 0; i < e->value_len; i++) {
            CHECK(got[i] == 0);
        }
    }
}

static void do_repair(struct store *s, struct bytes key)
{
    struct entry *e = find(key);
    enum err err = e == NULL ? store_repair(s, key, (struct tag){.ts = 1}, (struct bytes){0})
                             : store_repair(s, key, e->tag, make_value(e->fill, e->value_len));

    if (is_lost(e, err)) {
        return;
    }
    CHECK(err == (e == NULL ? ERR_MISMATCH : OK));
    if (e != NULL) {
        e->damaged = false;
    }
}

/* Goes only when it is a tombstone and the tag is the right one. */
static void do_remove(struct store *s, struct reader *r, struct bytes key)
{
    struct entry *e = find(key);
    bool wrong = get_u8(r) % 8 == 0;
    struct tag tag = {.ts = (e == NULL ? 1 : e->tag.ts) + wrong,
                      .writer = e == NULL ? 0 : e->tag.writer};
    bool removed;
    enum err err = store_remove(s, key, tag, &removed);

    if (is_lost(e, err)) {
        CHECK(!removed);
        return;
    }
    CHECK(err == OK);
    CHECK(removed == (e != NULL && e->tombstone && !wrong));
    if (removed) {
        uint32_t at = rank(key);
        uint32_t last = --entries_n;

        memmove(&order[at], &order[at + 1], (last - at) * sizeof(order[0]));
        if (e != &entries[last]) {
            order[rank(key_of(&entries[last]))] = (uint32_t)(e - entries);
            *e = entries[last];
        }
    }
}

/* What a host can do: write over the arena, or copy one part of it to another. */
static void do_attack(struct reader *r)
{
    uint32_t at = get_u32(r) % ARENA_BYTES;
    uint32_t from = get_u32(r) % ARENA_BYTES;
    uint32_t n = get_u16(r);
    uint32_t room = ARENA_BYTES - (at > from ? at : from);

    attacked = true;
    if (n < 256) {
        arena[at] ^= (uint8_t)n;
    } else {
        memmove(arena + at, arena + from, n < room ? n : room);
    }
}

/* Whoever else uses the heap: takes or gives back, so that it ends anywhere. */
static void do_fill(struct heap *heap, struct reader *r)
{
    unsigned i = get_u8(r) % FILLERS;

    heap_free(heap, fillers[i], filler_bytes[i]);
    filler_bytes[i] = (size_t)get_u8(r) * FILLER_STEP;
    fillers[i] = filler_bytes[i] == 0 ? NULL : heap_alloc(heap, filler_bytes[i]);
    if (fillers[i] == NULL) {
        filler_bytes[i] = 0;
    }
}

/* The host takes back what is offered to it, or has nothing more to give. STORE-24. */
static void do_trim(struct store *s, struct reader *r)
{
    uint64_t off;
    uint64_t len;

    uint8_t draw = get_u8(r);

    store_may_grow(s, draw % 2 == 0);
    for (unsigned i = 0; i < draw / 32U; i++) {
        store_tidy(s);
    }
    while (store_trim(s, &off, &len)) {
        CHECK(len > 0 && off <= ARENA_BYTES && len <= ARENA_BYTES - off);
        memset(arena + off, 0xdd, len);
    }
}

/* Announced lookups change nothing, whether they come or not. */
static void do_expect(struct store *s, struct reader *r)
{
    static uint8_t keys[STORE_EXPECT_MAX][KEY_MAX];
    struct bytes soon[STORE_EXPECT_MAX];
    size_t n = get_u8(r) % (STORE_EXPECT_MAX + 1U);

    for (size_t i = 0; i < n; i++) {
        uint8_t draw = get_u8(r);

        soon[i] = draw % 4 == 0 || entries_n == 0 ? draw_key(r, keys[i])
                                                  : key_of(&entries[order[draw % entries_n]]);
    }
    store_expect(s, soon, n);
}

/* All keys in order, up to one that is lost. */
static void do_next(struct store *s)
{
    uint8_t key[KEY_MAX];
    size_t key_len = 0;
    struct store_entry found;

    for (uint32_t i = 0; i <= entries_n; i++) {
        enum err err = store_next(s, (struct bytes){key, key_len}, i > 0,
                                  (struct mbytes){key, sizeof(key)}, &key_len, &found);

        if (is_lost(NULL, err)) {
            return;
        }
        CHECK(err == (i < entries_n ? OK : ERR_NOT_FOUND));
        if (i < entries_n) {
            const struct entry *e = &entries[order[i]];

            CHECK(!e->lost && same(e, &found));
            CHECK(bytes_equal((struct bytes){key, key_len}, key_of(e)));
        }
    }
}

static void do_scan(struct store *s)
{
    struct store_walk walk;

    do_next(s);
    store_walk_begin((struct bytes){0}, (struct bytes){0}, true, &walk);
    for (uint32_t i = entries_n;; i--) {
        enum err err = store_walk_next(s, &walk);
        const struct entry *e = i == 0 ? NULL : &entries[order[i - 1]];

        if (is_lost(NULL, err)) {
            return;
        }
        CHECK(err == (e == NULL ? ERR_NOT_FOUND : OK));
        if (e == NULL) {
            return;
        }
        CHECK(!e->lost && same(e, &walk.entry) && bytes_equal(walk.key, key_of(e)));
    }
}

static void do_all(struct store *s, struct heap *heap, struct reader *r)
{
    while (r->rest.n > 0 && !r->failed) {
        uint8_t key[KEY_MAX];
        uint8_t op = get_u8(r);
        struct bytes k = {key, 0};

        if (op >= 208 && op < 224) {
            if (op == 223) {
                do_expect(s, r);
            } else if (op % 2 == 0) {
                do_fill(heap, r);
            } else {
                do_trim(s, r);
            }
            continue;
        }
        if (op % 8 < 6 || op >= 224) {
            k = draw_key(r, key);
        }
        if (op >= 224) {
            do_remove(s, r, k);
            continue;
        }
        switch (op % 8) {
        case 0:
        case 1:
        case 2:
            do_apply(s, r, k);
            break;
        case 3:
        case 4:
            do_read(s, k);
            break;
        case 5:
            do_repair(s, k);
            break;
        case 6:
            do_attack(r);
            break;
        default:
            do_scan(s);
            break;
        }
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static struct aead *aead;
    struct reader r = {.rest = {data, size}};
    struct store_config c = {.shard = 1, .arena = arena, .arena_bytes = ARENA_BYTES};
    struct store *s;
    size_t used;

    if (aead == NULL) {
        aead = aead_open_impl(aead_best());
        CHECK(aead != NULL);
    }
    memset(region, 0, sizeof(region));
    memset(arena, 0, sizeof(arena));
    entries_n = 0;
    attacked = false;
    c.aead = aead;
    CHECK(heap_init(region, sizeof(region), &c.heap) == OK);
    used = heap_used(c.heap);
    CHECK(store_init(&c, &s) == OK);
    if (size > 0 && data[size - 1] % 2 == 1) {
        c.reserve = heap_limit(c.heap) - heap_held(c.heap) - LEAVES;
        store_fini(s);
        CHECK(store_init(&c, &s) == OK);
    }
    do_all(s, c.heap, &r);
    do_scan(s);
    for (uint32_t i = 0; i < entries_n; i++) {
        do_read(s, key_of(&entries[i]));
    }
    for (unsigned i = 0; i < FILLERS; i++) {
        heap_free(c.heap, fillers[i], filler_bytes[i]);
        fillers[i] = NULL;
        filler_bytes[i] = 0;
    }
    store_fini(s);
    CHECK(heap_used(c.heap) == used);
    heap_fini(c.heap);
    return 0;
}
