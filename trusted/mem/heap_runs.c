// SPDX-License-Identifier: Apache-2.0
#include "trusted/mem/heap_internal.h"

#include "common/check.h"

/* Lengths of one bin above HEAP_BINS_EXACT lie within an eighth of a power of two. */
static uint32_t bin_of(uint32_t len)
{
    uint32_t e;

    if (len < HEAP_BINS_EXACT) {
        return len;
    }
    e = 31 - (uint32_t)__builtin_clz(len);
    return HEAP_BINS_EXACT + (e - 5) * 8 + (len >> (e - 3) & 7);
}

static void list(struct heap *h, uint32_t page, uint32_t len)
{
    uint32_t bin = bin_of(len);
    struct heap_page *first = &h->pages[page];

    /* The last before the first: in a run of one page they are the same, and it is FREE. */
    h->pages[page + len - 1].kind = HEAP_END;
    h->pages[page + len - 1].len = len;
    first->kind = HEAP_FREE;
    first->len = len;
    first->prev = HEAP_NONE;
    first->next = h->bins[bin];
    if (first->next != HEAP_NONE) {
        h->pages[first->next].prev = page;
    }
    h->bins[bin] = page;
    h->bins_used[bin / 64] |= UINT64_C(1) << bin % 64;
}

static void unlist(struct heap *h, uint32_t page)
{
    struct heap_page *first = &h->pages[page];
    uint32_t bin = bin_of(first->len);

    if (first->next != HEAP_NONE) {
        h->pages[first->next].prev = first->prev;
    }
    if (first->prev != HEAP_NONE) {
        h->pages[first->prev].next = first->next;
    } else {
        h->bins[bin] = first->next;
        if (first->next == HEAP_NONE) {
            h->bins_used[bin / 64] &= ~(UINT64_C(1) << bin % 64);
        }
    }
    h->pages[page + first->len - 1].kind = HEAP_INNER;
    first->kind = HEAP_INNER;
}

/* The first bin at or above `bin` that is not empty; HEAP_BINS if there is none. */
static uint32_t next_bin(const struct heap *h, uint32_t bin)
{
    uint64_t word;

    if (bin >= HEAP_BINS) {
        return HEAP_BINS;
    }
    word = h->bins_used[bin / 64] & ~UINT64_C(0) << bin % 64;
    for (uint32_t i = bin / 64;;) {
        if (word != 0) {
            return i * 64 + (uint32_t)__builtin_ctzll(word);
        }
        if (++i == HEAP_BINS / 64) {
            return HEAP_BINS;
        }
        word = h->bins_used[i];
    }
}

static uint32_t find(const struct heap *h, uint32_t len)
{
    uint32_t own = bin_of(len);
    uint32_t bin = next_bin(h, own < HEAP_BINS_EXACT ? own : own + 1);

    if (bin < HEAP_BINS) {
        return h->bins[bin]; /* any run of a higher bin is long enough */
    }
    /* Lengths of its own bin differ: the only search there is, and only when all else is gone. */
    for (uint32_t page = h->bins[own]; page != HEAP_NONE; page = h->pages[page].next) {
        if (h->pages[page].len >= len) {
            return page;
        }
    }
    return HEAP_NONE;
}

void heap_runs_init(struct heap *h)
{
    for (uint32_t i = 0; i < HEAP_BINS; i++) {
        h->bins[i] = HEAP_NONE;
    }
    list(h, 0, h->pages_n);
}

uint32_t heap_runs_take(struct heap *h, uint32_t len)
{
    uint32_t page = find(h, len);

    if (page != HEAP_NONE) {
        uint32_t had = h->pages[page].len;

        unlist(h, page);
        if (had > len) {
            list(h, page + len, had - len);
        }
    }
    return page;
}

void heap_runs_give(struct heap *h, uint32_t page, uint32_t len)
{
    CHECK(len != 0 && page < h->pages_n && len <= h->pages_n - page);
    for (uint32_t i = 0; i < len && i < HEAP_SLAB_PAGES_MAX; i++) {
        h->pages[page + i].kind = HEAP_INNER;
    }
    if (page + len < h->pages_n && h->pages[page + len].kind == HEAP_FREE) {
        uint32_t after = page + len;

        len += h->pages[after].len;
        unlist(h, after);
    }
    if (page != 0 && (h->pages[page - 1].kind == HEAP_END ||
                      (h->pages[page - 1].kind == HEAP_FREE && h->pages[page - 1].len == 1))) {
        uint32_t before = page - h->pages[page - 1].len;

        len += h->pages[before].len;
        unlist(h, before);
        page = before;
    }
    list(h, page, len);
}
