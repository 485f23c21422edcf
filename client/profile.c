// SPDX-License-Identifier: Apache-2.0
#include "client/profile.h"

#include "trusted/config/explain.h"
#include "trusted/config/file.h"
#include "trusted/config/schema.h"

#include <arpa/inet.h>
#include <stdio.h>
#include <string.h>

enum { PROFILE_BYTES_MAX = 1 << 16 };

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

struct path {
    const char *key, *text;
};

/* The file's name as seen from here. */
static enum err get_path(const struct schema *s, const char *file, const struct path *p,
                         char ret[PROFILE_PATH_MAX])
{
    const char *slash = strrchr(file, '/');
    int folder_n = slash == NULL || p->text[0] == '/' ? 0 : (int)(slash - file + 1);
    int n = snprintf(ret, PROFILE_PATH_MAX, "%.*s%s", folder_n, file, p->text);

    if (p->text[0] == '\0' || n < 0 || n >= PROFILE_PATH_MAX) {
        return schema_refuse(s, p->key, p->text, "the path of a PEM file");
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

static enum err get_member(const struct schema *s, const struct raw_member *r, struct profile *p)
{
    struct profile_member *m = &p->members[s->nth];
    uint64_t least = s->nth == 0 ? 1 : (uint64_t)p->members[s->nth - 1].node + 1;
    uint32_t port = 0;

    /* Ascending: the place in the list is the place in the cluster. */
    TRY(schema_get_u32(s, &(struct schema_number){"node", r->node, least, UINT32_MAX, false},
                       &m->node));
    if (!read_address(r->address, &m->host)) {
        return schema_refuse(s, "address", r->address,
                             "an IPv4 or IPv6 address that this machine can reach, no host name");
    }
    TRY(schema_get_u32(
        s, &(struct schema_number){"control_port", r->control_port, 1, UINT16_MAX, false}, &port));
    m->control_port = (uint16_t)port;
    (void)snprintf(m->address, sizeof(m->address), "%s", r->address);
    return OK;
}

static enum err judge(struct schema *s, const char *file, const struct raw *r, struct profile *p)
{
    TRY(schema_get_id(s, r->cluster, p->cluster));
    TRY(schema_get_name(s, r->name, p->name));
    TRY(get_path(s, file, &(struct path){"ca_file", r->ca_file}, p->ca_file));
    TRY(get_path(s, file, &(struct path){"cert_file", r->cert_file}, p->cert_file));
    TRY(get_path(s, file, &(struct path){"key_file", r->key_file}, p->key_file));
    if (r->members_count < 1 || r->members_count > CLUSTER_MAX) {
        explain(s->why, "line %u: members: found %u, permitted are 1 to %u; correct the list",
                yaml_scan_line(&s->scan, "members", 0), r->members_count, (unsigned)CLUSTER_MAX);
        return ERR_MALFORMED;
    }
    p->members_n = r->members_count;
    for (s->nth = 0; s->nth < p->members_n; s->nth++) {
        TRY(get_member(s, &r->members[s->nth], p));
    }
    return OK;
}

RESULT profile_load(const char *path, struct profile *ret, struct explain *why)
{
    struct explain inner = {0};
    struct schema s = {.manual = "libavocado(3)", .why = &inner};
    struct profile p = {0};
    void *raw = NULL;
    char *text;
    size_t n;
    enum err err;

    TRY(file_read(path, FILE_PUBLIC, PROFILE_BYTES_MAX, &text, &n, why));
    err = schema_load(&s, text, n, &profile_schema, &raw);
    if (err == OK) {
        err = judge(&s, path, raw, &p);
        schema_free(&profile_schema, raw);
    }
    file_free(text, n);
    if (err != OK) {
        explain(why, "%s: %s", path, inner.text);
        return err;
    }
    *ret = p;
    return OK;
}
