// SPDX-License-Identifier: Apache-2.0
#include "sim/world.h"

#include "common/check.h"

#include <stdlib.h>

static bool before(const struct event *a, const struct event *b)
{
    return a->at_ns != b->at_ns ? a->at_ns < b->at_ns : a->age < b->age;
}

void world_init(struct world *w)
{
    *w = (struct world){.now_ns = 1};
}

void world_fini(struct world *w)
{
    for (size_t i = 0; i < w->n; i++) {
        free(w->heap[i].p);
    }
    free(w->heap);
}

void world_push(struct world *w, uint64_t at_ns, uint32_t kind, uint32_t a, uint32_t b, void *p)
{
    struct event e = {.at_ns = at_ns < w->now_ns ? w->now_ns : at_ns,
                      .age = w->age++,
                      .kind = kind,
                      .a = a,
                      .b = b,
                      .p = p};
    size_t i = w->n++;

    if (w->n > w->cap) {
        w->cap = w->cap == 0 ? 256 : 2 * w->cap;
        w->heap = realloc(w->heap, w->cap * sizeof(*w->heap));
        CHECK(w->heap != NULL);
    }
    while (i > 0 && before(&e, &w->heap[(i - 1) / 2])) {
        w->heap[i] = w->heap[(i - 1) / 2];
        i = (i - 1) / 2;
    }
    w->heap[i] = e;
}

bool world_pop(struct world *w, struct event *ret)
{
    struct event last;
    size_t i = 0;

    if (w->n == 0) {
        return false;
    }
    *ret = w->heap[0];
    w->now_ns = ret->at_ns;
    last = w->heap[--w->n];
    for (;;) {
        size_t child = 2 * i + 1;

        if (child >= w->n) {
            break;
        }
        if (child + 1 < w->n && before(&w->heap[child + 1], &w->heap[child])) {
            child++;
        }
        if (!before(&w->heap[child], &last)) {
            break;
        }
        w->heap[i] = w->heap[child];
        i = child;
    }
    if (w->n > 0) {
        w->heap[i] = last;
    }
    return true;
}
