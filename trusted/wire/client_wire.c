// SPDX-License-Identifier: Apache-2.0
#include "trusted/wire/client_wire.h"

#include "common/check.h"

_Static_assert((int)CLIENT_REQUEST_HEAD_MAX <= (int)MESSAGE_HEAD_MAX, "fits a question's head");
_Static_assert((int)CLIENT_RESPONSE_HEAD_LEN <= (int)MESSAGE_HEAD_MAX, "fits an answer's head");
_Static_assert(ERR_N <= UINT8_MAX, "a reason is one byte");
_Static_assert((int)KEY_MAX <= (int)UINT16_MAX, "a key length is two bytes");

/* CLI-16: which parts a read-modify-write has. */
static bool rmw_is_legal(const struct client_request *m)
{
    size_t expect_n = m->expect_len;

    if (expect_n > m->value.n || m->value.n > VALUE_MAX) {
        return false;
    }
    switch (m->rmw) {
    case CLIENT_RMW_CAS:
        return m->delta == 0;
    case CLIENT_RMW_PUT_NEW:
    case CLIENT_RMW_APPEND:
    case CLIENT_RMW_GET_SET:
        return m->delta == 0 && expect_n == 0;
    case CLIENT_RMW_INCR:
        return m->value.n == 0;
    case CLIENT_RMW_DELETE_IF:
        return m->delta == 0 && expect_n == m->value.n;
    default:
        return false;
    }
}

/* CLI-2: what both ends hold to be one request. */
bool client_request_is_legal(const struct client_request *m)
{
    if (m->timeout_ms == 0 || m->timeout_ms > CLIENT_TIMEOUT_MS_MAX) {
        return false;
    }
    if (client_op_is_batch(m->op)) {
        return m->group < GROUPS_MAX && m->key.n == 0 && m->value.n != 0 &&
               m->value.n <= CLIENT_BODY_MAX;
    }
    if (m->key.n == 0 || m->key.n > KEY_MAX || m->group != 0) {
        return false;
    }
    switch (m->op) {
    case CLIENT_GET:
    case CLIENT_DELETE:
        return m->value.n == 0;
    case CLIENT_PUT:
        return m->value.n <= VALUE_MAX;
    case CLIENT_RMW:
        return rmw_is_legal(m);
    case CLIENT_SCAN:
    case CLIENT_MGET:
    case CLIENT_MPUT:
    case CLIENT_LOOK:
    default:
        return false;
    }
}

size_t client_request_encode_head(const struct client_request *m,
                                  uint8_t to[static CLIENT_REQUEST_HEAD_MAX])
{
    struct writer w = {.to.n = CLIENT_REQUEST_HEAD_MAX};

    w.to.p = to;
    CHECK(client_request_is_legal(m));
    put_u8(&w, (uint8_t)m->op);
    put_u8(&w, m->group);
    put_u32(&w, m->timeout_ms);
    put_u16(&w, (uint16_t)m->key.n);
    if (m->op == CLIENT_RMW) {
        put_u8(&w, (uint8_t)m->rmw);
        put_u64(&w, (uint64_t)m->delta);
        put_u32(&w, m->expect_len);
    }
    CHECK(!w.failed);
    return w.len;
}

RESULT client_request_decode(struct bytes from, struct client_request *ret)
{
    struct reader r = {.rest = from};
    struct client_request m = {.op = (enum client_op)get_u8(&r)};
    uint16_t key_len;

    m.group = get_u8(&r);
    m.timeout_ms = get_u32(&r);
    key_len = get_u16(&r);
    if (m.op == CLIENT_RMW) {
        m.rmw = (enum client_rmw)get_u8(&r);
        m.delta = (int64_t)get_u64(&r);
        m.expect_len = get_u32(&r);
    }
    m.key = get_bytes(&r, key_len);
    m.value = get_rest(&r);
    if (!reader_done(&r) || !client_request_is_legal(&m)) {
        return ERR_MALFORMED;
    }
    *ret = m;
    return OK;
}

/* CLI-3: what both ends hold to be one response. */
static bool response_is_legal(const struct client_response *m)
{
    if ((unsigned)m->status >= ERR_N) {
        return false;
    }
    if (m->lacks != 0 && (m->status != ERR_POLICY || m->lacks > CLIENT_RIGHTS)) {
        return false;
    }
    if (m->absent) {
        return m->status == OK && m->value.n == 0;
    }
    return m->value.n == 0 || (m->status == OK && m->value.n <= CLIENT_BODY_MAX) ||
           (m->status == ERR_MISMATCH && m->value.n <= VALUE_MAX);
}

void client_response_encode_head(const struct client_response *m,
                                 uint8_t to[static CLIENT_RESPONSE_HEAD_LEN])
{
    struct writer w = {.to.n = CLIENT_RESPONSE_HEAD_LEN};

    w.to.p = to;
    CHECK(response_is_legal(m));
    put_u8(&w, (uint8_t)m->status);
    put_u8(&w, m->absent ? CLIENT_FLAG_ABSENT : m->lacks);
    put_tag(&w, m->tag);
    CHECK(!w.failed && w.len == CLIENT_RESPONSE_HEAD_LEN);
}

RESULT client_response_decode(struct bytes from, struct client_response *ret)
{
    struct reader r = {.rest = from};
    uint8_t status = get_u8(&r);
    uint8_t flags = get_u8(&r);
    struct tag tag = get_tag(&r);
    struct bytes value = get_rest(&r);
    struct client_response m = {.status = (enum err)status, .tag = tag, .value = value};

    if (m.status == ERR_POLICY) {
        m.lacks = flags;
    } else {
        m.absent = flags == CLIENT_FLAG_ABSENT;
        r.failed |= flags > CLIENT_FLAG_ABSENT;
    }
    if (!reader_done(&r) || !response_is_legal(&m)) {
        return ERR_MALFORMED;
    }
    *ret = m;
    return OK;
}
