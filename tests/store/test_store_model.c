// SPDX-License-Identifier: Apache-2.0
/* The store against a sorted array: STORE-1, STORE-3, STORE-10 and the contract of store.h. */
#include "common/limits.h"
#include "tests/store/fixture.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>

#include <cmocka.h>

enum { MODEL_VALUE_MAX = 70000, HEAP_BYTES = 64 << 20, ARENA_BYTES = 256 << 20 };

static uint8_t value_buffer[VALUE_MAX + 8];
static uint8_t read_buffer[VALUE_MAX + 1];

struct run {
    struct fixture f;
    struct model m;
    struct prng p;
    struct prng walks; /* of its own: what a walk draws moves nothing else */
    bool hostile;      /* the arena changes behind the store's back */
    uint8_t key[KEY_MAX];
    size_t key_len;
};

static struct bytes run_key(struct run *r)
{
    return (struct bytes){r->key, r->key_len};
}

static struct tag draw_tag(struct prng *p)
{
    struct tag t = {.ts = prng_below(p, 12), .writer = (uint32_t)prng_below(p, 3)};

    t.rmwc = (uint32_t)prng_below(p, 2);
    if (prng_chance(p, 1, 200)) {
        t = (struct tag){UINT64_MAX, UINT32_MAX, UINT32_MAX};
    }
    return t;
}

static void do_apply(struct run *r)
{
    bool tombstone = prng_chance(&r->p, 1, 6);
    struct tag tag = draw_tag(&r->p);
    struct bytes value = {value_buffer, tombstone ? 0 : draw_len(&r->p, MODEL_VALUE_MAX)};
    bool applied;

    draw_bytes(&r->p, value_buffer, value.n < 64 ? value.n : 64);
    if (value.n > 64) {
        draw_bytes(&r->p, value_buffer + value.n - 64, 64);
    }
    assert_int_equal(store_apply(r->f.store, run_key(r), tag, tombstone, value, &applied), OK);
    assert_int_equal(applied, model_apply(&r->m, run_key(r), tag, tombstone, value));
}

static void do_read(struct run *r)
{
    struct model_entry *e = model_find(&r->m, run_key(r));
    struct store_entry found = {.value_len = 12345};
    size_t room = prng_chance(&r->p, 1, 2) ? sizeof(read_buffer) : prng_below(&r->p, 600);
    enum err err = store_read(r->f.store, run_key(r), (struct mbytes){read_buffer, room}, &found);

    if (e == NULL) {
        assert_int_equal(err, ERR_NOT_FOUND);
        assert_int_equal(found.value_len, 12345);
        return;
    }
    if (r->hostile && err == ERR_INTEGRITY && e->value_len > 0) {
        e->damaged = true;
    }
    assert_int_equal(err, e->value_len > room ? ERR_TOO_BIG : e->damaged ? ERR_INTEGRITY : OK);
    assert_int_equal(tag_compare(found.tag, e->tag), 0);
    assert_int_equal(found.tombstone, e->tombstone);
    assert_int_equal(found.value_len, e->value_len);
    if (err == OK) {
        assert_memory_equal(read_buffer, e->value, e->value_len);
    }
}

static void do_next(struct run *r)
{
    bool after = prng_chance(&r->p, 1, 2);
    uint8_t key[KEY_MAX];
    size_t key_len = 0;
    struct store_entry found;
    size_t from_len = prng_chance(&r->p, 1, 2) ? r->key_len : prng_below(&r->p, r->key_len + 1);
    struct bytes from = {r->key, from_len};
    const struct model_entry *e = model_next(&r->m, from, after);
    enum err err =
        store_next(r->f.store, from, after, (struct mbytes){key, sizeof(key)}, &key_len, &found);

    if (e == NULL) {
        assert_int_equal(err, ERR_NOT_FOUND);
        return;
    }
    assert_int_equal(err, OK);
    assert_int_equal(key_len, e->key_len);
    assert_memory_equal(key, e->key, key_len);
    assert_int_equal(tag_compare(found.tag, e->tag), 0);
    assert_int_equal(found.value_len, e->value_len);
    assert_int_equal(found.tombstone, e->tombstone);
}

static struct bytes draw_bound(struct run *r, uint8_t to[static KEY_MAX + 1])
{
    size_t n;

    if (prng_chance(&r->walks, 1, 4)) {
        return (struct bytes){0};
    }
    n = draw_key(&r->walks, to);
    if (prng_chance(&r->walks, 1, 2)) {
        to[n++] = 0; /* just above the key: one byte longer than a key can be */
    }
    return (struct bytes){to, n};
}

/* STORE-13: a walk shows what the model holds in the range, in order, either way. */
static void do_walk(struct run *r)
{
    uint8_t low_bytes[KEY_MAX + 1];
    uint8_t high_bytes[KEY_MAX + 1];
    struct bytes low = draw_bound(r, low_bytes);
    struct bytes high = draw_bound(r, high_bytes);
    bool down = prng_chance(&r->walks, 1, 2);
    struct store_walk w;

    store_walk_begin(low, high, down, &w);
    for (size_t i = 0; i < r->m.n; i++) {
        struct model_entry *e = &r->m.entries[down ? r->m.n - 1 - i : i];
        struct bytes key = {e->key, e->key_len};
        enum err err;

        if (bytes_compare(key, low) < 0 || (high.n > 0 && bytes_compare(key, high) >= 0)) {
            continue;
        }
        assert_int_equal(store_walk_next(r->f.store, &w), OK);
        assert_true(bytes_equal(w.key, key));
        assert_int_equal(tag_compare(w.entry.tag, e->tag), 0);
        assert_int_equal(w.entry.tombstone, e->tombstone);
        assert_int_equal(w.entry.value_len, e->value_len);
        if (!prng_chance(&r->walks, 1, 8)) {
            continue;
        }
        err = store_walk_read(r->f.store, &w, (struct mbytes){read_buffer, sizeof(read_buffer)});
        if (r->hostile && err == ERR_INTEGRITY && e->value_len > 0) {
            e->damaged = true;
        }
        assert_int_equal(err, e->damaged ? ERR_INTEGRITY : OK);
        assert_int_equal(w.entry.damaged, e->damaged);
        if (err == OK) {
            assert_memory_equal(read_buffer, e->value, e->value_len);
        }
    }
    assert_int_equal(store_walk_next(r->f.store, &w), ERR_NOT_FOUND);
}

/* Announcing lookups changes nothing, whatever the keys: there, absent, a beginning of others. */
static void do_expect(struct run *r)
{
    static uint8_t bytes[STORE_EXPECT_MAX][KEY_MAX];
    struct bytes keys[STORE_EXPECT_MAX];
    size_t n = prng_below(&r->walks, STORE_EXPECT_MAX + 1);
    struct store_stats before, after;

    for (size_t i = 0; i < n; i++) {
        keys[i] = (struct bytes){bytes[i], draw_key(&r->walks, bytes[i])};
        if (r->m.n > 0 && prng_chance(&r->walks, 1, 2)) {
            const struct model_entry *e = &r->m.entries[prng_below(&r->walks, r->m.n)];

            keys[i] = (struct bytes){e->key, e->key_len};
        }
    }
    store_stats(r->f.store, &before);
    store_expect(r->f.store, keys, n);
    store_stats(r->f.store, &after);
    before.page_reads = after.page_reads; /* copies of cold pages are opened */
    assert_memory_equal(&before, &after, sizeof(before));
}

/* Repair with what the model holds: right for a key that exists, refused for one that does not. */
static void do_repair(struct run *r)
{
    struct model_entry *e = model_find(&r->m, run_key(r));
    struct tag tag = {.ts = 1};
    struct bytes value = {0};

    if (e != NULL) {
        tag = e->tag;
        value = (struct bytes){e->value, e->value_len};
        tag.ts ^= 1;
        assert_int_equal(store_repair(r->f.store, run_key(r), tag, value), ERR_MISMATCH);
        tag.ts ^= 1;
        e->damaged = false;
    }
    assert_int_equal(store_repair(r->f.store, run_key(r), tag, value),
                     e != NULL ? OK : ERR_MISMATCH);
}

/* With the tag that is held, the tag of nobody, or for a key that may not exist. */
static void do_remove(struct run *r)
{
    const struct model_entry *e = model_find(&r->m, run_key(r));
    struct tag tag = e == NULL ? (struct tag){.ts = 1} : e->tag;
    bool removed;

    tag.rmwc ^= prng_chance(&r->p, 1, 8);
    assert_int_equal(store_remove(r->f.store, run_key(r), tag, &removed), OK);
    assert_int_equal(removed, model_remove(&r->m, run_key(r), tag));
}

/* The host overwrites a piece of its memory, or copies one piece over another. */
static void do_attack(struct run *r)
{
    uint8_t *to = r->f.arena + prng_below(&r->p, r->f.arena_bytes - 65536);
    const uint8_t *from = r->f.arena + prng_below(&r->p, r->f.arena_bytes - 65536);
    size_t n = 1 + prng_below(&r->p, 65536);

    if (prng_chance(&r->p, 1, 2)) {
        memmove(to, from, n);
    } else {
        memset(to, (int)prng_below(&r->p, 256), n);
    }
}

/* Values move, and memory that is given back loses its contents. */
static void do_tidy(struct run *r)
{
    uint64_t off;
    uint64_t len;

    store_tidy(r->f.store);
    if (store_trim(r->f.store, &off, &len)) {
        memset(r->f.arena + off, 0xdd, len);
    }
}

/* Reads everything, so that the model knows what the host destroyed. */
static void find_damage(struct run *r)
{
    struct store_entry e;

    for (size_t i = 0; i < r->m.n; i++) {
        struct model_entry *m = &r->m.entries[i];

        if (store_read(r->f.store, (struct bytes){m->key, m->key_len},
                       (struct mbytes){read_buffer, sizeof(read_buffer)}, &e) == ERR_INTEGRITY) {
            m->damaged = true;
        }
    }
}

/* `leaves`: how many bytes of the index stay in the enclave; 0: all. */
static void run_seed(uint64_t seed, unsigned ops, bool hostile, size_t leaves)
{
    struct run r = {.p = {seed}, .hostile = hostile};

    fixture_open(&r.f, &(struct fixture_options){HEAP_BYTES, ARENA_BYTES, 3, 7, leaves});
    for (unsigned i = 0; i < ops; i++) {
        r.key_len = draw_key(&r.p, r.key);
        if (r.m.n > 0 && prng_chance(&r.p, 1, 2)) { /* a key that exists */
            const struct model_entry *e = &r.m.entries[prng_below(&r.p, r.m.n)];

            r.key_len = e->key_len;
            memcpy(r.key, e->key, e->key_len);
        }
        if (hostile && prng_chance(&r.p, 1, 8)) {
            do_attack(&r);
        }
        if (i % 4 == 0) {
            do_tidy(&r);
        }
        if (prng_chance(&r.walks, 1, 16)) {
            do_expect(&r);
        }
        switch (prng_below(&r.p, 10)) {
        case 0:
        case 1:
            do_read(&r);
            break;
        case 2:
        case 3:
            if (prng_chance(&r.walks, 1, 30)) {
                do_walk(&r);
            } else {
                do_next(&r);
            }
            break;
        case 4:
            do_repair(&r);
            break;
        case 5:
            do_remove(&r);
            break;
        default:
            do_apply(&r);
            break;
        }
        if (i % (ops / 4) == 0) {
            if (hostile) {
                find_damage(&r);
            }
            assert_true(model_equals(&r.m, r.f.store));
        }
    }
    if (hostile) {
        struct store_stats stats;

        find_damage(&r);
        store_stats(r.f.store, &stats);
        assert_true(stats.integrity_failures > 0 && stats.repairs > 0);
    }
    assert_true(model_equals(&r.m, r.f.store));
    if (leaves != 0) {
        struct store_stats stats;

        store_stats(r.f.store, &stats);
        assert_true(stats.page_ins > 1000 && stats.page_outs > 1000 && stats.page_reads > 1000);
        assert_true(stats.cache_hits > 100);
    }
    model_fini(&r.m);
    assert_true(fixture_close(&r.f));
}

static void random_operations_agree_with_a_sorted_array(void **state)
{
    (void)state;
    for (uint64_t seed = 1; seed <= 4; seed++) {
        run_seed(seed, 12000, false, 0);
    }
}

/* STORE-16: the same with most of the index paged out at any time. */
static void paging_is_not_seen_from_outside(void **state)
{
    (void)state;
    for (uint64_t seed = 8; seed <= 9; seed++) {
        run_seed(seed, 12000, false, 256 << 10);
    }
}

/* The same over memory that changes at any time: never a wrong byte, and repair brings all back. */
static void under_attack_values_are_right_or_refused(void **state)
{
    (void)state;
    for (uint64_t seed = 5; seed <= 7; seed++) {
        run_seed(seed, 12000, true, 0);
    }
}

static void check_len(struct fixture *f, uint32_t len, struct tag tag)
{
    struct bytes key = {(const uint8_t *)"k", 1};
    struct bytes value = {value_buffer + len % 7, len};
    struct store_entry e;
    bool applied;

    assert_int_equal(store_apply(f->store, key, tag, false, value, &applied), OK);
    assert_true(applied);
    read_buffer[len] = 0x5a;
    assert_int_equal(store_read(f->store, key, (struct mbytes){read_buffer, len}, &e), OK);
    assert_int_equal(e.value_len, len);
    assert_memory_equal(read_buffer, value.p, len);
    assert_int_equal(read_buffer[len], 0x5a); /* not a byte beyond */
}

/* Every length up to 600 and both sides of every border above, read back into a buffer of exactly
 * its size. */
static void values_of_every_class_come_back(void **state)
{
    struct fixture f;
    struct prng p = {11};
    uint64_t ts = 0;

    (void)state;
    fixture_open(&f, &(struct fixture_options){4 << 20, 64 << 20, 0, 1, 0});
    draw_bytes(&p, value_buffer, sizeof(value_buffer));
    for (uint32_t len = 0; len < 600; len++) {
        check_len(&f, len, (struct tag){.ts = ++ts});
    }
    for (uint32_t power = 512; power < VALUE_MAX; power *= 2) {
        for (uint32_t border = power + power / 8; border <= 2 * power; border += power / 8) {
            check_len(&f, border - 1, (struct tag){.ts = ++ts});
            check_len(&f, border, (struct tag){.ts = ++ts});
            if (border < VALUE_MAX) {
                check_len(&f, border + 1, (struct tag){.ts = ++ts});
            }
        }
    }
    assert_true(fixture_close(&f));
}

static void number_key(uint64_t i, uint8_t to[static 16])
{
    for (int d = 15; d >= 0; d--) {
        to[d] = (uint8_t)('0' + i % 10);
        i /= 10;
    }
}

/* Keys that arrive in order, in reverse, and scattered: all found, listed in order. */
static void trees_of_any_history_list_their_keys_in_order(void **state)
{
    enum { N = 60000 };

    (void)state;
    for (unsigned history = 0; history < 3; history++) {
        struct fixture f;
        uint8_t key[16];
        uint8_t got[KEY_MAX];
        size_t got_len = 0;
        struct store_entry e;
        bool applied;

        fixture_open(&f, &(struct fixture_options){HEAP_BYTES, 1 << 20, 0, 1, 0});
        for (uint64_t i = 0; i < N; i++) {
            uint64_t k = history == 0 ? i : history == 1 ? N - 1 - i : i * 7919 % N;

            number_key(k, key);
            assert_int_equal(store_apply(f.store, (struct bytes){key, sizeof(key)},
                                         (struct tag){.ts = k + 1}, false, (struct bytes){0},
                                         &applied),
                             OK);
        }
        for (uint64_t i = 0; i < N; i++) {
            assert_int_equal(store_next(f.store, (struct bytes){got, got_len}, true,
                                        (struct mbytes){got, sizeof(got)}, &got_len, &e),
                             OK);
            number_key(i, key);
            assert_int_equal(got_len, sizeof(key));
            assert_memory_equal(got, key, sizeof(key));
            assert_int_equal(e.tag.ts, i + 1);
        }
        assert_true(fixture_close(&f));
    }
}

/* A tombstone for key i and, if `remove`, its removal. */
static void bury(struct fixture *f, uint64_t i, bool remove)
{
    uint8_t key[16];
    struct bytes k = {key, sizeof(key)};
    struct tag tag = {.ts = i + 2};
    bool done;

    number_key(i, key);
    assert_int_equal(store_apply(f->store, k, tag, true, (struct bytes){0}, &done), OK);
    if (remove) {
        assert_int_equal(store_remove(f->store, k, (struct tag){.ts = i + 1}, &done), OK);
        assert_false(done);
        assert_int_equal(store_remove(f->store, k, tag, &done), OK);
        assert_true(done);
    }
}

/* Whatever the order in which keys go, the tree shrinks with them and gives its memory back. */
/* STORE-15. */
static void removed_keys_give_their_index_space_back(void **state)
{
    enum { N = 40000, KEEP = 100 };

    (void)state;
    for (unsigned history = 0; history < 3; history++) {
        struct fixture f;
        struct store_stats before, full, after;

        fixture_open(&f, &(struct fixture_options){HEAP_BYTES, 1 << 20, 0, 1, 0});
        store_stats(f.store, &before);
        for (uint64_t i = 0; i < N; i++) {
            bury(&f, i, false);
        }
        store_stats(f.store, &full);
        for (uint64_t i = 0; i < N; i++) {
            uint64_t k = history == 0 ? i : history == 1 ? N - 1 - i : i * 7919 % N;

            if (k % KEEP != 0) {
                bury(&f, k, true);
            }
        }
        store_stats(f.store, &after);
        assert_int_equal(after.tombstones, N / KEEP);
        /* A hundredth of the keys takes less than a fiftieth of the memory. */
        assert_true(after.index_bytes < full.index_bytes / 50);
        for (uint64_t i = 0; i < N; i += KEEP) {
            bury(&f, i, true);
        }
        store_stats(f.store, &after);
        assert_int_equal(after.tombstones, 0);
        assert_int_equal(after.index_bytes, before.index_bytes);
        assert_true(fixture_close(&f));
    }
}

static void a_losing_apply_changes_nothing(void **state)
{
    struct fixture f;
    struct bytes key = {(const uint8_t *)"k", 1};
    struct store_entry e;
    bool applied;

    (void)state;
    fixture_open(&f, &(struct fixture_options){4 << 20, 1 << 20, 0, 1, 0});
    /* The zero tag is what an absent key has: it is greater than nothing. */
    assert_int_equal(store_apply(f.store, key, (struct tag){0}, false,
                                 (struct bytes){(const uint8_t *)"z", 1}, &applied),
                     OK);
    assert_false(applied);
    assert_int_equal(store_find(f.store, key, &e), ERR_NOT_FOUND);

    assert_int_equal(store_apply(f.store, key, (struct tag){5, 2, 1}, false,
                                 (struct bytes){(const uint8_t *)"new", 3}, &applied),
                     OK);
    assert_true(applied);
    const struct tag losers[] = {{5, 2, 1}, {5, 2, 0}, {5, 1, 9}, {4, 9, 9}};

    for (size_t i = 0; i < sizeof(losers) / sizeof(losers[0]); i++) {
        assert_int_equal(store_apply(f.store, key, losers[i], i % 2 == 0,
                                     (struct bytes){(const uint8_t *)"old", i % 2 == 0 ? 0 : 3},
                                     &applied),
                         OK);
        assert_false(applied);
        assert_int_equal(store_read(f.store, key, (struct mbytes){read_buffer, 3}, &e), OK);
        assert_memory_equal(read_buffer, "new", 3);
        assert_int_equal(e.tag.rmwc, 1);
    }
    assert_true(fixture_close(&f));
}

static void repair_is_for_damage_under_the_same_tag(void **state)
{
    struct fixture f;
    struct bytes key = {(const uint8_t *)"key", 3};
    struct bytes value = {(const uint8_t *)"value", 5};
    struct tag tag = {3, 1, 0};
    struct store_entry e;
    struct store_stats stats;
    bool applied;

    (void)state;
    fixture_open(&f, &(struct fixture_options){4 << 20, 1 << 20, 0, 1, 0});
    assert_int_equal(store_repair(f.store, key, tag, value), ERR_MISMATCH); /* absent */
    assert_int_equal(store_apply(f.store, key, tag, false, value, &applied), OK);
    assert_int_equal(store_repair(f.store, key, tag, value), OK); /* nothing to do */
    store_stats(f.store, &stats);
    assert_int_equal(stats.repairs, 0);

    memset(f.arena, 0, f.arena_bytes);
    assert_int_equal(store_read(f.store, key, (struct mbytes){read_buffer, 64}, &e), ERR_INTEGRITY);
    assert_int_equal(e.value_len, 5);
    assert_int_equal(store_repair(f.store, key, (struct tag){2, 1, 0}, value), ERR_MISMATCH);
    assert_int_equal(store_repair(f.store, key, (struct tag){4, 1, 0}, value), ERR_MISMATCH);
    assert_int_equal(store_repair(f.store, key, tag, (struct bytes){value.p, 4}), ERR_MISMATCH);
    assert_int_equal(store_read(f.store, key, (struct mbytes){read_buffer, 64}, &e), ERR_INTEGRITY);
    store_stats(f.store, &stats);
    assert_int_equal(stats.integrity_failures, 1); /* one value was damaged, read it who may */
    assert_int_equal(stats.damaged, 1);
    assert_int_equal(stats.repairs, 0);

    assert_int_equal(store_repair(f.store, key, tag, value), OK);
    assert_int_equal(store_read(f.store, key, (struct mbytes){read_buffer, 64}, &e), OK);
    assert_memory_equal(read_buffer, "value", 5);
    assert_int_equal(tag_compare(e.tag, tag), 0);
    store_stats(f.store, &stats);
    assert_int_equal(stats.damaged, 0);
    assert_int_equal(stats.repairs, 1);

    /* A newer write is as good as a repair. */
    memset(f.arena, 0, f.arena_bytes);
    assert_int_equal(store_read(f.store, key, (struct mbytes){read_buffer, 64}, &e), ERR_INTEGRITY);
    tag.ts++;
    assert_int_equal(store_apply(f.store, key, tag, false, value, &applied), OK);
    assert_int_equal(store_read(f.store, key, (struct mbytes){read_buffer, 64}, &e), OK);
    store_stats(f.store, &stats);
    assert_int_equal(stats.damaged, 0);
    assert_int_equal(stats.integrity_failures, 2);
    assert_true(fixture_close(&f));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(random_operations_agree_with_a_sorted_array),
        cmocka_unit_test(paging_is_not_seen_from_outside),
        cmocka_unit_test(under_attack_values_are_right_or_refused),
        cmocka_unit_test(values_of_every_class_come_back),
        cmocka_unit_test(trees_of_any_history_list_their_keys_in_order),
        cmocka_unit_test(removed_keys_give_their_index_space_back),
        cmocka_unit_test(a_losing_apply_changes_nothing),
        cmocka_unit_test(repair_is_for_damage_under_the_same_tag),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
