// SPDX-License-Identifier: Apache-2.0
#include "tests/wire/wire_test.h"
#include "trusted/wire/client_wire.h"

/* CLI-2, CLI-3: the bytes that are a promise. */

struct request_case {
    struct client_request m;
    struct bytes golden;
};

static const struct request_case requests[] = {
    {{.op = CLIENT_GET, .timeout_ms = 5000, .key = {(const uint8_t *)"k", 1}},
     {(const uint8_t *)"\x01\x00\x88\x13\x00\x00\x01\x00k", 9}},
    {{.op = CLIENT_PUT,
      .timeout_ms = 60000,
      .key = {(const uint8_t *)"a\0\xff", 3},
      .value = {(const uint8_t *)"v\0w", 3}},
     {(const uint8_t *)"\x02\x00\x60\xea\x00\x00\x03\x00"
                       "a\0\xff"
                       "v\0w",
      14}},
    {{.op = CLIENT_PUT, .timeout_ms = 1, .key = {(const uint8_t *)"e", 1}},
     {(const uint8_t *)"\x02\x00\x01\x00\x00\x00\x01\x00"
                       "e",
      9}},
    {{.op = CLIENT_DELETE, .timeout_ms = 258, .key = {(const uint8_t *)"\0\0", 2}},
     {(const uint8_t *)"\x03\x00\x02\x01\x00\x00\x02\x00\x00\x00", 10}},
    {{.op = CLIENT_RMW,
      .timeout_ms = 1,
      .key = {(const uint8_t *)"k", 1},
      .rmw = CLIENT_RMW_CAS,
      .expect_len = 2,
      .value = {(const uint8_t *)"abc", 3}},
     {(const uint8_t *)"\x04\x00\x01\x00\x00\x00\x01\x00"
                       "\x01\0\0\0\0\0\0\0\0\x02\0\0\0"
                       "kabc",
      25}},
    {{.op = CLIENT_RMW,
      .timeout_ms = 1,
      .key = {(const uint8_t *)"k", 1},
      .rmw = CLIENT_RMW_INCR,
      .delta = -2},
     {(const uint8_t *)"\x04\x00\x01\x00\x00\x00\x01\x00"
                       "\x03\xfe\xff\xff\xff\xff\xff\xff\xff\0\0\0\0"
                       "k",
      22}},
    {{.op = CLIENT_RMW,
      .timeout_ms = 1,
      .key = {(const uint8_t *)"k", 1},
      .rmw = CLIENT_RMW_DELETE_IF,
      .expect_len = 1,
      .value = {(const uint8_t *)"x", 1}},
     {(const uint8_t *)"\x04\x00\x01\x00\x00\x00\x01\x00"
                       "\x06\0\0\0\0\0\0\0\0\x01\0\0\0"
                       "kx",
      23}},
};

struct response_case {
    struct client_response m;
    struct bytes golden;
};

#define TAG_BYTES "\x08\x07\x06\x05\x04\x03\x02\x01\x0c\x0b\x0a\x09\x10\x0f\x0e\x0d"
#define TAG_OF                                                                                     \
    {                                                                                              \
        .ts = UINT64_C(0x0102030405060708), .writer = 0x090a0b0c, .rmwc = 0x0d0e0f10               \
    }

static const struct response_case responses[] = {
    {{.status = OK, .tag = TAG_OF, .value = {(const uint8_t *)"xyz", 3}},
     {(const uint8_t *)"\x00\x00" TAG_BYTES "xyz", 21}},
    {{.status = OK, .tag = TAG_OF}, {(const uint8_t *)"\x00\x00" TAG_BYTES, 18}},
    {{.status = ERR_NOT_FOUND}, {(const uint8_t *)"\x0d\x00\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0", 18}},
    {{.status = OK, .absent = true},
     {(const uint8_t *)"\x00\x01\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0", 18}},
    {{.status = ERR_MISMATCH, .tag = TAG_OF, .value = {(const uint8_t *)"o", 1}},
     {(const uint8_t *)"\x15\x00" TAG_BYTES "o", 19}},
    {{.status = ERR_BUSY}, {(const uint8_t *)"\x0c\x00\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0", 18}},
};

enum { CASES_REQUESTS = sizeof(requests) / sizeof(requests[0]) };
enum { CASES_RESPONSES = sizeof(responses) / sizeof(responses[0]) };

static struct client_request request_marker(void)
{
    struct client_request m;

    memset(&m, 0xa5, sizeof(m));
    return m;
}

static struct client_response response_marker(void)
{
    struct client_response m;

    memset(&m, 0xa5, sizeof(m));
    return m;
}

static void request_refused(const uint8_t *p, size_t n)
{
    uint8_t *copy = exact_copy(p, n);
    struct client_request m = request_marker();
    const struct client_request marker = request_marker();

    assert_int_equal(client_request_decode((struct bytes){copy, n}, &m), ERR_MALFORMED);
    assert_memory_equal(&m, &marker, sizeof(m));
    free(copy);
}

static void response_refused(const uint8_t *p, size_t n)
{
    uint8_t *copy = exact_copy(p, n);
    struct client_response m = response_marker();
    const struct client_response marker = response_marker();

    assert_int_equal(client_response_decode((struct bytes){copy, n}, &m), ERR_MALFORMED);
    assert_memory_equal(&m, &marker, sizeof(m));
    free(copy);
}

static void test_request_golden(void **state)
{
    (void)state;
    for (size_t i = 0; i < CASES_REQUESTS; i++) {
        const struct client_request *want = &requests[i].m;
        struct bytes golden = requests[i].golden;
        uint8_t head[CLIENT_REQUEST_HEAD_MAX];
        size_t head_n = client_request_encode_head(want, head);
        struct client_request got;

        assert_int_equal(golden.n, head_n + want->key.n + want->value.n);
        assert_memory_equal(head, golden.p, head_n);
        assert_int_equal(client_request_decode(golden, &got), OK);
        assert_int_equal(got.op, want->op);
        assert_int_equal(got.timeout_ms, want->timeout_ms);
        assert_int_equal(got.rmw, want->rmw);
        assert_int_equal(got.expect_len, want->expect_len);
        assert_true(got.delta == want->delta);
        assert_bytes(got.key, want->key);
        assert_bytes(got.value, want->value);
    }
}

static void test_response_golden(void **state)
{
    (void)state;
    for (size_t i = 0; i < CASES_RESPONSES; i++) {
        const struct client_response *want = &responses[i].m;
        struct bytes golden = responses[i].golden;
        uint8_t head[CLIENT_RESPONSE_HEAD_LEN];
        struct client_response got;

        client_response_encode_head(want, head);
        assert_int_equal(golden.n, sizeof(head) + want->value.n);
        assert_memory_equal(head, golden.p, sizeof(head));
        assert_int_equal(client_response_decode(golden, &got), OK);
        assert_int_equal(got.status, want->status);
        assert_int_equal(got.absent, want->absent);
        assert_int_equal(tag_compare(got.tag, want->tag), 0);
        assert_bytes(got.value, want->value);
    }
}

/* A request ends where its key ends; only a PUT has more. */
static void test_request_lengths(void **state)
{
    uint8_t longer[64];

    (void)state;
    for (size_t i = 0; i < CASES_REQUESTS; i++) {
        struct bytes golden = requests[i].golden;
        const struct client_request *m = &requests[i].m;
        bool is_rmw = m->op == CLIENT_RMW;
        size_t least =
            (is_rmw ? CLIENT_RMW_HEAD_LEN : CLIENT_REQUEST_HEAD_LEN) + m->key.n + m->expect_len;

        for (size_t n = 0; n < least; n++) {
            request_refused(golden.p, n);
        }
        if (m->op == CLIENT_PUT || (is_rmw && m->rmw == CLIENT_RMW_CAS)) {
            continue;
        }
        memset(longer, 0, sizeof(longer));
        memcpy(longer, golden.p, golden.n);
        for (size_t n = golden.n + 1; n <= sizeof(longer); n++) {
            request_refused(longer, n);
        }
    }
}

static void test_response_lengths(void **state)
{
    uint8_t longer[64];

    (void)state;
    for (size_t i = 0; i < CASES_RESPONSES; i++) {
        struct bytes golden = responses[i].golden;

        for (size_t n = 0; n < CLIENT_RESPONSE_HEAD_LEN; n++) {
            response_refused(golden.p, n);
        }
        if ((responses[i].m.status == OK && !responses[i].m.absent) ||
            responses[i].m.status == ERR_MISMATCH) {
            continue;
        }
        memset(longer, 0, sizeof(longer));
        memcpy(longer, golden.p, golden.n);
        for (size_t n = golden.n + 1; n <= sizeof(longer); n++) {
            response_refused(longer, n);
        }
    }
}

/* Every value of every head byte is either the one encoding of something or refused. */
static void test_request_head_bytes(void **state)
{
    const struct bytes put = requests[1].golden;
    uint8_t b[14];

    (void)state;
    memcpy(b, put.p, sizeof(b));
    for (unsigned v = 0; v < 256; v++) {
        b[0] = (uint8_t)v;
        if (v != CLIENT_PUT) {
            request_refused(b, sizeof(b)); /* GET and DELETE: a value; RMW: no head of its own */
        }
    }
    memcpy(b, put.p, sizeof(b));
    for (unsigned v = 1; v < 256; v++) {
        b[1] = (uint8_t)v;
        request_refused(b, sizeof(b));
    }
    memcpy(b, put.p, sizeof(b));
    memset(b + 2, 0, 4);
    request_refused(b, sizeof(b)); /* a timeout of nothing */
    b[2] = 0x61;
    b[3] = 0xea;
    request_refused(b, sizeof(b)); /* 60001 ms */
    memcpy(b, put.p, sizeof(b));
    memset(b + 6, 0, 2);
    request_refused(b, sizeof(b)); /* a key of nothing */
}

static void test_request_key_limit(void **state)
{
    size_t n = CLIENT_REQUEST_HEAD_LEN + KEY_MAX + 1;
    uint8_t *b = calloc(1, n);
    struct client_request m;

    (void)state;
    assert_non_null(b);
    b[0] = CLIENT_DELETE;
    b[2] = 1;
    b[6] = KEY_MAX & 0xff;
    b[7] = KEY_MAX >> 8;
    assert_int_equal(client_request_decode((struct bytes){b, n - 1}, &m), OK);
    assert_int_equal(m.key.n, KEY_MAX);
    b[6]++;
    request_refused(b, n);
    free(b);
}

static void test_value_limit(void **state)
{
    size_t n = CLIENT_RESPONSE_HEAD_LEN + (size_t)CLIENT_BODY_MAX + 1; /* of a batch */
    uint8_t *b = calloc(1, n);
    struct client_request q = request_marker();
    struct client_response a;

    (void)state;
    assert_non_null(b);
    assert_int_equal(client_response_decode((struct bytes){b, n - 1}, &a), OK);
    assert_int_equal(a.value.n, CLIENT_BODY_MAX);
    assert_int_equal(client_response_decode((struct bytes){b, n}, &a), ERR_MALFORMED);

    b[0] = CLIENT_PUT;
    b[2] = 1; /* ms */
    b[6] = 1; /* byte of key */
    assert_int_equal(client_request_decode((struct bytes){b, 9 + (size_t)VALUE_MAX}, &q), OK);
    assert_int_equal(q.value.n, VALUE_MAX);
    assert_int_equal(client_request_decode((struct bytes){b, 9 + (size_t)VALUE_MAX + 1}, &q),
                     ERR_MALFORMED);
    free(b);
}

static void test_response_status(void **state)
{
    uint8_t b[CLIENT_RESPONSE_HEAD_LEN + 1] = {0};
    struct client_response m;

    (void)state;
    for (unsigned v = 0; v < 256; v++) {
        b[0] = (uint8_t)v;
        if (v < ERR_N) {
            assert_int_equal(client_response_decode((struct bytes){b, sizeof(b) - 1}, &m), OK);
            assert_int_equal(m.status, v);
        } else {
            response_refused(b, sizeof(b) - 1);
        }
        if (v != OK && v != ERR_MISMATCH) {
            response_refused(b, sizeof(b)); /* only these have a value */
        }
    }
    b[0] = OK;
    for (unsigned v = 2; v < 256; v++) {
        b[1] = (uint8_t)v;
        response_refused(b, sizeof(b) - 1);
    }
    b[0] = ERR_POLICY; /* its flags are rights */
    for (unsigned v = 0; v < 256; v++) {
        b[1] = (uint8_t)v;
        if (v > CLIENT_RIGHTS) {
            response_refused(b, sizeof(b) - 1);
            continue;
        }
        assert_int_equal(client_response_decode((struct bytes){b, sizeof(b) - 1}, &m), OK);
        assert_int_equal(m.lacks, v);
        assert_false(m.absent);
    }
    b[0] = OK;
    b[1] = CLIENT_FLAG_ABSENT;
    response_refused(b, sizeof(b)); /* absent, and a value */
    b[0] = ERR_NOT_FOUND;
    response_refused(b, sizeof(b) - 1);
}

/* CLI-16: every part where it belongs, in every kind. */
static void test_rmw_parts(void **state)
{
    uint8_t b[CLIENT_RMW_HEAD_LEN + 3] = {CLIENT_RMW, 0, 1, 0, 0, 0, 1, 0};
    struct client_request m;

    (void)state;
    for (unsigned kind = 0; kind < 256; kind++) {
        bool delta_ok = kind == CLIENT_RMW_INCR;
        bool compares = kind == CLIENT_RMW_CAS || kind == CLIENT_RMW_DELETE_IF;
        bool value_ok = kind != CLIENT_RMW_INCR && kind != CLIENT_RMW_DELETE_IF;
        bool known = kind >= CLIENT_RMW_CAS && kind <= CLIENT_RMW_DELETE_IF;

        for (unsigned i = 0; i < 16; i++) {
            size_t expect = i & 3, delta = i >> 2 & 1, value_n = (i >> 3 & 1) == 1 ? 2 : 0;
            size_t len = CLIENT_RMW_HEAD_LEN + 1 + value_n;
            bool fine = known && (delta == 0 || delta_ok) && expect <= value_n &&
                        (expect == 0 || compares) && (value_n == 0 || kind != CLIENT_RMW_INCR) &&
                        (value_ok || expect == value_n);

            b[8] = (uint8_t)kind;
            b[9] = (uint8_t)delta;
            b[17] = (uint8_t)expect;
            if (fine) {
                assert_int_equal(client_request_decode((struct bytes){b, len}, &m), OK);
            } else {
                request_refused(b, len);
            }
        }
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_request_golden),     cmocka_unit_test(test_response_golden),
        cmocka_unit_test(test_request_lengths),    cmocka_unit_test(test_response_lengths),
        cmocka_unit_test(test_request_head_bytes), cmocka_unit_test(test_request_key_limit),
        cmocka_unit_test(test_value_limit),        cmocka_unit_test(test_response_status),
        cmocka_unit_test(test_rmw_parts),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
