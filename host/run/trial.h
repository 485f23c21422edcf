// SPDX-License-Identifier: Apache-2.0
#ifndef HOST_RUN_TRIAL_H
#define HOST_RUN_TRIAL_H

/*
 * Something that pays on some machines at some times: it is tried, given up for a while when it
 * did not pay, longer each time, and trusted anew once it has been well for as long as that.
 */

#include <stdbool.h>
#include <stdint.h>

/* All zeroes: nothing has failed yet. */
struct trial {
    uint64_t from_ns;  /* not before */
    uint64_t pause_ns; /* the last one; 0: none */
};

static inline bool trial_may(const struct trial *t, uint64_t now_ns)
{
    return now_ns >= t->from_ns;
}

static inline void trial_failed(struct trial *t, uint64_t now_ns, uint64_t first_ns,
                                uint64_t most_ns)
{
    t->pause_ns = t->pause_ns == 0            ? first_ns
                  : t->pause_ns < most_ns / 2 ? 2 * t->pause_ns
                                              : most_ns;
    t->from_ns = now_ns + t->pause_ns;
}

/* It is in use and pays. */
static inline void trial_well(struct trial *t, uint64_t now_ns)
{
    if (t->pause_ns > 0 && now_ns > t->from_ns && now_ns - t->from_ns > t->pause_ns) {
        t->pause_ns = 0;
    }
}

#endif
