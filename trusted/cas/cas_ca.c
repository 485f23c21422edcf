// SPDX-License-Identifier: Apache-2.0
/* The cluster's CA and the one that follows it: CAS-41. */
#include "trusted/cas/cas_internal.h"

#include <openssl/err.h>
#include <openssl/pem.h>
#include <openssl/x509v3.h>

#include <stdio.h>
#include <stdlib.h>

enum { CA_DAYS = 3650 };

RESULT cas_ca_make(uint64_t now_s, struct pki_pair *ret, struct explain *why)
{
    return pki_make_ca("avocado cluster CA", now_s, CA_DAYS, ret, why);
}

bool cas_ca_set_bundle(struct cas *c)
{
    const char *other = c->ca_other.cert_pem == NULL ? "" : c->ca_other.cert_pem;
    char *text = NULL;

    if (asprintf(&text, "%s%s", c->ca.cert_pem, other) < 0) {
        return false;
    }
    free(c->ca_bundle);
    c->ca_bundle = text;
    return true;
}

static bool add_anchor(X509_STORE *store, const char *pem)
{
    BIO *bio = BIO_new_mem_buf(pem, -1);
    X509 *ca = bio == NULL ? NULL : PEM_read_bio_X509(bio, NULL, NULL, NULL);
    bool good = ca != NULL && X509_STORE_add_cert(store, ca) == 1;

    X509_free(ca);
    BIO_free(bio);
    return good;
}

bool cas_ca_issued(const struct cas *c, X509 *cert)
{
    X509_STORE *store = X509_STORE_new();
    X509_STORE_CTX *ctx = X509_STORE_CTX_new();
    bool good = store != NULL && ctx != NULL && add_anchor(store, c->ca.cert_pem) &&
                (c->ca_other.cert_pem == NULL || add_anchor(store, c->ca_other.cert_pem)) &&
                X509_STORE_CTX_init(ctx, store, cert, NULL) == 1 &&
                X509_STORE_CTX_set_purpose(ctx, X509_PURPOSE_SSL_CLIENT) == 1;

    if (good) {
        X509_STORE_CTX_set_flags(ctx, X509_V_FLAG_NO_CHECK_TIME);
        good = X509_verify_cert(ctx) == 1;
    }
    X509_STORE_CTX_free(ctx);
    X509_STORE_free(store);
    ERR_clear_error();
    return good;
}

void cas_ca_put(struct cas_batch *b, const struct pki_pair *ca, const struct pki_pair *other,
                struct cas_ca_step step)
{
    cas_batch_put(b, "meta", "ca",
                  json_pack("{s:s,s:s,s:I,s:I}", "cert", ca->cert_pem, "key", ca->key_pem, "step",
                            (json_int_t)step.n, "at", (json_int_t)step.at_s));
    cas_batch_put(b, "meta", "ca-other",
                  other->cert_pem == NULL
                      ? NULL
                      : json_pack("{s:s,s:s}", "cert", other->cert_pem, "key",
                                  other->key_pem == NULL ? "" : other->key_pem));
}

/* A member says, with its certificate, which step it has taken. */
void cas_ca_heard(struct cas_turn *t)
{
    const char *at = strstr(t->r->query, "ca=");
    uint64_t step = at == NULL ? 0 : strtoull(at + 3, NULL, 10);
    struct cas *c = t->c;

    struct cas_claim *claim =
        t->name.role == ROLE_REPLICA ? cas_find_claim(c, t->name.incarnation) : NULL;
    struct cas_claim next;
    struct cas_batch b;

    if (claim == NULL || step != c->ca_step.n || claim->ca_step == step) {
        return;
    }
    next = *claim;
    next.ca_step = step;
    cas_batch_start(c, &b);
    cas_put_claim(&b, &next);
    if (cas_commit(t, &b)) {
        *claim = next;
    }
}

/* Every member has taken the present step, and clients have had the time to; else the answer. */
static bool may_go_on(struct cas_turn *t)
{
    const struct cas *c = t->c;
    uint64_t due_s = c->ca_step.at_s + c->policy->certificate_s;

    for (uint32_t i = 0; i < c->cluster.members_n; i++) {
        const struct cas_claim *m = cas_find_claim(t->c, c->cluster.members[i].incarnation);

        if (m != NULL && m->ca_step != c->ca_step.n) {
            cas_refuse(t, 409, "MEMBERS",
                       "node %u has not taken the present step yet; it asks every few seconds: try "
                       "again, or replace it if it is gone",
                       c->cluster.members[i].node);
            return false;
        }
    }
    if (t->r->now_s < due_s && !json_is_true(json_object_get(t->body, "clients_know"))) {
        cas_refuse(t, 409, "CLIENTS",
                   "clients that renew at half of a certificate's life have all taken the present "
                   "step in %llu s; say \"clients_know\": true if they have it already",
                   (unsigned long long)(due_s - t->r->now_s));
        return false;
    }
    return true;
}

/* Commits what the two CAs are from now on, and the configuration signed by the first; takes over
 * what is in *ca and *other. */
static void take_step(struct cas_turn *t, const char *what, struct pki_pair *ca,
                      struct pki_pair *other)
{
    struct cas_ca_step step = {.n = t->c->ca_step.n + 1, .at_s = t->r->now_s};
    char *yaml = NULL, *signature = NULL;
    struct explain why = {0};
    struct cas *c = t->c;
    struct cas_batch b;

    if (cas_sign_cluster(ca, &c->cluster, &yaml, &signature, &why) != OK) {
        cas_refuse(t, 503, "CA", "%s", why.text);
        goto out;
    }
    cas_batch_start(c, &b);
    cas_ca_put(&b, ca, other, step);
    cas_put_epoch(&b, yaml, signature);
    cas_batch_audit(&b, t->r->now_s, "ca", "owner", "%s, step %llu", what,
                    (unsigned long long)step.n);
    if (!cas_commit(t, &b)) {
        goto out;
    }
    {
        struct pki_pair was = c->ca, was_other = c->ca_other;
        char *was_yaml = c->cluster_text, *was_signature = c->cluster_signature;

        c->ca = *ca;
        c->ca_other = *other;
        c->ca_step = step;
        c->cluster_text = yaml;
        c->cluster_signature = signature;
        *ca = was;
        *other = was_other;
        yaml = was_yaml;
        signature = was_signature;
    }
    if (!cas_ca_set_bundle(c)) {
        c->broken = true;
        explain(&c->broken_why, "out of memory");
    }
    cas_answer(t, 200, cas_public(c));
out:
    free(yaml);
    free(signature);
    pki_pair_free(ca);
    pki_pair_free(other);
}

static bool copy_pair(const struct pki_pair *from, struct pki_pair *to)
{
    to->cert_pem = strdup(from->cert_pem);
    to->key_pem = from->key_pem == NULL ? NULL : strdup(from->key_pem);
    return to->cert_pem != NULL && (from->key_pem == NULL || to->key_pem != NULL);
}

enum step { STEP_ADD, STEP_SWITCH, STEP_RETIRE };

static const struct {
    const char *name, *done;
} steps[] = {
    [STEP_ADD] = {"add", "a next CA is trusted beside the present one"},
    [STEP_SWITCH] = {"switch", "the next CA issues, the former one's key is gone"},
    [STEP_RETIRE] = {"retire", "the former CA is trusted no more"},
};

static enum step step_due(const struct cas *c)
{
    if (c->ca_other.cert_pem == NULL) {
        return STEP_ADD;
    }
    return c->ca_other.key_pem != NULL ? STEP_SWITCH : STEP_RETIRE;
}

/* The two CAs after a step. */
static bool prepare(const struct cas *c, enum step step, uint64_t now_s, struct pki_pair *ca,
                    struct pki_pair *other)
{
    struct explain why = {0};

    switch (step) {
    case STEP_ADD:
        return copy_pair(&c->ca, ca) && cas_ca_make(now_s, other, &why) == OK;
    case STEP_SWITCH:
        other->cert_pem = strdup(c->ca.cert_pem);
        return other->cert_pem != NULL && copy_pair(&c->ca_other, ca);
    case STEP_RETIRE:
        return copy_pair(&c->ca, ca);
    }
    return false;
}

void cas_on_ca(struct cas_turn *t)
{
    enum step due = step_due(t->c);
    struct pki_pair ca = {0}, other = {0};
    const char *name = NULL;

    if (!cas_is_owner(t) || (name = cas_text(t, "step")) == NULL) {
        return;
    }
    if (strcmp(name, steps[due].name) != 0) {
        cas_refuse(t, 409, "STEP", "the steps are add, switch, retire; now is due: %s",
                   steps[due].name);
        return;
    }
    if (due != STEP_ADD && !may_go_on(t)) {
        return;
    }
    if (prepare(t->c, due, t->r->now_s, &ca, &other)) {
        take_step(t, steps[due].done, &ca, &other);
        return;
    }
    pki_pair_free(&ca);
    pki_pair_free(&other);
    cas_refuse(t, 503, "CA", "out of memory");
}
