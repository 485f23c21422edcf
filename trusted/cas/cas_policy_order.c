// SPDX-License-Identifier: Apache-2.0
/* CAS-12: which policy may follow which. A stolen owner's key, or a careless edit, must not be able
 * to bring back platforms that were ruled out. */
#include "trusted/cas/cas_policy.h"

#include "trusted/config/explain.h"

#include <stdio.h>

static const struct attest_minimum *find(const struct attest_section *s, const char *name)
{
    for (uint32_t i = 0; i < s->minimums_n; i++) {
        if (strcmp(s->minimum[i].name, name) == 0) {
            return &s->minimum[i];
        }
    }
    return NULL;
}

static enum err check_section(const char *where, const struct attest_section *now,
                              const struct attest_section *next, struct explain *why)
{
    for (uint32_t i = 0; i < now->minimums_n; i++) {
        const struct attest_minimum *m = find(next, now->minimum[i].name);

        if (m == NULL || m->min < now->minimum[i].min) {
            explain(why, "%s: %s_min was %llu and would be %llu; minimums only rise", where,
                    now->minimum[i].name, (unsigned long long)now->minimum[i].min,
                    m == NULL ? 0ULL : (unsigned long long)m->min);
            return ERR_POLICY;
        }
    }
    for (unsigned t = 1; t < ATTEST_TCB_N; t++) {
        if ((next->tcb_accept & ~now->tcb_accept & 1U << t) != 0) {
            explain(why,
                    "%s: tcb_statuses would accept %s again; accepted statuses only become "
                    "fewer",
                    where, attest_tcb_name((enum attest_tcb)t));
            return ERR_POLICY;
        }
    }
    if (next->debug_allowed && !now->debug_allowed) {
        explain(why, "%s: debug was forbidden and would be allowed", where);
        return ERR_POLICY;
    }
    if (now->crl_required && !next->crl_required) {
        explain(why, "%s: crl was required and would be optional", where);
        return ERR_POLICY;
    }
    if (now->max_age_s != 0 && (next->max_age_s == 0 || next->max_age_s > now->max_age_s)) {
        explain(why, "%s: collateral_max_age would become longer", where);
        return ERR_POLICY;
    }
    return OK;
}

RESULT cas_policy_succeeds(const struct cas_policy *now, const struct cas_policy *next,
                           struct explain *why)
{
    char where[64];

    if (next->version <= now->version) {
        explain(why, "policy version %llu does not follow version %llu; give it a greater one",
                (unsigned long long)next->version, (unsigned long long)now->version);
        return ERR_POLICY;
    }
    if (memcmp(next->cluster.id, now->cluster.id, CLUSTER_ID_LEN) != 0) {
        explain(why, "the policy is of another cluster");
        return ERR_POLICY;
    }
    for (unsigned r = 0; r < CAS_ROLES_N; r++) {
        for (unsigned k = 1; k < ATTEST_KINDS_N; k++) {
            const struct attest_section *a = &now->role[r].evidence.section[k];
            const struct attest_section *b = &next->role[r].evidence.section[k];

            (void)snprintf(where, sizeof(where), "role %s, %s",
                           cas_role_name((enum cas_role_kind)r),
                           attest_kind_name((enum attest_kind)k));
            if (a->given && b->given) {
                TRY(check_section(where, a, b, why));
            }
        }
    }
    return OK;
}
