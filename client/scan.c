// SPDX-License-Identifier: Apache-2.0
#include "client/calls.h"
#include "client/cursor.h"
#include "client/status.h"
#include "common/check.h"
#include "trusted/wire/batch_wire.h"

#include <stdio.h>
#include <stdlib.h>

/*
 * Every part (of a shard, of a group of slots) holds its own keys in order, at its own nodes: the
 * scan asks each for pages and always hands out the first key of all. One page per part is being
 * read, one more is under way. SCAN-7.
 */

enum { PREFETCH_ABOVE = 2 * BATCH_KEYS_MAX }; /* keys that are still wanted */

struct page {
    uint8_t *body; /* NULL: none */
    struct scan_page m;
};

struct stream {
    struct avo_scan *scan;
    struct page now, ahead; /* `ahead` has arrived before it was needed */
    struct batch_item item; /* the next one of `now`, when `has_item` */
    bool has_item, ended;
    bool asked;             /* a page is under way */
    enum avo_status status; /* of the last page */
    uint16_t bound_n;
    uint8_t bound[BOUND_MAX]; /* from where the next page is asked: low, or high downwards */
};

struct avo_scan {
    struct avo_client *client;
    struct stream *streams;
    uint32_t streams_n;
    bool down, values, nothing;
    bool ready;    /* a page has come, or is known not to come */
    bool asked;    /* some stream waits for its page */
    uint8_t lacks; /* rights (access.h) for which a page was refused */
    uint64_t left; /* keys that are still wanted */
    uint8_t low[BOUND_MAX], high[BOUND_MAX], last[BOUND_MAX];
    uint16_t low_n, high_n, last_n; /* last: handed out last */
};

static struct bytes low(const struct avo_scan *s)
{
    return (struct bytes){.p = s->low, .n = s->low_n};
}

static struct bytes high(const struct avo_scan *s)
{
    return (struct bytes){.p = s->high, .n = s->high_n};
}

static struct cursor_scan cursor_scan(const struct avo_scan *s)
{
    return (struct cursor_scan){
        .cluster = s->client->profile.cluster, .low = low(s), .high = high(s), .down = s->down};
}

/* ---- pages ---- */

static void page_free(struct page *p)
{
    free(p->body);
    *p = (struct page){0};
}

static struct scan_ask question(const struct stream *t)
{
    const struct avo_scan *s = t->scan;
    struct bytes bound = {.p = t->bound, .n = t->bound_n};

    return (struct scan_ask){
        .down = s->down,
        .values = s->values,
        .keys_max = (uint16_t)(s->left < BATCH_KEYS_MAX ? s->left : BATCH_KEYS_MAX),
        .bytes_max = BATCH_BYTES,
        .low = s->down ? low(s) : bound,
        .high = s->down ? bound : high(s),
    };
}

static void on_page(void *owner, uint32_t which, const struct core_completion *done);

static void ask(struct stream *t)
{
    uint8_t body[SCAN_ASK_MAX];
    struct avo_client *c = t->scan->client;
    struct scan_ask m = question(t);
    struct core_request q = {
        .op = CLIENT_SCAN,
        .timeout_ms = c->options.timeout_ms,
        .value = {body, scan_ask_encode(&m, false, (struct mbytes){body, sizeof(body)})},
    };
    uint32_t part = (uint32_t)(t - t->scan->streams);

    (void)core_part(c->core, part, &q.shard, &q.group);
    t->status = client_call(c, &q, t->scan, on_page, part);
    t->asked = t->status == AVO_OK;
}

/* Strictly in order and within what was asked; else the replica has gone mad. */
static bool page_makes_sense(const struct stream *t, const struct scan_page *m)
{
    struct scan_ask q = question(t);
    struct batch_list list = m->list;
    struct bytes from = {0};
    struct batch_item i;

    if (m->values != q.values ||
        (m->more && (bytes_compare(m->next, q.low) <= 0 ||
                     (q.high.n != 0 && bytes_compare(m->next, q.high) >= 0)))) {
        return false;
    }
    while (batch_list_next(&list, &i)) {
        bool in =
            bytes_compare(i.key, q.low) >= 0 && (q.high.n == 0 || bytes_compare(i.key, q.high) < 0);
        int c = from.n == 0 ? 1 : bytes_compare(i.key, from);

        if (!in || (from.n != 0 && (q.down ? c >= 0 : c <= 0))) {
            return false;
        }
        from = i.key;
    }
    return true;
}

/* Takes the next item of the page, or the page ahead, or asks for one. */
static void advance(struct stream *t)
{
    while (!t->has_item && !t->ended) {
        if (t->now.body == NULL) {
            if (t->ahead.body == NULL) {
                if (!t->asked && t->status == AVO_OK) {
                    ask(t);
                }
                return;
            }
            t->now = t->ahead;
            t->ahead = (struct page){0};
        }
        if (!t->asked && t->ahead.body == NULL && t->now.m.more && t->scan->left > PREFETCH_ABOVE) {
            ask(t);
        }
        t->has_item = batch_list_next(&t->now.m.list, &t->item);
        if (!t->has_item) {
            t->ended = !t->now.m.more;
            page_free(&t->now);
        }
    }
}

static void take_page(struct stream *t, struct bytes body)
{
    struct page p = {.body = malloc(body.n)};

    if (p.body == NULL) {
        t->status = AVO_NO_MEMORY;
        return;
    }
    memcpy(p.body, body.p, body.n);
    if (scan_page_decode((struct bytes){p.body, body.n}, false, &p.m) != OK ||
        !page_makes_sense(t, &p.m)) {
        t->status = AVO_UNAVAILABLE;
        page_free(&p);
        return;
    }
    t->bound_n = (uint16_t)p.m.next.n;
    if (p.m.more) {
        memcpy(t->bound, p.m.next.p, p.m.next.n);
    }
    t->ahead = p;
}

static void on_page(void *owner, uint32_t which, const struct core_completion *done)
{
    struct avo_scan *s = owner;
    struct stream *t = &s->streams[which];

    t->asked = false;
    t->status = status_of(done->status);
    s->lacks |= done->lacks;
    if (t->status == AVO_OK) {
        take_page(t, done->value);
    }
    s->ready = true;
}

/* ---- open ---- */

static bool take_bound(struct bytes b, uint8_t *to, uint16_t *n)
{
    if (b.n > KEY_MAX) {
        return false;
    }
    if (b.n != 0) {
        memcpy(to, b.p, b.n);
    }
    *n = (uint16_t)b.n;
    return true;
}

/* Keys that begin with the prefix: [prefix, the first key above all of them). */
static void narrow_to_prefix(struct avo_scan *s, struct bytes prefix)
{
    uint8_t end[KEY_MAX];
    size_t n = prefix.n;

    if (bytes_compare(prefix, low(s)) > 0) {
        memcpy(s->low, prefix.p, prefix.n);
        s->low_n = (uint16_t)prefix.n;
    }
    memcpy(end, prefix.p, prefix.n);
    while (n > 0 && end[n - 1] == 0xff) {
        n--;
    }
    if (n > 0) {
        end[n - 1]++;
        if (s->high_n == 0 || bytes_compare((struct bytes){end, n}, high(s)) < 0) {
            memcpy(s->high, end, n);
            s->high_n = (uint16_t)n;
        }
    }
}

static enum avo_status refuse(struct avo_client *c, const char *why)
{
    (void)snprintf(c->last_error, sizeof(c->last_error), "scan: %s", why);
    return AVO_USAGE;
}

static enum avo_status take_range(struct avo_scan *s, const struct avo_scan_options *o)
{
    struct bytes prefix = {.p = o->prefix, .n = o->prefix_len};

    if ((o->start == NULL && o->start_len > 0) || (o->end == NULL && o->end_len > 0) ||
        (o->prefix == NULL && o->prefix_len > 0)) {
        return refuse(s->client, "a NULL pointer with a length");
    }
    if (!take_bound((struct bytes){o->start, o->start_len}, s->low, &s->low_n) ||
        !take_bound((struct bytes){o->end, o->end_len}, s->high, &s->high_n) ||
        prefix.n > KEY_MAX) {
        return refuse(s->client, "a bound or prefix is longer than a key can be");
    }
    if (s->high_n != 0 && bytes_compare(low(s), high(s)) > 0) {
        return refuse(s->client, "the start lies after the end");
    }
    if (prefix.n != 0) {
        narrow_to_prefix(s, prefix);
    }
    s->nothing = s->high_n != 0 && bytes_compare(low(s), high(s)) >= 0;
    return AVO_OK;
}

/* Behind the last key that was handed out, or at the beginning. */
static void place_streams(struct avo_scan *s)
{
    struct bytes bound = s->down ? high(s) : low(s);
    uint8_t after[BOUND_MAX];
    uint32_t shard, group;

    if (s->last_n != 0) {
        memcpy(after, s->last, s->last_n);
        after[s->last_n] = 0; /* the first key above it */
        bound = (struct bytes){after, s->last_n + (s->down ? 0U : 1U)};
    }
    for (uint32_t i = 0; i < s->streams_n; i++) {
        s->streams[i] = (struct stream){.scan = s, .bound_n = (uint16_t)bound.n};
        if (bound.n != 0) {
            memcpy(s->streams[i].bound, bound.p, bound.n);
        }
        /* Nothing lies beyond: the last key was the outermost of the range. */
        s->streams[i].ended =
            s->nothing || !core_part(s->client->core, i, &shard, &group) ||
            (s->last_n != 0 && (s->down ? bytes_compare(low(s), bound) >= 0
                                        : s->high_n != 0 && bytes_compare(bound, high(s)) >= 0));
    }
}

static void free_streams(struct avo_scan *s)
{
    client_calls_forget(s->client, s);
    for (uint32_t i = 0; s->streams != NULL && i < s->streams_n; i++) {
        page_free(&s->streams[i].now);
        page_free(&s->streams[i].ahead);
    }
    free(s->streams);
    s->streams = NULL;
}

static bool open_streams(struct avo_scan *s)
{
    s->streams_n = core_parts(s->client->core);
    s->streams = calloc(s->streams_n, sizeof(*s->streams));
    if (s->streams == NULL) {
        return false;
    }
    place_streams(s);
    return true;
}

static enum avo_status take_options(struct avo_scan *s, const struct avo_scan_options *o)
{
    struct cursor_scan k;
    enum avo_status status;
    enum err err = OK;
    size_t n;

    for (size_t i = 0; i < sizeof(o->reserved) / sizeof(o->reserved[0]); i++) {
        if (o->reserved[i] != 0) {
            return refuse(s->client, "a reserved option is not zero; start from all zeroes");
        }
    }
    if ((o->flags & ~(unsigned)(AVO_SCAN_REVERSE | AVO_SCAN_VALUES)) != 0) {
        return refuse(s->client, "an unknown flag");
    }
    s->down = (o->flags & AVO_SCAN_REVERSE) != 0;
    s->values = (o->flags & AVO_SCAN_VALUES) != 0;
    s->left = o->limit == 0 ? UINT64_MAX : o->limit;
    status = take_range(s, o);
    if (status != AVO_OK || o->cursor == NULL || o->cursor[0] == '\0') {
        return status;
    }
    k = cursor_scan(s);
    err = cursor_read(&k, o->cursor, s->last, &n);
    if (err == ERR_MISMATCH) {
        return refuse(s->client, "the cursor is of another cluster, range or direction");
    }
    if (err != OK) {
        return refuse(s->client, "this is no cursor; take one that a scan has returned");
    }
    s->last_n = (uint16_t)n;
    return AVO_OK;
}

AVO_API enum avo_status avo_scan_open(struct avo_client *c, const struct avo_scan_options *options,
                                      struct avo_scan **ret_scan)
{
    static const struct avo_scan_options everything;
    struct avo_scan *s;
    enum avo_status status;

    if (c == NULL || ret_scan == NULL) {
        return AVO_USAGE;
    }
    *ret_scan = NULL;
    s = calloc(1, sizeof(*s));
    if (s == NULL) {
        return AVO_NO_MEMORY;
    }
    s->client = c;
    status = take_options(s, options == NULL ? &everything : options);
    if (status == AVO_OK && !open_streams(s)) {
        status = AVO_NO_MEMORY;
    }
    if (status != AVO_OK) {
        avo_scan_close(s);
        return status;
    }
    *ret_scan = s;
    return AVO_OK;
}

AVO_API void avo_scan_close(struct avo_scan *s)
{
    if (s != NULL) {
        free_streams(s);
        free(s);
    }
}

/* ---- next ---- */

/* The stream whose key comes first. NULL: some have to be waited for, or have failed (*ret), or all
 * have ended (*ret is NOT_FOUND). */
static struct stream *first(struct avo_scan *s, enum avo_status *ret)
{
    struct stream *best = NULL;
    bool waits = false;

    *ret = AVO_NOT_FOUND;
    s->asked = false;
    for (uint32_t i = 0; i < s->streams_n; i++) {
        struct stream *t = &s->streams[i];
        int c;

        advance(t);
        if (t->ended) {
            continue;
        }
        if (!t->has_item) {
            waits = true;
            if (!t->asked) { /* said once; then it is asked again */
                *ret = t->status;
                t->status = AVO_OK;
            }
            s->asked = s->asked || t->asked;
            continue;
        }
        c = best == NULL ? -1 : bytes_compare(t->item.key, best->item.key);
        if (best == NULL || (s->down ? c > 0 : c < 0)) {
            best = t;
        }
    }
    if (waits) {
        *ret = *ret == AVO_NOT_FOUND ? AVO_BUSY : *ret;
        return NULL;
    }
    return best;
}

static void hand_out(struct avo_scan *s, struct stream *t, struct avo_entry *ret)
{
    *ret = (struct avo_entry){.key = t->item.key.p,
                              .key_len = t->item.key.n,
                              .value = s->values ? "" : NULL,
                              .value_len = t->item.value.n};
    if (t->item.value.n != 0) {
        ret->value = t->item.value.p;
    }
    memcpy(s->last, t->item.key.p, t->item.key.n);
    s->last_n = (uint16_t)t->item.key.n;
    t->has_item = false; /* its bytes stay until the next call moves on */
    s->left--;
}

static enum avo_status failed(struct avo_scan *s, enum avo_status status)
{
    if (status == AVO_REFUSED && s->lacks != 0) {
        client_refuse_lacking(s->client, "scan", s->lacks);
        return status;
    }
    (void)snprintf(s->client->last_error, sizeof(s->client->last_error), "scan: %s",
                   avo_status_text(status));
    return status;
}

AVO_API enum avo_status avo_scan_next(struct avo_scan *s, struct avo_entry *ret, int timeout_ms)
{
    uint64_t until_ns;
    enum avo_status status;

    if (s == NULL || ret == NULL) {
        return AVO_USAGE;
    }
    if (s->left == 0) {
        return AVO_NOT_FOUND;
    }
    until_ns =
        timeout_ms < 0 ? UINT64_MAX : client_now_ns() + (uint64_t)timeout_ms * UINT64_C(1000000);
    for (;;) {
        struct stream *t;

        if (core_parts(s->client->core) != s->streams_n) {
            free_streams(s); /* keys have moved: begin anew behind the last one */
            if (!open_streams(s)) {
                return failed(s, AVO_NO_MEMORY);
            }
        }
        s->ready = false;
        t = first(s, &status);
        if (t != NULL) {
            hand_out(s, t, ret);
            return AVO_OK;
        }
        if (status != AVO_BUSY) {
            return status == AVO_NOT_FOUND ? status : failed(s, status);
        }
        if (!s->asked) {
            return failed(s, AVO_BUSY); /* in_flight_max leaves no room for a page */
        }
        client_run(s->client, &s->ready, until_ns);
        if (!s->ready) {
            return AVO_BUSY;
        }
    }
}

AVO_API enum avo_status avo_scan_cursor(const struct avo_scan *s, char *to, size_t size)
{
    char text[CURSOR_TEXT_MAX];
    struct cursor_scan k;

    if (s == NULL || to == NULL || size == 0) {
        return AVO_USAGE;
    }
    text[0] = '\0';
    if (s->last_n != 0) {
        k = cursor_scan(s);
        cursor_write(&k, (struct bytes){s->last, s->last_n}, text);
    }
    if (strlen(text) >= size) {
        return AVO_TOO_BIG;
    }
    memcpy(to, text, strlen(text) + 1);
    return AVO_OK;
}
