// SPDX-License-Identifier: Apache-2.0
#include "tools/options.h"

#include <errno.h>
#include <getopt.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { NAME_COLUMN = 26 };

/* Decimal digits up to the first other character; strtoull alone would take "-1" and "+1". */
static bool digits(const char *text, uint64_t *ret, const char **ret_end)
{
    char *end;
    unsigned long long v;

    if (text[0] < '0' || text[0] > '9') {
        return false;
    }
    errno = 0;
    v = strtoull(text, &end, 10);
    if (errno != 0) {
        return false;
    }
    *ret = v;
    *ret_end = end;
    return true;
}

bool options_number(const char *text, uint64_t *ret)
{
    const char *end;
    uint64_t v;

    if (!digits(text, &v, &end) || *end != '\0') {
        return false;
    }
    *ret = v;
    return true;
}

bool options_bytes(const char *text, uint64_t *ret)
{
    static const char units[] = "kMG";
    const char *end, *unit;
    unsigned shift = 0;
    uint64_t v;

    if (!digits(text, &v, &end)) {
        return false;
    }
    if (*end != '\0') {
        unit = strchr(units, *end == 'K' ? 'k' : *end);
        if (unit == NULL || (end[1] != '\0' && strcmp(end + 1, "iB") != 0)) {
            return false;
        }
        shift = 10 * (unsigned)(unit - units + 1);
    }
    if (v > UINT64_MAX >> shift) {
        return false;
    }
    *ret = v << shift;
    return true;
}

static bool real_prefix(const char *text, double *ret, const char **ret_end)
{
    char *end;
    double v;

    if ((text[0] < '0' || text[0] > '9') && text[0] != '.') {
        return false;
    }
    v = strtod(text, &end);
    if (end == text || !isfinite(v)) {
        return false;
    }
    *ret = v;
    *ret_end = end;
    return true;
}

bool options_real(const char *text, double *ret)
{
    const char *end;
    double v;

    if (!real_prefix(text, &v, &end) || *end != '\0') {
        return false;
    }
    *ret = v;
    return true;
}

bool options_ms(const char *text, uint64_t *ret)
{
    const char *end;
    double v;

    if (!real_prefix(text, &v, &end) || v > 1e9) {
        return false;
    }
    if (*end == '\0' || strcmp(end, "s") == 0) {
        v *= 1000;
    } else if (strcmp(end, "ms") != 0) {
        return false;
    }
    *ret = (uint64_t)(v + 0.5);
    return true;
}

static bool within(const struct option_spec *s, double v)
{
    return v >= (double)s->min && v <= (double)s->max;
}

static bool store(const struct option_spec *s, const char *text)
{
    uint64_t n = 0;
    double real;
    bool ok = true;

    switch (s->kind) {
    case OPTION_FLAG:
        *(bool *)s->to = true;
        return true;
    case OPTION_TEXT:
        *(const char **)s->to = text;
        return true;
    case OPTION_REAL:
        if (!options_real(text, &real) || !within(s, real)) {
            return false;
        }
        *(double *)s->to = real;
        return true;
    case OPTION_NUMBER:
        ok = options_number(text, &n);
        break;
    case OPTION_BYTES:
        ok = options_bytes(text, &n);
        break;
    case OPTION_MS:
        ok = options_ms(text, &n);
        break;
    }
    if (!ok || n < s->min || n > s->max) {
        return false;
    }
    *(uint64_t *)s->to = n;
    return true;
}

static const char *form(enum option_kind kind)
{
    switch (kind) {
    case OPTION_BYTES:
        return "bytes, with k, M or G if you like,";
    case OPTION_MS:
        return "seconds, or milliseconds as in 500ms; in milliseconds";
    case OPTION_REAL:
    case OPTION_NUMBER:
        return "a number";
    case OPTION_FLAG:
    case OPTION_TEXT:
        break;
    }
    return "text";
}

static bool refuse(int c, char **argv, const struct option_spec *s, struct option_error *why)
{
    if (c == ':') {
        (void)snprintf(why->text, sizeof(why->text), "%s needs a value", argv[optind - 1]);
    } else if (s == NULL) {
        (void)snprintf(why->text, sizeof(why->text), "unknown option %s", argv[optind - 1]);
    } else {
        (void)snprintf(why->text, sizeof(why->text), "--%s %s: must be %s from %llu to %llu",
                       s->name, optarg, form(s->kind), (unsigned long long)s->min,
                       (unsigned long long)s->max);
    }
    return false;
}

bool options_parse(int argc, char **argv, const struct option_spec *specs, bool stop_at_first,
                   int *ret_rest, struct option_error *why)
{
    struct option longs[OPTIONS_MAX + 1] = {0};
    int c, place = 0;

    for (int i = 0; specs[i].name != NULL && i < OPTIONS_MAX; i++) {
        longs[i].name = specs[i].name;
        longs[i].has_arg = specs[i].kind == OPTION_FLAG ? no_argument : required_argument;
        longs[i].val = 'o';
    }
    optind = 0; /* starts getopt anew: there is one command line for the program, one after it */
    opterr = 0;
    while ((c = getopt_long(argc, argv, stop_at_first ? "+:" : ":", longs, &place)) != -1) {
        const struct option_spec *s = c == 'o' ? &specs[place] : NULL;

        if (s == NULL || !store(s, optarg)) {
            return refuse(c, argv, s, why);
        }
        if (s->ret_given != NULL) {
            *s->ret_given = true;
        }
    }
    *ret_rest = optind;
    return true;
}

void options_print(const struct option_spec *specs)
{
    for (const struct option_spec *s = specs; s->name != NULL; s++) {
        char left[64];

        (void)snprintf(left, sizeof(left), "--%s%s%s", s->name, s->value_name == NULL ? "" : " ",
                       s->value_name == NULL ? "" : s->value_name);
        (void)printf("  %-*s %s\n", NAME_COLUMN, left, s->help);
    }
}
