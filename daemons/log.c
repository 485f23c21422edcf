// SPDX-License-Identifier: Apache-2.0
#include "daemons/log.h"

#include <stdarg.h>
#include <stdio.h>
#include <time.h>

void node_log(const char *level, const char *format, ...)
{
    char line[1024];
    struct timespec ts;
    struct tm tm;
    va_list args;

    (void)clock_gettime(CLOCK_REALTIME, &ts);
    (void)gmtime_r(&ts.tv_sec, &tm);
    va_start(args, format);
    (void)vsnprintf(line, sizeof(line), format, args);
    va_end(args);
    (void)fprintf(stderr, "%04d-%02d-%02dT%02d:%02d:%02d.%03ldZ %s %s\n", tm.tm_year + 1900,
                  tm.tm_mon + 1, tm.tm_mday, tm.tm_hour, tm.tm_min, tm.tm_sec, ts.tv_nsec / 1000000,
                  level, line);
}
