// SPDX-License-Identifier: Apache-2.0
#include "trusted/abd/abd_collect.h"

#include "common/check.h"

/*
 * The collector: the voter at the lowest place, while every member is up. A round is a batch:
 *
 *   walk, LOOK, PUSH           every member holds these tombstones
 *   DRAIN g    LIST g          barrier: nobody who does not know them is at work any more
 *   DROP g                     gone everywhere
 *   DRAIN g+1  SEAL  FINISH    barrier: nobody who has seen them is at work any more
 *
 * Clauses COL-n: docs/protocol/collect.md.
 */

static const uint64_t STEP_NS = UINT64_C(5000000000);
static const uint64_t POLL_NS = UINT64_C(1000000);
enum {
    LOOKS = BATCH_KEYS_MAX, /* keys that one step walks over */
    KEYS_BYTES = BATCH_BYTES / 4,
    CATCH_UP = 8,   /* how much sooner the next round comes after one that dropped something */
    BARREN_MAX = 6, /* doublings of the time after one that could not */
};

_Static_assert((int)CATCH_UP <= (int)ABD_SYNC_MIN_NS, "time passes between two rounds");

/* ---- when ---- */

void abd_collect_init(struct abd *a)
{
    a->collect.at_ns = a->config.collect_ns;
    a->collect.keys = BATCH_KEYS_MAX;
    a->collect.resolve = true;
}

void abd_collect_forget(struct abd *a)
{
    a->collect.low_n = 0;
    a->collect.resolve = true;
    a->collect.barren = 0;
    a->collect.forgotten = true; /* COL-8: there is nobody left to tell */
}

static uint8_t lowest_voter(const struct abd *a)
{
    return (uint8_t)(a->voters & (~(unsigned)a->voters + 1));
}

static bool all_up(const struct abd *a)
{
    return (uint8_t)(a->up | a->self_bit) == a->all;
}

uint64_t abd_collect_deadline(const struct abd *a)
{
    if (a->config.collect_ns == 0 || a->collect.active || a->self_bit != lowest_voter(a) ||
        !all_up(a)) {
        return ABD_NEVER;
    }
    return a->collect.at_ns;
}

static void next_round_at(struct abd *a, uint64_t after_ns)
{
    a->collect.active = false;
    a->collect.at_ns = a->now_ns + after_ns;
}

/* ---- the questions ---- */

static RESULT write_body(struct abd *a, struct abd_batch *b, struct abd_out *out)
{
    struct abd_collect *c = &a->collect;
    const struct collect_ask m = {.step = c->step, .round = c->round, .gc = c->gc};
    bool lists = collect_step_lists(c->step) || c->step == COLLECT_DROP;
    size_t bytes = COLLECT_ASK_HEAD;
    struct writer w = {0};
    uint16_t n = 0;

    for (uint32_t i = 0; lists && i < b->items_n; i++) {
        struct batch_item wire = {.tag = b->items[i].tag, .key = item_key(b, &b->items[i])};

        if (b->items[i].asked) {
            bytes += batch_item_len(BATCH_LOOK, &wire);
            n++;
        }
    }
    TRY(abd_buffer_room(a, &b->body, bytes, out));
    w.to = (struct mbytes){b->body.p, bytes};
    collect_ask_put_head(&w, &m, n);
    for (uint32_t i = 0; lists && i < b->items_n; i++) {
        struct batch_item wire = {.tag = b->items[i].tag, .key = item_key(b, &b->items[i])};

        if (b->items[i].asked) {
            batch_item_put(&w, BATCH_LOOK, &wire);
        }
    }
    CHECK(!w.failed && w.len == bytes);
    b->body.n = (uint32_t)bytes;
    return OK;
}

static void next_step(struct abd *a, struct abd_batch *b, struct abd_out *out);
static bool take(struct abd *a, struct abd_batch *b, uint8_t bit, struct bytes body,
                 struct abd_out *out);

/* This member's own part of the step; its answer is taken like that of any other. */
static void ask_self(struct abd *a, struct abd_batch *b, struct abd_out *out)
{
    struct collect_ask m;
    struct mbytes body;

    CHECK(collect_ask_decode((struct bytes){b->body.p, b->body.n}, &m) == OK);
    if (abd_gc_answer(a, &m, out, &body) != OK) {
        abd_batch_fail(a, b, ERR_ENCLAVE_MEMORY, out);
        return;
    }
    CHECK(take(a, b, a->self_bit, (struct bytes){body.p, body.n}, out));
    heap_free(a->heap, body.p, body.n);
}

static void ask_all(struct abd *a, struct abd_batch *b, enum collect_step step, struct abd_out *out)
{
    a->collect.step = step;
    b->expires_at_ns = a->now_ns + STEP_NS;
    abd_batch_enter(a, b, BATCH_COLLECT_ROUND, out);
    abd_batch_widen(b);
    if (write_body(a, b, out) != OK) {
        abd_batch_fail(a, b, ERR_ENCLAVE_MEMORY, out);
        return;
    }
    abd_batch_pursue(a, b, out);
    ask_self(a, b, out);
}

/* ---- a round ---- */

static void start_round(struct abd *a, struct abd_batch *b, struct abd_out *out)
{
    struct abd_collect *c = &a->collect;

    if (c->gc < a->gc.stamp) {
        c->gc = a->gc.stamp;
    }
    if (c->gc > UINT32_MAX - 4) {
        abd_batch_fail(a, b, ERR_UNAVAILABLE, out); /* COL-2: after years */
        return;
    }
    c->gc++;
    c->round = (uint64_t)a->config.incarnation << 32 | (uint32_t)++c->serial;
    c->second = c->adopted = c->forgotten = false;
    for (uint32_t i = 0; i < b->items_n; i++) {
        b->items[i].voted = b->items[i].holders = b->items[i].refused = 0;
        b->items[i].asked = true;
    }
    ask_all(a, b, COLLECT_DRAIN, out);
}

void abd_collect_established(struct abd *a, struct abd_batch *b, struct abd_out *out)
{
    uint32_t n = 0;

    for (uint32_t i = 0; i < b->items_n; i++) {
        const struct abd_item *m = &b->items[i];

        if (m->status == ERR_NOT_FOUND && m->tombstone && !tag_is_zero(m->tag)) {
            b->items[n++] = *m;
        }
    }
    b->items_n = n;
    if (n == 0 && !a->collect.resolve) {
        next_round_at(a, a->config.collect_ns / CATCH_UP);
        abd_batch_drop(a, b, out);
        return;
    }
    a->collect.gc = 0;
    start_round(a, b, out);
}

/* Where the key stands among the first n items, or belongs; they are in the order of keys. */
static uint32_t place_of(const struct abd_batch *b, uint32_t n, struct bytes key)
{
    uint32_t low = 0;

    while (low < n) {
        uint32_t mid = (low + n) / 2;

        if (bytes_compare(item_key(b, &b->items[mid]), key) < 0) {
            low = mid + 1;
        } else {
            n = mid;
        }
    }
    return low;
}

static RESULT adopt_key(struct abd *a, struct abd_batch *b, const struct batch_item *m,
                        struct abd_out *out)
{
    uint32_t n = b->items_n, at = place_of(b, n, m->key);
    struct abd_item *i, added;

    if (at < n && bytes_equal(item_key(b, &b->items[at]), m->key)) {
        return tag_compare(b->items[at].tag, m->tag) == 0 ? OK : ERR_EPOCH;
    }
    if (n == BATCH_KEYS_MAX) {
        return ERR_EPOCH;
    }
    TRY(abd_batch_add(a, b, m->key, out, &i));
    i->tag = m->tag;
    i->tombstone = i->asked = true;
    added = *i;
    memmove(&b->items[at + 1], &b->items[at], (n - at) * sizeof(added));
    b->items[at] = added;
    return OK;
}

/* COL-8: what is left of an older round comes first, instead of what was found now. Lists of
 * members may differ: after DROP those keys are missing that are to stay. */
static RESULT adopt(struct abd *a, struct abd_batch *b, struct batch_list list, struct abd_out *out)
{
    struct abd_collect *c = &a->collect;
    struct batch_item m;

    if (list.n == 0) {
        return OK;
    }
    if (!c->adopted) {
        c->adopted = true;
        b->items_n = 0;
    }
    while (batch_list_next(&list, &m)) {
        TRY(adopt_key(a, b, &m, out));
    }
    return OK;
}

static void count_states(struct abd_batch *b, uint8_t bit, struct batch_list list)
{
    struct batch_item m;

    for (uint32_t i = 0; batch_list_next(&list, &m); i++) {
        struct abd_item *item = &b->items[i];

        item->holders |= m.state == COLLECT_HELD ? bit : 0;
        item->voted |= m.state == COLLECT_ABSENT ? bit : 0;
        item->refused |= m.state == COLLECT_OPEN ? bit : 0;
    }
}

/* A member has done its part of the step. False: its answer makes no sense. */
static bool take(struct abd *a, struct abd_batch *b, uint8_t bit, struct bytes body,
                 struct abd_out *out)
{
    struct abd_collect *c = &a->collect;
    struct collect_answer m;

    if (collect_answer_decode(body, c->step, &m) != OK ||
        (collect_step_lists(c->step) && m.status == OK && m.list.n != b->items_n)) {
        return false;
    }
    if (m.status == ERR_BUSY) {
        b->failed |= bit;
        b->retry_at_ns = b->retry_at_ns == ABD_NEVER ? a->now_ns + POLL_NS : b->retry_at_ns;
        return true;
    }
    if (m.status == ERR_EPOCH && c->step == COLLECT_DRAIN && !c->second && m.gc >= c->gc) {
        c->gc = m.gc; /* stamped so before these tombstones were established: higher still */
        start_round(a, b, out);
        return true;
    }
    if (m.status == OK && c->step == COLLECT_DRAIN && !c->second) {
        m.status = adopt(a, b, m.list, out);
    } else if (m.status == OK && collect_step_lists(c->step)) {
        count_states(b, bit, m.list);
    }
    if (m.status != OK) {
        abd_batch_fail(a, b, m.status, out);
        return true;
    }
    b->answered |= bit;
    if (b->answered == a->all) {
        next_step(a, b, out);
    }
    return true;
}

/* COL-7 */
static bool may_drop(const struct abd *a, const struct abd_item *i)
{
    if (abd_has_plant(a, ABD_PLANT_EARLY_DROP)) {
        return true;
    }
    return i->refused == 0 && (i->holders == a->all || i->voted != 0);
}

/* COL-4: what waits for somebody else's read-modify-write will not go because one looks again. */
static uint64_t next_round_after(struct abd *a, const struct abd_batch *b)
{
    struct abd_collect *c = &a->collect;
    bool dropped = false;

    for (uint32_t i = 0; i < b->items_n; i++) {
        dropped = dropped || b->items[i].asked;
    }
    if (b->items_n == 0) {
        return a->config.collect_ns;
    }
    c->barren = dropped ? 0 : (uint8_t)(c->barren + (c->barren < BARREN_MAX));
    return dropped ? a->config.collect_ns / CATCH_UP : a->config.collect_ns << c->barren;
}

static void finished(struct abd *a, struct abd_batch *b, struct abd_out *out)
{
    struct abd_collect *c = &a->collect;

    a->counters.collections++;
    c->resolve = false;
    c->keys = (uint16_t)(2 * c->keys < BATCH_KEYS_MAX ? 2 * c->keys : BATCH_KEYS_MAX);
    next_round_at(a, next_round_after(a, b));
    abd_batch_drop(a, b, out);
}

static enum collect_step lists(const struct abd_collect *c)
{
    return c->adopted ? COLLECT_RELIST : COLLECT_LIST;
}

static void next_step(struct abd *a, struct abd_batch *b, struct abd_out *out)
{
    struct abd_collect *c = &a->collect;

    switch (c->step) {
    case COLLECT_DRAIN:
        if (b->items_n == 0) { /* nothing was left anywhere */
            finished(a, b, out);
        } else {
            ask_all(a, b, c->second ? COLLECT_SEAL : lists(c), out);
        }
        return;
    case COLLECT_LIST:
    case COLLECT_RELIST:
        for (uint32_t i = 0; i < b->items_n; i++) {
            b->items[i].asked = may_drop(a, &b->items[i]);
        }
        ask_all(a, b, COLLECT_DROP, out);
        return;
    case COLLECT_DROP:
        c->second = true;
        c->gc++;
        ask_all(a, b, COLLECT_DRAIN, out);
        return;
    case COLLECT_SEAL:
        ask_all(a, b, COLLECT_FINISH, out);
        return;
    case COLLECT_FINISH:
        finished(a, b, out);
        return;
    case COLLECT_CANCEL:
    case COLLECT_STEPS_END:
    default:
        CHECK(false);
    }
}

bool abd_collect_answer(struct abd *a, struct abd_batch *b, uint8_t bit,
                        const struct peer_answer *m, struct abd_out *out)
{
    return m->kind == PEER_COLLECTED && take(a, b, bit, m->value, out);
}

void abd_collect_poll(struct abd *a, struct abd_batch *b, struct abd_out *out)
{
    if (b->phase == BATCH_COLLECT_ROUND && (b->answered & a->self_bit) == 0) {
        ask_self(a, b, out);
    }
}

/* ---- when it goes wrong ---- */

/* COL-8: there is no way back from here, or there may be none. */
static bool is_sealing(const struct abd_collect *c)
{
    return c->step == COLLECT_SEAL || c->step == COLLECT_FINISH || c->step == COLLECT_RELIST;
}

bool abd_collect_is_cut(const struct abd *a, const struct abd_batch *b)
{
    if (all_up(a) || b->phase == BATCH_TAIL) { /* of one that went back another may have begun */
        return false;
    }
    return b->phase != BATCH_COLLECT_ROUND || !is_sealing(&a->collect);
}

/* COL-8: all who hear of it go back at once; the others when they hear of somebody who is down, or
 * with the next round. */
static void cancel(struct abd *a, struct abd_batch *b, struct abd_out *out)
{
    struct collect_ask m;

    a->collect.step = COLLECT_CANCEL;
    abd_batch_enter(a, b, BATCH_COLLECT_ROUND, out);
    abd_batch_widen(b);
    if (write_body(a, b, out) != OK) {
        abd_batch_drop(a, b, out);
        return;
    }
    CHECK(collect_ask_decode((struct bytes){b->body.p, b->body.n}, &m) == OK);
    (void)abd_gc_step(a, &m, out);
    abd_batch_pursue(a, b, out);
    abd_batch_linger(a, b);
}

void abd_collect_failed(struct abd *a, struct abd_batch *b, struct abd_out *out)
{
    struct abd_collect *c = &a->collect;
    bool in_round = b->phase == BATCH_COLLECT_ROUND;
    bool listed = in_round && (c->step != COLLECT_DRAIN || c->second);

    a->counters.collect_failed++;
    next_round_at(a, a->config.collect_ns);
    c->keys = c->keys > 4 ? c->keys / 4 : 1;
    c->resolve = c->resolve || listed;
    if (listed && !is_sealing(c) && !c->forgotten) {
        cancel(a, b, out);
    } else {
        abd_batch_drop(a, b, out);
    }
}

/* ---- the beginning ---- */

/* COL-4: some tombstones from where the last walk ended. */
static RESULT gather(struct abd *a, struct abd_batch *b, struct abd_out *out)
{
    struct abd_collect *c = &a->collect;
    struct store_walk w;
    struct abd_item *i;
    size_t bytes = 0;
    enum err err;

    store_walk_begin((struct bytes){c->low, c->low_n}, (struct bytes){0}, false, &w);
    for (int looks = 0; (err = store_walk_next(a->store, &w)) == OK; looks++) {
        if (looks == LOOKS || b->items_n == c->keys || bytes > KEYS_BYTES) {
            break;
        }
        if (w.entry.tombstone) {
            TRY(abd_batch_add(a, b, w.key, out, &i));
            i->tag = w.entry.tag;
            i->tombstone = true;
            bytes += w.key.n;
        }
        memcpy(c->low, w.key.p, w.key.n);
        c->low[w.key.n] = 0; /* the first key above it */
        c->low_n = (uint16_t)(w.key.n + 1);
    }
    if (err != OK) {
        c->low_n = 0; /* the end, or what lies there is lost: a replica that must be replaced */
    }
    return OK;
}

void abd_collect_begin(struct abd *a, struct abd_out *out)
{
    struct abd_collect *c = &a->collect;
    struct store_stats stats;
    struct abd_batch *b;
    enum err err;

    next_round_at(a, a->config.collect_ns);
    store_stats(a->store, &stats);
    if ((stats.tombstones == 0 && !c->resolve) ||
        abd_batch_take(a, a->now_ns + STEP_NS, out, &b) != OK) {
        return;
    }
    c->active = true;
    b->kind = BATCH_KIND_COLLECT;
    abd_flight_leave(a, b->gc); /* it does not wait for itself */
    b->group = a->all;
    b->need = a->config.members_n;
    err = gather(a, b, out);
    if (err == OK && b->items_n != 0 && !abd_has_plant(a, ABD_PLANT_EARLY_DROP)) {
        err = abd_look_start(a, b, out);
    } else if (err == OK) {
        for (uint32_t i = 0; i < b->items_n; i++) {
            b->items[i].status = ERR_NOT_FOUND;
        }
        abd_collect_established(a, b, out);
    }
    if (err != OK) {
        abd_batch_fail(a, b, err, out);
    }
}
