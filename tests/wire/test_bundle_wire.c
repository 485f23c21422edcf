// SPDX-License-Identifier: Apache-2.0
#include "tests/wire/wire_test.h"
#include "trusted/wire/bundle_wire.h"

/* ABD-23: the bytes that are a promise. */

static void test_golden_question(void **state)
{
    /* group 2, QUERY of "k" at gc 0; group 5, one byte that is no question */
    static const uint8_t BODY[] = "\xff\x09\x00\x02\x01\0\0\0\0\x01\0k\x02\x00\x05x";
    struct reader r = {.rest = {BODY + 1, 15}};
    struct bytes ask;
    struct peer_ask m;
    uint8_t group;

    (void)state;
    assert_true(bundle_is((struct bytes){BODY, 16}));
    assert_false(bundle_is((struct bytes){BODY + 3, 9}));
    assert_false(bundle_is((struct bytes){0}));
    assert_true(bundle_next(&r, &group, &ask));
    assert_int_equal(group, 2);
    assert_int_equal(peer_ask_decode(ask, &m), OK);
    assert_int_equal(m.kind, PEER_QUERY);
    assert_true(bundle_next(&r, &group, &ask));
    assert_int_equal(group, 5);
    assert_int_equal(ask.n, 1);
    assert_false(bundle_next(&r, &group, &ask));
    assert_true(reader_done(&r));
}

static void test_questions_that_are_none(void **state)
{
    static const char *const BODIES[] = {"\x02", "\x02\0\x05", "\x01\0", "\xff\xff\x01\x01"};
    static const size_t LENGTHS[] = {1, 3, 2, 4};

    (void)state;
    for (size_t i = 0; i < sizeof(LENGTHS) / sizeof(LENGTHS[0]); i++) {
        struct reader r = {.rest = {(const uint8_t *)BODIES[i], LENGTHS[i]}};
        struct bytes ask;
        uint8_t group;

        assert_false(bundle_next(&r, &group, &ask));
        assert_false(reader_done(&r));
    }
    {
        struct reader r = {.rest = {(const uint8_t *)"\0\0", 2}}; /* no group */
        struct bytes ask;
        uint8_t group;

        assert_false(bundle_next(&r, &group, &ask));
        assert_false(reader_done(&r));
    }
}

static void test_answers(void **state)
{
    uint8_t bytes[BUNDLE_ANSWERS_MAX];
    struct writer w = {.to = {bytes, sizeof(bytes)}};
    const struct peer_answer tag = {.kind = PEER_TAG, .tag = {.ts = 7, .writer = 1}};
    const struct peer_answer no = {.kind = PEER_REFUSED, .err = ERR_BUSY};
    const struct peer_answer taken = {.kind = PEER_APPLIED};
    const struct peer_answer longer = {.kind = PEER_HOLDS,
                                       .holds = PEER_HOLDS_NEWER,
                                       .tag = {.ts = 7, .writer = 1},
                                       .value = {bytes, 100}};
    struct peer_answer m;
    struct reader r;

    (void)state;
    bundle_put_answer(&w, &tag);
    bundle_put_answer(&w, &no);
    bundle_put_answer(&w, &taken);
    bundle_put_answer(&w, &longer); /* does not belong in a bundle: said so, not cut */
    assert_false(w.failed);
    assert_int_equal(w.len, 18 + 3 + 2 + 3);
    r = (struct reader){.rest = {bytes, w.len}};
    assert_int_equal(bundle_get_answer(&r, &m), OK);
    assert_true(m.kind == PEER_TAG && m.tag.ts == 7);
    assert_int_equal(bundle_get_answer(&r, &m), OK);
    assert_true(m.kind == PEER_REFUSED && m.err == ERR_BUSY);
    assert_int_equal(bundle_get_answer(&r, &m), OK);
    assert_int_equal(m.kind, PEER_APPLIED);
    assert_int_equal(bundle_get_answer(&r, &m), OK);
    assert_true(m.kind == PEER_REFUSED && m.err == ERR_MALFORMED);
    assert_int_equal(bundle_get_answer(&r, &m), ERR_MALFORMED); /* there are no more */
    r = (struct reader){.rest = {bytes, 17}};
    assert_int_equal(bundle_get_answer(&r, &m), ERR_MALFORMED);
    assert_int_equal(bundle_get_answer(&r, &m), ERR_MALFORMED);
}

/* As many as a bundle may have fit, whatever they are. */
static void test_all_answers_fit(void **state)
{
    static uint8_t bytes[BUNDLE_ANSWERS_MAX];
    struct writer w = {.to = {bytes, sizeof(bytes)}};

    (void)state;
    for (int i = 0; i < BUNDLE_MAX; i++) {
        bundle_put_answer(&w, &(struct peer_answer){.kind = PEER_TAG});
    }
    assert_false(w.failed);
    assert_int_equal(w.len, sizeof(bytes));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_golden_question),
        cmocka_unit_test(test_questions_that_are_none),
        cmocka_unit_test(test_answers),
        cmocka_unit_test(test_all_answers_fit),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
