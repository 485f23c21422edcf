// SPDX-License-Identifier: Apache-2.0
/* Random histories of everything: what was acknowledged is never lost (MEM-4 to MEM-6). */
#include "common/prng.h"
#include "tests/register/fixture.h"

/* What any two successive configurations must have in common, MEM-4 and MEM-5, over histories of
 * anything, in every group: writes stand at a majority, members forget, epochs change at any
 * moment, and who leaves a group forgets it. */
enum { WORLD_GROUPS = 4 };

struct group_world {
    uint32_t holds[1 << 12]; /* bit = write, by incarnation */
    uint32_t done;           /* writes that a majority acknowledged */
    uint32_t writes_n;
};

struct world {
    struct config_register r;
    struct group_world groups[WORLD_GROUPS];
};

static void write_one(struct world *w, uint32_t g, struct prng *p)
{
    const struct cluster *c = &w->r.current;
    const struct cluster_group *k = &c->groups[g];
    struct group_world *x = &w->groups[g];
    uint32_t got = 0, mark = 1U << x->writes_n;

    if (x->writes_n == 31) {
        return;
    }
    x->writes_n++;
    for (uint32_t i = 0; i < c->members_n; i++) { /* learners may get it or not */
        if (((k->voters | k->learners) >> i & 1) != 0 && !is_lost(&w->r, i) &&
            prng_chance(p, 2, 3)) {
            x->holds[c->members[i].incarnation] |= mark;
            got += (k->voters >> i & 1U) != 0;
        }
    }
    if (got > (uint32_t)__builtin_popcount(k->voters) / 2) {
        x->done |= mark;
    }
}

/* All that some majority of voters, chosen at random among the living, knows. */
static bool read_majority(struct world *w, uint32_t g, struct prng *p, uint32_t *ret)
{
    const struct cluster *c = &w->r.current;
    uint32_t voters = c->groups[g].voters;
    uint32_t need = (uint32_t)__builtin_popcount(voters) / 2 + 1;
    uint32_t start = (uint32_t)prng_below(p, c->members_n);

    *ret = 0;
    for (uint32_t k = 0; k < c->members_n && need > 0; k++) {
        uint32_t i = (start + k) % c->members_n;

        if ((voters >> i & 1U) != 0 && !is_lost(&w->r, i)) {
            *ret |= w->groups[g].holds[c->members[i].incarnation];
            need--;
        }
    }
    return need == 0;
}

static void copy_one(struct world *w, uint32_t g, struct prng *p)
{
    struct cluster *c = &w->r.current;
    const struct cluster_group *k = &c->groups[g];
    uint32_t i = (uint32_t)prng_below(p, c->members_n), all;

    if (!is_lost(&w->r, i) && ((k->learners | (k->settle ? k->voters : 0)) >> i & 1) != 0 &&
        read_majority(w, g, p, &all)) {
        w->groups[g].holds[c->members[i].incarnation] |= all;
        register_on_copied(&w->r, c->members[i].incarnation, c->epoch, UINT64_C(1) << g);
    }
}

/* A node goes over: it leaves groups for good. */
static void install_one(struct world *w, uint32_t place)
{
    uint32_t incarnation = w->r.current.members[place].incarnation, there = 0;
    const struct cluster *next = &w->r.next;

    if (w->r.phase != REGISTER_PENDING || is_lost(&w->r, place)) {
        return;
    }
    while (there < next->members_n && next->members[there].incarnation != incarnation) {
        there++;
    }
    for (uint32_t g = 0; g < next->groups_n; g++) {
        if (there == next->members_n ||
            ((next->groups[g].voters | next->groups[g].learners) >> there & 1) == 0) {
            w->groups[g].holds[incarnation] = 0;
        }
    }
    register_on_installed(&w->r, incarnation, next->epoch);
}

/* Majorities that a node's death leaves in every group. */
static bool may_die(const struct world *w, uint32_t place)
{
    for (uint32_t g = 0; g < w->r.current.groups_n; g++) {
        uint32_t voters = w->r.current.groups[g].voters;
        uint32_t alive = voters & ~w->r.lost & ~(1U << place);

        if (__builtin_popcount(alive) <= __builtin_popcount(voters) / 2) {
            return false;
        }
    }
    return true;
}

static void wish_something(struct world *w, struct prng *p)
{
    struct register_wish wish = {.node = 1 + (uint32_t)prng_below(p, 8),
                                 .address = "127.0.0.1",
                                 .control_port = 1,
                                 .data_port = 1};
    struct explain why;

    switch (prng_below(p, 4)) {
    case 0:
        (void)!register_wish_add(&w->r, &wish, &why);
        break;
    case 1:
        (void)!register_wish_remove(&w->r, wish.node, &why);
        break;
    case 2:
        (void)!register_wish_replace(&w->r, 1 + (uint32_t)prng_below(p, 8), &wish, &why);
        break;
    default:
        (void)!register_wish_factor(&w->r, 1 + 2 * (uint32_t)prng_below(p, 3), &why);
        break;
    }
}

static void random_step(struct world *w, struct prng *p)
{
    const struct cluster *c = &w->r.current;
    uint32_t i = (uint32_t)prng_below(p, c->members_n);
    uint32_t g = (uint32_t)prng_below(p, c->groups_n);

    switch (prng_below(p, 10)) {
    case 0:
        if (may_die(w, i)) {
            for (uint32_t k = 0; k < c->groups_n; k++) {
                w->groups[k].holds[c->members[i].incarnation] = 0;
            }
            register_on_lost(&w->r, c->members[i].incarnation);
        }
        break;
    case 1:
        (void)register_advance(&w->r);
        break;
    case 2:
    case 3:
        install_one(w, i);
        break;
    case 4:
    case 5:
    case 6:
        copy_one(w, g, p);
        break;
    case 7:
        if (prng_chance(p, 1, 4)) {
            wish_something(w, p);
        }
        break;
    default:
        write_one(w, g, p);
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
        uint32_t factor = 1 + 2 * (uint32_t)prng_below(&p, 3);
        uint32_t groups_n = prng_chance(&p, 1, 2) ? 1 : WORLD_GROUPS;

        memset(&w, 0, sizeof(w));
        w.r = founded_groups(factor + (uint32_t)prng_below(&p, 3), factor, groups_n);
        for (int step = 0; step < 300 && w.r.incarnation_next < 4000; step++) {
            uint32_t known = 0, g = (uint32_t)prng_below(&p, groups_n);

            random_step(&w, &p);
            if (read_majority(&w, g, &p, &known) && (w.groups[g].done & ~known) != 0) {
                fail_msg("seed %llu, step %d: a majority of epoch %llu does not know write %d of "
                         "group %u",
                         (unsigned long long)seed, step, (unsigned long long)w.r.current.epoch,
                         __builtin_ctz(w.groups[g].done & ~known), g);
            }
        }
        epochs += w.r.current.epoch;
    }
    assert_true(epochs > 10000); /* it was about something */
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_nothing_acknowledged_is_lost),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
