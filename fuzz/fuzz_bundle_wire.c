// SPDX-License-Identifier: Apache-2.0
/* A bundle falls into its items without a byte left out or read twice. */
#include "common/check.h"
#include "trusted/wire/bundle_wire.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct reader items = {.rest = {data, size}};
    struct reader answers = items;
    struct peer_answer m;
    struct bytes ask;
    uint8_t group;
    size_t n = 0;

    while (bundle_next(&items, &group, &ask)) {
        CHECK(ask.p == data + n + BUNDLE_ITEM_HEAD && group == data[n + 2]);
        n += BUNDLE_ITEM_HEAD + ask.n;
    }
    CHECK(n + items.rest.n <= size);
    CHECK(!reader_done(&items) || n == size);
    for (int i = 0; i < BUNDLE_MAX; i++) {
        bool good = bundle_get_answer(&answers, &m) == OK;

        if (good && !peer_answer_is_batch(m.kind) && peer_answer_len(&m) < BUNDLE_ANSWER_MAX) {
            uint8_t bytes[BUNDLE_ANSWER_MAX];
            struct writer w = {.to = {bytes, sizeof(bytes)}};

            bundle_put_answer(&w, &m);
            CHECK(!w.failed);
        }
    }
    return 0;
}
