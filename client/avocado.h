// SPDX-License-Identifier: Apache-2.0
#ifndef AVOCADO_H
#define AVOCADO_H

/*
 * libavocado: a client of an Avocado cluster.
 *
 * Two faces on one core. The asynchronous face starts operations and collects completions, many in
 * flight on one client; the blocking calls are built on it. Keys are 1 to 1024 bytes, values 0 to
 * the cluster's limit (1 MiB unless configured); both may hold any bytes.
 *
 * Every single-key operation is linearizable. A write whose outcome is not known ends with
 * AVO_INDETERMINATE: it may or may not have happened, now or a moment later; it is never repeated
 * behind your back. Reads are repeated at other replicas until their deadline.
 *
 * Threads: a client belongs to one thread at a time. Use one client per thread.
 */

#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

#define AVO_API __attribute__((visibility("default")))

/* Stable values. */
enum avo_status {
    AVO_OK = 0,
    AVO_NOT_FOUND = 1,      /* get: no such key */
    AVO_USAGE = 2,          /* a wrong argument: nothing was done */
    AVO_UNAVAILABLE = 3,    /* no replica or no majority answered in time: nothing was done */
    AVO_INDETERMINATE = 4,  /* a write whose outcome is unknown */
    AVO_REFUSED = 5,        /* authentication or policy: nothing was done */
    AVO_INTEGRITY = 6,      /* the value was tampered with on every replica that was reached */
    AVO_TOO_BIG = 7,        /* key or value above the limit: nothing was done */
    AVO_ENCLAVE_MEMORY = 8, /* the cluster's enclave memory is used up: nothing was done */
    AVO_HOST_MEMORY = 9,    /* the cluster's host memory is used up: nothing was done */
    AVO_BUSY = 10,          /* avo_submit: too many operations in flight: nothing was done */
    AVO_NO_MEMORY = 11,     /* this process is out of memory: nothing was done */
};

/* A sentence fragment; a stable upper-case name. Static storage, never NULL. */
AVO_API const char *avo_status_text(enum avo_status s);
AVO_API const char *avo_status_name(enum avo_status s);

struct avo_client;

/* All zero means defaults. */
struct avo_options {
    uint32_t timeout_ms;    /* per operation, default 5000, at most 60000 */
    uint32_t connect_ms;    /* for avo_open, default 5000 */
    uint32_t in_flight_max; /* operations started and not yet collected, default 1024 */
    uint32_t coordinator;   /* place of the replica to prefer + 1; 0: chosen at random */
    uint32_t reserved[4];   /* zero */
};

/* Connects with the cluster described by `path` (client.yaml, as `avocado up` writes it): at least
 * one replica must answer within connect_ms, the others are connected in the background. On failure
 * *ret_client is NULL and `why` (may be NULL) holds one line: what happened, why, what to do. */
AVO_API enum avo_status avo_open(const char *path, const struct avo_options *options,
                                 struct avo_client **ret_client, char *why, size_t why_size);
/* Operations in flight end without a completion. NULL is allowed. */
AVO_API void avo_close(struct avo_client *c);

/* ---- asynchronous ---- */

enum avo_op {
    AVO_GET = 1,
    AVO_PUT,
    AVO_DELETE,
};

struct avo_completion {
    uint64_t user; /* as given to avo_submit */
    enum avo_op op;
    enum avo_status status;
    const void *value; /* GET with AVO_OK: valid until the next avo_poll; else NULL */
    size_t value_len;
    uint64_t tag_ts; /* version of the value read or written; 0 when there is none */
    uint32_t tag_writer, tag_rmwc;
};

/* Starts an operation. Key and value are copied. AVO_BUSY when in_flight_max is reached: poll. */
AVO_API enum avo_status avo_submit(struct avo_client *c, enum avo_op op, const void *key,
                                   size_t key_len, const void *value, size_t value_len,
                                   uint64_t user);

/* Moves packets and hands over up to `max` completions; waits up to timeout_ms (0: not at all, -1:
 * until one comes) while there are none. Returns how many were written. */
AVO_API size_t avo_poll(struct avo_client *c, struct avo_completion *to, size_t max,
                        int timeout_ms);
/* Readable when avo_poll has something to do; poll it together with avo_next_ms. */
AVO_API int avo_fd(const struct avo_client *c);
/* Milliseconds until avo_poll must be called even if nothing is readable; -1: never. */
AVO_API int avo_next_ms(const struct avo_client *c);
/* Operations started and not yet collected. */
AVO_API size_t avo_in_flight(const struct avo_client *c);

/* ---- blocking; do not mix with operations in flight (AVO_USAGE) ---- */

/* *ret_value is a malloc'ed copy with a zero byte after it (not counted); the caller frees it. */
AVO_API enum avo_status avo_get(struct avo_client *c, const void *key, size_t key_len,
                                void **ret_value, size_t *ret_value_len);
AVO_API enum avo_status avo_put(struct avo_client *c, const void *key, size_t key_len,
                                const void *value, size_t value_len);
/* AVO_OK also when there was no such key: a delete is a write of "absent". */
AVO_API enum avo_status avo_delete(struct avo_client *c, const void *key, size_t key_len);

/* One line about the last failure on this client; "" if there was none. Valid until the next call.
 */
AVO_API const char *avo_last_error(const struct avo_client *c);

/* ---- cluster state ---- */

/* State of the node at `place` (0..avo_nodes-1) as JSON text, asked over the control channel;
 * malloc'ed. AVO_UNAVAILABLE when it does not answer within timeout_ms: `why` then says the reason.
 */
AVO_API size_t avo_nodes(const struct avo_client *c);
AVO_API enum avo_status avo_node_report(struct avo_client *c, size_t place, int timeout_ms,
                                        char **ret_json, char *why, size_t why_size);

AVO_API const char *avo_version(void);

#ifdef __cplusplus
}
#endif

#endif
