// SPDX-License-Identifier: Apache-2.0
#include "trusted/wire/batch_wire.h"

#include "common/check.h"

_Static_assert((int)BOUND_MAX <= (int)UINT16_MAX, "a bound's length is two bytes");
_Static_assert(1 + TAG_WIRE_LEN + 8 + 2 + 4 <= BATCH_ITEM_MAX, "what limits.h allows for an item");

/* ---- items ---- */

size_t batch_item_len(unsigned fields, const struct batch_item *m)
{
    size_t n = 0;

    n += (fields & BATCH_STATE) != 0 ? 1 : 0;
    n += (fields & BATCH_TAG) != 0 ? TAG_WIRE_LEN : 0;
    n += (fields & BATCH_PRINT) != 0 ? 8 : 0;
    n += (fields & BATCH_KEY) != 0 ? 2 + m->key.n : 0;
    n += (fields & BATCH_VALUE) != 0 ? 4 + m->value.n : 0;
    return n;
}

void batch_item_put(struct writer *w, unsigned fields, const struct batch_item *m)
{
    if ((fields & BATCH_STATE) != 0) {
        put_u8(w, m->state);
    }
    if ((fields & BATCH_TAG) != 0) {
        put_tag(w, m->tag);
    }
    if ((fields & BATCH_PRINT) != 0) {
        put_u64(w, m->print);
    }
    if ((fields & BATCH_KEY) != 0) {
        put_u16(w, (uint16_t)m->key.n);
        put_bytes(w, m->key);
    }
    if ((fields & BATCH_VALUE) != 0) {
        put_u32(w, (uint32_t)m->value.n);
        put_bytes(w, m->value);
    }
}

static struct batch_item item_get(struct reader *r, unsigned fields)
{
    struct batch_item m = {0};

    if ((fields & BATCH_STATE) != 0) {
        m.state = get_u8(r);
    }
    if ((fields & BATCH_TAG) != 0) {
        m.tag = get_tag(r);
    }
    if ((fields & BATCH_PRINT) != 0) {
        m.print = get_u64(r);
    }
    if ((fields & BATCH_KEY) != 0) {
        m.key = get_bytes(r, get_u16(r));
    }
    if ((fields & BATCH_VALUE) != 0) {
        m.value = get_bytes(r, get_u32(r));
    }
    return m;
}

/* ---- lists ---- */

RESULT batch_list_get(struct reader *r, unsigned fields, unsigned states_n, bool may_be_empty,
                      struct batch_list *ret)
{
    uint16_t n = get_u16(r);
    struct reader items = *r;

    if (n > BATCH_KEYS_MAX || (n == 0 && !may_be_empty)) {
        return ERR_MALFORMED;
    }
    for (uint16_t i = 0; i < n; i++) {
        struct batch_item m = item_get(r, fields);

        if (r->failed || m.state >= states_n || m.value.n > VALUE_MAX ||
            ((fields & BATCH_KEY) != 0 && (m.key.n == 0 || m.key.n > KEY_MAX))) {
            return ERR_MALFORMED;
        }
    }
    if (!reader_done(r)) {
        return ERR_MALFORMED;
    }
    *ret = (struct batch_list){.n = n, .fields = fields, .rest = items};
    return OK;
}

RESULT batch_list_decode(struct bytes from, unsigned fields, unsigned states_n,
                         struct batch_list *ret)
{
    struct reader r = {.rest = from};

    return batch_list_get(&r, fields, states_n, false, ret);
}

bool batch_list_next(struct batch_list *l, struct batch_item *ret)
{
    if (l->rest.rest.n == 0) {
        return false;
    }
    *ret = item_get(&l->rest, l->fields);
    CHECK(!l->rest.failed); /* batch_list_get has been through it */
    return true;
}

/* ---- ranges ---- */

static struct bytes get_bound(struct reader *r)
{
    struct bytes b = get_bytes(r, get_u16(r));

    r->failed = r->failed || b.n > BOUND_MAX;
    return b;
}

static void put_bound(struct writer *w, struct bytes b)
{
    CHECK(b.n <= BOUND_MAX);
    put_u16(w, (uint16_t)b.n);
    put_bytes(w, b);
}

RESULT scan_ask_decode(struct bytes from, bool is_range, struct scan_ask *ret)
{
    struct reader r = {.rest = from};
    uint8_t flags = get_u8(&r);
    struct scan_ask m = {.down = (flags & SCAN_DOWN) != 0, .values = (flags & SCAN_VALUES) != 0};

    m.keys_max = get_u16(&r);
    m.bytes_max = get_u32(&r);
    m.low = get_bound(&r);
    m.high = get_bound(&r);
    if (is_range) {
        struct bytes secret = get_bytes(&r, sizeof(m.secret));

        if (secret.n == sizeof(m.secret)) {
            memcpy(m.secret, secret.p, sizeof(m.secret));
        }
        m.digest = get_u64(&r);
        m.count = get_u16(&r);
    }
    if (!reader_done(&r) || (flags & ~(unsigned)(SCAN_DOWN | SCAN_VALUES)) != 0 ||
        m.keys_max == 0 || m.keys_max > BATCH_KEYS_MAX ||
        (m.high.n != 0 && bytes_compare(m.low, m.high) >= 0)) {
        return ERR_MALFORMED;
    }
    *ret = m;
    return OK;
}

size_t scan_ask_encode(const struct scan_ask *m, bool is_range, struct mbytes to)
{
    struct writer w = {.to = to};
    size_t n;

    CHECK(m->keys_max > 0 && m->keys_max <= BATCH_KEYS_MAX);
    put_u8(&w, (uint8_t)((m->down ? SCAN_DOWN : 0) | (m->values ? SCAN_VALUES : 0)));
    put_u16(&w, m->keys_max);
    put_u32(&w, m->bytes_max);
    put_bound(&w, m->low);
    put_bound(&w, m->high);
    if (is_range) {
        put_bytes(&w, (struct bytes){m->secret, sizeof(m->secret)});
        put_u64(&w, m->digest);
        put_u16(&w, m->count);
    }
    CHECK(writer_done(&w, &n));
    return n;
}

void scan_page_put_head(struct writer *w, const struct scan_page *m, uint16_t n)
{
    put_u8(w, (uint8_t)((m->more ? PAGE_MORE : 0) | (m->values ? PAGE_VALUES : 0)));
    put_bound(w, m->more ? m->next : (struct bytes){0});
    put_u16(w, n);
}

RESULT scan_page_decode(struct bytes from, bool is_listed, struct scan_page *ret)
{
    struct reader r = {.rest = from};
    uint8_t flags = get_u8(&r);
    struct scan_page m = {.more = (flags & PAGE_MORE) != 0, .values = (flags & PAGE_VALUES) != 0};
    unsigned fields = m.values ? BATCH_PAGE_VALUES : BATCH_PAGE_KEYS;

    if (is_listed) {
        fields = m.values ? BATCH_LISTED_PRINTS : BATCH_LISTED;
    }
    m.next = get_bound(&r);
    if (r.failed || (flags & ~(unsigned)(PAGE_MORE | PAGE_VALUES)) != 0 ||
        m.more != (m.next.n != 0)) {
        return ERR_MALFORMED;
    }
    TRY(batch_list_get(&r, fields, is_listed ? BATCH_DAMAGED + 1 : BATCH_TOMBSTONE + 1, true,
                       &m.list));
    *ret = m;
    return OK;
}
