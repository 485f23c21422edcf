// SPDX-License-Identifier: Apache-2.0
/* Requests and replies of the other stores, as far as gets and puts need them. */
#include "peers/peer.h"

#include <openssl/evp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* Length of the line at p without its end, or -1 when it is not complete. */
static ptrdiff_t line(const uint8_t *p, size_t n)
{
    const uint8_t *end = n == 0 ? NULL : memchr(p, '\n', n);

    if (end == NULL || end == p || end[-1] != '\r') {
        return -1;
    }
    return end - p - 1;
}

/* The decimal number in p[0..n). */
static bool number(const uint8_t *p, size_t n, uint64_t *ret)
{
    *ret = 0;
    for (size_t i = 0; i < n; i++) {
        if (p[i] < '0' || p[i] > '9' || *ret > UINT64_MAX / 100) {
            return false;
        }
        *ret = *ret * 10 + p[i] - '0';
    }
    return n > 0;
}

/* ---- redis: RESP2, https://redis.io/docs/latest/develop/reference/protocol-spec/ ---- */

static bool redis_word(struct peer_buffer *out, const void *p, size_t n)
{
    return peer_buffer_text(out, "$%zu\r\n", n) && peer_buffer_add(out, p, n) &&
           peer_buffer_add(out, "\r\n", 2);
}

static bool redis_request(struct peer_buffer *out, const struct avo_rmw *op, const char *host)
{
    (void)host;
    switch ((int)op->op) {
    case AVO_GET:
        return peer_buffer_text(out, "*2\r\n$3\r\nGET\r\n") &&
               redis_word(out, op->key, op->key_len);
    case AVO_DELETE:
        return peer_buffer_text(out, "*2\r\n$3\r\nDEL\r\n") &&
               redis_word(out, op->key, op->key_len);
    case AVO_INCR:
        return peer_buffer_text(out, "*2\r\n$4\r\nINCR\r\n") &&
               redis_word(out, op->key, op->key_len);
    case AVO_PUT:
        return peer_buffer_text(out, "*3\r\n$3\r\nSET\r\n") &&
               redis_word(out, op->key, op->key_len) && redis_word(out, op->value, op->value_len);
    default:
        return false;
    }
}

static int redis_bulk(const uint8_t *p, size_t n, size_t head, struct peer_reply *ret)
{
    uint64_t len;

    if (head == 3 && p[1] == '-') {
        ret->status = AVO_NOT_FOUND;
        ret->used = head + 2;
        return 1;
    }
    if (!number(p + 1, head - 1, &len) || len > INT32_MAX) {
        return -1;
    }
    if (n < head + 2 + len + 2) {
        return 0;
    }
    ret->value = p + head + 2;
    ret->value_len = len;
    ret->used = head + 2 + len + 2;
    return 1;
}

static int redis_reply(const uint8_t *p, size_t n, enum avo_op op, struct peer_reply *ret)
{
    ptrdiff_t head = line(p, n);

    (void)op;
    *ret = (struct peer_reply){.status = AVO_OK};
    if (head < 1) {
        return head == 0 ? -1 : 0;
    }
    ret->used = (size_t)head + 2;
    switch (p[0]) {
    case '+':
        return 1;
    case '-':
        ret->status = AVO_REFUSED;
        return 1;
    case ':':
        return number(p + 1, (size_t)head - 1, &ret->number) ? 1 : -1;
    case '$':
        return redis_bulk(p, n, (size_t)head, ret);
    default:
        return -1;
    }
}

const struct peer_protocol peer_redis = {"redis", redis_request, redis_reply};

/* ---- memcached: its text protocol, doc/protocol.txt ---- */

static bool memcached_request(struct peer_buffer *out, const struct avo_rmw *op, const char *host)
{
    (void)host;
    switch ((int)op->op) {
    case AVO_GET:
        return peer_buffer_text(out, "get ") && peer_buffer_add(out, op->key, op->key_len) &&
               peer_buffer_add(out, "\r\n", 2);
    case AVO_DELETE:
        return peer_buffer_text(out, "delete ") && peer_buffer_add(out, op->key, op->key_len) &&
               peer_buffer_add(out, "\r\n", 2);
    case AVO_PUT:
        return peer_buffer_text(out, "set ") && peer_buffer_add(out, op->key, op->key_len) &&
               peer_buffer_text(out, " 0 0 %zu\r\n", op->value_len) &&
               peer_buffer_add(out, op->value, op->value_len) && peer_buffer_add(out, "\r\n", 2);
    default:
        return false;
    }
}

static bool is_line(const uint8_t *p, size_t n, const char *text)
{
    return n == strlen(text) && memcmp(p, text, n) == 0;
}

static int memcached_reply(const uint8_t *p, size_t n, enum avo_op op, struct peer_reply *ret)
{
    ptrdiff_t head = line(p, n);
    size_t at = (size_t)head;
    uint64_t len;

    (void)op;
    *ret = (struct peer_reply){.status = AVO_OK};
    if (head < 1) {
        return head == 0 ? -1 : 0;
    }
    ret->used = (size_t)head + 2;
    if (is_line(p, (size_t)head, "STORED") || is_line(p, (size_t)head, "DELETED")) {
        return 1;
    }
    if (is_line(p, (size_t)head, "END") || is_line(p, (size_t)head, "NOT_FOUND")) {
        ret->status = AVO_NOT_FOUND;
        return 1;
    }
    if (head < 6 || memcmp(p, "VALUE ", 6) != 0) {
        ret->status = AVO_REFUSED; /* SERVER_ERROR and the like */
        return 1;
    }
    while (at > 0 && p[at - 1] != ' ') {
        at--;
    }
    if (!number(p + at, (size_t)head - at, &len) || len > INT32_MAX) {
        return -1;
    }
    ret->value = p + head + 2;
    ret->value_len = len;
    ret->used = (size_t)head + 2 + len + 2 + 5; /* ... \r\n END\r\n */
    return n < ret->used ? 0 : 1;
}

const struct peer_protocol peer_memcached = {"memcached", memcached_request, memcached_reply};

/* ---- etcd: the JSON gateway of its v3 API, over HTTP/1.1 ---- */

static char *base64(const void *p, size_t n)
{
    char *to = malloc((n + 2) / 3 * 4 + 1);

    if (to != NULL) {
        (void)EVP_EncodeBlock((unsigned char *)to, p, (int)n);
    }
    return to;
}

static bool etcd_request(struct peer_buffer *out, const struct avo_rmw *op, const char *host)
{
    bool is_put = op->op == AVO_PUT;
    const char *path = is_put ? "put" : op->op == AVO_GET ? "range" : "deleterange";
    char *key = base64(op->key, op->key_len),
         *value = is_put ? base64(op->value, op->value_len) : NULL;
    bool good = key != NULL && (value != NULL || !is_put) && op->op < AVO_CAS;
    size_t n = good ? strlen("{\"key\":\"\"}") + strlen(key) : 0;

    n += good && is_put ? strlen(",\"value\":\"\"") + strlen(value) : 0;
    good =
        good &&
        peer_buffer_text(out, "POST /v3/kv/%s HTTP/1.1\r\nHost: %s\r\nContent-Length: %zu\r\n\r\n",
                         path, host, n) &&
        peer_buffer_text(out, "{\"key\":\"") && peer_buffer_add(out, key, strlen(key));
    if (good && is_put) {
        good =
            peer_buffer_text(out, "\",\"value\":\"") && peer_buffer_add(out, value, strlen(value));
    }
    good = good && peer_buffer_text(out, "\"}");
    free(key);
    free(value);
    return good;
}

/* The body behind p[0..head) and an empty line, with its frame: of a given length, or in chunks,
 * the last of which is empty (bodies here are JSON in one line). */
static int http_body(const uint8_t *p, size_t n, size_t head, size_t *ret_len, size_t *ret_used)
{
    static const char length[] = "\r\nContent-Length: ", last[] = "\r\n0\r\n\r\n";
    const uint8_t *field = memmem(p, head, length, strlen(length)), *end;
    ptrdiff_t digits;
    uint64_t len;

    if (field == NULL) {
        end = memmem(p + head, n - head, last, strlen(last));
        if (memmem(p, head, "\r\nTransfer-Encoding: chunked", 28) == NULL) {
            return -1;
        }
        *ret_used = end == NULL ? 0 : (size_t)(end - p) + strlen(last);
        *ret_len = *ret_used - head;
        return end != NULL;
    }
    field += strlen(length);
    digits = line(field, (size_t)(p + head - field));
    if (digits < 0 || !number(field, (size_t)digits, &len) || len > INT32_MAX) {
        return -1;
    }
    *ret_used = head + 2 + len;
    *ret_len = len + 2;
    return n >= *ret_used;
}

static int etcd_reply(const uint8_t *p, size_t n, enum avo_op op, struct peer_reply *ret)
{
    const uint8_t *end = memmem(p, n, "\r\n\r\n", 4);
    size_t head, len;
    int is;

    *ret = (struct peer_reply){.status = AVO_OK};
    if (end == NULL) {
        return n > 65536 ? -1 : 0;
    }
    head = (size_t)(end - p) + 2;
    if (head < 15 || memcmp(p, "HTTP/1.1 ", 9) != 0) {
        return -1;
    }
    is = http_body(p, n, head, &len, &ret->used);
    if (is <= 0) {
        return is;
    }
    if (memcmp(p + 9, "200", 3) != 0) {
        ret->status = memcmp(p + 9, "503", 3) == 0 ? AVO_UNAVAILABLE : AVO_REFUSED;
    } else if (op == AVO_GET && memmem(end, len, "\"value\":\"", 9) == NULL) {
        ret->status = AVO_NOT_FOUND;
    } else if (op == AVO_GET) {
        ret->value_len = len; /* of the JSON: it is counted, not decoded */
    }
    return 1;
}

const struct peer_protocol peer_etcd = {"etcd", etcd_request, etcd_reply};
