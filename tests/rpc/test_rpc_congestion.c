// SPDX-License-Identifier: Apache-2.0
/* RPC-25: a link with a rate and a queue of limited depth between two endpoints, in virtual time.
 */
#include "tests/rpc/pair.h"

#include <stdlib.h>
#include <string.h>

enum { QUEUE = 4096, VALUE = 1 << 20 };

struct packet {
    uint64_t at_ns; /* when it arrives */
    size_t n;
    uint8_t bytes[DATAGRAM_DEFAULT];
};

/* One direction. Bytes leave at `rate`; what would wait longer than `depth_ns` is dropped. */
struct wire {
    uint64_t rate; /* bytes a second */
    uint64_t delay_ns, depth_ns;
    uint64_t free_ns; /* when the last byte has left */
    uint64_t sent, dropped, queued_top_ns;
    uint32_t head, tail;
    struct packet *queue;
};

struct net {
    struct pair p;
    struct wire ab, ba;
    uint64_t done, bytes;
    uint32_t in_flight;
    size_t ask_n, answer_n;
    uint64_t first_ns, slowest_ns;
};

static uint8_t body[VALUE];

static void put(struct net *n, struct wire *w, const uint8_t *d, size_t len)
{
    struct packet *p = &w->queue[w->tail % QUEUE];
    uint64_t now = n->p.now_ns;
    uint64_t start = w->free_ns > now ? w->free_ns : now;

    w->sent++;
    if (start - now > w->depth_ns || w->tail - w->head == QUEUE) {
        w->dropped++;
        return;
    }
    w->queued_top_ns = start - now > w->queued_top_ns ? start - now : w->queued_top_ns;
    w->free_ns = start + len * UINT64_C(1000000000) / w->rate;
    p->at_ns = w->free_ns + w->delay_ns;
    p->n = len;
    memcpy(p->bytes, d, len);
    w->tail++;
}

static void send_all(struct net *n, struct end *from, struct wire *w)
{
    uint8_t d[DATAGRAM_MAX];
    size_t len;

    while (pair_take(&n->p, from, d, &len)) {
        put(n, w, d, len);
    }
}

static void ask(struct net *n)
{
    struct rpc_question q = {
        .cookie = n->p.now_ns, .head_len = 8, .value = {.p = body, .n = n->ask_n - 8}};
    struct rpc_call call;

    assert_int_equal(rpc_call(n->p.a.rpc, n->p.now_ns, n->p.a.index, &q, &call), OK);
    n->in_flight++;
}

static void take(struct net *n, struct end *e)
{
    struct rpc_event event;

    while (rpc_next(e->rpc, &event)) {
        if (event.kind == RPC_EVENT_REQUEST) {
            pair_answer(e, event.request, n->answer_n, 7);
        } else {
            assert_int_equal(event.kind, RPC_EVENT_RESPONSE);
            n->done++;
            n->in_flight--;
            n->bytes += n->ask_n + n->answer_n;
        }
    }
}

static bool deliver(struct net *n, struct wire *w, struct end *to)
{
    struct packet *p = &w->queue[w->head % QUEUE];

    if (w->head == w->tail || p->at_ns > n->p.now_ns) {
        return false;
    }
    w->head++;
    assert_int_equal(pair_give(&n->p, to, p->bytes, p->n), OK);
    take(n, to);
    return true;
}

/* `depth` calls in flight for so long. */
static void run(struct net *n, uint32_t depth, uint64_t ns)
{
    uint64_t end = n->p.now_ns + ns;

    while (n->p.now_ns < end) {
        while (n->in_flight < depth) {
            ask(n);
        }
        while (deliver(n, &n->ab, &n->p.b) || deliver(n, &n->ba, &n->p.a)) {
        }
        if (rpc_deadline(n->p.a.rpc) <= n->p.now_ns) {
            rpc_tick(n->p.a.rpc, n->p.now_ns);
        }
        if (rpc_deadline(n->p.b.rpc) <= n->p.now_ns) {
            rpc_tick(n->p.b.rpc, n->p.now_ns);
        }
        send_all(n, &n->p.a, &n->ab);
        send_all(n, &n->p.b, &n->ba);
        n->p.now_ns += 5000;
    }
}

static struct net *net_open(uint64_t rate, uint64_t depth_ns, size_t ask_n, size_t answer_n)
{
    struct net *n = calloc(1, sizeof(*n));
    struct wire w = {.rate = rate, .delay_ns = 20000, .depth_ns = depth_ns};

    assert_non_null(n);
    pair_start(&n->p, &(struct pair_options){.slots = RPC_SLOTS_PEER,
                                             .replay_bits = REPLAY_BITS_PEER,
                                             .message_max = 2 << 20,
                                             .heap_bytes = 128 << 20});
    n->ab = n->ba = w;
    n->ab.queue = calloc(QUEUE, sizeof(struct packet));
    n->ba.queue = calloc(QUEUE, sizeof(struct packet));
    assert_true(n->ab.queue != NULL && n->ba.queue != NULL);
    n->ask_n = ask_n;
    n->answer_n = answer_n;
    return n;
}

static void net_close(struct net *n)
{
    rpc_session_close(n->p.a.rpc, n->p.a.index, false);
    rpc_session_close(n->p.b.rpc, n->p.b.index, false);
    free(n->ab.queue);
    free(n->ba.queue);
    while (rpc_next(n->p.a.rpc, &(struct rpc_event){0})) {
    }
    pair_stop(&n->p);
    free(n);
}

static uint64_t rate_of(const struct net *n, uint64_t bytes, uint64_t ns)
{
    (void)n;
    return bytes * 1000 / (ns / 1000000);
}

/* A gigabit, a deep queue: the window finds the rate and leaves no more in the queue than it
 * wants to see there; nothing is lost. */
static void a_slow_link_is_filled_and_not_flooded(void **state)
{
    struct net *n = net_open(125000000, 100 * MS, 100 << 10, 16);
    uint64_t before;

    (void)state;
    run(n, 64, 500 * MS);
    before = n->bytes;
    n->ab.queued_top_ns = 0;
    run(n, 64, 500 * MS);
    assert_int_equal(n->ab.dropped, 0);
    assert_true(n->ab.queued_top_ns < 12 * MS);
    assert_true(rate_of(n, n->bytes - before, 500 * MS) > 100000000);
    net_close(n);
}

/* The same towards the asker. */
static void long_answers_keep_to_the_rate_too(void **state)
{
    struct net *n = net_open(125000000, 100 * MS, 64, 100 << 10);
    uint64_t before;

    (void)state;
    run(n, 64, 500 * MS);
    before = n->bytes;
    n->ba.queued_top_ns = 0;
    run(n, 64, 500 * MS);
    assert_int_equal(n->ba.dropped, 0);
    assert_true(n->ba.queued_top_ns < 12 * MS);
    assert_true(rate_of(n, n->bytes - before, 500 * MS) > 100000000);
    net_close(n);
}

/* A queue too shallow for the target: loss tells what time does not, and little is lost. */
static void a_shallow_queue_is_respected(void **state)
{
    struct net *n = net_open(125000000, MS, 100 << 10, 16);

    (void)state;
    run(n, 64, 1000 * MS);
    assert_true(n->ab.dropped > 0);
    assert_true(n->ab.dropped * 20 < n->ab.sent);
    assert_true(rate_of(n, n->bytes, 1000 * MS) > 80000000);
    net_close(n);
}

/* Many small requests are a flood like any other. */
static void small_requests_are_bounded_by_the_window(void **state)
{
    struct net *n = net_open(12500000, 50 * MS, 300, 16);

    (void)state;
    run(n, 4000, 500 * MS); /* 1.2 MB, ten times what the queue holds */
    n->ab.dropped = n->ab.sent = 0;
    run(n, 4000, 500 * MS);
    assert_true(n->ab.dropped * 100 < n->ab.sent);
    assert_true(rate_of(n, n->bytes, 1000 * MS) > 9000000);
    net_close(n);
}

/* A fast link: the window is never in the way. */
static void an_idle_link_is_not_throttled(void **state)
{
    struct net *n = net_open(UINT64_C(5000000000), 100 * MS, 300, 16);

    (void)state;
    run(n, 1000, 20 * MS);
    assert_int_equal(rpc_counters(n->p.a.rpc)->window_cuts, 0);
    assert_int_equal(rpc_counters(n->p.a.rpc)->retransmits, 0);
    assert_int_equal(n->ab.dropped, 0);
    net_close(n);
}

/* The link becomes ten times as fast: soon all of it is used. */
static void more_room_is_found(void **state)
{
    struct net *n = net_open(12500000, 100 * MS, 100 << 10, 16);
    uint64_t before;

    (void)state;
    run(n, 64, 500 * MS);
    n->ab.rate *= 10;
    run(n, 64, 500 * MS);
    before = n->bytes;
    run(n, 64, 500 * MS);
    assert_true(rate_of(n, n->bytes - before, 500 * MS) > 100000000);
    net_close(n);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_slow_link_is_filled_and_not_flooded),
        cmocka_unit_test(long_answers_keep_to_the_rate_too),
        cmocka_unit_test(a_shallow_queue_is_respected),
        cmocka_unit_test(small_requests_are_bounded_by_the_window),
        cmocka_unit_test(an_idle_link_is_not_throttled),
        cmocka_unit_test(more_room_is_found),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
