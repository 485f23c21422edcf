// SPDX-License-Identifier: Apache-2.0
#include "trusted/attest/attest_quote.h"

#include "common/check.h"
#include "common/codec.h"

enum {
    HEADER_LEN = 48,
    KEY_TYPE_P256 = 2,
    TEE_SGX = 0,
    TEE_TDX = 0x81,
    CERT_PPID_FIRST = 1,
    CERT_QE_REPORT = 6, /* the only outer type of v4 and v5 */
    ECDSA_LEN = 64,
};

static const struct {
    size_t len;
    bool is_tdx;
} bodies[] = {
    [ATTEST_BODY_SGX] = {ATTEST_SGX_BODY_LEN, false},
    [ATTEST_BODY_TD10] = {ATTEST_TD10_BODY_LEN, true},
    [ATTEST_BODY_TD15] = {ATTEST_TD15_BODY_LEN, true},
    [ATTEST_BODY_TD15EX] = {ATTEST_TD15EX_BODY_LEN, true},
};

static enum err read_header(struct reader *r, struct attest_quote *q, struct explain *why)
{
    uint16_t key_type = 0;
    uint32_t tee = 0;

    q->version = get_u16(r);
    key_type = get_u16(r);
    tee = get_u32(r);
    q->qe_svn = get_u16(r);
    q->pce_svn = get_u16(r);
    q->vendor = get_bytes(r, 16);
    q->user_data = get_bytes(r, 20);
    if (r->failed) {
        explain(why, "shorter than the header of a quote (%d bytes)", HEADER_LEN);
        return ERR_MALFORMED;
    }
    if (q->version < 3 || q->version > 5) {
        explain(why, "quote version %u; known are 3, 4 and 5", q->version);
        return ERR_MALFORMED;
    }
    if (key_type != KEY_TYPE_P256) {
        explain(why, "attestation key type %u; known is 2 (ECDSA P-256)", (unsigned)key_type);
        return ERR_MALFORMED;
    }
    if (tee != TEE_SGX && (tee != TEE_TDX || q->version == 3)) {
        explain(why, "TEE type 0x%x in a quote of version %u", tee, q->version);
        return ERR_MALFORMED;
    }
    q->is_tdx = tee == TEE_TDX;
    return OK;
}

static enum err read_body(struct reader *r, struct attest_quote *q, struct explain *why)
{
    unsigned kind = q->is_tdx ? ATTEST_BODY_TD10 : ATTEST_BODY_SGX;

    if (q->version == 5) {
        uint32_t size = 0;

        kind = get_u16(r);
        size = get_u32(r);
        if (r->failed || kind < ATTEST_BODY_SGX || kind > ATTEST_BODY_TD15EX ||
            bodies[kind].len != size || bodies[kind].is_tdx != q->is_tdx) {
            explain(why, "body type %u of %u bytes in a quote of %s", kind, size,
                    q->is_tdx ? "TDX" : "SGX");
            return ERR_MALFORMED;
        }
    }
    q->body_kind = (enum attest_body)kind;
    q->body = get_bytes(r, bodies[kind].len);
    if (r->failed) {
        explain(why, "ends inside the report body");
        return ERR_MALFORMED;
    }
    return OK;
}

/* From the report of the quoting enclave to the end: the same in all versions. */
static enum err read_qe(struct reader *r, struct attest_quote *q, struct explain *why)
{
    q->qe_report = get_bytes(r, ATTEST_SGX_BODY_LEN);
    q->qe_signature = get_bytes(r, ECDSA_LEN);
    q->qe_auth = get_bytes(r, get_u16(r));
    q->cert_type = get_u16(r);
    q->cert = get_bytes(r, get_u32(r));
    if (!reader_done(r)) {
        explain(why, "the lengths inside the signature data do not add up");
        return ERR_MALFORMED;
    }
    if (q->cert_type < CERT_PPID_FIRST || q->cert_type > ATTEST_CERT_PCK_CHAIN) {
        explain(why, "certification data type %u; known are 1 to 5", (unsigned)q->cert_type);
        return ERR_MALFORMED;
    }
    return OK;
}

static enum err read_signature(struct bytes data, struct attest_quote *q, struct explain *why)
{
    struct reader r = {.rest = data};

    q->signature = get_bytes(&r, ECDSA_LEN);
    q->att_key = get_bytes(&r, ECDSA_LEN);
    if (q->version > 3) {
        uint16_t outer = get_u16(&r);
        struct bytes inner = get_bytes(&r, get_u32(&r));

        if (!reader_done(&r) || outer != CERT_QE_REPORT) {
            explain(why, "outer certification data of type %u, or of a wrong length; known is %d",
                    (unsigned)outer, CERT_QE_REPORT);
            return ERR_MALFORMED;
        }
        r = (struct reader){.rest = inner};
    }
    return read_qe(&r, q, why);
}

/* Hosts deliver a buffer that is larger than the quote: zeros, nothing else. */
static bool is_zero(struct bytes b)
{
    uint8_t any = 0;

    for (size_t i = 0; i < b.n; i++) {
        any |= b.p[i];
    }
    return any == 0;
}

RESULT attest_quote_parse(struct bytes evidence, struct attest_quote *ret, struct explain *why)
{
    struct reader r = {.rest = evidence};
    struct attest_quote q = {0};
    struct bytes data;

    if (evidence.n > ATTEST_EVIDENCE_MAX) {
        explain(why, "%zu bytes; permitted are %d", evidence.n, ATTEST_EVIDENCE_MAX);
        return ERR_MALFORMED;
    }
    TRY(read_header(&r, &q, why));
    TRY(read_body(&r, &q, why));
    q.signed_part = (struct bytes){evidence.p, evidence.n - r.rest.n};
    data = get_bytes(&r, get_u32(&r));
    if (r.failed) {
        explain(why, "ends inside the signature data");
        return ERR_MALFORMED;
    }
    q.len = evidence.n - r.rest.n;
    if (!is_zero(r.rest)) {
        explain(why, "%zu bytes follow the quote that are not all zero", r.rest.n);
        return ERR_MALFORMED;
    }
    TRY(read_signature(data, &q, why));
    *ret = q;
    return OK;
}

void attest_sgx_body_read(struct bytes body, struct attest_sgx_body *ret)
{
    struct reader r = {.rest = body};
    struct reader flags;
    struct attest_sgx_body b = {0};

    b.cpusvn = get_bytes(&r, 16);
    b.miscselect = get_bytes(&r, 4);
    (void)get_bytes(&r, 12);
    b.isvextprodid = get_bytes(&r, 16);
    b.attributes = get_bytes(&r, 16);
    b.mrenclave = get_bytes(&r, 32);
    (void)get_bytes(&r, 32);
    b.mrsigner = get_bytes(&r, 32);
    (void)get_bytes(&r, 32);
    b.configid = get_bytes(&r, 64);
    b.isvprodid = get_u16(&r);
    b.isvsvn = get_u16(&r);
    b.configsvn = get_u16(&r);
    (void)get_bytes(&r, 42);
    b.isvfamilyid = get_bytes(&r, 16);
    b.report_data = get_bytes(&r, 64);
    CHECK(reader_done(&r));
    flags = (struct reader){.rest = b.attributes};
    b.flags = get_u64(&flags);
    *ret = b;
}

void attest_td_body_read(struct bytes body, struct attest_td_body *ret)
{
    struct reader r = {.rest = body};
    struct reader flags;
    struct attest_td_body b = {0};

    b.tee_tcb_svn = get_bytes(&r, 16);
    b.mrseam = get_bytes(&r, 48);
    b.mrsignerseam = get_bytes(&r, 48);
    b.seam_attributes = get_bytes(&r, 8);
    b.td_attributes = get_bytes(&r, 8);
    b.xfam = get_bytes(&r, 8);
    b.mrtd = get_bytes(&r, 48);
    b.mrconfigid = get_bytes(&r, 48);
    b.mrowner = get_bytes(&r, 48);
    b.mrownerconfig = get_bytes(&r, 48);
    for (unsigned i = 0; i < 4; i++) {
        b.rtmr[i] = get_bytes(&r, 48);
    }
    b.report_data = get_bytes(&r, 64);
    if (body.n > ATTEST_TD10_BODY_LEN) {
        b.tee_tcb_svn2 = get_bytes(&r, 16);
        b.mrservicetd = get_bytes(&r, 48);
    }
    CHECK(!r.failed);
    flags = (struct reader){.rest = b.td_attributes};
    b.attributes = get_u64(&flags);
    *ret = b;
}
