// SPDX-License-Identifier: Apache-2.0
#include "common/check.h"
#include "trusted/abd/abd_batch.h"

/*
 * Anti-entropy: page after page this replica compares what it holds with one other. A page is a
 * scan without a client, whose majority are the two. Clauses SYNC-n: docs/protocol/sync.md.
 */

static const uint64_t PAGE_NS = UINT64_C(2000000000);
enum {
    CATCH_UP = 8, /* how much sooner the next page comes after one that differed */
    /* A quarter of a scan's page: what a get that arrives meanwhile has to wait for. */
    PAGE_KEYS = BATCH_KEYS_MAX / 4,
    PAGE_BYTES = BATCH_BYTES / 4,
};

_Static_assert((int)CATCH_UP <= (int)ABD_SYNC_MIN_NS, "time passes between two pages");

/* The next member after `peer` that is up; ourselves: nobody is. */
static uint8_t after(const struct abd *a, uint8_t peer)
{
    for (uint8_t i = 1; i <= a->config.members_n; i++) {
        uint8_t p = (uint8_t)((peer + i) % a->config.members_n);

        if ((a->up & abd_bit(p)) != 0) {
            return p;
        }
    }
    return a->config.self;
}

void abd_sync_init(struct abd *a)
{
    a->sync.at_ns = a->config.sync_ns;
    a->sync.keys = PAGE_KEYS;
    a->sync.peer = a->config.self;
}

void abd_sync_forget(struct abd *a)
{
    a->sync.peer = a->config.self;
    a->counters.diverged_from = 0;
}

uint64_t abd_sync_deadline(const struct abd *a)
{
    return a->config.sync_ns == 0 || a->sync.active || a->up == 0 ? ABD_NEVER : a->sync.at_ns;
}

static void next_page_at(struct abd *a, uint64_t after_ns)
{
    a->sync.active = false;
    a->sync.at_ns = a->now_ns + after_ns;
}

void abd_sync_begin(struct abd *a, struct abd_out *out)
{
    struct abd_sync *s = &a->sync;
    struct abd_batch *b;
    enum err err;

    if (s->peer >= a->config.members_n || (a->up & abd_bit(s->peer)) == 0) {
        s->peer = after(a, a->config.self);
    }
    next_page_at(a, a->config.sync_ns);
    if (abd_batch_take(a, a->now_ns + PAGE_NS, out, &b) != OK) {
        return; /* SYNC-1: clients come first */
    }
    s->active = true;
    b->kind = BATCH_KIND_SYNC;
    b->group = a->self_bit | abd_bit(s->peer);
    b->need = 2;
    b->prints = true;
    b->keys_max = s->keys;
    b->bytes_max = PAGE_BYTES;
    b->high_n = 0;
    b->low_n = s->low_n;
    memcpy(b->low, s->low, s->low_n);
    err = abd_scan_collect(a, b, out);
    if (err != OK) {
        abd_batch_fail(a, b, err, out);
    }
}

/* SYNC-4: equal tags are equal values (ABD-2), so nobody can tell which of the two is right. */
void abd_sync_diverged(struct abd *a, uint8_t bit)
{
    if (!abd_has_plant(a, ABD_PLANT_DIVERGENCE_QUIET)) {
        a->counters.divergences++;
        a->counters.diverged_from |= bit;
    }
}

void abd_sync_finish(struct abd *a, struct abd_batch *b, struct abd_out *out)
{
    struct abd_sync *s = &a->sync;

    for (uint32_t i = 1; i < b->items_n; i++) {
        if (b->items[i].status == ERR_BUSY) { /* no room for it: with the next page */
            abd_scan_cut_before(b, i);
            break;
        }
    }
    a->counters.sync_pages++;
    next_page_at(a, b->listed ? a->config.sync_ns / CATCH_UP : a->config.sync_ns);
    s->fails = 0;
    s->keys = (uint16_t)(2 * s->keys < PAGE_KEYS ? 2 * s->keys : PAGE_KEYS);
    if (b->more && !abd_has_plant(a, ABD_PLANT_SYNC_FIRST_PAGE)) {
        memcpy(s->low, b->high, b->high_n);
        s->low_n = b->high_n;
    } else {
        a->counters.sync_passes++;
        s->low_n = 0;
        s->peer = after(a, s->peer);
    }
    abd_batch_drop(a, b, out);
}

/* SYNC-6: past the first key of the page. */
static void skip_one(struct abd *a)
{
    struct abd_sync *s = &a->sync;
    struct store_walk w;

    s->fails = 0;
    store_walk_begin((struct bytes){s->low, s->low_n}, (struct bytes){0}, false, &w);
    if (store_walk_next(a->store, &w) != OK) {
        s->low_n = 0;
        return;
    }
    memcpy(s->low, w.key.p, w.key.n);
    s->low[w.key.n] = 0; /* the first key above it */
    s->low_n = (uint16_t)(w.key.n + 1);
}

void abd_sync_failed(struct abd *a, struct abd_batch *b, struct abd_out *out)
{
    struct abd_sync *s = &a->sync;

    next_page_at(a, a->config.sync_ns);
    s->keys = s->keys > 4 ? s->keys / 4 : 1;
    s->peer = after(a, s->peer);
    if (s->keys == 1 && ++s->fails > a->config.members_n) {
        skip_one(a);
    }
    abd_batch_drop(a, b, out);
}
