// SPDX-License-Identifier: Apache-2.0
#include "tests/wire/wire_test.h"
#include "trusted/wire/look_wire.h"

/* CLI-19: the bytes that are a promise. */

static void test_golden_question(void **state)
{
    static const uint8_t ASK[] = "\x01\x02\x00\x01\x00k\x03\x00"
                                 "a\0\xff";
    struct look_ask m;
    uint8_t head[LOOK_ASK_HEAD_LEN];

    (void)state;
    assert_int_equal(look_ask_decode((struct bytes){ASK, 11}, &m), OK);
    assert_true(m.values);
    assert_int_equal(m.n, 2);
    assert_int_equal(m.keys[0].n, 1);
    assert_int_equal(m.keys[1].n, 3);
    assert_memory_equal(m.keys[1].p, "a\0\xff", 3);
    look_ask_encode_head(true, 2, head);
    assert_memory_equal(head, ASK, sizeof(head));
    look_ask_encode_head(false, 64, head);
    assert_memory_equal(head, "\x00\x40\x00", sizeof(head));
}

static void refuse_ask(const char *bytes, size_t n)
{
    struct look_ask m;

    assert_int_equal(look_ask_decode((struct bytes){(const uint8_t *)bytes, n}, &m), ERR_MALFORMED);
}

static void test_questions_that_are_none(void **state)
{
    static const uint8_t ASK[] = "\x01\x02\x00\x01\x00k\x01\x00l";
    uint8_t many[3 + 3 * 65] = {0, 65};
    struct look_ask m;

    (void)state;
    for (size_t n = 0; n < 9; n++) { /* every prefix */
        refuse_ask((const char *)ASK, n);
    }
    refuse_ask("\x01\x01\x00\x01\x00kx", 7);   /* bytes behind it */
    refuse_ask("\x02\x01\x00\x01\x00k", 6);    /* another flag */
    refuse_ask("\x01\x00\x00", 3);             /* no key */
    refuse_ask("\x01\x01\x00\x00\x00", 5);     /* an empty key */
    refuse_ask("\x01\x01\x00\xff\xff\x00", 6); /* longer than there is */
    for (size_t i = 0; i < 65; i++) {
        many[3 + 3 * i] = 1;
    }
    refuse_ask((const char *)many, sizeof(many)); /* too many */
    many[1] = 64;
    assert_int_equal(look_ask_decode((struct bytes){many, sizeof(many) - 3}, &m), OK);
}

static void test_golden_witness(void **state)
{
    static const uint8_t WITNESS[] = "\x05\0\0\0\0\0\0\0\x02\0\0\0\x02\x01\x03"
                                     "\x07\0\0\0\0\0\0\0"
                                     "\0\0\0\0\0\0\0\0"
                                     "\x09\0\0\0\0\0\0\x80rest";
    struct bytes from = {WITNESS, 15 + 24 + 4};
    uint8_t to[LOOK_WITNESS_MAX];
    struct look_witness m;

    (void)state;
    assert_int_equal(look_witness_decode(&from, &m), OK);
    assert_int_equal(m.epoch, 5);
    assert_int_equal(m.gc, 2);
    assert_int_equal(m.majority, 2);
    assert_int_equal(m.place, 1);
    assert_int_equal(m.members_n, 3);
    assert_true(m.bonds[0] == 7 && m.bonds[1] == 0 && m.bonds[2] == 0x8000000000000009U);
    assert_int_equal(from.n, 4);
    assert_memory_equal(from.p, "rest", 4);
    assert_int_equal(look_witness_encode(&m, to), 15 + 24);
    assert_memory_equal(to, WITNESS, 15 + 24);
    for (size_t n = 0; n < 15 + 24; n++) {
        from = (struct bytes){WITNESS, n};
        assert_int_equal(look_witness_decode(&from, &m), ERR_MALFORMED);
    }
}

/* One byte of a witness changed to what it must not be. */
static void refuse_witness(size_t at, uint8_t byte)
{
    uint8_t bytes[15 + 24] = {[12] = 2, [13] = 1, [14] = 3};
    struct bytes from = {bytes, sizeof(bytes)};
    struct look_witness m;

    assert_int_equal(look_witness_decode(&from, &m), OK);
    bytes[at] = byte;
    from = (struct bytes){bytes, sizeof(bytes)};
    assert_int_equal(look_witness_decode(&from, &m), ERR_MALFORMED);
}

static void test_witnesses_that_are_none(void **state)
{
    (void)state;
    refuse_witness(12, 0); /* nobody is a majority */
    refuse_witness(12, 4); /* more than there are */
    refuse_witness(13, 3); /* a place that there is not */
    refuse_witness(14, 8); /* more members than may be */
    refuse_witness(14, 7); /* more than are named */
    refuse_witness(14, 0);
}

static void test_golden_items(void **state)
{
    static const uint8_t ITEMS[] = "\x01\x09\0\0\0\0\0\0\0\x0b\0\0\0\0\0\0\0\x02\0\0\0vw"
                                   "\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0"
                                   "\x02\x0a\0\0\0\0\0\0\0\x0b\0\0\0\x01\0\0\0\0\0\0\0"
                                   "\x03\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0";
    static struct look_item m[LOOK_KEYS_MAX];
    uint8_t head[LOOK_VALUE_ITEM_LEN];
    size_t n = 4 * LOOK_VALUE_ITEM_LEN + 2;

    (void)state;
    assert_int_equal(look_items_decode((struct bytes){ITEMS, n}, true, 4, m), OK);
    assert_int_equal(m[0].state, LOOK_LIVE);
    assert_true(m[0].tag.ts == 9 && m[0].tag.writer == 11 && m[0].tag.rmwc == 0);
    assert_int_equal(m[0].value.n, 2);
    assert_memory_equal(m[0].value.p, "vw", 2);
    assert_int_equal(m[1].state, LOOK_ABSENT);
    assert_int_equal(m[2].state, LOOK_TOMBSTONE);
    assert_int_equal(m[2].tag.rmwc, 1);
    assert_int_equal(m[3].state, LOOK_ASK);
    assert_int_equal(look_item_encode_head(&m[0], true, 2, head), LOOK_VALUE_ITEM_LEN);
    assert_memory_equal(head, ITEMS, LOOK_VALUE_ITEM_LEN);
    assert_int_equal(look_item_encode_head(&m[0], false, 0, head), LOOK_ITEM_LEN);
    for (size_t less = 0; less < n; less++) {
        assert_int_equal(look_items_decode((struct bytes){ITEMS, less}, true, 4, m), ERR_MALFORMED);
    }
    assert_int_equal(look_items_decode((struct bytes){ITEMS, n}, true, 3, m), ERR_MALFORMED);
    assert_int_equal(look_items_decode((struct bytes){ITEMS, n}, true, 5, m), ERR_MALFORMED);
    assert_int_equal(look_items_decode((struct bytes){ITEMS, LOOK_ITEM_LEN}, false, 1, m), OK);
}

/* One state has one form. */
static void refuse_item(const char *bytes, size_t n)
{
    static struct look_item m[LOOK_KEYS_MAX];

    assert_int_equal(look_items_decode((struct bytes){(const uint8_t *)bytes, n}, true, 1, m),
                     ERR_MALFORMED);
}

static void test_items_that_are_none(void **state)
{
    (void)state;
    refuse_item("\x01\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0", 21);      /* live with no tag */
    refuse_item("\x02\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0", 21);      /* so deleted */
    refuse_item("\x00\x01\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0", 21);    /* absent with one */
    refuse_item("\x03\x01\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0", 21);    /* so unsaid */
    refuse_item("\x02\x01\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\x01\0\0\0v", 22); /* deleted, a value */
    refuse_item("\x00\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\x01\0\0\0v", 22);   /* absent, a value */
    refuse_item("\x04\x01\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0", 21);    /* no such state */
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_golden_question), cmocka_unit_test(test_questions_that_are_none),
        cmocka_unit_test(test_golden_witness),  cmocka_unit_test(test_witnesses_that_are_none),
        cmocka_unit_test(test_golden_items),    cmocka_unit_test(test_items_that_are_none),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
