// SPDX-License-Identifier: Apache-2.0
#include "sim/history.h"

#include "common/check.h"
#include "common/prng.h"

#include <inttypes.h>
#include <stdlib.h>

enum { STATES_MAX = 4 << 20 };

void history_init(struct history *h)
{
    *h = (struct history){0};
}

void history_fini(struct history *h)
{
    free(h->ops);
}

size_t history_call(struct history *h, const struct history_op *op)
{
    struct history_op *to;

    if (h->n == h->cap) {
        h->cap = h->cap == 0 ? 256 : 2 * h->cap;
        h->ops = realloc(h->ops, h->cap * sizeof(*h->ops));
        CHECK(h->ops != NULL);
    }
    to = &h->ops[h->n];
    *to = *op;
    to->call = ++h->clock;
    to->ret = LINEAR_NEVER;
    return h->n++;
}

void history_value(size_t op, uint8_t *to, size_t n)
{
    uint64_t number = op + 1;
    struct prng prng = {.state = number};

    CHECK(n >= HISTORY_VALUE_MIN);
    memcpy(to, &number, sizeof(number));
    for (size_t i = sizeof(number); i < n; i++) {
        to[i] = (uint8_t)prng_u64(&prng);
    }
}

static bool is_written(const struct history *h, uint32_t key, struct bytes value,
                       uint64_t *ret_number)
{
    const struct history_op *put;
    uint64_t number;
    uint8_t *want;
    bool same;

    if (value.n < HISTORY_VALUE_MIN) {
        return false;
    }
    memcpy(&number, value.p, sizeof(number));
    if (number == 0 || number > h->n) {
        return false;
    }
    put = &h->ops[number - 1];
    if (put->op != CLIENT_PUT || put->key != key || put->value_len != value.n) {
        return false;
    }
    want = malloc(value.n);
    CHECK(want != NULL);
    history_value(number - 1, want, value.n);
    same = memcmp(want, value.p, value.n) == 0;
    free(want);
    *ret_number = number;
    return same;
}

bool history_return(struct history *h, size_t op, enum err status, struct bytes value,
                    uint64_t now_ns)
{
    struct history_op *o = &h->ops[op];

    CHECK(!o->returned && !o->gave_up);
    o->returned = true;
    o->status = status;
    o->ret = ++h->clock;
    o->ret_at_ns = now_ns;
    return o->op != CLIENT_GET || status != OK || is_written(h, o->key, value, &o->read);
}

void history_give_up(struct history *h, size_t op)
{
    CHECK(!h->ops[op].returned);
    h->ops[op].gave_up = true;
}

/* False: the operation says nothing about the register. */
static bool to_linear(const struct history *h, size_t i, struct linear_op *ret)
{
    const struct history_op *o = &h->ops[i];

    *ret = (struct linear_op){.call = o->call, .ret = o->ret};
    if (o->op == CLIENT_GET) {
        ret->kind = LINEAR_READ;
        ret->value = o->status == OK ? o->read : LINEAR_ABSENT;
        return o->returned && (o->status == OK || o->status == ERR_NOT_FOUND);
    }
    ret->kind = LINEAR_WRITE;
    ret->value = o->op == CLIENT_PUT ? i + 1 : LINEAR_ABSENT;
    if (!o->returned || o->status == ERR_INDETERMINATE) {
        ret->ret = LINEAR_NEVER;
        return true;
    }
    return o->status == OK; /* every other status says that nothing happened */
}

enum linear_verdict history_check(const struct history *h, uint32_t keys_n, uint32_t *ret_key,
                                  struct linear_op *ret_worst)
{
    struct linear_op *ops = calloc(h->n + 1, sizeof(*ops));
    enum linear_verdict verdict = LINEAR_YES;

    CHECK(ops != NULL);
    for (uint32_t key = 0; key < keys_n && verdict == LINEAR_YES; key++) {
        size_t n = 0;

        for (size_t i = 0; i < h->n; i++) {
            if (h->ops[i].key == key && to_linear(h, i, &ops[n])) {
                n++;
            }
        }
        verdict = linear_check(ops, n, STATES_MAX, ret_worst);
        *ret_key = key;
    }
    free(ops);
    return verdict;
}

void history_print(const struct history *h, uint32_t key, FILE *to)
{
    static const char *const names[] = {"", "get", "put", "delete"};

    for (size_t i = 0; i < h->n; i++) {
        const struct history_op *o = &h->ops[i];

        if (o->key != key) {
            continue;
        }
        (void)fprintf(to, "  #%-4zu client %-3u node %u  %-6s", i + 1, o->client, o->node,
                      names[o->op]);
        (void)fprintf(to, " [%.3f ms, ", (double)o->call_at_ns / 1e6);
        if (o->returned) {
            (void)fprintf(to, "%.3f ms] %s", (double)o->ret_at_ns / 1e6, err_name(o->status));
        } else {
            (void)fprintf(to, "...) nobody told");
        }
        if (o->op == CLIENT_GET && o->returned && o->status == OK) {
            (void)fprintf(to, " = #%" PRIu64, o->read);
        }
        (void)fputc('\n', to);
    }
}
