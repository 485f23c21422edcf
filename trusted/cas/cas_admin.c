// SPDX-License-Identifier: Apache-2.0
/* What members and the owner may ask of a cluster that exists: CAS-36 to CAS-39. */
#include "trusted/cas/cas_internal.h"

#include "trusted/crypto/ct.h"

#include <openssl/err.h>
#include <openssl/x509.h>

#include <stdio.h>
#include <stdlib.h>

bool cas_is_revoked(const struct cas *c, const char *name)
{
    for (uint32_t i = 0; i < c->revoked_n; i++) {
        if (strcmp(c->revoked[i].name, name) == 0) {
            return true;
        }
    }
    return false;
}

bool cas_is_current(struct cas_turn *t)
{
    const struct cluster *cluster = &t->c->cluster;

    /* A replica out of date is still the process that has the incarnation: we were away for too
     * long, and it cannot prove itself again (CAS-33). */
    if (!t->has_name && !(t->is_late && t->name.role == ROLE_REPLICA)) {
        cas_refuse(t, 403, "CERTIFICATE",
                   "an old certificate, or one of somebody else's CA: it must "
                   "be issued here and in date");
        return false;
    }
    if (t->name.role != ROLE_REPLICA) {
        if (cas_is_revoked(t->c, t->name.client)) {
            cas_refuse(t, 403, "REVOKED", "'%s' is revoked", t->name.client);
            return false;
        }
        return true;
    }
    for (uint32_t i = 0; i < cluster->members_n; i++) {
        if (cluster->members[i].node == t->name.node &&
            cluster->members[i].incarnation == t->name.incarnation) {
            return true;
        }
    }
    cas_refuse(t, 403, "OLD_CERTIFICATE",
               "an old certificate: incarnation %u of node %u is no member of epoch %llu",
               t->name.incarnation, t->name.node, (unsigned long long)cluster->epoch);
    return false;
}

/* The public key in the request, or NULL and an answer. */
static EVP_PKEY *read_key(struct cas_turn *t)
{
    const char *text = cas_text(t, "key");
    const unsigned char *at = NULL;
    EVP_PKEY *key = NULL;
    uint8_t *der = NULL;
    size_t n = 0;

    if (text == NULL) {
        return NULL;
    }
    der = evidence_unbase64(text, strlen(text), &n);
    at = der;
    key = der == NULL ? NULL : d2i_PUBKEY(NULL, &at, (long)n);
    if (key != NULL && at != der + n) {
        EVP_PKEY_free(key);
        key = NULL;
    }
    free(der);
    ERR_clear_error();
    if (key == NULL) {
        cas_refuse(t, 400, "MALFORMED", "'key' is no SubjectPublicKeyInfo in base64");
    }
    return key;
}

/* A new certificate, for a new key, for the name that the present one has. */
void cas_on_renew(struct cas_turn *t)
{
    struct identity_name name = t->name;
    EVP_PKEY *key = NULL;
    json_t *body = NULL;

    if (!cas_is_current(t) || (key = read_key(t)) == NULL) {
        return;
    }
    if (name.role == ROLE_SERVICE) {
        cas_refuse(t, 403, "ROLE", "a LAS proves itself again instead");
        EVP_PKEY_free(key);
        return;
    }
    if (name.role == ROLE_CLIENT &&
        !cas_policy_client(t->c->policy, name.client, &name.access)) { /* as the policy is now */
        cas_refuse(t, 403, "CLIENT", "the policy names no client '%s' any more", name.client);
        EVP_PKEY_free(key);
        return;
    }
    name.epoch = name.role == ROLE_REPLICA ? t->c->cluster.epoch : 0;
    body = cas_public(t->c);
    if (cas_issue(t, &name, key, body)) {
        cas_answer(t, 200, body);
    } else {
        json_decref(body);
    }
    EVP_PKEY_free(key);
}

/* The version that a member has seen: CAS-23, the second witness. The mark shows that we said so
 * ourselves: else whoever has a certificate could stop us. */
bool cas_check_seen(struct cas_turn *t)
{
    const char *at = strstr(t->r->query, "seen="), *mark = strstr(t->r->query, "mark=");
    unsigned long long seen = at == NULL ? 0 : strtoull(at + 5, NULL, 10);
    uint64_t now = cas_store_version(t->c->store);
    uint8_t given[CAS_MARK_LEN], wanted[CAS_MARK_LEN];
    char who[96];

    if (at == NULL) {
        return true;
    }
    cas_store_mark(t->c->store, seen, wanted);
    if (mark == NULL || !cas_hex(mark + 5, strlen(mark + 5), given, sizeof(given)) ||
        !ct_equal(given, wanted, sizeof(given))) {
        cas_refuse(t, 400, "MARK", "the mark is not of state version %llu of this CAS", seen);
        return false;
    }
    if (seen > now) {
        t->c->broken = true;
        explain(
            &t->c->broken_why,
            "our state is rolled back: %s has seen state version %llu, ours is %llu; restore the "
            "newest copy of the state",
            cas_who(t, who), seen, (unsigned long long)now);
        cas_refuse(t, 503, "ROLLED_BACK", "%s", t->c->broken_why.text);
        return false;
    }
    return true;
}

void cas_on_config(struct cas_turn *t)
{
    if (cas_is_current(t) && cas_check_seen(t)) {
        cas_ca_heard(t);
        cas_answer(t, 200, cas_public(t->c));
    }
}

void cas_on_policy(struct cas_turn *t)
{
    const char *text = NULL;
    struct cas_policy *next = NULL;
    struct explain why = {0};
    struct cas_batch b;
    char *copy = NULL;

    if (!cas_is_owner(t) || (text = cas_text(t, "policy")) == NULL) {
        return;
    }
    if (cas_policy_parse(text, strlen(text), &next, &why) != OK) {
        cas_refuse(t, 400, "POLICY", "%s", why.text);
        return;
    }
    if (cas_policy_succeeds(t->c->policy, next, &why) != OK) {
        cas_refuse(t, 403, "POLICY", "%s", why.text);
        cas_policy_free(next);
        return;
    }
    copy = strdup(text);
    cas_batch_start(t->c, &b);
    cas_put_policy(&b, text);
    cas_batch_audit(&b, t->r->now_s, "policy", "owner", "version %llu follows version %llu",
                    (unsigned long long)next->version, (unsigned long long)t->c->policy->version);
    if (copy == NULL || !cas_commit(t, &b)) {
        cas_policy_free(next);
        free(copy);
        return;
    }
    cas_policy_free(t->c->policy);
    free(t->c->policy_text);
    t->c->policy = next;
    t->c->policy_text = copy;
    cas_answer(t, 200, json_pack("{s:I}", "policy", (json_int_t)next->version));
}

void cas_on_policy_text(struct cas_turn *t)
{
    if (cas_is_owner(t)) {
        cas_answer(t, 200,
                   json_pack("{s:I,s:s}", "policy", (json_int_t)t->c->policy->version, "text",
                             t->c->policy_text));
    }
}

void cas_on_client(struct cas_turn *t)
{
    const char *text = NULL;
    struct identity_name name = {.role = ROLE_CLIENT};
    EVP_PKEY *key = NULL;
    json_t *body = NULL;
    struct cas_batch b;

    if (!cas_is_owner(t) || (text = cas_text(t, "name")) == NULL || (key = read_key(t)) == NULL) {
        return;
    }
    if (!cas_policy_client(t->c->policy, text, &name.access) || cas_is_revoked(t->c, text) ||
        strlen(text) > NAME_MAX_LEN) {
        cas_refuse(t, 403, "CLIENT", "the policy names no client '%.64s', or it is revoked", text);
        EVP_PKEY_free(key);
        return;
    }
    (void)snprintf(name.client, sizeof(name.client), "%s", text);
    memcpy(name.cluster, t->c->cluster.id, sizeof(name.cluster));
    body = cas_public(t->c);
    cas_batch_start(t->c, &b);
    cas_batch_audit(&b, t->r->now_s, "client", "owner", "a certificate for client %s", name.client);
    if (cas_issue(t, &name, key, body) && cas_commit(t, &b)) {
        cas_answer(t, 200, body);
    } else {
        json_decref(body);
    }
    EVP_PKEY_free(key);
}

void cas_on_revoke(struct cas_turn *t)
{
    const char *name = NULL;
    struct cas *c = t->c;
    struct cas_batch b;

    if (!cas_is_owner(t) || (name = cas_text(t, "name")) == NULL) {
        return;
    }
    if (name[0] == '\0' || strlen(name) > NAME_MAX_LEN) {
        cas_refuse(t, 400, "MALFORMED", "a name has 1 to %d bytes", NAME_MAX_LEN);
        return;
    }
    if (!cas_is_revoked(c, name)) {
        if (c->revoked_n == CAS_REVOKED_MAX) {
            cas_refuse(t, 409, "FULL", "%d names are revoked already; replace the CA instead",
                       CAS_REVOKED_MAX);
            return;
        }
        cas_batch_start(c, &b);
        cas_batch_put(&b, "revoked", name, json_pack("{s:I}", "at", (json_int_t)t->r->now_s));
        cas_batch_audit(&b, t->r->now_s, "revoke", "owner", "%s", name);
        if (!cas_commit(t, &b)) {
            return;
        }
        (void)snprintf(c->revoked[c->revoked_n].name, sizeof(c->revoked[0].name), "%s", name);
        c->revoked[c->revoked_n++].at_s = t->r->now_s;
    }
    cas_answer(t, 200, json_pack("{s:s}", "revoked", name));
}

struct audit {
    json_t *list;
    uint64_t from;
};

static enum err add_entry(void *ctx, const struct cas_row *row)
{
    struct audit *a = ctx;
    json_t *j = NULL;

    if (strcmp(row->table, "audit") != 0) {
        return OK;
    }
    j = json_loadb((const char *)row->value.p, row->value.n, 0, NULL);
    if (j != NULL && (uint64_t)json_integer_value(json_object_get(j, "seq")) >= a->from &&
        json_array_size(a->list) < 1000) {
        return json_array_append_new(a->list, j) == 0 ? OK : ERR_IO;
    }
    json_decref(j);
    return OK;
}

void cas_on_audit(struct cas_turn *t)
{
    const char *at = strstr(t->r->query, "from=");
    struct audit a = {.list = json_array(), .from = at == NULL ? 1 : strtoull(at + 5, NULL, 10)};
    char hex[2 * SHA256_LEN + 1];
    struct explain why = {0};

    if (!cas_is_owner(t)) {
        json_decref(a.list);
        return;
    }
    if (cas_store_read(t->c->store, add_entry, &a, &why) != OK) {
        json_decref(a.list);
        cas_refuse(t, 503, "STORE", "%s", why.text);
        return;
    }
    cas_to_hex((struct bytes){t->c->audit_head, SHA256_LEN}, hex);
    cas_answer(t, 200,
               json_pack("{s:I,s:s,s:o}", "entries", (json_int_t)t->c->audit_n, "head", hex, "log",
                         a.list));
}
