// SPDX-License-Identifier: Apache-2.0
/* Inserts, gets and updates of drawn keys: operations a second and enclave bytes a key. "x16": in
 * bursts of sixteen that store_expect was told of.
 *   bench_store [KEYS [VALUE_BYTES [ENCLAVE_MIB]]]
 * With ENCLAVE_MIB the index has that much enclave memory, else as much as it needs. */
#include "common/check.h"
#include "common/limits.h"
#include "tests/store/fixture.h"
#include "tests/store/zipf.h"

#include <stdio.h>
#include <stdlib.h>
#include <time.h>

enum { BENCH_KEY_LEN = 16, BENCH_OPS_MIN = 2000000 };

static double now_s(void)
{
    struct timespec t;

    (void)clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &t);
    return (double)t.tv_sec + (double)t.tv_nsec * 1e-9;
}

/* The i-th key: sixteen bytes that look random. */
static struct bytes key_of(uint64_t i, uint8_t to[static BENCH_KEY_LEN])
{
    struct prng p = {i * 2};
    uint64_t a = prng_u64(&p);
    uint64_t b = prng_u64(&p);

    memcpy(to, &a, sizeof(a));
    memcpy(to + sizeof(a), &b, sizeof(b));
    return (struct bytes){to, BENCH_KEY_LEN};
}

static void report(const char *what, uint64_t ops, double seconds)
{
    printf("  %-8s %10.0f ops/s %7.0f ns\n", what, (double)ops / seconds,
           seconds * 1e9 / (double)ops);
}

/* Gets of drawn keys; the draws are made ahead, so that their price is not measured. */
static void bench_gets(struct store *s, uint64_t keys, const struct zipf *z, const char *name,
                       bool in_bursts)
{
    enum { DRAWS = 1 << 20, ROUNDS = 4 };
    static uint8_t got[VALUE_MAX];
    static uint8_t drawn[DRAWS][BENCH_KEY_LEN];
    static struct prng p = {7}; /* goes on: what was drawn before is not drawn again */
    struct store_entry e;
    struct store_stats before;
    struct store_stats after;
    double best = 0;

    for (unsigned round = 0; round < ROUNDS; round++) {
        for (uint64_t i = 0; i < DRAWS; i++) {
            (void)key_of(z != NULL ? zipf_draw(z, &p) : prng_below(&p, keys), drawn[i]);
        }
        store_stats(s, &before);
        double start = now_s();

        for (uint64_t i = 0; i < DRAWS; i++) {
            if (in_bursts && i % STORE_EXPECT_MAX == 0) {
                struct bytes soon[STORE_EXPECT_MAX];

                for (unsigned k = 0; k < STORE_EXPECT_MAX; k++) {
                    soon[k] = (struct bytes){drawn[i + k], BENCH_KEY_LEN};
                }
                store_expect(s, soon, STORE_EXPECT_MAX);
            }
            CHECK(store_read(s, (struct bytes){drawn[i], BENCH_KEY_LEN},
                             (struct mbytes){got, sizeof(got)}, &e) == OK);
        }
        double took = now_s() - start;

        if (best == 0 || took < best) {
            best = took;
        }
    }
    store_stats(s, &after);
    report(name, DRAWS, best);
    printf("           loads per get: %.3f\n",
           (double)(after.page_ins - before.page_ins + after.page_reads - before.page_reads) /
               (double)DRAWS);
}

static void bench_updates(struct store *s, uint64_t keys, struct bytes value, uint64_t ts,
                          bool in_bursts)
{
    uint64_t ops = keys > BENCH_OPS_MIN ? keys : BENCH_OPS_MIN;
    struct prng p = {ts};
    uint8_t drawn[STORE_EXPECT_MAX][BENCH_KEY_LEN];
    double start = now_s();
    bool applied;

    for (uint64_t i = 0; i < ops; i += STORE_EXPECT_MAX) {
        struct bytes soon[STORE_EXPECT_MAX];

        for (unsigned k = 0; k < STORE_EXPECT_MAX; k++) {
            soon[k] = key_of(prng_below(&p, keys), drawn[k]);
        }
        if (in_bursts) {
            store_expect(s, soon, STORE_EXPECT_MAX);
        }
        for (unsigned k = 0; k < STORE_EXPECT_MAX; k++) {
            CHECK(store_apply(s, soon[k], (struct tag){.ts = ts << 40 | i, .rmwc = k}, false, value,
                              &applied) == OK);
        }
    }
    report(in_bursts ? "upd x16" : "update", ops, now_s() - start);
}

static void bench(uint64_t keys, uint32_t value_len, size_t enclave_bytes)
{
    static uint8_t value[VALUE_MAX];
    struct fixture f;
    uint8_t key[BENCH_KEY_LEN];
    uint8_t next[KEY_MAX];
    size_t next_len = 0;
    struct store_entry e;
    struct store_walk walk;
    struct store_stats stats;
    struct prng p = {99};
    uint64_t ops = keys > BENCH_OPS_MIN ? keys : BENCH_OPS_MIN;
    size_t empty;
    double start;
    bool applied;

    CHECK(keys > 0 && value_len <= VALUE_MAX);
    fixture_open(
        &f, &(struct fixture_options){enclave_bytes != 0 ? enclave_bytes : (8 << 20) + keys * 100,
                                      (4 << 20) + keys * (value_len + 128U) * 5 / 4, 0, 1, 0});
    empty = heap_used(f.heap);
    draw_bytes(&p, value, value_len);
    start = now_s();
    for (uint64_t i = 0; i < keys; i++) {
        CHECK(store_apply(f.store, key_of(i, key), (struct tag){.ts = 1, .writer = 1}, false,
                          (struct bytes){value, value_len}, &applied) == OK);
    }
    printf("%llu keys of %d bytes, values of %u bytes\n", (unsigned long long)keys, BENCH_KEY_LEN,
           value_len);
    report("insert", keys, now_s() - start);
    start = now_s();
    for (uint64_t i = 0; i < ops; i++) {
        CHECK(store_find(f.store, key_of(prng_below(&p, keys), key), &e) == OK);
    }
    report("find", ops, now_s() - start);
    bench_gets(f.store, keys, NULL, "get", false);
    bench_gets(f.store, keys, NULL, "get x16", true);
    struct zipf z = zipf_init(keys);

    bench_gets(f.store, keys, &z, "get zipf", false);
    bench_gets(f.store, keys, &z, "zipf x16", true);
    bench_updates(f.store, keys, (struct bytes){value, value_len}, 2, false);
    bench_updates(f.store, keys, (struct bytes){value, value_len}, 3, true);
    start = now_s();
    for (uint64_t i = 0; i < keys; i++) {
        CHECK(store_next(f.store, (struct bytes){next, next_len}, true,
                         (struct mbytes){next, sizeof(next)}, &next_len, &e) == OK);
    }
    report("next", keys, now_s() - start);
    start = now_s();
    store_walk_begin((struct bytes){0}, (struct bytes){0}, false, &walk);
    for (uint64_t i = 0; i < keys; i++) {
        CHECK(store_walk_next(f.store, &walk) == OK);
    }
    report("walk", keys, now_s() - start);
    store_stats(f.store, &stats);
    printf("  enclave bytes per key beyond the key: %.1f (index %.1f, rest %.2f); host bytes per "
           "value: %.1f\n",
           (double)(heap_used(f.heap) - f.heap_before) / (double)keys - BENCH_KEY_LEN,
           (double)stats.index_bytes / (double)keys - BENCH_KEY_LEN,
           (double)(heap_used(f.heap) - empty) / (double)keys -
               (double)stats.index_bytes / (double)keys,
           (double)stats.arena_used / (double)keys);
    CHECK(fixture_close(&f));
}

int main(int argc, char **argv)
{
    uint32_t value_len = argc > 2 ? (uint32_t)strtoul(argv[2], NULL, 10) : 64;
    size_t enclave_mib = argc > 3 ? (size_t)strtoul(argv[3], NULL, 10) : 0;

    if (argc > 1) {
        bench(strtoull(argv[1], NULL, 10), value_len, enclave_mib << 20);
        return 0;
    }
    bench(10000, value_len, 0);
    bench(1000000, value_len, 0);
    return 0;
}
