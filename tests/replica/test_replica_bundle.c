// SPDX-License-Identifier: Apache-2.0
/* ABD-23: questions of one moment share an RPC, and are answered one by one. */
#include "tests/replica/cluster.h"
#include "trusted/wire/bundle_wire.h"

#include <setjmp.h>
#include <stdarg.h>

#include <cmocka.h>

enum { HEAP = 64 << 20, ARENA = 32 << 20, MEMBER = 2, ROGUE_GENERATION = 9 };

struct ctx {
    struct test_cluster c;
    uint64_t answers, ok;
    uint32_t rogue; /* our session as a member, to node 0 */
    size_t body_n;
    uint8_t body[BUNDLE_ANSWERS_MAX];
};

static void on_done(void *self, const struct rpc_event *e)
{
    struct ctx *x = self;
    struct client_response r;

    if (e->kind != RPC_EVENT_RESPONSE) {
        return;
    }
    x->answers++;
    if (e->session == x->rogue) {
        assert_true(bytes_copy((struct mbytes){x->body, sizeof(x->body)}, e->body, &x->body_n));
        return;
    }
    assert_int_equal(client_response_decode(e->body, &r), OK);
    x->ok += r.status == OK;
}

static int setup(void **state)
{
    struct ctx *x = calloc(1, sizeof(*x));

    cluster_open(&x->c, DATAGRAM_LOOPBACK, HEAP, ARENA);
    x->c.on_done = on_done;
    x->c.self = x;
    *state = x;
    return 0;
}

static int teardown(void **state)
{
    struct ctx *x = *state;

    cluster_close(&x->c);
    free(x);
    return 0;
}

/* n puts of one moment; keys and values stay. */
static void put_many(struct ctx *x, uint32_t n, size_t value_n)
{
    static const uint8_t value[1024];
    static uint8_t keys[256][2];

    for (uint32_t i = 0; i < n; i++) {
        struct client_request m = {.op = CLIENT_PUT, .timeout_ms = 3000};

        keys[i][0] = (uint8_t)i;
        keys[i][1] = 'k';
        m.key = (struct bytes){keys[i], 2};
        m.value = (struct bytes){value, value_n};
        assert_int_equal(cluster_submit(&x->c, 0, &m, i), OK);
    }
}

static uint64_t requests_out(const struct ctx *x, uint8_t node)
{
    return replica_rpc_counters(x->c.nodes[node].replica)->requests_out;
}

static void test_puts_of_one_moment_share_an_rpc(void **state)
{
    struct ctx *x = *state;
    uint64_t before = requests_out(x, 0);

    put_many(x, 60, 2);
    cluster_settle(&x->c);
    assert_int_equal(x->ok, 60);
    assert_in_range(requests_out(x, 0) - before, 2,
                    6); /* offers to one, what was taken to the other */
}

static void test_a_put_alone_goes_as_it_is(void **state)
{
    struct ctx *x = *state;
    uint64_t before = requests_out(x, 0);

    put_many(x, 1, 2);
    cluster_settle(&x->c);
    assert_int_equal(x->ok, 1);
    assert_int_equal(requests_out(x, 0) - before, 2);
}

/* More than one bundle holds. */
static void test_many_puts(void **state)
{
    struct ctx *x = *state;

    put_many(x, RPC_SLOTS_CLIENT, 500);
    cluster_settle(&x->c);
    assert_int_equal(x->ok, RPC_SLOTS_CLIENT);
}

/* Who is asked goes while they are on their way: none is lost, and all memory comes back. */
static void test_the_member_dies(void **state)
{
    struct ctx *x = *state;

    put_many(x, 60, 2);
    cluster_collect(&x->c, CLUSTER_CLIENT);
    while (x->c.head < x->c.tail) {
        cluster_deliver(&x->c, &x->c.queue[x->c.head++ % CLUSTER_QUEUE]);
    }
    x->c.nodes[1].dead = x->c.nodes[2].dead = true;
    cluster_settle(&x->c);
    assert_int_equal(x->ok, 0);
    cluster_pass(&x->c, 4000000000U);
    assert_int_equal(x->answers, 60); /* each was told something, in time */
    assert_int_equal(x->ok, 0);
}

/* The session ends between the moment in which they were asked for and the one in which they leave.
 */
static void test_the_session_ends_before_they_leave(void **state)
{
    struct ctx *x = *state;

    put_many(x, 60, 2);
    cluster_collect(&x->c, CLUSTER_CLIENT);
    while (x->c.head < x->c.tail) {
        cluster_deliver(&x->c, &x->c.queue[x->c.head++ % CLUSTER_QUEUE]);
    }
    for (uint8_t i = 1; i < (uint8_t)CLUSTER_NODES; i++) {
        replica_session_close(x->c.nodes[0].replica, x->c.now_ns,
                              cluster_params(0, i, RPC_SLOTS_PEER, REPLAY_BITS_PEER).index);
    }
    cluster_settle(&x->c);
    cluster_pass(&x->c, 4000000000U);
    assert_int_equal(x->answers, 60);
    assert_int_equal(x->ok, 0);
}

static void test_reconfigured_before_they_leave(void **state)
{
    struct ctx *x = *state;
    const struct replica_members next = {
        .epoch = 7, .self = 0, .members_n = 3, .incarnations = {100, 101, 102}};

    put_many(x, 60, 2);
    cluster_collect(&x->c, CLUSTER_CLIENT);
    while (x->c.head < x->c.tail) {
        cluster_deliver(&x->c, &x->c.queue[x->c.head++ % CLUSTER_QUEUE]);
    }
    replica_reconfigure(x->c.nodes[0].replica, x->c.now_ns, &next);
    cluster_settle(&x->c);
    cluster_pass(&x->c, 4000000000U);
    assert_int_equal(x->answers, 60);
    assert_int_equal(x->ok, 0);
}

/* ---- a member that asks nonsense ---- */

static void become_member(struct ctx *x)
{
    struct rpc_session_params p =
        cluster_params(CLUSTER_CLIENT, 0, RPC_SLOTS_PEER, REPLAY_BITS_PEER);
    struct rpc_session_params q =
        cluster_params(0, CLUSTER_CLIENT, RPC_SLOTS_PEER, REPLAY_BITS_PEER);
    const struct replica_peer member = {REPLICA_PEER_MEMBER, MEMBER, NULL};

    p.index = q.peer_index = ROGUE_GENERATION << RPC_INDEX_SLOT_BITS | 10;
    q.index = p.peer_index = ROGUE_GENERATION << RPC_INDEX_SLOT_BITS | 10;
    p.send.b[0] ^= 1;
    q.recv.b[0] ^= 1;
    x->rogue = p.index;
    assert_int_equal(replica_session_open(x->c.nodes[0].replica, x->c.now_ns, &member, &q), OK);
    assert_int_equal(rpc_session_open(x->c.client, x->c.now_ns, &p), OK);
}

/* What node 0 answers, item by item. */
static struct reader ask_as_member(struct ctx *x, const void *body, size_t n)
{
    struct rpc_question q = {.value = {body, n}};
    uint64_t before = x->answers;
    struct rpc_call call;

    assert_int_equal(rpc_call(x->c.client, x->c.now_ns, x->rogue, &q, &call), OK);
    cluster_settle(&x->c);
    assert_int_equal(x->answers, before + 1);
    return (struct reader){.rest = {x->body, x->body_n}};
}

static void refused(struct reader *r)
{
    struct peer_answer m;

    assert_int_equal(bundle_get_answer(r, &m), OK);
    assert_int_equal(m.kind, PEER_REFUSED);
}

static size_t add(uint8_t *to, uint8_t group, const struct peer_ask *ask)
{
    uint8_t head[PEER_ASK_HEAD_MAX];
    size_t head_n = peer_ask_encode_head(ask, head);
    size_t n = 1 + head_n + ask->key.n + ask->value.n;

    to[0] = (uint8_t)n;
    to[1] = (uint8_t)(n >> 8);
    to[2] = group;
    memcpy(to + 3, head, head_n);
    memcpy(to + 3 + head_n, ask->key.p, ask->key.n);
    if (ask->value.n > 0) {
        memcpy(to + 3 + head_n + ask->key.n, ask->value.p, ask->value.n);
    }
    return 2 + n;
}

static void test_each_is_answered_for_itself(void **state)
{
    struct ctx *x = *state;
    const struct bytes key = {(const uint8_t *)"k", 1};
    const struct peer_ask query = {.kind = PEER_QUERY, .key = key};
    const struct peer_ask offer = {
        .kind = PEER_OFFER, .key = key, .value = key, .tag = {.ts = 5, .writer = 102}};
    const struct peer_ask read = {.kind = PEER_READ, .key = key}; /* its answer may be long */
    uint8_t body[512] = {BUNDLE_MARK};
    struct peer_answer m;
    struct reader r;
    size_t n = 1;

    become_member(x);
    n += add(body + n, 0, &query);
    n += add(body + n, 5, &query); /* a group that is not here */
    n += add(body + n, 200, &query);
    n += add(body + n, 0, &read);
    n += add(body + n, 0, &offer);
    n += add(body + n, 0, &query); /* sees the offer before it */
    r = ask_as_member(x, body, n);
    assert_int_equal(bundle_get_answer(&r, &m), OK);
    assert_true(m.kind == PEER_TAG && tag_is_zero(m.tag));
    refused(&r);
    refused(&r);
    refused(&r);
    assert_int_equal(bundle_get_answer(&r, &m), OK);
    assert_int_equal(m.kind, PEER_APPLIED);
    assert_int_equal(bundle_get_answer(&r, &m), OK);
    assert_true(m.kind == PEER_TAG && m.tag.ts == 5);
    assert_true(reader_done(&r));
}

/* A bundle within one, one that is cut off, an empty one, and every prefix of a good one. */
static void test_nonsense_is_refused(void **state)
{
    struct ctx *x = *state;
    const struct peer_ask query = {.kind = PEER_QUERY, .key = {(const uint8_t *)"k", 1}};
    uint8_t body[64] = {BUNDLE_MARK, 3, 0, BUNDLE_MARK, 'x', 'y'};
    struct reader r;
    size_t n;

    become_member(x);
    r = ask_as_member(x, body, 6);
    refused(&r);
    assert_true(reader_done(&r));
    n = 1 + add(body + 1, 0, &query);
    for (size_t less = 1; less < n; less++) {
        r = ask_as_member(x, body, less);
        refused(&r);
        assert_true(reader_done(&r));
    }
}

/* No more are looked at than a bundle may have. */
static void test_too_many_questions(void **state)
{
    struct ctx *x = *state;
    const struct peer_ask query = {.kind = PEER_QUERY, .key = {(const uint8_t *)"k", 1}};
    static uint8_t body[4096] = {BUNDLE_MARK};
    struct reader r;
    size_t n = 1, answers = 0;
    struct peer_answer m;

    become_member(x);
    for (int i = 0; i < BUNDLE_MAX + 5; i++) {
        n += add(body + n, 0, &query);
    }
    r = ask_as_member(x, body, n);
    while (r.rest.n > 0 && bundle_get_answer(&r, &m) == OK) {
        answers++;
    }
    assert_int_equal(answers, BUNDLE_MAX);
}

/* What was done and cannot be answered is not said to be refused: its asker is in doubt. */
static void test_no_memory_for_the_answers(void **state)
{
    struct ctx *x = *state;
    struct heap *heap = x->c.nodes[0].heap;
    const struct bytes key = {(const uint8_t *)"k", 1};
    const struct peer_ask offer = {.kind = PEER_OFFER, .key = key, .tag = {.ts = 5, .writer = 102}};
    const struct peer_ask query = {.kind = PEER_QUERY, .key = key};
    static uint8_t body[4096] = {BUNDLE_MARK};
    static void *taken[4096];
    struct peer_answer m;
    struct reader r;
    size_t n = 1, size = 1 << 20, taken_n = 0;
    size_t sizes[sizeof(taken) / sizeof(taken[0])];

    become_member(x);
    n += add(body + n, 0, &query);
    (void)ask_as_member(x, body, n); /* what is allocated once */
    n = 1 + add(body + 1, 0, &offer);
    for (int i = 0; i < 30; i++) {
        n += add(body + n, 0, &query);
    }
    while (size >= 64 && taken_n < sizeof(taken) / sizeof(taken[0])) {
        taken[taken_n] = heap_alloc(heap, size);
        if (taken[taken_n] == NULL) {
            size /= 2;
        } else {
            sizes[taken_n++] = size;
        }
    }
    r = ask_as_member(x, body, n);
    assert_int_equal(r.rest.n, 1);
    assert_int_equal(bundle_get_answer(&r, &m), ERR_MALFORMED);
    while (taken_n-- > 0) {
        heap_free(heap, taken[taken_n], sizes[taken_n]);
    }
    n = 1 + add(body + 1, 0, &query);
    r = ask_as_member(x, body, n);
    assert_int_equal(bundle_get_answer(&r, &m), OK);
    assert_int_equal(m.tag.ts, 5); /* it had been taken */
}

int main(void)
{
#define CASE(f) cmocka_unit_test_setup_teardown(f, setup, teardown)
    const struct CMUnitTest tests[] = {
        CASE(test_puts_of_one_moment_share_an_rpc),
        CASE(test_a_put_alone_goes_as_it_is),
        CASE(test_many_puts),
        CASE(test_the_member_dies),
        CASE(test_the_session_ends_before_they_leave),
        CASE(test_reconfigured_before_they_leave),
        CASE(test_each_is_answered_for_itself),
        CASE(test_nonsense_is_refused),
        CASE(test_too_many_questions),
        CASE(test_no_memory_for_the_answers),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
