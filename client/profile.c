// SPDX-License-Identifier: Apache-2.0
#include "client/profile.h"

#include "trusted/config/explain.h"
#include "trusted/config/file.h"
#include "trusted/config/yaml_scan.h"

#include <arpa/inet.h>
#include <cyaml/cyaml.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { PROFILE_BYTES_MAX = 1 << 16 };

/* libcyaml fits the text to the schema; every value comes as text and is judged here, because a
 * refusal has to say what was found and what is permitted. */
struct raw_member {
    char *node, *address, *control_port;
};

struct raw {
    char *cluster, *name, *ca_file, *cert_file, *key_file;
    struct raw_member *members;
    uint32_t members_count;
};

#define TEXT(key, type)                                                                            \
    CYAML_FIELD_STRING_PTR(#key, CYAML_FLAG_POINTER, struct type, key, 0, CYAML_UNLIMITED)

static const cyaml_schema_field_t member_fields[] = {
    TEXT(node, raw_member),
    TEXT(address, raw_member),
    TEXT(control_port, raw_member),
    CYAML_FIELD_END,
};

static const cyaml_schema_value_t member_schema = {
    CYAML_VALUE_MAPPING(CYAML_FLAG_DEFAULT, struct raw_member, member_fields),
};

static const cyaml_schema_field_t profile_fields[] = {
    TEXT(cluster, raw),
    TEXT(name, raw),
    TEXT(ca_file, raw),
    TEXT(cert_file, raw),
    TEXT(key_file, raw),
    CYAML_FIELD_SEQUENCE("members", CYAML_FLAG_POINTER, struct raw, members, &member_schema, 0,
                         CYAML_UNLIMITED),
    CYAML_FIELD_END,
};

static const cyaml_schema_value_t profile_schema = {
    CYAML_VALUE_MAPPING(CYAML_FLAG_POINTER, struct raw, profile_fields),
};

struct judge {
    const char *path;
    struct yaml_scan scan;
    struct explain *why;
    char complaint[160]; /* the first thing that libcyaml said */
};

__attribute__((format(printf, 3, 0))) static void on_log(cyaml_log_t level, void *ctx,
                                                         const char *fmt, va_list args)
{
    static const char prefix[] = "Load: ";
    struct judge *j = ctx;
    char line[sizeof(j->complaint)];

    (void)level;
    if (j->complaint[0] != '\0' || vsnprintf(line, sizeof(line), fmt, args) < 0) {
        return;
    }
    line[strcspn(line, "\n")] = '\0';
    (void)snprintf(j->complaint, sizeof(j->complaint), "%s",
                   strncmp(line, prefix, sizeof(prefix) - 1) == 0 ? line + sizeof(prefix) - 1
                                                                  : line);
}

static const char *after(const char *text, const char *prefix)
{
    size_t n = strlen(prefix);

    return strncmp(text, prefix, n) == 0 ? text + n : NULL;
}

/* The line of the last mention of a key. */
static uint32_t last_line(const struct judge *j, const char *key)
{
    uint32_t line = 0;

    for (uint32_t nth = 0; yaml_scan_line(&j->scan, key, nth) != 0; nth++) {
        line = yaml_scan_line(&j->scan, key, nth);
    }
    return line;
}

/* libcyaml's complaint as our one line. */
static enum err translate(const struct judge *j, cyaml_err_t err)
{
    const char *key = after(j->complaint, "Unexpected key: ");

    if (key != NULL) {
        explain(j->why, "%s line %u: %s: unknown key; remove it or correct its spelling", j->path,
                last_line(j, key), key);
        return ERR_MALFORMED;
    }
    key = after(j->complaint, "Missing required mapping field: ");
    if (key != NULL) {
        explain(j->why, "%s: %s: missing; add this key", j->path, key);
        return ERR_MALFORMED;
    }
    explain(j->why, "%s: %s; compare with libavocado(3)", j->path,
            j->complaint[0] == '\0' ? cyaml_strerror(err) : j->complaint);
    return ERR_MALFORMED;
}

/* A refused value: where, what was found, what is permitted. */
static enum err refuse(const struct judge *j, const char *key, uint32_t nth, const char *found,
                       const char *permitted)
{
    explain(j->why, "%s line %u: %s: found '%.64s', permitted is %s", j->path,
            yaml_scan_line(&j->scan, key, nth), key, found, permitted);
    return ERR_MALFORMED;
}

/* Digits only, no leading zero, 1..max. */
static bool read_number(const char *text, uint32_t max, uint32_t *ret)
{
    uint64_t v = 0;

    if (*text < '1' || *text > '9' || strlen(text) > 10) {
        return false;
    }
    for (; *text >= '0' && *text <= '9'; text++) {
        v = v * 10 + (uint64_t)(*text - '0');
    }
    if (*text != '\0' || v > max) {
        return false;
    }
    *ret = (uint32_t)v;
    return true;
}

static int hex_digit(char c)
{
    if (c >= '0' && c <= '9') {
        return c - '0';
    }
    return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

static bool read_id(const char *text, uint8_t ret[CLUSTER_ID_LEN])
{
    if (strlen(text) != (size_t)2 * CLUSTER_ID_LEN) {
        return false;
    }
    for (size_t i = 0; i < CLUSTER_ID_LEN; i++) {
        int high = hex_digit(text[2 * i]);
        int low = hex_digit(text[2 * i + 1]);

        if (high < 0 || low < 0) {
            return false;
        }
        ret[i] = (uint8_t)((unsigned)high << 4 | (unsigned)low);
    }
    return true;
}

/* The file's name as seen from here. */
static enum err get_path(const struct judge *j, const char *key, const char *text,
                         char ret[PROFILE_PATH_MAX])
{
    const char *slash = strrchr(j->path, '/');
    int folder_n = slash == NULL || text[0] == '/' ? 0 : (int)(slash - j->path + 1);
    int n = snprintf(ret, PROFILE_PATH_MAX, "%.*s%s", folder_n, j->path, text);

    if (text[0] == '\0' || n < 0 || n >= PROFILE_PATH_MAX) {
        return refuse(j, key, 0, text, "the path of a PEM file");
    }
    return OK;
}

static bool read_address(const char *text, struct abi_addr *ret)
{
    struct abi_addr a = {.family = strchr(text, ':') == NULL ? 4 : 6};

    if (strlen(text) > HOST_MAX_LEN ||
        inet_pton(a.family == 4 ? AF_INET : AF_INET6, text, a.ip) != 1) {
        return false;
    }
    *ret = a;
    return true;
}

static enum err get_member(const struct judge *j, const struct raw_member *r, uint32_t nth,
                           struct profile *p)
{
    struct profile_member *m = &p->members[nth];
    uint32_t port;

    if (!read_number(r->node, UINT32_MAX, &m->node) ||
        (nth > 0 && m->node <= p->members[nth - 1].node)) {
        return refuse(j, "node", nth, r->node,
                      "a whole number from 1 on, greater than the member's before");
    }
    if (!read_address(r->address, &m->host)) {
        return refuse(j, "address", nth, r->address, "an IPv4 or IPv6 address, no host name");
    }
    if (!read_number(r->control_port, UINT16_MAX, &port)) {
        return refuse(j, "control_port", nth, r->control_port, "a whole number from 1 to 65535");
    }
    m->control_port = (uint16_t)port;
    (void)snprintf(m->address, sizeof(m->address), "%s", r->address);
    return OK;
}

static enum err judge_all(const struct judge *j, const struct raw *r, struct profile *p)
{
    if (!read_id(r->cluster, p->cluster)) {
        return refuse(j, "cluster", 0, r->cluster, "32 lower-case hex digits");
    }
    if (r->name[0] == '\0' || strlen(r->name) > NAME_MAX_LEN) {
        return refuse(j, "name", 0, r->name, "1 to 63 characters");
    }
    (void)snprintf(p->name, sizeof(p->name), "%s", r->name);
    TRY(get_path(j, "ca_file", r->ca_file, p->ca_file));
    TRY(get_path(j, "cert_file", r->cert_file, p->cert_file));
    TRY(get_path(j, "key_file", r->key_file, p->key_file));
    if (r->members_count < 1 || r->members_count > NODES_MAX) {
        explain(j->why, "%s line %u: members: found %u, permitted are 1 to %u", j->path,
                yaml_scan_line(&j->scan, "members", 0), r->members_count, (unsigned)NODES_MAX);
        return ERR_MALFORMED;
    }
    p->members_n = r->members_count;
    for (uint32_t nth = 0; nth < p->members_n; nth++) {
        TRY(get_member(j, &r->members[nth], nth, p));
    }
    return OK;
}

static enum err parse(struct judge *j, const char *text, size_t n, struct profile *ret)
{
    cyaml_config_t config = {
        .log_fn = on_log,
        .log_ctx = j,
        .log_level = CYAML_LOG_ERROR,
        .mem_fn = cyaml_mem,
        .flags = CYAML_CFG_NO_ALIAS,
    };
    struct raw *raw = NULL;
    cyaml_err_t cyaml_err;
    enum err err;

    cyaml_err =
        cyaml_load_data((const uint8_t *)text, n, &config, &profile_schema, (void **)&raw, NULL);
    if (cyaml_err != CYAML_OK || raw == NULL) {
        return translate(j, cyaml_err);
    }
    err = judge_all(j, raw, ret);
    (void)cyaml_free(&config, &profile_schema, raw, 0);
    return err;
}

RESULT profile_load(const char *path, struct profile *ret, struct explain *why)
{
    struct explain inner = {0};
    struct judge j = {.path = path, .why = why};
    struct profile p = {0};
    char *text;
    size_t n;
    enum err err;

    TRY(file_read(path, FILE_PUBLIC, PROFILE_BYTES_MAX, &text, &n, why));
    err = yaml_scan(text, n, &j.scan, &inner);
    if (err != OK) {
        explain(why, "%s: %s", path, inner.text);
    } else {
        err = parse(&j, text, n, &p);
    }
    file_free(text, n);
    TRY(err);
    *ret = p;
    return OK;
}
