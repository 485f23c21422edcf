// SPDX-License-Identifier: Apache-2.0
/* Whatever decodes encodes to the very same bytes. */
#include "common/check.h"
#include "trusted/wire/client_wire.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void request(struct bytes in)
{
    uint8_t head[CLIENT_REQUEST_HEAD_MAX];
    size_t n;
    struct client_request m;

    if (client_request_decode(in, &m) != OK) {
        return;
    }
    n = client_request_encode_head(&m, head);
    CHECK(n + m.key.n + m.value.n == in.n);
    CHECK(memcmp(head, in.p, n) == 0);
    CHECK(m.key.n == 0 || m.key.p == in.p + n);
    CHECK(m.value.n == 0 || m.value.p == in.p + n + m.key.n);
}

static void response(struct bytes in)
{
    uint8_t head[CLIENT_RESPONSE_HEAD_LEN];
    struct client_response m;

    if (client_response_decode(in, &m) != OK) {
        return;
    }
    client_response_encode_head(&m, head);
    CHECK(sizeof(head) + m.value.n == in.n);
    CHECK(memcmp(head, in.p, sizeof(head)) == 0);
    CHECK(m.value.n == 0 || m.value.p == in.p + sizeof(head));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    request((struct bytes){data, size});
    response((struct bytes){data, size});
    return 0;
}
