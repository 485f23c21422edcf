// SPDX-License-Identifier: Apache-2.0
#include "sim/linear.h"

#include "common/check.h"
#include "common/prng.h"

#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

/*
 * Calls and returns in order of time, as a doubly linked list with a sentinel in front. Linearizing
 * an operation takes its two entries off the list ("lift"); going back puts them where they were.
 */
struct entry {
    struct entry *prev, *next;
    struct entry *match; /* of a call: its return. NULL in a return */
    size_t op;
    uint64_t at;
};

/* A state: which operations are done, and the value of the register. Sets are Zobrist sums of 128
 * bits: that two different ones are taken for the same is not going to happen. */
struct state {
    uint64_t hi, lo;
};

struct search {
    struct linear_op *ops;
    size_t n;
    struct entry *entries;
    struct state *mark; /* of each operation */
    struct state *seen; /* open addressing, all zero means free */
    size_t seen_cap, seen_n, states_max;
    struct {
        struct entry *call;
        uint64_t value;
    } * stack;
    size_t depth;
    size_t must_left;    /* operations that have returned and are not done */
    size_t *twin_before; /* of an unknown twin: the one called before it, or its own number */
    bool *done;
};

static int by_time(const void *a, const void *b)
{
    const struct entry *x = a;
    const struct entry *y = b;

    if (x->at != y->at) {
        return x->at < y->at ? -1 : 1;
    }
    return x->op < y->op ? -1 : x->op > y->op; /* several NEVER */
}

static struct state mixed(struct state s, uint64_t value)
{
    struct prng p = {.state = value};

    s.hi ^= prng_u64(&p);
    s.lo ^= prng_u64(&p);
    return s;
}

static bool insert(struct search *s, struct state x)
{
    size_t i = x.lo & (s->seen_cap - 1);

    while (s->seen[i].hi != 0 || s->seen[i].lo != 0) {
        if (s->seen[i].hi == x.hi && s->seen[i].lo == x.lo) {
            return false;
        }
        i = (i + 1) & (s->seen_cap - 1);
    }
    s->seen[i] = x;
    s->seen_n++;
    return true;
}

static void grow(struct search *s)
{
    struct state *old = s->seen;
    size_t old_cap = s->seen_cap;

    s->seen_cap *= 2;
    s->seen_n = 0;
    s->seen = calloc(s->seen_cap, sizeof(*s->seen));
    CHECK(s->seen != NULL);
    for (size_t i = 0; i < old_cap; i++) {
        if (old[i].hi != 0 || old[i].lo != 0) {
            (void)insert(s, old[i]);
        }
    }
    free(old);
}

static bool visit(struct search *s, struct state x)
{
    if (s->seen_n * 2 >= s->seen_cap) {
        grow(s);
    }
    return insert(s, x);
}

static void lift(struct entry *call)
{
    call->prev->next = call->next;
    call->next->prev = call->prev; /* a call has its return after it, so next is there */
    call->match->prev->next = call->match->next;
    if (call->match->next != NULL) {
        call->match->next->prev = call->match->prev;
    }
}

static void unlift(struct entry *call)
{
    call->match->prev->next = call->match;
    if (call->match->next != NULL) {
        call->match->next->prev = call->match;
    }
    call->prev->next = call;
    call->next->prev = call;
}

uint64_t linear_append(uint64_t value, uint64_t more)
{
    struct prng p = {.state = value ^ more << 1};

    return prng_u64(&p) | 1;
}

/* False: what the operation answered does not fit a register that holds `value`. */
static bool apply(const struct linear_op *op, uint64_t value, uint64_t *ret_after)
{
    uint64_t old = value == LINEAR_ABSENT ? LINEAR_NUMBER : value;

    *ret_after = op->value;
    switch (op->kind) {
    case LINEAR_WRITE:
        return true;
    case LINEAR_READ:
        return value == op->value;
    case LINEAR_CAS:
        return value == op->expect;
    case LINEAR_ADD:
        *ret_after = old + op->value;
        return op->ret == LINEAR_NEVER || *ret_after == op->expect;
    case LINEAR_APPEND:
        *ret_after = linear_append(value, op->value);
        return true;
    }
    return false;
}

static bool sees(const struct linear_op *op, uint64_t value)
{
    return (op->kind == LINEAR_READ && op->value == value) ||
           (op->kind == LINEAR_CAS && op->expect == value);
}

/* Writes a value of its own, and it is not known whether it did. */
static bool is_unknown_write(const struct linear_op *op)
{
    return (op->kind == LINEAR_WRITE || op->kind == LINEAR_CAS) && op->ret == LINEAR_NEVER &&
           op->value != LINEAR_ABSENT;
}

/* Whether values of writes are unique and every other operation names the value it met. */
static bool is_exact(const struct linear_op *ops, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        if (ops[i].kind == LINEAR_ADD || ops[i].kind == LINEAR_APPEND) {
            return false;
        }
    }
    return true;
}

/*
 * Values of writes are unique except for LINEAR_ABSENT, which keeps the unknown writes few: one
 * whose value nobody met can be left out, one whose value somebody met happened before that
 * operation returned.
 */
static size_t prune(struct linear_op *ops, size_t n)
{
    size_t kept = 0;

    if (!is_exact(ops, n)) {
        return n;
    }
    for (size_t i = 0; i < n; i++) {
        struct linear_op op = ops[i];
        bool is_read = false;

        if (is_unknown_write(&op)) {
            for (size_t r = 0; r < n; r++) {
                /* ops[0..kept) were moved, never lost: look at both halves */
                const struct linear_op *read = &ops[r];

                if ((r < kept || r >= i) && sees(read, op.value)) {
                    is_read = true;
                    op.ret = read->ret < op.ret ? read->ret : op.ret;
                }
            }
            if (!is_read) {
                continue;
            }
            if (op.ret != LINEAR_NEVER && op.ret < op.call) {
                op.ret = LINEAR_NEVER; /* read before it was written: let the search say no */
            }
        }
        ops[kept++] = op;
    }
    return kept;
}

static void build(struct search *s)
{
    struct entry *sorted = calloc(2 * s->n + 1, sizeof(*sorted));
    struct entry **call_of = calloc(s->n + 1, sizeof(struct entry *));
    struct prng prng = {.state = 1};

    CHECK(sorted != NULL && call_of != NULL);
    for (size_t i = 0; i < s->n; i++) {
        sorted[2 * i] = (struct entry){.op = i, .at = s->ops[i].call};
        sorted[2 * i + 1] = (struct entry){.op = i, .at = s->ops[i].ret};
        s->mark[i] = (struct state){.hi = prng_u64(&prng), .lo = prng_u64(&prng)};
    }
    qsort(sorted, 2 * s->n, sizeof(*sorted), by_time);
    for (size_t i = 0; i < 2 * s->n; i++) {
        struct entry *e = &s->entries[i + 1];

        *e = sorted[i];
        e->prev = e - 1;
        e->next = i + 1 < 2 * s->n ? e + 1 : NULL;
        if (call_of[e->op] == NULL) {
            call_of[e->op] = e;
        } else {
            call_of[e->op]->match = e;
        }
    }
    s->entries[0].next = s->n == 0 ? NULL : &s->entries[1];
    free(sorted);
    free(call_of);
}

static bool is_unknown_twin(const struct linear_op *op)
{
    return op->ret == LINEAR_NEVER &&
           ((op->kind == LINEAR_WRITE && op->value == LINEAR_ABSENT) || op->kind == LINEAR_ADD);
}

/*
 * Unknown deletes and additions are what cannot be pruned, and each could double the states. Those
 * of the same kind and amount are alike, so it is enough to try them in the order of their calls,
 * and only where they change anything.
 */
static bool is_worth_trying(const struct search *s, size_t op, uint64_t value)
{
    const struct linear_op *o = &s->ops[op];

    if (!is_unknown_twin(o)) {
        return true;
    }
    return (o->kind == LINEAR_ADD || value != LINEAR_ABSENT) &&
           (s->twin_before[op] == op || s->done[s->twin_before[op]]);
}

/* The last twin of `op` among the calls before entry `at`; `op` itself when there is none. */
static size_t twin_before(const struct search *s, size_t at, size_t op)
{
    const struct linear_op *o = &s->ops[op];

    while (--at > 0) {
        const struct entry *e = &s->entries[at];
        const struct linear_op *other = &s->ops[e->op];

        if (e->match != NULL && is_unknown_twin(other) && other->kind == o->kind &&
            other->value == o->value) {
            return e->op;
        }
    }
    return op;
}

static void prepare(struct search *s)
{
    for (size_t i = 1; i <= 2 * s->n; i++) {
        const struct entry *e = &s->entries[i];

        if (e->match == NULL) {
            continue;
        }
        s->must_left += s->ops[e->op].ret != LINEAR_NEVER;
        if (is_unknown_twin(&s->ops[e->op])) {
            s->twin_before[e->op] = twin_before(s, i, e->op);
        }
    }
}

static void mark_done(struct search *s, size_t op, bool done)
{
    s->done[op] = done;
    if (s->ops[op].ret != LINEAR_NEVER) {
        s->must_left += done ? (size_t)-1 : 1;
    }
}

static enum linear_verdict search(struct search *s, size_t *ret_worst)
{
    struct entry *e = s->entries[0].next;
    struct state done = {.hi = 1, .lo = 1};
    uint64_t value = LINEAR_ABSENT;
    size_t deepest = 0;

    while (s->must_left > 0) {
        const struct linear_op *op;

        CHECK(e != NULL); /* the last entry of a list is a return: it goes back, not on */
        op = &s->ops[e->op];
        if (e->match != NULL) {
            uint64_t after;
            bool fits = apply(op, value, &after);
            struct state then = {.hi = done.hi ^ s->mark[e->op].hi,
                                 .lo = done.lo ^ s->mark[e->op].lo};

            if (fits && is_worth_trying(s, e->op, value) && visit(s, mixed(then, after))) {
                mark_done(s, e->op, true);
                s->stack[s->depth].call = e;
                s->stack[s->depth++].value = value;
                value = after;
                done = then;
                lift(e);
                e = s->entries[0].next;
            } else {
                e = e->next;
            }
        } else {
            if (s->depth >= deepest) {
                deepest = s->depth;
                *ret_worst = e->op;
            }
            if (s->depth == 0) {
                return LINEAR_NO;
            }
            e = s->stack[--s->depth].call;
            value = s->stack[s->depth].value;
            done.hi ^= s->mark[e->op].hi;
            done.lo ^= s->mark[e->op].lo;
            mark_done(s, e->op, false);
            unlift(e);
            e = e->next;
        }
        if (s->seen_n > s->states_max) {
            return LINEAR_GAVE_UP;
        }
    }
    return LINEAR_YES;
}

enum linear_verdict linear_check(struct linear_op *ops, size_t n, size_t states_max,
                                 struct linear_op *ret_worst)
{
    struct search s = {.ops = ops, .seen_cap = 1024, .states_max = states_max};
    enum linear_verdict verdict;
    size_t worst = 0;

    s.n = prune(ops, n);
    s.entries = calloc(2 * s.n + 1, sizeof(*s.entries));
    s.mark = calloc(s.n + 1, sizeof(*s.mark));
    s.stack = calloc(s.n + 1, sizeof(*s.stack));
    s.seen = calloc(s.seen_cap, sizeof(*s.seen));
    CHECK(s.entries != NULL && s.mark != NULL && s.stack != NULL && s.seen != NULL);
    s.twin_before = calloc(s.n + 1, sizeof(*s.twin_before));
    s.done = calloc(s.n + 1, sizeof(*s.done));
    CHECK(s.twin_before != NULL && s.done != NULL);
    build(&s);
    prepare(&s);
    verdict = search(&s, &worst);
    if (verdict == LINEAR_NO && ret_worst != NULL) {
        *ret_worst = ops[worst];
    }
    free(s.entries);
    free(s.mark);
    free(s.stack);
    free(s.seen);
    free(s.twin_before);
    free(s.done);
    return verdict;
}
