// SPDX-License-Identifier: Apache-2.0
#include "trusted/las/las_wire.h"

#include "common/check.h"
#include "common/codec.h"

#include <stdio.h>

enum { VERSION = 1 };

size_t las_request_write(const struct las_request *m, struct mbytes to)
{
    struct writer w = {.to = to};
    size_t n = 0;

    put_u8(&w, VERSION);
    put_u8(&w, (uint8_t)m->kind);
    if (m->kind == LAS_MEASURE) {
        put_bytes(&w, (struct bytes){m->challenge, sizeof(m->challenge)});
    }
    if (m->kind == LAS_MEASURE || m->kind == LAS_REPORT) {
        put_bytes(&w, (struct bytes){m->binding.key_hash, sizeof(m->binding.key_hash)});
        put_bytes(&w, (struct bytes){m->binding.nonce, sizeof(m->binding.nonce)});
    }
    if (m->kind == LAS_REPORT) {
        put_bytes(&w, (struct bytes){m->report, sizeof(m->report)});
    }
    CHECK(writer_done(&w, &n));
    return n;
}

RESULT las_request_read(struct bytes b, struct las_request *ret)
{
    struct reader r = {.rest = b};
    struct las_request m = {0};
    uint8_t version = get_u8(&r), kind = get_u8(&r);

    if (version != VERSION || kind < LAS_HELLO || kind > LAS_REPORT) {
        return ERR_MALFORMED;
    }
    m.kind = (enum las_request_kind)kind;
    if (m.kind == LAS_MEASURE) {
        get_array(&r, m.challenge, sizeof(m.challenge));
    }
    if (m.kind == LAS_MEASURE || m.kind == LAS_REPORT) {
        get_array(&r, m.binding.key_hash, sizeof(m.binding.key_hash));
        get_array(&r, m.binding.nonce, sizeof(m.binding.nonce));
    }
    if (m.kind == LAS_REPORT) {
        get_array(&r, m.report, sizeof(m.report));
    }
    if (!reader_done(&r)) {
        return ERR_MALFORMED;
    }
    *ret = m;
    return OK;
}

size_t las_reply_write(const struct las_reply *m, enum las_request_kind of, struct mbytes to)
{
    struct writer w = {.to = to};
    size_t n = 0;

    put_u8(&w, VERSION);
    put_u8(&w, (uint8_t)m->err);
    if (m->err != OK) {
        put_bytes(&w, (struct bytes){(const uint8_t *)m->text, strnlen(m->text, sizeof(m->text))});
    } else if (of == LAS_HELLO) {
        put_bytes(&w, (struct bytes){m->challenge, sizeof(m->challenge)});
    } else if (of == LAS_TARGET) {
        put_bytes(&w, (struct bytes){m->target, sizeof(m->target)});
    } else {
        put_bytes(&w, (struct bytes){m->token, m->token_n});
    }
    CHECK(writer_done(&w, &n));
    return n;
}

RESULT las_reply_read(struct bytes b, enum las_request_kind of, struct las_reply *ret)
{
    struct reader r = {.rest = b};
    struct las_reply m = {0};
    uint8_t version = get_u8(&r), err = get_u8(&r);
    struct bytes rest = get_rest(&r);

    if (!reader_done(&r) || version != VERSION || err >= ERR_N) {
        return ERR_MALFORMED;
    }
    m.err = (enum err)err;
    if (m.err != OK) {
        if (rest.n >= sizeof(m.text)) {
            return ERR_MALFORMED;
        }
        for (size_t i = 0; i < rest.n; i++) {
            m.text[i] = '?';
            if (rest.p[i] >= ' ' && rest.p[i] <= '~') {
                m.text[i] = (char)rest.p[i];
            }
        }
    } else if (of == LAS_HELLO) {
        if (rest.n != sizeof(m.challenge)) {
            return ERR_MALFORMED;
        }
        memcpy(m.challenge, rest.p, rest.n);
    } else if (of == LAS_TARGET) {
        if (rest.n != sizeof(m.target)) {
            return ERR_MALFORMED;
        }
        memcpy(m.target, rest.p, rest.n);
    } else {
        if (rest.n == 0 || rest.n > sizeof(m.token)) {
            return ERR_MALFORMED;
        }
        memcpy(m.token, rest.p, rest.n);
        m.token_n = rest.n;
    }
    *ret = m;
    return OK;
}
