// SPDX-License-Identifier: Apache-2.0
#ifndef TRUSTED_ATTEST_ATTEST_JUDGE_H
#define TRUSTED_ATTEST_ATTEST_JUDGE_H

#include "trusted/attest/attest_internal.h"

/* The rules of in->policy over what the evidence said, ATT-30 and following. */
void attest_policy_judge(const struct attest_input *in, struct attest_verdict *v);

#endif
