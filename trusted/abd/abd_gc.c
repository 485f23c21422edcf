// SPDX-License-Identifier: Apache-2.0
#include "common/check.h"
#include "trusted/abd/abd_collect.h"
#include "trusted/abd/abd_rmw.h"

/*
 * The member's half of collection: stamps and barriers, the list of keys that are being forgotten,
 * and the floor that is left of them. Clauses COL-n: docs/protocol/collect.md.
 */

/* ---- operations in work (COL-2, COL-3) ---- */

uint32_t abd_flight_enter(struct abd *a)
{
    a->gc.flight_n++;
    return a->gc.stamp;
}

void abd_flight_leave(struct abd *a, uint32_t stamp)
{
    CHECK(a->gc.flight_n > 0);
    a->gc.flight_n--;
    if (stamp < a->gc.stamp) {
        CHECK(a->gc.old_n > 0);
        a->gc.old_n--;
    }
}

void abd_flight_renew(struct abd *a, uint32_t *stamp)
{
    abd_flight_leave(a, *stamp);
    *stamp = abd_flight_enter(a);
}

/* COL-3: a read-modify-write that waits and has proposed nothing begins anew in any case. */
static bool begins_anew(const struct abd_op *op)
{
    return op->phase == ABD_PHASE_WAIT && op->rmw != NULL && !op->rmw->in_doubt &&
           !op->rmw->decided && op->outstanding == 0;
}

static void raise_stamp(struct abd *a, uint32_t stamp)
{
    a->gc.stamp = stamp;
    a->gc.old_n = a->gc.flight_n;
    for (uint16_t i = 0; i < a->used_n && a->gc.old_n > 0; i++) {
        if (begins_anew(&a->ops[i])) {
            abd_flight_renew(a, &a->ops[i].gc);
        }
    }
}

bool abd_gc_refuses(struct abd *a, uint32_t stamp)
{
    bool refuses = stamp < a->gc.gc && !abd_has_plant(a, ABD_PLANT_NO_BARRIER);

    a->counters.gc_refused += refuses;
    return refuses;
}

static void raise_gc(struct abd *a, uint32_t gc)
{
    a->gc.gc = gc;
    a->counters.gc = gc;
}

static void raise_floor(struct abd *a, uint64_t ts)
{
    a->gc.floor = ts > a->gc.floor ? ts : a->gc.floor;
    a->counters.floor = a->gc.floor;
}

uint64_t abd_gc_floor(const struct abd *a)
{
    return abd_has_plant(a, ABD_PLANT_MISSING_FLOOR) ? 0 : a->gc.floor;
}

/* ---- the list (COL-5) ---- */

static struct bytes listed_key(const struct abd *a, const struct abd_listed *l)
{
    return (struct bytes){(const uint8_t *)a->gc.listed + l->key_at, l->key_len};
}

static const struct abd_listed *find(const struct abd *a, struct bytes key)
{
    uint32_t low = 0, high = a->gc.listed_n;

    while (low < high) {
        uint32_t mid = (low + high) / 2;
        int c = bytes_compare(listed_key(a, &a->gc.listed[mid]), key);

        if (c == 0) {
            return &a->gc.listed[mid];
        }
        if (c < 0) {
            low = mid + 1;
        } else {
            high = mid;
        }
    }
    return NULL;
}

bool abd_gc_is_listed(const struct abd *a, struct bytes key)
{
    return a->gc.listed_n != 0 && find(a, key) != NULL;
}

bool abd_gc_is_dead(const struct abd *a, struct bytes key, struct tag tag)
{
    const struct abd_listed *l = a->gc.listed_n == 0 ? NULL : find(a, key);

    return l != NULL && tag_compare(l->tag, tag) == 0;
}

static void clear_list(struct abd *a)
{
    heap_free(a->heap, a->gc.listed, a->gc.listed_bytes);
    a->gc.listed = NULL;
    a->gc.listed_bytes = 0;
    a->gc.listed_n = 0;
    a->gc.listed_round = 0;
    a->gc.sealed = false;
    a->counters.listed = 0;
}

/* True if everything that is listed here stands in `list`, too. */
static bool is_within(const struct abd *a, struct batch_list list)
{
    struct batch_item m;
    uint32_t n = 0;

    while (a->gc.listed_n != 0 && batch_list_next(&list, &m)) {
        n += abd_gc_is_dead(a, m.key, m.tag);
    }
    return n == a->gc.listed_n;
}

static RESULT set_list(struct abd *a, struct batch_list list)
{
    size_t bytes = list.n * sizeof(struct abd_listed) + list.rest.rest.n;
    uint32_t at = list.n * (uint32_t)sizeof(struct abd_listed);
    struct abd_listed *listed = NULL;
    struct batch_item m;

    _Static_assert(sizeof(struct abd_listed) <= 32, "less than 64 KiB in all");
    if (list.n != 0) {
        listed = heap_zalloc(a->heap, bytes);
        if (listed == NULL) {
            return ERR_ENCLAVE_MEMORY;
        }
    }
    clear_list(a);
    a->gc.listed = listed;
    a->gc.listed_bytes = list.n == 0 ? 0 : bytes;
    for (uint16_t i = 0; batch_list_next(&list, &m); i++) {
        listed[i] = (struct abd_listed){.tag = m.tag, .key_at = at, .key_len = (uint16_t)m.key.n};
        memcpy((uint8_t *)listed + at, m.key.p, m.key.n);
        at += (uint32_t)m.key.n;
        raise_floor(a, m.tag.ts);
        a->gc.listed_n++;
    }
    a->counters.listed = a->gc.listed_n;
    return OK;
}

/* ---- the steps of a round ---- */

static enum err drain(struct abd *a, const struct collect_ask *m)
{
    struct abd_gc *g = &a->gc;

    if (m->round == g->left_round && !abd_has_plant(a, ABD_PLANT_REJOIN_ROUND)) {
        return ERR_EPOCH; /* COL-8: its second barrier must not let us in again */
    }
    if (m->gc > g->stamp) {
        g->round = m->round;
        raise_stamp(a, m->gc);
    } else if (m->gc != g->stamp || m->round != g->round) {
        return ERR_EPOCH;
    }
    return g->old_n == 0 || abd_has_plant(a, ABD_PLANT_NO_BARRIER) ? OK : ERR_BUSY;
}

static enum collect_state state_of(struct abd *a, struct bytes key, struct tag tag)
{
    struct abd_rmw_item item;
    struct store_entry e;

    if (abd_find(a, key, &e) != OK) {
        return COLLECT_OTHER; /* ABD-20 */
    }
    if (tag_is_zero(e.tag)) {
        return COLLECT_ABSENT;
    }
    if (!e.tombstone || tag_compare(e.tag, tag) != 0) {
        return COLLECT_OTHER;
    }
    return abd_rmw_accepted(a, key, tag, &item) ? COLLECT_OPEN : COLLECT_HELD;
}

static enum err list(struct abd *a, const struct collect_ask *m)
{
    struct batch_list items = m->list;
    struct batch_item i;

    if (a->gc.gc == m->gc) {
        return OK; /* asked again */
    }
    if ((uint8_t)(a->up | a->self_bit) != a->all) {
        return ERR_BUSY; /* COL-8: or nobody might be left to end it */
    }
    if (!is_within(a, m->list)) {
        return ERR_EPOCH;
    }
    while (batch_list_next(&items, &i)) {
        if (!abd_tag_plausible(a, i.key, i.tag)) {
            return ERR_EPOCH;
        }
    }
    TRY(set_list(a, m->list));
    raise_gc(a, m->gc);
    a->gc.listed_round = m->round;
    a->gc.sealed = m->step == COLLECT_RELIST;
    return OK;
}

/* COL-6: of what is listed, removes what stands in `list` and unlists the others. Both are in
 * order. */
static enum err drop(struct abd *a, struct batch_list list)
{
    struct batch_item m;
    uint16_t kept = 0, at = 0;

    while (batch_list_next(&list, &m)) {
        bool removed = false;

        while (at < a->gc.listed_n && bytes_compare(listed_key(a, &a->gc.listed[at]), m.key) < 0) {
            at++;
        }
        if (at == a->gc.listed_n || !bytes_equal(listed_key(a, &a->gc.listed[at]), m.key) ||
            tag_compare(a->gc.listed[at].tag, m.tag) != 0) {
            continue;
        }
        if (store_remove(a->store, m.key, m.tag, &removed) == OK && removed) {
            abd_acceptor_forget(a, m.key);
            a->counters.collected++;
        }
        a->gc.listed[kept++] = a->gc.listed[at++];
    }
    a->gc.listed_n = kept;
    a->gc.sealed = a->gc.sealed && kept != 0;
    a->counters.listed = kept;
    return OK;
}

static enum err finish(struct abd *a, const struct collect_ask *m)
{
    raise_gc(a, m->gc > a->gc.gc ? m->gc : a->gc.gc);
    clear_list(a);
    return OK;
}

/* COL-8: the tombstones stand here again, and nothing is listed: this member's part of the round
 * has never been. Without memory it stays as it is. */
void abd_gc_restore(struct abd *a, struct abd_out *out)
{
    struct abd_gc *g = &a->gc;

    if (g->listed_n == 0 || g->sealed) {
        return;
    }
    g->left_round = g->round != 0 ? g->round : g->left_round; /* 0: it wanted memory before */
    g->round = 0; /* a SEAL that is still on its way finds nobody */
    for (uint16_t i = 0; i < g->listed_n; i++) {
        enum err err;
        bool applied;

        do {
            err = store_apply(a->store, listed_key(a, &g->listed[i]), g->listed[i].tag, true,
                              (struct bytes){0}, &applied);
        } while ((err == ERR_ENCLAVE_MEMORY || err == ERR_HOST_MEMORY) && abd_relieve(a, out));
        if (err != OK && err != ERR_LOST) {
            return;
        }
    }
    clear_list(a);
}

enum err abd_gc_step(struct abd *a, const struct collect_ask *m, struct abd_out *out)
{
    struct abd_gc *g = &a->gc;
    bool drained = g->old_n == 0 || abd_has_plant(a, ABD_PLANT_NO_BARRIER);

    if (m->step == COLLECT_DRAIN) {
        return drain(a, m);
    }
    if (m->step == COLLECT_CANCEL && m->round == g->round) {
        abd_gc_restore(a, out);
        g->round = 0;
        return OK;
    }
    if (m->round != g->round || m->gc != g->stamp) {
        return ERR_EPOCH; /* another round, or the next barrier of this one: too late */
    }
    switch (m->step) {
    case COLLECT_LIST:
    case COLLECT_RELIST:
        return drained ? list(a, m) : ERR_BUSY;
    case COLLECT_DROP:
        return g->gc == m->gc ? drop(a, m->list) : ERR_EPOCH;
    case COLLECT_SEAL:
        g->sealed = drained;
        return drained ? OK : ERR_BUSY;
    case COLLECT_FINISH:
        return drained ? finish(a, m) : ERR_BUSY;
    case COLLECT_CANCEL:
    case COLLECT_DRAIN:
    case COLLECT_STEPS_END:
    default:
        return ERR_EPOCH;
    }
}

void abd_gc_reconfigure(struct abd *a, struct abd_out *out)
{
    abd_gc_restore(a, out);
    a->gc.round = a->gc.left_round = 0;
    a->gc.listed_round = 0; /* COL-8: who asks next is told of the list */
}

void abd_gc_fini(struct abd *a)
{
    clear_list(a);
}

/* ---- answers ---- */

static size_t listed_len(const struct abd *a)
{
    size_t n = 0;

    for (uint16_t i = 0; i < a->gc.listed_n; i++) {
        struct batch_item m = {.key = listed_key(a, &a->gc.listed[i])};

        n += batch_item_len(BATCH_LOOK, &m);
    }
    return n;
}

static void put_listed(const struct abd *a, struct writer *w)
{
    for (uint16_t i = 0; i < a->gc.listed_n; i++) {
        struct batch_item m = {.tag = a->gc.listed[i].tag, .key = listed_key(a, &a->gc.listed[i])};

        batch_item_put(w, BATCH_LOOK, &m);
    }
}

RESULT abd_gc_answer(struct abd *a, const struct collect_ask *m, struct abd_out *out,
                     struct mbytes *ret)
{
    struct collect_answer answer = {.status = abd_gc_step(a, m, out), .gc = a->gc.stamp};
    bool from_before = m->step == COLLECT_DRAIN && a->gc.listed_round != m->round;
    struct batch_list list = m->list;
    struct writer w = {.to.n = COLLECT_ANSWER_HEAD};
    struct batch_item i;
    uint16_t n = 0;

    if (answer.status == OK && from_before) {
        n = a->gc.listed_n;
        w.to.n += listed_len(a);
    } else if (answer.status == OK && collect_step_lists(m->step)) {
        n = m->list.n;
        w.to.n += n;
    }
    w.to.p = abd_alloc(a, w.to.n, out);
    if (w.to.p == NULL) {
        return ERR_ENCLAVE_MEMORY;
    }
    collect_answer_put_head(&w, &answer, n);
    if (n != 0 && from_before) {
        put_listed(a, &w);
    }
    while (n != 0 && collect_step_lists(m->step) && batch_list_next(&list, &i)) {
        put_u8(&w, (uint8_t)state_of(a, i.key, i.tag));
    }
    CHECK(!w.failed && w.len == w.to.n);
    *ret = w.to;
    return OK;
}

void abd_gc_on_ask(struct abd *a, const struct peer_ask *ask, struct abd_out *out)
{
    struct collect_ask m;
    struct mbytes body;
    enum err err = collect_ask_decode(ask->value, &m);

    if (err == OK) {
        err = abd_gc_answer(a, &m, out, &body);
    }
    if (err != OK) {
        abd_refuse(out, err);
        return;
    }
    abd_lend(a, body.p, body.n);
    out->answer = (struct peer_answer){.kind = PEER_COLLECTED, .value = {body.p, body.n}};
}

/* ---- copying (COL-9) ---- */

uint32_t abd_gc_epoch(const struct abd *a)
{
    return a->gc.gc;
}

uint32_t abd_copy_asked(struct abd *a)
{
    return abd_flight_enter(a);
}

void abd_copy_ended(struct abd *a, uint32_t stamp)
{
    abd_flight_leave(a, stamp);
}

size_t abd_gc_export_len(const struct abd *a)
{
    return COLLECT_COPY_HEAD + listed_len(a);
}

void abd_gc_export(const struct abd *a, struct writer *w)
{
    const struct collect_copy m = {.gc = a->gc.gc, .stamp = a->gc.stamp, .floor = a->gc.floor};

    collect_copy_put_head(w, &m, a->gc.listed_n);
    put_listed(a, w);
}

/* What is listed here and what is listed there: an import adds to an empty list or finds the same
 * one, for a round lists nothing new before what is left of an older one is gone (COL-8). */
RESULT abd_gc_import(struct abd *a, struct bytes page)
{
    struct collect_copy m;

    TRY(collect_copy_decode(page, &m));
    if (m.gc >= a->gc.gc && m.list.n != 0 && is_within(a, m.list)) {
        TRY(set_list(a, m.list));
        a->gc.sealed = true; /* perhaps it is there */
    }
    if (m.stamp > a->gc.stamp) {
        a->gc.round = 0;
        raise_stamp(a, m.stamp);
    }
    if (m.gc > a->gc.gc) {
        raise_gc(a, m.gc);
    }
    raise_floor(a, m.floor);
    return OK;
}

RESULT abd_copy_in(struct abd *a, const struct abd_copied *m, bool *ret_applied)
{
    if (abd_gc_is_dead(a, m->key, m->tag)) {
        *ret_applied = false;
        return OK;
    }
    return store_apply(a->store, m->key, m->tag, m->tombstone, m->value, ret_applied);
}
