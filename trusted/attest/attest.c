// SPDX-License-Identifier: Apache-2.0
#include "trusted/attest/attest.h"

#include "trusted/attest/attest_intel.h"
#include "trusted/attest/attest_judge.h"
#include "trusted/attest/attest_snp.h"

/* SHA-256 of the SubjectPublicKeyInfo. Pinned by key, because Intel's root exists as two
 * certificates, and because Intel's pre-production root has the same name. ATT-3 */
static const uint8_t intel_pin[ATTEST_PIN_LEN] = {
    0xa0, 0xaf, 0x03, 0x12, 0x89, 0xf5, 0xd5, 0xd4, 0x13, 0x2f, 0x91, 0x86, 0x06, 0x8a, 0x7f, 0xc1,
    0x36, 0x28, 0x63, 0x3b, 0xa2, 0x35, 0x77, 0x74, 0x72, 0xe2, 0x9b, 0x6b, 0x6c, 0x67, 0xa4, 0x9e,
};
static const uint8_t amd_pins[3][ATTEST_PIN_LEN] = {
    /* ARK-Milan */
    {0x9f, 0x05, 0x6b, 0xee, 0x44, 0x37, 0x7e, 0x29, 0x30, 0x8c, 0xb5,
     0xff, 0xa8, 0x95, 0xbd, 0xfb, 0x62, 0xd1, 0x88, 0x81, 0xfa, 0x6b,
     0xed, 0x8d, 0x6f, 0x07, 0x5b, 0x02, 0x04, 0x08, 0x9c, 0xb9},
    /* ARK-Genoa */
    {0x42, 0x9a, 0x69, 0xc9, 0x42, 0x2a, 0xa2, 0x58, 0xee, 0x4d, 0x8d,
     0xb5, 0xfc, 0xda, 0x9c, 0x64, 0x70, 0xef, 0x15, 0xf8, 0xcd, 0x5a,
     0x9c, 0xeb, 0xd6, 0xcb, 0xc7, 0xd9, 0x0b, 0x86, 0x38, 0x31},
    /* ARK-Turin */
    {0x4f, 0x12, 0x54, 0x10, 0x56, 0x3a, 0x2a, 0xb9, 0xa5, 0x03, 0x56,
     0xf9, 0x24, 0x3f, 0x6f, 0xe0, 0xb6, 0xf7, 0x3d, 0xe9, 0x86, 0x03,
     0xf5, 0x3f, 0x90, 0x33, 0x9c, 0x70, 0xe9, 0xd7, 0xad, 0x08},
};

_Static_assert((int)ATTEST_SECTIONS_N == (int)ATTEST_KINDS_N,
               "a policy has a section for each kind");

void attest_roots_vendor(enum attest_kind kind, struct attest_roots *ret)
{
    *ret = (struct attest_roots){0};
    switch (kind) {
    case ATTEST_SGX:
    case ATTEST_TDX:
        ret->n = 1;
        memcpy(ret->pin[0], intel_pin, sizeof(intel_pin));
        return;
    case ATTEST_SNP:
        ret->n = 3;
        memcpy(ret->pin, amd_pins, sizeof(amd_pins));
        return;
    case ATTEST_SOFTWARE:
    case ATTEST_KINDS_N:
        return;
    }
}

RESULT attest_kind_guess(struct bytes evidence, enum attest_kind *ret)
{
    /* A quote has its key type where a report has the upper half of its version. */
    if (evidence.n < 8 || evidence.p[0] < 2 || evidence.p[0] > 5 || evidence.p[1] != 0 ||
        evidence.p[3] != 0) {
        return ERR_MALFORMED;
    }
    if (evidence.p[2] == 0) {
        *ret = ATTEST_SNP;
        return OK;
    }
    *ret = evidence.p[4] == 0x81 ? ATTEST_TDX : ATTEST_SGX;
    return OK;
}

void attest_verify(const struct attest_input *in, struct attest_verdict *ret)
{
    struct attest_verdict *v = ret;

    *v = (struct attest_verdict){
        .kind = in->kind,
        .signature_verifies = true,
        .verifies = true,
        .accepted = true,
        .has_policy = in->policy != NULL,
        .valid_until_s = UINT64_MAX,
    };
    switch (in->kind) {
    case ATTEST_SGX:
    case ATTEST_TDX:
    case ATTEST_SOFTWARE:
        attest_intel_judge(in, v);
        break;
    case ATTEST_SNP:
        attest_snp_judge(in, v);
        break;
    case ATTEST_KINDS_N:
    default:
        attest_fail(v, ATTEST_RULE_KIND, "sgx, tdx, snp or software", "kind %u",
                    (unsigned)in->kind);
        return;
    }
    if (in->policy != NULL) {
        attest_policy_judge(in, v);
    }
}
