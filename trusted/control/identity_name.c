// SPDX-License-Identifier: Apache-2.0
#include "trusted/control/identity.h"

#include "common/check.h"

#include <openssl/x509v3.h>

#include <stdio.h>
#include <string.h>

/* A cursor over a zero-terminated name; NULL once something did not fit. */
static const char *skip(const char *p, const char *word)
{
    size_t n = strlen(word);

    return p != NULL && strncmp(p, word, n) == 0 ? p + n : NULL;
}

static int hex_digit(char c)
{
    if (c >= '0' && c <= '9') {
        return c - '0';
    }
    return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

static const char *read_id(const char *p, uint8_t ret[CLUSTER_ID_LEN])
{
    for (size_t i = 0; p != NULL && i < CLUSTER_ID_LEN; i++, p += 2) {
        int high = hex_digit(p[0]);
        int low = high < 0 ? -1 : hex_digit(p[1]);

        if (low < 0) {
            return NULL;
        }
        ret[i] = (uint8_t)((unsigned)high << 4 | (unsigned)low);
    }
    return p;
}

/* From 1 to max, one spelling each: no sign, no leading zero. */
static const char *read_number(const char *p, uint64_t max, uint64_t *ret)
{
    uint64_t v = 0;

    if (p == NULL || *p < '1' || *p > '9') {
        return NULL;
    }
    for (; *p >= '0' && *p <= '9'; p++) {
        if (__builtin_mul_overflow(v, UINT64_C(10), &v) ||
            __builtin_add_overflow(v, (uint64_t)(*p - '0'), &v)) {
            return NULL;
        }
    }
    *ret = v;
    return v <= max ? p : NULL;
}

static bool is_client_name(const char *p)
{
    size_t n = strlen(p);

    for (size_t i = 0; i < n; i++) {
        char c = p[i];

        if ((c < '0' || c > '9') && (c < 'a' || c > 'z') && (c < 'A' || c > 'Z') && c != '.' &&
            c != '_' && c != '-') {
            return false;
        }
    }
    return n >= 1 && n <= NAME_MAX_LEN;
}

void identity_name_format(const struct identity_name *n, char to[static 160])
{
    char hex[2 * CLUSTER_ID_LEN + 1];
    int len = 0;

    for (size_t i = 0; i < CLUSTER_ID_LEN; i++) {
        (void)snprintf(hex + 2 * i, 3, "%02x", n->cluster[i]);
    }
    if (n->role == ROLE_REPLICA) {
        len = snprintf(to, 160, "avocado:%s:replica:%u:%u:%llu", hex, n->node, n->incarnation,
                       (unsigned long long)n->epoch);
    } else {
        len = snprintf(to, 160, "avocado:%s:%s:%s", hex,
                       n->role == ROLE_SERVICE ? "service" : "client", n->client);
    }
    CHECK(len > 0 && len < 160);
}

RESULT identity_name_parse(const char *uri, struct identity_name *ret)
{
    struct identity_name n = {0};
    const char *p = read_id(skip(uri, "avocado:"), n.cluster);
    const char *client = skip(p, ":client:"), *service = skip(p, ":service:");
    uint64_t node = 0, incarnation = 0;

    if (client != NULL || service != NULL) {
        n.role = client != NULL ? ROLE_CLIENT : ROLE_SERVICE;
        client = client != NULL ? client : service;
        if (!is_client_name(client)) {
            return ERR_MALFORMED;
        }
        memcpy(n.client, client, strlen(client) + 1);
        *ret = n;
        return OK;
    }
    p = read_number(skip(p, ":replica:"), UINT32_MAX, &node);
    p = read_number(skip(p, ":"), UINT32_MAX, &incarnation);
    p = read_number(skip(p, ":"), INT64_MAX, &n.epoch);
    if (p == NULL || *p != '\0') {
        return ERR_MALFORMED;
    }
    n.role = ROLE_REPLICA;
    n.node = (uint32_t)node;
    n.incarnation = (uint32_t)incarnation;
    *ret = n;
    return OK;
}

/* A URI as text; false unless it is one and fits. */
static bool read_uri(const GENERAL_NAME *name, char *to, size_t room)
{
    const unsigned char *text;
    int n;

    if (name->type != GEN_URI) {
        return false;
    }
    text = ASN1_STRING_get0_data(name->d.uniformResourceIdentifier);
    n = ASN1_STRING_length(name->d.uniformResourceIdentifier);
    /* A zero byte inside would make two names of one. */
    if (n <= 0 || (size_t)n >= room || memchr(text, '\0', (size_t)n) != NULL) {
        return false;
    }
    memcpy(to, text, (size_t)n);
    to[n] = '\0';
    return true;
}

/* ACL-1: the name first, then the rules, of clients alone. */
static enum err read_names(const GENERAL_NAMES *names, struct identity_name *ret)
{
    struct identity_name found = {0};
    char uri[160], rule[sizeof(IDENTITY_RULE) + ACCESS_RULE_TEXT];
    int n = sk_GENERAL_NAME_num(names);

    if (n < 1 || !read_uri(sk_GENERAL_NAME_value(names, 0), uri, sizeof(uri)) ||
        identity_name_parse(uri, &found) != OK || (n > 1 && found.role != ROLE_CLIENT)) {
        return ERR_MALFORMED;
    }
    for (int i = 1; i < n; i++) {
        const char *text = read_uri(sk_GENERAL_NAME_value(names, i), rule, sizeof(rule))
                               ? skip(rule, IDENTITY_RULE)
                               : NULL;

        if (text == NULL || access_add(&found.access, text) != OK) {
            return ERR_MALFORMED;
        }
    }
    *ret = found;
    return OK;
}

RESULT identity_name_of(X509 *cert, struct identity_name *ret)
{
    int critical = -1; /* -2: the extension is there twice, and NULL comes back */
    GENERAL_NAMES *names = X509_get_ext_d2i(cert, NID_subject_alt_name, &critical, NULL);
    enum err err = names == NULL ? ERR_MALFORMED : read_names(names, ret);

    GENERAL_NAMES_free(names);
    return err;
}
