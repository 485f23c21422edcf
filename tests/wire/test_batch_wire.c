// SPDX-License-Identifier: Apache-2.0
#include "tests/wire/wire_test.h"
#include "trusted/wire/batch_wire.h"
#include "trusted/wire/client_wire.h"
#include "trusted/wire/peer_wire.h"

/* Bodies of several keys: the bytes that are a promise. SCAN-1. */

#define TAG_BYTES "\x08\x07\x06\x05\x04\x03\x02\x01\x0c\x0b\x0a\x09\x10\x0f\x0e\x0d"
#define PRINT_BYTES "\x18\x17\x16\x15\x14\x13\x12\x11"
#define SECRET "0123456789abcdef"

static const struct batch_item item = {
    .state = 1,
    .tag = {.ts = UINT64_C(0x0102030405060708), .writer = 0x090a0b0c, .rmwc = 0x0d0e0f10},
    .print = UINT64_C(0x1112131415161718),
    .key = {(const uint8_t *)"k\0", 2},
    .value = {(const uint8_t *)"vwx", 3},
};

static const struct {
    unsigned fields;
    struct bytes golden;
} lists[] = {
    {BATCH_MGET, {(const uint8_t *)"\1\0\2\0k\0", 6}},
    {BATCH_VALUES, {(const uint8_t *)"\1\0\1\3\0\0\0vwx", 10}},
    {BATCH_MPUT, {(const uint8_t *)"\1\0\1\2\0k\0\3\0\0\0vwx", 14}},
    {BATCH_STATES, {(const uint8_t *)"\1\0\1", 3}},
    {BATCH_LISTED, {(const uint8_t *)"\1\0\1" TAG_BYTES "\2\0k\0", 23}},
    {BATCH_LISTED_PRINTS, {(const uint8_t *)"\1\0\1" TAG_BYTES PRINT_BYTES "\2\0k\0", 31}},
    {BATCH_TAGGED, {(const uint8_t *)"\1\0" TAG_BYTES, 18}},
    {BATCH_LOOK, {(const uint8_t *)"\1\0" TAG_BYTES "\2\0k\0", 22}},
    {BATCH_LOOKED, {(const uint8_t *)"\1\0\1" TAG_BYTES "\3\0\0\0vwx", 26}},
    {BATCH_PUSH, {(const uint8_t *)"\1\0\1" TAG_BYTES "\2\0k\0\3\0\0\0vwx", 30}},
};

enum { LISTS_N = sizeof(lists) / sizeof(lists[0]) };

static bool list_decodes(struct bytes from, unsigned fields, struct batch_list *ret)
{
    return batch_list_decode(from, fields, 2, ret) == OK;
}

static void lists_have_these_bytes(void **state)
{
    (void)state;
    for (size_t i = 0; i < LISTS_N; i++) {
        uint8_t to[64];
        struct writer w = {.to = {to, sizeof(to)}};
        struct batch_list list;
        struct batch_item got;

        put_u16(&w, 1);
        batch_item_put(&w, lists[i].fields, &item);
        assert_bytes((struct bytes){to, w.len}, lists[i].golden);
        assert_int_equal(batch_item_len(lists[i].fields, &item), w.len - 2);
        assert_true(list_decodes(lists[i].golden, lists[i].fields, &list));
        assert_true(batch_list_next(&list, &got));
        if ((lists[i].fields & BATCH_KEY) != 0) {
            assert_bytes(got.key, item.key);
        }
        if ((lists[i].fields & BATCH_VALUE) != 0) {
            assert_bytes(got.value, item.value);
        }
        if ((lists[i].fields & BATCH_TAG) != 0) {
            assert_int_equal(tag_compare(got.tag, item.tag), 0);
        }
        assert_false(batch_list_next(&list, &got));
    }
}

static void lists_cut_short_or_too_long_are_refused(void **state)
{
    (void)state;
    for (size_t i = 0; i < LISTS_N; i++) {
        struct bytes golden = lists[i].golden;
        struct batch_list list;

        for (size_t n = 0; n < golden.n; n++) {
            uint8_t *copy = exact_copy(golden.p, n);

            assert_false(list_decodes((struct bytes){copy, n}, lists[i].fields, &list));
            free(copy);
        }
        uint8_t *longer = malloc(golden.n + 1);

        assert_non_null(longer);
        memcpy(longer, golden.p, golden.n);
        longer[golden.n] = 0;
        assert_false(list_decodes((struct bytes){longer, golden.n + 1}, lists[i].fields, &list));
        free(longer);
    }
}

static void lists_keep_their_limits(void **state)
{
    static uint8_t keys[2 + (BATCH_KEYS_MAX + 1) * 3];
    struct writer w = {.to = {keys, sizeof(keys)}};
    struct batch_list list;

    (void)state;
    put_u16(&w, BATCH_KEYS_MAX + 1);
    for (int i = 0; i <= BATCH_KEYS_MAX; i++) {
        batch_item_put(&w, BATCH_MGET, &(struct batch_item){.key = {(const uint8_t *)"k", 1}});
    }
    assert_false(w.failed);
    assert_false(list_decodes((struct bytes){keys, w.len}, BATCH_MGET, &list));
    keys[0] = 0;
    keys[1] = BATCH_KEYS_MAX >> 8;
    assert_true(list_decodes((struct bytes){keys, w.len - 3}, BATCH_MGET, &list));
    assert_int_equal(list.n, BATCH_KEYS_MAX);
    assert_false(list_decodes((struct bytes){(const uint8_t *)"\0\0", 2}, BATCH_MGET, &list));
    /* an empty key, a state that there is not */
    assert_false(list_decodes((struct bytes){(const uint8_t *)"\1\0\0\0", 4}, BATCH_MGET, &list));
    assert_false(list_decodes((struct bytes){(const uint8_t *)"\1\0\2", 3}, BATCH_STATES, &list));
}

static void ranges_have_these_bytes(void **state)
{
    static const uint8_t golden[] = "\3\x34\1\x78\x56\x34\x12\1\0a\2\0b\0" SECRET PRINT_BYTES "\7";
    const struct scan_ask ask = {.down = true,
                                 .values = true,
                                 .keys_max = 0x0100,
                                 .bytes_max = 0x12345678,
                                 .low = {(const uint8_t *)"a", 1},
                                 .high = {(const uint8_t *)"b\0", 2},
                                 .secret = SECRET,
                                 .digest = UINT64_C(0x1112131415161718),
                                 .count = 7};
    uint8_t to[RANGE_ASK_MAX];
    struct scan_ask got;
    size_t n = scan_ask_encode(&ask, true, (struct mbytes){to, sizeof(to)});

    (void)state;
    to[1] = 0x34; /* 256 keys are the most; the rest as written */
    assert_bytes((struct bytes){to, n}, (struct bytes){golden, sizeof(golden)});
    assert_int_equal(scan_ask_decode((struct bytes){to, n}, true, &got), ERR_MALFORMED);
    to[1] = 0;
    assert_int_equal(scan_ask_decode((struct bytes){to, n}, true, &got), OK);
    assert_true(got.down && got.values && got.count == 7 && got.digest == ask.digest);
    assert_bytes(got.low, ask.low);
    assert_bytes(got.high, ask.high);
    for (size_t i = 0; i < n; i++) {
        uint8_t *copy = exact_copy(to, i);

        assert_int_equal(scan_ask_decode((struct bytes){copy, i}, true, &got), ERR_MALFORMED);
        free(copy);
    }
    n = scan_ask_encode(&ask, false, (struct mbytes){to, sizeof(to)});
    assert_int_equal(scan_ask_decode((struct bytes){to, n}, false, &got), OK);
    assert_int_equal(scan_ask_decode((struct bytes){to, n}, true, &got), ERR_MALFORMED);
}

static void pages_say_where_they_end(void **state)
{
    uint8_t to[PAGE_HEAD_MAX + 64];
    struct writer w = {.to = {to, sizeof(to)}};
    struct scan_page page = {.more = true, .next = {(const uint8_t *)"n\0", 2}};
    struct scan_page got;
    struct batch_item m;

    (void)state;
    scan_page_put_head(&w, &page, 1);
    batch_item_put(&w, BATCH_PAGE_KEYS, &item);
    assert_bytes((struct bytes){to, w.len},
                 (struct bytes){(const uint8_t *)"\1\2\0n\0\1\0\2\0k\0", 11});
    assert_int_equal(scan_page_decode((struct bytes){to, w.len}, false, &got), OK);
    assert_true(got.more && !got.values);
    assert_bytes(got.next, page.next);
    assert_true(batch_list_next(&got.list, &m));
    assert_bytes(m.key, item.key);
    for (size_t i = 0; i < w.len; i++) {
        uint8_t *copy = exact_copy(to, i);

        assert_int_equal(scan_page_decode((struct bytes){copy, i}, false, &got), ERR_MALFORMED);
        free(copy);
    }
    to[0] = 0; /* no more, but a bound */
    assert_int_equal(scan_page_decode((struct bytes){to, w.len}, false, &got), ERR_MALFORMED);
    to[0] = 4; /* a flag that there is not */
    assert_int_equal(scan_page_decode((struct bytes){to, w.len}, false, &got), ERR_MALFORMED);
    assert_int_equal(scan_page_decode((struct bytes){(const uint8_t *)"\0\0\0\0\0", 5}, true, &got),
                     OK);
    assert_int_equal(got.list.n, 0);
}

/* SYNC-2: with the hash of each value; damage is said between replicas only. */
static void listed_prints_have_these_bytes(void **state)
{
    static const char golden[] = "\2\0\0\1\0\2" TAG_BYTES PRINT_BYTES "\2\0k";
    const struct bytes whole = {(const uint8_t *)golden, sizeof(golden)}; /* the key ends with 0 */
    uint8_t to[PAGE_HEAD_MAX + 64];
    struct writer w = {.to = {to, sizeof(to)}};
    struct batch_item damaged = item, m = {0};
    struct scan_page got;

    (void)state;
    damaged.state = BATCH_DAMAGED;
    scan_page_put_head(&w, &(struct scan_page){.values = true}, 1);
    batch_item_put(&w, BATCH_LISTED_PRINTS, &damaged);
    assert_bytes((struct bytes){to, w.len}, whole);
    assert_int_equal(scan_page_decode(whole, true, &got), OK);
    assert_true(!got.more && got.values);
    assert_true(batch_list_next(&got.list, &m));
    assert_int_equal(m.state, BATCH_DAMAGED);
    assert_true(m.print == item.print && tag_compare(m.tag, item.tag) == 0);
    for (size_t i = 0; i < whole.n; i++) {
        uint8_t *copy = exact_copy(whole.p, i);

        assert_int_equal(scan_page_decode((struct bytes){copy, i}, true, &got), ERR_MALFORMED);
        free(copy);
    }
    to[5] = 3; /* a state that there is not */
    assert_int_equal(scan_page_decode((struct bytes){to, w.len}, true, &got), ERR_MALFORMED);
}

/* The frames that carry bodies: a kind and a stamp before them between replicas, the usual head for
 * clients.
 */
static void bodies_travel_like_other_messages(void **state)
{
    const struct bytes body = {(const uint8_t *)"body", 4};
    uint8_t to[64];
    struct peer_ask ask = {.kind = PEER_LOOK, .gc = 7, .value = body};
    struct peer_answer answer = {.kind = PEER_PUSHED, .value = body};
    struct client_request request = {.op = CLIENT_SCAN, .timeout_ms = 5, .value = body};
    size_t n;

    (void)state;
    assert_int_equal(peer_ask_encode_head(&ask, to), 5);
    memcpy(to + 5, body.p, body.n);
    assert_int_equal(to[0], 10);
    assert_int_equal(peer_ask_decode((struct bytes){to, 9}, &ask), OK);
    assert_int_equal(ask.gc, 7);
    assert_bytes(ask.value, body);
    assert_int_equal(peer_ask_decode((struct bytes){to, 5}, &ask), ERR_MALFORMED);
    answer.value = body;
    assert_int_equal(peer_answer_encode(&answer, (struct mbytes){to, sizeof(to)}, &n), OK);
    assert_bytes((struct bytes){to, n}, LITERAL("\x0c"
                                                "body"));
    assert_int_equal(peer_answer_decode((struct bytes){to, n}, &answer), OK);
    assert_bytes(answer.value, body);
    to[0] = PEER_SAME; /* has no body */
    assert_int_equal(peer_answer_decode((struct bytes){to, n}, &answer), ERR_MALFORMED);
    assert_int_equal(peer_answer_decode((struct bytes){to, 1}, &answer), OK);
    client_request_encode_head(&request, to);
    memcpy(to + CLIENT_REQUEST_HEAD_LEN, body.p, body.n);
    assert_int_equal(
        client_request_decode((struct bytes){to, CLIENT_REQUEST_HEAD_LEN + 4}, &request), OK);
    assert_bytes(request.value, body);
    to[6] = 1; /* a batch has no key */
    assert_int_equal(
        client_request_decode((struct bytes){to, CLIENT_REQUEST_HEAD_LEN + 4}, &request),
        ERR_MALFORMED);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(lists_have_these_bytes),
        cmocka_unit_test(lists_cut_short_or_too_long_are_refused),
        cmocka_unit_test(lists_keep_their_limits),
        cmocka_unit_test(ranges_have_these_bytes),
        cmocka_unit_test(pages_say_where_they_end),
        cmocka_unit_test(listed_prints_have_these_bytes),
        cmocka_unit_test(bodies_travel_like_other_messages),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
