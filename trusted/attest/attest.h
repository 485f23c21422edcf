// SPDX-License-Identifier: Apache-2.0
#ifndef TRUSTED_ATTEST_ATTEST_H
#define TRUSTED_ATTEST_ATTEST_H

/*
 * The verifier of all evidence: bytes, collateral, roots, a policy and a time in, a verdict out. No
 * file, no socket, no clock (ATT-1); ordinary heap and OpenSSL. docs/protocol/attestation.md.
 */

#include "common/bytes.h"
#include "common/result.h"
#include "trusted/attest/attest_policy.h"

enum attest_kind {
    ATTEST_SGX = 1,
    ATTEST_TDX,
    ATTEST_SNP,
    ATTEST_SOFTWARE, /* the layout of SGX under a deployment's own root: proves no hardware */
    ATTEST_KINDS_N
};

/* What converging the TCB levels gives, ATT-20. NONE: not determined. */
enum attest_tcb {
    ATTEST_TCB_NONE = 0,
    ATTEST_TCB_UP_TO_DATE,
    ATTEST_TCB_SW_HARDENING,
    ATTEST_TCB_CONFIGURATION,
    ATTEST_TCB_CONFIGURATION_SW_HARDENING,
    ATTEST_TCB_RELAUNCH,
    ATTEST_TCB_RELAUNCH_CONFIGURATION,
    ATTEST_TCB_OUT_OF_DATE,
    ATTEST_TCB_OUT_OF_DATE_CONFIGURATION,
    ATTEST_TCB_NOT_SUPPORTED,
    ATTEST_TCB_REVOKED,
    ATTEST_TCB_N
};

enum attest_rule {
#define RULE(name, text, ground, asks) ATTEST_RULE_##name,
#include "trusted/attest/attest_rules.def"
#undef RULE
    ATTEST_RULES_N
};

enum {
    ATTEST_EVIDENCE_MAX = 64 << 10,
    ATTEST_COLLATERAL_MAX = 1 << 20, /* one file of it */
    ATTEST_ROOTS_MAX = 16,
    ATTEST_PIN_LEN = 32,
    ATTEST_FAILURES_MAX = 48,
    ATTEST_TEXT_MAX = 192,
    ATTEST_FIELDS_MAX = 32,
    ATTEST_NUMBERS_MAX = 16,
    ATTEST_ADVISORIES_MAX = 64,
    ATTEST_ADVISORY_LEN = 31,
};

/* Members are named as the files of a collateral folder; n == 0: not there. ATT-2 */
struct attest_collateral {
    struct bytes pck_chain, tcb_info, qe_identity, tcb_signing_chain, pck_crl, root_ca_crl;
    struct bytes vcek, vlek, ask, asvk, ark, crl, auxblob;
};

/* SHA-256 over the SubjectPublicKeyInfo of each root that is trusted. ATT-3 */
struct attest_roots {
    uint32_t n;
    uint8_t pin[ATTEST_ROOTS_MAX][ATTEST_PIN_LEN];
};

struct attest_input {
    enum attest_kind kind;
    struct bytes evidence; /* the verdict borrows from it */
    struct attest_collateral collateral;
    struct attest_roots roots;
    const struct attest_policy *policy; /* NULL: judge the evidence alone */
    uint64_t now_s;                     /* since 1970 */
};

struct attest_failure {
    enum attest_rule rule;
    char found[ATTEST_TEXT_MAX], wanted[ATTEST_TEXT_MAX];
};

/* One measured register by its name in policies and in JSON, e.g. "mrenclave". */
struct attest_field {
    const char *name;
    struct bytes value;
};

/* One number of the evidence, by the name that minimums in policies use, e.g. "isvsvn". */
struct attest_number {
    const char *name;
    uint64_t value;
};

struct attest_verdict {
    enum attest_kind kind;
    bool parsed;             /* what follows from the evidence's bytes alone is filled in */
    bool signature_verifies; /* made by a genuine TEE under a pinned root: ATT-5 */
    bool verifies;           /* ... and complete, valid collateral vouches for it */
    bool accepted;           /* ... and the policy wants it, if there is one */
    bool has_policy;
    bool debug;
    enum attest_tcb tcb_status; /* Intel's kinds and software */
    char tcb_date[32];          /* RFC 3339, or empty */
    uint32_t tcb_evaluation;    /* generation of the TCB info; 0: unknown */
    uint32_t advisories_n;
    char advisory[ATTEST_ADVISORIES_MAX][ATTEST_ADVISORY_LEN + 1];
    uint32_t version;         /* of quote or report */
    char product[16];         /* "Milan" ...; SNP */
    uint8_t fmspc[6];         /* Intel's kinds and software */
    uint64_t valid_from_s;    /* the window in which everything that was looked at holds; */
    uint64_t valid_until_s;   /* an alarm comes long before its end */
    struct bytes report_data; /* 64 bytes, or none */
    uint32_t fields_n;
    struct attest_field field[ATTEST_FIELDS_MAX];
    uint32_t numbers_n;
    struct attest_number number[ATTEST_NUMBERS_MAX];
    uint64_t attributes; /* flags of the enclave or TD, or the guest policy */
    uint64_t issued_s;   /* of the oldest collateral that has a next update; 0: none */
    uint32_t failures_n;
    struct attest_failure failure[ATTEST_FAILURES_MAX];
};

/* Judges. Everything there is to say, failures of our own included, is in the verdict. */
void attest_verify(const struct attest_input *in, struct attest_verdict *ret);

/* The keys of the vendors' roots; none for SOFTWARE. */
void attest_roots_vendor(enum attest_kind kind, struct attest_roots *ret);
/* Adds the root certificate in a file (PEM or DER). MALFORMED; FULL. */
RESULT attest_roots_add(struct attest_roots *roots, struct bytes file);

/* Seconds since 1970 of "2024-09-13T14:30:00Z". MALFORMED */
RESULT attest_time_parse(const char *text, uint64_t *ret);
/* The reverse; room for 21 bytes. */
const char *attest_time_format(uint64_t s, char to[static 32]);
/* "sgx", "tdx", "snp", "software"; NULL for anything else. */
const char *attest_kind_name(enum attest_kind kind);
/* False for anything else. */
bool attest_kind_parse(const char *name, enum attest_kind *ret);
/* What the bytes look like, without trusting them: SGX for anything in its layout. */
RESULT attest_kind_guess(struct bytes evidence, enum attest_kind *ret);
/* As the vendor spells it, e.g. "UpToDate"; NULL for NONE. */
const char *attest_tcb_name(enum attest_tcb tcb);
bool attest_tcb_parse(const char *name, enum attest_tcb *ret);
const char *attest_rule_name(enum attest_rule rule);
/* What the rule asks, as a clause of a sentence. */
const char *attest_rule_asks(enum attest_rule rule);
/* True for rules that policies add; the others judge the evidence itself. */
bool attest_rule_is_policy(enum attest_rule rule);
/* True for rules that judge signatures, bindings and the chain: what no collateral can mend. */
bool attest_rule_is_signature(enum attest_rule rule);

#endif
