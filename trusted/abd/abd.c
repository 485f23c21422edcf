// SPDX-License-Identifier: Apache-2.0
#include "trusted/abd/abd.h"

#include "common/check.h"
#include "trusted/abd/abd_rmw.h"

/* ---- peers ---- */

/* ABD-16: every operation looks again whom it should ask; spread over steps by `again`. */
static void look_again(struct abd *a)
{
    a->sweeping = true;
    a->sweep_at = 0;
}

void abd_peer_leaves(struct abd *a, uint8_t peer)
{
    a->up = (uint8_t)(a->up & ~abd_bit(peer));
    a->sweep_clear = (uint8_t)(a->sweep_clear & ~abd_bit(peer));
    look_again(a);
}

static void on_peer(struct abd *a, uint8_t peer, bool is_up, struct abd_out *out)
{
    if (is_up) {
        a->up |= abd_bit(peer);
        a->sweep_clear |= abd_bit(peer);
        look_again(a);
    } else {
        abd_peer_leaves(a, peer);
        abd_gc_restore(a, out);
    }
}

static void set_members(struct abd *a, const struct abd_members *m)
{
    CHECK(m->members_n >= 1 && m->members_n <= NODES_MAX && m->self < m->members_n);
    a->config.self = m->self;
    a->config.members_n = m->members_n;
    a->self_bit = abd_bit(m->self);
    a->all = (uint8_t)((1U << m->members_n) - 1);
    abd_pace_forget(a);
    abd_sync_forget(a);
    abd_collect_forget(a);
    a->voters = m->voters == 0 ? a->all : m->voters;
    CHECK((a->voters & ~a->all) == 0 && m->epoch < UINT32_MAX);
    a->config.epoch = m->epoch;
    a->rotor = a->rotor_next = (uint8_t)(a->rotor % m->members_n);
    abd_plant(a, a->plants);
}

/* MEM-8: what was counted among the former members is void. Tails end; the others begin their round
 * again, spread over steps like after ABD-16. */
static void on_reconfigure(struct abd *a, const struct abd_members *m, struct abd_out *out)
{
    set_members(a, m);
    abd_gc_reconfigure(a, out);
    abd_acceptor_reconfigure(a);
    a->up = a->sweep_clear = 0;
    for (uint16_t i = 0; i < a->used_n; i++) {
        struct abd_op *op = &a->ops[i];

        if (op->phase != ABD_PHASE_FREE) {
            CHECK(op->outstanding == 0);
            if (op->list == ABD_LIST_TAIL) {
                abd_op_give(a, op);
            } else {
                abd_list_leave(a, op);
                op->stale = true;
            }
        }
    }
    abd_batch_reconfigure(a);
    a->sweeping = true;
    a->sweep_at = 0;
}

static bool has_room(const struct abd *a, const struct abd_out *out)
{
    uint32_t peers_n = a->config.members_n - 1U;

    return !out->have_reply && out->calls_n + peers_n <= ABD_CALLS_MAX &&
           out->cancels_n + peers_n <= ABD_CANCELS_MAX;
}

static void sweep(struct abd *a, struct abd_out *out)
{
    uint32_t end = a->used_n + (uint32_t)BATCHES_MAX;

    for (int n = 0; n < ABD_SWEEP_STEP && a->sweep_at < end && has_room(a, out); n++) {
        uint32_t at = a->sweep_at++;
        struct abd_op *op = &a->ops[at < a->used_n ? at : 0];

        if (at >= a->used_n) {
            abd_batch_sweep(a, at - a->used_n, out);
        } else if (op->phase != ABD_PHASE_FREE && op->list != ABD_LIST_TAIL) {
            op->failed = (uint8_t)(op->failed & ~a->sweep_clear);
            if (op->stale) {
                abd_restart(a, op, out);
            } else {
                abd_pursue(a, op, out);
            }
        }
    }
    if (a->sweep_at >= end) {
        a->sweeping = false;
        a->sweep_clear = 0;
    }
}

/* ---- time ---- */

static uint64_t list_due(const struct abd *a, enum abd_list_id list)
{
    uint16_t head = a->lists[list].head;

    return head == ABD_NONE ? ABD_NEVER : a->ops[head].due_at_ns;
}

/* Serves one operation whose time has come. False: none. */
static bool serve(struct abd *a, struct abd_out *out)
{
    if (a->timers_n > 0 && a->ops[a->timers[0]].expires_at_ns <= a->now_ns) {
        abd_expire(a, &a->ops[a->timers[0]], out);
        return true;
    }
    for (unsigned i = 0; i < ABD_LISTS_N; i++) {
        if (list_due(a, (enum abd_list_id)i) <= a->now_ns) {
            struct abd_op *op = &a->ops[a->lists[i].head];

            if (i == ABD_LIST_TAIL) {
                abd_op_cancel(a, op, out);
                abd_op_give(a, op);
            } else {
                abd_nudge(a, op, out);
            }
            return true;
        }
    }
    if (a->batches_n != 0 && abd_batch_serve(a, out)) {
        return true;
    }
    if (abd_sync_deadline(a) <= a->now_ns) {
        abd_sync_begin(a, out);
        return true;
    }
    if (abd_collect_deadline(a) <= a->now_ns) {
        abd_collect_begin(a, out);
        return true;
    }
    return false;
}

static void on_timer(struct abd *a, struct abd_out *out)
{
    while (has_room(a, out) && serve(a, out)) {
    }
    if (a->sweeping) {
        sweep(a, out);
    }
}

uint64_t abd_deadline(const struct abd *a)
{
    uint64_t at = a->timers_n > 0 ? a->ops[a->timers[0]].expires_at_ns : ABD_NEVER;

    for (unsigned i = 0; i < ABD_LISTS_N; i++) {
        uint64_t due = list_due(a, (enum abd_list_id)i);

        at = due < at ? due : at;
    }
    if (a->batches_n != 0) {
        uint64_t due = abd_batch_deadline(a);

        at = due < at ? due : at;
    }
    if (abd_sync_deadline(a) < at) {
        at = a->sync.at_ns;
    }
    if (abd_collect_deadline(a) < at) {
        at = a->collect.at_ns;
    }
    return a->sweeping && a->now_ns < at ? a->now_ns : at;
}

/* ---- life ---- */

RESULT abd_init(const struct abd_config *c, struct abd **ret)
{
    struct abd *a;

    CHECK(c->members_n >= 1 && c->members_n <= NODES_MAX && c->self < c->members_n);
    CHECK(c->ops_max >= 1 && c->ops_max <= OPS_MAX && c->value_max <= VALUE_MAX);
    CHECK(c->incarnation != 0 && (c->sync_ns == 0 || c->sync_ns >= ABD_SYNC_MIN_NS) &&
          (c->collect_ns == 0 || c->collect_ns >= ABD_SYNC_MIN_NS));
    a = heap_zalloc(c->heap, sizeof(*a));
    if (a == NULL) {
        return ERR_ENCLAVE_MEMORY;
    }
    a->heap = c->heap;
    a->store = c->store;
    a->config = *c;
    a->generation = c->past.generation;
    a->minted = c->past.ts;
    a->prng = (struct prng){.state = c->seed};
    a->rotor = (uint8_t)prng_below(&a->prng, c->members_n);
    set_members(a, &(struct abd_members){c->self, c->members_n, c->voters, c->epoch});
    abd_write_init(a);
    abd_pace_init(a);
    abd_sync_init(a);
    abd_collect_init(a);
    if (abd_pool_init(a) != OK) {
        abd_fini(a);
        return ERR_ENCLAVE_MEMORY;
    }
    *ret = a;
    return OK;
}

void abd_fini(struct abd *a)
{
    if (a != NULL) {
        abd_batch_fini(a);
        abd_pool_fini(a);
        abd_acceptor_fini(a);
        abd_gc_fini(a);
        heap_free(a->heap, a, sizeof(*a));
    }
}

void abd_plant(struct abd *a, unsigned plants)
{
    a->plants = plants;
    a->majority = (uint8_t)(abd_set_n(a->voters) / 2 + 1);
    if ((plants & ABD_PLANT_QUORUM_OF_ONE) != 0) {
        a->majority = 1;
    }
}

const struct abd_counters *abd_counters(const struct abd *a)
{
    return &a->counters;
}

uint8_t abd_majority(const struct abd *a)
{
    return a->majority;
}

struct abd_past abd_past(const struct abd *a)
{
    return (struct abd_past){a->minted, a->generation};
}

/* ---- the door ---- */

static void start_output(struct abd *a, struct abd_out *out)
{
    heap_free(a->heap, a->limbo, a->limbo_n);
    a->limbo = NULL;
    a->limbo_n = 0;
    out->calls_n = out->cancels_n = 0;
    out->have_reply = out->have_answer = out->again = false;
}

/* Such an event makes nothing due at once, which saves looking for what is. */
static bool is_of_one_key(const struct abd_in *in)
{
    switch (in->kind) {
    case ABD_IN_ASK:
        return !peer_ask_is_batch(in->ask->kind);
    case ABD_IN_ANSWER:
        return (in->cookie & ABD_COOKIE_BATCH) == 0;
    case ABD_IN_REQUEST:
        return !client_op_is_batch(in->request->op);
    case ABD_IN_PEER_UP:
    case ABD_IN_PEER_DOWN:
    case ABD_IN_CALL_FAILED:
    case ABD_IN_RECONFIGURE:
    case ABD_IN_TIMER:
    default:
        return false;
    }
}

void abd_step(struct abd *a, const struct abd_in *in, struct abd_out *out)
{
    bool from_peer =
        in->kind != ABD_IN_REQUEST && in->kind != ABD_IN_TIMER && in->kind != ABD_IN_RECONFIGURE;

    CHECK(in->now_ns >= a->now_ns);
    CHECK(!from_peer || (in->peer < a->config.members_n && in->peer != a->config.self));
    a->now_ns = in->now_ns;
    start_output(a, out);
    switch (in->kind) {
    case ABD_IN_REQUEST:
        abd_on_request(a, in, out);
        break;
    case ABD_IN_ASK:
        abd_on_ask(a, in, out);
        break;
    case ABD_IN_ANSWER:
        abd_on_answer(a, in, out);
        break;
    case ABD_IN_PEER_UP:
        on_peer(a, in->peer, true, out);
        break;
    case ABD_IN_PEER_DOWN:
        on_peer(a, in->peer, false, out);
        break;
    case ABD_IN_CALL_FAILED:
        abd_on_call_failed(a, in, out);
        break;
    case ABD_IN_TIMER:
        on_timer(a, out);
        break;
    case ABD_IN_RECONFIGURE:
        on_reconfigure(a, in->members, out);
        break;
    }
    out->again = !is_of_one_key(in) && abd_deadline(a) <= a->now_ns;
}
