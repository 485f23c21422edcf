// SPDX-License-Identifier: Apache-2.0
#include "trusted/config/explain.h"

#include <stdarg.h>
#include <stdio.h>

void explain(struct explain *why, const char *fmt, ...)
{
    va_list args;

    if (why == NULL) {
        return;
    }
    va_start(args, fmt);
    if (vsnprintf(why->text, sizeof(why->text), fmt, args) < 0) {
        why->text[0] = '\0';
    }
    va_end(args);
    for (char *p = why->text; *p != '\0'; p++) {
        if (*p < ' ' || *p > '~') {
            *p = '?';
        }
    }
}
