// SPDX-License-Identifier: Apache-2.0
#include "trusted/config/schema.h"

#include "trusted/config/explain.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* What libcyaml says before it gives up: the first line and the innermost place. */
struct complaint {
    char text[160];
    unsigned line;
    char field[YAML_KEY_LEN + 1];
};

__attribute__((format(printf, 3, 0))) static void on_log(cyaml_log_t level, void *ctx,
                                                         const char *fmt, va_list args)
{
    static const char prefix[] = "Load: ";
    struct complaint *c = ctx;
    char line[sizeof(c->text)];
    const char *text = line;

    (void)level;
    if (vsnprintf(line, sizeof(line), fmt, args) < 0) {
        return;
    }
    line[strcspn(line, "\n")] = '\0';
    if (strncmp(text, prefix, sizeof(prefix) - 1) == 0) {
        text += sizeof(prefix) - 1;
        if (c->text[0] == '\0' && strcmp(text, "Backtrace:") != 0) {
            (void)snprintf(c->text, sizeof(c->text), "%s", text);
        }
        return;
    }
    if (c->line == 0) {
        const char *at = strstr(text, "(line: ");
        const char *field = strchr(text, '\'');

        c->line = at == NULL ? 0 : (unsigned)strtoul(at + strlen("(line: "), NULL, 10);
        if (field != NULL) {
            (void)snprintf(c->field, sizeof(c->field), "%.*s", (int)strcspn(field + 1, "'"),
                           field + 1);
        }
    }
}

static const char *after(const char *text, const char *prefix)
{
    size_t n = strlen(prefix);

    return strncmp(text, prefix, n) == 0 ? text + n : NULL;
}

/* The last mention of a key: of two, the one too many. */
static unsigned last_line(const struct yaml_scan *scan, const char *key)
{
    unsigned line = 0;

    for (uint32_t i = 0; i < scan->keys_n; i++) {
        line = strncmp(scan->keys[i].name, key, YAML_KEY_LEN) == 0 ? scan->keys[i].line : line;
    }
    return line;
}

/* libcyaml's complaint as our one line. */
static void translate(const struct schema *s, const struct complaint *c, cyaml_err_t err)
{
    struct explain *why = s->why;
    const char *key = after(c->text, "Unexpected key: ");

    if (key != NULL) {
        explain(why, "line %u: %s: unknown key; remove it or correct its spelling",
                last_line(&s->scan, key), key);
        return;
    }
    key = after(c->text, "Missing required mapping field: ");
    if (key != NULL) {
        explain(why, "near line %u: %s: missing; add this key", c->line, key);
        return;
    }
    key = after(c->text, "Mapping field already seen: ");
    if (key != NULL) {
        explain(why, "line %u: %s: given twice; keep one", c->line + 1, key);
        return;
    }
    if (after(c->text, "Expecting ") != NULL) {
        explain(why, "near line %u: %s: %s; compare with %s", c->line,
                c->field[0] == '\0' ? "the document" : c->field, c->text, s->manual);
        return;
    }
    explain(why, "near line %u: %s: %s; compare with %s", c->line, c->field,
            c->text[0] == '\0' ? cyaml_strerror(err) : c->text, s->manual);
}

static cyaml_config_t config_of(struct complaint *c)
{
    cyaml_config_t config = {
        .log_fn = c == NULL ? NULL : on_log,
        .log_ctx = c,
        .log_level = CYAML_LOG_ERROR,
        .mem_fn = cyaml_mem,
        .flags = CYAML_CFG_NO_ALIAS,
    };

    return config;
}

RESULT schema_load(struct schema *s, const char *text, size_t n, const cyaml_schema_value_t *kind,
                   void **ret)
{
    struct complaint complaint = {0};
    cyaml_config_t config = config_of(&complaint);
    void *raw = NULL;
    cyaml_err_t err;

    TRY(yaml_scan(text, n, &s->scan, s->why));
    err = cyaml_load_data((const uint8_t *)text, n, &config, kind, &raw, NULL);
    if (err != CYAML_OK || raw == NULL) {
        translate(s, &complaint, err);
        return ERR_MALFORMED;
    }
    *ret = raw;
    return OK;
}

void schema_free(const cyaml_schema_value_t *kind, void *raw)
{
    cyaml_config_t config = config_of(NULL);

    (void)cyaml_free(&config, kind, raw, 0);
}

RESULT schema_refuse(const struct schema *s, const char *key, const char *found,
                     const char *permitted)
{
    explain(s->why, "line %u: %s: found '%.64s', permitted is %s; correct it",
            yaml_scan_line(&s->scan, key, s->nth), key, found, permitted);
    return ERR_MALFORMED;
}

/* Digits only: no sign, no spaces, no other base, no leading zero, no wrap-around. */
static bool read_number(const char *text, bool is_size, uint64_t *ret)
{
    static const char *const units[] = {"KiB", "MiB", "GiB"};
    const char *p = text;
    uint64_t v = 0;

    if (*p < '0' || *p > '9' || (*p == '0' && p[1] >= '0' && p[1] <= '9')) {
        return false;
    }
    for (; *p >= '0' && *p <= '9'; p++) {
        if (__builtin_mul_overflow(v, UINT64_C(10), &v) ||
            __builtin_add_overflow(v, (uint64_t)(*p - '0'), &v)) {
            return false;
        }
    }
    for (unsigned i = 0; is_size && i < sizeof(units) / sizeof(units[0]); i++) {
        if (strcmp(p, units[i]) == 0) {
            *ret = v << (10 * (i + 1));
            return *ret >> (10 * (i + 1)) == v;
        }
    }
    *ret = v;
    return *p == '\0';
}

RESULT schema_get_number(const struct schema *s, const struct schema_number *n, uint64_t *ret)
{
    char permitted[96];
    uint64_t v = 0;

    if (n->text == NULL) {
        return OK; /* optional and absent: the default stays */
    }
    if (!read_number(n->text, n->is_size, &v) || v < n->min || v > n->max) {
        (void)snprintf(permitted, sizeof(permitted), "a whole number from %llu to %llu%s",
                       (unsigned long long)n->min, (unsigned long long)n->max,
                       n->is_size ? " (KiB, MiB, GiB may follow)" : "");
        return schema_refuse(s, n->key, n->text, permitted);
    }
    *ret = v;
    return OK;
}

RESULT schema_get_u32(const struct schema *s, const struct schema_number *n, uint32_t *ret)
{
    uint64_t v = *ret;

    TRY(schema_get_number(s, n, &v));
    *ret = (uint32_t)v;
    return OK;
}

static int hex_digit(char c)
{
    if (c >= '0' && c <= '9') {
        return c - '0';
    }
    return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

RESULT schema_get_id(const struct schema *s, const char *text, uint8_t ret[CLUSTER_ID_LEN])
{
    static const uint8_t zero[CLUSTER_ID_LEN];
    uint8_t id[CLUSTER_ID_LEN] = {0};
    bool good = strlen(text) == (size_t)2 * CLUSTER_ID_LEN;

    for (size_t i = 0; good && i < CLUSTER_ID_LEN; i++) {
        int high = hex_digit(text[2 * i]), low = hex_digit(text[2 * i + 1]);

        good = high >= 0 && low >= 0;
        id[i] = (uint8_t)((unsigned)high << 4 | (unsigned)low);
    }
    if (!good || memcmp(id, zero, sizeof(zero)) == 0) {
        return schema_refuse(s, "cluster", text, "32 lower-case hex digits, not all zero");
    }
    memcpy(ret, id, sizeof(id));
    return OK;
}

RESULT schema_get_name(const struct schema *s, const char *text, char ret[NAME_MAX_LEN + 1])
{
    size_t n = strlen(text);
    bool good = n >= 1 && n <= NAME_MAX_LEN;

    for (size_t i = 0; good && i < n; i++) {
        char c = text[i];

        good = (c >= '0' && c <= '9') || ((c | 32) >= 'a' && (c | 32) <= 'z') || c == '-' ||
               c == '_' || c == '.';
    }
    if (!good) {
        return schema_refuse(s, "name", text, "1 to 63 letters, digits, '-', '_', '.'");
    }
    memcpy(ret, text, n + 1);
    return OK;
}
