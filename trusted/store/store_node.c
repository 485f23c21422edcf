// SPDX-License-Identifier: Apache-2.0
#include "trusted/store/store_node.h"

#include "common/check.h"

/* The first bytes as a number that orders as they do; missing ones count as zero. */
static uint32_t head_of(struct bytes suffix)
{
    uint32_t v = 0;

    if (suffix.n >= STORE_HEAD_LEN) {
        memcpy(&v, suffix.p, sizeof(v));
        return __builtin_bswap32(v);
    }
    for (size_t i = 0; i < suffix.n; i++) {
        v |= (uint32_t)suffix.p[i] << (24 - 8 * i);
    }
    return v;
}

struct store_cell store_node_cell(struct store_node *x, unsigned i, size_t payload_len)
{
    struct store_cell c = {.payload = store_node_payload(x, i), .head = store_node_head(x, i)};
    const uint8_t *p = c.payload + payload_len;

    c.suffix_len = *p++;
    if (c.suffix_len >= 128) {
        c.suffix_len = (c.suffix_len & 127) << 8 | *p++;
    }
    c.tail = p;
    return c;
}

/* Order of a suffix and a cell whose heads are equal. Zero padding made equal what differs in
 * length only, and then the length decides. */
static int compare_tail(struct bytes suffix, const struct store_cell *c)
{
    if (suffix.n > STORE_HEAD_LEN && c->suffix_len > STORE_HEAD_LEN) {
        return bytes_compare((struct bytes){suffix.p + STORE_HEAD_LEN, suffix.n - STORE_HEAD_LEN},
                             (struct bytes){c->tail, c->suffix_len - STORE_HEAD_LEN});
    }
    return suffix.n < c->suffix_len ? -1 : suffix.n > c->suffix_len;
}

/* First entry in [from, n) whose head is not below (or, with `after`, is above) `head`. Without a
 * branch on what is compared: nobody could predict it. */
static inline unsigned bound(const struct store_node *x, unsigned from, uint32_t head, bool after)
{
    unsigned lo = from;
    unsigned len = x->n - from;

    while (len > 0) {
        unsigned half = (len + 1) / 2;
        uint32_t h = store_node_head(x, lo + half - 1);
        unsigned below = h < head || (after && h == head);

        lo += half & -below;
        len -= half;
    }
    return lo;
}

unsigned store_node_search(struct store_node *x, size_t payload_len, struct bytes suffix,
                           bool *ret_found)
{
    uint32_t head = head_of(suffix);
    unsigned lo = bound(x, 0, head, false);
    unsigned hi = lo;

    *ret_found = false;
    if (lo == x->n || store_node_head(x, lo) != head) {
        return lo;
    }
    /* As a rule exactly one entry has this head; in nodes without a prefix many may. */
    if (lo + 1 < x->n && store_node_head(x, lo + 1) == head) {
        hi = bound(x, lo + 1, head, true) - 1;
    }
    for (;;) {
        unsigned mid = lo + (hi - lo) / 2;
        struct store_cell c = store_node_cell(x, mid, payload_len);
        int order = compare_tail(suffix, &c);

        if (order == 0) {
            *ret_found = true;
            return mid;
        }
        if (order > 0) {
            lo = mid + 1;
        }
        if (order < 0) {
            if (mid == lo) {
                return lo;
            }
            hi = mid - 1;
        }
        if (lo > hi) {
            return lo;
        }
    }
}

unsigned store_node_guess(const struct store_node *x, struct bytes suffix)
{
    return bound(x, 0, head_of(suffix), false);
}

void store_node_init(struct store_node *x, size_t block, struct bytes prefix)
{
    CHECK(block <= UINT16_MAX && prefix.n <= block - sizeof(*x));
    *x = (struct store_node){
        .block = (uint16_t)block,
        .cells = (uint16_t)prefix.n,
        .prefix_len = (uint16_t)prefix.n,
    };
    if (prefix.n > 0) {
        memcpy((uint8_t *)x + block - prefix.n, prefix.p, prefix.n);
    }
}

void store_node_copy(struct store_node *to, size_t block, const struct store_node *from)
{
    CHECK(block <= UINT16_MAX && block >= store_node_used(from));
    memcpy(to, from, sizeof(*from) + (size_t)from->n * STORE_ENTRY_LEN);
    memcpy((uint8_t *)to + block - from->cells, (const uint8_t *)from + from->block - from->cells,
           from->cells);
    to->block = (uint16_t)block;
}

void store_node_insert(struct store_node *x, unsigned i, struct bytes suffix, struct bytes payload)
{
    size_t cost = store_node_cost(payload.n, suffix.n);
    uint16_t distance = (uint16_t)(x->cells + cost - STORE_ENTRY_LEN);
    uint32_t head = head_of(suffix);
    uint8_t *entry = x->b + (size_t)i * STORE_ENTRY_LEN;
    uint8_t *p = (uint8_t *)x + x->block - distance;

    CHECK(i <= x->n && store_node_used(x) + cost <= x->block);
    memmove(entry + STORE_ENTRY_LEN, entry, (size_t)(x->n - i) * STORE_ENTRY_LEN);
    memcpy(entry, &head, sizeof(head));
    memcpy(entry + STORE_HEAD_LEN, &distance, sizeof(distance));
    x->n++;
    x->cells = distance;

    memcpy(p, payload.p, payload.n);
    p += payload.n;
    if (suffix.n < 128) {
        *p++ = (uint8_t)suffix.n;
    } else {
        *p++ = (uint8_t)(128 | suffix.n >> 8);
        *p++ = (uint8_t)suffix.n;
    }
    if (suffix.n > STORE_HEAD_LEN) {
        memcpy(p, suffix.p + STORE_HEAD_LEN, suffix.n - STORE_HEAD_LEN);
    }
}

void store_node_remove(struct store_node *x, unsigned i, size_t payload_len)
{
    CHECK(i < x->n);
    uint8_t *entry = x->b + (size_t)i * STORE_ENTRY_LEN;
    uint32_t suffix_len = store_node_cell(x, i, payload_len).suffix_len;
    uint16_t len = (uint16_t)(store_node_cost(payload_len, suffix_len) - STORE_ENTRY_LEN);
    uint8_t *cells = (uint8_t *)x + x->block - x->cells;
    const uint8_t *cell = store_node_payload(x, i);
    uint16_t gone = (uint16_t)((uint8_t *)x + x->block - cell);

    memmove(cells + len, cells, (size_t)(cell - cells));
    memmove(entry, entry + STORE_ENTRY_LEN, (size_t)(x->n - i - 1) * STORE_ENTRY_LEN);
    x->n--;
    x->cells = (uint16_t)(x->cells - len);
    for (unsigned k = 0; k < x->n; k++) {
        uint8_t *p = x->b + (size_t)k * STORE_ENTRY_LEN + STORE_HEAD_LEN;
        uint16_t distance;

        memcpy(&distance, p, sizeof(distance));
        if (distance > gone) {
            distance = (uint16_t)(distance - len);
            memcpy(p, &distance, sizeof(distance));
        }
    }
}

void store_node_write_suffix(const struct store_cell *c, uint8_t *to)
{
    uint32_t n = c->suffix_len < STORE_HEAD_LEN ? c->suffix_len : STORE_HEAD_LEN;

    for (uint32_t i = 0; i < n; i++) {
        to[i] = (uint8_t)(c->head >> (24 - 8 * i));
    }
    if (c->suffix_len > STORE_HEAD_LEN) {
        memcpy(to + STORE_HEAD_LEN, c->tail, c->suffix_len - STORE_HEAD_LEN);
    }
}
