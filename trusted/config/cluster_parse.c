// SPDX-License-Identifier: Apache-2.0
#include "trusted/config/cluster.h"
#include "trusted/config/explain.h"
#include "trusted/config/yaml_scan.h"

#include <arpa/inet.h>
#include <cyaml/cyaml.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/*
 * libcyaml fits the text to the schema: keys, their presence and their kind. Every value comes as
 * text and is judged here, because a refusal has to say what was found and what is permitted, and
 * because "010" is ten to people and eight to C.
 */
struct raw_member {
    char *node, *incarnation, *address, *control_port, *data_port;
};

struct raw {
    char *version, *cluster, *name, *epoch, *replication_factor, *shards;
    char *datagram_bytes, *value_max, *enclave_memory, *host_memory;
    struct raw_member *members;
    uint32_t members_count;
};

#define TEXT(key, flags, type)                                                                     \
    CYAML_FIELD_STRING_PTR(#key, CYAML_FLAG_POINTER | (flags), struct type, key, 0, CYAML_UNLIMITED)

static const cyaml_schema_field_t member_fields[] = {
    TEXT(node, 0, raw_member),      TEXT(incarnation, 0, raw_member),
    TEXT(address, 0, raw_member),   TEXT(control_port, 0, raw_member),
    TEXT(data_port, 0, raw_member), CYAML_FIELD_END,
};

static const cyaml_schema_value_t member_schema = {
    CYAML_VALUE_MAPPING(CYAML_FLAG_DEFAULT, struct raw_member, member_fields),
};

static const cyaml_schema_field_t cluster_fields[] = {
    TEXT(version, 0, raw),
    TEXT(cluster, 0, raw),
    TEXT(name, 0, raw),
    TEXT(epoch, 0, raw),
    TEXT(replication_factor, 0, raw),
    TEXT(shards, 0, raw),
    TEXT(datagram_bytes, CYAML_FLAG_OPTIONAL, raw),
    TEXT(value_max, CYAML_FLAG_OPTIONAL, raw),
    TEXT(enclave_memory, CYAML_FLAG_OPTIONAL, raw),
    TEXT(host_memory, CYAML_FLAG_OPTIONAL, raw),
    CYAML_FIELD_SEQUENCE("members", CYAML_FLAG_POINTER, struct raw, members, &member_schema, 0,
                         CYAML_UNLIMITED),
    CYAML_FIELD_END,
};

static const cyaml_schema_value_t cluster_schema = {
    CYAML_VALUE_MAPPING(CYAML_FLAG_POINTER, struct raw, cluster_fields),
};

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
static void translate(const struct yaml_scan *scan, const struct complaint *c, cyaml_err_t err,
                      struct explain *why)
{
    const char *key = after(c->text, "Unexpected key: ");

    if (key != NULL) {
        explain(why, "line %u: %s: unknown key; remove it or correct its spelling",
                last_line(scan, key), key);
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
        explain(why, "near line %u: %s: %s; compare with docs/protocol/config.md", c->line,
                c->field[0] == '\0' ? "the document" : c->field, c->text);
        return;
    }
    explain(why, "near line %u: %s: %s; compare with docs/protocol/config.md", c->line, c->field,
            c->text[0] == '\0' ? cyaml_strerror(err) : c->text);
}

struct parse {
    struct yaml_scan scan;
    struct explain *why;
    uint32_t member; /* which one is being looked at */
};

/* A refused value: where, what was found, what is permitted. */
static enum err refuse(const struct parse *p, const char *key, const char *found,
                       const char *permitted)
{
    uint32_t line = yaml_scan_line(&p->scan, key, p->member);

    explain(p->why, "line %u: %s: found '%.64s', permitted is %s; correct it", line, key, found,
            permitted);
    return ERR_MALFORMED;
}

struct number {
    const char *key, *text;
    uint64_t min, max;
    bool is_size; /* may end in KiB, MiB or GiB */
};

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

static enum err get_number(const struct parse *p, const struct number *n, uint64_t *ret)
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
        return refuse(p, n->key, n->text, permitted);
    }
    *ret = v;
    return OK;
}

static enum err get_u32_number(const struct parse *p, const struct number *n, uint32_t *ret)
{
    uint64_t v = *ret;

    TRY(get_number(p, n, &v));
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

static enum err get_id(const struct parse *p, const char *text, uint8_t ret[CLUSTER_ID_LEN])
{
    static const uint8_t zero[CLUSTER_ID_LEN];
    bool good = strlen(text) == (size_t)2 * CLUSTER_ID_LEN;

    for (size_t i = 0; good && i < CLUSTER_ID_LEN; i++) {
        int high = hex_digit(text[2 * i]), low = hex_digit(text[2 * i + 1]);

        good = high >= 0 && low >= 0;
        ret[i] = (uint8_t)((unsigned)high << 4 | (unsigned)low);
    }
    if (!good || memcmp(ret, zero, sizeof(zero)) == 0) {
        return refuse(p, "cluster", text, "32 lower-case hex digits, not all zero");
    }
    return OK;
}

static enum err get_name(const struct parse *p, const char *text, char ret[NAME_MAX_LEN + 1])
{
    size_t n = strlen(text);
    bool good = n >= 1 && n <= NAME_MAX_LEN;

    for (size_t i = 0; good && i < n; i++) {
        char c = text[i];

        good = (c >= '0' && c <= '9') || ((c | 32) >= 'a' && (c | 32) <= 'z') || c == '-' ||
               c == '_' || c == '.';
    }
    if (!good) {
        return refuse(p, "name", text, "1 to 63 letters, digits, '-', '_', '.'");
    }
    memcpy(ret, text, n + 1);
    return OK;
}

struct place {
    int family;
    uint8_t ip[16];
};

static bool read_address(const char *text, struct place *ret)
{
    static const uint8_t zero[16];
    struct place a = {.family = strchr(text, ':') == NULL ? AF_INET : AF_INET6};

    if (strlen(text) > HOST_MAX_LEN || inet_pton(a.family, text, a.ip) != 1 ||
        memcmp(a.ip, zero, sizeof(zero)) == 0) {
        return false;
    }
    *ret = a;
    return true;
}

static enum err get_address(const struct parse *p, const char *text, char ret[HOST_MAX_LEN + 1])
{
    struct place a = {0};

    if (!read_address(text, &a) || inet_ntop(a.family, a.ip, ret, HOST_MAX_LEN + 1) == NULL) {
        return refuse(p, "address", text,
                      "an IPv4 or IPv6 address that the other members can reach, no host name");
    }
    return OK;
}

static enum err get_member(const struct parse *p, const struct raw_member *r, uint32_t shards,
                           struct cluster_member *ret)
{
    struct cluster_member m = {0};
    uint32_t control_port = 0, data_port = 0;

    TRY(get_u32_number(p, &(struct number){"node", r->node, 1, UINT32_MAX, false}, &m.node));
    TRY(get_u32_number(p, &(struct number){"incarnation", r->incarnation, 1, UINT32_MAX, false},
                       &m.incarnation));
    TRY(get_address(p, r->address, m.address));
    TRY(get_u32_number(p, &(struct number){"control_port", r->control_port, 1, UINT16_MAX, false},
                       &control_port));
    TRY(get_u32_number(
        p, &(struct number){"data_port", r->data_port, 1, UINT16_MAX + 1 - shards, false},
        &data_port));
    m.control_port = (uint16_t)control_port;
    m.data_port = (uint16_t)data_port;
    *ret = m;
    return OK;
}

/* CFG-4: what must not be shared between two members. `a` comes before `b`. */
static enum err compare_members(const struct parse *p, uint32_t shards,
                                const struct cluster_member *a, const struct cluster_member *b)
{
    char text[32];

    if (a->node >= b->node) {
        (void)snprintf(text, sizeof(text), "%u", b->node);
        return refuse(p, "node", text, "a greater number than that of the member before");
    }
    if (a->incarnation == b->incarnation) {
        (void)snprintf(text, sizeof(text), "%u", b->incarnation);
        return refuse(p, "incarnation", text, "a number that no other member has");
    }
    if (strcmp(a->address, b->address) != 0) {
        return OK;
    }
    if (a->control_port == b->control_port) {
        (void)snprintf(text, sizeof(text), "%u", b->control_port);
        return refuse(p, "control_port", text, "a port that no other member on this address has");
    }
    if (a->data_port < b->data_port + shards && b->data_port < a->data_port + shards) {
        (void)snprintf(text, sizeof(text), "%u", b->data_port);
        return refuse(p, "data_port", text,
                      "a port whose range of one port per shard no other member on this address "
                      "has");
    }
    return OK;
}

static enum err get_members(struct parse *p, const struct raw *r, struct cluster *c)
{
    if (r->members_count < 1 || r->members_count > NODES_MAX || r->members_count % 2 == 0) {
        explain(p->why,
                "line %u: members: found %u members, permitted are 1, 3, 5 or 7 (an even number "
                "survives no more losses than one fewer); add or remove one",
                yaml_scan_line(&p->scan, "members", 0), r->members_count);
        return ERR_MALFORMED;
    }
    c->members_n = r->members_count;
    for (p->member = 0; p->member < c->members_n; p->member++) {
        TRY(get_member(p, &r->members[p->member], c->shards, &c->members[p->member]));
        for (uint32_t i = 0; i < p->member; i++) {
            TRY(compare_members(p, c->shards, &c->members[i], &c->members[p->member]));
        }
    }
    p->member = 0;
    if (c->replication_factor != c->members_n) {
        explain(p->why,
                "line %u: replication_factor: found %u, permitted is %u, the number of members: "
                "this version keeps every key on every member; set it to %u",
                yaml_scan_line(&p->scan, "replication_factor", 0), c->replication_factor,
                c->members_n, c->members_n);
        return ERR_MALFORMED;
    }
    return OK;
}

static enum err get_cluster(struct parse *p, const struct raw *r, struct cluster *ret)
{
    const uint64_t mib = UINT64_C(1) << 20;
    struct cluster c = {
        .datagram_bytes = DATAGRAM_DEFAULT,
        .value_max = VALUE_MAX_DEFAULT,
        .enclave_memory = ENCLAVE_MEMORY_DEFAULT,
        .host_memory = HOST_MEMORY_DEFAULT,
    };
    uint64_t version = 0;

    TRY(get_number(p, &(struct number){"version", r->version, 1, 1, false}, &version));
    TRY(get_id(p, r->cluster, c.id));
    TRY(get_name(p, r->name, c.name));
    TRY(get_number(p, &(struct number){"epoch", r->epoch, 1, INT64_MAX, false}, &c.epoch));
    TRY(get_u32_number(
        p, &(struct number){"replication_factor", r->replication_factor, 1, NODES_MAX, false},
        &c.replication_factor));
    TRY(get_u32_number(p, &(struct number){"shards", r->shards, 1, SHARDS_MAX, false}, &c.shards));
    TRY(get_u32_number(
        p, &(struct number){"datagram_bytes", r->datagram_bytes, DATAGRAM_MIN, DATAGRAM_MAX, false},
        &c.datagram_bytes));
    TRY(get_u32_number(p, &(struct number){"value_max", r->value_max, 1, VALUE_MAX, true},
                       &c.value_max));
    TRY(get_number(p,
                   &(struct number){"enclave_memory", r->enclave_memory, 8 * mib, mib << 20, true},
                   &c.enclave_memory));
    TRY(get_number(p, &(struct number){"host_memory", r->host_memory, 8 * mib, mib << 24, true},
                   &c.host_memory));
    TRY(get_members(p, r, &c));
    *ret = c;
    return OK;
}

RESULT cluster_parse(const char *yaml, size_t n, struct cluster *ret, struct explain *why)
{
    struct parse p = {.why = why};
    struct complaint complaint = {0};
    struct raw *raw = NULL;
    cyaml_config_t config = {
        .log_fn = on_log,
        .log_ctx = &complaint,
        .log_level = CYAML_LOG_ERROR,
        .mem_fn = cyaml_mem,
        .flags = CYAML_CFG_NO_ALIAS,
    };
    cyaml_err_t cyaml_err = CYAML_OK;
    enum err err = OK;

    TRY(yaml_scan(yaml, n, &p.scan, why));
    cyaml_err =
        cyaml_load_data((const uint8_t *)yaml, n, &config, &cluster_schema, (void **)&raw, NULL);
    if (cyaml_err != CYAML_OK || raw == NULL) {
        translate(&p.scan, &complaint, cyaml_err, why);
        return ERR_MALFORMED;
    }
    err = get_cluster(&p, raw, ret);
    (void)cyaml_free(&config, &cluster_schema, raw, 0);
    return err;
}
