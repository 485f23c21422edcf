// SPDX-License-Identifier: Apache-2.0
#include "trusted/store/store.h"

#include "common/check.h"
#include "common/limits.h"
#include "trusted/store/store_arena.h"
#include "trusted/store/store_index.h"
#include "trusted/store/store_seal.h"

struct store {
    struct store_sealer sealer; /* first: the most aligned */
    struct store_index index;
    struct store_arena arena;
    struct heap *heap;
    uint64_t keys, tombstones, value_bytes, damaged, integrity_failures, repairs;
    unsigned plants;
};

/* From 512 bytes on the heap aligns to a cache line. */
_Static_assert(sizeof(struct store) >= 512 && _Alignof(struct store) <= 64, "the heap aligns it");

static size_t reserve_of(const struct store_config *c)
{
    return c->reserve != 0 ? c->reserve : heap_limit(c->heap) / 16;
}

RESULT store_init(const struct store_config *c, struct store **ret)
{
    struct store *s = heap_zalloc(c->heap, sizeof(*s));

    if (s == NULL) {
        return ERR_ENCLAVE_MEMORY;
    }
    s->heap = c->heap;
    if (store_arena_init(&s->arena, c->heap, c->arena, c->arena_bytes) != OK) {
        goto no_arena;
    }
    if (store_index_init(&s->index, c->heap, &s->arena, &s->sealer, reserve_of(c)) != OK) {
        goto no_index;
    }
    store_seal_init(&s->sealer, c->aead, c->shard, &c->master);
    *ret = s;
    return OK;
no_index:
    store_arena_fini(&s->arena);
no_arena:
    heap_free(c->heap, s, sizeof(*s));
    return ERR_ENCLAVE_MEMORY;
}

void store_fini(struct store *s)
{
    if (s == NULL) {
        return;
    }
    store_seal_fini(&s->sealer);
    store_index_fini(&s->index);
    store_arena_fini(&s->arena);
    heap_free(s->heap, s, sizeof(*s));
}

static uint32_t value_len(const struct store_record *r)
{
    return r->value & STORE_VALUE_LEN_MASK;
}

static struct tag tag_of(const struct store_record *r)
{
    return (struct tag){.ts = r->ts, .writer = r->writer, .rmwc = r->rmwc};
}

static struct store_entry entry_of(const struct store_record *r)
{
    return (struct store_entry){
        .tag = tag_of(r),
        .tombstone = (r->value & STORE_TOMBSTONE) != 0,
        .damaged = (r->value & STORE_DAMAGED) != 0,
        .value_len = value_len(r),
    };
}

static uint32_t block_of(const struct store_record *r)
{
    return store_seal_block(store_padded(value_len(r)));
}

static struct store_binding binding_of(const struct store_record *r, struct bytes key)
{
    return (struct store_binding){.tag = tag_of(r), .key = key, .value_len = value_len(r)};
}

/* Why the index has found nothing. STORE-18: what is lost is not absent. */
static RESULT missing(const struct store *s)
{
    return s->index.lost ? ERR_LOST : ERR_NOT_FOUND;
}

RESULT store_find(struct store *s, struct bytes key, struct store_entry *ret)
{
    const uint8_t *payload = store_index_find(&s->index, key);

    if (payload == NULL) {
        return missing(s);
    }
    struct store_record r = store_record_load(payload);

    *ret = entry_of(&r);
    return OK;
}

/* STORE-10: what failed once stays refused, whatever the host puts there later. */
static RESULT refuse(struct store *s, uint8_t *payload, struct store_record *r,
                     struct store_entry *ret)
{
    if ((r->value & STORE_DAMAGED) == 0) {
        r->value |= STORE_DAMAGED;
        store_index_save(&s->index, payload, r);
        s->damaged++;
        s->integrity_failures++;
    }
    ret->damaged = true;
    return ERR_INTEGRITY;
}

static RESULT read_at(struct store *s, uint8_t *payload, struct bytes key, struct mbytes to,
                      struct store_entry *ret)
{
    struct store_record r = store_record_load(payload);
    uint32_t len = value_len(&r);

    *ret = entry_of(&r);
    if (len > to.n) {
        return ERR_TOO_BIG;
    }
    if (len == 0) {
        return OK;
    }
    if ((r.value & STORE_DAMAGED) != 0) {
        memset(to.p, 0, len);
        return refuse(s, payload, &r, ret);
    }
    struct store_binding binding = binding_of(&r, key);

    if (store_seal_get(&s->sealer, &binding, store_padded(len), store_arena_at(&s->arena, r.place),
                       to) != OK &&
        (s->plants & STORE_PLANT_TRUSTING) == 0) {
        return refuse(s, payload, &r, ret);
    }
    return OK;
}

RESULT store_read(struct store *s, struct bytes key, struct mbytes to, struct store_entry *ret)
{
    uint8_t *payload = store_index_find(&s->index, key);

    return payload == NULL ? missing(s) : read_at(s, payload, key, to, ret);
}

/* Finds room for the new value before anything changes (STORE-11). `was` is what the key is held
 * with, NULL for a new key. *ret_kept: the new value goes where the old one lies. */
static RESULT find_room(struct store *s, const struct store_record *was, uint32_t len,
                        uint32_t *ret_place, bool *ret_kept)
{
    uint32_t padded = store_padded(len);
    uint32_t block = store_seal_block(padded);
    bool holds = was != NULL && value_len(was) > 0;
    enum err err;

    *ret_kept = false;
    if (len == 0) {
        *ret_place = 0;
        return OK;
    }
    /* Sealing cannot fail, so nothing is lost by writing over the old value. */
    if (holds && padded == store_padded(value_len(was))) {
        *ret_place = was->place;
        *ret_kept = true;
        return OK;
    }
    err = store_arena_take(&s->arena, padded, block, ret_place);
    if (err != OK && holds && store_arena_reuse(&s->arena, was->place, block_of(was), block)) {
        *ret_place = was->place;
        *ret_kept = true;
        return OK;
    }
    return err;
}

static void count(struct store *s, const struct store_record *r, bool held)
{
    uint64_t by = held ? 1 : (uint64_t)-1;

    if ((r->value & STORE_TOMBSTONE) != 0) {
        s->tombstones += by;
    } else {
        s->keys += by;
    }
    if ((r->value & STORE_DAMAGED) != 0) {
        s->damaged += by;
    }
    s->value_bytes += by * value_len(r);
}

/* Keeps a new value of a key that is held with *was at `payload`, or that is new. */
static RESULT keep(struct store *s, struct bytes key, struct store_record *r, struct bytes value,
                   uint8_t *payload)
{
    struct store_record was = {0};
    struct store_binding binding = binding_of(r, key);
    bool kept;

    if (payload != NULL) {
        was = store_record_load(payload);
    }
    TRY(find_room(s, payload == NULL ? NULL : &was, value_len(r), &r->place, &kept));
    if (value.n > 0) {
        store_seal_put(&s->sealer, &binding, value, store_padded(value_len(r)),
                       store_arena_at(&s->arena, r->place));
    }
    if (payload == NULL) {
        enum err err = store_index_insert(&s->index, key, r);

        if (err != OK && value.n > 0) {
            store_arena_give(&s->arena, r->place, block_of(r));
        }
        if (err != OK) {
            return err;
        }
    } else {
        store_index_save(&s->index, payload, r);
        if (!kept && value_len(&was) > 0) {
            store_arena_give(&s->arena, was.place, block_of(&was));
        }
        count(s, &was, false);
    }
    count(s, r, true);
    return OK;
}

RESULT store_apply(struct store *s, struct bytes key, struct tag tag, bool tombstone,
                   struct bytes value, bool *ret_applied)
{
    uint8_t *payload;
    struct tag held = {0};
    struct store_record r = {
        .ts = tag.ts,
        .writer = tag.writer,
        .rmwc = tag.rmwc,
        .value = (uint32_t)value.n | (tombstone ? (uint32_t)STORE_TOMBSTONE : 0),
    };

    CHECK(key.n >= 1 && key.n <= KEY_MAX && value.n <= VALUE_MAX);
    CHECK(!tombstone || value.n == 0);
    store_index_balance(&s->index);
    payload = store_index_seek(&s->index, key);
    if (s->index.lost) {
        return ERR_LOST;
    }
    if (payload != NULL) {
        struct store_record was = store_record_load(payload);

        held = tag_of(&was);
    }
    if (tag_compare(tag, held) <= 0) {
        *ret_applied = false;
        return OK;
    }
    TRY(keep(s, key, &r, value, payload));
    *ret_applied = true;
    return OK;
}

RESULT store_repair(struct store *s, struct bytes key, struct tag tag, struct bytes value)
{
    uint8_t *payload = store_index_find(&s->index, key);

    if (payload == NULL) {
        return s->index.lost ? ERR_LOST : ERR_MISMATCH;
    }
    struct store_record r = store_record_load(payload);

    if (tag_compare(tag_of(&r), tag) != 0 || value_len(&r) != value.n) {
        return ERR_MISMATCH;
    }
    if ((r.value & STORE_DAMAGED) != 0) {
        struct store_binding binding = binding_of(&r, key);

        store_seal_put(&s->sealer, &binding, value, store_padded(value_len(&r)),
                       store_arena_at(&s->arena, r.place));
        r.value &= ~(uint32_t)STORE_DAMAGED;
        store_index_save(&s->index, payload, &r);
        s->damaged--;
        s->repairs++;
    }
    return OK;
}

RESULT store_remove(struct store *s, struct bytes key, struct tag tag, bool *ret_removed)
{
    const uint8_t *payload = store_index_seek(&s->index, key);

    *ret_removed = false;
    if (payload == NULL) {
        return s->index.lost ? ERR_LOST : OK;
    }
    struct store_record r = store_record_load(payload);

    if ((r.value & STORE_TOMBSTONE) != 0 && tag_compare(tag_of(&r), tag) == 0) {
        store_index_remove(&s->index);
        count(s, &r, false);
        *ret_removed = true;
    }
    return OK;
}

void store_walk_begin(struct bytes low, struct bytes high, bool down, struct store_walk *ret)
{
    ret->low = low;
    ret->high = high;
    ret->down = down;
    ret->begun = false;
}

RESULT store_walk_next(struct store *s, struct store_walk *w)
{
    const uint8_t *payload;

    if (w->begun) {
        payload = store_index_step(&s->index, w->down);
    } else {
        payload = store_index_walk(&s->index, w->down ? w->high : w->low, w->down);
        w->begun = true;
    }
    if (payload == NULL) {
        return missing(s);
    }
    struct store_record r = store_record_load(payload);

    w->key = (struct bytes){w->buffer, store_index_key(&s->index, w->buffer)};
    w->entry = entry_of(&r);
    if (w->down ? bytes_compare(w->key, w->low) < 0
                : w->high.n > 0 && bytes_compare(w->key, w->high) >= 0) {
        return ERR_NOT_FOUND;
    }
    return OK;
}

RESULT store_walk_read(struct store *s, struct store_walk *w, struct mbytes to)
{
    return read_at(s, store_index_here(&s->index), w->key, to, &w->entry);
}

RESULT store_next(struct store *s, struct bytes from, bool after, struct mbytes key_to,
                  size_t *ret_key_len, struct store_entry *ret)
{
    struct store_walk w;

    CHECK(key_to.n >= KEY_MAX);
    store_walk_begin(from, (struct bytes){0}, false, &w);
    TRY(store_walk_next(s, &w));
    if (after && bytes_equal(w.key, from)) {
        TRY(store_walk_next(s, &w));
    }
    memcpy(key_to.p, w.key.p, w.key.n);
    *ret_key_len = w.key.n;
    *ret = w.entry;
    return OK;
}

void store_plant(struct store *s, unsigned plants)
{
    s->plants = plants;
}

void store_stats(const struct store *s, struct store_stats *ret)
{
    *ret = (struct store_stats){
        .keys = s->keys,
        .tombstones = s->tombstones,
        .value_bytes = s->value_bytes,
        .arena_used = s->arena.pages_taken * STORE_PAGE,
        .arena_limit = s->arena.pages_n * STORE_PAGE,
        .index_bytes = s->index.bytes,
        .pages_cold = s->index.pager.cold,
        .pages_lost = s->index.pager.lost,
        .keys_lost = s->index.pager.lost_keys,
        .page_ins = s->index.pager.ins,
        .page_outs = s->index.pager.outs,
        .page_reads = s->index.pager.reads,
        .damaged = s->damaged,
        .integrity_failures = s->integrity_failures,
        .repairs = s->repairs,
    };
}
