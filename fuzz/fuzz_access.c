// SPDX-License-Identifier: Apache-2.0
/*
 * What a client may do: a rule has one spelling, one that is refused changes nothing, and who may
 * scan a range may do so with every key in it. ACL-1 to ACL-4
 *
 *     rules, each up to a newline | 0 | rights | n | n bytes: low | n | n bytes: high | a key
 */
#include "common/check.h"
#include "common/codec.h"
#include "trusted/access/access.h"

enum { BOUND_MAX_N = 255, KEY_ROOM = BOUND_MAX_N + 2 };

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void add(struct access *a, const char *text)
{
    struct access before = *a;
    char back[ACCESS_RULE_TEXT];
    size_t n = 0;

    if (access_add(a, text) != OK) {
        CHECK(memcmp(&before, a, sizeof(before)) == 0);
        return;
    }
    CHECK(a->rules_n == before.rules_n + 1 && a->rules_n <= ACCESS_RULES_MAX);
    for (unsigned i = 0; i < a->rules_n; i++) {
        n += a->rule[i].prefix_n;
    }
    CHECK(n <= ACCESS_PREFIXES_MAX);
    CHECK(access_format(a, a->rules_n - 1U, back) == strlen(text) && strcmp(back, text) == 0);
}

/* Up to the first 0, without it. */
static void take_rules(struct reader *r, struct access *a)
{
    char text[ACCESS_RULE_TEXT + 8];
    size_t n = 0;
    uint8_t c;

    do {
        c = get_u8(r);
        if (c == '\n' || c == 0) {
            text[n] = '\0';
            add(a, text);
            n = 0;
        } else if (n < sizeof(text) - 1) {
            text[n++] = (char)c;
        }
    } while (c != 0);
}

static struct bytes take_bound(struct reader *r)
{
    return get_bytes(r, get_u8(r));
}

/* The rule that says it, byte by byte. */
static unsigned lacks(const struct access *a, unsigned rights, struct bytes key)
{
    size_t at = 0;

    for (unsigned i = 0; i < a->rules_n; i++) {
        size_t n = a->rule[i].prefix_n, k = 0;

        while (k < n && k < key.n && a->prefix[at + k] == key.p[k]) {
            k++;
        }
        rights &= k == n ? ~(unsigned)a->rule[i].rights : ~0U;
        at += n;
    }
    return a->rules_n == 0 ? 0 : rights;
}

static bool is_in(struct bytes key, struct bytes low, struct bytes high)
{
    return bytes_compare(low, key) <= 0 && (high.n == 0 || bytes_compare(key, high) < 0);
}

struct question {
    const struct access *a;
    unsigned rights;
    struct bytes low, high;
};

static void try_key(const struct question *q, struct bytes key)
{
    unsigned missing = access_lacks_key(q->a, q->rights, key);

    CHECK(missing == lacks(q->a, q->rights, key));
    CHECK((access_lacks(q->a, q->rights) & ~missing) == 0);
    if (is_in(key, q->low, q->high)) {
        CHECK((missing & ~access_lacks_range(q->a, q->rights, q->low, q->high)) == 0);
    }
}

/* Keys at the edges of the range: `from` with its last byte changed, and one byte more. */
static void try_near(const struct question *q, struct bytes from)
{
    static const uint8_t ends[] = {0, 1, 'a', 0xfe, 0xff};
    uint8_t key[KEY_ROOM];
    size_t n = from.n;

    if (n > 0) {
        memcpy(key, from.p, n);
    }
    try_key(q, from);
    for (size_t i = 0; i < sizeof(ends); i++) {
        key[n] = ends[i];
        try_key(q, (struct bytes){key, n + 1});
    }
    for (int step = -1; n > 0 && step <= 1; step += 2) {
        key[n - 1] = (uint8_t)(from.p[n - 1] + step);
        try_key(q, (struct bytes){key, n});
        for (size_t i = 0; i < sizeof(ends); i++) {
            key[n] = ends[i];
            try_key(q, (struct bytes){key, n + 1});
        }
    }
}

/* All that begins with a rule's prefix, and no more, is what its rights are for. */
static void whole_prefixes(const struct access *a)
{
    size_t at = 0;

    for (unsigned i = 0; i < a->rules_n; i++) {
        struct bytes low = {a->prefix + at, a->rule[i].prefix_n}, high = low;
        uint8_t above[ACCESS_PREFIXES_MAX];

        while (high.n > 0 && low.p[high.n - 1] == 0xff) {
            high.n--;
        }
        if (high.n > 0) {
            memcpy(above, low.p, high.n);
            above[high.n - 1]++;
            high.p = above;
        }
        CHECK(access_lacks_range(a, a->rule[i].rights, low, high) == 0);
        at += low.n;
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct reader r = {.rest = {data, size}};
    struct access a = {0};
    struct question q = {.a = &a};

    take_rules(&r, &a);
    q.rights = get_u8(&r) & ACCESS_RIGHTS;
    q.low = take_bound(&r);
    q.high = take_bound(&r);
    if (r.failed) {
        return 0;
    }
    whole_prefixes(&a);
    try_near(&q, q.low);
    try_near(&q, q.high);
    try_key(&q, get_rest(&r));
    return 0;
}
