// SPDX-License-Identifier: Apache-2.0
/* At the end of memory, of the enclave's and of the host's: typed refusals that change nothing,
 * reads, deletions and overwrites that go on, and everything back in the end. STORE-11, STORE-12.
 */
#include "common/limits.h"
#include "tests/store/fixture.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

static uint8_t value[1 << 20];

static struct bytes key_of(unsigned i, char to[static 32])
{
    int n = snprintf(to, 32, "some key %08u", i);

    return (struct bytes){(const uint8_t *)to, (size_t)n};
}

/* What a refusal must leave as it was; where pages of the index lie is none of it. */
static void assert_same(const struct store_stats *a, const struct store_stats *b)
{
    assert_int_equal(a->keys, b->keys);
    assert_int_equal(a->tombstones, b->tombstones);
    assert_int_equal(a->value_bytes, b->value_bytes);
    assert_int_equal(a->damaged, b->damaged);
    if (a->pages_cold == b->pages_cold && a->page_ins == b->page_ins) {
        assert_int_equal(a->index_bytes, b->index_bytes);
        assert_int_equal(a->arena_used, b->arena_used);
    }
}

/* Applies to store and model alike; a refusal must leave the store as the model. */
static enum err apply(struct fixture *f, struct model *m, struct bytes key, struct tag tag,
                      bool tombstone, struct bytes v)
{
    struct store_stats before;
    struct store_stats after;
    size_t used = heap_used(f->heap);
    bool applied = true;
    enum err err;

    store_stats(f->store, &before);
    err = store_apply(f->store, key, tag, tombstone, v, &applied);
    if (err == OK) {
        assert_int_equal(applied, model_apply(m, key, tag, tombstone, v));
    } else {
        store_stats(f->store, &after);
        assert_same(&before, &after);
        if (before.pages_cold == after.pages_cold && before.page_ins == after.page_ins) {
            assert_int_equal(heap_used(f->heap), used);
        }
    }
    return err;
}

/* Puts values of one length under new keys until the store refuses. */
static unsigned fill(struct fixture *f, struct model *m, size_t len, enum err want)
{
    char key[32];
    unsigned n = 0;
    enum err err;

    for (;;) {
        memset(value, (int)n, len);
        err = apply(f, m, key_of(n, key), (struct tag){.ts = 1}, false, (struct bytes){value, len});
        if (err != OK) {
            break;
        }
        n++;
    }
    assert_int_equal(err, want);
    return n;
}

static void a_full_arena_refuses_new_values_only(void **state)
{
    const size_t lens[] = {10, 64, 4000, 9000, 20000, 100000};

    (void)state;
    for (size_t i = 0; i < sizeof(lens) / sizeof(lens[0]); i++) {
        struct fixture f;
        struct model m = {0};
        struct store_entry e;
        char key[32];
        size_t len = lens[i];
        unsigned n;

        fixture_open(&f, &(struct fixture_options){16 << 20, 1 << 20, 0, 1, 0});
        n = fill(&f, &m, len, ERR_HOST_MEMORY);
        assert_true(n * len >= (1 << 20) * (len < 64 ? 15 : 65) / 100);
        assert_true(model_equals(&m, f.store));
        assert_int_equal(store_find(f.store, key_of(n, key), &e), ERR_NOT_FOUND);

        /* An existing key takes a value of the same class, a smaller one, none. */
        for (unsigned k = 0; k < n; k++) {
            size_t less = k % 3 == 0 ? len : k % 3 == 1 ? len / 2 : 0;

            memset(value, (int)k + 1, len);
            assert_int_equal(apply(&f, &m, key_of(k, key), (struct tag){.ts = 2}, less == 0,
                                   (struct bytes){value, less}),
                             OK);
        }
        assert_true(model_equals(&m, f.store));

        /* What the deletions gave back is there for new keys. */
        assert_int_equal(
            apply(&f, &m, key_of(n, key), (struct tag){.ts = 1}, false, (struct bytes){value, len}),
            OK);
        assert_true(model_equals(&m, f.store));
        model_fini(&m);
        assert_true(fixture_close(&f));
    }
}

static void overwriting_with_smaller_values_makes_room(void **state)
{
    struct fixture f;
    struct model m = {0};
    char key[32];
    unsigned n;
    unsigned more = 0;

    (void)state;
    fixture_open(&f, &(struct fixture_options){16 << 20, 4 << 20, 0, 1, 0});
    n = fill(&f, &m, 60000, ERR_HOST_MEMORY);
    for (unsigned k = 0; k < n; k++) {
        assert_int_equal(apply(&f, &m, key_of(k, key), (struct tag){.ts = 2}, false,
                               (struct bytes){value, 15000}),
                         OK);
    }
    while (apply(&f, &m, key_of(n + more, key), (struct tag){.ts = 1}, false,
                 (struct bytes){value, 15000}) == OK) {
        more++;
    }
    assert_true(more >= 2 * n);
    assert_true(model_equals(&m, f.store));
    model_fini(&m);
    assert_true(fixture_close(&f));
}

/* Without room to page out, and with it: then there are many more keys, and at the very end each
 * operation on a cold page reads or rewrites it where it lies. */
static void a_full_heap_refuses_new_keys_only(void **state)
{
    const uint64_t arenas[] = {64, 64 << 20};

    (void)state;
    for (unsigned paging = 0; paging < 2; paging++) {
        struct fixture f;
        struct model m = {0};
        struct store_entry e;
        struct store_stats stats;
        char key[32];
        unsigned n;

        fixture_open(&f, &(struct fixture_options){1 << 20, arenas[paging], 0, 1, 0});
        n = fill(&f, &m, 0, ERR_ENCLAVE_MEMORY);
        store_stats(f.store, &stats);
        assert_int_equal(stats.pages_cold > 0, paging);
        assert_true(n > (paging ? 200000 : 10000));
        assert_int_equal(store_find(f.store, key_of(n, key), &e), ERR_NOT_FOUND);
        for (unsigned k = 0; k < n; k++) {
            memset(value, (int)k + 1, 64);
            assert_int_equal(apply(&f, &m, key_of(k, key), (struct tag){.ts = 2}, k % 2 == 0,
                                   (struct bytes){value, 0}),
                             OK);
        }
        assert_true(model_equals(&m, f.store));
        /* Memory that is given back serves new keys. */
        for (unsigned k = 0; k < n; k += 1 + paging) {
            bool done;

            memset(value, 0, 1);
            assert_int_equal(store_apply(f.store, key_of(k, key), (struct tag){.ts = 3}, true,
                                         (struct bytes){0}, &done),
                             OK);
            assert_int_equal(store_remove(f.store, key_of(k, key), (struct tag){.ts = 3}, &done),
                             OK);
            assert_true(done);
        }
        for (unsigned k = 0; k < n / 8; k++) {
            bool applied;

            assert_int_equal(store_apply(f.store, key_of(n + k, key), (struct tag){.ts = 1}, false,
                                         (struct bytes){0}, &applied),
                             OK);
        }
        model_fini(&m);
        assert_true(fixture_close(&f));
    }
}

/* Other users of the heap come and go, so that an insertion runs out of memory at every point it
 * can: the leaf, either half, the levels above, the arena's spans. */
static void running_out_anywhere_changes_nothing(void **state)
{
    enum { FILLERS = 200 };

    (void)state;
    for (uint64_t seed = 1; seed <= 8; seed++) {
        struct fixture f;
        struct model m = {0};
        struct prng p = {seed};
        struct {
            void *p;
            size_t n;
        } fillers[FILLERS] = {0};
        unsigned refused = 0;
        unsigned done = 0;

        fixture_open(&f,
                     &(struct fixture_options){1 << 20, seed % 2 == 0 ? 64 : 256 << 20, 0, 1, 0});
        for (unsigned i = 0; i < 12000; i++) {
            uint8_t key[KEY_MAX];
            size_t key_len = draw_key(&p, key);
            unsigned at = (unsigned)prng_below(&p, FILLERS);

            heap_free(f.heap, fillers[at].p, fillers[at].n);
            fillers[at].n = 16 + prng_below(&p, 8000);
            fillers[at].p = heap_alloc(f.heap, fillers[at].n);
            enum err err =
                apply(&f, &m, (struct bytes){key, key_len}, (struct tag){.ts = 1 + i % 7},
                      prng_chance(&p, 1, 3), (struct bytes){value, 0});

            assert_true(err == OK || err == ERR_ENCLAVE_MEMORY);
            refused += err != OK;
            done += err == OK;
            if (i % 2000 == 0) {
                assert_true(model_equals(&m, f.store));
            }
        }
        assert_true(refused > 100 && done > 100);
        assert_true(model_equals(&m, f.store));
        for (unsigned i = 0; i < FILLERS; i++) {
            heap_free(f.heap, fillers[i].p, fillers[i].n);
        }
        model_fini(&m);
        assert_true(fixture_close(&f));
    }
}

static void a_heap_too_small_for_a_store_is_refused(void **state)
{
    struct store_config c = {0};
    struct store *s = NULL;
    void *region = aligned_alloc(64, 1 << 20);
    struct heap *heap;
    size_t used;

    (void)state;
    memset(region, 0, 1 << 20);
    assert_int_equal(heap_init(region, 1 << 20, &heap), OK);
    c.heap = heap;
    c.aead = aead_open_impl(aead_best());
    c.arena_bytes = UINT64_C(1) << 30; /* its tables come last */
    /* Less and less is free: every allocation of store_init is refused once. */
    while (heap_alloc(heap, 16 << 10) != NULL) {
        used = heap_used(heap);
        if (store_init(&c, &s) == OK) {
            store_fini(s);
        } else {
            assert_null(s);
        }
        s = NULL;
        assert_int_equal(heap_used(heap), used);
    }
    assert_int_equal(store_init(&c, &s), ERR_ENCLAVE_MEMORY);
    aead_close_impl(c.aead);
    heap_fini(heap);
    free(region);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_full_arena_refuses_new_values_only),
        cmocka_unit_test(overwriting_with_smaller_values_makes_room),
        cmocka_unit_test(a_full_heap_refuses_new_keys_only),
        cmocka_unit_test(running_out_anywhere_changes_nothing),
        cmocka_unit_test(a_heap_too_small_for_a_store_is_refused),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
