// SPDX-License-Identifier: Apache-2.0
#include "tools/bench_report.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

static struct histogram *merge_all(const struct bench_result *r)
{
    struct histogram *all = calloc(1, sizeof(*all));

    for (int op = 0; all != NULL && op < BENCH_OPS; op++) {
        histogram_merge(all, &r->tally.by_op[op]);
    }
    return all;
}

uint64_t bench_result_ops(const struct bench_result *r)
{
    uint64_t n = 0;

    for (int op = 0; op < BENCH_OPS; op++) {
        n += r->tally.by_op[op].n;
    }
    return n;
}

uint64_t bench_result_errors(const struct bench_result *r)
{
    uint64_t n = 0;

    for (int s = 0; s < STATUSES_N; s++) {
        n += r->tally.errors[s];
    }
    return n;
}

static double us(double ns)
{
    return ns / 1000;
}

static double quantile_us(const struct histogram *h, double fraction)
{
    return us((double)histogram_quantile(h, fraction));
}

static void print_row(const char *name, const struct histogram *h, double seconds)
{
    (void)printf("%-8s %12" PRIu64 " %12.0f %10.1f %10.1f %10.1f %10.1f %10.1f\n", name, h->n,
                 (double)h->n / seconds, us(histogram_mean(h)), quantile_us(h, 0.5),
                 quantile_us(h, 0.99), quantile_us(h, 0.999), us((double)h->max));
}

void bench_report_print(const char *title, const struct bench_result *r)
{
    struct histogram *all = merge_all(r);

    if (all == NULL) {
        return;
    }
    if (r->loaded > 0) {
        (void)printf("load: %" PRIu64 " records in %.2f s, %.0f/s\n", r->loaded, r->load_seconds,
                     (double)r->loaded / r->load_seconds);
    }
    (void)printf("%s, %.2f s%s\n\n", title, r->seconds, r->interrupted ? ", interrupted" : "");
    (void)printf("%-8s %12s %12s %10s %10s %10s %10s %10s\n", "", "operations", "per second",
                 "mean us", "p50 us", "p99 us", "p99.9 us", "max us");
    for (int op = 0; op < BENCH_OPS; op++) {
        if (r->tally.by_op[op].n > 0) {
            print_row(bench_op_name((enum bench_op)op), &r->tally.by_op[op], r->seconds);
        }
    }
    print_row("all", all, r->seconds);
    (void)printf("\nerrors %" PRIu64, bench_result_errors(r));
    for (int s = 0; s < STATUSES_N; s++) {
        if (r->tally.errors[s] > 0) {
            (void)printf(", %s %" PRIu64, avo_status_name((enum avo_status)s), r->tally.errors[s]);
        }
    }
    if (r->tally.not_found > 0) {
        (void)printf("; %" PRIu64 " gets found nothing", r->tally.not_found);
    }
    if (r->tally.scanned > 0) {
        (void)printf("; %.0f keys/s in scans", (double)r->tally.scanned / r->seconds);
    }
    if (r->tally.lost_races > 0) {
        (void)printf("; %" PRIu64 " compare-and-sets lost a race", r->tally.lost_races);
    }
    (void)printf("\n");
    if (r->rate > 0) {
        (void)printf(
            "open loop: %" PRIu64 "/s asked for, %" PRIu64 " due and not begun at the end%s\n",
            r->rate, r->behind, r->behind > r->rate / 100 ? ": the cluster did not keep up" : "");
    }
    free(all);
}

/* [largest value of the bucket in ns, count], the empty ones left out. */
static json_t *histogram_json(const struct histogram *h)
{
    json_t *o = json_array();
    uint64_t top, n;
    size_t at = 0;

    while (histogram_next(h, &at, &top, &n)) {
        (void)json_array_append_new(o, json_pack("[II]", (json_int_t)top, (json_int_t)n));
    }
    return o;
}

static void add_summary(json_t *o, const struct histogram *h, double seconds)
{
    (void)json_object_set_new(o, "ops", json_integer((json_int_t)h->n));
    (void)json_object_set_new(o, "ops_per_s", json_real(seconds > 0 ? (double)h->n / seconds : 0));
    (void)json_object_set_new(o, "mean_us", json_real(us(histogram_mean(h))));
    (void)json_object_set_new(o, "min_us", json_real(us((double)h->min)));
    (void)json_object_set_new(o, "p50_us", json_real(quantile_us(h, 0.5)));
    (void)json_object_set_new(o, "p90_us", json_real(quantile_us(h, 0.9)));
    (void)json_object_set_new(o, "p99_us", json_real(quantile_us(h, 0.99)));
    (void)json_object_set_new(o, "p999_us", json_real(quantile_us(h, 0.999)));
    (void)json_object_set_new(o, "max_us", json_real(us((double)h->max)));
}

json_t *bench_report_json(const struct bench_result *r, json_t *config)
{
    json_t *o = json_object(), *by_op = json_object(), *by_status = json_object();
    struct histogram *all = merge_all(r);

    if (all != NULL) {
        add_summary(o, all, r->seconds);
    }
    for (int op = 0; op < BENCH_OPS; op++) {
        if (r->tally.by_op[op].n > 0) {
            json_t *one = json_object();

            add_summary(one, &r->tally.by_op[op], r->seconds);
            (void)json_object_set_new(one, "histogram_ns", histogram_json(&r->tally.by_op[op]));
            (void)json_object_set_new(by_op, bench_op_name((enum bench_op)op), one);
        }
    }
    for (int s = 0; s < STATUSES_N; s++) {
        if (r->tally.errors[s] > 0) {
            (void)json_object_set_new(by_status, avo_status_name((enum avo_status)s),
                                      json_integer((json_int_t)r->tally.errors[s]));
        }
    }
    (void)json_object_set_new(o, "errors", json_integer((json_int_t)bench_result_errors(r)));
    (void)json_object_set_new(o, "errors_by_status", by_status);
    (void)json_object_set_new(o, "not_found", json_integer((json_int_t)r->tally.not_found));
    (void)json_object_set_new(o, "lost_races", json_integer((json_int_t)r->tally.lost_races));
    (void)json_object_set_new(o, "value_bytes", json_integer((json_int_t)r->tally.value_bytes));
    (void)json_object_set_new(o, "scanned", json_integer((json_int_t)r->tally.scanned));
    (void)json_object_set_new(o, "behind", json_integer((json_int_t)r->behind));
    (void)json_object_set_new(o, "seconds", json_real(r->seconds));
    (void)json_object_set_new(o, "interrupted", json_boolean(r->interrupted));
    (void)json_object_set_new(o, "loaded", json_integer((json_int_t)r->loaded));
    (void)json_object_set_new(o, "load_seconds", json_real(r->load_seconds));
    (void)json_object_set_new(o, "by_op", by_op);
    (void)json_object_set_new(o, "config", config);
    free(all);
    return o;
}
