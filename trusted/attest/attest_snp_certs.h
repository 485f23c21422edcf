// SPDX-License-Identifier: Apache-2.0
#ifndef TRUSTED_ATTEST_ATTEST_SNP_CERTS_H
#define TRUSTED_ATTEST_ATTEST_SNP_CERTS_H

/* The certificates beside a report: from files, or from the table that the host hands the guest. */

#include "trusted/attest/attest_snp.h"
#include "trusted/attest/attest_x509.h"

enum { ATTEST_HWID_MAX = 64 };

/* What a VCEK or VLEK says of itself. ATT-24 */
struct attest_vcek {
    enum attest_product product;
    struct attest_snp_tcb tcb;
    struct bytes hwid; /* VCEK: 64 bytes, 8 on Turin */
    struct bytes csp;  /* VLEK: whose cloud, DER of a string */
};

/* MALFORMED: an extension is missing or unreadable. */
RESULT attest_vcek_read(X509 *cert, bool is_vlek, struct attest_vcek *ret);

/* Loads leaf, intermediate and root into a chain; rules fail for what is missing or not canonical.
 * The chain may be empty. */
void attest_snp_chain_load(const struct attest_input *in, bool is_vlek, struct attest_verdict *v,
                           struct attest_chain *ret);

#endif
