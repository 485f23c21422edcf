// SPDX-License-Identifier: Apache-2.0
#ifndef TESTS_STORE_ZIPF_H
#define TESTS_STORE_ZIPF_H

/* Ranks by Zipf's law with exponent 0.99, as YCSB draws them (Gray et al., SIGMOD '94). */

#include "common/prng.h"

#include <math.h>

static const double ZIPF_THETA = 0.99;

struct zipf {
    double n, zeta, eta, alpha, half;
};

/* n: how many ranks there are. Takes time in proportion to it. */
static inline struct zipf zipf_init(uint64_t n)
{
    struct zipf z = {
        .n = (double)n, .alpha = 1 / (1 - ZIPF_THETA), .half = 1 + pow(0.5, ZIPF_THETA)};

    for (uint64_t i = 1; i <= n; i++) {
        z.zeta += pow((double)i, -ZIPF_THETA);
    }
    z.eta = (1 - pow(2 / z.n, 1 - ZIPF_THETA)) / (1 - z.half / z.zeta);
    return z;
}

/* 0 is the rank that is drawn most often. */
static inline uint64_t zipf_draw(const struct zipf *z, struct prng *p)
{
    double u = (double)(prng_u64(p) >> 11) * 0x1p-53;
    double uz = u * z->zeta;

    if (uz < 1) {
        return 0;
    }
    if (uz < z->half) {
        return 1;
    }
    uint64_t rank = (uint64_t)(z->n * pow(z->eta * u - z->eta + 1, z->alpha));

    return rank < (uint64_t)z->n ? rank : (uint64_t)z->n - 1;
}

#endif
