// SPDX-License-Identifier: Apache-2.0
#include "common/prng.h"
#include "trusted/rpc/rpc_replay.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>

#include <cmocka.h>

/* The definition of RPC-9 without any trick: remember every number. */
enum { MODEL_N = 1 << 20 };
struct model {
    uint64_t first; /* the numbers of this run lie in [first, first + MODEL_N) */
    uint64_t next;
    uint8_t seen[MODEL_N];
};

static enum rpc_replay_verdict model_check(const struct model *m, uint64_t window, uint64_t number)
{
    if (number < m->next && m->next - number > window) {
        return RPC_REPLAY_OLD;
    }
    return m->seen[number - m->first] != 0 ? RPC_REPLAY_DUP : RPC_REPLAY_NEW;
}

static uint64_t draw(struct prng *p, const struct model *m, uint64_t window)
{
    uint64_t top = m->next == 0 ? m->first : m->next;
    uint64_t number;

    switch (prng_below(p, 10)) {
    case 0: /* a jump ahead, sometimes far beyond the ring */
        number = top + prng_below(p, prng_chance(p, 1, 8) ? 3 * window : 200);
        break;
    case 1: /* around the old edge of the window */
        number = top - window - 8 + prng_below(p, 16);
        break;
    case 2: /* anywhere in it */
        number = top - prng_below(p, window + 64);
        break;
    default:
        number = top - 3 + prng_below(p, 6);
        break;
    }
    /* Before the first number there is nothing; unsigned arithmetic may have wrapped. */
    return number - m->first < MODEL_N ? number : m->first;
}

static void walk(struct model *m, uint64_t seed, uint32_t bits)
{
    static uint64_t words[8192 / 64];
    struct prng p = {.state = seed};
    struct rpc_replay w;

    memset(m, 0, sizeof(*m));
    if (prng_chance(&p, 1, 2)) {
        m->first = prng_u64(&p) % (RPC_NUMBER_MAX - MODEL_N);
    }
    rpc_replay_init(&w, words, bits);
    for (int i = 0; i < 3000; i++) {
        uint64_t number = draw(&p, m, rpc_replay_window(&w));
        enum rpc_replay_verdict verdict = rpc_replay_check(&w, number);

        assert_int_equal(verdict, model_check(m, bits - 64, number));
        if (verdict == RPC_REPLAY_NEW && prng_chance(&p, 3, 4)) { /* else: it did not open */
            rpc_replay_commit(&w, number);
            m->seen[number - m->first] = 1;
            m->next = number >= m->next ? number + 1 : m->next;
        }
    }
}

/* RPC-9 */
static void agrees_with_the_definition(void **state)
{
    static struct model m;

    (void)state;
    for (uint64_t seed = 1; seed <= 60; seed++) {
        walk(&m, seed, 128);
        walk(&m, seed, 1024);
        walk(&m, seed, 8192);
    }
}

static void refuses_numbers_near_the_end(void **state)
{
    uint64_t words[2];
    struct rpc_replay w;

    (void)state;
    rpc_replay_init(&w, words, 128);
    assert_int_equal(rpc_replay_check(&w, UINT64_MAX), RPC_REPLAY_OLD);
    assert_int_equal(rpc_replay_check(&w, RPC_NUMBER_MAX), RPC_REPLAY_OLD);
    assert_int_equal(rpc_replay_check(&w, RPC_NUMBER_MAX - 1), RPC_REPLAY_NEW);
    rpc_replay_commit(&w, RPC_NUMBER_MAX - 1);
    assert_int_equal(rpc_replay_check(&w, RPC_NUMBER_MAX - 1), RPC_REPLAY_DUP);
    assert_int_equal(rpc_replay_check(&w, RPC_NUMBER_MAX - 2), RPC_REPLAY_NEW);
    assert_int_equal(rpc_replay_check(&w, 0), RPC_REPLAY_OLD);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(agrees_with_the_definition),
        cmocka_unit_test(refuses_numbers_near_the_end),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
