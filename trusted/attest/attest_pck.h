// SPDX-License-Identifier: Apache-2.0
#ifndef TRUSTED_ATTEST_ATTEST_PCK_H
#define TRUSTED_ATTEST_ATTEST_PCK_H

/* What a PCK certificate says of its platform. ATT-10 */

#include "trusted/attest/attest_x509.h"

enum { ATTEST_COMPONENTS_N = 16 };

struct attest_pck {
    uint8_t component[ATTEST_COMPONENTS_N]; /* what TCB levels are compared with, not the CPUSVN */
    uint16_t pcesvn;
    uint8_t pceid[2];
    uint8_t fmspc[6];
};

/* MALFORMED: an extension that lacks one of them, or has one twice. */
RESULT attest_pck_read(X509 *leaf, struct attest_pck *ret);

#endif
