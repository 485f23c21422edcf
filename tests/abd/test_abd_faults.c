// SPDX-License-Identifier: Apache-2.0
#include "tests/abd/abd_world.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

static const uint64_t ms = UINT64_C(1000000);

static struct world *open_n(uint8_t n)
{
    return world_open(&(struct world_options){.n = n});
}

static void put_settled(struct world *w, const char *key, const char *value)
{
    uint32_t user = world_put(w, 0, key, value, 1000);

    world_settle(w);
    assert_true(world_is(w, user, OK, NULL));
}

/* ABD-10: a deadline before anybody was asked to hold the write means that nothing happened, one
 * behind that nobody knows. */
static void test_deadlines(void **state)
{
    struct world *w = world_open(&(struct world_options){.n = 3, .nobody_up = true});
    uint32_t get = world_get(w, 0, "k", 50), put = world_put(w, 0, "k", "v", 50), late;

    (void)state;
    assert_int_equal(abd_deadline(w->nodes[0].abd), w->now_ns + 50 * ms);
    world_tick(w, 0, 50 * ms - 1);
    assert_false(w->replies[get].have || w->replies[put].have);
    world_tick(w, 0, 1);
    assert_true(world_is(w, get, ERR_UNAVAILABLE, NULL));
    assert_true(world_is(w, put, ERR_UNAVAILABLE, NULL));
    assert_int_equal(world_live_calls(w), 0);
    assert_true(tag_is_zero(world_tag(w, 0, "k")));
    world_close(w);

    w = open_n(5);
    put = world_put(w, 0, "k", "v", 50);
    world_tick(w, 0, 50 * ms); /* in W1 */
    assert_true(world_is(w, put, ERR_UNAVAILABLE, NULL));
    late = world_put(w, 0, "k", "v", 50);
    for (uint8_t i = 1; i < 5; i++) {
        (void)world_exchange(w, 0, i);
    }
    world_tick(w, 0, 50 * ms); /* in W2 */
    assert_true(world_is(w, late, ERR_INDETERMINATE, NULL));
    assert_int_equal(world_counters(w, 0)->indeterminate, 1);
    assert_int_equal(world_counters(w, 0)->unavailable, 1);
    world_settle(w);
    get = world_get(w, 1, "k", 50);
    world_settle(w);
    assert_true(world_is(w, get, OK, "v")); /* it did happen, a moment later */
    world_close(w);
}

static void test_unequal_deadlines_expire_in_order(void **state)
{
    struct world *w = world_open(&(struct world_options){.n = 3, .nobody_up = true});
    uint32_t users[50], timeout[50];

    (void)state;
    for (uint32_t i = 0; i < 50; i++) {
        timeout[i] = 1 + i * 37 % 101;
        users[i] = world_get(w, 0, "k", timeout[i]);
    }
    for (uint32_t t = 1; t <= 101; t++) {
        world_tick(w, 0, ms);
        for (uint32_t i = 0; i < 50; i++) {
            assert_int_equal(w->replies[users[i]].have, timeout[i] <= t);
        }
    }
    assert_true(abd_deadline(w->nodes[0].abd) == UINT64_MAX);
    world_close(w);
}

static void test_busy(void **state)
{
    struct world *w = world_open(&(struct world_options){.n = 3, .ops_max = 8, .nobody_up = true});

    (void)state;
    for (int i = 0; i < 8; i++) {
        (void)world_get(w, 0, "k", 1000);
    }
    assert_true(world_is(w, world_get(w, 0, "k", 1000), ERR_BUSY, NULL));
    assert_int_equal(world_counters(w, 0)->busy, 1);
    assert_int_equal(world_counters(w, 0)->ops, 8);
    world_close(w);
}

static void test_wrong_requests(void **state)
{
    struct world *w = world_open(&(struct world_options){.n = 1, .value_max = 8});
    uint8_t big[KEY_MAX + 1] = {0};
    uint32_t user;

    (void)state;
    user = world_put_bytes(w, 0, (struct bytes){.p = big, .n = sizeof(big)}, (struct bytes){0});
    assert_true(world_is(w, user, ERR_USAGE, NULL));
    user = world_put_bytes(w, 0, (struct bytes){0}, (struct bytes){0});
    assert_true(world_is(w, user, ERR_USAGE, NULL));
    user = world_put(w, 0, "k", "123456789", 1000);
    assert_true(world_is(w, user, ERR_TOO_BIG, NULL));
    world_close(w);
}

/* ABD-16 */
static void test_failed_call_asks_another(void **state)
{
    struct world *w = open_n(3);
    uint32_t user = world_get(w, 0, "k", 1000);
    uint8_t peer = world_call(w, 0, 1) != NULL ? 1 : 2, other = (uint8_t)(3 - peer);

    (void)state;
    world_up(w, 0, peer, false);
    world_fail(w, world_call(w, 0, peer));
    assert_non_null(world_call(w, 0, other));
    assert_null(world_call(w, 0, peer));
    assert_true(world_exchange(w, 0, other));
    assert_true(world_is(w, user, ERR_NOT_FOUND, NULL));
    world_close(w);
}

static void test_peer_down_asks_another_at_once(void **state)
{
    struct world *w = open_n(3);
    uint32_t user = world_get(w, 0, "k", 1000);
    uint8_t peer = world_call(w, 0, 1) != NULL ? 1 : 2;

    (void)state;
    world_up(w, 0, peer, false); /* the call stays with the transport */
    assert_int_equal(world_live_calls(w), 2);
    assert_true(world_exchange(w, 0, (uint8_t)(3 - peer)));
    assert_true(world_is(w, user, ERR_NOT_FOUND, NULL));
    assert_int_equal(world_live_calls(w), 0);
    world_close(w);
}

static void test_failed_call_to_a_peer_that_is_up_is_repeated(void **state)
{
    struct world *w = open_n(3);
    uint32_t user = world_put(w, 0, "k", "v", 1000);
    uint8_t peer = world_call(w, 0, 1) != NULL ? 1 : 2;

    (void)state;
    world_fail(w, world_call(w, 0, peer));
    world_fail(w, world_call(w, 0, (uint8_t)(3 - peer)));
    assert_int_equal(world_live_calls(w), 0);
    world_tick(w, 0, 5 * ms);
    assert_int_equal(world_live_calls(w), 2);
    world_settle(w);
    assert_true(world_is(w, user, OK, NULL));
    world_close(w);
}

static void test_everything_is_asked_again_when_a_peer_comes_up(void **state)
{
    struct world *w =
        world_open(&(struct world_options){.n = 3, .ops_max = 300, .nobody_up = true});
    char key[8] = "k000";

    (void)state;
    for (int i = 0; i < 300; i++) {
        key[1] = (char)('0' + i / 100);
        key[2] = (char)('0' + i / 10 % 10);
        key[3] = (char)('0' + i % 10);
        (void)(i % 2 ? world_get(w, 0, key, 1000) : world_put(w, 0, key, "v", 1000));
    }
    assert_int_equal(w->calls_n, 0);
    world_up(w, 0, 2, true);
    assert_int_equal(world_live_calls(w), 300);
    for (uint32_t i = 0; i < w->calls_n; i++) {
        if (w->calls[i].live && i % 3 == 0) {
            world_up(w, 0, 2, false);
            world_fail(w, &w->calls[i]);
        }
    }
    world_up(w, 0, 2, true);
    world_settle(w);
    for (uint32_t i = 0; i < w->replies_n; i++) {
        assert_true(world_is(w, i, i % 2 ? ERR_NOT_FOUND : OK, NULL));
    }
    world_close(w);
}

/* Found by the simulator: an operation that expires in the very step in which it would be asked for
 * again must not leave a call behind. */
static void test_expiry_meets_peer_up(void **state)
{
    struct world *w = world_open(&(struct world_options){.n = 3, .nobody_up = true});
    uint32_t get = world_get(w, 0, "k", 50), other = world_put(w, 0, "k", "v", 60);

    (void)state;
    w->now_ns += 50 * ms;
    world_up(w, 0, 1, true);
    assert_true(world_is(w, get, ERR_UNAVAILABLE, NULL));
    assert_int_equal(world_live_calls(w), 1);
    world_settle(w);
    assert_true(world_is(w, other, OK, NULL));
    world_close(w);
}

/* Found by the simulator: the answer to a call that had failed ends its repetition too. */
static void test_late_answer_ends_the_repeated_call(void **state)
{
    struct world *w = open_n(5);
    struct peer_answer m;
    uint64_t cookie;
    uint8_t peer;

    (void)state;
    (void)world_get(w, 0, "k", 1000);
    peer = world_call(w, 0, 1) != NULL ? 1 : 3;
    cookie = world_call(w, 0, peer)->call.cookie;
    world_ask(w, world_call(w, 0, peer), &m);
    world_fail(w, world_call(w, 0, peer));
    world_tick(w, 0, 5 * ms);
    assert_int_equal(world_call(w, 0, peer)->call.cookie, cookie);
    world_answer_again(w, 0, peer, cookie, &m);
    assert_null(world_call(w, 0, peer));
    world_settle(w);
    world_close(w);
}

/* ABD-9: a refusal is no vote; when a majority has become impossible the outcome is unknown. */
static void test_refused_writes(void **state)
{
    const struct peer_answer no = {.kind = PEER_REFUSED, .err = ERR_HOST_MEMORY};
    struct world *w = open_n(3);
    uint32_t user = world_put(w, 0, "k", "v", 1000);
    uint8_t peer = world_call(w, 0, 1) != NULL ? 1 : 2, other = (uint8_t)(3 - peer);

    (void)state;
    world_answer(w, world_call(w, 0, peer), &no);
    assert_false(w->replies[user].have);
    assert_true(world_exchange(w, 0, other));
    assert_true(world_is(w, user, OK, NULL));
    world_settle(w);

    world_tick(w, 0, 1);
    user = world_put(w, 0, "k", "w", 1000);
    peer = world_call(w, 0, 1) != NULL ? 1 : 2;
    world_answer(w, world_call(w, 0, peer), &no);
    world_answer(w, world_call(w, 0, (uint8_t)(3 - peer)), &no);
    assert_true(world_is(w, user, ERR_HOST_MEMORY, NULL)); /* nobody took it */
    assert_true(world_holds(w, 0, "k", "v"));

    for (uint8_t i = 1; i < 3; i++) { /* denied: W2 */
        world_plant(w, i, "k", (struct tag){.ts = 7, .writer = 9}, "x");
    }
    user = world_put(w, 0, "k", "w", 1000);
    assert_true(world_exchange(w, 0, world_call(w, 0, 1) != NULL ? 1 : 2));
    world_answer(w, world_call(w, 0, 1), &no);
    world_answer(w, world_call(w, 0, 2), &no);
    assert_true(world_is(w, user, ERR_INDETERMINATE, NULL));

    user = world_get(w, 0, "k", 1000); /* "w" stands here only and nobody else takes it */
    assert_true(world_exchange(w, 0, world_call(w, 0, 1) != NULL ? 1 : 2));
    world_answer(w, world_call(w, 0, 1), &no);
    world_answer(w, world_call(w, 0, 2), &no);
    assert_true(world_is(w, user, ERR_HOST_MEMORY, NULL));
    world_close(w);
}

/* ABD-17 */
static void test_tag_that_jumps_is_refused(void **state)
{
    const struct tag far = {.ts = TAG_JUMP_MAX + 2, .writer = 9};
    const struct peer_ask ask = {.kind = PEER_APPLY,
                                 .tag = far,
                                 .key = {.p = (const uint8_t *)"k", .n = 1},
                                 .value = {.p = (const uint8_t *)"x", .n = 1}};
    struct world *w = open_n(3);
    uint32_t user;
    uint8_t peer;

    (void)state;
    put_settled(w, "k", "v");
    abd_step(w->nodes[0].abd,
             &(struct abd_in){.kind = ABD_IN_ASK, .now_ns = w->now_ns, .peer = 1, .ask = &ask},
             &w->out);
    assert_int_equal(w->out.answer.kind, PEER_REFUSED);
    assert_true(world_holds(w, 0, "k", "v"));
    user = world_put(w, 0, "k", "w", 1000);
    peer = world_call(w, 0, 1) != NULL ? 1 : 2;
    world_answer(w, world_call(w, 0, peer), &(struct peer_answer){.kind = PEER_TAG, .tag = far});
    assert_int_equal(world_counters(w, 0)->refused_tags, 2);
    assert_false(w->replies[user].have);
    world_settle(w);
    assert_true(world_is(w, user, OK, NULL));
    assert_int_equal(w->replies[user].tag.ts, 2);
    world_close(w);
}

/* ABD-11: our own value does not open, a peer has it: answered, and repaired here. */
static void test_own_damaged_value_is_repaired(void **state)
{
    struct world *w = open_n(3);
    uint32_t user;

    (void)state;
    put_settled(w, "k", "value");
    world_damage(w, 0);
    user = world_get(w, 0, "k", 1000);
    assert_int_equal(world_live_calls(w), 2);
    assert_true(tag_is_zero(world_call(w, 0, 1)->call.ask.tag));
    assert_true(world_exchange(w, 0, 1));
    assert_true(world_is(w, user, OK, "value"));
    assert_int_equal(world_counters(w, 0)->repairs, 1);
    assert_true(world_holds(w, 0, "k", "value"));
    world_close(w);
}

/* ABD-11: something newer came here while a peer was asked for the damaged value: as good. */
static void test_newer_value_makes_repair_needless(void **state)
{
    struct world *w = open_n(3);
    uint32_t user;

    (void)state;
    put_settled(w, "k", "value");
    world_damage(w, 0);
    user = world_get(w, 0, "k", 1000);
    world_plant(w, 0, "k", (struct tag){.ts = 9, .writer = 9}, "newer");
    assert_true(world_exchange(w, 0, 1));
    assert_true(world_is(w, user, OK, "value"));
    assert_true(world_holds(w, 0, "k", "newer"));
    assert_int_equal(world_counters(w, 0)->repairs, 0);
    world_close(w);
}

/* ABD-11: damaged here and absent there must not become "not found". */
static void test_damaged_value_is_never_forgotten(void **state)
{
    struct world *w = open_n(3);
    uint32_t user;

    (void)state;
    world_plant(w, 0, "k", (struct tag){.ts = 3, .writer = 9}, "value");
    world_damage(w, 0);
    user = world_get(w, 0, "k", 1000);
    assert_true(world_exchange(w, 0, 1));
    assert_false(w->replies[user].have);
    assert_true(world_exchange(w, 0, 2));
    assert_true(world_is(w, user, ERR_INTEGRITY, NULL));
    user = world_put(w, 0, "k", "again", 1000); /* a write heals it */
    world_settle(w);
    assert_true(world_is(w, user, OK, NULL));
    user = world_get(w, 0, "k", 1000);
    world_settle(w);
    assert_true(world_is(w, user, OK, "again"));
    world_close(w);
}

/* ABD-12: a peer that cannot open its newer value must not be outvoted by an older one. */
static void test_peers_damaged_value(void **state)
{
    const struct tag newer = {.ts = 8, .writer = 9};
    struct world *w = open_n(3);
    uint32_t user;

    (void)state;
    put_settled(w, "k", "old value");
    world_plant(w, 1, "k", newer, "newer value");
    world_plant(w, 2, "k", newer, "newer value");
    world_damage(w, 1);
    world_up(w, 0, 2, false);
    world_up(w, 1, 0, false);
    world_up(w, 1, 2, false);
    user = world_get(w, 0, "k", 1000);
    assert_true(world_exchange(w, 0, 1));
    assert_false(w->replies[user].have);
    assert_true(world_holds(w, 0, "k", "old value"));
    world_up(w, 0, 2, true);
    assert_true(world_exchange(w, 0, 2));
    assert_true(world_is(w, user, OK, "newer value"));
    assert_true(world_holds(w, 0, "k", "newer value"));
    world_close(w);
}

static void test_nobody_can_open_it(void **state)
{
    const struct tag newer = {.ts = 8, .writer = 9};
    struct world *w = open_n(3);
    uint32_t user;

    (void)state;
    put_settled(w, "k", "old value");
    world_plant(w, 1, "k", newer, "newer value");
    world_damage(w, 1);
    world_up(w, 0, 2, false);
    user = world_get(w, 0, "k", 1000);
    assert_true(world_exchange(w, 0, 1));
    world_up(w, 0, 2, true);
    assert_false(w->replies[user].have);
    assert_true(world_exchange(w, 0, 2));
    assert_true(world_is(w, user, ERR_INTEGRITY, NULL));
    assert_true(world_holds(w, 0, "k", "old value"));
    world_close(w);
}

/* ABD-13: a replica that finds damage while it answers a peer repairs itself. */
static void test_repair_of_what_a_peer_asked_for(void **state)
{
    struct world *w = open_n(3);
    uint32_t user;

    (void)state;
    put_settled(w, "k", "value1");
    world_plant(w, 1, "k", (struct tag){.ts = 2, .writer = 9}, "value2");
    world_plant(w, 2, "k", (struct tag){.ts = 2, .writer = 9}, "value2");
    world_damage(w, 1);
    world_up(w, 0, 2, false);
    user = world_get(w, 0, "k", 1000);
    assert_true(world_exchange(w, 0, 1)); /* DAMAGED, and 1 asks the others now */
    assert_int_equal(world_counters(w, 1)->ops, 1);
    assert_true(world_exchange(w, 1, 2));
    assert_true(world_holds(w, 1, "k", "value2"));
    assert_int_equal(world_counters(w, 1)->repairs, 1);
    world_up(w, 0, 2, true);
    world_settle(w);
    assert_true(world_is(w, user, OK, "value2"));
    world_close(w);
}

static void test_repairs_are_bounded(void **state)
{
    struct world *w = open_n(3);
    char key[3] = "k0";

    (void)state;
    for (int i = 0; i < 10; i++) {
        key[1] = (char)('0' + i);
        world_plant(w, 0, key, (struct tag){.ts = 1, .writer = 9}, "value1");
        world_plant(w, 1, key, (struct tag){.ts = 2, .writer = 9}, "value2");
    }
    world_damage(w, 1);
    world_up(w, 0, 2, false);
    for (int i = 0; i < 20; i++) {
        struct peer_answer m;

        key[1] = (char)('0' + i % 10);
        (void)world_get(w, 0, key, 1000);
        world_ask(w, world_call(w, 0, 1), &m);
        assert_int_equal(m.kind, PEER_HOLDS);
        assert_int_equal(m.holds, PEER_HOLDS_DAMAGED);
        world_answer(w, world_call(w, 0, 1), &m);
        assert_true(world_counters(w, 1)->ops <= 4);
    }
    world_tick(w, 0, 10000 * ms);
    world_tick(w, 1, 1);
    assert_int_equal(world_counters(w, 1)->ops, 0);
    assert_int_equal(world_counters(w, 1)->repairs_failed, 4);
    world_settle(w);
    world_close(w);
}

/* A write-back of what a peer holds damaged repairs it there. */
static void test_equal_apply_repairs(void **state)
{
    struct world *w = open_n(3);
    uint32_t user;

    (void)state;
    put_settled(w, "k", "value");
    world_damage(w, 1);
    assert_false(world_holds(w, 1, "k", "value")); /* found out */
    world_up(w, 0, 2, false);
    world_up(w, 1, 0, false);
    world_up(w, 1, 2, false);
    user = world_get(w, 0, "k", 1000);
    assert_true(world_exchange(w, 0, 1)); /* the same tag, but it does not open */
    assert_false(w->replies[user].have);
    assert_true(world_exchange(w, 0, 1));
    assert_true(world_is(w, user, OK, "value"));
    assert_true(world_holds(w, 1, "k", "value"));
    world_close(w);
}

/* ABD-10: memory that runs out is a typed answer, nothing happened, reads and deletes go on. */
static void test_memory_runs_out(void **state)
{
    enum { VALUE = 30000 };

    struct world *w = world_open(&(struct world_options){
        .n = 3, .ops_max = 16, .heap_bytes = 1 << 21, .arena_bytes = 1 << 20});
    uint8_t *value = malloc(VALUE);
    uint8_t key[2] = {0};
    uint32_t user = 0, stored = 0;

    (void)state;
    assert_non_null(value);
    memset(value, 'v', VALUE);
    for (int i = 0; i < 200; i++) {
        key[0] = (uint8_t)(i + 1);
        user = world_put_bytes(w, 0, (struct bytes){.p = key, .n = 1},
                               (struct bytes){.p = value, .n = VALUE});
        world_settle(w);
        assert_true(w->replies[user].have);
        if (w->replies[user].status != OK) {
            break;
        }
        stored++;
    }
    assert_true(world_is(w, user, ERR_HOST_MEMORY, NULL));
    assert_true(stored > 10);
    assert_true(tag_is_zero(world_tag(w, 0, (const char *)key)));
    user = world_get(w, 0, "\x01", 1000);
    world_settle(w);
    assert_int_equal(w->replies[user].status, OK);
    user = world_delete(w, 0, "\x01", 1000);
    world_settle(w);
    assert_int_equal(w->replies[user].status, OK);
    user = world_put_bytes(w, 0, (struct bytes){.p = key, .n = 1},
                           (struct bytes){.p = value, .n = VALUE});
    world_settle(w);
    assert_int_equal(w->replies[user].status, OK);
    free(value);
    world_close(w);
}

static void test_enclave_memory_runs_out(void **state)
{
    enum { VALUE = 100000 };

    struct world *w = world_open(
        &(struct world_options){.n = 3, .ops_max = 64, .heap_bytes = 1 << 20, .nobody_up = true});
    uint8_t *value = malloc(VALUE);
    uint32_t users[40], refused = 0;

    (void)state;
    assert_non_null(value);
    memset(value, 'v', VALUE);
    for (int i = 0; i < 40; i++) {
        users[i] = world_put_bytes(w, 0, (struct bytes){.p = (const uint8_t *)"k", .n = 1},
                                   (struct bytes){.p = value, .n = VALUE});
    }
    for (int i = 0; i < 40; i++) {
        refused += world_is(w, users[i], ERR_ENCLAVE_MEMORY, NULL);
    }
    assert_true(refused > 10 && refused < 40);
    assert_int_equal(world_counters(w, 0)->ops, 40 - refused);
    world_tick(w, 0, 2000 * ms);
    assert_int_equal(world_counters(w, 0)->ops, 0);
    free(value);
    world_close(w);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_deadlines),
        cmocka_unit_test(test_unequal_deadlines_expire_in_order),
        cmocka_unit_test(test_busy),
        cmocka_unit_test(test_wrong_requests),
        cmocka_unit_test(test_failed_call_asks_another),
        cmocka_unit_test(test_peer_down_asks_another_at_once),
        cmocka_unit_test(test_failed_call_to_a_peer_that_is_up_is_repeated),
        cmocka_unit_test(test_everything_is_asked_again_when_a_peer_comes_up),
        cmocka_unit_test(test_expiry_meets_peer_up),
        cmocka_unit_test(test_late_answer_ends_the_repeated_call),
        cmocka_unit_test(test_refused_writes),
        cmocka_unit_test(test_tag_that_jumps_is_refused),
        cmocka_unit_test(test_own_damaged_value_is_repaired),
        cmocka_unit_test(test_newer_value_makes_repair_needless),
        cmocka_unit_test(test_damaged_value_is_never_forgotten),
        cmocka_unit_test(test_peers_damaged_value),
        cmocka_unit_test(test_nobody_can_open_it),
        cmocka_unit_test(test_repair_of_what_a_peer_asked_for),
        cmocka_unit_test(test_repairs_are_bounded),
        cmocka_unit_test(test_equal_apply_repairs),
        cmocka_unit_test(test_memory_runs_out),
        cmocka_unit_test(test_enclave_memory_runs_out),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
