// SPDX-License-Identifier: Apache-2.0
#include "client/calls.h"
#include "client/status.h"
#include "common/check.h"
#include "trusted/wire/batch_wire.h"

#include <stdio.h>
#include <stdlib.h>

/*
 * Multi-get and multi-put. The items are sorted by part and go out in calls of up to 256 keys and
 * 64 KiB; a few calls are under way at a time. A key for which an answer had no room is asked
 * again.
 */

enum {
    UNDER_WAY_MAX = 16,
    ITEMS_MAX = 1 << 20,
    BODY_BYTES = BATCH_BYTES, /* of one call, unless a single item is longer */
};

/* An answer with the values that items point to. */
struct block {
    struct block *next;
    uint8_t bytes[];
};

/* One call: which items it is about. */
struct chunk {
    uint32_t n;
    uint32_t items[BATCH_KEYS_MAX];
};

struct avo_batch {
    struct avo_client *client;
    struct avo_item *items;
    uint32_t *queue; /* numbers of items that are to be asked, in the order of asking */
    uint32_t queue_n, queue_cap, next;
    uint32_t under_way;
    bool is_put, ready;
    uint64_t until_ns;
    struct block *blocks;
    struct chunk chunks[UNDER_WAY_MAX];
};

static uint32_t part_of(const struct avo_batch *b, const struct avo_item *i)
{
    return core_part_of(b->client->core, (struct bytes){i->key, i->key_len});
}

static unsigned ask_fields(const struct avo_batch *b)
{
    return b->is_put ? BATCH_MPUT : BATCH_MGET;
}

static struct batch_item wire_of(const struct avo_batch *b, const struct avo_item *i)
{
    bool removes = b->is_put && (i->flags & AVO_ITEM_DELETE) != 0;
    struct batch_item m = {.state = removes ? BATCH_TOMBSTONE : BATCH_LIVE,
                           .key = {.p = i->key, .n = i->key_len}};

    if (b->is_put && !removes) {
        m.value = (struct bytes){.p = i->value, .n = i->value_len};
    }
    return m;
}

/* ---- asking ---- */

static bool queue_again(struct avo_batch *b, uint32_t item)
{
    if (b->queue_n == b->queue_cap) {
        uint32_t cap = 2 * b->queue_cap;
        uint32_t *queue = realloc(b->queue, cap * sizeof(*queue));

        if (queue == NULL) {
            return false;
        }
        b->queue = queue;
        b->queue_cap = cap;
    }
    b->queue[b->queue_n++] = item;
    return true;
}

/* The next items of the queue that belong to one part and fit one call; returns their bytes. */
static size_t fill_chunk(struct avo_batch *b, struct chunk *to, uint32_t *ret_part)
{
    size_t bytes = 2;

    to->n = 0;
    while (b->next < b->queue_n && to->n < BATCH_KEYS_MAX) {
        const struct avo_item *i = &b->items[b->queue[b->next]];
        struct batch_item wire = wire_of(b, i);
        size_t len = batch_item_len(ask_fields(b), &wire);
        uint32_t part = part_of(b, i);

        if (to->n > 0 && (part != *ret_part || bytes + len > BODY_BYTES)) {
            break;
        }
        *ret_part = part;
        bytes += len;
        to->items[to->n++] = b->queue[b->next++];
    }
    return bytes;
}

static void end_chunk(struct avo_batch *b, struct chunk *k, enum avo_status status)
{
    for (uint32_t i = 0; i < k->n; i++) {
        b->items[k->items[i]].status = status;
    }
    k->n = 0;
}

static void on_answer(void *owner, uint32_t which, const struct core_completion *done);

static enum avo_status send_chunk(struct avo_batch *b, uint32_t which, size_t bytes, uint32_t part)
{
    const struct chunk *k = &b->chunks[which];
    uint64_t now_ns = client_now_ns();
    uint64_t left_ms = now_ns < b->until_ns ? (b->until_ns - now_ns) / UINT64_C(1000000) : 0;
    struct writer w = {.to = {malloc(bytes), bytes}};
    struct core_request q = {
        .op = b->is_put ? CLIENT_MPUT : CLIENT_MGET,
        .timeout_ms = left_ms == 0 ? 1 : (uint32_t)left_ms,
    };
    enum avo_status status;

    if (w.to.p == NULL) {
        return AVO_NO_MEMORY;
    }
    (void)core_part(b->client->core, part, &q.shard, &q.group); /* a key has such a part */
    put_u16(&w, (uint16_t)k->n);
    for (uint32_t i = 0; i < k->n; i++) {
        struct batch_item wire = wire_of(b, &b->items[k->items[i]]);

        batch_item_put(&w, ask_fields(b), &wire);
    }
    CHECK(!w.failed && w.len == bytes);
    q.value = (struct bytes){w.to.p, w.len};
    status = client_call(b->client, &q, b, on_answer, which);
    free(w.to.p);
    return status;
}

/* Sends what may be under way; `ready` when nothing is left. */
static void pump(struct avo_batch *b)
{
    for (uint32_t which = 0; which < UNDER_WAY_MAX && b->next < b->queue_n; which++) {
        struct chunk *k = &b->chunks[which];
        uint32_t part = 0;
        enum avo_status status;
        size_t bytes;

        if (k->n != 0) {
            continue;
        }
        bytes = fill_chunk(b, k, &part);
        status = send_chunk(b, which, bytes, part);
        if (status == AVO_BUSY && b->under_way > 0) { /* in_flight_max: when another has ended */
            b->next -= k->n;
            k->n = 0;
            return;
        }
        if (status != AVO_OK) {
            end_chunk(b, k, status);
            continue;
        }
        b->under_way++;
    }
    b->ready = b->under_way == 0;
}

/* ---- answers ---- */

/* Copies the body, so that values stay. */
static bool keep_body(struct avo_batch *b, struct bytes body, struct bytes *ret)
{
    struct block *k = malloc(sizeof(*k) + body.n);

    if (k == NULL) {
        return false;
    }
    memcpy(k->bytes, body.p, body.n);
    k->next = b->blocks;
    b->blocks = k;
    *ret = (struct bytes){k->bytes, body.n};
    return true;
}

static void take_item(struct avo_batch *b, uint32_t number, const struct batch_item *m)
{
    struct avo_item *i = &b->items[number];

    if (m->state == ERR_BUSY && client_now_ns() < b->until_ns && queue_again(b, number)) {
        return;
    }
    i->status = status_of((enum err)m->state);
    if (!b->is_put && i->status == AVO_OK) {
        i->value = m->value.n == 0 ? (const void *)"" : m->value.p;
        i->value_len = m->value.n;
    }
}

static void on_answer(void *owner, uint32_t which, const struct core_completion *done)
{
    struct avo_batch *b = owner;
    struct chunk *k = &b->chunks[which];
    struct bytes body = done->value;
    struct batch_list list;
    struct batch_item m;

    b->under_way--;
    if (done->lacks != 0) {
        client_refuse_lacking(b->client, b->is_put ? "multi-put" : "multi-get", done->lacks);
    }
    if (done->status != OK) {
        end_chunk(b, k, status_of(done->status));
    } else if (!b->is_put && !keep_body(b, done->value, &body)) {
        end_chunk(b, k, AVO_NO_MEMORY);
    } else if (batch_list_decode(body, b->is_put ? BATCH_STATES : BATCH_VALUES, ERR_N, &list) !=
                   OK ||
               list.n != k->n) {
        end_chunk(b, k, b->is_put ? AVO_INDETERMINATE : AVO_UNAVAILABLE);
    } else {
        for (uint32_t i = 0; batch_list_next(&list, &m); i++) {
            take_item(b, k->items[i], &m);
        }
    }
    k->n = 0;
    pump(b);
}

/* ---- the calls ---- */

static enum avo_status fault_of(const struct avo_item *i, bool is_put)
{
    if (i->key == NULL || i->key_len == 0 || (i->flags & ~(unsigned)AVO_ITEM_DELETE) != 0 ||
        (is_put && i->value == NULL && i->value_len != 0)) {
        return AVO_USAGE;
    }
    return i->key_len > KEY_MAX || (is_put && i->value_len > VALUE_MAX) ? AVO_TOO_BIG : AVO_OK;
}

/* Those of part 0 first, and so on: what goes to one part shares calls. */
static void sort_by_part(struct avo_batch *b, const uint16_t *parts, uint32_t n)
{
    uint32_t at[PARTS_MAX + 1] = {0};

    for (uint32_t i = 0; i < n; i++) {
        at[parts[i]]++;
    }
    for (uint32_t s = 0, sum = 0; s <= PARTS_MAX; s++) {
        uint32_t of = at[s];

        at[s] = sum;
        sum += of;
    }
    for (uint32_t i = 0; i < n; i++) {
        b->queue[at[parts[i]]++] = i;
    }
    b->queue_n = at[PARTS_MAX - 1]; /* those behind are not asked */
}

static enum avo_status prepare(struct avo_batch *b, uint32_t n)
{
    uint16_t *parts = malloc(n * sizeof(*parts));

    b->queue_cap = n;
    b->queue = malloc(n * sizeof(*b->queue));
    if (parts == NULL || b->queue == NULL) {
        free(parts);
        return AVO_NO_MEMORY;
    }
    for (uint32_t i = 0; i < n; i++) {
        struct avo_item *k = &b->items[i];

        k->status = fault_of(k, b->is_put);
        parts[i] = k->status == AVO_OK ? (uint16_t)part_of(b, k) : PARTS_MAX;
        if (!b->is_put) {
            k->value = NULL;
            k->value_len = 0;
        }
    }
    sort_by_part(b, parts, n);
    free(parts);
    return AVO_OK;
}

static enum avo_status start(struct avo_client *c, struct avo_item *items, size_t n, bool is_put,
                             struct avo_batch **ret)
{
    struct avo_batch *b;

    if (c == NULL || ret == NULL || items == NULL || n == 0 || n > ITEMS_MAX) {
        if (c != NULL) {
            (void)snprintf(c->last_error, sizeof(c->last_error), "a batch has 1 to %d keys",
                           ITEMS_MAX);
        }
        return AVO_USAGE;
    }
    *ret = NULL;
    b = calloc(1, sizeof(*b));
    if (b == NULL) {
        return AVO_NO_MEMORY;
    }
    b->client = c;
    b->items = items;
    b->is_put = is_put;
    b->until_ns = client_now_ns() + c->options.timeout_ms * UINT64_C(1000000);
    if (prepare(b, (uint32_t)n) != AVO_OK) {
        avo_batch_free(b);
        return AVO_NO_MEMORY;
    }
    pump(b);
    *ret = b;
    return AVO_OK;
}

AVO_API enum avo_status avo_mget(struct avo_client *c, struct avo_item *items, size_t n,
                                 struct avo_batch **ret_batch)
{
    return start(c, items, n, false, ret_batch);
}

AVO_API enum avo_status avo_mput(struct avo_client *c, struct avo_item *items, size_t n,
                                 struct avo_batch **ret_batch)
{
    return start(c, items, n, true, ret_batch);
}

AVO_API enum avo_status avo_batch_wait(struct avo_batch *b, int timeout_ms)
{
    if (b == NULL) {
        return AVO_USAGE;
    }
    if (!b->ready) {
        client_run(b->client, &b->ready,
                   timeout_ms < 0 ? UINT64_MAX
                                  : client_now_ns() + (uint64_t)timeout_ms * UINT64_C(1000000));
    }
    return b->ready ? AVO_OK : AVO_BUSY;
}

AVO_API void avo_batch_free(struct avo_batch *b)
{
    if (b == NULL) {
        return;
    }
    client_calls_forget(b->client, b);
    while (b->blocks != NULL) {
        struct block *next = b->blocks->next;

        free(b->blocks);
        b->blocks = next;
    }
    free(b->queue);
    free(b);
}
