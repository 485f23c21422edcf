// SPDX-License-Identifier: Apache-2.0
/*
 * RPC-8: whatever does not authenticate changes nothing, answers nothing, allocates nothing, and is
 * counted by the right counter. RPC-7: what authenticates but is nonsense is counted and ignored.
 */
#include "tests/rpc/pair.h"

#include "trusted/wire/rpc_wire.h"

#include <stdlib.h>

enum { SENT_MAX = 64 };

struct sent {
    uint8_t p[DATAGRAM_MAX];
    size_t n;
};

static struct sent sent[SENT_MAX];

struct scene {
    struct pair pair;
    struct rpc_counters before;
    size_t heap;
    uint64_t deadline;
};

static uint64_t refusals(const struct rpc_counters *c)
{
    return c->malformed + c->unknown_index + c->replay_old + c->replay_dup + c->auth_failed +
           c->old_phase;
}

/* Gives a damaged datagram to b, which must stay exactly as it was but for one counter. */
static void assert_refused(struct scene *s, const uint8_t *p, size_t n, const uint64_t *counter)
{
    const struct rpc_counters *c = rpc_counters(s->pair.b.rpc);
    uint8_t *exact = malloc(n == 0 ? 1 : n);
    uint64_t counted = *counter;
    uint64_t opened = c->opened;
    uint64_t all = refusals(c);
    struct abi_addr addr;
    uint8_t to[DATAGRAM_MAX];
    size_t len;

    assert_non_null(exact);
    memcpy(exact, p, n);
    assert_int_not_equal(pair_give(&s->pair, &s->pair.b, exact, n), OK);
    free(exact);
    pair_quiet(&s->pair.b);
    assert_int_equal(*counter, counted + 1);
    assert_int_equal(refusals(c), all + 1);
    assert_int_equal(c->opened, opened);
    assert_int_equal(heap_used(s->pair.b.heap), s->heap);
    assert_true(rpc_deadline(s->pair.b.rpc) == s->deadline);
    assert_false(rpc_transmit(s->pair.b.rpc, s->pair.now_ns,
                              (struct mbytes){.p = to, .n = sizeof(to)}, &addr, &len));
}

static void scene_note(struct scene *s)
{
    s->heap = heap_used(s->pair.b.heap);
    s->deadline = rpc_deadline(s->pair.b.rpc);
}

/* A datagram from a to b with one of every kind of frame that calls make. Nothing of it was given
 * to b yet; b is otherwise at rest. */
static size_t all_kinds(struct scene *s, struct sent *ret)
{
    uint8_t plain[RPC_BODY_MAX];
    struct writer w = {.to = {.p = plain, .n = 500}};
    static const uint8_t body[] = "body";

    for (int kind = RPC_FRAME_REQUEST; kind <= RPC_FRAME_PONG; kind++) {
        struct rpc_frame f = {.kind = (enum rpc_frame_kind)kind, .slot = 3, .seq = 9, .total = 4};

        f.code = RPC_FRAME_REQ_FRAG;
        if (kind < RPC_FRAME_FRAG_ACK) {
            f.body = (struct bytes){.p = body, .n = 4};
        }
        rpc_frame_encode(&w, &f);
    }
    ret->n = pair_seal(&s->pair, &s->pair.b, 1000, (struct bytes){.p = plain, .n = w.len}, ret->p);
    return ret->n;
}

/* By the position of the damaged byte: which check refuses it? */
static const uint64_t *expected(const struct rpc_counters *c, size_t at, uint8_t damaged)
{
    if (at == 0 || at == 2 || at == 3 || (at == 1 && damaged > RPC_PHASE_MASK)) {
        return &c->malformed;
    }
    if (at == 1) {
        return &c->old_phase;
    }
    return at < 8 ? &c->unknown_index : &c->auth_failed;
}

static void every_flipped_byte_is_refused(void **state)
{
    const struct rpc_counters *c;
    struct scene s;

    (void)state;
    pair_start(&s.pair, &(struct pair_options){0});
    c = rpc_counters(s.pair.b.rpc);
    (void)all_kinds(&s, &sent[0]);
    scene_note(&s);
    for (size_t at = 0; at < sent[0].n; at++) {
        for (int bit = 0; bit < 8; bit++) {
            sent[0].p[at] ^= (uint8_t)(1 << bit);
            if (at == 1 && sent[0].p[at] == 1) {
                /* the next phase: tried by the end that follows, refused by the one that leads */
                uint64_t old = c->old_phase;
                uint64_t auth = c->auth_failed;

                assert_int_not_equal(pair_give(&s.pair, &s.pair.b, sent[0].p, sent[0].n), OK);
                assert_int_equal(c->old_phase + c->auth_failed, old + auth + 1);
            } else {
                assert_refused(&s, sent[0].p, sent[0].n, expected(c, at, sent[0].p[at]));
            }
            sent[0].p[at] ^= (uint8_t)(1 << bit);
        }
    }
    /* The window did not move and nothing was remembered: the true one still opens, once. */
    assert_int_equal(pair_give(&s.pair, &s.pair.b, sent[0].p, sent[0].n), OK);
    (void)pair_expect(&s.pair.b, RPC_EVENT_REQUEST);
    pair_quiet(&s.pair.b);
    assert_int_equal(pair_give(&s.pair, &s.pair.b, sent[0].p, sent[0].n), ERR_REPLAY);
    assert_int_equal(c->replay_dup, 1);
    pair_stop(&s.pair);
}

static void every_other_length_is_refused(void **state)
{
    static uint8_t big[DATAGRAM_MAX + 1];
    const struct rpc_counters *c;
    struct scene s;

    (void)state;
    pair_start(&s.pair, &(struct pair_options){0});
    c = rpc_counters(s.pair.b.rpc);
    (void)all_kinds(&s, &sent[0]);
    scene_note(&s);
    memcpy(big, sent[0].p, sent[0].n);
    for (size_t n = 0; n <= sizeof(big); n += n < sent[0].n + 40 ? 1 : 97) {
        bool shaped = n >= RPC_HEADER_LEN + AEAD_TAG_LEN && n <= DATAGRAM_MAX;

        if (n != sent[0].n) {
            assert_refused(&s, big, n, shaped ? &c->auth_failed : &c->malformed);
        }
    }
    assert_refused(&s, big, sizeof(big), &c->malformed);
    pair_stop(&s.pair);
}

/* RPC-9 */
static void replayed_datagrams_are_refused(void **state)
{
    const struct rpc_counters *c;
    struct scene s;
    uint64_t old = 0;
    size_t n;

    (void)state;
    pair_start(&s.pair, &(struct pair_options){.replay_bits = 128});
    c = rpc_counters(s.pair.b.rpc);
    for (uint64_t i = 0; i < SENT_MAX; i++) {
        (void)pair_ask(&s.pair, &s.pair.a, i);
        assert_true(pair_take(&s.pair, &s.pair.a, sent[i].p, &sent[i].n));
        if (i % 2 == 0) {
            assert_int_equal(pair_give(&s.pair, &s.pair.b, sent[i].p, sent[i].n), OK);
            (void)pair_expect(&s.pair.b, RPC_EVENT_REQUEST);
            pair_quiet(&s.pair.b);
        }
    }
    scene_note(&s);
    for (uint64_t i = 0; i < SENT_MAX; i += 2) {
        assert_refused(&s, sent[i].p, sent[i].n, &c->replay_dup);
    }
    /* Far ahead, and all that came before is too old, seen or not. */
    n = pair_seal(&s.pair, &s.pair.b, 100000, (struct bytes){0}, sent[0].p);
    assert_int_equal(pair_give(&s.pair, &s.pair.b, sent[0].p, n), OK);
    pair_quiet(&s.pair.b);
    scene_note(&s);
    for (uint64_t i = 1; i < SENT_MAX; i++, old++) {
        assert_refused(&s, sent[i].p, sent[i].n, &c->replay_old);
    }
    /* The last numbers are never used: not even by a peer that may. */
    n = pair_seal(&s.pair, &s.pair.b, UINT64_MAX, (struct bytes){0}, sent[0].p);
    assert_refused(&s, sent[0].p, n, &c->replay_old);
    pair_stop(&s.pair);
}

static void other_indexes_and_keys_are_refused(void **state)
{
    const struct rpc_counters *c;
    struct scene s;
    struct end stranger;
    size_t n;

    (void)state;
    pair_start(&s.pair, &(struct pair_options){0});
    c = rpc_counters(s.pair.b.rpc);
    scene_note(&s);
    stranger = s.pair.b;
    for (int bit = 0; bit < 32; bit++) {
        stranger.index = s.pair.b.index ^ 1U << bit;
        n = pair_seal(&s.pair, &stranger, 5, (struct bytes){0}, sent[0].p);
        /* pair_seal takes b's key only for b itself: this one is wrong in both */
        assert_refused(&s, sent[0].p, n, &c->unknown_index);
    }
    stranger.index = s.pair.b.index; /* the right place under another key */
    n = pair_seal(&s.pair, &stranger, 5, (struct bytes){0}, sent[0].p);
    assert_refused(&s, sent[0].p, n, &c->auth_failed);

    /* A datagram of the former session of the same place. */
    (void)pair_ask(&s.pair, &s.pair.a, 1);
    assert_true(pair_take(&s.pair, &s.pair.a, sent[0].p, &n));
    rpc_session_close(s.pair.a.rpc, s.pair.a.index, false);
    rpc_session_close(s.pair.b.rpc, s.pair.b.index, false);
    pair_open(&s.pair, false);
    scene_note(&s);
    assert_refused(&s, sent[0].p, n, &c->unknown_index);
    pair_stop(&s.pair);
}

/* Our own datagrams, sent back to us, carry the other direction's key. */
static void reflected_datagrams_are_refused(void **state)
{
    const struct rpc_counters *c;
    struct rpc_header h;
    struct bytes clear;
    struct bytes sealed;
    struct scene s;

    (void)state;
    pair_start(&s.pair, &(struct pair_options){0});
    c = rpc_counters(s.pair.b.rpc);
    (void)pair_ask(&s.pair, &s.pair.b, 1);
    assert_true(pair_take(&s.pair, &s.pair.b, sent[0].p, &sent[0].n));
    scene_note(&s);
    assert_refused(&s, sent[0].p, sent[0].n, &c->unknown_index);
    assert_int_equal(rpc_header_decode((struct bytes){sent[0].p, sent[0].n}, &h, &clear, &sealed),
                     OK);
    h.index = s.pair.b.index;
    rpc_header_encode(&h, sent[0].p);
    assert_refused(&s, sent[0].p, sent[0].n, &c->auth_failed);
    pair_stop(&s.pair);
}

/* ---- authenticated nonsense ---- */

static uint64_t number;

static enum err inject(struct scene *s, const struct rpc_frame *f)
{
    uint8_t plain[RPC_BODY_MAX];
    struct writer w = {.to = {.p = plain, .n = sizeof(plain)}};

    rpc_frame_encode(&w, f);
    assert_false(w.failed);
    return pair_inject(&s->pair, &s->pair.b, number++, (struct bytes){.p = plain, .n = w.len});
}

/* b ignores the frame and counts it. */
static void assert_ignored(struct scene *s, struct rpc_frame f, const uint64_t *counter)
{
    uint64_t counted = *counter;
    size_t heap = heap_used(s->pair.b.heap);

    assert_int_equal(inject(s, &f), OK);
    pair_quiet(&s->pair.b);
    assert_int_equal(*counter, counted + 1);
    assert_int_equal(heap_used(s->pair.b.heap), heap);
}

static void nonsense_about_slots_is_ignored(void **state)
{
    static const uint8_t byte = 0;
    const struct bytes body = {.p = &byte, .n = 1};
    const struct rpc_counters *c;
    struct scene s;

    (void)state;
    number = 0;
    pair_start(&s.pair, &(struct pair_options){.slots = 70, .message_max = 100000});
    c = rpc_counters(s.pair.b.rpc);
    for (uint32_t slot = 70; slot < 65536; slot = slot * 2 - 1) {
        for (int kind = RPC_FRAME_REQUEST; kind <= RPC_FRAME_WORKING; kind++) {
            struct rpc_frame f = {.kind = (enum rpc_frame_kind)kind,
                                  .slot = (uint16_t)slot,
                                  .seq = 1,
                                  .total = 5,
                                  .code = (uint8_t)(3 + slot % 2)};

            if (kind <= RPC_FRAME_RSP_FRAG) {
                f.body = body;
            }
            assert_ignored(&s, f, &c->frames_refused);
        }
    }
    /* nothing was asked by b: there is nothing to answer, to acknowledge, to work on */
    for (int kind = RPC_FRAME_RESPONSE; kind <= RPC_FRAME_WORKING; kind++) {
        struct rpc_frame f = {.kind = (enum rpc_frame_kind)kind, .seq = 1, .total = 5, .code = 3};

        if (kind != RPC_FRAME_REQ_FRAG) {
            f.body = kind <= RPC_FRAME_RSP_FRAG ? body : (struct bytes){0};
            assert_ignored(&s, f, &c->frames_refused);
        }
    }
    /* too big to be accepted, small enough to be encoded */
    assert_ignored(
        &s, (struct rpc_frame){.kind = RPC_FRAME_REQ_FRAG, .seq = 1, .total = 100001, .body = body},
        &c->frames_refused);
    assert_ignored(&s, (struct rpc_frame){.kind = RPC_FRAME_PONG, .bits = 1}, &c->frames_stale);
    pair_stop(&s.pair);
}

static struct rpc_frame piece(uint32_t seq, uint32_t total, uint32_t offset, size_t n)
{
    static const uint8_t zeroes[4096];

    return (struct rpc_frame){.kind = RPC_FRAME_REQ_FRAG,
                              .slot = 2,
                              .seq = seq,
                              .total = total,
                              .offset = offset,
                              .body = {.p = zeroes, .n = n}};
}

/* RPC-21 */
static void fragments_that_contradict_are_ignored(void **state)
{
    const struct rpc_counters *c;
    struct rpc_frame f;
    struct scene s;

    (void)state;
    number = 0;
    pair_start(&s.pair, &(struct pair_options){.message_max = 100000});
    c = rpc_counters(s.pair.b.rpc);
    f = piece(5, 10000, 1000, 1000);
    assert_int_equal(inject(&s, &f), OK);
    pair_quiet(&s.pair.b);
    assert_ignored(&s, piece(5, 10001, 1000, 1000), &c->frames_refused); /* another total */
    assert_ignored(&s, piece(5, 10000, 0, 999), &c->frames_refused);     /* another size */
    assert_ignored(&s, piece(5, 10000, 0, 1001), &c->frames_refused);
    assert_ignored(&s, piece(5, 10000, 500, 1000), &c->frames_refused); /* between two */
    assert_ignored(&s, piece(5, 10000, 9500, 500), &c->frames_refused);
    assert_ignored(&s, piece(5, 10000, 8000, 2000), &c->frames_refused);
    assert_ignored(&s, piece(4, 10000, 0, 1000), &c->frames_stale);
    f = (struct rpc_frame){.kind = RPC_FRAME_REQUEST, .slot = 2, .seq = 5};
    assert_ignored(&s, f, &c->frames_refused); /* the same call in two forms */
    /* further ahead than can be told of */
    f = piece(6, 100000, 0, 100);
    assert_int_equal(inject(&s, &f), OK);
    pair_quiet(&s.pair.b);
    assert_ignored(&s, piece(6, 100000, 6500, 100), &c->frames_refused);
    /* the last one first, of a size that cannot be */
    f = piece(7, 10000, 7000, 3000);
    assert_int_equal(inject(&s, &f), OK);
    pair_quiet(&s.pair.b);
    assert_ignored(&s, piece(7, 10000, 0, 2000), &c->frames_refused);
    assert_ignored(&s, piece(7, 10000, 0, 3000), &c->frames_refused);
    assert_ignored(&s, piece(7, 10000, 9999, 1), &c->frames_refused);
    /* a first fragment that lies nowhere fixes nothing: the message still arrives */
    f = piece(8, 2000, 500, 1000);
    assert_int_equal(inject(&s, &f), OK);
    pair_quiet(&s.pair.b);
    f = piece(8, 2000, 0, 400);
    assert_int_equal(inject(&s, &f), OK);
    pair_quiet(&s.pair.b);
    for (uint32_t offset = 400; offset < 2000; offset += 400) {
        f = piece(8, 2000, offset, 400);
        assert_int_equal(inject(&s, &f), OK);
        if (offset < 1600) {
            pair_quiet(&s.pair.b);
        }
    }
    assert_int_equal(pair_expect(&s.pair.b, RPC_EVENT_REQUEST).body.n, 2000);
    pair_stop(&s.pair);
}

/* RPC-21: what one session may have in reassembly is bounded. */
static void reassembly_is_bounded(void **state)
{
    const struct rpc_counters *c;
    struct rpc_frame f;
    struct scene s;

    (void)state;
    number = 0;
    pair_start(&s.pair, &(struct pair_options){.message_max = 100000});
    c = rpc_counters(s.pair.b.rpc);
    for (uint16_t slot = 0; slot < 4; slot++) {
        f = piece(1, 100000, 0, 1000);
        f.slot = slot;
        assert_int_equal(inject(&s, &f), OK);
        pair_quiet(&s.pair.b);
    }
    f = piece(1, 100000, 0, 1000);
    f.slot = 10;
    assert_ignored(&s, f, &c->frames_refused);
    f.slot = 3; /* a newer request gives the room of the former back */
    f.seq = 2;
    assert_int_equal(inject(&s, &f), OK);
    pair_quiet(&s.pair.b);
    assert_int_equal(c->frames_refused, 1);
    pair_stop(&s.pair);
}

/* An answer that lies about our own long request or breaks off ours: only the liar is hurt. */
static void lies_about_our_calls_are_survived(void **state)
{
    static const uint8_t value[50000];
    struct rpc_question q = {.value = {.p = value, .n = sizeof(value)}};
    const struct rpc_counters *c;
    struct rpc_call call;
    struct rpc_event event;
    struct rpc_frame f;
    struct scene s;
    size_t n;

    (void)state;
    number = 0;
    pair_start(&s.pair, &(struct pair_options){.message_max = 100000});
    c = rpc_counters(s.pair.b.rpc);
    assert_int_equal(rpc_call(s.pair.b.rpc, s.pair.now_ns, s.pair.b.index, &q, &call), OK);
    assert_true(pair_take(&s.pair, &s.pair.b, sent[0].p, &n)); /* one fragment is out */
    f = (struct rpc_frame){
        .kind = RPC_FRAME_FRAG_ACK, .slot = call.slot, .seq = call.seq, .code = 3};
    f.offset = 2 * (DATAGRAM_DEFAULT - 49); /* two are acknowledged */
    assert_ignored(&s, f, &c->frames_refused);
    f.offset = 7;
    assert_ignored(&s, f, &c->frames_refused);
    f.offset = 50001;
    assert_ignored(&s, f, &c->frames_refused);
    f.offset = 0;
    f.bits = UINT64_MAX; /* of fragments never sent: no meaning */
    assert_int_equal(inject(&s, &f), OK);
    pair_quiet(&s.pair.b);
    f.code = 4; /* of an answer that b never gave */
    assert_ignored(&s, f, &c->frames_refused);
    /* an answer larger than b accepts ends the call */
    f = piece(call.seq, 100001, 0, 1000);
    f.kind = RPC_FRAME_RSP_FRAG;
    f.slot = call.slot;
    assert_int_equal(inject(&s, &f), OK);
    event = pair_expect(&s.pair.b, RPC_EVENT_FAILED);
    assert_int_equal(event.err, ERR_TOO_BIG);
    pair_quiet(&s.pair.b);
    pair_stop(&s.pair);
}

/* RPC-7: frames before the malformed one count, the rest of the datagram does not. */
static void the_rest_of_a_malformed_datagram_is_dropped(void **state)
{
    uint8_t plain[64] = {RPC_FRAME_PING, 1, 2, 3, 4, 5, 6, 7, 8, 0x77};
    const struct rpc_counters *c;
    struct scene s;
    size_t n;

    (void)state;
    pair_start(&s.pair, &(struct pair_options){0});
    c = rpc_counters(s.pair.b.rpc);
    assert_int_equal(pair_inject(&s.pair, &s.pair.b, 0, (struct bytes){plain, sizeof(plain)}), OK);
    pair_quiet(&s.pair.b);
    assert_int_equal(c->frames_malformed, 1);
    assert_true(pair_take(&s.pair, &s.pair.b, sent[0].p, &n));
    assert_int_equal(n, RPC_HEADER_LEN + RPC_PING_FRAME_LEN + AEAD_TAG_LEN);
    pair_stop(&s.pair);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_flipped_byte_is_refused),
        cmocka_unit_test(every_other_length_is_refused),
        cmocka_unit_test(replayed_datagrams_are_refused),
        cmocka_unit_test(other_indexes_and_keys_are_refused),
        cmocka_unit_test(reflected_datagrams_are_refused),
        cmocka_unit_test(nonsense_about_slots_is_ignored),
        cmocka_unit_test(fragments_that_contradict_are_ignored),
        cmocka_unit_test(reassembly_is_bounded),
        cmocka_unit_test(lies_about_our_calls_are_survived),
        cmocka_unit_test(the_rest_of_a_malformed_datagram_is_dropped),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
