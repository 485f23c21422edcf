// SPDX-License-Identifier: Apache-2.0
#include "trusted/wire/client_wire.h"

#include "common/check.h"

_Static_assert((int)CLIENT_REQUEST_HEAD_LEN <= (int)MESSAGE_HEAD_MAX, "fits a question's head");
_Static_assert((int)CLIENT_RESPONSE_HEAD_LEN <= (int)MESSAGE_HEAD_MAX, "fits an answer's head");
_Static_assert(ERR_N <= UINT8_MAX, "a reason is one byte");
_Static_assert((int)KEY_MAX <= (int)UINT16_MAX, "a key length is two bytes");

/* CLI-2: what both ends hold to be one request. */
static bool request_is_legal(const struct client_request *m)
{
    if (m->timeout_ms == 0 || m->timeout_ms > CLIENT_TIMEOUT_MS_MAX) {
        return false;
    }
    if (client_op_is_batch(m->op)) {
        return m->key.n == 0 && m->value.n != 0 && m->value.n <= CLIENT_BODY_MAX;
    }
    if (m->op < CLIENT_GET || m->op > CLIENT_DELETE || m->key.n == 0 || m->key.n > KEY_MAX) {
        return false;
    }
    return m->value.n == 0 || (m->op == CLIENT_PUT && m->value.n <= VALUE_MAX);
}

void client_request_encode_head(const struct client_request *m,
                                uint8_t to[static CLIENT_REQUEST_HEAD_LEN])
{
    struct writer w = {.to.n = CLIENT_REQUEST_HEAD_LEN};

    w.to.p = to;
    CHECK(request_is_legal(m));
    put_u8(&w, (uint8_t)m->op);
    put_u8(&w, 0);
    put_u32(&w, m->timeout_ms);
    put_u16(&w, (uint16_t)m->key.n);
    CHECK(!w.failed && w.len == CLIENT_REQUEST_HEAD_LEN);
}

RESULT client_request_decode(struct bytes from, struct client_request *ret)
{
    struct reader r = {.rest = from};
    uint8_t op = get_u8(&r);
    uint8_t flags = get_u8(&r);
    uint32_t timeout_ms = get_u32(&r);
    uint16_t key_len = get_u16(&r);
    struct bytes key = get_bytes(&r, key_len);
    struct bytes value = get_rest(&r);
    struct client_request m = {
        .op = (enum client_op)op, .timeout_ms = timeout_ms, .key = key, .value = value};

    if (!reader_done(&r) || flags != 0 || !request_is_legal(&m)) {
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
    return m->value.n == 0 || (m->status == OK && m->value.n <= CLIENT_BODY_MAX);
}

void client_response_encode_head(const struct client_response *m,
                                 uint8_t to[static CLIENT_RESPONSE_HEAD_LEN])
{
    struct writer w = {.to.n = CLIENT_RESPONSE_HEAD_LEN};

    w.to.p = to;
    CHECK(response_is_legal(m));
    put_u8(&w, (uint8_t)m->status);
    put_u8(&w, 0);
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

    if (!reader_done(&r) || flags != 0 || !response_is_legal(&m)) {
        return ERR_MALFORMED;
    }
    *ret = m;
    return OK;
}
