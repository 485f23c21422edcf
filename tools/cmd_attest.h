// SPDX-License-Identifier: Apache-2.0
#ifndef TOOLS_CMD_ATTEST_H
#define TOOLS_CMD_ATTEST_H

/* The files that `avocado attest` reads and writes. */

#include "trusted/attest/attest.h"
#include "trusted/config/explain.h"

enum { ATTEST_FILES_N = 13 };

/* What was read; attest_files_free gives it back, also after a failure. */
struct attest_files {
    uint8_t *evidence, *policy_text;
    uint8_t *collateral[ATTEST_FILES_N];
};

/* IO: unreadable or too big. *ret->evidence is the caller's. */
RESULT attest_files_evidence(const char *path, struct attest_files *to, struct bytes *ret,
                             struct explain *why);
/* Every file of a collateral folder that is there; the names are those of ATT-2. */
RESULT attest_files_collateral(const char *dir, struct attest_files *to,
                               struct attest_collateral *ret, struct explain *why);
/* Every .pem, .der, .crt and .cer of a folder: at least one, all of them certificates. */
RESULT attest_files_roots(const char *dir, struct attest_roots *ret, struct explain *why);
RESULT attest_files_policy(const char *path, struct attest_files *to, struct attest_policy *ret,
                           struct explain *why);
void attest_files_free(struct attest_files *f);

/* Seconds since 1970 of an RFC 3339 time, with Z or an offset. MALFORMED */
RESULT attest_files_time(const char *text, uint64_t *ret);

struct attest_found_wishes {
    uint32_t days; /* how long certificates and statements hold */
    bool renew;    /* everything anew under the root that is there */
};
/* Writes root/root_ca.pem (for --roots), platform/ (for --collateral and for processes that make
 * evidence) and root_key.pem into `dir`. POLICY: there is a root already; IO; USAGE. */
RESULT attest_found(const char *dir, const struct attest_found_wishes *w, bool *ret_renewed,
                    struct explain *why);

#endif
