// SPDX-License-Identifier: Apache-2.0
#include "trusted/https/http_answer.h"

enum { LENGTH_DIGITS_MAX = 9, STATUS_LINE_MIN = 12 /* "HTTP/1.1 200" */ };

static bool is_digit(uint8_t c)
{
    return c >= '0' && c <= '9';
}

/* RFC 9110 §5.6.2 */
static bool is_token(uint8_t c)
{
    return is_digit(c) || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') ||
           (c != '\0' && strchr("!#$%&'*+-.^_`|~", c) != NULL);
}

/* Without regard to case, as field names are. */
static bool is_word(struct bytes b, const char *lower)
{
    for (size_t i = 0; i < b.n; i++) {
        uint8_t c = b.p[i] >= 'A' && b.p[i] <= 'Z' ? (uint8_t)(b.p[i] + 'a' - 'A') : b.p[i];

        if (c != (uint8_t)lower[i]) { /* at its end at the latest: no name has a zero byte */
            return false;
        }
    }
    return lower[b.n] == '\0';
}

/* The next line of the head without its end. A line holds no control character but tabs.
 * MALFORMED; CLOSED: it has no end. */
static RESULT take_line(struct bytes *rest, struct bytes *ret)
{
    for (size_t i = 0; i < rest->n; i++) {
        if (rest->p[i] == '\r') {
            if (i + 1 == rest->n) {
                return ERR_CLOSED;
            }
            *ret = (struct bytes){.p = rest->p, .n = i};
            *rest = (struct bytes){.p = rest->p + i + 2, .n = rest->n - i - 2};
            return ret->p[i + 1] == '\n' ? OK : ERR_MALFORMED;
        }
        if ((rest->p[i] < ' ' && rest->p[i] != '\t') || rest->p[i] == 0x7f) {
            return ERR_MALFORMED;
        }
    }
    return ERR_CLOSED;
}

/* "HTTP/1.1 200" and, behind a blank, any text. */
static RESULT read_status(struct bytes line, unsigned *ret)
{
    if (line.n < STATUS_LINE_MIN || memcmp(line.p, "HTTP/1.", 7) != 0 ||
        (line.p[7] != '0' && line.p[7] != '1') || line.p[8] != ' ' || line.p[9] < '2' ||
        line.p[9] > '5' || !is_digit(line.p[10]) || !is_digit(line.p[11]) ||
        (line.n > STATUS_LINE_MIN && line.p[12] != ' ')) {
        return ERR_MALFORMED;
    }
    *ret = (line.p[9] - '0') * 100U + (line.p[10] - '0') * 10U + (line.p[11] - '0');
    return OK;
}

static bool is_blank(uint8_t c)
{
    return c == ' ' || c == '\t';
}

static RESULT read_length(struct bytes value, size_t *ret)
{
    size_t n = 0;

    while (value.n > 0 && is_blank(value.p[0])) {
        value = (struct bytes){.p = value.p + 1, .n = value.n - 1};
    }
    while (value.n > 0 && is_blank(value.p[value.n - 1])) {
        value.n--;
    }
    if (value.n < 1 || value.n > LENGTH_DIGITS_MAX) {
        return ERR_MALFORMED;
    }
    for (size_t i = 0; i < value.n; i++) {
        if (!is_digit(value.p[i])) {
            return ERR_MALFORMED;
        }
        n = n * 10 + (value.p[i] - '0');
    }
    *ret = n;
    return OK;
}

struct fields {
    bool has_length;
    size_t length;
};

static RESULT read_field(struct bytes line, struct fields *f)
{
    size_t colon = 0;
    struct bytes name, value;

    while (colon < line.n && is_token(line.p[colon])) {
        colon++;
    }
    if (colon == 0 || colon == line.n || line.p[colon] != ':') {
        return ERR_MALFORMED; /* a folded line has no name either */
    }
    name = (struct bytes){.p = line.p, .n = colon};
    value = (struct bytes){.p = line.p + colon + 1, .n = line.n - colon - 1};
    if (is_word(name, "transfer-encoding")) {
        return ERR_MALFORMED;
    }
    if (is_word(name, "content-length")) {
        if (f->has_length) {
            return ERR_MALFORMED;
        }
        f->has_length = true;
        return read_length(value, &f->length);
    }
    return OK;
}

RESULT http_answer_parse(struct bytes from, struct http_answer *ret)
{
    bool is_long = from.n > HTTP_HEAD_MAX;
    struct bytes rest = {.p = from.p, .n = is_long ? HTTP_HEAD_MAX : from.n}, line;
    struct http_answer a = {0};
    struct fields f = {0};
    enum err err = take_line(&rest, &line);

    if (err == OK) {
        err = read_status(line, &a.status);
    }
    while (err == OK) {
        err = take_line(&rest, &line);
        if (err != OK || line.n == 0) {
            break;
        }
        err = read_field(line, &f);
    }
    if (err != OK) {
        return err == ERR_CLOSED && is_long ? ERR_MALFORMED : err; /* no end of the head */
    }
    if (!f.has_length) {
        return ERR_MALFORMED;
    }
    a.body = (struct bytes){.p = rest.p, .n = from.n - (size_t)(rest.p - from.p)};
    if (f.length > HTTP_BODY_MAX) {
        return ERR_TOO_BIG;
    }
    if (a.body.n != f.length) {
        return a.body.n < f.length ? ERR_CLOSED : ERR_MALFORMED;
    }
    *ret = a;
    return OK;
}
