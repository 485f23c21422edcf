// SPDX-License-Identifier: Apache-2.0
/* Blocks that their owner can give up: apart from all others, and to be found. */
#include "common/prng.h"
#include "tests/mem/fixture.h"

/* Counts the blocks that a walk over the slabs of n bytes (0: of all) finds, and ticks them off. */
static uint32_t walk_movable(struct heap *h, size_t n, void *const *p, bool *seen, uint32_t p_n)
{
    void *found[HEAP_MOVABLE_SLAB];
    uint32_t page = 0, total = 0, count;

    while ((count = heap_movable(h, n, &page, found)) > 0) {
        for (uint32_t i = 0; i < count; i++) {
            uint32_t at = 0;

            while (at < p_n && p[at] != found[i]) {
                at++;
            }
            assert_true(at < p_n && !seen[at]);
            seen[at] = true;
        }
        total += count;
    }
    assert_int_equal(page, 0);
    return total;
}

static void test_movable_blocks_lie_apart_and_are_found(void **state)
{
    enum { N = 600 };
    struct fixture f = open_heap(4 * MIB);
    static void *p[N];
    static size_t len[N];
    bool seen[N] = {false};
    struct prng r = {3};
    uint32_t live = 0, of_size = 0;
    size_t held = heap_held(f.h);
    const size_t size = 1000;

    (void)state;
    for (uint32_t i = 0; i < N; i++) {
        len[i] = i % 3 == 0 ? size : HEAP_MOVABLE_MIN + prng_below(&r, 3000);
        p[i] = heap_alloc_movable(f.h, len[i], 0);
        assert_non_null(p[i]);
        assert_non_null(heap_alloc(f.h, len[i])); /* never among the movable ones */
    }
    assert_true(heap_held_movable(f.h) > 0 && heap_held_movable(f.h) < heap_held(f.h) - held);
    for (uint32_t i = 0; i < N; i += 2) {
        heap_free(f.h, p[i], len[i]);
        p[i] = NULL;
    }
    for (uint32_t i = 1; i < N; i += 2) {
        live++;
        of_size += heap_block_bytes(len[i]) == heap_block_bytes(size);
    }
    assert_int_equal(walk_movable(f.h, 0, p, seen, N), live);
    memset(seen, 0, sizeof(seen));
    assert_int_equal(walk_movable(f.h, size, p, seen, N), of_size);
    for (uint32_t i = 1; i < N; i += 2) {
        heap_free(f.h, p[i], len[i]);
    }
    assert_int_equal(heap_held_movable(f.h), 0);
    close_heap(&f);
}

/* What is kept for others is not taken for movable blocks, to the page. */
static void test_movable_blocks_leave_the_reserve_alone(void **state)
{
    struct fixture f = open_heap(2 * MIB);
    const size_t spare = MIB;

    (void)state;
    while (heap_alloc_movable(f.h, HEAP_MOVABLE_MAX, spare) != NULL) {
    }
    assert_true(heap_limit(f.h) - heap_held(f.h) >= spare);
    assert_true(heap_limit(f.h) - heap_held(f.h) < spare + ((size_t)64 << 10));
    assert_non_null(heap_alloc(f.h, spare / 2));
    assert_null(heap_alloc_movable(f.h, HEAP_MOVABLE_MIN, spare));
    close_heap(&f);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_movable_blocks_lie_apart_and_are_found),
        cmocka_unit_test(test_movable_blocks_leave_the_reserve_alone),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
