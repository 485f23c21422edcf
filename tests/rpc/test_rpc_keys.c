// SPDX-License-Identifier: Apache-2.0
/* How keys change under way: RPC-10. */
#include "tests/rpc/pair.h"

/* RPC-10 */
static void keys_change_while_calls_go_on(void **state)
{
    struct pair p;

    (void)state;
    pair_start(&p, &(struct pair_options){.key_packets = 2});
    for (uint64_t i = 0; i < 100; i++) {
        pair_one_round_trip(&p, i);
    }
    assert_in_range(rpc_counters(p.a.rpc)->key_updates, 20, 60);
    assert_in_range(rpc_counters(p.b.rpc)->key_updates, 20, 60);
    assert_int_equal(rpc_counters(p.a.rpc)->auth_failed + rpc_counters(p.a.rpc)->old_phase, 0);
    assert_int_equal(rpc_counters(p.b.rpc)->auth_failed + rpc_counters(p.b.rpc)->old_phase, 0);
    pair_stop(&p);
}

/* RPC-10 */
static void keys_change_with_time(void **state)
{
    struct pair p;

    (void)state;
    pair_start(&p, &(struct pair_options){0});
    pair_one_round_trip(&p, 1);
    p.now_ns += 119000 * MS;
    pair_one_round_trip(&p, 2);
    pair_one_round_trip(&p, 3);
    assert_int_equal(rpc_counters(p.a.rpc)->key_updates, 0);
    p.now_ns += 2000 * MS;
    pair_one_round_trip(&p, 4);
    pair_one_round_trip(&p, 5);
    assert_int_equal(rpc_counters(p.a.rpc)->key_updates, 1);
    assert_int_equal(rpc_counters(p.b.rpc)->key_updates, 1);
    pair_stop(&p);
}

/* RPC-10: a datagram that was late over one change opens; over two it does not. */
static void late_datagrams_open_under_the_previous_key(void **state)
{
    static uint8_t late[2][DATAGRAM_MAX];
    size_t late_n[2];
    struct pair p;
    uint64_t updates;
    uint64_t cookie = 10;

    (void)state;
    pair_start(&p, &(struct pair_options){.key_packets = 8});
    pair_one_round_trip(&p, 1);
    (void)pair_ask(&p, &p.a, 2);
    assert_true(pair_take(&p, &p.a, late[0], &late_n[0]));
    (void)pair_ask(&p, &p.a, 3);
    assert_true(pair_take(&p, &p.a, late[1], &late_n[1]));
    while (rpc_counters(p.b.rpc)->key_updates == 0) {
        pair_one_round_trip(&p, cookie++);
    }
    assert_int_equal(pair_give(&p, &p.b, late[0], late_n[0]), OK);
    (void)pair_expect(&p.b, RPC_EVENT_REQUEST);
    pair_quiet(&p.b);
    updates = rpc_counters(p.b.rpc)->key_updates;
    while (rpc_counters(p.b.rpc)->key_updates == updates) {
        pair_one_round_trip(&p, cookie++);
    }
    assert_int_equal(pair_give(&p, &p.b, late[1], late_n[1]), ERR_REPLAY);
    assert_int_equal(rpc_counters(p.b.rpc)->old_phase, 1);
    pair_stop(&p);
}

/* RPC-10: the previous key opens nothing that was sent after the change. */
static void the_previous_key_opens_no_later_number(void **state)
{
    struct pair p;
    uint64_t cookie = 1;

    (void)state;
    pair_start(&p, &(struct pair_options){.key_packets = 8});
    while (rpc_counters(p.b.rpc)->key_updates == 0) {
        pair_one_round_trip(&p, cookie++);
    }
    assert_int_equal(pair_inject(&p, &p.b, 1000, (struct bytes){0}), ERR_REPLAY);
    assert_int_equal(rpc_counters(p.b.rpc)->old_phase, 1);
    pair_one_round_trip(&p, cookie);
    pair_stop(&p);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(keys_change_while_calls_go_on),
        cmocka_unit_test(keys_change_with_time),
        cmocka_unit_test(late_datagrams_open_under_the_previous_key),
        cmocka_unit_test(the_previous_key_opens_no_later_number),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
