// SPDX-License-Identifier: Apache-2.0
/* What host memory costs in the long run: what the size classes waste, what a day of changes leaves
 * of it, and that it goes back to the host. STORE-7, STORE-9, STORE-24, STORE-25. */
#include "common/limits.h"
#include "tests/store/fixture.h"
#include "trusted/store/store_arena.h"
#include "trusted/store/store_seal.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>

#include <cmocka.h>
#include <math.h>
#include <stdio.h>

enum { HEAP_BYTES = 32 << 20, SMALL_MAX = 4 };

/* Lengths whose logarithms are uniformly distributed. */
static uint32_t log_uniform(struct prng *p, uint32_t max)
{
    double u = (double)(prng_u64(p) >> 11) * 0x1p-53;
    double n = exp2(u * log2((double)max + 1));

    return n < 1 ? 1 : n > max ? max : (uint32_t)n;
}

/* The allocator never looks at the memory that it hands out, so there need not be any. */
struct churn {
    void *region;
    struct heap *heap;
    struct store_arena arena;
    struct prng prng;
    struct item {
        uint32_t place, len;
    } * live;
    uint32_t n, max;
    uint64_t bytes; /* of values */
    uint64_t refused;
};

static void churn_open(struct churn *c, uint64_t bytes, uint32_t max)
{
    *c = (struct churn){.region = aligned_alloc(64, HEAP_BYTES),
                        .live = calloc(max, sizeof(*c->live)),
                        .max = max,
                        .prng = {max}};
    assert_non_null(c->region);
    assert_non_null(c->live);
    memset(c->region, 0, HEAP_BYTES);
    assert_int_equal(heap_init(c->region, HEAP_BYTES, &c->heap), OK);
    assert_int_equal(store_arena_init(&c->arena, c->heap, NULL, bytes), OK);
}

static void churn_close(struct churn *c)
{
    store_arena_fini(&c->arena);
    heap_fini(c->heap);
    free(c->live);
    free(c->region);
}

static uint32_t block_of(uint32_t len)
{
    return store_seal_block(store_padded(len));
}

static void put(struct churn *c, uint32_t len)
{
    uint32_t place;

    if (store_arena_take(&c->arena, store_padded(len), block_of(len), &place) != OK) {
        c->refused++;
        return;
    }
    c->live[c->n++] = (struct item){place, len};
    c->bytes += len;
}

static void drop(struct churn *c, uint32_t i)
{
    store_arena_give(&c->arena, c->live[i].place, block_of(c->live[i].len));
    c->bytes -= c->live[i].len;
    c->live[i] = c->live[--c->n];
}

static uint64_t taken(const struct churn *c)
{
    return c->arena.pages_taken * STORE_PAGE;
}

/* Of what a class takes for a value, how much is not the value? A class that is alone in its spans
 * pays for their rests, a run for the rest of its last page. */
static void classes_waste_15_percent_at_most(void **state)
{
    enum { DRAWS = 1000000 };
    struct prng p = {1};
    double waste = 0; /* of each value's place, on average */
    double with_seal = 0;
    double host_bytes = 0;
    double value_bytes = 0;

    (void)state;
    for (unsigned i = 0; i < DRAWS; i++) {
        uint32_t n = log_uniform(&p, VALUE_MAX);
        double takes = 0;
        double seal = 0;

        if (n > SMALL_MAX) { /* STORE-25 */
            uint32_t padded = store_padded(n);
            uint32_t block = store_seal_block(padded);

            seal = block - padded;
            uint32_t pages = (block + STORE_PAGE - 1) / STORE_PAGE;
            uint32_t slots = STORE_SPAN / block;

            takes = padded <= STORE_PADDED_SLOT_MAX ? (double)STORE_SPAN / slots
                                                    : (double)(pages * STORE_PAGE);
            waste += (takes - seal - n) / (takes - seal);
            with_seal += (takes - n) / takes;
        }
        host_bytes += takes;
        value_bytes += n;
    }
    print_message("waste of a value's place: %.1f %%, seals included %.1f %%; of all host bytes: "
                  "%.1f %%\n",
                  100 * waste / DRAWS, 100 * with_seal / DRAWS,
                  100 * (host_bytes - value_bytes) / host_bytes);
    assert_true(waste / DRAWS <= 0.15);
    assert_true((host_bytes - value_bytes) / host_bytes <= 0.15);
}

/* What store_tidy does, over all values. */
static void tidy(struct churn *c)
{
    if (!store_arena_is_sparse(&c->arena)) {
        return;
    }
    store_arena_drain_begin(&c->arena);
    for (uint32_t i = 0; i < c->n; i++) {
        struct item *x = &c->live[i];
        uint32_t block = block_of(x->len);
        uint32_t place;

        if (store_arena_is_draining(&c->arena, x->place) &&
            store_arena_take_tight(&c->arena, store_padded(x->len), block, &place) == OK) {
            store_arena_give(&c->arena, x->place, block);
            x->place = place;
        }
    }
    store_arena_drain_end(&c->arena);
}

/* A day, hour by hour: the sizes that are in fashion change, the number of values rises towards the
 * evening and falls at night. */
static void a_day_of_churn(void **state)
{
    static const struct {
        uint32_t values, len_max;
    } day[24] = {{20000, 1000},  {10000, 1000}, {5000, 1000},   {2000, 100000},  {2000, 100000},
                 {5000, 20000},  {20000, 4000}, {40000, 4000},  {60000, 2000},   {80000, 300},
                 {80000, 300},   {80000, 5000}, {60000, 20000}, {60000, 20000},  {80000, 2000},
                 {90000, 1000},  {90000, 1000}, {60000, 60000}, {40000, 200000}, {30000, 200000},
                 {40000, 30000}, {60000, 3000}, {40000, 2000},  {20000, 1000}};
    struct churn c;
    double worst = 0;
    double sum = 0;

    (void)state;
    churn_open(&c, UINT64_C(4) << 30, 100000);
    for (unsigned hour = 0; hour < 24; hour++) {
        for (unsigned i = 0; i < 100000; i++) {
            bool more = c.n < day[hour].values;

            if (c.n > 0 && prng_chance(&c.prng, more ? 2 : 4, 6)) {
                drop(&c, (uint32_t)prng_below(&c.prng, c.n));
            } else if (c.n < c.max) {
                put(&c, SMALL_MAX + log_uniform(&c.prng, day[hour].len_max));
            }
        }
        tidy(&c);
        uint64_t sealed = c.bytes + (uint64_t)c.n * STORE_BLOCK_EXTRA;
        double x = (double)taken(&c) / (double)c.bytes;

        /* A third more than what was sealed, and two spans for each class. */
        assert_true(taken(&c) <= sealed + sealed / 3 + 2UL * STORE_SLOT_CLASSES * STORE_SPAN);
        worst = x > worst ? x : worst;
        sum += x;
    }
    assert_true(sum / 24 <= 1.5);
    print_message("%.2f on average, %.2f at worst\n", sum / 24, worst);
    while (c.n > 0) {
        drop(&c, c.n - 1);
    }
    assert_int_equal(c.refused, 0);
    assert_int_equal(c.arena.pages_taken, 0);
    churn_close(&c);
}

static struct bytes key_of(unsigned i, char to[static 32])
{
    int n = snprintf(to, 32, "key %08u", i);

    return (struct bytes){(const uint8_t *)to, (size_t)n};
}

static enum err put_key(struct fixture *f, unsigned i, uint64_t ts, size_t len)
{
    static uint8_t value[100000];
    char key[32];
    bool applied;

    memset(value, (int)(i + ts), len);
    return store_apply(f->store, key_of(i, key), (struct tag){.ts = ts}, len == 0,
                       (struct bytes){value, len}, &applied);
}

static void expect_key(struct fixture *f, unsigned i, uint64_t ts, size_t len)
{
    static uint8_t value[100000];
    static uint8_t want[100000];
    struct store_entry e;
    char key[32];

    memset(want, (int)(i + ts), len);
    assert_int_equal(
        store_read(f->store, key_of(i, key), (struct mbytes){value, sizeof(value)}, &e), OK);
    assert_int_equal(e.value_len, len);
    assert_memory_equal(value, want, len);
}

static struct store_stats stats_of(struct fixture *f)
{
    struct store_stats s;

    store_stats(f->store, &s);
    return s;
}

/* What the host would do. */
static uint64_t trim_all(struct fixture *f)
{
    uint64_t off;
    uint64_t len;
    uint64_t sum = 0;

    while (store_trim(f->store, &off, &len)) {
        assert_true(len > 0 && off % STORE_SPAN == 0 && len % STORE_SPAN == 0);
        assert_true(off + len <= f->arena_bytes);
        memset(f->arena + off, 0xdd, len);
        sum += len;
    }
    assert_false(store_has_idle(f->store));
    return sum;
}

static void memory_goes_back_to_the_host(void **state)
{
    static const size_t lens[] = {64, 3000, 50000};
    struct fixture f;

    (void)state;
    for (size_t l = 0; l < sizeof(lens) / sizeof(lens[0]); l++) {
        unsigned n = (unsigned)((48U << 20) / (lens[l] + 32));
        struct store_stats s;

        n = n > 200000 ? 200000 : n;
        fixture_open(&f, &(struct fixture_options){64 << 20, 96 << 20, 0, 1, 0});
        assert_int_equal(stats_of(&f).arena_resident, 0); /* what was never used costs nothing */
        for (unsigned i = 0; i < n; i++) {
            assert_int_equal(put_key(&f, i, 1, lens[l]), OK);
        }
        s = stats_of(&f);
        assert_true(s.arena_resident >= s.value_bytes);
        assert_int_equal(trim_all(&f), 0); /* nothing is free */
        for (unsigned i = 0; i < n - n / 16; i++) {
            assert_int_equal(put_key(&f, i, 2, 0), OK);
        }
        assert_true(trim_all(&f) > (n - n / 16) * lens[l] / 2);
        s = stats_of(&f);
        assert_int_equal(trim_all(&f), 0);
        assert_true(s.arena_resident <= s.arena_used * (STORE_IDLE_SHARE + 1) / STORE_IDLE_SHARE +
                                            (uint64_t)(STORE_IDLE_MIN + 2) * STORE_SPAN);
        /* The rest is whole, and the memory serves again. */
        for (unsigned i = n - n / 16; i < n; i++) {
            expect_key(&f, i, 1, lens[l]);
        }
        for (unsigned i = 0; i < n; i++) {
            assert_int_equal(put_key(&f, i, 3, lens[l]), OK);
        }
        for (unsigned i = 0; i < n; i++) {
            expect_key(&f, i, 3, lens[l]);
        }
        assert_int_equal(stats_of(&f).integrity_failures, 0);
        assert_true(fixture_close(&f));
    }
}

/* STORE-27: what is left of many values, deleted at random, comes together; nothing else changes.
 * With paging, too, and while others write. */
static void scattered_values_come_together(void **state)
{
    static const size_t lens[] = {20, 64, 900, 5000};

    (void)state;
    for (unsigned round = 0; round < 2 * sizeof(lens) / sizeof(lens[0]); round++) {
        size_t len = lens[round / 2];
        bool paging = round % 2 == 1;
        unsigned n = (unsigned)((24U << 20) / (len + 32));
        struct prng p = {round};
        struct fixture f;
        struct store_stats s;
        uint64_t full;

        n = n > 100000 ? 100000 : n;
        fixture_open(&f, &(struct fixture_options){64 << 20, 96 << 20, 0, 1,
                                                   paging ? n * 8U + (128 << 10) : 0});
        for (unsigned i = 0; i < n; i++) {
            assert_int_equal(put_key(&f, i, 1, len), OK);
        }
        full = stats_of(&f).arena_used;
        for (unsigned i = 0; i < n; i++) {
            if (i % 16 != 0) {
                assert_int_equal(put_key(&f, i, 2, 0), OK);
            }
        }
        assert_true(stats_of(&f).arena_used > full / 2); /* one value is enough to hold a span */
        for (unsigned i = 0; store_tidy_is_wanted(f.store); i++) {
            unsigned k = (unsigned)prng_below(&p, n) / 16 * 16;

            assert_true(i < n);
            store_tidy(f.store);
            assert_int_equal(put_key(&f, k, 3, len), OK);
        }
        s = stats_of(&f);
        assert_true(s.values_moved > 0);
        assert_int_equal(s.pages_cold > 0, paging);
        assert_true(s.arena_used < full / 16 * 2 + (2U << 20) + s.pages_cold * 1500);
        assert_true(trim_all(&f) > full / 4);
        assert_int_equal(s.integrity_failures, 0);
        for (unsigned i = 0; i < n; i += 16) {
            struct store_entry e;
            char key[32];

            assert_int_equal(store_find(f.store, key_of(i, key), &e), OK);
            expect_key(&f, i, e.tag.ts, len);
        }
        assert_true(fixture_close(&f));
    }
}

/* The host says that it has nothing more to give: what it has is used, the rest refused. */
static void a_host_without_memory_refuses_growth_only(void **state)
{
    struct fixture f;
    unsigned n = 0;
    unsigned more = 0;
    struct store_stats s;

    (void)state;
    fixture_open(&f, &(struct fixture_options){16 << 20, 64 << 20, 0, 1, 0});
    for (; n < 2000; n++) {
        assert_int_equal(put_key(&f, n, 1, 3000), OK);
    }
    assert_int_equal(put_key(&f, n, 1, 90000), OK);
    s = stats_of(&f);
    store_may_grow(f.store, false);
    while (put_key(&f, n + 1 + more, 1, 3000) == OK) {
        more++;
    }
    assert_true(more < STORE_SPAN / 3000);
    assert_int_equal(put_key(&f, n + 1 + more, 1, 3000), ERR_HOST_MEMORY);
    assert_int_equal(put_key(&f, n + 1 + more, 1, 99000), ERR_HOST_MEMORY);
    assert_int_equal(stats_of(&f).arena_resident, s.arena_resident);
    for (unsigned i = 0; i < n; i++) { /* overwrites and deletions go on, */
        assert_int_equal(put_key(&f, i, 2, i % 2 == 0 ? 0 : 2900), OK);
    }
    assert_int_equal(put_key(&f, n, 2, 0), OK);
    assert_int_equal(put_key(&f, n, 3, 90000), OK); /* and what they free is used */
    assert_int_equal(stats_of(&f).arena_resident, s.arena_resident);
    expect_key(&f, 1, 2, 2900);
    store_may_grow(f.store, true);
    for (unsigned i = 0; i < n; i++) {
        assert_int_equal(put_key(&f, 10000 + i, 1, 3000), OK);
    }
    assert_true(fixture_close(&f));
}

/* STORE-25: from and to every kind of value. */
static void small_values_take_no_host_memory(void **state)
{
    static const size_t lens[] = {1, 2, 3, 4, 5, 4, 20, 0, 1, 40000, 3, 0, 4};
    struct fixture f;

    (void)state;
    fixture_open(&f, &(struct fixture_options){4 << 20, 4 << 20, 0, 1, 0});
    for (unsigned k = 0; k < sizeof(lens) / sizeof(lens[0]); k++) {
        uint64_t used;

        assert_int_equal(put_key(&f, 1, k + 1, lens[k]), OK);
        used = stats_of(&f).arena_used;
        assert_int_equal(used == 0, lens[k] <= SMALL_MAX);
        if (lens[k] <= SMALL_MAX) {
            memset(f.arena, 0xee, f.arena_bytes); /* nothing there can hurt it */
        }
        expect_key(&f, 1, k + 1, lens[k]);
        assert_int_equal(stats_of(&f).value_bytes, lens[k]);
    }
    assert_true(fixture_close(&f));
    /* Not even an arena is needed. */
    fixture_open(&f, &(struct fixture_options){4 << 20, 64, 0, 1, 0});
    assert_int_equal(put_key(&f, 1, 1, 4), OK);
    assert_int_equal(put_key(&f, 2, 1, 5), ERR_HOST_MEMORY);
    expect_key(&f, 1, 1, 4);
    assert_true(fixture_close(&f));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(classes_waste_15_percent_at_most),
        cmocka_unit_test(a_day_of_churn),
        cmocka_unit_test(memory_goes_back_to_the_host),
        cmocka_unit_test(scattered_values_come_together),
        cmocka_unit_test(a_host_without_memory_refuses_growth_only),
        cmocka_unit_test(small_values_take_no_host_memory),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
