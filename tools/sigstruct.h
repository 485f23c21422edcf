// SPDX-License-Identifier: Apache-2.0
#ifndef TOOLS_SIGSTRUCT_H
#define TOOLS_SIGSTRUCT_H

/*
 * SIGSTRUCT, what the signer of an SGX enclave ships beside it (Intel SDM volume 3D, section 37.14;
 * Gramine: `gramine-sgx-sign --sigfile`). It says which measurement the enclave will have.
 */

#include "common/bytes.h"
#include "common/result.h"
#include "trusted/config/cluster.h"

enum { SIGSTRUCT_LEN = 1808 };

enum sigstruct_debug {
    SIGSTRUCT_DEBUG_NEVER,  /* the processor refuses to start it for debugging */
    SIGSTRUCT_DEBUG_EITHER, /* whoever starts it decides: the policy must forbid it */
    SIGSTRUCT_DEBUG_ALWAYS, /* the host can read its memory */
};

struct sigstruct {
    uint8_t mrenclave[32], mrsigner[32];
    uint8_t isvextprodid[16], isvfamilyid[16];
    uint16_t isvprodid, isvsvn;
    uint32_t date; /* as its signer wrote it, 0xYYYYMMDD */
    enum sigstruct_debug debug;
};

/* Whether the bytes say that they are one. Promises nothing. */
bool sigstruct_is(struct bytes b);
/* MALFORMED: not exactly one. AUTH: its own signature does not verify, so that no processor would
 * start it. */
RESULT sigstruct_read(struct bytes b, struct sigstruct *ret, struct explain *why);

#endif
