// SPDX-License-Identifier: Apache-2.0
#include "trusted/attest/attest_internal.h"

#include "common/check.h"

#include <stdarg.h>
#include <stdio.h>

/* Texts go to terminals and logs, and some of their bytes came from outside. */
static void keep_printable(char *text)
{
    for (char *p = text; *p != '\0'; p++) {
        if (*p < ' ' || *p > '~') {
            *p = '?';
        }
    }
}

void attest_fail(struct attest_verdict *v, enum attest_rule rule, const char *wanted,
                 const char *found, ...)
{
    struct attest_failure *f = NULL;
    va_list args;
    bool is_known = false;

    if (attest_rule_is_signature(rule)) {
        v->signature_verifies = false;
    }
    if (!attest_rule_is_policy(rule)) {
        v->verifies = false;
    }
    v->accepted = false;
    if (v->failures_n == ATTEST_FAILURES_MAX) {
        return; /* the three answers above are right all the same */
    }
    f = &v->failure[v->failures_n];
    f->rule = rule;
    (void)snprintf(f->wanted, sizeof(f->wanted), "%s", wanted);
    va_start(args, found);
    if (vsnprintf(f->found, sizeof(f->found), found, args) < 0) {
        f->found[0] = '\0';
    }
    va_end(args);
    keep_printable(f->wanted);
    keep_printable(f->found);
    /* Some collateral is looked at twice, for two certificates. */
    for (uint32_t i = 0; i < v->failures_n; i++) {
        is_known |= v->failure[i].rule == rule && strcmp(v->failure[i].found, f->found) == 0;
    }
    v->failures_n += is_known ? 0 : 1;
}

void attest_dates(struct attest_verdict *v, const char *what, uint64_t now_s, uint64_t from_s,
                  uint64_t until_s)
{
    char now[32], from[32], until[32];

    if (from_s > v->valid_from_s) {
        v->valid_from_s = from_s;
    }
    if (until_s < v->valid_until_s) {
        v->valid_until_s = until_s;
    }
    if (now_s > until_s) {
        char wanted[96];

        (void)snprintf(wanted, sizeof(wanted), "not over at %s", attest_time_format(now_s, now));
        attest_fail(v, ATTEST_RULE_EXPIRED, wanted, "%s holds until %s", what,
                    attest_time_format(until_s, until));
    }
    if (now_s < from_s) {
        char wanted[96];

        (void)snprintf(wanted, sizeof(wanted), "in force at %s", attest_time_format(now_s, now));
        attest_fail(v, ATTEST_RULE_NOT_YET_VALID, wanted, "%s holds from %s", what,
                    attest_time_format(from_s, from));
    }
}

void attest_issued(struct attest_verdict *v, uint64_t issued_s)
{
    if (v->issued_s == 0 || issued_s < v->issued_s) {
        v->issued_s = issued_s;
    }
}

void attest_field_add(struct attest_verdict *v, const char *name, struct bytes value)
{
    CHECK(v->fields_n < ATTEST_FIELDS_MAX);
    v->field[v->fields_n++] = (struct attest_field){.name = name, .value = value};
}

struct bytes attest_field_get(const struct attest_verdict *v, const char *name)
{
    for (uint32_t i = 0; i < v->fields_n; i++) {
        if (strcmp(v->field[i].name, name) == 0) {
            return v->field[i].value;
        }
    }
    return (struct bytes){0};
}

void attest_number_add(struct attest_verdict *v, const char *name, uint64_t value)
{
    CHECK(v->numbers_n < ATTEST_NUMBERS_MAX);
    v->number[v->numbers_n++] = (struct attest_number){.name = name, .value = value};
}

/* Days since 1970-01-01 of a day in the proleptic Gregorian calendar, years counted from March. */
static int64_t days_of(int64_t year, int64_t month, int64_t day)
{
    int64_t y = month <= 2 ? year - 1 : year;
    int64_t era = y / 400;
    int64_t year_of_era = y - era * 400;
    int64_t day_of_year = (153 * (month + (month > 2 ? -3 : 9)) + 2) / 5 + day - 1;
    int64_t day_of_era = year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year;

    return era * 146097 + day_of_era - 719468;
}

static bool is_leap(unsigned y)
{
    return (y % 4 == 0 && y % 100 != 0) || y % 400 == 0;
}

static bool digits(const char **at, unsigned n, unsigned *ret)
{
    unsigned v = 0;

    for (unsigned i = 0; i < n; i++) {
        if (**at < '0' || **at > '9') {
            return false;
        }
        v = 10 * v + (unsigned)(**at - '0');
        (*at)++;
    }
    *ret = v;
    return true;
}

RESULT attest_time_parse(const char *text, uint64_t *ret)
{
    static const unsigned month_days[] = {31, 29, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31};
    static const char after[] = "--T::Z";
    unsigned part[6];
    const char *at = text;

    for (unsigned i = 0; i < 6; i++) {
        if (!digits(&at, i == 0 ? 4 : 2, &part[i]) || *at++ != after[i]) {
            return ERR_MALFORMED;
        }
    }
    if (*at != '\0' || part[0] < 1970 || part[1] < 1 || part[1] > 12 || part[2] < 1 ||
        part[2] > month_days[part[1] - 1] || (part[1] == 2 && part[2] == 29 && !is_leap(part[0])) ||
        part[3] > 23 || part[4] > 59 || part[5] > 59) {
        return ERR_MALFORMED;
    }
    *ret = (uint64_t)days_of(part[0], part[1], part[2]) * 86400 + part[3] * 3600ULL +
           part[4] * 60ULL + part[5];
    return OK;
}

const char *attest_time_format(uint64_t s, char to[static 32])
{
    int64_t day = (int64_t)(s / 86400);
    unsigned rest = (unsigned)(s % 86400);
    int64_t year = 1970 + day / 366, month = 1;

    if (s / 86400 > 2932896) { /* 9999-12-31 */
        (void)snprintf(to, 32, "after the year 9999");
        return to;
    }
    while (days_of(year + 1, 1, 1) <= day) {
        year++;
    }
    while (month < 12 && days_of(year, month + 1, 1) <= day) {
        month++;
    }
    (void)snprintf(to, 32, "%04u-%02u-%02uT%02u:%02u:%02uZ", (unsigned)year % 10000,
                   (unsigned)month % 100, (unsigned)(day - days_of(year, month, 1) + 1) % 100,
                   rest / 3600, rest / 60 % 60, rest % 60);
    return to;
}

const char *attest_hex(struct bytes b, char *to, size_t room)
{
    static const char digit[] = "0123456789abcdef";
    size_t at = 0;

    CHECK(room >= 3);
    for (size_t i = 0; i < b.n; i++) {
        bool is_last = i + 1 == b.n;

        if (at + 2 + (is_last ? 1U : 3U) > room) {
            to[at++] = '.';
            to[at++] = '.';
            break;
        }
        to[at++] = digit[b.p[i] >> 4];
        to[at++] = digit[b.p[i] & 15];
    }
    to[at] = '\0';
    return to;
}

static int nibble(char c)
{
    if (c >= '0' && c <= '9') {
        return c - '0';
    }
    if (c >= 'a' && c <= 'f') {
        return c - 'a' + 10;
    }
    return c >= 'A' && c <= 'F' ? c - 'A' + 10 : -1;
}

RESULT attest_unhex(const char *text, size_t n, struct mbytes to)
{
    if (n != 2 * to.n) {
        return ERR_MALFORMED;
    }
    for (size_t i = 0; i < n; i++) {
        if (nibble(text[i]) < 0) {
            return ERR_MALFORMED;
        }
    }
    for (size_t i = 0; i < to.n; i++) {
        to.p[i] = (uint8_t)((unsigned)nibble(text[2 * i]) << 4 | (unsigned)nibble(text[2 * i + 1]));
    }
    return OK;
}
