// SPDX-License-Identifier: Apache-2.0
/* The allocator of host memory: places never overlap, classes waste little, memory moves between
 * classes. STORE-7, STORE-9. */
#include "common/limits.h"
#include "tests/store/fixture.h"
#include "trusted/store/store_arena.h"
#include "trusted/store/store_seal.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>

#include <cmocka.h>

enum { HEAP_BYTES = 4 << 20, LIVE_MAX = 4096 };

struct place {
    uint32_t at;
    uint32_t padded;
};

struct arena_fixture {
    void *region;
    struct heap *heap;
    size_t heap_before;
    struct store_arena arena;
    uint8_t *shadow; /* one byte per unit: taken */
    size_t units;
};

/* The allocator never looks at the memory that it hands out, so there need not be any. */
static void open_arena(struct arena_fixture *f, uint64_t bytes)
{
    f->region = aligned_alloc(64, HEAP_BYTES);
    f->units = bytes / STORE_UNIT;
    f->shadow = calloc(f->units + 1, 1);
    assert_non_null(f->region);
    assert_non_null(f->shadow);
    memset(f->region, 0, HEAP_BYTES);
    assert_int_equal(heap_init(f->region, HEAP_BYTES, &f->heap), OK);
    f->heap_before = heap_used(f->heap);
    assert_int_equal(store_arena_init(&f->arena, f->heap, NULL, bytes), OK);
}

static void close_arena(struct arena_fixture *f)
{
    store_arena_fini(&f->arena);
    assert_int_equal(heap_used(f->heap), f->heap_before);
    heap_fini(f->heap);
    free(f->region);
    free(f->shadow);
}

static void mark(struct arena_fixture *f, uint32_t at, uint32_t block, uint8_t was)
{
    assert_true(at + (size_t)block / STORE_UNIT <= f->units);
    for (uint32_t i = 0; i < block / STORE_UNIT; i++) {
        assert_int_equal(f->shadow[at + i], was);
        f->shadow[at + i] = !was;
    }
}

static enum err take(struct arena_fixture *f, uint32_t padded, struct place *ret)
{
    enum err err = store_arena_take(&f->arena, padded, store_seal_block(padded), &ret->at);

    if (err == OK) {
        ret->padded = padded;
        mark(f, ret->at, store_seal_block(padded), 0);
    }
    return err;
}

static void give(struct arena_fixture *f, struct place p)
{
    mark(f, p.at, store_seal_block(p.padded), 1);
    store_arena_give(&f->arena, p.at, store_seal_block(p.padded));
}

static void padding_is_an_eighth_at_most(void **state)
{
    uint32_t last = 0;
    unsigned classes = 0;

    (void)state;
    assert_int_equal(store_padded(0), 0);
    assert_int_equal(store_seal_block(0), 0);
    for (uint32_t n = 1; n <= VALUE_MAX; n++) {
        uint32_t padded = store_padded(n);

        assert_true(padded >= n && padded >= last && padded % 16 == 0);
        assert_true(n <= 256 ? padded < n + 16 : padded - n <= n / 8);
        classes += padded != last;
        last = padded;
    }
    assert_int_equal(last, VALUE_MAX);
    assert_int_equal(classes, 16 + 16 * 8);
}

static void places_never_overlap(void **state)
{
    static struct place live[LIVE_MAX];
    struct arena_fixture f;

    (void)state;
    for (uint64_t seed = 1; seed <= 3; seed++) {
        struct prng p = {seed};
        uint32_t n = 0;
        unsigned full = 0;

        open_arena(&f, (16 << 20) - 3 * STORE_PAGE - 5); /* the last span is partial */
        for (unsigned i = 0; i < 60000; i++) {
            bool fill = i / 6000 % 2 == 0; /* grows and shrinks in turn */

            if (n > 0 && (n == LIVE_MAX || prng_chance(&p, fill ? 1 : 3, 4))) {
                uint32_t at = (uint32_t)prng_below(&p, n);

                give(&f, live[at]);
                live[at] = live[--n];
            } else {
                uint32_t len = draw_len(&p, seed == 3 ? 4000 : 400000);

                if (len == 0) {
                    continue;
                }
                if (take(&f, store_padded(len), &live[n]) == OK) {
                    n++;
                } else {
                    full++;
                }
            }
        }
        assert_true(seed == 3 || full > 0);
        while (n > 0) {
            give(&f, live[--n]);
        }
        assert_int_equal(f.arena.pages_taken, 0);
        close_arena(&f);
    }
}

static uint64_t fill_with(struct arena_fixture *f, uint32_t padded, struct place *live,
                          uint32_t *ret_n)
{
    uint32_t n = 0;

    while (n < LIVE_MAX && take(f, padded, &live[n]) == OK) {
        n++;
    }
    *ret_n = n;
    return (uint64_t)n * padded;
}

/* Every class can have the whole arena, one after the other, and wastes an eighth of it at most. */
static void memory_moves_between_classes(void **state)
{
    static struct place live[LIVE_MAX];
    struct arena_fixture f;
    uint32_t n;

    (void)state;
    open_arena(&f, 2 << 20);
    for (uint32_t len = 1024; len <= UINT32_C(1) << 17; len = store_padded(len + 1)) {
        uint64_t held = fill_with(&f, len, live, &n);

        assert_true(held >= (UINT64_C(2) << 20) * (len <= 20000 ? 85 : 80) / 100);
        while (n > 0) {
            give(&f, live[--n]);
        }
        assert_int_equal(f.arena.pages_taken, 0);
    }
    close_arena(&f);
}

static void a_value_may_take_the_whole_arena(void **state)
{
    struct arena_fixture f;
    struct place p;
    struct place q;

    (void)state;
    open_arena(&f, VALUE_MAX + 2 * STORE_SPAN);
    assert_int_equal(take(&f, VALUE_MAX, &p), OK);
    assert_int_equal(take(&f, VALUE_MAX, &q), ERR_HOST_MEMORY);
    assert_int_equal(take(&f, 16, &q), OK);
    give(&f, p);
    assert_int_equal(take(&f, VALUE_MAX, &p), OK);
    give(&f, q);
    give(&f, p);
    close_arena(&f);
}

static void reuse(struct arena_fixture *f, struct place *p, uint32_t padded)
{
    uint32_t was = store_seal_block(p->padded);

    assert_true(store_arena_reuse(&f->arena, p->at, was, store_seal_block(padded)));
    mark(f, p->at, was, 1);
    p->padded = padded;
    mark(f, p->at, store_seal_block(padded), 0);
}

static void reuse_shrinks_in_place(void **state)
{
    struct arena_fixture f;
    struct place run;
    struct place other;
    uint32_t big = 64 << 10;

    (void)state;
    open_arena(&f, (uint64_t)2 * STORE_SPAN); /* the run is longer than a span: no second one */
    assert_int_equal(take(&f, big, &run), OK);
    assert_int_equal(take(&f, big, &other), ERR_HOST_MEMORY);
    assert_false(store_arena_reuse(&f.arena, run.at, store_seal_block(big),
                                   store_seal_block(store_padded(big + STORE_PAGE))));
    /* To runs of fewer pages, one and many, and to what would otherwise be a slot. */
    reuse(&f, &run, 10240);
    assert_int_equal(f.arena.pages_taken, 11);
    reuse(&f, &run, 9216);
    assert_int_equal(f.arena.pages_taken, 10);
    reuse(&f, &run, 64);
    assert_int_equal(f.arena.pages_taken, 1);
    assert_int_equal(take(&f, big, &other), OK); /* the tail came back */
    give(&f, other);
    give(&f, run);
    assert_int_equal(f.arena.pages_taken, 0);

    /* A slot holds any smaller block; it is still one slot when it is given back. */
    assert_int_equal(take(&f, 8192, &run), OK);
    reuse(&f, &run, 16);
    give(&f, run);
    assert_int_equal(f.arena.pages_taken, 0);
    close_arena(&f);
}

static void an_arena_of_nothing_refuses(void **state)
{
    struct arena_fixture f;
    struct place p;

    (void)state;
    open_arena(&f, STORE_PAGE - 1);
    assert_int_equal(take(&f, 16, &p), ERR_HOST_MEMORY);
    assert_int_equal(take(&f, 16384, &p), ERR_HOST_MEMORY);
    close_arena(&f);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(padding_is_an_eighth_at_most),
        cmocka_unit_test(places_never_overlap),
        cmocka_unit_test(memory_moves_between_classes),
        cmocka_unit_test(a_value_may_take_the_whole_arena),
        cmocka_unit_test(reuse_shrinks_in_place),
        cmocka_unit_test(an_arena_of_nothing_refuses),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
