// SPDX-License-Identifier: Apache-2.0
#ifndef HOST_RUN_FUTEX_H
#define HOST_RUN_FUTEX_H

/* Waiting on a word that two processes share. */

#include <linux/futex.h>
#include <stdint.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

/* Returns when woken, when *word is not `expected`, after timeout_ns, or on a signal. */
static inline void futex_wait(uint32_t *word, uint32_t expected, uint64_t timeout_ns)
{
    struct timespec ts = {.tv_sec = (time_t)(timeout_ns / 1000000000U),
                          .tv_nsec = (long)(timeout_ns % 1000000000U)};

    (void)syscall(SYS_futex, word, FUTEX_WAIT, expected, &ts, NULL, 0);
}

static inline void futex_wake(uint32_t *word)
{
    (void)syscall(SYS_futex, word, FUTEX_WAKE, 1, NULL, NULL, 0);
}

#endif
