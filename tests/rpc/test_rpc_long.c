// SPDX-License-Identifier: Apache-2.0
/* Long messages: RPC-20 to RPC-24. */
#include "tests/rpc/pair.h"

#include "common/prng.h"
#include "trusted/wire/rpc_wire.h"

#include <stdlib.h>

enum { BODY = DATAGRAM_DEFAULT - RPC_HEADER_LEN - AEAD_TAG_LEN, FRAG = BODY - RPC_FRAG_FRAME_LEN };

static uint8_t datagram[DATAGRAM_MAX];
static uint8_t question[1 << 20], reply[1 << 20];

static void fill(uint8_t *to, size_t n, uint64_t seed)
{
    struct prng p = {.state = seed};

    for (size_t i = 0; i < n; i++) {
        to[i] = (uint8_t)prng_u64(&p);
    }
}

static struct rpc_call ask_long(struct pair *p, size_t n)
{
    struct rpc_question q = {.cookie = n};
    struct rpc_call call;

    q.head_len = (uint8_t)(n < 30 ? n : 30);
    memcpy(q.head, question, q.head_len);
    q.key = (struct bytes){.p = question + q.head_len, .n = (n - q.head_len) / 7};
    q.value = (struct bytes){.p = q.key.p + q.key.n, .n = n - q.head_len - q.key.n};
    assert_int_equal(rpc_call(p->a.rpc, p->now_ns, p->a.index, &q, &call), OK);
    return call;
}

static void answer_long(struct end *e, struct rpc_request q, size_t n)
{
    struct mbytes to;

    assert_int_equal(rpc_reply_begin(e->rpc, q, n, &to), OK);
    memcpy(to.p, reply, n);
    rpc_reply_send(e->rpc, q, n);
}

/* Moves everything both ways until nothing is ready; returns the datagrams. The answer to every
 * request is answer_n bytes of `reply`. */
static int settle(struct pair *p, size_t answer_n, struct rpc_event *ret_last)
{
    struct rpc_event event;
    int packets = 0;
    size_t n;

    for (;;) {
        struct end *from = &p->a;
        struct end *to = &p->b;

        if (!pair_take(p, from, datagram, &n)) {
            from = &p->b;
            to = &p->a;
            if (!pair_take(p, from, datagram, &n)) {
                return packets;
            }
        }
        packets++;
        assert_int_equal(pair_give(p, to, datagram, n), OK);
        while (rpc_next(to->rpc, &event)) {
            if (event.kind == RPC_EVENT_REQUEST) {
                assert_memory_equal(event.body.p, question, event.body.n);
                answer_long(to, event.request, answer_n);
            } else {
                assert_int_equal(event.kind, RPC_EVENT_RESPONSE);
                assert_int_equal(event.body.n, answer_n);
                assert_memory_equal(event.body.p, reply, answer_n);
            }
            *ret_last = event;
        }
    }
}

static void every_length_around_the_edges_arrives(void **state)
{
    static const size_t edges[] = {1,
                                   BODY - RPC_MESSAGE_FRAME_LEN,
                                   FRAG,
                                   (size_t)2 * FRAG,
                                   (size_t)64 * FRAG,
                                   (size_t)65 * FRAG,
                                   (size_t)1 << 19};
    struct rpc_event last = {0};
    struct pair p;

    (void)state;
    pair_start(&p, &(struct pair_options){0});
    for (size_t i = 0; i < sizeof(edges) / sizeof(edges[0]); i++) {
        for (size_t n = edges[i] - 1; n <= edges[i] + 1; n++) {
            (void)ask_long(&p, n);
            (void)settle(&p, 7, &last);
            assert_int_equal(last.kind, RPC_EVENT_RESPONSE);
            (void)ask_long(&p, 7);
            (void)settle(&p, n, &last);
            assert_int_equal(last.kind, RPC_EVENT_RESPONSE);
        }
    }
    assert_int_equal(rpc_counters(p.a.rpc)->retransmits, 0);
    assert_int_equal(rpc_counters(p.b.rpc)->retransmits, 0);
    assert_true(rpc_deadline(p.a.rpc) == UINT64_MAX);
    assert_true(rpc_deadline(p.b.rpc) == UINT64_MAX);
    pair_stop(&p);
}

static void the_body_can_be_taken_over(void **state)
{
    struct rpc_event event = {0};
    void *block = NULL;
    size_t block_n = 0;
    struct pair p;
    size_t before;
    size_t n;

    (void)state;
    pair_start(&p, &(struct pair_options){0});
    (void)ask_long(&p, 5000);
    for (bool got = false; !got;) {
        struct end *from = &p.a;

        if (!pair_take(&p, from, datagram, &n)) {
            assert_true(pair_take(&p, &p.b, datagram, &n));
            assert_int_equal(pair_give(&p, &p.a, datagram, n), OK);
            pair_quiet(&p.a);
            continue;
        }
        assert_int_equal(pair_give(&p, &p.b, datagram, n), OK);
        got = rpc_next(p.b.rpc, &event);
    }
    assert_int_equal(event.body.n, 5000);
    assert_true(rpc_take_body(p.b.rpc, &block, &block_n));
    assert_false(rpc_take_body(p.b.rpc, &block, &block_n));
    before = heap_used(p.b.heap);
    pair_quiet(&p.b);
    assert_memory_equal(block, question, 5000);
    assert_int_equal(heap_used(p.b.heap), before); /* ours: not freed behind our back */
    heap_free(p.b.heap, block, block_n);
    pair_stop(&p);
}

/* RPC-23: of a window one fragment is lost; it alone is sent again, without a time-out. */
static void only_the_lost_fragment_is_sent_again(void **state)
{
    struct rpc_event last = {0};
    struct pair p;
    size_t n;

    (void)state;
    pair_start(&p, &(struct pair_options){0});
    (void)ask_long(&p, 200000);
    for (int i = 0; pair_take(&p, &p.a, datagram, &n); i++) {
        if (i != 5) {
            assert_int_equal(pair_give(&p, &p.b, datagram, n), OK);
            pair_quiet(&p.b);
        }
    }
    (void)settle(&p, 3, &last);
    assert_int_equal(last.kind, RPC_EVENT_RESPONSE);
    assert_int_equal(rpc_counters(p.a.rpc)->retransmits, 1);
    pair_stop(&p);
}

static uint8_t kept[32][DATAGRAM_MAX];
static size_t kept_n[32];

static void keep(struct pair *p, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        assert_true(pair_take(p, &p->a, kept[i], &kept_n[i]));
    }
}

/* Those of the kept datagrams, in this order, each acknowledged at once. */
static void deliver(struct pair *p, const char *order)
{
    size_t n;

    for (; *order != '\0'; order++) {
        size_t i = (size_t)(*order - 'a');

        assert_int_equal(pair_give(p, &p->b, kept[i], kept_n[i]), OK);
        pair_quiet(&p->b);
        while (pair_take(p, &p->b, datagram, &n)) {
            assert_int_equal(pair_give(p, &p->a, datagram, n), OK);
            pair_quiet(&p->a);
        }
    }
}

/* RPC-23 */
static void a_little_disorder_is_no_loss(void **state)
{
    struct pair p;

    (void)state;
    pair_start(&p, &(struct pair_options){0});
    (void)ask_long(&p, 200000);
    keep(&p, 16);
    deliver(&p, "badechgf");
    assert_int_equal(rpc_counters(p.a.rpc)->retransmits, 0);
    deliver(&p, "jkm"); /* i is lost, l only late */
    assert_int_equal(rpc_counters(p.a.rpc)->retransmits, 1);
    pair_stop(&p);
}

/* RPC-23: one more acknowledgement of the same gap is no news. */
static void a_lost_fragment_is_sent_again_once(void **state)
{
    struct pair p;

    (void)state;
    pair_start(&p, &(struct pair_options){0});
    (void)ask_long(&p, 200000);
    keep(&p, 16);
    deliver(&p, "bcde");
    assert_int_equal(rpc_counters(p.a.rpc)->retransmits, 1);
    assert_true(pair_lose(&p, &p.a) > 1); /* the second a is on its way */
    deliver(&p, "fghi");
    assert_int_equal(rpc_counters(p.a.rpc)->retransmits, 1);
    pair_stop(&p);
}

static void everything_lost_is_sent_again_in_time(void **state)
{
    struct rpc_event last = {0};
    struct pair p;
    size_t n;
    int lost = 0;

    (void)state;
    pair_start(&p, &(struct pair_options){0});
    (void)ask_long(&p, 200000);
    while (pair_take(&p, &p.a, datagram, &n)) {
        lost++;
    }
    assert_int_equal(lost, 33); /* the window of 32 datagrams, not the message */
    p.now_ns = rpc_deadline(p.a.rpc);
    rpc_tick(p.a.rpc, p.now_ns);
    for (lost = 0; pair_take(&p, &p.a, datagram, &n); lost++) {
    }
    assert_int_equal(lost, 16); /* half */
    p.now_ns = rpc_deadline(p.a.rpc);
    rpc_tick(p.a.rpc, p.now_ns);
    (void)settle(&p, 200000, &last);
    assert_int_equal(last.kind, RPC_EVENT_RESPONSE);
    pair_stop(&p);
}

/* RPC-21: also the last fragment first. */
static void fragments_in_any_order_make_the_message(void **state)
{
    struct rpc_event event;
    struct pair p;

    (void)state;
    for (size_t count = 2; count <= 32; count += 6) {
        size_t len = count * FRAG - 5;
        size_t n = 0;

        pair_start(&p, &(struct pair_options){0});
        (void)ask_long(&p, len);
        while (n < 32 && pair_take(&p, &p.a, kept[n], &kept_n[n])) {
            n++;
        }
        assert_int_equal(n, count);
        while (n-- > 0) {
            assert_int_equal(pair_give(&p, &p.b, kept[n], kept_n[n]), OK);
            if (n > 0) {
                pair_quiet(&p.b);
            }
        }
        assert_true(rpc_next(p.b.rpc, &event));
        assert_int_equal(event.body.n, len);
        assert_memory_equal(event.body.p, question, len);
        pair_stop(&p);
    }
}

/* RPC-24: a long answer is kept until it is acknowledged, then given back; a late copy of the
 * request is neither executed nor answered. */
static void a_long_answer_is_given_back_when_it_arrived(void **state)
{
    static uint8_t request[DATAGRAM_MAX];
    struct rpc_event event;
    struct rpc_event last = {0};
    struct pair p;
    size_t request_n;
    size_t idle;
    size_t n;

    (void)state;
    pair_start(&p, &(struct pair_options){0});
    (void)ask_long(&p, 10);
    (void)settle(&p, 10, &last);
    idle = heap_used(p.b.heap);
    (void)ask_long(&p, 10);
    assert_true(pair_take(&p, &p.a, datagram, &n));
    p.now_ns = rpc_deadline(p.a.rpc);
    rpc_tick(p.a.rpc, p.now_ns);
    assert_true(pair_take(&p, &p.a, request, &request_n)); /* the same request, another number */
    assert_int_equal(pair_give(&p, &p.b, datagram, n), OK);
    event = pair_expect(&p.b, RPC_EVENT_REQUEST);
    pair_quiet(&p.b);
    answer_long(&p.b, event.request, 100000);
    assert_true(heap_used(p.b.heap) >= idle + 100000);
    (void)settle(&p, 100000, &last);
    assert_int_equal(last.kind, RPC_EVENT_RESPONSE);
    assert_int_equal(heap_used(p.b.heap), idle);
    assert_int_equal(pair_give(&p, &p.b, request, request_n), OK);
    pair_quiet(&p.b);
    assert_false(pair_take(&p, &p.b, datagram, &n));
    assert_true(rpc_deadline(p.b.rpc) == UINT64_MAX);
    pair_stop(&p);
}

/* RPC-24: a peer that asks for much and acknowledges nothing holds a bounded amount. */
static void kept_answers_are_bounded(void **state)
{
    struct rpc_request asked[20];
    struct rpc_event last = {0};
    struct mbytes to;
    struct pair p;
    int kept_answers = 0;
    int done = 0;
    size_t n;

    (void)state;
    pair_start(&p, &(struct pair_options){.message_max = 100000});
    for (int i = 0; i < 20; i++) {
        (void)ask_long(&p, 10);
        asked[i] = pair_carry_event(&p, &p.a, &p.b, RPC_EVENT_REQUEST).request;
        pair_quiet(&p.b);
    }
    for (int i = 0; i < 20; i++) {
        if (rpc_reply_begin(p.b.rpc, asked[i], 100000, &to) == OK) {
            answer_long(&p.b, asked[i], 100000);
            kept_answers++;
        } else {
            answer_long(&p.b, asked[i], 20); /* small ones go on */
        }
    }
    assert_int_equal(kept_answers, 16);
    while (pair_take(&p, &p.b, datagram, &n) || pair_take(&p, &p.a, datagram, &n)) {
        struct rpc_header h;
        struct bytes clear;
        struct bytes sealed;

        assert_int_equal(rpc_header_decode((struct bytes){datagram, n}, &h, &clear, &sealed), OK);
        if (h.index == p.a.index) {
            assert_int_equal(pair_give(&p, &p.a, datagram, n), OK);
            for (; rpc_next(p.a.rpc, &last); done++) {
            }
        } else {
            assert_int_equal(pair_give(&p, &p.b, datagram, n), OK);
            pair_quiet(&p.b);
        }
    }
    assert_int_equal(done, 20);
    (void)ask_long(&p, 10); /* acknowledged: there is room again */
    (void)settle(&p, 100000, &last);
    assert_int_equal(last.kind, RPC_EVENT_RESPONSE);
    pair_stop(&p);
}

/* RPC-24: the answering end must not send for ever what nobody waits for. */
static void a_cancelled_long_answer_stops(void **state)
{
    struct rpc_event event;
    struct rpc_event last = {0};
    struct rpc_call call;
    struct pair p;
    size_t n;
    int packets;

    (void)state;
    pair_start(&p, &(struct pair_options){0});
    call = ask_long(&p, 10);
    assert_true(pair_take(&p, &p.a, datagram, &n));
    assert_int_equal(pair_give(&p, &p.b, datagram, n), OK);
    event = pair_expect(&p.b, RPC_EVENT_REQUEST);
    pair_quiet(&p.b);
    answer_long(&p.b, event.request, 1 << 20);
    rpc_cancel(p.a.rpc, &call);
    packets = settle(&p, 0, &last);
    assert_in_range(packets, 2, 100); /* a window of it, an acknowledgement */
    assert_true(rpc_deadline(p.b.rpc) == UINT64_MAX);
    assert_true(heap_used(p.b.heap) < (1 << 20));
    pair_stop(&p);
}

/* RPC-24: what a call given up half-way holds at the answering end is given back by the very next
 * call, whatever happened to other slots meanwhile. */
static void an_abandoned_slot_is_used_first(void **state)
{
    struct rpc_event last = {0};
    struct rpc_call given_up;
    struct rpc_call other;
    struct pair p;
    size_t held;
    size_t n;

    (void)state;
    pair_start(&p, &(struct pair_options){0});
    given_up = ask_long(&p, 300000);
    other = ask_long(&p, 10);
    assert_true(pair_take(&p, &p.a, datagram, &n));
    assert_int_equal(pair_give(&p, &p.b, datagram, n), OK);
    pair_quiet(&p.b);
    held = heap_used(p.b.heap);
    rpc_cancel(p.a.rpc, &given_up);
    (void)settle(&p, 10, &last);
    assert_int_equal(last.kind, RPC_EVENT_RESPONSE);
    assert_int_not_equal(other.slot, given_up.slot);
    assert_int_equal(ask_long(&p, 10).slot, given_up.slot);
    (void)settle(&p, 10, &last);
    assert_true(heap_used(p.b.heap) <= held - 300000);
    pair_stop(&p);
}

/* RPC-13: the request arrived whole, its answer is lost. */
static void a_long_request_is_not_sent_twice_for_a_lost_answer(void **state)
{
    struct rpc_event event = {0};
    struct pair p;
    uint64_t sent;
    size_t n;

    (void)state;
    pair_start(&p, &(struct pair_options){0});
    (void)ask_long(&p, 100000);
    while (event.kind != RPC_EVENT_REQUEST) {
        while (pair_take(&p, &p.a, datagram, &n)) {
            assert_int_equal(pair_give(&p, &p.b, datagram, n), OK);
            while (rpc_next(p.b.rpc, &event)) {
                answer_long(&p.b, event.request, 3);
                break;
            }
        }
        while (event.kind != RPC_EVENT_REQUEST && pair_take(&p, &p.b, datagram, &n)) {
            assert_int_equal(pair_give(&p, &p.a, datagram, n), OK);
            pair_quiet(&p.a);
        }
    }
    pair_quiet(&p.b);
    assert_true(pair_take(&p, &p.b, datagram, &n)); /* lost */
    sent = rpc_counters(p.a.rpc)->tx_bytes;
    for (int i = 0; rpc_counters(p.b.rpc)->duplicates_answered == 0; i++) {
        assert_true(i < 10);
        p.now_ns = rpc_deadline(p.a.rpc);
        rpc_tick(p.a.rpc, p.now_ns);
        while (pair_take(&p, &p.a, datagram, &n)) {
            assert_int_equal(pair_give(&p, &p.b, datagram, n), OK);
            pair_quiet(&p.b);
        }
    }
    assert_true(pair_take(&p, &p.b, datagram, &n));
    assert_int_equal(pair_give(&p, &p.a, datagram, n), OK);
    (void)pair_expect(&p.a, RPC_EVENT_RESPONSE);
    assert_int_equal(rpc_counters(p.b.rpc)->requests_in, 1);
    assert_true(rpc_counters(p.a.rpc)->tx_bytes - sent <= (uint64_t)40 * DATAGRAM_DEFAULT);
    pair_stop(&p);
}

/* RPC-16: a session busy with long messages still carries small ones at once. */
static void small_messages_overtake_long_ones(void **state)
{
    struct rpc_event event;
    struct pair p;
    size_t n;

    (void)state;
    pair_start(&p, &(struct pair_options){0});
    (void)ask_long(&p, 1 << 20);
    (void)pair_ask(&p, &p.a, 1);
    for (int i = 0;; i++) {
        assert_true(i < 2);
        assert_true(pair_take(&p, &p.a, datagram, &n));
        assert_int_equal(pair_give(&p, &p.b, datagram, n), OK);
        if (rpc_next(p.b.rpc, &event)) {
            break;
        }
    }
    assert_int_equal(event.body.n, 40);
    pair_stop(&p);
}

static void short_memory_is_survived(void **state)
{
    struct rpc_event last = {0};
    struct pair p;
    size_t hoard_n = 0;
    void *hoard[4096];
    struct mbytes to;
    struct rpc_event event;
    size_t n;

    (void)state;
    pair_start(&p, &(struct pair_options){.heap_bytes = 2 << 20});
    (void)ask_long(&p, 10);
    (void)settle(&p, 10, &last);
    while (hoard_n < 4096 && (hoard[hoard_n] = heap_alloc(p.b.heap, 1024)) != NULL) {
        hoard_n++;
    }
    assert_true(hoard_n < 4096);
    /* small traffic needs nothing; a small answer never fails, a larger one does */
    (void)ask_long(&p, 10);
    (void)settle(&p, RPC_SMALL_REPLY, &last);
    assert_int_equal(last.kind, RPC_EVENT_RESPONSE);
    (void)ask_long(&p, 10);
    assert_true(pair_take(&p, &p.a, datagram, &n));
    assert_int_equal(pair_give(&p, &p.b, datagram, n), OK);
    event = pair_expect(&p.b, RPC_EVENT_REQUEST);
    pair_quiet(&p.b);
    assert_int_equal(rpc_reply_begin(p.b.rpc, event.request, 2000, &to), ERR_ENCLAVE_MEMORY);
    assert_int_equal(rpc_reply_begin(p.b.rpc, event.request, 20000, &to), ERR_ENCLAVE_MEMORY);
    pair_answer(&p.b, event.request, RPC_SMALL_REPLY, 1);
    assert_true(pair_take(&p, &p.b, datagram, &n));
    assert_int_equal(pair_give(&p, &p.a, datagram, n), OK);
    (void)pair_expect(&p.a, RPC_EVENT_RESPONSE);
    pair_quiet(&p.a);
    /* a long request waits for memory, and gets it */
    (void)ask_long(&p, 300000);
    last.kind = 0;
    for (int i = 0; i < 5; i++) {
        (void)settle(&p, 10, &last);
        p.now_ns = rpc_deadline(p.a.rpc);
        rpc_tick(p.a.rpc, p.now_ns);
    }
    assert_int_equal(last.kind, 0);
    assert_true(rpc_counters(p.b.rpc)->no_memory > 2);
    while (hoard_n > 0) {
        heap_free(p.b.heap, hoard[--hoard_n], 1024);
    }
    for (int i = 0; i < 20 && last.kind != RPC_EVENT_RESPONSE; i++) {
        (void)settle(&p, 10, &last);
        p.now_ns = rpc_deadline(p.a.rpc);
        rpc_tick(p.a.rpc, p.now_ns);
    }
    assert_int_equal(last.kind, RPC_EVENT_RESPONSE);
    pair_stop(&p);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_length_around_the_edges_arrives),
        cmocka_unit_test(the_body_can_be_taken_over),
        cmocka_unit_test(only_the_lost_fragment_is_sent_again),
        cmocka_unit_test(a_little_disorder_is_no_loss),
        cmocka_unit_test(a_lost_fragment_is_sent_again_once),
        cmocka_unit_test(everything_lost_is_sent_again_in_time),
        cmocka_unit_test(fragments_in_any_order_make_the_message),
        cmocka_unit_test(a_long_answer_is_given_back_when_it_arrived),
        cmocka_unit_test(kept_answers_are_bounded),
        cmocka_unit_test(a_cancelled_long_answer_stops),
        cmocka_unit_test(an_abandoned_slot_is_used_first),
        cmocka_unit_test(a_long_request_is_not_sent_twice_for_a_lost_answer),
        cmocka_unit_test(small_messages_overtake_long_ones),
        cmocka_unit_test(short_memory_is_survived),
    };

    fill(question, sizeof(question), 1);
    fill(reply, sizeof(reply), 2);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
