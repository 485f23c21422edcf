// SPDX-License-Identifier: Apache-2.0
#include "trusted/wire/hello_wire.h"

static void put_hello(struct writer *w, const struct control_message *m)
{
    put_u16(w, m->version);
    put_u8(w, (uint8_t)m->role);
    put_u64(w, m->epoch);
    put_u32(w, m->incarnation);
    put_bytes(w, (struct bytes){.p = m->boot, .n = sizeof(m->boot)});
    put_u16(w, m->shards_n);
    for (uint16_t i = 0; i < m->shards_n; i++) {
        put_u32(w, m->index[i]);
    }
}

static void put_welcome(struct writer *w, const struct control_message *m)
{
    put_u16(w, m->version);
    put_u64(w, m->epoch);
    put_u32(w, m->incarnation);
    put_bytes(w, (struct bytes){.p = m->boot, .n = sizeof(m->boot)});
    put_u32(w, m->datagram_bytes);
    put_u32(w, m->value_max);
    put_u16(w, m->shards_n);
    for (uint16_t i = 0; i < m->shards_n; i++) {
        put_u32(w, m->index[i]);
        put_u16(w, m->port[i]);
    }
}

RESULT control_message_encode(const struct control_message *m, struct mbytes to, size_t *ret_len)
{
    struct writer w = {.to = to};
    size_t len = 0;
    uint32_t body = 0;

    if (m->shards_n > SHARDS_MAX) {
        return ERR_TOO_BIG;
    }
    put_u32(&w, 0); /* the length, known at the end */
    put_u8(&w, (uint8_t)m->kind);
    switch (m->kind) {
    case CONTROL_HELLO:
        put_hello(&w, m);
        break;
    case CONTROL_WELCOME:
        put_welcome(&w, m);
        break;
    case CONTROL_STATUS:
        break;
    case CONTROL_REPORT:
        put_bytes(&w, m->text);
        break;
    case CONTROL_CONFIG:
        if (m->text.n > CONTROL_CONFIG_TEXT_MAX || m->sig.n > CONTROL_SIGNATURE_MAX) {
            return ERR_TOO_BIG;
        }
        put_u8(&w, (uint8_t)m->sig.n);
        put_bytes(&w, m->sig);
        put_bytes(&w, m->text);
        break;
    case CONTROL_BYE:
        if (m->text.n > CONTROL_BYE_TEXT_MAX) {
            return ERR_TOO_BIG;
        }
        put_u8(&w, (uint8_t)m->err);
        put_bytes(&w, m->text);
        break;
    }
    if (!writer_done(&w, &len) || len - sizeof(body) > CONTROL_MESSAGE_MAX) {
        return ERR_TOO_BIG;
    }
    body = (uint32_t)(len - sizeof(body));
    memcpy(to.p, &body, sizeof(body));
    *ret_len = len;
    return OK;
}

static void get_shards_n(struct reader *r, struct control_message *m)
{
    m->shards_n = get_u16(r);
    if (m->shards_n < 1 || m->shards_n > SHARDS_MAX) {
        m->shards_n = 0;
        r->failed = true;
    }
}

static void get_hello(struct reader *r, struct control_message *m)
{
    m->role = (enum control_role)get_u8(r);
    m->epoch = get_u64(r);
    m->incarnation = get_u32(r);
    get_array(r, m->boot, sizeof(m->boot));
    get_shards_n(r, m);
    for (uint16_t i = 0; i < m->shards_n; i++) {
        m->index[i] = get_u32(r);
    }
    if (m->role == ROLE_REPLICA) {
        r->failed |= m->epoch == 0 || m->incarnation == 0;
    } else {
        r->failed |= m->role != ROLE_CLIENT || m->incarnation != 0;
    }
}

static void get_welcome(struct reader *r, struct control_message *m)
{
    m->epoch = get_u64(r);
    m->incarnation = get_u32(r);
    get_array(r, m->boot, sizeof(m->boot));
    m->datagram_bytes = get_u32(r);
    m->value_max = get_u32(r);
    get_shards_n(r, m);
    for (uint16_t i = 0; i < m->shards_n; i++) {
        m->index[i] = get_u32(r);
        m->port[i] = get_u16(r);
        r->failed |= m->port[i] == 0;
    }
    r->failed |= m->epoch == 0 || m->incarnation == 0;
    r->failed |= m->datagram_bytes < DATAGRAM_MIN || m->datagram_bytes > DATAGRAM_MAX;
    r->failed |= m->value_max < 1 || m->value_max > VALUE_MAX;
}

static void get_bye(struct reader *r, struct control_message *m)
{
    uint8_t err = get_u8(r);

    m->err = (enum err)err;
    m->text = get_rest(r);
    r->failed |= err >= ERR_N || m->text.n > CONTROL_BYE_TEXT_MAX;
}

static void get_config(struct reader *r, struct control_message *m)
{
    m->sig = get_bytes(r, get_u8(r));
    m->text = get_rest(r);
    r->failed |= m->sig.n == 0 || m->sig.n > CONTROL_SIGNATURE_MAX || m->text.n == 0 ||
                 m->text.n > CONTROL_CONFIG_TEXT_MAX;
}

RESULT control_message_decode(struct bytes from, struct control_message *ret)
{
    struct reader r = {.rest = from};
    struct control_message m = {.kind = (enum control_kind)get_u8(&r)};

    if (from.n > CONTROL_MESSAGE_MAX) {
        return ERR_MALFORMED;
    }
    if (m.kind == CONTROL_HELLO || m.kind == CONTROL_WELCOME) {
        m.version = get_u16(&r);
        if (!r.failed && m.version != CONTROL_VERSION) {
            return ERR_MISMATCH;
        }
    }
    switch (m.kind) {
    case CONTROL_HELLO:
        get_hello(&r, &m);
        break;
    case CONTROL_WELCOME:
        get_welcome(&r, &m);
        break;
    case CONTROL_STATUS:
        break;
    case CONTROL_REPORT:
        m.text = get_rest(&r);
        break;
    case CONTROL_BYE:
        get_bye(&r, &m);
        break;
    case CONTROL_CONFIG:
        get_config(&r, &m);
        break;
    default:
        return ERR_MALFORMED;
    }
    if (!reader_done(&r)) {
        return ERR_MALFORMED;
    }
    *ret = m;
    return OK;
}
