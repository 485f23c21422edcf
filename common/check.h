// SPDX-License-Identifier: Apache-2.0
#ifndef COMMON_CHECK_H
#define COMMON_CHECK_H

/*
 * CHECK() is for our own mistakes and stays on in production: a wrong replica must become a crashed
 * replica, which the protocol survives. It is never used on bytes, lengths, indexes or return
 * values that came from the host or the network; those get an `enum err`.
 */
#define CHECK(cond)                                                                                \
    do {                                                                                           \
        if (__builtin_expect(!(cond), 0)) {                                                        \
            check_failed(__FILE__, __LINE__, #cond);                                               \
        }                                                                                          \
    } while (0)

/* Provided by the platform port: records the place, then never returns. */
__attribute__((noreturn, cold)) void check_failed(const char *file, int line, const char *cond);

#endif
