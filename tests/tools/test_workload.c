// SPDX-License-Identifier: Apache-2.0
#include "tools/bench_workload.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

enum {
    RECORDS = 1000,
    DRAWS = 200000,
};

static void make(struct workload *w, const char *name, bool uniform)
{
    memset(w, 0, sizeof(*w));
    w->mix = workload_named(name);
    assert_non_null(w->mix);
    w->records = RECORDS;
    w->uniform = uniform;
    w->key_len = 16;
    atomic_store(&w->inserted, RECORDS);
    atomic_store(&w->next_insert, RECORDS);
    zipf_init(&w->zipf, RECORDS, 0.99);
}

static void test_mixes_add_up(void **state)
{
    (void)state;
    for (const struct workload_mix *m = workload_mixes; m->name != NULL; m++) {
        unsigned sum = 0;

        for (int op = 0; op < BENCH_OPS; op++) {
            sum += m->percent[op];
        }
        assert_int_equal(sum, 100);
    }
    assert_null(workload_named("no such workload"));
}

static void test_shares_of_operations(void **state)
{
    struct prng p = {.state = 3};
    struct workload w;
    unsigned n[BENCH_OPS] = {0};

    (void)state;
    make(&w, "mix", true);
    for (int i = 0; i < DRAWS; i++) {
        n[workload_next(&w, &p).op]++;
    }
    assert_in_range(n[BENCH_GET], DRAWS * 44 / 100, DRAWS * 46 / 100);
    assert_in_range(n[BENCH_PUT], DRAWS * 44 / 100, DRAWS * 46 / 100);
    assert_in_range(n[BENCH_DELETE], DRAWS * 9 / 100, DRAWS * 11 / 100);
}

/* Scans start where gets would, and are of 1 to 100 records. */
static void test_scans(void **state)
{
    struct prng p = {.state = 4};
    struct workload w;
    unsigned shortest = 0, longest = 0, scans = 0;
    uint64_t sum = 0;

    (void)state;
    make(&w, "e", false);
    for (int i = 0; i < DRAWS; i++) {
        struct workload_step s = workload_next(&w, &p);

        if (s.op != BENCH_SCAN) {
            assert_int_equal(s.op, BENCH_INSERT);
            continue;
        }
        assert_in_range(s.count, 1, WORKLOAD_SCAN_MAX);
        assert_true(s.record < RECORDS);
        scans++;
        sum += s.count;
        shortest += s.count == 1;
        longest += s.count == WORKLOAD_SCAN_MAX;
    }
    assert_in_range(scans, DRAWS * 94 / 100, DRAWS * 96 / 100);
    assert_in_range(sum / scans, 50, 51);
    assert_in_range(shortest, DRAWS * 8 / 1000, DRAWS * 11 / 1000);
    assert_in_range(longest, DRAWS * 8 / 1000, DRAWS * 11 / 1000);
}

/* The k-th most frequent comes 1 / (k^theta * zeta) of the time. */
static void test_zipf_follows_its_law(void **state)
{
    static unsigned n[RECORDS];
    struct prng p = {.state = 5};
    struct zipf z;

    (void)state;
    zipf_init(&z, RECORDS, 0.99);
    for (int i = 0; i < DRAWS; i++) {
        uint64_t v = zipf_draw(&z, &p);

        assert_true(v < RECORDS);
        n[v]++;
    }
    for (unsigned k = 1; k <= 2; k++) {
        double expected = DRAWS / (pow(k, 0.99) * z.zeta_n);

        assert_true(fabs(n[k - 1] - expected) < expected * 0.05);
    }
    /* The method is exact for the first two and close for the rest: the first hundred together. */
    {
        double expected = 0, found = 0;

        for (unsigned k = 1; k <= 100; k++) {
            expected += DRAWS / (pow(k, 0.99) * z.zeta_n);
            found += n[k - 1];
        }
        assert_true(fabs(found - expected) < expected * 0.05);
    }
}

static void test_uniform_touches_all_alike(void **state)
{
    static unsigned n[RECORDS];
    struct prng p = {.state = 11};
    struct workload w;

    (void)state;
    make(&w, "get", true);
    for (int i = 0; i < DRAWS; i++) {
        n[workload_next(&w, &p).record]++;
    }
    for (int i = 0; i < RECORDS; i++) {
        assert_in_range(n[i], DRAWS / RECORDS / 2, DRAWS / RECORDS * 2);
    }
}

/* Inserts number on without a gap, and gets prefer what came last, never what is not there yet. */
static void test_latest(void **state)
{
    struct prng p = {.state = 13};
    uint64_t next = RECORDS, recent = 0, gets = 0;
    struct workload w;

    (void)state;
    make(&w, "d", false);
    for (int i = 0; i < DRAWS; i++) {
        struct workload_step s = workload_next(&w, &p);

        if (s.op == BENCH_INSERT) {
            assert_int_equal(s.record, next);
            next++;
            atomic_fetch_add(&w.inserted, 1);
        } else {
            assert_true(s.record < next);
            gets++;
            recent += s.record + 100 >= next;
        }
    }
    assert_true(recent * 2 > gets);
}

static int compare(const void *a, const void *b)
{
    return memcmp(a, b, WORKLOAD_KEY_MIN);
}

static void test_keys_are_distinct_and_scattered(void **state)
{
    enum { N = 100000 };
    static char keys[N][WORKLOAD_KEY_MIN];
    unsigned ascending = 0;
    struct workload w;

    (void)state;
    make(&w, "get", true);
    w.key_len = WORKLOAD_KEY_MIN;
    for (uint64_t i = 0; i < N; i++) {
        assert_int_equal(workload_key(&w, i, keys[i]), WORKLOAD_KEY_MIN);
        ascending += i > 0 && compare(keys[i - 1], keys[i]) < 0;
    }
    assert_in_range(ascending, N * 4 / 10, N * 6 / 10);
    qsort(keys, N, sizeof(keys[0]), compare);
    for (size_t i = 1; i < N; i++) {
        assert_true(compare(keys[i - 1], keys[i]) != 0);
    }
}

static void test_same_seed_same_steps(void **state)
{
    struct prng p = {.state = 17}, q = {.state = 17};
    struct workload v, w;

    (void)state;
    make(&v, "a", false);
    make(&w, "a", false);
    for (int i = 0; i < 1000; i++) {
        struct workload_step s = workload_next(&v, &p), t = workload_next(&w, &q);

        assert_int_equal(s.op, t.op);
        assert_int_equal(s.record, t.record);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_mixes_add_up),
        cmocka_unit_test(test_shares_of_operations),
        cmocka_unit_test(test_scans),
        cmocka_unit_test(test_zipf_follows_its_law),
        cmocka_unit_test(test_uniform_touches_all_alike),
        cmocka_unit_test(test_latest),
        cmocka_unit_test(test_keys_are_distinct_and_scattered),
        cmocka_unit_test(test_same_seed_same_steps),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
