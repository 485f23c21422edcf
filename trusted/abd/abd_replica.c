// SPDX-License-Identifier: Apache-2.0
#include "common/check.h"
#include "trusted/abd/abd_rmw.h"

RESULT abd_find(struct abd *a, struct bytes key, struct store_entry *ret)
{
    enum err err;

    *ret = (struct store_entry){0};
    err = store_find(a->store, key, ret);
    CHECK(err == OK || err == ERR_NOT_FOUND || err == ERR_LOST);
    return err == ERR_LOST ? ERR_LOST : OK;
}

/*
 * ABD-17: a tag that is far above what is known here comes from a peer gone wrong; stored, it would
 * wear out the key. Almost every tag passes on its own, without a look at the store.
 */
bool abd_tag_plausible(struct abd *a, struct bytes key, struct tag tag)
{
    /* ts and writer are zero together: behind the zero tag there are only its successors. */
    bool ok = (tag.ts == 0) == (tag.writer == 0);

    if (ok && tag.ts > TAG_JUMP_MAX && tag.ts - TAG_JUMP_MAX > a->gc.floor) {
        struct store_entry own;

        ok = abd_find(a, key, &own) == OK &&
             (tag.ts <= own.tag.ts || tag.ts - own.tag.ts <= TAG_JUMP_MAX);
    }
    if (!ok) {
        a->counters.refused_tags++;
    }
    return ok;
}

struct tag abd_seen_tag(const struct abd *a, struct tag held)
{
    uint64_t floor = abd_gc_floor(a);

    return held.ts < floor ? (struct tag){.ts = floor} : held;
}

bool abd_seen_plausible(struct abd *a, struct bytes key, struct tag tag)
{
    if (tag.ts != 0 && tag.writer == 0 && tag.rmwc == 0) {
        tag.writer = a->config.incarnation; /* a floor: held to the same bound */
    }
    return abd_tag_plausible(a, key, tag);
}

/* NOLINTNEXTLINE(readability-function-size): what store_apply takes, and the output */
RESULT abd_keep(struct abd *a, struct bytes key, struct tag tag, bool tombstone, struct bytes value,
                bool *ret_applied, struct abd_out *out)
{
    enum err err;

    if (abd_gc_is_dead(a, key, tag)) {
        *ret_applied = false;
        return OK;
    }
    do {
        err = store_apply(a->store, key, tag, tombstone, value, ret_applied);
    } while ((err == ERR_ENCLAVE_MEMORY || err == ERR_HOST_MEMORY) && abd_relieve(a, out));
    return err;
}

RESULT abd_mend(struct abd *a, struct bytes key, struct tag tag, struct bytes value)
{
    enum err err = store_repair(a->store, key, tag, value);
    struct store_entry e;

    a->counters.repairs += err == OK;
    if (err == ERR_MISMATCH) {
        TRY(abd_find(a, key, &e));
        err = tag_compare(e.tag, tag) > 0 ? OK : ERR_MISMATCH;
    }
    return err;
}

RESULT abd_next_tag(struct abd *a, struct bytes key, struct tag *tag)
{
    struct store_entry own;
    uint64_t offered = abd_write_offered(a, key);
    uint64_t ts;

    TRY(abd_find(a, key, &own));
    ts = abd_seen_tag(a, own.tag).ts;
    ts = ts > tag->ts ? ts : tag->ts;
    ts = ts > offered ? ts : offered;
    ts = a->config.past.ts > ts ? a->config.past.ts : ts;
    if (ts > UINT64_MAX - TAG_JUMP_MAX) {
        return ERR_UNAVAILABLE;
    }
    *tag = (struct tag){.ts = ts + 1, .writer = a->config.incarnation};
    a->minted = tag->ts > a->minted ? tag->ts : a->minted;
    if (abd_has_plant(a, ABD_PLANT_SHARED_TAGS)) {
        tag->writer = 1;
    }
    return OK;
}

RESULT abd_mint(struct abd *a, struct bytes key, bool tombstone, struct bytes value,
                struct tag *tag, struct abd_out *out)
{
    bool applied = false;

    TRY(abd_next_tag(a, key, tag));
    TRY(abd_keep(a, key, *tag, tombstone, value, &applied, out));
    CHECK(applied || a->plants != 0);
    return OK;
}

void abd_refuse(struct abd_out *out, enum err err)
{
    out->answer = (struct peer_answer){.kind = PEER_REFUSED, .err = err};
}

/* ABD-13: an asker who holds nothing that opens may be such a repair itself; two of them would keep
 * each other going for ever. */
static void repair_unless_asked_by_one(struct abd *a, const struct peer_ask *ask,
                                       struct abd_out *out)
{
    if (!tag_is_zero(ask->tag)) {
        abd_repair(a, ask->key, out);
    }
}

RESULT abd_read_lent(struct abd *a, struct bytes key, const struct store_entry *e,
                     struct bytes *ret, struct abd_out *out)
{
    struct mbytes room = {.p = NULL, .n = e->value_len};
    struct store_entry read = *e;
    enum err err;

    if (e->damaged) {
        return ERR_INTEGRITY;
    }
    if (e->value_len != 0) {
        room.p = abd_alloc(a, e->value_len, out);
        if (room.p == NULL) {
            return ERR_ENCLAVE_MEMORY;
        }
        abd_lend(a, room.p, room.n);
    }
    err = store_read(a->store, key, room, &read);
    CHECK(err == OK || err == ERR_INTEGRITY || err == ERR_LOST);
    *ret = (struct bytes){.p = room.p, .n = read.value_len};
    return err;
}

/* A newer tag goes with its value, so that one round is enough for an asker who is behind. */
static void answer_newer(struct abd *a, const struct peer_ask *ask, const struct store_entry *e,
                         struct abd_out *out)
{
    struct bytes value;
    enum err err;

    out->answer.holds = PEER_HOLDS_NEWER;
    out->answer.tombstone = e->tombstone;
    if (e->tombstone) {
        return;
    }
    err = abd_read_lent(a, ask->key, e, &value, out);
    if (err == OK) {
        out->answer.value = value;
    } else if (err == ERR_INTEGRITY) {
        /* ABD-12: say that a newer value exists, never an older one. */
        out->answer.holds = PEER_HOLDS_DAMAGED;
        repair_unless_asked_by_one(a, ask, out);
    } else {
        abd_refuse(out, err);
    }
}

/* RMW-9, broken on purpose. */
static bool show_accepted(struct abd *a, const struct peer_ask *ask, struct peer_answer *m)
{
    if (!abd_has_plant(a, ABD_PLANT_SHOW_ACCEPTED) ||
        !abd_accepted_value(a, ask->key, &m->tag, &m->tombstone, &m->value) ||
        tag_compare(m->tag, ask->tag) <= 0) {
        return false;
    }
    m->kind = PEER_HOLDS;
    m->holds = PEER_HOLDS_NEWER;
    return true;
}

static void on_read(struct abd *a, const struct peer_ask *ask, struct abd_out *out)
{
    struct store_entry e;
    enum err err = abd_find(a, ask->key, &e);
    int c = tag_compare(e.tag, ask->tag);

    if (err != OK) {
        abd_refuse(out, err);
        return;
    }
    if (show_accepted(a, ask, &out->answer)) {
        return;
    }
    out->answer = (struct peer_answer){.kind = PEER_HOLDS, .tag = e.tag};
    if (c < 0) {
        out->answer.holds = PEER_HOLDS_OLDER;
    } else if (c > 0) {
        answer_newer(a, ask, &e, out);
    } else if (e.damaged) {
        out->answer.holds = PEER_HOLDS_DAMAGED;
        repair_unless_asked_by_one(a, ask, out);
    } else {
        out->answer.holds = PEER_HOLDS_SAME;
    }
}

void abd_show(struct abd *a, struct bytes key, bool values, struct mbytes room,
              struct look_item *ret, uint32_t *ret_len)
{
    struct store_entry e = {0};
    enum err err = values ? store_read(a->store, key, room, &e) : store_find(a->store, key, &e);

    a->counters.shown += values ? 1 : 0;
    a->counters.shown_tags += values ? 0 : 1;
    *ret_len = 0;
    if (err == ERR_NOT_FOUND) {
        *ret = (struct look_item){.state = LOOK_ABSENT};
    } else if (err != OK || e.damaged) {
        /* LOST (ABD-20), INTEGRITY (the coordinator's question repairs it, ABD-13), too long. */
        *ret = (struct look_item){.state = LOOK_ASK};
    } else {
        *ret = (struct look_item){.state = e.tombstone ? LOOK_TOMBSTONE : LOOK_LIVE, .tag = e.tag};
        *ret_len = values ? e.value_len : 0;
    }
}

/* ABD-3: keep the greater, acknowledge in any case -- the asker wants to know that we hold this or
 * something newer. Equal tags are equal values: a chance to replace one that was damaged. */
/* NOLINTNEXTLINE(readability-function-size): what abd_keep takes */
RESULT abd_take_in(struct abd *a, struct bytes key, struct tag tag, bool tombstone,
                   struct bytes value, bool *ret_applied, struct abd_out *out)
{
    *ret_applied = false;
    if (tag_is_zero(tag) || value.n > a->config.value_max || (tombstone && value.n != 0)) {
        return ERR_MALFORMED;
    }
    if (!abd_tag_plausible(a, key, tag)) {
        return ERR_POLICY;
    }
    TRY(abd_keep(a, key, tag, tombstone, value, ret_applied, out));
    if (!*ret_applied && !tombstone) {
        struct store_entry e;

        TRY(abd_find(a, key, &e));
        if (e.damaged && tag_compare(e.tag, tag) == 0) {
            return abd_mend(a, key, tag, value);
        }
    }
    return OK;
}

static void on_query(struct abd *a, const struct peer_ask *ask, struct abd_out *out)
{
    struct store_entry e;
    enum err err = abd_find(a, ask->key, &e);

    if (err == OK) {
        out->answer = (struct peer_answer){.kind = PEER_TAG, .tag = abd_seen_tag(a, e.tag)};
    } else {
        abd_refuse(out, err);
    }
}

/* ABD-21: taken if it is above everything that stands or stood here, floor included; what is held
 * already was taken before. */
static void on_offer(struct abd *a, const struct peer_ask *ask, struct abd_out *out)
{
    bool above = ask->tag.ts > abd_gc_floor(a), applied = false;
    struct store_entry e;
    enum err err = OK;

    if (above) {
        err = abd_take_in(a, ask->key, ask->tag, ask->tombstone, ask->value, &applied, out);
    }
    if (err == OK && !applied) {
        err = abd_find(a, ask->key, &e);
    }
    if (err != OK) {
        abd_refuse(out, err);
    } else if (applied || (above && tag_compare(e.tag, ask->tag) <= 0) ||
               abd_has_plant(a, ABD_PLANT_OFFER_UNCHECKED)) {
        out->answer = (struct peer_answer){.kind = PEER_APPLIED};
    } else {
        out->answer = (struct peer_answer){.kind = PEER_TAG, .tag = abd_seen_tag(a, e.tag)};
    }
}

static void on_apply(struct abd *a, const struct peer_ask *ask, struct abd_out *out)
{
    bool applied;
    enum err err = abd_take_in(a, ask->key, ask->tag, ask->tombstone, ask->value, &applied, out);

    if (err == OK) {
        out->answer = (struct peer_answer){.kind = PEER_APPLIED};
    } else {
        abd_refuse(out, err);
    }
}

void abd_on_ask(struct abd *a, const struct abd_in *in, struct abd_out *out)
{
    const struct peer_ask *ask = in->ask;

    out->have_answer = true;
    if (ask->kind == PEER_COLLECT) {
        abd_gc_on_ask(a, ask, out);
        return;
    }
    if (abd_gc_refuses(a, ask->gc)) {
        abd_refuse(out, ERR_EPOCH);
        return;
    }
    if (peer_ask_is_batch(ask->kind)) {
        abd_batch_on_ask(a, in, out);
        return;
    }
    if (ask->key.n == 0 || ask->key.n > KEY_MAX) {
        abd_refuse(out, ERR_MALFORMED);
        return;
    }
    switch (ask->kind) {
    case PEER_QUERY:
        on_query(a, ask, out);
        return;
    case PEER_READ:
        on_read(a, ask, out);
        return;
    case PEER_APPLY:
        on_apply(a, ask, out);
        return;
    case PEER_OFFER:
        on_offer(a, ask, out);
        return;
    case PEER_PREPARE:
    case PEER_ACCEPT:
    case PEER_COMMIT:
        abd_on_instance(a, in->peer, ask, out, &out->answer);
        return;
    case PEER_RANGE:
    case PEER_TAGS:
    case PEER_LOOK:
    case PEER_PUSH:
    case PEER_COLLECT:
    case PEER_COPY: /* the replica answers these itself */
    case PEER_COPY_ABSENT:
    case PEER_COPY_GC:
    default:
        break;
    }
    abd_refuse(out, ERR_MALFORMED);
}
