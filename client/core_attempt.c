// SPDX-License-Identifier: Apache-2.0
#include "client/core_internal.h"
#include "common/check.h"
#include "common/slots.h"

static const uint64_t MS = UINT64_C(1000000);
static const uint8_t nothing; /* where the value of no bytes lies */

/* Cookie: generation << 32 | call << 24 | operation. */
_Static_assert(CORE_IN_FLIGHT_MAX <= 1 << 24 && CORE_CALLS_MAX <= 256, "fits a cookie");

static uint64_t cookie_of(const struct core *c, const struct op *o, uint32_t call)
{
    return (uint64_t)o->generation << 32 | (uint64_t)call << 24 | (uint64_t)(o - c->ops);
}

struct op *core_lookup(struct core *c, uint64_t cookie, struct op_call **ret_call)
{
    uint32_t i = (uint32_t)cookie & 0xffffff;
    uint32_t call = (uint32_t)cookie >> 24;
    struct op *o;

    CHECK(i < c->config.in_flight_max && call < CORE_CALLS_MAX);
    o = &c->ops[i];
    if (o->state != OP_CALLED || o->generation != (uint32_t)(cookie >> 32) ||
        !o->calls[call].live) {
        return NULL;
    }
    *ret_call = &o->calls[call];
    return o;
}

/* CFG-6: that of the key as long as the number of shards stays; a batch has named it. */
static uint32_t shard_of(const struct core *c, const struct op *o)
{
    return client_op_is_batch(o->op) ? o->shard : slot_run(o->slot, c->config.shards_n);
}

static uint32_t bit(uint32_t place)
{
    return UINT32_C(1) << place;
}

static uint32_t live_places(const struct op *o)
{
    uint32_t live = 0;

    for (uint32_t i = 0; i < CORE_CALLS_MAX; i++) {
        live |= o->calls[i].live ? bit(o->calls[i].place) : 0;
    }
    return live;
}

bool core_has_room(const struct session *s)
{
    return s->in_rpc < RPC_SLOTS_CLIENT && s->waiting.n == 0;
}

/*
 * CLI-6: which coordinator is asked next: one that stands and is not in `avoid`, from the preferred
 * one on. With no preference of the user's, one with a free slot goes before one without. False:
 * there is none.
 */
static bool choose(const struct core *c, const struct op *o, uint32_t shard, uint32_t avoid,
                   uint32_t *ret_place)
{
    uint32_t found = UINT32_MAX, last = UINT32_MAX;
    uint32_t below = bit(o->start) - 1, left = c->map.at[o->group] & ~avoid;

    while (left != 0) { /* from the preferred place on, then from the first */
        uint32_t set = (left & ~below) != 0 ? left & ~below : left;
        uint32_t place = (uint32_t)__builtin_ctz(set);
        const struct session *s = core_session(c, place, shard);

        left &= ~bit(place);
        if (!s->up) {
            continue;
        }
        if (s->leaving) {
            last = place;
            continue;
        }
        if (core_has_room(s) || !c->spill || o->op == CLIENT_RMW) {
            *ret_place = place;
            return true;
        }
        found = found == UINT32_MAX ? place : found;
    }
    found = found == UINT32_MAX ? last : found;
    if (found == UINT32_MAX) {
        return false;
    }
    *ret_place = found;
    return true;
}

/* CLI-5: what the coordinator may spend. It answers a little before we stop listening, so that a
 * write's "nothing was done" can still be told from "unknown"; and while another coordinator could
 * be asked, one that finds no majority must say so in time for that. */
static uint32_t timeout_for(const struct core *c, const struct op *o, uint32_t shard,
                            uint32_t place)
{
    uint32_t other;
    uint64_t left_ms = o->deadline_at_ns > c->now_ns ? (o->deadline_at_ns - c->now_ns) / MS : 0;
    uint64_t margin_ms = left_ms / 8 < 250 ? left_ms / 8 : 250;
    uint64_t ms = left_ms - margin_ms;

    if (!op_is_read(o) && choose(c, o, shard, o->tried | bit(place), &other)) {
        ms = left_ms / 2;
    }
    return ms == 0 ? 1 : ms > CLIENT_TIMEOUT_MS_MAX ? CLIENT_TIMEOUT_MS_MAX : (uint32_t)ms;
}

/* FULL: no slot now. CLOSED: the session is gone. */
static enum err start_call(struct core *c, struct op *o, uint32_t place, struct session *s)
{
    struct client_request m = {
        .op = o->op,
        .timeout_ms = timeout_for(c, o, (uint32_t)(s - c->sessions) % SHARDS_MAX, place),
        .key = {.p = o->block, .n = o->key_len},
        .value = {.p = o->block + o->key_len, .n = o->value_len},
        .rmw = o->rmw,
        .expect_len = o->expect_len,
        .delta = o->delta,
        .group = client_op_is_batch(o->op) ? o->group : 0,
    };
    struct rpc_question q = {.key = m.key, .value = m.value};
    struct op_call *call = NULL;
    uint32_t i;

    if (s->in_rpc >= RPC_SLOTS_CLIENT) {
        return ERR_FULL;
    }
    for (i = 0; i < CORE_CALLS_MAX && call == NULL; i++) {
        call = o->calls[i].live ? NULL : &o->calls[i];
    }
    if (call == NULL) {
        return ERR_FULL;
    }
    q.head_len = (uint8_t)client_request_encode_head(&m, q.head);
    q.cookie = cookie_of(c, o, i - 1);
    TRY(rpc_call(c->rpc, c->now_ns, s->index, &q, &call->call));
    call->place = (uint8_t)place;
    call->sent_before = c->sent;
    call->live = true;
    o->calls_n++;
    o->tried |= bit(place);
    o->state = OP_CALLED;
    s->in_rpc++;
    return OK;
}

/* The call no longer exists for rpc. */
static void drop_call(struct core *c, struct op *o, struct op_call *call)
{
    struct session *s = &c->sessions[call->call.session & ((1U << 20) - 1)];

    CHECK(call->live && o->calls_n > 0);
    call->live = false;
    o->calls_n--;
    if (s->index == call->call.session && s->in_rpc > 0) {
        s->in_rpc--;
    }
}

static void set_alarm(struct core *c, struct op *o, uint64_t at_ns)
{
    alarms_set(&c->alarms, o, at_ns < o->deadline_at_ns ? at_ns : o->deadline_at_ns);
}

void core_free_block(struct core *c, struct op *o)
{
    if (o->block != o->key_inline) {
        heap_free(c->config.heap, o->block, (size_t)o->key_len + o->value_len);
    }
    o->block = NULL;
}

void core_finish(struct core *c, struct op *o, enum err status, enum err cause)
{
    uint32_t freed[CORE_CALLS_MAX];
    uint32_t freed_n = 0;

    for (uint32_t i = 0; i < CORE_CALLS_MAX; i++) {
        if (o->calls[i].live) {
            rpc_cancel(c->rpc, &o->calls[i].call);
            drop_call(c, o, &o->calls[i]);
            freed[freed_n++] = o->calls[i].call.session & ((1U << 20) - 1);
        }
    }
    core_look_leave(c, o);
    op_list_remove(o);
    alarms_clear(&c->alarms, o);
    core_free_block(c, o);
    o->state = OP_DONE;
    o->status = status;
    o->cause = cause;
    c->counters.completed++;
    c->counters.indeterminate += status == ERR_INDETERMINATE;
    c->counters.unavailable += status == ERR_UNAVAILABLE;
    op_list_push(client_op_is_batch(o->op) ? &c->done_batches : &c->done, o);
    for (uint32_t i = 0; i < freed_n; i++) {
        core_pump(c, &c->sessions[freed[i]]);
    }
}

/* CLI-10: what it is when time is up and nothing of it is under way. */
static void expire(struct core *c, struct op *o)
{
    enum err cause = o->cause == OK ? ERR_TIMEOUT : o->cause;

    for (uint32_t i = 0; i < CORE_CALLS_MAX && !op_is_read(o); i++) {
        if (o->calls[i].live && o->calls[i].sent_before != c->sent) {
            core_finish(c, o, ERR_INDETERMINATE, ERR_TIMEOUT);
            return;
        }
    }
    if (op_is_read(o) && rpc_counters(c->rpc)->no_memory != o->no_memory_before) {
        core_finish(c, o, ERR_FULL,
                    cause); /* there were answers, but no room to put them together */
        return;
    }
    core_finish(c, o, o->cause == ERR_INTEGRITY ? ERR_INTEGRITY : ERR_UNAVAILABLE, cause);
}

/* CLI-8: 1 ms at first, doubling up to 64 ms, half of it drawn. */
static void pause_op(struct core *c, struct op *o)
{
    uint64_t full = MS << (o->attempts < 6 ? o->attempts : 6);

    if (o->attempts < UINT8_MAX) {
        o->attempts++;
    }
    o->state = OP_PAUSED;
    c->counters.retries++;
    set_alarm(c, o, c->now_ns + full / 2 + prng_below(&c->prng, full / 2 + 1));
}

static void wait_in(struct core *c, struct op *o, struct op_list *l, enum op_state state)
{
    o->state = state;
    op_list_push(l, o);
    set_alarm(c, o, o->deadline_at_ns);
}

/* What start_call said, other than FULL. */
static void started(struct core *c, struct op *o, struct session *s, enum err err)
{
    if (err == OK) {
        set_alarm(c, o, op_is_read(o) ? c->now_ns + o->share_ns : o->deadline_at_ns);
        return;
    }
    if (err == ERR_TOO_BIG) {
        core_finish(c, o, ERR_TOO_BIG, OK);
        return;
    }
    if (err == ERR_CLOSED) {
        /* rpc says so in an event that is not drained yet; until then nobody chooses it. */
        s->up = false;
        c->lost |= bit((uint32_t)(s - c->sessions) / SHARDS_MAX);
    }
    o->cause = err;
    pause_op(c, o);
}

/* Tries to hand the operation to the session; it waits in its queue when there is no slot. */
static void enter(struct core *c, struct op *o, uint32_t place, struct session *s)
{
    enum err err = core_has_room(s) ? start_call(c, o, place, s) : ERR_FULL;

    if (err == ERR_FULL) {
        wait_in(c, o, &s->waiting, OP_WAITING);
    } else {
        started(c, o, s, err);
    }
}

/* CLI-10: a write that is known to have done nothing so far is not gambled away in an attempt whose
 * answer could hardly come in time. */
static bool too_late(const struct core *c, const struct op *o)
{
    return !op_is_read(o) && o->cause != OK &&
           o->deadline_at_ns - c->now_ns < o->share_ns * CORE_CALLS_MAX / 16;
}

void core_dispatch(struct core *c, struct op *o)
{
    uint32_t shard = shard_of(c, o);
    uint32_t place;

    CHECK(o->in == NULL && o->calls_n == 0);
    if (c->now_ns >= o->deadline_at_ns || too_late(c, o)) {
        expire(c, o);
        return;
    }
    if (!choose(c, o, shard, o->tried, &place)) {
        o->tried = 0; /* everybody was asked: a new round */
        if (!choose(c, o, shard, 0, &place)) {
            wait_in(c, o, &c->parked, OP_PARKED);
            return;
        }
    }
    enter(c, o, place, core_session(c, place, shard));
}

void core_hedge(struct core *c, struct op *o)
{
    uint32_t shard = shard_of(c, o);
    uint32_t place;

    CHECK(o->state == OP_CALLED && op_is_read(o));
    set_alarm(c, o, c->now_ns + o->share_ns);
    if (!choose(c, o, shard, o->tried | live_places(o), &place) &&
        !choose(c, o, shard, live_places(o), &place)) {
        return;
    }
    if (core_has_room(core_session(c, place, shard)) &&
        start_call(c, o, place, core_session(c, place, shard)) == OK) {
        c->counters.hedges++;
    }
}

void core_alarm(struct core *c, struct op *o)
{
    if (c->now_ns >= o->deadline_at_ns) {
        expire(c, o);
        return;
    }
    switch (o->state) {
    case OP_PAUSED:
        core_dispatch(c, o);
        return;
    case OP_CALLED:
        if (op_is_read(o)) {
            core_hedge(c, o);
            return;
        }
        set_alarm(c, o, o->deadline_at_ns);
        return;
    case OP_WAITING:
    case OP_PARKED:
    case OP_GATHERED:
    case OP_LOOKED:
        set_alarm(c, o, o->deadline_at_ns);
        return;
    case OP_FREE:
    case OP_DONE:
    default:
        CHECK(o->alarm == 0); /* what has ended has no alarm */
        return;
    }
}

void core_pump(struct core *c, struct session *s)
{
    uint32_t place = (uint32_t)(s - c->sessions) / SHARDS_MAX;

    while (s->up && s->waiting.head != NULL) {
        struct op *o = s->waiting.head;
        enum err err = start_call(c, o, place, s);

        if (err == ERR_FULL) {
            return;
        }
        op_list_remove(o);
        started(c, o, s, err);
    }
}

/* ---- answers ---- */

/* CLI-7: this coordinator is known to have done nothing (or it is a read): another attempt, unless
 * one is under way. */
static void try_again(struct core *c, struct op *o, enum err cause, bool at_once)
{
    if (o->cause != ERR_INTEGRITY) {
        o->cause = cause;
    }
    if (o->calls_n > 0) {
        return;
    }
    if (at_once) {
        c->counters.failed_over++;
        o->state = OP_WAITING;
        core_dispatch(c, o);
        return;
    }
    pause_op(c, o);
}

/* Whether this answer has a value, be it empty. */
static bool has_value(const struct op *o, const struct client_response *m)
{
    if (o->op == CLIENT_GET || client_op_is_batch(o->op)) {
        return m->status == OK;
    }
    if (o->op != CLIENT_RMW || m->absent) {
        return false;
    }
    return m->status == ERR_MISMATCH ||
           (m->status == OK && (o->rmw == CLIENT_RMW_INCR || o->rmw == CLIENT_RMW_APPEND ||
                                o->rmw == CLIENT_RMW_GET_SET));
}

/* A value is kept in the block it came in, or in a copy. */
static void finish_answered(struct core *c, struct op *o, const struct client_response *m)
{
    o->tag = m->tag;
    if (!has_value(o, m)) {
        core_finish(c, o, m->status, OK);
        return;
    }
    if (rpc_take_body(c->rpc, &o->value_block, &o->value_block_n)) {
        o->value = m->value;
    } else if (m->value.n != 0) {
        o->value_block_n = m->value.n;
        o->value_block = heap_alloc(c->config.heap, m->value.n);
        if (o->value_block == NULL) {
            core_finish(c, o, op_is_read(o) ? ERR_FULL : ERR_INDETERMINATE, OK);
            return;
        }
        memcpy(o->value_block, m->value.p, m->value.n);
        o->value = (struct bytes){.p = o->value_block, .n = m->value.n};
    }
    if (o->value.n == 0) {
        o->value = (struct bytes){.p = &nothing, .n = 0};
    }
    core_finish(c, o, m->status, OK);
}

/* Whether another coordinator may do it although this one may have done it. */
static bool may_repeat(const struct core *c, const struct op *o)
{
    return op_is_read(o) || (c->plants & CORE_PLANT_RETRY_TWICE) != 0;
}

/* CLI-7: the answer of one coordinator. */
static void on_answer(struct core *c, struct op *o, const struct client_response *m)
{
    bool is_read = op_is_read(o);
    uint32_t place;

    switch (m->status) {
    case OK:
    case ERR_NOT_FOUND:
    case ERR_MISMATCH:
    case ERR_NOT_NUMBER:
    case ERR_OVERFLOW:
        finish_answered(c, o, m);
        return;
    case ERR_BUSY:
        c->counters.busy++;
        try_again(c, o, ERR_BUSY, false);
        return;
    case ERR_UNAVAILABLE:
    case ERR_EPOCH:
        try_again(c, o, m->status, false);
        return;
    case ERR_CLOSED: /* it is about to end, and did nothing */
        try_again(c, o, ERR_CLOSED, choose(c, o, shard_of(c, o), o->tried, &place));
        return;
    case ERR_INTEGRITY: /* CLI-11: another coordinator may reach an intact copy */
        if (!is_read) {
            core_finish(c, o, ERR_INTEGRITY, OK);
            return;
        }
        try_again(c, o, ERR_INTEGRITY, false);
        return;
    case ERR_LOST: /* CLI-11: it knows nothing of the key, and did nothing */
        try_again(c, o, ERR_INTEGRITY, false);
        return;
    case ERR_TOO_BIG:
    case ERR_ENCLAVE_MEMORY:
    case ERR_HOST_MEMORY:
    case ERR_POLICY:
    case ERR_USAGE:
        o->lacks = m->lacks;
        core_finish(c, o, m->status, OK);
        return;
    case ERR_MALFORMED:
    case ERR_AUTH:
    case ERR_REPLAY:
    case ERR_BOUNDARY:
    case ERR_UNKNOWN_INDEX:
    case ERR_FULL:
    case ERR_TIMEOUT:
    case ERR_INDETERMINATE:
    case ERR_IO:
    case ERR_N:
    default:
        if (may_repeat(c, o)) {
            try_again(c, o, m->status, false);
            return;
        }
        core_finish(c, o, ERR_INDETERMINATE, m->status);
        return;
    }
}

/* One encoding, but not every answer fits every question. */
static bool answers(const struct op *o, const struct client_response *m)
{
    bool compares =
        o->op == CLIENT_RMW && (o->rmw == CLIENT_RMW_CAS || o->rmw == CLIENT_RMW_DELETE_IF);

    if ((m->value.n != 0 && !has_value(o, m)) ||
        (m->absent && (o->op != CLIENT_RMW || o->rmw != CLIENT_RMW_GET_SET))) {
        return false;
    }
    if (client_op_is_batch(o->op) && m->status == OK && m->value.n == 0) {
        return false;
    }
    if (m->status == ERR_NOT_FOUND) {
        return compares || o->op == CLIENT_GET;
    }
    if (m->status == ERR_MISMATCH) {
        return compares || (o->op == CLIENT_RMW && o->rmw == CLIENT_RMW_PUT_NEW);
    }
    if (m->status == ERR_NOT_NUMBER || m->status == ERR_OVERFLOW) {
        return o->op == CLIENT_RMW && o->rmw == CLIENT_RMW_INCR;
    }
    return true;
}

static void on_failure(struct core *c, struct op *o, bool left, enum err err)
{
    if (op_is_read(o) && err == ERR_TOO_BIG) {
        core_finish(c, o, ERR_TOO_BIG, OK);
        return;
    }
    if (may_repeat(c, o) || !left) {
        try_again(c, o, err, err == ERR_CLOSED);
        return;
    }
    core_finish(c, o, ERR_INDETERMINATE, err);
}

void core_ended(struct core *c, const struct rpc_event *e)
{
    struct session *s = &c->sessions[e->session & ((1U << 20) - 1)];
    struct client_response m;
    struct op_call *call;
    struct op *o;
    bool left;

    if (core_look_ended(c, e)) {
        return;
    }
    o = core_lookup(c, e->cookie, &call);
    if (o == NULL) {
        c->counters.answers_stale++;
        return;
    }
    left = call->sent_before != c->sent;
    drop_call(c, o, call);
    if (e->kind == RPC_EVENT_FAILED) {
        on_failure(c, o, left, e->err);
    } else if (client_response_decode(e->body, &m) != OK || !answers(o, &m)) {
        c->counters.answers_malformed++;
        on_failure(c, o, true, ERR_MALFORMED);
    } else {
        s->leaving = s->leaving || m.status == ERR_CLOSED;
        on_answer(c, o, &m);
    }
    core_pump(c, s);
}
