// SPDX-License-Identifier: Apache-2.0
/* What the CAS keeps, as JSON in sealed rows: CAS-24. */
#include "trusted/cas/cas_internal.h"

#include <openssl/crypto.h>

#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

void cas_batch_start(const struct cas *c, struct cas_batch *b)
{
    *b = (struct cas_batch){.audit_n = c->audit_n};
    memcpy(b->next_head, c->audit_head, sizeof(b->next_head));
}

void cas_batch_put(struct cas_batch *b, const char *table, const char *id, json_t *value)
{
    struct cas_row *row = &b->row[b->n];
    char *text = value == NULL ? NULL : json_dumps(value, JSON_COMPACT | JSON_SORT_KEYS);

    if (b->n == CAS_BATCH_MAX || (value != NULL && text == NULL)) {
        b->failed = true;
        free(text);
    } else {
        (void)snprintf(row->table, sizeof(row->table), "%s", table);
        (void)snprintf(row->id, sizeof(row->id), "%s", id);
        row->value = (struct bytes){(uint8_t *)text, text == NULL ? 0 : strlen(text)};
        b->n++;
    }
    json_decref(value);
}

/* The hash of an entry: of the one before, and of this one's text without its own hash. */
static void chain(const uint8_t prev[static SHA256_LEN], const json_t *entry,
                  uint8_t ret[static SHA256_LEN])
{
    char *text = json_dumps(entry, JSON_COMPACT | JSON_SORT_KEYS);
    const struct bytes parts[] = {{prev, SHA256_LEN},
                                  {(const uint8_t *)text, text == NULL ? 0 : strlen(text)}};

    sha256(parts, 2, ret);
    free(text);
}

void cas_batch_audit(struct cas_batch *b, uint64_t now_s, const char *what, const char *who,
                     const char *format, ...)
{
    char text[384], id[24], when[32], hex[2 * SHA256_LEN + 1];
    json_t *entry = NULL;
    va_list args;

    va_start(args, format);
    (void)vsnprintf(text, sizeof(text), format, args);
    va_end(args);
    (void)snprintf(id, sizeof(id), "%020" PRIu64, ++b->audit_n);
    entry = json_pack("{s:I,s:s,s:s,s:s,s:s}", "seq", (json_int_t)b->audit_n, "at",
                      attest_time_format(now_s, when), "what", what, "who", who, "detail", text);
    if (entry == NULL) {
        b->failed = true;
        return;
    }
    chain(b->next_head, entry, b->next_head);
    cas_to_hex((struct bytes){b->next_head, SHA256_LEN}, hex);
    (void)json_object_set_new(entry, "hash", json_string(hex));
    cas_batch_put(b, "audit", id, entry);
}

bool cas_batch_commit(struct cas *c, struct cas_batch *b, struct explain *why)
{
    bool good = !b->failed && !c->broken;

    if (!good) {
        explain(why, "%s", c->broken ? c->broken_why.text : "out of memory");
    } else if (cas_store_commit(c->store, b->row, b->n, why) != OK) {
        c->broken = true;
        c->broken_why = *why;
        good = false;
    } else {
        c->audit_n = b->audit_n;
        memcpy(c->audit_head, b->next_head, sizeof(c->audit_head));
    }
    for (size_t i = 0; i < b->n; i++) {
        free((void *)(uintptr_t)b->row[i].value.p);
    }
    return good;
}

bool cas_commit(struct cas_turn *t, struct cas_batch *b)
{
    struct explain why = {0};

    if (cas_batch_commit(t->c, b, &why)) {
        return true;
    }
    cas_refuse(t, 503, "STORE", "nothing was done: %s", why.text);
    return false;
}

void cas_put_policy(struct cas_batch *b, const char *text)
{
    cas_batch_put(b, "policy", "now", json_pack("{s:s}", "text", text));
}

void cas_put_epoch(struct cas_batch *b, const char *yaml, const char *signature)
{
    cas_batch_put(b, "epoch", "now", json_pack("{s:s,s:s}", "yaml", yaml, "signature", signature));
}

void cas_put_register(struct cas_batch *b, const struct config_register *r)
{
    uint8_t bytes[REGISTER_BYTES_MAX];
    size_t n = 0;
    char *text = NULL;

    if (register_encode(r, (struct mbytes){bytes, sizeof(bytes)}, &n) == OK) {
        text = evidence_base64((struct bytes){bytes, n});
    }
    if (text == NULL) {
        b->failed = true;
        return;
    }
    cas_batch_put(b, "register", "now", json_pack("{s:s}", "register", text));
    free(text);
}

void cas_put_claim(struct cas_batch *b, const struct cas_claim *claim)
{
    char id[16], hex[2 * EVIDENCE_KEY_HASH_LEN + 1];

    (void)snprintf(id, sizeof(id), "%u", claim->incarnation);
    cas_to_hex((struct bytes){claim->key_hash, sizeof(claim->key_hash)}, hex);
    cas_batch_put(b, "claim", id,
                  json_pack("{s:I,s:s,s:I,s:I}", "incarnation", (json_int_t)claim->incarnation,
                            "key", hex, "at", (json_int_t)claim->at_s, "ca_step",
                            (json_int_t)claim->ca_step));
}

void cas_remove_claim(struct cas_batch *b, uint32_t incarnation)
{
    char id[16];

    (void)snprintf(id, sizeof(id), "%u", incarnation);
    cas_batch_put(b, "claim", id, NULL);
}

void cas_put_las(struct cas_batch *b, const struct cas_las *las)
{
    char *spki = evidence_base64((struct bytes){las->spki, las->spki_n});

    cas_batch_put(b, "las", las->name,
                  spki == NULL ? NULL
                               : json_pack("{s:s,s:s,s:I}", "kind", attest_kind_name(las->kind),
                                           "key", spki, "until", (json_int_t)las->until_s));
    b->failed |= spki == NULL;
    free(spki);
}

/* ---- reading them back ---- */

struct load {
    struct cas *c;
    struct explain *why;
};

static const char *text_of(const json_t *j, const char *key)
{
    const char *text = json_string_value(json_object_get(j, key));

    return text == NULL ? "" : text;
}

static enum err read_meta(struct load *l, const char *id, const json_t *j)
{
    if (strcmp(id, "ca") == 0) {
        l->c->ca.cert_pem = strdup(text_of(j, "cert"));
        l->c->ca.key_pem = strdup(text_of(j, "key"));
        l->c->ca_step.n = (uint64_t)json_integer_value(json_object_get(j, "step"));
        l->c->ca_step.at_s = (uint64_t)json_integer_value(json_object_get(j, "at"));
        return l->c->ca.cert_pem == NULL || l->c->ca.key_pem == NULL ? ERR_IO : OK;
    }
    if (strcmp(id, "ca-other") == 0) {
        const char *key = text_of(j, "key");

        l->c->ca_other.cert_pem = strdup(text_of(j, "cert"));
        l->c->ca_other.key_pem = key[0] == '\0' ? NULL : strdup(key);
        return l->c->ca_other.cert_pem == NULL ? ERR_IO : OK;
    }
    if (strcmp(id, "owner") == 0) {
        const char *hex = text_of(j, "key");

        return cas_hex(hex, strlen(hex), l->c->owner_hash, sizeof(l->c->owner_hash))
                   ? OK
                   : ERR_MALFORMED;
    }
    return ERR_MALFORMED;
}

static enum err read_policy(struct load *l, const json_t *j)
{
    l->c->policy_text = strdup(text_of(j, "text"));
    if (l->c->policy_text == NULL) {
        return ERR_IO;
    }
    return cas_policy_parse(l->c->policy_text, strlen(l->c->policy_text), &l->c->policy, l->why);
}

static enum err read_epoch(struct load *l, const json_t *j)
{
    l->c->cluster_text = strdup(text_of(j, "yaml"));
    l->c->cluster_signature = strdup(text_of(j, "signature"));
    return l->c->cluster_text == NULL || l->c->cluster_signature == NULL ? ERR_IO : OK;
}

static enum err read_las(struct load *l, const char *name, const json_t *j)
{
    struct cas_las *las = &l->c->las[l->c->las_n];
    const char *key = text_of(j, "key");

    if (l->c->las_n == CAS_LAS_MAX || !attest_kind_parse(text_of(j, "kind"), &las->kind)) {
        return ERR_MALFORMED;
    }
    (void)snprintf(las->name, sizeof(las->name), "%.63s", name);
    las->spki = evidence_unbase64(key, strlen(key), &las->spki_n);
    las->until_s = (uint64_t)json_integer_value(json_object_get(j, "until"));
    l->c->las_n++;
    return las->spki == NULL ? ERR_MALFORMED : OK;
}

static enum err read_revoked(struct load *l, const char *name, const json_t *j)
{
    struct cas_revoked *r = &l->c->revoked[l->c->revoked_n];

    if (l->c->revoked_n == CAS_REVOKED_MAX) {
        return ERR_FULL;
    }
    (void)snprintf(r->name, sizeof(r->name), "%.63s", name);
    r->at_s = (uint64_t)json_integer_value(json_object_get(j, "at"));
    l->c->revoked_n++;
    return OK;
}

/* CAS-25: the chain is followed at every start. */
static enum err read_audit(struct load *l, json_t *j)
{
    char hex[2 * SHA256_LEN + 1];
    const char *hash = text_of(j, "hash");
    bool good = (uint64_t)json_integer_value(json_object_get(j, "seq")) == l->c->audit_n + 1;
    json_t *entry = json_copy(j);

    (void)json_object_del(entry, "hash");
    chain(l->c->audit_head, entry, l->c->audit_head);
    cas_to_hex((struct bytes){l->c->audit_head, SHA256_LEN}, hex);
    good = good && strcmp(hex, hash) == 0;
    json_decref(entry);
    l->c->audit_n++;
    if (!good) {
        explain(l->why, "entry %" PRIu64 " of the audit log does not follow the one before",
                l->c->audit_n);
    }
    return good ? OK : ERR_AUTH;
}

static enum err read_claim(struct load *l, const json_t *j)
{
    struct cas_claim *claim = &l->c->claim[l->c->claims_n];
    const char *hex = text_of(j, "key");

    if (l->c->claims_n == CLUSTER_MAX) {
        return ERR_MALFORMED;
    }
    l->c->claims_n++;
    claim->incarnation = (uint32_t)json_integer_value(json_object_get(j, "incarnation"));
    claim->at_s = (uint64_t)json_integer_value(json_object_get(j, "at"));
    claim->ca_step = (uint64_t)json_integer_value(json_object_get(j, "ca_step"));
    return cas_hex(hex, strlen(hex), claim->key_hash, sizeof(claim->key_hash)) ? OK : ERR_MALFORMED;
}

static enum err read_register(struct load *l, const json_t *j)
{
    const char *text = text_of(j, "register");
    size_t n = 0;
    uint8_t *bytes = evidence_unbase64(text, strlen(text), &n);
    enum err err =
        bytes == NULL ? ERR_MALFORMED : register_decode((struct bytes){bytes, n}, &l->c->reg);

    free(bytes);
    return err;
}

static enum err read_one(struct load *l, const struct cas_row *row, json_t *j)
{
    if (strcmp(row->table, "meta") == 0) {
        return read_meta(l, row->id, j);
    }
    if (strcmp(row->table, "policy") == 0) {
        return read_policy(l, j);
    }
    if (strcmp(row->table, "las") == 0) {
        return read_las(l, row->id, j);
    }
    if (strcmp(row->table, "revoked") == 0) {
        return read_revoked(l, row->id, j);
    }
    if (strcmp(row->table, "audit") == 0) {
        return read_audit(l, j);
    }
    if (strcmp(row->table, "epoch") == 0) {
        return read_epoch(l, j);
    }
    if (strcmp(row->table, "claim") == 0) {
        return read_claim(l, j);
    }
    if (strcmp(row->table, "register") == 0) {
        return read_register(l, j);
    }
    return ERR_MALFORMED;
}

static enum err read_row(void *ctx, const struct cas_row *row)
{
    struct load *l = ctx;
    json_t *j = json_loadb((const char *)row->value.p, row->value.n, 0, NULL);
    enum err err = j == NULL ? ERR_MALFORMED : read_one(l, row, j);

    json_decref(j);
    return err;
}

/* The rows are whole and sealed; do they fit each other? */
static bool agrees(const struct cas *c)
{
    const struct cluster *latest = register_latest(&c->reg);
    char *text = NULL;
    bool good = c->policy != NULL && c->ca.key_pem != NULL && c->reg.phase != REGISTER_EMPTY &&
                c->cluster_text != NULL && (text = cluster_format(latest)) != NULL &&
                strcmp(text, c->cluster_text) == 0;

    free(text);
    return good;
}

RESULT cas_read_records(struct cas *c, struct explain *why)
{
    struct load l = {.c = c, .why = why};
    enum err err;

    why->text[0] = '\0';
    err = cas_store_read(c->store, read_row, &l, why);
    if (err == OK && c->ca.cert_pem != NULL && !cas_ca_set_bundle(c)) {
        err = ERR_IO;
    }
    if (err == OK && !agrees(c)) {
        err = ERR_AUTH;
    }
    if (err == OK) {
        c->cluster = *register_latest(&c->reg);
    } else if (why->text[0] == '\0') {
        explain(why, "the state is not complete, or of another version of this program");
    }
    return err;
}
