// SPDX-License-Identifier: Apache-2.0
#ifndef HOST_RUN_CLOCK_H
#define HOST_RUN_CLOCK_H

#include <stdint.h>
#include <time.h>

/* CLOCK_MONOTONIC. The only clock of the data path, and only a hint to trusted code. */
static inline uint64_t clock_now_ns(void)
{
    struct timespec ts;

    (void)clock_gettime(CLOCK_MONOTONIC, &ts);
    return (uint64_t)ts.tv_sec * 1000000000U + (uint64_t)ts.tv_nsec;
}

#endif
