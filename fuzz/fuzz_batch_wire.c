// SPDX-License-Identifier: Apache-2.0
/* Bodies of several keys: whatever decodes encodes to the very same bytes. */
#include "common/check.h"
#include "trusted/wire/batch_wire.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static uint8_t to[1 << 16];

/* Writes the items of the list, whose n stands at the end of `w`, and compares the whole. */
static void again(struct batch_list list, struct writer *w, struct bytes in)
{
    struct batch_item m;

    while (batch_list_next(&list, &m)) {
        size_t before = w->len;

        batch_item_put(w, list.fields, &m);
        CHECK(w->len - before == batch_item_len(list.fields, &m));
    }
    CHECK(!w->failed && w->len == in.n && memcmp(to, in.p, in.n) == 0);
}

static void list(struct bytes in, unsigned fields)
{
    struct writer w = {.to = {to, sizeof(to)}};
    struct batch_list l;

    if (batch_list_decode(in, fields, 256, &l) == OK) {
        put_u16(&w, l.n);
        again(l, &w, in);
    }
}

static void ask(struct bytes in, bool is_range)
{
    struct scan_ask m;

    if (scan_ask_decode(in, is_range, &m) == OK) {
        CHECK(scan_ask_encode(&m, is_range, (struct mbytes){to, sizeof(to)}) == in.n);
        CHECK(memcmp(to, in.p, in.n) == 0);
    }
}

static void page(struct bytes in, bool is_listed)
{
    struct writer w = {.to = {to, sizeof(to)}};
    struct scan_page m;

    if (scan_page_decode(in, is_listed, &m) == OK) {
        scan_page_put_head(&w, &m, m.list.n);
        again(m.list, &w, in);
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static const unsigned lists[] = {BATCH_MGET,   BATCH_VALUES, BATCH_MPUT,   BATCH_STATES,
                                     BATCH_TAGGED, BATCH_LOOK,   BATCH_LOOKED, BATCH_PUSH};
    struct bytes in = {data, size};

    if (size > sizeof(to)) {
        return 0;
    }
    for (size_t i = 0; i < sizeof(lists) / sizeof(lists[0]); i++) {
        list(in, lists[i]);
    }
    ask(in, false);
    ask(in, true);
    page(in, false);
    page(in, true);
    return 0;
}
