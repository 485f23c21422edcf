// SPDX-License-Identifier: Apache-2.0
#include "trusted/attest/attest_snp.h"

#include "trusted/attest/attest_snp_certs.h"

#include <stdio.h>

enum {
    FLAG_MASK_CHIP_KEY = 1 << 1,
    KEY_SHIFT = 2,
    KEY_MASK = 7,
    POLICY_DEBUG = 1 << 19,
    POLICY_RESERVED_ONE = 1 << 17,
};

static void show_tcb(struct bytes tcb, enum attest_product product, struct attest_verdict *v)
{
    struct attest_snp_tcb t = attest_snp_tcb_read(tcb, product);

    if (product == ATTEST_TURIN) {
        attest_number_add(v, "fmc", t.fmc);
    }
    attest_number_add(v, "bootloader", t.bootloader);
    attest_number_add(v, "tee", t.tee);
    attest_number_add(v, "snp", t.snp);
    attest_number_add(v, "microcode", t.microcode);
}

static void show(const struct attest_snp *s, struct attest_verdict *v)
{
    v->parsed = true;
    v->version = s->version;
    attest_field_add(v, "measurement", s->measurement);
    attest_field_add(v, "host_data", s->host_data);
    attest_field_add(v, "id_key_digest", s->id_key_digest);
    attest_field_add(v, "author_key_digest", s->author_key_digest);
    attest_field_add(v, "family_id", s->family_id);
    attest_field_add(v, "image_id", s->image_id);
    attest_field_add(v, "report_id", s->report_id);
    attest_field_add(v, "report_id_ma", s->report_id_ma);
    attest_field_add(v, "chip_id", s->chip_id);
    attest_number_add(v, "guest_svn", s->guest_svn);
    attest_number_add(v, "vmpl", s->vmpl);
    v->attributes = s->policy;
    v->debug = (s->policy & POLICY_DEBUG) != 0;
    v->report_data = s->report_data;
}

static bool all_zero(struct bytes b)
{
    uint8_t any = 0;

    for (size_t i = 0; i < b.n; i++) {
        any |= b.p[i];
    }
    return any == 0;
}

static const char *format_tcb(const struct attest_snp_tcb *t, char to[static 96])
{
    (void)snprintf(to, 96, "fmc %u, bootloader %u, tee %u, snp %u, microcode %u", (unsigned)t->fmc,
                   (unsigned)t->bootloader, (unsigned)t->tee, (unsigned)t->snp,
                   (unsigned)t->microcode);
    return to;
}

/* ATT-24: a key is derived for one chip at one TCB; the certificate must be for both. */
static void judge_binding(const struct attest_snp *s, const struct attest_vcek *c, bool is_vlek,
                          struct attest_verdict *v)
{
    struct attest_snp_tcb reported = attest_snp_tcb_read(s->reported_tcb, c->product);
    char a[140], b[140];

    if (memcmp(&reported, &c->tcb, sizeof(reported)) != 0) {
        attest_fail(v, ATTEST_RULE_REPORTED_TCB, format_tcb(&reported, a),
                    "the certificate is for %s", format_tcb(&c->tcb, b));
    }
    if (is_vlek) {
        return; /* of a cloud, not of a chip */
    }
    if (memcmp(c->hwid.p, s->chip_id.p, c->hwid.n) != 0 ||
        !all_zero((struct bytes){s->chip_id.p + c->hwid.n, s->chip_id.n - c->hwid.n})) {
        attest_fail(v, ATTEST_RULE_HWID, attest_hex(s->chip_id, a, sizeof(a)),
                    "the certificate is for chip %s", attest_hex(c->hwid, b, sizeof(b)));
    }
}

/* ATT-25: processor, certificate and issuer agree. */
static void judge_product(const struct attest_snp *s, const struct attest_vcek *c, bool is_vlek,
                          X509 *cert, struct attest_verdict *v)
{
    const char *name = attest_product_name(c->product);
    char issuer[96], wanted[32];

    if (s->has_cpuid && s->product != c->product) {
        const char *found = attest_product_name(s->product);

        attest_fail(v, ATTEST_RULE_PRODUCT, found == NULL ? "a processor that is known" : found,
                    "the certificate is for %s, the processor has family 0x%x, model 0x%x", name,
                    (unsigned)s->family, (unsigned)s->model);
    }
    (void)snprintf(wanted, sizeof(wanted), is_vlek ? "SEV-VLEK-%s" : "SEV-%s", name);
    if (strcmp(attest_cert_issuer(cert, issuer), wanted) != 0) {
        attest_fail(v, ATTEST_RULE_PRODUCT, wanted, "the certificate's issuer is '%s'", issuer);
    }
    (void)snprintf(v->product, sizeof(v->product), "%s", name);
}

/* ATT-22: which key signed, as the report itself says. */
static bool judge_key_kind(const struct attest_snp *s, bool *ret_is_vlek, struct attest_verdict *v)
{
    unsigned key = s->flags >> KEY_SHIFT & KEY_MASK;

    if ((s->flags & FLAG_MASK_CHIP_KEY) != 0 ||
        (key != ATTEST_SNP_VCEK && key != ATTEST_SNP_VLEK) || s->flags >> (KEY_SHIFT + 3) != 0) {
        attest_fail(v, ATTEST_RULE_SIGNING_KEY, "VCEK or VLEK, not masked", "key flags 0x%x",
                    s->flags);
        return false;
    }
    *ret_is_vlek = key == ATTEST_SNP_VLEK;
    return true;
}

static void judge_crl(const struct attest_input *in, const struct attest_chain *c,
                      struct attest_verdict *v)
{
    struct attest_crl crl = {
        .what = "crl.der",
        .der = in->collateral.crl,
        .issuer = c->cert[2],
        .certs = &c->cert[1],
        .certs_n = 1, /* the list of the root names intermediates only */
    };

    if (crl.der.n > 0) {
        attest_crl_judge(in, &crl, v);
    }
}

static void judge_leaf(const struct attest_snp *s, const struct attest_chain *c, bool is_vlek,
                       struct attest_verdict *v)
{
    struct attest_vcek vcek = {0};
    EVP_PKEY *key = X509_get0_pubkey(c->cert[0]);

    if (!attest_key_is_on(key, "secp384r1") ||
        !attest_ecdsa_verify(key, "SHA384", (struct bytes){s->signature, sizeof(s->signature)},
                             s->signed_part)) {
        attest_fail(v, ATTEST_RULE_REPORT_SIGNATURE, "a signature by the certificate's key",
                    "the report has another, or was changed");
    }
    if (attest_vcek_read(c->cert[0], is_vlek, &vcek) != OK) {
        attest_fail(v, ATTEST_RULE_MALFORMED_CHAIN, "product, TCB and chip or cloud",
                    "%s lacks them", is_vlek ? "vlek.der" : "vcek.der");
        return;
    }
    show_tcb(s->reported_tcb, vcek.product, v);
    judge_binding(s, &vcek, is_vlek, v);
    judge_product(s, &vcek, is_vlek, c->cert[0], v);
}

void attest_snp_judge(const struct attest_input *in, struct attest_verdict *v)
{
    static const char *const names[2][3] = {{"SEV-VCEK", "SEV-", "ARK-"},
                                            {"SEV-VLEK", "SEV-VLEK-", "ARK-"}};
    struct attest_chain_rules rules = {
        .what = "certificate chain",
        .signature = ATTEST_RULE_CERT_CHAIN_SIGNATURE,
        .root = ATTEST_RULE_UNTRUSTED_ROOT,
    };
    struct attest_chain c = {0};
    struct attest_snp s = {0};
    struct explain why = {0};
    bool is_vlek = false;

    if (attest_snp_parse(in->evidence, &s, &why) != OK) {
        attest_fail(v, ATTEST_RULE_MALFORMED, "a report of version 2 to 5", "%s", why.text);
        return;
    }
    show(&s, v);
    if ((s.policy & POLICY_RESERVED_ONE) == 0) {
        attest_fail(v, ATTEST_RULE_MALFORMED, "bit 17 of the guest policy set", "0x%llx",
                    (unsigned long long)s.policy);
    }
    if (!judge_key_kind(&s, &is_vlek, v)) {
        return;
    }
    attest_snp_chain_load(in, is_vlek, v, &c);
    if (c.n == 0) {
        return;
    }
    rules.names = names[is_vlek];
    if (attest_chain_judge(in, &c, &rules, v)) {
        judge_crl(in, &c, v);
    }
    judge_leaf(&s, &c, is_vlek, v);
    attest_chain_free(&c);
}
