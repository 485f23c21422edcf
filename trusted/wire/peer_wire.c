// SPDX-License-Identifier: Apache-2.0
#include "trusted/wire/peer_wire.h"

#include "common/check.h"

_Static_assert((int)PEER_ASK_HEAD_MAX <= (int)MESSAGE_HEAD_MAX, "fits a question's head");
_Static_assert((int)PEER_HOLDS_HEAD_LEN <= (int)MESSAGE_HEAD_MAX, "fits an answer's head");
_Static_assert(ERR_N <= UINT8_MAX, "a reason is one byte");
_Static_assert((int)KEY_MAX <= (int)UINT16_MAX, "a key length is two bytes");

enum {
    PEER_FLAGS_KNOWN = PEER_FLAG_TOMBSTONE,
};

static uint8_t flags_of(bool tombstone)
{
    return tombstone ? PEER_FLAG_TOMBSTONE : 0;
}

/* What both ends hold to be one question. Fields that a kind does not carry are not looked at. */
static bool ask_is_legal(const struct peer_ask *m)
{
    if (peer_ask_is_batch(m->kind)) {
        return m->key.n == 0 && m->value.n != 0;
    }
    if (m->key.n == 0 || m->key.n > KEY_MAX) {
        return false;
    }
    switch (m->kind) {
    case PEER_QUERY:
    case PEER_READ:
        return m->value.n == 0;
    case PEER_APPLY:
        return m->value.n == 0 || (!m->tombstone && m->value.n <= VALUE_MAX);
    case PEER_RANGE:
    case PEER_TAGS:
    case PEER_LOOK:
    case PEER_PUSH:
    default:
        return false;
    }
}

size_t peer_ask_encode_head(const struct peer_ask *m, uint8_t to[static PEER_ASK_HEAD_MAX])
{
    struct writer w = {.to.n = PEER_ASK_HEAD_MAX};

    w.to.p = to;
    CHECK(ask_is_legal(m));
    put_u8(&w, (uint8_t)m->kind);
    if (peer_ask_is_batch(m->kind)) {
        return w.len;
    }
    if (m->kind == PEER_APPLY) {
        put_u8(&w, flags_of(m->tombstone));
    }
    if (m->kind != PEER_QUERY) {
        put_tag(&w, m->tag);
    }
    put_u16(&w, (uint16_t)m->key.n);
    CHECK(!w.failed);
    return w.len;
}

RESULT peer_ask_decode(struct bytes from, struct peer_ask *ret)
{
    struct reader r = {.rest = from};
    struct peer_ask m = {.kind = (enum peer_ask_kind)get_u8(&r)};
    uint8_t flags = 0;

    if (m.kind == PEER_APPLY) {
        flags = get_u8(&r);
    }
    if (m.kind == PEER_READ || m.kind == PEER_APPLY) {
        m.tag = get_tag(&r);
    }
    if (!peer_ask_is_batch(m.kind)) {
        m.key = get_bytes(&r, get_u16(&r));
    }
    m.value = get_rest(&r);
    m.tombstone = (flags & PEER_FLAG_TOMBSTONE) != 0;
    if (!reader_done(&r) || (flags & ~PEER_FLAGS_KNOWN) != 0 || !ask_is_legal(&m)) {
        return ERR_MALFORMED;
    }
    *ret = m;
    return OK;
}

/* What both ends hold to be one answer. Fields that a kind does not carry are not looked at. */
static bool answer_is_legal(const struct peer_answer *m)
{
    switch (m->kind) {
    case PEER_TAG:
    case PEER_APPLIED:
        return true;
    case PEER_REFUSED:
        return m->err != OK && (unsigned)m->err < ERR_N;
    case PEER_HOLDS:
        if (m->holds == PEER_HOLDS_NEWER) {
            return m->value.n == 0 || (!m->tombstone && m->value.n <= VALUE_MAX);
        }
        return m->holds >= PEER_HOLDS_SAME && m->holds <= PEER_HOLDS_DAMAGED && m->value.n == 0;
    case PEER_SAME:
        return m->value.n == 0;
    case PEER_LISTED:
    case PEER_TAGGED:
    case PEER_LOOKED:
    case PEER_PUSHED:
        return m->value.n != 0;
    default:
        return false;
    }
}

size_t peer_answer_len(const struct peer_answer *m)
{
    switch (m->kind) {
    case PEER_TAG:
        return 1 + TAG_WIRE_LEN;
    case PEER_HOLDS:
        return PEER_HOLDS_HEAD_LEN + m->value.n;
    case PEER_REFUSED:
        return 1 + 1;
    case PEER_LISTED:
    case PEER_TAGGED:
    case PEER_LOOKED:
    case PEER_PUSHED:
        return 1 + m->value.n;
    case PEER_SAME:
    case PEER_APPLIED:
    default:
        return 1;
    }
}

RESULT peer_answer_encode(const struct peer_answer *m, struct mbytes to, size_t *ret_len)
{
    struct writer w = {.to = to};

    CHECK(answer_is_legal(m));
    if (to.n < peer_answer_len(m)) {
        return ERR_TOO_BIG;
    }
    put_u8(&w, (uint8_t)m->kind);
    switch (m->kind) {
    case PEER_TAG:
        put_tag(&w, m->tag);
        break;
    case PEER_HOLDS:
        put_u8(&w, (uint8_t)m->holds);
        put_u8(&w, flags_of(m->tombstone && m->holds == PEER_HOLDS_NEWER));
        put_tag(&w, m->tag);
        put_bytes(&w, m->value);
        break;
    case PEER_REFUSED:
        put_u8(&w, (uint8_t)m->err);
        break;
    case PEER_LISTED:
    case PEER_TAGGED:
    case PEER_LOOKED:
    case PEER_PUSHED:
        put_bytes(&w, m->value);
        break;
    case PEER_SAME:
    case PEER_APPLIED:
    default:
        break;
    }
    CHECK(writer_done(&w, ret_len));
    return OK;
}

RESULT peer_answer_decode(struct bytes from, struct peer_answer *ret)
{
    struct reader r = {.rest = from};
    struct peer_answer m = {.kind = (enum peer_answer_kind)get_u8(&r)};
    uint8_t flags = 0;

    switch (m.kind) {
    case PEER_TAG:
        m.tag = get_tag(&r);
        break;
    case PEER_HOLDS:
        m.holds = (enum peer_holds)get_u8(&r);
        flags = get_u8(&r);
        m.tag = get_tag(&r);
        m.value = get_rest(&r);
        break;
    case PEER_REFUSED:
        m.err = (enum err)get_u8(&r);
        break;
    case PEER_LISTED:
    case PEER_TAGGED:
    case PEER_LOOKED:
    case PEER_PUSHED:
        m.value = get_rest(&r);
        break;
    case PEER_SAME:
    case PEER_APPLIED:
    default:
        break;
    }
    m.tombstone = (flags & PEER_FLAG_TOMBSTONE) != 0;
    if (!reader_done(&r) || (flags & ~PEER_FLAGS_KNOWN) != 0 || !answer_is_legal(&m) ||
        (m.tombstone && m.holds != PEER_HOLDS_NEWER)) {
        return ERR_MALFORMED;
    }
    *ret = m;
    return OK;
}
