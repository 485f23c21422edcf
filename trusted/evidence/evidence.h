// SPDX-License-Identifier: Apache-2.0
#ifndef TRUSTED_EVIDENCE_EVIDENCE_H
#define TRUSTED_EVIDENCE_EVIDENCE_H

/*
 * Where a process gets evidence of itself, and how it travels. Four sources, one interface:
 *
 *   software:DIR   the deployment's platform key and collateral in DIR (software.h)
 *   sgx[:DIR]      Gramine's files, default /dev/attestation
 *   snp[:DIR]      Linux configfs-tsm, default /sys/kernel/config/tsm/report
 *   tdx[:DIR]      the same
 *
 * DIR of snp and tdx may also be one entry that somebody with the right to make it has made
 * (mkdir, chown) for a process that lacks it. Opens files, may wait for the hardware (a TDX quote
 * takes seconds). Not the data path. docs/protocol/evidence.md, clauses EVD-n.
 */

#include "trusted/attest/attest.h"

#include <jansson.h>

enum {
    EVIDENCE_KEY_HASH_LEN = 32,
    EVIDENCE_NONCE_LEN = 32,
    EVIDENCE_REPORT_DATA_LEN = 64,
    EVIDENCE_JSON_MAX = 512 << 10, /* longest text of evidence_to_json */
    EVIDENCE_FILES_N = 13,
    EVIDENCE_PATH_MAX = 255,
};

/* Evidence with whatever collateral its maker has; owns its bytes. */
struct evidence {
    enum attest_kind kind;
    uint8_t *p;
    size_t n;
    struct attest_collateral collateral; /* views of `file` */
    uint8_t *file[EVIDENCE_FILES_N];
};

void evidence_free(struct evidence *e);
struct bytes evidence_bytes(const struct evidence *e);

struct evidence_source {
    enum attest_kind kind;
    char path[EVIDENCE_PATH_MAX + 1];
    const char *collateral; /* folder whose files go along; NULL: none but what the source has */
    const char *executable; /* software: what is measured; NULL: /proc/self/exe */
};

/* "software:DIR", "snp", ... USAGE: names what is permitted. */
RESULT evidence_source_parse(const char *text, struct evidence_source *ret, struct explain *why);
/* Evidence over exactly this report data. IO, MALFORMED (the source gave something else), BUSY
 * (another process uses it): *why says what to do. */
RESULT evidence_make(const struct evidence_source *s,
                     const uint8_t report_data[static EVIDENCE_REPORT_DATA_LEN],
                     struct evidence *ret, struct explain *why);

/* Only the collateral of a folder. IO */
RESULT evidence_collateral(const char *dir, struct evidence *ret, struct explain *why);

/* EVD-1: what evidence for TLS commits to: the key, and who asked for it when.
 * SHA-512/256 of the SubjectPublicKeyInfo, then the nonce. */
struct evidence_binding {
    uint8_t key_hash[EVIDENCE_KEY_HASH_LEN];
    uint8_t nonce[EVIDENCE_NONCE_LEN];
};
void evidence_report_data(const struct evidence_binding *b,
                          uint8_t ret[static EVIDENCE_REPORT_DATA_LEN]);
/* SHA-512/256 of a DER SubjectPublicKeyInfo. */
void evidence_key_hash(struct bytes spki, uint8_t ret[static EVIDENCE_KEY_HASH_LEN]);

/* EVD-2: {"kind":"snp","evidence":BASE64,"collateral":{"vcek.der":BASE64,...}}. NULL: no memory. */
json_t *evidence_to_json(const struct evidence *e);
/* The reverse; MALFORMED unless exactly these members, known names, and canonical base64. */
RESULT evidence_from_json(const json_t *json, struct evidence *ret, struct explain *why);

/* Canonical base64 (RFC 4648 section 4) as a heap string; and back into a heap block (NULL:
 * malformed, or no memory). */
char *evidence_base64(struct bytes b);
uint8_t *evidence_unbase64(const char *text, size_t n, size_t *ret_n);

#endif
