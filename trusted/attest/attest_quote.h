// SPDX-License-Identifier: Apache-2.0
#ifndef TRUSTED_ATTEST_ATTEST_QUOTE_H
#define TRUSTED_ATTEST_ATTEST_QUOTE_H

/* SGX quotes v3, v4, v5 and TDX quotes v4, v5: where everything lies. ATT-9, byte tables there. */

#include "trusted/attest/attest_internal.h"

enum {
    ATTEST_SGX_BODY_LEN = 384,
    ATTEST_TD10_BODY_LEN = 584,
    ATTEST_TD15_BODY_LEN = 648,
    ATTEST_TD15EX_BODY_LEN = 885,
    ATTEST_CERT_PCK_CHAIN = 5, /* certification data: PEM chain */
};

enum attest_body {
    ATTEST_BODY_SGX = 1, /* the body types of v5 */
    ATTEST_BODY_TD10,
    ATTEST_BODY_TD15,
    ATTEST_BODY_TD15EX,
};

/* An SGX report body: of the enclave or of the quoting enclave. */
struct attest_sgx_body {
    struct bytes cpusvn, isvextprodid, attributes, mrenclave, mrsigner, configid, isvfamilyid;
    struct bytes report_data, miscselect;
    uint64_t flags;
    uint16_t isvprodid, isvsvn, configsvn;
};

struct attest_td_body {
    struct bytes tee_tcb_svn, mrseam, mrsignerseam, seam_attributes, td_attributes, xfam, mrtd;
    struct bytes mrconfigid, mrowner, mrownerconfig, rtmr[4], report_data;
    struct bytes tee_tcb_svn2, mrservicetd; /* TD15 and TD15Ex */
    uint64_t attributes;
};

/* Views into the quote. */
struct attest_quote {
    uint32_t version;
    bool is_tdx;
    uint16_t qe_svn, pce_svn; /* v3 */
    struct bytes vendor, user_data;
    enum attest_body body_kind;
    struct bytes body, signed_part, signature, att_key;
    struct bytes qe_report, qe_signature, qe_auth;
    uint16_t cert_type;
    struct bytes cert;
    size_t len; /* without padding */
};

/* MALFORMED; *why says what was found and permitted. */
RESULT attest_quote_parse(struct bytes evidence, struct attest_quote *ret, struct explain *why);
/* `body` has the size that its kind demands. */
void attest_sgx_body_read(struct bytes body, struct attest_sgx_body *ret);
void attest_td_body_read(struct bytes body, struct attest_td_body *ret);

#endif
