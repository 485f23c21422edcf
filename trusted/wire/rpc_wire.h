// SPDX-License-Identifier: Apache-2.0
#ifndef TRUSTED_WIRE_RPC_WIRE_H
#define TRUSTED_WIRE_RPC_WIRE_H

/*
 * Datagrams of the secure RPC. docs/protocol/rpc.md has the byte tables; clauses RPC-n.
 *
 *   clear header, 16 bytes, all of it authenticated as associated data:
 *     0  version << 4 | type          (version 1; type 1 = DATA, the only one)
 *     1  key phase, 0..3              (the other bits zero)
 *     2  zero, 2 bytes
 *     4  connection index, u32        (chosen by the receiver: generation << 20 | slot)
 *     8  packet number, u64           (new on every transmission; the nonce)
 *    16  sealed frames, then a 16-byte AEAD tag
 *
 *   sealed frames, one after the other up to the end:
 *     REQUEST   kind 1 | slot u16 | seq u32 | len u16 | body
 *     RESPONSE  kind 2 | slot u16 | seq u32 | len u16 | body
 *     REQ_FRAG  kind 3 | slot u16 | seq u32 | total u32 | offset u32 | len u16 | bytes
 *     RSP_FRAG  kind 4 | the same
 *     FRAG_ACK  kind 5 | slot u16 | seq u32 | of u8 (3 or 4) | upto u32 | bitmap u64
 *     WORKING   kind 6 | slot u16 | seq u32            (request known and being executed)
 *     PING      kind 7 | token u64
 *     PONG      kind 8 | token u64
 *     CLOSE     kind 9 | reason u8
 */

#include "common/codec.h"
#include "common/limits.h"
#include "common/result.h"

enum {
    RPC_VERSION = 1,
    RPC_TYPE_DATA = 1,
    RPC_PHASE_MASK = 3,
    RPC_INDEX_SLOT_BITS = 20,
};

struct rpc_header {
    uint8_t phase;
    uint32_t index;
    uint64_t number;
};

enum rpc_frame_kind {
    RPC_FRAME_REQUEST = 1,
    RPC_FRAME_RESPONSE,
    RPC_FRAME_REQ_FRAG,
    RPC_FRAME_RSP_FRAG,
    RPC_FRAME_FRAG_ACK,
    RPC_FRAME_WORKING,
    RPC_FRAME_PING,
    RPC_FRAME_PONG,
    RPC_FRAME_CLOSE,
};

enum {
    RPC_MESSAGE_FRAME_LEN = 9, /* REQUEST or RESPONSE before the body */
    RPC_FRAG_FRAME_LEN = 17,
    RPC_ACK_FRAME_LEN = 20,
    RPC_WORKING_FRAME_LEN = 7,
    RPC_PING_FRAME_LEN = 9,
    RPC_CLOSE_FRAME_LEN = 2,
};

/* One decoded frame; fields that its kind does not have are zero. `body` borrows from the input. */
struct rpc_frame {
    enum rpc_frame_kind kind;
    uint16_t slot;
    uint32_t seq;
    uint32_t total;  /* FRAG: bytes of the whole message */
    uint32_t offset; /* FRAG: where `body` belongs. FRAG_ACK: all bytes below it arrived */
    uint64_t bits;   /* FRAG_ACK: fragments after `offset` that arrived. PING, PONG: token */
    uint8_t code;    /* CLOSE: reason. FRAG_ACK: the frame kind acknowledged */
    struct bytes body;
};

/* MALFORMED for another version, type, non-zero reserved bits, or a datagram too short to be one.
 * On success *ret_clear is the 16 header bytes and *ret_sealed the rest, at least a tag long. */
RESULT rpc_header_decode(struct bytes datagram, struct rpc_header *ret, struct bytes *ret_clear,
                         struct bytes *ret_sealed);
/* Writes RPC_HEADER_LEN bytes to `to`. */
void rpc_header_encode(const struct rpc_header *h, uint8_t to[static RPC_HEADER_LEN]);

/* Takes the next frame off `r`; call until r->rest.n is 0. MALFORMED: drop the rest of the
 * datagram. Checks shape and constant limits only (total <= MESSAGE_MAX, offset + len <= total, len
 * > 0 for a fragment); what a slot or a sequence number may be is the session's business. */
RESULT rpc_frame_decode(struct reader *r, struct rpc_frame *ret);
/* Appends one frame. The writer fails when it does not fit, and nothing is appended then. */
void rpc_frame_encode(struct writer *w, const struct rpc_frame *f);

/* The bytes of a REQUEST or RESPONSE before its body of `len` bytes, which the caller appends: a
 * body is gathered from pieces straight into the datagram. */
static inline void put_rpc_message(struct writer *w, enum rpc_frame_kind kind, uint16_t slot,
                                   uint32_t seq, uint16_t len)
{
    uint8_t *p = w->to.p + w->len;

    if (w->failed || RPC_MESSAGE_FRAME_LEN > w->to.n - w->len) {
        w->failed = true;
        return;
    }
    p[0] = (uint8_t)kind;
    memcpy(p + 1, &slot, sizeof(slot));
    memcpy(p + 3, &seq, sizeof(seq));
    memcpy(p + 7, &len, sizeof(len));
    w->len += RPC_MESSAGE_FRAME_LEN;
}

/* The same for a REQ_FRAG or RSP_FRAG: everything of *f but its body, of `len` bytes. */
static inline void put_rpc_fragment(struct writer *w, const struct rpc_frame *f, uint16_t len)
{
    put_u8(w, (uint8_t)f->kind);
    put_u16(w, f->slot);
    put_u32(w, f->seq);
    put_u32(w, f->total);
    put_u32(w, f->offset);
    put_u16(w, len);
}

#endif
