// SPDX-License-Identifier: Apache-2.0
#include "trusted/attest/attest_policy.h"

#include "trusted/attest/attest_internal.h"
#include "trusted/config/schema.h"

#include <stdio.h>
#include <stdlib.h>

enum { LISTS_MAX = 11, MINIMUMS_MAX = 6, POLICY_TEXT_MAX = 64 << 10 };

struct raw_list {
    char **v;
    uint32_t n;
};

struct raw_section {
    char *debug, *collateral_max_age, *report_data, *isvprodid, *crl, *vmpl_max;
    char *attributes_set, *attributes_clear;
    struct raw_list tcb_statuses;
    struct raw_list list[LISTS_MAX];
    char *minimum[MINIMUMS_MAX];
};

struct raw {
    char *version;
    struct raw_section *sgx, *tdx, *snp, *software;
};

/* The registers and numbers of one kind, in the order of raw_section. ATT-31 */
struct vocabulary {
    struct {
        const char *name;
        uint8_t n; /* bytes */
    } list[LISTS_MAX];
    const char *minimum[MINIMUMS_MAX];
};

static const struct vocabulary sgx_words = {
    .list = {{"mrenclave", 32},
             {"mrsigner", 32},
             {"configid", 64},
             {"isvfamilyid", 16},
             {"isvextprodid", 16}},
    .minimum = {"isvsvn", "configsvn", "tcb_evaluation"},
};
static const struct vocabulary tdx_words = {
    .list = {{"mrtd", 48},
             {"rtmr0", 48},
             {"rtmr1", 48},
             {"rtmr2", 48},
             {"rtmr3", 48},
             {"mrconfigid", 48},
             {"mrowner", 48},
             {"mrownerconfig", 48},
             {"mrseam", 48},
             {"mrservicetd", 48}},
    .minimum = {"tdx_module_major", "tdx_module_minor", "tcb_evaluation"},
};
static const struct vocabulary snp_words = {
    .list = {{"measurement", 48},
             {"host_data", 32},
             {"id_key_digest", 48},
             {"author_key_digest", 48},
             {"family_id", 16},
             {"image_id", 16},
             {"chip_id", 64}},
    .minimum = {"guest_svn", "bootloader", "tee", "snp", "microcode", "fmc"},
};

static const cyaml_schema_value_t text_entry = {
    CYAML_VALUE_STRING(CYAML_FLAG_POINTER, char, 0, CYAML_UNLIMITED),
};

#define TEXT(key)                                                                                  \
    CYAML_FIELD_STRING_PTR(#key, CYAML_FLAG_POINTER | CYAML_FLAG_OPTIONAL, struct raw_section,     \
                           key, 0, CYAML_UNLIMITED)
#define LIST_AT(key_, member)                                                                      \
    {                                                                                              \
        .key = (key_), .data_offset = offsetof(struct raw_section, member.v),                      \
        .count_offset = offsetof(struct raw_section, member.n), .count_size = sizeof(uint32_t),    \
        .value = {CYAML_VALUE_SEQUENCE(CYAML_FLAG_POINTER | CYAML_FLAG_OPTIONAL, char *,           \
                                       &text_entry, 1, CYAML_UNLIMITED)},                          \
    }
#define LIST(key, i) LIST_AT(#key, list[i])
#define MINIMUM(key, i)                                                                            \
    CYAML_FIELD_STRING_PTR(#key "_min", CYAML_FLAG_POINTER | CYAML_FLAG_OPTIONAL,                  \
                           struct raw_section, minimum[i], 0, CYAML_UNLIMITED)

static const cyaml_schema_field_t sgx_fields[] = {
    TEXT(debug),
    TEXT(collateral_max_age),
    TEXT(report_data),
    TEXT(isvprodid),
    TEXT(attributes_set),
    TEXT(attributes_clear),
    LIST_AT("tcb_statuses", tcb_statuses),
    LIST(mrenclave, 0),
    LIST(mrsigner, 1),
    LIST(configid, 2),
    LIST(isvfamilyid, 3),
    LIST(isvextprodid, 4),
    MINIMUM(isvsvn, 0),
    MINIMUM(configsvn, 1),
    MINIMUM(tcb_evaluation, 2),
    CYAML_FIELD_END,
};
static const cyaml_schema_field_t tdx_fields[] = {
    TEXT(debug),
    TEXT(collateral_max_age),
    TEXT(report_data),
    TEXT(attributes_set),
    TEXT(attributes_clear),
    LIST_AT("tcb_statuses", tcb_statuses),
    LIST(mrtd, 0),
    LIST(rtmr0, 1),
    LIST(rtmr1, 2),
    LIST(rtmr2, 3),
    LIST(rtmr3, 4),
    LIST(mrconfigid, 5),
    LIST(mrowner, 6),
    LIST(mrownerconfig, 7),
    LIST(mrseam, 8),
    LIST(mrservicetd, 9),
    MINIMUM(tdx_module_major, 0),
    MINIMUM(tdx_module_minor, 1),
    MINIMUM(tcb_evaluation, 2),
    CYAML_FIELD_END,
};
static const cyaml_schema_field_t snp_fields[] = {
    TEXT(debug),
    TEXT(collateral_max_age),
    TEXT(report_data),
    TEXT(crl),
    TEXT(vmpl_max),
    TEXT(attributes_set),
    TEXT(attributes_clear),
    LIST(measurement, 0),
    LIST(host_data, 1),
    LIST(id_key_digest, 2),
    LIST(author_key_digest, 3),
    LIST(family_id, 4),
    LIST(image_id, 5),
    LIST(chip_id, 6),
    MINIMUM(guest_svn, 0),
    MINIMUM(bootloader, 1),
    MINIMUM(tee, 2),
    MINIMUM(snp, 3),
    MINIMUM(microcode, 4),
    MINIMUM(fmc, 5),
    CYAML_FIELD_END,
};

#define SECTION(kind, fields)                                                                      \
    CYAML_FIELD_MAPPING_PTR(#kind, CYAML_FLAG_POINTER | CYAML_FLAG_OPTIONAL, struct raw, kind,     \
                            fields)

static const cyaml_schema_field_t policy_fields[] = {
    CYAML_FIELD_STRING_PTR("version", CYAML_FLAG_POINTER, struct raw, version, 0, CYAML_UNLIMITED),
    SECTION(sgx, sgx_fields),
    SECTION(tdx, tdx_fields),
    SECTION(snp, snp_fields),
    SECTION(software, sgx_fields),
    CYAML_FIELD_END,
};
static const cyaml_schema_value_t policy_schema = {
    CYAML_VALUE_MAPPING(CYAML_FLAG_POINTER, struct raw, policy_fields),
};

/* One section while it is judged. */
struct judge {
    struct schema *s;
    uint32_t line; /* where the section starts */
    const struct vocabulary *words;
};

static uint32_t line_of(const struct schema *s, const char *key)
{
    return yaml_scan_line(&s->scan, key, 0);
}

/* Complaints name a line: of several mentions of a key, the first after the section's own. */
static enum err refuse(const struct judge *j, const char *key, const char *found,
                       const char *permitted)
{
    j->s->nth = 0;
    for (uint32_t i = 0; i < j->s->scan.keys_n; i++) {
        if (j->s->scan.keys[i].line < j->line && strcmp(j->s->scan.keys[i].name, key) == 0) {
            j->s->nth++;
        }
    }
    return schema_refuse(j->s, key, found, permitted);
}

static enum err get_number(const struct judge *j, const char *key, const char *text, uint64_t max,
                           uint64_t *ret)
{
    struct explain quiet = {0};
    struct schema s = {.why = &quiet};
    char permitted[64];

    if (schema_get_number(&s, &(struct schema_number){key, text, 0, max, false}, ret) != OK) {
        (void)snprintf(permitted, sizeof(permitted), "a whole number from 0 to %llu",
                       (unsigned long long)max);
        return refuse(j, key, text, permitted);
    }
    return OK;
}

/* "14d", "36h", "600s" */
static bool read_age(const char *text, uint64_t *ret)
{
    uint64_t v = 0;
    size_t n = strspn(text, "0123456789");

    if (n == 0 || n > 6 || text[n] == '\0' || text[n + 1] != '\0') {
        return false;
    }
    for (size_t i = 0; i < n; i++) {
        v = v * 10 + (uint64_t)(text[i] - '0');
    }
    switch (text[n]) {
    case 'd':
        v *= 86400;
        break;
    case 'h':
        v *= 3600;
        break;
    case 's':
        break;
    default:
        return false;
    }
    *ret = v;
    return v > 0;
}

static enum err get_mask(const struct judge *j, const char *key, const char *text, uint64_t *ret)
{
    size_t n = text == NULL ? 0 : strlen(text);
    char *end = NULL;

    if (text == NULL) {
        return OK;
    }
    if (n < 3 || n > 18 || strncmp(text, "0x", 2) != 0 ||
        strspn(text + 2, "0123456789abcdefABCDEF") != n - 2) {
        return refuse(j, key, text, "a mask in hex, as 0x40000");
    }
    *ret = strtoull(text, &end, 16);
    return OK;
}

/* One of two words; the first is `false`. */
static enum err get_choice(const struct judge *j, const char *key, const char *text,
                           const char *const words[2], bool *ret)
{
    char permitted[64];

    if (text == NULL) {
        return OK;
    }
    for (unsigned i = 0; i < 2; i++) {
        if (strcmp(text, words[i]) == 0) {
            *ret = i == 1;
            return OK;
        }
    }
    (void)snprintf(permitted, sizeof(permitted), "%s or %s", words[0], words[1]);
    return refuse(j, key, text, permitted);
}

static enum err get_statuses(const struct judge *j, const struct raw_list *list, uint32_t *ret)
{
    uint32_t accept = 0;

    if (list->v == NULL) {
        *ret = 1U << ATTEST_TCB_UP_TO_DATE;
        return OK;
    }
    for (uint32_t i = 0; i < list->n; i++) {
        enum attest_tcb tcb = ATTEST_TCB_NONE;

        if (!attest_tcb_parse(list->v[i], &tcb) || tcb == ATTEST_TCB_REVOKED ||
            tcb == ATTEST_TCB_NOT_SUPPORTED) {
            return refuse(j, "tcb_statuses", list->v[i],
                          "UpToDate, SWHardeningNeeded, ConfigurationNeeded, ... as ATT-20 lists "
                          "them, but not Revoked and not NotSupported");
        }
        accept |= 1U << tcb;
    }
    *ret = accept;
    return OK;
}

static enum err get_register(const struct judge *j, size_t at, const struct raw_list *list,
                             struct attest_section *to)
{
    struct attest_register *r = &to->reg[to->registers_n];
    const char *name = j->words->list[at].name;
    uint8_t bytes = j->words->list[at].n;
    char permitted[64];

    if (list->v == NULL) {
        return OK;
    }
    (void)snprintf(permitted, sizeof(permitted), "1 to %d values of %u hex digits each",
                   ATTEST_ALLOWED_MAX, 2U * bytes);
    if (list->n > ATTEST_ALLOWED_MAX) {
        return refuse(j, name, "a longer list", permitted);
    }
    (void)snprintf(r->name, sizeof(r->name), "%s", name);
    for (uint32_t i = 0; i < list->n; i++) {
        if (attest_unhex(list->v[i], strlen(list->v[i]), (struct mbytes){r->allowed[i].b, bytes}) !=
            OK) {
            return refuse(j, name, list->v[i], permitted);
        }
        r->allowed[i].n = bytes;
    }
    r->n = list->n;
    to->registers_n++;
    return OK;
}

static enum err get_numbers(const struct judge *j, const struct raw_section *raw,
                            struct attest_section *to)
{
    uint64_t v = 0;

    if (raw->isvprodid != NULL) {
        TRY(get_number(j, "isvprodid", raw->isvprodid, UINT16_MAX, &v));
        to->has_isvprodid = true;
        to->isvprodid = (uint16_t)v;
    }
    if (raw->vmpl_max != NULL) {
        TRY(get_number(j, "vmpl_max", raw->vmpl_max, 3, &v));
        to->has_vmpl_max = true;
        to->vmpl_max = (uint32_t)v;
    }
    for (size_t i = 0; i < MINIMUMS_MAX; i++) {
        struct attest_minimum *m = &to->minimum[to->minimums_n];
        char key[ATTEST_REGISTER_LEN + 5];

        if (raw->minimum[i] == NULL) {
            continue;
        }
        (void)snprintf(key, sizeof(key), "%s_min", j->words->minimum[i]);
        TRY(get_number(j, key, raw->minimum[i], UINT32_MAX, &m->min));
        (void)snprintf(m->name, sizeof(m->name), "%s", j->words->minimum[i]);
        to->minimums_n++;
    }
    return OK;
}

static enum err get_section(const struct judge *j, const struct raw_section *raw,
                            struct attest_section *to)
{
    static const char *const debug[2] = {"forbidden", "allowed"};
    static const char *const crl[2] = {"optional", "required"};

    to->given = true;
    TRY(get_choice(j, "debug", raw->debug, debug, &to->debug_allowed));
    TRY(get_choice(j, "crl", raw->crl, crl, &to->crl_required));
    TRY(get_statuses(j, &raw->tcb_statuses, &to->tcb_accept));
    TRY(get_mask(j, "attributes_set", raw->attributes_set, &to->bits_set));
    TRY(get_mask(j, "attributes_clear", raw->attributes_clear, &to->bits_clear));
    if (raw->collateral_max_age != NULL && !read_age(raw->collateral_max_age, &to->max_age_s)) {
        return refuse(j, "collateral_max_age", raw->collateral_max_age,
                      "a number and d, h or s, as 14d");
    }
    if (raw->report_data != NULL) {
        to->has_report_data = true;
        if (attest_unhex(raw->report_data, strlen(raw->report_data),
                         (struct mbytes){to->report_data, sizeof(to->report_data)}) != OK) {
            return refuse(j, "report_data", raw->report_data, "128 hex digits");
        }
    }
    for (size_t i = 0; i < LISTS_MAX; i++) {
        TRY(get_register(j, i, &raw->list[i], to));
    }
    return get_numbers(j, raw, to);
}

static enum err get_policy(struct schema *s, const struct raw *raw, struct attest_policy *to)
{
    const struct {
        enum attest_kind kind;
        const struct raw_section *raw;
        const struct vocabulary *words;
    } sections[] = {
        {ATTEST_SGX, raw->sgx, &sgx_words},
        {ATTEST_TDX, raw->tdx, &tdx_words},
        {ATTEST_SNP, raw->snp, &snp_words},
        {ATTEST_SOFTWARE, raw->software, &sgx_words},
    };

    if (strcmp(raw->version, "1") != 0) {
        return schema_refuse(s, "version", raw->version, "1");
    }
    for (size_t i = 0; i < sizeof(sections) / sizeof(sections[0]); i++) {
        struct judge j = {.s = s, .words = sections[i].words};

        if (sections[i].raw == NULL) {
            continue;
        }
        j.line = line_of(s, attest_kind_name(sections[i].kind));
        TRY(get_section(&j, sections[i].raw, &to->section[sections[i].kind]));
    }
    return OK;
}

RESULT attest_policy_parse(const char *yaml, size_t n, struct attest_policy *ret,
                           struct explain *why)
{
    struct schema s = {.manual = "docs/protocol/attestation.md", .why = why};
    struct attest_policy *policy = NULL;
    void *raw = NULL;
    enum err err = OK;

    if (n > POLICY_TEXT_MAX) {
        explain(why, "more than %d bytes; is it the right file?", POLICY_TEXT_MAX);
        return ERR_MALFORMED;
    }
    TRY(schema_load(&s, yaml, n, &policy_schema, &raw));
    policy = calloc(1, sizeof(*policy)); /* too large for a stack */
    if (policy == NULL) {
        explain(why, "out of memory");
        err = ERR_MALFORMED;
    } else {
        err = get_policy(&s, raw, policy);
    }
    if (err == OK) {
        *ret = *policy;
    }
    free(policy);
    schema_free(&policy_schema, raw);
    return err;
}
