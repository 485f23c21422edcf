// SPDX-License-Identifier: Apache-2.0
#ifndef TRUSTED_LAS_LAS_REPORT_H
#define TRUSTED_LAS_LAS_REPORT_H

/*
 * SGX local attestation: EREPORT's output for us as target, checked with the report key that only
 * this enclave on this processor can ask for. LAS-5. The instruction stands behind a function, so
 * that everything else is tested with a known key.
 */

#include "common/bytes.h"
#include "common/result.h"
#include "trusted/attest/attest.h"

enum {
    LAS_REPORT_LEN = 432,
    LAS_TARGET_LEN = 512,
    LAS_KEY_ID_LEN = 32,
    LAS_REPORT_KEY_LEN = 16,
    LAS_KEY_REQUEST_LEN = 512,
};

/* What a good report says. */
struct las_report {
    uint8_t mrenclave[32], mrsigner[32];
    uint8_t report_data[64];
    uint16_t isvprodid, isvsvn;
    bool debug;
};

/* Gives the report key of this enclave for a key id; false: not in an enclave. */
typedef bool (*las_report_key)(void *ctx, const uint8_t key_id[static LAS_KEY_ID_LEN],
                               uint8_t ret[static LAS_REPORT_KEY_LEN]);

/* AES-128-CMAC over the first 384 bytes must be the last 16, compared in constant time. AUTH; IO:
 * there is no key. */
RESULT las_report_check(const uint8_t report[static LAS_REPORT_LEN], las_report_key key, void *ctx,
                        struct las_report *ret);
/* The 512 bytes that EGETKEY wants for a report key. */
void las_key_request(const uint8_t key_id[static LAS_KEY_ID_LEN],
                     uint8_t ret[static LAS_KEY_REQUEST_LEN]);
/* ENCLU[EGETKEY], legal inside an enclave alone: to be used only where Gramine's
 * /dev/attestation/my_target_info exists. */
bool las_egetkey(void *ctx, const uint8_t key_id[static LAS_KEY_ID_LEN],
                 uint8_t ret[static LAS_REPORT_KEY_LEN]);

#endif
