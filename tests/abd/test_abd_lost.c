// SPDX-License-Identifier: Apache-2.0
/* A replica whose host destroyed cold pages of its index says nothing about their keys: ABD-20. */
#include "tests/abd/abd_world.h"
#include "trusted/wire/batch_wire.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

enum { KEYS = 120, KEY_LEN = 900 };

static const struct tag planted = {.ts = 4, .writer = 9};

/* Long, so that a leaf holds few. */
static const char *key_of(unsigned i)
{
    static char key[KEY_LEN + 1];
    char number[8];

    memset(key, 'k', KEY_LEN);
    (void)snprintf(number, sizeof(number), "%03u", i);
    memcpy(key, number, 3);
    return key;
}

static struct bytes bytes_of(const char *s)
{
    return (struct bytes){.p = (const uint8_t *)s, .n = strlen(s)};
}

/* All keys everywhere with an empty value, which is not "not found"; then the host of node 0 erases
 * its memory. */
static struct world *open_robbed(uint8_t n)
{
    struct world *w = world_open(&(struct world_options){.n = n, .leaves = 64 << 10});

    for (uint8_t node = 0; node < n; node++) {
        for (unsigned i = 0; i < KEYS; i++) {
            world_plant(w, node, key_of(i), planted, "");
        }
    }
    world_damage(w, 0);
    return w;
}

/* True: node 0 does not know this key any more. */
static bool is_lost(struct world *w, unsigned i)
{
    struct store_entry e;

    return store_find(w->nodes[0].store, bytes_of(key_of(i)), &e) == ERR_LOST;
}

static unsigned a_lost_key(struct world *w)
{
    for (unsigned i = 0; i < KEYS; i++) {
        if (is_lost(w, i)) {
            return i;
        }
    }
    fail();
    return 0;
}

/* Answers of the robbed node: right, or LOST; those of others: right. */
static void nobody_calls_a_lost_key_absent(void **state)
{
    struct world *w = open_robbed(3);
    unsigned lost = 0;

    (void)state;
    for (unsigned i = 0; i < KEYS; i++) {
        uint32_t user = world_get(w, 0, key_of(i), 1000);

        world_settle(w);
        if (!world_is(w, user, OK, "")) {
            assert_true(world_is(w, user, ERR_LOST, NULL));
            assert_true(is_lost(w, i));
            lost++;
        }
        user = world_get(w, 1, key_of(i), 1000);
        world_settle(w);
        assert_true(world_is(w, user, OK, ""));
    }
    assert_true(lost > KEYS / 4 && lost < KEYS);
    world_close(w);
}

/* With the only other holder away, nobody knows: neither a value nor its absence is made up. */
static void a_robbed_replica_is_no_vote(void **state)
{
    struct world *w = open_robbed(3);
    unsigned i = a_lost_key(w);
    uint32_t get, put;

    (void)state;
    world_up(w, 1, 2, false);
    get = world_get(w, 1, key_of(i), 100);
    put = world_put(w, 1, key_of(i), "new", 100);
    (void)world_exchange(w, 1, 0);
    (void)world_exchange(w, 1, 0);
    assert_false(w->replies[get].have);
    assert_false(w->replies[put].have);
    for (struct world_call *c; (c = world_call(w, 1, 2)) != NULL;) {
        world_fail(w, c);
    }
    world_tick(w, 1, UINT64_C(200000000));
    world_tick(w, 1, 1);
    assert_true(world_is(w, get, ERR_UNAVAILABLE, NULL));
    assert_true(world_is(w, put, ERR_UNAVAILABLE, NULL));
    world_settle(w);
    world_close(w);
}

/* Nothing is written through a replica that does not know what it would overwrite. */
static void operations_go_on_through_the_others(void **state)
{
    struct world *w = open_robbed(3);
    unsigned i = a_lost_key(w);
    uint32_t user;

    (void)state;
    user = world_put(w, 0, key_of(i), "zero", 1000);
    world_settle(w);
    assert_true(world_is(w, user, ERR_LOST, NULL));
    user = world_delete(w, 0, key_of(i), 1000);
    world_settle(w);
    assert_true(world_is(w, user, ERR_LOST, NULL));
    user = world_rmw(w, 0, CLIENT_RMW_APPEND, key_of(i), NULL, "zero");
    world_settle(w);
    assert_true(world_is(w, user, ERR_LOST, NULL));

    user = world_rmw(w, 1, CLIENT_RMW_APPEND, key_of(i), NULL, "one");
    world_settle(w);
    assert_int_equal(w->replies[user].status, OK);
    assert_true(world_holds(w, 1, key_of(i), "one"));
    assert_true(world_holds(w, 2, key_of(i), "one"));
    user = world_put(w, 2, key_of(i), "two", 1000);
    world_settle(w);
    assert_true(world_is(w, user, OK, NULL));
    user = world_get(w, 1, key_of(i), 1000);
    world_settle(w);
    assert_true(world_is(w, user, OK, "two"));
    assert_true(is_lost(w, i));
    world_close(w);
}

static uint32_t scan_from(struct world *w, uint8_t node, struct bytes low)
{
    uint8_t body[SCAN_ASK_MAX];
    const struct scan_ask ask = {.keys_max = BATCH_KEYS_MAX, .bytes_max = BATCH_BYTES, .low = low};
    size_t n = scan_ask_encode(&ask, false, (struct mbytes){body, sizeof(body)});

    return world_batch(w, node, CLIENT_SCAN, (struct bytes){body, n});
}

static uint32_t mget(struct world *w, uint8_t node, unsigned i)
{
    const struct batch_item item = {.key = bytes_of(key_of(i))};
    uint8_t body[KEY_MAX + 16];
    struct writer b = {.to = {body, sizeof(body)}};

    put_u16(&b, 1);
    batch_item_put(&b, BATCH_MGET, &item);
    assert_false(b.failed);
    return world_batch(w, node, CLIENT_MGET, (struct bytes){body, b.len});
}

/* A page that cannot be read ends a scan, it does not make it shorter. */
static void lists_of_keys_are_whole_or_refused(void **state)
{
    struct world *w = open_robbed(3);
    struct scan_page page = {.more = true};
    struct batch_item m;
    unsigned n = 0;
    uint32_t user;

    (void)state;
    user = scan_from(w, 0, (struct bytes){0});
    world_settle(w);
    assert_true(world_is(w, user, ERR_LOST, NULL));
    user = mget(w, 0, a_lost_key(w));
    world_settle(w);
    assert_true(world_is(w, user, ERR_LOST, NULL));

    user = mget(w, 1, a_lost_key(w));
    world_settle(w);
    assert_int_equal(w->replies[user].status, OK);
    while (page.more) {
        user = scan_from(w, 1, page.next);
        world_settle(w);
        assert_int_equal(w->replies[user].status, OK);
        assert_int_equal(
            scan_page_decode((struct bytes){w->replies[user].value, w->replies[user].value_len},
                             false, &page),
            OK);
        while (batch_list_next(&page.list, &m)) {
            assert_true(bytes_equal(m.key, bytes_of(key_of(n))));
            n++;
        }
    }
    assert_int_equal(n, KEYS);
    world_close(w);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(nobody_calls_a_lost_key_absent),
        cmocka_unit_test(a_robbed_replica_is_no_vote),
        cmocka_unit_test(operations_go_on_through_the_others),
        cmocka_unit_test(lists_of_keys_are_whole_or_refused),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
