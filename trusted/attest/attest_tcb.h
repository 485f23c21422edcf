// SPDX-License-Identifier: Apache-2.0
#ifndef TRUSTED_ATTEST_ATTEST_TCB_H
#define TRUSTED_ATTEST_ATTEST_TCB_H

/* Which TCB level a platform has reached, and what the parts make of the whole. ATT-14 to ATT-20.
 */

#include "trusted/attest/attest_collateral.h"

/* Everything that is compared with the statements. */
struct attest_platform {
    const struct attest_pck *pck;
    const struct attest_quote *quote;
    const struct attest_statements *statements;
};

/* Judges platform family, quoting enclave and TDX module; fills in status, date and advisories.
 * Statements that are missing are left out: without both there is no status. */
void attest_tcb_judge(const struct attest_platform *p, struct attest_verdict *v);

#endif
