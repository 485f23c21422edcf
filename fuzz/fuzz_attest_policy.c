// SPDX-License-Identifier: Apache-2.0
/* Policies of evidence: whatever the text, one line of complaint or a policy. */
#include "common/check.h"
#include "trusted/attest/attest_policy.h"

#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static struct attest_policy policy;
    struct explain why = {0};

    if (attest_policy_parse((const char *)data, size, &policy, &why) != OK) {
        CHECK(why.text[0] != '\0' && strchr(why.text, '\n') == NULL);
    }
    return 0;
}
