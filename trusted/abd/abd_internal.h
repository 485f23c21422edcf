// SPDX-License-Identifier: Apache-2.0
#ifndef TRUSTED_ABD_ABD_INTERNAL_H
#define TRUSTED_ABD_ABD_INTERNAL_H

#include "common/hedge.h"
#include "common/prng.h"
#include "trusted/abd/abd.h"
#include "trusted/wire/collect_wire.h"

/*
 * An operation and its rounds. Sets of members are bytes; bit i is the member at place i.
 *
 *           put, delete                         get, repair
 *   FREE --> QUERY --majority--> APPLY          FREE --> READ --majority holds max--> answered
 *     |                          ^ ^ |                    |
 *     +----> OFFER --denied------+ | majority             +--else--> APPLY --majority--> answered
 *              |                   | v
 *              +-----taken---------+ answered --calls left--> TAIL (a list, phase APPLY) --> FREE
 *
 *           read-modify-write (abd_rmw.c)
 *   FREE --> WAIT --turn--> PREPARE --majority--> ACCEPT --majority--> COMMIT --majority-->
 * answered ^              |    |                  |                    |
 *             +---outbid-----+----|------------------+    helped another -+--> PREPARE
 *                                 +--nothing to write--> APPLY (as a get) --> answered
 */
enum abd_phase {
    ABD_PHASE_FREE = 0,
    ABD_PHASE_QUERY, /* W1 */
    ABD_PHASE_OFFER, /* W1 and W2 in one (abd_write.c) */
    ABD_PHASE_READ,  /* R1 */
    ABD_PHASE_APPLY, /* W2, R2 */
    ABD_PHASE_WAIT,  /* asks nobody: a read-modify-write that waits for its turn or after OUTBID */
    ABD_PHASE_PREPARE, /* from here on: questions of read-modify-writes */
    ABD_PHASE_ACCEPT,
    ABD_PHASE_COMMIT,
};

enum abd_op_kind {
    ABD_OP_GET = 1,
    ABD_OP_WRITE,  /* put, or delete when `tombstone` */
    ABD_OP_REPAIR, /* a get without client, to replace a damaged value */
    ABD_OP_RMW,    /* has `rmw` */
};

/* An operation stands in at most one list, in order of time. Appending keeps the order: the delay
 * of RETRY and TAIL is constant, and in HEDGE nobody is due before who came earlier. Only PAUSE is
 * searched for the place. */
enum abd_list_id {
    ABD_LIST_HEDGE = 0, /* asked as few peers as it needs; the others follow when due */
    ABD_LIST_RETRY,     /* a call failed though the peer is up; ask again when due */
    ABD_LIST_TAIL,      /* answered; the calls left may go on until due */
    ABD_LIST_PAUSE,     /* a read-modify-write that starts (again) when due */
    ABD_LISTS_N,
    ABD_LIST_NONE = ABD_LISTS_N,
};

enum {
    ABD_NONE = 0xffff, /* no operation */
    ABD_KEY_INLINE = 64,
    ABD_READ_ROOM = 512, /* taken for a get before the length is known */
    ABD_REPAIRS_MAX = 4,
    ABD_SWEEP_STEP = 64, /* places looked at in one step after a peer changed */
    ABD_TURN = 16,       /* rounds that fill a datagram with their questions */
    ABD_OFFER_HEADS = 512,
    ABD_OFFER_CHAIN = 4, /* offers of one head that may be out at once */
    ABD_ROUND_SHIFT = 12,
    ABD_GENERATION_SHIFT = 16,
};

static const uint64_t ABD_NEVER = UINT64_MAX;
static const uint64_t ABD_RETRY_NS = UINT64_C(5000000);
static const uint64_t ABD_TAIL_NS = UINT64_C(2000000000);
static const uint64_t ABD_REPAIR_NS = UINT64_C(5000000000);

struct abd_rmw;
struct abd_acceptor;
struct abd_memory;

struct abd_op {
    uint64_t cookie; /* of the round under way: generation << 16 | round << 12 | place */
    uint64_t user;
    uint64_t expires_at_ns;
    uint64_t due_at_ns; /* of its list */
    uint64_t round_at_ns;
    struct tag tag; /* QUERY, READ: the greatest seen; OFFER, APPLY: what is applied */
    struct tag own; /* READ: what this replica held at the start; OFFER: the greatest seen */
    uint8_t *key;
    uint8_t *value;
    struct abd_rmw *rmw; /* NULL unless RMW */
    uint32_t value_len, value_cap;
    uint32_t gc; /* stamp (COL-2) */
    uint16_t key_len;
    uint16_t prev, next;             /* of its list; next: of the free ones */
    uint16_t timer_at;               /* place in the heap of deadlines; ABD_NONE: in none */
    uint16_t offer_head, offer_next; /* OFFER: of the operations whose offers are out */
    uint8_t phase, kind, list, round;
    uint8_t outstanding; /* the transport holds a call to these and borrows key and value */
    uint8_t asked;       /* in this round, whatever became of it */
    uint8_t repeated;    /* asked more than once in this round */
    uint8_t first;       /* asked when this round began */
    uint8_t chosen;      /* while not wide: the few that are asked */
    uint8_t voted;       /* QUERY, READ: their tag is known; self included. OFFER: they took or
                            denied it; self: nothing greater stood here */
    uint8_t failed;      /* not to be asked before the retry is due or the peer comes up */
    uint8_t refused;     /* APPLY: said no; OFFER: have no room */
    uint8_t holders;     /* hold exactly `tag`, or something newer, and can open it */
    uint8_t votes_n, holders_n;
    uint8_t agree_n; /* with ABD_PLANT_WRONG_AGREEMENT only */
    struct tag agree;
    bool wide;      /* everybody is asked */
    bool readable;  /* READ: the value of `tag` is here (or it has none) */
    bool tombstone; /* of `tag` */
    bool damaged;   /* READ: our own value of `own` does not open */
    bool stale;     /* its round belongs to a former configuration: it begins again */
    bool doubt;     /* OFFER: somebody may hold it who has not said so */
    uint8_t key_inline[ABD_KEY_INLINE];
};

struct abd_list {
    uint16_t head, tail;
};

/* abd_pace.c */
struct abd_pace {
    struct hedge hedge;            /* the others are asked after so long */
    uint64_t answer_ns[NODES_MAX]; /* smoothed, from question to answer; 0: unknown */
    uint32_t rounds;
};

/* Where anti-entropy stands. */
struct abd_sync {
    uint64_t at_ns; /* the next page */
    bool active;    /* a page is under way */
    uint8_t peer;   /* who is compared with; any place when nobody is up */
    uint8_t fails;  /* of pages of one key in a row */
    uint16_t keys;  /* of the next page, at most */
    uint16_t low_n;
    uint8_t low[BOUND_MAX];
};

/* A key that is being collected, and the tombstone that goes. */
struct abd_listed {
    struct tag tag;
    uint32_t key_at; /* bytes behind `listed` */
    uint16_t key_len;
};

/* abd_gc.c */
struct abd_gc {
    uint32_t gc;               /* what is stamped below is refused */
    uint32_t stamp;            /* of operations that begin now; never below gc */
    uint32_t flight_n;         /* operations and batches in work, tails included; */
    uint32_t old_n;            /* those of them that are stamped below `stamp` */
    uint64_t floor;            /* timestamps of new writes are above it */
    uint64_t round;            /* that raised the stamp last; 0: none of this configuration */
    uint64_t left_round;       /* that was gone back from last (COL-8); 0: none, as above */
    uint64_t listed_round;     /* that listed; 0: one of a former configuration */
    struct abd_listed *listed; /* in the order of keys, and behind them the keys' bytes */
    size_t listed_bytes;
    uint16_t listed_n;
    bool sealed; /* somebody may have finished (COL-8) */
};

/* abd_collect.c */
struct abd_collect {
    uint64_t at_ns; /* the next round */
    uint64_t round; /* under way */
    uint32_t gc;    /* its barrier */
    uint32_t serial;
    enum collect_step step;
    bool active;
    bool second;    /* the barrier behind the drop */
    bool adopted;   /* the list is not of this round */
    bool forgotten; /* it is of a former configuration */
    bool resolve;   /* something may still be listed somewhere */
    uint8_t barren; /* rounds in a row that dropped nothing (COL-4) */
    uint16_t keys;  /* of the next round, at most */
    uint16_t low_n;
    uint8_t low[BOUND_MAX]; /* where the next walk begins */
};

struct abd {
    struct heap *heap;
    struct store *store;
    struct abd_config config;
    struct abd_counters counters;
    uint64_t now_ns;
    uint64_t generation;
    uint64_t minted; /* the greatest ts given out */
    uint64_t turn_at_ns;
    uint64_t tight_until_ns; /* there was no room here: writes come here first until then */
    uint32_t offers_n;       /* out now */
    unsigned plants;
    uint8_t self_bit, all, up; /* sets of members; `up` without self */
    uint8_t voters;            /* their votes count; the others get every write */
    uint8_t majority;          /* of the voters */
    uint8_t rotor, rotor_next; /* whom a quorum round asks first, in this turn and in the next */
    uint8_t turn_n;            /* rounds of this turn */
    uint8_t sweep_clear;       /* peers that came up: forget their failures */
    bool sweeping;
    uint16_t sweep_at;
    uint16_t used_n; /* places that were ever in use */
    uint16_t free_head;
    uint16_t timers_n;
    uint16_t repairs_n;
    uint16_t repairs[ABD_REPAIRS_MAX];
    struct abd_pace pace;
    struct abd_list lists[ABD_LISTS_N];
    uint16_t offers[ABD_OFFER_HEADS]; /* by hash of the key */
    struct abd_op *ops;
    struct abd_acceptor *acceptor;   /* NULL before the first read-modify-write */
    struct abd_memory *memory;       /* likewise */
    struct abd_list *rmw_lines;      /* RMW-14: by hash of the key; likewise */
    uint8_t text[CLIENT_NUMBER_MAX]; /* what the last reply lends */
    uint16_t *timers;                /* binary heap of places by expires_at_ns */
    struct prng prng;                /* secrets of digests, lengths of pauses */
    struct abd_sync sync;
    struct abd_gc gc;
    struct abd_collect collect;
    uint32_t batches_n;
    struct abd_batch *batches[BATCHES_MAX]; /* NULL: free */
    void *limbo;                            /* what the last output lends; freed by the next step */
    size_t limbo_n;
};

static inline uint8_t abd_bit(uint8_t peer)
{
    return (uint8_t)(1U << peer);
}

static inline uint8_t abd_set_n(uint8_t set)
{
    uint8_t n = 0;

    for (; set != 0; set = (uint8_t)(set & (set - 1))) {
        n++;
    }
    return n;
}

static inline struct bytes abd_key(const struct abd_op *op)
{
    return (struct bytes){.p = op->key, .n = op->key_len};
}

static inline struct bytes abd_value(const struct abd_op *op)
{
    return (struct bytes){.p = op->value_len == 0 ? NULL : op->value, .n = op->value_len};
}

/* W2, R2, COMMIT: everybody is asked, and calls may go on as a tail. */
static inline bool abd_is_last_round(const struct abd_op *op)
{
    return op->phase == ABD_PHASE_APPLY || op->phase == ABD_PHASE_COMMIT;
}

static inline uint16_t abd_place(const struct abd *a, const struct abd_op *op)
{
    return (uint16_t)(op - a->ops);
}

/* ---- abd.c ---- */

/* MEM-14: the peer is about to end, and is asked nothing any more. */
void abd_peer_leaves(struct abd *a, uint8_t peer);

/* ---- abd_pool.c: places, lists, deadlines, memory ---- */

RESULT abd_pool_init(struct abd *a);
void abd_pool_fini(struct abd *a);

/* A free place with the key copied and the deadline set. BUSY, ENCLAVE_MEMORY. Gives up the oldest
 * tail when there is need. */
RESULT abd_op_take(struct abd *a, struct bytes key, uint64_t expires_at_ns, struct abd_out *out,
                   struct abd_op **ret);
/* CHECKs that no call is outstanding. */
void abd_op_give(struct abd *a, struct abd_op *op);
/* Takes the calls that are outstanding back. */
void abd_op_cancel(struct abd *a, struct abd_op *op, struct abd_out *out);
/* The client was answered; the calls left go on for a while. */
void abd_op_linger(struct abd *a, struct abd_op *op);
/* Room for n bytes in op->value; the old content is lost when it has to move. */
RESULT abd_op_reserve(struct abd *a, struct abd_op *op, size_t n, struct abd_out *out);

void abd_list_enter(struct abd *a, struct abd_op *op, enum abd_list_id list, uint64_t after_ns);
void abd_list_leave(struct abd *a, struct abd_op *op);

/* Gives up the oldest tail for its memory. False: there is none, or no room to say so. */
bool abd_relieve(struct abd *a, struct abd_out *out);
/* Takes a call back, or does not make it if it stands in this very output. */
void abd_out_cancel(struct abd_out *out, uint8_t peer, uint64_t cookie);
void *abd_alloc(struct abd *a, size_t n, struct abd_out *out);
/* Keeps what the output lends until the next step. */
void abd_lend(struct abd *a, void *p, size_t n);

/* ---- abd_replica.c: what this replica holds ---- */

/* The zero tag and `tombstone` false when absent. LOST (ABD-20): what stood here is unknown, so
 * this replica says nothing about the key. */
RESULT abd_find(struct abd *a, struct bytes key, struct store_entry *ret);
/* COL-10: the tag that a new write must exceed; a floor is a tag of nobody. */
struct tag abd_seen_tag(const struct abd *a, struct tag held);
bool abd_seen_plausible(struct abd *a, struct bytes key, struct tag tag);
/* ABD-17 */
bool abd_tag_plausible(struct abd *a, struct bytes key, struct tag tag);
/* store_apply, giving up tails for memory. */
RESULT abd_keep(struct abd *a, struct bytes key, struct tag tag, bool tombstone, struct bytes value,
                bool *ret_applied, struct abd_out *out);
/* ABD-11: puts a value back that does not open here. OK also when something newer stands here by
 * now, which is as good. */
RESULT abd_mend(struct abd *a, struct bytes key, struct tag tag, struct bytes value);
/* ABD-3, ABD-12, ABD-17: what a peer wants this replica to hold. */
RESULT abd_take_in(struct abd *a, struct bytes key, struct tag tag, bool tombstone,
                   struct bytes value, bool *ret_applied, struct abd_out *out);
/* ABD-4: a tag of ours above *tag, above what stands here and above what is on offer from here.
 * UNAVAILABLE when the key's tags are used up; LOST. */
RESULT abd_next_tag(struct abd *a, struct bytes key, struct tag *tag);
/* Gives the write its tag, and keeps it here. UNAVAILABLE, LOST, ENCLAVE_MEMORY, HOST_MEMORY:
 * nothing happened. */
RESULT abd_mint(struct abd *a, struct bytes key, bool tombstone, struct bytes value,
                struct tag *tag, struct abd_out *out);
void abd_on_ask(struct abd *a, const struct abd_in *in, struct abd_out *out);
void abd_refuse(struct abd_out *out, enum err err);
/* Reads the value of `e` into memory that is lent with the output. INTEGRITY, ENCLAVE_MEMORY,
 * LOST. */
RESULT abd_read_lent(struct abd *a, struct bytes key, const struct store_entry *e,
                     struct bytes *ret, struct abd_out *out);

/* ---- abd_round.c: whom to ask, who voted, how an operation ends ---- */

static inline bool abd_has_plant(const struct abd *a, enum abd_plant plant)
{
    return __builtin_expect((a->plants & (unsigned)plant) != 0, 0);
}

/* Takes the calls of the last round back. Sets of voters and holders are the caller's business. */
void abd_round_enter(struct abd *a, struct abd_op *op, enum abd_phase phase, struct abd_out *out);
/* Picks the members of a QUERY or READ round. */
void abd_round_choose(struct abd *a, struct abd_op *op);
/* From now on everybody is asked. */
void abd_round_widen(struct abd *a, struct abd_op *op);
/* Asks whom the round still needs and who can be asked now. */
void abd_pursue(struct abd *a, struct abd_op *op, struct abd_out *out);
void abd_round_vote(struct abd *a, struct abd_op *op, uint8_t bit);
void abd_round_hold(struct abd *a, struct abd_op *op, uint8_t bit);
/* Ends the operation if a majority applied. */
void abd_check_applied(struct abd *a, struct abd_op *op, struct abd_out *out);
/* APPLY: `bit` said no. True: that was the end. */
bool abd_on_refused(struct abd *a, struct abd_op *op, uint8_t bit, enum err why,
                    struct abd_out *out);
void abd_reply_now(struct abd *a, uint64_t user, enum err status, struct abd_out *out);
void abd_finish(struct abd *a, struct abd_op *op, enum err status, struct abd_out *out);
void abd_finish_read(struct abd *a, struct abd_op *op, struct abd_out *out);

/* ---- abd_pace.c: whom to ask first, and when to ask the others (ABD-15) ---- */

void abd_pace_init(struct abd *a);
/* Places have other members now. */
void abd_pace_forget(struct abd *a);
/* A peer that was asked when the round began has answered. */
void abd_pace_answered(struct abd *a, const struct abd_op *op, uint8_t peer);
/* The chosen ones have not answered in time. */
void abd_pace_late(struct abd *a, const struct abd_op *op);
/* Members that are up and fast; now and then all that are up. */
uint8_t abd_pace_preferred(struct abd *a);

/* ---- abd_coordinator.c ---- */

/* Reads what stands here: tag, own, tombstone, damaged and the value. ENCLAVE_MEMORY. */
RESULT abd_read_own(struct abd *a, struct abd_op *op, struct abd_out *out);
/* R1 from the start, whatever the operation did so far. ENCLAVE_MEMORY. */
RESULT abd_start_read(struct abd *a, struct abd_op *op, enum abd_op_kind kind, struct abd_out *out);
/* The call has ended without a vote (ABD-16). */
void abd_no_vote(struct abd *a, struct abd_op *op, uint8_t bit, struct abd_out *out);
/* Makes this replica hold op->tag; that is its own vote. */
RESULT abd_hold_here(struct abd *a, struct abd_op *op, struct abd_out *out);
void abd_on_request(struct abd *a, const struct abd_in *in, struct abd_out *out);
void abd_on_answer(struct abd *a, const struct abd_in *in, struct abd_out *out);
void abd_on_call_failed(struct abd *a, const struct abd_in *in, struct abd_out *out);
/* MEM-8: begins the round of a stale operation again, among the members there are now. */
void abd_restart(struct abd *a, struct abd_op *op, struct abd_out *out);
/* ABD-13: replaces the damaged value of `key`, unless enough of that is going on already. */
void abd_repair(struct abd *a, struct bytes key, struct abd_out *out);
/* The deadline of the operation has come. */
void abd_expire(struct abd *a, struct abd_op *op, struct abd_out *out);
/* The time of its list has come; HEDGE or RETRY. */
void abd_nudge(struct abd *a, struct abd_op *op, struct abd_out *out);

/* ---- abd_write.c: put and delete ---- */

void abd_write_init(struct abd *a);
void abd_write_start(struct abd *a, struct abd_op *op, struct abd_out *out);
void abd_write_restart(struct abd *a, struct abd_op *op, struct abd_out *out);
/* QUERY: the peer holds this. OFFER: it holds this, which is above what it was offered. */
void abd_write_on_tag(struct abd *a, struct abd_op *op, uint8_t bit, struct tag tag,
                      struct abd_out *out);
/* OFFER: the peer took it. */
void abd_write_on_taken(struct abd *a, struct abd_op *op, uint8_t bit, struct abd_out *out);
/* OFFER: the peer said no for another reason, and has not taken it. */
void abd_write_on_refused(struct abd *a, struct abd_op *op, uint8_t bit, enum err why,
                          struct abd_out *out);
/* The time to ask again has come: from the start, if nothing can have come of it. */
void abd_write_retry(struct abd *a, struct abd_op *op, struct abd_out *out);
/* OFFER: the operation ends, with `why` if nothing can have come of it. */
void abd_write_give_up(struct abd *a, struct abd_op *op, enum err why, struct abd_out *out);
/* The greatest timestamp of this key that is on offer from here; 0: none. */
uint64_t abd_write_offered(const struct abd *a, struct bytes key);

/* ---- abd_batch.c: several keys at once (abd_batch.h) ---- */

void abd_batch_on_request(struct abd *a, const struct abd_in *in, struct abd_out *out);
void abd_batch_on_ask(struct abd *a, const struct abd_in *in, struct abd_out *out);
void abd_batch_on_answer(struct abd *a, const struct abd_in *in, struct abd_out *out);
void abd_batch_on_call_failed(struct abd *a, const struct abd_in *in, struct abd_out *out);
uint64_t abd_batch_deadline(const struct abd *a);
/* Serves one batch whose time has come. False: none. */
bool abd_batch_serve(struct abd *a, struct abd_out *out);

/* ---- abd_gc.c: stamps, barriers, the list and the floor of collection ---- */

/* COL-3: an operation or batch begins, with the stamp that is returned; ends; or, having sent
 * nothing that still matters, begins anew. */
uint32_t abd_flight_enter(struct abd *a);
void abd_flight_leave(struct abd *a, uint32_t stamp);
void abd_flight_renew(struct abd *a, uint32_t *stamp);
/* COL-2: a question with this stamp comes too late. */
bool abd_gc_refuses(struct abd *a, uint32_t stamp);
/* New timestamps are above it (COL-10). */
uint64_t abd_gc_floor(const struct abd *a);
/* COL-5: the key takes part in no read-modify-write. */
bool abd_gc_is_listed(const struct abd *a, struct bytes key);
/* COL-5: this is the tombstone that is being collected: acknowledged, not kept. */
bool abd_gc_is_dead(const struct abd *a, struct bytes key, struct tag tag);
void abd_gc_on_ask(struct abd *a, const struct peer_ask *ask, struct abd_out *out);
/* COL-8: a member went down; another configuration is in force. */
void abd_gc_restore(struct abd *a, struct abd_out *out);
void abd_gc_reconfigure(struct abd *a, struct abd_out *out);
void abd_gc_fini(struct abd *a);

/* ---- abd_collect.c: the collector ---- */

void abd_collect_init(struct abd *a);
void abd_collect_forget(struct abd *a);
uint64_t abd_collect_deadline(const struct abd *a);
void abd_collect_begin(struct abd *a, struct abd_out *out);

/* ---- abd_sync.c: anti-entropy ---- */

void abd_sync_init(struct abd *a);
/* Places have other members now. */
void abd_sync_forget(struct abd *a);
/* When the next page is due, and its beginning. */
uint64_t abd_sync_deadline(const struct abd *a);
void abd_sync_begin(struct abd *a, struct abd_out *out);
/* MEM-8: tails end; the others begin again, or end, in the sweep that follows. */
void abd_batch_reconfigure(struct abd *a);
/* After a peer or the members changed, for the batch at a place. */
void abd_batch_sweep(struct abd *a, uint32_t place, struct abd_out *out);
/* Gives up the oldest tail of a batch. False: there is none. */
bool abd_batch_relieve(struct abd *a, struct abd_out *out);
void abd_batch_fini(struct abd *a);

#endif
