// SPDX-License-Identifier: Apache-2.0
#ifndef TRUSTED_ATTEST_ATTEST_POLICY_H
#define TRUSTED_ATTEST_ATTEST_POLICY_H

/* Whose evidence is wanted: the rules beyond "it is genuine". ATT-30 and following. */

#include "common/bytes.h"
#include "common/result.h"
#include "trusted/config/cluster.h"

enum {
    ATTEST_DIGEST_MAX = 64,
    ATTEST_ALLOWED_MAX = 16, /* values of one register */
    ATTEST_REGISTERS_MAX = 16,
    ATTEST_MINIMUMS_MAX = 8,
    ATTEST_REGISTER_LEN = 31,
    ATTEST_SECTIONS_N = 5,
};

/* A register and the values it may have: at least one. */
struct attest_register {
    char name[ATTEST_REGISTER_LEN + 1];
    uint32_t n;
    struct {
        uint8_t n;
        uint8_t b[ATTEST_DIGEST_MAX];
    } allowed[ATTEST_ALLOWED_MAX];
};

/* A number in the evidence and the least it may be. */
struct attest_minimum {
    char name[ATTEST_REGISTER_LEN + 1];
    uint64_t min;
};

/* What is asked of one kind of evidence. */
struct attest_section {
    bool given; /* evidence of this kind is accepted at all */
    bool debug_allowed;
    bool crl_required;   /* SNP; Intel's lists are always required */
    uint32_t tcb_accept; /* bit (1 << enum attest_tcb) */
    uint64_t max_age_s;  /* of collateral since its issue; 0: only its own dates count */
    uint64_t bits_set;   /* bits of the TD attributes or the guest policy that must be set */
    uint64_t bits_clear; /* ... that must be clear */
    bool has_isvprodid;
    bool has_vmpl_max;
    uint16_t isvprodid;
    uint32_t vmpl_max;
    bool has_report_data; /* else whoever asks compares it himself */
    uint8_t report_data[64];
    uint32_t registers_n, minimums_n;
    struct attest_register reg[ATTEST_REGISTERS_MAX];
    struct attest_minimum minimum[ATTEST_MINIMUMS_MAX];
};

struct attest_policy {
    struct attest_section section[ATTEST_SECTIONS_N]; /* by enum attest_kind */
};

/* Reads the YAML text of a policy: strict schema, ATT-31. MALFORMED; *why names line, key, found
 * and permitted. The text may hold one or more of the sections sgx, tdx, snp, software. */
RESULT attest_policy_parse(const char *yaml, size_t n, struct attest_policy *ret,
                           struct explain *why);

#endif
