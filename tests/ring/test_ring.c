// SPDX-License-Identifier: Apache-2.0
/* Rings between two processes that do not trust each other: what one end says is checked by the
 * other before it counts. RING-1 to RING-4. */
#include "boundary/ring.h"

#include "common/prng.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

struct ctx {
    uint8_t *memory;
    struct ring from, to; /* the producer's end and the consumer's */
};

static int setup(void **state)
{
    struct ctx *x = calloc(1, sizeof(*x));

    x->memory = aligned_alloc(RING_PAGE, ring_memory_bytes(2));
    memset(x->memory, 0, ring_memory_bytes(2));
    x->from = ring_of_packets(x->memory, 1, RING_TO_REPLICA);
    x->to = ring_of_packets(x->memory, 1, RING_TO_REPLICA);
    *state = x;
    return 0;
}

static int teardown(void **state)
{
    struct ctx *x = *state;

    free(x->memory);
    free(x);
    return 0;
}

static bool give(struct ctx *x, uint32_t n, uint8_t fill)
{
    struct ring_record r = {.kind = RING_PACKET, .len = n, .stream = fill};
    uint8_t *to = ring_reserve(&x->from, n);

    if (to == NULL) {
        return false;
    }
    memset(to, fill, n);
    ring_add(&x->from, &r);
    ring_publish(&x->from);
    return true;
}

static void take(struct ctx *x, uint32_t n, uint8_t fill)
{
    struct ring_record r;
    uint32_t off;

    assert_true(ring_next(&x->to, &r, &off));
    assert_int_equal(r.kind, RING_PACKET);
    assert_int_equal(r.len, n);
    assert_int_equal(r.stream, fill);
    for (uint32_t i = 0; i < n; i++) {
        assert_int_equal(x->to.data[off + i], fill);
    }
}

static void take_nothing(struct ctx *x)
{
    struct ring_record r;
    uint32_t off;

    assert_false(ring_next(&x->to, &r, &off));
}

static void rings_do_not_overlap(void **state)
{
    struct ctx *x = *state;
    struct ring rings[6];
    uint8_t *end = x->memory + RING_PAGE;

    for (uint32_t i = 0; i < 2; i++) {
        rings[i] = ring_of_streams(x->memory, (enum ring_which)i);
        rings[2 + i] = ring_of_packets(x->memory, 0, (enum ring_which)i);
        rings[4 + i] = ring_of_packets(x->memory, 1, (enum ring_which)i);
    }
    for (size_t i = 0; i < 6; i++) {
        assert_ptr_equal(rings[i].shared, end);
        assert_ptr_equal(rings[i].data, end + RING_PAGE);
        end = rings[i].data + rings[i].size;
    }
    assert_ptr_equal(end, x->memory + ring_memory_bytes(2));
}

static void records_of_all_lengths_pass_in_order(void **state)
{
    struct ctx *x = *state;
    struct prng rng;
    uint32_t lens[64], first = 0, n = 0;

    rng = (struct prng){1};
    for (uint32_t done = 0; done < 20000;) {
        uint32_t len = (uint32_t)prng_below(&rng, DATAGRAM_MAX + 1);

        if (n < 64 && prng_below(&rng, 2) == 0 && give(x, len, (uint8_t)(first + n))) {
            lens[(first + n) % 64] = len;
            n++;
        } else if (n > 0) {
            take(x, lens[first % 64], (uint8_t)first);
            ring_release(&x->to);
            first++;
            n--;
            done++;
        } else {
            take_nothing(x);
        }
    }
    assert_int_equal(x->to.bad, 0);
    assert_int_equal(x->from.bad, 0);
}

static void a_full_ring_says_so_and_recovers(void **state)
{
    struct ctx *x = *state;
    uint32_t n = 0;

    while (give(x, DATAGRAM_MAX, (uint8_t)n)) {
        n++;
        assert_true(n < 1000);
    }
    assert_true(n >= 2 * BURST_MAX);
    take(x, DATAGRAM_MAX, 0);
    assert_false(give(x, DATAGRAM_MAX, 0)); /* taken, but not given back */
    ring_release(&x->to);
    take(x, DATAGRAM_MAX, 1);
    ring_release(&x->to);
    assert_true(give(x, DATAGRAM_MAX, (uint8_t)n));
    for (uint32_t i = 2; i <= n; i++) {
        take(x, DATAGRAM_MAX, (uint8_t)i);
    }
    take_nothing(x);
    assert_int_equal(x->to.bad + x->from.bad, 0);
}

static void only_a_sleeper_is_woken(void **state)
{
    struct ctx *x = *state;

    assert_true(give(x, 1, 1));
    assert_false(ring_must_wake(&x->from));
    assert_false(ring_doze(&x->to)); /* there is something */
    take(x, 1, 1);
    assert_true(ring_doze(&x->to));
    assert_true(give(x, 1, 2));
    assert_true(ring_must_wake(&x->from));
    assert_false(ring_must_wake(&x->from));
}

/* RING-2, RING-3: refused, counted, and what an honest producer sends after it arrives. */
static void impossible_positions_are_refused(void **state)
{
    struct ctx *x = *state;
    const uint64_t bad[] = {1,
                            RING_LINE - 1,
                            RING_LINE + 1,
                            RING_PACKETS_SIZE + RING_LINE,
                            UINT64_MAX,
                            UINT64_MAX - RING_LINE + 1,
                            UINT64_C(1) << 63};

    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        x->to.shared->produced = x->to.own + bad[i];
        take_nothing(x);
        assert_int_equal(x->to.bad, i + 1);
        assert_int_equal(x->to.own % RING_LINE, 0);
        take_nothing(x); /* once is enough: who reads may sleep in peace */
        assert_int_equal(x->to.bad, i + 1);
        assert_true(ring_doze(&x->to));
    }
    x->from.own = x->from.other = x->to.own;
    ring_release(&x->to);
    assert_true(give(x, 100, 7));
    take(x, 100, 7);
}

static void impossible_records_are_refused(void **state)
{
    struct ctx *x = *state;
    const uint32_t bad[] = {DATAGRAM_MAX + 1, UINT32_MAX - 1, UINT32_MAX - RING_LINE,
                            RING_SKIP /* with nothing behind it */, 65 /* longer than published */};

    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        struct ring_record r = {.kind = RING_PACKET, .len = bad[i]};

        memcpy(x->to.data + (x->to.own & (x->to.size - 1)), &r, sizeof(r));
        x->to.shared->produced = x->to.own + 2 * (uint64_t)RING_LINE;
        take_nothing(x);
        assert_int_equal(x->to.bad, i + 1);
        take_nothing(x); /* skipped, not looked at again */
        assert_int_equal(x->to.bad, i + 1);
    }
}

static void a_record_never_reaches_over_the_end(void **state)
{
    struct ctx *x = *state;
    struct ring_record r = {.kind = RING_PACKET, .len = RING_LINE + 1};

    x->to.own = x->to.seen = RING_PACKETS_SIZE - 2 * RING_LINE;
    memcpy(x->to.data + x->to.own, &r, sizeof(r));
    x->to.shared->produced = x->to.own + 4 * (uint64_t)RING_LINE;
    take_nothing(x);
    assert_int_equal(x->to.bad, 1);
}

static void a_ring_of_skips_is_refused(void **state)
{
    struct ctx *x = *state;
    struct ring_record r = {.len = RING_SKIP};

    memcpy(x->to.data, &r, sizeof(r));
    x->to.shared->produced = x->to.size;
    take_nothing(x);
    assert_int_equal(x->to.bad, 1);
}

/* RING-4: a consumer that claims what cannot be gains nothing; one that claims what could be loses
 * packets of its own. */
static void impossible_consumers_are_refused(void **state)
{
    struct ctx *x = *state;
    const uint64_t bad[] = {1, RING_LINE, UINT64_MAX, UINT64_C(1) << 40};

    while (give(x, DATAGRAM_MAX, 1)) {
    }
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        x->from.shared->consumed = x->from.own + bad[i];
        assert_false(give(x, DATAGRAM_MAX, 1));
        assert_int_equal(x->from.bad, i + 1);
    }
    x->from.shared->consumed = x->from.own;
    assert_true(give(x, DATAGRAM_MAX, 1));
    x->from.shared->consumed = 0; /* what was given back cannot be taken again */
    while (give(x, DATAGRAM_MAX, 1)) {
    }
    assert_true(x->from.bad > sizeof(bad) / sizeof(bad[0]));
}

/* Words that a third party wrote over are put right by the end whose they are. */
static void a_ring_written_over_recovers(void **state)
{
    struct ctx *x = *state;
    uint32_t n = 0;

    while (give(x, DATAGRAM_MAX, (uint8_t)n)) {
        n++;
    }
    for (uint32_t i = 0; i < n; i++) {
        take(x, DATAGRAM_MAX, (uint8_t)i);
    }
    ring_release(&x->to);
    x->to.shared->consumed = UINT64_MAX / 3;
    assert_false(give(x, DATAGRAM_MAX, 1));
    assert_true(ring_doze(&x->to));
    assert_true(give(x, DATAGRAM_MAX, 1));
    take(x, DATAGRAM_MAX, 1);
}

/* Whatever lies in shared memory: payloads lie inside, records are no longer than they may be, and
 * one look at the ring ends. */
static void any_bytes_at_all(void **state)
{
    struct ctx *x = *state;
    struct prng rng;
    uint64_t taken = 0;

    rng = (struct prng){2};
    for (int round = 0; round < 20000; round++) {
        uint64_t *words = (uint64_t *)(void *)x->to.data;
        struct ring_record r;
        uint32_t off, n = 0;

        for (int i = 0; i < 8; i++) {
            uint32_t at = (uint32_t)(x->to.own & (x->to.size - 1)) +
                          RING_LINE * (uint32_t)prng_below(&rng, 64);
            uint64_t len =
                prng_below(&rng, 4) == 0 ? prng_u64(&rng) : prng_below(&rng, DATAGRAM_MAX + 99);

            words[at % x->to.size / 8] = len | (uint64_t)RING_PACKET << 32;
        }
        x->to.shared->produced = prng_below(&rng, 4) == 0
                                     ? prng_u64(&rng)
                                     : x->to.own + prng_below(&rng, 200) * RING_LINE;
        while (ring_next(&x->to, &r, &off)) {
            assert_true(r.len <= DATAGRAM_MAX);
            assert_true(off <= x->to.size && r.len <= x->to.size - off);
            assert_true(++n <= x->to.size / RING_LINE);
        }
        taken += n;
    }
    assert_true(taken > 1000);
    assert_true(x->to.bad > 1000);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(rings_do_not_overlap, setup, teardown),
        cmocka_unit_test_setup_teardown(records_of_all_lengths_pass_in_order, setup, teardown),
        cmocka_unit_test_setup_teardown(a_full_ring_says_so_and_recovers, setup, teardown),
        cmocka_unit_test_setup_teardown(only_a_sleeper_is_woken, setup, teardown),
        cmocka_unit_test_setup_teardown(impossible_positions_are_refused, setup, teardown),
        cmocka_unit_test_setup_teardown(impossible_records_are_refused, setup, teardown),
        cmocka_unit_test_setup_teardown(a_record_never_reaches_over_the_end, setup, teardown),
        cmocka_unit_test_setup_teardown(a_ring_of_skips_is_refused, setup, teardown),
        cmocka_unit_test_setup_teardown(impossible_consumers_are_refused, setup, teardown),
        cmocka_unit_test_setup_teardown(a_ring_written_over_recovers, setup, teardown),
        cmocka_unit_test_setup_teardown(any_bytes_at_all, setup, teardown),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
