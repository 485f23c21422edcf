// SPDX-License-Identifier: Apache-2.0
#ifndef TRUSTED_ATTEST_ATTEST_INTEL_H
#define TRUSTED_ATTEST_ATTEST_INTEL_H

#include "trusted/attest/attest_internal.h"

/* SGX, TDX and software evidence, ATT-9 to ATT-20. */
void attest_intel_judge(const struct attest_input *in, struct attest_verdict *v);

#endif
