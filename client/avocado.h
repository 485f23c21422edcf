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
    AVO_MISMATCH = 12,      /* the compare failed, or the key exists already: nothing was done */
    AVO_NOT_NUMBER = 13,    /* increment: the value is no decimal int64: nothing was done */
    AVO_OVERFLOW = 14,      /* increment: the sum does not fit: nothing was done */
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
    /* Read-modify-writes, one atomic step each, with avo_submit_rmw or avo_rmw: */
    AVO_CAS = 16,  /* writes `value` if the key holds exactly `expect`; else AVO_MISMATCH with the
                      present value, or AVO_NOT_FOUND */
    AVO_PUT_NEW,   /* writes `value` if there is none; else AVO_MISMATCH with the present value */
    AVO_INCR,      /* adds `delta` to a decimal int64, no key being 0: the sum as text, or
                      AVO_NOT_NUMBER, AVO_OVERFLOW */
    AVO_APPEND,    /* writes `value` behind the old one: the new length as decimal text */
    AVO_GET_SET,   /* writes `value`: the old one, or NULL when there was none */
    AVO_DELETE_IF, /* deletes if the key holds exactly `expect`; else as AVO_CAS */
};

/* Key, expect and value may hold any bytes; what an operation does not use is zero. The lengths of
 * `expect` and `value` together are limited like a value. */
struct avo_rmw {
    enum avo_op op; /* AVO_CAS and above */
    const void *key;
    size_t key_len;
    const void *expect; /* CAS, DELETE_IF */
    size_t expect_len;
    const void *value; /* CAS, PUT_NEW, APPEND, GET_SET */
    size_t value_len;
    int64_t delta; /* INCR */
};

struct avo_completion {
    uint64_t user; /* as given to avo_submit */
    enum avo_op op;
    enum avo_status status;
    const void *value; /* GET, and as enum avo_op says: valid until the next avo_poll; else NULL */
    size_t value_len;
    uint64_t tag_ts; /* version of the value read or written; 0 when there is none */
    uint32_t tag_writer, tag_rmwc;
};

/* Starts an operation. Key and value are copied. AVO_BUSY when in_flight_max is reached: poll. */
AVO_API enum avo_status avo_submit(struct avo_client *c, enum avo_op op, const void *key,
                                   size_t key_len, const void *value, size_t value_len,
                                   uint64_t user);

/* The same for a read-modify-write. It takes effect at most once; if its outcome is not known it
 * ends AVO_INDETERMINATE like a write. */
AVO_API enum avo_status avo_submit_rmw(struct avo_client *c, const struct avo_rmw *rmw,
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

/* Any read-modify-write. `ret_value` may be NULL; else *ret_value is NULL when the answer has no
 * value, or a malloc'ed copy with a zero byte after it (not counted), which the caller frees. */
AVO_API enum avo_status avo_rmw(struct avo_client *c, const struct avo_rmw *rmw, void **ret_value,
                                size_t *ret_value_len);
/* *ret_sum (may be NULL) is set with AVO_OK. */
AVO_API enum avo_status avo_incr(struct avo_client *c, const void *key, size_t key_len,
                                 int64_t delta, int64_t *ret_sum);

/* One line about the last failure on this client; "" if there was none. Valid until the next call.
 */
AVO_API const char *avo_last_error(const struct avo_client *c);

/* ---- several keys ---- */

enum avo_item_flags {
    AVO_ITEM_DELETE = 1, /* avo_mput: delete the key; value is not looked at */
};

struct avo_item {
    const void *key;
    size_t key_len;
    const void *value; /* avo_mput: what to write. avo_mget: what was read, until avo_batch_free */
    size_t value_len;
    uint32_t flags;
    enum avo_status status; /* set by the call; AVO_NOT_FOUND: avo_mget, no such key */
};

/*
 * Reads or writes many keys, with one question per replica set (shard) for up to 256 keys and 64
 * KiB. Each key is linearizable by itself, as with avo_get, avo_put and avo_delete; the batch is
 * not atomic, and if a key stands in it twice, either value may prevail. Every item gets its own
 * status; a write whose outcome is not known ends AVO_INDETERMINATE, as always.
 *
 * The calls start the batch; `items`, keys and values must stay until avo_batch_wait has said
 * AVO_OK or avo_batch_free was called. AVO_USAGE: no items, or more than 1,048,576; AVO_NO_MEMORY.
 */
struct avo_batch;
AVO_API enum avo_status avo_mget(struct avo_client *c, struct avo_item *items, size_t n,
                                 struct avo_batch **ret_batch);
AVO_API enum avo_status avo_mput(struct avo_client *c, struct avo_item *items, size_t n,
                                 struct avo_batch **ret_batch);
/* AVO_OK: every item has its status. AVO_BUSY: not within timeout_ms (0: do not wait; drive the
 * client by avo_fd and avo_next_ms; -1: wait until all have ended, at their deadline at the
 * latest). Moves packets of the whole client; completions of other operations wait for avo_poll. */
AVO_API enum avo_status avo_batch_wait(struct avo_batch *b, int timeout_ms);
/* Frees the values that were read. What is still under way may happen or not. NULL is allowed. */
AVO_API void avo_batch_free(struct avo_batch *b);

/* ---- scans ---- */

/*
 * The keys of a range in bytewise order (as memcmp, the shorter first), across all shards. Every
 * key that is handed out had that value, and every key that is passed over was absent, at an
 * instant between the call that asked for its page and the one that handed it out; instants differ
 * from key to key, so the whole is not a snapshot. A key that is not written meanwhile is seen
 * exactly once. docs/protocol/scan.md says more.
 */
struct avo_scan;

enum avo_scan_flags {
    AVO_SCAN_REVERSE = 1, /* from the end to the start */
    AVO_SCAN_VALUES = 2,  /* keys with their values */
};

/* All zero: every key, without values. */
struct avo_scan_options {
    const void *start; /* the first key that may be returned; none: from the beginning */
    size_t start_len;
    const void *end; /* the first key that may not be returned; none: to the end */
    size_t end_len;
    const void *prefix; /* only keys that begin with it */
    size_t prefix_len;
    const char *cursor; /* of avo_scan_cursor: goes on there. NULL or "": from the first key */
    uint64_t limit;     /* at most so many keys; 0: all */
    uint32_t flags;
    uint32_t reserved[5]; /* zero */
};

struct avo_entry {
    const void *key; /* valid until the next call with this scan, like value */
    size_t key_len;
    const void *value; /* NULL without AVO_SCAN_VALUES */
    size_t value_len;
};

/* Room that any cursor fits into, the final zero included. */
#define AVO_CURSOR_MAX 1400

/* Options are copied. AVO_USAGE: a start after the end, a bound that is too long, a cursor that is
 * none or of another scan (the cluster, range and direction must be the same); avo_last_error says
 * which. Many scans may be open on a client; each holds at most two pages (64 KiB of keys and
 * values, or one longer value) for each shard. Close scans before their client. */
AVO_API enum avo_status avo_scan_open(struct avo_client *c, const struct avo_scan_options *options,
                                      struct avo_scan **ret_scan);
/* The next key. AVO_NOT_FOUND: there are no more, or the limit is reached. AVO_BUSY: nothing came
 * within timeout_ms (0: do not wait; drive the client by avo_fd and avo_next_ms and call again; -1:
 * wait). Anything else is a page that failed; calling again asks for it again. Moves packets of the
 * whole client; completions of other operations wait for avo_poll. */
AVO_API enum avo_status avo_scan_next(struct avo_scan *s, struct avo_entry *ret_entry,
                                      int timeout_ms);
/* Where the scan stands, as text without spaces: behind the last key that was handed out; "" before
 * the first. It stays good across restarts of this process. It contains that key. */
AVO_API enum avo_status avo_scan_cursor(const struct avo_scan *s, char *to, size_t size);
/* NULL is allowed. */
AVO_API void avo_scan_close(struct avo_scan *s);

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
