// SPDX-License-Identifier: Apache-2.0
#ifndef TRUSTED_ABD_ABD_BATCH_H
#define TRUSTED_ABD_ABD_BATCH_H

#include "trusted/abd/abd_internal.h"
#include "trusted/wire/batch_wire.h"

/*
 * Batches: several keys in one round, each by the rules of a single one. Clauses SCAN-n:
 * docs/protocol/scan.md.
 *
 *   SCAN  COLLECT: what do you hold in [low, high)?       keys whose maximum is at a majority are
 *           |                                             done; of the others
 *   MGET    +--> LOOK: I hold these tags; and you?  R1    a majority of votes for each
 *                  |
 *   MPUT  TAGS ----+--> PUSH: hold these            W2, R2
 *         W1, mint      |
 *                       +--> answered --calls left--> TAIL --> FREE
 *
 * SYNC is a scan without a client, between this replica and one other (abd_sync.c). COLLECT is an
 * MGET of tombstones from everybody, and then steps of its own (abd_collect.c).
 */
enum abd_batch_phase {
    BATCH_FREE = 0,
    BATCH_COLLECT,
    BATCH_TAGS_ROUND,
    BATCH_LOOK_ROUND,
    BATCH_PUSH_ROUND,
    BATCH_COLLECT_ROUND, /* a step of a collection */
    BATCH_TAIL,
};

enum abd_batch_kind {
    BATCH_KIND_SCAN = 1,
    BATCH_KIND_MGET,
    BATCH_KIND_MPUT,
    BATCH_KIND_SYNC,
    BATCH_KIND_COLLECT,
};

struct abd_buffer {
    uint8_t *p;
    uint32_t n, cap;
};

/* One key of a batch. Bytes of keys and values lie in the batch's `bytes`. */
struct abd_item {
    struct tag own; /* what this replica held at the start of the round */
    struct tag tag; /* the greatest seen, or minted */
    uint64_t print; /* SYNC: of the value that stands here */
    uint32_t key_at, value_at, value_len;
    uint16_t key_len;
    uint8_t voted, holders, refused; /* sets of members; holders: of exactly `tag`, or newer */
    uint8_t status;                  /* enum err; once closed */
    bool closed;                     /* decided: `status` says how */
    bool asked;                      /* in the body of the round under way */
    bool readable;                   /* the value of `tag` is here, or it has none */
    bool tombstone, damaged;
    bool was_tombstone; /* SCAN, SYNC: of `own` */
};

struct abd_batch {
    uint64_t cookie; /* ABD_COOKIE_BATCH | generation << 16 | round << 12 | place */
    uint64_t user;
    uint64_t expires_at_ns, hedge_at_ns, retry_at_ns;
    uint32_t gc; /* stamp (COL-2) */
    uint8_t place, phase, kind, round;
    uint8_t group, need; /* whose votes count, and how many decide */
    uint8_t outstanding, asked, repeated, chosen, answered, failed;
    uint8_t refused_by; /* last reason a member gave for refusing an item */
    bool wide;
    bool stale;              /* its round belongs to a former configuration */
    struct abd_buffer bytes; /* grows at its end; what lies there stays until the end */
    struct abd_buffer body;  /* of the round under way: lent to the transport */
    struct abd_item *items;
    uint32_t items_n, items_cap;
    /* SCAN, SYNC */
    bool down, values, more;
    bool prints; /* values are compared, too */
    bool listed; /* somebody held other things */
    uint16_t keys_max;
    uint32_t bytes_max;
    uint8_t secret[16];
    uint16_t low_n, high_n;
    uint8_t low[BOUND_MAX], high[BOUND_MAX]; /* what the page covers; may shrink */
};

static inline uint8_t abd_batch_votes(const struct abd_batch *b, uint8_t set)
{
    return abd_set_n(set & b->group);
}

static inline struct bytes item_key(const struct abd_batch *b, const struct abd_item *i)
{
    return (struct bytes){.p = b->bytes.p + i->key_at, .n = i->key_len};
}

static inline struct bytes item_value(const struct abd_batch *b, const struct abd_item *i)
{
    return (struct bytes){.p = i->value_len == 0 ? NULL : b->bytes.p + i->value_at,
                          .n = i->value_len};
}

/* ---- abd_batch.c: places, memory, rounds ---- */

/* BUSY, ENCLAVE_MEMORY. Gives up the oldest tail when there is need. */
RESULT abd_batch_take(struct abd *a, uint64_t expires_at_ns, struct abd_out *out,
                      struct abd_batch **ret);
/* Room for n more bytes. */
RESULT abd_buffer_room(struct abd *a, struct abd_buffer *b, size_t n, struct abd_out *out);
/* A new item with this key at the end. */
RESULT abd_batch_add(struct abd *a, struct abd_batch *b, struct bytes key, struct abd_out *out,
                     struct abd_item **ret);
/* Takes the calls of the last round back and chooses whom to ask; `body` is the caller's to fill,
 * then abd_batch_pursue. */
void abd_batch_enter(struct abd *a, struct abd_batch *b, enum abd_batch_phase phase,
                     struct abd_out *out);
void abd_batch_widen(struct abd_batch *b);
/* Asks whom the round still needs and who can be asked now. */
void abd_batch_pursue(struct abd *a, struct abd_batch *b, struct abd_out *out);
/* Nobody whom this round may still ask has not answered. */
bool abd_batch_exhausted(const struct abd *a, const struct abd_batch *b);
/* Answers the client with a body, or with why not; the batch ends or lingers. */
void abd_batch_reply(struct abd *a, struct abd_batch *b, struct mbytes body, struct abd_out *out);
void abd_batch_fail(struct abd *a, struct abd_batch *b, enum err why, struct abd_out *out);

/* Calls that are out go on for a while; nobody waits for their answers. */
void abd_batch_linger(struct abd *a, struct abd_batch *b);
/* It ends without an answer to anybody. */
void abd_batch_drop(struct abd *a, struct abd_batch *b, struct abd_out *out);

/* ---- abd_sync.c ---- */

void abd_sync_finish(struct abd *a, struct abd_batch *b, struct abd_out *out);
void abd_sync_failed(struct abd *a, struct abd_batch *b, struct abd_out *out);
/* The member `bit` holds another value under the tag that is held here. */
void abd_sync_diverged(struct abd *a, uint8_t bit);

/* ---- abd_scan.c ---- */

/* Looks at what is held here in [low, high) and asks the others. */
RESULT abd_scan_collect(struct abd *a, struct abd_batch *b, struct abd_out *out);
/* The page ends before this item. */
void abd_scan_cut_before(struct abd_batch *b, uint32_t item);

RESULT abd_scan_start(struct abd *a, struct abd_batch *b, struct bytes body, struct abd_out *out);
/* False: no vote. */
bool abd_scan_answer(struct abd *a, struct abd_batch *b, uint8_t bit, const struct peer_answer *m,
                     struct abd_out *out);
/* Every item is closed, or time is up. */
void abd_scan_finish(struct abd *a, struct abd_batch *b, struct abd_out *out);
/* What an entry adds to the digest of a range. */
uint64_t abd_scan_print(const uint8_t secret[16], struct bytes key, struct tag tag, bool tombstone,
                        uint64_t value_print);

/* ---- abd_look.c ---- */

RESULT abd_mget_start(struct abd *a, struct abd_batch *b, struct bytes body, struct abd_out *out);
RESULT abd_mput_start(struct abd *a, struct abd_batch *b, struct bytes body, struct abd_out *out);
/* A batched get of the items that are not closed. */
RESULT abd_look_start(struct abd *a, struct abd_batch *b, struct abd_out *out);
bool abd_look_answer(struct abd *a, struct abd_batch *b, uint8_t bit, const struct peer_answer *m,
                     struct abd_out *out);
/* After any vote, and when nobody is left to vote. */
void abd_look_check(struct abd *a, struct abd_batch *b, struct abd_out *out);
/* MEM-8: pushes again what was pushed to members of a former configuration. */
void abd_push_again(struct abd *a, struct abd_batch *b, struct abd_out *out);
/* Ends a batch of any kind whose items are closed. */
void abd_batch_finish(struct abd *a, struct abd_batch *b, struct abd_out *out);

/* Operations on the keys of the list are about to come: tells the store. */
void abd_expect(struct abd *a, struct batch_list list);

#endif
