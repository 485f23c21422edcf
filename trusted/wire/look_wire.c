// SPDX-License-Identifier: Apache-2.0
#include "trusted/wire/look_wire.h"

#include "common/check.h"
#include "common/codec.h"

enum { LOOK_FLAG_VALUES = 1 };

void look_ask_encode_head(bool values, uint32_t n, uint8_t to[static LOOK_ASK_HEAD_LEN])
{
    struct writer w = {.to.n = LOOK_ASK_HEAD_LEN};

    CHECK(n >= 1 && n <= LOOK_KEYS_MAX);
    w.to.p = to;
    put_u8(&w, values ? LOOK_FLAG_VALUES : 0);
    put_u16(&w, (uint16_t)n);
}

RESULT look_ask_decode(struct bytes from, struct look_ask *ret)
{
    struct reader r = {.rest = from};
    uint8_t flags = get_u8(&r);
    uint16_t n = get_u16(&r);

    if (flags > LOOK_FLAG_VALUES || n < 1 || n > LOOK_KEYS_MAX) {
        return ERR_MALFORMED;
    }
    for (uint16_t i = 0; i < n; i++) {
        ret->keys[i] = get_bytes(&r, get_u16(&r));
        if (ret->keys[i].n < 1 || ret->keys[i].n > KEY_MAX) {
            return ERR_MALFORMED;
        }
    }
    ret->values = flags == LOOK_FLAG_VALUES;
    ret->n = n;
    return reader_done(&r) ? OK : ERR_MALFORMED;
}

size_t look_witness_encode(const struct look_witness *m, uint8_t to[static LOOK_WITNESS_MAX])
{
    struct writer w = {.to.n = LOOK_WITNESS_MAX};

    CHECK(m->members_n <= NODES_MAX && m->place < m->members_n);
    w.to.p = to;
    put_u64(&w, m->epoch);
    put_u32(&w, m->gc);
    put_u8(&w, m->majority);
    put_u8(&w, m->place);
    put_u8(&w, m->members_n);
    for (uint8_t i = 0; i < m->members_n; i++) {
        put_u64(&w, m->bonds[i]);
    }
    return w.len;
}

RESULT look_witness_decode(struct bytes *from, struct look_witness *ret)
{
    struct reader r = {.rest = *from};
    struct look_witness m = {.epoch = get_u64(&r)};

    m.gc = get_u32(&r);
    m.majority = get_u8(&r);
    m.place = get_u8(&r);
    m.members_n = get_u8(&r);
    if (m.members_n > NODES_MAX || m.place >= m.members_n || m.majority < 1 ||
        m.majority > m.members_n) {
        return ERR_MALFORMED;
    }
    for (uint8_t i = 0; i < m.members_n; i++) {
        m.bonds[i] = get_u64(&r);
    }
    if (r.failed) {
        return ERR_MALFORMED;
    }
    *from = r.rest;
    *ret = m;
    return OK;
}

bool look_witnesses_agree(const struct look_witness *a, const struct look_witness *b)
{
    return a->epoch == b->epoch && a->gc == b->gc && a->majority == b->majority &&
           a->members_n == b->members_n && a->place != b->place && a->bonds[b->place] != 0 &&
           a->bonds[b->place] == b->bonds[a->place];
}

size_t look_item_encode_head(const struct look_item *m, bool values, uint32_t value_len,
                             uint8_t to[static LOOK_VALUE_ITEM_LEN])
{
    struct writer w = {.to.n = LOOK_VALUE_ITEM_LEN};

    w.to.p = to;
    put_u8(&w, (uint8_t)m->state);
    put_tag(&w, m->tag);
    if (values) {
        put_u32(&w, value_len);
    }
    return w.len;
}

/* One state has one form. */
static bool item_is_legal(const struct look_item *m)
{
    switch (m->state) {
    case LOOK_LIVE:
        return !tag_is_zero(m->tag);
    case LOOK_TOMBSTONE:
        return !tag_is_zero(m->tag) && m->value.n == 0;
    case LOOK_ABSENT:
    case LOOK_ASK:
        return tag_is_zero(m->tag) && m->value.n == 0;
    case LOOK_STATES_N:
    default:
        return false;
    }
}

RESULT look_items_decode(struct bytes from, bool values, uint32_t n,
                         struct look_item ret[static LOOK_KEYS_MAX])
{
    struct reader r = {.rest = from};

    CHECK(n >= 1 && n <= LOOK_KEYS_MAX);
    for (uint32_t i = 0; i < n; i++) {
        struct look_item *m = &ret[i];

        m->state = (enum look_state)get_u8(&r);
        m->tag = get_tag(&r);
        m->value = values ? get_bytes(&r, get_u32(&r)) : (struct bytes){0};
        if (!item_is_legal(m)) {
            return ERR_MALFORMED;
        }
    }
    return reader_done(&r) ? OK : ERR_MALFORMED;
}
