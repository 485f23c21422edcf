// SPDX-License-Identifier: Apache-2.0
#include "tools/bench_html.h"

#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

enum {
    WIDTH = 720,
    HEIGHT = 260,
    LEFT = 70,
    RIGHT = 70,
    TOP = 16,
    BOTTOM = 36,
    LINES = 5,  /* of the grid */
    STEPS = 20, /* of a curve, for each nine */
};

static const char *const colours[BENCH_OPS] = {"#2e7d32", "#c62828", "#6a1b9a", "#1565c0",
                                               "#795548", "#ef6c00", "#00838f", "#9e9d24"};

static void escaped(FILE *to, const char *text)
{
    for (; *text != '\0'; text++) {
        switch (*text) {
        case '<':
            (void)fputs("&lt;", to);
            break;
        case '>':
            (void)fputs("&gt;", to);
            break;
        case '&':
            (void)fputs("&amp;", to);
            break;
        default:
            (void)fputc(*text, to);
        }
    }
}

/* The next of 1, 2, 5, 10, 20, ... that is not below v: axes end at round numbers. */
static double round_up(double v)
{
    double unit = pow(10, floor(log10(v > 1 ? v : 1)));

    return v <= unit ? unit : v <= 2 * unit ? 2 * unit : v <= 5 * unit ? 5 * unit : 10 * unit;
}

static double x_of(double part)
{
    return LEFT + part * (WIDTH - LEFT - RIGHT);
}

static double y_of(double part)
{
    return HEIGHT - BOTTOM - part * (HEIGHT - TOP - BOTTOM);
}

static void plot_begin(FILE *to, double most, const char *unit)
{
    (void)fprintf(to, "<svg viewBox=\"0 0 %d %d\" role=\"img\">\n", WIDTH, HEIGHT);
    for (int i = 0; i <= LINES; i++) {
        double part = (double)i / LINES;

        (void)fprintf(to,
                      "<line class=\"grid\" x1=\"%d\" x2=\"%d\" y1=\"%.1f\" y2=\"%.1f\"/>"
                      "<text x=\"%d\" y=\"%.1f\" text-anchor=\"end\">%.6g%s</text>\n",
                      LEFT, WIDTH - RIGHT, y_of(part), y_of(part), LEFT - 6, y_of(part) + 4,
                      most * part, i == LINES ? unit : "");
    }
}

static void plot_timeline(FILE *to, const struct timeline *t)
{
    double most = 1, slowest = 1, end_s = t->n == 0 ? 1 : t->points[t->n - 1].at_s;

    for (size_t i = 0; i < t->n; i++) {
        most = fmax(most, t->points[i].ops_per_s);
        slowest = fmax(slowest, (double)t->points[i].p99_ns / 1000);
    }
    most = round_up(most);
    slowest = round_up(slowest);
    plot_begin(to, most, " /s");
    (void)fprintf(to, "<path class=\"area\" d=\"M%.1f,%.1f", x_of(0), y_of(0));
    for (size_t i = 0; i < t->n; i++) {
        double before = i == 0 ? 0 : t->points[i - 1].at_s / end_s;
        double y = y_of(t->points[i].ops_per_s / most);

        (void)fprintf(to, " L%.1f,%.1f L%.1f,%.1f", x_of(before), y,
                      x_of(t->points[i].at_s / end_s), y);
    }
    (void)fprintf(to, " L%.1f,%.1f Z\"/>\n<polyline class=\"late\" points=\"", x_of(1), y_of(0));
    for (size_t i = 0; i < t->n; i++) {
        (void)fprintf(to, "%.1f,%.1f ", x_of(t->points[i].at_s / end_s),
                      y_of((double)t->points[i].p99_ns / 1000 / slowest));
    }
    (void)fprintf(to,
                  "\"/>\n<text class=\"late\" x=\"%d\" y=\"%.1f\">%.6g us</text>"
                  "<text x=\"%.1f\" y=\"%d\" text-anchor=\"middle\">0</text>"
                  "<text x=\"%.1f\" y=\"%d\" text-anchor=\"middle\">%.3g s</text></svg>\n",
                  WIDTH - RIGHT + 6, y_of(1) + 4, slowest, x_of(0), HEIGHT - 14, x_of(1),
                  HEIGHT - 14, end_s);
}

/* Nines: 50 % stands at 0.3, 90 % at 1, 99 % at 2, so that tails can be seen. */
static double nines(double fraction)
{
    return -log10(1 - fraction);
}

static void plot_latency(FILE *to, const struct bench_result *r)
{
    static const double fractions[] = {0.5, 0.9, 0.99, 0.999, 0.9999};
    static const double END = 4.1;
    double slowest = 1;

    for (int op = 0; op < BENCH_OPS; op++) {
        slowest = fmax(slowest, (double)histogram_quantile(&r->tally.by_op[op], 0.9999) / 1000);
    }
    slowest = round_up(slowest);
    plot_begin(to, slowest, " us");
    for (size_t i = 0; i < sizeof(fractions) / sizeof(fractions[0]); i++) {
        double x = x_of(nines(fractions[i]) / END);

        (void)fprintf(to,
                      "<line class=\"grid\" x1=\"%.1f\" x2=\"%.1f\" y1=\"%d\" y2=\"%d\"/>"
                      "<text x=\"%.1f\" y=\"%d\" text-anchor=\"middle\">%.6g %%</text>\n",
                      x, x, TOP, HEIGHT - BOTTOM, x, HEIGHT - 14, fractions[i] * 100);
    }
    for (int op = 0; op < BENCH_OPS; op++) {
        const struct histogram *h = &r->tally.by_op[op];

        if (h->n == 0) {
            continue;
        }
        (void)fprintf(to, "<polyline style=\"stroke:%s\" points=\"", colours[op]);
        for (int step = 0; step <= 4 * STEPS; step++) {
            double n = (double)step / STEPS;

            (void)fprintf(
                to, "%.1f,%.1f ", x_of(n / END),
                y_of(fmin(1, (double)histogram_quantile(h, 1 - pow(10, -n)) / 1000 / slowest)));
        }
        (void)fprintf(to, "\"/>\n");
    }
    (void)fputs("</svg>\n<p>", to);
    for (int op = 0; op < BENCH_OPS; op++) {
        if (r->tally.by_op[op].n > 0) {
            (void)fprintf(to, "<b style=\"color:%s\">%s</b> ", colours[op],
                          bench_op_name((enum bench_op)op));
        }
    }
    (void)fputs("</p>\n", to);
}

static void table(FILE *to, const struct bench_result *r)
{
    (void)fputs("<table><tr><th><th>operations<th>per second<th>mean us<th>p50<th>p99<th>p99.9"
                "<th>max</tr>\n",
                to);
    for (int op = 0; op < BENCH_OPS; op++) {
        const struct histogram *h = &r->tally.by_op[op];

        if (h->n > 0) {
            (void)fprintf(to,
                          "<tr><th>%s<td>%" PRIu64 "<td>%.0f<td>%.1f<td>%.1f<td>%.1f<td>%.1f"
                          "<td>%.1f</tr>\n",
                          bench_op_name((enum bench_op)op), h->n, (double)h->n / r->seconds,
                          histogram_mean(h) / 1000, (double)histogram_quantile(h, 0.5) / 1000,
                          (double)histogram_quantile(h, 0.99) / 1000,
                          (double)histogram_quantile(h, 0.999) / 1000, (double)h->max / 1000);
        }
    }
    (void)fprintf(to, "</table>\n<p>%" PRIu64 " errors", bench_result_errors(r));
    for (int s = 0; s < STATUSES_N; s++) {
        if (r->tally.errors[s] > 0) {
            (void)fprintf(to, ", %s %" PRIu64, avo_status_name((enum avo_status)s),
                          r->tally.errors[s]);
        }
    }
    if (r->rate > 0) {
        (void)fprintf(to,
                      ". Open loop: %" PRIu64 "/s were asked for, %" PRIu64
                      " operations were due and not begun at the end",
                      r->rate, r->behind);
    }
    (void)fputs(".</p>\n", to);
}

static void settings(FILE *to, const json_t *config)
{
    const char *name;
    const json_t *value;

    (void)fputs("<h2>Settings</h2>\n<table>", to);
    json_object_foreach((json_t *)(uintptr_t)config, name, value)
    {
        (void)fprintf(to, "<tr><th>%s<td>", name);
        if (json_is_string(value)) {
            escaped(to, json_string_value(value));
        } else if (json_is_integer(value)) {
            (void)fprintf(to, "%" JSON_INTEGER_FORMAT, json_integer_value(value));
        } else if (json_is_number(value)) {
            (void)fprintf(to, "%g", json_number_value(value));
        }
        (void)fputs("</tr>\n", to);
    }
    (void)fputs("</table>\n", to);
}

bool bench_html_write(const char *path, const char *title, const struct bench_result *r,
                      const struct timeline *t, const json_t *config)
{
    FILE *to = fopen(path, "we");
    bool good;

    if (to == NULL) {
        return false;
    }
    (void)fputs("<!doctype html><html lang=\"en\"><meta charset=\"utf-8\"><title>avocado-bench: ",
                to);
    escaped(to, title);
    (void)fputs("</title><style>body{font:15px sans-serif;max-width:760px;margin:2em auto;"
                "color:#222}table{border-collapse:collapse}td,th{padding:2px 10px;text-align:right;"
                "border-bottom:1px solid #ddd}svg{width:100%}svg text{font-size:11px;fill:#555}"
                "polyline{fill:none;stroke-width:2}.grid{stroke:#e4e4e4}.area{fill:#a5d6a7}"
                "polyline.late{stroke:#c62828}text.late{fill:#c62828}</style>\n<h1>",
                to);
    escaped(to, title);
    (void)fputs("</h1>\n", to);
    table(to, r);
    (void)fputs("<h2>Over time</h2>\n<p>Operations per second, and (red, right axis) the 99th "
                "percentile of each second.</p>\n",
                to);
    plot_timeline(to, t);
    (void)fputs(
        "<h2>Latency</h2>\n<p>So many per cent of the operations took at most so long.</p>\n", to);
    plot_latency(to, r);
    settings(to, config);
    (void)fputs("</html>\n", to);
    good = ferror(to) == 0;
    return fclose(to) == 0 && good;
}
