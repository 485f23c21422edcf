// SPDX-License-Identifier: Apache-2.0
#ifndef TRUSTED_REGISTER_REGISTER_INTERNAL_H
#define TRUSTED_REGISTER_REGISTER_INTERNAL_H

/*
 *   register.c          founding, what happened, what is wanted
 *   register_advance.c  the next configuration
 *   register_look.c     what a person may see
 *   register_wire.c     what is stored
 *   placement.c         which nodes are to hold which groups
 */

#include "trusted/register/register.h"

enum { REGISTER_NOWHERE = 0xff };

static inline uint32_t register_bit(uint32_t place)
{
    return UINT32_C(1) << place;
}

static inline uint32_t register_count(uint32_t set)
{
    return (uint32_t)__builtin_popcount(set);
}

static inline uint32_t register_majority(uint32_t voters)
{
    return register_count(voters) / 2 + 1;
}

/* What a set of places becomes when somebody comes in at `at`, or goes from there. */
static inline uint32_t register_insert_bit(uint32_t set, uint32_t at)
{
    uint32_t below = register_bit(at) - 1;

    return (set & below) | (set & ~below) << 1;
}

static inline uint32_t register_remove_bit(uint32_t set, uint32_t at)
{
    uint32_t below = register_bit(at) - 1;

    return (set & below) | (set >> 1 & ~below);
}

/* REGISTER_NOWHERE: no member, no wish. */
uint32_t register_place_of(const struct cluster *c, uint32_t incarnation);
uint32_t register_wish_of(const struct config_register *r, uint32_t node);
/* Places of one configuration as places of another, by incarnation. */
uint32_t register_carry(uint32_t set, const struct cluster *from, const struct cluster *to);
uint32_t register_new_incarnation(struct config_register *r);
/* Places of `c` whose nodes are to be members. */
uint32_t register_wanted(const struct config_register *r, const struct cluster *c);
/* Places of `c` that are to vote in the group. */
uint32_t register_target(const struct config_register *r, const struct cluster *c, uint32_t group);
bool register_majority_lost(const struct config_register *r, uint32_t group);
void register_activate_if_sealed(struct config_register *r);

#endif
