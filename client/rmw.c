// SPDX-License-Identifier: Apache-2.0
#include "client/client.h"

#include <stdlib.h>
#include <string.h>

/* Read-modify-writes: docs/protocol/client.md, CLI-16. */

_Static_assert((int)AVO_DELETE_IF - (int)AVO_CAS == (int)CLIENT_RMW_DELETE_IF - (int)CLIENT_RMW_CAS,
               "the same order");

AVO_API enum avo_status avo_submit_rmw(struct avo_client *c, const struct avo_rmw *rmw,
                                       uint64_t user)
{
    struct core_request q;
    enum avo_status status;
    uint8_t *both;

    if (c == NULL || rmw == NULL) {
        return AVO_USAGE;
    }
    if ((rmw->key == NULL && rmw->key_len > 0) || (rmw->expect == NULL && rmw->expect_len > 0) ||
        (rmw->value == NULL && rmw->value_len > 0)) {
        return client_refuse(c, AVO_USAGE, "a NULL pointer with a length");
    }
    if (rmw->expect_len > VALUE_MAX || rmw->value_len > VALUE_MAX) {
        return client_refuse_big(c);
    }
    both = malloc(rmw->expect_len + rmw->value_len + 1);
    if (both == NULL) {
        return client_refuse(c, AVO_NO_MEMORY, "this process is out of memory");
    }
    if (rmw->expect_len > 0) {
        memcpy(both, rmw->expect, rmw->expect_len);
    }
    if (rmw->value_len > 0) {
        memcpy(both + rmw->expect_len, rmw->value, rmw->value_len);
    }
    q = (struct core_request){
        .op = CLIENT_RMW,
        .timeout_ms = c->options.timeout_ms,
        .user = user,
        .key = {.p = rmw->key, .n = rmw->key_len},
        .value = {.p = both, .n = rmw->expect_len + rmw->value_len},
        .rmw = (enum client_rmw)((int)rmw->op - (int)AVO_CAS + 1),
        .expect_len = (uint32_t)rmw->expect_len,
        .delta = rmw->delta,
    };
    status = client_submit(c, &q);
    free(both);
    return status;
}

static enum avo_status ask_rmw(struct avo_client *c, const struct avo_rmw *rmw,
                               struct avo_completion *ret)
{
    enum avo_status status;

    if (c == NULL || client_is_busy(c)) {
        return AVO_USAGE;
    }
    status = avo_submit_rmw(c, rmw, 0);
    if (status != AVO_OK) {
        *ret = (struct avo_completion){.status = status};
        return status;
    }
    while (avo_poll(c, ret, 1, -1) == 0) {
    }
    return ret->status;
}

AVO_API enum avo_status avo_rmw(struct avo_client *c, const struct avo_rmw *rmw, void **ret_value,
                                size_t *ret_value_len)
{
    struct avo_completion done = {0};
    enum avo_status status = ask_rmw(c, rmw, &done);
    char *copy;

    if (ret_value == NULL || ret_value_len == NULL) {
        return status;
    }
    *ret_value = NULL;
    *ret_value_len = 0;
    if (done.value == NULL) {
        return status;
    }
    copy = malloc(done.value_len + 1);
    if (copy == NULL) {
        return status; /* what was done stays done; only the answer's value is lost */
    }
    memcpy(copy, done.value, done.value_len);
    copy[done.value_len] = '\0';
    *ret_value = copy;
    *ret_value_len = done.value_len;
    return status;
}

AVO_API enum avo_status avo_incr(struct avo_client *c, const void *key, size_t key_len,
                                 int64_t delta, int64_t *ret_sum)
{
    const struct avo_rmw rmw = {.op = AVO_INCR, .key = key, .key_len = key_len, .delta = delta};
    struct avo_completion done = {0};
    enum avo_status status = ask_rmw(c, &rmw, &done);
    char text[CLIENT_NUMBER_MAX + 1] = "";

    if (status == AVO_OK && ret_sum != NULL && done.value_len <= CLIENT_NUMBER_MAX) {
        memcpy(text, done.value, done.value_len);
        *ret_sum = strtoll(text, NULL, 10);
    }
    return status;
}
