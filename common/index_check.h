// SPDX-License-Identifier: Apache-2.0
#ifndef COMMON_INDEX_CHECK_H
#define COMMON_INDEX_CHECK_H

/*
 * The top byte of a connection index of ours, under a key that our host drew (CTL-7): its kernel
 * can tell most indexes that nobody was given from ours and drop what carries them, before anybody
 * wakes up for it. A hint that saves work; nothing is believed for its sake. Whoever sees our
 * traffic knows an index that passes.
 */

#include <stdint.h>

enum {
    INDEX_CHECK_SHIFT = 24,
    INDEX_LOW_MASK = (1 << INDEX_CHECK_SHIFT) - 1,
};

/* Of the three low bytes. */
static inline uint32_t index_check(uint32_t key, uint32_t index)
{
    return (index & INDEX_LOW_MASK) * key >> INDEX_CHECK_SHIFT;
}

#endif
