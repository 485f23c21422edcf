// SPDX-License-Identifier: Apache-2.0
#include "trusted/cas/cas_internal.h"

#include "trusted/crypto/entropy.h"

#include <openssl/err.h>
#include <openssl/pem.h>
#include <openssl/x509v3.h>

#include <stdio.h>
#include <stdlib.h>

enum { SELF_DAYS = 30, SIGNATURE_MAX = 80 };

RESULT cas_sign_cluster(const struct pki_pair *ca, const struct cluster *cluster, char **ret_yaml,
                        char **ret_signature, struct explain *why)
{
    uint8_t sig[SIGNATURE_MAX];
    size_t n = 0;
    char *yaml = cluster_format(cluster), *text = NULL;
    enum err err = ERR_IO;

    if (yaml != NULL) {
        err = pki_sign(ca, (struct bytes){(const uint8_t *)yaml, strlen(yaml)},
                       (struct mbytes){sig, sizeof(sig)}, &n, why);
    }
    text = err == OK ? evidence_base64((struct bytes){sig, n}) : NULL;
    if (text == NULL) {
        free(yaml);
        return ERR_IO;
    }
    *ret_yaml = yaml;
    *ret_signature = text;
    return OK;
}

/* SHA-512/256 of a public key in PEM. */
static enum err hash_key(const char *pem, uint8_t ret[static EVIDENCE_KEY_HASH_LEN],
                         struct explain *why)
{
    BIO *bio = BIO_new_mem_buf(pem, -1);
    EVP_PKEY *key = bio == NULL ? NULL : PEM_read_bio_PUBKEY(bio, NULL, NULL, NULL);
    unsigned char *der = NULL;
    int n = key == NULL ? 0 : i2d_PUBKEY(key, &der);

    EVP_PKEY_free(key);
    BIO_free(bio);
    ERR_clear_error();
    if (n <= 0) {
        explain(why, "the owner's key is no public key in PEM");
        return ERR_MALFORMED;
    }
    evidence_key_hash((struct bytes){der, (size_t)n}, ret);
    OPENSSL_free(der);
    return OK;
}

static struct cas *make(struct cas_store *store)
{
    struct cas *c = calloc(1, sizeof(*c));

    if (c != NULL) {
        c->store = store;
        entropy_fill(c->nonce_key.b, sizeof(c->nonce_key.b));
    }
    return c;
}

static enum err found(struct cas *c, const struct cas_founding *f, struct explain *why)
{
    char hex[2 * EVIDENCE_KEY_HASH_LEN + 1];
    struct cas_batch b;

    TRY(cas_policy_parse(f->policy, f->policy_n, &c->policy, why));
    TRY(hash_key(f->owner_key_pem, c->owner_hash, why));
    TRY(cas_ca_make(f->now_s, &c->ca, why));
    c->ca_step.at_s = f->now_s;
    TRY(register_found(&c->reg, &c->policy->cluster, why));
    c->cluster = *register_latest(&c->reg);
    c->policy_text = strndup(f->policy, f->policy_n);
    TRY(cas_sign_cluster(&c->ca, &c->cluster, &c->cluster_text, &c->cluster_signature, why));
    cas_to_hex((struct bytes){c->owner_hash, sizeof(c->owner_hash)}, hex);
    cas_batch_start(c, &b);
    cas_ca_put(&b, &c->ca, &c->ca_other, c->ca_step);
    cas_batch_put(&b, "meta", "owner", json_pack("{s:s}", "key", hex));
    cas_put_policy(&b, c->policy_text == NULL ? "" : c->policy_text);
    cas_put_register(&b, &c->reg);
    cas_put_epoch(&b, c->cluster_text, c->cluster_signature);
    cas_batch_audit(&b, f->now_s, "found", "owner", "cluster %s, epoch %llu, policy version %llu",
                    c->cluster.name, (unsigned long long)c->cluster.epoch,
                    (unsigned long long)c->policy->version);
    if (!cas_batch_commit(c, &b, why) || !cas_ca_set_bundle(c)) {
        return ERR_IO;
    }
    return OK;
}

RESULT cas_found(const struct cas_founding *f, struct cas_store *store, struct cas **ret,
                 struct explain *why)
{
    struct cas *c = make(store);
    enum err err = ERR_IO;

    if (c == NULL) {
        explain(why, "out of memory");
        return ERR_IO;
    }
    err = found(c, f, why);
    if (err != OK) {
        cas_free(c);
        return err;
    }
    *ret = c;
    return OK;
}

RESULT cas_load(struct cas_store *store, struct cas **ret, struct explain *why)
{
    struct cas *c = make(store);
    enum err err = ERR_IO;

    if (c == NULL) {
        explain(why, "out of memory");
        return ERR_IO;
    }
    err = cas_read_records(c, why);
    if (err != OK) {
        cas_free(c);
        return err;
    }
    *ret = c;
    return OK;
}

void cas_free(struct cas *c)
{
    if (c == NULL) {
        return;
    }
    for (uint32_t i = 0; i < c->las_n; i++) {
        free(c->las[i].spki);
    }
    cas_policy_free(c->policy);
    pki_pair_free(&c->ca);
    pki_pair_free(&c->ca_other);
    free(c->ca_bundle);
    free(c->policy_text);
    free(c->cluster_text);
    free(c->cluster_signature);
    secret_wipe(&c->nonce_key);
    free(c);
}

void cas_set_collateral(struct cas *c, enum attest_kind kind, const struct attest_collateral *from)
{
    c->collateral[kind] = *from;
}

RESULT cas_identity(const struct cas *c, uint64_t now_s, struct pki_pair *ret, struct explain *why)
{
    struct identity_name name = {.role = ROLE_SERVICE, .client = "cas"};

    memcpy(name.cluster, c->cluster.id, sizeof(name.cluster));
    return pki_issue(&c->ca, &name, now_s, SELF_DAYS, ret, why);
}

const char *cas_ca_pem(const struct cas *c)
{
    return c->ca_bundle;
}

uint64_t cas_ca_step(const struct cas *c)
{
    return c->ca_step.n;
}

const struct cas_policy *cas_policy(const struct cas *c)
{
    return c->policy;
}

uint64_t cas_epoch(const struct cas *c)
{
    return c->cluster.epoch;
}

bool cas_is_broken(const struct cas *c, struct explain *why)
{
    if (c->broken) {
        *why = c->broken_why;
    }
    return c->broken;
}

/* ---- requests ---- */

static void look_at_peer(struct cas_turn *t)
{
    X509 *cert = t->r->peer;
    time_t now = (time_t)t->r->now_s;
    unsigned char *der = NULL;
    int n = cert == NULL ? 0 : i2d_X509_PUBKEY(X509_get_X509_PUBKEY(cert), &der);

    if (n <= 0) {
        return;
    }
    evidence_key_hash((struct bytes){der, (size_t)n}, t->key_hash);
    OPENSSL_free(der);
    t->has_key = true;
    if (cas_ca_issued(t->c, cert) && identity_name_of(cert, &t->name) == OK &&
        memcmp(t->name.cluster, t->c->cluster.id, CLUSTER_ID_LEN) == 0 &&
        X509_cmp_time(X509_get0_notBefore(cert), &now) < 0) {
        t->has_name = X509_cmp_time(X509_get0_notAfter(cert), &now) > 0;
        t->is_late = !t->has_name;
    }
}

static void on_health(struct cas_turn *t)
{
    const struct cas *c = t->c;
    cas_answer(t, 200,
               json_pack("{s:s,s:s,s:I,s:i,s:i,s:i}", "status", "serving", "cluster",
                         c->cluster.name, "epoch", (json_int_t)c->cluster.epoch, "members",
                         (int)c->cluster.members_n, "joined", (int)c->claims_n, "las",
                         (int)c->las_n));
}

static const struct route {
    const char *method, *path;
    void (*on)(struct cas_turn *t);
} routes[] = {
    {"GET", "/v1/health", on_health},       {"POST", "/v1/challenge", cas_on_challenge},
    {"POST", "/v1/join", cas_on_join},      {"POST", "/v1/las", cas_on_las},
    {"POST", "/v1/renew", cas_on_renew},    {"GET", "/v1/config", cas_on_config},
    {"POST", "/v1/policy", cas_on_policy},  {"POST", "/v1/client", cas_on_client},
    {"POST", "/v1/revoke", cas_on_revoke},  {"POST", "/v1/epoch", cas_on_epoch},
    {"GET", "/v1/audit", cas_on_audit},     {"POST", "/v1/report", cas_on_report},
    {"GET", "/v1/members", cas_on_members}, {"POST", "/v1/member", cas_on_member},
    {"POST", "/v1/ca", cas_on_ca},          {"GET", "/v1/policy", cas_on_policy_text},
};

static const struct route *find_route(struct cas_turn *t)
{
    bool known = false;

    for (size_t i = 0; i < sizeof(routes) / sizeof(routes[0]); i++) {
        if (strcmp(routes[i].path, t->r->path) == 0) {
            known = true;
            if (strcmp(routes[i].method, t->r->method) == 0) {
                return &routes[i];
            }
        }
    }
    cas_refuse(t, known ? 405 : 404, "NO_SUCH", "%s %.64s is not here", t->r->method, t->r->path);
    return NULL;
}

void cas_handle(struct cas *c, const struct cas_request *r, struct cas_response *ret)
{
    struct cas_turn t = {.c = c, .r = r, .to = ret};
    const struct route *route = NULL;

    *ret = (struct cas_response){0};
    if (c->broken) {
        cas_refuse(&t, 503, "BROKEN", "%s", c->broken_why.text);
        return;
    }
    route = find_route(&t);
    if (route == NULL) {
        return;
    }
    c->since_s = c->since_s == 0 ? r->now_s : c->since_s;
    look_at_peer(&t);
    cas_seen(&t);
    if (strcmp(r->method, "POST") == 0) {
        t.body = r->body.n > CAS_BODY_MAX
                     ? NULL
                     : json_loadb((const char *)r->body.p, r->body.n, JSON_REJECT_DUPLICATES, NULL);
        if (!json_is_object(t.body)) {
            json_decref(t.body);
            cas_refuse(&t, 400, "MALFORMED", "the request is no JSON object");
            return;
        }
    }
    route->on(&t);
    json_decref(t.body);
}
