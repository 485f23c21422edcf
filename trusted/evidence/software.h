// SPDX-License-Identifier: Apache-2.0
#ifndef TRUSTED_EVIDENCE_SOFTWARE_H
#define TRUSTED_EVIDENCE_SOFTWARE_H

/*
 * Evidence without a TEE: what Intel and the quoting enclave do for SGX, a deployment does for
 * itself, in the same formats (ATT-28). It makes a root, a platform key, statements and lists, and
 * signs quotes of version 3. Proves that somebody with the deployment's keys vouched; nothing about
 * hardware. Ordinary heap and OpenSSL; one thread at a time per platform.
 */

#include "common/bytes.h"
#include "common/result.h"
#include "trusted/pki/pki.h"

enum {
    SOFTWARE_FILES_N = 9,
    SOFTWARE_SVN = 2, /* component SVN of a platform that is up to date; 1: out of date */
};

/* One file of a deployment; names as collateral has them (ATT-2), and three more. */
struct software_file {
    const char *name;
    bool is_secret;
    uint8_t *p; /* heap; secret ones are wiped by software_files_free */
    size_t n;
};
struct software_files {
    struct software_file file[SOFTWARE_FILES_N];
};

struct software_wishes {
    uint64_t now_s;
    uint32_t days;               /* how long certificates, lists and statements hold */
    uint32_t platform_svn;       /* SOFTWARE_SVN; less makes a platform that is out of date */
    uint32_t evaluation;         /* generation of the statements, from 1 */
    const struct pki_pair *root; /* NULL: a new one; else everything anew under this root */
};

/* Makes root_ca.pem, root_key.pem, pck_chain.pem, pck_key.pem, tcb_info.json, qe_identity.json,
 * tcb_signing_chain.pem, pck_crl.der, root_ca_crl.der. USAGE, IO; *why is one line. */
RESULT software_found(const struct software_wishes *w, struct software_files *ret,
                      struct explain *why);
void software_files_free(struct software_files *f);
/* The contents by name; n == 0: no such file. */
struct bytes software_file_get(const struct software_files *f, const char *name);

/* What stands in a quote. */
struct software_body {
    uint8_t mrenclave[32], mrsigner[32];
    uint16_t isvprodid, isvsvn;
    bool debug;
    uint8_t report_data[64];
};

struct software_platform;

/* The signer of quotes: its platform key and chain as software_found makes them. Makes an
 * attestation key that lives as long as this object. MALFORMED, IO. */
RESULT software_platform_open(struct bytes pck_chain, struct bytes pck_key,
                              struct software_platform **ret, struct explain *why);
void software_platform_close(struct software_platform *p); /* NULL is allowed */
/* A quote v3 as a heap block that the caller frees. IO. */
RESULT software_quote(const struct software_platform *p, const struct software_body *body,
                      uint8_t **ret, size_t *ret_n, struct explain *why);

#endif
