// SPDX-License-Identifier: Apache-2.0
#include "tools/histogram.h"

#include <string.h>

static const uint64_t VALUE_MAX_NS = (UINT64_C(1) << HISTOGRAM_VALUE_BITS) - 1;

void histogram_reset(struct histogram *h)
{
    memset(h, 0, sizeof(*h));
}

static size_t bucket_of(uint64_t v)
{
    unsigned octave;

    if (v < HISTOGRAM_SUB) {
        return (size_t)v;
    }
    octave = 63 - (unsigned)__builtin_clzll(v) - HISTOGRAM_SUB_BITS;
    return (size_t)octave * HISTOGRAM_SUB + (size_t)(v >> octave);
}

/* The largest value that falls into a bucket. */
static uint64_t top_of(size_t bucket)
{
    uint64_t octave, sub;

    if (bucket < 2 * (size_t)HISTOGRAM_SUB) {
        return bucket;
    }
    octave = bucket / HISTOGRAM_SUB - 1;
    sub = bucket % HISTOGRAM_SUB + HISTOGRAM_SUB;
    return ((sub + 1) << octave) - 1;
}

void histogram_add(struct histogram *h, uint64_t value)
{
    uint64_t v = value > VALUE_MAX_NS ? VALUE_MAX_NS : value;

    if (h->n == 0 || v < h->min) {
        h->min = v;
    }
    if (v > h->max) {
        h->max = v;
    }
    h->n++;
    h->sum += v;
    h->counts[bucket_of(v)]++;
}

void histogram_merge(struct histogram *to, const struct histogram *from)
{
    if (from->n == 0) {
        return;
    }
    if (to->n == 0 || from->min < to->min) {
        to->min = from->min;
    }
    if (from->max > to->max) {
        to->max = from->max;
    }
    to->n += from->n;
    to->sum += from->sum;
    for (size_t i = 0; i < HISTOGRAM_BUCKETS; i++) {
        to->counts[i] += from->counts[i];
    }
}

uint64_t histogram_quantile(const struct histogram *h, double fraction)
{
    double exact = fraction * (double)h->n;
    uint64_t rank = (uint64_t)exact, seen = 0;

    if (h->n == 0) {
        return 0;
    }
    rank += (double)rank < exact;
    rank = rank == 0 ? 1 : rank;
    for (size_t i = 0; i < HISTOGRAM_BUCKETS; i++) {
        seen += h->counts[i];
        if (seen >= rank) {
            return top_of(i) > h->max ? h->max : top_of(i);
        }
    }
    return h->max;
}

double histogram_mean(const struct histogram *h)
{
    return h->n == 0 ? 0 : (double)h->sum / (double)h->n;
}

bool histogram_next(const struct histogram *h, size_t *at, uint64_t *ret_top, uint64_t *ret_n)
{
    while (*at < HISTOGRAM_BUCKETS && h->counts[*at] == 0) {
        (*at)++;
    }
    if (*at == HISTOGRAM_BUCKETS) {
        return false;
    }
    *ret_top = top_of(*at);
    *ret_n = h->counts[(*at)++];
    return true;
}

void histogram_put(struct histogram *h, uint64_t top, uint64_t n)
{
    uint64_t v = top > VALUE_MAX_NS ? VALUE_MAX_NS : top;

    if (n == 0) {
        return;
    }
    h->min = h->n == 0 || v < h->min ? v : h->min;
    h->max = v > h->max ? v : h->max;
    h->n += n;
    h->sum += v * n;
    h->counts[bucket_of(v)] += n;
}
