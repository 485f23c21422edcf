// SPDX-License-Identifier: Apache-2.0
#include "sim/run.h"

#include "common/check.h"
#include "common/slots.h"
#include "sim/batches.h"
#include "sim/entropy.h"
#include "sim/faults.h"

#include <inttypes.h>
#include <stdarg.h>
#include <stdlib.h>

static const uint64_t ms = UINT64_C(1000000);

/* After the network has healed, everything must have ended by then. */
static const uint64_t SETTLE_NS = UINT64_C(600000000000);

/* So long anti-entropy and collection have after that, what clients called before included, and a
 * hundred questions and answers over the slowest link that there can be. */
static const uint64_t AGREE_NS = UINT64_C(60000000000);

enum {
    FINAL_STEPS = 5, /* get, put, get, rmw, get of each key through each living node */
    FINAL_CLIENT = 1000,
    FINAL_TIMEOUT_MS = 3000,
    CLIENT_GRACE_MS = 20,
    AGREE_TRIPS = 200,
    EVENTS_MAX = 20000000,
};

const uint8_t run_cluster_id[SIPHASH_KEY_LEN] = {1};

uint32_t run_group_of(const struct run *r, struct bytes key)
{
    return slot_run(slot_of(run_cluster_id, key), run_groups(r));
}

uint32_t run_key_group(const struct run *r, uint32_t key)
{
    struct sim_key k = sim_key(key);

    return run_group_of(r, (struct bytes){k.b, SIM_KEY_LEN});
}

void run_fault(struct run *r, enum verdict verdict, const char *format, ...)
{
    va_list args;

    if (r->verdict != VERDICT_HELD) {
        return;
    }
    r->verdict = verdict;
    va_start(args, format);
    (void)vsnprintf(r->why, sizeof(r->why), format, args);
    va_end(args);
}

/* ---- clients ---- */

/* One operation, or a batch of them: the first is the head. */
static void start(struct run *r, const struct history_op *ops, uint32_t n, uint32_t timeout_ms)
{
    size_t head = r->history.n;

    for (uint32_t i = 0; i < n; i++) {
        struct history_op op = ops[i];

        op.call_at_ns = r->world.now_ns;
        op.timeout_ms = timeout_ms;
        (void)history_call(&r->history, &op);
        trace_event(&r->trace, r->world.now_ns, "call", head + i + 1, op.op, op.key);
    }
    r->pending_n++;
    r->ops->submit(r, head);
    /* The answer that the deadline forces has to travel, too. */
    world_push(&r->world,
               r->world.now_ns + (timeout_ms + CLIENT_GRACE_MS) * ms + 2 * r->swarm.delay_max_ns,
               EVENT_GIVE_UP, (uint32_t)head, 0, NULL);
}

void run_request(const struct run *r, size_t op, struct sim_key *ret_key,
                 struct client_request *ret, uint8_t **ret_block)
{
    const struct history_op *o = &r->history.ops[op];

    *ret_key = sim_key(o->key);
    if (o->batch != 0) {
        batches_request(&r->history, op, ret, ret_block);
    } else {
        history_request(&r->history, op, ret, ret_block);
        ret->key = (struct bytes){.p = ret_key->b, .n = SIM_KEY_LEN};
    }
}

static uint32_t value_len(struct run *r)
{
    return (uint32_t)(HISTORY_VALUE_MIN +
                      prng_below(&r->work, r->swarm.value_max - HISTORY_VALUE_MIN + 1));
}

/* A read-modify-write that fits the flavour of the key. */
static void draw_rmw(struct run *r, struct history_op *op)
{
    static const enum client_rmw of_register[] = {CLIENT_RMW_CAS,     CLIENT_RMW_CAS,
                                                  CLIENT_RMW_CAS,     CLIENT_RMW_PUT_NEW,
                                                  CLIENT_RMW_GET_SET, CLIENT_RMW_DELETE_IF};
    uint64_t choice = prng_below(&r->work, 6);

    op->op = CLIENT_RMW;
    if (op->flavour == HISTORY_REGISTER) {
        op->rmw = of_register[choice];
        op->value_len = value_len(r);
        if (op->rmw == CLIENT_RMW_CAS || op->rmw == CLIENT_RMW_DELETE_IF) {
            op->expect = history_guess(&r->history, op->key, &r->work);
            op->rmw = op->expect == 0 ? CLIENT_RMW_PUT_NEW : op->rmw;
        }
    } else if (op->flavour == HISTORY_COUNTER) {
        op->rmw = CLIENT_RMW_INCR;
        op->delta = 1; /* alike, so that the checker need not try every set of unknown ones */
    } else {
        op->rmw = choice == 0 ? CLIENT_RMW_GET_SET : CLIENT_RMW_APPEND;
    }
}

/* Several keys at once: ascending for a scan, which means all from the first to the last that are
 * in the group of the first. */
static uint32_t draw_batch(struct run *r, const struct history_op *like,
                           struct history_op ops[KEYS_MAX])
{
    static const enum client_op kinds[] = {CLIENT_SCAN, CLIENT_SCAN, CLIENT_MGET, CLIENT_MPUT};
    enum client_op kind = kinds[prng_below(&r->work, 4)];
    uint32_t first = (uint32_t)prng_below(&r->work, r->swarm.keys_n);
    uint32_t end = first + 1 + (uint32_t)prng_below(&r->work, r->swarm.keys_n - first);
    uint32_t n = 0;

    for (uint32_t key = first; key < end; key++) {
        uint32_t i = n;

        if (run_key_group(r, key) != run_key_group(r, first)) {
            continue;
        }
        n++;
        ops[i] = *like;
        ops[i].in_batch = true;
        ops[i].key = key;
        ops[i].flavour = r->swarm.flavours[key];
        ops[i].op = CLIENT_GET;
        if (kind == CLIENT_MPUT) {
            bool deletes = prng_chance(&r->work, r->swarm.delete_chance, 1000);

            ops[i].op = deletes ? CLIENT_DELETE : CLIENT_PUT;
            ops[i].value_len = deletes ? 0 : value_len(r);
        }
    }
    ops[0].batch = kind;
    ops[0].batch_n = n;
    ops[0].scan_keys_max = (uint16_t)(1 + prng_below(&r->work, 3));
    ops[0].scan_down = prng_chance(&r->work, 1, 2);
    return n;
}

static void client_next(struct run *r, uint32_t client)
{
    const struct swarm *s = &r->swarm;
    struct history_op op = {.client = client, .key = (uint32_t)prng_below(&r->work, s->keys_n)};
    struct history_op ops[KEYS_MAX];
    uint32_t n = 0;
    uint32_t timeout_ms = s->timeout_ms_min +
                          (uint32_t)prng_below(&r->work, s->timeout_ms_max - s->timeout_ms_min + 1);

    op.flavour = s->flavours[op.key];
    if (r->started_n == s->ops_n) {
        return;
    }
    r->started_n++;
    op.node = (uint32_t)(prng_chance(&r->work, s->sticky_chance, 1000)
                             ? client % s->nodes_n
                             : prng_below(&r->work, s->nodes_n));
    if (prng_chance(&r->work, s->batch_chance, 1000)) {
        n = draw_batch(r, &op, ops);
    } else if (prng_chance(&r->work, s->get_chance, 1000)) {
        op.op = CLIENT_GET;
    } else if (prng_chance(&r->work, s->rmw_chance, 1000) ||
               (op.flavour == HISTORY_COUNTER && prng_chance(&r->work, 7, 8))) {
        draw_rmw(r, &op);
    } else if (prng_chance(&r->work, s->delete_chance, 1000)) {
        op.op = CLIENT_DELETE;
    } else {
        op.op = CLIENT_PUT;
        op.value_len = value_len(r);
    }
    start(r, n != 0 ? ops : &op, n != 0 ? n : 1, timeout_ms);
    if (r->started_n == s->ops_n && r->story == NULL) {
        world_push(&r->world, r->world.now_ns + prng_below(&r->faults, 100 * ms), EVENT_HEAL, 0, 0,
                   NULL);
    }
}

/* What each flavour can always do. */
static void final_rmw(struct history_op *op)
{
    op->op = CLIENT_RMW;
    op->rmw = op->flavour == HISTORY_COUNTER ? CLIENT_RMW_INCR : CLIENT_RMW_GET_SET;
    op->delta = op->flavour == HISTORY_COUNTER ? 1 : 0;
}

/* A page of one key, or one key of several. */
static void final_batch(struct history_op *op, uint32_t step)
{
    op->in_batch = true;
    op->batch = step == 2 ? CLIENT_MGET : CLIENT_SCAN;
    op->batch_n = op->scan_keys_max = 1;
    op->scan_down = step == 4;
}

/* Three rounds of a read-modify-write over the slowest links there can be, and the client's own. */
static uint32_t final_timeout_ms(const struct run *r)
{
    return FINAL_TIMEOUT_MS + (uint32_t)(r->swarm.delay_max_ns * LAG_MAX * 2 * 4 / ms);
}

/* One after the other through every living node, on every key: get, put, get, rmw, get. */
static void final_next(struct run *r)
{
    for (;;) {
        uint32_t step = r->final_step % FINAL_STEPS;
        uint32_t key = r->final_step / FINAL_STEPS % r->swarm.keys_n;
        uint32_t node = r->final_step / FINAL_STEPS / r->swarm.keys_n;
        struct history_op op = {.client = FINAL_CLIENT + step,
                                .key = key,
                                .node = node,
                                .flavour = r->swarm.flavours[key],
                                .op = step == 1 ? CLIENT_PUT : CLIENT_GET,
                                .after_heal = true};

        if (node >= r->swarm.hosts_n) {
            return;
        }
        r->final_step++;
        if (r->ops->serves(r, (uint8_t)node, run_key_group(r, key))) {
            op.value_len = step % 2 == 1 ? value_len(r) : 0;
            if (step == 3) {
                final_rmw(&op);
            }
            if (r->swarm.batch_chance != 0 && step % 2 == 0) {
                final_batch(&op, step);
            }
            start(r, &op, 1, final_timeout_ms(r));
            return;
        }
    }
}

static uint64_t agree_ns(const struct run *r)
{
    return AGREE_NS + r->swarm.delay_max_ns * LAG_MAX * AGREE_TRIPS;
}

/* When the living hold the same, or too late. */
static void final_begin(struct run *r)
{
    const char *wanting = r->ops->wants != NULL ? r->ops->wants(r) : NULL;

    wanting = wanting != NULL ? wanting : entropy_wants(r);
    if (wanting == NULL) {
        final_next(r);
    } else if (r->world.now_ns > r->settle_by_ns) {
        run_fault(r, VERDICT_NOT_LIVE, "%s %.0f s after the network healed", wanting,
                  (double)agree_ns(r) / 1e9);
    } else {
        world_push(&r->world, r->world.now_ns + 500 * ms, EVENT_FINAL, 0, 0, NULL);
    }
}

static void next(struct run *r, const struct history_op *o)
{
    uint32_t client = o->client;

    if (client >= FINAL_CLIENT) {
        final_next(r);
        return;
    }
    world_push(&r->world, r->world.now_ns + 1 + prng_below(&r->work, 2 * r->swarm.think_ns),
               EVENT_CLIENT, client, 0, NULL);
}

/* COL-8: somebody died between SEAL and FINISH, and nobody takes his place. */
static bool waits_for_the_dead(struct run *r)
{
    bool dead = false, waits = false;

    for (uint8_t node = 0; node < r->swarm.nodes_n; node++) {
        dead = dead || r->crashed[node];
        waits = waits || (!r->crashed[node] && r->ops->listed(r, node) != 0);
    }
    return dead && waits;
}

/* Whether the last round through a key has put a value before this operation. */
static bool follows_a_put(const struct run *r, const struct history_op *o)
{
    for (const struct history_op *p = o; p-- > r->history.ops && p->after_heal;) {
        if (p->client == FINAL_CLIENT + 1) {
            return p->key == o->key && p->status == OK;
        }
    }
    return false;
}

/* What an operation may say once the network is well. A get may meet a value that a write without
 * majority left at a tampering host alone; a put that has room makes that good. */
static bool is_fine(struct run *r, const struct history_op *o)
{
    /* Where memory is tight a peer may refuse what a dead one cannot take in its place. */
    bool memory = o->status == ERR_ENCLAVE_MEMORY || o->status == ERR_HOST_MEMORY ||
                  o->status == ERR_UNAVAILABLE ||
                  (o->op != CLIENT_GET && o->status == ERR_INDETERMINATE);

    return o->status == OK || (o->op == CLIENT_GET && o->status == ERR_NOT_FOUND) ||
           (r->swarm.tight && memory) ||
           (o->op == CLIENT_RMW && o->status == ERR_UNAVAILABLE && waits_for_the_dead(r)) ||
           (r->swarm.tampered_n != 0 && o->client != FINAL_CLIENT + 1 &&
            o->status == ERR_INTEGRITY && !follows_a_put(r, o));
}

static uint32_t ops_of(const struct history_op *o)
{
    return o->batch != 0 ? o->batch_n : 1;
}

static void take_answer(struct run *r, size_t op, enum err status, struct bytes value)
{
    char why[BATCH_WHY_MAX] = "it answered bytes that nobody wrote";
    bool good = r->history.ops[op].batch != 0
                    ? batches_return(&r->history, op, status, value, r->world.now_ns, why)
                    : history_return(&r->history, op, status, value, r->world.now_ns);

    if (!good) {
        run_fault(r, VERDICT_WRONG, "#%zu: %s", op + 1, why);
    }
}

void run_answer(struct run *r, size_t op, enum err status, struct bytes value)
{
    struct history_op *o = &r->history.ops[op];

    if (r->story != NULL && op >= r->history.n) {
        r->story_answer(r, op, status, value);
        return;
    }
    if (o->returned || o->gave_up) {
        return; /* a duplicate, or too late: nobody listens */
    }
    r->pending_n--;
    trace_event(&r->trace, r->world.now_ns, "return", op + 1, status, value.n);
    trace_bytes(&r->trace, value);
    take_answer(r, op, status, value);
    if (o->after_heal && !is_fine(r, o)) {
        run_fault(r, VERDICT_NOT_LIVE, "operation #%zu ended %s after the network healed", op + 1,
                  err_name(o->status));
    }
    next(r, o);
}

static void give_up(struct run *r, size_t op)
{
    struct history_op *o = &r->history.ops[op];

    if (o->returned || o->gave_up) {
        return;
    }
    r->pending_n--;
    trace_event(&r->trace, r->world.now_ns, "give up", op + 1, 0, 0);
    for (uint32_t i = 0; i < ops_of(o); i++) {
        history_give_up(&r->history, op + i);
    }
    r->ops->give_up(r, op);
    if (o->after_heal) {
        run_fault(r, VERDICT_NOT_LIVE, "operation #%zu had no answer after the network healed",
                  op + 1);
    }
    next(r, o);
}

/* ---- a seed ---- */

static void handle(struct run *r, struct event *e)
{
    switch (e->kind) {
    case EVENT_CLIENT:
        client_next(r, e->a);
        break;
    case EVENT_GIVE_UP:
        give_up(r, e->a);
        break;
    case EVENT_FAULT:
        faults_next(r);
        break;
    case EVENT_LINK:
        faults_set_blocked(r, (uint8_t)e->a, (uint8_t)e->b, false);
        break;
    case EVENT_CLOCK:
        faults_clock_goes_on(r, (uint8_t)e->a);
        break;
    case EVENT_HEAL:
        faults_heal(r);
        r->settle_by_ns = r->world.now_ns + agree_ns(r);
        /* sessions come back first; what was called before has its own time */
        world_push(&r->world, r->world.now_ns + 5000 * ms, EVENT_FINAL, 0, 0, NULL);
        break;
    case EVENT_FINAL:
        final_begin(r);
        break;
    default:
        r->ops->event(r, e);
        break;
    }
}

void run_step(struct run *r)
{
    struct event e;

    CHECK(world_pop(&r->world, &e));
    handle(r, &e);
    free(e.p);
}

static bool is_over(const struct run *r)
{
    return r->verdict != VERDICT_HELD ||
           (r->final_step >= FINAL_STEPS * r->swarm.keys_n * r->swarm.hosts_n && r->pending_n == 0);
}

static void loop(struct run *r)
{
    uint64_t healed_at_ns = 0;
    uint64_t events = 0;

    while (!is_over(r)) {
        if (r->world.n == 0) {
            run_fault(r, VERDICT_NOT_LIVE, "nothing more happens, %u operations are pending",
                      r->pending_n);
            break;
        }
        run_step(r);
        if (r->healed && healed_at_ns == 0) {
            healed_at_ns = r->world.now_ns;
        }
        if (++events > EVENTS_MAX || (r->healed && r->world.now_ns > healed_at_ns + SETTLE_NS)) {
            run_fault(r, VERDICT_NOT_LIVE, "%u operations are pending after %.1f s of health",
                      r->pending_n, (double)(r->world.now_ns - healed_at_ns) / 1e9);
        }
    }
}

static void judge(struct run *r)
{
    static const char *const kinds[] = {"", "read", "write", "exchange", "addition", "append"};
    struct linear_op worst = {0};
    uint32_t key = 0;

    switch (history_check(&r->history, r->swarm.keys_n, &key, &worst)) {
    case LINEAR_YES:
        break;
    case LINEAR_NO:
        r->verdict = VERDICT_HELD; /* says more than whatever was found on the way */
        run_fault(r, VERDICT_WRONG,
                  "key %u is NOT LINEARIZABLE: no order gets past the %s of value #%" PRIu64, key,
                  kinds[worst.kind], worst.value);
        break;
    case LINEAR_GAVE_UP:
        r->undecided = true; /* too many operations of unknown outcome at once */
        break;
    }
    if ((r->verdict == VERDICT_WRONG || r->undecided) && r->trace.verbose) {
        history_print(&r->history, key, stdout);
    }
}

static void summarize(const struct run *r, struct run_result *ret)
{
    *ret = (struct run_result){.verdict = r->verdict,
                               .hash = trace_hash(&r->trace),
                               .events = r->trace.events,
                               .virtual_ns = r->world.now_ns,
                               .ops_n = (uint32_t)r->history.n,
                               .undecided = r->undecided};
    for (size_t i = 0; i < r->history.n; i++) {
        const struct history_op *o = &r->history.ops[i];

        ret->unknown_n += !o->returned || o->status == ERR_INDETERMINATE;
        ret->failed_n += !o->in_batch && o->returned && o->status != OK &&
                         o->status != ERR_NOT_FOUND && o->status != ERR_MISMATCH &&
                         o->status != ERR_INDETERMINATE;
    }
    memcpy(ret->why, r->why, sizeof(ret->why));
}

struct run *run_begin(const struct run_spec *spec, const struct swarm *swarm)
{
    struct run *r = calloc(1, sizeof(*r));

    CHECK(r != NULL);
    r->seed = spec->seed;
    r->level = spec->level;
    r->plants = spec->plants;
    r->client_plants = spec->client_plants;
    r->swarm = *swarm;
    r->ops = spec->level == LEVEL_PROTOCOL ? &protocol_level : &replica_level;
    r->net.state = spec->seed ^ 0x6e6574;
    r->work.state = spec->seed ^ 0x776f726b;
    r->faults.state = spec->seed ^ 0x6661756c74;
    faults_draw_lags(r);
    world_init(&r->world);
    trace_init(&r->trace, spec->verbose);
    history_init(&r->history);
    r->ops->open(r);
    return r;
}

void run_load(struct run *r, uint32_t ops_n)
{
    r->swarm.ops_n = r->started_n + ops_n;
    for (uint32_t i = 0; i < r->swarm.clients_n; i++) {
        world_push(&r->world, r->world.now_ns + prng_below(&r->work, 2 * r->swarm.think_ns) + 1,
                   EVENT_CLIENT, i, 0, NULL);
    }
}

void run_end(struct run *r)
{
    history_fini(&r->history);
    world_fini(&r->world);
    free(r);
}

enum verdict run_judge(struct run *r)
{
    r->ops->close(r);
    judge(r);
    return r->verdict;
}

void run_once(const struct run_spec *spec, struct run_result *ret)
{
    struct swarm swarm;
    struct run *r;

    swarm_draw(&swarm, spec);
    r = run_begin(spec, &swarm);
    entropy_sow(r);
    run_load(r, swarm.ops_n);
    world_push(&r->world, prng_below(&r->faults, 2 * swarm.fault_ns), EVENT_FAULT, 0, 0, NULL);
    loop(r);
    (void)run_judge(r);
    summarize(r, ret);
    run_end(r);
}

void run_twice(const struct run_spec *spec, struct run_result *ret)
{
    struct run_spec quiet = *spec;
    struct run_result again;

    quiet.verbose = false;
    run_once(spec, ret);
    run_once(&quiet, &again);
    if (ret->hash != again.hash || ret->events != again.events) {
        ret->verdict = VERDICT_UNEQUAL;
        (void)snprintf(ret->why, sizeof(ret->why),
                       "two runs differ: transcript %016" PRIx64 " and %016" PRIx64, ret->hash,
                       again.hash);
    }
}
