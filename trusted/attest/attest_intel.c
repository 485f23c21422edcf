// SPDX-License-Identifier: Apache-2.0
#include "trusted/attest/attest_intel.h"

#include "trusted/attest/attest_tcb.h"

static const uint8_t intel_vendor[16] = {0x93, 0x9a, 0x72, 0x33, 0xf7, 0x9c, 0x4c, 0xa9,
                                         0x94, 0x0a, 0x0d, 0xb3, 0x95, 0x7f, 0x06, 0x07};

/* ATT-28: different names keep a deployment's software root from passing for hardware, even where
 * somebody pinned it for the wrong kind. */
static const struct attest_names intel_names = {
    .pck = {"Intel SGX PCK Certificate", "Intel SGX PCK", "Intel SGX Root CA"},
    .tcb = {"Intel SGX TCB Signing", "Intel SGX Root CA"},
};
static const struct attest_names software_names = {
    .pck = {"Avocado Software PCK Certificate", "Avocado Software PCK", "Avocado Software Root CA"},
    .tcb = {"Avocado Software TCB Signing", "Avocado Software Root CA"},
};

enum {
    SGX_DEBUG = 1 << 1,
    TD_UNDER_DEBUG = 0xff, /* the whole group, not only its first bit */
    PCK_CHAIN_N = 3,
};

static void show_sgx(const struct attest_quote *q, struct attest_verdict *v)
{
    struct attest_sgx_body b = {0};

    attest_sgx_body_read(q->body, &b);
    attest_field_add(v, "mrenclave", b.mrenclave);
    attest_field_add(v, "mrsigner", b.mrsigner);
    attest_field_add(v, "configid", b.configid);
    attest_field_add(v, "isvfamilyid", b.isvfamilyid);
    attest_field_add(v, "isvextprodid", b.isvextprodid);
    attest_number_add(v, "isvprodid", b.isvprodid);
    attest_number_add(v, "isvsvn", b.isvsvn);
    attest_number_add(v, "configsvn", b.configsvn);
    v->attributes = b.flags;
    v->debug = (b.flags & SGX_DEBUG) != 0;
    v->report_data = b.report_data;
}

static void show_tdx(const struct attest_quote *q, struct attest_verdict *v)
{
    static const char *const rtmr[] = {"rtmr0", "rtmr1", "rtmr2", "rtmr3"};
    struct attest_td_body b = {0};

    attest_td_body_read(q->body, &b);
    attest_field_add(v, "mrtd", b.mrtd);
    for (unsigned i = 0; i < 4; i++) {
        attest_field_add(v, rtmr[i], b.rtmr[i]);
    }
    attest_field_add(v, "mrconfigid", b.mrconfigid);
    attest_field_add(v, "mrowner", b.mrowner);
    attest_field_add(v, "mrownerconfig", b.mrownerconfig);
    attest_field_add(v, "mrseam", b.mrseam);
    attest_field_add(v, "xfam", b.xfam);
    if (b.mrservicetd.n > 0) {
        attest_field_add(v, "mrservicetd", b.mrservicetd);
    }
    attest_number_add(v, "tdx_module_major", b.tee_tcb_svn.p[1]);
    attest_number_add(v, "tdx_module_minor", b.tee_tcb_svn.p[0]);
    v->attributes = b.attributes;
    v->debug = (b.attributes & TD_UNDER_DEBUG) != 0;
    v->report_data = b.report_data;
}

/* ATT-9: what the evidence says before anything is believed. */
static bool show(const struct attest_input *in, struct attest_quote *q, struct attest_verdict *v)
{
    struct explain why = {0};
    bool wants_tdx = in->kind == ATTEST_TDX;
    char hex[40];

    if (attest_quote_parse(in->evidence, q, &why) != OK) {
        attest_fail(v, ATTEST_RULE_MALFORMED, "a quote of version 3, 4 or 5", "%s", why.text);
        return false;
    }
    v->parsed = true;
    v->version = q->version;
    if (q->is_tdx) {
        show_tdx(q, v);
    } else {
        show_sgx(q, v);
    }
    if (q->is_tdx != wants_tdx || (in->kind == ATTEST_SOFTWARE && q->version != 3)) {
        attest_fail(v, ATTEST_RULE_KIND, attest_kind_name(in->kind), "a quote of %s, version %u",
                    q->is_tdx ? "TDX" : "SGX", q->version);
        return false;
    }
    if (!bytes_equal(q->vendor, (struct bytes){intel_vendor, sizeof(intel_vendor)})) {
        attest_fail(v, ATTEST_RULE_QE_VENDOR, "939a7233f79c4ca9940a0db3957f0607", "%s",
                    attest_hex(q->vendor, hex, sizeof(hex)));
    }
    return true;
}

/* A chain in the quote and one in the collateral must be the same, ATT-2. */
static void judge_twice(const struct attest_chain *a, const struct attest_chain *b,
                        struct attest_verdict *v)
{
    bool same = a->n == b->n;

    for (uint32_t i = 0; same && i < a->n; i++) {
        same = X509_cmp(a->cert[i], b->cert[i]) == 0;
    }
    if (!same) {
        attest_fail(v, ATTEST_RULE_COLLATERAL_MISMATCH, "the chain that the quote carries",
                    "pck_chain.pem has other certificates");
    }
}

static bool load_chain(const struct attest_input *in, const struct attest_quote *q,
                       struct attest_chain *ret, struct attest_verdict *v)
{
    struct bytes beside = in->collateral.pck_chain;
    bool inside = q->cert_type == ATTEST_CERT_PCK_CHAIN;
    struct attest_chain again = {0};
    struct explain why = {0};

    if (!inside && beside.n == 0) {
        attest_fail(v, ATTEST_RULE_NO_PCK_CHAIN, "a chain in the quote, or pck_chain.pem",
                    "certification data of type %u, which holds none", (unsigned)q->cert_type);
        return false;
    }
    if (attest_chain_load(inside ? q->cert : beside, ret, &why) != OK) {
        attest_fail(v, ATTEST_RULE_MALFORMED_CHAIN, "canonical PEM: leaf, CA, root",
                    "the PCK chain: %s", why.text);
        return false;
    }
    if (ret->n != PCK_CHAIN_N) {
        attest_fail(v, ATTEST_RULE_MALFORMED_CHAIN, "3 certificates: leaf, CA, root",
                    "the PCK chain has %u", ret->n);
        return false;
    }
    if (inside && beside.n > 0) {
        if (attest_chain_load(beside, &again, &why) != OK) {
            attest_fail(v, ATTEST_RULE_COLLATERAL_MALFORMED, "canonical PEM", "pck_chain.pem: %s",
                        why.text);
        } else {
            judge_twice(ret, &again, v);
        }
        attest_chain_free(&again);
    }
    return true;
}

/* ATT-12: platform key -> report of the quoting enclave -> attestation key -> quote. */
static void judge_signatures(const struct attest_quote *q, EVP_PKEY *pck, struct attest_verdict *v)
{
    struct attest_sgx_body qe = {0};
    EVP_PKEY *att = attest_p256_key(q->att_key);
    EVP_MD_CTX *ctx = EVP_MD_CTX_new();
    uint8_t wanted[64] = {0}; /* the hash, then 32 zero bytes */
    char a[140], b[140];

    attest_sgx_body_read(q->qe_report, &qe);
    if (pck != NULL && !(attest_key_is_on(pck, "prime256v1") &&
                         attest_ecdsa_verify(pck, "SHA256", q->qe_signature, q->qe_report))) {
        attest_fail(v, ATTEST_RULE_QE_REPORT_SIGNATURE, "a signature by the PCK certificate's key",
                    "the report of the quoting enclave has another");
    }
    if (ctx == NULL || EVP_DigestInit_ex(ctx, EVP_sha256(), NULL) != 1 ||
        EVP_DigestUpdate(ctx, q->att_key.p, q->att_key.n) != 1 ||
        (q->qe_auth.n > 0 && EVP_DigestUpdate(ctx, q->qe_auth.p, q->qe_auth.n) != 1) ||
        EVP_DigestFinal_ex(ctx, wanted, NULL) != 1) {
        attest_fail(v, ATTEST_RULE_INTERNAL, "a SHA-256", "OpenSSL gives none");
    }
    if (!bytes_equal(qe.report_data, (struct bytes){wanted, sizeof(wanted)})) {
        attest_fail(v, ATTEST_RULE_QE_REPORT_BINDING,
                    attest_hex((struct bytes){wanted, sizeof(wanted)}, a, sizeof(a)),
                    "the quoting enclave's report data is %s",
                    attest_hex(qe.report_data, b, sizeof(b)));
    }
    if (!attest_ecdsa_verify(att, "SHA256", q->signature, q->signed_part)) {
        attest_fail(v, ATTEST_RULE_QUOTE_SIGNATURE, "a signature by the attestation key",
                    "the quote has another, or was changed");
    }
    EVP_MD_CTX_free(ctx);
    EVP_PKEY_free(att);
}

static void judge_missing(const struct attest_input *in, struct attest_verdict *v)
{
    const struct attest_collateral *c = &in->collateral;
    const struct {
        const char *name;
        struct bytes file;
    } needed[] = {
        {"tcb_info.json", c->tcb_info},
        {"qe_identity.json", c->qe_identity},
        {"tcb_signing_chain.pem", c->tcb_signing_chain},
        {"pck_crl.der", c->pck_crl},
        {"root_ca_crl.der", c->root_ca_crl},
    };

    for (size_t i = 0; i < sizeof(needed) / sizeof(needed[0]); i++) {
        if (needed[i].file.n == 0) {
            attest_fail(v, ATTEST_RULE_INCOMPLETE, needed[i].name, "there is no %s",
                        needed[i].name);
        }
    }
}

static void judge_crls(const struct attest_input *in, const struct attest_chain *c,
                       struct attest_verdict *v)
{
    struct attest_crl crls[] = {
        {"pck_crl.der", in->collateral.pck_crl, c->cert[1], &c->cert[0], 1, false},
        {"root_ca_crl.der", in->collateral.root_ca_crl, c->cert[2], &c->cert[1], 1, true},
    };

    for (size_t i = 0; i < sizeof(crls) / sizeof(crls[0]); i++) {
        if (crls[i].der.n > 0) {
            attest_crl_judge(in, &crls[i], v);
        }
    }
}

static void judge_collateral(const struct attest_input *in, const struct attest_names *names,
                             const struct attest_quote *q, const struct attest_chain *c,
                             struct attest_verdict *v)
{
    struct attest_statements s = {0};
    struct attest_pck pck = {0};
    struct attest_platform platform = {.pck = &pck, .quote = q, .statements = &s};

    judge_missing(in, v);
    judge_crls(in, c, v);
    attest_statements_judge(in, names, q->is_tdx, v, &s);
    if (attest_pck_read(c->cert[0], &pck) != OK) {
        attest_fail(v, ATTEST_RULE_PCK_EXTENSION, "components, PCESVN, PCEID and FMSPC",
                    "the PCK certificate's SGX extension lacks some, or has them twice");
    } else {
        memcpy(v->fmspc, pck.fmspc, sizeof(v->fmspc));
        attest_tcb_judge(&platform, v);
    }
    attest_statements_free(&s);
}

void attest_intel_judge(const struct attest_input *in, struct attest_verdict *v)
{
    const struct attest_names *names = in->kind == ATTEST_SOFTWARE ? &software_names : &intel_names;
    const struct attest_chain_rules rules = {
        .what = "PCK chain",
        .signature = ATTEST_RULE_PCK_CHAIN_SIGNATURE,
        .root = ATTEST_RULE_UNTRUSTED_ROOT,
        .names = names->pck,
    };
    struct attest_quote q = {0};
    struct attest_chain c = {0};
    bool trusted = false, have_chain = false;

    if (!show(in, &q, v)) {
        return;
    }
    have_chain = load_chain(in, &q, &c, v);
    if (have_chain) {
        trusted = attest_chain_judge(in, &c, &rules, v);
    }
    judge_signatures(&q, have_chain ? X509_get0_pubkey(c.cert[0]) : NULL, v);
    if (trusted) { /* under a foreign root, collateral says nothing: ATT-5 */
        judge_collateral(in, names, &q, &c, v);
    }
    attest_chain_free(&c);
}
