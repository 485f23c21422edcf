// SPDX-License-Identifier: Apache-2.0
/* Scans, multi-gets and multi-puts: SCAN-1 to SCAN-n, message by message. */
#include "tests/abd/abd_world.h"
#include "trusted/wire/batch_wire.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

static struct world *open_n(uint8_t n)
{
    return world_open(&(struct world_options){.n = n});
}

static const struct tag older = {.ts = 4, .writer = 9};
static const struct tag newer = {.ts = 5, .writer = 9};

static void everywhere(struct world *w, const char *key, const char *value)
{
    for (uint8_t i = 0; i < w->n; i++) {
        world_plant(w, i, key, older, value);
    }
}

static struct bytes text(const char *s)
{
    return (struct bytes){.p = (const uint8_t *)s, .n = strlen(s)};
}

/* ---- asking ---- */

struct range {
    const char *low, *high;
    bool down, values;
    uint16_t keys_max;
};

static uint32_t scan(struct world *w, uint8_t node, struct range r)
{
    uint8_t body[SCAN_ASK_MAX];
    struct scan_ask ask = {.down = r.down,
                           .values = r.values,
                           .keys_max = r.keys_max == 0 ? BATCH_KEYS_MAX : r.keys_max,
                           .bytes_max = BATCH_BYTES,
                           .low = text(r.low),
                           .high = text(r.high)};
    size_t n = scan_ask_encode(&ask, false, (struct mbytes){body, sizeof(body)});

    return world_batch(w, node, CLIENT_SCAN, (struct bytes){body, n});
}

/* "k=v k=v" or "k k", then " >next" if there is more. */
static void page_text(const struct world_reply *r, char *to, size_t size)
{
    struct scan_page page;
    struct batch_item m;
    size_t at = 0;

    assert_int_equal(scan_page_decode((struct bytes){r->value, r->value_len}, false, &page), OK);
    to[0] = 0;
    while (batch_list_next(&page.list, &m)) {
        at += (size_t)snprintf(to + at, size - at, "%s%.*s", at == 0 ? "" : " ", (int)m.key.n,
                               (const char *)m.key.p);
        if (page.values) {
            at += (size_t)snprintf(to + at, size - at, "=%.*s", (int)m.value.n,
                                   m.value.n == 0 ? "" : (const char *)m.value.p);
        }
    }
    if (page.more) {
        bool zero = page.next.p[page.next.n - 1] == 0;

        (void)snprintf(to + at, size - at, " >%.*s%s", (int)page.next.n - zero,
                       (const char *)page.next.p, zero ? "+" : "");
    }
}

static void assert_page(struct world *w, uint32_t user, const char *want)
{
    char got[4096];

    assert_true(w->replies[user].have);
    assert_int_equal(w->replies[user].status, OK);
    page_text(&w->replies[user], got, sizeof(got));
    assert_string_equal(got, want);
}

static size_t put_list(struct mbytes to, unsigned fields, const struct batch_item *items,
                       uint16_t n)
{
    struct writer w = {.to = to};

    put_u16(&w, n);
    for (uint16_t i = 0; i < n; i++) {
        batch_item_put(&w, fields, &items[i]);
    }
    assert_false(w.failed);
    return w.len;
}

static uint32_t mget(struct world *w, uint8_t node, const char *a, const char *b)
{
    const struct batch_item items[2] = {{.key = text(a)}, {.key = text(b)}};
    uint8_t body[256];

    return world_batch(
        w, node, CLIENT_MGET,
        (struct bytes){body, put_list((struct mbytes){body, sizeof(body)}, BATCH_MGET, items, 2)});
}

static uint32_t mput(struct world *w, uint8_t node, const char *a, const char *va, const char *b,
                     const char *vb)
{
    const struct batch_item items[2] = {
        {.state = va == NULL, .key = text(a), .value = text(va == NULL ? "" : va)},
        {.state = vb == NULL, .key = text(b), .value = text(vb == NULL ? "" : vb)}};
    uint8_t body[256];

    return world_batch(
        w, node, CLIENT_MPUT,
        (struct bytes){body, put_list((struct mbytes){body, sizeof(body)}, BATCH_MPUT, items, 2)});
}

/* The status of each key and, of a multi-get, its value. */
/* NOLINTNEXTLINE(readability-function-size): two keys, side by side where it is called */
static void assert_list(struct world *w, uint32_t user, unsigned fields, enum err a, const char *va,
                        enum err b, const char *vb)
{
    const struct world_reply *r = &w->replies[user];
    struct batch_list list;
    struct batch_item m;

    assert_true(r->have);
    assert_int_equal(r->status, OK);
    assert_int_equal(
        batch_list_decode((struct bytes){r->value, r->value_len}, fields, ERR_N, &list), OK);
    assert_int_equal(list.n, 2);
    assert_true(batch_list_next(&list, &m));
    assert_int_equal(m.state, a);
    assert_true(va == NULL || bytes_equal(m.value, text(va)));
    assert_true(batch_list_next(&list, &m));
    assert_int_equal(m.state, b);
    assert_true(vb == NULL || bytes_equal(m.value, text(vb)));
}

/* ---- scans ---- */

/* SCAN-6 */
static void keys_and_values_come_in_order_both_ways(void **state)
{
    struct world *w = open_n(3);
    uint32_t user;

    (void)state;
    everywhere(w, "b", "2");
    everywhere(w, "a", "1");
    everywhere(w, "ab", "12");
    everywhere(w, "c", "");
    everywhere(w, "d", NULL);
    user = scan(w, 1, (struct range){"", "", false, true, 0});
    world_settle(w);
    assert_page(w, user, "a=1 ab=12 b=2 c=");
    user = scan(w, 1, (struct range){"", "", true, false, 0});
    world_settle(w);
    assert_page(w, user, "c b ab a");
    user = scan(w, 1, (struct range){"ab", "c", false, false, 0});
    world_settle(w);
    assert_page(w, user, "ab b");
    user = scan(w, 1, (struct range){"ab", "c", true, true, 0});
    world_settle(w);
    assert_page(w, user, "b=2 ab=12");
    assert_int_equal(world_counters(w, 1)->scan_lists, 0); /* all held the same: no list was sent */
    assert_int_equal(world_counters(w, 1)->scan_keys, 12);
    world_close(w);
}

static void a_page_ends_where_the_limit_says_and_goes_on_there(void **state)
{
    struct world *w = open_n(3);
    uint32_t user;

    (void)state;
    everywhere(w, "a", "1");
    everywhere(w, "b", NULL);
    everywhere(w, "c", "3");
    everywhere(w, "d", "4");
    user = scan(w, 0, (struct range){"", "", false, false, 2});
    world_settle(w);
    assert_page(w, user, "a c >c+");
    user = scan(w, 0, (struct range){"c\1", "", false, false, 2});
    world_settle(w);
    assert_page(w, user, "d");
    user = scan(w, 0, (struct range){"", "", true, false, 2});
    world_settle(w);
    assert_page(w, user, "d c >c");
    user = scan(w, 0, (struct range){"", "c", true, false, 2});
    world_settle(w);
    assert_page(w, user, "a");
    world_close(w);
}

/* SCAN-4: what stands at one replica only is written back before it is shown. */
static void a_key_of_a_minority_is_written_back_first(void **state)
{
    for (int values = 0; values < 2; values++) {
        struct world *w = open_n(3);
        uint32_t user;
        uint8_t peer;

        (void)state;
        everywhere(w, "a", "1");
        world_plant(w, 0, "b", newer, "only here");
        world_plant(w, 0, "c", newer, NULL);
        user = scan(w, 0, (struct range){"", "", false, values != 0, 0});
        peer = world_call(w, 0, 1) != NULL ? 1 : 2;
        assert_true(world_exchange(w, 0, peer)); /* RANGE: LISTED */
        peer = world_call(w, 0, 1) != NULL ? 1 : 2;
        assert_true(world_exchange(w, 0, peer)); /* LOOK */
        assert_false(w->replies[user].have);
        peer = world_call(w, 0, 1) != NULL ? 1 : 2;
        assert_true(world_exchange(w, 0, peer)); /* PUSH */
        assert_page(w, user, values != 0 ? "a=1 b=only here" : "a b");
        assert_true(world_holds(w, peer, "b", "only here"));
        assert_int_equal(world_tag(w, peer, "c").ts, newer.ts);
        world_settle(w);
        assert_true(world_holds(w, 1, "b", "only here") && world_holds(w, 2, "b", "only here"));
        world_close(w);
    }
}

static void newer_keys_of_others_are_fetched(void **state)
{
    struct world *w = open_n(3);
    uint32_t user;

    (void)state;
    everywhere(w, "a", "1");
    everywhere(w, "gone", "x");
    for (uint8_t i = 1; i < 3; i++) {
        world_plant(w, i, "a", newer, "2");
        world_plant(w, i, "new", newer, "n");
        world_plant(w, i, "gone", newer, NULL);
    }
    user = scan(w, 0, (struct range){"", "", false, true, 0});
    world_settle(w);
    assert_page(w, user, "a=2 new=n");
    assert_true(world_holds(w, 0, "a", "2") && world_holds(w, 0, "gone", NULL));
    world_close(w);
}

/* SCAN-2: the same keys, only their tags differ: the digest tells. */
static void equal_keys_with_other_tags_are_not_the_same(void **state)
{
    struct world *w = open_n(3);
    uint32_t user;

    (void)state;
    everywhere(w, "a", "1");
    everywhere(w, "b", "1");
    for (uint8_t i = 1; i < 3; i++) {
        world_plant(w, i, "a", newer, "2");
    }
    user = scan(w, 0, (struct range){"", "", false, true, 0});
    world_settle(w);
    assert_page(w, user, "a=2 b=1");
    assert_int_equal(world_counters(w, 0)->scan_lists, 1);
    world_close(w);
}

/* SCAN-3: a list that was cut says nothing of the keys behind. */
static void silence_beyond_the_end_of_a_list_is_no_absence(void **state)
{
    for (int down = 0; down < 2; down++) {
        struct world *w = open_n(3);
        uint32_t user;

        (void)state;
        everywhere(w, down != 0 ? "a" : "z", "last");
        for (uint8_t i = 1; i < 3; i++) { /* the coordinator has none of these */
            world_plant(w, i, "m1", newer, "1");
            world_plant(w, i, "m2", newer, "2");
            world_plant(w, i, "m3", newer, "3");
        }
        user = scan(w, 0, (struct range){"", "", down != 0, false, 2});
        world_settle(w);
        assert_page(w, user, down != 0 ? "m3 m2 >m2" : "m1 m2 >m2+");
        world_close(w);
    }
}

/* ABD-11: a value that does not open here comes from another replica, and repairs ours. */
static void a_damaged_value_is_read_elsewhere(void **state)
{
    struct world *w = open_n(3);
    uint32_t user;

    (void)state;
    everywhere(w, "a", "long 1");
    everywhere(w, "b", "long 2");
    world_damage(w, 0);
    user = scan(w, 0, (struct range){"", "", false, false, 0});
    world_settle(w);
    assert_page(w, user, "a b"); /* keys are inside */
    user = scan(w, 0, (struct range){"", "", false, true, 0});
    world_settle(w);
    assert_page(w, user, "a=long 1 b=long 2");
    assert_true(world_holds(w, 0, "a", "long 1") && world_holds(w, 0, "b", "long 2"));
    world_close(w);
}

/* SCAN-5: a page ends before a key that nobody can read, and fails if that is the first one. */
static void a_page_ends_before_what_nobody_can_read(void **state)
{
    struct world *w = open_n(3);
    uint32_t user;

    (void)state;
    everywhere(w, "a", NULL);
    everywhere(w, "b", "long 2");
    for (uint8_t i = 0; i < 3; i++) {
        world_damage(w, i);
    }
    user = scan(w, 0, (struct range){"", "", false, true, 0});
    world_settle(w);
    assert_page(w, user, " >b");
    user = scan(w, 0, (struct range){"b", "", false, true, 0});
    world_settle(w);
    assert_true(world_is(w, user, ERR_INTEGRITY, NULL));
    world_close(w);
}

static void without_a_majority_a_page_is_unavailable(void **state)
{
    struct world *w = open_n(3);
    uint32_t user;

    (void)state;
    everywhere(w, "a", "1");
    world_up(w, 0, 1, false);
    world_up(w, 0, 2, false);
    user = scan(w, 0, (struct range){"", "", false, false, 0});
    assert_int_equal(world_live_calls(w), 0);
    world_tick(w, 0, UINT64_C(2000000000));
    assert_true(world_is(w, user, ERR_UNAVAILABLE, NULL));
    world_close(w);
}

static void one_member_answers_alone(void **state)
{
    struct world *w = open_n(1);
    uint32_t user;

    (void)state;
    user = mput(w, 0, "a", "1", "b", "2");
    assert_list(w, user, BATCH_STATES, OK, NULL, OK, NULL);
    user = scan(w, 0, (struct range){"", "", false, true, 0});
    assert_page(w, user, "a=1 b=2");
    user = mget(w, 0, "b", "c");
    assert_list(w, user, BATCH_VALUES, OK, "2", ERR_NOT_FOUND, NULL);
    world_close(w);
}

static void what_is_no_scan_is_refused(void **state)
{
    struct world *w = open_n(3);
    uint8_t body[SCAN_ASK_MAX] = {0};

    (void)state;
    assert_true(
        world_is(w, scan(w, 0, (struct range){"b", "a", false, false, 0}), ERR_USAGE, NULL));
    assert_true(
        world_is(w, scan(w, 0, (struct range){"a", "a", false, false, 0}), ERR_USAGE, NULL));
    for (enum client_op op = CLIENT_SCAN; op <= CLIENT_MPUT; op++) {
        assert_true(world_is(w, world_batch(w, 0, op, (struct bytes){body, 4}), ERR_USAGE, NULL));
    }
    assert_int_equal(world_live_calls(w), 0);
    world_close(w);
}

/* ---- several keys ---- */

/* SCAN-9 */
static void multi_get_and_put_take_one_round_each(void **state)
{
    struct world *w = open_n(3);
    uint32_t user = mput(w, 0, "a", "1", "b", "2");
    uint8_t peer = world_call(w, 0, 1) != NULL ? 1 : 2;

    (void)state;
    assert_int_equal(world_live_calls(w), 1);
    assert_true(world_exchange(w, 0, peer)); /* TAGS */
    assert_int_equal(world_live_calls(w), 2);
    assert_false(w->replies[user].have);
    assert_true(world_exchange(w, 0, peer)); /* PUSH */
    assert_list(w, user, BATCH_STATES, OK, NULL, OK, NULL);
    world_settle(w); /* the tail */
    assert_true(world_holds(w, 1, "a", "1") && world_holds(w, 2, "b", "2"));
    user = mget(w, 1, "a", "none");
    assert_int_equal(world_live_calls(w), 1);
    world_settle(w);
    assert_list(w, user, BATCH_VALUES, OK, "1", ERR_NOT_FOUND, NULL);
    (void)mput(w, 2, "a", NULL, "b", "3");
    world_settle(w);
    user = mget(w, 0, "a", "b");
    world_settle(w);
    assert_list(w, user, BATCH_VALUES, ERR_NOT_FOUND, NULL, OK, "3");
    world_close(w);
}

static void a_multi_get_writes_back_what_a_minority_holds(void **state)
{
    struct world *w = open_n(3);
    uint32_t user;

    (void)state;
    everywhere(w, "a", "old");
    everywhere(w, "b", "2");
    world_plant(w, 1, "a", newer, "new");
    user = mget(w, 0, "a", "b");
    while (!w->replies[user].have) {
        assert_true(world_exchange(w, 0, 1) || world_exchange(w, 0, 2));
    }
    if (world_holds(w, 0, "a", "new")) { /* replica 1 was asked: now a majority holds it */
        assert_list(w, user, BATCH_VALUES, OK, "new", OK, "2");
    } else {
        assert_list(w, user, BATCH_VALUES, OK, "old", OK, "2");
    }
    world_settle(w);
    world_close(w);
}

/* ABD-4, twice in one batch: the later one wins, and tags differ. */
static void one_key_twice_in_a_batch(void **state)
{
    struct world *w = open_n(3);
    uint32_t user = mput(w, 0, "a", "1", "a", "2");

    (void)state;
    world_settle(w);
    assert_list(w, user, BATCH_STATES, OK, NULL, OK, NULL);
    for (uint8_t i = 0; i < 3; i++) {
        assert_true(world_holds(w, i, "a", "2"));
        assert_int_equal(world_tag(w, i, "a").ts, 2);
    }
    world_close(w);
}

/* SCAN-9: what two rounds have room for is written whole; one byte more, and nothing is. */
static void a_multi_put_fits_or_is_refused_whole(void **state)
{
    enum { ROOM = BATCH_BYTES + BATCH_KEYS_MAX * BATCH_ITEM_MAX, TAGS = 2 * TAG_WIRE_LEN };
    static uint8_t body[ROOM], big[ROOM];
    struct batch_item items[2] = {{.key = text("a"), .value = {big, ROOM / 2}}, {.key = text("b")}};
    struct world *w = open_n(3);
    size_t rest, n;
    uint32_t user;

    (void)state;
    rest = ROOM - TAGS - 2 - batch_item_len(BATCH_MPUT, &items[0]) -
           batch_item_len(BATCH_MPUT, &items[1]);
    for (size_t more = 0; more <= TAGS; more += TAGS / 2) {
        items[1].value = (struct bytes){big, rest + more};
        n = put_list((struct mbytes){body, sizeof(body)}, BATCH_MPUT, items, 2);
        assert_int_equal(n, ROOM - TAGS + more);
        user = world_batch(w, (uint8_t)(more / (TAGS / 2)), CLIENT_MPUT, (struct bytes){body, n});
        world_settle(w);
        if (more == 0) {
            assert_list(w, user, BATCH_STATES, OK, NULL, OK, NULL);
        } else {
            assert_true(world_is(w, user, ERR_TOO_BIG, NULL));
        }
    }
    assert_int_equal(world_tag(w, 1, "a").ts, 1);
    assert_int_equal(world_tag(w, 2, "b").ts, 1);
    world_close(w);
}

/* ABD-10: what was pushed to too few is unknown; before that nothing happened. */
static void the_outcome_of_each_key_is_told(void **state)
{
    struct world *w = open_n(3);
    uint32_t user = mput(w, 0, "a", "1", "b", "2");
    uint8_t peer;

    (void)state;
    world_tick(w, 0, UINT64_C(2000000000));
    assert_true(world_is(w, user, ERR_UNAVAILABLE, NULL));
    assert_true(world_holds(w, 0, "a", NULL));
    user = mput(w, 0, "a", "1", "b", "2");
    peer = world_call(w, 0, 1) != NULL ? 1 : 2;
    assert_true(world_exchange(w, 0, peer));
    world_tick(w, 0, UINT64_C(2000000000));
    assert_list(w, user, BATCH_STATES, ERR_INDETERMINATE, NULL, ERR_INDETERMINATE, NULL);
    assert_true(world_holds(w, 0, "a", "1"));
    world_settle(w);
    world_close(w);
}

/* ABD-8, ABD-9: answers that make no sense are no votes, and late ones change nothing. */
static void nonsense_is_no_vote(void **state)
{
    struct world *w = open_n(3);
    uint32_t user;
    struct world_call *c;
    uint8_t peer;
    const uint8_t body[] = {1, 0, 0};
    struct peer_answer m = {.kind = PEER_LISTED, .value = {body, sizeof(body)}};
    uint64_t cookie;

    (void)state;
    everywhere(w, "a", "1");
    user = scan(w, 0, (struct range){"", "", false, false, 0});
    peer = world_call(w, 0, 1) != NULL ? 1 : 2;
    c = world_call(w, 0, peer);
    cookie = c->call.cookie;
    world_answer(w, c, &m);
    assert_false(w->replies[user].have);
    m = (struct peer_answer){.kind = PEER_SAME};
    world_answer_again(w, 0, peer, cookie, &m); /* not asked any more */
    assert_false(w->replies[user].have);
    assert_true(world_exchange(w, 0, peer == 1 ? 2 : 1)); /* the other one was asked instead */
    assert_page(w, user, "a");
    world_close(w);
}

static void memory_comes_back_when_tails_and_batches_are_many(void **state)
{
    struct world *w = open_n(3);
    uint32_t users[BATCHES_MAX + 1];

    (void)state;
    for (uint32_t i = 0; i <= BATCHES_MAX; i++) {
        users[i] = mput(w, 0, "a", "1", "b", "2");
    }
    assert_true(world_is(w, users[BATCHES_MAX], ERR_BUSY, NULL));
    world_settle(w);
    for (uint32_t i = 0; i < BATCHES_MAX; i++) {
        assert_list(w, users[i], BATCH_STATES, OK, NULL, OK, NULL);
    }
    assert_int_equal(world_tag(w, 2, "a").ts, BATCHES_MAX);
    world_close(w);
}

/* SCAN-10, MEM-8: what was pushed goes on with its tags; anything else is asked again by the
 * client. */
static void batches_across_configurations(void **state)
{
    struct world *w = open_n(3);
    uint32_t put = mput(w, 0, "a", "1", "b", "2");
    uint32_t get;
    uint8_t peer = world_call(w, 0, 1) != NULL ? 1 : 2;

    (void)state;
    assert_true(world_exchange(w, 0, peer)); /* TAGS: pushed from now on */
    get = mget(w, 0, "a", "b");
    world_reconfigure(w, 0, 0x7);
    assert_true(world_is(w, get, ERR_EPOCH, NULL));
    assert_false(w->replies[put].have);
    world_up(w, 0, 2, true);
    assert_true(world_exchange(w, 0, 2));
    assert_list(w, put, BATCH_STATES, OK, NULL, OK, NULL);
    assert_int_equal(world_tag(w, 2, "b").ts, 1);
    world_settle(w);
    world_close(w);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(keys_and_values_come_in_order_both_ways),
        cmocka_unit_test(a_page_ends_where_the_limit_says_and_goes_on_there),
        cmocka_unit_test(a_key_of_a_minority_is_written_back_first),
        cmocka_unit_test(newer_keys_of_others_are_fetched),
        cmocka_unit_test(equal_keys_with_other_tags_are_not_the_same),
        cmocka_unit_test(silence_beyond_the_end_of_a_list_is_no_absence),
        cmocka_unit_test(a_damaged_value_is_read_elsewhere),
        cmocka_unit_test(a_page_ends_before_what_nobody_can_read),
        cmocka_unit_test(without_a_majority_a_page_is_unavailable),
        cmocka_unit_test(one_member_answers_alone),
        cmocka_unit_test(what_is_no_scan_is_refused),
        cmocka_unit_test(multi_get_and_put_take_one_round_each),
        cmocka_unit_test(a_multi_get_writes_back_what_a_minority_holds),
        cmocka_unit_test(one_key_twice_in_a_batch),
        cmocka_unit_test(a_multi_put_fits_or_is_refused_whole),
        cmocka_unit_test(the_outcome_of_each_key_is_told),
        cmocka_unit_test(nonsense_is_no_vote),
        cmocka_unit_test(batches_across_configurations),
        cmocka_unit_test(memory_comes_back_when_tails_and_batches_are_many),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
