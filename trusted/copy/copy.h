// SPDX-License-Identifier: Apache-2.0
#ifndef TRUSTED_COPY_COPY_H
#define TRUSTED_COPY_COPY_H

/*
 * Copying a shard from other members: how a learner gets everything that a majority of the voters
 * holds (MEM-7). One stream per voter, page after page in the order of keys; what is newer than
 * one's own is kept, so order, repetition and concurrent writes do not matter. With a key comes
 * what the voter has accepted for its successor, as of one instant (RMW-16); first of all comes
 * what it has accepted for keys that do not exist, and before that what it knows of collection
 * (COL-9). It is complete once the streams of a majority
 * are.
 *
 * Pure: no clock, no socket; the driver makes the calls and feeds the answers.
 */

#include "trusted/abd/abd.h"
#include "trusted/mem/heap.h"
#include "trusted/store/store.h"
#include "trusted/wire/copy_wire.h"
#include "trusted/wire/peer_wire.h"

enum { COPY_PAGE_BYTES = 32 << 10 };

/* ---- the voter that is copied from ---- */

struct copy_page {
    void *block; /* heap_free(block, block_n) after use */
    size_t block_n;
    struct bytes entries;
    bool last;            /* nothing comes after it */
    struct bytes damaged; /* a key whose value does not open here; empty: none. Lies in the page */
};

/* What a member can be copied from. */
struct copy_source {
    struct heap *heap;
    struct store *store;
    struct abd *abd;
};

/* The page that answers a COPY, COPY_ABSENT or COPY_GC. ENCLAVE_MEMORY; LOST: keys are missing
 * here. */
RESULT copy_page_make(const struct copy_source *from, const struct peer_ask *ask,
                      struct copy_page *ret);

/* ---- the member that copies ---- */

struct copy_stream {
    bool wanted; /* a voter, and not ourselves */
    bool up, asked, complete;
    bool gc_done;     /* floor and list of collection are here; the absent ones are next */
    bool absent_done; /* what was accepted for absent keys is here; the keys are next */
    bool behind;      /* a page held a value that did not open there and is not held here */
    uint64_t not_before_ns;
    uint32_t stamp;   /* of the question (COL-3) */
    struct tag again; /* not zero: the next page begins with this key itself, held with this tag */
    uint16_t key_len, behind_len; /* where the next page begins; where to begin again if behind */
    uint8_t key[KEY_MAX], behind_key[KEY_MAX];
};

struct copy {
    struct store *store;
    struct abd *abd;
    bool active;
    uint8_t need; /* complete streams that make a majority */
    uint8_t complete_n;
    uint64_t keys, bytes; /* taken over, of all streams; for people */
    enum err err;         /* why it stands still: ENCLAVE_MEMORY, HOST_MEMORY, INTEGRITY; else OK */
    struct copy_stream streams[NODES_MAX];
};

/* From the beginning, from a majority of `voters` (places); `self` counts for one if it is among
 * them. */
void copy_begin(struct copy *c, struct store *store, struct abd *abd, uint8_t voters, uint8_t self);
/* A copy that is not active is complete: there is nothing to wait for. */
bool copy_is_complete(const struct copy *c);

/* The members at places a and b have changed places. */
void copy_swap(struct copy *c, uint8_t a, uint8_t b);
void copy_peer(struct copy *c, uint8_t peer, bool up);
/* The next question that can be asked now; the key is good until its answer. False: none. */
bool copy_next(struct copy *c, uint64_t now_ns, uint8_t *ret_peer, struct peer_ask *ret);
void copy_on_answer(struct copy *c, uint64_t now_ns, uint8_t peer, const struct peer_answer *m);
void copy_on_failed(struct copy *c, uint64_t now_ns, uint8_t peer);
/* Nothing that was asked will be answered: another configuration is about to come, or the copy ends
 * here, or the machines that it was begun with. All peers are down then. */
void copy_stop(struct copy *c);
/* When copy_next will have something without any event; UINT64_MAX: never. */
uint64_t copy_deadline(const struct copy *c);

#endif
