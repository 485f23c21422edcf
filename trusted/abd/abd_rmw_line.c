// SPDX-License-Identifier: Apache-2.0
#include "common/check.h"
#include "trusted/abd/abd_rmw.h"

/* Who waits for whom, and the memory of read-modify-writes. */

/* ---- whose turn it is (RMW-14) ---- */

static bool same_key(const struct abd_op *x, const struct abd_op *y)
{
    return bytes_equal(abd_key(x), abd_key(y));
}

bool abd_rmw_is_first(const struct abd *a, const struct abd_op *op)
{
    const struct abd_op *other = &a->ops[a->rmw_lines[op->rmw->line].head];

    while (other != op && !same_key(other, op)) {
        other = &a->ops[other->rmw->line_next];
    }
    return other == op;
}

RESULT abd_rmw_enter_line(struct abd *a, struct abd_op *op)
{
    struct abd_list *line;

    if (a->rmw_lines == NULL) {
        a->rmw_lines = heap_alloc(a->heap, ABD_RMW_LINES * sizeof(*a->rmw_lines));
        if (a->rmw_lines == NULL) {
            return ERR_ENCLAVE_MEMORY;
        }
        for (size_t i = 0; i < ABD_RMW_LINES; i++) {
            a->rmw_lines[i] = (struct abd_list){.head = ABD_NONE, .tail = ABD_NONE};
        }
    }
    op->rmw->line = (uint16_t)(abd_key_hash(a, abd_key(op)) % ABD_RMW_LINES);
    line = &a->rmw_lines[op->rmw->line];
    op->rmw->line_prev = line->tail;
    op->rmw->line_next = ABD_NONE;
    *(line->tail == ABD_NONE ? &line->head : &a->ops[line->tail].rmw->line_next) = abd_place(a, op);
    line->tail = abd_place(a, op);
    return OK;
}

void abd_rmw_leave(struct abd *a, struct abd_op *op)
{
    struct abd_rmw *rmw = op->rmw;
    struct abd_list *line;

    if (rmw == NULL || rmw->line == ABD_NONE) {
        return;
    }
    line = &a->rmw_lines[rmw->line];
    *(rmw->line_prev == ABD_NONE ? &line->head : &a->ops[rmw->line_prev].rmw->line_next) =
        rmw->line_next;
    *(rmw->line_next == ABD_NONE ? &line->tail : &a->ops[rmw->line_next].rmw->line_prev) =
        rmw->line_prev;
    rmw->line = ABD_NONE;
    for (uint16_t next = line->head; next != ABD_NONE; next = a->ops[next].rmw->line_next) {
        struct abd_op *other = &a->ops[next];

        if (same_key(other, op)) {
            if (other->phase == ABD_PHASE_WAIT && other->list == ABD_LIST_NONE) {
                abd_list_enter(a, other, ABD_LIST_PAUSE, 0);
            }
            return;
        }
    }
}

/* ---- memory ---- */

void abd_rmw_drop_value(struct abd *a, struct abd_proposal *p)
{
    heap_free(a->heap, p->value, p->len);
    p->value = NULL;
    p->len = 0;
}

RESULT abd_rmw_set_value(struct abd *a, struct abd_proposal *p, const struct bytes parts[static 2],
                         struct abd_out *out)
{
    size_t n = parts[0].n + parts[1].n;
    uint8_t *value = NULL;

    CHECK(n <= VALUE_MAX);
    if (n != 0) {
        value = abd_alloc(a, n, out);
        if (value == NULL) {
            return ERR_ENCLAVE_MEMORY;
        }
    }
    abd_rmw_drop_value(a, p);
    p->value = value;
    p->len = (uint32_t)n;
    for (int i = 0; i < 2; i++) {
        if (value != NULL && parts[i].n != 0) {
            memcpy(value, parts[i].p, parts[i].n);
            value += parts[i].n;
        }
    }
    return OK;
}

void abd_rmw_free(struct abd *a, struct abd_op *op)
{
    struct abd_rmw *rmw = op->rmw;

    if (rmw != NULL) {
        abd_rmw_leave(a, op);
        abd_rmw_drop_value(a, &rmw->own);
        abd_rmw_drop_value(a, &rmw->other);
        heap_free(a->heap, rmw->arg, rmw->request.value.n);
        heap_free(a->heap, rmw, sizeof(*rmw));
        op->rmw = NULL;
    }
}
