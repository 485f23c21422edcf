// SPDX-License-Identifier: Apache-2.0
/* From a proof to a certificate: CAS-33 to CAS-35. */
#include "trusted/cas/cas_internal.h"

#include <openssl/x509.h>

#include <stdio.h>
#include <stdlib.h>

void cas_on_challenge(struct cas_turn *t)
{
    uint8_t nonce[EVIDENCE_NONCE_LEN];
    char hex[2 * EVIDENCE_NONCE_LEN + 1];

    cas_nonce_make(t->c, t->r->now_s, nonce);
    cas_to_hex((struct bytes){nonce, sizeof(nonce)}, hex);
    cas_answer(t, 200, json_pack("{s:s,s:i}", "nonce", hex, "expires_in_s", CAS_NONCE_LIFE_S));
}

bool cas_issue(struct cas_turn *t, const struct identity_name *name, EVP_PKEY *key, json_t *to)
{
    uint32_t lifetime_s = t->c->policy->certificate_s;
    struct pki_dates dates = {t->r->now_s, lifetime_s};
    struct explain why = {0};
    char *pem = NULL;

    if (to == NULL || pki_issue_for(&t->c->ca, name, &dates, key, &pem, &why) != OK) {
        cas_refuse(t, 400, "CERTIFICATE", "%s", to == NULL ? "out of memory" : why.text);
        return false;
    }
    (void)json_object_set_new(to, "certificate", json_string(pem));
    (void)json_object_set_new(to, "renew_after_s", json_integer(lifetime_s / 2));
    free(pem);
    return true;
}

json_t *cas_public(const struct cas *c)
{
    json_t *revoked = json_array();
    uint64_t version = cas_store_version(c->store);
    uint8_t mark[CAS_MARK_LEN];
    char hex[2 * CAS_MARK_LEN + 1];

    cas_store_mark(c->store, version, mark);
    cas_to_hex((struct bytes){mark, sizeof(mark)}, hex);
    for (uint32_t i = 0; i < c->revoked_n; i++) {
        (void)json_array_append_new(revoked, json_string(c->revoked[i].name));
    }
    return json_pack("{s:s,s:I,s:b,s:s,s:s,s:I,s:I,s:I,s:s,s:i,s:o}", "ca", c->ca_bundle, "ca_step",
                     (json_int_t)c->ca_step.n, "ca_changes", c->ca_other.cert_pem != NULL,
                     "cluster", c->cluster_text, "signature", c->cluster_signature, "epoch",
                     (json_int_t)c->cluster.epoch, "policy", (json_int_t)c->policy->version,
                     "state_version", (json_int_t)version, "state_mark", hex, "look_s",
                     (int)cas_look_s(c), "revoked", revoked);
}

static void add_secrets(const struct cas *c, enum cas_role_kind role, json_t *to)
{
    json_t *secrets = json_object();

    for (uint32_t i = 0; i < c->policy->secrets_n; i++) {
        const struct cas_secret *s = &c->policy->secret[i];

        if (s->role == role) {
            (void)json_object_set_new(secrets, s->name, json_string(s->value));
        }
    }
    (void)json_object_set_new(to, "secrets", secrets);
}

/* The member of the configuration to hand out that is the node; NULL: none. */
static const struct cluster_member *find_member(const struct config_register *r, json_int_t node)
{
    const struct cluster *c = register_latest(r);

    for (uint32_t i = 0; i < c->members_n; i++) {
        if (c->members[i].node == node) {
            return &c->members[i];
        }
    }
    return NULL;
}

static bool is_wished(const struct config_register *r, json_int_t node)
{
    for (uint32_t i = 0; i < r->wishes_n; i++) {
        if (r->wishes[i].node == node) {
            return true;
        }
    }
    return false;
}

/* CAS-33: each incarnation is given away once. What another process has must not be given to this
 * one. The register has then been told that the former memory is lost, and has gone as far as it
 * could; *ret_done: the answer is given. */
static const struct cluster_member *succeed(struct cas_turn *t, const struct cluster_member *m,
                                            bool *ret_done)
{
    const struct cas_claim *claim = cas_find_claim(t->c, m->incarnation);
    struct config_register next = t->c->reg;
    uint32_t node = m->node;
    struct cas_batch b;
    char when[32];

    if (claim == NULL || memcmp(claim->key_hash, t->key_hash, sizeof(t->key_hash)) == 0) {
        return m;
    }
    if (!register_is_lost(&next, m->incarnation) && !cas_is_silent(t, claim)) {
        *ret_done = true;
        cas_refuse(t, 409, "CLONE",
                   "incarnation %u of node %u was given to another process at %s, which was here "
                   "within the last %u s: a restarted or cloned replica has no vote under it; it "
                   "joins as a new member once the other one is gone",
                   m->incarnation, m->node, attest_time_format(claim->at_s, when),
                   CAS_SILENT_LOOKS * cas_look_s(t->c));
        return NULL;
    }
    register_on_lost(&next, m->incarnation);
    cas_batch_start(t->c, &b);
    if (!register_is_lost(&t->c->reg, m->incarnation)) {
        cas_batch_audit(&b, t->r->now_s, "lost", "replica", "node %u, incarnation %u: replaced",
                        m->node, m->incarnation);
    }
    if (!cas_register_commit(t, &next, &b)) {
        *ret_done = true;
        return NULL;
    }
    m = find_member(&t->c->reg, node);
    return m != NULL && cas_find_claim(t->c, m->incarnation) == NULL ? m : NULL;
}

/* The place of the node that the request names, if this process may have it. */
static const struct cluster_member *find_place(struct cas_turn *t)
{
    json_int_t node = json_integer_value(json_object_get(t->body, "node"));
    const struct cluster_member *m = find_member(&t->c->reg, node);
    struct explain why = {0};
    bool done = false;

    if (m == NULL && !is_wished(&t->c->reg, node)) {
        cas_refuse(t, 403, "NOT_A_MEMBER",
                   "node %lld is no member of epoch %llu; the owner adds it with 'avocado member "
                   "add'",
                   (long long)node, (unsigned long long)t->c->cluster.epoch);
        return NULL;
    }
    m = m == NULL ? NULL : succeed(t, m, &done);
    if (m == NULL && !done) {
        register_explain(&t->c->reg, &why);
        cas_refuse(t, 503, "WAIT", "node %lld cannot join yet: %s", (long long)node, why.text);
    }
    return m;
}

static bool take_place(struct cas_turn *t, const struct cluster_member *m, const char *by)
{
    struct cas_claim next = {.incarnation = m->incarnation,
                             .at_s = t->r->now_s,
                             .seen_s = t->r->now_s,
                             .ca_step = t->c->ca_step.n};
    struct cas_batch b;

    if (cas_find_claim(t->c, m->incarnation) != NULL) {
        return true;
    }
    memcpy(next.key_hash, t->key_hash, sizeof(next.key_hash));
    cas_batch_start(t->c, &b);
    cas_put_claim(&b, &next);
    cas_batch_audit(&b, t->r->now_s, "join", "replica",
                    "node %u has incarnation %u of epoch %llu by %s", m->node, m->incarnation,
                    (unsigned long long)t->c->cluster.epoch, by);
    if (!cas_commit(t, &b)) {
        return false;
    }
    t->c->claim[t->c->claims_n++] = next;
    return true;
}

static void join_replica(struct cas_turn *t)
{
    struct identity_name name = {.role = ROLE_REPLICA};
    EVP_PKEY *key = X509_get0_pubkey(t->r->peer);
    enum attest_kind kind = ATTEST_SOFTWARE;
    const struct cluster_member *m = NULL;
    json_t *body = NULL;
    char by[96];

    if (!cas_judge(t, CAS_ROLE_REPLICA, &kind, by) || (m = find_place(t)) == NULL ||
        !take_place(t, m, by)) {
        return;
    }
    name.node = m->node;
    name.incarnation = m->incarnation;
    name.epoch = t->c->cluster.epoch;
    memcpy(name.cluster, t->c->cluster.id, sizeof(name.cluster));
    body = cas_public(t->c);
    if (!cas_issue(t, &name, key, body)) {
        json_decref(body);
        return;
    }
    add_secrets(t->c, CAS_ROLE_REPLICA, body);
    (void)json_object_set_new(body, "incarnation", json_integer(m->incarnation));
    (void)json_object_set_new(body, "protected", json_boolean(kind != ATTEST_SOFTWARE));
    (void)snprintf(t->to->log, sizeof(t->to->log), "node %u joins with incarnation %u by %s",
                   m->node, m->incarnation, by);
    cas_answer(t, 200, body);
}

void cas_on_join(struct cas_turn *t)
{
    const char *role = cas_text(t, "role");

    if (role == NULL) {
        return;
    }
    if (strcmp(role, "replica") != 0) {
        cas_refuse(t, 400, "ROLE", "role '%s' does not join here; replica does", role);
        return;
    }
    join_replica(t);
}

/* A place for a LAS: the one it had, else a new one. */
static struct cas_las *las_place(struct cas_turn *t, const char *name)
{
    struct cas *c = t->c;

    for (uint32_t i = 0; i < c->las_n; i++) {
        if (strcmp(c->las[i].name, name) == 0) {
            return &c->las[i];
        }
    }
    return c->las_n < CAS_LAS_MAX ? &c->las[c->las_n] : NULL;
}

static bool keep_las(struct cas_turn *t, const char *name, enum attest_kind kind, const char *by)
{
    struct cas_las *place = las_place(t, name);
    struct cas_las next = {.kind = kind};
    unsigned char *der = NULL;
    struct cas_batch b;
    int n = i2d_X509_PUBKEY(X509_get_X509_PUBKEY(t->r->peer), &der);

    if (place == NULL || n <= 0) {
        cas_refuse(t, 409, "FULL", "there are %d machines with a LAS already", CAS_LAS_MAX);
        return false;
    }
    (void)snprintf(next.name, sizeof(next.name), "%s", name);
    next.spki = malloc((size_t)n);
    next.spki_n = (size_t)n;
    next.until_s = t->r->now_s + t->c->policy->certificate_s;
    if (next.spki != NULL) {
        memcpy(next.spki, der, (size_t)n);
    }
    OPENSSL_free(der);
    cas_batch_start(t->c, &b);
    cas_put_las(&b, &next);
    cas_batch_audit(&b, t->r->now_s, "las", name, "attested for %u s by %s",
                    t->c->policy->certificate_s, by);
    if (next.spki == NULL || !cas_commit(t, &b)) {
        free(next.spki);
        return false;
    }
    t->c->las_n += place == &t->c->las[t->c->las_n];
    free(place->spki);
    *place = next;
    return true;
}

void cas_on_las(struct cas_turn *t)
{
    const char *name = cas_text(t, "name");
    struct identity_name id = {.role = ROLE_SERVICE};
    enum attest_kind kind = ATTEST_SOFTWARE;
    json_t *body = NULL;
    char by[96];

    if (name == NULL) {
        return;
    }
    if (strncmp(name, "las.", 4) != 0 || strlen(name) < 5 || strlen(name) > NAME_MAX_LEN ||
        cas_is_revoked(t->c, name)) {
        cas_refuse(t, 400, "NAME",
                   "'%.64s' is no name of a LAS, or is revoked: permitted is las.NAME", name);
        return;
    }
    (void)snprintf(id.client, sizeof(id.client), "%s", name);
    memcpy(id.cluster, t->c->cluster.id, sizeof(id.cluster));
    if (!cas_judge(t, CAS_ROLE_LAS, &kind, by) || !keep_las(t, name, kind, by)) {
        return;
    }
    body = cas_public(t->c);
    if (!cas_issue(t, &id, X509_get0_pubkey(t->r->peer), body)) {
        json_decref(body);
        return;
    }
    add_secrets(t->c, CAS_ROLE_LAS, body);
    (void)snprintf(t->to->log, sizeof(t->to->log), "%s is attested by %s", name, by);
    cas_answer(t, 200, body);
}
