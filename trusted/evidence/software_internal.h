// SPDX-License-Identifier: Apache-2.0
#ifndef TRUSTED_EVIDENCE_SOFTWARE_INTERNAL_H
#define TRUSTED_EVIDENCE_SOFTWARE_INTERNAL_H

#include "trusted/evidence/software.h"

#include <openssl/evp.h>

/* Who the software quoting enclave says that it is. Both sides must agree. */
static const char software_qe_signer[] =
    "50a5e1f0d0c0ffee0000000000000000000000000000000000000000a70cad00";
enum {
    SOFTWARE_QE_PRODID = 1,
    SOFTWARE_QE_SVN = 1,
    SOFTWARE_PCESVN = 1,
};
/* "SOFT" and two zero bytes: no processor has this FMSPC. */
static const char software_fmspc[] = "534f46540000";

/* r and s, 32 bytes each and big-endian, over SHA-256 of `message`. */
bool software_sign(EVP_PKEY *key, struct bytes message, uint8_t to[static 64]);
/* The value of the PCK extension (ATT-10) for a platform whose components all have this SVN;
 * heap, 0 bytes when out of memory. */
struct mbytes software_pck_extension(uint8_t svn);

#endif
