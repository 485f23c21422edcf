// SPDX-License-Identifier: Apache-2.0
/* Who may have a role: evidence of its own, or the word of a LAS. CAS-31, CAS-32 */
#include "trusted/cas/cas_internal.h"

#include "trusted/las/las_token.h"

#include <openssl/x509.h>

#include <stdio.h>
#include <stdlib.h>

/* EVD-1: the two halves of the report data, each with its own reason. */
static bool check_binding(struct cas_turn *t, const uint8_t *key_hash, const uint8_t *nonce)
{
    const char *why = NULL;

    if (memcmp(key_hash, t->key_hash, sizeof(t->key_hash)) != 0) {
        cas_refuse(
            t, 403, "RELAYED",
            "relayed evidence: it is bound to another TLS key than this channel's; a process "
            "must bring its own evidence");
        return false;
    }
    if (!cas_nonce_is_good(t->c, t->r->now_s, nonce, &why)) {
        cas_refuse(t, 403, "REPLAYED", "%s", why);
        return false;
    }
    return true;
}

/* What the prover sent, else what the operator keeps here: all of it is signed by the vendor. */
static void complete(const struct attest_collateral *from, struct attest_collateral *to)
{
#define TAKE(m) to->m = to->m.n > 0 ? to->m : from->m
    TAKE(pck_chain);
    TAKE(tcb_info);
    TAKE(qe_identity);
    TAKE(tcb_signing_chain);
    TAKE(pck_crl);
    TAKE(root_ca_crl);
    TAKE(vcek);
    TAKE(vlek);
    TAKE(ask);
    TAKE(asvk);
    TAKE(ark);
    TAKE(crl);
    TAKE(auxblob);
#undef TAKE
}

static bool judge_evidence(struct cas_turn *t, const struct cas_role *role, const char *who,
                           enum attest_kind *ret_kind)
{
    struct attest_verdict *v = &t->c->verdict;
    struct evidence e = {0};
    struct explain why = {0};
    struct attest_input in = {.policy = &role->evidence, .now_s = t->r->now_s};
    bool good = false;

    if (evidence_from_json(json_object_get(t->body, "evidence"), &e, &why) != OK) {
        cas_refuse(t, 400, "MALFORMED", "%s", why.text);
        return false;
    }
    in.kind = e.kind;
    in.evidence = evidence_bytes(&e);
    in.collateral = e.collateral;
    complete(&t->c->collateral[e.kind], &in.collateral);
    if (e.kind == ATTEST_SOFTWARE) {
        in.roots = t->c->policy->software_roots;
    } else {
        attest_roots_vendor(e.kind, &in.roots);
    }
    attest_verify(&in, v);
    if (!v->accepted) {
        cas_refuse_verdict(t, who, v);
    } else {
        const uint8_t *nonce = v->report_data.p + EVIDENCE_KEY_HASH_LEN;

        good = check_binding(t, v->report_data.p, nonce);
        if (good) {
            cas_nonce_use(t->c, t->r->now_s, nonce);
        }
    }
    *ret_kind = e.kind;
    evidence_free(&e);
    return good;
}

static struct cas_las *find_las(struct cas *c, const char *name)
{
    for (uint32_t i = 0; i < c->las_n; i++) {
        if (strcmp(c->las[i].name, name) == 0) {
            return &c->las[i];
        }
    }
    return NULL;
}

/* The programs that a LAS may vouch for: those listed, or, for kinds whose measurement is the same
 * thing, those of the section. */
static bool is_wanted(const struct cas_role *role, const struct las_claim *claim)
{
    const struct attest_section *s = &role->evidence.section[claim->kind];

    for (uint32_t i = 0; claim->kind != ATTEST_SGX && i < role->executables_n; i++) {
        if (memcmp(role->executable[i], claim->measurement, MEASUREMENT_LEN) == 0) {
            return true;
        }
    }
    if (claim->kind != ATTEST_SGX && claim->kind != ATTEST_SOFTWARE) {
        return false;
    }
    for (uint32_t i = 0; i < s->registers_n; i++) {
        for (uint32_t k = 0; strcmp(s->reg[i].name, "mrenclave") == 0 && k < s->reg[i].n; k++) {
            if (memcmp(s->reg[i].allowed[k].b, claim->measurement, MEASUREMENT_LEN) == 0) {
                return true;
            }
        }
    }
    return false;
}

static bool judge_claim(struct cas_turn *t, const struct cas_role *role, const char *who,
                        const struct las_claim *claim)
{
    const struct attest_section *s = &role->evidence.section[claim->kind];
    char hex[2 * MEASUREMENT_LEN + 1];

    if (!s->given) {
        cas_refuse(t, 403, "kind_not_accepted",
                   "%s is refused by rule kind_not_accepted: the policy "
                   "has no section %s for it",
                   who, attest_kind_name(claim->kind));
        return false;
    }
    if (claim->debug && !s->debug_allowed) {
        cas_refuse(t, 403, "debug", "%s is refused by rule debug: its enclave can be looked into",
                   who);
        return false;
    }
    if (!is_wanted(role, claim)) {
        cas_to_hex((struct bytes){claim->measurement, MEASUREMENT_LEN}, hex);
        cas_refuse(t, 403, "measurement",
                   "%s is refused by rule measurement: LAS '%s' measured %s, "
                   "which the policy does not name",
                   who, claim->las, hex);
        return false;
    }
    return check_binding(t, claim->binding.key_hash, claim->binding.nonce);
}

static bool judge_token(struct cas_turn *t, const struct cas_role *role, const char *who,
                        struct las_claim *ret)
{
    const char *text = cas_text(t, "token");
    const unsigned char *at = NULL;
    struct explain why = {0};
    struct cas_las *las = NULL;
    EVP_PKEY *key = NULL;
    uint8_t *token = NULL;
    size_t n = 0;
    bool good = false;

    if (text == NULL) {
        return false;
    }
    token = evidence_unbase64(text, strlen(text), &n);
    if (token == NULL || las_token_read((struct bytes){token, n}, ret) != OK) {
        cas_refuse(t, 400, "MALFORMED", "the token is malformed");
        goto out;
    }
    las = find_las(t->c, ret->las);
    if (las == NULL || las->until_s < t->r->now_s || cas_is_revoked(t->c, ret->las)) {
        cas_refuse(t, 403, "LAS",
                   "LAS '%s' is not attested here, or no longer; start it, and try "
                   "again",
                   ret->las);
        goto out;
    }
    at = las->spki;
    key = d2i_PUBKEY(NULL, &at, (long)las->spki_n);
    if (key == NULL ||
        las_token_verify((struct bytes){token, n}, key, t->r->now_s, ret, &why) != OK) {
        cas_refuse(t, 403, "TOKEN", "%s", key == NULL ? "out of memory" : why.text);
        goto out;
    }
    if (ret->kind != las->kind) {
        cas_refuse(t, 403, "TOKEN", "LAS '%s' is of kind %s and vouches for kind %s", ret->las,
                   attest_kind_name(las->kind), attest_kind_name(ret->kind));
        goto out;
    }
    good = judge_claim(t, role, who, ret);
out:
    EVP_PKEY_free(key);
    free(token);
    return good;
}

bool cas_judge(struct cas_turn *t, enum cas_role_kind kind, enum attest_kind *ret_kind,
               char ret_by[static 96])
{
    const struct cas_role *role = &t->c->policy->role[kind];
    bool has_token = json_object_get(t->body, "token") != NULL;
    bool has_evidence = json_object_get(t->body, "evidence") != NULL;
    struct las_claim claim = {0};
    const char *who = cas_role_name(kind);

    if (!t->has_key) {
        cas_refuse(t, 403, "NO_KEY", "show a certificate in TLS: evidence is bound to its key");
        return false;
    }
    if (!role->given) {
        cas_refuse(t, 403, "ROLE", "the policy has no role %s", who);
        return false;
    }
    if (has_token == has_evidence) {
        cas_refuse(t, 400, "MALFORMED", "give either evidence or a token");
        return false;
    }
    if (has_token && role->las == CAS_LAS_FORBIDDEN) {
        cas_refuse(t, 403, "LAS", "role %s needs evidence of its own: the policy forbids tokens",
                   who);
        return false;
    }
    if (has_evidence && role->las == CAS_LAS_REQUIRED) {
        cas_refuse(t, 403, "LAS", "role %s needs the token of a LAS: the policy requires it", who);
        return false;
    }
    if (has_token) {
        if (!judge_token(t, role, who, &claim)) {
            return false;
        }
        *ret_kind = claim.kind;
        (void)snprintf(ret_by, 96, "LAS '%s'", claim.las);
        cas_nonce_use(t->c, t->r->now_s, claim.binding.nonce);
        return true;
    }
    if (!judge_evidence(t, role, who, ret_kind)) {
        return false;
    }
    (void)snprintf(ret_by, 96, "evidence of %s", attest_kind_name(*ret_kind));
    return true;
}
