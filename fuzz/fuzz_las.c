// SPDX-License-Identifier: Apache-2.0
/* What a LAS and its processes read from each other: the first byte chooses request, reply or
 * token. */
#include "common/check.h"
#include "trusted/las/las_wire.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct bytes b = {data + 1, size - 1};
    uint8_t to[LAS_REQUEST_MAX];
    struct las_request request;
    struct las_reply reply;
    struct las_claim claim;

    if (size == 0) {
        return 0;
    }
    if (data[0] == 0 && las_request_read(b, &request) == OK) {
        CHECK(las_request_write(&request, (struct mbytes){to, sizeof(to)}) == b.n &&
              memcmp(to, b.p, b.n) == 0);
    }
    if (data[0] >= 1 && data[0] <= 4) {
        enum las_request_kind of = (enum las_request_kind)data[0];

        if (las_reply_read(b, of, &reply) == OK && reply.err == OK) {
            CHECK(las_reply_write(&reply, of, (struct mbytes){to, sizeof(to)}) == b.n &&
                  memcmp(to, b.p, b.n) == 0);
        }
    }
    if (data[0] == 5 && las_token_read(b, &claim) == OK) {
        CHECK(claim.las[0] != '\0' && claim.lifetime_s <= LAS_LIFETIME_MAX_S);
    }
    return 0;
}
