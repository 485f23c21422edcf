// SPDX-License-Identifier: Apache-2.0
#include "tests/client/world.h"

#include <stdio.h>
#include <stdlib.h>

/* Values and keys, counting, memory, many at once. The rules of retrying: test_core_rules.c. */

static struct core_request request(enum client_op op, struct bytes key, struct bytes value)
{
    return (struct core_request){.op = op, .timeout_ms = 5000, .key = key, .value = value};
}

static struct core_completion run(struct world *w, const struct core_request *q)
{
    assert_int_equal(core_submit(w->core, w->now_ns, q), OK);
    return world_one(w, 6000);
}

static void test_write_read_delete(void **state)
{
    struct world *w = world_open(&(struct world_setup){.seed = 1});
    struct core_completion done;

    (void)state;
    world_get(w, "k", 1000);
    done = world_one(w, 1000);
    assert_int_equal(done.status, ERR_NOT_FOUND);
    assert_null(done.value.p);

    world_put(w, "k", "v1", 1000);
    done = world_one(w, 1000);
    assert_int_equal(done.status, OK);
    assert_int_equal(done.op, CLIENT_PUT);
    assert_int_equal(done.tag.ts, 1);
    assert_int_equal(done.tag.writer, 7);
    assert_null(done.value.p);

    world_get(w, "k", 1000);
    done = world_one(w, 1000);
    assert_int_equal(done.status, OK);
    assert_int_equal(done.value.n, 2);
    assert_memory_equal(done.value.p, "v1", 2);
    assert_int_equal(done.tag.ts, 1);

    done = run(w, &(struct core_request){
                      .op = CLIENT_DELETE, .timeout_ms = 1000, .key = {(const uint8_t *)"k", 1}});
    assert_int_equal(done.status, OK);
    world_get(w, "k", 1000);
    assert_int_equal(world_one(w, 1000).status, ERR_NOT_FOUND);
    world_close(w);
}

static void test_value_sizes(void **state)
{
    static const size_t sizes[] = {0, 1, 1300, 1400, 65536, 1 << 20, 2 << 20};
    struct world *w = world_open(&(struct world_setup){.seed = 2});
    uint8_t *value = malloc(2 << 20);

    (void)state;
    assert_non_null(value);
    for (size_t i = 0; i < 2 << 20; i++) {
        value[i] = (uint8_t)prng_u64(&w->prng);
    }
    for (size_t i = 0; i < sizeof(sizes) / sizeof(sizes[0]); i++) {
        struct bytes v = {value, sizes[i]};
        struct bytes key = {(const uint8_t *)"key", 3};
        struct core_request put = request(CLIENT_PUT, key, v);
        struct core_request get = request(CLIENT_GET, key, (struct bytes){0});
        struct core_completion done;

        assert_int_equal(run(w, &put).status, OK);
        done = run(w, &get);
        assert_int_equal(done.status, OK);
        assert_int_equal(done.value.n, v.n);
        assert_non_null(done.value.p);
        assert_memory_equal(done.value.p, v.p, v.n);
        core_release(w->core);
    }
    free(value);
    world_close(w);
}

static void test_keys_of_any_bytes(void **state)
{
    struct world *w = world_open(&(struct world_setup){.seed = 3, .shards = 4});
    uint8_t key[KEY_MAX];

    (void)state;
    for (size_t n = 1; n <= KEY_MAX; n = n * 2) {
        struct core_request put, get;
        struct core_completion done;

        for (size_t i = 0; i < n; i++) {
            key[i] = (uint8_t)(n % 3 == 0 ? 0 : prng_u64(&w->prng));
        }
        put = request(CLIENT_PUT, (struct bytes){key, n}, (struct bytes){key, n});
        get = request(CLIENT_GET, (struct bytes){key, n}, (struct bytes){0});
        assert_int_equal(run(w, &put).status, OK);
        done = run(w, &get);
        assert_int_equal(done.status, OK);
        assert_int_equal(done.value.n, n);
        assert_memory_equal(done.value.p, key, n);
    }
    world_close(w);
}

static void test_refused_arguments(void **state)
{
    struct world *w = world_open(&(struct world_setup){.seed = 4, .value_max = 100});
    uint8_t big[KEY_MAX + 1] = {0};
    struct bytes k = {(const uint8_t *)"k", 1};
    struct core_request q;

    (void)state;
    q = request((enum client_op)0, k, (struct bytes){0});
    assert_int_equal(core_submit(w->core, w->now_ns, &q), ERR_USAGE);
    q = request((enum client_op)4, k, (struct bytes){0});
    assert_int_equal(core_submit(w->core, w->now_ns, &q), ERR_USAGE);
    q = request(CLIENT_GET, (struct bytes){0}, (struct bytes){0});
    assert_int_equal(core_submit(w->core, w->now_ns, &q), ERR_USAGE);
    q = request(CLIENT_GET, k, k);
    assert_int_equal(core_submit(w->core, w->now_ns, &q), ERR_USAGE);
    q = request(CLIENT_DELETE, k, k);
    assert_int_equal(core_submit(w->core, w->now_ns, &q), ERR_USAGE);
    q = request(CLIENT_GET, k, (struct bytes){0});
    q.timeout_ms = 0;
    assert_int_equal(core_submit(w->core, w->now_ns, &q), ERR_USAGE);
    q.timeout_ms = CLIENT_TIMEOUT_MS_MAX + 1;
    assert_int_equal(core_submit(w->core, w->now_ns, &q), ERR_USAGE);
    q = request(CLIENT_GET, (struct bytes){big, KEY_MAX + 1}, (struct bytes){0});
    assert_int_equal(core_submit(w->core, w->now_ns, &q), ERR_TOO_BIG);
    q = request(CLIENT_PUT, k, (struct bytes){big, 101});
    assert_int_equal(core_submit(w->core, w->now_ns, &q), ERR_TOO_BIG);
    q = request(CLIENT_PUT, k, (struct bytes){big, 100});
    assert_int_equal(run(w, &q).status, OK);
    assert_int_equal(core_in_flight(w->core), 0);
    world_close(w);
}

static void test_in_flight_limit(void **state)
{
    struct world *w = world_open(&(struct world_setup){.seed = 5, .in_flight_max = 3});
    struct core_request q =
        request(CLIENT_GET, (struct bytes){(const uint8_t *)"k", 1}, (struct bytes){0});
    struct core_completion done;

    (void)state;
    for (int i = 0; i < 3; i++) {
        assert_int_equal(core_submit(w->core, w->now_ns, &q), OK);
    }
    assert_int_equal(core_submit(w->core, w->now_ns, &q), ERR_BUSY);
    assert_int_equal(core_in_flight(w->core), 3);
    done = world_one(w, 1000);
    assert_int_equal(done.status, ERR_NOT_FOUND);
    assert_int_equal(core_in_flight(w->core), 2);
    assert_int_equal(core_submit(w->core, w->now_ns, &q), OK);
    assert_int_equal(core_submit(w->core, w->now_ns, &q), ERR_BUSY);
    world_close(w);
}

/* More operations than a session has slots wait inside, and all of them end. */
static void test_more_than_slots(void **state)
{
    enum { N = 700 };
    struct world *w = world_open(&(struct world_setup){.seed = 6, .in_flight_max = N, .prefer = 2});
    uint8_t seen[N] = {0};
    uint32_t indeterminate = 0, unavailable = 0;
    struct core_completion done;

    (void)state;
    w->nodes[1].mode = NODE_SILENT;
    for (uint64_t i = 0; i < N; i++) {
        struct core_request q = request(CLIENT_PUT, (struct bytes){(const uint8_t *)"k", 1},
                                        (struct bytes){(const uint8_t *)"v", 1});

        q.user = i;
        assert_int_equal(core_submit(w->core, w->now_ns, &q), OK);
    }
    assert_false(world_run(w, w->now_ns + 100 * MS_NS, &done));
    assert_int_equal(w->nodes[1].held, RPC_SLOTS_CLIENT); /* never more at a time */
    assert_int_equal(w->nodes[0].writes + w->nodes[2].writes, 0);
    w->nodes[1].mode = NODE_SERVES; /* but what it swallowed stays swallowed */
    for (int i = 0; i < N; i++) {
        done = world_one(w, 5000);
        assert_true(done.user < N);
        assert_int_equal(seen[done.user]++, 0);
        indeterminate += done.status == ERR_INDETERMINATE;
        unavailable += done.status == ERR_UNAVAILABLE;
    }
    assert_int_equal(indeterminate, RPC_SLOTS_CLIENT);
    assert_int_equal(unavailable, N - RPC_SLOTS_CLIENT);
    assert_int_equal(core_in_flight(w->core), 0);
    for (int i = 0; i < N; i++) {
        world_put(w, "k", "v", 1000);
    }
    for (int i = 0; i < N; i++) {
        assert_int_equal(world_one(w, 1000).status, OK);
    }
    assert_int_equal(w->nodes[1].writes, RPC_SLOTS_CLIENT + N);
    assert_false(world_run(w, w->now_ns + 100 * MS_NS, &done));
    world_close(w);
}

/* With no preference of the user's, what does not fit one session goes to another. */
static void test_spills_over(void **state)
{
    struct world *w = world_open(&(struct world_setup){.seed = 7, .in_flight_max = 300});
    struct core_completion done;

    (void)state;
    for (int i = 0; i < 300; i++) {
        world_put(w, "k", "v", 1000);
    }
    for (int i = 0; i < 300; i++) {
        assert_int_equal(world_one(w, 1000).status, OK);
    }
    for (uint32_t i = 0; i < WORLD_NODES; i++) {
        assert_true(w->nodes[i].writes > 0);
    }
    assert_false(world_run(w, w->now_ns + 10 * MS_NS, &done));
    world_close(w);
}

static void test_prefers_the_named_coordinator(void **state)
{
    (void)state;
    for (uint32_t place = 0; place < WORLD_NODES; place++) {
        struct world *w = world_open(&(struct world_setup){.seed = 8, .prefer = place + 1});

        for (int i = 0; i < 10; i++) {
            world_put(w, "k", "v", 1000);
            assert_int_equal(world_one(w, 1000).status, OK);
        }
        assert_int_equal(w->nodes[place].writes, 10);
        world_close(w);
    }
}

/* A region that is too small is an answer, not a crash; and it works again once there is room. */
static void test_own_memory_runs_out(void **state)
{
    struct world *w = world_open(&(struct world_setup){
        .seed = 9, .region_bytes = 4 << 20, .value_max = 1 << 20, .in_flight_max = 64});
    struct bytes key = {(const uint8_t *)"k", 1};
    uint8_t *value = calloc(1, 1 << 20);
    uint32_t accepted = 0;

    (void)state;
    assert_non_null(value);
    for (int i = 0; i < 64; i++) {
        struct core_request q = request(CLIENT_PUT, key, (struct bytes){value, 1 << 20});
        enum err err = core_submit(w->core, w->now_ns, &q);

        assert_true(err == OK || err == ERR_FULL);
        accepted += err == OK;
    }
    assert_true(accepted > 0 && accepted < 64);
    for (uint32_t i = 0; i < accepted; i++) {
        assert_int_equal(world_one(w, 6000).status, OK);
    }
    world_put(w, "k", "small", 1000);
    assert_int_equal(world_one(w, 1000).status, OK);
    free(value);
    world_close(w);
}

/* A value that finds no room is told from one that is not there. */
static void test_no_room_for_a_value(void **state)
{
    struct world *w = world_open(&(struct world_setup){
        .seed = 10, .region_bytes = 4 << 20, .value_max = 1 << 20, .in_flight_max = 64});
    struct world_value *v = world_find(w, (struct bytes){(const uint8_t *)"k", 1}, true);
    struct core_completion done[64];
    uint32_t ok = 0;

    (void)state;
    v->value_len = 1 << 20;
    v->value = calloc(1, v->value_len);
    v->present = true;
    for (int i = 0; i < 8; i++) {
        world_get(w, "k", 500);
    }
    for (int i = 0; i < 8; i++) { /* none is released, so later ones find no room */
        done[i] = world_one(w, 1000);
        assert_true(done[i].status == OK || done[i].status == ERR_FULL);
        ok += done[i].status == OK;
    }
    assert_true(ok > 0 && ok < 8);
    core_release(w->core);
    world_get(w, "k", 1000);
    assert_int_equal(world_one(w, 1000).status, OK);
    world_close(w);
}

/* Values of several completions live side by side until they are released. */
static void test_values_live_until_release(void **state)
{
    struct world *w = world_open(&(struct world_setup){.seed = 11});
    struct core_completion done[10];
    char text[16];

    (void)state;
    for (int i = 0; i < 10; i++) {
        (void)snprintf(text, sizeof(text), "key-%d", i);
        world_put(w, text, text, 1000);
        assert_int_equal(world_one(w, 1000).status, OK);
    }
    for (int i = 0; i < 10; i++) {
        (void)snprintf(text, sizeof(text), "key-%d", i);
        world_get(w, text, 1000);
        done[i] = world_one(w, 1000);
    }
    for (int i = 0; i < 10; i++) {
        (void)snprintf(text, sizeof(text), "key-%d", i);
        assert_int_equal(done[i].status, OK);
        assert_int_equal(done[i].value.n, strlen(text));
        assert_memory_equal(done[i].value.p, text, done[i].value.n);
    }
    core_release(w->core);
    world_close(w);
}

/* Whatever happens: every operation ends once, in time, and what is said of it is true. */
struct storm {
    struct world *w;
    uint32_t submitted, ended;
    uint64_t deadline[4096];
    uint8_t ends[4096];
    uint32_t executed[4096];
};

static void disturb(struct storm *s)
{
    struct world *w = s->w;
    uint32_t place = (uint32_t)prng_below(&w->prng, WORLD_NODES);
    struct world_node *n = &w->nodes[place];

    switch (prng_below(&w->prng, 10)) {
    case 0:
        n->mode = NODE_SILENT;
        return;
    case 1:
        n->mode = NODE_SAYS;
        n->says = (enum err)(1 + prng_below(&w->prng, ERR_N - 1));
        n->says_times = (uint32_t)prng_below(&w->prng, 5);
        return;
    case 2:
        n->mode = NODE_BABBLES;
        return;
    case 3:
        n->cut = !n->cut;
        return;
    case 4:
        world_part(w, place);
        world_join(w, place);
        return;
    case 5:
        world_hang_up(w, place);
        return;
    default:
        n->mode = NODE_SERVES;
        return;
    }
}

/* "Done" is done once, "nothing was done" is nothing, and unknown is at most once. */
static void check_truth(uint32_t executed, enum err status)
{
    if (status == OK) {
        assert_int_equal(executed, 1);
    } else if (status == ERR_INDETERMINATE) {
        assert_true(executed <= 1);
    } else {
        assert_int_equal(executed, 0);
    }
}

static void take_end(struct storm *s, const struct core_completion *done)
{
    assert_true(done->user < s->submitted);
    assert_int_equal(s->ends[done->user]++, 0);
    assert_true(s->w->now_ns <= s->deadline[done->user]);
    if (done->op == CLIENT_GET) {
        assert_int_not_equal(done->status, ERR_INDETERMINATE);
    } else {
        assert_int_not_equal(done->status, ERR_NOT_FOUND);
    }
    if (done->op == CLIENT_PUT) {
        check_truth(s->w->executed[done->user], done->status);
    }
    s->ended++;
    core_release(s->w->core);
}

static void storm(uint64_t seed)
{
    static struct storm s;
    struct core_completion done;
    uint32_t lost;

    s = (struct storm){
        .w = world_open(&(struct world_setup){
            .seed = seed, .shards = 3, .in_flight_max = 300, .looks = seed % 2 == 0})};
    s.w->executed = s.executed;
    s.w->loss_percent = (uint32_t)prng_below(&s.w->prng, 20);
    while (s.submitted < 1500 || s.ended < s.submitted) {
        uint64_t until = s.w->now_ns + prng_below(&s.w->prng, 3 * MS_NS);

        for (uint64_t n = prng_below(&s.w->prng, 20); n > 0 && s.submitted < 1500; n--) {
            uint8_t key = (uint8_t)prng_below(&s.w->prng, 20);
            uint8_t value[3000] = {0};
            enum client_op op = (enum client_op)(1 + prng_below(&s.w->prng, 3));
            size_t value_len = sizeof(s.submitted) + prng_below(&s.w->prng, 2900);
            struct core_request q = {.op = op,
                                     .timeout_ms = 1 + (uint32_t)prng_below(&s.w->prng, 400),
                                     .user = s.submitted,
                                     .key = {&key, 1},
                                     .value = {value, op == CLIENT_PUT ? value_len : 0}};

            memcpy(value, &s.submitted, sizeof(s.submitted)); /* names the write */
            if (core_submit(s.w->core, s.w->now_ns, &q) != OK) {
                break;
            }
            s.deadline[s.submitted++] = s.w->now_ns + q.timeout_ms * MS_NS;
        }
        while (world_run(s.w, until, &done)) {
            take_end(&s, &done);
        }
        if (prng_chance(&s.w->prng, 1, 3)) {
            disturb(&s);
        }
        lost = core_take_lost(s.w->core);
        for (uint32_t place = 0; place < WORLD_NODES; place++) {
            if ((lost >> place & 1) != 0) {
                world_part(s.w, place);
                world_join(s.w, place);
            }
        }
    }
    assert_int_equal(core_in_flight(s.w->core), 0);
    for (uint32_t i = 0; i < s.submitted; i++) {
        assert_int_equal(s.ends[i], 1);
        assert_true(s.executed[i] <= 1);
    }
    world_close(s.w);
}

static void test_storms(void **state)
{
    (void)state;
    for (uint64_t seed = 100; seed < 112; seed++) {
        storm(seed);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_write_read_delete),
        cmocka_unit_test(test_value_sizes),
        cmocka_unit_test(test_keys_of_any_bytes),
        cmocka_unit_test(test_refused_arguments),
        cmocka_unit_test(test_in_flight_limit),
        cmocka_unit_test(test_more_than_slots),
        cmocka_unit_test(test_spills_over),
        cmocka_unit_test(test_prefers_the_named_coordinator),
        cmocka_unit_test(test_own_memory_runs_out),
        cmocka_unit_test(test_no_room_for_a_value),
        cmocka_unit_test(test_values_live_until_release),
        cmocka_unit_test(test_storms),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
