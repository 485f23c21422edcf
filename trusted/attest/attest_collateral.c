// SPDX-License-Identifier: Apache-2.0
#include "trusted/attest/attest_collateral.h"

#include <stdio.h>

enum { SIGNATURE_LEN = 64, SIGNATURE_HEX_LEN = 2 * SIGNATURE_LEN, TCB_INFO_TDX_VERSION_MIN = 3 };

struct ask {
    const char *file, *key;
    struct bytes text;
    enum attest_rule signature_rule;
};

bool attest_json_uint(const json_t *object, const char *key, uint32_t max, uint32_t *ret)
{
    const json_t *j = json_object_get(object, key);

    if (!json_is_integer(j) || json_integer_value(j) < 0 || json_integer_value(j) > max) {
        return false;
    }
    *ret = (uint32_t)json_integer_value(j);
    return true;
}

bool attest_json_hex(const json_t *object, const char *key, struct mbytes to)
{
    const json_t *j = json_object_get(object, key);

    return json_is_string(j) && attest_unhex(json_string_value(j), json_string_length(j), to) == OK;
}

static bool take(struct bytes *rest, const char *text)
{
    size_t n = strlen(text);

    if (rest->n < n || memcmp(rest->p, text, n) != 0) {
        return false;
    }
    *rest = (struct bytes){rest->p + n, rest->n - n};
    return true;
}

/* One case throughout, so that the signature has one spelling. */
static bool is_one_case(const uint8_t *p, size_t n)
{
    bool lower = false, upper = false;

    for (size_t i = 0; i < n; i++) {
        lower |= p[i] >= 'a' && p[i] <= 'f';
        upper |= p[i] >= 'A' && p[i] <= 'F';
    }
    return !(lower && upper);
}

/*
 * ATT-11: {"KEY":OBJECT,"signature":"HEX"} as the vendor sends it, with no other byte than a
 * newline at the end. OBJECT is cut from the text, not parsed: what was signed is its bytes.
 */
static bool cut(const struct ask *a, struct bytes *ret_object, uint8_t sig[static SIGNATURE_LEN])
{
    static const char tail_head[] = ",\"signature\":\"";
    static const char tail_end[] = "\"}";
    size_t tail_n = sizeof(tail_head) - 1 + SIGNATURE_HEX_LEN + sizeof(tail_end) - 1;
    struct bytes rest = a->text, tail;

    if (rest.n > 0 && rest.p[rest.n - 1] == '\n') {
        rest.n--;
    }
    if (!take(&rest, "{\"") || !take(&rest, a->key) || !take(&rest, "\":") || rest.n < tail_n + 2) {
        return false;
    }
    *ret_object = (struct bytes){rest.p, rest.n - tail_n};
    tail = (struct bytes){rest.p + ret_object->n, tail_n};
    if (!take(&tail, tail_head) || !is_one_case(tail.p, SIGNATURE_HEX_LEN) ||
        attest_unhex((const char *)tail.p, SIGNATURE_HEX_LEN,
                     (struct mbytes){sig, SIGNATURE_LEN}) != OK) {
        return false;
    }
    tail = (struct bytes){tail.p + SIGNATURE_HEX_LEN, tail.n - SIGNATURE_HEX_LEN};
    return take(&tail, tail_end);
}

static void judge_statement_dates(const struct attest_input *in, const struct ask *a,
                                  const json_t *root, struct attest_verdict *v)
{
    const char *issue = json_string_value(json_object_get(root, "issueDate"));
    const char *next = json_string_value(json_object_get(root, "nextUpdate"));
    uint64_t from_s = 0, until_s = 0;

    if (issue == NULL || next == NULL || attest_time_parse(issue, &from_s) != OK ||
        attest_time_parse(next, &until_s) != OK) {
        attest_fail(v, ATTEST_RULE_EXPIRED, "issueDate and nextUpdate", "%s lacks them", a->file);
        return;
    }
    attest_dates(v, a->file, in->now_s, from_s, until_s);
    attest_issued(v, from_s);
}

static struct attest_statement judge_statement(const struct attest_input *in, const struct ask *a,
                                               EVP_PKEY *key, struct attest_verdict *v)
{
    struct attest_statement s = {0};
    struct bytes object = {0};
    uint8_t sig[SIGNATURE_LEN];

    if (a->text.n > ATTEST_COLLATERAL_MAX || !cut(a, &object, sig)) {
        attest_fail(v, ATTEST_RULE_COLLATERAL_MALFORMED,
                    "the vendor's bytes: {\"...\":{...},\"signature\":\"...\"}", "%s is not",
                    a->file);
        return s;
    }
    if (!attest_ecdsa_verify(key, "SHA256", (struct bytes){sig, sizeof(sig)}, object)) {
        attest_fail(v, a->signature_rule, "a signature by the TCB signing key",
                    "%s has another, or was changed", a->file);
        return s;
    }
    s.root = json_loadb((const char *)object.p, object.n, JSON_REJECT_DUPLICATES, NULL);
    if (!json_is_object(s.root) || !attest_json_uint(s.root, "version", 1000, &s.version) ||
        !attest_json_uint(s.root, "tcbEvaluationDataNumber", UINT32_MAX, &s.evaluation)) {
        s.evaluation = 0; /* not in the oldest statements */
    }
    if (!json_is_object(s.root) || s.version < 2 || s.version > 3) {
        attest_fail(v, ATTEST_RULE_COLLATERAL_MALFORMED, "a statement of version 2 or 3",
                    "%s has version %u", a->file, s.version);
        json_decref(s.root);
        return (struct attest_statement){0};
    }
    judge_statement_dates(in, a, s.root, v);
    return s;
}

/* A statement about the other TEE is as good as none. */
static void judge_id(struct attest_statement *s, const struct ask *a, const char *wanted,
                     bool may_lack, struct attest_verdict *v)
{
    const char *id = s->root == NULL ? NULL : json_string_value(json_object_get(s->root, "id"));

    if (s->root == NULL || (id == NULL && may_lack) || (id != NULL && strcmp(id, wanted) == 0)) {
        return;
    }
    attest_fail(v, ATTEST_RULE_COLLATERAL_KIND, wanted, "%s is for %s", a->file,
                id == NULL ? "an unnamed TEE" : id);
    json_decref(s->root);
    *s = (struct attest_statement){0};
}

static void judge_signing_crl(const struct attest_input *in, const struct attest_chain *c,
                              struct attest_verdict *v)
{
    struct attest_crl crl = {
        .what = "root_ca_crl.der",
        .der = in->collateral.root_ca_crl,
        .issuer = c->cert[1],
        .certs = &c->cert[0],
        .certs_n = 1,
        .is_yearly = true,
    };

    if (crl.der.n > 0) {
        attest_crl_judge(in, &crl, v);
    }
}

/* The key that signs statements; NULL, and rules have failed, if the chain does not hold. */
static EVP_PKEY *judge_signer(const struct attest_input *in, const struct attest_names *names,
                              struct attest_chain *c, struct attest_verdict *v)
{
    struct attest_chain_rules rules = {
        .what = "tcb_signing_chain.pem",
        .signature = ATTEST_RULE_TCB_CHAIN,
        .root = ATTEST_RULE_TCB_CHAIN,
        .names = names->tcb,
    };
    struct explain why = {0};

    if (in->collateral.tcb_signing_chain.n == 0) {
        return NULL;
    }
    if (attest_chain_load(in->collateral.tcb_signing_chain, c, &why) != OK || c->n != 2) {
        attest_fail(v, ATTEST_RULE_COLLATERAL_MALFORMED, "two certificates, signer and root",
                    "tcb_signing_chain.pem: %s", c->n == 0 ? why.text : "another number");
        return NULL;
    }
    if (!attest_chain_judge(in, c, &rules, v)) {
        return NULL;
    }
    judge_signing_crl(in, c, v);
    return X509_get0_pubkey(c->cert[0]);
}

void attest_statements_judge(const struct attest_input *in, const struct attest_names *names,
                             bool is_tdx, struct attest_verdict *v, struct attest_statements *ret)
{
    struct ask tcb = {"tcb_info.json", "tcbInfo", in->collateral.tcb_info,
                      ATTEST_RULE_TCB_INFO_SIGNATURE};
    struct ask qe = {"qe_identity.json", "enclaveIdentity", in->collateral.qe_identity,
                     ATTEST_RULE_QE_IDENTITY_SIGNATURE};
    struct attest_chain c = {0};
    EVP_PKEY *key = judge_signer(in, names, &c, v);

    *ret = (struct attest_statements){0};
    if (key != NULL && tcb.text.n > 0) {
        ret->tcb_info = judge_statement(in, &tcb, key, v);
        judge_id(&ret->tcb_info, &tcb, is_tdx ? "TDX" : "SGX",
                 !is_tdx && ret->tcb_info.version < TCB_INFO_TDX_VERSION_MIN, v);
    }
    if (key != NULL && qe.text.n > 0) {
        ret->qe_identity = judge_statement(in, &qe, key, v);
        judge_id(&ret->qe_identity, &qe, is_tdx ? "TD_QE" : "QE", false, v);
    }
    attest_chain_free(&c);
}

void attest_statements_free(struct attest_statements *s)
{
    json_decref(s->tcb_info.root);
    json_decref(s->qe_identity.root);
    *s = (struct attest_statements){0};
}
