// SPDX-License-Identifier: Apache-2.0
#include "sim/history_file.h"

#include "common/check.h"

#include <errno.h>
#include <jansson.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const size_t STATES_MAX = 20000000;

/* Operations of one key. Values are numbered by their text; 0 is absent. */
struct register_history {
    struct linear_op *ops;
    size_t n, cap;
    json_t *values; /* text -> number */
};

/* A call or return of operation `op` of one key; sorted, positions become points in time. */
struct point {
    uint64_t at_ns;
    size_t op;
    bool is_return;
};

struct reader {
    json_t *keys; /* text -> place in registers */
    struct register_history *registers;
    size_t n, cap, ops_n;
};

static void *grow(void *p, size_t n, size_t *cap, size_t size)
{
    void *q = p;

    if (n == *cap) {
        *cap = *cap == 0 ? 16 : *cap * 2;
        q = realloc(p, *cap * size);
        CHECK(q != NULL);
    }
    return q;
}

/* The number of a text in a table, a new one if it was not there. */
static uint64_t number_of(json_t *table, const char *text, uint64_t next)
{
    json_t *known = json_object_get(table, text);

    if (known == NULL) {
        CHECK(json_object_set_new(table, text, json_integer((json_int_t)next)) == 0);
        return next;
    }
    return (uint64_t)json_integer_value(known);
}

static struct register_history *register_of(struct reader *r, const char *key)
{
    uint64_t place = number_of(r->keys, key, r->n);

    if (place == r->n) {
        r->registers = grow(r->registers, r->n, &r->cap, sizeof(*r->registers));
        r->registers[r->n++] = (struct register_history){.values = json_object()};
    }
    return &r->registers[place];
}

/* Decimal numbers are themselves, so that sums can be told. */
static bool is_decimal(const char *text, int64_t *ret)
{
    char *end;

    errno = 0;
    *ret = strtoll(text, &end, 10);
    return errno == 0 && end != text && *end == '\0' && *ret > -(INT64_C(1) << 61) &&
           *ret < INT64_C(1) << 61;
}

static uint64_t value_of(struct register_history *h, const json_t *text)
{
    int64_t number;

    if (!json_is_string(text)) {
        return LINEAR_ABSENT;
    }
    if (is_decimal(json_string_value(text), &number)) {
        return LINEAR_NUMBER + (uint64_t)number;
    }
    return number_of(h->values, json_string_value(text), json_object_size(h->values) + 1);
}

/* A cas or incr; false: it is neither. */
static bool take_rmw(struct register_history *h, const char *op, const json_t *line,
                     struct linear_op *o)
{
    int64_t amount;

    if (strcmp(op, "incr") == 0) {
        const char *text = json_string_value(json_object_get(line, "value"));

        o->kind = LINEAR_ADD;
        o->value = text != NULL && is_decimal(text, &amount) ? (uint64_t)amount : 1;
        o->expect = value_of(h, json_object_get(line, "result"));
        return true;
    }
    if (strcmp(op, "cas") != 0) {
        return false;
    }
    o->kind = LINEAR_CAS;
    o->value = value_of(h, json_object_get(line, "value"));
    o->expect = value_of(h, json_object_get(line, "expect"));
    if (json_is_false(json_object_get(line, "ok"))) { /* it met another value */
        o->kind = LINEAR_READ;
        o->value = value_of(h, json_object_get(line, "result"));
    }
    return true;
}

/* Takes one line; NULL, or what is wrong with it. */
static const char *take(struct reader *r, const json_t *line)
{
    const char *key = json_string_value(json_object_get(line, "key"));
    const char *op = json_string_value(json_object_get(line, "op"));
    const json_t *invoke = json_object_get(line, "invoke_ns");
    const json_t *end = json_object_get(line, "return_ns");
    struct linear_op o = {.kind = LINEAR_WRITE, .ret = LINEAR_NEVER};
    struct register_history *h;

    if (key == NULL || op == NULL || !json_is_integer(invoke) ||
        !(json_is_integer(end) || json_is_null(end))) {
        return "a field is missing or of another type";
    }
    h = register_of(r, key);
    r->ops_n++;
    if (strcmp(op, "get") == 0) {
        o.kind = LINEAR_READ;
        o.value = value_of(h, json_object_get(line, "result"));
    } else if (strcmp(op, "put") == 0) {
        o.value = value_of(h, json_object_get(line, "value"));
    } else if (!take_rmw(h, op, line, &o) && strcmp(op, "delete") != 0) {
        return "an operation other than get, put, delete, cas and incr";
    }
    /* Refused: no effect. A get without an answer says nothing. A lost cas has met a value. */
    if ((json_is_false(json_object_get(line, "ok")) && strcmp(op, "cas") != 0) ||
        (json_is_null(end) && o.kind == LINEAR_READ)) {
        return NULL;
    }
    o.call = (uint64_t)json_integer_value(invoke);
    o.ret = json_is_null(end) ? LINEAR_NEVER : (uint64_t)json_integer_value(end);
    if (strcmp(op, "cas") == 0 && o.kind == LINEAR_READ && o.value == o.expect) {
        return "a compare failed with the value that it expected";
    }
    if (o.ret < o.call) {
        return "it returned before it was called";
    }
    h->ops = grow(h->ops, h->n, &h->cap, sizeof(*h->ops));
    h->ops[h->n++] = o;
    return NULL;
}

/* At the same nanosecond calls come first: what may have overlapped counts as overlapping. */
static int earlier(const void *a, const void *b)
{
    const struct point *p = a, *q = b;

    if (p->at_ns != q->at_ns) {
        return p->at_ns < q->at_ns ? -1 : 1;
    }
    return (int)p->is_return - (int)q->is_return;
}

/* Nanoseconds to positions in one order, no two equal. */
static void order(struct register_history *h)
{
    struct point *points = calloc(2 * h->n + 1, sizeof(*points));
    size_t n = 0;

    CHECK(points != NULL);
    for (size_t i = 0; i < h->n; i++) {
        points[n++] = (struct point){h->ops[i].call, i, false};
        if (h->ops[i].ret != LINEAR_NEVER) {
            points[n++] = (struct point){h->ops[i].ret, i, true};
        }
    }
    qsort(points, n, sizeof(*points), earlier);
    for (size_t i = 0; i < n; i++) {
        struct linear_op *o = &h->ops[points[i].op];

        *(points[i].is_return ? &o->ret : &o->call) = i;
    }
    free(points);
}

static const char *text_of(const struct register_history *h, uint64_t value)
{
    const char *text;
    json_t *number;

    json_object_foreach(h->values, text, number)
    {
        if ((uint64_t)json_integer_value(number) == value) {
            return text;
        }
    }
    return "nothing";
}

static void judge(struct reader *r, struct history_file *ret)
{
    struct linear_op worst = {0};
    const char *key;
    json_t *place;

    ret->verdict = LINEAR_YES;
    json_object_foreach(r->keys, key, place)
    {
        struct register_history *h = &r->registers[json_integer_value(place)];

        CHECK(r->registers != NULL);
        order(h);
        ret->verdict = linear_check(h->ops, h->n, STATES_MAX, &worst);
        if (ret->verdict == LINEAR_NO) {
            (void)snprintf(ret->why, sizeof(ret->why),
                           "key %.40s: no order explains the %s of %.60s", key,
                           worst.kind == LINEAR_READ ? "get" : "write", text_of(h, worst.value));
        } else if (ret->verdict == LINEAR_GAVE_UP) {
            (void)snprintf(ret->why, sizeof(ret->why),
                           "key %.40s: too many operations at once to decide", key);
        }
        if (ret->verdict != LINEAR_YES) {
            return;
        }
    }
}

static int read_all(FILE *from, struct reader *r, struct history_file *ret)
{
    const char *wrong = NULL;
    char *line = NULL;
    size_t cap = 0;

    for (size_t n = 1; wrong == NULL && getline(&line, &cap, from) > 0; n++) {
        json_t *o = json_loads(line, 0, NULL);

        wrong = o == NULL ? "it is no JSON" : take(r, o);
        if (wrong != NULL) {
            (void)snprintf(ret->why, sizeof(ret->why), "line %zu: %s", n, wrong);
        }
        json_decref(o);
    }
    free(line);
    return wrong == NULL ? 0 : -1;
}

int history_file_check(const char *path, struct history_file *ret)
{
    struct reader r = {.keys = json_object()};
    FILE *from = fopen(path, "re");
    int result = -1;

    *ret = (struct history_file){0};
    if (from == NULL) {
        (void)snprintf(ret->why, sizeof(ret->why), "%s", strerror(errno));
    } else {
        result = read_all(from, &r, ret);
        (void)fclose(from);
    }
    if (result == 0) {
        judge(&r, ret);
    }
    ret->ops_n = r.ops_n;
    ret->keys_n = r.n;
    for (size_t i = 0; i < r.n; i++) {
        json_decref(r.registers[i].values);
        free(r.registers[i].ops);
    }
    free(r.registers);
    json_decref(r.keys);
    return result;
}
