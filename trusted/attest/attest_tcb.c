// SPDX-License-Identifier: Apache-2.0
#include "trusted/attest/attest_tcb.h"

#include <stdio.h>
#include <strings.h>

/* The level that matched, or NOT_SUPPORTED without level. */
struct level {
    enum attest_tcb status;
    const json_t *json;
};

/* What a level is matched with; tdx NULL: SGX. */
struct svns {
    const uint8_t *sgx;
    uint32_t pcesvn;
    const uint8_t *tdx;
    unsigned tdx_from; /* first component of `tdx` that counts */
};

static bool components_reach(const json_t *tcb, const char *key, const uint8_t *svn, unsigned from)
{
    const json_t *list = json_object_get(tcb, key);

    if (!json_is_array(list) || json_array_size(list) != ATTEST_COMPONENTS_N) {
        return false;
    }
    for (unsigned i = from; i < ATTEST_COMPONENTS_N; i++) {
        uint32_t least = 0;

        if (!attest_json_uint(json_array_get(list, i), "svn", UINT8_MAX, &least) ||
            svn[i] < least) {
            return false;
        }
    }
    return true;
}

/* The spelling of statements of version 2. */
static bool flat_components_reach(const json_t *tcb, const uint8_t *svn)
{
    for (unsigned i = 0; i < ATTEST_COMPONENTS_N; i++) {
        uint32_t least = 0;
        char key[24];

        (void)snprintf(key, sizeof(key), "sgxtcbcomp%02usvn", i + 1);
        if (!attest_json_uint(tcb, key, UINT8_MAX, &least) || svn[i] < least) {
            return false;
        }
    }
    return true;
}

/* ATT-14, ATT-16: a level that lacks a number is not reached. */
static bool reaches(const json_t *level, uint32_t version, const struct svns *s)
{
    const json_t *tcb = json_object_get(level, "tcb");
    uint32_t pcesvn = 0;

    if (!attest_json_uint(tcb, "pcesvn", UINT16_MAX, &pcesvn) || s->pcesvn < pcesvn) {
        return false;
    }
    if (version == 2) {
        return s->tdx == NULL && flat_components_reach(tcb, s->sgx);
    }
    return components_reach(tcb, "sgxtcbcomponents", s->sgx, 0) &&
           (s->tdx == NULL || components_reach(tcb, "tdxtcbcomponents", s->tdx, s->tdx_from));
}

/* What the vendor says of a level; NONE for words that we do not know. */
static struct level level_of(const json_t *json)
{
    struct level l = {.json = json};
    const char *status = json_string_value(json_object_get(json, "tcbStatus"));

    if (status == NULL || !attest_tcb_parse(status, &l.status) ||
        l.status == ATTEST_TCB_NOT_SUPPORTED || l.status == ATTEST_TCB_RELAUNCH ||
        l.status == ATTEST_TCB_RELAUNCH_CONFIGURATION) {
        l.status = ATTEST_TCB_NONE;
    }
    return l;
}

static struct level platform_level(const struct attest_statement *s, const struct svns *svns)
{
    const json_t *levels = json_object_get(s->root, "tcbLevels");

    for (size_t i = 0; i < json_array_size(levels); i++) {
        if (reaches(json_array_get(levels, i), s->version, svns)) {
            return level_of(json_array_get(levels, i));
        }
    }
    return (struct level){.status = ATTEST_TCB_NOT_SUPPORTED};
}

/* Levels of an enclave or module: the first whose isvsvn is reached. */
static struct level isv_level(const json_t *holder, uint32_t isvsvn)
{
    const json_t *levels = json_object_get(holder, "tcbLevels");

    for (size_t i = 0; i < json_array_size(levels); i++) {
        const json_t *level = json_array_get(levels, i);
        uint32_t least = 0;

        if (attest_json_uint(json_object_get(level, "tcb"), "isvsvn", UINT16_MAX, &least) &&
            isvsvn >= least) {
            return level_of(level);
        }
    }
    return (struct level){.status = ATTEST_TCB_NOT_SUPPORTED};
}

static bool is_out_of_date(enum attest_tcb s)
{
    return s == ATTEST_TCB_OUT_OF_DATE || s == ATTEST_TCB_OUT_OF_DATE_CONFIGURATION;
}

static bool needs_configuration(enum attest_tcb s)
{
    return s == ATTEST_TCB_CONFIGURATION || s == ATTEST_TCB_CONFIGURATION_SW_HARDENING ||
           s == ATTEST_TCB_OUT_OF_DATE_CONFIGURATION || s == ATTEST_TCB_RELAUNCH_CONFIGURATION;
}

static bool needs_hardening(enum attest_tcb s)
{
    return s == ATTEST_TCB_SW_HARDENING || s == ATTEST_TCB_CONFIGURATION_SW_HARDENING;
}

/* ATT-18: a part can only make the whole worse. */
static enum attest_tcb converge(enum attest_tcb whole, enum attest_tcb part)
{
    bool configuration = needs_configuration(whole) || needs_configuration(part);

    if (whole == ATTEST_TCB_NONE || part == ATTEST_TCB_NONE) {
        return ATTEST_TCB_NONE;
    }
    if (whole == ATTEST_TCB_REVOKED || part == ATTEST_TCB_REVOKED) {
        return ATTEST_TCB_REVOKED;
    }
    if (whole == ATTEST_TCB_NOT_SUPPORTED || part == ATTEST_TCB_NOT_SUPPORTED) {
        return ATTEST_TCB_NOT_SUPPORTED;
    }
    if (is_out_of_date(whole) || is_out_of_date(part)) {
        return configuration ? ATTEST_TCB_OUT_OF_DATE_CONFIGURATION : ATTEST_TCB_OUT_OF_DATE;
    }
    if (whole == ATTEST_TCB_RELAUNCH || whole == ATTEST_TCB_RELAUNCH_CONFIGURATION) {
        return configuration ? ATTEST_TCB_RELAUNCH_CONFIGURATION : ATTEST_TCB_RELAUNCH;
    }
    if (needs_hardening(whole) || needs_hardening(part)) {
        return configuration ? ATTEST_TCB_CONFIGURATION_SW_HARDENING : ATTEST_TCB_SW_HARDENING;
    }
    return configuration ? ATTEST_TCB_CONFIGURATION : ATTEST_TCB_UP_TO_DATE;
}

/* ATT-19: the launched module is old, the running one is not. */
static enum attest_tcb relaunch(enum attest_tcb launched, enum attest_tcb running)
{
    bool configuration = needs_configuration(launched) || needs_configuration(running);

    if (!is_out_of_date(launched) || is_out_of_date(running) || running == ATTEST_TCB_NONE ||
        running == ATTEST_TCB_REVOKED || running == ATTEST_TCB_NOT_SUPPORTED) {
        return launched;
    }
    return configuration ? ATTEST_TCB_RELAUNCH_CONFIGURATION : ATTEST_TCB_RELAUNCH;
}

static void note_advisory(const char *name, struct attest_verdict *v)
{
    for (uint32_t i = 0; i < v->advisories_n; i++) {
        if (strcmp(v->advisory[i], name) == 0) {
            return;
        }
    }
    if (v->advisories_n < ATTEST_ADVISORIES_MAX) {
        (void)snprintf(v->advisory[v->advisories_n++], sizeof(v->advisory[0]), "%s", name);
    }
}

/* Dates and advisories of all parts: the earliest, and their union. */
static void note_level(const struct level *l, struct attest_verdict *v)
{
    const char *date = json_string_value(json_object_get(l->json, "tcbDate"));
    const json_t *ids = json_object_get(l->json, "advisoryIDs");
    uint64_t s = 0;

    if (date != NULL && attest_time_parse(date, &s) == OK &&
        (v->tcb_date[0] == '\0' || strcmp(date, v->tcb_date) < 0)) {
        (void)snprintf(v->tcb_date, sizeof(v->tcb_date), "%s", date);
    }
    for (size_t i = 0; i < json_array_size(ids); i++) {
        const char *name = json_string_value(json_array_get(ids, i));

        if (name != NULL) {
            note_advisory(name, v);
        }
    }
}

/* The bits under a mask; the statement's own value is masked already, or it matches nobody. */
static bool masked_equal(struct bytes found, const uint8_t *wanted, const uint8_t *mask)
{
    uint8_t differ = 0;

    for (size_t i = 0; i < found.n; i++) {
        differ |= (uint8_t)((found.p[i] & mask[i]) ^ wanted[i]);
    }
    return differ == 0;
}

static void fail_identity(struct attest_verdict *v, const char *what, const json_t *root,
                          const char *key, struct bytes found)
{
    char hex[140];
    const char *wanted = json_string_value(json_object_get(root, key));

    attest_fail(v, ATTEST_RULE_QE_IDENTITY, wanted == NULL ? "a readable identity" : wanted,
                "the quoting enclave's %s is %s", what, attest_hex(found, hex, sizeof(hex)));
}

/* ATT-15 */
static void judge_qe(const json_t *root, const struct attest_sgx_body *qe, struct attest_verdict *v)
{
    uint8_t misc[4], misc_mask[4], attr[16], attr_mask[16], signer[32];
    uint32_t prodid = 0;

    if (!attest_json_hex(root, "miscselect", (struct mbytes){misc, sizeof(misc)}) ||
        !attest_json_hex(root, "miscselectMask", (struct mbytes){misc_mask, sizeof(misc_mask)}) ||
        !masked_equal(qe->miscselect, misc, misc_mask)) {
        fail_identity(v, "MISCSELECT", root, "miscselect", qe->miscselect);
    }
    if (!attest_json_hex(root, "attributes", (struct mbytes){attr, sizeof(attr)}) ||
        !attest_json_hex(root, "attributesMask", (struct mbytes){attr_mask, sizeof(attr_mask)}) ||
        !masked_equal(qe->attributes, attr, attr_mask)) {
        fail_identity(v, "ATTRIBUTES", root, "attributes", qe->attributes);
    }
    if (!attest_json_hex(root, "mrsigner", (struct mbytes){signer, sizeof(signer)}) ||
        memcmp(signer, qe->mrsigner.p, sizeof(signer)) != 0) {
        fail_identity(v, "MRSIGNER", root, "mrsigner", qe->mrsigner);
    }
    if (!attest_json_uint(root, "isvprodid", UINT16_MAX, &prodid) || prodid != qe->isvprodid) {
        char wanted[16];

        (void)snprintf(wanted, sizeof(wanted), "%u", prodid);
        attest_fail(v, ATTEST_RULE_QE_IDENTITY, wanted, "the quoting enclave's ISVPRODID is %u",
                    (unsigned)qe->isvprodid);
    }
}

/* ATT-14: is this the statement about this platform's family? */
static bool judge_family(const struct attest_platform *p, struct attest_verdict *v)
{
    const json_t *root = p->statements->tcb_info.root;
    uint8_t fmspc[6] = {0}, pceid[2] = {0};
    uint32_t type = 0;
    char a[16], b[16], c[16], d[16], wanted[64];

    if (attest_json_hex(root, "fmspc", (struct mbytes){fmspc, sizeof(fmspc)}) &&
        attest_json_hex(root, "pceId", (struct mbytes){pceid, sizeof(pceid)}) &&
        attest_json_uint(root, "tcbType", 0, &type) &&
        memcmp(fmspc, p->pck->fmspc, sizeof(fmspc)) == 0 &&
        memcmp(pceid, p->pck->pceid, sizeof(pceid)) == 0) {
        return true;
    }
    (void)snprintf(wanted, sizeof(wanted), "FMSPC %s, PCEID %s of the platform, TCB type 0",
                   attest_hex((struct bytes){p->pck->fmspc, 6}, a, sizeof(a)),
                   attest_hex((struct bytes){p->pck->pceid, 2}, b, sizeof(b)));
    attest_fail(v, ATTEST_RULE_FMSPC, wanted, "tcb_info.json is for FMSPC %s, PCEID %s",
                attest_hex((struct bytes){fmspc, 6}, c, sizeof(c)),
                attest_hex((struct bytes){pceid, 2}, d, sizeof(d)));
    return false;
}

/* The entry for this major version of the module, or NULL. */
static const json_t *find_module(const json_t *root, uint8_t major)
{
    const json_t *list = json_object_get(root, "tdxModuleIdentities");
    char wanted[8];

    (void)snprintf(wanted, sizeof(wanted), "TDX_%02X", (unsigned)major);
    for (size_t i = 0; i < json_array_size(list); i++) {
        const char *id = json_string_value(json_object_get(json_array_get(list, i), "id"));

        if (id != NULL && strcasecmp(id, wanted) == 0) {
            return json_array_get(list, i);
        }
    }
    return NULL;
}

/* ATT-17: who signed the module, and how it is configured. */
static void judge_module(const json_t *module, const struct attest_td_body *td,
                         struct attest_verdict *v)
{
    uint8_t signer[48] = {0}, attributes[8] = {0}, zero[8] = {0};
    char found[100], wanted[100];

    if (!attest_json_hex(module, "mrsigner", (struct mbytes){signer, sizeof(signer)}) ||
        memcmp(signer, td->mrsignerseam.p, sizeof(signer)) != 0) {
        attest_fail(v, ATTEST_RULE_TDX_MODULE,
                    attest_hex((struct bytes){signer, sizeof(signer)}, wanted, sizeof(wanted)),
                    "MRSIGNERSEAM is %s", attest_hex(td->mrsignerseam, found, sizeof(found)));
    }
    if (!attest_json_hex(module, "attributes", (struct mbytes){attributes, sizeof(attributes)}) ||
        memcmp(attributes, td->seam_attributes.p, sizeof(attributes)) != 0 ||
        memcmp(attributes, zero, sizeof(zero)) != 0) {
        attest_fail(v, ATTEST_RULE_TDX_MODULE, "0, as the TCB info says", "SEAMATTRIBUTES is %s",
                    attest_hex(td->seam_attributes, found, sizeof(found)));
    }
}

/* Platform and module for one set of module SVNs, ATT-16 and ATT-17. */
static enum attest_tcb tdx_status(const struct attest_platform *p, const struct attest_td_body *td,
                                  struct bytes svn, bool notes, struct attest_verdict *v)
{
    const json_t *root = p->statements->tcb_info.root;
    struct svns svns = {.sgx = p->pck->component, .pcesvn = p->pck->pcesvn, .tdx = svn.p};
    const json_t *module = json_object_get(root, "tdxModule");
    struct level platform, part;
    uint8_t major = svn.p[1];

    svns.tdx_from = major > 0 ? 2 : 0;
    platform = platform_level(&p->statements->tcb_info, &svns);
    part = (struct level){.status = ATTEST_TCB_UP_TO_DATE};
    if (major > 0) {
        module = find_module(root, major);
        part = module == NULL ? (struct level){.status = ATTEST_TCB_NOT_SUPPORTED}
                              : isv_level(module, svn.p[0]);
    }
    if (!notes) {
        return converge(platform.status, part.status);
    }
    if (module == NULL) {
        attest_fail(v, ATTEST_RULE_TDX_MODULE, "a module that the TCB info describes",
                    "TDX module of major version %u", (unsigned)major);
    } else {
        judge_module(module, td, v);
    }
    note_level(&platform, v);
    note_level(&part, v);
    return converge(platform.status, part.status);
}

static enum attest_tcb platform_status(const struct attest_platform *p, struct attest_verdict *v)
{
    struct svns svns = {.sgx = p->pck->component, .pcesvn = p->pck->pcesvn};
    struct attest_td_body td = {0};
    enum attest_tcb status;
    struct level l;

    if (!p->quote->is_tdx) {
        l = platform_level(&p->statements->tcb_info, &svns);
        note_level(&l, v);
        return l.status;
    }
    attest_td_body_read(p->quote->body, &td);
    status = tdx_status(p, &td, td.tee_tcb_svn, true, v);
    if (td.tee_tcb_svn2.n > 0) {
        status = relaunch(status, tdx_status(p, &td, td.tee_tcb_svn2, false, v));
    }
    return status;
}

void attest_tcb_judge(const struct attest_platform *p, struct attest_verdict *v)
{
    const struct attest_statements *s = p->statements;
    struct attest_sgx_body qe = {0};
    struct level qe_level = {.status = ATTEST_TCB_NONE};
    bool same_family = s->tcb_info.root != NULL && judge_family(p, v);

    attest_sgx_body_read(p->quote->qe_report, &qe);
    if (s->qe_identity.root != NULL) {
        judge_qe(s->qe_identity.root, &qe, v);
        qe_level = isv_level(s->qe_identity.root, qe.isvsvn);
        note_level(&qe_level, v);
    }
    if (!same_family) {
        return;
    }
    v->tcb_evaluation = s->tcb_info.evaluation;
    attest_number_add(v, "tcb_evaluation", v->tcb_evaluation);
    if (qe_level.status == ATTEST_TCB_NONE) {
        return;
    }
    v->tcb_status = converge(platform_status(p, v), qe_level.status);
}
