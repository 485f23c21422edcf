// SPDX-License-Identifier: Apache-2.0
/* Answers of whoever says that it is the CAS: refused, or a status and a body that is the end of
 * what came. */
#include "common/check.h"
#include "trusted/https/http_answer.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct http_answer a = {.status = 1};
    enum err err = http_answer_parse((struct bytes){data, size}, &a);

    if (err != OK) {
        CHECK(a.status == 1 && (err == ERR_MALFORMED || err == ERR_CLOSED || err == ERR_TOO_BIG));
        return 0;
    }
    CHECK(a.status >= 200 && a.status <= 599);
    CHECK(a.body.n < size && size - a.body.n <= HTTP_HEAD_MAX);
    CHECK(a.body.p + a.body.n == data + size);
    /* Whatever is missing at the end, it is no answer. */
    CHECK(http_answer_parse((struct bytes){data, size - 1}, &a) == ERR_CLOSED);
    return 0;
}
