// SPDX-License-Identifier: Apache-2.0
#include "trusted/attest/attest.h"

static const char *const kinds[ATTEST_KINDS_N] = {
    [ATTEST_SGX] = "sgx",
    [ATTEST_TDX] = "tdx",
    [ATTEST_SNP] = "snp",
    [ATTEST_SOFTWARE] = "software",
};

static const char *const tcbs[ATTEST_TCB_N] = {
    [ATTEST_TCB_UP_TO_DATE] = "UpToDate",
    [ATTEST_TCB_SW_HARDENING] = "SWHardeningNeeded",
    [ATTEST_TCB_CONFIGURATION] = "ConfigurationNeeded",
    [ATTEST_TCB_CONFIGURATION_SW_HARDENING] = "ConfigurationAndSWHardeningNeeded",
    [ATTEST_TCB_RELAUNCH] = "TDRelaunchAdvised",
    [ATTEST_TCB_RELAUNCH_CONFIGURATION] = "TDRelaunchAdvisedConfigurationNeeded",
    [ATTEST_TCB_OUT_OF_DATE] = "OutOfDate",
    [ATTEST_TCB_OUT_OF_DATE_CONFIGURATION] = "OutOfDateConfigurationNeeded",
    [ATTEST_TCB_NOT_SUPPORTED] = "NotSupported",
    [ATTEST_TCB_REVOKED] = "Revoked",
};

enum ground { SIGNATURE, COLLATERAL, POLICY };

static const struct {
    const char *name, *asks;
    enum ground ground;
} rules[ATTEST_RULES_N] = {
#define RULE(name_, text, ground_, asks_)                                                          \
    [ATTEST_RULE_##name_] = {.name = (text), .asks = (asks_), .ground = (ground_)},
#include "trusted/attest/attest_rules.def"
#undef RULE
};

const char *attest_kind_name(enum attest_kind kind)
{
    return (unsigned)kind < ATTEST_KINDS_N ? kinds[kind] : NULL;
}

bool attest_kind_parse(const char *name, enum attest_kind *ret)
{
    for (unsigned i = 1; i < ATTEST_KINDS_N; i++) {
        if (strcmp(name, kinds[i]) == 0) {
            *ret = (enum attest_kind)i;
            return true;
        }
    }
    return false;
}

const char *attest_tcb_name(enum attest_tcb tcb)
{
    return (unsigned)tcb < ATTEST_TCB_N ? tcbs[tcb] : NULL;
}

bool attest_tcb_parse(const char *name, enum attest_tcb *ret)
{
    for (unsigned i = 1; i < ATTEST_TCB_N; i++) {
        if (strcmp(name, tcbs[i]) == 0) {
            *ret = (enum attest_tcb)i;
            return true;
        }
    }
    return false;
}

const char *attest_rule_name(enum attest_rule rule)
{
    return (unsigned)rule < ATTEST_RULES_N ? rules[rule].name : "unknown";
}

const char *attest_rule_asks(enum attest_rule rule)
{
    return (unsigned)rule < ATTEST_RULES_N ? rules[rule].asks : "unknown";
}

bool attest_rule_is_policy(enum attest_rule rule)
{
    return (unsigned)rule < ATTEST_RULES_N && rules[rule].ground == POLICY;
}

bool attest_rule_is_signature(enum attest_rule rule)
{
    return (unsigned)rule < ATTEST_RULES_N && rules[rule].ground == SIGNATURE;
}
