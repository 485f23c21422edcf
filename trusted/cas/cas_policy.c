// SPDX-License-Identifier: Apache-2.0
#include "trusted/cas/cas_policy.h"

#include "trusted/config/explain.h"
#include "trusted/config/schema.h"

#include <openssl/crypto.h>

#include <stdio.h>
#include <stdlib.h>

enum {
    CERTIFICATE_MIN_S = 10,
    CERTIFICATE_MAX_S = 366 * 86400,
    CERTIFICATE_DEFAULT_S = 86400,
};

struct raw_list {
    char **v;
    uint32_t n;
};
struct raw_role {
    char *role, *las, *evidence;
    struct raw_list executables;
};
struct raw_client_role {
    char *client_role;
    struct raw_list may;
};
struct raw_client {
    char *client, *client_role;
};
struct raw_secret {
    char *secret, *recipients, *value;
};
struct raw {
    char *version, *policy, *certificate_lifetime, *configuration;
    struct raw_list software_roots;
    struct raw_role *roles;
    struct raw_client_role *client_roles;
    struct raw_client *clients;
    struct raw_secret *secrets;
    uint32_t roles_count, client_roles_count, clients_count, secrets_count;
};

static const cyaml_schema_value_t text_entry = {
    CYAML_VALUE_STRING(CYAML_FLAG_POINTER, char, 0, CYAML_UNLIMITED),
};

#define TEXT(key, flags, type)                                                                     \
    CYAML_FIELD_STRING_PTR(#key, CYAML_FLAG_POINTER | (flags), struct type, key, 0, CYAML_UNLIMITED)
#define LIST(member, type)                                                                         \
    {                                                                                              \
        .key = #member, .data_offset = offsetof(struct type, member.v),                            \
        .count_offset = offsetof(struct type, member.n), .count_size = sizeof(uint32_t),           \
        .value = {CYAML_VALUE_SEQUENCE(CYAML_FLAG_POINTER | CYAML_FLAG_OPTIONAL, char *,           \
                                       &text_entry, 0, CYAML_UNLIMITED)},                          \
    }
#define MAPPINGS(member, flags, schema)                                                            \
    CYAML_FIELD_SEQUENCE(#member, CYAML_FLAG_POINTER | (flags), struct raw, member, schema, 0,     \
                         CYAML_UNLIMITED)

static const cyaml_schema_field_t role_fields[] = {
    TEXT(role, 0, raw_role),
    TEXT(las, CYAML_FLAG_OPTIONAL, raw_role),
    TEXT(evidence, 0, raw_role),
    LIST(executables, raw_role),
    CYAML_FIELD_END,
};
static const cyaml_schema_field_t client_role_fields[] = {
    TEXT(client_role, 0, raw_client_role),
    LIST(may, raw_client_role),
    CYAML_FIELD_END,
};
static const cyaml_schema_field_t client_fields[] = {
    TEXT(client, 0, raw_client),
    TEXT(client_role, CYAML_FLAG_OPTIONAL, raw_client),
    CYAML_FIELD_END,
};
static const cyaml_schema_field_t secret_fields[] = {
    TEXT(secret, 0, raw_secret),
    TEXT(recipients, 0, raw_secret),
    TEXT(value, 0, raw_secret),
    CYAML_FIELD_END,
};
static const cyaml_schema_value_t role_schema = {
    CYAML_VALUE_MAPPING(CYAML_FLAG_DEFAULT, struct raw_role, role_fields),
};
static const cyaml_schema_value_t client_role_schema = {
    CYAML_VALUE_MAPPING(CYAML_FLAG_DEFAULT, struct raw_client_role, client_role_fields),
};
static const cyaml_schema_value_t client_schema = {
    CYAML_VALUE_MAPPING(CYAML_FLAG_DEFAULT, struct raw_client, client_fields),
};
static const cyaml_schema_value_t secret_schema = {
    CYAML_VALUE_MAPPING(CYAML_FLAG_DEFAULT, struct raw_secret, secret_fields),
};
static const cyaml_schema_field_t policy_fields[] = {
    TEXT(version, 0, raw),
    TEXT(policy, 0, raw),
    TEXT(certificate_lifetime, CYAML_FLAG_OPTIONAL, raw),
    LIST(software_roots, raw),
    TEXT(configuration, 0, raw),
    MAPPINGS(roles, 0, &role_schema),
    MAPPINGS(client_roles, CYAML_FLAG_OPTIONAL, &client_role_schema),
    MAPPINGS(clients, CYAML_FLAG_OPTIONAL, &client_schema),
    MAPPINGS(secrets, CYAML_FLAG_OPTIONAL, &secret_schema),
    CYAML_FIELD_END,
};
static const cyaml_schema_value_t policy_schema = {
    CYAML_VALUE_MAPPING(CYAML_FLAG_POINTER, struct raw, policy_fields),
};

static const char *const role_names[CAS_ROLES_N] = {
    [CAS_ROLE_REPLICA] = "replica",
    [CAS_ROLE_LAS] = "las",
};

const char *cas_role_name(enum cas_role_kind role)
{
    return role_names[role];
}

bool cas_role_parse(const char *name, enum cas_role_kind *ret)
{
    for (unsigned i = 0; i < CAS_ROLES_N; i++) {
        if (strcmp(name, role_names[i]) == 0) {
            *ret = (enum cas_role_kind)i;
            return true;
        }
    }
    return false;
}

/* What a text inside this one complains of, with the line of this file: the text stands as a block
 * below its key. */
static enum err inner(const struct schema *s, const char *key, const struct explain *from)
{
    uint32_t base = yaml_scan_line(&s->scan, key, s->nth);
    const char *at = strstr(from->text, "line ");
    char *rest = NULL;

    if (at != NULL && at - from->text <= 5 && at[5] >= '0' && at[5] <= '9') {
        unsigned long line = strtoul(at + 5, &rest, 10);

        explain(s->why, "%.*sline %lu%s (in %s)", (int)(at - from->text), from->text, base + line,
                rest, key);
    } else {
        explain(s->why, "line %u: %s: %s", base, key, from->text);
    }
    return ERR_MALFORMED;
}

static bool unhex(const char *text, uint8_t *to, size_t n)
{
    if (strlen(text) != 2 * n) {
        return false;
    }
    for (size_t i = 0; i < 2 * n; i++) {
        const char *digits = "0123456789abcdef";
        const char *at = strchr(digits, text[i]);

        if (at == NULL) {
            return false;
        }
        to[i / 2] = (uint8_t)(to[i / 2] << 4 | (at - digits));
    }
    return true;
}

/* "24h", "30d", "90s" */
static bool read_lifetime(const char *text, uint32_t *ret)
{
    static const struct {
        char unit;
        uint32_t s;
    } units[] = {{'s', 1}, {'m', 60}, {'h', 3600}, {'d', 86400}};
    char *rest = NULL;
    uint64_t s = 0;

    if (text[0] < '1' || text[0] > '9' || strlen(text) > 9) {
        return false;
    }
    s = strtoul(text, &rest, 10);
    for (size_t i = 0; i < sizeof(units) / sizeof(units[0]); i++) {
        if (rest[0] == units[i].unit && rest[1] == '\0') {
            s *= units[i].s;
            *ret = (uint32_t)s;
            return s >= CERTIFICATE_MIN_S && s <= CERTIFICATE_MAX_S;
        }
    }
    return false;
}

static enum err get_pins(struct schema *s, const struct raw_list *list, struct attest_roots *to)
{
    for (uint32_t i = 0; i < list->n; i++) {
        if (to->n == ATTEST_ROOTS_MAX || !unhex(list->v[i], to->pin[to->n], ATTEST_PIN_LEN)) {
            return schema_refuse(s, "software_roots", list->v[i],
                                 "up to 16 hashes of root keys (sha256, 64 lower-case hex digits)");
        }
        to->n++;
    }
    return OK;
}

static enum err get_role(struct schema *s, const struct raw_role *raw, struct cas_policy *to)
{
    static const char *const rules[] = {"forbidden", "allowed", "required"};
    struct explain why = {0};
    enum cas_role_kind kind;
    struct cas_role *r;

    if (!cas_role_parse(raw->role, &kind)) {
        return schema_refuse(s, "role", raw->role, "replica or las");
    }
    r = &to->role[kind];
    if (r->given) {
        return schema_refuse(s, "role", raw->role, "each role once");
    }
    r->given = true;
    if (raw->las != NULL) {
        unsigned i = 0;

        while (i < 3 && strcmp(raw->las, rules[i]) != 0) {
            i++;
        }
        if (i == 3 || (kind == CAS_ROLE_LAS && i != CAS_LAS_FORBIDDEN)) {
            return schema_refuse(s, "las", raw->las,
                                 kind == CAS_ROLE_LAS ? "forbidden: a LAS shows evidence of its own"
                                                      : "forbidden, allowed or required");
        }
        r->las = (enum cas_las_rule)i;
    }
    for (uint32_t i = 0; i < raw->executables.n; i++) {
        if (i == CAS_EXECUTABLES_MAX ||
            !unhex(raw->executables.v[i], r->executable[i], MEASUREMENT_LEN)) {
            return schema_refuse(s, "executables", raw->executables.v[i],
                                 "up to 16 SHA-256 of programs, 64 lower-case hex digits each");
        }
        r->executables_n++;
    }
    if (attest_policy_parse(raw->evidence, strlen(raw->evidence), &r->evidence, &why) != OK) {
        return inner(s, "evidence", &why);
    }
    return OK;
}

static enum err get_name(struct schema *s, const char *key, const char *text,
                         char to[NAME_MAX_LEN + 1])
{
    size_t n = strlen(text);

    if (n < 1 || n > NAME_MAX_LEN ||
        strspn(text, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789._-") != n) {
        return schema_refuse(s, key, text, "1 to 63 letters, digits, '.', '_', '-'");
    }
    memcpy(to, text, n + 1);
    return OK;
}

/* A role of clients; `ret` names it and holds its rules. */
static enum err get_client_role(struct schema *s, const struct raw_client_role *raw,
                                struct cas_client *ret)
{
    struct cas_client r = {0};

    TRY(get_name(s, "client_role", raw->client_role, r.name));
    if (raw->may.n == 0) {
        return schema_refuse(s, "client_role", raw->client_role, "a role with rules under `may`");
    }
    for (uint32_t i = 0; i < raw->may.n; i++) {
        if (access_add(&r.access, raw->may.v[i]) != OK) {
            return schema_refuse(
                s, "may", raw->may.v[i],
                "up to 8 rules RIGHTS:PREFIX, as read,scan:orders/, with 200 bytes "
                "of prefixes in all (docs/protocol/access.md)");
        }
    }
    *ret = r;
    return OK;
}

static enum err get_client_roles(struct schema *s, const struct raw *raw, struct cas_client *to)
{
    for (s->nth = 0; s->nth < raw->client_roles_count; s->nth++) {
        const struct raw_client_role *from = &raw->client_roles[s->nth];

        if (s->nth == CAS_CLIENT_ROLES_MAX) {
            return schema_refuse(s, "client_role", from->client_role, "at most 16 roles");
        }
        for (uint32_t i = 0; i < s->nth; i++) {
            if (strcmp(to[i].name, from->client_role) == 0) {
                return schema_refuse(s, "client_role", from->client_role, "each role once");
            }
        }
        TRY(get_client_role(s, from, &to[s->nth]));
    }
    return OK;
}

/* What the role of a client permits; none: everything. */
static enum err get_access(const struct schema *s, const struct raw *raw,
                           const struct cas_client *roles, const char *role, struct access *ret)
{
    for (uint32_t i = 0; role != NULL && i < raw->client_roles_count; i++) {
        if (strcmp(roles[i].name, role) == 0) {
            *ret = roles[i].access;
            return OK;
        }
    }
    return role == NULL ? OK
                        : schema_refuse(s, "client", role, "a client_role that client_roles names");
}

static enum err get_clients(struct schema *s, const struct raw *raw, struct cas_policy *to)
{
    struct cas_client roles[CAS_CLIENT_ROLES_MAX] = {0};

    TRY(get_client_roles(s, raw, roles));
    for (s->nth = 0; s->nth < raw->clients_count; s->nth++) {
        const struct raw_client *from = &raw->clients[s->nth];
        struct cas_client *c = &to->client[to->clients_n];

        if (to->clients_n == CAS_CLIENTS_MAX) {
            return schema_refuse(s, "client", from->client, "at most 64 clients");
        }
        TRY(get_name(s, "client", from->client, c->name));
        TRY(get_access(s, raw, roles, from->client_role, &c->access));
        to->clients_n++;
    }
    return OK;
}

static enum err get_secrets(struct schema *s, const struct raw *raw, struct cas_policy *to)
{
    for (s->nth = 0; s->nth < raw->secrets_count; s->nth++) {
        const struct raw_secret *from = &raw->secrets[s->nth];
        struct cas_secret *x = &to->secret[to->secrets_n];

        if (to->secrets_n == CAS_SECRETS_MAX) {
            return schema_refuse(s, "secret", from->secret, "at most 16 secrets");
        }
        TRY(get_name(s, "secret", from->secret, x->name));
        if (!cas_role_parse(from->recipients, &x->role)) {
            return schema_refuse(s, "recipients", from->recipients, "replica or las");
        }
        if (strlen(from->value) > CAS_SECRET_LEN) {
            return schema_refuse(s, "value", "a longer one", "at most 512 bytes");
        }
        memcpy(x->value, from->value, strlen(from->value) + 1);
        to->secrets_n++;
    }
    return OK;
}

static enum err get_policy(struct schema *s, const struct raw *raw, struct cas_policy *to)
{
    const struct schema_number version = {"policy", raw->policy, 1, INT64_MAX, false};
    struct explain why = {0};

    if (strcmp(raw->version, "1") != 0) {
        return schema_refuse(s, "version", raw->version, "1");
    }
    TRY(schema_get_number(s, &version, &to->version));
    to->certificate_s = CERTIFICATE_DEFAULT_S;
    if (raw->certificate_lifetime != NULL &&
        !read_lifetime(raw->certificate_lifetime, &to->certificate_s)) {
        return schema_refuse(s, "certificate_lifetime", raw->certificate_lifetime,
                             "10s to 366d: a number and s, m, h or d");
    }
    TRY(get_pins(s, &raw->software_roots, &to->software_roots));
    if (cluster_parse(raw->configuration, strlen(raw->configuration), &to->cluster, &why) != OK) {
        return inner(s, "configuration", &why);
    }
    for (s->nth = 0; s->nth < raw->roles_count; s->nth++) {
        TRY(get_role(s, &raw->roles[s->nth], to));
    }
    TRY(get_clients(s, raw, to));
    TRY(get_secrets(s, raw, to));
    s->nth = 0;
    if (!to->role[CAS_ROLE_REPLICA].given) {
        return schema_refuse(s, "roles", "no role replica", "a list that has it");
    }
    return OK;
}

RESULT cas_policy_parse(const char *yaml, size_t n, struct cas_policy **ret, struct explain *why)
{
    struct schema s = {.manual = "docs/protocol/cas.md", .why = why};
    struct cas_policy *p = NULL;
    void *raw = NULL;
    enum err err = OK;

    if (n > CAS_POLICY_TEXT_MAX) {
        explain(why, "more than %d bytes; is it the right file?", CAS_POLICY_TEXT_MAX);
        return ERR_MALFORMED;
    }
    TRY(schema_load(&s, yaml, n, &policy_schema, &raw));
    p = calloc(1, sizeof(*p));
    if (p == NULL) {
        explain(why, "out of memory");
        err = ERR_MALFORMED;
    } else {
        err = get_policy(&s, raw, p);
    }
    schema_free(&policy_schema, raw);
    if (err != OK) {
        cas_policy_free(p);
        return err;
    }
    *ret = p;
    return OK;
}

bool cas_policy_client(const struct cas_policy *p, const char *name, struct access *ret)
{
    for (uint32_t i = 0; i < p->clients_n; i++) {
        if (strcmp(p->client[i].name, name) == 0) {
            *ret = p->client[i].access;
            return true;
        }
    }
    *ret = (struct access){0};
    return p->clients_n == 0;
}

void cas_policy_free(struct cas_policy *p)
{
    if (p != NULL) {
        OPENSSL_cleanse(p, sizeof(*p));
        free(p);
    }
}
