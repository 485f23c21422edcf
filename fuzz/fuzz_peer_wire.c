// SPDX-License-Identifier: Apache-2.0
/* Whatever decodes encodes to the very same bytes. */
#include "common/check.h"
#include "trusted/wire/copy_wire.h"
#include "trusted/wire/peer_wire.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void ask(struct bytes in)
{
    uint8_t head[PEER_ASK_HEAD_MAX];
    struct peer_ask m;
    size_t n;

    if (peer_ask_decode(in, &m) != OK) {
        return;
    }
    n = peer_ask_encode_head(&m, head);
    CHECK(n + m.key.n + m.value.n == in.n);
    CHECK(memcmp(head, in.p, n) == 0);
    CHECK(m.key.n == 0 || m.key.p == in.p + n);
    CHECK(m.value.n == 0 || m.value.p == in.p + n + m.key.n);
}

static void answer(struct bytes in)
{
    static uint8_t to[1 << 16];
    struct peer_answer m;
    size_t n;

    if (in.n > sizeof(to) || peer_answer_decode(in, &m) != OK) {
        return;
    }
    CHECK(peer_answer_len(&m) == in.n);
    CHECK(peer_answer_encode(&m, (struct mbytes){to, in.n}, &n) == OK);
    CHECK(n == in.n && memcmp(to, in.p, n) == 0);
}

static void page(struct bytes in)
{
    static uint8_t to[1 << 16];
    struct reader r = {.rest = in};
    struct copy_entry e;

    while (r.rest.n > 0 && r.rest.n <= sizeof(to)) {
        struct bytes before = r.rest;
        struct writer w = {.to = {to, sizeof(to)}};

        if (!copy_entry_get(&r, &e)) {
            return;
        }
        copy_entry_put_head(&w, &e);
        put_bytes(&w, e.value);
        CHECK(!w.failed && w.len == before.n - r.rest.n && memcmp(to, before.p, w.len) == 0);
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    ask((struct bytes){data, size});
    answer((struct bytes){data, size});
    page((struct bytes){data, size});
    return 0;
}
