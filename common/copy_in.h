// SPDX-License-Identifier: Apache-2.0
#ifndef COMMON_COPY_IN_H
#define COMMON_COPY_IN_H

#include <stddef.h>
#include <string.h>

/*
 * Copies what the host may change at any instant into private memory. Whatever is done with `to`
 * afterwards is done with the copy: without the barrier a compiler that sees both may read `from`
 * again, for C knows of nobody else who writes there, and what was checked would not be what is
 * used. Programs are optimized across their objects, so that a call is no such barrier.
 */
static inline void copy_in(void *to, const void *from, size_t n)
{
    memcpy(to, from, n);
    /* Says that the bytes at `to` may be read, and others written there. */
    __asm__ volatile("" : : "r"(to) : "memory");
}

#endif
