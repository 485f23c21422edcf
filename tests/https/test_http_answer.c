// SPDX-License-Identifier: Apache-2.0
/* What counts as an answer of the CAS, and what does not. CAS-1 */
#include "trusted/https/http_answer.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>
#include <stdio.h>
#include <stdlib.h>

#define BODY "{\"status\":\"serving\"}"
#define GOOD                                                                                       \
    "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 20\r\n"                  \
    "Connection: close\r\n\r\n" BODY

static enum err parse(const char *text, struct http_answer *ret)
{
    return http_answer_parse((struct bytes){(const uint8_t *)text, strlen(text)}, ret);
}

static void test_good(void **state)
{
    static const char *const others[] = {
        "HTTP/1.0 403\r\ncontent-LENGTH:\t2 \r\n\r\n{}",
        "HTTP/1.1 403 \r\nX-Y_z: \r\nContent-Length:2\r\n\r\n{}",
        "HTTP/1.1 403 No, not you\r\nContent-Length: 000000002\r\n\r\n{}",
    };
    struct http_answer a = {0};

    (void)state;
    assert_int_equal(parse(GOOD, &a), OK);
    assert_int_equal(a.status, 200);
    assert_int_equal(a.body.n, strlen(BODY));
    assert_memory_equal(a.body.p, BODY, strlen(BODY));
    for (size_t i = 0; i < sizeof(others) / sizeof(others[0]); i++) {
        assert_int_equal(parse(others[i], &a), OK);
        assert_int_equal(a.status, 403);
        assert_memory_equal(a.body.p, "{}", 2);
    }
    assert_int_equal(parse("HTTP/1.1 204 x\r\nContent-Length: 0\r\n\r\n", &a), OK);
    assert_int_equal(a.body.n, 0);
}

/* Each beginning of an answer, as when the connection breaks. */
static void test_cut_off_anywhere(void **state)
{
    (void)state;
    for (size_t n = 0; n < strlen(GOOD); n++) {
        struct http_answer a = {.status = 7};
        uint8_t *copy = malloc(n == 0 ? 1 : n); /* so that a sanitizer sees a read beyond */

        assert_non_null(copy);
        memcpy(copy, GOOD, n);
        assert_int_equal(http_answer_parse((struct bytes){copy, n}, &a), ERR_CLOSED);
        assert_int_equal(a.status, 7);
        free(copy);
    }
}

static void test_malformed(void **state)
{
    static const char *const bad[] = {
        "HTTP/1.1 200 OK\r\n\r\n{}", /* without a length */
        "HTTP/1.1 200 OK\r\nContent-Length: 2\r\nContent-Length: 2\r\n\r\n{}",
        "HTTP/1.1 200 OK\r\nContent-Length: 2\r\nTransfer-Encoding: chunked\r\n\r\n{}",
        "HTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\n{}", /* more than it says */
        "HTTP/1.1 200 OK\r\nContent-Length: -2\r\n\r\n{}",
        "HTTP/1.1 200 OK\r\nContent-Length: +2\r\n\r\n{}",
        "HTTP/1.1 200 OK\r\nContent-Length: 2, 2\r\n\r\n{}",
        "HTTP/1.1 200 OK\r\nContent-Length: 0x2\r\n\r\n{}",
        "HTTP/1.1 200 OK\r\nContent-Length:\r\n\r\n{}",
        "HTTP/1.1 200 OK\r\nContent-Length: 18446744073709551618\r\n\r\n{}",
        "HTTP/1.1 200 OK\r\nContent-Length : 2\r\n\r\n{}",
        "HTTP/1.1 200 OK\r\nX: a\r\n b\r\nContent-Length: 2\r\n\r\n{}", /* folded */
        "HTTP/1.1 200 OK\r\n: a\r\nContent-Length: 2\r\n\r\n{}",
        "HTTP/1.1 200 OK\r\nno colon\r\nContent-Length: 2\r\n\r\n{}",
        "HTTP/1.1 200 OK\nContent-Length: 2\n\n{}", /* bare line feeds */
        "HTTP/1.1 200 OK\r\nX: \x01\r\nContent-Length: 2\r\n\r\n{}",
        "HTTP/1.1 200 OK\r\rContent-Length: 2\r\n\r\n{}",
        "HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}",
        "HTTP/1.1 200OK\r\nContent-Length: 2\r\n\r\n{}",
        "HTTP/1.1 2000\r\nContent-Length: 2\r\n\r\n{}",
        "HTTP/1.1 600 x\r\nContent-Length: 2\r\n\r\n{}",
        "HTTP/1.1  200 OK\r\nContent-Length: 2\r\n\r\n{}",
        "HTTP/2 200\r\nContent-Length: 2\r\n\r\n{}",
        "http/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}",
        "\r\nHTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}",
        "220 mail.example ESMTP\r\n",
    };
    struct http_answer a = {.status = 7};
    static const char zero[] = "HTTP/1.1 200 OK\r\nX: \0\r\nContent-Length: 2\r\n\r\n{}";

    (void)state;
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        if (parse(bad[i], &a) != ERR_MALFORMED || a.status != 7) {
            fail_msg("taken: %s", bad[i]);
        }
    }
    assert_int_equal(http_answer_parse((struct bytes){(const uint8_t *)zero, sizeof(zero) - 1}, &a),
                     ERR_MALFORMED);
}

static void test_bounds(void **state)
{
    static char text[HTTP_HEAD_MAX + 64];
    static const char line[] = "X: y\r\n", first[] = "HTTP/1.1 200 OK\r\n",
                      end[] = "Content-Length: 2\r\n\r\n{}";
    size_t n = sizeof(first) - 1;
    struct http_answer a;

    (void)state;
    memcpy(text, first, n);
    while (n + sizeof(line) - 1 + sizeof(end) - 1 - 2 <= HTTP_HEAD_MAX) {
        memcpy(text + n, line, sizeof(line) - 1);
        n += sizeof(line) - 1;
    }
    memcpy(text + n, end, sizeof(end));
    assert_int_equal(parse(text, &a), OK);
    memcpy(text + n, line, sizeof(line) - 1);
    memcpy(text + n + sizeof(line) - 1, end, sizeof(end));
    assert_int_equal(parse(text, &a), ERR_MALFORMED);
    assert_int_equal(parse("HTTP/1.1 200 OK\r\nContent-Length: 4194305\r\n\r\n{}", &a),
                     ERR_TOO_BIG);
    assert_int_equal(parse("HTTP/1.1 200 OK\r\nContent-Length: 4194304\r\n\r\n{}", &a), ERR_CLOSED);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_good),
        cmocka_unit_test(test_cut_off_anywhere),
        cmocka_unit_test(test_malformed),
        cmocka_unit_test(test_bounds),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
