// SPDX-License-Identifier: Apache-2.0
#include "tests/register/fixture.h"

static void test_founds_once(void **state)
{
    struct config_register r = founded(3);
    struct cluster c = first(5);
    struct explain why = {0};
    uint64_t version = r.version;

    (void)state;
    assert_int_equal(r.current.epoch, 1);
    assert_int_equal(r.current.members[2].incarnation, 3);
    assert_int_equal(register_health(&r), REGISTER_HEALTH_WHOLE);
    assert_false(register_advance(&r));
    assert_int_equal(register_found(&r, &c, &why), ERR_POLICY);
    assert_non_null(strstr(why.text, "founded before"));
    assert_int_equal(r.version, version);
}

/* The story of a killed replica, step by step. */
static void test_restart_is_a_new_member(void **state)
{
    struct config_register r = founded(3);

    (void)state;
    register_on_lost(&r, 2);
    assert_int_equal(register_health(&r), REGISTER_HEALTH_CHANGING);
    assert_true(register_advance(&r));
    assert_int_equal(r.next.epoch, 2);
    assert_int_equal(r.next.members[1].incarnation, 4);
    assert_true(is_learner(&r.next, 1));
    assert_false(r.next.groups[0].settle);
    assert_false(register_advance(&r)); /* at most one is pending */

    register_on_installed(&r, 3, 1);
    register_on_installed(&r, 2, 2);
    assert_int_equal(r.phase, REGISTER_PENDING); /* of the old epoch; and by the dead */
    register_on_installed(&r, 1, 2);
    assert_int_equal(r.phase, REGISTER_ACTIVE); /* 2 does not run and 1 has left: a majority */
    assert_false(r.groups[0].settled);
    assert_false(register_advance(&r)); /* it has not copied */

    register_on_copied(&r, 4, 1, 1);
    register_on_copied(&r, 2, 2, 1);
    assert_false(register_advance(&r)); /* in another epoch; a dead incarnation */
    register_on_copied(&r, 4, 2, 2);    /* no such group */
    assert_false(register_advance(&r));
    register_on_copied(&r, 4, 2, 1);
    assert_true(register_advance(&r));
    assert_false(is_learner(&r.next, 1));
    install(&r);
    assert_true(r.groups[0].settled);
    assert_int_equal(register_health(&r), REGISTER_HEALTH_WHOLE);
}

static void test_majority_lost(void **state)
{
    struct config_register r = founded(3);
    struct explain why = {0};

    (void)state;
    assert_int_equal(register_accept_loss(&r, &why), ERR_POLICY);
    register_on_lost(&r, 1);
    register_on_lost(&r, 3);
    assert_int_equal(register_health(&r), REGISTER_HEALTH_MAJORITY_LOST);
    assert_false(register_advance(&r));
    register_explain(&r, &why);
    assert_non_null(strstr(why.text, "data at risk: majority lost"));
    assert_non_null(strstr(why.text, "accept-loss"));

    assert_int_equal(register_accept_loss(&r, &why), OK);
    assert_int_equal(r.next.epoch, 2);
    assert_int_equal(cluster_voters(&r.next), 2); /* node 2 alone */
    assert_int_equal(r.phase, REGISTER_PENDING);
    register_on_installed(&r, 2, 2);
    assert_int_equal(r.phase, REGISTER_ACTIVE);
    settle_down(&r);
    assert_int_equal(register_health(&r), REGISTER_HEALTH_WHOLE);
    assert_int_equal(voters_n(&r), 3);
    assert_int_equal(r.losses_accepted, 1);
}

/* While the second member is not yet back the first may not be lost either. */
static void test_loss_during_a_join(void **state)
{
    struct config_register r = founded(3);

    (void)state;
    register_on_lost(&r, 2);
    assert_true(register_advance(&r));
    install(&r);
    register_on_lost(&r, 1);
    assert_int_equal(register_health(&r), REGISTER_HEALTH_MAJORITY_LOST);
    assert_false(register_advance(&r));
}

/* Seven voters wanted, one lost, its successor still copying; then five are enough. Six voters that
 * may neither give a vote nor take one have to copy themselves. */
static void test_factor_falls_during_a_join(void **state)
{
    struct config_register r = founded(7);
    struct explain why = {0};

    (void)state;
    register_on_lost(&r, 7);
    assert_true(register_advance(&r));
    install(&r);
    assert_int_equal(voters_n(&r), 6);
    assert_false(r.groups[0].settled || r.current.groups[0].settle);
    assert_int_equal(register_wish_factor(&r, 5, &why), OK);
    settle_down(&r);
    assert_int_equal(register_health(&r), REGISTER_HEALTH_WHOLE);
    assert_int_equal(voters_n(&r), 5);
}

static void test_all_lost(void **state)
{
    struct config_register r = founded(3);
    struct explain why = {0};

    (void)state;
    for (uint32_t i = 1; i <= 3; i++) {
        register_on_lost(&r, i);
    }
    assert_false(register_advance(&r));
    assert_int_equal(register_accept_loss(&r, &why), OK);
    assert_int_equal(r.phase, REGISTER_ACTIVE); /* nobody is left to ask */
    assert_int_equal(voters_n(&r), 3);
    assert_true(r.current.members[0].incarnation > 3);
    assert_int_equal(r.current.epoch, 2);
}

static void test_learner_dies(void **state)
{
    struct config_register r = founded(3);

    (void)state;
    register_on_lost(&r, 2);
    assert_true(register_advance(&r));
    register_on_lost(&r, 4); /* before its configuration is in force */
    install(&r);
    assert_true(register_advance(&r));
    assert_int_equal(r.next.members[1].incarnation, 5);
    assert_true(is_learner(&r.next, 1));
    install(&r);
    settle_down(&r);
    assert_int_equal(voters_n(&r), 3);
}

/* Five members lose two at once, and get both back, one after the other. */
static void test_two_of_five(void **state)
{
    struct config_register r = founded(5);

    (void)state;
    register_on_lost(&r, 1);
    register_on_lost(&r, 4);
    assert_int_equal(register_health(&r), REGISTER_HEALTH_CHANGING);
    assert_true(register_advance(&r));
    install(&r);
    assert_int_equal(voters_n(&r), 4);
    assert_false(register_advance(&r)); /* MEM-6: not settled */
    settle_down(&r);
    assert_int_equal(voters_n(&r), 5);
    assert_int_equal(r.lost, 0);
    assert_int_equal(register_health(&r), REGISTER_HEALTH_WHOLE);
}

static void test_three_five_three(void **state)
{
    struct config_register r = founded(3);
    struct explain why = {0};

    (void)state;
    assert_int_equal(register_wish_factor(&r, 5, &why), ERR_POLICY);
    assert_int_equal(register_wish_factor(&r, 4, &why), ERR_USAGE);
    add_node(&r, 9);
    add_node(&r, 7);
    settle_down(&r);
    assert_int_equal(voters_n(&r), 3); /* two stand by */
    assert_int_equal(__builtin_popcount(r.current.groups[0].learners), 2);
    assert_int_equal(register_health(&r), REGISTER_HEALTH_WHOLE);
    assert_int_equal(r.current.members_n, 5);
    assert_int_equal(register_wish_factor(&r, 5, &why), OK);
    settle_down(&r);
    assert_int_equal(voters_n(&r), 5);
    assert_int_equal(register_wish_remove(&r, 7, &why), ERR_POLICY);
    assert_int_equal(register_wish_factor(&r, 3, &why), OK);
    settle_down(&r);
    assert_int_equal(voters_n(&r), 3);
    assert_int_equal(r.current.members_n, 5);
    assert_int_equal(register_wish_remove(&r, 7, &why), OK);
    assert_int_equal(register_wish_remove(&r, 9, &why), OK);
    assert_int_equal(register_wish_remove(&r, 9, &why), ERR_USAGE);
    settle_down(&r);
    assert_int_equal(r.current.members_n, 3);
    assert_int_equal(register_health(&r), REGISTER_HEALTH_WHOLE);
}

/* MEM-17: with one group a node that stands by takes the place of the voter that is lost, although
 * that one's node comes back, and it is this one that stands by then. */
static void test_stands_by(void **state)
{
    struct config_register r = founded(3);
    struct explain why = {0};
    uint32_t slots, joining;

    (void)state;
    add_node(&r, 4);
    assert_true(register_advance(&r));
    install(&r);
    assert_int_equal(register_health(&r), REGISTER_HEALTH_CHANGING); /* it copies */
    register_slots(&r, 3, &slots, &joining);
    assert_true(slots == 0 && joining == 1024);
    settle_down(&r);
    register_slots(&r, 3, &slots, &joining);
    assert_true(slots == 0 && joining == 0 && is_learner(&r.current, 3));
    register_on_lost(&r, 2);
    assert_true(register_advance(&r));
    install(&r);
    register_on_copied(&r, r.current.members[3].incarnation, r.current.epoch, 1);
    assert_true(register_advance(&r));
    install(&r);
    settle_down(&r);
    assert_int_equal(r.current.groups[0].voters, 0xd);
    assert_int_equal(r.current.groups[0].learners, 0x2);
    assert_int_equal(register_health(&r), REGISTER_HEALTH_WHOLE);
    assert_int_equal(register_wish_remove(&r, 1, &why), OK);
    settle_down(&r);
    assert_int_equal(r.current.members_n, 3);
    assert_int_equal(voters_n(&r), 3);
}

/* Node 2 is replaced by node 8: at no time are there fewer voters than before. */
static void test_replace(void **state)
{
    struct config_register r = founded(3);
    struct explain why = {0};

    (void)state;
    add_node(&r, 8);
    assert_int_equal(register_wish_remove(&r, 2, &why), OK);
    for (int i = 0; i < 20; i++) {
        copy(&r);
        if (!register_advance(&r)) {
            break;
        }
        assert_true(__builtin_popcount(cluster_voters(&r.next)) >= 3);
        install(&r);
    }
    assert_null(node(&r, 2));
    assert_non_null(node(&r, 8));
    assert_int_equal(voters_n(&r), 3);
    assert_int_equal(register_health(&r), REGISTER_HEALTH_WHOLE);
}

static void test_round_trip(void **state)
{
    uint8_t bytes[REGISTER_BYTES_MAX], again[REGISTER_BYTES_MAX];
    struct config_register r = founded_groups(9, 5, 12), back;
    size_t n = 0, m = 0;

    (void)state;
    register_on_lost(&r, 2);
    assert_true(register_advance(&r));
    register_on_installed(&r, 1, 2);
    assert_int_equal(r.phase, REGISTER_PENDING);
    assert_int_equal(register_encode(&r, (struct mbytes){bytes, sizeof(bytes)}, &n), OK);
    assert_int_equal(register_decode((struct bytes){bytes, n}, &back), OK);
    assert_memory_equal(&back, &r, sizeof(r));
    assert_int_equal(register_encode(&back, (struct mbytes){again, sizeof(again)}, &m), OK);
    assert_int_equal(n, m);
    assert_memory_equal(bytes, again, n);
    for (size_t cut = 0; cut < n; cut++) {
        assert_int_equal(register_decode((struct bytes){bytes, cut}, &back), ERR_MALFORMED);
    }
    for (size_t i = 0; i < n; i++) { /* a flipped byte never crashes */
        bytes[i] ^= 0x41;
        (void)!register_decode((struct bytes){bytes, n}, &back);
        bytes[i] ^= 0x41;
    }
    r = (struct config_register){0};
    assert_int_equal(register_encode(&r, (struct mbytes){bytes, sizeof(bytes)}, &n), OK);
    assert_int_equal(register_decode((struct bytes){bytes, n}, &back), OK);
    assert_int_equal(back.phase, REGISTER_EMPTY);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_founds_once),
        cmocka_unit_test(test_restart_is_a_new_member),
        cmocka_unit_test(test_majority_lost),
        cmocka_unit_test(test_loss_during_a_join),
        cmocka_unit_test(test_factor_falls_during_a_join),
        cmocka_unit_test(test_all_lost),
        cmocka_unit_test(test_learner_dies),
        cmocka_unit_test(test_two_of_five),
        cmocka_unit_test(test_three_five_three),
        cmocka_unit_test(test_stands_by),
        cmocka_unit_test(test_replace),
        cmocka_unit_test(test_round_trip),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
