// SPDX-License-Identifier: Apache-2.0
/* What each kind of enclave memory costs: gets and updates of uniformly drawn keys; processor time.
 *   bench_memory secret|huge|small [KEYS] */
#include "common/check.h"
#include "common/prng.h"
#include "trusted/store/store.h"

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

enum { BENCH_KEY_LEN = 16, VALUE_LEN = 64, OPS = 3000000, ROUNDS = 5, MEMFD_SECRET = 447 };

static double now_s(void)
{
    struct timespec t;

    (void)clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &t);
    return (double)t.tv_sec + (double)t.tv_nsec * 1e-9;
}

static struct bytes key_of(uint64_t i, uint8_t to[static BENCH_KEY_LEN])
{
    struct prng p = {i * 2};
    uint64_t words[2] = {prng_u64(&p), prng_u64(&p)};

    memcpy(to, words, BENCH_KEY_LEN);
    return (struct bytes){to, BENCH_KEY_LEN};
}

static void *map(const char *kind, size_t bytes)
{
    bool secret = strcmp(kind, "secret") == 0;
    int fd = secret ? (int)syscall(MEMFD_SECRET, O_CLOEXEC) : -1;
    void *p;

    CHECK(!secret || (fd >= 0 && ftruncate(fd, (off_t)bytes) == 0));
    p = mmap(NULL, bytes, PROT_READ | PROT_WRITE, secret ? MAP_SHARED : MAP_PRIVATE | MAP_ANONYMOUS,
             fd, 0);
    CHECK(p != MAP_FAILED);
    (void)madvise(p, bytes, strcmp(kind, "huge") == 0 ? MADV_HUGEPAGE : MADV_NOHUGEPAGE);
    return p;
}

static void measure(struct store *s, uint64_t keys, bool update)
{
    static uint64_t ts = 1;
    struct prng p = {99};
    uint8_t key[BENCH_KEY_LEN], value[VALUE_LEN] = {0};
    struct store_entry e;
    double best = 1e9;
    bool applied;

    for (int round = 0; round < ROUNDS; round++) {
        double start = now_s();

        for (uint64_t i = 0; i < OPS; i++) {
            struct bytes k = key_of(prng_below(&p, keys), key);

            if (update) {
                CHECK(store_apply(s, k, (struct tag){.ts = ++ts}, false,
                                  (struct bytes){value, VALUE_LEN}, &applied) == OK);
            } else {
                CHECK(store_read(s, k, (struct mbytes){value, VALUE_LEN}, &e) == OK);
            }
        }
        best = now_s() - start < best ? now_s() - start : best;
    }
    printf(" %s %9.0f/s", update ? "update" : "get", OPS / best);
}

int main(int argc, char **argv)
{
    uint64_t keys = argc > 2 ? strtoull(argv[2], NULL, 10) : 1000000;
    const char *kind = argc > 1 ? argv[1] : "huge";
    size_t heap_bytes = (8U << 20) + keys * 100;
    struct store_config c = {.arena_bytes = (4U << 20) + keys * 128, .aead = NULL};
    uint8_t key[BENCH_KEY_LEN];
    struct store *s;
    double start;
    bool applied;

    CHECK(keys > 0);
    heap_bytes &= ~(size_t)4095;
    c.aead = aead_open_impl(aead_best());
    c.arena = map("huge", c.arena_bytes);
    CHECK(c.aead != NULL && heap_init(map(kind, heap_bytes), heap_bytes, &c.heap) == OK);
    CHECK(store_init(&c, &s) == OK);
    start = now_s();
    for (uint64_t i = 0; i < keys; i++) {
        CHECK(store_apply(s, key_of(i, key), (struct tag){.ts = 1}, false,
                          (struct bytes){key, BENCH_KEY_LEN}, &applied) == OK);
    }
    printf("%-6s %8llu keys: insert %9.0f/s", kind, (unsigned long long)keys,
           (double)keys / (now_s() - start));
    measure(s, keys, true);
    measure(s, keys, false);
    printf("\n");
    store_fini(s);
    aead_close_impl(c.aead);
    return 0;
}
