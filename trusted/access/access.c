// SPDX-License-Identifier: Apache-2.0
#include "trusted/access/access.h"

#include "common/check.h"

_Static_assert((int)ACCESS_PREFIXES_MAX <= (int)UINT8_MAX, "the length of a prefix is a byte");

enum { RIGHTS_N = 4 };

static const char *const names[RIGHTS_N] = {"read", "write", "scan", "status"}; /* by bit */

/* ---- text ---- */

/* Takes the names of rights and the colon off *text. 0: malformed. */
static unsigned take_rights(const char **text)
{
    const char *p = *text;
    unsigned rights = 0;

    for (unsigned i = 0; i < RIGHTS_N; i++) {
        size_t n = strlen(names[i]);

        if (strncmp(p, names[i], n) == 0 && (p[n] == ',' || p[n] == ':')) {
            rights |= 1U << i;
            p += n;
            if (*p == ':') {
                *text = p + 1;
                return rights;
            }
            p++;
        }
    }
    return 0; /* no colon: a comma at the end, another order, or another name */
}

static bool is_plain(char c)
{
    return (c >= '0' && c <= '9') || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') ||
           (c != '\0' && strchr("._~-/", c) != NULL);
}

static int digit(char c)
{
    if (c >= '0' && c <= '9') {
        return c - '0';
    }
    return c >= 'A' && c <= 'F' ? c - 'A' + 10 : -1;
}

/* The next byte of a prefix; -1: none that is spelled as it must be. */
static int take_byte(const char **text)
{
    const char *p = *text;
    int high, low;

    if (is_plain(*p)) {
        *text = p + 1;
        return (uint8_t)*p;
    }
    high = *p == '%' ? digit(p[1]) : -1;
    low = high < 0 ? -1 : digit(p[2]);
    if (low < 0 || is_plain((char)(high << 4 | low))) {
        return -1;
    }
    *text = p + 3;
    return high << 4 | low;
}

static size_t prefixes_n(const struct access *a)
{
    size_t n = 0;

    for (unsigned i = 0; i < a->rules_n; i++) {
        n += a->rule[i].prefix_n;
    }
    return n;
}

RESULT access_add(struct access *a, const char *text)
{
    size_t at = prefixes_n(a), n = 0;
    unsigned rights = take_rights(&text);
    uint8_t prefix[ACCESS_PREFIXES_MAX];

    if (rights == 0) {
        return ERR_MALFORMED;
    }
    while (*text != '\0') {
        int byte = take_byte(&text);

        if (byte < 0) {
            return ERR_MALFORMED;
        }
        if (at + n == sizeof(a->prefix)) {
            return ERR_TOO_BIG;
        }
        prefix[n++] = (uint8_t)byte;
    }
    if (a->rules_n == ACCESS_RULES_MAX) {
        return ERR_TOO_BIG;
    }
    memcpy(a->prefix + at, prefix, n);
    a->rule[a->rules_n++] = (struct access_rule){.rights = (uint8_t)rights, .prefix_n = (uint8_t)n};
    return OK;
}

void access_rights_format(unsigned rights, char to[static ACCESS_RIGHTS_TEXT])
{
    size_t n = 0;

    for (unsigned i = 0; i < RIGHTS_N; i++) {
        if ((rights >> i & 1) != 0) {
            size_t len = strlen(names[i]);

            if (n > 0) {
                to[n++] = ',';
            }
            memcpy(to + n, names[i], len);
            n += len;
        }
    }
    to[n] = '\0';
}

size_t access_format(const struct access *a, unsigned i, char to[static ACCESS_RULE_TEXT])
{
    static const char digits[] = "0123456789ABCDEF";
    const uint8_t *p = a->prefix;
    size_t n;

    CHECK(i < a->rules_n);
    for (unsigned k = 0; k < i; k++) {
        p += a->rule[k].prefix_n;
    }
    access_rights_format(a->rule[i].rights, to);
    n = strlen(to);
    to[n++] = ':';
    for (unsigned k = 0; k < a->rule[i].prefix_n; k++) {
        if (is_plain((char)p[k])) {
            to[n++] = (char)p[k];
        } else {
            to[n++] = '%';
            to[n++] = digits[p[k] >> 4];
            to[n++] = digits[p[k] & 15];
        }
    }
    to[n] = '\0';
    return n;
}

/* ---- judgement ---- */

static bool begins(struct bytes b, struct bytes prefix)
{
    return b.n >= prefix.n && (prefix.n == 0 || memcmp(b.p, prefix.p, prefix.n) == 0);
}

/* Is `b` the least string that is above all that begin with `prefix`: the prefix without the 0xff
 * at its end, and its last byte one more? */
static bool is_just_above(struct bytes b, struct bytes prefix)
{
    while (prefix.n > 0 && prefix.p[prefix.n - 1] == 0xff) {
        prefix.n--;
    }
    return prefix.n > 0 && b.n == prefix.n && memcmp(b.p, prefix.p, b.n - 1) == 0 &&
           b.p[b.n - 1] == prefix.p[prefix.n - 1] + 1;
}

/* Does every key of [low, high) begin with `prefix`? What lies above `low`, begins with another
 * prefix and is not above all with this one does not exist. */
static bool within(struct bytes low, struct bytes high, struct bytes prefix)
{
    if (!begins(low, prefix)) {
        return false;
    }
    if (high.n == 0) { /* to the end: only if nothing is above */
        while (prefix.n > 0 && prefix.p[prefix.n - 1] == 0xff) {
            prefix.n--;
        }
        return prefix.n == 0;
    }
    return begins(high, prefix) || is_just_above(high, prefix);
}

static struct bytes prefix_of(const struct access *a, unsigned i, size_t *at)
{
    struct bytes b = {.p = a->prefix + *at, .n = a->rule[i].prefix_n};

    *at += b.n;
    return b;
}

unsigned access_lacks_key(const struct access *a, unsigned rights, struct bytes key)
{
    size_t at = 0;

    for (unsigned i = 0; i < a->rules_n; i++) {
        if (begins(key, prefix_of(a, i, &at))) {
            rights &= ~(unsigned)a->rule[i].rights;
        }
    }
    return a->rules_n == 0 ? 0 : rights;
}

unsigned access_lacks_range(const struct access *a, unsigned rights, struct bytes low,
                            struct bytes high)
{
    size_t at = 0;

    for (unsigned i = 0; i < a->rules_n; i++) {
        if (within(low, high, prefix_of(a, i, &at))) {
            rights &= ~(unsigned)a->rule[i].rights;
        }
    }
    return a->rules_n == 0 ? 0 : rights;
}

unsigned access_lacks(const struct access *a, unsigned rights)
{
    for (unsigned i = 0; i < a->rules_n; i++) {
        rights &= ~(unsigned)a->rule[i].rights;
    }
    return a->rules_n == 0 ? 0 : rights;
}
