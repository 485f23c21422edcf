// SPDX-License-Identifier: Apache-2.0
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "trusted/register/keeping.h"

#include <stdio.h>

enum { KNOWN_MAX = 16 };

/* A keeper and the processes that it knows. */
struct keeper {
    struct config_register r;
    struct keeping_process known[KNOWN_MAX];
    uint32_t n;
};

static void found(struct keeper *k, uint32_t members_n)
{
    struct cluster c = {.name = "demo", .replication_factor = members_n, .members_n = members_n};
    struct explain why;

    for (uint32_t i = 0; i < members_n; i++) {
        c.members[i].node = i + 1;
        (void)snprintf(c.members[i].address, sizeof(c.members[i].address), "127.0.0.1");
    }
    *k = (struct keeper){0};
    assert_int_equal(register_found(&k->r, &c, &why), OK);
}

/* Starts what is to be started; returns how many. */
static uint32_t start_all(struct keeper *k)
{
    const struct cluster_member *m;
    uint32_t before = k->n;

    while ((m = keeping_to_start(register_latest(&k->r), k->known, k->n)) != NULL) {
        assert_true(k->n < KNOWN_MAX);
        k->known[k->n++] = (struct keeping_process){m->node, m->incarnation, true};
    }
    return k->n - before;
}

/* Every process works under the latest configuration and has copied, if it is a member. */
static void hear_all(struct keeper *k)
{
    uint64_t epoch = register_latest(&k->r)->epoch;

    for (uint32_t i = 0; i < k->n; i++) {
        if (k->known[i].runs &&
            keeping_place(register_latest(&k->r), k->known[i].incarnation) >= 0) {
            keeping_hear(&k->r, &(struct keeping_report){.incarnation = k->known[i].incarnation,
                                                         .epoch = epoch,
                                                         .installed = epoch,
                                                         .copied = true});
        }
    }
}

static void turns(struct keeper *k, int n)
{
    while (n-- > 0) {
        hear_all(k);
        (void)keeping_advance(&k->r, true);
        (void)start_all(k);
        hear_all(k);
    }
}

static void test_every_incarnation_is_started_once(void **state)
{
    struct keeper k;

    (void)state;
    found(&k, 3);
    assert_int_equal(start_all(&k), 3);
    assert_int_equal(start_all(&k), 0);
    k.known[1].runs = false;
    register_on_lost(&k.r, k.known[1].incarnation);
    assert_int_equal(start_all(&k), 0); /* not under its old name */
    assert_true(keeping_advance(&k.r, true));
    assert_int_equal(start_all(&k), 1);
    assert_int_equal(k.known[3].node, 2);
    assert_true(k.known[3].incarnation > k.known[1].incarnation);
}

static void test_a_node_that_is_taken_waits(void **state)
{
    struct keeper k;

    (void)state;
    found(&k, 3);
    (void)start_all(&k);
    register_on_lost(&k.r, k.known[2].incarnation); /* given up, but it runs */
    assert_true(keeping_advance(&k.r, true));
    assert_int_equal(start_all(&k), 0);
    k.known[2].runs = false;
    assert_int_equal(start_all(&k), 1);
}

static void test_waits_for_a_person(void **state)
{
    struct keeper k;

    (void)state;
    found(&k, 3);
    (void)start_all(&k);
    register_on_lost(&k.r, k.known[0].incarnation);
    assert_false(keeping_advance(&k.r, false));
    assert_true(keeping_waits_for_a_person(&k.r, false));
    assert_false(keeping_waits_for_a_person(&k.r, true));
}

/* A keeper that died after it had stored a configuration: nobody knows whether the new member ran.
 */
static void test_who_has_no_process_is_lost(void **state)
{
    struct keeper k;
    uint32_t never;

    (void)state;
    found(&k, 3);
    (void)start_all(&k);
    k.known[2].runs = false;
    register_on_lost(&k.r, k.known[2].incarnation);
    assert_true(keeping_advance(&k.r, true));
    never = register_latest(&k.r)->members[2].incarnation;
    keeping_adopt(&k.r, k.known, k.n);
    hear_all(&k);
    assert_true(keeping_advance(&k.r, true));
    assert_true(register_latest(&k.r)->members[2].incarnation > never);
}

/* The only node is replaced: it gives up its vote first and goes after, so that nobody waits for
 * the word of a process that has stopped. */
static void test_the_only_node_is_replaced(void **state)
{
    struct register_wish w = {.node = 2, .address = "127.0.0.1"};
    struct explain why;
    struct keeper k;

    (void)state;
    found(&k, 1);
    (void)start_all(&k);
    assert_int_equal(register_wish_add(&k.r, &w, &why), OK);
    assert_int_equal(register_wish_remove(&k.r, 1, &why), OK);
    turns(&k, 8);
    assert_int_equal(register_latest(&k.r)->members_n, 1);
    assert_true(keeping_place(register_latest(&k.r), k.known[0].incarnation) < 0);
    assert_int_equal(register_health(&k.r), REGISTER_HEALTH_WHOLE);
    assert_int_equal(k.r.current.members[0].node, 2);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_every_incarnation_is_started_once),
        cmocka_unit_test(test_a_node_that_is_taken_waits),
        cmocka_unit_test(test_waits_for_a_person),
        cmocka_unit_test(test_who_has_no_process_is_lost),
        cmocka_unit_test(test_the_only_node_is_replaced),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
