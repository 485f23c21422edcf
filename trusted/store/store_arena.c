// SPDX-License-Identifier: Apache-2.0
#include "trusted/store/store_arena.h"

#include "common/check.h"
#include "trusted/store/store_ref.h"

/* Slots of one class in one span. */
struct span {
    uint32_t next; /* references, among the class's spans that have a free slot */
    uint32_t prev;
    uint32_t number;
    uint16_t block; /* bytes */
    uint16_t taken_n;
    uint8_t class_;
    uint8_t hint;         /* no word below this one has a free slot */
    bool draining;        /* gives out no slots, and is in no list */
    uint64_t free_bits[]; /* bit i says that slot i is free */
};

enum { WORD = 64 };

_Static_assert(STORE_SPAN / STORE_PAGE == WORD, "a span is one word of pages");
_Static_assert((STORE_PADDED_SLOT_MAX + STORE_BLOCK_EXTRA) * 7 <= STORE_SPAN,
               "the largest class wastes an eighth of its spans at most");
_Static_assert(STORE_SPAN / (16 + STORE_BLOCK_EXTRA) <= WORD * UINT8_MAX, "the hint fits");

static unsigned log2_floor(uint32_t n)
{
    return 31U - (unsigned)__builtin_clz(n);
}

uint32_t store_padded(uint32_t n)
{
    uint32_t step = 16;

    if (n > 256) {
        step = UINT32_C(1) << (log2_floor(n - 1) - 3);
    }
    return (n + step - 1) & ~(step - 1);
}

/* Classes are numbered in the order of their padded lengths: 16, 32, ..., 256, 288, ..., 8192. */
static unsigned class_of(uint32_t padded)
{
    if (padded <= 256) {
        return padded / 16 - 1;
    }
    unsigned lg = log2_floor(padded - 1);

    return 16 + (lg - 8) * 8 + ((padded - 1) >> (lg - 3)) - 8;
}

static struct span *span_of(const struct store_arena *a, uint32_t ref)
{
    return store_deref(a->heap, ref);
}

static size_t span_bytes(uint32_t block)
{
    return sizeof(struct span) + (STORE_SPAN / block + WORD - 1) / WORD * sizeof(uint64_t);
}

static size_t summary_words(const struct store_arena *a)
{
    return (a->spans_n + WORD - 1) / WORD;
}

/* A whole span became free, or stops being so. */
static void set_span(struct store_arena *a, uint32_t number, bool free)
{
    uint64_t bit = UINT64_C(1) << (number % WORD);
    uint64_t *touched = &a->touched[number / WORD];

    a->free_spans[number / WORD] ^= bit;
    if ((*touched & bit) != 0) {
        a->idle_n += free ? 1 : UINT32_MAX;
    } else if (!free) {
        *touched |= bit;
        a->touched_n++;
    }
}

/* Pages of one span change: bits in `mask` become free or taken. */
static void set_pages(struct store_arena *a, uint32_t word, uint64_t mask, bool free)
{
    uint64_t was = a->free_pages[word];
    uint64_t now = was ^ mask;

    CHECK((was & mask) == (free ? 0 : mask)); /* given or taken twice: our own state is wrong */
    a->free_pages[word] = now;
    if ((was == UINT64_MAX) != (now == UINT64_MAX)) {
        set_span(a, word, free);
    }
}

static void set_run(struct store_arena *a, uint64_t page, uint64_t pages_n, bool free)
{
    a->pages_taken += free ? -pages_n : pages_n;
    while (pages_n > 0) {
        unsigned from = (unsigned)(page % WORD);
        unsigned n = pages_n < WORD - from ? (unsigned)pages_n : WORD - from;
        uint64_t mask = n == WORD ? UINT64_MAX : ((UINT64_C(1) << n) - 1) << from;

        set_pages(a, (uint32_t)(page / WORD), mask, free);
        page += n;
        pages_n -= n;
    }
    if (free) {
        a->hopeless = 0;
    }
}

/* The pages of a span that may be taken now. */
static uint64_t pages_of_span(const struct store_arena *a, uint32_t word)
{
    bool has_memory = (a->touched[word / WORD] >> (word % WORD) & 1) != 0;

    return a->may_grow || has_memory ? a->free_pages[word] : 0;
}

/* Looks for a run that begins in words [from, to) and may not reach beyond `to`. */
static bool find_run(const struct store_arena *a, uint32_t from, uint32_t to, uint64_t pages_n,
                     uint64_t *ret_page)
{
    uint64_t run = 0; /* free pages directly before the place that is looked at */

    for (uint32_t w = from; w < to; w++) {
        uint64_t v = pages_of_span(a, w);
        unsigned at = 0;

        while (at < WORD) {
            uint64_t rest = v >> at;

            if (rest == 0) {
                run = 0;
                break;
            }
            unsigned gap = (unsigned)__builtin_ctzll(rest);

            if (gap > 0) {
                run = 0;
                at += gap;
                rest >>= gap;
            }
            unsigned ones = rest == UINT64_MAX ? WORD : (unsigned)__builtin_ctzll(~rest);

            run += ones;
            at += ones;
            if (run >= pages_n) {
                *ret_page = (uint64_t)w * WORD + at - run;
                return true;
            }
        }
    }
    return false;
}

static RESULT take_run(struct store_arena *a, uint64_t pages_n, uint32_t *ret_place)
{
    uint64_t page;

    if (pages_n > a->pages_n - a->pages_taken || (a->hopeless != 0 && pages_n >= a->hopeless)) {
        return ERR_HOST_MEMORY;
    }
    if (!find_run(a, a->cursor, a->spans_n, pages_n, &page) &&
        !find_run(a, 0, a->spans_n, pages_n, &page)) {
        a->hopeless = (uint32_t)pages_n;
        return ERR_HOST_MEMORY;
    }
    set_run(a, page, pages_n, false);
    a->cursor = (uint32_t)((page + pages_n - 1) / WORD);
    *ret_place = (uint32_t)(page * (STORE_PAGE / STORE_UNIT));
    return OK;
}

static void link_partial(struct store_arena *a, struct span *s)
{
    uint32_t ref = store_ref(a->heap, s);
    uint32_t *head = &a->partial[s->class_];

    s->prev = 0;
    s->next = *head;
    if (*head != 0) {
        span_of(a, *head)->prev = ref;
    }
    *head = ref;
}

static void unlink_partial(struct store_arena *a, struct span *s)
{
    if (s->prev != 0) {
        span_of(a, s->prev)->next = s->next;
    } else {
        a->partial[s->class_] = s->next;
    }
    if (s->next != 0) {
        span_of(a, s->next)->prev = s->prev;
    }
}

/* Spans come from the end of the arena, runs from its beginning: they meet only when it is full. */
static bool find_span(const struct store_arena *a, uint32_t *ret_number)
{
    for (size_t i = summary_words(a); i-- > 0;) {
        uint64_t free = a->may_grow ? a->free_spans[i] : a->free_spans[i] & a->touched[i];

        if (free != 0) {
            *ret_number = (uint32_t)(i * WORD) + 63U - (uint32_t)__builtin_clzll(free);
            return true;
        }
    }
    return false;
}

static RESULT add_span(struct store_arena *a, unsigned class_, uint32_t block)
{
    uint32_t slots_n = STORE_SPAN / block;
    uint32_t number;
    struct span *s;

    if (!find_span(a, &number)) {
        return ERR_HOST_MEMORY;
    }
    s = heap_zalloc(a->heap, span_bytes(block));
    if (s == NULL) {
        return ERR_ENCLAVE_MEMORY;
    }
    s->number = number;
    s->block = (uint16_t)block;
    s->class_ = (uint8_t)class_;
    for (uint32_t i = 0; i < slots_n; i++) {
        s->free_bits[i / WORD] |= UINT64_C(1) << (i % WORD);
    }
    a->span_at[number] = store_ref(a->heap, s);
    a->slots_bytes += STORE_SPAN;
    a->slots_free += (uint64_t)slots_n * block;
    set_run(a, (uint64_t)number * WORD, WORD, false);
    link_partial(a, s);
    return OK;
}

static void drop_span(struct store_arena *a, struct span *s)
{
    if (s->draining) {
        a->draining_n--;
    } else {
        unlink_partial(a, s);
    }
    a->slots_bytes -= STORE_SPAN;
    a->slots_free -= (uint64_t)(STORE_SPAN / s->block) * s->block;
    a->span_at[s->number] = 0;
    set_run(a, (uint64_t)s->number * WORD, WORD, true);
    heap_free(a->heap, s, span_bytes(s->block));
}

static RESULT take_slot(struct store_arena *a, unsigned class_, uint32_t block, uint32_t *ret_place)
{
    if (a->partial[class_] == 0) {
        enum err err = add_span(a, class_, block);

        if (err != OK) {
            store_arena_drain_end(a); /* there may be room after all */
        }
        if (a->partial[class_] == 0) {
            return err;
        }
    }
    struct span *s = span_of(a, a->partial[class_]);
    unsigned word = s->hint;

    while (s->free_bits[word] == 0) {
        word++;
    }
    unsigned slot = word * WORD + (unsigned)__builtin_ctzll(s->free_bits[word]);

    s->free_bits[word] &= s->free_bits[word] - 1;
    s->hint = (uint8_t)word;
    s->taken_n++;
    a->slots_free -= block;
    if (s->taken_n == STORE_SPAN / block) {
        unlink_partial(a, s);
    }
    *ret_place = s->number * (STORE_SPAN / STORE_UNIT) + slot * (block / STORE_UNIT);
    return OK;
}

static void give_slot(struct store_arena *a, struct span *s, uint32_t place)
{
    uint32_t slots_n = STORE_SPAN / s->block;
    uint32_t off = place % (STORE_SPAN / STORE_UNIT) * STORE_UNIT;
    uint32_t slot = off / s->block;
    uint32_t word = slot / WORD;
    uint64_t bit = UINT64_C(1) << (slot % WORD);

    CHECK(slot < slots_n && off % s->block == 0 && (s->free_bits[word] & bit) == 0);
    if (s->taken_n == slots_n && !s->draining) {
        link_partial(a, s);
    }
    a->slots_free += s->block;
    s->free_bits[word] |= bit;
    if (word < s->hint) {
        s->hint = (uint8_t)word;
    }
    s->taken_n--;
    if (s->taken_n == 0) {
        drop_span(a, s);
    }
}

static uint32_t pages_of(uint32_t block)
{
    return (block + STORE_PAGE - 1) / STORE_PAGE;
}

RESULT store_arena_init(struct store_arena *a, struct heap *heap, uint8_t *base, uint64_t bytes)
{
    uint64_t pages_n = (bytes < STORE_ARENA_MAX ? bytes : STORE_ARENA_MAX) / STORE_PAGE;

    *a = (struct store_arena){
        .heap = heap,
        .pages_n = pages_n,
        .pages_taken = pages_n,
        .spans_n = (uint32_t)((pages_n + WORD - 1) / WORD),
        .may_grow = true,
    };
    a->base = base;
    if (pages_n == 0) {
        return OK; /* a store that holds no values, only keys */
    }
    a->free_pages = heap_zalloc(heap, a->spans_n * sizeof(*a->free_pages));
    a->free_spans = heap_zalloc(heap, summary_words(a) * sizeof(*a->free_spans));
    a->touched = heap_zalloc(heap, summary_words(a) * sizeof(*a->touched));
    a->span_at = heap_zalloc(heap, a->spans_n * sizeof(*a->span_at));
    if (a->free_pages == NULL || a->free_spans == NULL || a->touched == NULL ||
        a->span_at == NULL) {
        store_arena_fini(a);
        return ERR_ENCLAVE_MEMORY;
    }
    set_run(a, 0, pages_n, true);
    return OK;
}

void store_arena_fini(struct store_arena *a)
{
    for (uint32_t i = 0; i < a->spans_n && a->span_at != NULL; i++) {
        if (a->span_at[i] != 0) {
            struct span *s = span_of(a, a->span_at[i]);

            heap_free(a->heap, s, span_bytes(s->block));
        }
    }
    heap_free(a->heap, a->free_pages, a->spans_n * sizeof(*a->free_pages));
    heap_free(a->heap, a->free_spans, summary_words(a) * sizeof(*a->free_spans));
    heap_free(a->heap, a->touched, summary_words(a) * sizeof(*a->touched));
    heap_free(a->heap, a->span_at, a->spans_n * sizeof(*a->span_at));
    *a = (struct store_arena){0};
}

RESULT store_arena_take(struct store_arena *a, uint32_t padded, uint32_t block, uint32_t *ret_place)
{
    if (padded <= STORE_PADDED_SLOT_MAX) {
        return take_slot(a, class_of(padded), block, ret_place);
    }
    return take_run(a, pages_of(block), ret_place);
}

void store_arena_give(struct store_arena *a, uint32_t place, uint32_t block)
{
    uint32_t span = a->span_at[place / (STORE_SPAN / STORE_UNIT)];

    if (span != 0) {
        give_slot(a, span_of(a, span), place);
    } else {
        set_run(a, place / (STORE_PAGE / STORE_UNIT), pages_of(block), true);
    }
}

bool store_arena_is_draining(const struct store_arena *a, uint32_t place)
{
    uint32_t span = a->span_at[place / (STORE_SPAN / STORE_UNIT)];

    return span != 0 && span_of(a, span)->draining;
}

RESULT store_arena_take_tight(struct store_arena *a, uint32_t padded, uint32_t block,
                              uint32_t *ret_place)
{
    if (padded > STORE_PADDED_SLOT_MAX || a->partial[class_of(padded)] == 0) {
        return ERR_HOST_MEMORY;
    }
    return take_slot(a, class_of(padded), block, ret_place);
}

/* How many of a class's spans are to be emptied: those of a grade below `below`, and `at` more of
 * that grade. Grades say how full a span is. */
enum { GRADES = 8 };

struct quota {
    uint32_t spans[GRADES];
    uint64_t taken;
    uint32_t slots_n; /* of a span */
    uint32_t below, at;
};

static unsigned grade_of(const struct span *s)
{
    return s->taken_n * (GRADES - 1U) / (STORE_SPAN / s->block);
}

static void set_quota(struct quota *q)
{
    uint32_t spans_n = 0;
    uint32_t need = q->slots_n == 0 ? 0 : (uint32_t)((q->taken + q->slots_n - 1) / q->slots_n);
    uint32_t left;

    for (unsigned g = 0; g < GRADES; g++) {
        spans_n += q->spans[g];
    }
    need += need / 16 + 1; /* some room for what is written meanwhile */
    left = spans_n > need ? spans_n - need : 0;
    while (q->below < GRADES - 1 && q->spans[q->below] <= left) {
        left -= q->spans[q->below++];
    }
    q->at = left;
}

void store_arena_drain_begin(struct store_arena *a)
{
    struct quota quotas[STORE_SLOT_CLASSES] = {0};

    for (uint32_t i = 0; i < a->spans_n; i++) {
        if (a->span_at[i] != 0) {
            const struct span *s = span_of(a, a->span_at[i]);
            struct quota *q = &quotas[s->class_];

            q->spans[grade_of(s)]++;
            q->taken += s->taken_n;
            q->slots_n = STORE_SPAN / s->block;
        }
    }
    for (unsigned c = 0; c < STORE_SLOT_CLASSES; c++) {
        set_quota(&quotas[c]);
    }
    for (uint32_t i = 0; i < a->spans_n; i++) {
        if (a->span_at[i] == 0) {
            continue;
        }
        struct span *s = span_of(a, a->span_at[i]);
        struct quota *q = &quotas[s->class_];
        unsigned grade = grade_of(s);

        if (grade < q->below || (grade == q->below && q->at > 0)) {
            if (grade == q->below) {
                q->at--;
            }
            if (s->taken_n < q->slots_n) {
                unlink_partial(a, s);
            }
            s->draining = true;
            a->draining_n++;
        }
    }
}

void store_arena_drain_end(struct store_arena *a)
{
    for (uint32_t i = 0; i < a->spans_n && a->draining_n > 0; i++) {
        if (a->span_at[i] != 0) {
            struct span *s = span_of(a, a->span_at[i]);

            a->draining_n -= s->draining ? 1 : 0;
            if (s->draining && s->taken_n < STORE_SPAN / s->block) {
                link_partial(a, s);
            }
            s->draining = false;
        }
    }
}

void store_arena_may_grow(struct store_arena *a, bool may)
{
    a->hopeless = may == a->may_grow ? a->hopeless : 0;
    a->may_grow = may;
}

/* Spans are taken from the end and runs from the beginning, so what lies between them is the least
 * likely to be wanted again soon; but any will do. */
bool store_arena_trim(struct store_arena *a, uint64_t *ret_off, uint64_t *ret_len)
{
    uint32_t at;
    uint32_t n = 0;
    size_t i = 0;

    if (!store_arena_has_idle(a)) {
        return false;
    }
    while ((a->free_spans[i] & a->touched[i]) == 0) {
        i++;
    }
    at = (uint32_t)(i * WORD) + (uint32_t)__builtin_ctzll(a->free_spans[i] & a->touched[i]);
    while (n < STORE_TRIM_MAX && at + n < a->spans_n && store_arena_has_idle(a)) {
        uint32_t span = at + n;
        uint64_t bit = UINT64_C(1) << (span % WORD);

        if ((a->free_spans[span / WORD] & a->touched[span / WORD] & bit) == 0) {
            break;
        }
        a->touched[span / WORD] &= ~bit;
        a->touched_n--;
        a->idle_n--;
        n++;
    }
    *ret_off = (uint64_t)at * STORE_SPAN;
    *ret_len = (uint64_t)n * STORE_SPAN;
    a->returned += *ret_len;
    return true;
}

bool store_arena_reuse(struct store_arena *a, uint32_t place, uint32_t was, uint32_t block)
{
    uint32_t span = a->span_at[place / (STORE_SPAN / STORE_UNIT)];

    if (span != 0) {
        return block <= span_of(a, span)->block;
    }
    uint32_t had = pages_of(was);
    uint32_t need = pages_of(block);

    if (need > had) {
        return false;
    }
    if (need < had) {
        set_run(a, place / (STORE_PAGE / STORE_UNIT) + need, had - need, true);
    }
    return true;
}
