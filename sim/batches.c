// SPDX-License-Identifier: Apache-2.0
#include "sim/batches.h"

#include "common/check.h"
#include "trusted/wire/batch_wire.h"

#include <stdlib.h>

enum { BODY_MAX = 1 << 20 };

/* ---- what is asked ---- */

/* [low, high): the keys of the group; they ascend. */
static void put_scan(const struct history *h, size_t head, struct writer *w)
{
    const struct history_op *o = &h->ops[head];
    struct sim_key low = sim_key(o->key), high = sim_key(h->ops[head + o->batch_n - 1].key + 1);
    struct scan_ask ask = {.down = o->scan_down,
                           .values = true,
                           .keys_max = o->scan_keys_max,
                           .bytes_max = BATCH_BYTES,
                           .low = {low.b, SIM_KEY_LEN},
                           .high = {high.b, SIM_KEY_LEN}};

    w->len += scan_ask_encode(&ask, false, (struct mbytes){w->to.p + w->len, w->to.n - w->len});
}

static void put_items(const struct history *h, size_t head, struct writer *w)
{
    const struct history_op *o = &h->ops[head];
    unsigned fields = o->batch == CLIENT_MPUT ? BATCH_MPUT : BATCH_MGET;

    put_u16(w, (uint16_t)o->batch_n);
    for (size_t i = head; i < head + o->batch_n; i++) {
        struct sim_key key = sim_key(h->ops[i].key);
        struct client_request one;
        uint8_t *block;

        history_request(h, i, &one, &block);
        batch_item_put(w, fields,
                       &(struct batch_item){.state = h->ops[i].op == CLIENT_DELETE ? BATCH_TOMBSTONE
                                                                                   : BATCH_LIVE,
                                            .key = {key.b, SIM_KEY_LEN},
                                            .value = one.value});
        free(block);
    }
}

void batches_request(const struct history *h, size_t head, struct client_request *ret,
                     uint8_t **ret_block)
{
    const struct history_op *o = &h->ops[head];
    struct writer w = {.to = {malloc(BODY_MAX), BODY_MAX}};

    CHECK(w.to.p != NULL);
    if (o->batch == CLIENT_SCAN) {
        put_scan(h, head, &w);
    } else {
        put_items(h, head, &w);
    }
    CHECK(!w.failed);
    *ret = (struct client_request){
        .op = o->batch, .timeout_ms = o->timeout_ms, .value = {w.to.p, w.len}};
    *ret_block = w.to.p;
}

/* ---- what is answered ---- */

static bool say(char ret_why[BATCH_WHY_MAX], const char *what)
{
    (void)snprintf(ret_why, BATCH_WHY_MAX, "%s", what);
    return false;
}

static bool return_all(struct history *h, size_t head, enum err status, uint64_t now_ns)
{
    size_t end = head + h->ops[head].batch_n;

    for (size_t i = head; i < end; i++) {
        (void)history_return(h, i, status, (struct bytes){0}, now_ns);
    }
    return true;
}

static bool return_list(struct history *h, size_t head, struct bytes value, uint64_t now_ns,
                        char ret_why[BATCH_WHY_MAX])
{
    static const uint8_t nothing;
    bool reads = h->ops[head].batch == CLIENT_MGET, good = true;
    size_t end = head + h->ops[head].batch_n;
    struct batch_list list;
    struct batch_item m;

    if (batch_list_decode(value, reads ? BATCH_VALUES : BATCH_STATES, ERR_N, &list) != OK ||
        list.n != h->ops[head].batch_n) {
        (void)return_all(h, head, ERR_MALFORMED, now_ns);
        return say(ret_why, "the answer to a batch is no list of its keys");
    }
    for (size_t i = head; i < end; i++) {
        CHECK(batch_list_next(&list, &m));
        if (m.value.p == NULL) {
            m.value.p = &nothing;
        }
        good &= history_return(h, i, (enum err)m.state,
                               reads && m.state == OK ? m.value : (struct bytes){0}, now_ns);
    }
    return good || say(ret_why, "a batch answered bytes that nobody wrote");
}

/* Whether the page speaks of the key. */
static bool covers(const struct scan_page *page, bool down, struct bytes key)
{
    int c = !page->more ? 0 : bytes_compare(key, page->next);

    return !page->more || (down ? c >= 0 : c < 0);
}

/* SCAN-6: in order, each once, within the range and what the page covers. */
static bool listed_well(const struct history *h, size_t head, const struct scan_page *page)
{
    const struct history_op *o = &h->ops[head];
    struct batch_list list = page->list;
    struct bytes last = {0};
    struct batch_item m;
    uint32_t n = 0;

    while (batch_list_next(&list, &m)) {
        bool known = false;
        int c = n == 0 ? 0 : bytes_compare(m.key, last);

        for (size_t i = head; i < head + o->batch_n; i++) {
            struct sim_key key = sim_key(h->ops[i].key);

            known = known || bytes_equal(m.key, (struct bytes){key.b, SIM_KEY_LEN});
        }
        if (!known || !covers(page, o->scan_down, m.key) ||
            (n > 0 && (o->scan_down ? c >= 0 : c <= 0))) {
            return false;
        }
        last = m.key;
        n++;
    }
    return n <= o->scan_keys_max;
}

static bool find(const struct scan_page *page, struct bytes key, struct batch_item *ret)
{
    struct batch_list list = page->list;

    while (batch_list_next(&list, ret)) {
        if (bytes_equal(ret->key, key)) {
            return true;
        }
    }
    return false;
}

static bool return_page(struct history *h, size_t head, struct bytes value, uint64_t now_ns,
                        char ret_why[BATCH_WHY_MAX])
{
    static const uint8_t nothing;
    bool down = h->ops[head].scan_down, good = true;
    size_t end = head + h->ops[head].batch_n;
    struct scan_page page;

    if (scan_page_decode(value, false, &page) != OK || !listed_well(h, head, &page)) {
        (void)return_all(h, head, ERR_MALFORMED, now_ns);
        return say(ret_why, "a page of a scan is out of order or out of range");
    }
    for (size_t i = head; i < end; i++) {
        struct sim_key key = sim_key(h->ops[i].key);
        struct bytes k = {key.b, SIM_KEY_LEN};
        struct batch_item m = {0};

        if (!covers(&page, down, k)) {
            (void)history_return(h, i, ERR_UNAVAILABLE, (struct bytes){0}, now_ns);
        } else if (find(&page, k, &m)) {
            m.value.p = m.value.p == NULL ? &nothing : m.value.p;
            good &= history_return(h, i, OK, m.value, now_ns);
        } else {
            (void)history_return(h, i, ERR_NOT_FOUND, (struct bytes){0}, now_ns);
        }
    }
    return good || say(ret_why, "a scan showed bytes that nobody wrote");
}

bool batches_return(struct history *h, size_t head, enum err status, struct bytes value,
                    uint64_t now_ns, char ret_why[BATCH_WHY_MAX])
{
    if (status != OK) {
        return return_all(h, head, status, now_ns);
    }
    return h->ops[head].batch == CLIENT_SCAN ? return_page(h, head, value, now_ns, ret_why)
                                             : return_list(h, head, value, now_ns, ret_why);
}
