// SPDX-License-Identifier: Apache-2.0
#include "trusted/config/cluster.h"
#include "trusted/config/explain.h"
#include "trusted/config/schema.h"

#include <arpa/inet.h>
#include <cyaml/cyaml.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct raw_member {
    char *node, *incarnation, *address, *control_port, *data_port;
};

struct raw_group {
    char *voters, *learners, *settle;
};

struct raw {
    char *version, *cluster, *name, *epoch, *replication_factor, *shards;
    char *datagram_bytes, *value_max, *enclave_memory, *host_memory;
    struct raw_member *members;
    struct raw_group *groups;
    uint32_t members_count, groups_count;
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

static const cyaml_schema_field_t group_fields[] = {
    TEXT(voters, 0, raw_group),
    TEXT(learners, CYAML_FLAG_OPTIONAL, raw_group),
    TEXT(settle, CYAML_FLAG_OPTIONAL, raw_group),
    CYAML_FIELD_END,
};

static const cyaml_schema_value_t group_schema = {
    CYAML_VALUE_MAPPING(CYAML_FLAG_DEFAULT, struct raw_group, group_fields),
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
    CYAML_FIELD_SEQUENCE("groups", CYAML_FLAG_POINTER | CYAML_FLAG_OPTIONAL, struct raw, groups,
                         &group_schema, 0, CYAML_UNLIMITED),
    CYAML_FIELD_END,
};

static const cyaml_schema_value_t cluster_schema = {
    CYAML_VALUE_MAPPING(CYAML_FLAG_POINTER, struct raw, cluster_fields),
};

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

RESULT cluster_address(const char *text, char ret[static HOST_MAX_LEN + 1])
{
    struct place a = {0};

    return read_address(text, &a) && inet_ntop(a.family, a.ip, ret, HOST_MAX_LEN + 1) != NULL
               ? OK
               : ERR_MALFORMED;
}

static enum err get_address(const struct schema *s, const char *text, char ret[HOST_MAX_LEN + 1])
{
    if (cluster_address(text, ret) != OK) {
        return schema_refuse(
            s, "address", text,
            "an IPv4 or IPv6 address that the other members can reach, no host name");
    }
    return OK;
}

static enum err get_member(const struct schema *s, const struct raw_member *r, uint32_t shards,
                           struct cluster_member *ret)
{
    struct cluster_member m = {0};
    uint32_t control_port = 0, data_port = 0;

    TRY(schema_get_u32(s, &(struct schema_number){"node", r->node, 1, UINT32_MAX, false}, &m.node));
    TRY(schema_get_u32(s,
                       &(struct schema_number){"incarnation", r->incarnation, 1, UINT32_MAX, false},
                       &m.incarnation));
    TRY(get_address(s, r->address, m.address));
    TRY(schema_get_u32(
        s, &(struct schema_number){"control_port", r->control_port, 1, UINT16_MAX, false},
        &control_port));
    TRY(schema_get_u32(
        s, &(struct schema_number){"data_port", r->data_port, 1, UINT16_MAX + 1 - shards, false},
        &data_port));
    m.control_port = (uint16_t)control_port;
    m.data_port = (uint16_t)data_port;
    *ret = m;
    return OK;
}

/* CFG-4: what must not be shared between two members. `a` comes before `b`. */
static enum err compare_members(const struct schema *s, uint32_t shards,
                                const struct cluster_member *a, const struct cluster_member *b)
{
    char text[32];

    if (a->node >= b->node) {
        (void)snprintf(text, sizeof(text), "%u", b->node);
        return schema_refuse(s, "node", text, "a greater number than that of the member before");
    }
    if (a->incarnation == b->incarnation) {
        (void)snprintf(text, sizeof(text), "%u", b->incarnation);
        return schema_refuse(s, "incarnation", text, "a number that no other member has");
    }
    if (strcmp(a->address, b->address) != 0) {
        return OK;
    }
    if (a->control_port == b->control_port) {
        (void)snprintf(text, sizeof(text), "%u", b->control_port);
        return schema_refuse(s, "control_port", text,
                             "a port that no other member on this address has");
    }
    if (a->data_port < b->data_port + shards && b->data_port < a->data_port + shards) {
        (void)snprintf(text, sizeof(text), "%u", b->data_port);
        return schema_refuse(
            s, "data_port", text,
            "a port whose range of one port per shard no other member on this address "
            "has");
    }
    return OK;
}

static enum err get_members(struct schema *s, const struct raw *r, struct cluster *c)
{
    if (r->members_count < 1 || r->members_count > CLUSTER_MAX) {
        explain(s->why,
                "line %u: members: found %u members, permitted are 1 to %d; add or remove some",
                yaml_scan_line(&s->scan, "members", 0), r->members_count, CLUSTER_MAX);
        return ERR_MALFORMED;
    }
    c->members_n = r->members_count;
    for (s->nth = 0; s->nth < c->members_n; s->nth++) {
        TRY(get_member(s, &r->members[s->nth], c->shards, &c->members[s->nth]));
        for (uint32_t i = 0; i < s->nth; i++) {
            TRY(compare_members(s, c->shards, &c->members[i], &c->members[s->nth]));
        }
    }
    s->nth = 0;
    if (c->replication_factor % 2 == 0) {
        explain(s->why,
                "line %u: replication_factor: found %u, permitted are 1, 3, 5 or 7 (an even number "
                "survives no more losses than one fewer); correct it",
                yaml_scan_line(&s->scan, "replication_factor", 0), c->replication_factor);
        return ERR_MALFORMED;
    }
    return OK;
}

static uint32_t place_of(const struct cluster *c, unsigned long node)
{
    uint32_t i = 0;

    while (i < c->members_n && c->members[i].node != node) {
        i++;
    }
    return i;
}

/* "1 4 5": nodes of members, ascending, each once. CFG-9 */
static enum err get_nodes(const struct schema *s, const struct cluster *c, const char *key,
                          const char *text, uint32_t *ret)
{
    const char *at = text == NULL ? "" : text;
    unsigned long before = 0;
    uint32_t set = 0;

    while (*at != 0) {
        char *end = NULL;
        unsigned long node = *at >= '1' && *at <= '9' ? strtoul(at, &end, 10) : 0;
        uint32_t place = place_of(c, node);

        if (node <= before || place == c->members_n ||
            (*end != 0 && (*end != ' ' || end[1] == 0))) {
            return schema_refuse(s, key, text,
                                 "numbers of members' nodes, ascending, with one space between");
        }
        set |= UINT32_C(1) << place;
        before = node;
        at = *end == 0 ? end : end + 1;
    }
    *ret = set;
    return OK;
}

static enum err get_group(const struct schema *s, const struct cluster *c,
                          const struct raw_group *r, struct cluster_group *ret)
{
    struct cluster_group g = {0};

    TRY(get_nodes(s, c, "voters", r->voters, &g.voters));
    TRY(get_nodes(s, c, "learners", r->learners, &g.learners));
    g.settle = r->settle != NULL && strcmp(r->settle, "yes") == 0;
    if (r->settle != NULL && !g.settle && strcmp(r->settle, "no") != 0) {
        return schema_refuse(s, "settle", r->settle, "yes or no");
    }
    if (g.voters == 0 || (g.voters & g.learners) != 0 ||
        __builtin_popcount(g.voters | g.learners) > NODES_MAX) {
        return schema_refuse(s, "voters", r->voters,
                             "one voter at least, no node that is a learner too, and seven nodes "
                             "in all");
    }
    *ret = g;
    return OK;
}

/* Without groups all members vote on all keys. */
static enum err get_groups(struct schema *s, const struct raw *r, struct cluster *c)
{
    if (r->groups_count == 0 && c->members_n <= NODES_MAX) {
        c->groups_n = 1;
        c->groups[0].voters = (UINT32_C(1) << c->members_n) - 1;
        return OK;
    }
    if (r->groups_count < 1 || r->groups_count > GROUPS_MAX) {
        explain(s->why, "line %u: groups: found %u groups, permitted are 1 to %d; correct the list",
                yaml_scan_line(&s->scan, "groups", 0), r->groups_count, GROUPS_MAX);
        return ERR_MALFORMED;
    }
    c->groups_n = r->groups_count;
    for (s->nth = 0; s->nth < c->groups_n; s->nth++) {
        TRY(get_group(s, c, &r->groups[s->nth], &c->groups[s->nth]));
    }
    s->nth = 0;
    return OK;
}

static enum err get_cluster(struct schema *s, const struct raw *r, struct cluster *ret)
{
    const uint64_t mib = UINT64_C(1) << 20;
    struct cluster c = {
        .datagram_bytes = DATAGRAM_DEFAULT,
        .value_max = VALUE_MAX_DEFAULT,
        .enclave_memory = ENCLAVE_MEMORY_DEFAULT,
        .host_memory = HOST_MEMORY_DEFAULT,
    };
    uint64_t version = 0;

    TRY(schema_get_number(s, &(struct schema_number){"version", r->version, 1, 1, false},
                          &version));
    TRY(schema_get_id(s, r->cluster, c.id));
    TRY(schema_get_name(s, r->name, c.name));
    TRY(schema_get_number(s, &(struct schema_number){"epoch", r->epoch, 1, INT64_MAX, false},
                          &c.epoch));
    TRY(schema_get_u32(
        s,
        &(struct schema_number){"replication_factor", r->replication_factor, 1, NODES_MAX, false},
        &c.replication_factor));
    TRY(schema_get_u32(s, &(struct schema_number){"shards", r->shards, 1, SHARDS_MAX, false},
                       &c.shards));
    TRY(schema_get_u32(s,
                       &(struct schema_number){"datagram_bytes", r->datagram_bytes, DATAGRAM_MIN,
                                               DATAGRAM_MAX, false},
                       &c.datagram_bytes));
    TRY(schema_get_u32(s, &(struct schema_number){"value_max", r->value_max, 1, VALUE_MAX, true},
                       &c.value_max));
    TRY(schema_get_number(s,
                          &(struct schema_number){"enclave_memory", r->enclave_memory, 8 * mib,
                                                  c.shards * ENCLAVE_MEMORY_SHARD_MAX, true},
                          &c.enclave_memory));
    TRY(schema_get_number(
        s, &(struct schema_number){"host_memory", r->host_memory, 8 * mib, mib << 24, true},
        &c.host_memory));
    TRY(get_members(s, r, &c));
    TRY(get_groups(s, r, &c));
    *ret = c;
    return OK;
}

RESULT cluster_parse(const char *yaml, size_t n, struct cluster *ret, struct explain *why)
{
    struct schema s = {.manual = "docs/protocol/config.md", .why = why};
    void *raw = NULL;
    enum err err;

    TRY(schema_load(&s, yaml, n, &cluster_schema, &raw));
    err = get_cluster(&s, raw, ret);
    schema_free(&cluster_schema, raw);
    return err;
}
