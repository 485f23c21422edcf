// SPDX-License-Identifier: Apache-2.0
/* What a user of the transport relies on, one behaviour a test. */
#include "tests/rpc/pair.h"

#include "trusted/wire/rpc_wire.h"

#include <stdlib.h>

static uint8_t datagram[DATAGRAM_MAX];

/* RPC-16 */
static void small_messages_share_datagrams(void **state)
{
    struct rpc_event event;
    struct pair p;
    int packets = 0;
    int asked = 0;
    int answered = 0;
    size_t n;

    (void)state;
    pair_start(&p, &(struct pair_options){.b_learns = true});
    for (uint64_t i = 0; i < RPC_SLOTS_CLIENT; i++) {
        (void)pair_ask(&p, &p.a, i);
    }
    for (; pair_take(&p, &p.a, datagram, &n); packets++) {
        struct bytes soon[40];
        uint64_t user = 0;
        size_t soon_n, at = 0;

        assert_int_equal(pair_give(&p, &p.b, datagram, n), OK);
        soon_n = rpc_peek(p.b.rpc, soon, 40, &user);
        assert_true(soon_n > 0 && user == 'b');
        assert_int_equal(rpc_peek(p.b.rpc, soon, 1, &user), 1); /* as often as one likes */
        while (rpc_next(p.b.rpc, &event)) {
            assert_true(at < soon_n && event.body.p == soon[at].p && event.body.n == soon[at].n);
            at++;
            assert_int_equal(rpc_peek(p.b.rpc, soon + at, 40 - at, &user), soon_n - at);
            assert_int_equal(event.kind, RPC_EVENT_REQUEST);
            assert_int_equal(event.user, 'b');
            assert_int_equal(event.body.n, 40);
            assert_memory_equal(event.body.p + 8, "the key and the value, 32 bytes.", 32);
            pair_answer(&p.b, event.request, 1 + event.body.p[0], event.body.p[0]);
            asked++;
        }
        assert_int_equal(at, soon_n);
    }
    assert_int_equal(asked, RPC_SLOTS_CLIENT);
    assert_int_equal(packets, 5); /* 27 requests of 49 bytes fit 1368 */
    while (pair_take(&p, &p.b, datagram, &n)) {
        assert_int_equal(pair_give(&p, &p.a, datagram, n), OK);
        while (rpc_next(p.a.rpc, &event)) {
            assert_int_equal(event.kind, RPC_EVENT_RESPONSE);
            assert_int_equal(event.user, 'a');
            assert_int_equal(event.body.n, 1 + event.cookie);
            assert_int_equal(event.body.p[event.cookie], (uint8_t)event.cookie);
            answered++;
        }
    }
    assert_int_equal(answered, RPC_SLOTS_CLIENT);
    assert_int_equal(rpc_counters(p.a.rpc)->retransmits, 0);
    assert_true(rpc_deadline(p.a.rpc) == UINT64_MAX);
    assert_true(rpc_deadline(p.b.rpc) == UINT64_MAX);
    pair_stop(&p);
}

/* RPC-14, RPC-15 */
static void a_lost_request_is_sent_again(void **state)
{
    struct rpc_event event;
    struct pair p;
    uint64_t asked_ns;

    (void)state;
    pair_start(&p, &(struct pair_options){0});
    (void)pair_ask(&p, &p.a, 7);
    asked_ns = p.now_ns;
    assert_int_equal(pair_lose(&p, &p.a), 1);
    pair_tick_when_due(&p, &p.a);
    assert_true(p.now_ns - asked_ns >= 2 * MS && p.now_ns - asked_ns <= 20 * MS);
    event = pair_carry_event(&p, &p.a, &p.b, RPC_EVENT_REQUEST);
    pair_answer(&p.b, event.request, 1, 1);
    p.now_ns += MS;
    (void)pair_carry_event(&p, &p.b, &p.a, RPC_EVENT_RESPONSE);
    assert_int_equal(rpc_counters(p.a.rpc)->retransmits, 1);
    assert_int_equal(rpc_session_srtt_ns(p.a.rpc, p.a.index), 0); /* Karn: it was sent twice */
    pair_stop(&p);
}

/* RPC-14 */
static void a_lost_answer_is_given_again_without_executing(void **state)
{
    static const size_t sizes[] = {0, 1, RPC_SMALL_REPLY, RPC_SMALL_REPLY + 1, 1000};

    (void)state;
    for (size_t i = 0; i < sizeof(sizes) / sizeof(sizes[0]); i++) {
        struct rpc_event event;
        struct pair p;

        pair_start(&p, &(struct pair_options){0});
        (void)pair_ask(&p, &p.a, 7);
        event = pair_carry_event(&p, &p.a, &p.b, RPC_EVENT_REQUEST);
        pair_answer(&p.b, event.request, sizes[i], 0x42);
        assert_int_equal(pair_lose(&p, &p.b), 1);
        pair_tick_when_due(&p, &p.a);
        assert_int_equal(pair_carry_quiet(&p, &p.a, &p.b), 1);
        event = pair_carry_event(&p, &p.b, &p.a, RPC_EVENT_RESPONSE);
        assert_int_equal(event.body.n, sizes[i]);
        for (size_t k = 0; k < sizes[i]; k++) {
            assert_int_equal(event.body.p[k], 0x42);
        }
        assert_int_equal(rpc_counters(p.b.rpc)->requests_in, 1);
        assert_int_equal(rpc_counters(p.b.rpc)->duplicates_answered, 1);
        pair_stop(&p);
    }
}

/* RPC-15: a peer that works is asked at an even pace; one that is silent ever more rarely. */
static void working_stops_the_back_off(void **state)
{
    struct rpc_event event;
    struct pair p;
    uint64_t gap[2][6];

    (void)state;
    for (int working = 0; working < 2; working++) {
        pair_start(&p, &(struct pair_options){0});
        (void)pair_ask(&p, &p.a, 7);
        event = pair_carry_event(&p, &p.a, &p.b, RPC_EVENT_REQUEST);
        for (int i = 0; i < 6; i++) {
            uint64_t before = p.now_ns;

            while (rpc_counters(p.a.rpc)->retransmits == (uint64_t)i) {
                pair_tick_when_due(&p, &p.a);
            }
            gap[working][i] = p.now_ns - before;
            if (working != 0) {
                assert_int_equal(pair_carry_quiet(&p, &p.a, &p.b), 1);
                assert_int_equal(pair_carry_quiet(&p, &p.b, &p.a), 1);
            } else {
                (void)pair_lose(&p, &p.a);
            }
        }
        pair_answer(&p.b, event.request, 1, 1);
        (void)pair_carry_event(&p, &p.b, &p.a, RPC_EVENT_RESPONSE);
        assert_int_equal(rpc_counters(p.b.rpc)->requests_in, 1);
        pair_stop(&p);
    }
    assert_true(gap[0][5] >= 8 * gap[0][0]);
    assert_true(gap[0][5] <= 300 * MS);
    assert_true(gap[1][5] <= 3 * gap[1][0]);
}

/* What an operator sees of a session. */
static void a_session_tells_how_it_is(void **state)
{
    struct rpc_session_info info;
    struct rpc_event event;
    uint32_t cursor = 0;
    struct pair p;

    (void)state;
    pair_start(&p, &(struct pair_options){0});
    for (uint64_t i = 0; i < 10; i++) {
        (void)pair_ask(&p, &p.a, i);
        event = pair_carry_event(&p, &p.a, &p.b, RPC_EVENT_REQUEST);
        p.now_ns += MS;
        pair_answer(&p.b, event.request, 1, 1);
        (void)pair_carry_event(&p, &p.b, &p.a, RPC_EVENT_RESPONSE);
    }
    (void)pair_ask(&p, &p.a, 10);
    (void)pair_lose(&p, &p.a);
    pair_tick_when_due(&p, &p.a);
    assert_true(rpc_session_info(p.a.rpc, &cursor, &info));
    assert_int_equal(info.index, p.a.index);
    assert_memory_equal(&info.addr, &p.b.addr, sizeof(info.addr));
    assert_false(info.down);
    assert_int_equal(info.srtt_ns, MS);
    assert_in_range(info.base_rtt_ns, MS, MS + 1);
    assert_int_equal(info.rtt[9], 10); /* 512 to 1024 us */
    assert_int_equal(rpc_counters(p.a.rpc)->rtt[9], 10);
    assert_int_equal(info.tx_packets, 11);
    assert_int_equal(info.rx_packets, 10);
    assert_int_equal(info.rx_bytes, rpc_counters(p.a.rpc)->rx_bytes);
    assert_int_equal(info.tx_bytes, rpc_counters(p.a.rpc)->tx_bytes);
    assert_int_equal(info.retransmits, 1);
    assert_int_equal(info.flight, 0); /* lost; not yet sent again */
    assert_true(info.heap_bytes <= heap_used(p.a.heap) - p.a.heap_at_start);
    assert_false(rpc_session_info(p.a.rpc, &cursor, &info));

    /* The answering end takes no samples. */
    cursor = 0;
    assert_true(rpc_session_info(p.b.rpc, &cursor, &info));
    assert_int_equal(info.srtt_ns, 0);
    assert_int_equal(info.rx_packets, 10);
    pair_stop(&p);
}

/* RPC-15 */
static void round_trip_time_is_learnt(void **state)
{
    struct rpc_event event;
    struct pair p;

    (void)state;
    pair_start(&p, &(struct pair_options){0});
    for (uint64_t i = 0; i < 50; i++) {
        (void)pair_ask(&p, &p.a, i);
        event = pair_carry_event(&p, &p.a, &p.b, RPC_EVENT_REQUEST);
        p.now_ns += MS;
        pair_answer(&p.b, event.request, 1, 1);
        (void)pair_carry_event(&p, &p.b, &p.a, RPC_EVENT_RESPONSE);
    }
    assert_true(rpc_session_srtt_ns(p.a.rpc, p.a.index) == MS);
    (void)pair_ask(&p, &p.a, 50);
    (void)pair_lose(&p, &p.a);
    /* half a millisecond above it, and jitter of no more than an eighth */
    assert_true(rpc_deadline(p.a.rpc) - p.now_ns >= 3 * MS / 2);
    assert_true(rpc_deadline(p.a.rpc) - p.now_ns <= 3 * MS / 2 * 9 / 8);
    pair_stop(&p);
}

/* RPC-12, RPC-14: the slot of a cancelled call serves the next one; the old answer finds nobody. */
static void a_cancelled_call_is_superseded(void **state)
{
    struct rpc_event first;
    struct rpc_event second;
    struct rpc_call call;
    struct mbytes to;
    struct pair p;

    (void)state;
    pair_start(&p, &(struct pair_options){.slots = 1});
    call = pair_ask(&p, &p.a, 1);
    first = pair_carry_event(&p, &p.a, &p.b, RPC_EVENT_REQUEST);
    rpc_cancel(p.a.rpc, &call);
    rpc_cancel(p.a.rpc, &call); /* left alone */
    (void)pair_ask(&p, &p.a, 2);
    rpc_cancel(p.a.rpc, &call); /* a stale handle does not hit the next call */
    second = pair_carry_event(&p, &p.a, &p.b, RPC_EVENT_REQUEST);
    assert_int_equal(rpc_reply_begin(p.b.rpc, first.request, 1, &to), ERR_CLOSED);
    pair_answer(&p.b, second.request, 1, 1);
    assert_int_equal(rpc_reply_begin(p.b.rpc, second.request, 1, &to), ERR_CLOSED);
    assert_int_equal(pair_carry_event(&p, &p.b, &p.a, RPC_EVENT_RESPONSE).cookie, 2);
    pair_stop(&p);
}

static void the_answer_to_a_cancelled_call_is_ignored(void **state)
{
    struct rpc_event event;
    struct rpc_call call;
    struct pair p;

    (void)state;
    pair_start(&p, &(struct pair_options){0});
    call = pair_ask(&p, &p.a, 1);
    event = pair_carry_event(&p, &p.a, &p.b, RPC_EVENT_REQUEST);
    rpc_cancel(p.a.rpc, &call);
    pair_answer(&p.b, event.request, 1, 1);
    assert_int_equal(pair_carry_quiet(&p, &p.b, &p.a), 1);
    assert_int_equal(rpc_counters(p.a.rpc)->frames_stale, 1);
    assert_true(rpc_deadline(p.a.rpc) == UINT64_MAX);
    pair_stop(&p);
}

static void calls_are_refused_with_a_reason(void **state)
{
    struct rpc_question q = {.head_len = 1};
    struct rpc_call call;
    struct pair p;

    (void)state;
    pair_start(&p, &(struct pair_options){.slots = 3, .message_max = 1000});
    assert_int_equal(rpc_call(p.a.rpc, p.now_ns, p.a.index + (1 << 20), &q, &call), ERR_CLOSED);
    assert_int_equal(rpc_call(p.a.rpc, p.now_ns, 7, &q, &call), ERR_CLOSED);
    assert_int_equal(rpc_call(p.a.rpc, p.now_ns, UINT32_MAX, &q, &call), ERR_CLOSED);
    q.value = (struct bytes){.p = datagram, .n = 1000};
    assert_int_equal(rpc_call(p.a.rpc, p.now_ns, p.a.index, &q, &call), ERR_TOO_BIG);
    q.value.n = SIZE_MAX;
    assert_int_equal(rpc_call(p.a.rpc, p.now_ns, p.a.index, &q, &call), ERR_TOO_BIG);
    q.value.n = 999;
    for (int i = 0; i < 3; i++) {
        assert_int_equal(rpc_call(p.a.rpc, p.now_ns, p.a.index, &q, &call), OK);
    }
    assert_int_equal(rpc_call(p.a.rpc, p.now_ns, p.a.index, &q, &call), ERR_FULL);
    rpc_cancel(p.a.rpc, &call);
    assert_int_equal(rpc_call(p.a.rpc, p.now_ns, p.a.index, &q, &call), OK);
    pair_stop(&p);
}

static void answers_are_refused_with_a_reason(void **state)
{
    struct rpc_request q;
    struct rpc_request wrong;
    struct mbytes to;
    struct pair p;

    (void)state;
    pair_start(&p, &(struct pair_options){.message_max = 1000});
    (void)pair_ask(&p, &p.a, 1);
    q = pair_carry_event(&p, &p.a, &p.b, RPC_EVENT_REQUEST).request;
    wrong = q;
    wrong.seq++;
    assert_int_equal(rpc_reply_begin(p.b.rpc, wrong, 1, &to), ERR_CLOSED);
    wrong = q;
    wrong.slot++;
    assert_int_equal(rpc_reply_begin(p.b.rpc, wrong, 1, &to), ERR_CLOSED);
    wrong.slot = UINT16_MAX;
    assert_int_equal(rpc_reply_begin(p.b.rpc, wrong, 1, &to), ERR_CLOSED);
    wrong = q;
    wrong.session += 1 << 20;
    assert_int_equal(rpc_reply_begin(p.b.rpc, wrong, 1, &to), ERR_CLOSED);
    assert_int_equal(rpc_reply_begin(p.b.rpc, q, 1001, &to), ERR_TOO_BIG);
    assert_int_equal(rpc_reply_begin(p.b.rpc, q, 1000, &to), OK);
    assert_int_equal(rpc_reply_begin(p.b.rpc, q, 10, &to), OK); /* begun anew */
    pair_answer(&p.b, q, 40, 1);
    (void)pair_carry_event(&p, &p.b, &p.a, RPC_EVENT_RESPONSE);
    pair_stop(&p);
}

/* RPC-18 */
static void closing_ends_calls_at_both_ends(void **state)
{
    struct rpc_question q = {.head_len = 1};
    struct rpc_event event;
    struct rpc_call call;
    struct pair p;
    size_t n;

    (void)state;
    pair_start(&p, &(struct pair_options){0});
    pair_one_round_trip(&p, 0);
    (void)pair_ask(&p, &p.a, 1);
    call = pair_ask(&p, &p.a, 2);
    (void)pair_ask(&p, &p.a, 3);
    (void)pair_ask(&p, &p.b, 4);
    rpc_session_close(p.a.rpc, p.a.index, true);
    rpc_cancel(p.a.rpc, &call); /* still possible, and ends without an event */
    assert_int_equal(rpc_call(p.a.rpc, p.now_ns, p.a.index, &q, &call), ERR_CLOSED);
    event = pair_expect(&p.a, RPC_EVENT_FAILED);
    assert_int_equal(event.cookie, 1);
    assert_int_equal(event.err, ERR_CLOSED);
    event = pair_expect(&p.a, RPC_EVENT_FAILED);
    assert_int_equal(event.cookie, 3);
    pair_quiet(&p.a);

    event = pair_carry_event(&p, &p.a, &p.b, RPC_EVENT_CLOSED);
    assert_int_equal(event.err, ERR_CLOSED);
    assert_int_equal(event.user, 'b');
    pair_quiet(&p.b);
    assert_false(pair_take(&p, &p.a, datagram, &n));
    assert_false(pair_take(&p, &p.b, datagram, &n)); /* nobody is there */
    assert_int_equal(rpc_call(p.b.rpc, p.now_ns, p.b.index, &q, &call), ERR_CLOSED);
    rpc_session_close(p.b.rpc, p.b.index, true);
    assert_int_equal(pair_expect(&p.b, RPC_EVENT_FAILED).cookie, 4);
    pair_quiet(&p.b);
    assert_false(pair_take(&p, &p.b, datagram, &n));
    assert_int_equal(heap_used(p.a.heap), p.a.heap_at_start);
    assert_int_equal(heap_used(p.b.heap), p.b.heap_at_start);
    rpc_session_close(p.b.rpc, p.b.index, true); /* unknown by now */

    pair_open(&p, false); /* the place is free again */
    pair_one_round_trip(&p, 5);
    pair_stop(&p);
}

static void closing_in_the_middle_of_a_datagram_drops_the_rest(void **state)
{
    struct pair p;
    size_t n;

    (void)state;
    pair_start(&p, &(struct pair_options){0});
    for (uint64_t i = 0; i < 10; i++) {
        (void)pair_ask(&p, &p.a, i);
    }
    (void)pair_carry_event(&p, &p.a, &p.b, RPC_EVENT_REQUEST);
    rpc_session_close(p.b.rpc, p.b.index, false);
    pair_quiet(&p.b);
    assert_false(pair_take(&p, &p.b, datagram, &n));
    pair_stop(&p);
}

static void sessions_are_refused_with_a_reason(void **state)
{
    struct rpc_session_params s = {.slots = 4, .replay_bits = 128, .send = {{1}}, .recv = {{2}}};
    struct pair p;

    (void)state;
    pair_start(&p, &(struct pair_options){0});
    s.index = p.a.index;
    assert_int_equal(rpc_session_open(p.a.rpc, p.now_ns, &s), ERR_FULL);
    s.index = p.a.index + (1 << 20);
    assert_int_equal(rpc_session_open(p.a.rpc, p.now_ns, &s), ERR_FULL);
    s.index = 8;
    assert_int_equal(rpc_session_open(p.a.rpc, p.now_ns, &s), ERR_FULL);
    assert_int_equal(rpc_counters(p.a.rpc)->sessions, 1);
    pair_stop(&p);
}

/* RPC-17 */
static void a_silent_peer_is_down_until_heard(void **state)
{
    struct rpc_event event;
    struct pair p;
    uint64_t asked_ns;
    int sent = 0;

    (void)state;
    pair_start(&p, &(struct pair_options){0});
    p.now_ns += 3600000 * MS; /* an idle hour is not silence */
    (void)pair_ask(&p, &p.a, 1);
    asked_ns = p.now_ns;
    sent += pair_lose(&p, &p.a);
    while (!rpc_next(p.a.rpc, &event)) {
        pair_tick_when_due(&p, &p.a);
        sent += pair_lose(&p, &p.a);
        assert_true(p.now_ns < asked_ns + 2 * RPC_DEAD_NS);
    }
    assert_int_equal(event.kind, RPC_EVENT_DOWN);
    assert_true(p.now_ns - asked_ns == RPC_DEAD_NS);
    assert_in_range(sent, 5, 20);
    assert_int_equal(rpc_counters(p.a.rpc)->sessions_down, 1);
    pair_quiet(&p.a);

    while (rpc_counters(p.b.rpc)->requests_in == 0) { /* the call went on trying */
        size_t n;

        pair_tick_when_due(&p, &p.a);
        while (pair_take(&p, &p.a, datagram, &n)) {
            assert_int_equal(pair_give(&p, &p.b, datagram, n), OK);
            while (rpc_next(p.b.rpc, &event)) {
                pair_answer(&p.b, event.request, 1, 1);
            }
        }
    }
    (void)pair_carry_event(&p, &p.b, &p.a, RPC_EVENT_UP);
    (void)pair_expect(&p.a, RPC_EVENT_RESPONSE);
    assert_int_equal(rpc_counters(p.a.rpc)->sessions_down, 0);
    assert_true(rpc_deadline(p.a.rpc) == UINT64_MAX);
    pair_stop(&p);
}

/* RPC-17: nothing to repeat -- the answer is due, not the request -- so a PING asks instead. */
static void a_ping_is_answered(void **state)
{
    struct rpc_call call;
    struct pair p;
    int sent = 0;

    (void)state;
    pair_start(&p, &(struct pair_options){0});
    call = pair_ask(&p, &p.a, 1);
    for (int i = 0; i < 100 && rpc_counters(p.a.rpc)->sessions_down == 0; i++) {
        pair_tick_when_due(&p, &p.a);
        (void)pair_lose(&p, &p.a);
    }
    (void)pair_expect(&p.a, RPC_EVENT_DOWN);
    rpc_cancel(p.a.rpc, &call);
    while (sent == 0) { /* down, and nobody asks any more: still watched */
        pair_tick_when_due(&p, &p.a);
        sent = pair_carry_quiet(&p, &p.a, &p.b);
    }
    (void)pair_carry_event(&p, &p.b, &p.a, RPC_EVENT_UP);
    pair_quiet(&p.a);
    assert_true(rpc_deadline(p.a.rpc) == UINT64_MAX);
    pair_stop(&p);
}

/* RPC-11, found by the simulator: a forged source address must not outlast its forger. */
static void a_forged_address_is_left_when_the_peer_is_silent(void **state)
{
    const struct abi_addr forged = {.family = 4, .port = 99, .ip = {10, 0, 0, 9}};
    struct abi_addr addr = {0};
    struct rpc_event event;
    struct pair p;
    size_t n;

    (void)state;
    pair_start(&p, &(struct pair_options){0});
    (void)pair_ask(&p, &p.b, 1);
    assert_true(pair_take(&p, &p.b, datagram, &n));
    assert_int_equal(rpc_receive(p.a.rpc, p.now_ns, (struct bytes){.p = datagram, .n = n}, forged),
                     OK);
    (void)pair_expect(&p.a, RPC_EVENT_REQUEST);
    (void)pair_ask(&p, &p.a, 2);
    while (rpc_counters(p.a.rpc)->sessions_down == 0) {
        while (rpc_transmit(p.a.rpc, p.now_ns, (struct mbytes){datagram, sizeof(datagram)}, &addr,
                            &n)) {
            assert_memory_equal(&addr, &forged, sizeof(addr)); /* nobody there */
        }
        pair_tick_when_due(&p, &p.a);
    }
    (void)pair_expect(&p.a, RPC_EVENT_DOWN);
    while (!rpc_next(p.b.rpc, &event)) {
        while (pair_take(&p, &p.a, datagram, &n)) { /* checks the address */
            assert_int_equal(pair_give(&p, &p.b, datagram, n), OK);
        }
        pair_tick_when_due(&p, &p.a);
    }
    assert_int_equal(event.kind, RPC_EVENT_REQUEST);
    pair_stop(&p);
}

/* RPC-11 */
static void the_newest_datagram_tells_the_address(void **state)
{
    static uint8_t first[DATAGRAM_MAX];
    struct abi_addr here = {.family = 4, .port = 77, .ip = {10, 0, 0, 1}};
    struct abi_addr there = {.family = 4, .port = 78, .ip = {10, 0, 0, 2}};
    struct abi_addr addr;
    struct pair p;
    size_t first_n;
    size_t n;

    (void)state;
    pair_start(&p, &(struct pair_options){.b_learns = true});
    (void)pair_ask(&p, &p.b, 1);
    assert_false(pair_take(&p, &p.b, datagram, &n)); /* it does not know where to */
    (void)pair_ask(&p, &p.a, 2);
    assert_true(pair_take(&p, &p.a, first, &first_n));
    (void)pair_ask(&p, &p.a, 3);
    assert_true(pair_take(&p, &p.a, datagram, &n));
    assert_int_equal(rpc_receive(p.b.rpc, p.now_ns, (struct bytes){datagram, n}, there), OK);
    (void)pair_expect(&p.b, RPC_EVENT_REQUEST);
    pair_quiet(&p.b);
    assert_int_equal(rpc_receive(p.b.rpc, p.now_ns, (struct bytes){first, first_n}, here), OK);
    (void)pair_expect(&p.b, RPC_EVENT_REQUEST);
    pair_quiet(&p.b);
    assert_true(rpc_transmit(p.b.rpc, p.now_ns,
                             (struct mbytes){.p = datagram, .n = sizeof(datagram)}, &addr, &n));
    assert_memory_equal(&addr, &there, sizeof(addr)); /* what waited goes to the newest place */
    assert_int_equal(pair_give(&p, &p.a, datagram, n), OK);
    assert_int_equal(pair_expect(&p.a, RPC_EVENT_REQUEST).kind, RPC_EVENT_REQUEST);
    pair_quiet(&p.a);
    pair_stop(&p);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(small_messages_share_datagrams),
        cmocka_unit_test(a_lost_request_is_sent_again),
        cmocka_unit_test(a_lost_answer_is_given_again_without_executing),
        cmocka_unit_test(working_stops_the_back_off),
        cmocka_unit_test(a_session_tells_how_it_is),
        cmocka_unit_test(round_trip_time_is_learnt),
        cmocka_unit_test(a_cancelled_call_is_superseded),
        cmocka_unit_test(the_answer_to_a_cancelled_call_is_ignored),
        cmocka_unit_test(calls_are_refused_with_a_reason),
        cmocka_unit_test(answers_are_refused_with_a_reason),
        cmocka_unit_test(closing_ends_calls_at_both_ends),
        cmocka_unit_test(closing_in_the_middle_of_a_datagram_drops_the_rest),
        cmocka_unit_test(sessions_are_refused_with_a_reason),
        cmocka_unit_test(a_silent_peer_is_down_until_heard),
        cmocka_unit_test(a_ping_is_answered),
        cmocka_unit_test(the_newest_datagram_tells_the_address),
        cmocka_unit_test(a_forged_address_is_left_when_the_peer_is_silent),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
