// SPDX-License-Identifier: Apache-2.0
#include "trusted/copy/copy.h"

#include "common/check.h"

static const uint64_t COPY_RETRY_NS = UINT64_C(5000000);
static const uint64_t COPY_WAIT_NS = UINT64_C(200000000); /* for memory, or for a repair there */

/* ---- the voter that is copied from ---- */

struct cursor {
    uint8_t key[KEY_MAX];
    size_t len;
};

/* A page in the making; `w` writes into its block. */
struct maker {
    const struct copy_source *from;
    struct writer w;
    struct copy_page page;
};

/* Room for an entry of n bytes. The first one always fits. */
static RESULT make_room(struct maker *m, size_t n, bool *ret_fits)
{
    struct copy_page *page = &m->page;

    if (page->block == NULL) {
        page->block_n = n > COPY_PAGE_BYTES ? n : COPY_PAGE_BYTES;
        page->block = heap_alloc(m->from->heap, page->block_n);
        if (page->block == NULL) {
            page->block_n = 0;
            return ERR_ENCLAVE_MEMORY;
        }
        m->w.to = (struct mbytes){page->block, page->block_n};
    }
    *ret_fits = m->w.to.n - m->w.len >= n;
    return OK;
}

static RESULT add_entry(struct maker *m, const struct cursor *at, const struct store_entry *e,
                        bool follows, bool *ret_fits)
{
    struct copy_entry entry = {.tag = e->tag,
                               .tombstone = e->tombstone,
                               .damaged = e->damaged,
                               .follows = follows,
                               .key = {at->key, at->len}};
    uint32_t value_len = e->tombstone || e->damaged ? 0 : e->value_len;
    struct store_entry read = *e;
    uint8_t *value;

    TRY(make_room(m, COPY_ENTRY_HEAD_LEN + at->len + value_len, ret_fits));
    if (!*ret_fits) {
        return OK;
    }
    if (value_len > 0) {
        enum err err;

        value = m->w.to.p + m->w.len + COPY_ENTRY_HEAD_LEN + at->len;
        err = store_read(m->from->store, entry.key, (struct mbytes){value, value_len}, &read);
        CHECK(err == OK || err == ERR_INTEGRITY);
        entry.damaged = err == ERR_INTEGRITY;
        entry.value = (struct bytes){value, entry.damaged ? 0 : value_len};
    }
    copy_entry_put_head(&m->w, &entry);
    CHECK(!m->w.failed);
    if (entry.damaged) {
        m->page.damaged = (struct bytes){m->w.to.p + m->w.len - at->len, at->len};
    }
    m->w.len += entry.value.n; /* it is in its place already */
    return OK;
}

static RESULT add_accepted(struct maker *m, const struct abd_rmw_item *item, bool *ret_fits)
{
    const struct copy_entry entry = {.tag = item->base,
                                     .accepted = true,
                                     .tombstone = item->tombstone,
                                     .ballot = item->ballot,
                                     .op = item->op,
                                     .key = item->key,
                                     .value = item->value};

    TRY(make_room(m, COPY_ACCEPTED_HEAD_LEN + item->key.n + item->value.n, ret_fits));
    if (*ret_fits) {
        copy_entry_put_head(&m->w, &entry);
        put_bytes(&m->w, entry.value);
        CHECK(!m->w.failed);
    }
    return OK;
}

/* Keys with their values. Where something was accepted for a key the page ends, for the two
 * together could be too long; the next page begins with it, if the key still stands as it did. */
static RESULT add_keys(struct maker *m, const struct peer_ask *ask)
{
    bool again = !tag_is_zero(ask->tag), beyond = ask->key.n > 0 && !again, fits = true;
    struct cursor at = {.len = ask->key.n};
    struct store_entry e = {0};
    enum err err;

    CHECK(ask->key.n <= KEY_MAX);
    if (ask->key.n > 0) {
        memcpy(at.key, ask->key.p, ask->key.n);
    }
    while ((err = store_next(m->from->store, (struct bytes){at.key, at.len}, beyond,
                             (struct mbytes){at.key, sizeof(at.key)}, &at.len, &e)) == OK) {
        struct bytes key = {at.key, at.len};
        struct abd_rmw_item item;
        bool follows = abd_rmw_accepted(m->from->abd, key, e.tag, &item);

        if (again && bytes_equal(key, ask->key) && tag_compare(e.tag, ask->tag) == 0) {
            if (follows) {
                TRY(add_accepted(m, &item, &fits));
            }
            follows = false;
        } else {
            TRY(add_entry(m, &at, &e, follows, &fits));
        }
        if (!fits || follows) {
            m->page.last = false;
            break;
        }
        again = false;
        beyond = true;
    }
    return err == ERR_LOST ? err : OK; /* ABD-20: who has lost keys cannot say that this is all */
}

static RESULT add_absent(struct maker *m, const struct peer_ask *ask)
{
    struct abd_rmw_item item = {.key = ask->key};
    bool fits = true;

    while (fits && abd_rmw_absent(m->from->abd, item.key, &item)) {
        TRY(add_accepted(m, &item, &fits));
    }
    m->page.last = fits;
    return OK;
}

static RESULT add_gc(struct maker *m)
{
    bool fits;

    TRY(make_room(m, abd_gc_export_len(m->from->abd), &fits));
    CHECK(fits);
    abd_gc_export(m->from->abd, &m->w);
    return OK;
}

RESULT copy_page_make(const struct copy_source *from, const struct peer_ask *ask,
                      struct copy_page *ret)
{
    struct maker m = {.from = from, .page = {.last = true}};

    enum err err = OK;

    if (ask->kind == PEER_COPY_GC) {
        err = add_gc(&m);
    } else {
        err = ask->kind == PEER_COPY ? add_keys(&m, ask) : add_absent(&m, ask);
    }
    if (err != OK) {
        heap_free(from->heap, m.page.block, m.page.block_n);
        return err;
    }
    m.page.entries = (struct bytes){m.page.block, m.w.len};
    *ret = m.page;
    return OK;
}

/* ---- the member that copies ---- */

void copy_begin(struct copy *c, struct store *store, struct abd *abd, uint8_t voters, uint8_t self)
{
    uint8_t own = (uint8_t)(1U << self);
    uint8_t n = (uint8_t)__builtin_popcount(voters);

    *c = (struct copy){.store = store, .abd = abd, .active = true};
    c->need = (uint8_t)(n / 2 + 1 - ((voters & own) != 0));
    for (unsigned i = 0; i < NODES_MAX; i++) {
        c->streams[i].wanted = i != self && (voters >> i & 1) != 0;
    }
}

bool copy_is_complete(const struct copy *c)
{
    return !c->active || c->complete_n >= c->need;
}

void copy_swap(struct copy *c, uint8_t a, uint8_t b)
{
    uint8_t *p = (uint8_t *)&c->streams[a], *q = (uint8_t *)&c->streams[b];

    for (size_t i = 0; i < sizeof(c->streams[a]); i++) {
        uint8_t moved = p[i];

        p[i] = q[i];
        q[i] = moved;
    }
}

void copy_peer(struct copy *c, uint8_t peer, bool up)
{
    c->streams[peer].up = up;
}

bool copy_next(struct copy *c, uint64_t now_ns, uint8_t *ret_peer, struct peer_ask *ret)
{
    for (uint8_t i = 0; i < NODES_MAX && !copy_is_complete(c); i++) {
        struct copy_stream *s = &c->streams[i];

        if (s->wanted && s->up && !s->asked && !s->complete && s->not_before_ns <= now_ns) {
            s->asked = true;
            s->stamp = abd_copy_asked(c->abd);
            *ret_peer = i;
            *ret = (struct peer_ask){.kind = PEER_COPY_GC};
            if (s->gc_done) {
                ret->kind = s->absent_done ? PEER_COPY : PEER_COPY_ABSENT;
                ret->tag = s->again;
                ret->key = (struct bytes){s->key, s->key_len};
            }
            return true;
        }
    }
    return false;
}

static void key_set(uint8_t to[KEY_MAX], uint16_t *to_len, const uint8_t *from, size_t n)
{
    if (n > 0) {
        memcpy(to, from, n);
    }
    *to_len = (uint16_t)n;
}

/* The stream will begin again in front of this page: not all of it could be taken over. */
static void come_back(struct copy_stream *s)
{
    if (!s->behind) {
        s->behind = true;
        key_set(s->behind_key, &s->behind_len, s->key, s->key_len);
    }
}

/* MISMATCH: the base is damaged there and not here, so the stream comes back anyway. */
static bool take_accepted(struct copy *c, struct copy_stream *s, const struct copy_entry *e)
{
    const struct abd_rmw_item item = {.base = e->tag,
                                      .op = e->op,
                                      .ballot = e->ballot,
                                      .tombstone = e->tombstone,
                                      .key = e->key,
                                      .value = e->value};
    enum err err = abd_rmw_import(c->abd, &item);

    if (err == ERR_MISMATCH) {
        come_back(s);
        err = OK;
    }
    c->err = err;
    return err == OK;
}

/* Takes one entry over. False: it must come again, c->err says why; or it is malformed. */
static bool take(struct copy *c, struct copy_stream *s, const struct copy_entry *e)
{
    struct store_entry own = {0};
    bool applied = false;
    enum err err;

    if (e->accepted) {
        return take_accepted(c, s, e);
    }
    if (e->damaged) {
        if (store_find(c->store, e->key, &own) != OK || tag_compare(own.tag, e->tag) < 0) {
            come_back(s);
        }
        return true;
    }
    err =
        abd_copy_in(c->abd, &(struct abd_copied){e->tag, e->tombstone, e->key, e->value}, &applied);
    c->keys += applied;
    c->bytes += e->value.n;
    c->err = err;
    return err == OK;
}

/* The end of a stream; or not, if values are still missing that the voter is about to repair. */
static void finish(struct copy *c, struct copy_stream *s, uint64_t now_ns)
{
    s->again = (struct tag){0};
    if (!s->absent_done) {
        s->absent_done = true;
        s->key_len = 0;
    } else if (s->behind) {
        s->behind = false;
        key_set(s->key, &s->key_len, s->behind_key, s->behind_len);
        s->not_before_ns = now_ns + COPY_WAIT_NS;
        c->err = ERR_INTEGRITY;
    } else {
        s->complete = true;
        c->complete_n++;
        c->err = OK;
    }
}

static void ended(struct copy *c, struct copy_stream *s)
{
    s->asked = false;
    abd_copy_ended(c->abd, s->stamp);
}

void copy_on_answer(struct copy *c, uint64_t now_ns, uint8_t peer, const struct peer_answer *m)
{
    struct copy_stream *s = &c->streams[peer];
    struct reader r = {.rest = m->value};
    struct copy_entry e = {0};

    if (!s->asked) {
        return;
    }
    ended(c, s);
    if (m->kind != PEER_PAGE) {
        s->not_before_ns = now_ns + COPY_RETRY_NS;
        return;
    }
    if (!s->gc_done) {
        c->err = abd_gc_import(c->abd, m->value);
        s->gc_done = c->err == OK;
        s->not_before_ns = s->gc_done ? now_ns : now_ns + COPY_WAIT_NS;
        return;
    }
    while (r.rest.n > 0) {
        if (!copy_entry_get(&r, &e) || !take(c, s, &e)) {
            s->not_before_ns = now_ns + COPY_WAIT_NS; /* the same page once more */
            return;
        }
    }
    if (e.key.n > 0) {
        key_set(s->key, &s->key_len, e.key.p, e.key.n);
        s->again = e.follows ? e.tag : (struct tag){0};
    }
    if (m->last) {
        finish(c, s, now_ns);
    } else if (e.key.n == 0) {
        s->not_before_ns = now_ns + COPY_WAIT_NS; /* a page without an entry leads nowhere */
    }
}

void copy_on_failed(struct copy *c, uint64_t now_ns, uint8_t peer)
{
    if (c->streams[peer].asked) {
        ended(c, &c->streams[peer]);
        c->streams[peer].not_before_ns = now_ns + COPY_RETRY_NS;
    }
}

void copy_stop(struct copy *c)
{
    for (unsigned i = 0; i < NODES_MAX; i++) {
        if (c->streams[i].asked) {
            ended(c, &c->streams[i]);
        }
        c->streams[i].up = false;
    }
}

uint64_t copy_deadline(const struct copy *c)
{
    uint64_t at = UINT64_MAX;

    for (uint8_t i = 0; i < NODES_MAX && !copy_is_complete(c); i++) {
        const struct copy_stream *s = &c->streams[i];

        if (s->wanted && s->up && !s->asked && !s->complete && s->not_before_ns < at) {
            at = s->not_before_ns;
        }
    }
    return at;
}
