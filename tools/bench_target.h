// SPDX-License-Identifier: Apache-2.0
#ifndef TOOLS_BENCH_TARGET_H
#define TOOLS_BENCH_TARGET_H

/*
 * What the benchmark loads. Avocado is one target; peers/ has others, so that they are measured by
 * the same loops, the same keys and the same histograms. A handle is one client; it belongs to one
 * thread.
 */

#include "client/avocado.h"

#include <stdbool.h>

struct bench;

struct bench_target {
    const char *name; /* --cluster NAME://... means this one */
    bool has_scans;   /* the handle is a struct avo_client */
    bool lock_step;   /* one operation at a time on a connection */
    /* Before anything: is it there? Sets b->nodes_n. `why` is one line about a failure. */
    enum avo_status (*look)(struct bench *b, char *why, size_t why_size);
    /* The number-th client, for in_flight operations at once. */
    enum avo_status (*open)(const struct bench *b, uint64_t number, uint32_t in_flight, void **ret,
                            char *why, size_t why_size);
    /* Key and value are copied. Anything but AVO_OK: nothing was started. */
    enum avo_status (*submit)(void *handle, const struct avo_rmw *op, uint64_t user);
    /* Never blocks. Values are valid until the next call. */
    size_t (*poll)(void *handle, struct avo_completion *got, size_t n);
    int (*fd)(void *handle);      /* readable: poll */
    int (*next_ms)(void *handle); /* poll within so long even so; 0: at once; -1: no need */
    const char *(*last_error)(void *handle);
    void (*close)(void *handle); /* NULL is allowed */
};

extern const struct bench_target bench_avocado;

/* The program: options, run, report. `targets` ends with NULL; the first needs no NAME. */
int bench_main(int argc, char **argv, const struct bench_target *const targets[]);

#endif
