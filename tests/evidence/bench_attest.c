// SPDX-License-Identifier: Apache-2.0
/* How long one verdict takes, with all its collateral: the fastest and the middle of many runs, so
 * that a busy machine does not count.
 *   bench_attest [RUNS] */
#include "common/check.h"
#include "tests/attest/samples.h"

#include <stdio.h>
#include <stdlib.h>
#include <time.h>

enum { RUNS_MAX = 1000, RUNS_DEFAULT = 200 };

static uint64_t now_ns(void)
{
    struct timespec t;

    (void)clock_gettime(CLOCK_THREAD_CPUTIME_ID, &t);
    return (uint64_t)t.tv_sec * UINT64_C(1000000000) + (uint64_t)t.tv_nsec;
}

static int by_size(const void *a, const void *b)
{
    uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;

    return x < y ? -1 : x > y;
}

int main(int argc, char **argv)
{
    static struct attest_verdict verdict;
    static uint64_t took[RUNS_MAX];
    size_t runs = argc > 1 ? strtoul(argv[1], NULL, 10) : RUNS_DEFAULT;
    char names[SAMPLES_MAX][96];
    size_t n = samples_list(names, SAMPLES_MAX);

    size_t middle = runs / 2;
    size_t late = runs * 99 / 100;

    CHECK(runs >= 1 && runs <= RUNS_MAX);
    printf("%-34s %10s %10s %10s   (CPU time, ms)\n", "sample", "least", "p50", "p99");
    for (size_t i = 0; i < n; i++) {
        struct sample s;

        sample_load(names[i], &s);
        for (size_t r = 0; r < runs; r++) {
            uint64_t from = now_ns();

            attest_verify(&s.in, &verdict);
            took[r] = now_ns() - from;
        }
        qsort(took, runs, sizeof(took[0]), by_size);
        printf("%-34s %10.3f %10.3f %10.3f%s\n", names[i], (double)took[0] / 1e6,
               (double)took[middle] / 1e6, (double)took[late] / 1e6,
               verdict.verifies ? "" : "  does not verify");
        sample_free(&s);
    }
    return 0;
}
