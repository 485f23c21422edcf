// SPDX-License-Identifier: Apache-2.0
/* Inserts, gets and updates of uniformly drawn keys: operations a second and enclave bytes a key.
 *   bench_store [KEYS [VALUE_BYTES]] */
#include "common/check.h"
#include "common/limits.h"
#include "tests/store/fixture.h"

#include <stdio.h>
#include <stdlib.h>
#include <time.h>

enum { BENCH_KEY_LEN = 16, BENCH_OPS_MIN = 2000000 };

static double now_s(void)
{
    struct timespec t;

    (void)clock_gettime(CLOCK_MONOTONIC, &t);
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

static void bench(uint64_t keys, uint32_t value_len)
{
    static uint8_t value[VALUE_MAX];
    static uint8_t got[VALUE_MAX];
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
    fixture_open(&f, &(struct fixture_options){(8 << 20) + keys * 100,
                                               (4 << 20) + keys * (value_len + 64U) * 5 / 4, 0, 1});
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
    start = now_s();
    for (uint64_t i = 0; i < ops; i++) {
        CHECK(store_read(f.store, key_of(prng_below(&p, keys), key),
                         (struct mbytes){got, sizeof(got)}, &e) == OK);
    }
    report("get", ops, now_s() - start);
    start = now_s();
    for (uint64_t i = 0; i < ops; i++) {
        CHECK(store_apply(f.store, key_of(prng_below(&p, keys), key), (struct tag){.ts = i + 2},
                          false, (struct bytes){value, value_len}, &applied) == OK);
    }
    report("update", ops, now_s() - start);
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

    if (argc > 1) {
        bench(strtoull(argv[1], NULL, 10), value_len);
        return 0;
    }
    bench(10000, value_len);
    bench(1000000, value_len);
    return 0;
}
