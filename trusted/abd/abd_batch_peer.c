// SPDX-License-Identifier: Apache-2.0
#include "common/check.h"
#include "common/siphash.h"
#include "trusted/abd/abd_batch.h"

/* The answering side of batches. Nothing is kept between two questions. */

static void refuse(struct abd_out *out, enum err err)
{
    out->answer = (struct peer_answer){.kind = PEER_REFUSED, .err = err};
}

/* Hands the answer's body over: it is valid until the next step. */
static void answer(struct abd *a, enum peer_answer_kind kind, const struct writer *w,
                   struct abd_out *out)
{
    CHECK(!w->failed);
    abd_lend(a, w->to.p, w->to.n);
    out->answer =
        (struct peer_answer){.kind = kind, .value = (struct bytes){.p = w->to.p, .n = w->len}};
}

/* ABD-20: of several keys this replica knows all or says nothing. */
static void answer_if(struct abd *a, enum err err, enum peer_answer_kind kind,
                      const struct writer *w, struct abd_out *out)
{
    if (err == OK) {
        answer(a, kind, w, out);
    } else {
        heap_free(a->heap, w->to.p, w->to.n);
        refuse(out, err);
    }
}

/* ---- RANGE ---- */

/* How far a look at the range got. */
struct look {
    uint64_t digest;
    size_t bytes;  /* of the items as a list */
    size_t hashed; /* bytes of values */
    uint16_t n;
    bool more; /* there is something beyond the last item */
    uint16_t last_n;
    uint8_t last[KEY_MAX];
    struct abd_buffer value; /* one at a time, to be hashed */
};

/* SYNC-2: the hash of the value that the walk stands at. */
static RESULT print_value(struct abd *a, const struct scan_ask *ask, struct store_walk *walk,
                          struct look *look, struct batch_item *m, struct abd_out *out)
{
    uint32_t len = walk->entry.value_len;
    enum err err;

    TRY(abd_buffer_room(a, &look->value, len, out));
    err = store_walk_read(a->store, walk, (struct mbytes){look->value.p, look->value.cap});
    CHECK(err == OK || err == ERR_INTEGRITY);
    if (err == OK) {
        m->print = siphash(ask->secret, (struct bytes){look->value.p, len});
    } else {
        m->state = BATCH_DAMAGED; /* SYNC-5: the asker sends it back */
    }
    look->hashed += len;
    return OK;
}

/* One walk up to the limits; writes the items to `w` unless it is NULL. LOST (ABD-20). */
static RESULT look_at(struct abd *a, const struct scan_ask *ask, struct writer *w, struct look *ret,
                      struct abd_out *out)
{
    unsigned fields = ask->values ? BATCH_LISTED_PRINTS : BATCH_LISTED;
    struct store_walk walk;
    enum err err;

    ret->digest = ret->bytes = ret->hashed = ret->n = ret->last_n = 0;
    ret->more = false;
    store_walk_begin(ask->low, ask->high, ask->down, &walk);
    while ((err = store_walk_next(a->store, &walk)) == OK) {
        struct batch_item m = {.state = walk.entry.tombstone ? BATCH_TOMBSTONE : BATCH_LIVE,
                               .tag = walk.entry.tag,
                               .key = walk.key};
        size_t len = batch_item_len(fields, &m);

        if (ret->n == ask->keys_max ||
            (ret->n > 0 && (ret->bytes + len > BATCH_BYTES || ret->hashed > BATCH_BYTES))) {
            ret->more = true;
            return OK;
        }
        if (ask->values && !walk.entry.tombstone) {
            TRY(print_value(a, ask, &walk, ret, &m, out));
        }
        ret->digest += abd_scan_print(ask->secret, m.key, m.tag, walk.entry.tombstone, m.print);
        ret->bytes += len;
        ret->n++;
        ret->last_n = (uint16_t)walk.key.n;
        memcpy(ret->last, walk.key.p, walk.key.n);
        if (w != NULL) {
            batch_item_put(w, fields, &m);
        }
    }
    return err == ERR_LOST ? err : OK;
}

/* SCAN-3: all that stands here, or where the look ended. */
static RESULT list_range(struct abd *a, const struct scan_ask *range, struct look *look,
                         struct abd_out *out)
{
    struct scan_page page = {.more = look->more, .values = range->values};
    struct writer w = {.to.n = PAGE_HEAD_MAX + look->bytes};
    uint8_t next[BOUND_MAX];
    enum err err;

    w.to.p = abd_alloc(a, w.to.n, out);
    if (w.to.p == NULL) {
        return ERR_ENCLAVE_MEMORY;
    }
    memcpy(next, look->last, look->last_n);
    next[look->last_n] = 0; /* upwards: the first key above the last one */
    page.next = (struct bytes){.p = next, .n = look->last_n + (range->down ? 0U : 1U)};
    scan_page_put_head(&w, &page, look->n);
    err = look_at(a, range, &w, look, out);
    if (err != OK) {
        heap_free(a->heap, w.to.p, w.to.n);
        return err;
    }
    answer(a, PEER_LISTED, &w, out);
    return OK;
}

static void on_range(struct abd *a, const struct peer_ask *ask, struct abd_out *out)
{
    struct scan_ask range;
    struct look look = {0};
    enum err err;

    if (scan_ask_decode(ask->value, true, &range) != OK) {
        refuse(out, ERR_MALFORMED);
        return;
    }
    err = look_at(a, &range, NULL, &look, out);
    if (err == OK && !look.more && look.n == range.count && look.digest == range.digest) {
        out->answer = (struct peer_answer){.kind = PEER_SAME};
    } else if (err == OK) {
        err = list_range(a, &range, &look, out);
    }
    heap_free(a->heap, look.value.p, look.value.cap);
    if (err != OK) {
        refuse(out, err);
    }
}

void abd_expect(struct abd *a, struct batch_list list)
{
    struct bytes keys[STORE_EXPECT_MAX];
    struct batch_item m;
    size_t n = 0;

    if (list.n < 2 || !store_waits(a->store)) {
        return;
    }
    while (batch_list_next(&list, &m)) {
        keys[n++] = m.key;
        if (n == STORE_EXPECT_MAX) {
            store_expect(a->store, keys, n);
            n = 0;
        }
    }
    store_expect(a->store, keys, n);
}

/* ---- TAGS ---- */

static void on_tags(struct abd *a, const struct peer_ask *ask, struct abd_out *out)
{
    struct batch_list list;
    struct batch_item m;
    struct writer w = {0};
    struct store_entry e;
    enum err err = OK;

    if (batch_list_decode(ask->value, BATCH_TAGS, 1, &list) != OK) {
        refuse(out, ERR_MALFORMED);
        return;
    }
    w.to.n = 2 + list.n * (size_t)TAG_WIRE_LEN;
    w.to.p = abd_alloc(a, w.to.n, out);
    if (w.to.p == NULL) {
        refuse(out, ERR_ENCLAVE_MEMORY);
        return;
    }
    put_u16(&w, list.n);
    abd_expect(a, list);
    while (err == OK && batch_list_next(&list, &m)) {
        err = abd_find(a, m.key, &e);
        put_tag(&w, abd_seen_tag(a, e.tag));
    }
    answer_if(a, err, PEER_TAGGED, &w, out);
}

/* ---- LOOK ---- */

/* What is said of one key. A newer value goes with its tag, read into the answer itself. */
static void put_looked(struct abd *a, struct bytes key, struct tag asked,
                       const struct store_entry *e, struct writer *w, struct abd_out *out)
{
    struct batch_item m = {.state = PEER_HOLDS_SAME, .tag = e->tag};
    struct store_entry read = *e;
    int c = tag_compare(e->tag, asked);
    bool damaged = c >= 0 && e->damaged;
    size_t at = w->len;

    if (c < 0) {
        m.state = PEER_HOLDS_OLDER;
    } else if (c > 0) {
        m.state = PEER_HOLDS_NEWER | (e->tombstone ? BATCH_LOOKED_TOMBSTONE : 0);
        m.value.n = e->value_len; /* its bytes follow */
    }
    if (m.value.n != 0 && !damaged) {
        size_t head = batch_item_len(BATCH_LOOKED, &(struct batch_item){0});

        damaged =
            store_read(a->store, key, (struct mbytes){w->to.p + at + head, w->to.n - at - head},
                       &read) != OK;
        if (!damaged) {
            put_u8(w, m.state);
            put_tag(w, m.tag);
            put_u32(w, read.value_len);
            w->len += read.value_len;
            return;
        }
    }
    m.value.n = 0;
    if (damaged) {
        /* ABD-12: say that a newer value exists, never an older one. */
        m.state = PEER_HOLDS_DAMAGED;
        if (!tag_is_zero(asked) && out->calls_n == 0) {
            abd_repair(a, key, out);
        }
    }
    batch_item_put(w, BATCH_LOOKED, &m);
}

/* Values that this answer has room for: all, or as many as fit, the first one in any case. */
static RESULT looked_bytes(struct abd *a, struct batch_list list, uint16_t *ret_fit,
                           size_t *ret_bytes)
{
    struct batch_item m;

    *ret_fit = 0;
    *ret_bytes = 0;
    abd_expect(a, list);
    while (batch_list_next(&list, &m)) {
        struct store_entry e;
        uint32_t len;

        TRY(abd_find(a, m.key, &e));
        len = tag_compare(e.tag, m.tag) > 0 && !e.damaged ? e.value_len : 0;
        if (*ret_bytes > 0 && *ret_bytes + len > BATCH_BYTES) {
            break;
        }
        *ret_bytes += len;
        (*ret_fit)++;
    }
    return OK;
}

static void on_look(struct abd *a, const struct peer_ask *ask, struct abd_out *out)
{
    struct batch_list list;
    struct batch_item m;
    struct writer w = {0};
    uint16_t fit;
    size_t bytes;
    enum err err;

    if (batch_list_decode(ask->value, BATCH_LOOK, 1, &list) != OK) {
        refuse(out, ERR_MALFORMED);
        return;
    }
    err = looked_bytes(a, list, &fit, &bytes);
    if (err != OK) {
        refuse(out, err);
        return;
    }
    w.to.n = 2 + list.n * (1UL + TAG_WIRE_LEN + 4) + bytes;
    w.to.p = abd_alloc(a, w.to.n, out);
    if (w.to.p == NULL) {
        refuse(out, ERR_ENCLAVE_MEMORY);
        return;
    }
    put_u16(&w, list.n);
    while (err == OK && batch_list_next(&list, &m)) {
        struct store_entry e;

        if (fit == 0) {
            batch_item_put(&w, BATCH_LOOKED, &(struct batch_item){.state = BATCH_LOOKED_SKIPPED});
            continue;
        }
        fit--;
        err = abd_find(a, m.key, &e);
        if (err == OK) {
            put_looked(a, m.key, m.tag, &e, &w, out);
        }
    }
    answer_if(a, err, PEER_LOOKED, &w, out);
}

/* ---- PUSH ---- */

/* ABD-3 for each key. */
static void on_push(struct abd *a, const struct peer_ask *ask, struct abd_out *out)
{
    struct batch_list list;
    struct batch_item m;
    struct writer w = {0};

    if (batch_list_decode(ask->value, BATCH_PUSH, BATCH_TOMBSTONE + 1, &list) != OK) {
        refuse(out, ERR_MALFORMED);
        return;
    }
    w.to.n = 2 + list.n;
    w.to.p = abd_alloc(a, w.to.n, out);
    if (w.to.p == NULL) {
        refuse(out, ERR_ENCLAVE_MEMORY);
        return;
    }
    put_u16(&w, list.n);
    abd_expect(a, list);
    while (batch_list_next(&list, &m)) {
        bool applied;

        put_u8(&w, (uint8_t)abd_take_in(a, m.key, m.tag, m.state == BATCH_TOMBSTONE, m.value,
                                        &applied, out));
    }
    answer(a, PEER_PUSHED, &w, out);
}

void abd_batch_on_ask(struct abd *a, const struct abd_in *in, struct abd_out *out)
{
    const struct peer_ask *ask = in->ask;

    if (ask->kind == PEER_RANGE) {
        on_range(a, ask, out);
    } else if (ask->kind == PEER_TAGS) {
        on_tags(a, ask, out);
    } else if (ask->kind == PEER_LOOK) {
        on_look(a, ask, out);
    } else {
        on_push(a, ask, out);
    }
}
