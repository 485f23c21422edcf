// SPDX-License-Identifier: Apache-2.0
#include "trusted/abd/abd_collect.h"

#include "common/check.h"

_Static_assert(BATCHES_MAX <= 1 << ABD_ROUND_SHIFT, "a place fits below the round");

/* ---- memory ---- */

RESULT abd_buffer_room(struct abd *a, struct abd_buffer *b, size_t n, struct abd_out *out)
{
    size_t cap = b->cap;
    uint8_t *p;

    CHECK(n <= MESSAGE_MAX && b->n <= UINT32_MAX / 4);
    if (n <= b->cap - b->n) {
        return OK;
    }
    cap = cap + cap / 2 > b->n + n ? cap + cap / 2 : b->n + n;
    p = abd_alloc(a, cap, out);
    if (p == NULL) {
        return ERR_ENCLAVE_MEMORY;
    }
    if (b->n != 0) {
        memcpy(p, b->p, b->n);
    }
    heap_free(a->heap, b->p, b->cap);
    b->p = p;
    b->cap = (uint32_t)cap;
    return OK;
}

static void buffer_free(struct abd *a, struct abd_buffer *b)
{
    heap_free(a->heap, b->p, b->cap);
    *b = (struct abd_buffer){0};
}

RESULT abd_batch_add(struct abd *a, struct abd_batch *b, struct bytes key, struct abd_out *out,
                     struct abd_item **ret)
{
    if (b->items_n == b->items_cap) {
        uint32_t cap = b->items_cap == 0 ? 32 : 2 * b->items_cap;
        struct abd_item *items = abd_alloc(a, cap * sizeof(*items), out);

        if (items == NULL) {
            return ERR_ENCLAVE_MEMORY;
        }
        if (b->items_n != 0) {
            memcpy(items, b->items, b->items_n * sizeof(*items));
        }
        heap_free(a->heap, b->items, b->items_cap * sizeof(*items));
        b->items = items;
        b->items_cap = cap;
    }
    TRY(abd_buffer_room(a, &b->bytes, key.n, out));
    *ret = &b->items[b->items_n++];
    **ret = (struct abd_item){.key_at = b->bytes.n, .key_len = (uint16_t)key.n, .readable = true};
    memcpy(b->bytes.p + b->bytes.n, key.p, key.n);
    b->bytes.n += (uint32_t)key.n;
    return OK;
}

/* ---- places ---- */

static void batch_give(struct abd *a, struct abd_batch *b)
{
    CHECK(b->outstanding == 0);
    if (b->kind != BATCH_KIND_COLLECT) {
        abd_flight_leave(a, b->gc);
    }
    a->batches[b->place] = NULL;
    a->batches_n--;
    buffer_free(a, &b->bytes);
    buffer_free(a, &b->body);
    heap_free(a->heap, b->items, b->items_cap * sizeof(*b->items));
    heap_free(a->heap, b, sizeof(*b));
}

static void batch_cancel(struct abd *a, struct abd_batch *b, struct abd_out *out)
{
    for (uint8_t peer = 0; b->outstanding != 0 && peer < a->config.members_n; peer++) {
        if ((b->outstanding & abd_bit(peer)) != 0) {
            abd_out_cancel(out, peer, b->cookie);
        }
    }
    b->outstanding = 0;
}

bool abd_batch_relieve(struct abd *a, struct abd_out *out)
{
    struct abd_batch *oldest = NULL;

    for (uint32_t i = 0; a->batches_n != 0 && i < BATCHES_MAX; i++) {
        struct abd_batch *b = a->batches[i];

        if (b != NULL && b->phase == BATCH_TAIL &&
            (oldest == NULL || b->expires_at_ns < oldest->expires_at_ns)) {
            oldest = b;
        }
    }
    if (oldest == NULL || out->cancels_n + a->config.members_n - 1U > ABD_CANCELS_MAX) {
        return false;
    }
    batch_cancel(a, oldest, out);
    batch_give(a, oldest);
    return true;
}

RESULT abd_batch_take(struct abd *a, uint64_t expires_at_ns, struct abd_out *out,
                      struct abd_batch **ret)
{
    struct abd_batch *b;
    uint8_t place = 0;

    if (a->batches_n == BATCHES_MAX && !abd_batch_relieve(a, out)) {
        return ERR_BUSY;
    }
    b = abd_alloc(a, sizeof(*b), out);
    if (b == NULL) {
        return ERR_ENCLAVE_MEMORY;
    }
    while (a->batches[place] != NULL) {
        place++;
    }
    memset(b, 0, offsetof(struct abd_batch, low));
    b->place = place;
    b->cookie = ABD_COOKIE_BATCH | ++a->generation << ABD_GENERATION_SHIFT | place;
    b->expires_at_ns = expires_at_ns;
    b->hedge_at_ns = b->retry_at_ns = ABD_NEVER;
    b->group = a->voters;
    b->need = a->majority;
    b->gc = abd_flight_enter(a);
    a->batches[place] = b;
    a->batches_n++;
    *ret = b;
    return OK;
}

void abd_batch_fini(struct abd *a)
{
    for (uint32_t i = 0; i < BATCHES_MAX; i++) {
        if (a->batches[i] != NULL) {
            a->batches[i]->outstanding = 0;
            batch_give(a, a->batches[i]);
        }
    }
}

/* ---- rounds ---- */

static uint8_t peers_of(const struct abd *a, const struct abd_batch *b)
{
    return (uint8_t)(b->group & ~(unsigned)a->self_bit);
}

/* PUSH goes to those who lack something that is not decided. */
static uint8_t lacking(const struct abd *a, const struct abd_batch *b)
{
    unsigned lack = 0;

    for (uint32_t i = 0; i < b->items_n; i++) {
        if (b->items[i].asked) {
            lack |= ~(unsigned)(b->items[i].holders | b->items[i].refused);
        }
    }
    lack &= b->kind == BATCH_KIND_SYNC ? b->group : a->all;
    return (uint8_t)(lack & ~(unsigned)a->self_bit);
}

static uint8_t wanted(const struct abd *a, const struct abd_batch *b)
{
    unsigned set = b->wide ? peers_of(a, b) : b->chosen;

    if (b->phase == BATCH_PUSH_ROUND) {
        set = lacking(a, b);
    }
    return (uint8_t)(set & ~(unsigned)b->answered);
}

bool abd_batch_exhausted(const struct abd *a, const struct abd_batch *b)
{
    return b->wide && (peers_of(a, b) & ~(unsigned)b->answered) == 0;
}

void abd_batch_widen(struct abd_batch *b)
{
    b->wide = true;
    b->hedge_at_ns = ABD_NEVER;
}

static enum peer_ask_kind question(const struct abd_batch *b)
{
    switch ((enum abd_batch_phase)b->phase) {
    case BATCH_COLLECT:
        return PEER_RANGE;
    case BATCH_TAGS_ROUND:
        return PEER_TAGS;
    case BATCH_LOOK_ROUND:
        return PEER_LOOK;
    case BATCH_COLLECT_ROUND:
        return PEER_COLLECT;
    case BATCH_PUSH_ROUND:
    case BATCH_TAIL:
    case BATCH_FREE:
    default:
        return PEER_PUSH;
    }
}

void abd_batch_pursue(struct abd *a, struct abd_batch *b, struct abd_out *out)
{
    uint8_t set;

    if (b->phase != BATCH_PUSH_ROUND && !b->wide &&
        (b->chosen & ~(unsigned)(b->answered | a->up)) != 0) {
        abd_batch_widen(b); /* ABD-15: one of the few went down */
    }
    set = (uint8_t)(wanted(a, b) & a->up & ~(unsigned)(b->failed | b->outstanding));
    for (uint8_t peer = 0; set != 0 && peer < a->config.members_n; peer++) {
        if ((set & abd_bit(peer)) != 0) {
            CHECK(out->calls_n < ABD_CALLS_MAX);
            out->calls[out->calls_n++] = (struct abd_call){
                .peer = peer,
                .cookie = b->cookie,
                .ask = {.kind = question(b), .gc = b->gc, .value = {b->body.p, b->body.n}}};
            b->outstanding |= abd_bit(peer);
            b->repeated |= b->asked & abd_bit(peer);
            b->asked |= abd_bit(peer);
            set = (uint8_t)(set & ~abd_bit(peer));
        }
    }
}

/* Takes up to `need` of the set, by turns. Returns how many are wanting. */
static uint8_t choose_among(struct abd *a, struct abd_batch *b, uint8_t set, uint8_t need)
{
    for (uint8_t i = 0; need > 0 && i < a->config.members_n; i++) {
        uint8_t bit = abd_bit((uint8_t)((a->rotor + i) % a->config.members_n));

        if ((set & ~(unsigned)b->chosen & bit) != 0) {
            b->chosen |= bit;
            need--;
        }
    }
    return need;
}

/* ABD-15: as few as decide, the fast ones first. */
static void choose(struct abd *a, struct abd_batch *b)
{
    uint8_t need = (uint8_t)(b->need - ((b->group & a->self_bit) != 0));
    uint8_t can = (uint8_t)(peers_of(a, b) & a->up);

    b->chosen = 0;
    need = choose_among(a, b, (uint8_t)(can & abd_pace_preferred(a)), need);
    need = choose_among(a, b, can, need);
    a->rotor = (uint8_t)((a->rotor + 1) % a->config.members_n);
    b->wide = need > 0 || a->config.hedge_ns == 0;
    b->hedge_at_ns = ABD_NEVER;
    if (!b->wide && b->chosen != 0 && a->pace.hedge.delay_ns < ABD_NEVER - a->now_ns) {
        b->hedge_at_ns = a->now_ns + a->pace.hedge.delay_ns;
    }
}

void abd_batch_enter(struct abd *a, struct abd_batch *b, enum abd_batch_phase phase,
                     struct abd_out *out)
{
    batch_cancel(a, b, out);
    if (++b->round == 1 << (ABD_GENERATION_SHIFT - ABD_ROUND_SHIFT)) {
        b->round = 0; /* the bits for rounds are used up: go on under another generation */
        b->cookie = ABD_COOKIE_BATCH | ++a->generation << ABD_GENERATION_SHIFT;
    }
    b->cookie = (b->cookie >> ABD_GENERATION_SHIFT << ABD_GENERATION_SHIFT) |
                (uint64_t)b->round << ABD_ROUND_SHIFT | b->place;
    b->phase = (uint8_t)phase;
    b->asked = b->repeated = b->answered = b->failed = 0;
    b->retry_at_ns = ABD_NEVER;
    b->body.n = 0;
    choose(a, b);
}

/* ---- the end ---- */

void abd_batch_linger(struct abd *a, struct abd_batch *b)
{
    if (b->outstanding == 0) {
        batch_give(a, b);
        return;
    }
    b->phase = BATCH_TAIL;
    b->expires_at_ns = a->now_ns + ABD_TAIL_NS;
    b->hedge_at_ns = b->retry_at_ns = ABD_NEVER;
    buffer_free(a, &b->bytes);
}

/* Calls of PUSH go on for a while, so that slow replicas converge (ABD-14). */
static void batch_end(struct abd *a, struct abd_batch *b, struct abd_out *out)
{
    if (b->phase == BATCH_PUSH_ROUND) {
        abd_batch_linger(a, b);
        return;
    }
    batch_cancel(a, b, out);
    batch_give(a, b);
}

void abd_batch_reply(struct abd *a, struct abd_batch *b, struct mbytes body, struct abd_out *out)
{
    abd_reply_now(a, b->user, OK, out);
    out->reply.response.value = (struct bytes){.p = body.p, .n = body.n};
    batch_end(a, b, out);
}

void abd_batch_drop(struct abd *a, struct abd_batch *b, struct abd_out *out)
{
    batch_cancel(a, b, out);
    batch_give(a, b);
}

void abd_batch_fail(struct abd *a, struct abd_batch *b, enum err why, struct abd_out *out)
{
    if (b->kind == BATCH_KIND_SYNC) {
        abd_sync_failed(a, b, out);
        return;
    }
    if (b->kind == BATCH_KIND_COLLECT) {
        abd_collect_failed(a, b, out);
        return;
    }
    abd_reply_now(a, b->user, why, out);
    batch_end(a, b, out);
}

/* ---- answers ---- */

static void no_vote(struct abd *a, struct abd_batch *b, uint8_t bit, struct abd_out *out)
{
    if (b->kind == BATCH_KIND_SYNC) {
        abd_batch_fail(a, b, ERR_UNAVAILABLE, out); /* SYNC-6: there are other peers */
        return;
    }
    b->failed |= bit;
    abd_batch_widen(b);
    if ((a->up & bit) != 0 && b->retry_at_ns == ABD_NEVER) {
        b->retry_at_ns = a->now_ns + ABD_RETRY_NS;
    }
    abd_batch_pursue(a, b, out);
}

static struct abd_batch *batch_of(struct abd *a, uint64_t cookie)
{
    uint32_t place = (uint32_t)(cookie & ((1U << ABD_ROUND_SHIFT) - 1));
    struct abd_batch *b = place < BATCHES_MAX ? a->batches[place] : NULL;

    return b != NULL && b->cookie == cookie ? b : NULL;
}

static bool take_answer(struct abd *a, struct abd_batch *b, uint8_t bit,
                        const struct peer_answer *m, struct abd_out *out)
{
    switch ((enum abd_batch_phase)b->phase) {
    case BATCH_COLLECT:
        return (m->kind == PEER_SAME || m->kind == PEER_LISTED) &&
               abd_scan_answer(a, b, bit, m, out);
    case BATCH_TAGS_ROUND:
        return m->kind == PEER_TAGGED && abd_look_answer(a, b, bit, m, out);
    case BATCH_LOOK_ROUND:
        return m->kind == PEER_LOOKED && abd_look_answer(a, b, bit, m, out);
    case BATCH_PUSH_ROUND:
        return m->kind == PEER_PUSHED && abd_look_answer(a, b, bit, m, out);
    case BATCH_COLLECT_ROUND:
        return abd_collect_answer(a, b, bit, m, out);
    case BATCH_TAIL:
    case BATCH_FREE:
    default:
        return true;
    }
}

void abd_batch_on_answer(struct abd *a, const struct abd_in *in, struct abd_out *out)
{
    struct abd_batch *b = batch_of(a, in->cookie);
    uint8_t bit = abd_bit(in->peer);

    if (b == NULL || (b->outstanding & bit) == 0) {
        return; /* ABD-8: late, counted already, or never asked */
    }
    b->outstanding = (uint8_t)(b->outstanding & ~bit);
    if ((b->repeated & bit) != 0) {
        abd_out_cancel(out, in->peer, in->cookie); /* as in abd_on_answer */
    }
    if (b->phase == BATCH_TAIL) {
        if (b->outstanding == 0) {
            batch_give(a, b);
        }
    } else if (!take_answer(a, b, bit, in->answer, out)) {
        no_vote(a, b, bit, out);
    }
}

void abd_batch_on_call_failed(struct abd *a, const struct abd_in *in, struct abd_out *out)
{
    struct abd_batch *b = batch_of(a, in->cookie);
    uint8_t bit = abd_bit(in->peer);

    if (b == NULL || (b->outstanding & bit) == 0) {
        return;
    }
    b->outstanding = (uint8_t)(b->outstanding & ~bit);
    if (b->phase != BATCH_TAIL) {
        no_vote(a, b, bit, out);
    } else if (b->outstanding == 0) {
        batch_give(a, b);
    }
}

/* ---- time ---- */

static uint64_t due_of(const struct abd_batch *b)
{
    uint64_t at = b->expires_at_ns;

    at = b->hedge_at_ns < at ? b->hedge_at_ns : at;
    return b->retry_at_ns < at ? b->retry_at_ns : at;
}

uint64_t abd_batch_deadline(const struct abd *a)
{
    uint64_t at = ABD_NEVER;

    for (uint32_t i = 0, seen = 0; seen < a->batches_n; i++) {
        if (a->batches[i] != NULL) {
            uint64_t due = due_of(a->batches[i]);

            at = due < at ? due : at;
            seen++;
        }
    }
    return at;
}

/* ABD-10, key by key: what was pushed may prevail; everything else had no effect. */
static void expire(struct abd *a, struct abd_batch *b, struct abd_out *out)
{
    bool pushed = b->phase == BATCH_PUSH_ROUND;
    bool is_scan = b->kind == BATCH_KIND_SCAN;

    if (b->phase == BATCH_TAIL) {
        batch_cancel(a, b, out);
        batch_give(a, b);
        return;
    }
    if (!pushed && !(is_scan && b->phase == BATCH_LOOK_ROUND)) {
        abd_batch_fail(a, b, ERR_UNAVAILABLE, out);
        return;
    }
    for (uint32_t i = 0; i < b->items_n; i++) {
        if (!b->items[i].closed) {
            b->items[i].closed = true;
            b->items[i].status = b->kind == BATCH_KIND_MPUT ? ERR_INDETERMINATE : ERR_UNAVAILABLE;
        }
    }
    abd_batch_finish(a, b, out);
}

bool abd_batch_serve(struct abd *a, struct abd_out *out)
{
    for (uint32_t i = 0; i < BATCHES_MAX; i++) {
        struct abd_batch *b = a->batches[i];

        if (b == NULL || due_of(b) > a->now_ns) {
            continue;
        }
        if (b->expires_at_ns <= a->now_ns) {
            expire(a, b, out);
            return true;
        }
        if (b->hedge_at_ns <= a->now_ns) {
            a->counters.hedges++;
            abd_batch_widen(b);
        } else {
            b->retry_at_ns = ABD_NEVER;
            b->failed = 0;
        }
        abd_batch_pursue(a, b, out);
        if (b->kind == BATCH_KIND_COLLECT) {
            abd_collect_poll(a, b, out);
        }
        return true;
    }
    return false;
}

void abd_batch_reconfigure(struct abd *a)
{
    for (uint32_t i = 0; i < BATCHES_MAX; i++) {
        struct abd_batch *b = a->batches[i];

        if (b != NULL) {
            CHECK(b->outstanding == 0);
            b->stale = true;
            if (b->phase == BATCH_TAIL) {
                batch_give(a, b);
            }
        }
    }
}

/* A write that stands here goes on with its tags. Anything else has done nothing yet: the client
 * asks again, under the new configuration. */
static void restart(struct abd *a, struct abd_batch *b, struct abd_out *out)
{
    b->stale = false;
    b->group = a->voters;
    b->need = a->majority;
    if (b->phase == BATCH_PUSH_ROUND && b->kind != BATCH_KIND_SYNC &&
        b->kind != BATCH_KIND_COLLECT) {
        abd_push_again(a, b, out);
    } else {
        abd_batch_fail(a, b, ERR_EPOCH, out);
    }
}

void abd_batch_sweep(struct abd *a, uint32_t place, struct abd_out *out)
{
    struct abd_batch *b = a->batches[place];

    if (b != NULL && b->stale) {
        restart(a, b, out);
    } else if (b != NULL && b->kind == BATCH_KIND_COLLECT && abd_collect_is_cut(a, b)) {
        abd_batch_fail(a, b, ERR_UNAVAILABLE, out);
    } else if (b != NULL && b->phase != BATCH_TAIL) {
        b->failed = (uint8_t)(b->failed & ~a->sweep_clear);
        abd_batch_pursue(a, b, out);
    }
}

/* ---- requests ---- */

void abd_batch_on_request(struct abd *a, const struct abd_in *in, struct abd_out *out)
{
    const struct client_request *r = in->request;
    struct abd_batch *b = NULL;
    enum err err = abd_batch_take(a, a->now_ns + r->timeout_ms * UINT64_C(1000000), out, &b);

    if (err != OK) {
        abd_reply_now(a, in->user, err, out);
        return;
    }
    b->user = in->user;
    if (r->op == CLIENT_SCAN) {
        err = abd_scan_start(a, b, r->value, out);
    } else if (r->op == CLIENT_MGET) {
        err = abd_mget_start(a, b, r->value, out);
    } else {
        err = abd_mput_start(a, b, r->value, out);
    }
    /* After a failure nothing was answered yet. */
    if (err != OK) {
        abd_batch_fail(a, b, err, out);
    }
}
