// SPDX-License-Identifier: Apache-2.0
#include "tools/bench_pace.h"

#include <math.h>

/* Exponential, by inversion; the logarithm's argument is in (0, 1]. */
static double gap(struct pace *p)
{
    double u = 1 - (double)(prng_u64(&p->prng) >> 11) * 0x1p-53;

    return -log(u) * p->mean_ns;
}

void pace_init(struct pace *p, double per_s, uint64_t seed, uint64_t now_ns)
{
    *p = (struct pace){.prng.state = seed, .mean_ns = 1e9 / per_s, .next_ns = (double)now_ns};
    p->next_ns += gap(p);
}

bool pace_take(struct pace *p, uint64_t now_ns, uint64_t *ret_due_ns)
{
    if (p->next_ns > (double)now_ns) {
        return false;
    }
    *ret_due_ns = (uint64_t)p->next_ns;
    p->next_ns += gap(p);
    return true;
}

uint64_t pace_next_ns(const struct pace *p)
{
    return (uint64_t)ceil(p->next_ns);
}

uint64_t pace_sleep_ns(const struct pace *p, uint64_t now_ns, bool has_room, uint64_t max_ns)
{
    uint64_t next_ns = pace_next_ns(p);

    if (next_ns <= now_ns) {
        return has_room ? 0 : max_ns;
    }
    return next_ns - now_ns < max_ns ? next_ns - now_ns : max_ns;
}

uint64_t pace_behind(const struct pace *p, uint64_t now_ns)
{
    return p->next_ns > (double)now_ns ? 0
                                       : 1 + (uint64_t)(((double)now_ns - p->next_ns) / p->mean_ns);
}
