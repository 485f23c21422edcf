// SPDX-License-Identifier: Apache-2.0
#include "tools/bench_target.h"

#include "tools/bench_worker.h"

static enum avo_status look(struct bench *b, char *why, size_t why_size)
{
    struct avo_options options = {.connect_ms = (uint32_t)b->timeout_ms};
    struct avo_client *c = NULL;
    enum avo_status status = avo_open(b->cluster, &options, &c, why, why_size);

    if (status == AVO_OK) {
        b->nodes_n = avo_nodes(c);
        avo_close(c);
    }
    return status;
}

static enum avo_status open_client(const struct bench *b, uint64_t number, uint32_t in_flight,
                                   void **ret, char *why, size_t why_size)
{
    struct avo_options options = {
        .timeout_ms = (uint32_t)b->timeout_ms,
        .connect_ms = (uint32_t)b->timeout_ms,
        .in_flight_max = in_flight,
        .coordinator = (uint32_t)(b->coordinator != 0 ? b->coordinator : number % b->nodes_n + 1),
    };
    struct avo_client *c = NULL;
    enum avo_status status = avo_open(b->cluster, &options, &c, why, why_size);

    *ret = c;
    return status;
}

static enum avo_status submit(void *handle, const struct avo_rmw *op, uint64_t user)
{
    if (op->op < AVO_CAS) {
        return avo_submit(handle, op->op, op->key, op->key_len, op->value, op->value_len, user);
    }
    return avo_submit_rmw(handle, op, user);
}

static size_t poll_client(void *handle, struct avo_completion *got, size_t n)
{
    return avo_poll(handle, got, n, 0);
}

static int client_fd(void *handle)
{
    return avo_fd(handle);
}

static int client_next_ms(void *handle)
{
    return avo_next_ms(handle);
}

static const char *client_last_error(void *handle)
{
    return avo_last_error(handle);
}

static void close_client(void *handle)
{
    avo_close(handle);
}

const struct bench_target bench_avocado = {
    .name = "avocado",
    .has_scans = true,
    .look = look,
    .open = open_client,
    .submit = submit,
    .poll = poll_client,
    .fd = client_fd,
    .next_ms = client_next_ms,
    .last_error = client_last_error,
    .close = close_client,
};
