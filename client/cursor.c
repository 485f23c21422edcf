// SPDX-License-Identifier: Apache-2.0
#include "client/cursor.h"

#include "common/check.h"
#include "common/codec.h"
#include "common/siphash.h"

_Static_assert((int)SIPHASH_KEY_LEN == (int)CLUSTER_ID_LEN, "a cluster's id keys the check");

enum { CURSOR_VERSION = 1, CURSOR_HEAD_LEN = 1 + 8 };

static const char alphabet[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";

static uint64_t check_of(const struct cursor_scan *s, struct bytes key)
{
    uint8_t b[1 + 2 + 2 * (2 + BOUND_MAX) + KEY_MAX];
    struct writer w = {.to = {b, sizeof(b)}};

    put_u8(&w, CURSOR_VERSION);
    put_u8(&w, s->down ? 1 : 0);
    put_u16(&w, (uint16_t)s->low.n);
    put_bytes(&w, s->low);
    put_u16(&w, (uint16_t)s->high.n);
    put_bytes(&w, s->high);
    put_bytes(&w, key);
    CHECK(!w.failed);
    return siphash(s->cluster, (struct bytes){b, w.len});
}

void cursor_write(const struct cursor_scan *s, struct bytes key, char to[static CURSOR_TEXT_MAX])
{
    uint8_t b[CURSOR_BYTES_MAX + 2] = {0}; /* read in threes */
    struct writer w = {.to = {b, CURSOR_BYTES_MAX}};
    size_t n, chars;

    put_u8(&w, CURSOR_VERSION);
    put_u64(&w, check_of(s, key));
    put_bytes(&w, key);
    CHECK(writer_done(&w, &n));
    chars = (n * 4 + 2) / 3;
    for (size_t i = 0; i < chars; i++) {
        const uint8_t *p = b + i / 4 * 3;
        uint32_t three = (uint32_t)p[0] << 16 | (uint32_t)p[1] << 8 | p[2];

        to[i] = alphabet[three >> (18 - 6 * (i % 4)) & 63];
    }
    to[chars] = '\0';
}

static int value_of(char c)
{
    const char *p = c == '\0' ? NULL : strchr(alphabet, c);

    return p == NULL ? -1 : (int)(p - alphabet);
}

/* Bits that a last character has too many must be zero: one cursor, one text. */
static bool from_text(const char *text, uint8_t to[static CURSOR_BYTES_MAX], size_t *ret_n)
{
    uint32_t bits = 0, bits_n = 0;
    size_t n = 0;

    for (; *text != '\0'; text++) {
        int v = value_of(*text);

        if (v < 0) {
            return false;
        }
        bits = (bits << 6 | (uint32_t)v) & 0xffff;
        bits_n += 6;
        if (bits_n >= 8) {
            bits_n -= 8;
            if (n == CURSOR_BYTES_MAX) {
                return false;
            }
            to[n++] = (uint8_t)(bits >> bits_n);
        }
    }
    *ret_n = n;
    return bits_n < 6 && (bits & ((1U << bits_n) - 1)) == 0;
}

RESULT cursor_read(const struct cursor_scan *s, const char *text, uint8_t key_to[static KEY_MAX],
                   size_t *ret_len)
{
    uint8_t b[CURSOR_BYTES_MAX];
    struct reader r = {0};
    struct bytes key;
    uint64_t check;
    size_t n;

    if (!from_text(text, b, &n)) {
        return ERR_MALFORMED;
    }
    r.rest = (struct bytes){b, n};
    if (get_u8(&r) != CURSOR_VERSION) {
        return ERR_MALFORMED;
    }
    check = get_u64(&r);
    key = get_rest(&r);
    if (!reader_done(&r) || key.n == 0) {
        return ERR_MALFORMED;
    }
    if (check != check_of(s, key) || bytes_compare(key, s->low) < 0 ||
        (s->high.n != 0 && bytes_compare(key, s->high) >= 0)) {
        return ERR_MISMATCH;
    }
    memcpy(key_to, key.p, key.n);
    *ret_len = key.n;
    return OK;
}
