// SPDX-License-Identifier: Apache-2.0
#include "tools/bench_report.h"

#include <stdio.h>
#include <string.h>

static uint64_t integer(const json_t *o, const char *name)
{
    json_int_t v = json_integer_value(json_object_get(o, name));

    return v < 0 ? 0 : (uint64_t)v;
}

static uint64_t nanoseconds(const json_t *o, const char *name)
{
    double us = json_number_value(json_object_get(o, name));

    return us < 0 ? 0 : (uint64_t)(us * 1000);
}

/* What buckets do not tell is in the summary. */
static bool read_histogram(const json_t *o, struct histogram *h)
{
    const json_t *pairs = json_object_get(o, "histogram_ns"), *pair;
    size_t i;

    histogram_reset(h);
    if (!json_is_array(pairs)) {
        return false;
    }
    json_array_foreach(pairs, i, pair)
    {
        json_int_t top = json_integer_value(json_array_get(pair, 0));
        json_int_t n = json_integer_value(json_array_get(pair, 1));

        if (top < 0 || n <= 0) {
            return false;
        }
        histogram_put(h, (uint64_t)top, (uint64_t)n);
    }
    if (h->n != integer(o, "ops")) {
        return false;
    }
    if (h->n > 0) {
        h->min = nanoseconds(o, "min_us");
        h->max = nanoseconds(o, "max_us");
        h->sum = (uint64_t)(json_number_value(json_object_get(o, "mean_us")) * 1000 * (double)h->n);
    }
    return true;
}

static bool add(struct bench_result *to, const json_t *o, struct histogram *room)
{
    const json_t *by_op = json_object_get(o, "by_op"),
                 *errors = json_object_get(o, "errors_by_status");
    double seconds = json_number_value(json_object_get(o, "seconds"));

    if (!json_is_object(by_op) || seconds <= 0) {
        return false;
    }
    for (int op = 0; op < BENCH_OPS; op++) {
        const json_t *one = json_object_get(by_op, bench_op_name((enum bench_op)op));

        if (one != NULL && !read_histogram(one, room)) {
            return false;
        }
        if (one != NULL) {
            histogram_merge(&to->tally.by_op[op], room);
        }
    }
    for (int s = 0; s < STATUSES_N; s++) {
        to->tally.errors[s] += integer(errors, avo_status_name((enum avo_status)s));
    }
    to->tally.not_found += integer(o, "not_found");
    to->tally.lost_races += integer(o, "lost_races");
    to->tally.value_bytes += integer(o, "value_bytes");
    to->tally.scanned += integer(o, "scanned");
    to->loaded += integer(o, "loaded");
    to->behind += integer(o, "behind");
    to->rate += integer(json_object_get(o, "config"), "rate");
    to->seconds = seconds > to->seconds ? seconds : to->seconds;
    to->interrupted |= json_is_true(json_object_get(o, "interrupted"));
    return true;
}

bool bench_report_merge(struct bench_result *to, char *const *paths, size_t n, char why[static 256])
{
    struct histogram room;

    for (size_t i = 0; i < n; i++) {
        json_error_t error;
        json_t *o = json_load_file(paths[i], 0, &error);
        bool good = o != NULL && add(to, o, &room);

        if (!good) {
            (void)snprintf(why, 256, "%s: %s", paths[i],
                           o == NULL ? error.text : "this is no complete result of avocado-bench");
        }
        json_decref(o);
        if (!good) {
            return false;
        }
    }
    return true;
}
