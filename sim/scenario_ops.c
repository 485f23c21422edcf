// SPDX-License-Identifier: Apache-2.0
/* Operations of a story. */
#include "common/check.h"
#include "sim/scenario_internal.h"
#include "trusted/wire/batch_wire.h"

#include <inttypes.h>
#include <stdlib.h>

static const uint64_t ms = UINT64_C(1000000);

enum { SCAN_KEYS = 100 };

static const struct verb {
    const char *name;
    uint32_t args;
    enum client_op op;
    enum client_rmw rmw;
} verbs[] = {
    {"get", 1, CLIENT_GET, 0},
    {"put", 2, CLIENT_PUT, 0},
    {"del", 1, CLIENT_DELETE, 0},
    {"cas", 3, CLIENT_RMW, CLIENT_RMW_CAS},
    {"incr", 2, CLIENT_RMW, CLIENT_RMW_INCR},
    {"append", 2, CLIENT_RMW, CLIENT_RMW_APPEND},
    {"scan", 2, CLIENT_SCAN, 0},
};

static const struct verb *find_verb(const char *name)
{
    for (size_t i = 0; i < sizeof(verbs) / sizeof(verbs[0]); i++) {
        if (strcmp(verbs[i].name, name) == 0) {
            return &verbs[i];
        }
    }
    return NULL;
}

/* ---- answers ---- */

static void take_page(struct story_op *o, struct bytes body)
{
    struct scan_page page;
    struct batch_item m;
    size_t n = 0;

    if (scan_page_decode(body, false, &page) != OK) {
        o->status = ERR_MALFORMED;
        return;
    }
    while (batch_list_next(&page.list, &m) && n < sizeof(o->text)) {
        n += (size_t)snprintf(o->text + n, sizeof(o->text) - n, "%s%.*s=%.*s", n == 0 ? "" : " ",
                              (int)m.key.n, (const char *)m.key.p, (int)m.value.n,
                              m.value.n == 0 ? "" : (const char *)m.value.p);
    }
}

void story_answer(struct run *r, size_t op, enum err status, struct bytes value)
{
    struct story *s = r->story;
    struct story_op *o = &s->ops[op - STORY_FIRST_OP];

    o->ended = true;
    o->status = status;
    trace_event(&r->trace, r->world.now_ns, "answer", op, status, value.n);
    if (o->is_scan && status == OK) {
        take_page(o, value);
    } else if (value.p != NULL) {
        (void)snprintf(o->text, sizeof(o->text), "%.*s", (int)value.n, (const char *)value.p);
    }
}

/* a|b|!NAME: `found` is one of these. */
static bool is_one_of(const char *wanted, const char *found)
{
    size_t n = strlen(found);

    for (const char *at = wanted; at != NULL; at = strchr(at, '|')) {
        at += at != wanted;
        if (strncmp(at, found, n) == 0 && (at[n] == 0 || at[n] == '|')) {
            return true;
        }
    }
    return false;
}

/* The words of what is expected, from `first` on, with blanks between. */
static void join(const struct story *s, uint32_t first, char to[STORY_VALUE_MAX])
{
    size_t n = 0;

    to[0] = 0;
    for (uint32_t i = first; i < s->words_n && n < STORY_VALUE_MAX; i++) {
        n += (size_t)snprintf(to + n, STORY_VALUE_MAX - n, "%s%s", i == first ? "" : " ",
                              s->words[i]);
    }
}

static void compare(struct story *s, const struct story_op *o, uint32_t first)
{
    char wanted[STORY_VALUE_MAX], status[32];

    join(s, first, wanted);
    (void)snprintf(status, sizeof(status), "!%s", err_name(o->status));
    if (!is_one_of(wanted, status) && (o->status != OK || !is_one_of(wanted, o->text))) {
        story_fail(s, "answered %s '%s', not '%s'", status + 1, o->text, wanted);
    }
}

/* ---- asking ---- */

static uint8_t *put_request(const struct story *s, const struct verb *v, char *const *args,
                            struct core_request *ret)
{
    size_t cap = SCAN_ASK_MAX + 2 * STORY_VALUE_MAX, n = 0;
    uint8_t *block = malloc(cap);

    CHECK(block != NULL);
    *ret = (struct core_request){
        .op = v->op, .rmw = v->rmw, .timeout_ms = (uint32_t)(s->within_ns / ms)};
    if (v->op == CLIENT_SCAN) {
        struct scan_ask ask = {.values = true,
                               .keys_max = SCAN_KEYS,
                               .bytes_max = BATCH_BYTES,
                               .low = {(const uint8_t *)args[0], strlen(args[0])},
                               .high = {(const uint8_t *)args[1], strlen(args[1])}};

        ret->value =
            (struct bytes){block, scan_ask_encode(&ask, false, (struct mbytes){block, cap})};
        return block;
    }
    ret->key = (struct bytes){(const uint8_t *)args[0], strlen(args[0])};
    if (v->rmw == CLIENT_RMW_INCR) {
        ret->delta = strtoll(args[1], NULL, 10);
        return block;
    }
    for (uint32_t i = 1; i < v->args; i++) {
        size_t len = strlen(args[i]);

        memcpy(block + n, args[i], len);
        n += len;
        ret->expect_len = v->rmw == CLIENT_RMW_CAS && i == 1 ? (uint32_t)len : ret->expect_len;
    }
    ret->value = (struct bytes){n == 0 ? NULL : block, n};
    return block;
}

/* The first word is the verb. NULL: it is none, or the line is wrong. */
static struct story_op *ask(struct story *s, uint32_t first, const char *name)
{
    const struct verb *v = first < s->words_n ? find_verb(s->words[first]) : NULL;
    struct replicas *c = replicas_of(s->r);
    uint8_t end = (uint8_t)(s->via != 0 ? replicas_own_first(c) + s->via - 1 : FIRST_CLIENT);
    struct story_op *o = &s->ops[s->ops_n];
    struct core_request q;
    uint8_t *block;
    enum err err;

    if (v == NULL || s->words_n - first - 1 < v->args || s->ops_n == STORY_OPS_MAX) {
        story_usage(s, v == NULL ? "no such operation" : "the operation needs other arguments");
        return NULL;
    }
    *o = (struct story_op){.is_scan = v->op == CLIENT_SCAN};
    (void)snprintf(o->name, sizeof(o->name), "%s", name);
    block = put_request(s, v, &s->words[first + 1], &q);
    q.user = STORY_FIRST_OP + s->ops_n++;
    err = core_submit(c->ends[end].core, s->r->world.now_ns, &q);
    free(block);
    if (err != OK) {
        story_answer(s->r, q.user, err, (struct bytes){0});
    }
    replicas_pump(s->r, end);
    return o;
}

static bool has_ended(struct story *s, uint64_t op)
{
    return s->ops[op].ended;
}

static struct story_op *find_op(struct story *s, const char *name)
{
    for (uint32_t i = s->ops_n; i-- > 0;) {
        if (s->ops[i].name[0] != 0 && strcmp(s->ops[i].name, name) == 0) {
            return &s->ops[i];
        }
    }
    return NULL;
}

static void wait_for(struct story *s, const struct story_op *o, uint32_t first)
{
    if (!story_until(s, has_ended, (uint64_t)(o - s->ops), s->within_ns + 2000 * ms)) {
        story_fail(s, "no answer in time");
    } else if (first < s->words_n) {
        compare(s, o, first);
    } else if (o->status != OK) {
        story_fail(s, "answered %s", err_name(o->status));
    }
}

bool story_operate(struct story *s)
{
    const struct verb *v = find_verb(s->words[0]);
    struct story_op *o;

    if (strcmp(s->words[0], "start") == 0 && s->words_n > 2) {
        (void)ask(s, 2, s->words[1]);
        return true;
    }
    o = s->is_expected ? find_op(s, s->words[0]) : NULL;
    if (o != NULL) {
        wait_for(s, o, 1);
        return true;
    }
    if (v == NULL) {
        return false;
    }
    if (!s->is_expected && s->words_n != v->args + 1) {
        story_usage(s, "the operation has other arguments; an answer needs 'expect' in front");
        return true;
    }
    o = ask(s, 0, "");
    if (o != NULL) {
        wait_for(s, o, v->args + 1);
    }
    return true;
}
