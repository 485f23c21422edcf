// SPDX-License-Identifier: Apache-2.0
#ifndef COMMON_CODEC_H
#define COMMON_CODEC_H

#include "common/bytes.h"

/*
 * Little-endian cursors with a sticky failure flag. Read or write every field in order, then ask
 * once: reader_done() or writer_done(). After a failure getters return zero and move nothing, so a
 * decoder is straight-line code -- but nothing it read may be used before reader_done() said yes.
 *
 * Integers move by fixed-size memcpy, which compilers turn into one load or store.
 */
_Static_assert(__BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__, "the wire is little-endian, so are we");

struct reader {
    struct bytes rest;
    bool failed;
};

static inline struct bytes get_bytes(struct reader *r, size_t n)
{
    struct bytes out = {0};

    if (r->failed || n > r->rest.n) {
        r->failed = true;
        return out;
    }
    if (n != 0) {
        out = (struct bytes){.p = r->rest.p, .n = n};
        r->rest = (struct bytes){.p = r->rest.p + n, .n = r->rest.n - n};
    }
    return out;
}

/* Exactly n bytes, copied. A failure leaves `to` as it is. */
static inline void get_array(struct reader *r, uint8_t *to, size_t n)
{
    struct bytes b = get_bytes(r, n);

    if (!r->failed && n != 0) {
        memcpy(to, b.p, n);
    }
}

/* Everything that is left; leaves the reader at its end. */
static inline struct bytes get_rest(struct reader *r)
{
    return get_bytes(r, r->rest.n);
}

#define CODEC_GETTER(name, type)                                                                   \
    static inline type name(struct reader *r)                                                      \
    {                                                                                              \
        type v = 0;                                                                                \
                                                                                                   \
        if (r->failed || r->rest.n < sizeof(v)) {                                                  \
            r->failed = true;                                                                      \
            return 0;                                                                              \
        }                                                                                          \
        memcpy(&v, r->rest.p, sizeof(v));                                                          \
        r->rest.p += sizeof(v);                                                                    \
        r->rest.n -= sizeof(v);                                                                    \
        return v;                                                                                  \
    }
CODEC_GETTER(get_u8, uint8_t)
CODEC_GETTER(get_u16, uint16_t)
CODEC_GETTER(get_u32, uint32_t)
CODEC_GETTER(get_u64, uint64_t)
#undef CODEC_GETTER

/* True iff every get succeeded and nothing is left over: one message has one encoding. */
static inline bool reader_done(const struct reader *r)
{
    return !r->failed && r->rest.n == 0;
}

struct writer {
    struct mbytes to;
    size_t len;
    bool failed;
};

static inline void put_bytes(struct writer *w, struct bytes b)
{
    if (w->failed || b.n > w->to.n - w->len) {
        w->failed = true;
        return;
    }
    if (b.n != 0) {
        memcpy(w->to.p + w->len, b.p, b.n);
        w->len += b.n;
    }
}

#define CODEC_PUTTER(name, type)                                                                   \
    static inline void name(struct writer *w, type v)                                              \
    {                                                                                              \
        if (w->failed || sizeof(v) > w->to.n - w->len) {                                           \
            w->failed = true;                                                                      \
            return;                                                                                \
        }                                                                                          \
        memcpy(w->to.p + w->len, &v, sizeof(v));                                                   \
        w->len += sizeof(v);                                                                       \
    }
CODEC_PUTTER(put_u8, uint8_t)
CODEC_PUTTER(put_u16, uint16_t)
CODEC_PUTTER(put_u32, uint32_t)
CODEC_PUTTER(put_u64, uint64_t)
#undef CODEC_PUTTER

/* True and sets *ret_len iff everything fitted. */
static inline bool writer_done(const struct writer *w, size_t *ret_len)
{
    if (w->failed) {
        return false;
    }
    *ret_len = w->len;
    return true;
}

#endif
