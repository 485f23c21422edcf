// SPDX-License-Identifier: Apache-2.0
#ifndef TRUSTED_STORE_STORE_TIDY_H
#define TRUSTED_STORE_STORE_TIDY_H

/*
 * Moves sealed values out of spans that are nearly empty, so that spans become free (STORE-27). A
 * value is bound to its key and tag, not to its place, so it is moved as it lies, unopened. Which
 * key a slot belongs to is known to nobody but the index: a pass walks over all keys, a few at a
 * time.
 */

#include "common/limits.h"
#include "trusted/store/store_arena.h"
#include "trusted/store/store_index.h"

enum {
    STORE_TIDY_KEYS = 64,       /* looked at in one step */
    STORE_TIDY_BYTES = 1 << 18, /* or moved, if they are large */
};

struct store_tidier {
    bool active;
    uint64_t moved;  /* values so far */
    uint64_t began;  /* the same, when the pass began */
    uint64_t futile; /* the fewest free bytes in slots since a pass that could move nothing */
    size_t key_len;
    uint8_t key[STORE_KEY_MAX]; /* where the pass stands */
};

/* Whether there is work for store_tidy_step; cheap. After a pass that could move nothing there
 * is none until a quarter more is free than was then or since. */
bool store_tidy_wanted(struct store_tidier *t, const struct store_arena *a);
/* One step of a pass, the first one of a new pass if need be. Ends a walk over the index. */
void store_tidy_step(struct store_tidier *t, struct store_index *x, struct store_arena *a);

#endif
