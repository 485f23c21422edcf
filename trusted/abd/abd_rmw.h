// SPDX-License-Identifier: Apache-2.0
#ifndef TRUSTED_ABD_ABD_RMW_H
#define TRUSTED_ABD_ABD_RMW_H

/* Read-modify-write: what the coordinator's and the acceptor's halves share. docs/protocol/rmw.md
 */

#include "trusted/abd/abd_internal.h"

enum {
    ABD_RMW_LINES = 1024, /* of operations that wait for each other; a power of 2 */
    ABD_RECORD_HEADS = 1024,
    ABD_FLOORS = 1024,      /* RMW-5 */
    ABD_RECORDS_SOFT = 512, /* above this, old records are looked at for what can go */
    ABD_RECORDS_MAX = 65536,
    ABD_PLACE_BITS = 4,
    ABD_ROUND_MAX = (1 << (32 - ABD_PLACE_BITS)) - 1,
};

_Static_assert((int)NODES_MAX <= 1 << ABD_PLACE_BITS, "a place fits a ballot");

/* RMW-4: a ballot is epoch u32 | round u28 | place u4. */
static inline bool abd_ballot_is_of(uint64_t ballot, uint64_t epoch)
{
    return ballot >> 32 == epoch && (uint32_t)ballot >> ABD_PLACE_BITS != 0;
}

static const uint64_t ABD_PAUSE_NS = UINT64_C(100000); /* RMW-14; doubled up to 6 times */

/* RMW-1. The last tag of a base has no successor: abd_has_successor. */
static inline struct tag abd_successor(struct tag base)
{
    base.rmwc++;
    return base;
}

static inline bool abd_has_successor(struct tag base)
{
    return base.rmwc != UINT32_MAX;
}

/* ---- abd_rmw_eval.c: what an operation makes of a value ---- */

struct abd_eval_in {
    const struct client_request *request;
    bool absent;
    struct bytes value;
    uint32_t value_max;
};

/* OK: something is to be written, namely the concatenation of `parts` or a tombstone. Else why not:
 * MISMATCH, NOT_FOUND, NOT_NUMBER, OVERFLOW, TOO_BIG. */
struct abd_eval {
    bool tombstone;
    struct bytes parts[2];
    uint8_t text_len; /* INCR: the new value; APPEND: its length; in decimal */
    uint8_t text[CLIENT_NUMBER_MAX];
};

enum err abd_evaluate(const struct abd_eval_in *in, struct abd_eval *ret);

/* ---- abd_acceptor.c ---- */

uint32_t abd_key_hash(const struct abd *a, struct bytes key);
/* ENCLAVE_MEMORY. Nothing to do after the first time. */
RESULT abd_acceptor_need(struct abd *a);
void abd_acceptor_fini(struct abd *a);
/* COL-6: the key begins a new life, with an instance of its own for the zero tag. */
void abd_acceptor_forget(struct abd *a, struct bytes key);

/* RMW-17: places mean other members now. */
void abd_acceptor_reconfigure(struct abd *a);
/* The three questions, from a peer or from our own coordinator (`from` is our place then, and
 * values that we hold anyway are left out of the answer). */
void abd_on_instance(struct abd *a, uint8_t from, const struct peer_ask *ask, struct abd_out *out,
                     struct peer_answer *ret);
/* The least ballot of ours above `outbid` and above all that this replica has promised for `key`
 * and `base`. 0: the rounds of this epoch are used up. */
uint64_t abd_next_ballot(const struct abd *a, struct bytes key, struct tag base, uint64_t outbid);
/* SHOW_ACCEPTED: what the plant shows as committed. False: nothing. */
bool abd_accepted_value(struct abd *a, struct bytes key, struct tag *ret_tag, bool *ret_tombstone,
                        struct bytes *ret_value);

/* ---- abd_memory.c: what became of operations (RMW-13) ---- */

/* ENCLAVE_MEMORY. Nothing to do after the first time. */
RESULT abd_memory_init(struct abd *a);
void abd_memory_fini(struct abd *a);
void abd_memory_clear(struct abd *a);
bool abd_is_rmw_id(const struct abd *a, struct rmw_id op);
/* Room to remember this operation. ENCLAVE_MEMORY. */
RESULT abd_memory_need(struct abd *a, struct rmw_id op);
/* It was accepted here for `base`, from its owner or a helper, or is known to be committed. Needs
 * abd_memory_need. */
void abd_remember(const struct abd *a, struct rmw_id op, struct tag base, bool helped,
                  bool committed);
/* Fills in `helped` and `committed`. */
void abd_recall(const struct abd *a, struct rmw_id op, struct tag base, struct peer_answer *ret);

/* ---- abd_rmw.c: the coordinator ---- */

/* A value or tombstone under the successor of `base`, by operation `op`. */
struct abd_proposal {
    struct rmw_id op;
    bool tombstone;
    uint8_t *value;
    uint32_t len;
};

struct abd_rmw {
    struct client_request request; /* views into `arg`; the key is the operation's */
    uint8_t *arg;
    struct tag base; /* the instance; its value is op->value, op->tombstone */
    bool behind;     /* something newer exists that is not here: read before the next try */
    uint64_t ballot;
    uint64_t outbid;           /* greatest ballot that was promised to others */
    struct abd_proposal own;   /* RMW-12: while in doubt, what was proposed for `base` */
    struct abd_proposal other; /* what is helped, or the best accepted so far */
    uint64_t other_ballot;     /* 0: nothing accepted was seen */
    bool helping;              /* ACCEPT, COMMIT: `other` is proposed, not `own` */
    bool in_doubt;
    bool decided;   /* own was decided: COMMIT is all that is left */
    bool answering; /* READ or APPLY: the end is a failed compare, `status` */
    enum err status;
    bool was_absent;  /* GET_SET */
    uint8_t accepted; /* peers that accepted this proposal with this ballot: they have the value */
    uint8_t applied;  /* of them, who applied it at once (RMW-18) */
    uint8_t deciders; /* while in doubt: who may have done so, whether they have said it or not */
    bool decides;     /* one more voice decides this proposal */
    uint8_t lacking;  /* peers that hold less than the base: they are sent it first */
    uint8_t clean;    /* RMW-13: closed without a helper's proposal */
    uint8_t tries;    /* in a row that ended in a pause */
    uint8_t text_len;
    uint8_t text[CLIENT_NUMBER_MAX];
    uint16_t line, line_prev, line_next; /* RMW-14: places or ABD_NONE */
};

RESULT abd_rmw_start(struct abd *a, struct abd_op *op, const struct client_request *r,
                     struct abd_out *out);
void abd_rmw_answer(struct abd *a, struct abd_op *op, uint8_t bit, const struct peer_answer *m,
                    struct abd_out *out);
/* The question of phase PREPARE, ACCEPT or COMMIT. */
struct peer_ask abd_rmw_question(const struct abd_op *op, uint8_t peer);
/* It has been asked. */
void abd_rmw_asked(struct abd_op *op, uint8_t bit);
/* PREPARE, ACCEPT: the peer says that it holds less than the base, or that it has it now. */
void abd_rmw_lacks(struct abd *a, struct abd_op *op, uint8_t bit, bool lacks, struct abd_out *out);
/* A majority has applied the commit. */
void abd_rmw_committed(struct abd *a, struct abd_op *op, struct abd_out *out);
/* A majority holds op->tag (RMW-11, or a base that had to be fetched). */
void abd_rmw_read_done(struct abd *a, struct abd_op *op, struct abd_out *out);
/* The turn has come, or the pause is over: from the start, or on with a doubt. */
void abd_rmw_go(struct abd *a, struct abd_op *op, struct abd_out *out);
/* RMW-17: another configuration is in force. */
void abd_rmw_restart(struct abd *a, struct abd_op *op, struct abd_out *out);
/* What may be said when an operation ends with `status`: what was proposed is not UNAVAILABLE. */
enum err abd_rmw_outcome(const struct abd_op *op, enum err status);
/* Fills in what the reply has beyond status and tag. */
void abd_rmw_reply(struct abd *a, struct abd_op *op, struct client_response *ret);

/* ---- abd_rmw_line.c ---- */

RESULT abd_rmw_enter_line(struct abd *a, struct abd_op *op);
/* Nobody before it in its line has the same key. */
bool abd_rmw_is_first(const struct abd *a, const struct abd_op *op);
/* A copy of the parts; what was there must not be lent to a call. ENCLAVE_MEMORY. */
RESULT abd_rmw_set_value(struct abd *a, struct abd_proposal *p, const struct bytes parts[static 2],
                         struct abd_out *out);
void abd_rmw_drop_value(struct abd *a, struct abd_proposal *p);
/* Leaves the line; the next one's turn comes. */
void abd_rmw_leave(struct abd *a, struct abd_op *op);
/* Frees what the operation has beyond an abd_op; no call may borrow from it. */
void abd_rmw_free(struct abd *a, struct abd_op *op);

#endif
