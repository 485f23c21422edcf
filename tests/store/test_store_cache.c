// SPDX-License-Identifier: Apache-2.0
/* Records of hot keys whose page is outside: STORE-26. */
#include "trusted/store/store_cache.h"

#include "common/check.h"
#include "common/limits.h"
#include "tests/store/fixture.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

enum { HEAP = 8 << 20, KEYS = 40000, CHUNKS = 37 };

struct world {
    void *region;
    struct heap *heap;
    size_t before;
    struct store_cache c;
    struct store_hash hash;
};

static void open_world(struct world *w)
{
    static const uint8_t secret[SIPHASH_KEY_LEN] = {5};

    w->region = aligned_alloc(64, HEAP);
    CHECK(w->region != NULL);
    memset(w->region, 0, HEAP);
    CHECK(heap_init(w->region, HEAP, &w->heap) == OK);
    w->before = heap_used(w->heap);
    store_cache_init(&w->c, w->heap, secret);
}

static void close_world(struct world *w)
{
    store_cache_fini(&w->c);
    assert_int_equal(heap_used(w->heap), w->before);
    heap_fini(w->heap);
    free(w->region);
}

static const struct store_hash *key_of(struct world *w, const uint32_t *i)
{
    w->hash = store_cache_hash(&w->c, (struct bytes){(const uint8_t *)i, sizeof(*i)});
    return &w->hash;
}

/* Whatever comes, goes, grows and shrinks: what is found is what the key was held with last. */
static void what_is_found_is_never_old(void **state)
{
    static uint64_t held[KEYS]; /* 0: no such key */
    struct world w;
    struct prng p = {3};
    uint64_t hits = 0;

    (void)state;
    memset(held, 0, sizeof(held));
    open_world(&w);
    for (unsigned step = 0; step < 600000; step++) {
        uint32_t i = (uint32_t)prng_below(&p, prng_chance(&p, 1, 2) ? KEYS : KEYS / 20);
        const struct store_record *found;
        struct store_record r = {.ts = step + 1, .value = i};

        switch (prng_below(&p, 8)) {
        case 0: /* the key changes, wherever it lies */
            held[i] = r.ts;
            store_cache_changed(&w.c, key_of(&w, &i), &r);
            break;
        case 1:
            if (prng_chance(&p, 1, 4)) {
                held[i] = 0;
                store_cache_changed(&w.c, key_of(&w, &i), NULL);
            }
            break;
        case 2:
            if (prng_chance(&p, 1, 100) && w.c.chunks_n < CHUNKS) {
                assert_true(store_cache_grow(&w.c));
            } else if (prng_chance(&p, 1, 200) && w.c.chunks_n > 0) {
                store_cache_shrink(&w.c);
            }
            break;
        default:
            found = store_cache_get(&w.c, key_of(&w, &i));
            if (found != NULL) {
                assert_true(held[i] != 0 && found->ts == held[i] && found->value == i);
                hits++;
            } else if (held[i] != 0) { /* found in its page */
                r.ts = held[i];
                store_cache_put(&w.c, key_of(&w, &i), &r);
            }
        }
    }
    assert_true(hits > 50000);
    assert_int_equal(hits, w.c.hits);
    close_world(&w);
}

/* Keys that are used again stay while twenty times as many others come by once each. */
static void what_is_used_once_displaces_nothing(void **state)
{
    struct world w;
    struct store_record r = {.ts = 1};
    unsigned capacity, hits = 0, asked = 0;

    (void)state;
    open_world(&w);
    for (unsigned i = 0; i < 8; i++) {
        assert_true(store_cache_grow(&w.c));
    }
    capacity = (unsigned)(store_cache_bytes(&w.c) / 43);
    for (uint32_t once = 1 << 20; once < (1 << 20) + capacity * 20; once++) {
        uint32_t hot = once % (capacity / 4);

        store_cache_put(&w.c, key_of(&w, &once), &r);
        asked++;
        if (store_cache_get(&w.c, key_of(&w, &hot)) != NULL) {
            hits++;
        } else {
            store_cache_put(&w.c, key_of(&w, &hot), &r);
        }
    }
    assert_true(hits > asked * 8 / 10);
    close_world(&w);
}

/* Without memory it is empty, and nobody minds. */
static void a_cache_without_memory_finds_nothing(void **state)
{
    struct world w;
    struct store_record r = {.ts = 1};
    uint32_t k = 1;

    (void)state;
    open_world(&w);
    store_cache_put(&w.c, key_of(&w, &k), &r);
    store_cache_changed(&w.c, key_of(&w, &k), &r);
    assert_null(store_cache_get(&w.c, key_of(&w, &k)));
    while (store_cache_grow(&w.c)) {
    }
    assert_true(store_cache_bytes(&w.c) > HEAP / 2);
    store_cache_put(&w.c, key_of(&w, &k), &r);
    assert_non_null(store_cache_get(&w.c, key_of(&w, &k)));
    close_world(&w);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_is_found_is_never_old),
        cmocka_unit_test(what_is_used_once_displaces_nothing),
        cmocka_unit_test(a_cache_without_memory_finds_nothing),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
