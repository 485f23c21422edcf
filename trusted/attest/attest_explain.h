// SPDX-License-Identifier: Apache-2.0
#ifndef TRUSTED_ATTEST_ATTEST_EXPLAIN_H
#define TRUSTED_ATTEST_ATTEST_EXPLAIN_H

/* Evidence and verdicts for people, and as JSON for programs. Heap strings; the caller frees. */

#include "trusted/attest/attest.h"

enum attest_form { ATTEST_FORM_TEXT, ATTEST_FORM_JSON };

/* What the bytes claim; nothing is verified. MALFORMED: *why says why they are no evidence. */
RESULT attest_explain_evidence(struct bytes evidence, enum attest_form form, char **ret,
                               struct explain *why);
/* NULL: out of memory. */
char *attest_explain_verdict(const struct attest_verdict *v, enum attest_form form);

#endif
