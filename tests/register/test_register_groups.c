// SPDX-License-Identifier: Apache-2.0
/* Groups of slots: who holds which, and what moves (MEM-15, MEM-17). */
#include "common/prng.h"
#include "tests/register/fixture.h"
#include "trusted/register/placement.h"

/* ---- groups ---- */

static uint32_t target_of(const struct config_register *r, uint32_t g)
{
    uint32_t nodes = 0; /* bit = node number */

    for (uint32_t i = 0; i < r->wishes_n; i++) {
        nodes |= (r->groups[g].target >> i & 1) << r->wishes[i].node;
    }
    return nodes;
}

/* Nodes that vote in the group. */
static uint32_t nodes_of(const struct cluster *c, uint32_t g)
{
    uint32_t nodes = 0;

    for (uint32_t i = 0; i < c->members_n; i++) {
        nodes |= (c->groups[g].voters >> i & 1) << c->members[i].node;
    }
    return nodes;
}

/* All groups are where they are wanted, and every node has its share. */
static void assert_balanced(const struct config_register *r)
{
    uint32_t most = 0, least = UINT32_MAX;

    for (uint32_t i = 0; i < r->current.members_n; i++) {
        uint32_t voting, joining, groups = 0;

        register_slots(r, i, &voting, &joining);
        for (uint32_t g = 0; g < r->current.groups_n; g++) {
            groups += r->current.groups[g].voters >> i & 1;
        }
        assert_int_equal(joining, 0);
        assert_int_equal(voting * r->current.groups_n, groups * SLOTS_N);
        most = groups > most ? groups : most;
        least = groups < least ? groups : least;
    }
    assert_true(most - least <= 1);
    for (uint32_t g = 0; g < r->current.groups_n; g++) {
        assert_int_equal(nodes_of(&r->current, g), target_of(r, g));
    }
    assert_int_equal(register_health(r), REGISTER_HEALTH_WHOLE);
}

/* A seventh node takes its share and no other group is touched: not its voters, and nobody copies.
 */
static void test_a_node_more_moves_only_its_share(void **state)
{
    struct config_register r = founded_groups(6, 3, 16);
    struct cluster before = r.current;
    uint64_t touched = 0, moved = 0;

    (void)state;
    assert_balanced(&r);
    add_node(&r, 7);
    assert_int_equal(register_health(&r), REGISTER_HEALTH_CHANGING);
    for (int step = 0; step < 20; step++) {
        copy(&r);
        if (!register_advance(&r)) {
            break;
        }
        for (uint32_t g = 0; g < 16; g++) {
            assert_true(__builtin_popcount(r.next.groups[g].voters) >= 3);
            if (r.next.groups[g].learners != 0 || r.next.groups[g].settle) {
                touched |= UINT64_C(1) << g;
            }
        }
        install(&r);
    }
    for (uint32_t g = 0; g < 16; g++) {
        uint32_t was = nodes_of(&before, g), is = nodes_of(&r.current, g);

        moved |= (uint64_t)(was != is) << g;
        assert_true(__builtin_popcount(was & is) >= 2);
    }
    assert_int_equal(__builtin_popcountll(moved), 16 * 3 / 7);
    assert_int_equal(touched, moved);
    assert_balanced(&r);
}

static void test_replacing_moves_what_the_old_one_had(void **state)
{
    struct config_register r = founded_groups(6, 3, 16);
    struct cluster before = r.current;
    struct register_wish by = {
        .node = 9, .address = "127.0.0.1", .control_port = 7099, .data_port = 7099};
    struct explain why;

    (void)state;
    assert_int_equal(register_wish_replace(&r, 8, &by, &why), ERR_USAGE);
    assert_int_equal(register_wish_replace(&r, 2, &by, &why), OK);
    settle_down(&r);
    for (uint32_t g = 0; g < 16; g++) {
        uint32_t was = nodes_of(&before, g);

        was = (was & 4) != 0 ? (was & ~4U) | 1U << 9 : was;
        assert_int_equal(nodes_of(&r.current, g), was);
    }
    assert_null(node(&r, 2));
    assert_balanced(&r);
}

/* Two dead nodes are a majority of some groups and a minority of others. These go on. */
static void test_a_lost_majority_is_of_some_groups(void **state)
{
    struct config_register r = founded_groups(6, 3, 16);
    struct explain why = {0};
    uint32_t dead = r.current.groups[0].voters, first_dead, second_dead;

    (void)state;
    first_dead = (uint32_t)__builtin_ctz(dead);
    second_dead = (uint32_t)__builtin_ctz(dead & (dead - 1));
    register_on_lost(&r, r.current.members[first_dead].incarnation);
    register_on_lost(&r, r.current.members[second_dead].incarnation);
    assert_int_equal(register_health(&r), REGISTER_HEALTH_MAJORITY_LOST);
    register_explain(&r, &why);
    assert_non_null(strstr(why.text, "data at risk: majority lost in"));
    while (register_advance(&r)) {
        assert_int_equal(r.next.groups[0].voters, dead); /* its loss stays on record */
        install(&r);
        copy(&r);
    }
    assert_int_equal(register_accept_loss(&r, &why), OK);
    if (r.phase == REGISTER_PENDING) {
        install(&r);
    }
    settle_down(&r);
    assert_balanced(&r);
}

/* ---- placement ---- */

static uint32_t overlap(const struct placement *a, const struct placement *b)
{
    uint32_t n = 0;

    for (uint32_t g = 0; g < a->groups_n; g++) {
        n += (uint32_t)__builtin_popcount(a->at[g] & b->at[g]);
    }
    return n;
}

static void test_placement(void **state)
{
    uint32_t extra = 0, removals = 0;

    (void)state;
    for (uint64_t seed = 1; seed <= 2000; seed++) {
        struct prng p = {.state = seed};
        struct placement now = {.nodes_n = 1 + (uint32_t)prng_below(&p, 12),
                                .factor = 1 + 2 * (uint32_t)prng_below(&p, 3),
                                .groups_n = 1 + (uint32_t)prng_below(&p, GROUPS_MAX)};

        placement_plan(&now);
        for (int step = 0; step < 12; step++) {
            struct placement was = now;
            bool grows = now.nodes_n < CLUSTER_MAX && (prng_chance(&p, 1, 2) || now.nodes_n == 1);
            uint32_t factor, total, load[CLUSTER_MAX] = {0};

            now.nodes_n = grows ? now.nodes_n + 1 : now.nodes_n - 1; /* the last one goes */
            placement_plan(&now);
            factor = now.factor < now.nodes_n ? now.factor : now.nodes_n;
            total = factor * now.groups_n;
            for (uint32_t g = 0; g < now.groups_n; g++) {
                assert_int_equal(__builtin_popcount(now.at[g]), factor);
                assert_int_equal((uint64_t)now.at[g] >> now.nodes_n, 0);
                for (uint32_t i = 0; i < now.nodes_n; i++) {
                    load[i] += now.at[g] >> i & 1;
                }
            }
            for (uint32_t i = 0; i < now.nodes_n; i++) {
                assert_true(load[i] == total / now.nodes_n || load[i] == total / now.nodes_n + 1);
            }
            if (grows && was.nodes_n >= now.factor) { /* its share, and nothing else */
                assert_int_equal(total - overlap(&was, &now), load[now.nodes_n - 1]);
                assert_true(load[now.nodes_n - 1] * now.nodes_n <= total);
            } else if (!grows && now.nodes_n >= now.factor) {
                uint32_t had = 0;

                for (uint32_t g = 0; g < was.groups_n; g++) {
                    had += was.at[g] >> now.nodes_n & 1;
                }
                assert_true(total - overlap(&was, &now) >= had);
                extra += total - overlap(&was, &now) - had;
                removals += had;
            }
        }
    }
    assert_true(extra * 20 < removals); /* now and then one more has to move for the balance */
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

                assert_int_equal(register_can_spare(&r, place, sound),
                                 n > 1 && others >= rest_majority);
            }
        }
        assert_false(register_can_spare(&r, n, 0xffU)); /* nobody */
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

/* Ends a member whose memory no group needs for its majority. */
static void lose_one(struct config_register *r, struct prng *p)
{
    const struct cluster *latest = register_latest(r);
    struct config_register then = *r;
    uint32_t i = (uint32_t)prng_below(p, latest->members_n);

    register_on_lost(&then, latest->members[i].incarnation);
    for (uint32_t g = 0; g < then.next.groups_n; g++) { /* it may be in force already */
        uint32_t voters = then.next.groups[g].voters;

        if (__builtin_popcount(voters & ~then.lost_next) < __builtin_popcount(voters) / 2 + 1) {
            return;
        }
    }
    if (register_health(&then) != REGISTER_HEALTH_MAJORITY_LOST) {
        *r = then;
    }
}

static void copy_some(struct config_register *r, struct prng *p)
{
    uint32_t i = (uint32_t)prng_below(p, r->current.members_n);

    for (uint32_t g = 0; g < r->current.groups_n && !is_lost(r, i); g++) {
        const struct cluster_group *k = &r->current.groups[g];

        if (((k->learners | (k->settle ? k->voters : 0)) >> i & 1) != 0) {
            register_on_copied(r, r->current.members[i].incarnation, r->current.epoch,
                               UINT64_C(1) << g);
        }
    }
}

/* A member that is lost gets a new incarnation once no group counts on the old one, and a group may
 * wait for just that: however it comes, all get where they are wanted. */
static void test_no_group_waits_for_another_for_ever(void **state)
{
    (void)state;
    for (uint64_t seed = 1; seed <= 3000; seed++) {
        struct prng p = {.state = seed};
        struct config_register r =
            founded_groups(5 + (uint32_t)prng_below(&p, 2), 3, 1 + (uint32_t)prng_below(&p, 4));
        struct explain why;

        for (int step = 0; step < 30; step++) {
            switch (prng_below(&p, 5)) {
            case 0:
                lose_one(&r, &p);
                break;
            case 1:
                (void)!register_wish_factor(&r, prng_chance(&p, 1, 2) ? 3 : 5, &why);
                break;
            default:
                copy_some(&r, &p);
                if (register_advance(&r)) {
                    install(&r);
                }
            }
        }
        settle_down(&r);
        if (register_health(&r) != REGISTER_HEALTH_WHOLE) {
            fail_msg("seed %u: it stands still", (unsigned)seed);
        }
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_a_node_more_moves_only_its_share),
        cmocka_unit_test(test_replacing_moves_what_the_old_one_had),
        cmocka_unit_test(test_a_lost_majority_is_of_some_groups),
        cmocka_unit_test(test_placement),
        cmocka_unit_test(test_a_voter_is_spared_only_if_the_others_suffice),
        cmocka_unit_test(test_no_group_waits_for_another_for_ever),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
