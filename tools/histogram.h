// SPDX-License-Identifier: Apache-2.0
#ifndef TOOLS_HISTOGRAM_H
#define TOOLS_HISTOGRAM_H

/*
 * Counts of values in buckets that grow with the value: 128 to each power of two, so that a
 * percentile is at most 1/128 above the true one. Fixed size, no allocation, mergeable.
 *
 *   0 .. 127: one bucket each | 128 .. 255 | 256 .. 511 | ... each in 128 buckets | above: the last
 */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum {
    HISTOGRAM_SUB_BITS = 7,
    HISTOGRAM_SUB = 1 << HISTOGRAM_SUB_BITS,
    HISTOGRAM_VALUE_BITS = 42, /* 73 minutes in nanoseconds; larger values count as the largest */
    HISTOGRAM_BUCKETS = (HISTOGRAM_VALUE_BITS - HISTOGRAM_SUB_BITS + 1) * HISTOGRAM_SUB,
};

struct histogram {
    uint64_t n, sum, min, max;
    uint64_t counts[HISTOGRAM_BUCKETS];
};

void histogram_reset(struct histogram *h);
void histogram_add(struct histogram *h, uint64_t value);
void histogram_merge(struct histogram *to, const struct histogram *from);

/* The smallest value that at least `fraction` of all values do not exceed, up to the width of its
 * bucket; 0 when there are none. fraction in [0, 1]. */
uint64_t histogram_quantile(const struct histogram *h, double fraction);
double histogram_mean(const struct histogram *h);

/* For files: buckets that are not empty, from *at on. False: no more. *ret_top is the largest value
 * that falls into the bucket; histogram_put(top, n) on an empty histogram makes the same counts
 * again, with min, max and sum as near as buckets tell. */
bool histogram_next(const struct histogram *h, size_t *at, uint64_t *ret_top, uint64_t *ret_n);
void histogram_put(struct histogram *h, uint64_t top, uint64_t n);

#endif
