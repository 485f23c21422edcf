// SPDX-License-Identifier: Apache-2.0
#ifndef TRUSTED_ATTEST_ATTEST_INTERNAL_H
#define TRUSTED_ATTEST_ATTEST_INTERNAL_H

/* What the files of this room share. */

#include "trusted/attest/attest.h"
#include "trusted/config/explain.h"

/* ATT-4: notes that a rule failed, what it wanted and what was found. Never stops the judging. */
__attribute__((format(printf, 4, 5))) void attest_fail(struct attest_verdict *v,
                                                       enum attest_rule rule, const char *wanted,
                                                       const char *found, ...);

/* ATT-13: something holds from `from_s` to `until_s`, both included. `what` names it. */
void attest_dates(struct attest_verdict *v, const char *what, uint64_t now_s, uint64_t from_s,
                  uint64_t until_s);

/* Add a register or a number. */
void attest_field_add(struct attest_verdict *v, const char *name, struct bytes value);
void attest_number_add(struct attest_verdict *v, const char *name, uint64_t value);
/* Notes when collateral was issued, for the freshness window. */
void attest_issued(struct attest_verdict *v, uint64_t issued_s);
/* The register of this name; n == 0 when there is none. */
struct bytes attest_field_get(const struct attest_verdict *v, const char *name);

/* Lower-case hex, cut off with ".." where `to` ends. */
const char *attest_hex(struct bytes b, char *to, size_t room);
/* Exactly `to.n` bytes of hex, any case. MALFORMED */
RESULT attest_unhex(const char *text, size_t n, struct mbytes to);

#endif
