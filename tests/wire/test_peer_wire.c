// SPDX-License-Identifier: Apache-2.0
#include "tests/wire/wire_test.h"
#include "trusted/wire/copy_wire.h"
#include "trusted/wire/peer_wire.h"

/* ABD messages between replicas: the bytes that are a promise. */

#define TAG_BYTES "\x08\x07\x06\x05\x04\x03\x02\x01\x0c\x0b\x0a\x09\x10\x0f\x0e\x0d"
#define TAG_OF                                                                                     \
    {                                                                                              \
        .ts = UINT64_C(0x0102030405060708), .writer = 0x090a0b0c, .rmwc = 0x0d0e0f10               \
    }
#define NO_TAG "\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0"
#define KEY_OF                                                                                     \
    {                                                                                              \
        (const uint8_t *)"k\0", 2                                                                  \
    }

#define GC_BYTES "\x54\x53\x52\x51"
#define GC_OF 0x51525354

#define BALLOT_BYTES "\x38\x37\x36\x35\x34\x33\x32\x31"
#define BALLOT_OF UINT64_C(0x3132333435363738)
#define OP_BYTES                                                                                   \
    "\x02"                                                                                         \
    "\x14\x13\x12\x11"                                                                             \
    "\x28\x27\x26\x25\x24\x23\x22\x21"
#define OP_OF                                                                                      \
    {                                                                                              \
        .number = UINT64_C(0x2122232425262728), .writer = 0x11121314, .owner = 2                   \
    }

struct ask_case {
    struct peer_ask m;
    struct bytes golden;
    bool open_end; /* may carry a value */
};

static const struct ask_case asks[] = {
    {{.kind = PEER_QUERY, .gc = GC_OF, .key = KEY_OF},
     {(const uint8_t *)"\x01" GC_BYTES "\x02\x00k\0", 9},
     false},
    {{.kind = PEER_READ, .gc = GC_OF, .tag = TAG_OF, .key = KEY_OF},
     {(const uint8_t *)"\x02" GC_BYTES TAG_BYTES "\x02\x00k\0", 25},
     false},
    {{.kind = PEER_APPLY,
      .gc = GC_OF,
      .tag = TAG_OF,
      .key = KEY_OF,
      .value = {(const uint8_t *)"vw", 2}},
     {(const uint8_t *)"\x03" GC_BYTES "\x00" TAG_BYTES "\x02\x00k\0vw", 28},
     true},
    {{.kind = PEER_APPLY, .gc = GC_OF, .tag = TAG_OF, .key = KEY_OF},
     {(const uint8_t *)"\x03" GC_BYTES "\x00" TAG_BYTES "\x02\x00k\0", 26},
     true},
    {{.kind = PEER_APPLY, .gc = GC_OF, .tombstone = true, .tag = TAG_OF, .key = KEY_OF},
     {(const uint8_t *)"\x03" GC_BYTES "\x01" TAG_BYTES "\x02\x00k\0", 26},
     false},
    {{.kind = PEER_PREPARE,
      .gc = GC_OF,
      .tag = TAG_OF,
      .ballot = BALLOT_OF,
      .op = OP_OF,
      .key = KEY_OF},
     {(const uint8_t *)"\x04" GC_BYTES "\x00" TAG_BYTES BALLOT_BYTES OP_BYTES "\x02\x00k\0", 47},
     false},
    {{.kind = PEER_ACCEPT,
      .gc = GC_OF,
      .tag = TAG_OF,
      .ballot = BALLOT_OF,
      .op = OP_OF,
      .key = KEY_OF,
      .value = {(const uint8_t *)"vw", 2}},
     {(const uint8_t *)"\x05" GC_BYTES "\x00" TAG_BYTES BALLOT_BYTES OP_BYTES "\x02\x00k\0vw", 49},
     true},
    {{.kind = PEER_ACCEPT,
      .gc = GC_OF,
      .tombstone = true,
      .tag = TAG_OF,
      .ballot = BALLOT_OF,
      .op = OP_OF,
      .key = KEY_OF},
     {(const uint8_t *)"\x05" GC_BYTES "\x01" TAG_BYTES BALLOT_BYTES OP_BYTES "\x02\x00k\0", 47},
     false},
    {{.kind = PEER_COMMIT,
      .gc = GC_OF,
      .tag = TAG_OF,
      .ballot = BALLOT_OF,
      .op = OP_OF,
      .key = KEY_OF},
     {(const uint8_t *)"\x06" GC_BYTES "\x00" TAG_BYTES BALLOT_BYTES OP_BYTES "\x02\x00k\0", 47},
     false},
    {{.kind = PEER_COMMIT,
      .gc = GC_OF,
      .value_given = true,
      .tag = TAG_OF,
      .ballot = BALLOT_OF,
      .op = OP_OF,
      .key = KEY_OF,
      .value = {(const uint8_t *)"v", 1}},
     {(const uint8_t *)"\x06" GC_BYTES "\x02" TAG_BYTES BALLOT_BYTES OP_BYTES "\x02\x00k\0v", 48},
     true},
    {{.kind = PEER_COMMIT,
      .gc = GC_OF,
      .value_given = true,
      .tombstone = true,
      .tag = TAG_OF,
      .ballot = BALLOT_OF,
      .op = OP_OF,
      .key = KEY_OF},
     {(const uint8_t *)"\x06" GC_BYTES "\x03" TAG_BYTES BALLOT_BYTES OP_BYTES "\x02\x00k\0", 47},
     false},
    {{.kind = PEER_COPY, .gc = GC_OF, .tag = TAG_OF, .key = KEY_OF},
     {(const uint8_t *)"\x14" GC_BYTES TAG_BYTES "\x02\x00k\0", 25},
     false},
    {{.kind = PEER_COPY, .gc = GC_OF},
     {(const uint8_t *)"\x14" GC_BYTES NO_TAG "\x00\x00", 23},
     false},
    {{.kind = PEER_COPY_ABSENT, .gc = GC_OF, .key = KEY_OF},
     {(const uint8_t *)"\x15" GC_BYTES NO_TAG "\x02\x00k\0", 25},
     false},
    {{.kind = PEER_COPY_GC, .gc = GC_OF},
     {(const uint8_t *)"\x16" GC_BYTES NO_TAG "\x00\x00", 23},
     false},
    {{.kind = PEER_OFFER,
      .gc = GC_OF,
      .tag = TAG_OF,
      .key = KEY_OF,
      .value = {(const uint8_t *)"vw", 2}},
     {(const uint8_t *)"\x07" GC_BYTES "\x00" TAG_BYTES "\x02\x00k\0vw", 28},
     true},
    {{.kind = PEER_OFFER, .gc = GC_OF, .tombstone = true, .tag = TAG_OF, .key = KEY_OF},
     {(const uint8_t *)"\x07" GC_BYTES "\x01" TAG_BYTES "\x02\x00k\0", 26},
     false},
    {{.kind = PEER_ACCEPT,
      .gc = GC_OF,
      .decides = true,
      .tag = TAG_OF,
      .ballot = BALLOT_OF,
      .op = OP_OF,
      .key = KEY_OF,
      .value = {(const uint8_t *)"vw", 2}},
     {(const uint8_t *)"\x05" GC_BYTES "\x20" TAG_BYTES BALLOT_BYTES OP_BYTES "\x02\x00k\0vw", 49},
     true},
};

struct answer_case {
    struct peer_answer m;
    struct bytes golden;
    bool open_end;
};

static const struct answer_case answers[] = {
    {{.kind = PEER_TAG, .tag = TAG_OF}, {(const uint8_t *)"\x01" TAG_BYTES, 17}, false},
    {{.kind = PEER_HOLDS, .holds = PEER_HOLDS_SAME, .tag = TAG_OF},
     {(const uint8_t *)"\x02\x01\x00" TAG_BYTES, 19},
     false},
    {{.kind = PEER_HOLDS, .holds = PEER_HOLDS_OLDER, .tag = TAG_OF},
     {(const uint8_t *)"\x02\x02\x00" TAG_BYTES, 19},
     false},
    {{.kind = PEER_HOLDS,
      .holds = PEER_HOLDS_NEWER,
      .tag = TAG_OF,
      .value = {(const uint8_t *)"value", 5}},
     {(const uint8_t *)"\x02\x03\x00" TAG_BYTES "value", 24},
     true},
    {{.kind = PEER_HOLDS, .holds = PEER_HOLDS_NEWER, .tombstone = true, .tag = TAG_OF},
     {(const uint8_t *)"\x02\x03\x01" TAG_BYTES, 19},
     false},
    {{.kind = PEER_HOLDS, .holds = PEER_HOLDS_DAMAGED, .tag = TAG_OF},
     {(const uint8_t *)"\x02\x04\x00" TAG_BYTES, 19},
     false},
    {{.kind = PEER_APPLIED}, {(const uint8_t *)"\x03", 1}, false},
    {{.kind = PEER_REFUSED, .err = ERR_EPOCH}, {(const uint8_t *)"\x04\x12", 2}, false},
    {{.kind = PEER_INSTANCE, .instance = PEER_ACCEPTED},
     {(const uint8_t *)"\x05\x02\x00"
                       "\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0"
                       "\0\0\0\0\0\0\0\0"
                       "\0\0\0\0\0\0\0\0\0\0\0\0\0",
      40},
     false},
    {{.kind = PEER_INSTANCE,
      .instance = PEER_PROMISED,
      .holds_base = true,
      .value_given = true,
      .ballot = BALLOT_OF,
      .op = OP_OF,
      .value = {(const uint8_t *)"v", 1}},
     {(const uint8_t *)"\x05\x01\x06"
                       "\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0" BALLOT_BYTES OP_BYTES "v",
      41},
     true},
    {{.kind = PEER_INSTANCE,
      .instance = PEER_CLOSED,
      .helped = true,
      .committed = true,
      .value_given = true,
      .tombstone = true,
      .tag = TAG_OF},
     {(const uint8_t *)"\x05\x04\x1b" TAG_BYTES "\0\0\0\0\0\0\0\0"
                       "\0\0\0\0\0\0\0\0\0\0\0\0\0",
      40},
     false},
    {{.kind = PEER_PAGE, .last = true, .value = {(const uint8_t *)"entries", 7}},
     {(const uint8_t *)"\x14\x01"
                       "entries",
      9},
     true},
    {{.kind = PEER_PAGE}, {(const uint8_t *)"\x14\x00", 2}, true},
};

enum { ASKS_N = sizeof(asks) / sizeof(asks[0]), ANSWERS_N = sizeof(answers) / sizeof(answers[0]) };

static void ask_refused(const uint8_t *p, size_t n)
{
    uint8_t *copy = exact_copy(p, n);
    struct peer_ask m, marker;

    memset(&m, 0xa5, sizeof(m));
    memset(&marker, 0xa5, sizeof(marker));
    assert_int_equal(peer_ask_decode((struct bytes){copy, n}, &m), ERR_MALFORMED);
    assert_memory_equal(&m, &marker, sizeof(m));
    free(copy);
}

static void answer_refused(const uint8_t *p, size_t n)
{
    uint8_t *copy = exact_copy(p, n);
    struct peer_answer m, marker;

    memset(&m, 0xa5, sizeof(m));
    memset(&marker, 0xa5, sizeof(marker));
    assert_int_equal(peer_answer_decode((struct bytes){copy, n}, &m), ERR_MALFORMED);
    assert_memory_equal(&m, &marker, sizeof(m));
    free(copy);
}

static void test_ask_golden(void **state)
{
    (void)state;
    for (size_t i = 0; i < ASKS_N; i++) {
        const struct peer_ask *want = &asks[i].m;
        uint8_t head[PEER_ASK_HEAD_MAX];
        size_t head_n = peer_ask_encode_head(want, head);
        struct peer_ask got;

        assert_int_equal(head_n + want->key.n + want->value.n, asks[i].golden.n);
        assert_memory_equal(head, asks[i].golden.p, head_n);
        assert_int_equal(peer_ask_decode(asks[i].golden, &got), OK);
        assert_int_equal(got.kind, want->kind);
        assert_int_equal(got.gc, want->gc);
        assert_int_equal(got.tombstone, want->tombstone);
        assert_int_equal(tag_compare(got.tag, want->tag), 0);
        assert_int_equal(got.value_given, want->value_given);
        assert_true(got.ballot == want->ballot);
        assert_true(rmw_id_equal(got.op, want->op));
        assert_bytes(got.key, want->key);
        assert_bytes(got.value, want->value);
    }
}

static void test_answer_golden(void **state)
{
    (void)state;
    for (size_t i = 0; i < ANSWERS_N; i++) {
        const struct peer_answer *want = &answers[i].m;
        struct bytes golden = answers[i].golden;
        uint8_t to[64];
        size_t n = SIZE_MAX;
        struct peer_answer got;

        assert_int_equal(peer_answer_len(want), golden.n);
        for (size_t room = 0; room < golden.n; room++) {
            assert_int_equal(peer_answer_encode(want, (struct mbytes){to, room}, &n), ERR_TOO_BIG);
            assert_true(n == SIZE_MAX);
        }
        assert_int_equal(peer_answer_encode(want, (struct mbytes){to, golden.n}, &n), OK);
        assert_bytes((struct bytes){to, n}, golden);
        assert_int_equal(peer_answer_decode(golden, &got), OK);
        assert_int_equal(got.kind, want->kind);
        assert_int_equal(got.holds, want->holds);
        assert_int_equal(got.tombstone, want->tombstone);
        assert_int_equal(got.err, want->err);
        assert_int_equal(got.instance, want->instance);
        assert_int_equal(got.value_given, want->value_given);
        assert_int_equal(got.holds_base, want->holds_base);
        assert_int_equal(got.helped, want->helped);
        assert_int_equal(got.committed, want->committed);
        assert_int_equal(got.last, want->last);
        assert_true(got.ballot == want->ballot);
        assert_true(rmw_id_equal(got.op, want->op));
        assert_int_equal(tag_compare(got.tag, want->tag), 0);
        assert_bytes(got.value, want->value);
    }
}

static void test_lengths(void **state)
{
    uint8_t longer[64];

    (void)state;
    for (size_t i = 0; i < ASKS_N; i++) {
        size_t least = asks[i].golden.n - asks[i].m.value.n;

        for (size_t n = 0; n < least; n++) {
            ask_refused(asks[i].golden.p, n);
        }
        memset(longer, 0, sizeof(longer));
        memcpy(longer, asks[i].golden.p, asks[i].golden.n);
        for (size_t n = asks[i].golden.n + 1; !asks[i].open_end && n <= sizeof(longer); n++) {
            ask_refused(longer, n);
        }
    }
    for (size_t i = 0; i < ANSWERS_N; i++) {
        size_t least = answers[i].golden.n - answers[i].m.value.n;

        for (size_t n = 0; n < least; n++) {
            answer_refused(answers[i].golden.p, n);
        }
        memset(longer, 0, sizeof(longer));
        memcpy(longer, answers[i].golden.p, answers[i].golden.n);
        for (size_t n = answers[i].golden.n + 1; !answers[i].open_end && n <= sizeof(longer); n++) {
            answer_refused(longer, n);
        }
    }
}

static void test_unknown_kinds(void **state)
{
    uint8_t b[24] = {0};

    (void)state;
    for (unsigned kind = 0; kind < 256; kind++) {
        b[0] = (uint8_t)kind;
        if ((kind == 0 || kind > PEER_COMMIT) && !peer_ask_is_batch(kind) &&
            !peer_ask_is_copy(kind)) {
            for (size_t n = 1; n <= sizeof(b); n++) {
                ask_refused(b, n);
            }
        }
        if ((kind == 0 || kind > PEER_INSTANCE) && !peer_answer_is_batch(kind) &&
            kind != PEER_PAGE) {
            for (size_t n = 1; n <= sizeof(b); n++) {
                answer_refused(b, n);
            }
        }
    }
}

struct entry_case {
    struct copy_entry e;
    struct bytes golden;
};

static const struct entry_case entries[] = {
    {{.tag = TAG_OF, .key = KEY_OF, .value = {(const uint8_t *)"abc", 3}},
     {(const uint8_t *)"\x00" TAG_BYTES "\x02\x00\x03\x00\x00\x00k\0abc", 28}},
    {{.tag = TAG_OF, .tombstone = true, .follows = true, .key = KEY_OF},
     {(const uint8_t *)"\x09" TAG_BYTES "\x02\x00\x00\x00\x00\x00k\0", 25}},
    {{.tag = TAG_OF, .damaged = true, .key = KEY_OF},
     {(const uint8_t *)"\x02" TAG_BYTES "\x02\x00\x00\x00\x00\x00k\0", 25}},
    {{.accepted = true,
      .ballot = BALLOT_OF,
      .op = OP_OF,
      .key = KEY_OF,
      .value = {(const uint8_t *)"abc", 3}},
     {(const uint8_t *)"\x03" NO_TAG "\x02\x00\x03\x00\x00\x00" BALLOT_BYTES OP_BYTES "k\0abc",
      49}},
    {{.tag = TAG_OF,
      .accepted = true,
      .tombstone = true,
      .ballot = BALLOT_OF,
      .op = OP_OF,
      .key = KEY_OF},
     {(const uint8_t *)"\x04" TAG_BYTES "\x02\x00\x00\x00\x00\x00" BALLOT_BYTES OP_BYTES "k\0",
      46}},
};

/* MEM-7, RMW-16: what a page consists of. */
static void test_page_entries(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof(entries) / sizeof(entries[0]); i++) {
        const struct copy_entry *want = &entries[i].e;
        struct bytes golden = entries[i].golden;
        uint8_t to[64];
        struct writer w = {.to = {to, sizeof(to)}};
        struct reader r = {.rest = golden};
        struct copy_entry got;

        copy_entry_put_head(&w, want);
        put_bytes(&w, want->value);
        assert_bytes((struct bytes){to, w.len}, golden);
        assert_true(copy_entry_get(&r, &got));
        assert_true(reader_done(&r));
        assert_int_equal(tag_compare(got.tag, want->tag), 0);
        assert_int_equal(got.tombstone, want->tombstone);
        assert_int_equal(got.damaged, want->damaged);
        assert_int_equal(got.follows, want->follows);
        assert_int_equal(got.accepted, want->accepted);
        assert_true(got.ballot == want->ballot);
        assert_true(rmw_id_equal(got.op, want->op));
        assert_bytes(got.key, want->key);
        assert_bytes(got.value, want->value);
        for (size_t n = 0; n < golden.n; n++) {
            uint8_t *copy = exact_copy(golden.p, n);

            r = (struct reader){.rest = {copy, n}};
            assert_false(copy_entry_get(&r, &got));
            free(copy);
        }
    }
}

/* Kinds that do not exist, values where there are none, and keys without a tag. */
static void test_page_entries_refused(void **state)
{
    uint8_t b[64] = {0};
    struct copy_entry got;
    struct reader r;

    (void)state;
    for (unsigned kind = 1; kind < 256; kind++) {
        memcpy(b, entries[0].golden.p, entries[0].golden.n);
        b[0] = (uint8_t)kind;
        r = (struct reader){.rest = {b, entries[0].golden.n}};
        assert_true(copy_entry_get(&r, &got) == (kind == COPY_FOLLOWS));
    }
    for (unsigned kind = 5; kind < 256; kind++) {
        memcpy(b, entries[4].golden.p, entries[4].golden.n);
        b[0] = (uint8_t)kind;
        r = (struct reader){.rest = {b, sizeof(b)}};
        assert_true(copy_entry_get(&r, &got) == (kind >= 8 && kind <= 10));
    }
    memcpy(b, entries[0].golden.p, entries[0].golden.n);
    memset(b + 1, 0, TAG_WIRE_LEN);
    r = (struct reader){.rest = {b, entries[0].golden.n}};
    assert_false(copy_entry_get(&r, &got));
}

static void test_reserved_bits(void **state)
{
    uint8_t b[32];

    (void)state;
    memcpy(b, asks[3].golden.p, asks[3].golden.n);
    for (unsigned flags = 2; flags < 256; flags++) {
        b[5] = (uint8_t)flags; /* behind the kind and the stamp */
        ask_refused(b, asks[3].golden.n);
    }
    for (size_t i = 1; i <= 5; i++) { /* the HOLDS answers */
        memcpy(b, answers[i].golden.p, answers[i].golden.n);
        for (unsigned flags = 2; flags < 256; flags++) {
            b[2] = (uint8_t)flags;
            answer_refused(b, answers[i].golden.n);
        }
        if (answers[i].m.holds != PEER_HOLDS_NEWER) {
            b[2] = PEER_FLAG_TOMBSTONE;
            answer_refused(b, answers[i].golden.n);
        }
    }
    for (unsigned flags = 2; flags < 256; flags++) {
        b[0] = PEER_PAGE;
        b[1] = (uint8_t)flags;
        answer_refused(b, 2);
    }
    for (size_t i = 5; i <= 10; i++) { /* PREPARE, ACCEPT, COMMIT */
        uint8_t rmw[56];

        memcpy(rmw, asks[i].golden.p, asks[i].golden.n);
        for (unsigned flags = 4; flags < 256; flags++) {
            rmw[5] = (uint8_t)flags;
            if (rmw[0] != PEER_ACCEPT || (flags & ~1U) != PEER_FLAG_DECIDES) {
                ask_refused(rmw, asks[i].golden.n);
            }
        }
        if (rmw[0] != PEER_COMMIT) {
            rmw[5] = PEER_FLAG_VALUE; /* only a COMMIT has the choice */
            ask_refused(rmw, asks[i].golden.n);
        } else {
            rmw[5] = PEER_FLAG_TOMBSTONE; /* a tombstone that does not come along */
            ask_refused(rmw, asks[i].golden.n);
        }
    }
    for (size_t i = 8; i <= 10; i++) { /* the INSTANCE answers */
        uint8_t instance[48];

        memcpy(instance, answers[i].golden.p, answers[i].golden.n);
        for (unsigned flags = 32; flags < 256; flags++) {
            instance[2] = (uint8_t)flags;
            answer_refused(instance, answers[i].golden.n);
        }
        instance[2] = PEER_FLAG_TOMBSTONE;
        answer_refused(instance, answers[i].golden.n);
        instance[2] = 0;
        for (unsigned state_n = 0; state_n < 256; state_n++) {
            if (state_n < PEER_PROMISED || state_n > PEER_CLOSED) {
                instance[1] = (uint8_t)state_n;
                answer_refused(instance, answers[i].golden.n);
            }
        }
    }
    memcpy(b, answers[1].golden.p, answers[1].golden.n);
    for (unsigned holds = 0; holds < 256; holds++) {
        if (holds < PEER_HOLDS_SAME || holds > PEER_HOLDS_DAMAGED) {
            b[1] = (uint8_t)holds;
            answer_refused(b, answers[1].golden.n);
        }
    }
}

static void test_refusal_needs_a_reason(void **state)
{
    uint8_t b[2] = {PEER_REFUSED, 0};

    (void)state;
    answer_refused(b, sizeof(b)); /* refused because of OK */
    for (unsigned err = ERR_N; err < 256; err++) {
        b[1] = (uint8_t)err;
        answer_refused(b, sizeof(b));
    }
}

static void test_key_limits(void **state)
{
    size_t n = 1 + 4 + 2 + KEY_MAX + 1;
    uint8_t *b = calloc(1, n);
    struct peer_ask m;

    (void)state;
    assert_non_null(b);
    b[0] = PEER_QUERY;
    ask_refused(b, 7); /* a key of nothing */
    b[5] = KEY_MAX & 0xff;
    b[6] = KEY_MAX >> 8;
    assert_int_equal(peer_ask_decode((struct bytes){b, n - 1}, &m), OK);
    assert_int_equal(m.key.n, KEY_MAX);
    b[5]++;
    ask_refused(b, n);
    free(b);
}

static void test_value_limits(void **state)
{
    size_t n = 1 + 4 + 1 + TAG_WIRE_LEN + 2 + 1 + (size_t)VALUE_MAX + 1;
    uint8_t *b = calloc(1, n + 64);
    struct peer_ask q;
    struct peer_answer a;

    (void)state;
    assert_non_null(b);
    b[0] = PEER_APPLY;
    b[22] = 1; /* key length */
    assert_int_equal(peer_ask_decode((struct bytes){b, n - 1}, &q), OK);
    assert_int_equal(q.value.n, VALUE_MAX);
    assert_int_equal(peer_ask_decode((struct bytes){b, n}, &q), ERR_MALFORMED);
    b[22] = 0;
    b[0] = PEER_HOLDS;
    b[1] = PEER_HOLDS_NEWER;
    n = PEER_HOLDS_HEAD_LEN + (size_t)VALUE_MAX;
    assert_int_equal(peer_answer_decode((struct bytes){b, n}, &a), OK);
    assert_int_equal(a.value.n, VALUE_MAX);
    assert_int_equal(peer_answer_decode((struct bytes){b, n + 1}, &a), ERR_MALFORMED);
    b[0] = PEER_INSTANCE;
    b[1] = PEER_PROMISED;
    b[2] = PEER_FLAG_VALUE;
    n = PEER_INSTANCE_HEAD_LEN + (size_t)VALUE_MAX;
    assert_int_equal(peer_answer_decode((struct bytes){b, n}, &a), OK);
    assert_int_equal(peer_answer_decode((struct bytes){b, n + 1}, &a), ERR_MALFORMED);
    free(b);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_ask_golden),    cmocka_unit_test(test_answer_golden),
        cmocka_unit_test(test_lengths),       cmocka_unit_test(test_unknown_kinds),
        cmocka_unit_test(test_reserved_bits), cmocka_unit_test(test_refusal_needs_a_reason),
        cmocka_unit_test(test_page_entries),  cmocka_unit_test(test_page_entries_refused),
        cmocka_unit_test(test_key_limits),    cmocka_unit_test(test_value_limits),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
