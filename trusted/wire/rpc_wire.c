// SPDX-License-Identifier: Apache-2.0
#include "trusted/wire/rpc_wire.h"

#include "common/check.h"

RESULT rpc_header_decode(struct bytes datagram, struct rpc_header *ret, struct bytes *ret_clear,
                         struct bytes *ret_sealed)
{
    struct reader r = {.rest = datagram};
    struct rpc_header h;
    uint8_t kind;
    uint16_t zero;

    /* RPC-2: a datagram longer than the largest permitted one is no more ours than a short one. */
    if (datagram.n < RPC_HEADER_LEN + AEAD_TAG_LEN || datagram.n > DATAGRAM_MAX) {
        return ERR_MALFORMED;
    }
    kind = get_u8(&r);
    h.phase = get_u8(&r);
    zero = get_u16(&r);
    h.index = get_u32(&r);
    h.number = get_u64(&r);
    if (kind != (RPC_VERSION << 4 | RPC_TYPE_DATA) || h.phase > RPC_PHASE_MASK || zero != 0) {
        return ERR_MALFORMED;
    }
    *ret = h;
    *ret_clear = (struct bytes){.p = datagram.p, .n = RPC_HEADER_LEN};
    *ret_sealed = r.rest;
    return OK;
}

void rpc_header_encode(const struct rpc_header *h, uint8_t to[static RPC_HEADER_LEN])
{
    struct writer w = {.to.n = RPC_HEADER_LEN};

    CHECK(h->phase <= RPC_PHASE_MASK);
    w.to.p = to;
    put_u8(&w, RPC_VERSION << 4 | RPC_TYPE_DATA);
    put_u8(&w, h->phase);
    put_u16(&w, 0);
    put_u32(&w, h->index);
    put_u64(&w, h->number);
}

/* The two kinds that make nearly all traffic, by position: one check of length, then loads. */
static enum err decode_message(struct reader *r, struct rpc_frame *ret)
{
    const uint8_t *p = r->rest.p;
    uint16_t len;

    if (r->rest.n < RPC_MESSAGE_FRAME_LEN) {
        return ERR_MALFORMED;
    }
    memcpy(&len, p + 7, sizeof(len));
    if (len > r->rest.n - RPC_MESSAGE_FRAME_LEN) {
        return ERR_MALFORMED;
    }
    ret->kind = (enum rpc_frame_kind)p[0];
    memcpy(&ret->slot, p + 1, sizeof(ret->slot));
    memcpy(&ret->seq, p + 3, sizeof(ret->seq));
    ret->total = 0;
    ret->offset = 0;
    ret->bits = 0;
    ret->code = 0;
    ret->body = (struct bytes){.p = len == 0 ? NULL : p + RPC_MESSAGE_FRAME_LEN, .n = len};
    r->rest.p += RPC_MESSAGE_FRAME_LEN + len;
    r->rest.n -= RPC_MESSAGE_FRAME_LEN + (size_t)len;
    return OK;
}

/* RPC-6: a fragment is never empty and never reaches past its message. */
static bool fragment_fits(const struct rpc_frame *f)
{
    return f->body.n != 0 && f->total <= MESSAGE_MAX && f->offset <= f->total &&
           f->body.n <= f->total - f->offset;
}

static bool decode_fields(struct reader *r, struct rpc_frame *f)
{
    switch (f->kind) {
    case RPC_FRAME_REQ_FRAG:
    case RPC_FRAME_RSP_FRAG:
        f->total = get_u32(r);
        f->offset = get_u32(r);
        f->body.n = get_u16(r);
        f->body = get_bytes(r, f->body.n);
        return fragment_fits(f);
    case RPC_FRAME_FRAG_ACK:
        f->code = get_u8(r);
        f->offset = get_u32(r);
        f->bits = get_u64(r);
        return f->code == RPC_FRAME_REQ_FRAG || f->code == RPC_FRAME_RSP_FRAG;
    case RPC_FRAME_WORKING:
    case RPC_FRAME_PING:
    case RPC_FRAME_PONG:
    case RPC_FRAME_CLOSE:
        return true;
    case RPC_FRAME_REQUEST:
    case RPC_FRAME_RESPONSE:
        break;
    }
    return false;
}

static enum err decode_other(struct reader *r, struct rpc_frame *ret)
{
    struct reader at = *r;
    uint8_t kind = get_u8(&at);
    struct rpc_frame f = {.kind = (enum rpc_frame_kind)kind};
    bool good;

    if (kind < RPC_FRAME_REQUEST || kind > RPC_FRAME_CLOSE) {
        return ERR_MALFORMED;
    }
    if (kind <= RPC_FRAME_WORKING) {
        f.slot = get_u16(&at);
        f.seq = get_u32(&at);
    } else if (kind == RPC_FRAME_CLOSE) {
        f.code = get_u8(&at);
    } else {
        f.bits = get_u64(&at);
    }
    good = decode_fields(&at, &f);
    if (!good || at.failed) {
        return ERR_MALFORMED;
    }
    *r = at;
    *ret = f;
    return OK;
}

RESULT rpc_frame_decode(struct reader *r, struct rpc_frame *ret)
{
    if (!r->failed && r->rest.n != 0 && r->rest.p[0] - 1U < RPC_FRAME_RESPONSE) {
        return decode_message(r, ret);
    }
    return decode_other(r, ret);
}

static void encode_short(struct writer *w, const struct rpc_frame *f)
{
    put_u8(w, (uint8_t)f->kind);
    if (f->kind <= RPC_FRAME_WORKING) {
        put_u16(w, f->slot);
        put_u32(w, f->seq);
    }
    if (f->kind == RPC_FRAME_FRAG_ACK) {
        put_u8(w, f->code);
        put_u32(w, f->offset);
        put_u64(w, f->bits);
    } else if (f->kind == RPC_FRAME_PING || f->kind == RPC_FRAME_PONG) {
        put_u64(w, f->bits);
    } else if (f->kind == RPC_FRAME_CLOSE) {
        put_u8(w, f->code);
    }
}

void rpc_frame_encode(struct writer *w, const struct rpc_frame *f)
{
    size_t start = w->len;

    CHECK(f->body.n <= UINT16_MAX);
    if (f->kind == RPC_FRAME_REQUEST || f->kind == RPC_FRAME_RESPONSE) {
        put_rpc_message(w, f->kind, f->slot, f->seq, (uint16_t)f->body.n);
        put_bytes(w, f->body);
    } else if (f->kind == RPC_FRAME_REQ_FRAG || f->kind == RPC_FRAME_RSP_FRAG) {
        put_rpc_fragment(w, f, (uint16_t)f->body.n);
        put_bytes(w, f->body);
    } else {
        encode_short(w, f);
    }
    if (w->failed) {
        w->len = start; /* never half a frame */
    }
}
