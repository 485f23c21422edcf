// SPDX-License-Identifier: Apache-2.0
#ifndef TRUSTED_STORE_STORE_H
#define TRUSTED_STORE_STORE_H

/*
 * One shard's keys and values. Single-threaded, no I/O, no clock.
 *
 *   enclave heap                          host arena (hostile: may change at any instant)
 *   ------------                          ----------
 *   ordered index: key, tag, length,  --> sealed value, padded to a size class
 *   place
 *   arena's free lists and sizes
 *
 * A value is sealed with AES-256-GCM under a key that lives as long as this store, with a counter
 * that never repeats as nonce and (shard, key, tag, length) as associated data. Tag and length stay
 * inside and the tag of a key only rises, so a value that was flipped, swapped, truncated or rolled
 * back does not open (STORE-4, STORE-8 in docs/protocol/store.md). Absent keys have the zero tag. A
 * tombstone is an entry without a value.
 *
 * A store can be divided into parts, one per group of slots, that share index and arena.
 */

#include "common/bytes.h"
#include "common/limits.h"
#include "common/result.h"
#include "trusted/crypto/aead.h"
#include "trusted/mem/heap.h"
#include "trusted/wire/tag.h"

struct store;

struct store_config {
    uint32_t shard;       /* bound into the associated data */
    struct heap *heap;    /* enclave memory; the store allocates everything from it */
    struct aead *aead;    /* borrowed, this thread's */
    struct secret master; /* copied and expanded */
    uint8_t *arena;       /* host memory, 64-byte aligned */
    uint64_t arena_bytes;
    size_t reserve; /* bytes of the heap that the index leaves to others; 0: a sixteenth */
};

struct store_entry {
    struct tag tag;
    bool tombstone;
    bool damaged; /* the value did not authenticate and was not replaced since */
    uint32_t value_len;
};

struct store_stats {
    uint64_t keys; /* live */
    uint64_t tombstones;
    uint64_t value_bytes; /* plaintext bytes of live values */
    uint64_t arena_used;  /* host bytes taken: padding and partly filled spans included */
    uint64_t arena_limit;
    uint64_t arena_resident; /* host bytes that the host must have memory for: used, or kept for the
                                next values */
    uint64_t arena_returned; /* host bytes given back so far */
    uint64_t values_moved;   /* so that there is more to give back */
    uint64_t index_bytes;    /* enclave bytes of the index, slack included */
    uint64_t damaged;        /* entries whose value waits for repair */
    uint64_t integrity_failures;
    uint64_t repairs;
    uint64_t pages_cold;  /* leaves of the index that lie sealed in host memory now */
    uint64_t pages_lost;  /* leaves that did not open, */
    uint64_t keys_lost;   /* and the keys in them: for good */
    uint64_t page_ins;    /* cold leaves loaded, */
    uint64_t page_outs;   /* sealed, */
    uint64_t page_reads;  /* and looked at without loading them */
    uint64_t cache_hits;  /* records of cold leaves that were found inside */
    uint64_t cache_bytes; /* enclave bytes of these */
};

/* ENCLAVE_MEMORY when the heap cannot hold an empty store. *ret lives in the heap. */
RESULT store_init(const struct store_config *c, struct store **ret);
/* Gives everything back to the heap and wipes the key. NULL is allowed. */
void store_fini(struct store *s);

/* A part of `whole`: keys of its own, which no other part and not the whole can see, in the same
 * index, arena and budget (STORE-21). Statistics count its own keys; those of index and arena are
 * the whole's. store_fini it before the whole; its keys stay in the index until store_shed. Who
 * opens parts keeps nothing in the whole itself. ENCLAVE_MEMORY. */
enum { STORE_PART_MAX = 253 };
RESULT store_open_part(struct store *whole, uint8_t part, struct store **ret);
/* Forgets up to `most` keys, whatever they are held with, and gives their memory back. True: none
 * is left (or what is left was lost, STORE-18). */
bool store_shed(struct store *s, uint32_t most);

/* Metadata of a key, from enclave memory only. NOT_FOUND: *ret is untouched. */
RESULT store_find(struct store *s, struct bytes key, struct store_entry *ret);

/* store_find, _read or _apply of these keys are about to come, n <= STORE_EXPECT_MAX of them: asks
 * for the memory that they will wait for, all at once, and opens cold pages (STORE-28). Changes
 * nothing; keys that do not come cost only that. Best in the order in which they come. */
enum { STORE_EXPECT_MAX = 16 };
void store_expect(struct store *s, const struct bytes *keys, size_t n);
/* Whether that is worth it: the index is larger than what a processor keeps near. */
bool store_waits(const struct store *s);

/* Metadata and value. `to` needs room for the value: TOO_BIG otherwise, and then *ret is set all
 * the same, so that the caller can come back with ret->value_len bytes. NOT_FOUND when absent. A
 * tombstone is OK with value_len 0. Bytes of `to` beyond the value may be overwritten. INTEGRITY
 * when the host's bytes do not authenticate: counted, *ret set, the value's bytes of `to` zeroed,
 * the entry marked damaged; it stays refused until store_repair or a newer store_apply. */
RESULT store_read(struct store *s, struct bytes key, struct mbytes to, struct store_entry *ret);

/* STORE-3: keeps (tag, value) iff tag is greater than what is held. OK also when it lost; then
 * *ret_applied is false. ENCLAVE_MEMORY or HOST_MEMORY: nothing changed. `value` is private memory
 * and empty for a tombstone. key.n is 1..KEY_MAX, value.n <= VALUE_MAX (CHECK). */
RESULT store_apply(struct store *s, struct bytes key, struct tag tag, bool tombstone,
                   struct bytes value, bool *ret_applied);

/* Puts a value back under the tag it is held with, after an integrity failure; needs no memory. OK
 * and nothing done when the entry is not damaged. MISMATCH when the key is now held with another
 * tag (nothing to repair) or the value has another length than the one that was written. */
RESULT store_repair(struct store *s, struct bytes key, struct tag tag, struct bytes value);

/* Forgets a key for good iff it is held as a tombstone with exactly this tag (STORE-15); the caller
 * must know that no replica can still bring back what was deleted. *ret_removed says whether it
 * was. Needs no memory. The tag of a removed key is zero again: absent. */
RESULT store_remove(struct store *s, struct bytes key, struct tag tag, bool *ret_removed);

/*
 * A walk over the keys of [low, high), tombstones included, bytewise upwards or downwards. An empty
 * `high` is above all keys, an empty `low` below all; bounds may be longer than a key. STORE-13: a
 * walk costs one search; it lasts until the next call on the store that is not part of it, and then
 * begins anew at a key.
 *
 *     store_walk_begin(s, low, high, down, &w);
 *     while (store_walk_next(s, &w) == OK) { ... w.key, w.entry, store_walk_read(s, &w, to) ... }
 */
struct store_walk {
    struct bytes low, high; /* borrowed from the caller */
    bool down, begun;
    struct bytes key; /* in `buffer`, until the next step */
    struct store_entry entry;
    uint8_t buffer[KEY_MAX + 1];
};

void store_walk_begin(struct bytes low, struct bytes high, bool down, struct store_walk *ret);
/* The next key and what it is held with; NOT_FOUND at the end. */
RESULT store_walk_next(struct store *s, struct store_walk *w);
/* As store_read, for the key that the walk stands at, without another search. */
RESULT store_walk_read(struct store *s, struct store_walk *w, struct mbytes to);

/* One step of a walk that is begun afresh each time: the first key >= `from` (or > `from` when
 * `after`). Writes the key to `key_to` (KEY_MAX bytes of room). NOT_FOUND at the end. */
RESULT store_next(struct store *s, struct bytes from, bool after, struct mbytes key_to,
                  size_t *ret_key_len, struct store_entry *ret);

/* Host memory that holds nothing any more and is worth giving back: *ret_len bytes at *ret_off of
 * the arena, which the host may take away before the next call. False: none. STORE-24. */
bool store_trim(struct store *s, uint64_t *ret_off, uint64_t *ret_len);
/* Whether store_trim would find something; cheap. */
bool store_has_idle(const struct store *s);
/* One step of moving values together in host memory, some microseconds, so that more of it can be
 * given back; ends a walk. STORE-27. Whether there is anything to do is cheap to ask. */
bool store_tidy_is_wanted(struct store *s);
void store_tidy(struct store *s);
/* What the host says of itself: that it has, or has no, memory for parts of the arena that hold
 * nothing yet. While it has none, what would need them is refused (HOST_MEMORY). It has at first.
 */
void store_may_grow(struct store *s, bool may);

void store_stats(const struct store *s, struct store_stats *ret);

/* How the simulator proves that it finds bugs; only it and tests call this. 0 in production. */
enum store_plant {
    STORE_PLANT_TRUSTING = 1 << 0, /* a value that does not authenticate is taken for good */
};
void store_plant(struct store *s, unsigned plants);

#endif
