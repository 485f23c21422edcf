// SPDX-License-Identifier: Apache-2.0
#include "tools/bench_history.h"

#include <errno.h>
#include <inttypes.h>
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>

struct bench_history {
    FILE *to;
};

struct bench_history *bench_history_open(const char *path)
{
    struct bench_history *h = calloc(1, sizeof(*h));

    if (h == NULL) {
        return NULL;
    }
    h->to = fopen(path, "we");
    if (h->to == NULL) {
        int saved = errno;

        free(h);
        errno = saved;
        return NULL;
    }
    return h;
}

static const char *name_of(enum avo_op op)
{
    switch (op) {
    case AVO_GET:
        return "get";
    case AVO_PUT:
        return "put";
    case AVO_CAS:
    case AVO_PUT_NEW:
        return "cas";
    case AVO_INCR:
        return "incr";
    case AVO_DELETE:
        return "delete";
    case AVO_APPEND:
    case AVO_GET_SET:
    case AVO_DELETE_IF:
    default:
        return "unknown"; /* the benchmark does nothing else */
    }
}

static json_t *text_or_null(const void *p, size_t n)
{
    json_t *text = p == NULL ? NULL : json_stringn(p, n);

    return text == NULL ? json_null() : text;
}

void bench_history_add(struct bench_history *h, const struct history_op *o)
{
    bool is_cas = o->op == AVO_CAS || o->op == AVO_PUT_NEW;
    bool lost = is_cas && (o->status == AVO_MISMATCH || o->status == AVO_NOT_FOUND);
    bool done = !is_cas && (o->status == AVO_OK || o->status == AVO_NOT_FOUND);
    bool unknown = o->status == AVO_INDETERMINATE;
    json_t *line;
    char *text;

    done = done || o->status == AVO_OK;
    if (is_cas && !done && !lost && !unknown) {
        return;
    }
    line = json_object();
    (void)json_object_set_new(line, "client", json_integer((json_int_t)o->client));
    (void)json_object_set_new(line, "op", json_string(name_of(o->op)));
    (void)json_object_set_new(line, "key", text_or_null(o->key, o->key_len));
    (void)json_object_set_new(line, "value", text_or_null(o->value, o->value_len));
    (void)json_object_set_new(line, "expect", text_or_null(o->expect, o->expect_len));
    (void)json_object_set_new(line, "ok", unknown ? json_null() : json_boolean(done));
    (void)json_object_set_new(line, "result", text_or_null(o->result, o->result_len));
    (void)json_object_set_new(line, "invoke_ns", json_integer((json_int_t)o->invoke_ns));
    (void)json_object_set_new(line, "return_ns",
                              unknown ? json_null() : json_integer((json_int_t)o->return_ns));
    text = json_dumps(line, JSON_COMPACT);
    if (text != NULL) {
        (void)fprintf(h->to, "%s\n", text); /* one call: lines of two threads do not mix */
    }
    free(text);
    json_decref(line);
}

bool bench_history_close(struct bench_history *h)
{
    bool good = true;

    if (h != NULL) {
        good = ferror(h->to) == 0;
        good = fclose(h->to) == 0 && good;
        free(h);
    }
    return good;
}
