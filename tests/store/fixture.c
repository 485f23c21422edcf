// SPDX-License-Identifier: Apache-2.0
#include "tests/store/fixture.h"

#include "common/check.h"
#include "common/limits.h"

#include <stdlib.h>
#include <sys/mman.h>

/* As the daemons' memory: large regions lie on huge pages where the kernel gives them. */
static void *zeroed(size_t bytes)
{
    const size_t huge = 2 << 20;
    size_t align = bytes >= 16 * huge ? huge : 64;
    size_t rounded = (bytes + align - 1) & ~(align - 1);
    void *p = aligned_alloc(align, rounded);

    CHECK(p != NULL);
    if (align == huge && getenv("AVOCADO_SMALL_PAGES") == NULL) {
        (void)madvise(p, rounded, MADV_HUGEPAGE);
    }
    memset(p, 0, rounded);
    return p;
}

void fixture_open(struct fixture *f, const struct fixture_options *o)
{
    struct store_config config = {.shard = o->shard};

    *f = (struct fixture){
        .region = zeroed(o->heap_bytes),
        .arena = zeroed(o->arena_bytes),
        .arena_bytes = o->arena_bytes,
        .aead = aead_open_impl(aead_best()),
    };
    CHECK(f->aead != NULL && heap_init(f->region, o->heap_bytes, &f->heap) == OK);
    f->heap_before = heap_used(f->heap);
    memset(config.master.b, o->secret, sizeof(config.master.b));
    config.heap = f->heap;
    config.aead = f->aead;
    config.arena = f->arena;
    config.arena_bytes = f->arena_bytes;
    CHECK(store_init(&config, &f->store) == OK);
    if (o->leaves != 0) { /* now it is known what an empty store takes */
        config.reserve = heap_limit(f->heap) - heap_held(f->heap) - o->leaves;
        store_fini(f->store);
        CHECK(store_init(&config, &f->store) == OK);
    }
}

bool fixture_close(struct fixture *f)
{
    bool all_back;

    store_fini(f->store);
    all_back = heap_used(f->heap) == f->heap_before;
    heap_fini(f->heap);
    aead_close_impl(f->aead);
    free(f->region);
    free(f->arena);
    return all_back;
}

void model_fini(struct model *m)
{
    for (size_t i = 0; i < m->n; i++) {
        free(m->entries[i].key);
        free(m->entries[i].value);
    }
    free(m->entries);
    *m = (struct model){0};
}

/* Number of entries below `key`. */
static size_t rank(const struct model *m, struct bytes key)
{
    size_t lo = 0;
    size_t hi = m->n;

    while (lo < hi) {
        size_t mid = (lo + hi) / 2;
        struct bytes there = {m->entries[mid].key, m->entries[mid].key_len};

        if (bytes_compare(there, key) < 0) {
            lo = mid + 1;
        } else {
            hi = mid;
        }
    }
    return lo;
}

struct model_entry *model_find(struct model *m, struct bytes key)
{
    return model_next(m, key, false) != NULL &&
                   bytes_equal((struct bytes){m->entries[rank(m, key)].key,
                                              m->entries[rank(m, key)].key_len},
                               key)
               ? &m->entries[rank(m, key)]
               : NULL;
}

struct model_entry *model_next(struct model *m, struct bytes from, bool after)
{
    size_t i = rank(m, from);

    if (after && i < m->n &&
        bytes_equal((struct bytes){m->entries[i].key, m->entries[i].key_len}, from)) {
        i++;
    }
    return i < m->n ? &m->entries[i] : NULL;
}

static uint8_t *copy_of(struct bytes b)
{
    uint8_t *p = malloc(b.n + 1);

    CHECK(p != NULL);
    if (b.n > 0) {
        memcpy(p, b.p, b.n);
    }
    return p;
}

bool model_apply(struct model *m, struct bytes key, struct tag tag, bool tombstone,
                 struct bytes value)
{
    struct model_entry *e = model_find(m, key);

    if (tag_compare(tag, e == NULL ? (struct tag){0} : e->tag) <= 0) {
        return false;
    }
    if (e == NULL) {
        size_t at = rank(m, key);

        if (m->n == m->cap) {
            m->cap = m->cap * 2 + 64;
            m->entries = realloc(m->entries, m->cap * sizeof(*m->entries));
            CHECK(m->entries != NULL);
        }
        e = &m->entries[at];
        memmove(e + 1, e, (m->n - at) * sizeof(*e));
        m->n++;
        *e = (struct model_entry){.key = copy_of(key), .key_len = (uint32_t)key.n};
    }
    free(e->value);
    e->tag = tag;
    e->tombstone = tombstone;
    e->damaged = false;
    e->value = copy_of(value);
    e->value_len = (uint32_t)value.n;
    return true;
}

bool model_remove(struct model *m, struct bytes key, struct tag tag)
{
    struct model_entry *e = model_find(m, key);

    if (e == NULL || !e->tombstone || tag_compare(e->tag, tag) != 0) {
        return false;
    }
    free(e->key);
    free(e->value);
    m->n--;
    memmove(e, e + 1, (size_t)(&m->entries[m->n] - e) * sizeof(*e));
    return true;
}

static bool same_meta(const struct model_entry *e, const struct store_entry *found)
{
    return tag_compare(e->tag, found->tag) == 0 && e->tombstone == found->tombstone &&
           e->value_len == found->value_len;
}

bool model_equals(struct model *m, struct store *s)
{
    static uint8_t value[VALUE_MAX];
    uint8_t key[KEY_MAX];
    size_t key_len = 0;
    struct store_entry found;
    struct store_stats stats;
    uint64_t keys = 0;
    uint64_t bytes = 0;

    for (size_t i = 0; i < m->n; i++) {
        const struct model_entry *e = &m->entries[i];
        struct bytes want = {e->key, e->key_len};

        if (store_next(s, (struct bytes){key, key_len}, true, (struct mbytes){key, sizeof(key)},
                       &key_len, &found) != OK ||
            !bytes_equal((struct bytes){key, key_len}, want) || !same_meta(e, &found)) {
            return false;
        }
        if (store_find(s, want, &found) != OK || !same_meta(e, &found) ||
            found.damaged != e->damaged) {
            return false;
        }
        if (store_read(s, want, (struct mbytes){value, e->value_len}, &found) !=
                (e->damaged ? ERR_INTEGRITY : OK) ||
            !same_meta(e, &found)) {
            return false;
        }
        if (!e->damaged && e->value_len > 0 && memcmp(value, e->value, e->value_len) != 0) {
            return false;
        }
        keys += !e->tombstone;
        bytes += e->value_len;
    }
    store_stats(s, &stats);
    return store_next(s, (struct bytes){key, key_len}, true, (struct mbytes){key, sizeof(key)},
                      &key_len, &found) == ERR_NOT_FOUND &&
           stats.keys == keys && stats.tombstones == m->n - keys && stats.value_bytes == bytes;
}

void draw_bytes(struct prng *p, uint8_t *to, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        to[i] = (uint8_t)prng_u64(p);
    }
}

size_t draw_key(struct prng *p, uint8_t to[static KEY_MAX])
{
    static const uint8_t letters[] = {0x00, 0x01, 'a', 'b', 0xfe, 0xff};
    static const uint8_t name[] = {'u', 's', 'e', 'r', ':', '0', '0', '0', '0', '0', '0', '0'};
    size_t n;

    switch (prng_below(p, 5)) {
    case 0: /* few letters: many neighbours that are prefixes of each other */
        n = 1 + prng_below(p, 6);
        for (size_t i = 0; i < n; i++) {
            to[i] = letters[prng_below(p, sizeof(letters))];
        }
        return n;
    case 1: /* long common prefixes, some of full length */
        n = 990 + prng_below(p, KEY_MAX - 990 + 1);
        memset(to, 'p', n);
        for (size_t i = n - 4; i < n; i++) {
            to[i] = letters[prng_below(p, sizeof(letters))];
        }
        return n;
    case 2:
        n = 1 + prng_below(p, KEY_MAX);
        draw_bytes(p, to, n);
        to[0] = (uint8_t)prng_below(p, 3);
        return n;
    case 3: /* as applications name things */
        n = sizeof(name);
        memcpy(to, name, n);
        for (size_t i = n - 4; i < n; i++) {
            to[i] = (uint8_t)('0' + prng_below(p, 10));
        }
        return n;
    default: /* zeroes or 0xff only: length decides */
        n = 1 + prng_below(p, 40);
        memset(to, prng_chance(p, 1, 2) ? 0x00 : 0xff, n);
        return n;
    }
}

uint32_t draw_len(struct prng *p, uint32_t max)
{
    uint64_t n = prng_below(p, 3) == 0 ? prng_below(p, 300) : UINT64_C(1) << prng_below(p, 25);

    n = n * (8 + prng_below(p, 8)) / 8 + prng_below(p, 3); /* borders lie at eighths */
    n = n == 0 ? 0 : n - 1;
    return n > max ? (uint32_t)prng_below(p, 300) : (uint32_t)n;
}
