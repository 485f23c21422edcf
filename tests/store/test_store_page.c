// SPDX-License-Identifier: Apache-2.0
/* Pages of the index in host memory: which stay inside, and what a host can do to those outside.
 * STORE-16 to STORE-19, STORE-28. */
#include "common/limits.h"
#include "tests/store/fixture.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

enum {
    KEYS = 60000,
    HEAP = 16 << 20,
    ARENA = 24 << 20,
    LEAVES = 768 << 10, /* of 2.4 MiB */
};

static uint8_t snapshot[ARENA];
static uint8_t good[ARENA];

static struct bytes key_of(unsigned i, char to[static 32])
{
    int n = snprintf(to, 32, "key %u", i * 2654435761U);

    return (struct bytes){(const uint8_t *)to, (size_t)n};
}

static void put_all(struct fixture *f, uint64_t ts)
{
    for (unsigned i = 0; i < KEYS; i++) {
        char key[32];
        bool applied;

        assert_int_equal(store_apply(f->store, key_of(i, key), (struct tag){.ts = ts}, false,
                                     (struct bytes){(const uint8_t *)&i, sizeof(i)}, &applied),
                         OK);
        assert_true(applied);
    }
}

static void open_full(struct fixture *f, uint32_t shard)
{
    fixture_open(f, &(struct fixture_options){HEAP, ARENA, shard, 9, LEAVES});
    put_all(f, 1);
}

static struct store_stats stats_of(const struct fixture *f)
{
    struct store_stats s;

    store_stats(f->store, &s);
    return s;
}

/* Announces the lookups of the next keys: every second time, so that both are tried. */
static void expect_from(struct fixture *f, unsigned i)
{
    char text[STORE_EXPECT_MAX][32];
    struct bytes keys[STORE_EXPECT_MAX];

    if (i % (2 * STORE_EXPECT_MAX) == 0) {
        for (unsigned k = 0; k < STORE_EXPECT_MAX; k++) {
            keys[k] = key_of(i + k, text[k]);
        }
        store_expect(f->store, keys, STORE_EXPECT_MAX);
    }
}

/* Looks every key up; returns how many are lost. None is wrong, none is called absent. */
static unsigned count_lost(struct fixture *f, uint64_t ts)
{
    unsigned lost = 0;

    for (unsigned i = 0; i < KEYS; i++) {
        char key[32];
        struct store_entry e;
        enum err err;

        expect_from(f, i);
        err = store_find(f->store, key_of(i, key), &e);

        if (err == ERR_LOST) {
            lost++;
        } else {
            assert_int_equal(err, OK);
            assert_int_equal(e.tag.ts, ts);
        }
    }
    return lost;
}

/* ---- attacks ---- */

static void flip(struct fixture *f)
{
    for (size_t i = 0; i < ARENA; i += 512) {
        f->arena[i + i / 512 % 512] ^= 0x10;
    }
}

static void erase(struct fixture *f)
{
    memset(f->arena, 0, ARENA);
}

/* Every page and value becomes what it was when `snapshot` was taken. */
static void roll_back(struct fixture *f)
{
    memcpy(f->arena, snapshot, ARENA);
}

/* Spans change places, and with them pages of one length. */
static void swap(struct fixture *f)
{
    const size_t span = 64 << 10;

    for (size_t i = 0; i + 2 * span <= ARENA; i += 2 * span) {
        memcpy(f->arena + i, good + i + span, span);
        memcpy(f->arena + i + span, good + i, span);
    }
}

/* The arena of a store that differs in its shard alone: same keys, same history, same places. */
static void replace_by_foreign(struct fixture *f)
{
    struct fixture other;

    open_full(&other, 4);
    memcpy(f->arena, other.arena, ARENA);
    assert_true(fixture_close(&other));
}

/* STORE-17, STORE-18 */
static void pages_that_the_host_touched_are_lost_and_never_wrong(void **state)
{
    static void (*const attacks[])(struct fixture *) = {flip, erase, roll_back, swap,
                                                        replace_by_foreign};

    (void)state;
    for (size_t i = 0; i < sizeof(attacks) / sizeof(attacks[0]); i++) {
        struct fixture f;
        unsigned lost;

        open_full(&f, 3);
        memcpy(snapshot, f.arena, ARENA);
        put_all(&f, 2);
        memcpy(good, f.arena, ARENA);
        assert_int_equal(count_lost(&f, 2), 0);
        memcpy(good, f.arena, ARENA);
        attacks[i](&f);
        lost = count_lost(&f, 2);
        assert_true(lost > KEYS / 2 && lost < KEYS);
        assert_true(stats_of(&f).pages_lost > 0);
        /* Some keys of lost pages are still known: their records are inside. */
        assert_true(stats_of(&f).keys_lost >= lost);

        /* Whatever the host puts back later: unknown stays unknown, and writes are refused. */
        memcpy(f.arena, good, ARENA);
        assert_true(count_lost(&f, 2) >= lost);
        for (unsigned k = 0; k < KEYS; k += 97) {
            char key[32];
            struct store_entry e;
            uint8_t got[64];
            bool done;

            if (store_find(f.store, key_of(k, key), &e) == ERR_LOST) {
                assert_int_equal(store_apply(f.store, key_of(k, key), (struct tag){.ts = 9}, true,
                                             (struct bytes){0}, &done),
                                 ERR_LOST);
                assert_int_equal(
                    store_remove(f.store, key_of(k, key), (struct tag){.ts = 2}, &done), ERR_LOST);
                assert_false(done);
                assert_int_equal(store_read(f.store, key_of(k, key), (struct mbytes){got, 64}, &e),
                                 ERR_LOST);
                assert_int_equal(
                    store_repair(f.store, key_of(k, key), (struct tag){.ts = 2}, (struct bytes){0}),
                    ERR_LOST);
            }
        }
        assert_true(fixture_close(&f));
    }
}

/* A walk ends with LOST where a page is lost: it does not skip it. */
static void a_walk_does_not_pass_over_a_lost_page(void **state)
{
    struct fixture f;

    (void)state;
    for (unsigned down = 0; down < 2; down++) {
        struct store_walk w;
        unsigned n = 0;
        enum err err;

        open_full(&f, 3);
        erase(&f);
        store_walk_begin((struct bytes){0}, (struct bytes){0}, down == 1, &w);
        while ((err = store_walk_next(f.store, &w)) == OK) {
            n++;
        }
        assert_int_equal(err, ERR_LOST);
        assert_true(n < KEYS);
        assert_true(fixture_close(&f));
    }
}

/* ---- which pages stay ---- */

enum { HOT = 1000 }; /* lookups in a fortieth of the tree: the leaves there fit */

static void heat(struct fixture *f, unsigned rounds)
{
    char key[32];
    struct store_entry e;

    for (unsigned r = 0; r < rounds; r++) {
        for (unsigned i = 0; i < HOT; i++) {
            int n = snprintf(key, sizeof(key), "key 10%u", i);

            (void)!store_find(f->store, (struct bytes){(const uint8_t *)key, (size_t)n}, &e);
        }
    }
}

/* STORE-19 */
static void a_scan_leaves_the_working_set_where_it_is(void **state)
{
    struct fixture f;
    struct store_walk w;
    struct store_stats before, after;
    unsigned n = 0;

    (void)state;
    open_full(&f, 3);
    heat(&f, 4);
    before = stats_of(&f);
    store_walk_begin((struct bytes){0}, (struct bytes){0}, false, &w);
    while (store_walk_next(f.store, &w) == OK) {
        n++;
    }
    assert_int_equal(n, KEYS);
    after = stats_of(&f);
    assert_true(after.page_reads > before.page_reads + 100);
    assert_int_equal(after.page_ins, before.page_ins);
    assert_int_equal(after.page_outs, before.page_outs);
    assert_int_equal(after.pages_cold, before.pages_cold);
    heat(&f, 1);
    assert_int_equal(stats_of(&f).page_ins, before.page_ins);
    assert_true(fixture_close(&f));
}

/* Keys that are used stay, while ten times as many others are touched once each. */
static void what_is_used_often_stays(void **state)
{
    struct fixture f;
    char key[32];
    struct store_entry e;
    uint64_t misses = 0;

    (void)state;
    open_full(&f, 3);
    for (unsigned i = 0; i < KEYS; i++) {
        uint64_t before;

        assert_int_equal(store_find(f.store, key_of(i, key), &e), OK);
        before = stats_of(&f).page_ins;
        assert_int_equal(store_find(f.store, key_of(i % 10, key), &e), OK);
        misses += stats_of(&f).page_ins - before;
    }
    assert_true(misses < KEYS / 20);
    assert_true(fixture_close(&f));
}

/* A clean page is dropped, not sealed again; its place in host memory is its own all the while. */
static void reading_seals_nothing(void **state)
{
    struct fixture f;
    struct store_stats before, after;
    unsigned quiet = 0;

    (void)state;
    open_full(&f, 3);
    for (unsigned passes = 0; quiet < 3; passes++) { /* until every page was out once */
        before = stats_of(&f);
        assert_int_equal(count_lost(&f, 1), 0);
        quiet = stats_of(&f).page_outs == before.page_outs ? quiet + 1 : 0;
        assert_true(passes < 40);
    }
    before = stats_of(&f);
    assert_int_equal(count_lost(&f, 1), 0);
    after = stats_of(&f);
    assert_true(after.page_ins > before.page_ins + 100);
    assert_int_equal(after.page_outs, before.page_outs);
    assert_int_equal(after.arena_used, before.arena_used);
    assert_true(fixture_close(&f));
}

/* One operation on a key that is held with *ts (0: absent), tombstones at even ones. */
static void operate(struct fixture *f, struct prng *p, struct bytes key, uint64_t *ts)
{
    static uint64_t now = 1000;
    bool tombstone = prng_chance(p, 1, 3);
    struct store_entry e;
    bool done;

    switch (prng_below(p, 4)) {
    case 0:
        now += 2;
        assert_int_equal(
            store_apply(f->store, key, (struct tag){.ts = now + !tombstone}, tombstone,
                        (struct bytes){(const uint8_t *)"value of a key", tombstone ? 0 : 14},
                        &done),
            OK);
        *ts = now + !tombstone;
        break;
    case 1:
        assert_int_equal(store_remove(f->store, key, (struct tag){.ts = *ts}, &done), OK);
        assert_int_equal(done, *ts != 0 && *ts % 2 == 0);
        *ts = done ? 0 : *ts;
        break;
    default:
        assert_int_equal(store_find(f->store, key, &e), *ts == 0 ? ERR_NOT_FOUND : OK);
        assert_true(*ts == 0 || e.tag.ts == *ts);
        break;
    }
}

/* STORE-28. Whatever happens between announcement and lookup, to these keys and to their
 * neighbours: pages come and go, nodes are split and joined. */
static void announced_lookups_see_every_change(void **state)
{
    static uint64_t ts[KEYS + KEYS / 2]; /* the last third is absent at first */
    struct fixture f;
    struct prng p = {5};

    (void)state;
    open_full(&f, 3);
    for (unsigned i = 0; i < KEYS; i++) {
        ts[i] = 1;
    }
    for (unsigned burst = 0; burst < 12000; burst++) {
        char text[STORE_EXPECT_MAX][32];
        struct bytes keys[STORE_EXPECT_MAX];
        uint64_t some[STORE_EXPECT_MAX];

        for (unsigned k = 0; k < STORE_EXPECT_MAX; k++) {
            some[k] = prng_below(&p, prng_chance(&p, 1, 2) ? KEYS / 50 : KEYS + KEYS / 2);
            keys[k] = key_of((unsigned)some[k], text[k]);
        }
        store_expect(f.store, keys, STORE_EXPECT_MAX);
        for (unsigned k = 0; k < 2 * STORE_EXPECT_MAX; k++) {
            uint64_t i = some[k % STORE_EXPECT_MAX];
            char key[32];

            operate(&f, &p, keys[k % STORE_EXPECT_MAX], &ts[i]);
            if (prng_chance(&p, 1, 4)) {
                i = prng_below(&p, KEYS + KEYS / 2);
                operate(&f, &p, key_of((unsigned)i, key), &ts[i]);
            }
        }
    }
    assert_true(stats_of(&f).page_ins > 1000 && stats_of(&f).page_reads > 10000);
    assert_true(fixture_close(&f));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(pages_that_the_host_touched_are_lost_and_never_wrong),
        cmocka_unit_test(a_walk_does_not_pass_over_a_lost_page),
        cmocka_unit_test(a_scan_leaves_the_working_set_where_it_is),
        cmocka_unit_test(what_is_used_often_stays),
        cmocka_unit_test(reading_seals_nothing),
        cmocka_unit_test(announced_lookups_see_every_change),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
