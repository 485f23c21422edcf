// SPDX-License-Identifier: Apache-2.0
#include "trusted/attest/attest_judge.h"

#include <inttypes.h>
#include <stdio.h>

static bool is_allowed(const struct attest_register *r, struct bytes found)
{
    for (uint32_t i = 0; i < r->n && i < ATTEST_ALLOWED_MAX; i++) {
        if (bytes_equal(found, (struct bytes){r->allowed[i].b, r->allowed[i].n})) {
            return true;
        }
    }
    return false;
}

/* ATT-32 */
static void judge_register(const struct attest_register *r, struct attest_verdict *v)
{
    struct bytes found = attest_field_get(v, r->name);
    char hex[140], first[140], wanted[ATTEST_TEXT_MAX];

    if (is_allowed(r, found)) {
        return;
    }
    (void)attest_hex((struct bytes){r->allowed[0].b, r->allowed[0].n}, first, sizeof(first));
    (void)snprintf(wanted, sizeof(wanted), "%s%s", first,
                   r->n > 1 ? " or another that the policy lists" : "");
    attest_fail(v, ATTEST_RULE_MEASUREMENT, wanted, "%s is %s", r->name,
                found.n == 0 ? "not part of this evidence" : attest_hex(found, hex, sizeof(hex)));
}

/* ATT-33: a number that the evidence does not have is below every minimum. */
static void judge_minimum(const struct attest_minimum *m, struct attest_verdict *v)
{
    char wanted[64];

    (void)snprintf(wanted, sizeof(wanted), "at least %" PRIu64, m->min);
    for (uint32_t i = 0; i < v->numbers_n; i++) {
        if (strcmp(v->number[i].name, m->name) != 0) {
            continue;
        }
        if (v->number[i].value < m->min) {
            attest_fail(v, ATTEST_RULE_MINIMUM, wanted, "%s is %" PRIu64, m->name,
                        v->number[i].value);
        }
        return;
    }
    attest_fail(v, ATTEST_RULE_MINIMUM, wanted, "%s is not part of this evidence", m->name);
}

/* The number of this name; false when there is none. */
static bool get_number(const struct attest_verdict *v, const char *name, uint64_t *ret)
{
    for (uint32_t i = 0; i < v->numbers_n; i++) {
        if (strcmp(v->number[i].name, name) == 0) {
            *ret = v->number[i].value;
            return true;
        }
    }
    return false;
}

static void judge_numbers(const struct attest_section *s, struct attest_verdict *v)
{
    uint64_t found = 0;
    char wanted[64];

    for (uint32_t i = 0; i < s->minimums_n && i < ATTEST_MINIMUMS_MAX; i++) {
        judge_minimum(&s->minimum[i], v);
    }
    if (s->has_isvprodid && (!get_number(v, "isvprodid", &found) || found != s->isvprodid)) {
        (void)snprintf(wanted, sizeof(wanted), "%u", (unsigned)s->isvprodid);
        attest_fail(v, ATTEST_RULE_MEASUREMENT, wanted, "isvprodid is %" PRIu64, found);
    }
    if (s->has_vmpl_max && (!get_number(v, "vmpl", &found) || found > s->vmpl_max)) {
        (void)snprintf(wanted, sizeof(wanted), "at most %u", s->vmpl_max);
        attest_fail(v, ATTEST_RULE_ATTRIBUTES, wanted, "vmpl is %" PRIu64, found);
    }
}

/* ATT-34 */
static void judge_status(const struct attest_section *s, struct attest_verdict *v)
{
    char wanted[ATTEST_TEXT_MAX] = "";
    size_t at = 0;

    if (v->kind == ATTEST_SNP || (s->tcb_accept >> v->tcb_status & 1) != 0) {
        return;
    }
    for (unsigned i = 1; i < ATTEST_TCB_N; i++) {
        const char *name = attest_tcb_name((enum attest_tcb)i);

        if ((s->tcb_accept >> i & 1) != 0 && at + strlen(name) + 3 < sizeof(wanted)) {
            at += (size_t)snprintf(wanted + at, sizeof(wanted) - at, "%s%s", at == 0 ? "" : ", ",
                                   name);
        }
    }
    attest_fail(v, ATTEST_RULE_TCB_STATUS, wanted, "%s",
                v->tcb_status == ATTEST_TCB_NONE ? "not determined"
                                                 : attest_tcb_name(v->tcb_status));
}

/* ATT-35 */
static void judge_attributes(const struct attest_section *s, struct attest_verdict *v)
{
    char wanted[64];

    if (v->debug && !s->debug_allowed) {
        attest_fail(v, ATTEST_RULE_DEBUG, "no debugging", "the TEE can be debugged by its host");
    }
    if ((v->attributes & s->bits_set) != s->bits_set) {
        (void)snprintf(wanted, sizeof(wanted), "bits 0x%" PRIx64 " set", s->bits_set);
        attest_fail(v, ATTEST_RULE_ATTRIBUTES, wanted, "0x%" PRIx64, v->attributes);
    }
    if ((v->attributes & s->bits_clear) != 0) {
        (void)snprintf(wanted, sizeof(wanted), "bits 0x%" PRIx64 " clear", s->bits_clear);
        attest_fail(v, ATTEST_RULE_ATTRIBUTES, wanted, "0x%" PRIx64, v->attributes);
    }
}

/* ATT-36: collateral may be within its own dates and still older than the owner wants. */
static void judge_freshness(const struct attest_input *in, const struct attest_section *s,
                            struct attest_verdict *v)
{
    char issued[32], oldest[32], wanted[64];
    uint64_t from = in->now_s < s->max_age_s ? 0 : in->now_s - s->max_age_s;

    if (s->max_age_s == 0 || v->issued_s >= from) {
        return;
    }
    (void)snprintf(wanted, sizeof(wanted), "%s or later", attest_time_format(from, oldest));
    attest_fail(v, ATTEST_RULE_FRESHNESS, wanted, "the oldest collateral was issued %s",
                v->issued_s == 0 ? "at an unknown time" : attest_time_format(v->issued_s, issued));
}

void attest_policy_judge(const struct attest_input *in, struct attest_verdict *v)
{
    const struct attest_section *s = &in->policy->section[in->kind];
    char found[140], wanted[140];

    if (!s->given) {
        attest_fail(v, ATTEST_RULE_NO_POLICY_FOR_KIND, "a kind that the policy has a section for",
                    "%s", attest_kind_name(in->kind));
        return;
    }
    if (!v->parsed) {
        return; /* nothing to compare; the evidence is refused already */
    }
    judge_status(s, v);
    judge_attributes(s, v);
    for (uint32_t i = 0; i < s->registers_n && i < ATTEST_REGISTERS_MAX; i++) {
        judge_register(&s->reg[i], v);
    }
    judge_numbers(s, v);
    judge_freshness(in, s, v);
    if (s->has_report_data && /* ATT-37 */
        !bytes_equal(v->report_data, (struct bytes){s->report_data, sizeof(s->report_data)})) {
        attest_fail(v, ATTEST_RULE_REPORT_DATA,
                    attest_hex((struct bytes){s->report_data, sizeof(s->report_data)}, wanted,
                               sizeof(wanted)),
                    "%s", attest_hex(v->report_data, found, sizeof(found)));
    }
    if (s->crl_required && v->kind == ATTEST_SNP && in->collateral.crl.n == 0) {
        attest_fail(v, ATTEST_RULE_CRL_REQUIRED, "crl.der", "there is none");
    }
}
