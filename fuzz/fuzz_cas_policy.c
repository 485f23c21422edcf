// SPDX-License-Identifier: Apache-2.0
/* Policies of the CAS: whatever the text, one line of complaint or a policy that follows none
 * weaker. */
#include "common/check.h"
#include "trusted/cas/cas_policy.h"

#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct cas_policy *policy = NULL;
    struct explain why = {0};

    if (cas_policy_parse((const char *)data, size, &policy, &why) != OK) {
        CHECK(why.text[0] != '\0' && strchr(why.text, '\n') == NULL);
        return 0;
    }
    CHECK(policy->version > 0 && policy->role[CAS_ROLE_REPLICA].given);
    CHECK(cas_policy_succeeds(policy, policy, &why) == ERR_POLICY); /* never itself */
    cas_policy_free(policy);
    return 0;
}
