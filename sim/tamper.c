// SPDX-License-Identifier: Apache-2.0
#include "sim/tamper.h"

#include "common/check.h"

#include <string.h>
#include <sys/mman.h>

void *pages_take(size_t n)
{
    void *p = mmap(NULL, n, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

    CHECK(p != MAP_FAILED);
    return p;
}

void pages_give(void *p, size_t n)
{
    CHECK(munmap(p, n) == 0);
}

enum { HEAPS_KEPT = 64 };

static struct {
    void *p;
    size_t n;
} kept[HEAPS_KEPT];

static size_t kept_n;

void *heap_pages_take(size_t n)
{
    for (size_t i = kept_n; i-- > 0;) {
        if (kept[i].n == n) {
            void *p = kept[i].p;

            kept[i] = kept[--kept_n];
            return p;
        }
    }
    return pages_take(n);
}

void heap_pages_give(void *p, size_t n)
{
    if (kept_n == HEAPS_KEPT) {
        pages_give(p, n);
        return;
    }
    kept[kept_n].p = p;
    kept[kept_n++].n = n;
}

void tamper_arena_open(struct tamper_arena *a, size_t n)
{
    *a = (struct tamper_arena){.now = pages_take(n), .old = pages_take(n), .n = n};
}

void tamper_arena_close(struct tamper_arena *a)
{
    pages_give(a->now, a->n);
    pages_give(a->old, a->n);
}

void tamper_arena(struct prng *p, struct tamper_arena *a)
{
    /* The few keys of a run lie at the start. */
    size_t used = a->n < (size_t)1 << 18 ? a->n : (size_t)1 << 18;
    size_t span = (size_t)64 << prng_below(p, 9);
    size_t at = (size_t)prng_below(p, (used - span) / 2);
    size_t other = (size_t)prng_below(p, (used - span) / 2);

    switch (prng_below(p, 4)) {
    case 0:
        for (size_t i = 0; i < span; i++) {
            a->now[at + i] ^= (uint8_t)prng_u64(p);
        }
        break;
    case 1:
        memmove(a->now + at / 64 * 64, a->now + other / 64 * 64, span);
        break;
    case 2:
        memcpy(a->now, a->old, used);
        break;
    default:
        memcpy(a->old, a->now, used);
        break;
    }
}
