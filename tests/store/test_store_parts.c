// SPDX-License-Identifier: Apache-2.0
/* Parts of one store (STORE-21): each is a store of its own to whoever looks at it. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "tests/store/fixture.h"

enum { PARTS = 3, VALUE = 200 };

static const uint8_t numbers[PARTS] = {0, 1, STORE_PART_MAX};

struct world {
    struct fixture f;
    struct store *parts[PARTS];
    struct model models[PARTS];
    struct prng p;
};

static void open_world(struct world *w, uint64_t seed, size_t leaves)
{
    *w = (struct world){.p = {.state = seed}};
    fixture_open(&w->f, &(struct fixture_options){.heap_bytes = 8 << 20,
                                                  .arena_bytes = 8 << 20,
                                                  .secret = (uint8_t)seed,
                                                  .leaves = leaves});
    for (int i = 0; i < PARTS; i++) {
        assert_int_equal(store_open_part(w->f.store, numbers[i], &w->parts[i]), OK);
    }
}

static void close_world(struct world *w)
{
    for (int i = 0; i < PARTS; i++) {
        store_fini(w->parts[i]);
        model_fini(&w->models[i]);
    }
    assert_true(fixture_close(&w->f));
}

static void apply_one(struct world *w, int part)
{
    uint8_t key[KEY_MAX], value[VALUE];
    bool tombstone = prng_chance(&w->p, 1, 8), applied;
    struct bytes k = {key, draw_key(&w->p, key)};
    struct bytes v = {value, tombstone ? 0 : (size_t)prng_below(&w->p, VALUE)};
    struct tag tag = {.ts = 1 + prng_below(&w->p, 9), .writer = 1};

    draw_bytes(&w->p, value, sizeof(value));
    store_expect(w->parts[part], &k, 1);
    assert_int_equal(store_apply(w->parts[part], k, tag, tombstone, v, &applied), OK);
    assert_int_equal(applied, model_apply(&w->models[part], k, tag, tombstone, v));
}

/* The last key of a walk downwards; its number of keys. */
static size_t walk_down(struct store *s)
{
    struct store_walk w;
    size_t n = 0;

    store_walk_begin((struct bytes){0}, (struct bytes){0}, true, &w);
    while (store_walk_next(s, &w) == OK) {
        n++;
    }
    return n;
}

static void check_all(struct world *w)
{
    for (int i = 0; i < PARTS; i++) {
        assert_true(model_equals(&w->models[i], w->parts[i]));
        assert_int_equal(walk_down(w->parts[i]), w->models[i].n);
    }
}

/* The same keys in all parts, with values of their own; resident and mostly cold. */
static void test_parts_do_not_see_each_other(void **state)
{
    static const size_t leaves[] = {0, 512 << 10};
    struct store_stats stats;

    (void)state;
    for (size_t run = 0; run < 2; run++) {
        struct world w;

        open_world(&w, 7 + run, leaves[run]);
        for (int i = 0; i < 6000; i++) {
            apply_one(&w, (int)prng_below(&w.p, PARTS));
        }
        check_all(&w);
        store_stats(w.f.store, &stats);
        assert_true(stats.pages_lost == 0 && (stats.pages_cold > 0) == (run == 1));
        close_world(&w);
    }
}

static void test_shed_gives_back_what_a_part_took(void **state)
{
    struct store_stats before, after;
    struct world w;
    int steps = 0;

    (void)state;
    open_world(&w, 3, 0);
    for (int i = 0; i < 1000; i++) {
        apply_one(&w, i % 2 * 2); /* 0 and 2 */
    }
    store_stats(w.f.store, &before);
    for (int i = 0; i < 3000; i++) {
        apply_one(&w, 1);
    }
    while (!store_shed(w.parts[1], 64)) {
        steps++;
    }
    assert_in_range(steps, 5, 3000 / 64); /* in pieces */
    model_fini(&w.models[1]);
    w.models[1] = (struct model){0};
    check_all(&w);
    store_stats(w.f.store, &after);
    assert_in_range(after.arena_used, 0, before.arena_used + (2 * 57 << 16)); /* a span a class */
    assert_in_range(after.index_bytes, 0, 2 * before.index_bytes);
    for (int i = 0; i < 500; i++) { /* and it can be filled again */
        apply_one(&w, 1);
    }
    check_all(&w);
    close_world(&w);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_parts_do_not_see_each_other),
        cmocka_unit_test(test_shed_gives_back_what_a_part_took),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
