// SPDX-License-Identifier: Apache-2.0
#ifndef TOOLS_BENCH_HTML_H
#define TOOLS_BENCH_HTML_H

/* A run of the benchmark as one page that needs nothing else: tables, and plots as SVG. */

#include "tools/bench_progress.h"
#include "tools/bench_report.h"

/* `config` as for bench_report_json, borrowed. False: errno says why. */
bool bench_html_write(const char *path, const char *title, const struct bench_result *r,
                      const struct timeline *t, const json_t *config);

#endif
