// SPDX-License-Identifier: Apache-2.0
#include "trusted/abd/abd_rmw.h"

/* ---- decimal numbers of 64 bits, as Redis has them: no sign but '-', no leading zero ---- */

static bool parse_int64(struct bytes text, int64_t *ret)
{
    bool minus = text.n > 0 && text.p[0] == '-';
    size_t i = minus ? 1 : 0;
    uint64_t most = minus ? (uint64_t)INT64_MAX + 1 : (uint64_t)INT64_MAX;
    uint64_t sum = 0;

    if (text.n == i || text.n - i > CLIENT_NUMBER_MAX - 1) {
        return false;
    }
    if (text.p[i] == '0' && (text.n > 1)) {
        return false;
    }
    for (; i < text.n; i++) {
        uint64_t digit = (uint64_t)text.p[i] - '0';

        if (digit > 9 || sum > (most - digit) / 10) {
            return false;
        }
        sum = sum * 10 + digit;
    }
    *ret = (int64_t)(minus ? 0 - sum : sum);
    return true;
}

static uint8_t print_int64(int64_t n, uint8_t to[static CLIENT_NUMBER_MAX])
{
    uint64_t rest = n < 0 ? 0 - (uint64_t)n : (uint64_t)n;
    uint8_t digits[CLIENT_NUMBER_MAX];
    uint8_t digits_n = 0, len = 0;

    do {
        digits[digits_n++] = (uint8_t)('0' + rest % 10);
        rest /= 10;
    } while (rest != 0);
    if (n < 0) {
        to[len++] = '-';
    }
    while (digits_n > 0) {
        to[len++] = digits[--digits_n];
    }
    return len;
}

/* ---- the operations ---- */

static enum err increment(const struct abd_eval_in *in, struct abd_eval *ret)
{
    int64_t old = 0, sum;

    if (!in->absent && !parse_int64(in->value, &old)) {
        return ERR_NOT_NUMBER;
    }
    if (__builtin_add_overflow(old, in->request->delta, &sum)) {
        return ERR_OVERFLOW;
    }
    ret->text_len = print_int64(sum, ret->text);
    ret->parts[0] = (struct bytes){.p = ret->text, .n = ret->text_len};
    return OK;
}

static enum err append(const struct abd_eval_in *in, struct abd_eval *ret)
{
    struct bytes more = client_request_new(in->request);
    size_t old_n = in->absent ? 0 : in->value.n;

    if (old_n + more.n > in->value_max) {
        return ERR_TOO_BIG;
    }
    ret->parts[0] = (struct bytes){.p = in->value.p, .n = old_n};
    ret->parts[1] = more;
    ret->text_len = print_int64((int64_t)(old_n + more.n), ret->text);
    return OK;
}

static enum err compare(const struct abd_eval_in *in)
{
    if (in->absent) {
        return ERR_NOT_FOUND;
    }
    return bytes_equal(in->value, client_request_expect(in->request)) ? OK : ERR_MISMATCH;
}

enum err abd_evaluate(const struct abd_eval_in *in, struct abd_eval *ret)
{
    enum err err = OK;

    *ret = (struct abd_eval){0};
    switch (in->request->rmw) {
    case CLIENT_RMW_INCR:
        return increment(in, ret);
    case CLIENT_RMW_APPEND:
        return append(in, ret);
    case CLIENT_RMW_CAS:
        err = compare(in);
        break;
    case CLIENT_RMW_DELETE_IF:
        ret->tombstone = true;
        return compare(in);
    case CLIENT_RMW_PUT_NEW:
        err = in->absent ? OK : ERR_MISMATCH;
        break;
    case CLIENT_RMW_GET_SET:
        break;
    }
    ret->parts[0] = client_request_new(in->request);
    return err;
}
