// SPDX-License-Identifier: Apache-2.0
#include "common/check.h"
#include "trusted/abd/abd_rmw.h"

_Static_assert(OPS_MAX == 1 << ABD_ROUND_SHIFT, "a place fits below the round");
_Static_assert((int)OPS_MAX < (int)ABD_NONE, "a place is never NONE");

/* ---- deadlines: a binary heap of places; the usual case, equal timeouts, appends in O(1) ---- */

static uint64_t expiry(const struct abd *a, size_t at)
{
    return a->ops[a->timers[at]].expires_at_ns;
}

static void timer_set(struct abd *a, size_t at, uint16_t place)
{
    a->timers[at] = place;
    a->ops[place].timer_at = (uint16_t)at;
}

static void sift_up(struct abd *a, size_t at)
{
    uint16_t place = a->timers[at];

    while (at > 0 && expiry(a, (at - 1) / 2) > a->ops[place].expires_at_ns) {
        timer_set(a, at, a->timers[(at - 1) / 2]);
        at = (at - 1) / 2;
    }
    timer_set(a, at, place);
}

static void sift_down(struct abd *a, size_t at)
{
    uint16_t place = a->timers[at];

    for (;;) {
        size_t child = 2 * at + 1;

        if (child >= a->timers_n) {
            break;
        }
        if (child + 1 < a->timers_n && expiry(a, child + 1) < expiry(a, child)) {
            child++;
        }
        if (expiry(a, child) >= a->ops[place].expires_at_ns) {
            break;
        }
        timer_set(a, at, a->timers[child]);
        at = child;
    }
    timer_set(a, at, place);
}

static void timer_enter(struct abd *a, struct abd_op *op)
{
    CHECK(a->timers_n < a->config.ops_max);
    a->timers[a->timers_n++] = abd_place(a, op);
    sift_up(a, a->timers_n - 1U);
}

static void timer_leave(struct abd *a, struct abd_op *op)
{
    uint16_t at = op->timer_at;
    uint16_t last;

    if (at == ABD_NONE) {
        return;
    }
    op->timer_at = ABD_NONE;
    last = a->timers[--a->timers_n];
    if (at != a->timers_n) {
        timer_set(a, at, last);
        sift_up(a, at);
        sift_down(a, a->ops[last].timer_at);
    }
}

/* ---- lists ---- */

void abd_list_leave(struct abd *a, struct abd_op *op)
{
    struct abd_list *l;

    if (op->list == ABD_LIST_NONE) {
        return;
    }
    l = &a->lists[op->list];
    if (op->prev == ABD_NONE) {
        l->head = op->next;
    } else {
        a->ops[op->prev].next = op->next;
    }
    if (op->next == ABD_NONE) {
        l->tail = op->prev;
    } else {
        a->ops[op->next].prev = op->prev;
    }
    op->list = ABD_LIST_NONE;
}

void abd_list_enter(struct abd *a, struct abd_op *op, enum abd_list_id list, uint64_t after_ns)
{
    struct abd_list *l = &a->lists[list];
    uint16_t place = abd_place(a, op);
    uint16_t before;

    abd_list_leave(a, op);
    before = l->tail;
    op->due_at_ns = after_ns > ABD_NEVER - a->now_ns ? ABD_NEVER : a->now_ns + after_ns;
    if (list != ABD_LIST_PAUSE && before != ABD_NONE && a->ops[before].due_at_ns > op->due_at_ns) {
        op->due_at_ns = a->ops[before].due_at_ns;
    }
    while (before != ABD_NONE && a->ops[before].due_at_ns > op->due_at_ns) {
        before = a->ops[before].prev;
    }
    op->list = (uint8_t)list;
    op->prev = before;
    op->next = before == ABD_NONE ? l->head : a->ops[before].next;
    *(op->next == ABD_NONE ? &l->tail : &a->ops[op->next].prev) = place;
    *(before == ABD_NONE ? &l->head : &a->ops[before].next) = place;
}

/* ---- memory ---- */

bool abd_relieve(struct abd *a, struct abd_out *out)
{
    struct abd_op *op;

    if (a->lists[ABD_LIST_TAIL].head == ABD_NONE) {
        return abd_batch_relieve(a, out);
    }
    if (out->cancels_n + a->config.members_n - 1U > ABD_CANCELS_MAX) {
        return false;
    }
    op = &a->ops[a->lists[ABD_LIST_TAIL].head];
    abd_op_cancel(a, op, out);
    abd_op_give(a, op);
    return true;
}

void *abd_alloc(struct abd *a, size_t n, struct abd_out *out)
{
    void *p;

    do {
        p = heap_alloc(a->heap, n);
    } while (p == NULL && abd_relieve(a, out));
    return p;
}

void abd_lend(struct abd *a, void *p, size_t n)
{
    CHECK(a->limbo == NULL);
    a->limbo = p;
    a->limbo_n = n;
}

RESULT abd_op_reserve(struct abd *a, struct abd_op *op, size_t n, struct abd_out *out)
{
    CHECK(n <= VALUE_MAX);
    if (n <= op->value_cap) {
        return OK;
    }
    heap_free(a->heap, op->value, op->value_cap);
    op->value_cap = 0;
    op->value = abd_alloc(a, n, out);
    if (op->value == NULL) {
        return ERR_ENCLAVE_MEMORY;
    }
    op->value_cap = (uint32_t)n;
    return OK;
}

/* ---- places ---- */

static RESULT key_set(struct abd *a, struct abd_op *op, struct bytes key, struct abd_out *out)
{
    CHECK(key.n >= 1 && key.n <= KEY_MAX);
    op->key = op->key_inline;
    if (key.n > ABD_KEY_INLINE) {
        op->key = abd_alloc(a, key.n, out);
        if (op->key == NULL) {
            return ERR_ENCLAVE_MEMORY;
        }
    }
    memcpy(op->key, key.p, key.n);
    op->key_len = (uint16_t)key.n;
    return OK;
}

static void key_free(struct abd *a, struct abd_op *op)
{
    if (op->key != op->key_inline) {
        heap_free(a->heap, op->key, op->key_len);
    }
}

RESULT abd_op_take(struct abd *a, struct bytes key, uint64_t expires_at_ns, struct abd_out *out,
                   struct abd_op **ret)
{
    struct abd_op *op;
    uint16_t place;
    enum err err;

    if (a->free_head == ABD_NONE &&
        (a->lists[ABD_LIST_TAIL].head == ABD_NONE || !abd_relieve(a, out))) {
        return ERR_BUSY;
    }
    place = a->free_head;
    op = &a->ops[place];
    a->free_head = op->next;
    err = key_set(a, op, key, out);
    if (err != OK) {
        op->next = a->free_head;
        a->free_head = place;
        return err;
    }
    /* Only what a round does not set; the rest of a place is whatever its last user left. */
    if (place >= a->used_n) {
        a->used_n = (uint16_t)(place + 1);
    }
    op->timer_at = ABD_NONE;
    op->list = ABD_LIST_NONE;
    op->cookie = ++a->generation << ABD_GENERATION_SHIFT | place;
    op->round = 0;
    op->value = NULL;
    op->rmw = NULL;
    op->value_len = op->value_cap = 0;
    op->tag = op->own = (struct tag){0};
    op->outstanding = 0;
    op->tombstone = op->damaged = op->stale = op->doubt = false;
    op->expires_at_ns = expires_at_ns;
    op->gc = abd_flight_enter(a);
    timer_enter(a, op);
    a->counters.ops++;
    *ret = op;
    return OK;
}

static void forget_repair(struct abd *a, const struct abd_op *op)
{
    for (uint16_t i = 0; i < a->repairs_n; i++) {
        if (a->repairs[i] == abd_place(a, op)) {
            a->repairs[i] = a->repairs[--a->repairs_n];
            return;
        }
    }
}

void abd_op_give(struct abd *a, struct abd_op *op)
{
    CHECK(op->outstanding == 0 && op->phase != ABD_PHASE_FREE);
    if (op->list != ABD_LIST_TAIL) {
        a->counters.ops--;
    }
    if (op->kind == ABD_OP_REPAIR) {
        forget_repair(a, op);
    }
    abd_flight_leave(a, op->gc);
    timer_leave(a, op);
    abd_list_leave(a, op);
    key_free(a, op);
    abd_rmw_free(a, op);
    heap_free(a->heap, op->value, op->value_cap);
    op->phase = ABD_PHASE_FREE;
    op->next = a->free_head;
    a->free_head = abd_place(a, op);
}

/* Cancels are carried out before calls; a call of this very step is simply not made. */
void abd_out_cancel(struct abd_out *out, uint8_t peer, uint64_t cookie)
{
    for (uint32_t i = 0; i < out->calls_n; i++) {
        if (out->calls[i].peer == peer && out->calls[i].cookie == cookie) {
            out->calls[i] = out->calls[--out->calls_n];
            return;
        }
    }
    CHECK(out->cancels_n < ABD_CANCELS_MAX);
    out->cancels[out->cancels_n++] = (struct abd_cancel){.peer = peer, .cookie = cookie};
}

void abd_op_cancel(struct abd *a, struct abd_op *op, struct abd_out *out)
{
    for (uint8_t peer = 0; op->outstanding != 0 && peer < a->config.members_n; peer++) {
        if ((op->outstanding & abd_bit(peer)) != 0) {
            abd_out_cancel(out, peer, op->cookie);
        }
    }
    op->outstanding = 0;
}

void abd_op_linger(struct abd *a, struct abd_op *op)
{
    if (op->kind == ABD_OP_REPAIR) {
        forget_repair(a, op);
    }
    timer_leave(a, op);
    abd_list_enter(a, op, ABD_LIST_TAIL, ABD_TAIL_NS);
    a->counters.ops--;
}

RESULT abd_pool_init(struct abd *a)
{
    uint32_t n = a->config.ops_max;

    for (size_t i = 0; i < ABD_LISTS_N; i++) {
        a->lists[i] = (struct abd_list){.head = ABD_NONE, .tail = ABD_NONE};
    }
    a->ops = heap_alloc(a->heap, n * sizeof(*a->ops));
    a->timers = heap_alloc(a->heap, n * sizeof(*a->timers));
    if (a->ops == NULL || a->timers == NULL) {
        return ERR_ENCLAVE_MEMORY;
    }
    for (uint32_t i = 0; i < n; i++) {
        a->ops[i].phase = ABD_PHASE_FREE;
        a->ops[i].next = (uint16_t)(i + 1 < n ? i + 1 : ABD_NONE);
    }
    return OK;
}

void abd_pool_fini(struct abd *a)
{
    for (uint16_t i = 0; i < a->used_n; i++) {
        struct abd_op *op = &a->ops[i];

        if (op->phase != ABD_PHASE_FREE) {
            key_free(a, op);
            abd_rmw_free(a, op);
            heap_free(a->heap, op->value, op->value_cap);
        }
    }
    heap_free(a->heap, a->rmw_lines, ABD_RMW_LINES * sizeof(*a->rmw_lines));
    heap_free(a->heap, a->limbo, a->limbo_n);
    heap_free(a->heap, a->ops, a->config.ops_max * sizeof(*a->ops));
    heap_free(a->heap, a->timers, a->config.ops_max * sizeof(*a->timers));
}
