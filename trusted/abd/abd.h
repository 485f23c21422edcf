// SPDX-License-Identifier: Apache-2.0
#ifndef TRUSTED_ABD_ABD_H
#define TRUSTED_ABD_ABD_H

/*
 * Multi-writer ABD (Lynch and Shvartsman; tags as carstamps of Gryff) as a pure machine:
 * coordinator and replica of one shard. It sends nothing, reads no clock, knows neither keys nor
 * packets. One door in, abd_step(); one list out, struct abd_out; one question, abd_deadline().
 *
 *   put     where one peer makes a majority: offer a tag above ours; taken -> apply here -> answer
 *           else W1 ask tags of a majority
 *           -> mint above all, apply here -> W2 apply at a majority -> answer
 *   delete  a put of a tombstone
 *   get     R1 ask a majority; a majority holds the maximum -> answer (one round)
 *           else R2 apply the maximum at a majority -> answer
 *   read-modify-write
 *           PREPARE at a majority -> evaluate -> ACCEPT at a majority -> COMMIT at a majority ->
 *           answer: Paxos for each base value decides what comes directly after it
 *   scan, multi-get, multi-put: the same for many keys in one round (abd_batch.h)
 *
 * The transport under it repeats a question until it is answered, cancelled, or fails; the machine
 * asks each peer again when it comes UP after a failure. Answers may be duplicated or late: a call
 * names the operation, its phase and generation, and a peer counts once per phase.
 *
 * Clauses ABD-1 to ABD-n: docs/protocol/abd.md; RMW-1 to RMW-n: docs/protocol/rmw.md.
 */

#include "trusted/mem/heap.h"
#include "trusted/store/store.h"
#include "trusted/wire/client_wire.h"
#include "trusted/wire/look_wire.h"
#include "trusted/wire/peer_wire.h"

struct abd;

enum { ABD_SYNC_MIN_NS = 1000 };

/* What a replica that left a group and comes back under its incarnation must remember of it (ABD-2,
 * RMW-12): below this, tags and ids were given out. */
struct abd_past {
    uint64_t ts, generation;
};

struct abd_config {
    struct heap *heap;
    struct store *store;
    uint32_t incarnation; /* ours: the `writer` of every tag minted here; not 0 */
    uint8_t self;         /* our place among the members */
    uint8_t members_n;    /* 1..NODES_MAX */
    uint8_t voters;       /* places that vote (bit = place); 0: all of them */
    uint64_t epoch;       /* of the configuration that these are of; below 2^32 */
    uint32_t value_max;
    uint32_t ops_max; /* at most OPS_MAX */
    /* A quorum round asks as few peers as it needs, the others after this at first, then after a
     * delay that follows the peers' answers (ABD-15). 0: everybody at once; UINT64_MAX: never. */
    uint64_t hedge_ns;
    /* Between two pages of anti-entropy (SYNC-1): 0 for none, else at least ABD_SYNC_MIN_NS. */
    uint64_t sync_ns;
    /* Between two rounds of collection (COL-4): 0 for none, else at least ABD_SYNC_MIN_NS. */
    uint64_t collect_ns;
    uint64_t seed;
    struct abd_past past; /* of our former lives in this group; zero: there was none */
};

enum abd_in_kind {
    ABD_IN_REQUEST = 1, /* a client's operation */
    ABD_IN_ASK,         /* a peer's question */
    ABD_IN_ANSWER,      /* a peer's answer to our call */
    ABD_IN_PEER_UP,     /* calls to this peer work (again); nobody is up at first */
    ABD_IN_PEER_DOWN,   /* the peer is silent or its session ended: prefer others. Ends no call */
    ABD_IN_CALL_FAILED, /* the transport gave up on the call `cookie` to `peer` */
    /* Another configuration is in force: every call of the former one has ended (CALL_FAILED or
     * cancelled), nobody is up, and rounds begin again among the new members (MEM-8). */
    ABD_IN_RECONFIGURE,
    ABD_IN_TIMER,
};

/* Who belongs to the shard. Learners get every write and are never asked for a vote. */
struct abd_members {
    uint8_t self, members_n;
    uint8_t voters;
    uint64_t epoch; /* above the one before */
};

/* Everything in here is borrowed for the call. */
struct abd_in {
    enum abd_in_kind kind;
    uint64_t now_ns;
    uint8_t peer;    /* ASK, ANSWER, PEER_*, CALL_FAILED; authenticated below */
    uint64_t cookie; /* ANSWER, CALL_FAILED: of the call */
    uint64_t user;   /* REQUEST: comes back in the reply */
    const struct client_request *request; /* REQUEST */
    const struct peer_ask *ask;           /* ASK */
    const struct peer_answer *answer;     /* ANSWER */
    const struct abd_members *members;    /* RECONFIGURE */
};

/* A question for a peer. key and value stay valid until the call has ended: an ANSWER or
 * CALL_FAILED with this cookie was stepped in, or the call stood in abd_out.cancels. */
struct abd_call {
    uint8_t peer;
    uint64_t cookie;
    struct peer_ask ask;
};

/* Operations on one key have the places below OPS_MAX, batches those behind. */
enum { ABD_PLACES = OPS_MAX + BATCHES_MAX };
static const uint64_t ABD_COOKIE_BATCH = UINT64_C(1) << 63;

/* The low bits of a cookie are the operation's place in the pool. At any instant a peer has at most
 * one call per place (a cancel precedes the next call), so the driver can index its calls by it. */
static inline uint32_t abd_cookie_op(uint64_t cookie)
{
    uint32_t place = (uint32_t)(cookie & (OPS_MAX - 1));

    return (cookie & ABD_COOKIE_BATCH) != 0 ? OPS_MAX + place % BATCHES_MAX : place;
}

struct abd_cancel {
    uint8_t peer;
    uint64_t cookie;
};

/* The end of a client's operation. */
struct abd_reply {
    uint64_t user;
    struct client_response response; /* value is valid until the next step */
};

/* Cancels: those of the operation itself, and of one that makes room for it. A cancel may name a
 * call that has ended. */
enum { ABD_CALLS_MAX = NODES_MAX, ABD_CANCELS_MAX = 2 * NODES_MAX };

struct abd_out {
    uint32_t calls_n, cancels_n;
    bool have_reply, have_answer;
    bool again; /* more is due now: step with ABD_IN_TIMER and the same time */
    struct abd_call calls[ABD_CALLS_MAX];
    struct abd_cancel cancels[ABD_CANCELS_MAX]; /* take these before the calls */
    struct abd_reply reply;
    struct peer_answer answer; /* to ASK; value is valid until the next step */
};

struct abd_counters {
    uint64_t gets, puts, deletes, reads_one_round, write_backs, hedges;
    uint64_t writes_one_round, offers_denied; /* ABD-21 */
    uint64_t shown, shown_tags;               /* keys with and without their values, ABD-22 */
    uint64_t unavailable, indeterminate, busy, refused_tags, repairs, repairs_failed;
    uint64_t rmws, rmw_outbid, rmw_helped, rmw_doubts;
    uint64_t rmw_records; /* of instances, standing now */
    uint64_t scans, scan_keys,
        scan_lists; /* pages, keys in them, replicas that held other things */
    uint64_t sync_pages, sync_passes, sync_keys; /* keys: that one of two replicas lacked */
    uint64_t divergences;   /* equal tags, different values: an alarm, whatever the number */
    uint64_t diverged_from; /* set of members with whom */
    uint64_t batch_gets, batch_puts;      /* keys */
    uint64_t collected;                   /* tombstones dropped here */
    uint64_t collections, collect_failed; /* rounds that this replica led */
    uint64_t gc, floor;                   /* now (COL-2, COL-10) */
    uint64_t gc_refused;                  /* questions from before a barrier */
    uint64_t listed;                      /* keys that are being dropped now */
    uint64_t ops;                         /* in flight now */
};

/* How the simulator proves that it finds bugs: each plant breaks one rule. 0 in production. */
enum abd_plant {
    ABD_PLANT_EARLY_REPLY = 1 << 0,      /* answer a get before its write-back is acknowledged */
    ABD_PLANT_SHARED_TAGS = 1 << 1,      /* all members mint with the same `writer` */
    ABD_PLANT_QUORUM_OF_ONE = 1 << 2,    /* one vote is a majority */
    ABD_PLANT_NO_WRITE_BACK = 1 << 3,    /* answer a get after R1 whatever the votes */
    ABD_PLANT_COUNT_DUPLICATES = 1 << 4, /* a peer may vote twice in a phase */
    ABD_PLANT_WRONG_AGREEMENT =
        1 << 5,                        /* fast read when a majority, self unseen, has any one tag */
    ABD_PLANT_LOCAL_COMPARE = 1 << 6,  /* a failed compare is answered from one replica */
    ABD_PLANT_LOSE_ID = 1 << 7,        /* a helper proposes under an id of its own */
    ABD_PLANT_SHOW_ACCEPTED = 1 << 8,  /* gets are shown what was accepted and not committed */
    ABD_PLANT_NO_DOUBT = 1 << 9,       /* an owner in doubt evaluates again on a newer base */
    ABD_PLANT_REJOIN_ROUND = 1 << 10,  /* who went back is let into the round of collection again */
    ABD_PLANT_SYNC_AS_WRITE = 1 << 11, /* anti-entropy writes what it copies under a new tag */
    ABD_PLANT_SCAN_SILENCE = 1 << 12,  /* a list that ends early speaks for the whole range */
    ABD_PLANT_SCAN_NO_WRITE_BACK = 1 << 13, /* a page shows the maximum whoever holds it */
    ABD_PLANT_DIVERGENCE_QUIET = 1 << 14,   /* different values under equal tags are not counted */
    ABD_PLANT_SYNC_FIRST_PAGE = 1 << 15,    /* anti-entropy never goes beyond its first page */
    /* The other bits belong to others. */
    ABD_PLANT_EARLY_DROP = 1 << 18,      /* tombstones are dropped before all members hold them */
    ABD_PLANT_NO_BARRIER = 1 << 19,      /* collection waits for nobody and refuses nothing */
    ABD_PLANT_MISSING_FLOOR = 1 << 20,   /* after a collection keys begin at zero again */
    ABD_PLANT_OFFER_UNCHECKED = 1 << 30, /* an offer is said to be taken whatever stands here */
    ABD_PLANT_OFFER_TWICE = -0x7fffffff - 1, /* bit 31: a denied write gets another tag although one
                                        more member may hold the first */
};
static const unsigned ABD_PLANTS = 0xffffU | 0x7U << 18 | 0x3U << 30;

RESULT abd_init(const struct abd_config *c, struct abd **ret); /* ENCLAVE_MEMORY */
void abd_fini(struct abd *a);                                  /* NULL is allowed */
/* Only the simulator and tests call this. */
void abd_plant(struct abd *a, unsigned plants);

/* Fills *out completely (it need not be initialised). Never fails: what cannot be done becomes a
 * reply with a status, a REFUSED answer, or a counter. Time may not go backwards (CHECK). */
void abd_step(struct abd *a, const struct abd_in *in, struct abd_out *out);

/* When to step with ABD_IN_TIMER; UINT64_MAX: never. */
uint64_t abd_deadline(const struct abd *a);

const struct abd_counters *abd_counters(const struct abd *a);
/* ABD-22: what this replica holds of a key, for a client that asks a majority itself. Sets ret's
 * state and tag; with `values` writes a live value into `room` and sets *ret_len, and is ASK when
 * it is longer than that. Nothing of the operation is kept. */
void abd_show(struct abd *a, struct bytes key, bool values, struct mbytes room,
              struct look_item *ret, uint32_t *ret_len);
/* How many of the voters make a majority. */
uint8_t abd_majority(const struct abd *a);
/* For the next life in this group, when this one ends. */
struct abd_past abd_past(const struct abd *a);

/* ---- what a change of members carries over besides the store (RMW-16) ---- */

/* Something that this replica has accepted and does not know to be decided. Views are valid until
 * the next step or import. */
struct abd_rmw_item {
    struct tag base;
    struct rmw_id op;
    uint64_t ballot;
    bool tombstone;
    struct bytes key, value;
};

/* What was accepted for the successor of `base`. False: nothing. */
bool abd_rmw_accepted(const struct abd *a, struct bytes key, struct tag base,
                      struct abd_rmw_item *ret);
/* What was accepted for keys that do not exist, one after another, in an order of this replica's
 * own: the item behind that of `after`, whether that still stands or not; the first if it is empty.
 * False: that was all. */
bool abd_rmw_absent(const struct abd *a, struct bytes after, struct abd_rmw_item *ret);
/* Merges an item of another replica whose keys this one holds already (MISMATCH: the item's key is
 * not here in that version). MALFORMED: no item of any replica; ENCLAVE_MEMORY, BUSY. */
RESULT abd_rmw_import(struct abd *a, const struct abd_rmw_item *item);

/* ---- and of collection (COL-9) ---- */

uint32_t abd_gc_epoch(const struct abd *a); /* what is stamped below is refused (COL-2) */
/* A question for a page goes out. What is returned goes to abd_copy_ended once it has ended in any
 * way, its page taken over or not; no barrier passes it meanwhile (COL-3). */
uint32_t abd_copy_asked(struct abd *a);
void abd_copy_ended(struct abd *a, uint32_t stamp);
size_t abd_gc_export_len(const struct abd *a);
void abd_gc_export(const struct abd *a, struct writer *w);
/* MALFORMED, ENCLAVE_MEMORY. */
RESULT abd_gc_import(struct abd *a, struct bytes page);

struct abd_copied {
    struct tag tag;
    bool tombstone;
    struct bytes key, value;
};

/* store_apply, unless the key is being collected with this tag. */
RESULT abd_copy_in(struct abd *a, const struct abd_copied *m, bool *ret_applied);

#endif
