// SPDX-License-Identifier: Apache-2.0
#ifndef TRUSTED_REGISTER_REGISTER_H
#define TRUSTED_REGISTER_REGISTER_H

/*
 * The configuration register: which configuration C(e) of a cluster is in force, which one follows,
 * and what may follow it. A value and functions over it; no I/O, no clock, no allocation.
 *
 *            found             propose                    a majority of C(e) left it
 *   EMPTY ----------> ACTIVE ------------> PENDING(e+1) ----------------------------> ACTIVE(e+1)
 *                       ^                                                                |
 *                       +----------------------------------------------------------------+
 *
 * How its keeper (the supervisor of `avocado up`, the configuration service) uses it:
 *
 *   1. copy the register, call one function on the copy;
 *   2. if `version` has changed, store the copy with one compare-and-set on the former version;
 * only then act on it: sign and hand out the pending configuration, start processes.
 *
 * So whatever was handed out is in the register, and a keeper that dies anywhere goes on from what
 * is stored. Rules MEM-1 to MEM-12 and why they are safe: docs/protocol/membership.md.
 */

#include "common/bytes.h"
#include "trusted/config/cluster.h"

enum register_phase {
    REGISTER_EMPTY = 0, /* no cluster was ever founded here */
    REGISTER_ACTIVE,    /* `current` is in force */
    REGISTER_PENDING,   /* `next` is decided; `current` is in force where `next` has not arrived */
};

/* Where a node is wanted. The set of these is what the keeper works towards. */
struct register_wish {
    uint32_t node;
    char address[HOST_MAX_LEN + 1];
    uint16_t control_port, data_port;
};

/* What the register knows of a group of slots, besides who is in it. */
struct register_group {
    uint32_t target; /* wishes (bit = place in `wishes`) whose nodes are to vote: placement.h */
    uint32_t copied; /* places in `current` that have copied from a majority of the group */
    bool settled;    /* MEM-5: what completed before `current` stands at a majority of it */
    bool forced;     /* PENDING: comes of accept_loss */
};

struct config_register {
    uint64_t version; /* grows by one with every change */
    enum register_phase phase;
    uint32_t incarnation_next; /* the lowest that was never given out */
    struct cluster current;    /* ACTIVE, PENDING */
    struct cluster next;       /* PENDING: epoch = current.epoch + 1 */
    uint32_t sealed;           /* PENDING: places in `current` that have left it */
    uint32_t lost, lost_next;  /* places in `current`, in `next` whose memory is gone */
    struct register_group groups[GROUPS_MAX]; /* as many as `current` has */
    uint32_t replication_factor;              /* voters of a group that are wanted */
    uint32_t losses_accepted;                 /* how often an operator gave up a majority */
    uint32_t wishes_n;
    struct register_wish wishes[CLUSTER_MAX]; /* ascending by node */
};

/* Moves of groups: what was asked for and is not done yet. */
struct register_moves {
    uint32_t groups;  /* not all of whose wanted nodes, and no others, vote */
    uint32_t copying; /* learners that have not copied, over all groups */
    uint32_t lost;    /* groups of which a majority is lost */
};

/* Where the cluster stands. */
enum register_health {
    REGISTER_HEALTH_NONE = 0,     /* EMPTY */
    REGISTER_HEALTH_WHOLE,        /* every wished node votes */
    REGISTER_HEALTH_CHANGING,     /* on the way there */
    REGISTER_HEALTH_MAJORITY_LOST /* too many voters have lost their memory: only accept_loss helps
                                   */
};

/* The first configuration ever: `first` with members whose incarnations are given out here, groups
 * placed on them (first->groups_n of them, 0: one) and epoch 1 set. POLICY when a cluster was
 * founded before: it never starts a second time (MEM-2). */
RESULT register_found(struct config_register *r, const struct cluster *first, struct explain *why);

/* What happened. All are idempotent, and reports of members or epochs that are no longer current
 * change nothing. */
void register_on_lost(struct config_register *r, uint32_t incarnation);
/* The member works under configuration `epoch` in all its shards. */
void register_on_installed(struct config_register *r, uint32_t incarnation, uint64_t epoch);
/* The member has, in `epoch`, copied these groups (bit = group), each from a majority of its voters
 * of that epoch. */
void register_on_copied(struct config_register *r, uint32_t incarnation, uint64_t epoch,
                        uint64_t groups);

/* What is wanted. USAGE; POLICY: *why says why not now. */
RESULT register_wish_add(struct config_register *r, const struct register_wish *w,
                         struct explain *why);
RESULT register_wish_remove(struct config_register *r, uint32_t node, struct explain *why);
RESULT register_wish_factor(struct config_register *r, uint32_t factor, struct explain *why);
/* `by` takes over exactly what `node` has: nothing else moves. */
RESULT register_wish_replace(struct config_register *r, uint32_t node,
                             const struct register_wish *by, struct explain *why);

/* The next step towards what is wanted, if one is possible: true, and `next` is PENDING. Every
 * group makes its own step in it: learners come and go, and at most one vote is given or taken
 * (MEM-6). */
bool register_advance(struct config_register *r);

/* Gives up what only lost members held: the surviving voters go on alone, all others are new and
 * empty (MEM-11). POLICY unless a majority is lost. The keeper must have made sure that lost
 * members do not run. */
RESULT register_accept_loss(struct config_register *r, struct explain *why);

/* A new, empty beginning in the next epoch, described by `first` as in register_found, because
 * every voter is lost: what an operator does who has stopped them all. POLICY otherwise. */
RESULT register_found_again(struct config_register *r, const struct cluster *first,
                            struct explain *why);

/* MEM-13: whether the voter at `place` of the current configuration may be ended, though it runs,
 * to come back as a new member. `sound`: bits of the members that answer and still hold everything
 * that they acknowledged; that of `place` is not looked at. No when something else is changing,
 * when what is left of some group would be no majority, or when what is left and sound is none to
 * copy from. */
bool register_can_spare(const struct config_register *r, uint32_t place, uint32_t sound);

enum register_health register_health(const struct config_register *r);
/* This member's memory is known to be gone. */
bool register_is_lost(const struct config_register *r, uint32_t incarnation);
struct register_moves register_moves(const struct config_register *r);
/* Slots of which the node at a place of the configuration that is handed out is a voter, and those
 * that it is joining. */
void register_slots(const struct config_register *r, uint32_t place, uint32_t *ret_voting,
                    uint32_t *ret_joining);
/* The configuration to hand out: `next` while PENDING, else `current`. */
const struct cluster *register_latest(const struct config_register *r);
/* One line for a person: what is going on, or what to do. */
void register_explain(const struct config_register *r, struct explain *ret);

/* What is stored. The format is versioned, and one register has one encoding. */
enum { REGISTER_BYTES_MAX = 40 << 10 };
RESULT register_encode(const struct config_register *r, struct mbytes to, size_t *ret_len);
/* MALFORMED: not exactly one register whose parts agree. */
RESULT register_decode(struct bytes from, struct config_register *ret);

#endif
