// SPDX-License-Identifier: Apache-2.0
/* CLI-19, ABD-22: what a replica shows a client of what it holds. */
#include "tests/replica/cluster.h"

#include <setjmp.h>
#include <stdarg.h>

#include <cmocka.h>

enum { HEAP = 64 << 20, ARENA = 32 << 20 };

struct ctx {
    struct test_cluster c;
    uint64_t answers;
    enum err status;
    size_t body_n;
    uint8_t body[LOOK_BODY_MAX];
    struct look_witness witness;
    struct look_item items[LOOK_KEYS_MAX];
};

static void on_done(void *self, const struct rpc_event *e)
{
    struct ctx *x = self;
    struct client_response r;

    if (e->kind == RPC_EVENT_RESPONSE) {
        assert_int_equal(client_response_decode(e->body, &r), OK);
        x->answers++;
        x->status = r.status;
        assert_true(bytes_copy((struct mbytes){x->body, sizeof(x->body)}, r.value, &x->body_n));
    }
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

static enum err ask(struct ctx *x, uint8_t node, struct client_request m)
{
    m.timeout_ms = 3000;
    cluster_ask(&x->c, node, &m, &x->answers);
    return x->status;
}

static void put(struct ctx *x, const char *key, struct bytes value)
{
    const struct client_request m = {.op = CLIENT_PUT, .key = text(key), .value = value};

    assert_int_equal(ask(x, 0, m), OK);
}

/* The body of a look at keys of one letter. */
static struct bytes body_of(const char *keys, bool values)
{
    static uint8_t body[3 + 3 * LOOK_KEYS_MAX];
    size_t n = strlen(keys);

    look_ask_encode_head(values, (uint32_t)n, body);
    for (size_t i = 0; i < n; i++) {
        body[3 + 3 * i] = 1;
        body[3 + 3 * i + 1] = 0;
        body[3 + 3 * i + 2] = (uint8_t)keys[i];
    }
    return (struct bytes){body, 3 + 3 * n};
}

static enum err look(struct ctx *x, uint8_t node, const char *keys, bool values)
{
    struct bytes body;

    (void)ask(x, node, (struct client_request){.op = CLIENT_LOOK, .value = body_of(keys, values)});
    if (x->status != OK) {
        return x->status;
    }
    body = (struct bytes){x->body, x->body_n};
    assert_int_equal(look_witness_decode(&body, &x->witness), OK);
    assert_int_equal(look_items_decode(body, values, (uint32_t)strlen(keys), x->items), OK);
    return OK;
}

static void test_shows_what_it_holds(void **state)
{
    struct ctx *x = *state;
    struct tag tag;

    put(x, "a", text("value"));
    put(x, "e", (struct bytes){0});
    assert_int_equal(ask(x, 0, (struct client_request){.op = CLIENT_DELETE, .key = text("d")}), OK);
    assert_int_equal(look(x, 0, "aden", true), OK);
    assert_int_equal(x->items[0].state, LOOK_LIVE);
    assert_int_equal(x->items[0].value.n, 5);
    assert_memory_equal(x->items[0].value.p, "value", 5);
    assert_int_equal(x->items[1].state, LOOK_TOMBSTONE);
    assert_int_equal(x->items[2].state, LOOK_LIVE);
    assert_int_equal(x->items[2].value.n, 0);
    assert_int_equal(x->items[3].state, LOOK_ABSENT);
    tag = x->items[0].tag;
    assert_int_equal(look(x, 1, "aden", false), OK);
    assert_int_equal(tag_compare(tag, x->items[0].tag), 0);
    assert_int_equal(x->items[0].value.n, 0);
}

/* Two that stand in session with each other say so, and nobody else can be taken for one of them.
 */
static void test_members_know_each_other(void **state)
{
    struct ctx *x = *state;
    struct look_witness of[CLUSTER_NODES];

    for (uint8_t i = 0; i < (uint8_t)CLUSTER_NODES; i++) {
        assert_int_equal(look(x, i, "k", false), OK);
        of[i] = x->witness;
        assert_int_equal(of[i].place, i);
        assert_int_equal(of[i].majority, 2);
        assert_int_equal(of[i].members_n, 3);
        assert_true(of[i].bonds[i] == 0);
    }
    assert_true(look_witnesses_agree(&of[0], &of[1]));
    assert_true(look_witnesses_agree(&of[2], &of[0]));
    assert_true(of[0].bonds[1] != of[0].bonds[2]);
    /* their session ends at one end */
    replica_session_close(x->c.nodes[0].replica, x->c.now_ns,
                          cluster_params(0, 1, RPC_SLOTS_PEER, REPLAY_BITS_PEER).index);
    assert_int_equal(look(x, 0, "k", false), OK);
    assert_true(x->witness.bonds[1] == 0);
    assert_false(look_witnesses_agree(&x->witness, &of[1]));
    assert_true(look_witnesses_agree(&x->witness, &of[2]));
}

/* With other keys, as of another process: not the bond that the former had. */
static void test_another_session_is_another_bond(void **state)
{
    struct ctx *x = *state;
    struct rpc_session_params p = cluster_params(0, 1, RPC_SLOTS_PEER, REPLAY_BITS_PEER);
    const struct replica_peer member = {REPLICA_PEER_MEMBER, 1, NULL};
    uint64_t before;

    assert_int_equal(look(x, 0, "k", false), OK);
    before = x->witness.bonds[1];
    p.send.b[0] ^= 1;
    p.index += 1U << RPC_INDEX_SLOT_BITS;
    assert_int_equal(replica_session_open(x->c.nodes[0].replica, x->c.now_ns, &member, &p), OK);
    assert_int_equal(look(x, 0, "k", false), OK);
    assert_true(x->witness.bonds[1] != 0 && x->witness.bonds[1] != before);
}

static void test_what_does_not_fit_is_not_shown(void **state)
{
    static uint8_t value[20000];
    struct ctx *x = *state;

    put(x, "a", (struct bytes){value, sizeof(value)});
    put(x, "b", (struct bytes){value, 12700}); /* would leave no room for what is said of c */
    put(x, "c", text("short"));
    assert_int_equal(look(x, 0, "abc", true), OK);
    assert_int_equal(x->items[0].state, LOOK_LIVE);
    assert_int_equal(x->items[0].value.n, sizeof(value));
    assert_int_equal(x->items[1].state, LOOK_ASK);
    assert_int_equal(x->items[2].state, LOOK_LIVE);
    assert_int_equal(look(x, 1, "abc", false), OK); /* tags are always told */
    assert_int_equal(x->items[1].state, LOOK_LIVE);
}

static void test_sixty_four_keys(void **state)
{
    char keys[LOOK_KEYS_MAX + 1] = {0};
    struct ctx *x = *state;

    memset(keys, 'k', LOOK_KEYS_MAX);
    put(x, "k", text("value"));
    assert_int_equal(look(x, 0, keys, true), OK);
    for (unsigned i = 0; i < LOOK_KEYS_MAX; i++) {
        assert_int_equal(x->items[i].value.n, 5);
    }
}

/* A value that the host has changed is not shown, and its tag neither: who asks next repairs it. */
static void test_damaged_values_are_not_shown(void **state)
{
    struct ctx *x = *state;
    struct cluster_node *n = &x->c.nodes[0];

    put(x, "a", text("value"));
    for (size_t i = 0; i < n->arena_bytes; i++) {
        if (n->arena[i] != 0) {
            n->arena[i] ^= 0x40;
        }
    }
    assert_int_equal(look(x, 0, "a", true), OK);
    assert_int_equal(x->items[0].state, LOOK_ASK);
    assert_int_equal(look(x, 0, "a", false), OK);
    assert_int_equal(x->items[0].state, LOOK_ASK);
    assert_int_equal(ask(x, 0, (struct client_request){.op = CLIENT_GET, .key = text("a")}), OK);
    assert_int_equal(look(x, 0, "a", true), OK);
    assert_int_equal(x->items[0].state, LOOK_LIVE);
}

static void test_rights_are_judged_key_by_key(void **state)
{
    struct ctx *x = *state;
    struct access rules = {0};

    assert_int_equal(access_add(&rules, "read:a"), OK);
    put(x, "a", text("mine"));
    put(x, "b", text("theirs"));
    cluster_renew_client(&x->c, &rules);
    assert_int_equal(look(x, 0, "abn", true), OK);
    assert_int_equal(x->items[0].state, LOOK_LIVE);
    assert_int_equal(x->items[1].state, LOOK_ASK); /* there or not: it does not say */
    assert_int_equal(x->items[2].state, LOOK_ASK);
}

static void test_who_leaves_shows_nothing(void **state)
{
    struct ctx *x = *state;

    replica_leave(x->c.nodes[0].replica);
    assert_int_equal(look(x, 0, "k", true), ERR_CLOSED);
}

static void test_who_does_not_vote_shows_nothing(void **state)
{
    struct ctx *x = *state;
    const struct replica_members two = {
        .epoch = 1, .self = 0, .members_n = 3, .incarnations = {100, 101, 102}, .voters = 6};

    replica_reconfigure(x->c.nodes[0].replica, x->c.now_ns, &two);
    assert_int_equal(look(x, 0, "k", true), ERR_BUSY);
}

static void test_another_configuration_shows(void **state)
{
    struct ctx *x = *state;
    const struct replica_members next = {
        .epoch = 7, .self = 0, .members_n = 3, .incarnations = {100, 101, 102}};

    assert_int_equal(look(x, 0, "k", true), OK);
    assert_int_equal(x->witness.epoch, 0);
    replica_reconfigure(x->c.nodes[0].replica, x->c.now_ns, &next);
    assert_int_equal(look(x, 0, "k", true), OK);
    assert_int_equal(x->witness.epoch, 7);
    assert_true(x->witness.bonds[1] == 0); /* nobody has been met in it */
}

static void test_malformed_looks(void **state)
{
    static const char *const BODIES[] = {"\x01", "\x01\x00\x00", "\x01\x01\x00\x05\x00k",
                                         "\x05\x01\x00\x01\x00k"};
    static const size_t LENGTHS[] = {1, 3, 6, 6};
    struct ctx *x = *state;

    for (size_t i = 0; i < sizeof(LENGTHS) / sizeof(LENGTHS[0]); i++) {
        const struct client_request m = {.op = CLIENT_LOOK,
                                         .value = {(const uint8_t *)BODIES[i], LENGTHS[i]}};

        assert_int_equal(ask(x, 0, m), ERR_MALFORMED);
    }
    assert_int_equal(
        ask(x, 0,
            (struct client_request){.op = CLIENT_LOOK, .group = 1, .value = body_of("k", true)}),
        ERR_USAGE);
}

int main(void)
{
#define CASE(f) cmocka_unit_test_setup_teardown(f, setup, teardown)
    const struct CMUnitTest tests[] = {
        CASE(test_shows_what_it_holds),
        CASE(test_members_know_each_other),
        CASE(test_another_session_is_another_bond),
        CASE(test_what_does_not_fit_is_not_shown),
        CASE(test_sixty_four_keys),
        CASE(test_damaged_values_are_not_shown),
        CASE(test_rights_are_judged_key_by_key),
        CASE(test_who_leaves_shows_nothing),
        CASE(test_who_does_not_vote_shows_nothing),
        CASE(test_another_configuration_shows),
        CASE(test_malformed_looks),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
