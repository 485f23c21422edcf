// SPDX-License-Identifier: Apache-2.0
/* Clauses MEM-7 and RMW-16: what a member copies from voters. Node 2 copies from nodes 0 and 1. */
#include "trusted/copy/copy.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "tests/abd/abd_world.h"

static const struct tag base = {.ts = 3, .writer = 9}, later = {.ts = 4, .writer = 9};

enum { EPOCH = 2 };

static uint64_t ballot(uint64_t epoch, uint64_t round)
{
    return epoch << 32 | round << 4;
}

static struct bytes text(const char *s)
{
    return (struct bytes){(const uint8_t *)s, strlen(s)};
}

static struct world *open_three(void)
{
    struct world *w = world_open(&(struct world_options){.n = 3});

    for (int i = 0; i < EPOCH; i++) {
        for (uint8_t node = 0; node < 3; node++) {
            world_reconfigure(w, node, 0x3);
        }
    }
    return w;
}

static struct abd_rmw_item accepted(const char *key, struct tag b, uint64_t epoch, uint32_t round)
{
    return (struct abd_rmw_item){.base = b,
                                 .op = {.number = 7, .writer = 5},
                                 .ballot = ballot(epoch, round),
                                 .key = text(key),
                                 .value = text("new")};
}

static void accept_at(struct world *w, uint8_t node, struct abd_rmw_item item)
{
    assert_int_equal(abd_rmw_import(w->nodes[node].abd, &item), OK);
}

static bool has_accepted(struct world *w, uint8_t node, const char *key, struct tag b,
                         struct abd_rmw_item *ret)
{
    return abd_rmw_accepted(w->nodes[node].abd, text(key), b, ret);
}

struct copier {
    struct world *w;
    struct copy copy;
    uint64_t now_ns;
    uint32_t pages;
};

static void start(struct copier *c, struct world *w)
{
    *c = (struct copier){.w = w};
    copy_begin(&c->copy, w->nodes[2].store, w->nodes[2].abd, 0x3, 2);
    copy_peer(&c->copy, 0, true);
    copy_peer(&c->copy, 1, true);
}

/* One page. False: nothing can be asked. */
static bool one_page(struct copier *c)
{
    struct copy_page page;
    struct peer_ask ask;
    uint8_t peer;

    if (!copy_next(&c->copy, c->now_ns, &peer, &ask)) {
        return false;
    }
    {
        const struct world_node *n = &c->w->nodes[peer];
        const struct copy_source from = {n->heap, n->store, n->abd};
        struct peer_answer answer = {.kind = PEER_PAGE};

        assert_int_equal(copy_page_make(&from, &ask, &page), OK);
        answer.last = page.last;
        answer.value = page.entries;
        assert_true(page.block_n <= COPY_PAGE_BYTES || page.entries.n <= page.block_n);
        copy_on_answer(&c->copy, c->now_ns, peer, &answer);
        heap_free(n->heap, page.block, page.block_n);
    }
    c->pages++;
    return true;
}

static void run(struct copier *c)
{
    for (int i = 0; i < 10000 && !copy_is_complete(&c->copy); i++) {
        if (!one_page(c)) {
            c->now_ns = copy_deadline(&c->copy);
            assert_true(c->now_ns != UINT64_MAX);
        }
    }
    assert_true(copy_is_complete(&c->copy));
    assert_int_equal(c->copy.err, OK);
}

static void test_keys_and_what_was_accepted(void **state)
{
    struct world *w = open_three();
    struct abd_rmw_item item = accepted("deleted", base, 1, 4);
    struct copier c;

    (void)state;
    world_plant(w, 0, "a", base, "old");
    world_plant(w, 1, "a", later, "newer");
    world_plant(w, 0, "b", base, "old");
    world_plant(w, 0, "deleted", base, "old");
    world_plant(w, 0, "counted", (struct tag){.rmwc = 1}, "1"); /* RMW-1: nobody ever wrote it */
    accept_at(w, 0, accepted("a", base, 1, 1));                 /* closed at 1 */
    accept_at(w, 0, accepted("b", base, 1, 3));                 /* stands */
    accept_at(w, 1, accepted("never", (struct tag){0}, 1, 2));  /* the key does not exist */
    item.tombstone = true;
    item.value.n = 0;
    accept_at(w, 0, item);
    start(&c, w);
    run(&c);
    assert_true(world_holds(w, 2, "a", "newer"));
    assert_true(world_holds(w, 2, "b", "old"));
    assert_true(world_holds(w, 2, "counted", "1"));
    assert_false(has_accepted(w, 2, "a", later, &item));
    assert_true(has_accepted(w, 2, "b", base, &item));
    assert_memory_equal(item.value.p, "new", 3);
    assert_int_equal(item.ballot, ballot(1, 3));
    assert_int_equal(item.op.owner, RMW_ORPHAN);
    assert_true(has_accepted(w, 2, "never", (struct tag){0}, &item));
    assert_true(has_accepted(w, 2, "deleted", base, &item));
    assert_true(item.tombstone);
    world_close(w);
}

/* The page ends behind a key for which something was accepted. If the key changes before that is
 * asked for, the change comes instead: never the old key without what was accepted for it. */
static void test_one_instant(void **state)
{
    struct world *w = open_three();
    struct abd_rmw_item item;
    struct copier c;

    (void)state;
    world_plant(w, 0, "k", base, "old");
    world_plant(w, 0, "z", base, "last");
    accept_at(w, 0, accepted("k", base, 1, 1));
    start(&c, w);
    copy_peer(&c.copy, 1, false);
    while (!world_holds(w, 2, "k", "old")) {
        assert_true(one_page(&c));
    }
    assert_false(has_accepted(w, 2, "k", base, &item));
    assert_int_equal(c.copy.complete_n, 0);
    world_plant(w, 0, "k", later, "newer"); /* closes the instance there */
    while (one_page(&c)) {
    }
    assert_int_equal(c.copy.complete_n, 1);
    assert_true(world_holds(w, 2, "k", "newer"));
    assert_true(world_holds(w, 2, "z", "last"));
    world_close(w);
}

/* RMW-16: the epoch counts more than the round. */
static void test_greater_ballot_stays(void **state)
{
    struct world *w = open_three();
    struct abd_rmw_item item = accepted("k", base, 2, 1);
    struct copier c;

    (void)state;
    world_plant(w, 0, "k", base, "old");
    world_plant(w, 1, "k", base, "old");
    accept_at(w, 0, accepted("k", base, 1, 1000));
    item.value = text("decided");
    accept_at(w, 1, item);
    start(&c, w);
    run(&c);
    assert_true(has_accepted(w, 2, "k", base, &item));
    assert_int_equal(item.value.n, 7);
    item = accepted("k", base, EPOCH + 1, 1); /* from nowhere */
    assert_int_equal(abd_rmw_import(w->nodes[2].abd, &item), ERR_MALFORMED);
    world_close(w);
}

/* More than a page holds, of everything, while records come and go. */
static void test_many(void **state)
{
    static uint8_t big[12000];
    struct world *w = open_three();
    struct abd_rmw_item item;
    struct copier c;
    char key[16];

    (void)state;
    memset(big, 'x', sizeof(big));
    for (int i = 0; i < 20; i++) {
        struct abd_rmw_item a = accepted(key, (struct tag){0}, 1, 1);

        (void)snprintf(key, sizeof(key), "absent%d", i);
        a.key = text(key);
        a.value = (struct bytes){big, sizeof(big)};
        accept_at(w, 0, a);
        (void)snprintf(key, sizeof(key), "present%d", i);
        world_plant(w, 0, key, base, "old");
        a.key = text(key);
        a.base = base;
        accept_at(w, 0, a);
    }
    start(&c, w);
    (void)one_page(&c);
    (void)one_page(&c);
    world_plant(w, 0, "absent3", later, "comes");
    accept_at(w, 0, accepted("absentzz", (struct tag){0}, 1, 1));
    run(&c);
    assert_true(c.pages > 20);
    for (int i = 0; i < 20; i++) {
        (void)snprintf(key, sizeof(key), "absent%d", i);
        assert_true(i == 3 || has_accepted(w, 2, key, (struct tag){0}, &item));
        (void)snprintf(key, sizeof(key), "present%d", i);
        assert_true(has_accepted(w, 2, key, base, &item));
        assert_int_equal(item.value.n, sizeof(big));
    }
    assert_true(world_holds(w, 2, "absent3", "comes"));
    world_close(w);
}

/* A value that does not open at the voter: the stream comes back for it, with all that belongs. */
static void test_damaged(void **state)
{
    struct world *w = open_three();
    struct abd_rmw_item item;
    struct copier c;

    (void)state;
    world_plant(w, 0, "k", base, "old value");
    accept_at(w, 0, accepted("k", base, 1, 1));
    world_damage(w, 0);
    start(&c, w);
    for (int i = 0; i < 50; i++) {
        (void)one_page(&c);
    }
    assert_int_equal(c.copy.complete_n, 1);    /* of node 1, which has nothing */
    world_plant(w, 2, "k", base, "old value"); /* a live write brings it */
    run(&c);
    assert_true(has_accepted(w, 2, "k", base, &item));
    world_close(w);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_keys_and_what_was_accepted),
        cmocka_unit_test(test_one_instant),
        cmocka_unit_test(test_greater_ballot_stays),
        cmocka_unit_test(test_many),
        cmocka_unit_test(test_damaged),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
