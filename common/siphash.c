// SPDX-License-Identifier: Apache-2.0
#include "common/siphash.h"

struct state {
    uint64_t a, b, c, d;
};

static inline uint64_t load(const uint8_t *p)
{
    uint64_t v;

    _Static_assert(__BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__, "words are little-endian");
    memcpy(&v, p, sizeof(v));
    return v;
}

static inline uint64_t rotate(uint64_t v, unsigned by)
{
    return v << by | v >> (64 - by);
}

static inline void round_once(struct state *s)
{
    s->a += s->b;
    s->c += s->d;
    s->b = rotate(s->b, 13) ^ s->a;
    s->d = rotate(s->d, 16) ^ s->c;
    s->a = rotate(s->a, 32);
    s->a += s->d;
    s->c += s->b;
    s->d = rotate(s->d, 21) ^ s->a;
    s->b = rotate(s->b, 17) ^ s->c;
    s->c = rotate(s->c, 32);
}

static inline void absorb(struct state *s, uint64_t word)
{
    s->d ^= word;
    round_once(s);
    round_once(s);
    s->a ^= word;
}

static inline struct state begin(const uint8_t key[static SIPHASH_KEY_LEN])
{
    uint64_t k0 = load(key), k1 = load(key + 8);

    return (struct state){
        .a = k0 ^ UINT64_C(0x736f6d6570736575),
        .b = k1 ^ UINT64_C(0x646f72616e646f6d),
        .c = k0 ^ UINT64_C(0x6c7967656e657261),
        .d = k1 ^ UINT64_C(0x7465646279746573),
    };
}

static inline void absorb_all(struct state *s, struct bytes b)
{
    uint64_t last = (uint64_t)b.n << 56;
    size_t whole = b.n & ~(size_t)7;

    for (size_t i = 0; i < whole; i += 8) {
        absorb(s, load(b.p + i));
    }
    for (size_t i = whole; i < b.n; i++) {
        last |= (uint64_t)b.p[i] << 8 * (i - whole);
    }
    absorb(s, last);
}

static inline uint64_t squeeze(struct state *s)
{
    for (int i = 0; i < 4; i++) {
        round_once(s);
    }
    return s->a ^ s->b ^ s->c ^ s->d;
}

uint64_t siphash(const uint8_t key[static SIPHASH_KEY_LEN], struct bytes b)
{
    struct state s = begin(key);

    absorb_all(&s, b);
    s.c ^= 0xff;
    return squeeze(&s);
}

void siphash_wide(const uint8_t key[static SIPHASH_KEY_LEN], struct bytes b, uint64_t ret[static 2])
{
    struct state s = begin(key);

    s.b ^= 0xee;
    absorb_all(&s, b);
    s.c ^= 0xee;
    ret[0] = squeeze(&s);
    s.b ^= 0xdd;
    ret[1] = squeeze(&s);
}
