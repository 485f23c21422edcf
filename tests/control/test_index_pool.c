// SPDX-License-Identifier: Apache-2.0
/* Connection indices: one for each session, another one when its place is used again, and with a
 * key such that the host can tell them from guesses. CTL-7 */
#include "common/index_check.h"
#include "trusted/control/control_internal.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

enum { SLOTS = 8, ROUNDS = 3 };

/* The same place over and over: a generation comes back after `generations` others, never 0. */
static void follow(uint32_t key, uint32_t generations)
{
    struct index_pool p;
    uint32_t first = 0;

    assert_true(index_pool_init(&p, 1, key));
    for (uint32_t i = 0; i < ROUNDS * generations; i++) {
        uint32_t index = index_pool_take(&p);

        assert_int_not_equal(index >> 20, 0);
        assert_int_equal(index & 0xfffff, 0);
        first = i == 0 ? index : first;
        assert_true((index == first) == (i % generations == 0));
        index_pool_give(&p, index);
    }
    index_pool_fini(&p);
}

static void test_generations(void **state)
{
    (void)state;
    follow(0, 4095);
    follow(0x9e3779b1, 15);
}

static void test_all_pass_the_check(void **state)
{
    static const uint32_t keys[] = {1, 0x9e3779b1, 0xffffffff};
    uint32_t taken[SLOTS];

    (void)state;
    for (size_t k = 0; k < sizeof(keys) / sizeof(keys[0]); k++) {
        struct index_pool p;

        assert_true(index_pool_init(&p, SLOTS, keys[k]));
        for (int round = 0; round < 40; round++) {
            for (uint32_t i = 0; i < SLOTS; i++) {
                taken[i] = index_pool_take(&p);
                assert_int_equal(taken[i] >> INDEX_CHECK_SHIFT, index_check(keys[k], taken[i]));
                for (uint32_t other = 0; other < i; other++) {
                    assert_int_not_equal(taken[i] & 0xfffff, taken[other] & 0xfffff);
                }
            }
            for (uint32_t i = 0; i < SLOTS; i++) {
                index_pool_give(&p, taken[i]);
            }
        }
        index_pool_fini(&p);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_generations),
        cmocka_unit_test(test_all_pass_the_check),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
