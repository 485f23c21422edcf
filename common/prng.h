// SPDX-License-Identifier: Apache-2.0
#ifndef COMMON_PRNG_H
#define COMMON_PRNG_H

#include <stdbool.h>
#include <stdint.h>

/* SplitMix64. For jitter and for tests; never for keys or nonces. Same seed, same stream, anywhere.
 */
struct prng {
    uint64_t state;
};

static inline uint64_t prng_u64(struct prng *p)
{
    uint64_t z = p->state += 0x9e3779b97f4a7c15U;

    z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9U;
    z = (z ^ z >> 27) * 0x94d049bb133111ebU;
    return z ^ z >> 31;
}

/* Uniform enough for a simulator: below n, n > 0. */
static inline uint64_t prng_below(struct prng *p, uint64_t n)
{
    return prng_u64(p) % n;
}

/* True num times out of den. */
static inline bool prng_chance(struct prng *p, uint64_t num, uint64_t den)
{
    return prng_below(p, den) < num;
}

#endif
