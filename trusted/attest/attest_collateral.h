// SPDX-License-Identifier: Apache-2.0
#ifndef TRUSTED_ATTEST_ATTEST_COLLATERAL_H
#define TRUSTED_ATTEST_ATTEST_COLLATERAL_H

/*
 * TCB info and the identity of the quoting enclave: signed JSON of the vendor. Nothing of it is
 * parsed before its signature has held (ATT-11).
 */

#include "trusted/attest/attest_pck.h"
#include "trusted/attest/attest_quote.h"

#include <jansson.h>

/* Whose names certificates must bear: the vendor's, or those of software evidence. ATT-7 */
struct attest_names {
    const char *pck[3], *tcb[2];
};

/* A signed statement; root is NULL when it is missing or does not hold. */
struct attest_statement {
    json_t *root;
    uint32_t version, evaluation;
};

struct attest_statements {
    struct attest_statement tcb_info, qe_identity;
};

/* Judges chain, signatures, dates and kind of both. `root_crl` may be empty: somebody else
 * complains. attest_statements_free afterwards, always. */
void attest_statements_judge(const struct attest_input *in, const struct attest_names *names,
                             bool is_tdx, struct attest_verdict *v, struct attest_statements *ret);
void attest_statements_free(struct attest_statements *s);

/* Typed members of objects; false when missing or of another type or size. */
bool attest_json_uint(const json_t *object, const char *key, uint32_t max, uint32_t *ret);
bool attest_json_hex(const json_t *object, const char *key, struct mbytes to);

#endif
