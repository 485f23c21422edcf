// SPDX-License-Identifier: Apache-2.0
#include "common/bytes.h"
#include "common/check.h"
#include "common/limits.h"
#include "common/prng.h"
#include "common/result.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <unistd.h>

static const uint8_t ten[10] = {0, 1, 2, 3, 4, 5, 6, 7, 8, 9};

static void test_slice_never_leaves_its_bytes(void **state)
{
    const struct bytes b = {ten, sizeof(ten)};

    (void)state;
    for (size_t off = 0; off <= 12; off++) {
        for (size_t n = 0; n <= 12; n++) {
            struct bytes got = {ten, 99};

            if (off + n <= sizeof(ten)) {
                assert_true(bytes_slice(b, off, n, &got));
                assert_int_equal(got.n, n);
                assert_true(n == 0 ? got.p == NULL : got.p == ten + off);
            } else {
                assert_false(bytes_slice(b, off, n, &got));
                assert_int_equal(got.n, 99); /* untouched */
            }
        }
    }
}

static void test_slice_does_not_wrap(void **state)
{
    const struct bytes b = {ten, sizeof(ten)}, none = {0};
    struct bytes got;

    (void)state;
    assert_false(bytes_slice(b, 2, SIZE_MAX, &got));
    assert_false(bytes_slice(b, SIZE_MAX, 2, &got));
    assert_false(bytes_slice(b, SIZE_MAX, SIZE_MAX, &got));
    assert_false(bytes_slice(b, SIZE_MAX - 1, 4, &got));
    assert_false(bytes_slice(none, 0, 1, &got));
    assert_true(bytes_slice(none, 0, 0, &got));
    assert_null(got.p);
}

static void test_equal_and_order(void **state)
{
    static const struct bytes sorted[] = {{0},
                                          {(const uint8_t *)"\0", 1},
                                          {(const uint8_t *)"\0\0", 2},
                                          {(const uint8_t *)"\0a", 2},
                                          {(const uint8_t *)"a", 1},
                                          {(const uint8_t *)"a\0", 2},
                                          {(const uint8_t *)"ab", 2},
                                          {(const uint8_t *)"abc", 3},
                                          {(const uint8_t *)"b", 1},
                                          {(const uint8_t *)"\x7f", 1},
                                          {(const uint8_t *)"\x80", 1},
                                          {(const uint8_t *)"\xff\xff", 2}};

    (void)state;
    for (size_t i = 0; i < sizeof(sorted) / sizeof(sorted[0]); i++) {
        for (size_t j = 0; j < sizeof(sorted) / sizeof(sorted[0]); j++) {
            int c = bytes_compare(sorted[i], sorted[j]);

            assert_int_equal((c > 0) - (c < 0), (i > j) - (i < j));
            assert_int_equal(bytes_equal(sorted[i], sorted[j]), i == j);
        }
    }
}

static void test_copy_fits_or_touches_nothing(void **state)
{
    uint8_t to[10] = {0};
    size_t len = 77;

    (void)state;
    assert_false(bytes_copy((struct mbytes){to, 9}, (struct bytes){ten, 10}, &len));
    assert_int_equal(len, 77);
    assert_int_equal(to[9], 0);
    assert_int_equal(to[1], 0);
    assert_true(bytes_copy((struct mbytes){to, 10}, (struct bytes){ten, 10}, &len));
    assert_int_equal(len, 10);
    assert_memory_equal(to, ten, 10);
    assert_true(bytes_copy((struct mbytes){0}, (struct bytes){0}, &len));
    assert_int_equal(len, 0);
}

static void test_every_error_has_name_text_and_class(void **state)
{
    (void)state;
    assert_string_equal(err_name(OK), "OK");
    assert_int_equal(err_class(OK), ERR_CLASS_NONE);
    for (int i = 1; i < ERR_N; i++) {
        enum err e = (enum err)i;

        assert_true(strlen(err_name(e)) >= 2);
        assert_true(strlen(err_text(e)) >= 5);
        assert_true(strspn(err_name(e), "ABCDEFGHIJKLMNOPQRSTUVWXYZ_") == strlen(err_name(e)));
        assert_true(err_class(e) >= ERR_CLASS_HOSTILE && err_class(e) <= ERR_CLASS_NORMAL);
        for (int j = 0; j < i; j++) {
            assert_string_not_equal(err_name(e), err_name((enum err)j));
            assert_string_not_equal(err_text(e), err_text((enum err)j));
        }
    }
    assert_string_equal(err_name((enum err)ERR_N), "UNKNOWN");
    assert_string_equal(err_text((enum err) - 1), "unknown error");
    assert_int_equal(err_class((enum err)12345), ERR_CLASS_HOSTILE);
}

/* The numbers travel between versions: a line may be added to errors.def, never moved. */
static void test_error_numbers_are_stable(void **state)
{
    (void)state;
    assert_int_equal(ERR_MALFORMED, 1);
    assert_int_equal(ERR_AUTH, 2);
    assert_int_equal(ERR_REPLAY, 3);
    assert_int_equal(ERR_BOUNDARY, 4);
    assert_int_equal(ERR_INTEGRITY, 5);
    assert_int_equal(ERR_UNKNOWN_INDEX, 6);
    assert_int_equal(ERR_POLICY, 7);
    assert_int_equal(ERR_FULL, 8);
    assert_int_equal(ERR_TOO_BIG, 9);
    assert_int_equal(ERR_ENCLAVE_MEMORY, 10);
    assert_int_equal(ERR_HOST_MEMORY, 11);
    assert_int_equal(ERR_BUSY, 12);
    assert_int_equal(ERR_NOT_FOUND, 13);
    assert_int_equal(ERR_TIMEOUT, 14);
    assert_int_equal(ERR_UNAVAILABLE, 15);
    assert_int_equal(ERR_INDETERMINATE, 16);
    assert_int_equal(ERR_CLOSED, 17);
    assert_int_equal(ERR_EPOCH, 18);
    assert_int_equal(ERR_USAGE, 19);
    assert_int_equal(ERR_IO, 20);
    assert_int_equal(ERR_MISMATCH, 21);
    assert_int_equal(err_class(ERR_AUTH), ERR_CLASS_HOSTILE);
    assert_int_equal(err_class(ERR_ENCLAVE_MEMORY), ERR_CLASS_RESOURCE);
    assert_int_equal(err_class(ERR_NOT_FOUND), ERR_CLASS_NORMAL);
}

/* Sizes that peers must agree on without saying so; limits.h asserts how they relate. */
static void test_sizes_on_the_wire_are_stable(void **state)
{
    (void)state;
    assert_int_equal(KEY_MAX, 1024);
    assert_int_equal(VALUE_MAX, 16777216);
    assert_int_equal(SLOTS_N, 1024);
    assert_int_equal(RPC_HEADER_LEN, 16);
    assert_int_equal(AEAD_KEY_LEN, 32);
    assert_int_equal(AEAD_IV_LEN, 12);
    assert_int_equal(AEAD_TAG_LEN, 16);
    assert_int_equal(RPC_BODY_MAX, 8928);
    assert_true((uint64_t)MESSAGE_MAX < UINT32_MAX); /* fragments count in 32 bits */
}

static void test_prng_is_splitmix64(void **state)
{
    static const uint64_t want[] = {UINT64_C(6457827717110365317), UINT64_C(3203168211198807973),
                                    UINT64_C(9817491932198370423), UINT64_C(4593380528125082431),
                                    UINT64_C(16408922859458223821)};
    struct prng p = {1234567};
    size_t hits = 0;

    (void)state;
    for (size_t i = 0; i < sizeof(want) / sizeof(want[0]); i++) {
        assert_true(prng_u64(&p) == want[i]);
    }
    for (size_t i = 0; i < 1000; i++) {
        assert_true(prng_below(&p, 7) < 7);
        assert_false(prng_chance(&p, 0, 3));
        assert_true(prng_chance(&p, 3, 3));
        hits += prng_chance(&p, 1, 4);
    }
    assert_in_range(hits, 200, 300);
}

static void test_check_stops_and_says_where(void **state)
{
    char said[512] = {0};
    int pipe_fd[2], status = 0;
    size_t n = 0;
    pid_t child;

    (void)state;
    CHECK(1 + 1 == 2);
    assert_int_equal(pipe(pipe_fd), 0);
    child = fork();
    assert_true(child >= 0);
    if (child == 0) {
        (void)dup2(pipe_fd[1], STDERR_FILENO);
        (void)signal(SIGABRT, SIG_DFL);
        CHECK(ten[1] == 7);
        _exit(0);
    }
    (void)close(pipe_fd[1]);
    for (ssize_t got; (got = read(pipe_fd[0], said + n, sizeof(said) - 1 - n)) > 0;) {
        n += (size_t)got;
    }
    (void)close(pipe_fd[0]);
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_true(WIFSIGNALED(status) && WTERMSIG(status) == SIGABRT);
    assert_non_null(strstr(said, "test_common.c:"));
    assert_non_null(strstr(said, "ten[1] == 7"));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_slice_never_leaves_its_bytes),
        cmocka_unit_test(test_slice_does_not_wrap),
        cmocka_unit_test(test_equal_and_order),
        cmocka_unit_test(test_copy_fits_or_touches_nothing),
        cmocka_unit_test(test_every_error_has_name_text_and_class),
        cmocka_unit_test(test_error_numbers_are_stable),
        cmocka_unit_test(test_sizes_on_the_wire_are_stable),
        cmocka_unit_test(test_prng_is_splitmix64),
        cmocka_unit_test(test_check_stops_and_says_where),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
