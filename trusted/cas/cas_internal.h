// SPDX-License-Identifier: Apache-2.0
#ifndef TRUSTED_CAS_CAS_INTERNAL_H
#define TRUSTED_CAS_CAS_INTERNAL_H

#include "trusted/cas/cas.h"
#include "trusted/config/explain.h"
#include "trusted/control/identity.h"
#include "trusted/crypto/kdf.h"
#include "trusted/register/register.h"

/* An incarnation that was given to a process, CAS-33. */
struct cas_claim {
    uint32_t incarnation;
    uint8_t key_hash[EVIDENCE_KEY_HASH_LEN]; /* of the process that has it */
    uint64_t at_s;
    uint64_t ca_step; /* that it has taken, CAS-41 */
    /* Not stored: when it last showed its certificate, and how far it said it was. */
    uint64_t seen_s, installed;
    uint64_t copied; /* groups, bits */
};

/* How often the CAs that are trusted have changed, and when they did last. */
struct cas_ca_step {
    uint64_t n, at_s;
};

struct cas_las {
    char name[NAME_MAX_LEN + 1];
    enum attest_kind kind;
    uint8_t *spki; /* heap */
    size_t spki_n;
    uint64_t until_s;
};

struct cas_revoked {
    char name[NAME_MAX_LEN + 1];
    uint64_t at_s;
};

struct cas_nonce {
    uint8_t id[16];
    uint64_t until_s;
};

struct cas {
    struct cas_store *store;
    struct cas_policy *policy;
    char *policy_text;
    struct pki_pair ca;       /* issues */
    struct pki_pair ca_other; /* is trusted, too: the next one, or without a key the former one */
    struct cas_ca_step ca_step;
    char *ca_bundle; /* certificates of both */
    struct config_register reg;
    struct cluster cluster;                 /* what it hands out: register_latest */
    char *cluster_text, *cluster_signature; /* base64 */
    uint32_t claims_n;
    struct cas_claim claim[CLUSTER_MAX]; /* of members of `cluster` */
    uint64_t since_s;                    /* of our first request: nobody was silent before */
    uint8_t owner_hash[EVIDENCE_KEY_HASH_LEN];
    uint32_t las_n, revoked_n;
    struct cas_las las[CAS_LAS_MAX];
    struct cas_revoked revoked[CAS_REVOKED_MAX];
    uint64_t audit_n;
    uint8_t audit_head[SHA256_LEN];
    struct secret nonce_key; /* dies with the process: nonces of a former one are void */
    struct cas_nonce nonce[CAS_NONCES_MAX];
    uint32_t nonce_at;
    struct attest_collateral collateral[ATTEST_KINDS_N];
    struct attest_verdict verdict; /* too large for a stack */
    struct attest_policy judging;
    bool broken;
    struct explain broken_why;
};

/* One request while it is handled. */
struct cas_turn {
    struct cas *c;
    const struct cas_request *r;
    struct cas_response *to;
    json_t *body; /* of the request; NULL: none */
    bool has_key;
    uint8_t key_hash[EVIDENCE_KEY_HASH_LEN]; /* of the key shown in TLS */
    bool has_name;                           /* a certificate of our CA, in date */
    bool is_late;                            /* of our CA, and out of date */
    struct identity_name name;               /* in either */
};

/* ---- answers, cas_answer.c ---- */

/* Takes the members of `body` over. */
void cas_answer(struct cas_turn *t, unsigned status, json_t *body);
/* {"error":{"code":...,"message":...}}, and the line for the log. */
__attribute__((format(printf, 4, 5))) void cas_refuse(struct cas_turn *t, unsigned status,
                                                      const char *code, const char *format, ...);
/* The same with every rule that failed. */
void cas_refuse_verdict(struct cas_turn *t, const char *who, const struct attest_verdict *v);
/* Who asks, for logs: the name in its certificate, or "somebody unproven". */
const char *cas_who(const struct cas_turn *t, char to[static 96]);
/* False, and the answer is given, unless the owner's key is shown. */
bool cas_is_owner(struct cas_turn *t);
/* A member of the request; NULL and an answer when it is missing or no string. */
const char *cas_text(struct cas_turn *t, const char *key);
bool cas_hex(const char *text, size_t n, uint8_t *to, size_t to_n);
void cas_to_hex(struct bytes b, char *to);

/* ---- records, cas_records.c ---- */

enum { CAS_BATCH_MAX = 2 * CLUSTER_MAX + 8 };

/* Rows of one commit. */
struct cas_batch {
    size_t n;
    bool failed;
    struct cas_row row[CAS_BATCH_MAX];
    uint8_t next_head[SHA256_LEN]; /* of the audit chain, if it grew */
    uint64_t audit_n;
};

void cas_batch_start(const struct cas *c, struct cas_batch *b);
/* Takes `value` over; NULL: removes the row. */
void cas_batch_put(struct cas_batch *b, const char *table, const char *id, json_t *value);
/* The next entry of the audit chain, CAS-25. */
__attribute__((format(printf, 5, 6))) void cas_batch_audit(struct cas_batch *b, uint64_t now_s,
                                                           const char *what, const char *who,
                                                           const char *format, ...);
/* Writes; frees the batch in any case. False: nothing may be acknowledged. */
bool cas_batch_commit(struct cas *c, struct cas_batch *b, struct explain *why);
/* The same for a request: answers 503 itself on failure. */
bool cas_commit(struct cas_turn *t, struct cas_batch *b);

void cas_put_policy(struct cas_batch *b, const char *text);
void cas_put_epoch(struct cas_batch *b, const char *yaml, const char *signature);
void cas_put_register(struct cas_batch *b, const struct config_register *r);
void cas_put_claim(struct cas_batch *b, const struct cas_claim *claim);
void cas_remove_claim(struct cas_batch *b, uint32_t incarnation);
void cas_put_las(struct cas_batch *b, const struct cas_las *las);
RESULT cas_read_records(struct cas *c, struct explain *why);

/* ---- the parts ---- */

/* Signs a configuration; both results are heap strings. */
RESULT cas_sign_cluster(const struct pki_pair *ca, const struct cluster *cluster, char **ret_yaml,
                        char **ret_signature, struct explain *why);

/* cas_ca.c: CAS-41 */
RESULT cas_ca_make(uint64_t now_s, struct pki_pair *ret, struct explain *why);
bool cas_ca_set_bundle(struct cas *c); /* false: no memory */
/* Was this certificate issued by one of the CAs? Dates apart. */
bool cas_ca_issued(const struct cas *c, X509 *cert);
void cas_ca_put(struct cas_batch *b, const struct pki_pair *ca, const struct pki_pair *other,
                struct cas_ca_step step);
void cas_ca_heard(struct cas_turn *t);
void cas_on_ca(struct cas_turn *t);
/* cas_register.c: CAS-50 to CAS-54. Stores `next`, which is c->reg with something done to it, goes
 * as many steps further as can be gone, and signs what is handed out then; with it the other rows
 * of the batch, which is freed in any case. False: the answer is given, and nothing has changed. */
bool cas_register_commit(struct cas_turn *t, struct config_register *next, struct cas_batch *b);
struct cas_claim *cas_find_claim(struct cas *c, uint32_t incarnation);
/* A member has shown itself. */
void cas_seen(struct cas_turn *t);
/* It has not for so long that another process may take its node over. */
bool cas_is_silent(const struct cas_turn *t, const struct cas_claim *claim);
/* How often members look for news, in seconds. */
uint32_t cas_look_s(const struct cas *c);
/* True: is the certificate still one of somebody who belongs here? Else the answer is given. */
bool cas_is_current(struct cas_turn *t);
/* CAS-23: false, and the answer is given, if we are not what a member has seen of us. */
bool cas_check_seen(struct cas_turn *t);

/* cas_nonce.c: CAS-30 */
void cas_nonce_make(const struct cas *c, uint64_t now_s, uint8_t ret[static EVIDENCE_NONCE_LEN]);
bool cas_nonce_is_good(const struct cas *c, uint64_t now_s,
                       const uint8_t nonce[static EVIDENCE_NONCE_LEN], const char **ret_why);
void cas_nonce_use(struct cas *c, uint64_t now_s, const uint8_t nonce[static EVIDENCE_NONCE_LEN]);

/* cas_judge.c: has this process proved that it may have the role? False: the answer is given.
 * *ret_by is "evidence of snp" or "LAS 'x'". */
bool cas_judge(struct cas_turn *t, enum cas_role_kind role, enum attest_kind *ret_kind,
               char ret_by[static 96]);

void cas_on_challenge(struct cas_turn *t);
void cas_on_join(struct cas_turn *t);
void cas_on_las(struct cas_turn *t);
void cas_on_renew(struct cas_turn *t);
void cas_on_config(struct cas_turn *t);
void cas_on_policy(struct cas_turn *t);
void cas_on_client(struct cas_turn *t);
void cas_on_revoke(struct cas_turn *t);
void cas_on_epoch(struct cas_turn *t);
void cas_on_report(struct cas_turn *t);
void cas_on_member(struct cas_turn *t);
void cas_on_members(struct cas_turn *t);
void cas_on_audit(struct cas_turn *t);
void cas_on_policy_text(struct cas_turn *t);

/* Adds "certificate" for the key shown in TLS. False: the answer is given. */
bool cas_issue(struct cas_turn *t, const struct identity_name *name, EVP_PKEY *key, json_t *to);
/* Configuration, CA, versions: what every member of the cluster may know. */
json_t *cas_public(const struct cas *c);
bool cas_is_revoked(const struct cas *c, const char *name);

#endif
