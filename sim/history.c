// SPDX-License-Identifier: Apache-2.0
#include "sim/history.h"

#include "common/check.h"
#include "common/prng.h"

#include <inttypes.h>
#include <stdlib.h>

enum { STATES_MAX = 1 << 18 };

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

/* ---- values ---- */

static void register_value(size_t op, uint8_t *to, size_t n)
{
    uint64_t number = op + 1;
    struct prng prng = {.state = number};

    CHECK(n >= HISTORY_VALUE_MIN);
    memcpy(to, &number, sizeof(number));
    for (size_t i = sizeof(number); i < n; i++) {
        to[i] = (uint8_t)prng_u64(&prng);
    }
}

static size_t written_len(const struct history_op *o)
{
    if (o->op == CLIENT_GET || o->op == CLIENT_DELETE ||
        (o->op == CLIENT_RMW && (o->rmw == CLIENT_RMW_INCR || o->rmw == CLIENT_RMW_DELETE_IF))) {
        return 0;
    }
    return o->flavour == HISTORY_REGISTER ? o->value_len : sizeof(uint64_t);
}

/* What the operation writes: a register's value, a small number, or its own number. */
static size_t write_value(const struct history *h, size_t op, uint8_t *to)
{
    const struct history_op *o = &h->ops[op];
    size_t n = written_len(o);
    uint64_t number = op + 1;

    if (n == 0) {
        return 0;
    }
    if (o->flavour == HISTORY_REGISTER) {
        register_value(op, to, n);
    } else if (o->flavour == HISTORY_LOG) {
        memcpy(to, &number, n);
    } else {
        n = (size_t)snprintf((char *)to, n, "%u", (unsigned)(op % 1000));
    }
    return n;
}

/* How the checker names what the operation writes. */
static uint64_t name_of(const struct history_op *o, size_t op)
{
    if (o->flavour == HISTORY_COUNTER) {
        return LINEAR_NUMBER + op % 1000;
    }
    return o->flavour == HISTORY_LOG ? linear_append(LINEAR_ABSENT, op + 1) : op + 1;
}

static bool is_write_to(const struct history *h, uint64_t number, uint32_t key)
{
    return number != 0 && number <= h->n && h->ops[number - 1].key == key &&
           written_len(&h->ops[number - 1]) != 0;
}

static bool parse_register(const struct history *h, uint32_t key, struct bytes value, uint64_t *ret)
{
    uint64_t number;
    uint8_t *want;
    bool same;

    if (value.n < HISTORY_VALUE_MIN) {
        return false;
    }
    memcpy(&number, value.p, sizeof(number));
    if (!is_write_to(h, number, key) || h->ops[number - 1].value_len != value.n) {
        return false;
    }
    want = malloc(value.n);
    CHECK(want != NULL);
    register_value(number - 1, want, value.n);
    same = memcmp(want, value.p, value.n) == 0;
    free(want);
    *ret = number;
    return same;
}

static bool parse_number(struct bytes value, uint64_t *ret)
{
    char text[32], *end;

    if (value.n == 0 || value.n >= sizeof(text)) {
        return false;
    }
    memcpy(text, value.p, value.n);
    text[value.n] = '\0';
    *ret = LINEAR_NUMBER + (uint64_t)strtoll(text, &end, 10);
    return *end == '\0';
}

static bool parse_log(struct history *h, uint32_t key, struct bytes value, uint64_t *ret)
{
    *ret = LINEAR_ABSENT;
    for (size_t i = 0; i + sizeof(uint64_t) <= value.n; i += sizeof(uint64_t)) {
        uint64_t number;

        memcpy(&number, value.p + i, sizeof(number));
        if (!is_write_to(h, number, key)) {
            return false;
        }
        *ret = linear_append(*ret, number);
        if (h->ops[number - 1].seen == 0) {
            h->ops[number - 1].seen = h->clock;
        }
    }
    return value.n > 0 && value.n % sizeof(uint64_t) == 0;
}

static bool parse(struct history *h, const struct history_op *o, struct bytes value, uint64_t *ret)
{
    if (o->flavour == HISTORY_COUNTER) {
        return parse_number(value, ret);
    }
    return o->flavour == HISTORY_LOG ? parse_log(h, o->key, value, ret)
                                     : parse_register(h, o->key, value, ret);
}

/* ---- requests and answers ---- */

void history_request(const struct history *h, size_t op, struct client_request *ret,
                     uint8_t **ret_block)
{
    const struct history_op *o = &h->ops[op];
    size_t expect_n = o->expect == 0 ? 0 : written_len(&h->ops[o->expect - 1]);
    size_t n = written_len(o);
    uint8_t *block = malloc(expect_n + n + 1);

    CHECK(block != NULL);
    if (expect_n != 0) {
        expect_n = write_value(h, o->expect - 1, block);
    }
    n = write_value(h, op, block + expect_n);
    *ret = (struct client_request){.op = o->op,
                                   .timeout_ms = o->timeout_ms,
                                   .value = {.p = block, .n = expect_n + n},
                                   .rmw = o->rmw,
                                   .expect_len = (uint32_t)expect_n,
                                   .delta = o->delta};
    *ret_block = block;
}

uint64_t history_guess(const struct history *h, uint32_t key, struct prng *prng)
{
    uint64_t any = 0;

    for (size_t i = h->n; i-- > 0;) {
        const struct history_op *o = &h->ops[i];

        if (o->key != key) {
            continue;
        }
        any = written_len(o) != 0 && (any == 0 || prng_chance(prng, 1, 4)) ? i + 1 : any;
        if (o->returned && o->read != 0 && o->flavour == HISTORY_REGISTER &&
            prng_chance(prng, 3, 4)) {
            return o->read;
        }
        if (any != 0 && prng_chance(prng, 1, 4)) {
            break;
        }
    }
    return any;
}

/* Whether the answer of a read-modify-write has a value. */
static bool rmw_has_value(const struct history_op *o)
{
    return o->status == ERR_MISMATCH ||
           (o->status == OK && (o->rmw == CLIENT_RMW_INCR || o->rmw == CLIENT_RMW_GET_SET));
}

static bool take_rmw(struct history *h, struct history_op *o, struct bytes value)
{
    if (o->status == OK && o->rmw == CLIENT_RMW_GET_SET && value.p == NULL) {
        return true; /* there was none: `read` is ABSENT */
    }
    if (!rmw_has_value(o)) {
        return o->status != OK || o->rmw == CLIENT_RMW_APPEND || value.n == 0;
    }
    return parse(h, o, value, &o->read) && (o->status == OK || o->read != o->expect);
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
    if (o->op == CLIENT_RMW) {
        return take_rmw(h, o, value);
    }
    return o->op != CLIENT_GET || status != OK || parse(h, o, value, &o->read);
}

void history_give_up(struct history *h, size_t op)
{
    CHECK(!h->ops[op].returned);
    h->ops[op].gave_up = true;
}

/* What a read-modify-write did, or would do. */
static void rmw_to_linear(const struct history_op *o, size_t i, struct linear_op *ret)
{
    ret->kind = LINEAR_CAS;
    ret->value = name_of(o, i);
    ret->expect = o->expect;
    switch (o->rmw) {
    case CLIENT_RMW_CAS:
        break;
    case CLIENT_RMW_PUT_NEW:
        ret->expect = LINEAR_ABSENT;
        break;
    case CLIENT_RMW_DELETE_IF:
        ret->value = LINEAR_ABSENT;
        break;
    case CLIENT_RMW_GET_SET:
        ret->kind = ret->ret == LINEAR_NEVER ? LINEAR_WRITE : LINEAR_CAS;
        ret->expect = o->read;
        break;
    case CLIENT_RMW_INCR:
        ret->kind = LINEAR_ADD;
        ret->value = (uint64_t)o->delta;
        ret->expect = o->read;
        break;
    case CLIENT_RMW_APPEND:
        ret->kind = LINEAR_APPEND;
        ret->value = i + 1;
        break;
    }
}

/* False: the operation says nothing about the register. */
static bool to_linear(const struct history *h, size_t i, struct linear_op *ret)
{
    const struct history_op *o = &h->ops[i];
    bool is_rmw = o->op == CLIENT_RMW;

    *ret = (struct linear_op){.call = o->call, .ret = o->ret};
    if (o->op == CLIENT_GET ||
        (is_rmw && o->returned && (o->status == ERR_MISMATCH || o->status == ERR_NOT_FOUND))) {
        ret->kind = LINEAR_READ;
        ret->value = o->read; /* ABSENT unless something was met */
        return o->returned &&
               (o->status == OK || o->status == ERR_NOT_FOUND || o->status == ERR_MISMATCH);
    }
    ret->kind = LINEAR_WRITE;
    ret->value = o->op == CLIENT_PUT ? name_of(o, i) : LINEAR_ABSENT;
    if (!o->returned || o->status == ERR_INDETERMINATE) {
        ret->ret = LINEAR_NEVER;
    } else if (o->status != OK) {
        return false; /* every other status says that nothing happened */
    }
    if (is_rmw) {
        rmw_to_linear(o, i, ret);
    }
    if (o->flavour == HISTORY_LOG && ret->ret == LINEAR_NEVER && written_len(o) != 0) {
        /* What nobody saw before it was overwritten can be left out; else it happened by then. */
        ret->ret = o->seen > o->call ? o->seen : LINEAR_NEVER;
        return o->seen != 0;
    }
    return true;
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
    static const char *const rmws[] = {"", "cas", "putnx", "incr", "append", "getset", "delif"};

    for (size_t i = 0; i < h->n; i++) {
        const struct history_op *o = &h->ops[i];

        if (o->key != key) {
            continue;
        }
        (void)fprintf(to, "  #%-4zu client %-3u node %u  %-6s", i + 1, o->client, o->node,
                      o->op == CLIENT_RMW ? rmws[o->rmw] : names[o->op]);
        if (o->expect != 0) {
            (void)fprintf(to, " if #%" PRIu64, o->expect);
        }
        (void)fprintf(to, "%s [%.3f ms, ", o->in_batch ? " (batch)" : "",
                      (double)o->call_at_ns / 1e6);
        if (o->returned) {
            (void)fprintf(to, "%.3f ms] %s", (double)o->ret_at_ns / 1e6, err_name(o->status));
        } else {
            (void)fprintf(to, "...) nobody told");
        }
        if (o->returned && o->read != 0) {
            (void)fprintf(to, " = #%" PRId64,
                          (int64_t)(o->read - (o->flavour == HISTORY_COUNTER ? LINEAR_NUMBER : 0)));
        }
        (void)fputc('\n', to);
    }
}
