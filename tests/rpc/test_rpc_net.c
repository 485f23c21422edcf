// SPDX-License-Identifier: Apache-2.0
/*
 * Two endpoints over a network that loses, repeats, delays, reorders and damages datagrams, in
 * virtual time. One seed decides everything; a failing seed is printed. What must hold (RPC-1):
 * every request is executed at most once and with the right bytes; every call ends exactly once,
 * with the right answer, unless it was cancelled or its session was closed; memory is given back.
 */
#include "tests/rpc/pair.h"

#include "common/prng.h"

#include <stdio.h>
#include <stdlib.h>

enum {
    CALLS = 400,
    PACKETS = 8192,
    ANSWERS = 1024,
};

struct packet {
    uint64_t at_ns;
    struct end *to;
    uint8_t *p;
    size_t n;
};

enum life { NOT_YET, ASKED, CANCELLED, ENDED };

struct asked {
    enum life life;
    struct end *by;
    struct rpc_call call;
    uint8_t *value;
    uint32_t executed, session;
};

struct late_answer {
    uint64_t at_ns;
    struct end *by;
    struct rpc_request request;
    uint32_t id;
};

struct net {
    struct pair pair;
    struct prng prng;
    uint64_t loss, twice, damage, late, cancel, reopen; /* per thousand */
    uint64_t delay_ns;
    uint32_t big_percent, big_max;
    struct packet packets[PACKETS];
    uint32_t packets_n;
    struct late_answer answers[ANSWERS];
    uint32_t answers_n;
    struct asked asked[CALLS];
    uint32_t asked_n, ended_n, reopened, down, up;
};

/* Both ends know from the id what is asked and what is answered. */
static size_t size_of(const struct net *n, uint32_t id, bool answer)
{
    struct prng p = {.state = id * 2 + answer};

    if (prng_chance(&p, n->big_percent, 100)) {
        return 9 + prng_below(&p, n->big_max);
    }
    return 9 + prng_below(&p, prng_chance(&p, 1, 2) ? 24 : 1500);
}

static void fill(uint8_t *to, size_t n, uint32_t id, bool answer)
{
    struct prng p = {.state = ~(uint64_t)(id * 2 + answer)};

    for (size_t i = 0; i < n; i += 8) {
        uint64_t x = prng_u64(&p);

        memcpy(to + i, &x, n - i < 8 ? n - i : 8);
    }
    memcpy(to, &id, sizeof(id));
}

static void check(const struct net *n, struct bytes body, uint32_t id, bool answer)
{
    uint8_t *want = malloc(size_of(n, id, answer));

    assert_non_null(want);
    assert_int_equal(body.n, size_of(n, id, answer));
    fill(want, body.n, id, answer);
    assert_memory_equal(body.p, want, body.n);
    free(want);
}

static void send_packet(struct net *n, struct end *to, const uint8_t *p, size_t len)
{
    struct packet *packet = &n->packets[n->packets_n];

    if (n->packets_n == PACKETS) {
        return; /* a full queue loses, too */
    }
    n->packets_n++;
    *packet = (struct packet){.at_ns = n->pair.now_ns + 20000 + prng_below(&n->prng, n->delay_ns),
                              .to = to,
                              .p = malloc(len),
                              .n = len};
    assert_non_null(packet->p);
    memcpy(packet->p, p, len);
    if (prng_chance(&n->prng, n->damage, 1000)) {
        packet->p[prng_below(&n->prng, len)] ^= (uint8_t)(1 + prng_below(&n->prng, 255));
    }
}

static void flush(struct net *n, struct end *from)
{
    uint8_t p[DATAGRAM_MAX];
    struct end *to = from == &n->pair.a ? &n->pair.b : &n->pair.a;
    size_t len;

    while (pair_take(&n->pair, from, p, &len)) {
        if (!prng_chance(&n->prng, n->loss, 1000)) {
            send_packet(n, to, p, len);
        }
        if (prng_chance(&n->prng, n->twice, 1000)) {
            send_packet(n, to, p, len);
        }
    }
}

static void answer(struct net *n, struct end *e, struct rpc_request request, uint32_t id)
{
    size_t size = size_of(n, id, true);
    struct mbytes to;
    enum err err = rpc_reply_begin(e->rpc, request, size, &to);

    if (err == ERR_CLOSED) {
        /* Superseded by a newer call in the slot, or the session is gone. */
        assert_true(n->asked[id].life != ASKED || n->asked[id].session != n->pair.a.index);
        return;
    }
    assert_int_equal(err, OK);
    fill(to.p, size, id, true);
    rpc_reply_send(e->rpc, request, size);
}

static void executed(struct net *n, struct end *e, const struct rpc_event *event)
{
    uint32_t id;

    assert_true(event->body.n >= sizeof(id));
    memcpy(&id, event->body.p, sizeof(id));
    assert_true(id < n->asked_n);
    assert_ptr_not_equal(n->asked[id].by, e);
    assert_int_equal(n->asked[id].executed, 0);
    n->asked[id].executed++;
    check(n, event->body, id, false);
    if (n->answers_n < ANSWERS && prng_chance(&n->prng, n->late, 1000)) {
        n->answers[n->answers_n++] = (struct late_answer){
            .at_ns = n->pair.now_ns + prng_below(&n->prng, 30 * MS),
            .by = e,
            .request = event->request,
            .id = id,
        };
    } else {
        answer(n, e, event->request, id);
    }
}

static void ended(struct net *n, struct end *e, const struct rpc_event *event)
{
    struct asked *a = &n->asked[event->cookie];

    assert_true(event->cookie < n->asked_n);
    assert_ptr_equal(a->by, e);
    assert_int_equal(a->life, ASKED);
    if (event->kind == RPC_EVENT_RESPONSE) {
        assert_int_equal(a->executed, 1);
        check(n, event->body, (uint32_t)event->cookie, true);
    } else {
        assert_int_equal(event->err, ERR_CLOSED);
        assert_int_not_equal(event->session, e->index);
    }
    a->life = ENDED;
    free(a->value);
    a->value = NULL;
    n->ended_n++;
}

static void drain(struct net *n, struct end *e)
{
    struct rpc_event event;
    size_t block_n;
    void *block;

    while (rpc_next(e->rpc, &event)) {
        if (event.kind == RPC_EVENT_REQUEST) {
            executed(n, e, &event);
        } else if (event.kind == RPC_EVENT_RESPONSE || event.kind == RPC_EVENT_FAILED) {
            ended(n, e, &event);
        } else if (event.kind == RPC_EVENT_DOWN) {
            n->down++;
        } else if (event.kind == RPC_EVENT_UP) {
            n->up++;
        }
        if (event.body.n != 0 && prng_chance(&n->prng, 1, 3) &&
            rpc_take_body(e->rpc, &block, &block_n)) {
            heap_free(e->heap, block, block_n);
        }
    }
}

static void ask(struct net *n)
{
    uint32_t id = n->asked_n;
    struct end *e = prng_chance(&n->prng, 3, 4) ? &n->pair.a : &n->pair.b;
    struct asked *a = &n->asked[id];
    size_t size = size_of(n, id, false);
    struct rpc_question q = {.cookie = id};
    uint8_t *value = malloc(size);
    enum err err;

    assert_non_null(value);
    fill(value, size, id, false);
    q.head_len = (uint8_t)(size < 64 ? 5 : 1 + prng_below(&n->prng, 64));
    memcpy(q.head, value, q.head_len);
    q.key = (struct bytes){.p = value + q.head_len, .n = (size - q.head_len) / 3};
    q.value = (struct bytes){.p = q.key.p + q.key.n, .n = size - q.head_len - q.key.n};
    err = rpc_call(e->rpc, n->pair.now_ns, e->index, &q, &a->call);
    if (err != OK) {
        assert_int_equal(err, ERR_FULL);
        free(value);
        return;
    }
    a->life = ASKED;
    a->by = e;
    a->value = value;
    a->session = n->pair.a.index;
    n->asked_n++;
}

static void cancel(struct net *n)
{
    struct asked *a;

    if (n->asked_n == 0) {
        return;
    }
    a = &n->asked[prng_below(&n->prng, n->asked_n)];
    if (a->life == ASKED) {
        rpc_cancel(a->by->rpc, &a->call);
        a->life = CANCELLED;
        free(a->value);
        a->value = NULL;
        n->ended_n++;
    }
}

static void reopen(struct net *n)
{
    bool say = prng_chance(&n->prng, 1, 2);

    rpc_session_close(n->pair.a.rpc, n->pair.a.index, say);
    rpc_session_close(n->pair.b.rpc, n->pair.b.index, false);
    flush(n, &n->pair.a);
    pair_open(&n->pair, prng_chance(&n->prng, 1, 2));
    n->reopened++;
}

static uint64_t step_time(struct net *n)
{
    uint64_t at = rpc_deadline(n->pair.a.rpc);
    uint64_t b = rpc_deadline(n->pair.b.rpc);

    at = b < at ? b : at;
    for (uint32_t i = 0; i < n->packets_n; i++) {
        at = n->packets[i].at_ns < at ? n->packets[i].at_ns : at;
    }
    for (uint32_t i = 0; i < n->answers_n; i++) {
        at = n->answers[i].at_ns < at ? n->answers[i].at_ns : at;
    }
    return at;
}

static void deliver(struct net *n)
{
    for (uint32_t i = 0; i < n->packets_n;) {
        struct packet packet = n->packets[i];

        if (packet.at_ns > n->pair.now_ns) {
            i++;
            continue;
        }
        n->packets[i] = n->packets[--n->packets_n];
        (void)pair_give(&n->pair, packet.to, packet.p, packet.n);
        free(packet.p);
        drain(n, packet.to);
    }
    for (uint32_t i = 0; i < n->answers_n;) {
        struct late_answer late = n->answers[i];

        if (late.at_ns > n->pair.now_ns) {
            i++;
            continue;
        }
        n->answers[i] = n->answers[--n->answers_n];
        answer(n, late.by, late.request, late.id);
    }
}

static void step(struct net *n)
{
    uint64_t at = step_time(n);

    if (n->asked_n < CALLS) {
        for (uint64_t i = prng_below(&n->prng, 4); i > 0 && n->asked_n < CALLS; i--) {
            ask(n);
        }
        if (prng_chance(&n->prng, n->cancel, 1000)) {
            cancel(n);
        }
        if (prng_chance(&n->prng, n->reopen, 1000)) {
            reopen(n);
        }
        if (at > n->pair.now_ns + 100000) {
            at = n->pair.now_ns + 100000;
        }
    }
    assert_true(at != UINT64_MAX); /* nothing under way, yet calls have not ended */
    n->pair.now_ns = at > n->pair.now_ns ? at : n->pair.now_ns;
    deliver(n);
    if (rpc_deadline(n->pair.a.rpc) <= n->pair.now_ns) {
        rpc_tick(n->pair.a.rpc, n->pair.now_ns);
    }
    if (rpc_deadline(n->pair.b.rpc) <= n->pair.now_ns) {
        rpc_tick(n->pair.b.rpc, n->pair.now_ns);
    }
    drain(n, &n->pair.a);
    drain(n, &n->pair.b);
    flush(n, &n->pair.a);
    flush(n, &n->pair.b);
}

static void net_start(struct net *n, uint64_t seed)
{
    static const uint64_t updates[] = {0, 2, 7, 50};
    static const uint32_t slots[] = {1, 5, 64, RPC_SLOTS_CLIENT};
    static const uint32_t datagrams[] = {DATAGRAM_MIN, DATAGRAM_DEFAULT, DATAGRAM_MAX};
    struct pair_options o = {0};

    *n = (struct net){.prng = {.state = seed}};
    n->loss = prng_chance(&n->prng, 1, 4) ? 0 : prng_below(&n->prng, 300);
    n->twice = prng_chance(&n->prng, 1, 2) ? 0 : prng_below(&n->prng, 200);
    n->damage = prng_chance(&n->prng, 1, 2) ? 0 : prng_below(&n->prng, 50);
    n->late = prng_chance(&n->prng, 1, 2) ? 0 : prng_below(&n->prng, 1000);
    n->cancel = prng_chance(&n->prng, 1, 2) ? 0 : prng_below(&n->prng, 300);
    n->reopen = prng_chance(&n->prng, 2, 3) ? 0 : prng_below(&n->prng, 30);
    n->delay_ns = 1 + prng_below(&n->prng, prng_chance(&n->prng, 1, 2) ? 50000 : 20 * MS);
    n->big_percent = (uint32_t)prng_below(&n->prng, 30);
    n->big_max = prng_chance(&n->prng, 1, 4) ? 400000 : 20000;
    o.key_packets = updates[prng_below(&n->prng, 4)];
    o.slots = slots[prng_below(&n->prng, 4)];
    o.datagram_bytes = datagrams[prng_below(&n->prng, 3)];
    o.b_learns = prng_chance(&n->prng, 1, 2);
    pair_start(&n->pair, &o);
}

/* b cannot speak before it heard a: if only b asks, nothing ever moves. */
static void say_hello(struct net *n)
{
    struct rpc_question q = {.cookie = n->asked_n};
    struct asked *a = &n->asked[n->asked_n];
    size_t size = size_of(n, n->asked_n, false);

    a->value = malloc(size);
    assert_non_null(a->value);
    fill(a->value, size, n->asked_n, false);
    q.value = (struct bytes){.p = a->value, .n = size};
    if (rpc_call(n->pair.a.rpc, n->pair.now_ns, n->pair.a.index, &q, &a->call) == OK) {
        a->life = ASKED;
        a->by = &n->pair.a;
        a->session = n->pair.a.index;
        n->asked_n++;
    } else {
        free(a->value);
        a->value = NULL;
    }
}

static void net_stop(struct net *n)
{
    struct rpc_event event;

    for (uint32_t i = 0; i < n->packets_n; i++) {
        free(n->packets[i].p);
    }
    rpc_session_close(n->pair.a.rpc, n->pair.a.index, false);
    rpc_session_close(n->pair.b.rpc, n->pair.b.index, false);
    assert_false(rpc_next(n->pair.a.rpc, &event));
    assert_false(rpc_next(n->pair.b.rpc, &event));
    assert_int_equal(heap_used(n->pair.a.heap), n->pair.a.heap_at_start);
    assert_int_equal(heap_used(n->pair.b.heap), n->pair.b.heap_at_start);
    pair_stop(&n->pair);
}

static void run(struct net *n, uint64_t seed)
{
    uint32_t steps = 0;

    net_start(n, seed);
    while (n->asked_n < CALLS || n->ended_n < n->asked_n) {
        if (n->asked_n == CALLS - 1) {
            say_hello(n);
        }
        step(n);
        assert_true(++steps < 2000000);
    }
    net_stop(n);
}

static uint64_t seeds_from = 1, seeds_n = 30;

static void holds_on_every_seed(void **state)
{
    struct net *n = malloc(sizeof(*n));

    (void)state;
    assert_non_null(n);
    for (uint64_t seed = seeds_from; seed < seeds_from + seeds_n; seed++) {
        print_message("seed %llu\n", (unsigned long long)seed);
        run(n, seed);
        print_message("  reopened %u down %u up %u, %.0f ms\n", n->reopened, n->down, n->up,
                      (double)(n->pair.now_ns - UINT64_C(1000000000000)) / 1e6);
    }
    free(n);
}

/* test_rpc_net [seed [seeds]] */
int main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(holds_on_every_seed),
    };

    if (argc > 1) {
        seeds_from = strtoull(argv[1], NULL, 10);
        seeds_n = argc > 2 ? strtoull(argv[2], NULL, 10) : 1;
    }
    return cmocka_run_group_tests(tests, NULL, NULL);
}
