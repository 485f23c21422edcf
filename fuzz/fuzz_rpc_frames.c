// SPDX-License-Identifier: Apache-2.0
/* Whatever frame decodes encodes to the very same bytes; a refused one moves nothing. */
#include "common/check.h"
#include "trusted/wire/rpc_wire.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void frames(struct bytes in)
{
    static uint8_t to[1 << 17];
    struct reader r = {.rest = in};

    while (r.rest.n != 0) {
        const uint8_t *start = r.rest.p;
        size_t before = r.rest.n;
        struct writer w = {.to = {.p = to, .n = sizeof(to)}};
        struct rpc_frame f;

        if (rpc_frame_decode(&r, &f) != OK) {
            CHECK(r.rest.p == start && r.rest.n == before);
            return;
        }
        rpc_frame_encode(&w, &f);
        CHECK(!w.failed && w.len == before - r.rest.n && memcmp(to, start, w.len) == 0);
    }
}

static void header(struct bytes in)
{
    uint8_t to[RPC_HEADER_LEN];
    struct bytes clear;
    struct bytes sealed;
    struct rpc_header h;

    if (rpc_header_decode(in, &h, &clear, &sealed) == OK) {
        rpc_header_encode(&h, to);
        CHECK(clear.n == sizeof(to) && memcmp(to, in.p, sizeof(to)) == 0);
        CHECK(clear.n + sealed.n == in.n && sealed.n >= AEAD_TAG_LEN);
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    frames((struct bytes){.p = data, .n = size});
    header((struct bytes){.p = data, .n = size});
    return 0;
}
