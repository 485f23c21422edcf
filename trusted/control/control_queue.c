// SPDX-License-Identifier: Apache-2.0
#include "trusted/control/control_internal.h"

#include "common/check.h"
#include "trusted/config/explain.h"

#include <openssl/crypto.h>

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

enum { QUEUE_FIRST_CAP = 64 };

/* Entries hold secrets: growing wipes what it leaves behind. */
static void grow(struct queue *q)
{
    size_t cap = q->cap == 0 ? QUEUE_FIRST_CAP : 2 * q->cap;
    struct queued *ring = calloc(cap, sizeof(*ring));

    CHECK(ring != NULL);
    for (size_t i = 0; i < q->n; i++) {
        ring[i] = q->ring[(q->first + i) % q->cap];
    }
    if (q->ring != NULL) {
        OPENSSL_cleanse(q->ring, q->cap * sizeof(*q->ring));
        free(q->ring);
    }
    *q = (struct queue){.ring = ring, .n = q->n, .cap = cap};
}

struct queued *control_queue_add(struct control *c, enum control_action_kind kind)
{
    struct queue *q = &c->queue;
    struct queued *e = NULL;

    if (q->n == q->cap) {
        grow(q);
    }
    e = &q->ring[(q->first + q->n) % q->cap];
    q->n++;
    *e = (struct queued){.kind = kind, .member = NO_MEMBER};
    return e;
}

bool control_queue_take(struct control *c, struct control_action *ret)
{
    struct queue *q = &c->queue;
    struct queued *e = NULL;

    if (q->n == 0) {
        return false;
    }
    e = &q->ring[q->first];
    *ret = (struct control_action){
        .kind = e->kind,
        .stream = e->stream,
        .member = e->member,
        .shard = e->shard,
        .index = e->index,
        .role = e->role,
        .access = e->access,
        .params = e->params,
    };
    if (e->text != NULL) {
        explain(&ret->why, "%s", e->text);
        free(e->text);
    }
    OPENSSL_cleanse(e, sizeof(*e));
    q->first = (q->first + 1) % q->cap;
    q->n--;
    return true;
}

void control_queue_fini(struct control *c)
{
    struct queue *q = &c->queue;

    for (size_t i = 0; i < q->n; i++) {
        free(q->ring[(q->first + i) % q->cap].text);
    }
    if (q->ring != NULL) {
        OPENSSL_cleanse(q->ring, q->cap * sizeof(*q->ring));
        free(q->ring);
    }
    *q = (struct queue){0};
}

__attribute__((format(printf, 2, 0))) static void say(struct control *c, const char *fmt,
                                                      va_list args)
{
    char *text = NULL;

    CHECK(vasprintf(&text, fmt, args) >= 0);
    control_queue_add(c, CONTROL_ACT_LOG)->text = text;
}

void control_say(struct control *c, const char *fmt, ...)
{
    va_list args;

    va_start(args, fmt);
    say(c, fmt, args);
    va_end(args);
}

void control_say_bounded(struct control *c, const char *fmt, ...)
{
    uint64_t refill = (c->now_ns - c->log_refilled_ns) / LOG_REFILL_NS;
    va_list args;

    if (refill > 0) {
        c->log_tokens =
            refill >= LOG_BURST - c->log_tokens ? LOG_BURST : c->log_tokens + (uint32_t)refill;
        c->log_refilled_ns += refill * LOG_REFILL_NS;
    }
    if (c->log_tokens == 0) {
        c->log_left_out++;
        return;
    }
    c->log_tokens--;
    if (c->log_left_out > 0) {
        control_say(c, "%u lines about connections were left out", c->log_left_out);
        c->log_left_out = 0;
    }
    va_start(args, fmt);
    say(c, fmt, args);
    va_end(args);
}
