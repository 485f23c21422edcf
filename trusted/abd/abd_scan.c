// SPDX-License-Identifier: Apache-2.0
#include "common/check.h"
#include "common/siphash.h"
#include "trusted/abd/abd_batch.h"

static struct bytes low(const struct abd_batch *b)
{
    return (struct bytes){.p = b->low, .n = b->low_n};
}

static struct bytes high(const struct abd_batch *b)
{
    return (struct bytes){.p = b->high, .n = b->high_n};
}

/* ---- what a page covers ---- */

/* The page ends with `key`, or, when `before`, just before it. */
static void cut(struct abd_batch *b, struct bytes key, bool before)
{
    uint8_t *to = b->down ? b->low : b->high;
    uint16_t *n = b->down ? &b->low_n : &b->high_n;
    uint8_t was[BOUND_MAX];
    uint16_t was_n = *n;

    memcpy(was, to, was_n);
    memcpy(to, key.p, key.n);
    *n = (uint16_t)key.n;
    if (b->down == before) {
        to[(*n)++] = 0; /* the first key above `key` */
    }
    b->more = b->more || !bytes_equal((struct bytes){to, *n}, (struct bytes){was, was_n});
}

static bool covers(const struct abd_batch *b, struct bytes key)
{
    return bytes_compare(key, low(b)) >= 0 && (b->high_n == 0 || bytes_compare(key, high(b)) < 0);
}

/* Items stand in the order of the scan: those beyond the bound are the last ones. */
static void drop_uncovered(struct abd_batch *b)
{
    while (b->items_n > 0 && !covers(b, item_key(b, &b->items[b->items_n - 1]))) {
        b->items_n--;
    }
}

/* ---- our own part ---- */

uint64_t abd_scan_print(const uint8_t secret[16], struct bytes key, struct tag tag, bool tombstone,
                        uint64_t value_print)
{
    uint8_t b[TAG_WIRE_LEN + 1 + 8 + KEY_MAX];
    struct writer w = {.to = {b, sizeof(b)}};

    put_tag(&w, tag);
    put_u8(&w, tombstone ? 1 : 0);
    put_u64(&w, value_print);
    put_bytes(&w, key);
    CHECK(!w.failed);
    return siphash(secret, (struct bytes){b, w.len});
}

/* Reads the value that the walk stands at behind the item's key. */
static RESULT read_value(struct abd *a, struct abd_batch *b, struct abd_item *i,
                         struct store_walk *w, struct abd_out *out)
{
    enum err err;

    TRY(abd_buffer_room(a, &b->bytes, w->entry.value_len, out));
    i->value_at = b->bytes.n;
    i->value_len = w->entry.value_len;
    err = store_walk_read(a->store, w,
                          (struct mbytes){b->bytes.p + b->bytes.n, b->bytes.cap - b->bytes.n});
    CHECK(err == OK || err == ERR_INTEGRITY);
    i->readable = err == OK;
    b->bytes.n += i->value_len;
    return OK;
}

/* SYNC-2: hashes the value that the walk stands at; it is not kept. */
static RESULT print_value(struct abd *a, struct abd_batch *b, struct abd_item *i,
                          struct store_walk *w, struct abd_out *out)
{
    enum err err;

    TRY(abd_buffer_room(a, &b->bytes, w->entry.value_len, out));
    err = store_walk_read(a->store, w,
                          (struct mbytes){b->bytes.p + b->bytes.n, b->bytes.cap - b->bytes.n});
    CHECK(err == OK || err == ERR_INTEGRITY);
    i->damaged = err == ERR_INTEGRITY;
    if (i->damaged) {
        i->holders = 0; /* SYNC-5 */
    } else {
        i->print = siphash(b->secret, (struct bytes){b->bytes.p + b->bytes.n, w->entry.value_len});
    }
    return OK;
}

/* SCAN-2: what stands here, up to so many keys and bytes. */
static RESULT own_page(struct abd *a, struct abd_batch *b, struct abd_out *out)
{
    uint32_t live_n = 0;
    size_t bytes = 0;
    struct store_walk w;
    struct abd_item *i;
    enum err err;

    store_walk_begin(low(b), high(b), b->down, &w);
    while ((err = store_walk_next(a->store, &w)) == OK) {
        bytes += w.key.n + (b->values || b->prints ? w.entry.value_len : 0);
        if (b->items_n == BATCH_KEYS_MAX || live_n == b->keys_max ||
            (b->items_n > 0 && bytes > b->bytes_max)) {
            cut(b, item_key(b, &b->items[b->items_n - 1]), false);
            break;
        }
        TRY(abd_batch_add(a, b, w.key, out, &i));
        i->own = i->tag = w.entry.tag;
        i->tombstone = i->was_tombstone = w.entry.tombstone;
        i->holders = i->voted = a->self_bit;
        if (b->values && !i->tombstone) {
            TRY(read_value(a, b, i, &w, out));
        } else if (b->prints && !i->tombstone) {
            TRY(print_value(a, b, i, &w, out));
        }
        live_n += !i->tombstone;
    }
    return err == ERR_LOST ? err : OK;
}

static uint64_t digest_of(const struct abd_batch *b)
{
    uint64_t digest = 0;

    for (uint32_t i = 0; i < b->items_n; i++) {
        const struct abd_item *m = &b->items[i];

        digest += abd_scan_print(b->secret, item_key(b, m), m->tag, m->tombstone, m->print);
    }
    return digest;
}

static RESULT write_question(struct abd *a, struct abd_batch *b, struct abd_out *out)
{
    struct scan_ask ask = {.down = b->down,
                           .values = b->prints,
                           .bytes_max = BATCH_BYTES,
                           .low = low(b),
                           .high = high(b),
                           .count = (uint16_t)b->items_n};

    memcpy(ask.secret, b->secret, sizeof(ask.secret));
    ask.digest = digest_of(b);
    ask.keys_max = (uint16_t)(b->items_n > b->keys_max ? b->items_n : b->keys_max);
    TRY(abd_buffer_room(a, &b->body, RANGE_ASK_MAX, out));
    b->body.n = (uint32_t)scan_ask_encode(&ask, true, (struct mbytes){b->body.p, b->body.cap});
    return OK;
}

static void settle(struct abd *a, struct abd_batch *b, struct abd_out *out);

RESULT abd_scan_collect(struct abd *a, struct abd_batch *b, struct abd_out *out)
{
    for (size_t i = 0; i < sizeof(b->secret); i += sizeof(uint64_t)) {
        uint64_t drawn = prng_u64(&a->prng);

        memcpy(b->secret + i, &drawn, sizeof(drawn));
    }
    TRY(own_page(a, b, out));
    abd_batch_enter(a, b, BATCH_COLLECT, out);
    TRY(write_question(a, b, out));
    abd_batch_pursue(a, b, out);
    if (abd_batch_votes(b, a->self_bit) >= b->need) {
        settle(a, b, out);
    }
    return OK;
}

RESULT abd_scan_start(struct abd *a, struct abd_batch *b, struct bytes body, struct abd_out *out)
{
    struct scan_ask ask;

    if (scan_ask_decode(body, false, &ask) != OK) {
        return ERR_USAGE;
    }
    a->counters.scans++;
    b->kind = BATCH_KIND_SCAN;
    b->down = ask.down;
    b->values = ask.values;
    b->keys_max = ask.keys_max;
    b->bytes_max = ask.bytes_max < BATCH_BYTES ? ask.bytes_max : BATCH_BYTES;
    b->low_n = (uint16_t)ask.low.n;
    b->high_n = (uint16_t)ask.high.n;
    if (ask.low.n != 0) {
        memcpy(b->low, ask.low.p, ask.low.n);
    }
    if (ask.high.n != 0) {
        memcpy(b->high, ask.high.p, ask.high.n);
    }
    return abd_scan_collect(a, b, out);
}

/* ---- what others hold ---- */

static void vote(struct abd_item *i, uint8_t bit, struct tag tag, uint8_t state)
{
    int c = tag_compare(tag, i->tag);

    if (c > 0) {
        i->tag = tag;
        i->tombstone = state == BATCH_TOMBSTONE;
        i->holders = 0;
    }
    if (c >= 0 && state != BATCH_DAMAGED) {
        i->holders |= bit;
    }
}

static int order(const struct abd_batch *b, struct bytes x, struct bytes y)
{
    int c = bytes_compare(x, y);

    return b->down ? -c : c;
}

/* In order from the near end of the range on, and tags that can be. */
static bool list_makes_sense(struct abd *a, const struct abd_batch *b, struct batch_list list)
{
    struct bytes last = {0};
    struct batch_item m;

    while (batch_list_next(&list, &m)) {
        bool near = b->down ? b->high_n == 0 || bytes_compare(m.key, high(b)) < 0
                            : bytes_compare(m.key, low(b)) >= 0;

        if (!near || (last.n != 0 && order(b, last, m.key) >= 0) || tag_is_zero(m.tag) ||
            !abd_tag_plausible(a, m.key, m.tag)) {
            return false;
        }
        last = m.key;
    }
    return true;
}

/* SYNC-4: both hold the key under one tag, neither is damaged, and it is not the same. */
static bool differs(const struct abd_item *i, const struct batch_item *m)
{
    return tag_compare(m->tag, i->own) == 0 && !i->damaged && m->state != BATCH_DAMAGED &&
           (m->print != i->print || (m->state == BATCH_TOMBSTONE) != i->was_tombstone);
}

/* Both lists stand in the order of the scan. */
static RESULT merge(struct abd *a, struct abd_batch *b, uint8_t bit, struct batch_list *list,
                    struct abd_out *out)
{
    struct abd_item *ours = b->items;
    uint32_t ours_n = b->items_n, ours_cap = b->items_cap, at = 0;
    uint32_t cap = ours_n + list->n + 1U; /* never none */
    struct batch_item m;
    enum err err = OK;

    b->items = abd_alloc(a, cap * sizeof(*b->items), out);
    if (b->items == NULL) {
        b->items = ours;
        return ERR_ENCLAVE_MEMORY;
    }
    b->items_cap = cap;
    b->items_n = 0;
    while (err == OK && batch_list_next(list, &m)) {
        struct abd_item *i;

        while (at < ours_n && order(b, item_key(b, &ours[at]), m.key) < 0) {
            b->items[b->items_n++] = ours[at++];
        }
        if (at < ours_n && bytes_equal(item_key(b, &ours[at]), m.key)) {
            i = &b->items[b->items_n++];
            *i = ours[at++];
        } else {
            err = abd_batch_add(a, b, m.key, out, &i);
            if (err != OK) {
                break;
            }
        }
        if (b->prints && differs(i, &m)) {
            abd_sync_diverged(a, bit);
        }
        vote(i, bit, m.tag, m.state);
    }
    while (err == OK && at < ours_n) {
        b->items[b->items_n++] = ours[at++];
    }
    heap_free(a->heap, ours, ours_cap * sizeof(*ours));
    return err;
}

/* SCAN-3: about keys beyond what a replica looked at it has said nothing. */
static bool narrow(const struct abd *a, struct abd_batch *b, const struct scan_page *page)
{
    if (!page->more) {
        return true;
    }
    if (bytes_compare(page->next, low(b)) <= 0 && !b->down) {
        return false;
    }
    if (b->down && b->high_n != 0 && bytes_compare(page->next, high(b)) >= 0) {
        return false;
    }
    if (covers(b, page->next) && !abd_has_plant(a, ABD_PLANT_SCAN_SILENCE)) {
        cut(b, page->next, !b->down);
    }
    return true;
}

static bool on_listed(struct abd *a, struct abd_batch *b, uint8_t bit, struct bytes body,
                      struct abd_out *out)
{
    struct scan_page page;

    if (scan_page_decode(body, true, &page) != OK || page.values != b->prints ||
        !list_makes_sense(a, b, page.list) || !narrow(a, b, &page)) {
        return false;
    }
    b->listed = true;
    a->counters.scan_lists += b->kind == BATCH_KIND_SCAN;
    if (merge(a, b, bit, &page.list, out) != OK) {
        abd_batch_fail(a, b, ERR_ENCLAVE_MEMORY, out);
        return true;
    }
    drop_uncovered(b);
    b->answered |= bit;
    return true;
}

bool abd_scan_answer(struct abd *a, struct abd_batch *b, uint8_t bit, const struct peer_answer *m,
                     struct abd_out *out)
{
    uint8_t place = b->place;

    if (m->kind == PEER_SAME) {
        for (uint32_t i = 0; i < b->items_n; i++) {
            vote(&b->items[i], bit, b->items[i].own,
                 b->items[i].tombstone ? BATCH_TOMBSTONE : BATCH_LIVE);
        }
        b->answered |= bit;
    } else if (!on_listed(a, b, bit, m->value, out)) {
        return false;
    }
    /* It may have ended for want of memory. */
    if (a->batches[place] == b && abd_batch_votes(b, b->answered | a->self_bit) >= b->need) {
        settle(a, b, out);
    }
    return true;
}

/* SCAN-4: done is a key whose maximum is held by a majority (and is here, if its value is wanted);
 * the others are read like any key, with a write-back. */
static void settle(struct abd *a, struct abd_batch *b, struct abd_out *out)
{
    bool open = false;
    enum err err = OK;

    for (uint32_t i = 0; i < b->items_n; i++) {
        struct abd_item *m = &b->items[i];
        bool here = m->tombstone || ((m->holders & a->self_bit) != 0 && m->readable);

        if ((abd_batch_votes(b, m->holders) >= b->need ||
             (abd_has_plant(a, ABD_PLANT_SCAN_NO_WRITE_BACK) && b->kind == BATCH_KIND_SCAN)) &&
            (here || !b->values)) {
            m->closed = true;
            m->status = m->tombstone ? ERR_NOT_FOUND : OK;
        }
        open = open || !m->closed;
        a->counters.sync_keys += b->kind == BATCH_KIND_SYNC && !m->closed;
    }
    if (open) {
        err = abd_look_start(a, b, out);
    } else {
        abd_batch_finish(a, b, out);
    }
    if (err != OK) {
        abd_batch_fail(a, b, err, out);
    }
}

void abd_scan_cut_before(struct abd_batch *b, uint32_t item)
{
    cut(b, item_key(b, &b->items[item]), true);
}

/* ---- the page ---- */

/* SCAN-5: a page ends before the first key that could not be decided, or that has no room. Returns
 * how many items to look at; *ret_n of them are live and take *ret_bytes. */
static uint32_t choose_items(const struct abd_batch *b, unsigned fields, uint16_t *ret_n,
                             size_t *ret_bytes)
{
    size_t bytes = 0;
    uint32_t n = 0, i;

    for (i = 0; i < b->items_n; i++) {
        const struct abd_item *m = &b->items[i];
        struct batch_item wire = {.key = item_key(b, m), .value = item_value(b, m)};
        size_t len = batch_item_len(fields, &wire);

        if (m->status == ERR_NOT_FOUND) {
            continue;
        }
        if (m->status != OK || n == b->keys_max ||
            (n > 0 && bytes + len > BATCH_BYTES + BATCH_KEYS_MAX * BATCH_ITEM_MAX)) {
            break;
        }
        bytes += len;
        n++;
    }
    *ret_n = (uint16_t)n;
    *ret_bytes = bytes;
    return i;
}

void abd_scan_finish(struct abd *a, struct abd_batch *b, struct abd_out *out)
{
    unsigned fields = b->values ? BATCH_PAGE_VALUES : BATCH_PAGE_KEYS;
    size_t bytes;
    uint16_t n;
    uint32_t end = choose_items(b, fields, &n, &bytes);
    struct scan_page page = {.values = b->values};
    struct writer w = {0};

    if (end == 0 && b->items_n > 0) {
        abd_batch_fail(a, b, (enum err)b->items[0].status, out);
        return;
    }
    if (end < b->items_n) {
        cut(b, item_key(b, &b->items[end]), true);
    }
    page.more = b->more;
    page.next = b->down ? low(b) : high(b);
    w.to = (struct mbytes){abd_alloc(a, PAGE_HEAD_MAX + bytes, out), PAGE_HEAD_MAX + bytes};
    if (w.to.p == NULL) {
        abd_batch_fail(a, b, ERR_ENCLAVE_MEMORY, out);
        return;
    }
    abd_lend(a, w.to.p, w.to.n);
    scan_page_put_head(&w, &page, n);
    for (uint32_t i = 0; i < end; i++) {
        const struct abd_item *m = &b->items[i];
        struct batch_item wire = {.key = item_key(b, m), .value = item_value(b, m)};

        if (m->status == OK) {
            batch_item_put(&w, fields, &wire);
        }
    }
    CHECK(!w.failed);
    a->counters.scan_keys += n;
    abd_batch_reply(a, b, (struct mbytes){w.to.p, w.len}, out);
}
