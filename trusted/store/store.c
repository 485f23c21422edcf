// SPDX-License-Identifier: Apache-2.0
#include "trusted/store/store.h"

#include "common/check.h"
#include "common/limits.h"
#include "trusted/crypto/kdf.h"
#include "trusted/store/store_arena.h"
#include "trusted/store/store_index.h"
#include "trusted/store/store_seal.h"
#include "trusted/store/store_tidy.h"

/* What a store and its parts share. */
struct store_core {
    struct store_sealer sealer; /* first: the most aligned */
    struct store_index index;
    struct store_arena arena;
    struct store_tidier tidier;
};

struct store {
    struct store_core *core;
    struct store_index *index; /* in *core, like the next two */
    struct store_sealer *sealer;
    struct store_arena *arena;
    struct heap *heap;
    uint64_t keys, tombstones, value_bytes, damaged, integrity_failures, repairs;
    unsigned plants;
    bool owns; /* the core is ours */
    bool is_part;
    uint8_t part;                   /* first byte of all our keys in the index */
    uint8_t key[STORE_KEY_MAX + 1]; /* a key or bound with that byte; see in_index */
};

/* From 512 bytes on the heap aligns to a cache line. */
_Static_assert(sizeof(struct store_core) >= 512 && _Alignof(struct store_core) <= 64,
               "the heap aligns it");
_Static_assert((int)STORE_EXPECT_MAX == (int)STORE_LOOKS_MAX, "the index takes all at once");

/* STORE-21: how the index knows the key. Good until the next call. */
static inline struct bytes in_index(struct store *s, struct bytes key)
{
    if (!s->is_part) {
        return key;
    }
    CHECK(key.n < sizeof(s->key));
    s->key[0] = s->part;
    if (key.n > 0) {
        memcpy(s->key + 1, key.p, key.n);
    }
    return (struct bytes){s->key, key.n + 1};
}

static size_t reserve_of(const struct store_config *c)
{
    return c->reserve != 0 ? c->reserve : heap_limit(c->heap) / 16;
}

static struct store *open(struct heap *heap, struct store_core *core)
{
    struct store *s = heap_zalloc(heap, sizeof(*s));

    if (s != NULL) {
        s->heap = heap;
        s->core = core;
        s->index = &core->index;
        s->sealer = &core->sealer;
        s->arena = &core->arena;
    }
    return s;
}

RESULT store_init(const struct store_config *c, struct store **ret)
{
    SECRET_LOCAL cache_key;
    struct store_core *core = heap_zalloc(c->heap, sizeof(*core));
    struct store *s = core == NULL ? NULL : open(c->heap, core);

    if (s == NULL) {
        goto no_store;
    }
    s->owns = true;
    if (store_arena_init(&core->arena, c->heap, c->arena, c->arena_bytes) != OK) {
        goto no_arena;
    }
    kdf_secret(&c->master, "avocado store cache key", &cache_key);
    if (store_index_init(&core->index, c->heap, &core->arena, &core->sealer, reserve_of(c),
                         cache_key.b) != OK) {
        goto no_index;
    }
    store_seal_init(&core->sealer, c->aead, c->shard, &c->master);
    *ret = s;
    return OK;
no_index:
    store_arena_fini(&core->arena);
no_arena:
    heap_free(c->heap, s, sizeof(*s));
no_store:
    heap_free(c->heap, core, sizeof(*core));
    return ERR_ENCLAVE_MEMORY;
}

RESULT store_open_part(struct store *whole, uint8_t part, struct store **ret)
{
    struct store *s = open(whole->heap, whole->core);

    CHECK(part <= STORE_PART_MAX && !whole->is_part);
    if (s == NULL) {
        return ERR_ENCLAVE_MEMORY;
    }
    s->is_part = true;
    s->part = part;
    *ret = s;
    return OK;
}

void store_fini(struct store *s)
{
    if (s == NULL) {
        return;
    }
    if (s->owns) {
        store_seal_fini(s->sealer);
        store_index_fini(s->index);
        store_arena_fini(s->arena);
        heap_free(s->heap, s->core, sizeof(*s->core));
    }
    heap_free(s->heap, s, sizeof(*s));
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
        .value_len = store_record_len(r),
    };
}

static uint32_t block_of(const struct store_record *r)
{
    return store_seal_block(store_padded(store_record_len(r)));
}

static struct store_binding binding_of(const struct store_record *r, struct bytes key)
{
    return (struct store_binding){.tag = tag_of(r), .key = key, .value_len = store_record_len(r)};
}

/* Why the index has found nothing. STORE-18: what is lost is not absent. */
static RESULT missing(const struct store *s)
{
    return s->index->lost ? ERR_LOST : ERR_NOT_FOUND;
}

RESULT store_find(struct store *s, struct bytes key, struct store_entry *ret)
{
    struct store_record r;

    if (!store_index_find(s->index, in_index(s, key), &r)) {
        return missing(s);
    }
    *ret = entry_of(&r);
    return OK;
}

bool store_waits(const struct store *s)
{
    return store_index_is_far(s->index);
}

void store_expect(struct store *s, const struct bytes *keys, size_t n)
{
    enum { SHORT = 96 }; /* longer ones are not worth the copy */
    uint8_t copies[STORE_EXPECT_MAX][SHORT];
    struct bytes own[STORE_EXPECT_MAX];
    size_t own_n = 0;

    CHECK(n <= STORE_EXPECT_MAX);
    if (!s->is_part) {
        store_index_expect(s->index, keys, n);
        return;
    }
    for (size_t i = 0; i < n; i++) {
        if (keys[i].n < SHORT) {
            struct bytes key = in_index(s, keys[i]);

            memcpy(copies[own_n], key.p, key.n);
            own[own_n] = (struct bytes){copies[own_n], key.n};
            own_n++;
        }
    }
    store_index_expect(s->index, own, own_n);
}

/* STORE-10: what failed once stays refused, whatever the host puts there later. */
static void mark_damaged(struct store *s, struct bytes key, uint8_t *payload,
                         const struct store_record *r)
{
    struct store_record damaged = *r;

    damaged.value |= STORE_DAMAGED;
    store_index_save(s->index, in_index(s, key), payload, &damaged);
    s->damaged++;
    s->integrity_failures++;
}

/* INTEGRITY when what the host holds does not open, or did not once. */
static RESULT read_value(struct store *s, const struct store_record *r, struct bytes key,
                         struct mbytes to, struct store_entry *ret)
{
    uint32_t len = store_record_len(r);

    *ret = entry_of(r);
    if (len > to.n) {
        return ERR_TOO_BIG;
    }
    if (len == 0) {
        return OK;
    }
    if (!store_record_is_outside(r)) {
        memcpy(to.p, &r->place, len);
        return OK;
    }
    if ((r->value & STORE_DAMAGED) != 0) {
        memset(to.p, 0, len);
        return ERR_INTEGRITY;
    }
    struct store_binding binding = binding_of(r, key);

    if (store_seal_get(s->sealer, &binding, store_padded(len), store_arena_at(s->arena, r->place),
                       to) != OK &&
        (s->plants & STORE_PLANT_TRUSTING) == 0) {
        ret->damaged = true;
        return ERR_INTEGRITY;
    }
    return OK;
}

RESULT store_read(struct store *s, struct bytes key, struct mbytes to, struct store_entry *ret)
{
    struct store_record r;
    enum err err;

    if (!store_index_find(s->index, in_index(s, key), &r)) {
        return missing(s);
    }
    err = read_value(s, &r, key, to, ret);
    if (err == ERR_INTEGRITY && (r.value & STORE_DAMAGED) == 0) {
        uint8_t *payload = store_index_seek(s->index, in_index(s, key), STORE_USE);

        if (payload == NULL) { /* the record was remembered, and its page is lost */
            return missing(s);
        }
        mark_damaged(s, key, payload, &r);
    }
    return err;
}

/* Finds room for the new value, a long one, before anything changes (STORE-11). `was` is what the
 * key is held with, NULL for a new key. *ret_kept: the new value goes where the old one lies. */
static RESULT find_room(struct store *s, const struct store_record *was, uint32_t len,
                        uint32_t *ret_place, bool *ret_kept)
{
    uint32_t padded = store_padded(len);
    uint32_t block = store_seal_block(padded);
    bool holds = was != NULL && store_record_is_outside(was);
    enum err err;

    /* Sealing cannot fail, so nothing is lost by writing over the old value. */
    if (holds && padded == store_padded(store_record_len(was))) {
        *ret_place = was->place;
        *ret_kept = true;
        return OK;
    }
    err = store_arena_take(s->arena, padded, block, ret_place);
    if (err != OK && holds && store_arena_reuse(s->arena, was->place, block_of(was), block)) {
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
    s->value_bytes += by * store_record_len(r);
}

/* Keeps a new value of a key that is held with *was at `payload`, or that is new. */
static RESULT keep(struct store *s, struct bytes key, struct store_record *r, struct bytes value,
                   uint8_t *payload)
{
    struct store_record was = {0};
    struct store_binding binding = binding_of(r, key);
    bool kept = false;

    if (payload != NULL) {
        was = store_record_load(payload);
    }
    if (store_record_is_outside(r)) {
        TRY(find_room(s, payload == NULL ? NULL : &was, store_record_len(r), &r->place, &kept));
        store_seal_put(s->sealer, &binding, value, store_padded(store_record_len(r)),
                       store_arena_at(s->arena, r->place));
    } else if (value.n > 0) {
        memcpy(&r->place, value.p, value.n);
    }
    if (payload == NULL) {
        enum err err = store_index_insert(s->index, in_index(s, key), r);

        if (err != OK && store_record_is_outside(r)) {
            store_arena_give(s->arena, r->place, block_of(r));
        }
        if (err != OK) {
            return err;
        }
    } else {
        store_index_save(s->index, in_index(s, key), payload, r);
        if (!kept && store_record_is_outside(&was)) {
            store_arena_give(s->arena, was.place, block_of(&was));
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
    store_index_balance(s->index);
    payload = store_index_seek(s->index, in_index(s, key), STORE_USE);
    if (s->index->lost) {
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
    uint8_t *payload = store_index_seek(s->index, in_index(s, key), STORE_USE);

    if (payload == NULL) {
        return s->index->lost ? ERR_LOST : ERR_MISMATCH;
    }
    struct store_record r = store_record_load(payload);

    if (tag_compare(tag_of(&r), tag) != 0 || store_record_len(&r) != value.n) {
        return ERR_MISMATCH;
    }
    if ((r.value & STORE_DAMAGED) != 0) {
        struct store_binding binding = binding_of(&r, key);

        store_seal_put(s->sealer, &binding, value, store_padded(store_record_len(&r)),
                       store_arena_at(s->arena, r.place));
        r.value &= ~(uint32_t)STORE_DAMAGED;
        store_index_save(s->index, in_index(s, key), payload, &r);
        s->damaged--;
        s->repairs++;
    }
    return OK;
}

RESULT store_remove(struct store *s, struct bytes key, struct tag tag, bool *ret_removed)
{
    const uint8_t *payload = store_index_seek(s->index, in_index(s, key), STORE_KEEP);

    *ret_removed = false;
    if (payload == NULL) {
        return s->index->lost ? ERR_LOST : OK;
    }
    struct store_record r = store_record_load(payload);

    if ((r.value & STORE_TOMBSTONE) != 0 && tag_compare(tag_of(&r), tag) == 0) {
        store_index_remove(s->index, in_index(s, key));
        count(s, &r, false);
        *ret_removed = true;
    }
    return OK;
}

bool store_shed(struct store *s, uint32_t most)
{
    struct store_record r;

    for (uint32_t i = 0; i < most; i++) {
        struct bytes key = in_index(s, (struct bytes){0});
        const uint8_t *payload = store_index_walk(s->index, key, false);

        if (payload == NULL) {
            return true;
        }
        key = (struct bytes){s->key, store_index_key(s->index, s->key)};
        if (s->is_part && s->key[0] != s->part) {
            return true;
        }
        payload = store_index_seek(s->index, key, STORE_KEEP);
        if (payload == NULL) {
            return true;
        }
        r = store_record_load(payload);
        store_index_remove(s->index, key);
        if (store_record_is_outside(&r)) {
            store_arena_give(s->arena, r.place, block_of(&r));
        }
        count(s, &r, false);
    }
    return false;
}

void store_walk_begin(struct bytes low, struct bytes high, bool down, struct store_walk *ret)
{
    ret->low = low;
    ret->high = high;
    ret->down = down;
    ret->begun = false;
}

/* Where a walk begins. Above all keys of a part is the first key of the next one. */
static const uint8_t *first_of(struct store *s, const struct store_walk *w)
{
    uint8_t end = (uint8_t)(s->part + 1);
    struct bytes from = w->down ? w->high : w->low;

    if (s->is_part && w->down && from.n == 0) {
        return store_index_walk(s->index, (struct bytes){&end, 1}, true);
    }
    return store_index_walk(s->index, in_index(s, from), w->down);
}

RESULT store_walk_next(struct store *s, struct store_walk *w)
{
    const uint8_t *payload;

    if (w->begun) {
        payload = store_index_step(s->index, w->down);
    } else {
        payload = first_of(s, w);
        w->begun = true;
    }
    if (payload == NULL) {
        return missing(s);
    }
    struct store_record r = store_record_load(payload);

    w->key = (struct bytes){w->buffer, store_index_key(s->index, w->buffer)};
    if (s->is_part) {
        if (w->buffer[0] != s->part) {
            return ERR_NOT_FOUND;
        }
        w->key = (struct bytes){w->buffer + 1, w->key.n - 1};
    }
    w->entry = entry_of(&r);
    if (w->down ? bytes_compare(w->key, w->low) < 0
                : w->high.n > 0 && bytes_compare(w->key, w->high) >= 0) {
        return ERR_NOT_FOUND;
    }
    return OK;
}

RESULT store_walk_read(struct store *s, struct store_walk *w, struct mbytes to)
{
    uint8_t *payload = store_index_here(s->index);
    struct store_record r = store_record_load(payload);
    enum err err = read_value(s, &r, w->key, to, &w->entry);

    if (err == ERR_INTEGRITY && (r.value & STORE_DAMAGED) == 0) {
        mark_damaged(s, w->key, payload, &r);
    }
    return err;
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

bool store_tidy_is_wanted(struct store *s)
{
    return store_tidy_wanted(&s->core->tidier, s->arena);
}

void store_tidy(struct store *s)
{
    store_tidy_step(&s->core->tidier, s->index, s->arena);
}

bool store_trim(struct store *s, uint64_t *ret_off, uint64_t *ret_len)
{
    return store_arena_trim(s->arena, ret_off, ret_len);
}

bool store_has_idle(const struct store *s)
{
    return store_arena_has_idle(s->arena);
}

void store_may_grow(struct store *s, bool may)
{
    store_arena_may_grow(s->arena, may);
}

void store_stats(const struct store *s, struct store_stats *ret)
{
    *ret = (struct store_stats){
        .keys = s->keys,
        .tombstones = s->tombstones,
        .value_bytes = s->value_bytes,
        .arena_used = s->arena->pages_taken * STORE_PAGE,
        .arena_limit = s->arena->pages_n * STORE_PAGE,
        .arena_resident = (uint64_t)s->arena->touched_n * STORE_SPAN,
        .arena_returned = s->arena->returned,
        .values_moved = s->core->tidier.moved,
        .index_bytes = s->index->bytes,
        .pages_cold = s->index->pager.cold,
        .pages_lost = s->index->pager.lost,
        .keys_lost = s->index->pager.lost_keys,
        .page_ins = s->index->pager.ins,
        .page_outs = s->index->pager.outs,
        .page_reads = s->index->pager.reads,
        .cache_hits = s->index->cache.hits,
        .cache_bytes = store_cache_bytes(&s->index->cache),
        .damaged = s->damaged,
        .integrity_failures = s->integrity_failures,
        .repairs = s->repairs,
    };
}
