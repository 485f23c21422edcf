// SPDX-License-Identifier: Apache-2.0
#ifndef TRUSTED_REGISTER_KEEPING_H
#define TRUSTED_REGISTER_KEEPING_H

/*
 * What the keeper of a register decides: what reports of members and ends of processes mean to it,
 * and which process is to be started next. Pure: the CAS, the supervisor of `avocado up` and the
 * simulator run the same decisions.
 *
 * One turn of a keeper: keeping_hear for what members say, register_on_lost for processes that
 * ended; then, as long as keeping_advance moves: store the register, hand out register_latest,
 * start what keeping_to_start names. Nothing is handed out or started that was not stored (MEM-3).
 */

#include "trusted/register/register.h"

/* A process that the keeper knows: it was started under that incarnation, by this keeper or by the
 * one before. It stays known until its member has left the configuration and it has ended. */
struct keeping_process {
    uint32_t node, incarnation;
    bool runs;
};

/* What a member says of itself. */
struct keeping_report {
    uint32_t incarnation;
    uint64_t epoch;     /* of the configuration that it was told */
    uint64_t installed; /* the greatest that all its shards work under */
    uint64_t copied;    /* groups (bits): in `epoch`, from a majority, in all shards */
};

/* A keeper begins where another one ended. Of a member without a process it cannot be known whether
 * it ever ran: its memory counts as lost. */
void keeping_adopt(struct config_register *r, const struct keeping_process *p, uint32_t n);

void keeping_hear(struct config_register *r, const struct keeping_report *m);

/* The next step, if there is one. Without `restarts` nothing moves while a member is lost: a person
 * is to look first. */
bool keeping_advance(struct config_register *r, bool restarts);
bool keeping_waits_for_a_person(const struct config_register *r, bool restarts);

/* The next member of what is handed out that has no process and whose node is free; NULL: none.
 * Every incarnation is started once at most (MEM-3). */
const struct cluster_member *keeping_to_start(const struct cluster *latest,
                                              const struct keeping_process *p, uint32_t n);

/* Place of an incarnation in what is handed out; -1: it has left, and its process is to end. */
int keeping_place(const struct cluster *latest, uint32_t incarnation);

#endif
