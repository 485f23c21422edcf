// SPDX-License-Identifier: Apache-2.0
#include "tests/rpc/pair.h"

static uint8_t datagram[DATAGRAM_MAX];

/* Carries everything from `from` to `to`; the events wait in `to` for the caller's `each`. */
static int carry(struct pair *p, struct end *from, struct end *to,
                 void (*each)(struct end *, struct rpc_event))
{
    struct rpc_event event;
    size_t n;
    int packets = 0;

    while (pair_take(p, from, datagram, &n)) {
        assert_int_equal(pair_give(p, to, datagram, n), OK);
        while (rpc_next(to->rpc, &event)) {
            each(to, event);
        }
        packets++;
    }
    return packets;
}

static int requests, responses;

static void answer_sum(struct end *e, struct rpc_event event)
{
    uint64_t head;

    assert_int_equal(event.kind, RPC_EVENT_REQUEST);
    assert_int_equal(event.user, 'b');
    assert_int_equal(event.body.n, 40);
    assert_memory_equal(event.body.p + 8, "the key and the value, 32 bytes.", 32);
    memcpy(&head, event.body.p, sizeof(head));
    pair_answer(e, event.request, 1 + head % 100, (uint8_t)head);
    requests++;
}

static void check_sum(struct end *e, struct rpc_event event)
{
    (void)e;
    assert_int_equal(event.kind, RPC_EVENT_RESPONSE);
    assert_int_equal(event.user, 'a');
    assert_int_equal(event.body.n, 1 + event.cookie % 100);
    assert_int_equal(event.body.p[0], (uint8_t)event.cookie);
    responses++;
}

static void many_small_calls_share_datagrams(void **state)
{
    struct pair p;
    int packets = 0;

    (void)state;
    requests = responses = 0;
    pair_start(&p, &(struct pair_options){.b_learns = true});
    for (uint64_t round = 0; round < 10; round++) {
        for (uint64_t i = 0; i < RPC_SLOTS_CLIENT; i++) {
            (void)pair_ask(&p, &p.a, round * 1000 + i);
        }
        packets += carry(&p, &p.a, &p.b, answer_sum);
        packets += carry(&p, &p.b, &p.a, check_sum);
    }
    assert_int_equal(requests, 10 * RPC_SLOTS_CLIENT);
    assert_int_equal(responses, 10 * RPC_SLOTS_CLIENT);
    assert_true(packets <= 10 * (5 + 6)); /* 27 requests of 49 bytes fit 1368 */
    assert_int_equal(rpc_counters(p.a.rpc)->retransmits, 0);
    pair_stop(&p);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(many_small_calls_share_datagrams),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
