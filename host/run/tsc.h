// SPDX-License-Identifier: Apache-2.0
#ifndef HOST_RUN_TSC_H
#define HOST_RUN_TSC_H

/* The processor's counter, 0 where there is none. */

#include <stdint.h>

static inline uint64_t tsc_now(void)
{
#if defined(__x86_64__)
    return __builtin_ia32_rdtsc();
#else
    return 0;
#endif
}

__extension__ typedef unsigned __int128 tsc_wide;

/* a * b / 2^32 */
static inline uint64_t tsc_scale(uint64_t a, uint64_t b)
{
    return (uint64_t)((tsc_wide)a * b >> 32);
}

/* a * 2^32 / b */
static inline uint64_t tsc_rate(uint64_t a, uint64_t b)
{
    return (uint64_t)(((tsc_wide)a << 32) / b);
}

#endif
