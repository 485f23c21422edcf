// SPDX-License-Identifier: Apache-2.0
#include "common/check.h"
#include "common/siphash.h"
#include "trusted/abd/abd_rmw.h"

/*
 * The acceptor's half of read-modify-write: records of instances of Paxos (RMW-2), and floors of
 * promises that were forgotten.
 */

struct record {
    struct record *next;          /* of the same head */
    struct record *older, *newer; /* in order of last use */
    struct tag base;
    uint64_t promised;
    uint64_t ballot; /* accepted; 0: nothing */
    struct rmw_id op;
    uint8_t *value;
    uint32_t value_len;
    uint32_t hash;
    uint16_t key_len;
    bool tombstone;
    uint8_t key[];
};

struct abd_acceptor {
    struct record *heads[ABD_RECORD_HEADS];
    struct record *oldest, *newest;
    uint64_t floors[ABD_FLOORS];
};

/* ---- life ---- */

RESULT abd_acceptor_need(struct abd *a)
{
    TRY(abd_memory_init(a));
    if (a->acceptor == NULL) {
        a->acceptor = heap_zalloc(a->heap, sizeof(*a->acceptor));
    }
    return a->acceptor == NULL ? ERR_ENCLAVE_MEMORY : OK;
}

static void set_value(struct abd *a, struct record *r, uint8_t *value, uint32_t n)
{
    heap_free(a->heap, r->value, r->value_len);
    r->value = value;
    r->value_len = n;
}

static void unlink_age(struct abd_acceptor *q, struct record *r)
{
    *(r->older == NULL ? &q->oldest : &r->older->newer) = r->newer;
    *(r->newer == NULL ? &q->newest : &r->newer->older) = r->older;
}

static void make_newest(struct abd_acceptor *q, struct record *r)
{
    r->older = q->newest;
    r->newer = NULL;
    *(q->newest == NULL ? &q->oldest : &q->newest->newer) = r;
    q->newest = r;
}

static void drop(struct abd *a, struct record *r)
{
    struct record **at = &a->acceptor->heads[r->hash % ABD_RECORD_HEADS];

    while (*at != r) {
        at = &(*at)->next;
    }
    *at = r->next;
    unlink_age(a->acceptor, r);
    set_value(a, r, NULL, 0);
    heap_free(a->heap, r, sizeof(*r) + r->key_len);
    a->counters.rmw_records--;
}

void abd_acceptor_fini(struct abd *a)
{
    struct abd_acceptor *q = a->acceptor;

    abd_memory_fini(a);
    if (q == NULL) {
        return;
    }
    while (q->oldest != NULL) {
        drop(a, q->oldest);
    }
    heap_free(a->heap, q, sizeof(*q));
}

/* ---- records ---- */

/* Keyed, so that nobody outside can aim at one head. */
uint32_t abd_key_hash(const struct abd *a, struct bytes key)
{
    uint8_t seed[SIPHASH_KEY_LEN] = {0};

    memcpy(seed, &a->config.seed, sizeof(a->config.seed));
    return (uint32_t)siphash(seed, key);
}

static struct record *find(const struct abd *a, struct bytes key, uint32_t hash)
{
    struct record *r = a->acceptor->heads[hash % ABD_RECORD_HEADS];

    while (r != NULL &&
           (r->hash != hash || !bytes_equal((struct bytes){r->key, r->key_len}, key))) {
        r = r->next;
    }
    return r;
}

static uint64_t *floor_of(const struct abd *a, uint32_t hash)
{
    return &a->acceptor->floors[hash / ABD_RECORD_HEADS % ABD_FLOORS];
}

/* RMW-5: forgets a promise, which lives on as a floor. */
static void fold(const struct abd *a, const struct record *r)
{
    uint64_t *floor = floor_of(a, r->hash);

    *floor = r->promised > *floor ? r->promised : *floor;
}

void abd_acceptor_forget(struct abd *a, struct bytes key)
{
    struct record *r = a->acceptor == NULL ? NULL : find(a, key, abd_key_hash(a, key));

    if (r != NULL) {
        fold(a, r); /* the tombstone may come back (COL-8), and so may this instance */
        drop(a, r);
    }
}

/* A record goes when its instance is closed here (RMW-3), or when it holds nothing but a promise.
 */
static bool may_drop(struct abd *a, const struct record *r)
{
    struct store_entry e;

    if (abd_find(a, (struct bytes){r->key, r->key_len}, &e) == OK &&
        tag_compare(e.tag, r->base) > 0) {
        return true;
    }
    if (r->ballot == 0) {
        fold(a, r);
        return true;
    }
    return false;
}

/* Two looks at the oldest for each new one: what can go goes, the others stand in line again. */
static void tidy(struct abd *a)
{
    for (int i = 0; i < 2 && a->counters.rmw_records > ABD_RECORDS_SOFT; i++) {
        struct record *r = a->acceptor->oldest;

        if (may_drop(a, r)) {
            drop(a, r);
        } else {
            unlink_age(a->acceptor, r);
            make_newest(a->acceptor, r);
        }
    }
}

static RESULT create(struct abd *a, struct bytes key, uint32_t hash, struct tag base,
                     struct record **ret)
{
    struct record *r;

    tidy(a);
    if (a->counters.rmw_records >= ABD_RECORDS_MAX) {
        return ERR_BUSY;
    }
    r = heap_zalloc(a->heap, sizeof(*r) + key.n);
    if (r == NULL) {
        return ERR_ENCLAVE_MEMORY;
    }
    r->hash = hash;
    r->base = base;
    r->promised = *floor_of(a, hash);
    r->key_len = (uint16_t)key.n;
    memcpy(r->key, key.p, key.n);
    r->next = a->acceptor->heads[hash % ABD_RECORD_HEADS];
    a->acceptor->heads[hash % ABD_RECORD_HEADS] = r;
    make_newest(a->acceptor, r);
    a->counters.rmw_records++;
    *ret = r;
    return OK;
}

/* RMW-3: the record of the instance, made when there is none. The key's tag is the base here, so
 * that a record of any other base is dead. */
static RESULT open_instance(struct abd *a, struct bytes key, struct tag base, struct record **ret)
{
    uint32_t hash = abd_key_hash(a, key);
    struct record *r = find(a, key, hash);

    if (r != NULL && tag_compare(r->base, base) != 0) {
        drop(a, r);
        r = NULL;
    }
    if (r == NULL) {
        return create(a, key, hash, base, ret);
    }
    unlink_age(a->acceptor, r);
    make_newest(a->acceptor, r);
    *ret = r;
    return OK;
}

/* ---- the questions ---- */

static void closed(struct abd *a, uint8_t from, const struct peer_ask *ask,
                   const struct store_entry *e, struct abd_out *out, struct peer_answer *ret)
{
    struct bytes value;

    ret->instance = PEER_CLOSED;
    ret->tag = e->tag;
    abd_recall(a, ask->op, ask->tag, ret);
    if (from == a->config.self || ask->kind != PEER_PREPARE) {
        return;
    }
    if (e->tombstone) {
        ret->value_given = ret->tombstone = true;
    } else if (abd_read_lent(a, ask->key, e, &value, out) == OK) {
        ret->value_given = true;
        ret->value = value;
    }
}

static void on_prepare(struct record *r, const struct peer_ask *ask, bool readable,
                       struct peer_answer *ret)
{
    if (ask->ballot < r->promised) {
        ret->instance = PEER_OUTBID;
        ret->ballot = r->promised;
        return;
    }
    r->promised = ask->ballot;
    ret->instance = PEER_PROMISED;
    ret->holds_base = readable;
    if (r->ballot != 0) {
        ret->ballot = r->ballot;
        ret->op = r->op;
        ret->value_given = true;
        ret->tombstone = r->tombstone;
        ret->value = (struct bytes){.p = r->value_len == 0 ? NULL : r->value, .n = r->value_len};
    }
}

static RESULT apply_decided(struct abd *a, const struct peer_ask *ask, bool tombstone,
                            struct bytes value, struct abd_out *out)
{
    bool applied;

    return abd_keep(a, ask->key, abd_successor(ask->tag), tombstone, value, &applied, out);
}

/* RMW-18: it was decided here, by this replica's own voice. Without room the asker commits it. */
static void apply_at_once(struct abd *a, struct record *r, const struct peer_ask *ask,
                          struct abd_out *out, struct peer_answer *ret)
{
    if (apply_decided(a, ask, ask->tombstone, ask->value, out) == OK) {
        abd_remember(a, ask->op, ask->tag, false, true);
        drop(a, r);
        ret->committed = true;
    }
}

static RESULT on_accept(struct abd *a, uint8_t from, struct record *r, const struct peer_ask *ask,
                        struct abd_out *out, struct peer_answer *ret)
{
    uint8_t *copy = NULL;

    if (ask->ballot < r->promised) {
        ret->instance = PEER_OUTBID;
        ret->ballot = r->promised;
        return OK;
    }
    TRY(abd_memory_need(a, ask->op));
    if (ask->value.n != 0) {
        copy = abd_alloc(a, ask->value.n, out);
        if (copy == NULL) {
            return ERR_ENCLAVE_MEMORY;
        }
        memcpy(copy, ask->value.p, ask->value.n);
    }
    set_value(a, r, copy, (uint32_t)ask->value.n);
    r->promised = r->ballot = ask->ballot;
    r->op = ask->op;
    r->tombstone = ask->tombstone;
    abd_remember(a, ask->op, ask->tag, from != ask->op.owner, false);
    ret->instance = PEER_ACCEPTED;
    if (ask->decides && a->majority == 2 && from < NODES_MAX && (a->voters & abd_bit(from)) != 0) {
        apply_at_once(a, r, ask, out, ret);
    }
    return OK;
}

/* RMW-6 */
static RESULT on_commit(struct abd *a, const struct peer_ask *ask, struct abd_out *out)
{
    struct record *r = find(a, ask->key, abd_key_hash(a, ask->key));
    bool is_ours = r != NULL && tag_compare(r->base, ask->tag) == 0;
    struct store_entry e;

    TRY(abd_memory_need(a, ask->op));
    if (ask->value_given) {
        TRY(apply_decided(a, ask, ask->tombstone, ask->value, out));
    } else if (is_ours && r->ballot != 0 && rmw_id_equal(r->op, ask->op)) {
        TRY(apply_decided(a, ask, r->tombstone, (struct bytes){r->value, r->value_len}, out));
    } else {
        TRY(abd_find(a, ask->key, &e));
        if (tag_compare(e.tag, ask->tag) <= 0) {
            return ERR_MISMATCH;
        }
    }
    abd_remember(a, ask->op, ask->tag, false, true);
    if (is_ours) {
        drop(a, r);
    }
    return OK;
}

static RESULT on_question(struct abd *a, uint8_t from, const struct peer_ask *ask,
                          struct abd_out *out, struct peer_answer *ret)
{
    struct store_entry e;
    struct record *r;
    int c;

    TRY(abd_acceptor_need(a));
    if (!abd_is_rmw_id(a, ask->op) || !abd_ballot_is_of(ask->ballot, a->config.epoch) ||
        !abd_has_successor(ask->tag) || ask->value.n > a->config.value_max) {
        return ERR_MALFORMED;
    }
    if (!abd_tag_plausible(a, ask->key, ask->tag) ||
        (ask->kind != PEER_COMMIT && (a->voters & a->self_bit) == 0 && from != a->config.self)) {
        return ERR_POLICY; /* who has no vote promises and accepts nothing (RMW-15) */
    }
    if (ask->kind == PEER_COMMIT) {
        *ret = (struct peer_answer){.kind = PEER_APPLIED};
        return on_commit(a, ask, out);
    }
    if (abd_gc_is_listed(a, ask->key)) {
        return ERR_BUSY; /* COL-5 */
    }
    TRY(abd_find(a, ask->key, &e));
    c = tag_compare(e.tag, ask->tag);
    if (c < 0) {
        return ERR_MISMATCH; /* RMW-3: the asker sends the base first */
    }
    *ret = (struct peer_answer){.kind = PEER_INSTANCE};
    if (c > 0) {
        closed(a, from, ask, &e, out, ret);
        return OK;
    }
    TRY(open_instance(a, ask->key, ask->tag, &r));
    if (ask->kind == PEER_ACCEPT) {
        return on_accept(a, from, r, ask, out, ret);
    }
    on_prepare(r, ask, !e.damaged, ret);
    return OK;
}

void abd_on_instance(struct abd *a, uint8_t from, const struct peer_ask *ask, struct abd_out *out,
                     struct peer_answer *ret)
{
    enum err err = on_question(a, from, ask, out, ret);

    if (err != OK) {
        *ret = (struct peer_answer){.kind = PEER_REFUSED, .err = err};
    }
}

uint64_t abd_next_ballot(const struct abd *a, struct bytes key, struct tag base, uint64_t outbid)
{
    uint32_t hash = abd_key_hash(a, key);
    const struct record *r = find(a, key, hash);
    uint64_t promised =
        r != NULL && tag_compare(r->base, base) == 0 ? r->promised : *floor_of(a, hash);

    uint64_t above = outbid > promised ? outbid : promised;
    uint64_t round = 1;

    if (above >> 32 == a->config.epoch) {
        round = ((uint32_t)above >> ABD_PLACE_BITS) + UINT64_C(1);
    }
    return round > ABD_ROUND_MAX ? 0
                                 : a->config.epoch << 32 | round << ABD_PLACE_BITS | a->config.self;
}

bool abd_accepted_value(struct abd *a, struct bytes key, struct tag *ret_tag, bool *ret_tombstone,
                        struct bytes *ret_value)
{
    const struct record *r = a->acceptor == NULL ? NULL : find(a, key, abd_key_hash(a, key));
    struct store_entry e;

    if (r == NULL || r->ballot == 0 || abd_find(a, key, &e) != OK ||
        tag_compare(e.tag, r->base) > 0) {
        return false;
    }
    *ret_tag = abd_successor(r->base);
    *ret_tombstone = r->tombstone;
    *ret_value = (struct bytes){.p = r->value_len == 0 ? NULL : r->value, .n = r->value_len};
    return true;
}

/* ---- a change of members (RMW-16, RMW-17) ---- */

void abd_acceptor_reconfigure(struct abd *a)
{
    struct abd_acceptor *q = a->acceptor;

    if (q == NULL) {
        return;
    }
    for (struct record *r = q->oldest; r != NULL; r = r->newer) {
        r->op.owner = RMW_ORPHAN;
    }
    abd_memory_clear(a);
}

static struct abd_rmw_item item_of(const struct record *r)
{
    return (struct abd_rmw_item){.base = r->base,
                                 .op = r->op,
                                 .ballot = r->ballot,
                                 .tombstone = r->tombstone,
                                 .key = {r->key, r->key_len},
                                 .value = {r->value_len == 0 ? NULL : r->value, r->value_len}};
}

bool abd_rmw_accepted(const struct abd *a, struct bytes key, struct tag base,
                      struct abd_rmw_item *ret)
{
    const struct record *r = a->acceptor == NULL ? NULL : find(a, key, abd_key_hash(a, key));

    if (r == NULL || r->ballot == 0 || tag_compare(r->base, base) != 0) {
        return false;
    }
    *ret = item_of(r);
    return true;
}

/* By head, then by key: an order in which records that come and go disturb nobody. */
static bool is_behind(const struct record *r, uint32_t hash, struct bytes key)
{
    return key.n == 0 || bytes_compare((struct bytes){r->key, r->key_len}, key) > 0 ||
           r->hash % ABD_RECORD_HEADS != hash % ABD_RECORD_HEADS;
}

bool abd_rmw_absent(const struct abd *a, struct bytes after, struct abd_rmw_item *ret)
{
    uint32_t hash = after.n == 0 ? 0 : abd_key_hash(a, after);
    const struct record *best = NULL;

    if (a->acceptor == NULL) {
        return false;
    }
    for (uint32_t head = hash % ABD_RECORD_HEADS; head < ABD_RECORD_HEADS && best == NULL; head++) {
        for (const struct record *r = a->acceptor->heads[head]; r != NULL; r = r->next) {
            struct bytes key = {r->key, r->key_len};

            if (r->ballot != 0 && tag_is_zero(r->base) && is_behind(r, hash, after) &&
                (best == NULL ||
                 bytes_compare(key, (struct bytes){best->key, best->key_len}) < 0)) {
                best = r;
            }
        }
    }
    if (best != NULL) {
        *ret = item_of(best);
    }
    return best != NULL;
}

static bool is_item(struct abd *a, const struct abd_rmw_item *item)
{
    return item->key.n != 0 && item->key.n <= KEY_MAX && item->value.n <= a->config.value_max &&
           (!item->tombstone || item->value.n == 0) && item->ballot != 0 &&
           item->ballot >> 32 <= a->config.epoch && abd_has_successor(item->base) &&
           item->op.writer != 0 && item->op.number != 0 &&
           abd_tag_plausible(a, item->key, item->base);
}

RESULT abd_rmw_import(struct abd *a, const struct abd_rmw_item *item)
{
    uint8_t *copy = NULL;
    struct record *r;
    struct store_entry e;
    int c;

    if (!is_item(a, item)) {
        return ERR_MALFORMED;
    }
    TRY(abd_acceptor_need(a));
    TRY(abd_find(a, item->key, &e));
    c = tag_compare(e.tag, item->base);
    if (c != 0) {
        return c < 0 ? ERR_MISMATCH : OK; /* the key comes first; closed */
    }
    TRY(open_instance(a, item->key, item->base, &r));
    if (r->ballot >= item->ballot) {
        return OK;
    }
    if (item->value.n != 0) {
        copy = heap_alloc(a->heap, item->value.n);
        if (copy == NULL) {
            return ERR_ENCLAVE_MEMORY;
        }
        memcpy(copy, item->value.p, item->value.n);
    }
    set_value(a, r, copy, (uint32_t)item->value.n);
    r->ballot = item->ballot;
    r->promised = r->promised > item->ballot ? r->promised : item->ballot;
    r->op = item->op;
    r->op.owner = RMW_ORPHAN;
    r->tombstone = item->tombstone;
    return OK;
}
