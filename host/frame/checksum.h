// SPDX-License-Identifier: Apache-2.0
#ifndef HOST_FRAME_CHECKSUM_H
#define HOST_FRAME_CHECKSUM_H

/*
 * The Internet checksum (RFC 1071): the one's complement of the one's complement sum of 16-bit
 * words. It is the same in either byte order, so that nothing is swapped here: sums are of words as
 * they lie in memory, and so is the result.
 */

#include <stddef.h>
#include <stdint.h>
#include <string.h>

/* Adds n bytes, padded with zero to an even number, to a running sum. Only the last part of what is
 * summed may have an odd length. */
static inline uint64_t checksum_add(uint64_t sum, const uint8_t *p, size_t n)
{
    uint32_t word;

    for (; n >= sizeof(word); n -= sizeof(word), p += sizeof(word)) {
        memcpy(&word, p, sizeof(word));
        sum += word;
    }
    word = 0;
    memcpy(&word, p, n);
    return sum + word;
}

/* The sum in 16 bits, not complemented. */
static inline uint16_t checksum_fold(uint64_t sum)
{
    sum = (sum & 0xffffffffU) + (sum >> 32);
    sum = (sum & 0xffffffffU) + (sum >> 32);
    sum = (sum & 0xffffU) + (sum >> 16);
    sum = (sum & 0xffffU) + (sum >> 16);
    sum = (sum & 0xffffU) + (sum >> 16);
    return (uint16_t)sum;
}

static inline uint16_t checksum_end(uint64_t sum)
{
    return (uint16_t)~checksum_fold(sum);
}

#endif
