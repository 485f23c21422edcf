// SPDX-License-Identifier: Apache-2.0
#ifndef COMMON_BYTES_H
#define COMMON_BYTES_H

/*
 * Borrowed views of memory. A view never owns; whoever hands one out says how long it lives.
 * A pointer never travels without its length.
 */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

struct bytes {
    const uint8_t *p;
    size_t n;
};
struct mbytes {
    uint8_t *p;
    size_t n; /* the room there is */
};

/* True and sets *ret iff [off, off + n) lies inside b. Written as subtraction: it cannot wrap. */
static inline bool bytes_slice(struct bytes b, size_t off, size_t n, struct bytes *ret)
{
    if (off > b.n || n > b.n - off) {
        return false;
    }
    *ret = (struct bytes){.p = n == 0 ? NULL : b.p + off, .n = n};
    return true;
}

/* Not for secrets: see trusted/crypto/ct.h. */
static inline bool bytes_equal(struct bytes a, struct bytes b)
{
    return a.n == b.n && (a.n == 0 || memcmp(a.p, b.p, a.n) == 0);
}

/* Bytewise lexicographic order, the shorter first on equal prefixes: <0, 0, >0. */
static inline int bytes_compare(struct bytes a, struct bytes b)
{
    size_t n = a.n < b.n ? a.n : b.n;
    int c = n == 0 ? 0 : memcmp(a.p, b.p, n);

    if (c != 0) {
        return c;
    }
    return a.n < b.n ? -1 : a.n > b.n;
}

/* Copies src into dst and sets *ret_len. False, and nothing touched, if it does not fit. */
static inline bool bytes_copy(struct mbytes dst, struct bytes src, size_t *ret_len)
{
    if (src.n > dst.n) {
        return false;
    }
    if (src.n != 0) {
        memcpy(dst.p, src.p, src.n);
    }
    *ret_len = src.n;
    return true;
}

#endif
