// SPDX-License-Identifier: Apache-2.0
#include "tools/bench_progress.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static const uint64_t SECOND_NS = 1000000000;

/* Without memory the timeline ends; the totals do not depend on it. */
static void keep(struct timeline *t, const struct timeline_point *p)
{
    if (t->n == t->room) {
        size_t room = t->room == 0 ? 64 : t->room * 2;
        struct timeline_point *more = realloc(t->points, room * sizeof(more[0]));

        if (more == NULL) {
            return;
        }
        t->points = more;
        t->room = room;
    }
    t->points[t->n++] = *p;
}

static void add_bar(struct progress *p, double value)
{
    if (p->bars_n == PROGRESS_BARS) {
        memmove(p->bars, p->bars + 1, (PROGRESS_BARS - 1) * sizeof(p->bars[0]));
        p->bars_n--;
    }
    p->bars[p->bars_n++] = value;
}

static void print_bars(const struct progress *p)
{
    static const char *const bars[] = {"▁", "▂", "▃", "▄", "▅", "▆", "▇", "█"};
    double most = 1;

    for (size_t i = 0; i < p->bars_n; i++) {
        most = p->bars[i] > most ? p->bars[i] : most;
    }
    for (size_t i = 0; i < p->bars_n; i++) {
        (void)fputs(bars[(int)(p->bars[i] / most * 7.99)], stderr);
    }
}

static void print_line(struct progress *p, const struct timeline_point *now, const char *what,
                       double part)
{
    bool is_terminal = isatty(STDERR_FILENO) == 1;

    (void)fprintf(stderr, "%s%s %3.0f %%  %9.0f ops/s  p50 %7.0f us  p99 %7.0f us  errors %" PRIu64,
                  is_terminal ? "\r\033[K" : "", what, part * 100, now->ops_per_s,
                  (double)now->p50_ns / 1000, (double)now->p99_ns / 1000, p->errors_before);
    if (now->behind > 0) {
        (void)fprintf(stderr, "  behind %" PRIu64, now->behind);
    }
    (void)fputs("  ", stderr);
    if (is_terminal) {
        print_bars(p);
    } else {
        (void)fputs("\n", stderr);
    }
}

static struct timeline_point take(struct progress *p, struct team *t, uint64_t now_ns)
{
    struct timeline_point r = {.at_s = (double)(now_ns - p->began_ns) / 1e9};
    uint64_t errors = team_interval(t, &p->interval, &r.behind);

    r.ops = p->interval.n;
    r.ops_per_s = (double)r.ops * 1e9 / (double)(now_ns - p->last_ns);
    r.p50_ns = histogram_quantile(&p->interval, 0.5);
    r.p99_ns = histogram_quantile(&p->interval, 0.99);
    r.max_ns = p->interval.max;
    r.errors = errors - p->errors_before;
    p->errors_before = errors;
    p->last_ns = now_ns;
    p->next_ns = now_ns + p->interval_ns;
    if (p->timeline != NULL) {
        keep(p->timeline, &r);
    }
    return r;
}

void progress_start(struct progress *p, struct team *t, struct timeline *timeline)
{
    p->errors_before = team_interval(t, &p->interval, NULL);
    p->began_ns = p->last_ns = bench_now_ns();
    p->next_ns = p->began_ns + p->interval_ns;
    p->shown_ns = p->began_ns;
    p->timeline = timeline;
    p->bars_n = 0;
}

void progress_show(struct progress *p, struct team *t, const char *what, double part)
{
    uint64_t now_ns = bench_now_ns();
    struct timeline_point now;

    if (now_ns < p->next_ns) {
        return;
    }
    now = take(p, t, now_ns);
    add_bar(p, now.ops_per_s);
    if (!p->quiet && now_ns - p->shown_ns >= SECOND_NS) {
        p->shown_ns = now_ns;
        print_line(p, &now, what, part);
    }
}

void progress_end(struct progress *p, struct team *t)
{
    uint64_t now_ns = bench_now_ns();

    if (p->timeline != NULL && now_ns - p->last_ns >= p->interval_ns / 10 /* less says nothing */) {
        (void)take(p, t, now_ns);
    }
    if (!p->quiet && isatty(STDERR_FILENO) == 1) {
        (void)fputs("\r\033[K", stderr);
    }
}

bool timeline_write(const struct timeline *t, const char *path)
{
    FILE *to = fopen(path, "we");
    bool good = to != NULL;

    if (!good) {
        return false;
    }
    (void)fputs("seconds,ops,ops_per_s,p50_us,p99_us,max_us,errors,behind\n", to);
    for (size_t i = 0; i < t->n; i++) {
        const struct timeline_point *p = &t->points[i];

        (void)fprintf(to, "%.3f,%" PRIu64 ",%.1f,%.1f,%.1f,%.1f,%" PRIu64 ",%" PRIu64 "\n", p->at_s,
                      p->ops, p->ops_per_s, (double)p->p50_ns / 1000, (double)p->p99_ns / 1000,
                      (double)p->max_ns / 1000, p->errors, p->behind);
    }
    good = ferror(to) == 0;
    return fclose(to) == 0 && good;
}

void timeline_free(struct timeline *t)
{
    free(t->points);
    *t = (struct timeline){0};
}
