// SPDX-License-Identifier: Apache-2.0
#include "common/check.h"
#include "trusted/abd/abd_collect.h"

/* What a question or an answer may take, unless one key alone needs more. */
enum { LIST_BYTES = BATCH_BYTES + BATCH_KEYS_MAX * BATCH_ITEM_MAX };

static void close_item(struct abd_item *i, enum err status)
{
    i->closed = true;
    i->status = (uint8_t)status;
}

static bool all_closed(const struct abd_batch *b)
{
    for (uint32_t i = 0; i < b->items_n; i++) {
        if (!b->items[i].closed) {
            return false;
        }
    }
    return true;
}

/* ---- questions ---- */

static struct batch_item wire_of(const struct abd_batch *b, const struct abd_item *i)
{
    struct batch_item m = {.key = item_key(b, i), .tag = i->tag};

    if (b->phase == BATCH_LOOK_ROUND) {
        /* ABD-11: who cannot open its own value asks as if it held nothing. */
        m.tag = i->damaged ? (struct tag){0} : i->own;
    }
    if (b->phase == BATCH_PUSH_ROUND) {
        m.state = i->tombstone ? BATCH_TOMBSTONE : BATCH_LIVE;
        m.value = i->tombstone ? (struct bytes){0} : item_value(b, i);
    }
    return m;
}

static unsigned fields_of(const struct abd_batch *b)
{
    if (b->phase == BATCH_TAGS_ROUND) {
        return BATCH_TAGS;
    }
    return b->phase == BATCH_LOOK_ROUND ? BATCH_LOOK : BATCH_PUSH;
}

/* The body of the round under way: the open items. What has no room is not done (BUSY): a scan goes
 * on there with its next page, a client asks again. */
static RESULT write_list(struct abd *a, struct abd_batch *b, struct abd_out *out)
{
    unsigned fields = fields_of(b);
    size_t bytes = 2;
    uint16_t n = 0;
    struct writer w = {0};

    for (uint32_t i = 0; i < b->items_n; i++) {
        struct abd_item *m = &b->items[i];
        struct batch_item wire = wire_of(b, m);
        size_t len = batch_item_len(fields, &wire);

        m->asked = !m->closed && n < BATCH_KEYS_MAX && (n == 0 || bytes + len <= LIST_BYTES);
        if (m->asked) {
            bytes += len;
            n++;
        } else if (!m->closed) {
            CHECK(b->kind !=
                  BATCH_KIND_MPUT); /* they stand here by now: abd_mput_start() counted */
            close_item(m, ERR_BUSY);
        }
    }
    TRY(abd_buffer_room(a, &b->body, bytes, out));
    w.to = (struct mbytes){b->body.p, bytes};
    put_u16(&w, n);
    for (uint32_t i = 0; i < b->items_n; i++) {
        if (b->items[i].asked) {
            struct batch_item wire = wire_of(b, &b->items[i]);

            batch_item_put(&w, fields, &wire);
        }
    }
    CHECK(!w.failed && w.len == bytes);
    b->body.n = (uint32_t)bytes;
    return OK;
}

/* ---- PUSH: W2 and R2 ---- */

static void check_pushed(struct abd *a, struct abd_batch *b, struct abd_out *out)
{
    for (uint32_t i = 0; i < b->items_n; i++) {
        struct abd_item *m = &b->items[i];

        if (m->closed) {
            continue;
        }
        if (abd_batch_votes(b, m->holders) >= b->need) {
            close_item(m, b->kind != BATCH_KIND_MPUT && m->tombstone ? ERR_NOT_FOUND : OK);
        } else if (abd_batch_votes(b, (uint8_t)~m->refused) < b->need) {
            /* ABD-10: too many said no; a write stands here at least. */
            close_item(m, b->kind == BATCH_KIND_MPUT ? ERR_INDETERMINATE : b->refused_by);
        }
    }
    if (all_closed(b)) {
        abd_batch_finish(a, b, out);
    }
}

static RESULT push_start(struct abd *a, struct abd_batch *b, struct abd_out *out)
{
    abd_batch_enter(a, b, BATCH_PUSH_ROUND, out);
    TRY(write_list(a, b, out));
    abd_batch_pursue(a, b, out);
    check_pushed(a, b, out);
    return OK;
}

/* ---- LOOK: R1 ---- */

/* Reads what stands here behind the other bytes of the batch. */
static RESULT read_own(struct abd *a, struct abd_batch *b, struct abd_item *i, struct abd_out *out)
{
    struct store_entry e = {0};
    enum err err;

    TRY(abd_buffer_room(a, &b->bytes, ABD_READ_ROOM, out));
    for (int tries = 0;; tries++) {
        struct mbytes to = {b->bytes.p + b->bytes.n, b->bytes.cap - b->bytes.n};

        err = store_read(a->store, item_key(b, i), to, &e);
        if (err != ERR_TOO_BIG) {
            break;
        }
        CHECK(tries == 0);
        TRY(abd_buffer_room(a, &b->bytes, e.value_len, out));
    }
    if (err == ERR_LOST) {
        return err;
    }
    CHECK(err == OK || err == ERR_NOT_FOUND || err == ERR_INTEGRITY);
    i->own = i->tag = e.tag;
    i->tombstone = e.tombstone;
    i->damaged = err == ERR_INTEGRITY;
    i->readable = !i->damaged;
    i->value_at = b->bytes.n;
    i->value_len = e.value_len;
    b->bytes.n += e.value_len;
    i->voted = a->self_bit;
    i->holders = i->readable ? a->self_bit : 0;
    i->refused = 0;
    return OK;
}

RESULT abd_look_start(struct abd *a, struct abd_batch *b, struct abd_out *out)
{
    size_t bytes = 0;

    for (uint32_t i = 0; i < b->items_n; i++) {
        struct abd_item *m = &b->items[i];

        if (!m->closed && bytes > BATCH_BYTES) {
            close_item(m, ERR_BUSY);
        } else if (!m->closed) {
            TRY(read_own(a, b, m, out));
            bytes += m->value_len;
        }
    }
    abd_batch_enter(a, b, BATCH_LOOK_ROUND, out);
    TRY(write_list(a, b, out));
    for (uint32_t i = 0; i < b->items_n && !b->wide; i++) {
        if (b->items[i].asked && b->items[i].damaged) {
            abd_batch_widen(b);
        }
    }
    abd_batch_pursue(a, b, out);
    if (abd_batch_votes(b, a->self_bit) >= b->need) {
        abd_look_check(a, b, out);
    }
    return OK;
}

/* Makes this replica hold the maximum too; that is its own vote. */
static void hold_here(struct abd *a, struct abd_batch *b, struct abd_item *i, struct abd_out *out)
{
    enum err err;

    if (b->kind == BATCH_KIND_SYNC && abd_has_plant(a, ABD_PLANT_SYNC_AS_WRITE)) {
        err = abd_mint(a, item_key(b, i), i->tombstone,
                       i->tombstone ? (struct bytes){0} : item_value(b, i), &i->tag, out);
        i->holders = 0;
    } else if (i->damaged && tag_compare(i->tag, i->own) == 0) {
        err = abd_mend(a, item_key(b, i), i->tag, item_value(b, i));
    } else {
        bool applied;

        err = abd_keep(a, item_key(b, i), i->tag, i->tombstone,
                       i->tombstone ? (struct bytes){0} : item_value(b, i), &applied, out);
    }
    if (err == OK) {
        i->holders |= a->self_bit;
    } else {
        i->refused |= a->self_bit;
        b->refused_by = (uint8_t)err;
    }
}

void abd_push_again(struct abd *a, struct abd_batch *b, struct abd_out *out)
{
    enum err err;

    for (uint32_t i = 0; i < b->items_n; i++) {
        struct abd_item *m = &b->items[i];

        if (!m->closed) {
            m->holders = m->refused = 0;
            hold_here(a, b, m, out);
        }
    }
    err = push_start(a, b, out);
    if (err != OK) {
        abd_batch_fail(a, b, b->kind == BATCH_KIND_MPUT ? ERR_INDETERMINATE : err, out);
    }
}

/* True when the item has all the votes it needs, or is closed. */
static bool has_votes(struct abd_batch *b, struct abd_item *i, bool exhausted)
{
    if (i->closed) {
        return true;
    }
    if (abd_batch_votes(b, i->voted) >= b->need && i->readable) {
        return true;
    }
    if (!i->readable && (b->group & ~(unsigned)i->voted) == 0) {
        close_item(i, ERR_INTEGRITY); /* ABD-12 */
        return true;
    }
    if (exhausted) {
        close_item(i, ERR_BUSY); /* somebody had no room to answer for this key */
        return true;
    }
    return false;
}

static void check_looked(struct abd *a, struct abd_batch *b, struct abd_out *out)
{
    bool exhausted = abd_batch_exhausted(a, b);
    bool push = false, complete = true;
    enum err err = OK;

    for (uint32_t i = 0; i < b->items_n; i++) {
        complete = has_votes(b, &b->items[i], exhausted) && complete;
    }
    if (!complete) {
        if (abd_batch_votes(b, b->answered | a->self_bit) >= b->need) {
            abd_batch_widen(b);
            abd_batch_pursue(a, b, out);
        }
        return;
    }
    for (uint32_t i = 0; i < b->items_n; i++) {
        struct abd_item *m = &b->items[i];

        if (m->closed) {
            continue;
        }
        if ((m->holders & a->self_bit) == 0) {
            hold_here(a, b, m, out);
        }
        if (abd_batch_votes(b, m->holders) >= b->need ||
            (abd_has_plant(a, ABD_PLANT_NO_WRITE_BACK) && b->kind != BATCH_KIND_SYNC)) {
            close_item(m, m->tombstone || tag_is_zero(m->tag) ? ERR_NOT_FOUND : OK);
        } else {
            a->counters.write_backs++;
            push = true;
        }
    }
    if (push) {
        err = push_start(a, b, out);
    } else {
        abd_batch_finish(a, b, out);
    }
    if (err != OK) {
        abd_batch_fail(a, b, err, out);
    }
}

/* ---- MPUT ---- */

/* ABD-4 for each key, in the step that pushes them. */
static void mint_all(struct abd *a, struct abd_batch *b, struct abd_out *out)
{
    enum err err;

    for (uint32_t i = 0; i < b->items_n; i++) {
        struct abd_item *m = &b->items[i];

        if (m->closed) {
            continue;
        }
        err = abd_mint(a, item_key(b, m), m->tombstone,
                       m->tombstone ? (struct bytes){0} : item_value(b, m), &m->tag, out);
        if (err != OK) {
            close_item(m, err); /* nothing was sent: nothing happened */
        }
        m->holders = a->self_bit;
    }
    err = OK;
    if (all_closed(b)) {
        abd_batch_finish(a, b, out);
    } else {
        err = push_start(a, b, out);
    }
    /* The tags are minted and the values stand here, though nobody was told. */
    if (err != OK) {
        abd_batch_fail(a, b, ERR_INDETERMINATE, out);
    }
}

/* ---- answers ---- */

/* What a peer may say of its tag, given the one we asked with (ABD-9). */
static bool looked_makes_sense(struct abd *a, const struct abd_batch *b, const struct abd_item *i,
                               const struct batch_item *m)
{
    uint8_t holds = m->state & (BATCH_LOOKED_TOMBSTONE - 1);
    bool tombstone = (m->state & BATCH_LOOKED_TOMBSTONE) != 0;
    int c = tag_compare(m->tag, wire_of(b, i).tag);

    if (holds != PEER_HOLDS_NEWER && (tombstone || m->value.n != 0)) {
        return false;
    }
    switch (holds) {
    case BATCH_LOOKED_SKIPPED:
        return true;
    case PEER_HOLDS_SAME:
        return c == 0;
    case PEER_HOLDS_OLDER:
        return c < 0;
    case PEER_HOLDS_NEWER:
        return c > 0 && m->value.n <= a->config.value_max && (!tombstone || m->value.n == 0) &&
               abd_tag_plausible(a, item_key(b, i), m->tag);
    case PEER_HOLDS_DAMAGED:
        return c >= 0 && !tag_is_zero(m->tag) && abd_tag_plausible(a, item_key(b, i), m->tag);
    default:
        return false;
    }
}

static RESULT vote_looked(struct abd *a, struct abd_batch *b, struct abd_item *i, uint8_t bit,
                          const struct batch_item *m, struct abd_out *out)
{
    uint8_t holds = m->state & (BATCH_LOOKED_TOMBSTONE - 1);
    bool opens = holds != PEER_HOLDS_DAMAGED;
    int c = tag_compare(m->tag, i->tag);

    if (holds == BATCH_LOOKED_SKIPPED || i->closed) {
        return OK;
    }
    if (holds == PEER_HOLDS_NEWER && (c > 0 || (c == 0 && !i->readable))) {
        TRY(abd_buffer_room(a, &b->bytes, m->value.n, out));
        i->tombstone = (m->state & BATCH_LOOKED_TOMBSTONE) != 0;
        i->value_at = b->bytes.n;
        i->value_len = (uint32_t)m->value.n;
        if (m->value.n != 0) {
            memcpy(b->bytes.p + b->bytes.n, m->value.p, m->value.n);
            b->bytes.n += i->value_len;
        }
    }
    i->voted |= bit;
    if (c > 0) {
        i->tag = m->tag;
        i->holders = 0;
        i->readable = opens;
    }
    if (c >= 0 && opens) {
        i->readable = true;
        i->holders |= bit;
    }
    return OK;
}

static RESULT vote_item(struct abd *a, struct abd_batch *b, struct abd_item *i, uint8_t bit,
                        const struct batch_item *m, struct abd_out *out)
{
    if (b->phase == BATCH_LOOK_ROUND) {
        return vote_looked(a, b, i, bit, m, out);
    }
    if (b->phase == BATCH_TAGS_ROUND) {
        i->tag = tag_compare(m->tag, i->tag) > 0 ? m->tag : i->tag;
        i->voted |= bit;
    } else if (m->state == OK) {
        i->holders |= bit;
    } else {
        i->refused |= bit;
        b->refused_by = m->state;
    }
    return OK;
}

static bool item_makes_sense(struct abd *a, const struct abd_batch *b, const struct abd_item *i,
                             const struct batch_item *m)
{
    if (b->phase == BATCH_LOOK_ROUND) {
        return looked_makes_sense(a, b, i, m);
    }
    return b->phase != BATCH_TAGS_ROUND || abd_seen_plausible(a, item_key(b, i), m->tag);
}

static RESULT decode_answer(const struct abd_batch *b, struct bytes body, struct batch_list *ret)
{
    if (b->phase == BATCH_LOOK_ROUND) {
        return batch_list_decode(body, BATCH_LOOKED, 2 * BATCH_LOOKED_TOMBSTONE, ret);
    }
    if (b->phase == BATCH_TAGS_ROUND) {
        return batch_list_decode(body, BATCH_TAGGED, 1, ret);
    }
    return batch_list_decode(body, BATCH_PUSHED, ERR_N, ret);
}

/* The answer speaks of the items in the order in which they were asked. */
static struct abd_item *next_asked(struct abd_batch *b, uint32_t *at)
{
    while (*at < b->items_n && !b->items[*at].asked) {
        (*at)++;
    }
    return *at < b->items_n ? &b->items[(*at)++] : NULL;
}

bool abd_look_answer(struct abd *a, struct abd_batch *b, uint8_t bit, const struct peer_answer *m,
                     struct abd_out *out)
{
    struct batch_list list, again;
    struct batch_item wire;
    struct abd_item *i;
    uint32_t at = 0;

    if (decode_answer(b, m->value, &list) != OK) {
        return false;
    }
    again = list;
    while (batch_list_next(&list, &wire)) {
        i = next_asked(b, &at);
        if (i == NULL || !item_makes_sense(a, b, i, &wire)) {
            return false;
        }
    }
    if (next_asked(b, &at) != NULL) {
        return false;
    }
    at = 0;
    while (batch_list_next(&again, &wire)) {
        i = next_asked(b, &at);
        CHECK(i != NULL);
        if (vote_item(a, b, i, bit, &wire, out) != OK) {
            abd_batch_fail(a, b, ERR_ENCLAVE_MEMORY, out);
            return true;
        }
    }
    b->answered |= bit;
    abd_look_check(a, b, out);
    return true;
}

void abd_look_check(struct abd *a, struct abd_batch *b, struct abd_out *out)
{
    if (b->phase == BATCH_LOOK_ROUND) {
        check_looked(a, b, out);
    } else if (b->phase == BATCH_PUSH_ROUND) {
        check_pushed(a, b, out);
    } else if (abd_batch_votes(b, b->answered | a->self_bit) >= b->need) {
        mint_all(a, b, out);
    }
}

/* ---- requests ---- */

RESULT abd_mget_start(struct abd *a, struct abd_batch *b, struct bytes body, struct abd_out *out)
{
    struct batch_list list;
    struct batch_item m;
    struct abd_item *i;

    if (batch_list_decode(body, BATCH_MGET, 1, &list) != OK) {
        return ERR_USAGE;
    }
    a->counters.batch_gets += list.n;
    b->kind = BATCH_KIND_MGET;
    abd_expect(a, list);
    while (batch_list_next(&list, &m)) {
        TRY(abd_batch_add(a, b, m.key, out, &i));
    }
    return abd_look_start(a, b, out);
}

RESULT abd_mput_start(struct abd *a, struct abd_batch *b, struct bytes body, struct abd_out *out)
{
    struct batch_list list;
    struct batch_item m;
    struct abd_item *i;

    if (batch_list_decode(body, BATCH_MPUT, BATCH_TOMBSTONE + 1, &list) != OK) {
        return ERR_USAGE;
    }
    /* PUSH carries a tag for each: what does not fit there must not be minted. */
    if (list.n > 1 && body.n + list.n * (size_t)TAG_WIRE_LEN > LIST_BYTES) {
        return ERR_TOO_BIG;
    }
    a->counters.batch_puts += list.n;
    b->kind = BATCH_KIND_MPUT;
    TRY(abd_buffer_room(a, &b->bytes, body.n, out));
    while (batch_list_next(&list, &m)) {
        if (m.state == BATCH_TOMBSTONE && m.value.n != 0) {
            return ERR_USAGE;
        }
        TRY(abd_batch_add(a, b, m.key, out, &i));
        i->tombstone = m.state == BATCH_TOMBSTONE;
        i->value_at = b->bytes.n;
        i->value_len = (uint32_t)m.value.n;
        i->voted = a->self_bit;
        if (m.value.n > a->config.value_max) {
            close_item(i, ERR_TOO_BIG);
            i->value_len = 0;
        } else if (m.value.n != 0) {
            TRY(abd_buffer_room(a, &b->bytes, m.value.n, out));
            memcpy(b->bytes.p + b->bytes.n, m.value.p, m.value.n);
            b->bytes.n += i->value_len;
        }
    }
    if (all_closed(b)) {
        abd_batch_finish(a, b, out);
        return OK;
    }
    abd_batch_enter(a, b, BATCH_TAGS_ROUND, out);
    TRY(write_list(a, b, out));
    abd_batch_pursue(a, b, out);
    if (abd_batch_votes(b, a->self_bit) >= b->need) {
        mint_all(a, b, out);
    }
    return OK;
}

/* ---- the end ---- */

/* The statuses of all keys in the order asked, with the values of an MGET as far as they fit. */
static void finish_list(struct abd *a, struct abd_batch *b, struct abd_out *out)
{
    unsigned fields = b->kind == BATCH_KIND_MGET ? BATCH_VALUES : BATCH_STATES;
    size_t cap = 2 + b->items_n * 5UL;
    struct writer w = {0};
    size_t bytes = 0;

    for (uint32_t i = 0; b->kind == BATCH_KIND_MGET && i < b->items_n; i++) {
        struct abd_item *m = &b->items[i];

        if (m->status == OK && bytes > 0 && bytes + m->value_len > BATCH_BYTES) {
            m->status = ERR_BUSY;
        }
        bytes += m->status == OK ? m->value_len : 0;
    }
    cap += bytes;
    w.to = (struct mbytes){abd_alloc(a, cap, out), cap};
    if (w.to.p == NULL) {
        abd_batch_fail(a, b,
                       b->phase == BATCH_PUSH_ROUND && b->kind == BATCH_KIND_MPUT
                           ? ERR_INDETERMINATE
                           : ERR_ENCLAVE_MEMORY,
                       out);
        return;
    }
    abd_lend(a, w.to.p, w.to.n);
    put_u16(&w, (uint16_t)b->items_n);
    for (uint32_t i = 0; i < b->items_n; i++) {
        const struct abd_item *m = &b->items[i];
        struct batch_item wire = {.state = m->status};

        if (m->status == OK && b->kind == BATCH_KIND_MGET) {
            wire.value = item_value(b, m);
        }
        batch_item_put(&w, fields, &wire);
    }
    CHECK(!w.failed);
    abd_batch_reply(a, b, (struct mbytes){w.to.p, w.len}, out);
}

void abd_batch_finish(struct abd *a, struct abd_batch *b, struct abd_out *out)
{
    if (b->kind == BATCH_KIND_SCAN) {
        abd_scan_finish(a, b, out);
    } else if (b->kind == BATCH_KIND_SYNC) {
        abd_sync_finish(a, b, out);
    } else if (b->kind == BATCH_KIND_COLLECT) {
        abd_collect_established(a, b, out);
    } else {
        finish_list(a, b, out);
    }
}
