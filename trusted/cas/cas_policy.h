// SPDX-License-Identifier: Apache-2.0
#ifndef TRUSTED_CAS_CAS_POLICY_H
#define TRUSTED_CAS_CAS_POLICY_H

/*
 * What the owner of a cluster wants: which code may take which role on which platforms, who is a
 * member, what clients may do. YAML with a strict schema; complaints name lines. CAS-10 and
 * following, docs/protocol/cas.md.
 */

#include "trusted/access/access.h"
#include "trusted/attest/attest.h"
#include "trusted/evidence/measure.h"

enum {
    CAS_POLICY_TEXT_MAX = 256 << 10,
    CAS_EXECUTABLES_MAX = 16,
    CAS_CLIENTS_MAX = 64,
    CAS_CLIENT_ROLES_MAX = 16,
    CAS_SECRETS_MAX = 16,
    CAS_SECRET_LEN = 512,
};

enum cas_role_kind { CAS_ROLE_REPLICA = 0, CAS_ROLE_LAS, CAS_ROLES_N };

enum cas_las_rule {
    CAS_LAS_FORBIDDEN = 0, /* every process shows evidence of its own */
    CAS_LAS_ALLOWED,
    CAS_LAS_REQUIRED,
};

struct cas_role {
    bool given; /* somebody may have this role at all */
    enum cas_las_rule las;
    struct attest_policy evidence;
    uint32_t executables_n; /* SHA-256 of programs that a LAS may vouch for */
    uint8_t executable[CAS_EXECUTABLES_MAX][MEASUREMENT_LEN];
};

struct cas_client { /* who may get a client's certificate */
    char name[NAME_MAX_LEN + 1];
    struct access access; /* of its role; none: everything */
};

struct cas_secret {
    char name[NAME_MAX_LEN + 1];
    enum cas_role_kind role;
    char value[CAS_SECRET_LEN + 1];
};

struct cas_policy {
    uint64_t version;       /* of the owner's policy: only grows */
    uint32_t certificate_s; /* lifetime of certificates */
    struct attest_roots software_roots;
    struct cluster cluster; /* C(1) at founding; id, name and limits for ever */
    struct cas_role role[CAS_ROLES_N];
    uint32_t clients_n, secrets_n;
    struct cas_client client[CAS_CLIENTS_MAX];
    struct cas_secret secret[CAS_SECRETS_MAX];
};

/* A policy is large: *ret is a heap block that cas_policy_free wipes and frees. MALFORMED; *why
 * names line, key, what was found and what is permitted. */
RESULT cas_policy_parse(const char *yaml, size_t n, struct cas_policy **ret, struct explain *why);
void cas_policy_free(struct cas_policy *p); /* NULL is allowed */

/* CAS-38: may this name have a client's certificate? *ret is what it may do. */
bool cas_policy_client(const struct cas_policy *p, const char *name, struct access *ret);

/* CAS-12: may `next` follow `now`? A greater version of the same cluster, and no rule about the TCB
 * weaker than it is. POLICY; *why names the rule. */
RESULT cas_policy_succeeds(const struct cas_policy *now, const struct cas_policy *next,
                           struct explain *why);

const char *cas_role_name(enum cas_role_kind role);
bool cas_role_parse(const char *name, enum cas_role_kind *ret);

#endif
