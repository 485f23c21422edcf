// SPDX-License-Identifier: Apache-2.0
#ifndef TESTS_REGISTER_FIXTURE_H
#define TESTS_REGISTER_FIXTURE_H

/* A register of a cluster, and what its members would say. */

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "trusted/register/register.h"

#include <stdio.h>

static inline struct cluster first(uint32_t members_n)
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

/* `members_n` nodes, each key at `factor` of them, in so many groups of slots. */
static inline struct config_register founded_groups(uint32_t members_n, uint32_t factor,
                                                    uint32_t groups_n)
{
    struct config_register r = {0};
    struct cluster c = first(members_n);
    struct explain why = {0};

    c.replication_factor = factor;
    c.groups_n = groups_n;
    assert_int_equal(register_found(&r, &c, &why), OK);
    return r;
}

static inline struct config_register founded(uint32_t members_n)
{
    return founded_groups(members_n, members_n, 1);
}

static inline bool is_learner(const struct cluster *c, uint32_t place)
{
    return (c->groups[0].learners >> place & 1) != 0;
}

static inline struct cluster_member *node(struct config_register *r, uint32_t n)
{
    for (uint32_t i = 0; i < r->current.members_n; i++) {
        if (r->current.members[i].node == n) {
            return &r->current.members[i];
        }
    }
    return NULL;
}

static inline bool is_lost(const struct config_register *r, uint32_t place)
{
    return (r->lost >> place & 1) != 0;
}

/* Every living member takes what was handed out; the lost say nothing. */
static inline void install(struct config_register *r)
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
static inline void copy(struct config_register *r)
{
    for (uint32_t i = 0; i < r->current.members_n; i++) {
        uint64_t groups = 0;

        for (uint32_t g = 0; g < r->current.groups_n; g++) {
            const struct cluster_group *k = &r->current.groups[g];

            groups |= (uint64_t)(((k->learners | (k->settle ? k->voters : 0)) >> i) & 1) << g;
        }
        if (!is_lost(r, i) && groups != 0) {
            register_on_copied(r, r->current.members[i].incarnation, r->current.epoch, groups);
        }
    }
}

static inline void settle_down(struct config_register *r)
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

static inline uint32_t voters_n(const struct config_register *r)
{
    return (uint32_t)__builtin_popcount(cluster_voters(&r->current));
}

static inline void add_node(struct config_register *r, uint32_t n)
{
    struct register_wish w = {.node = n, .address = "127.0.0.1"};
    struct explain why = {0};

    w.control_port = w.data_port = (uint16_t)(7000 + n);
    assert_int_equal(register_wish_add(r, &w, &why), OK);
    assert_int_equal(register_wish_add(r, &w, &why), ERR_USAGE);
}

#endif
