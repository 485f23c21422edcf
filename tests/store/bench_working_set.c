// SPDX-License-Identifier: Apache-2.0
/* One store of so many keys in so much enclave memory: what it does in a second of processor time,
 * and what cryptography and cache misses alone would take. scripts/working-set draws the picture.
 *   bench_working_set KEYS KEY_BYTES VALUE_BYTES ENCLAVE_MIB        0 MiB: as much as they need
 * Prints one line of JSON. */
#include "common/check.h"
#include "common/limits.h"
#include "tests/store/fixture.h"
#include "tests/store/zipf.h"
#include "trusted/store/store_seal.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

enum { DRAWS = 1 << 20, ROUNDS = 3, KEY_MIN = 8, LEAF = 1024 };

static double now_s(void)
{
    struct timespec t;

    (void)clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &t);
    return (double)t.tv_sec + (double)t.tv_nsec * 1e-9;
}

/* The i-th key: bytes that look random. */
static struct bytes key_of(uint64_t i, uint32_t len, uint8_t to[static KEY_MAX])
{
    struct prng p = {i * 64};

    for (uint32_t at = 0; at < len; at += 8) {
        uint64_t word = prng_u64(&p);

        memcpy(to + at, &word, sizeof(word));
    }
    return (struct bytes){to, len};
}

struct bench {
    struct fixture f;
    uint64_t keys;
    uint32_t key_len, value_len;
    uint8_t value[VALUE_MAX];
    uint32_t drawn[DRAWS];
    struct zipf zipf;
};

static uint64_t loads(const struct store *s)
{
    struct store_stats st;

    store_stats(s, &st);
    return st.page_ins + st.page_reads;
}

/* Nanoseconds a get (or an update), best of several rounds; the making of keys is not counted. */
static double measure(struct bench *b, bool is_zipf, bool is_update, double *ret_loads)
{
    static uint64_t ts = 1;
    struct prng p = {7};
    double best = (double)INFINITY;

    for (unsigned round = 0; round < ROUNDS; round++) {
        uint8_t key[KEY_MAX];
        struct store_entry e;
        double keys_took;
        uint64_t before;
        double start;
        bool applied;

        for (uint32_t i = 0; i < DRAWS; i++) {
            b->drawn[i] = (uint32_t)(is_zipf ? zipf_draw(&b->zipf, &p) : prng_below(&p, b->keys));
        }
        start = now_s();
        for (uint32_t i = 0; i < DRAWS; i++) {
            (void)key_of(b->drawn[i], b->key_len, key);
            __asm__ volatile("" ::"r"(key) : "memory");
        }
        keys_took = now_s() - start;
        before = loads(b->f.store);
        start = now_s();
        for (uint32_t i = 0; i < DRAWS; i++) {
            struct bytes k = key_of(b->drawn[i], b->key_len, key);

            if (is_update) {
                CHECK(store_apply(b->f.store, k, (struct tag){.ts = ++ts}, false,
                                  (struct bytes){b->value, b->value_len}, &applied) == OK);
            } else {
                CHECK(store_read(b->f.store, k, (struct mbytes){b->value, sizeof(b->value)}, &e) ==
                      OK);
            }
        }
        best = fmin(best, now_s() - start - keys_took);
        *ret_loads = (double)(loads(b->f.store) - before) / DRAWS;
    }
    return best * 1e9 / DRAWS;
}

/* What authenticated encryption costs: a value opened, a page opened. */
static void measure_seal(struct bench *b, double *ret_value_ns, double *ret_page_ns)
{
    static struct store_sealer sealer;
    static uint8_t host[STORE_CHUNK + 64];
    static uint8_t page[LEAF];
    struct secret master = {{1}};
    uint8_t key[KEY_MAX];
    struct store_binding binding = {
        .tag = {.ts = 1}, .key = key_of(1, b->key_len, key), .value_len = b->value_len};
    uint32_t padded = b->value_len == 0 ? 16 : (b->value_len + 15) / 16 * 16;
    enum { N = 200000 };
    uint64_t counter;
    double start;

    CHECK(padded <= STORE_CHUNK);
    store_seal_init(&sealer, b->f.aead, 0, &master);
    store_seal_put(&sealer, &binding, (struct bytes){b->value, b->value_len}, padded, host);
    start = now_s();
    for (unsigned i = 0; i < N; i++) {
        CHECK(store_seal_get(&sealer, &binding, padded, host,
                             (struct mbytes){b->value, sizeof(b->value)}) == OK);
    }
    *ret_value_ns = (now_s() - start) * 1e9 / N;
    counter = store_seal_page(&sealer, page, LEAF, host);
    start = now_s();
    for (unsigned i = 0; i < N; i++) {
        CHECK(store_open_page(&sealer, counter, host, LEAF, page) == OK);
    }
    *ret_page_ns = (now_s() - start) * 1e9 / N;
    store_seal_fini(&sealer);
}

/* One load that depends on the one before, anywhere in so many bytes. */
static double measure_miss(uint64_t bytes)
{
    enum { LINE = 64, N = 2000000 };
    uint64_t n = bytes / LINE;
    uint8_t *memory = aligned_alloc(LINE, n * LINE);
    struct prng p = {5};
    uint64_t at = 0;
    double start;

    CHECK(memory != NULL && n > 1);
    for (uint64_t i = 0; i < n; i++) {
        memcpy(memory + i * LINE, &i, sizeof(i));
    }
    for (uint64_t i = n - 1; i > 0; i--) { /* one cycle through all lines (Sattolo) */
        uint64_t j = prng_below(&p, i);
        uint64_t x;
        uint64_t y;

        memcpy(&x, memory + i * LINE, sizeof(x));
        memcpy(&y, memory + j * LINE, sizeof(y));
        memcpy(memory + i * LINE, &y, sizeof(y));
        memcpy(memory + j * LINE, &x, sizeof(x));
    }
    start = now_s();
    for (unsigned i = 0; i < N; i++) {
        memcpy(&at, memory + at * LINE, sizeof(at));
    }
    __asm__ volatile("" ::"r"(at));
    start = now_s() - start;
    free(memory);
    return start * 1e9 / N;
}

static int larger_first(const void *a, const void *b)
{
    double x;
    double y;

    memcpy(&x, a, sizeof(x));
    memcpy(&y, b, sizeof(y));
    return x > y ? -1 : x < y;
}

/* The least that may miss when `resident` of the pages stay, keys lie on pages at random, and it is
 * known how often each key is asked for. */
static double ideal_misses(uint64_t keys, uint64_t pages, uint64_t resident, const struct zipf *z)
{
    double *weight;
    struct prng p = {3};
    double misses = 0;

    if (resident >= pages) {
        return 0;
    }
    if (z == NULL) {
        return 1 - (double)resident / (double)pages;
    }
    weight = calloc(pages, sizeof(*weight));
    CHECK(weight != NULL);
    for (uint64_t i = 1; i <= keys; i++) {
        weight[prng_below(&p, pages)] += pow((double)i, -ZIPF_THETA) / z->zeta;
    }
    qsort(weight, pages, sizeof(*weight), larger_first);
    for (uint64_t i = resident; i < pages; i++) {
        misses += weight[i];
    }
    free(weight);
    return misses;
}

static void field(const char *name, double value)
{
    printf(", \"%s\": %.4f", name, value);
}

int main(int argc, char **argv)
{
    static struct bench b;
    uint64_t mib;
    uint64_t leaves;
    struct store_stats st;
    size_t empty;
    double start;
    double insert_ns;
    double value_ns;
    double page_ns;
    double per_get;

    CHECK(argc == 5);
    b.keys = strtoull(argv[1], NULL, 10);
    b.key_len = (uint32_t)strtoul(argv[2], NULL, 10);
    b.value_len = (uint32_t)strtoul(argv[3], NULL, 10);
    mib = strtoull(argv[4], NULL, 10);
    CHECK(b.keys > 1 && b.keys <= UINT32_MAX && b.key_len >= KEY_MIN && b.key_len <= KEY_MAX &&
          b.key_len % 8 == 0 && b.value_len <= VALUE_MAX);
    b.zipf = zipf_init(b.keys);
    fixture_open(&b.f, &(struct fixture_options){
                           mib != 0 ? mib << 20 : (8 << 20) + b.keys * (b.key_len + 80),
                           (16 << 20) + b.keys * (b.value_len + b.key_len + 160U), 0, 1, 0});
    empty = heap_used(b.f.heap);
    start = now_s();
    for (uint64_t i = 0; i < b.keys; i++) {
        uint8_t key[KEY_MAX];
        bool applied;

        CHECK(store_apply(b.f.store, key_of(i, b.key_len, key), (struct tag){.ts = 1}, false,
                          (struct bytes){b.value, b.value_len}, &applied) == OK);
    }
    insert_ns = (now_s() - start) * 1e9 / (double)b.keys;
    store_stats(b.f.store, &st);
    measure_seal(&b, &value_ns, &page_ns);
    printf("{\"keys\": %llu, \"key_bytes\": %u, \"value_bytes\": %u, \"enclave_mib\": %llu, "
           "\"pages_cold\": %llu",
           (unsigned long long)b.keys, b.key_len, b.value_len, (unsigned long long)mib,
           (unsigned long long)st.pages_cold);
    field("insert_ns", insert_ns);
    field("enclave_bytes_per_key", (double)(heap_used(b.f.heap) - empty) / (double)b.keys);
    field("host_bytes_per_key", (double)st.arena_used / (double)b.keys);
    /* Leaves are three quarters full; their descriptors and the inner nodes are left out. */
    leaves = (uint64_t)((double)b.keys * (double)(b.key_len + 36) / (0.75 * LEAF)) + 1;
    uint64_t resident = st.pages_cold >= leaves ? leaves / 20 : leaves - st.pages_cold;

    field("ideal_misses_uniform", ideal_misses(b.keys, leaves, resident, NULL));
    field("ideal_misses_zipf", ideal_misses(b.keys, leaves, resident, &b.zipf));
    field("value_open_ns", value_ns);
    field("page_open_ns", page_ns);
    /* What a get goes through: the index inside, the value outside. */
    field("miss_index_ns", measure_miss(st.index_bytes + 4096));
    field("miss_value_ns", measure_miss(st.arena_used + 4096));
    field("get_uniform_ns", measure(&b, false, false, &per_get));
    field("loads_uniform", per_get);
    field("get_zipf_ns", measure(&b, true, false, &per_get));
    field("loads_zipf", per_get);
    field("update_uniform_ns", measure(&b, false, true, &per_get));
    printf("}\n");
    CHECK(fixture_close(&b.f));
    return 0;
}
