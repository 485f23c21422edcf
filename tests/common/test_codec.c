// SPDX-License-Identifier: Apache-2.0
#include "common/codec.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

/* One of each field, and the bytes they are on the wire. */
static const uint8_t golden[] = {0x11, 0x33, 0x22, 0x77, 0x66, 0x55, 0x44, 0xff, 0xee,
                                 0xdd, 0xcc, 0xbb, 0xaa, 0x99, 0x88, 'a',  'b',  'c'};

static void put_all(struct writer *w)
{
    put_u8(w, 0x11);
    put_u16(w, 0x2233);
    put_u32(w, 0x44556677);
    put_u64(w, UINT64_C(0x8899aabbccddeeff));
    put_bytes(w, (struct bytes){(const uint8_t *)"abc", 3});
}

struct fields {
    uint8_t a;
    uint16_t b;
    uint32_t c;
    uint64_t d;
    struct bytes e;
};

static struct fields get_all(struct reader *r)
{
    struct fields f;

    f.a = get_u8(r);
    f.b = get_u16(r);
    f.c = get_u32(r);
    f.d = get_u64(r);
    f.e = get_bytes(r, 3);
    return f;
}

static void test_golden_bytes(void **state)
{
    uint8_t to[sizeof(golden) + 1];
    struct writer w = {.to = {to, sizeof(to)}};
    size_t len = 0;

    (void)state;
    memset(to, 0xee, sizeof(to));
    put_all(&w);
    assert_true(writer_done(&w, &len));
    assert_int_equal(len, sizeof(golden));
    assert_memory_equal(to, golden, sizeof(golden));
    assert_int_equal(to[sizeof(golden)], 0xee);
}

static void test_reads_back(void **state)
{
    struct reader r = {.rest = {golden, sizeof(golden)}};
    struct fields f = get_all(&r);

    (void)state;
    assert_true(reader_done(&r));
    assert_int_equal(f.a, 0x11);
    assert_int_equal(f.b, 0x2233);
    assert_int_equal(f.c, 0x44556677);
    assert_true(f.d == UINT64_C(0x8899aabbccddeeff));
    assert_ptr_equal(f.e.p, golden + 15); /* borrowed, not copied */
    assert_int_equal(f.e.n, 3);
}

/* Every shorter input fails and stays failed; every longer one is not done. */
static void test_other_lengths_are_refused(void **state)
{
    uint8_t longer[sizeof(golden) + 1] = {0};

    (void)state;
    memcpy(longer, golden, sizeof(golden));
    for (size_t n = 0; n < sizeof(golden); n++) {
        struct reader r = {.rest = {n != 0 ? golden : NULL, n}};
        struct bytes left;

        (void)get_all(&r);
        assert_true(r.failed);
        assert_false(reader_done(&r));
        left = r.rest;
        assert_int_equal(get_u8(&r), 0); /* sticky, even where a byte is left */
        assert_int_equal(get_u64(&r), 0);
        assert_int_equal(get_rest(&r).n, 0);
        assert_null(get_bytes(&r, 0).p);
        assert_true(r.rest.p == left.p && r.rest.n == left.n);
        assert_false(reader_done(&r));
    }
    struct reader r = {.rest = {longer, sizeof(longer)}};

    (void)get_all(&r);
    assert_false(r.failed);
    assert_false(reader_done(&r));
    assert_int_equal(get_rest(&r).n, 1);
    assert_true(reader_done(&r));
}

static void test_hostile_lengths(void **state)
{
    struct reader r = {.rest = {golden, sizeof(golden)}};

    (void)state;
    assert_null(get_bytes(&r, SIZE_MAX).p);
    assert_true(r.failed);
    r = (struct reader){.rest = {golden, sizeof(golden)}};
    (void)get_u8(&r);
    assert_null(get_bytes(&r, sizeof(golden)).p);
    assert_true(r.failed);
    r = (struct reader){.rest = {golden, sizeof(golden)}};
    assert_int_equal(get_bytes(&r, 0).n, 0);
    assert_false(r.failed);
    assert_int_equal(get_rest(&r).n, sizeof(golden));
    assert_int_equal(get_rest(&r).n, 0); /* nothing left is not a failure */
    assert_true(reader_done(&r));
}

static void test_arrays_are_whole_or_untouched(void **state)
{
    struct reader r = {.rest = {golden, sizeof(golden)}};
    uint8_t to[sizeof(golden) + 1];

    (void)state;
    memset(to, 0xee, sizeof(to));
    get_array(&r, to, 0);
    assert_int_equal(to[0], 0xee);
    get_array(&r, to, 3);
    assert_memory_equal(to, golden, 3);
    assert_int_equal(to[3], 0xee);
    get_array(&r, to + 3, sizeof(golden) - 2); /* one more than there are */
    assert_true(r.failed);
    get_array(&r, to + 3, 1); /* sticky */
    assert_int_equal(to[3], 0xee);
}

/* Too little room anywhere: a failure, and not a byte beyond the room. */
static void test_writer_never_overruns(void **state)
{
    (void)state;
    for (size_t room = 0; room < sizeof(golden); room++) {
        uint8_t to[sizeof(golden)];
        struct writer w = {.to = {to, room}};
        size_t len = 55;

        memset(to, 0xee, sizeof(to));
        put_all(&w);
        assert_false(writer_done(&w, &len));
        assert_int_equal(len, 55);
        for (size_t i = room; i < sizeof(to); i++) {
            assert_int_equal(to[i], 0xee);
        }
        size_t before = w.len;

        put_u8(&w, 1); /* sticky, even where a byte would fit */
        put_bytes(&w, (struct bytes){golden, 1});
        put_bytes(&w, (struct bytes){0});
        assert_int_equal(w.len, before);
        assert_false(writer_done(&w, &len));
    }
}

static void test_writer_takes_nothing(void **state)
{
    struct writer w = {0};
    size_t len = 55;

    (void)state;
    put_bytes(&w, (struct bytes){0});
    assert_true(writer_done(&w, &len));
    assert_int_equal(len, 0);
    put_bytes(&w, (struct bytes){golden, SIZE_MAX}); /* refused before it is looked at */
    assert_false(writer_done(&w, &len));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_golden_bytes),
        cmocka_unit_test(test_reads_back),
        cmocka_unit_test(test_other_lengths_are_refused),
        cmocka_unit_test(test_hostile_lengths),
        cmocka_unit_test(test_arrays_are_whole_or_untouched),
        cmocka_unit_test(test_writer_never_overruns),
        cmocka_unit_test(test_writer_takes_nothing),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
