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

/* With the carry added at the other end: 64 bits are four words side by side. */
static inline uint64_t checksum_add64(uint64_t sum, uint64_t words)
{
    sum += words;
    return sum + (sum < words);
}

static inline uint64_t checksum_words(const uint8_t *p)
{
    uint64_t words;

    memcpy(&words, p, sizeof(words));
    return words;
}

/* Adds n bytes, padded with zero to an even number, to a running sum. Only the last part of what is
 * summed may have an odd length. */
static inline uint64_t checksum_add(uint64_t sum, const uint8_t *p, size_t n)
{
    uint64_t second = 0, third = 0, fourth = 0; /* that need not wait for each other's carry */
    uint8_t rest[8] = {0};

    for (; n >= 32; n -= 32, p += 32) {
        sum = checksum_add64(sum, checksum_words(p));
        second = checksum_add64(second, checksum_words(p + 8));
        third = checksum_add64(third, checksum_words(p + 16));
        fourth = checksum_add64(fourth, checksum_words(p + 24));
    }
    sum = checksum_add64(checksum_add64(sum, second), checksum_add64(third, fourth));
    for (; n >= 8; n -= 8, p += 8) {
        sum = checksum_add64(sum, checksum_words(p));
    }
    for (size_t i = 0; i < n; i++) {
        rest[i] = p[i];
    }
    return checksum_add64(sum, checksum_words(rest));
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
