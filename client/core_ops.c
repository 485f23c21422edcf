// SPDX-License-Identifier: Apache-2.0
#include "client/core_ops.h"

#include "common/check.h"

void op_list_push(struct op_list *l, struct op *o)
{
    CHECK(o->in == NULL);
    o->in = l;
    o->next = NULL;
    o->prev = l->tail;
    if (l->tail != NULL) {
        l->tail->next = o;
    } else {
        l->head = o;
    }
    l->tail = o;
    l->n++;
}

void op_list_remove(struct op *o)
{
    struct op_list *l = o->in;

    if (l == NULL) {
        return;
    }
    if (o->prev != NULL) {
        o->prev->next = o->next;
    } else {
        l->head = o->next;
    }
    if (o->next != NULL) {
        o->next->prev = o->prev;
    } else {
        l->tail = o->prev;
    }
    l->n--;
    o->in = NULL;
    o->prev = NULL;
    o->next = NULL;
}

struct op *op_list_pop(struct op_list *l)
{
    struct op *o = l->head;

    if (o != NULL) {
        op_list_remove(o);
    }
    return o;
}

static void place_at(struct alarms *a, uint32_t i, struct op *o)
{
    a->at[i] = o;
    o->alarm = i + 1;
}

static void sift_up(struct alarms *a, uint32_t i, struct op *o)
{
    while (i > 0) {
        uint32_t parent = (i - 1) / 2;

        if (a->at[parent]->wake_at_ns <= o->wake_at_ns) {
            break;
        }
        place_at(a, i, a->at[parent]);
        i = parent;
    }
    place_at(a, i, o);
}

static void sift_down(struct alarms *a, uint32_t i, struct op *o)
{
    for (;;) {
        uint32_t child = 2 * i + 1;

        if (child >= a->n) {
            break;
        }
        if (child + 1 < a->n && a->at[child + 1]->wake_at_ns < a->at[child]->wake_at_ns) {
            child++;
        }
        if (a->at[child]->wake_at_ns >= o->wake_at_ns) {
            break;
        }
        place_at(a, i, a->at[child]);
        i = child;
    }
    place_at(a, i, o);
}

void alarms_set(struct alarms *a, struct op *o, uint64_t wake_at_ns)
{
    uint64_t before = o->wake_at_ns;

    o->wake_at_ns = wake_at_ns;
    if (o->alarm == 0) {
        sift_up(a, a->n++, o);
    } else if (wake_at_ns < before) {
        sift_up(a, o->alarm - 1, o);
    } else {
        sift_down(a, o->alarm - 1, o);
    }
}

void alarms_clear(struct alarms *a, struct op *o)
{
    uint32_t i = o->alarm;
    struct op *last;

    if (i == 0) {
        return;
    }
    i--;
    o->alarm = 0;
    last = a->at[--a->n];
    if (last == o) {
        return;
    }
    if (last->wake_at_ns < o->wake_at_ns) {
        sift_up(a, i, last);
    } else {
        sift_down(a, i, last);
    }
}

struct op *alarms_first(const struct alarms *a)
{
    return a->n == 0 ? NULL : a->at[0];
}
