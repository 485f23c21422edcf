// SPDX-License-Identifier: Apache-2.0
#include "common/prng.h"
#include "tests/mem/fixture.h"
#include "trusted/mem/heap_internal.h"

#include <sys/wait.h>
#include <unistd.h>

static void test_region_too_small(void **state)
{
    uint8_t *region = aligned_alloc(64, MIB);
    struct heap *h = NULL;

    (void)state;
    assert_non_null(region);
    assert_int_equal(heap_init(region, MIB - 1, &h), ERR_ENCLAVE_MEMORY);
    assert_null(h);
    assert_int_equal(heap_init(region, MIB, &h), OK);
    assert_non_null(h);
    heap_fini(h);
    heap_fini(NULL);
    free(region);
}

static void test_blocks_are_at_most_an_eighth_larger(void **state)
{
    size_t before = 0;

    (void)state;
    for (size_t n = 1; n <= 200000; n++) {
        size_t took = heap_block_bytes(n);

        assert_true(took >= n && took >= before && took % 16 == 0);
        if (n <= 128) {
            assert_true(took - n < 16);
        } else {
            assert_true(took - n <= n / 8);
        }
        before = took;
    }
}

static void test_every_size_is_usable_and_aligned(void **state)
{
    struct fixture f = open_heap(8 * MIB);
    size_t start = heap_used(f.h);

    (void)state;
    for (size_t n = 1; n <= 70000; n += n < 2000 ? 1 : 97) {
        uint8_t *a = heap_alloc(f.h, n);
        uint8_t *b = heap_zalloc(f.h, n);

        assert_non_null(a);
        assert_non_null(b);
        assert_int_equal((uintptr_t)a % (n >= 512 ? 64 : 16), 0);
        assert_int_equal((uintptr_t)b % (n >= 512 ? 64 : 16), 0);
        assert_int_equal(heap_used(f.h), start + 2 * heap_block_bytes(n));
        for (size_t i = 0; i < n; i++) {
            assert_int_equal(b[i], 0);
        }
        memset(a, 0xa5, n);
        memset(b, 0x5a, n);
        assert_int_equal(a[n - 1], 0xa5);
        heap_free(f.h, a, n);
        heap_free(f.h, b, n);
        assert_int_equal(heap_used(f.h), start);
    }
    heap_free(f.h, NULL, 17);
    close_heap(&f);
}

/* Shadow of the heap: what is live, and the bytes it must still hold. */
struct live {
    uint8_t *p;
    size_t n;
    uint8_t fill;
};

static void check_and_free(struct heap *h, struct live *l)
{
    for (size_t i = 0; i < l->n; i++) {
        assert_int_equal(l->p[i], l->fill);
    }
    heap_free(h, l->p, l->n);
    *l = (struct live){0};
}

static void check_no_overlap(const struct live *live, size_t live_n, const struct live *one)
{
    for (size_t i = 0; i < live_n; i++) {
        if (&live[i] != one && live[i].p != NULL) {
            assert_true(one->p + one->n <= live[i].p || live[i].p + live[i].n <= one->p);
        }
    }
}

static size_t random_size(struct prng *rng)
{
    switch (prng_below(rng, 8)) {
    case 0:
        return 1 + prng_below(rng, 300000);
    case 1:
        return 1 + prng_below(rng, 33000);
    case 2:
    case 3:
        return 1 + prng_below(rng, 3000);
    default:
        return 1 + prng_below(rng, 200);
    }
}

static void test_random_use_against_a_shadow(void **state)
{
    enum { LIVE = 600, STEPS = 60000 };
    static struct live live[LIVE];

    (void)state;
    for (uint64_t seed = 1; seed <= 3; seed++) {
        struct fixture f = open_heap(3 * MIB + seed * 64);
        struct prng rng = {seed};
        size_t start = heap_used(f.h), expected = start, peak = start, refused = 0;

        for (size_t step = 0; step < STEPS; step++) {
            struct live *l = &live[prng_below(&rng, LIVE)];

            if (l->p != NULL) {
                expected -= heap_block_bytes(l->n);
                check_and_free(f.h, l);
            } else {
                struct live fresh = {.n = random_size(&rng), .fill = (uint8_t)step};

                fresh.p = heap_alloc(f.h, fresh.n);
                if (fresh.p == NULL) {
                    refused++;
                    continue;
                }
                *l = fresh;
                memset(l->p, l->fill, l->n);
                assert_true(l->p >= f.region && l->p + l->n <= f.region + f.region_n);
                if (step % 16 == 0) {
                    check_no_overlap(live, LIVE, l);
                }
                expected += heap_block_bytes(l->n);
                peak = expected > peak ? expected : peak;
            }
            assert_int_equal(heap_used(f.h), expected);
            assert_true(heap_held(f.h) >= expected && heap_held(f.h) <= heap_limit(f.h));
        }
        assert_true(refused != 0); /* the budget was reached, or nothing of it was tested */
        assert_int_equal(heap_peak(f.h), peak);
        for (size_t i = 0; i < LIVE; i++) {
            if (live[i].p != NULL) {
                check_and_free(f.h, &live[i]);
            }
        }
        assert_int_equal(heap_used(f.h), start);
        assert_int_equal(heap_held(f.h), start);
        close_heap(&f);
    }
}

/* Fills the heap with blocks of n bytes, linked through their first word; returns how many. */
static size_t fill(struct heap *h, size_t n, void **chain)
{
    size_t count = 0;

    for (void **p; (p = heap_alloc(h, n)) != NULL; count++) {
        *p = *chain;
        *chain = (void *)p;
    }
    return count;
}

static void drain(struct heap *h, size_t n, void **chain)
{
    while (*chain != NULL) {
        void **p = *chain;

        *chain = *p;
        heap_free(h, (void *)p, n);
    }
}

static void test_memory_moves_between_sizes(void **state)
{
    static const size_t sizes[] = {16,   24,    48,    64,    200,    1000,    1400,
                                   5000, 20000, 32768, 40000, 300000, 2000000, 16};
    struct fixture f = open_heap(6 * MIB);
    size_t start = heap_used(f.h);
    size_t free_bytes = heap_limit(f.h) - start;

    (void)state;
    for (size_t i = 0; i < sizeof(sizes) / sizeof(sizes[0]); i++) {
        void *chain = NULL;
        size_t count = fill(f.h, sizes[i], &chain);
        size_t got = count * heap_block_bytes(sizes[i]);

        assert_int_equal(heap_used(f.h), start + got);
        assert_true(heap_used(f.h) <= heap_limit(f.h));
        if (sizes[i] <= HEAP_SMALL_MAX) {
            assert_true(got >= free_bytes - free_bytes / 16); /* whatever was there before */
        } else {
            assert_true(got + heap_block_bytes(sizes[i]) > free_bytes);
        }
        assert_null(heap_alloc(f.h, sizes[i]));
        drain(f.h, sizes[i], &chain);
        assert_int_equal(heap_used(f.h), start);
    }
    close_heap(&f);
}

/* Blocks freed in slabs that were full are handed out again, all of them. */
static void test_holes_are_filled(void **state)
{
    static const size_t sizes[] = {16, 100, 3000};
    static void *p[200000];
    struct fixture f = open_heap(2 * MIB);

    (void)state;
    for (size_t s = 0; s < sizeof(sizes) / sizeof(sizes[0]); s++) {
        size_t n = 0, used, held;

        while ((p[n] = heap_alloc(f.h, sizes[s])) != NULL) {
            n++;
        }
        assert_in_range(n, 100, sizeof(p) / sizeof(p[0]) - 1);
        used = heap_used(f.h);
        held = heap_held(f.h);
        for (size_t i = 0; i < n; i += 2) {
            heap_free(f.h, p[i], sizes[s]);
        }
        assert_int_equal(heap_used(f.h), used - (n + 1) / 2 * heap_block_bytes(sizes[s]));
        assert_true(heap_held(f.h) <= held);
        for (size_t i = 0; i < n; i += 2) {
            p[i] = heap_alloc(f.h, sizes[s]);
            assert_non_null(p[i]);
        }
        assert_null(heap_alloc(f.h, sizes[s]));
        assert_int_equal(heap_used(f.h), used);
        for (size_t i = 0; i < n; i++) {
            heap_free(f.h, p[i], sizes[s]);
        }
    }
    close_heap(&f);
}

static void test_the_whole_region_is_one_block_again(void **state)
{
    struct fixture f = open_heap(4 * MIB);
    size_t whole = heap_limit(f.h) - heap_used(f.h);
    void *small[HEAP_CLASSES], *p;

    (void)state;
    for (uint32_t c = 0; c < HEAP_CLASSES; c++) {
        small[c] = heap_alloc(f.h, f.h->classes[c].bytes);
        assert_non_null(small[c]);
    }
    assert_null(heap_alloc(f.h, whole));
    for (uint32_t c = 0; c < HEAP_CLASSES; c++) {
        heap_free(f.h, small[c], f.h->classes[c].bytes);
    }
    p = heap_alloc(f.h, whole); /* the kept empty slabs are given up for it */
    assert_non_null(p);
    assert_int_equal(heap_used(f.h), heap_limit(f.h));
    assert_null(heap_alloc(f.h, 1));
    heap_free(f.h, p, whole);
    assert_null(heap_alloc(f.h, whole + 1));
    assert_null(heap_alloc(f.h, SIZE_MAX));
    assert_null(heap_alloc(f.h, SIZE_MAX - HEAP_PAGE));
    close_heap(&f);
}

/* Free pages that lie scattered still serve blocks that usually share a long slab. */
static void test_scattered_pages_are_used(void **state)
{
    const size_t per_page = HEAP_PAGE / 64;
    static void *p[65536], *q[1024];
    struct fixture f = open_heap(2 * MIB);
    size_t start = heap_used(f.h), n = 0, pages, kept = 0, got;

    (void)state;
    while ((p[n] = heap_alloc(f.h, 64)) != NULL) {
        n++;
    }
    pages = n / per_page;
    for (size_t i = 0; i < n; i++) { /* one block of every third page stays */
        if (i / per_page % 3 != 0 || i % per_page != 0) {
            heap_free(f.h, p[i], 64);
            p[i] = NULL;
        } else {
            kept++;
        }
    }
    assert_null(heap_alloc(f.h, (size_t)3 * HEAP_PAGE)); /* no three pages in a row */
    assert_non_null(q[0] = heap_alloc(f.h, 7000));
    heap_free(f.h, q[0], 7000);
    for (got = 0; (q[got] = heap_alloc(f.h, 2300)) != NULL; got++) {
        memset(q[got], 0x77, 2300);
    }
    assert_true(got >= pages - kept - 1); /* at least one on each free page */
    while (got-- > 0) {
        heap_free(f.h, q[got], 2300);
    }
    for (size_t i = 0; i < n; i++) {
        heap_free(f.h, p[i], 64);
    }
    assert_int_equal(heap_used(f.h), start);
    assert_int_equal(heap_held(f.h), start);
    assert_non_null(heap_alloc(f.h, heap_limit(f.h) - start));
    close_heap(&f);
}

/* A shard's life: the sizes in use drift from small to large and back. While they change, the last
 * blocks of the old sizes pin their pages, so that old and new may need room for both: at two
 * fifths of the budget nothing may be refused. Afterwards that slack must be gone. */
static void test_drifting_sizes_do_not_fragment(void **state)
{
    enum { LIVE = 60000, STEPS = 100000, PHASES = 5 };
    static const size_t largest[PHASES] = {64, 600, 9000, 200, 3000};
    static struct live live[LIVE];
    struct fixture f = open_heap(8 * MIB);
    size_t start = heap_used(f.h), room = (heap_limit(f.h) - start) / 5 * 2;
    struct prng rng = {11};
    size_t oldest = 0, newest = 0;

    (void)state;
    for (size_t step = 0; step < PHASES * (size_t)STEPS; step++) {
        size_t n = 1 + prng_below(&rng, largest[step / STEPS]);
        bool ring_full = (newest + 1) % LIVE == oldest;

        while (ring_full || heap_used(f.h) - start + heap_block_bytes(n) > room) {
            size_t victim = oldest, count = (newest + LIVE - oldest) % LIVE;

            /* Mostly the oldest goes, sometimes any: neighbours do not die together. */
            if (count != 0 && prng_chance(&rng, 1, 8)) {
                victim = (oldest + prng_below(&rng, count)) % LIVE;
            }
            heap_free(f.h, live[victim].p, live[victim].n);
            live[victim] = live[oldest];
            oldest = (oldest + 1) % LIVE;
            ring_full = false;
        }
        live[newest] = (struct live){.p = heap_alloc(f.h, n), .n = n};
        assert_non_null(live[newest].p);
        newest = (newest + 1) % LIVE;
        if (step % STEPS == STEPS - 1) {
            assert_true(heap_held(f.h) - start <= room / 3 * 4);
        }
    }
    for (; oldest != newest; oldest = (oldest + 1) % LIVE) {
        heap_free(f.h, live[oldest].p, live[oldest].n);
    }
    assert_int_equal(heap_used(f.h), start);
    assert_int_equal(heap_held(f.h), start);
    close_heap(&f);
}

/* Runs `mistake` in a child: true iff it ended in CHECK (abort) or a sanitizer's stop. */
static bool dies(void (*mistake)(struct heap *))
{
    struct fixture f = open_heap(MIB);
    int status = 0;
    pid_t child = fork();

    assert_true(child >= 0);
    if (child == 0) {
        (void)close(STDERR_FILENO);
        mistake(f.h);
        _exit(0);
    }
    assert_int_equal(waitpid(child, &status, 0), child);
    close_heap(&f);
    return !WIFEXITED(status) || WEXITSTATUS(status) != 0;
}

static void free_twice(struct heap *h)
{
    void *keep = heap_alloc(h, 100), *p = heap_alloc(h, 100), *q = heap_alloc(h, 100);

    (void)keep;
    heap_free(h, p, 100);
    heap_free(h, q, 100);
    heap_free(h, p, 100);
}

static void free_last_twice(struct heap *h)
{
    void *p = heap_alloc(h, 100);

    heap_free(h, p, 100);
    heap_free(h, p, 100);
}

static void free_large_twice(struct heap *h)
{
    void *p = heap_alloc(h, 100000);

    heap_free(h, p, 100000);
    heap_free(h, p, 100000);
}

static void free_wrong_size(struct heap *h)
{
    heap_free(h, heap_alloc(h, 100), 200);
}

static void free_wrong_large_size(struct heap *h)
{
    heap_free(h, heap_alloc(h, 100000), 40000);
}

static void free_middle(struct heap *h)
{
    uint8_t *p = heap_alloc(h, 100);

    heap_free(h, p + 16, 100);
}

static void free_never_given(struct heap *h)
{
    uint8_t *p = heap_alloc(h, 128);

    heap_free(h, p + 128, 128);
}

static void free_foreign(struct heap *h)
{
    uint8_t other[64];

    heap_free(h, other, 64);
}

static void free_inside_large(struct heap *h)
{
    uint8_t *p = heap_alloc(h, 200000);

    heap_free(h, p + HEAP_PAGE, 64);
}

static void write_after_free(struct heap *h)
{
    uint64_t *keep = heap_alloc(h, 64), *p = heap_alloc(h, 64);

    heap_free(h, p, 64);
    memset((void *)(uintptr_t)p, 0xff, 64);
    p = heap_alloc(h, 64);
    heap_free(h, p, 64);
    heap_free(h, keep, 64);
}

static void read_past_the_end(struct heap *h)
{
    const volatile uint8_t *p = heap_alloc(h, 100);

    (void)p[100];
}

static void read_after_free(struct heap *h)
{
    uint8_t *p = heap_alloc(h, 50000);
    const volatile uint8_t *stale = p + 40000;

    heap_free(h, p, 50000);
    (void)*stale;
}

static void test_sanitizer_sees_the_bounds_of_blocks(void **state)
{
    (void)state;
#ifdef HEAP_ASAN
    assert_true(dies(read_past_the_end));
    assert_true(dies(read_after_free));
#else
    assert_false(dies(read_past_the_end));
    assert_false(dies(read_after_free));
#endif
}

static void test_own_mistakes_stop_the_process(void **state)
{
    (void)state;
    assert_true(dies(free_twice));
    assert_true(dies(free_last_twice));
    assert_true(dies(free_large_twice));
    assert_true(dies(free_wrong_size));
    assert_true(dies(free_wrong_large_size));
    assert_true(dies(free_middle));
    assert_true(dies(free_never_given));
    assert_true(dies(free_foreign));
    assert_true(dies(free_inside_large));
    assert_true(dies(write_after_free));
}

/* Bytes that look like the mark of a free block do not make a free look like a second one. */
static void test_a_forged_mark_is_harmless(void **state)
{
    struct fixture f = open_heap(MIB);
    void *keep = heap_alloc(f.h, 64);
    uint64_t *p = heap_alloc(f.h, 64), *q = heap_alloc(f.h, 64);

    (void)state;
    assert_non_null(p);
    assert_non_null(q);
    heap_free(f.h, q, 64);
    p[1] = UINT64_C(0x9f6e2d51c3b80a47) ^ (uint64_t)(uintptr_t)p;
    heap_free(f.h, p, 64);
    assert_ptr_equal(heap_alloc(f.h, 64), p);
    assert_ptr_equal(heap_alloc(f.h, 64), q);
    heap_free(f.h, q, 64);
    heap_free(f.h, p, 64);
    heap_free(f.h, keep, 64);
    close_heap(&f);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_region_too_small),
        cmocka_unit_test(test_blocks_are_at_most_an_eighth_larger),
        cmocka_unit_test(test_every_size_is_usable_and_aligned),
        cmocka_unit_test(test_random_use_against_a_shadow),
        cmocka_unit_test(test_memory_moves_between_sizes),
        cmocka_unit_test(test_holes_are_filled),
        cmocka_unit_test(test_the_whole_region_is_one_block_again),
        cmocka_unit_test(test_scattered_pages_are_used),
        cmocka_unit_test(test_drifting_sizes_do_not_fragment),
        cmocka_unit_test(test_sanitizer_sees_the_bounds_of_blocks),
        cmocka_unit_test(test_own_mistakes_stop_the_process),
        cmocka_unit_test(test_a_forged_mark_is_harmless),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
