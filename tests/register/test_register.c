// SPDX-License-Identifier: Apache-2.0
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "common/prng.h"
#include "trusted/register/register.h"

#include <stdio.h>

static struct cluster first(uint32_t members_n)
{
    struct cluster c = {
        .id = {1, 2, 3},
        .name = "demo",
        .replication_factor = members_n,
        .shards = 1,
        .datagram_bytes = DATAGRAM_DEFAULT,
        .value_max = VALUE_MAX_DEFAULT,
        .enclave_memory = ENCLAVE_MEMORY_DEFAULT,
        .host_memory = HOST_MEMORY_DEFAULT,
        .members_n = members_n,
    };

    for (uint32_t i = 0; i < members_n; i++) {
        struct cluster_member *m = &c.members[i];

        m->node = i + 1;
        (void)snprintf(m->address, sizeof(m->address), "127.0.0.1");
        m->control_port = m->data_port = (uint16_t)(7000 + i);
    }
    return c;
}

static struct config_register founded(uint32_t members_n)
{
    struct config_register r = {0};
    struct cluster c = first(members_n);
    struct explain why = {0};

    assert_int_equal(register_found(&r, &c, &why), OK);
    return r;
}

static struct cluster_member *node(struct config_register *r, uint32_t n)
{
    for (uint32_t i = 0; i < r->current.members_n; i++) {
        if (r->current.members[i].node == n) {
            return &r->current.members[i];
        }
    }
    return NULL;
}

static bool is_lost(const struct config_register *r, uint32_t place)
{
    return (r->lost >> place & 1) != 0;
}

/* Every living member takes what was handed out; the lost say nothing. */
static void install(struct config_register *r)
{
    struct cluster now = r->current;
    uint64_t epoch = r->next.epoch;

    assert_int_equal(r->phase, REGISTER_PENDING);
    for (uint32_t i = 0; i < now.members_n && r->phase == REGISTER_PENDING; i++) {
        if (!is_lost(r, i)) {
            register_on_installed(r, now.members[i].incarnation, epoch);
        }
    }
    assert_int_equal(r->phase, REGISTER_ACTIVE);
    assert_int_equal(r->current.epoch, epoch);
}

/* Whoever copies, learners and the voters of a settling configuration, is done. */
static void copy(struct config_register *r)
{
    for (uint32_t i = 0; i < r->current.members_n; i++) {
        if (!is_lost(r, i) && (r->current.members[i].is_learner || r->current.settle)) {
            register_on_copied(r, r->current.members[i].incarnation, r->current.epoch);
        }
    }
}

static void settle_down(struct config_register *r)
{
    for (int i = 0; i < 100; i++) {
        copy(r);
        if (!register_advance(r)) {
            return;
        }
        install(r);
    }
    fail_msg("it never comes to rest");
}

static uint32_t voters_n(const struct config_register *r)
{
    return (uint32_t)__builtin_popcount(cluster_voters(&r->current));
}

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
    assert_true(r.next.members[1].is_learner);
    assert_false(r.next.settle);
    assert_false(register_advance(&r)); /* at most one is pending */

    register_on_installed(&r, 3, 1);
    register_on_installed(&r, 2, 2);
    assert_int_equal(r.phase, REGISTER_PENDING); /* of the old epoch; and by the dead */
    register_on_installed(&r, 1, 2);
    assert_int_equal(r.phase, REGISTER_ACTIVE); /* 2 does not run and 1 has left: a majority */
    assert_false(r.settled);
    assert_false(register_advance(&r)); /* it has not copied */

    register_on_copied(&r, 4, 1);
    register_on_copied(&r, 2, 2);
    assert_false(register_advance(&r)); /* in another epoch; a dead incarnation */
    register_on_copied(&r, 4, 2);
    assert_true(register_advance(&r));
    assert_false(r.next.members[1].is_learner);
    install(&r);
    assert_true(r.settled);
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
    assert_false(r.settled || r.current.settle);
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
    assert_true(r.next.members[1].is_learner);
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

static void add_node(struct config_register *r, uint32_t n)
{
    struct register_wish w = {.node = n, .address = "127.0.0.1"};
    struct explain why = {0};

    w.control_port = w.data_port = (uint16_t)(7000 + n);
    assert_int_equal(register_wish_add(r, &w, &why), OK);
    assert_int_equal(register_wish_add(r, &w, &why), ERR_USAGE);
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

/* What any two successive configurations must have in common, MEM-4 and MEM-5, over histories of
 * anything: writes stand at a majority, members forget, epochs change at any moment. */
struct world {
    struct config_register r;
    uint32_t holds[1 << 12]; /* bit = write, by incarnation */
    uint32_t done;           /* writes that a majority acknowledged */
    uint32_t writes_n;
};

static void write_one(struct world *w, struct prng *p)
{
    const struct cluster *c = &w->r.current;
    uint8_t voters = cluster_voters(c);
    uint32_t got = 0, mark = 1U << w->writes_n;

    if (w->writes_n == 31) {
        return;
    }
    w->writes_n++;
    for (uint32_t i = 0; i < c->members_n; i++) { /* learners may get it or not */
        if (!is_lost(&w->r, i) && prng_chance(p, 2, 3)) {
            w->holds[c->members[i].incarnation] |= mark;
            got += (voters >> i & 1U) != 0;
        }
    }
    if (got > (uint32_t)__builtin_popcount(voters) / 2) {
        w->done |= mark;
    }
}

/* All that some majority of voters, chosen at random among the living, knows. */
static bool read_majority(struct world *w, struct prng *p, uint32_t *ret)
{
    const struct cluster *c = &w->r.current;
    uint8_t voters = cluster_voters(c);
    uint32_t need = (uint32_t)__builtin_popcount(voters) / 2 + 1;
    uint32_t start = (uint32_t)prng_below(p, c->members_n);

    *ret = 0;
    for (uint32_t k = 0; k < c->members_n && need > 0; k++) {
        uint32_t i = (start + k) % c->members_n;

        if ((voters >> i & 1U) != 0 && !is_lost(&w->r, i)) {
            *ret |= w->holds[c->members[i].incarnation];
            need--;
        }
    }
    return need == 0;
}

static void copy_one(struct world *w, struct prng *p)
{
    struct cluster *c = &w->r.current;
    uint32_t i = (uint32_t)prng_below(p, c->members_n), all;

    if (!is_lost(&w->r, i) && (c->members[i].is_learner || c->settle) &&
        read_majority(w, p, &all)) {
        w->holds[c->members[i].incarnation] |= all;
        register_on_copied(&w->r, c->members[i].incarnation, c->epoch);
    }
}

static void random_step(struct world *w, struct prng *p)
{
    struct explain why;
    const struct cluster *c = &w->r.current;
    uint32_t i = (uint32_t)prng_below(p, c->members_n);
    uint8_t alive = cluster_voters(c) & (uint8_t)~w->r.lost;

    switch (prng_below(p, 8)) {
    case 0:
        if (c->members[i].is_learner ||
            __builtin_popcount(alive) > __builtin_popcount(cluster_voters(c)) / 2 + 1) {
            w->holds[c->members[i].incarnation] = 0;
            register_on_lost(&w->r, c->members[i].incarnation);
        }
        break;
    case 1:
        (void)register_advance(&w->r);
        break;
    case 2:
        if (w->r.phase == REGISTER_PENDING && !is_lost(&w->r, i)) {
            register_on_installed(&w->r, c->members[i].incarnation, w->r.next.epoch);
        }
        break;
    case 3:
    case 4:
        copy_one(w, p);
        break;
    case 5:
        if (prng_chance(p, 1, 2)) {
            struct register_wish wish = {.node = 1 + (uint32_t)prng_below(p, 8),
                                         .address = "127.0.0.1",
                                         .control_port = 1,
                                         .data_port = 1};
            (void)!register_wish_add(&w->r, &wish, &why);
        } else if (prng_chance(p, 1, 2)) {
            (void)!register_wish_remove(&w->r, 1 + (uint32_t)prng_below(p, 8), &why);
        } else {
            (void)!register_wish_factor(&w->r, 1 + 2 * (uint32_t)prng_below(p, 3), &why);
        }
        break;
    default:
        write_one(w, p);
        break;
    }
}

static void test_nothing_acknowledged_is_lost(void **state)
{
    static struct world w;
    uint64_t epochs = 0;

    (void)state;
    for (uint64_t seed = 1; seed <= 3000; seed++) {
        struct prng p = {.state = seed};

        w = (struct world){.r = founded(1 + 2 * (uint32_t)prng_below(&p, 3))};
        for (int step = 0; step < 300 && w.r.incarnation_next < 4000; step++) {
            uint32_t known = 0;

            random_step(&w, &p);
            if (read_majority(&w, &p, &known) && (w.done & ~known) != 0) {
                fail_msg("seed %llu, step %d: a majority of epoch %llu does not know write %d",
                         (unsigned long long)seed, step, (unsigned long long)w.r.current.epoch,
                         __builtin_ctz(w.done & ~known));
            }
        }
        epochs += w.r.current.epoch;
    }
    assert_true(epochs > 10000); /* it was about something */
}

/* MEM-13: who may be given up to be made anew, by the number of voters and what the others hold. */
static void test_a_voter_is_spared_only_if_the_others_suffice(void **state)
{
    (void)state;
    for (uint32_t n = 1; n <= 5; n += 2) {
        struct config_register r = founded(n);
        unsigned rest_majority = (n - 1) / 2 + 1;

        for (uint32_t place = 0; place < n; place++) {
            for (unsigned sound = 0; sound < 1U << n; sound++) {
                unsigned others = (unsigned)__builtin_popcount(sound & ~(1U << place));

                assert_int_equal(register_can_spare(&r, place, (uint8_t)sound),
                                 n > 1 && others >= rest_majority);
            }
        }
        assert_false(register_can_spare(&r, n, 0xff)); /* nobody */
    }
    /* One after the other: not while another is lost, joins or copies. */
    struct config_register r = founded(3);

    register_on_lost(&r, 2);
    assert_false(register_can_spare(&r, 0, 7));
    assert_true(register_advance(&r));
    assert_false(register_can_spare(&r, 0, 7));
    install(&r);
    assert_false(register_can_spare(&r, 0, 7));
    assert_false(register_can_spare(&r, 1, 7)); /* a learner has no vote to give up */
    settle_down(&r);
    assert_true(register_can_spare(&r, 0, 7));
}

static void test_round_trip(void **state)
{
    uint8_t bytes[REGISTER_BYTES_MAX], again[REGISTER_BYTES_MAX];
    struct config_register r = founded(7), back;
    size_t n = 0, m = 0;

    (void)state;
    register_on_lost(&r, 2);
    assert_true(register_advance(&r));
    register_on_installed(&r, 1, 2);
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
        cmocka_unit_test(test_replace),
        cmocka_unit_test(test_nothing_acknowledged_is_lost),
        cmocka_unit_test(test_a_voter_is_spared_only_if_the_others_suffice),
        cmocka_unit_test(test_round_trip),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
