// SPDX-License-Identifier: Apache-2.0
/* What a host may do to the arena, and what must come of it: INTEGRITY, zeroes, and never a byte
 * that was not written under this key and this tag. STORE-4 to STORE-8, STORE-10, STORE-14. */
#include "common/limits.h"
#include "tests/store/fixture.h"
#include "trusted/store/store_arena.h"
#include "trusted/store/store_seal.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>

#include <cmocka.h>

static const size_t CHUNK_LEN = STORE_CHUNK + AEAD_TAG_LEN; /* sealed */

enum { ATTACK_VALUE_MAX = 100000, ATTACK_ARENA = 2 << 20 };

static uint8_t old_arena[ATTACK_ARENA];
static uint8_t got[ATTACK_VALUE_MAX + 64];
static uint8_t value_a[ATTACK_VALUE_MAX];
static uint8_t value_b[ATTACK_VALUE_MAX];

static const struct bytes key_a = {(const uint8_t *)"key a", 5};
static const struct bytes key_b = {(const uint8_t *)"key b", 5};

/* Where a sealed value lies. */
struct sealed {
    uint8_t *p;
    size_t n;
};

static void open_fixture(struct fixture *f, uint32_t shard, uint8_t secret)
{
    struct prng p = {5};

    fixture_open(f, &(struct fixture_options){4 << 20, ATTACK_ARENA, shard, secret, 0});
    draw_bytes(&p, f->arena, ATTACK_ARENA); /* host memory holds whatever it held */
    draw_bytes(&p, value_a, sizeof(value_a));
    draw_bytes(&p, value_b, sizeof(value_b));
}

/* Applies, and sees what changed in the arena. */
static struct sealed apply(struct fixture *f, struct bytes key, uint64_t ts, struct bytes value)
{
    struct sealed s = {.n = store_seal_block(store_padded((uint32_t)value.n))};
    size_t first = 0;
    bool applied;

    memcpy(old_arena, f->arena, ATTACK_ARENA);
    assert_int_equal(store_apply(f->store, key, (struct tag){.ts = ts}, false, value, &applied),
                     OK);
    assert_true(applied);
    while (first < ATTACK_ARENA && old_arena[first] == f->arena[first]) {
        first++;
    }
    /* Bytes may be equal by chance; places are multiples of the unit. */
    first &= ~(size_t)(STORE_UNIT - 1);
    assert_true(first + s.n <= ATTACK_ARENA);
    /* STORE-7: nothing outside the block was written. */
    assert_memory_equal(old_arena + first + s.n, f->arena + first + s.n,
                        ATTACK_ARENA - first - s.n);
    s.p = f->arena + first;
    return s;
}

static void refused(struct fixture *f, struct bytes key, size_t value_len)
{
    struct store_entry e;

    memset(got, 0x5a, sizeof(got));
    assert_int_equal(store_read(f->store, key, (struct mbytes){got, sizeof(got)}, &e),
                     ERR_INTEGRITY);
    assert_int_equal(e.value_len, value_len);
    assert_true(e.damaged);
    e.damaged = false;
    assert_int_equal(store_find(f->store, key, &e), OK);
    assert_true(e.damaged);
    for (size_t i = 0; i < value_len; i++) {
        assert_int_equal(got[i], 0);
    }
}

static void intact(struct fixture *f, struct bytes key, struct bytes value)
{
    struct store_entry e;

    assert_int_equal(store_read(f->store, key, (struct mbytes){got, sizeof(got)}, &e), OK);
    assert_int_equal(e.value_len, value.n);
    assert_false(e.damaged);
    assert_memory_equal(got, value.p, value.n);
}

static void repaired(struct fixture *f, struct bytes key, uint64_t ts, struct bytes value)
{
    assert_int_equal(store_repair(f->store, key, (struct tag){.ts = ts}, value), OK);
    intact(f, key, value);
}

static void flip_each(size_t value_len, size_t step)
{
    struct fixture f;
    struct bytes value = {value_a, value_len};
    struct sealed s;
    struct store_stats stats;
    uint64_t flips = 0;

    open_fixture(&f, 1, 2);
    s = apply(&f, key_a, 1, value);
    for (size_t i = 0; i < s.n; i += i + step < s.n - 1 || i + 1 == s.n ? step : s.n - 1 - i) {
        s.p[i] ^= (uint8_t)(1U << (i % 8));
        refused(&f, key_a, value_len);
        /* STORE-10: putting the right byte back does not help the host. */
        s.p[i] ^= (uint8_t)(1U << (i % 8));
        refused(&f, key_a, value_len);
        repaired(&f, key_a, 1, value);
        flips++;
    }
    store_stats(f.store, &stats);
    assert_int_equal(stats.integrity_failures, flips);
    assert_int_equal(stats.repairs, flips);
    assert_true(fixture_close(&f));
}

static void every_flipped_byte_is_refused(void **state)
{
    (void)state;
    flip_each(5, 1); /* the shortest that lies outside */
    flip_each(64, 1);
    flip_each(1000, 1);
    flip_each(9000, 97);
    flip_each(40000, 1013); /* three chunks */
}

static void values_of_two_keys_cannot_be_swapped(void **state)
{
    static uint8_t keep[ATTACK_VALUE_MAX];
    struct fixture f;
    struct bytes a = {value_a, 64};
    struct bytes b = {value_b, 64};
    struct sealed sa;
    struct sealed sb;

    (void)state;
    open_fixture(&f, 1, 2);
    sa = apply(&f, key_a, 7, a); /* the same tag: only the key differs */
    sb = apply(&f, key_b, 7, b);
    assert_int_equal(sa.n, sb.n);
    memcpy(keep, sa.p, sa.n);
    memcpy(sa.p, sb.p, sa.n);
    memcpy(sb.p, keep, sa.n);
    refused(&f, key_a, 64);
    refused(&f, key_b, 64);
    repaired(&f, key_a, 7, a);
    repaired(&f, key_b, 7, b);
    assert_true(fixture_close(&f));
}

/* The old version of the same key, counter and all, at the very place that it had. */
static void a_value_cannot_be_rolled_back(void **state)
{
    static uint8_t keep[ATTACK_VALUE_MAX];
    const size_t lens[] = {64, 3000, 40000};

    (void)state;
    for (size_t i = 0; i < sizeof(lens) / sizeof(lens[0]); i++) {
        struct fixture f;
        struct bytes a = {value_a, lens[i]};
        struct bytes b = {value_b, lens[i]};
        struct sealed s1;
        struct sealed s2;

        open_fixture(&f, 1, 2);
        s1 = apply(&f, key_a, 1, a);
        memcpy(keep, s1.p, s1.n);
        s2 = apply(&f, key_a, 2, b);
        memcpy(s2.p, keep, s1.n);
        refused(&f, key_a, lens[i]);
        repaired(&f, key_a, 2, b);
        /* Absent in between changes nothing. */
        bool applied;

        assert_int_equal(
            store_apply(f.store, key_a, (struct tag){.ts = 3}, true, (struct bytes){0}, &applied),
            OK);
        s2 = apply(&f, key_a, 4, b);
        memcpy(s2.p, keep, s1.n);
        refused(&f, key_a, lens[i]);
        assert_true(fixture_close(&f));
    }
}

/* A value of another length of the same class at the same place: of a former tag, and, from a store
 * that holds another value under the very same key and tag, of none but another length. */
static void a_value_cannot_change_its_length(void **state)
{
    static uint8_t keep[ATTACK_VALUE_MAX];
    struct fixture f;
    struct fixture g;
    struct sealed s1;
    struct sealed s2;

    (void)state;
    open_fixture(&f, 1, 2);
    s1 = apply(&f, key_a, 1, (struct bytes){value_a, 60});
    memcpy(keep, s1.p, s1.n);
    s2 = apply(&f, key_a, 2, (struct bytes){value_a, 61});
    assert_int_equal(s1.n, s2.n); /* the host sees the class only */
    memcpy(s2.p, keep, s1.n);
    refused(&f, key_a, 61);

    open_fixture(&g, 1, 2);
    s2 = apply(&g, key_a, 1, (struct bytes){value_a, 61});
    memcpy(s2.p, keep, s1.n);
    refused(&g, key_a, 61);
    assert_true(fixture_close(&g));
    assert_true(fixture_close(&f));
}

static void a_truncated_or_erased_value_is_refused(void **state)
{
    const size_t lens[] = {5, 64, 20000};

    (void)state;
    for (size_t i = 0; i < sizeof(lens) / sizeof(lens[0]); i++) {
        struct bytes a = {value_a, lens[i]};

        for (size_t keep = 0; keep < 4; keep++) {
            struct fixture f;
            struct sealed s;

            open_fixture(&f, 1, 2);
            s = apply(&f, key_a, 1, a);
            memset(s.p + s.n * keep / 4, 0, s.n - s.n * keep / 4);
            refused(&f, key_a, lens[i]);
            repaired(&f, key_a, 1, a);
            memset(s.p, 0xff, s.n);
            refused(&f, key_a, lens[i]);
            assert_true(fixture_close(&f));
        }
    }
}

static void chunks_of_a_value_cannot_change_places(void **state)
{
    static uint8_t keep[STORE_CHUNK + AEAD_TAG_LEN];
    struct fixture f;
    struct bytes a = {value_a, (size_t)3 * STORE_CHUNK};
    struct sealed s;

    (void)state;
    open_fixture(&f, 1, 2);
    s = apply(&f, key_a, 1, a);
    memcpy(keep, s.p, sizeof(keep));
    memcpy(s.p, s.p + sizeof(keep), sizeof(keep));
    memcpy(s.p + sizeof(keep), keep, sizeof(keep));
    refused(&f, key_a, a.n);
    repaired(&f, key_a, 1, a);
    /* A good first chunk is not given out when a later one is bad. */
    s.p[2 * sizeof(keep)] ^= 1;
    refused(&f, key_a, a.n);
    assert_true(fixture_close(&f));
}

static void chunks_of_two_versions_cannot_be_mixed(void **state)
{
    static uint8_t keep[ATTACK_VALUE_MAX];
    struct fixture f;
    struct bytes a = {value_a, (size_t)3 * STORE_CHUNK};
    struct bytes b = {value_b, (size_t)3 * STORE_CHUNK};
    struct sealed s;

    (void)state;
    open_fixture(&f, 1, 2);
    s = apply(&f, key_a, 1, a);
    memcpy(keep, s.p, s.n);
    s = apply(&f, key_a, 2, b);
    memcpy(s.p + CHUNK_LEN, keep + CHUNK_LEN, CHUNK_LEN);
    refused(&f, key_a, a.n);
    assert_true(fixture_close(&f));
}

static void stores_do_not_open_each_others_values(void **state)
{
    const struct {
        uint32_t shard;
        uint8_t secret;
    } others[] = {{2, 2}, {1, 3}};

    (void)state;
    for (size_t i = 0; i < sizeof(others) / sizeof(others[0]); i++) {
        struct fixture f;
        struct fixture g;
        struct bytes a = {value_a, 64};
        struct sealed sf;
        struct sealed sg;

        open_fixture(&f, 1, 2);
        open_fixture(&g, others[i].shard, others[i].secret);
        sf = apply(&f, key_a, 1, a);
        sg = apply(&g, key_a, 1, a);
        assert_int_equal(sf.p - f.arena, sg.p - g.arena);
        memcpy(sg.p, sf.p, sf.n);
        refused(&g, key_a, 64);
        intact(&f, key_a, a);
        assert_true(fixture_close(&g));
        assert_true(fixture_close(&f));
    }
}

/* STORE-6: no two seals share a nonce, not even of one value under one tag. */
static void sealing_the_same_again_gives_other_bytes(void **state)
{
    uint8_t keep[128];
    struct fixture f;
    struct bytes a = {value_a, 64};
    struct sealed s;

    (void)state;
    open_fixture(&f, 1, 2);
    s = apply(&f, key_a, 1, a);
    memcpy(keep, s.p, s.n);
    s.p[0] ^= 1;
    refused(&f, key_a, 64);
    repaired(&f, key_a, 1, a);
    for (size_t i = 0; i + 16 <= 64; i += 16) {
        assert_memory_not_equal(keep + i, s.p + i, 16);
    }
    assert_true(fixture_close(&f));
}

static void the_arena_holds_no_plaintext(void **state)
{
    struct fixture f;
    struct sealed s;

    (void)state;
    open_fixture(&f, 1, 2);
    s = apply(&f, key_a, 1, (struct bytes){value_a, 40000});
    for (size_t i = 0; i + 8 <= s.n; i++) {
        assert_true(memcmp(s.p + i, value_a, 8) != 0);
        assert_true(memcmp(s.p + i, value_a + 20000, 8) != 0);
        assert_true(memcmp(s.p + i, key_a.p, key_a.n) != 0);
    }
    assert_true(fixture_close(&f));
}

/* Values without bytes and deletions depend on nothing that the host holds. */
static void empty_values_and_tombstones_need_no_host_memory(void **state)
{
    struct fixture f;
    struct store_stats stats;
    struct store_entry e;
    struct sealed s;
    bool applied;

    (void)state;
    open_fixture(&f, 1, 2);
    s = apply(&f, key_a, 1, (struct bytes){value_a, 64});
    s.p[0] ^= 1;
    refused(&f, key_a, 64);
    assert_int_equal(
        store_apply(f.store, key_a, (struct tag){.ts = 2}, true, (struct bytes){0}, &applied), OK);
    assert_int_equal(
        store_apply(f.store, key_b, (struct tag){.ts = 2}, false, (struct bytes){0}, &applied), OK);
    store_stats(f.store, &stats);
    assert_int_equal(stats.arena_used, 0);
    assert_int_equal(stats.damaged, 0);
    memset(f.arena, 0xee, f.arena_bytes);
    assert_int_equal(store_read(f.store, key_a, (struct mbytes){got, 0}, &e), OK);
    assert_true(e.tombstone);
    assert_int_equal(store_read(f.store, key_b, (struct mbytes){got, 0}, &e), OK);
    assert_false(e.tombstone);
    assert_int_equal(e.value_len, 0);
    assert_true(fixture_close(&f));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_flipped_byte_is_refused),
        cmocka_unit_test(values_of_two_keys_cannot_be_swapped),
        cmocka_unit_test(a_value_cannot_be_rolled_back),
        cmocka_unit_test(a_value_cannot_change_its_length),
        cmocka_unit_test(a_truncated_or_erased_value_is_refused),
        cmocka_unit_test(chunks_of_a_value_cannot_change_places),
        cmocka_unit_test(chunks_of_two_versions_cannot_be_mixed),
        cmocka_unit_test(stores_do_not_open_each_others_values),
        cmocka_unit_test(sealing_the_same_again_gives_other_bytes),
        cmocka_unit_test(the_arena_holds_no_plaintext),
        cmocka_unit_test(empty_values_and_tombstones_need_no_host_memory),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
