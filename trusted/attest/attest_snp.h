// SPDX-License-Identifier: Apache-2.0
#ifndef TRUSTED_ATTEST_ATTEST_SNP_H
#define TRUSTED_ATTEST_ATTEST_SNP_H

/* SEV-SNP attestation reports, versions 2 to 5. ATT-21 to ATT-27, byte tables there. */

#include "trusted/attest/attest_internal.h"

enum {
    ATTEST_SNP_LEN = 0x4a0,
    ATTEST_SNP_SIGNED_LEN = 0x2a0,
};

enum attest_snp_key { ATTEST_SNP_VCEK = 0, ATTEST_SNP_VLEK = 1 };

enum attest_product {
    ATTEST_PRODUCT_UNKNOWN = 0,
    ATTEST_MILAN,
    ATTEST_GENOA,
    ATTEST_TURIN,
    ATTEST_PRODUCTS_N
};

/* Views into the report. */
struct attest_snp {
    uint32_t version, guest_svn, vmpl, signature_algo, flags;
    uint64_t policy, platform_info;
    struct bytes family_id, image_id, report_data, measurement, host_data, id_key_digest;
    struct bytes author_key_digest, report_id, report_id_ma, chip_id;
    struct bytes current_tcb, reported_tcb, committed_tcb, launch_tcb;
    bool has_cpuid; /* version 3 and later */
    uint8_t family, model, stepping;
    uint8_t current_build, current_minor, current_major;
    uint8_t committed_build, committed_minor, committed_major;
    enum attest_product product; /* from the CPUID; UNKNOWN in version 2 */
    struct bytes signed_part;
    uint8_t signature[96]; /* r and s, big-endian */
};

/* A TCB version taken apart; fmc only on Turin. */
struct attest_snp_tcb {
    uint8_t fmc, bootloader, tee, snp, microcode;
};

/* MALFORMED; *why says what was found and permitted. */
RESULT attest_snp_parse(struct bytes evidence, struct attest_snp *ret, struct explain *why);
/* `tcb` has 8 bytes. */
struct attest_snp_tcb attest_snp_tcb_read(struct bytes tcb, enum attest_product product);
/* "Milan"; NULL for UNKNOWN. */
const char *attest_product_name(enum attest_product product);

void attest_snp_judge(const struct attest_input *in, struct attest_verdict *v);

#endif
