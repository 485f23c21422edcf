// SPDX-License-Identifier: Apache-2.0
#include "tests/wire/wire_test.h"
#include "trusted/wire/rpc_wire.h"

/* Datagram header and frames: the bytes that are a promise (RPC-2, RPC-5, RPC-6). */

#define SEQ "\x04\x03\x02\x01"
#define TOKEN "\x88\x77\x66\x55\x44\x33\x22\x11"
#define TOKEN_OF UINT64_C(0x1122334455667788)

struct frame_case {
    struct rpc_frame f;
    struct bytes golden;
};

#define GOLDEN(s)                                                                                  \
    {                                                                                              \
        (const uint8_t *)(s), sizeof(s) - 1                                                        \
    }
#define BODY(s) .body = GOLDEN(s)

static const struct frame_case cases[] = {
    {{.kind = RPC_FRAME_REQUEST, .slot = 0x0201, .seq = 0x01020304, BODY("ask")},
     GOLDEN("\x01\x01\x02" SEQ "\x03\x00"
            "ask")},
    {{.kind = RPC_FRAME_REQUEST, .slot = 0xffff, .seq = 0x01020304},
     GOLDEN("\x01\xff\xff" SEQ "\x00\x00")},
    {{.kind = RPC_FRAME_RESPONSE, .slot = 0x0201, .seq = 0x01020304, BODY("answer")},
     GOLDEN("\x02\x01\x02" SEQ "\x06\x00"
            "answer")},
    {{.kind = RPC_FRAME_REQ_FRAG,
      .slot = 0x0201,
      .seq = 0x01020304,
      .total = 0x00100000,
      .offset = 0x000ffffd,
      BODY("end")},
     GOLDEN("\x03\x01\x02" SEQ "\x00\x00\x10\x00\xfd\xff\x0f\x00\x03\x00"
            "end")},
    {{.kind = RPC_FRAME_RSP_FRAG,
      .slot = 0x0201,
      .seq = 0x01020304,
      .total = 0x00000102,
      .offset = 0,
      BODY("begin")},
     GOLDEN("\x04\x01\x02" SEQ "\x02\x01\x00\x00\x00\x00\x00\x00\x05\x00"
            "begin")},
    {{.kind = RPC_FRAME_FRAG_ACK,
      .slot = 0x0201,
      .seq = 0x01020304,
      .code = RPC_FRAME_REQ_FRAG,
      .offset = 0x0a0b0c0d,
      .bits = TOKEN_OF},
     GOLDEN("\x05\x01\x02" SEQ "\x03\x0d\x0c\x0b\x0a" TOKEN)},
    {{.kind = RPC_FRAME_FRAG_ACK, .seq = 0x01020304, .code = RPC_FRAME_RSP_FRAG},
     GOLDEN("\x05\x00\x00" SEQ "\x04\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00")},
    {{.kind = RPC_FRAME_WORKING, .slot = 0x0201, .seq = 0x01020304}, GOLDEN("\x06\x01\x02" SEQ)},
    {{.kind = RPC_FRAME_PING, .bits = TOKEN_OF}, GOLDEN("\x07" TOKEN)},
    {{.kind = RPC_FRAME_PONG, .bits = TOKEN_OF}, GOLDEN("\x08" TOKEN)},
    {{.kind = RPC_FRAME_CLOSE, .code = 0x5a}, GOLDEN("\x09\x5a")},
};

enum { CASES_N = sizeof(cases) / sizeof(cases[0]) };

static void assert_frame(const struct rpc_frame *got, const struct rpc_frame *want)
{
    assert_int_equal(got->kind, want->kind);
    assert_int_equal(got->slot, want->slot);
    assert_int_equal(got->seq, want->seq);
    assert_int_equal(got->total, want->total);
    assert_int_equal(got->offset, want->offset);
    assert_true(got->bits == want->bits);
    assert_int_equal(got->code, want->code);
    assert_bytes(got->body, want->body);
}

static void frames_have_golden_bytes(void **state)
{
    (void)state;
    for (size_t i = 0; i < CASES_N; i++) {
        const struct frame_case *c = &cases[i];
        uint8_t *copy = exact_copy(c->golden.p, c->golden.n);
        struct reader r = {.rest = {.p = copy, .n = c->golden.n}};
        uint8_t to[64];
        struct writer w = {.to = {.p = to, .n = sizeof(to)}};
        struct rpc_frame f;

        assert_int_equal(rpc_frame_decode(&r, &f), OK);
        assert_int_equal(r.rest.n, 0);
        assert_frame(&f, &c->f);
        rpc_frame_encode(&w, &c->f);
        assert_false(w.failed);
        assert_bytes((struct bytes){.p = to, .n = w.len}, c->golden);
        free(copy);
    }
}

static void refused(const uint8_t *p, size_t n)
{
    uint8_t *copy = exact_copy(p, n);
    struct reader r = {.rest = {.p = copy, .n = n}};
    struct rpc_frame f;
    struct rpc_frame marker;

    memset(&f, 0xa5, sizeof(f));
    memset(&marker, 0xa5, sizeof(marker));
    assert_int_equal(rpc_frame_decode(&r, &f), ERR_MALFORMED);
    assert_memory_equal(&f, &marker, sizeof(f));
    assert_ptr_equal(r.rest.p, copy);
    assert_int_equal(r.rest.n, n);
    free(copy);
}

static void every_shorter_frame_is_refused(void **state)
{
    (void)state;
    for (size_t i = 0; i < CASES_N; i++) {
        for (size_t n = 0; n < cases[i].golden.n; n++) {
            refused(cases[i].golden.p, n);
        }
    }
}

static void what_follows_is_left_to_the_next_frame(void **state)
{
    uint8_t all[512];
    struct writer w = {.to = {.p = all, .n = sizeof(all)}};
    struct reader r;
    struct rpc_frame f;

    (void)state;
    for (size_t i = 0; i < CASES_N; i++) {
        put_bytes(&w, cases[i].golden);
    }
    r = (struct reader){.rest = {.p = all, .n = w.len}};
    for (size_t i = 0; i < CASES_N; i++) {
        assert_int_equal(rpc_frame_decode(&r, &f), OK);
        assert_frame(&f, &cases[i].f);
    }
    assert_int_equal(r.rest.n, 0);
}

static void impossible_frames_are_refused(void **state)
{
    (void)state;
    for (int kind = 0; kind < 256; kind++) {
        uint8_t frame[32] = {(uint8_t)kind};

        if (kind < RPC_FRAME_REQUEST || kind > RPC_FRAME_CLOSE) {
            refused(frame, sizeof(frame));
        }
    }
    /* an acknowledgement of anything but fragments */
    for (int of = 0; of < 256; of++) {
        uint8_t ack[RPC_ACK_FRAME_LEN] = {RPC_FRAME_FRAG_ACK, 0, 0, 1, 0, 0, 0, (uint8_t)of};

        if (of != RPC_FRAME_REQ_FRAG && of != RPC_FRAME_RSP_FRAG) {
            refused(ack, sizeof(ack));
        }
    }
}

static bool fragment_decodes(uint32_t total, uint32_t offset, uint16_t len)
{
    struct rpc_frame f = {.kind = RPC_FRAME_REQ_FRAG, .total = total, .offset = offset};
    uint8_t to[64] = {0};
    struct writer w = {.to = {.p = to, .n = sizeof(to)}};
    struct reader r;

    put_rpc_fragment(&w, &f, len);
    assert_int_equal(w.len, RPC_FRAG_FRAME_LEN);
    r = (struct reader){.rest = {.p = to, .n = w.len + len}};
    return rpc_frame_decode(&r, &f) == OK;
}

/* RPC-6 */
static void fragments_lie_inside_their_message(void **state)
{
    (void)state;
    assert_true(fragment_decodes(10, 0, 10));
    assert_true(fragment_decodes(10, 9, 1));
    assert_false(fragment_decodes(10, 9, 0));
    assert_false(fragment_decodes(10, 9, 2));
    assert_false(fragment_decodes(10, 10, 1));
    assert_false(fragment_decodes(10, 11, 1));
    assert_false(fragment_decodes(0, 0, 1));
    assert_false(fragment_decodes(10, UINT32_MAX, 2)); /* offset + len wraps */
    assert_true(fragment_decodes(MESSAGE_MAX, MESSAGE_MAX - 4, 4));
    assert_false(fragment_decodes(MESSAGE_MAX + 1, 0, 4));
    assert_false(fragment_decodes(UINT32_MAX, 0, 4));
}

static void a_full_datagram_gets_no_half_frame(void **state)
{
    (void)state;
    for (size_t i = 0; i < CASES_N; i++) {
        for (size_t room = 0; room < cases[i].golden.n; room++) {
            uint8_t *to = malloc(room + 1);
            struct writer w = {.to = {.p = to, .n = room}};

            assert_non_null(to);
            rpc_frame_encode(&w, &cases[i].f);
            assert_true(w.failed);
            assert_int_equal(w.len, 0);
            free(to);
        }
    }
}

#define HEADER "\x11\x02\x00\x00\x0d\x0c\x0b\x0a" TOKEN

static const uint8_t datagram[] = HEADER "sealed frames, their tag is here";
enum { DATAGRAM_N = sizeof(datagram) - 1 };

static void header_has_golden_bytes(void **state)
{
    struct rpc_header h;
    struct bytes clear;
    struct bytes sealed;
    uint8_t to[RPC_HEADER_LEN];

    (void)state;
    assert_int_equal(
        rpc_header_decode((struct bytes){.p = datagram, .n = DATAGRAM_N}, &h, &clear, &sealed), OK);
    assert_int_equal(h.phase, 2);
    assert_int_equal(h.index, 0x0a0b0c0d);
    assert_true(h.number == TOKEN_OF);
    assert_bytes(clear, LITERAL(HEADER));
    assert_bytes(sealed, LITERAL("sealed frames, their tag is here"));
    rpc_header_encode(&h, to);
    assert_memory_equal(to, HEADER, RPC_HEADER_LEN);
}

static enum err decode_copy(const uint8_t *p, size_t n)
{
    uint8_t *copy = exact_copy(p, n);
    struct rpc_header h;
    struct bytes clear;
    struct bytes sealed;
    enum err err = rpc_header_decode((struct bytes){.p = copy, .n = n}, &h, &clear, &sealed);

    free(copy);
    return err;
}

/* RPC-2 */
static void other_headers_are_refused(void **state)
{
    static uint8_t big[DATAGRAM_MAX + 1] = HEADER;
    uint8_t copy[DATAGRAM_N];

    (void)state;
    for (size_t n = 0; n <= DATAGRAM_N; n++) {
        assert_int_equal(decode_copy(datagram, n),
                         n < RPC_HEADER_LEN + AEAD_TAG_LEN ? ERR_MALFORMED : OK);
    }
    assert_int_equal(decode_copy(big, DATAGRAM_MAX), OK);
    assert_int_equal(decode_copy(big, DATAGRAM_MAX + 1), ERR_MALFORMED);
    /* version and type, phase, zeroes: each has few good values; the rest is free */
    for (size_t at = 0; at < 4; at++) {
        for (int value = 0; value < 256; value++) {
            bool good = at == 0 ? value == 0x11 : at == 1 ? value <= 3 : value == 0;

            memcpy(copy, datagram, sizeof(copy));
            copy[at] = (uint8_t)value;
            assert_int_equal(decode_copy(copy, sizeof(copy)), good ? OK : ERR_MALFORMED);
        }
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(frames_have_golden_bytes),
        cmocka_unit_test(every_shorter_frame_is_refused),
        cmocka_unit_test(what_follows_is_left_to_the_next_frame),
        cmocka_unit_test(impossible_frames_are_refused),
        cmocka_unit_test(fragments_lie_inside_their_message),
        cmocka_unit_test(a_full_datagram_gets_no_half_frame),
        cmocka_unit_test(header_has_golden_bytes),
        cmocka_unit_test(other_headers_are_refused),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
