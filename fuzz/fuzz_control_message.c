// SPDX-License-Identifier: Apache-2.0
/* CTL-2: whatever decodes encodes to the very same bytes. */
#include "common/check.h"
#include "trusted/wire/hello_wire.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static uint8_t again[CONTROL_MESSAGE_MAX + 4];
    struct control_message m = {0};
    uint32_t body = 0;
    size_t n = 0;

    if (control_message_decode((struct bytes){data, size}, &m) != OK) {
        return 0;
    }
    CHECK(control_message_encode(&m, (struct mbytes){again, sizeof(again)}, &n) == OK);
    CHECK(n == size + sizeof(body));
    memcpy(&body, again, sizeof(body));
    CHECK(body == size);
    CHECK(memcmp(again + sizeof(body), data, size) == 0);
    return 0;
}
