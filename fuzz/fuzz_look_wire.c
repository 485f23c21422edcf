// SPDX-License-Identifier: Apache-2.0
/* Whatever decodes encodes to the very same bytes. */
#include "common/check.h"
#include "trusted/wire/look_wire.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void ask(struct bytes in)
{
    static struct look_ask m;
    uint8_t head[LOOK_ASK_HEAD_LEN];
    size_t n = sizeof(head);

    if (look_ask_decode(in, &m) != OK) {
        return;
    }
    look_ask_encode_head(m.values, m.n, head);
    CHECK(memcmp(head, in.p, sizeof(head)) == 0);
    for (uint32_t i = 0; i < m.n; i++) {
        CHECK(m.keys[i].p == in.p + n + 2);
        n += 2 + m.keys[i].n;
    }
    CHECK(n == in.n);
}

static void answer(struct bytes in, bool values, uint32_t keys_n)
{
    static struct look_item items[LOOK_KEYS_MAX];
    uint8_t head[LOOK_WITNESS_MAX + LOOK_VALUE_ITEM_LEN];
    struct bytes rest = in;
    struct look_witness w;
    size_t n;

    if (look_witness_decode(&rest, &w) != OK) {
        return;
    }
    n = look_witness_encode(&w, head);
    CHECK(n + rest.n == in.n && memcmp(head, in.p, n) == 0);
    CHECK(!look_witnesses_agree(&w, &w)); /* nobody is two */
    if (look_items_decode(rest, values, keys_n, items) != OK) {
        return;
    }
    for (uint32_t i = 0; i < keys_n; i++) {
        size_t len = look_item_encode_head(&items[i], values, (uint32_t)items[i].value.n, head);

        CHECK(memcmp(head, in.p + n, len) == 0);
        n += len + items[i].value.n;
    }
    CHECK(n == in.n);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size > 1) {
        struct bytes in = {data + 1, size - 1};

        ask(in);
        answer(in, (data[0] & 1) != 0, 1 + (data[0] >> 1) % LOOK_KEYS_MAX);
    }
    return 0;
}
