// SPDX-License-Identifier: Apache-2.0
#include "trusted/wire/peer_wire.h"

#include "common/check.h"

_Static_assert((int)PEER_ASK_HEAD_MAX <= (int)MESSAGE_HEAD_MAX, "fits a question's head");
_Static_assert((int)PEER_HOLDS_HEAD_LEN <= (int)MESSAGE_HEAD_MAX, "fits an answer's head");
_Static_assert(ERR_N <= UINT8_MAX, "a reason is one byte");
_Static_assert((int)KEY_MAX <= (int)UINT16_MAX, "a key length is two bytes");

_Static_assert((int)PEER_INSTANCE_HEAD_LEN <= (int)MESSAGE_HEAD_MAX, "fits an answer's head");

static uint8_t flags_of(bool tombstone)
{
    return tombstone ? PEER_FLAG_TOMBSTONE : 0;
}

/* A value is where it belongs and within the limit: none without `given`, none in a tombstone. */
static bool value_is_legal(struct bytes value, bool given, bool tombstone)
{
    return given ? value.n == 0 || (!tombstone && value.n <= VALUE_MAX)
                 : value.n == 0 && !tombstone;
}

static bool is_rmw(enum peer_ask_kind kind)
{
    return kind == PEER_PREPARE || kind == PEER_ACCEPT || kind == PEER_COMMIT;
}

static bool has_tag(enum peer_ask_kind kind)
{
    return kind == PEER_READ || peer_ask_is_write(kind) || is_rmw(kind) || peer_ask_is_copy(kind);
}

/* What both ends hold to be one question. Fields that a kind does not carry are not looked at. */
static bool ask_is_legal(const struct peer_ask *m)
{
    if (peer_ask_is_batch(m->kind)) {
        return m->key.n == 0 && m->value.n != 0;
    }
    if ((m->key.n == 0 && !peer_ask_is_copy(m->kind)) || m->key.n > KEY_MAX) {
        return false;
    }
    switch (m->kind) {
    case PEER_COPY:
        return m->value.n == 0 && (m->key.n != 0 || tag_is_zero(m->tag));
    case PEER_COPY_ABSENT:
        return m->value.n == 0 && tag_is_zero(m->tag);
    case PEER_COPY_GC:
        return m->value.n == 0 && tag_is_zero(m->tag) && m->key.n == 0;
    case PEER_QUERY:
    case PEER_READ:
        return m->value.n == 0;
    case PEER_APPLY:
    case PEER_OFFER:
        return value_is_legal(m->value, true, m->tombstone);
    case PEER_PREPARE:
        return value_is_legal(m->value, false, m->tombstone);
    case PEER_ACCEPT:
        return value_is_legal(m->value, true, m->tombstone);
    case PEER_COMMIT:
        return value_is_legal(m->value, m->value_given, m->tombstone);
    case PEER_RANGE:
    case PEER_TAGS:
    case PEER_LOOK:
    case PEER_PUSH:
    case PEER_COLLECT:
    default:
        return false;
    }
}

static uint8_t ask_flags(const struct peer_ask *m)
{
    bool given = m->kind == PEER_COMMIT && m->value_given;
    bool decides = m->kind == PEER_ACCEPT && m->decides;

    return (uint8_t)(flags_of(m->tombstone) | (given ? PEER_FLAG_VALUE : 0) |
                     (decides ? PEER_FLAG_DECIDES : 0));
}

size_t peer_ask_encode_head(const struct peer_ask *m, uint8_t to[static PEER_ASK_HEAD_MAX])
{
    struct writer w = {.to.n = PEER_ASK_HEAD_MAX};

    w.to.p = to;
    CHECK(ask_is_legal(m));
    put_u8(&w, (uint8_t)m->kind);
    put_u32(&w, m->gc);
    if (peer_ask_is_batch(m->kind)) {
        return w.len;
    }
    if (peer_ask_is_write(m->kind) || is_rmw(m->kind)) {
        put_u8(&w, ask_flags(m));
    }
    if (has_tag(m->kind)) {
        put_tag(&w, m->tag);
    }
    if (is_rmw(m->kind)) {
        put_u64(&w, m->ballot);
        put_rmw_id(&w, m->op);
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

    m.gc = get_u32(&r);
    if (peer_ask_is_write(m.kind) || is_rmw(m.kind)) {
        flags = get_u8(&r);
    }
    if (has_tag(m.kind)) {
        m.tag = get_tag(&r);
    }
    if (is_rmw(m.kind)) {
        m.ballot = get_u64(&r);
        m.op = get_rmw_id(&r);
    }
    if (!peer_ask_is_batch(m.kind)) {
        m.key = get_bytes(&r, get_u16(&r));
    }
    m.value = get_rest(&r);
    m.tombstone = (flags & PEER_FLAG_TOMBSTONE) != 0;
    m.value_given = (flags & PEER_FLAG_VALUE) != 0;
    m.decides = (flags & PEER_FLAG_DECIDES) != 0;
    if (!reader_done(&r) || flags != ask_flags(&m) || !ask_is_legal(&m)) {
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
    case PEER_PAGE:
        return true;
    case PEER_REFUSED:
        return m->err != OK && (unsigned)m->err < ERR_N;
    case PEER_HOLDS:
        if (m->holds == PEER_HOLDS_NEWER) {
            return m->value.n == 0 || (!m->tombstone && m->value.n <= VALUE_MAX);
        }
        return m->holds >= PEER_HOLDS_SAME && m->holds <= PEER_HOLDS_DAMAGED && m->value.n == 0;
    case PEER_INSTANCE:
        return m->instance >= PEER_PROMISED && m->instance <= PEER_CLOSED &&
               value_is_legal(m->value, m->value_given, m->tombstone);
    case PEER_SAME:
        return m->value.n == 0;
    case PEER_LISTED:
    case PEER_TAGGED:
    case PEER_LOOKED:
    case PEER_PUSHED:
    case PEER_COLLECTED:
        return m->value.n != 0;
    default:
        return false;
    }
}

static uint8_t instance_flags(const struct peer_answer *m)
{
    return (uint8_t)(flags_of(m->tombstone) | (m->value_given ? PEER_FLAG_VALUE : 0) |
                     (m->holds_base ? PEER_FLAG_HOLDS_BASE : 0) |
                     (m->helped ? PEER_FLAG_HELPED : 0) | (m->committed ? PEER_FLAG_COMMITTED : 0));
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
    case PEER_INSTANCE:
        return PEER_INSTANCE_HEAD_LEN + m->value.n;
    case PEER_LISTED:
    case PEER_TAGGED:
    case PEER_LOOKED:
    case PEER_PUSHED:
    case PEER_COLLECTED:
        return 1 + m->value.n;
    case PEER_PAGE:
        return 1 + 1 + m->value.n;
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
    case PEER_INSTANCE:
        put_u8(&w, (uint8_t)m->instance);
        put_u8(&w, instance_flags(m));
        put_tag(&w, m->tag);
        put_u64(&w, m->ballot);
        put_rmw_id(&w, m->op);
        put_bytes(&w, m->value);
        break;
    case PEER_LISTED:
    case PEER_TAGGED:
    case PEER_LOOKED:
    case PEER_PUSHED:
    case PEER_COLLECTED:
        put_bytes(&w, m->value);
        break;
    case PEER_PAGE:
        put_u8(&w, m->last ? PEER_FLAG_LAST : 0);
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

static uint8_t get_instance(struct reader *r, struct peer_answer *m)
{
    uint8_t flags;

    m->instance = (enum peer_instance)get_u8(r);
    flags = get_u8(r);
    m->tag = get_tag(r);
    m->ballot = get_u64(r);
    m->op = get_rmw_id(r);
    m->value = get_rest(r);
    m->value_given = (flags & PEER_FLAG_VALUE) != 0;
    m->holds_base = (flags & PEER_FLAG_HOLDS_BASE) != 0;
    m->helped = (flags & PEER_FLAG_HELPED) != 0;
    m->committed = (flags & PEER_FLAG_COMMITTED) != 0;
    return flags;
}

/* The flags that belong to the message, as its encoder would write them. */
static uint8_t answer_flags(const struct peer_answer *m)
{
    switch (m->kind) {
    case PEER_HOLDS:
        return flags_of(m->tombstone && m->holds == PEER_HOLDS_NEWER);
    case PEER_INSTANCE:
        return instance_flags(m);
    case PEER_PAGE:
        return m->last ? PEER_FLAG_LAST : 0;
    case PEER_TAG:
    case PEER_APPLIED:
    case PEER_REFUSED:
    case PEER_SAME:
    case PEER_LISTED:
    case PEER_TAGGED:
    case PEER_LOOKED:
    case PEER_PUSHED:
    case PEER_COLLECTED:
    default:
        return 0;
    }
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
    case PEER_INSTANCE:
        flags = get_instance(&r, &m);
        break;
    case PEER_LISTED:
    case PEER_TAGGED:
    case PEER_LOOKED:
    case PEER_PUSHED:
    case PEER_COLLECTED:
        m.value = get_rest(&r);
        break;
    case PEER_PAGE:
        flags = get_u8(&r);
        m.value = get_rest(&r);
        m.last = (flags & PEER_FLAG_LAST) != 0;
        break;
    case PEER_SAME:
    case PEER_APPLIED:
    default:
        break;
    }
    m.tombstone = m.kind != PEER_PAGE && (flags & PEER_FLAG_TOMBSTONE) != 0;
    if (!reader_done(&r) || flags != answer_flags(&m) || !answer_is_legal(&m)) {
        return ERR_MALFORMED;
    }
    *ret = m;
    return OK;
}
