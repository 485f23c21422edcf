// SPDX-License-Identifier: Apache-2.0
#include "trusted/attest/attest_explain.h"

#include "trusted/attest/attest_pck.h"
#include "trusted/attest/attest_quote.h"
#include "trusted/attest/attest_sheet.h"
#include "trusted/attest/attest_snp.h"

#include <inttypes.h>
#include <stdlib.h>

/* A bit of a field of flags, and what it means to a reader. */
struct bit {
    unsigned at;
    const char *name;
};

static const struct bit sgx_bits[] = {
    {0, "INIT"},          {1, "DEBUG"}, {2, "MODE64"}, {4, "PROVISIONKEY"},
    {5, "EINITTOKENKEY"}, {6, "CET"},   {7, "KSS"},
};
static const struct bit td_bits[] = {
    {0, "DEBUG"}, {4, "HGS_PLUS_PROF"},    {5, "PERF_PROF"},   {6, "PMT_PROF"}, {16, "ICSSD"},
    {27, "LASS"}, {28, "SEPT_VE_DISABLE"}, {29, "MIGRATABLE"}, {30, "PKS"},     {31, "KL"},
    {62, "TPA"},  {63, "PERFMON"},
};
static const struct bit snp_bits[] = {
    {16, "SMT"},
    {17, "RESERVED_1"},
    {18, "MIGRATE_MA"},
    {19, "DEBUG"},
    {20, "SINGLE_SOCKET"},
    {21, "CXL_ALLOW"},
    {22, "MEM_AES_256_XTS"},
    {23, "RAPL_DIS"},
    {24, "CIPHERTEXT_HIDING"},
    {25, "PAGE_SWAP_DISABLE"},
};
static const struct bit platform_bits[] = {
    {0, "SMT_EN"},
    {1, "TSME_EN"},
    {2, "ECC_EN"},
    {3, "RAPL_DIS"},
    {4, "CIPHERTEXT_HIDING_EN"},
    {5, "ALIAS_CHECK_COMPLETE"},
    {7, "TIO_EN"},
};

/* "DEBUG MODE64 bit 12": named bits by name, the others by number. */
static const char *name_bits(uint64_t v, const struct bit *bits, size_t n, char to[static 320])
{
    size_t at = 0;

    to[0] = '\0';
    for (unsigned b = 0; b < 64 && at < 280; b++) {
        const char *name = NULL;

        if ((v >> b & 1) == 0) {
            continue;
        }
        for (size_t i = 0; i < n; i++) {
            name = bits[i].at == b ? bits[i].name : name;
        }
        at +=
            (size_t)(name != NULL ? snprintf(to + at, 320 - at, "%s%s", at == 0 ? "" : " ", name)
                                  : snprintf(to + at, 320 - at, "%sbit%u", at == 0 ? "" : " ", b));
    }
    return to;
}

static void flags(struct attest_sheet *s, const char *key, uint64_t v, const struct bit *bits,
                  size_t n)
{
    char text[24], names[320];

    (void)snprintf(text, sizeof(text), "0x%016" PRIx64, v);
    attest_sheet_text(s, key, text, name_bits(v, bits, n, names));
}

#define FLAGS(s, key, v, bits) flags((s), (key), (v), (bits), sizeof(bits) / sizeof((bits)[0]))

static void debug_flag(struct attest_sheet *s, bool debug)
{
    attest_sheet_flag(s, "debug", debug,
                      debug ? "the host can read and change its memory: PROTECTS NOTHING" : "");
}

static void explain_sgx_body(struct attest_sheet *s, const struct attest_sgx_body *b)
{
    attest_sheet_hex(s, "mrenclave", b->mrenclave, "hash of code and initial data");
    attest_sheet_hex(s, "mrsigner", b->mrsigner, "hash of the key that signed the enclave");
    attest_sheet_number(s, "isvprodid", b->isvprodid, "product, as its signer numbers them");
    attest_sheet_number(s, "isvsvn", b->isvsvn, "security version, as its signer counts");
    FLAGS(s, "attributes", b->flags, sgx_bits);
    debug_flag(s, (b->flags & 2) != 0);
    attest_sheet_hex(s, "xfrm", (struct bytes){b->attributes.p + 8, 8}, "");
    attest_sheet_hex(s, "miscselect", b->miscselect, "");
    attest_sheet_hex(s, "cpusvn", b->cpusvn, "raw; compare TCB levels by the PCK certificate");
    attest_sheet_hex(s, "configid", b->configid, "");
    attest_sheet_number(s, "configsvn", b->configsvn, "");
    attest_sheet_hex(s, "isvextprodid", b->isvextprodid, "");
    attest_sheet_hex(s, "isvfamilyid", b->isvfamilyid, "");
    attest_sheet_hex(s, "report_data", b->report_data, "chosen by the enclave");
}

static void explain_td_body(struct attest_sheet *s, const struct attest_td_body *b)
{
    static const char *const rtmr[] = {"rtmr0", "rtmr1", "rtmr2", "rtmr3"};
    static const char *const extends[] = {"firmware", "boot loader and kernel",
                                          "kernel command line, initrd", "the guest's own use"};

    attest_sheet_hex(s, "mrtd", b->mrtd, "hash of the initial memory, the virtual firmware");
    for (unsigned i = 0; i < 4; i++) {
        attest_sheet_hex(s, rtmr[i], b->rtmr[i], extends[i]);
    }
    FLAGS(s, "td_attributes", b->attributes, td_bits);
    debug_flag(s, (b->attributes & 0xff) != 0);
    attest_sheet_hex(s, "xfam", b->xfam, "");
    attest_sheet_hex(s, "mrconfigid", b->mrconfigid, "set by the host");
    attest_sheet_hex(s, "mrowner", b->mrowner, "");
    attest_sheet_hex(s, "mrownerconfig", b->mrownerconfig, "");
    attest_sheet_hex(s, "mrseam", b->mrseam, "the TDX module");
    attest_sheet_hex(s, "mrsignerseam", b->mrsignerseam, "zero: Intel's module");
    attest_sheet_hex(s, "seam_attributes", b->seam_attributes, "");
    attest_sheet_hex(s, "tee_tcb_svn", b->tee_tcb_svn, "module minor, major, microcode, ...");
    if (b->tee_tcb_svn2.n > 0) {
        attest_sheet_hex(s, "tee_tcb_svn2", b->tee_tcb_svn2, "of the module that runs now");
        attest_sheet_hex(s, "mrservicetd", b->mrservicetd, "");
    }
    attest_sheet_hex(s, "report_data", b->report_data, "chosen by the guest");
}

static void explain_chain(struct attest_sheet *s, const struct attest_quote *q)
{
    static const char *const keys[] = {"certificate1", "certificate2", "certificate3",
                                       "certificate4"};
    struct attest_chain c = {0};
    struct attest_pck pck = {0};
    struct explain why = {0};

    attest_sheet_section(s, "certification", "Certification data");
    attest_sheet_number(s, "type", q->cert_type,
                        q->cert_type == ATTEST_CERT_PCK_CHAIN ? "PCK chain in PEM"
                                                              : "no chain inside");
    if (q->cert_type != ATTEST_CERT_PCK_CHAIN) {
        return;
    }
    if (attest_chain_load(q->cert, &c, &why) != OK) {
        attest_sheet_text(s, "chain", "unreadable", why.text);
        return;
    }
    for (uint32_t i = 0; i < c.n; i++) {
        char subject[96];

        attest_sheet_text(s, keys[i], attest_cert_subject(c.cert[i], subject), "");
    }
    if (attest_pck_read(c.cert[0], &pck) == OK) {
        attest_sheet_hex(s, "fmspc", (struct bytes){pck.fmspc, sizeof(pck.fmspc)},
                         "family of the platform: which TCB info");
        attest_sheet_hex(s, "pceid", (struct bytes){pck.pceid, sizeof(pck.pceid)}, "");
        attest_sheet_number(s, "pcesvn", pck.pcesvn, "");
        attest_sheet_hex(s, "tcb_components", (struct bytes){pck.component, sizeof(pck.component)},
                         "one byte each");
    }
    attest_chain_free(&c);
}

static void explain_quote(struct attest_sheet *s, const struct attest_quote *q)
{
    struct attest_sgx_body qe = {0}, sgx = {0};
    struct attest_td_body td = {0};

    attest_sheet_text(s, "evidence", q->is_tdx ? "TDX quote" : "SGX quote", "");
    attest_sheet_number(s, "version", q->version, "");
    attest_sheet_number(s, "bytes", q->len, "without padding");
    attest_sheet_text(s, "verified", "no",
                      "only what the bytes claim; see 'avocado attest verify'");
    if (q->is_tdx) {
        attest_td_body_read(q->body, &td);
        attest_sheet_section(s, "body", "Trust domain");
        explain_td_body(s, &td);
    } else {
        attest_sgx_body_read(q->body, &sgx);
        attest_sheet_section(s, "body", "Enclave");
        explain_sgx_body(s, &sgx);
    }
    attest_sgx_body_read(q->qe_report, &qe);
    attest_sheet_section(s, "quoting_enclave", "Quoting enclave (signed this; attests its key)");
    attest_sheet_hex(s, "vendor", q->vendor, "");
    explain_sgx_body(s, &qe);
    explain_chain(s, q);
}

static void explain_tcb(struct attest_sheet *s, const char *key, struct bytes tcb,
                        enum attest_product product, const char *note)
{
    struct attest_snp_tcb t = attest_snp_tcb_read(tcb, product);
    char hex[20], parts[160];

    (void)snprintf(parts, sizeof(parts), "bootloader %u, tee %u, snp %u, microcode %u%s%s",
                   (unsigned)t.bootloader, (unsigned)t.tee, (unsigned)t.snp, (unsigned)t.microcode,
                   *note == '\0' ? "" : "; ", note);
    attest_sheet_text(s, key, attest_hex(tcb, hex, sizeof(hex)), parts);
}

static void explain_snp_ids(struct attest_sheet *s, const struct attest_snp *r)
{
    char version[16];

    attest_sheet_hex(s, "id_key_digest", r->id_key_digest, "who signed the identity block");
    attest_sheet_hex(s, "author_key_digest", r->author_key_digest, "");
    attest_sheet_hex(s, "family_id", r->family_id, "");
    attest_sheet_hex(s, "image_id", r->image_id, "");
    attest_sheet_hex(s, "report_id", r->report_id, "of this guest, for its life");
    attest_sheet_hex(s, "report_id_ma", r->report_id_ma, "");
    attest_sheet_hex(s, "chip_id", r->chip_id, "");
    (void)snprintf(version, sizeof(version), "%u.%u.%u", (unsigned)r->current_major,
                   (unsigned)r->current_minor, (unsigned)r->current_build);
    attest_sheet_text(s, "firmware", version, "current");
    (void)snprintf(version, sizeof(version), "%u.%u.%u", (unsigned)r->committed_major,
                   (unsigned)r->committed_minor, (unsigned)r->committed_build);
    attest_sheet_text(s, "firmware_committed", version, "cannot be rolled back below");
}

static void explain_snp(struct attest_sheet *s, const struct attest_snp *r)
{
    static const char *const keys[] = {"VCEK", "VLEK", "?", "?", "?", "?", "?", "none"};
    const char *product = attest_product_name(r->product);

    attest_sheet_text(s, "evidence", "SEV-SNP report", "");
    attest_sheet_number(s, "version", r->version, "");
    attest_sheet_text(s, "verified", "no",
                      "only what the bytes claim; see 'avocado attest verify'");
    attest_sheet_section(s, "body", "Guest");
    attest_sheet_hex(s, "measurement", r->measurement, "hash of the initial memory");
    attest_sheet_hex(s, "host_data", r->host_data, "set by the host at launch");
    attest_sheet_number(s, "guest_svn", r->guest_svn, "");
    attest_sheet_number(s, "vmpl", r->vmpl, "privilege level that asked, 0 is the highest");
    FLAGS(s, "policy", r->policy, snp_bits);
    debug_flag(s, (r->policy >> 19 & 1) != 0);
    attest_sheet_hex(s, "report_data", r->report_data, "chosen by the guest");
    explain_snp_ids(s, r);
    attest_sheet_section(s, "platform", "Platform");
    attest_sheet_text(s, "product", product == NULL ? "unknown" : product,
                      r->has_cpuid ? "" : "version 2 does not say; the certificate does");
    FLAGS(s, "platform_info", r->platform_info, platform_bits);
    attest_sheet_text(s, "signing_key", keys[r->flags >> 2 & 7], "");
    explain_tcb(s, "reported_tcb", r->reported_tcb, r->product, "what the key was derived for");
    explain_tcb(s, "current_tcb", r->current_tcb, r->product, "");
    explain_tcb(s, "committed_tcb", r->committed_tcb, r->product, "");
    explain_tcb(s, "launch_tcb", r->launch_tcb, r->product, "");
}

RESULT attest_explain_evidence(struct bytes evidence, enum attest_form form, char **ret,
                               struct explain *why)
{
    enum attest_kind kind;
    struct attest_sheet s = {0};
    struct attest_quote q = {0};
    struct attest_snp r = {0};
    char *out = NULL;

    if (attest_kind_guess(evidence, &kind) != OK) {
        explain(why, "neither a quote of SGX or TDX nor a report of SEV-SNP");
        return ERR_MALFORMED;
    }
    if (kind == ATTEST_SNP) {
        TRY(attest_snp_parse(evidence, &r, why));
    } else {
        TRY(attest_quote_parse(evidence, &q, why));
    }
    if (attest_sheet_open(form, &s) == OK) {
        if (kind == ATTEST_SNP) {
            explain_snp(&s, &r);
        } else {
            explain_quote(&s, &q);
        }
        out = attest_sheet_close(&s);
    }
    if (out == NULL) {
        explain(why, "out of memory");
        return ERR_MALFORMED;
    }
    *ret = out;
    return OK;
}
