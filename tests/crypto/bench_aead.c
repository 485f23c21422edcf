// SPDX-License-Identifier: Apache-2.0
/*
 * What the data path pays for cryptography and memory, in nanoseconds. Not a test: it prints a
 * table for docs/adr/0002-aead-two-implementations.md. Each figure is the best of ROUNDS rounds of
 * about a millisecond, which on a busy machine is the one that was interrupted least.
 */
#include "common/prng.h"
#include "common/siphash.h"
#include "trusted/crypto/aead.h"
#include "trusted/crypto/kdf.h"
#include "trusted/mem/heap.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

enum { ROUNDS = 60, SIZE_MAX_BYTES = 65536, LIVE = 4096 };

struct bench {
    struct aead_key key;
    struct aead *a;
    struct heap *heap;
    uint8_t *from, *to;
    size_t n;
    uint64_t count; /* the nonce */
    void *live[LIVE];
    uint32_t sizes[LIVE];
    struct prng rng;
};

static uint64_t now_ns(void)
{
    struct timespec t;

    (void)clock_gettime(CLOCK_MONOTONIC, &t);
    return (uint64_t)t.tv_sec * 1000000000U + (uint64_t)t.tv_nsec;
}

static void run_many(void (*once)(struct bench *), struct bench *b, uint64_t times)
{
    for (uint64_t i = 0; i < times; i++) {
        once(b);
    }
}

/* ns of one call. */
static double measure(void (*once)(struct bench *), struct bench *b)
{
    uint64_t times = 1, best = UINT64_MAX;

    for (uint64_t took = 0; took < 1000000; times *= 2) {
        uint64_t start = now_ns();

        run_many(once, b, times);
        took = now_ns() - start;
    }
    for (int round = 0; round < ROUNDS; round++) {
        uint64_t start = now_ns(), took;

        run_many(once, b, times);
        took = now_ns() - start;
        best = took < best ? took : best;
    }
    return (double)best / (double)times;
}

static void next_nonce(struct bench *b, uint8_t to[static AEAD_IV_LEN])
{
    memset(to, 0, AEAD_IV_LEN);
    memcpy(to, &b->count, sizeof(b->count));
}

static void seal_once(struct bench *b)
{
    uint8_t nonce[AEAD_IV_LEN];

    b->count++;
    next_nonce(b, nonce);
    aead_seal(b->a, &b->key, nonce, (struct bytes){b->from, 16}, (struct bytes){b->from, b->n},
              b->to);
}

static void open_once(struct bench *b)
{
    uint8_t nonce[AEAD_IV_LEN];

    next_nonce(b, nonce);
    if (aead_open(b->a, &b->key, nonce, (struct bytes){b->from, 16},
                  (struct bytes){b->to, b->n + AEAD_TAG_LEN}, b->from + SIZE_MAX_BYTES) != OK) {
        abort();
    }
}

static void key_once(struct bench *b)
{
    struct secret s = {{1}};

    memcpy(s.b, &b->count, sizeof(b->count));
    b->count++;
    aead_key_init(b->a, &b->key, &s);
    b->n = 64;
    seal_once(b); /* OpenSSL expands a key when it is first used */
    aead_key_fini(b->a, &b->key);
}

static void kdf_once(struct bench *b)
{
    struct secret s = {{1}};

    kdf_secret(&s, "avocado rpc key", &s);
    b->count += s.b[0];
}

static void siphash_once(struct bench *b)
{
    b->count += siphash(b->to, (struct bytes){b->from, 24});
}

static void heap_pair_once(struct bench *b)
{
    void *p = heap_alloc(b->heap, b->n);

    if (p == NULL) {
        abort();
    }
    heap_free(b->heap, p, b->n);
}

/* One block of many live ones leaves, one of another size comes. */
static void heap_churn_once(struct bench *b)
{
    uint64_t r = prng_u64(&b->rng);
    size_t i = r % LIVE;

    heap_free(b->heap, b->live[i], b->sizes[i]);
    b->sizes[i] = 16 + (uint32_t)((r >> 32) % b->n);
    b->live[i] = heap_alloc(b->heap, b->sizes[i]);
}

static void malloc_churn_once(struct bench *b)
{
    uint64_t r = prng_u64(&b->rng);
    size_t i = r % LIVE;

    free(b->live[i]);
    b->live[i] = malloc(16 + (r >> 32) % b->n);
}

static void bench_aead(struct bench *b, enum aead_impl impl)
{
    static const size_t sizes[] = {64, 256, 1024, 4096, 65536};
    const struct secret s = {{7}};

    b->a = aead_open_impl(impl);
    if (b->a == NULL) {
        return;
    }
    for (size_t i = 0; i < sizeof(sizes) / sizeof(sizes[0]); i++) {
        double seal_ns, open_ns;

        b->n = sizes[i];
        aead_key_init(b->a, &b->key, &s);
        seal_ns = measure(seal_once, b);
        open_ns = measure(open_once, b);
        printf("%-22s %6zu B   seal %8.1f ns %6.2f GB/s   open %8.1f ns %6.2f GB/s\n",
               aead_name(b->a), b->n, seal_ns, (double)b->n / seal_ns, open_ns,
               (double)b->n / open_ns);
        aead_key_fini(b->a, &b->key);
    }
    printf("%-22s key expanded, 64 B sealed, key wiped: %.1f ns\n", aead_name(b->a),
           measure(key_once, b));
    aead_close_impl(b->a);
}

static void bench_heap(struct bench *b)
{
    static const size_t pairs[] = {16, 64, 1024, 32768, 65536};

    for (size_t i = 0; i < sizeof(pairs) / sizeof(pairs[0]); i++) {
        /* Another live block of the class, as in real use: its slab stays. */
        void *keep = heap_alloc(b->heap, pairs[i]);

        b->n = pairs[i];
        printf("heap alloc + free      %6zu B   %.1f ns\n", b->n, measure(heap_pair_once, b));
        heap_free(b->heap, keep, pairs[i]);
    }
    for (size_t n = 240; n <= 4080; n += 3840) {
        b->n = n;
        printf("heap   free + alloc, %d live of 16..%zu B   %.1f ns\n", LIVE, n + 15,
               measure(heap_churn_once, b));
        for (size_t i = 0; i < LIVE; i++) {
            heap_free(b->heap, b->live[i], b->sizes[i]);
            b->live[i] = NULL;
        }
        printf("malloc free + alloc, %d live of 16..%zu B   %.1f ns\n", LIVE, n + 15,
               measure(malloc_churn_once, b));
        for (size_t i = 0; i < LIVE; i++) {
            free(b->live[i]);
            b->live[i] = NULL;
        }
    }
}

int main(void)
{
    static struct bench b;
    const size_t region_n = (size_t)64 << 20;
    uint8_t *region = aligned_alloc(64, region_n);

    b.from = calloc(2, SIZE_MAX_BYTES);
    b.to = calloc(2, SIZE_MAX_BYTES);
    if (region == NULL || b.from == NULL || b.to == NULL ||
        heap_init(region, region_n, &b.heap) != OK) {
        return 1;
    }
    bench_aead(&b, AEAD_IPSEC_MB);
    bench_aead(&b, AEAD_OPENSSL);
    printf("kdf_secret %.1f ns   siphash of 24 B %.1f ns\n", measure(kdf_once, &b),
           measure(siphash_once, &b));
    bench_heap(&b);
    heap_fini(b.heap);
    free(region);
    free(b.from);
    free(b.to);
    return 0;
}
