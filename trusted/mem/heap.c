// SPDX-License-Identifier: Apache-2.0
#include "trusted/mem/heap.h"

#include "common/check.h"
#include "trusted/mem/heap_internal.h"

#include <string.h>

/*
 * Under AddressSanitizer everything that is not handed out is poisoned, to the byte that was asked
 * for. Only the two functions that touch the links inside free blocks are exempt.
 */
#ifdef HEAP_ASAN
#include <sanitizer/asan_interface.h>
#define RAW __attribute__((no_sanitize("address"), noinline))
#else
#define ASAN_POISON_MEMORY_REGION(p, n) ((void)sizeof(p), (void)sizeof(n))
#define ASAN_UNPOISON_MEMORY_REGION(p, n) ((void)sizeof(p), (void)sizeof(n))
#define RAW
#endif

/* What a free block holds. The mark makes a double free likely to be looked at; the walk that
 * follows makes it certain, so bytes of a user that look like a mark do no harm. */
struct free_block {
    uint64_t next; /* place of the next free block; 0: the last */
    uint64_t mark;
};

enum { REGION_MIN = 1 << 20, REGION_ALIGN = 64 };

_Static_assert(HEAP_SLAB_PAGES_MAX *HEAP_PAGE / HEAP_MOVABLE_MIN <= HEAP_MOVABLE_SLAB,
               "all blocks of a slab fit the caller's array");

static const uint64_t FREE_MARK = UINT64_C(0x9f6e2d51c3b80a47);

static uint64_t mark_of(const void *block)
{
    return FREE_MARK ^ (uint64_t)(uintptr_t)block;
}

/* Without a branch: sizes come in no order that a processor could learn. Below 128 the shift is 4
 * and the class m / 16; above, m >> shift is 8..15, eight classes to each power of two. */
static uint32_t class_of(size_t n)
{
    uint32_t m = (uint32_t)n - 1;
    uint32_t shift = 28 - (uint32_t)__builtin_clz(m | 128);

    return (shift - 4) * 8 + (m >> shift);
}

static uint32_t class_bytes(uint32_t c)
{
    return c < 8 ? (c + 1) * 16 : ((c & 7) + 9) << (c / 8 + 3);
}

static struct heap_shape shape_of(uint32_t pages, uint32_t bytes)
{
    return (struct heap_shape){.pages = (uint16_t)pages,
                               .blocks = (uint16_t)(pages * HEAP_PAGE / bytes)};
}

/* A long slab wastes at most 1/32 of its pages at the end and holds eight blocks, or comes as near
 * to that as HEAP_SLAB_PAGES_MAX allows. */
static void class_init(struct heap_class *k, uint32_t bytes)
{
    uint32_t best = 0, best_waste = UINT32_MAX;

    for (uint32_t pages = 1; pages <= HEAP_SLAB_PAGES_MAX && best_waste > 1; pages++) {
        uint32_t room = pages * HEAP_PAGE;
        uint32_t waste_32nds = bytes > room ? 33 : (room % bytes * 32 + room - 1) / room;
        bool many = room / bytes >= 8 || bytes > HEAP_PAGE;

        if (many && waste_32nds < best_waste) {
            best = pages;
            best_waste = waste_32nds;
        }
    }
    CHECK(best != 0 && bytes <= best * HEAP_PAGE);
    *k = (struct heap_class){
        .bytes = bytes,
        .recip = (uint32_t)((UINT64_C(1) << 32) / bytes + 1),
        .shape = {shape_of(best, bytes), shape_of((bytes - 1) / HEAP_PAGE + 1, bytes)},
        .partial = HEAP_NONE,
        .empty = HEAP_NONE,
    };
}

RESULT heap_init(void *region, size_t region_bytes, struct heap **ret)
{
    struct heap *h = region;
    size_t head = (sizeof(*h) + REGION_ALIGN - 1) & ~(size_t)(REGION_ALIGN - 1);
    size_t pages_n, table;

    CHECK((uintptr_t)region % REGION_ALIGN == 0);
    if (region_bytes < REGION_MIN) {
        return ERR_ENCLAVE_MEMORY;
    }
    pages_n = (region_bytes - head - REGION_ALIGN) / (HEAP_PAGE + sizeof(struct heap_page));
    CHECK(pages_n < UINT32_MAX);
    table = (pages_n * sizeof(struct heap_page) + REGION_ALIGN - 1) & ~(size_t)(REGION_ALIGN - 1);
    ASAN_UNPOISON_MEMORY_REGION(region, region_bytes);
    memset(region, 0, head + table);
    h->pages = (void *)((uint8_t *)region + head);
    h->base = (uint8_t *)region + head + table;
    h->pages_n = (uint32_t)pages_n;
    h->used = h->peak = h->held = head + table;
    h->limit = h->used + pages_n * HEAP_PAGE;
    for (uint32_t c = 0; c < HEAP_CLASSES; c++) {
        class_init(&h->classes[c], class_bytes(c));
        class_init(&h->movable[c], class_bytes(c));
    }
    heap_runs_init(h);
    ASAN_POISON_MEMORY_REGION(h->base, pages_n * HEAP_PAGE);
    *ret = h;
    return OK;
}

void heap_fini(struct heap *h)
{
    if (h != NULL) {
        ASAN_UNPOISON_MEMORY_REGION(h->base, (size_t)h->pages_n * HEAP_PAGE);
    }
}

/* Slabs with room: doubly linked, the one that changed last in front. */
static void slab_list(struct heap *h, struct heap_class *k, uint32_t slab)
{
    h->pages[slab].prev = HEAP_NONE;
    h->pages[slab].next = k->partial;
    if (k->partial != HEAP_NONE) {
        h->pages[k->partial].prev = slab;
    }
    k->partial = slab;
}

static void slab_unlist(struct heap *h, struct heap_class *k, uint32_t slab)
{
    const struct heap_page *s = &h->pages[slab];

    if (s->next != HEAP_NONE) {
        h->pages[s->next].prev = s->prev;
    }
    if (s->prev != HEAP_NONE) {
        h->pages[s->prev].next = s->next;
    } else {
        k->partial = s->next;
    }
}

/* Gives the kept empty slabs back to the pages: true if there was any. */
static bool reclaim_from(struct heap *h, struct heap_class *classes)
{
    bool any = false;

    for (uint32_t c = 0; c < HEAP_CLASSES; c++) {
        struct heap_class *k = &classes[c];

        if (k->empty != HEAP_NONE) {
            heap_runs_give(h, k->empty, k->shape[0].pages);
            k->empty = HEAP_NONE;
            any = true;
        }
    }
    return any;
}

static bool reclaim(struct heap *h)
{
    bool any = reclaim_from(h, h->classes);

    return reclaim_from(h, h->movable) || any;
}

static uint32_t take_run(struct heap *h, uint32_t pages)
{
    uint32_t page = heap_runs_take(h, pages);

    if (page == HEAP_NONE && reclaim(h)) {
        page = heap_runs_take(h, pages);
    }
    return page;
}

static const struct heap_shape *slab_shape(const struct heap_class *k, const struct heap_page *s)
{
    return &k->shape[s->aux / HEAP_SHORT];
}

static bool is_movable(const struct heap *h, const struct heap_class *k)
{
    return k >= h->movable;
}

static void hold(struct heap *h, const struct heap_class *k, size_t more)
{
    h->held += more;
    h->held_movable += is_movable(h, k) ? more : 0;
}

static uint32_t slab_make(struct heap *h, const struct heap_class *k, bool brief)
{
    bool movable = is_movable(h, k);
    uint8_t aux = (uint8_t)(k - (movable ? h->movable : h->classes));
    uint32_t slab = brief ? HEAP_NONE : take_run(h, k->shape[0].pages);

    if (slab == HEAP_NONE) {
        aux |= HEAP_SHORT;
        slab = heap_runs_take(h, k->shape[1].pages);
        if (slab == HEAP_NONE) {
            return HEAP_NONE;
        }
    }
    h->pages[slab] = (struct heap_page){.kind = movable ? HEAP_MOVABLE : HEAP_SLAB, .aux = aux};
    for (uint32_t i = 1; i < slab_shape(k, &h->pages[slab])->pages; i++) {
        h->pages[slab + i] = (struct heap_page){.kind = HEAP_TAIL, .aux = (uint8_t)i};
    }
    return slab;
}

/* A slab without used blocks, listed; HEAP_NONE when there is no memory for it. `brief`: a new one
 * is to be short. */
static uint32_t slab_open(struct heap *h, struct heap_class *k, bool brief)
{
    uint32_t slab = k->empty;

    if (slab != HEAP_NONE) {
        k->empty = HEAP_NONE;
    } else {
        slab = slab_make(h, k, brief);
        if (slab == HEAP_NONE) {
            return HEAP_NONE;
        }
    }
    hold(h, k, (size_t)slab_shape(k, &h->pages[slab])->pages * HEAP_PAGE);
    slab_list(h, k, slab);
    return slab;
}

static void slab_close(struct heap *h, struct heap_class *k, uint32_t slab)
{
    const struct heap_shape *shape = slab_shape(k, &h->pages[slab]);

    slab_unlist(h, k, slab);
    hold(h, k, (size_t)0 - (size_t)shape->pages * HEAP_PAGE);
    h->pages[slab].free = 0;
    h->pages[slab].fresh = 0;
    if (k->empty == HEAP_NONE && shape == &k->shape[0]) {
        k->empty = slab;
    } else {
        heap_runs_give(h, slab, shape->pages);
    }
}

/* A block's place is its offset in the slab in units of 16 bytes, plus one: found without a
 * division in both directions. */
static uint8_t *block_at(uint8_t *slab, uint32_t place)
{
    return slab + (size_t)(place - 1) * 16;
}

RAW static void pop_free(struct heap_page *s, const struct heap_shape *shape, uint8_t *block)
{
    struct free_block *b = (void *)block;

    /* The link lies where a user may have written after a free: it must be one of our own. */
    CHECK(b->mark == mark_of(b) && b->next <= (uint64_t)shape->pages * (HEAP_PAGE / 16));
    s->free = (uint16_t)b->next;
    b->mark = 0;
}

/* A block that was never in the list may lie where one was that was: its mark would have push_free
 * look for it. */
RAW static void unmark(uint8_t *block)
{
    struct free_block *b = (void *)block;

    b->mark = 0;
}

RAW static void push_free(struct heap_page *s, uint8_t *slab, uint32_t place)
{
    struct free_block *b = (void *)block_at(slab, place);

    if (__builtin_expect(b->mark == mark_of(b), 0)) {
        for (uint32_t f = s->free; f != 0;) {
            const struct free_block *other = (void *)block_at(slab, f);

            CHECK(f != place); /* freed twice */
            f = (uint32_t)other->next;
        }
    }
    b->next = s->free;
    b->mark = mark_of(b);
    s->free = (uint16_t)place;
}

static void count_used(struct heap *h, size_t n)
{
    h->used += n;
    if (h->used > h->peak) {
        h->peak = h->used;
    }
}

static void *alloc_large(struct heap *h, size_t n)
{
    size_t pages = (n - 1) / HEAP_PAGE + 1;
    uint32_t page;

    if (pages > h->pages_n) {
        return NULL;
    }
    page = take_run(h, (uint32_t)pages);
    if (page == HEAP_NONE) {
        return NULL;
    }
    h->pages[page].kind = HEAP_LARGE;
    h->pages[page].len = (uint32_t)pages;
    h->held += pages * HEAP_PAGE;
    count_used(h, pages * HEAP_PAGE);
    return heap_page_at(h, page);
}

static void *alloc_small(struct heap *h, struct heap_class *k)
{
    uint32_t slab = k->partial;
    const struct heap_shape *shape;
    struct heap_page *s;
    uint8_t *block;

    if (__builtin_expect(slab == HEAP_NONE, 0)) {
        slab = slab_open(h, k, false);
        if (slab == HEAP_NONE) {
            return NULL;
        }
    }
    s = &h->pages[slab];
    shape = slab_shape(k, s);
    if (s->free != 0) {
        block = block_at(heap_page_at(h, slab), s->free);
        pop_free(s, shape, block);
    } else {
        block = heap_page_at(h, slab) + (size_t)s->fresh * k->bytes;
        unmark(block);
        s->fresh++;
    }
    s->used++;
    if (s->used == shape->blocks) {
        slab_unlist(h, k, slab);
    }
    count_used(h, k->bytes);
    return block;
}

void *heap_alloc(struct heap *h, size_t n)
{
    void *p;

    CHECK(n != 0);
    p = n <= HEAP_SMALL_MAX ? alloc_small(h, &h->classes[class_of(n)]) : alloc_large(h, n);
    if (p != NULL) {
        ASAN_UNPOISON_MEMORY_REGION(p, n);
    }
    return p;
}

void *heap_alloc_movable(struct heap *h, size_t n, size_t spare)
{
    CHECK(n >= HEAP_MOVABLE_MIN && n <= HEAP_MOVABLE_MAX);
    struct heap_class *k = &h->movable[class_of(n)];
    size_t pages = (h->limit - h->held) / HEAP_PAGE;
    size_t keep = (spare + HEAP_PAGE - 1) / HEAP_PAGE;
    void *p;

    if (k->partial == HEAP_NONE && pages < keep + k->shape[0].pages &&
        (pages < keep + k->shape[1].pages || slab_open(h, k, true) == HEAP_NONE)) {
        return NULL;
    }
    p = alloc_small(h, k);
    if (p != NULL) {
        ASAN_UNPOISON_MEMORY_REGION(p, n);
    }
    return p;
}

/* The numbers of the slab's free blocks, as bits. */
RAW static void find_free(const struct heap *h, const struct heap_class *k, uint32_t slab,
                          uint64_t free[static HEAP_MOVABLE_SLAB / 64])
{
    const struct heap_page *s = &h->pages[slab];

    for (uint32_t f = s->free; f != 0;) {
        const struct free_block *b = (void *)block_at(heap_page_at(h, slab), f);
        uint32_t i = (uint32_t)((uint64_t)(f - 1) * 16 * k->recip >> 32);

        CHECK(i < s->fresh && b->mark == mark_of(b));
        free[i / 64] |= UINT64_C(1) << (i % 64);
        f = (uint32_t)b->next;
    }
}

uint32_t heap_movable(const struct heap *h, size_t n, uint32_t *page,
                      void *ret[static HEAP_MOVABLE_SLAB])
{
    const struct heap_class *want = n == 0 ? NULL : &h->movable[class_of(n)];

    for (uint32_t at = *page; at < h->pages_n;) {
        const struct heap_page *s = &h->pages[at];
        uint32_t slab = at;
        uint64_t free[HEAP_MOVABLE_SLAB / 64] = {0};
        uint32_t found = 0;

        if (s->kind == HEAP_FREE || s->kind == HEAP_LARGE) {
            at += s->len;
            continue;
        }
        if (s->kind != HEAP_SLAB && s->kind != HEAP_MOVABLE) {
            at++; /* inside of one whose first page is behind us */
            continue;
        }
        const struct heap_class *k =
            (s->kind == HEAP_MOVABLE ? h->movable : h->classes) + s->aux % HEAP_SHORT;

        at += slab_shape(k, s)->pages;
        if (s->kind != HEAP_MOVABLE || s->used == 0 || (want != NULL && k != want)) {
            continue;
        }
        find_free(h, k, slab, free);
        for (uint32_t i = 0; i < s->fresh; i++) {
            if ((free[i / 64] >> (i % 64) & 1) == 0) {
                ret[found++] = heap_page_at(h, slab) + (size_t)i * k->bytes;
            }
        }
        *page = at;
        return found;
    }
    *page = 0;
    return 0;
}

void *heap_zalloc(struct heap *h, size_t n)
{
    void *p = heap_alloc(h, n);

    if (p != NULL) {
        memset(p, 0, n);
    }
    return p;
}

static void free_large(struct heap *h, uint32_t page, size_t off, size_t n)
{
    size_t pages = (n - 1) / HEAP_PAGE + 1;
    const struct heap_page *e = &h->pages[page];

    CHECK(e->kind == HEAP_LARGE && e->len == pages && off % HEAP_PAGE == 0);
    h->used -= pages * HEAP_PAGE;
    h->held -= pages * HEAP_PAGE;
    heap_runs_give(h, page, (uint32_t)pages);
}

static void free_small(struct heap *h, uint32_t page, size_t off, size_t n)
{
    uint32_t c = class_of(n);
    uint32_t slab = h->pages[page].kind == HEAP_TAIL ? page - h->pages[page].aux : page;
    struct heap_page *s = &h->pages[slab];
    struct heap_class *k = &(s->kind == HEAP_MOVABLE ? h->movable : h->classes)[c];
    uint32_t inside, i;

    CHECK((s->kind == HEAP_SLAB || s->kind == HEAP_MOVABLE) && s->aux % HEAP_SHORT == c);
    inside = (uint32_t)(off - ((size_t)slab << HEAP_PAGE_BITS));
    i = (uint32_t)((uint64_t)inside * k->recip >> 32);
    CHECK(i * k->bytes == inside && i < s->fresh && s->used != 0);
    push_free(s, heap_page_at(h, slab), inside / 16 + 1);
    if (s->used == slab_shape(k, s)->blocks) {
        slab_list(h, k, slab);
    }
    s->used--;
    h->used -= k->bytes;
    if (s->used == 0) {
        slab_close(h, k, slab);
    }
}

void heap_free(struct heap *h, void *p, size_t n)
{
    size_t off;

    if (p == NULL) {
        return;
    }
    off = (size_t)((uintptr_t)p - (uintptr_t)h->base);
    CHECK(n != 0 && off < (size_t)h->pages_n * HEAP_PAGE);
    if (n <= HEAP_SMALL_MAX) {
        free_small(h, (uint32_t)(off >> HEAP_PAGE_BITS), off, n);
    } else {
        free_large(h, (uint32_t)(off >> HEAP_PAGE_BITS), off, n);
    }
    ASAN_POISON_MEMORY_REGION(p, heap_block_bytes(n));
}

size_t heap_used(const struct heap *h)
{
    return h->used;
}

size_t heap_peak(const struct heap *h)
{
    return h->peak;
}

size_t heap_held(const struct heap *h)
{
    return h->held;
}

size_t heap_held_movable(const struct heap *h)
{
    return h->held_movable;
}

size_t heap_limit(const struct heap *h)
{
    return h->limit;
}

size_t heap_block_bytes(size_t n)
{
    CHECK(n != 0);
    if (n <= HEAP_SMALL_MAX) {
        return class_bytes(class_of(n));
    }
    return ((n - 1) / HEAP_PAGE + 1) * HEAP_PAGE;
}
