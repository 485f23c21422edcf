// SPDX-License-Identifier: Apache-2.0
/* What the CAS says and is told. */
#include "tools/supervisor.h"

#include "daemons/log.h"
#include "tools/cli.h"
#include "tools/slurp.h"
#include "trusted/config/explain.h"
#include "trusted/pki/pki_cert.h"

#include <openssl/evp.h>
#include <openssl/pem.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

enum {
    TIMEOUT_MS = 2000,
    SOON_MS = 20,    /* while it starts */
    CHANGE_MS = 200, /* while something changes; what members report comes earlier */
    QUIET_MS = 5000,
    PATIENT_MS = 3000, /* so long after our start it is not away but late */
    CONFIG_MAX = 1 << 16,
    SIGNATURE_MAX = 80,
};

/* ---- what it says ---- */

static const char *text_of(const json_t *j, const char *key)
{
    const char *text = json_string_value(json_object_get(j, key));

    return text == NULL ? "" : text;
}

bool supervisor_cas_is_quiet(const struct supervisor *s)
{
    return s->cas.is_up && strcmp(text_of(s->cas.standing, "health"), "changing") != 0;
}

/* Base64 on one line, as the CAS writes it. */
static bool unbase64(const char *text, uint8_t *to, size_t room, size_t *ret_n)
{
    size_t n = strlen(text);
    uint8_t buffer[4 * (SIGNATURE_MAX / 3 + 2)];
    int got;

    if (n == 0 || n % 4 != 0 || n / 4 * 3 > sizeof(buffer) ||
        (got = EVP_DecodeBlock(buffer, (const unsigned char *)text, (int)n)) < 0) {
        return false;
    }
    *ret_n = (size_t)got - (text[n - 1] == '=') - (text[n - 2] == '=');
    if (*ret_n > room) {
        return false;
    }
    memcpy(to, buffer, *ret_n);
    return true;
}

static enum err read_config(const struct supervisor *s, const json_t *a, struct cluster *ret,
                            struct cluster_signed *ret_config, struct explain *why)
{
    const char *yaml = text_of(a, "cluster");
    struct bytes ca = {(const uint8_t *)s->cas.link.ca_pem, strlen(s->cas.link.ca_pem)};
    struct cluster_signed c = {0};
    uint8_t *sig = malloc(SIGNATURE_MAX);
    enum err err = ERR_MALFORMED;

    c.text = (struct bytes){(const uint8_t *)strdup(yaml), strlen(yaml)};
    c.sig.p = sig;
    if (sig != NULL && c.text.p != NULL &&
        unbase64(text_of(a, "signature"), sig, SIGNATURE_MAX, &c.sig.n)) {
        err = cluster_check(c.text, c.sig, ca, ret, why);
    } else {
        explain(why, "the CAS's configuration has no signature");
    }
    if (err != OK) {
        cluster_signed_free(&c);
        return err;
    }
    *ret_config = c;
    return OK;
}

/* ---- a client's identity for the owner of the folder ---- */

static char *key_text(EVP_PKEY *key)
{
    BIO *bio = BIO_new(BIO_s_secmem());

    if (bio == NULL || PEM_write_bio_PKCS8PrivateKey(bio, key, NULL, NULL, 0, NULL, NULL) != 1) {
        BIO_free(bio);
        return NULL;
    }
    return pki_take_text(bio);
}

static json_t *client_body(EVP_PKEY *key)
{
    unsigned char *der = NULL;
    int n = i2d_PUBKEY(key, &der);
    unsigned char *text = n <= 0 ? NULL : calloc(1, (size_t)n * 4 / 3 + 8);
    json_t *body = NULL;

    if (text != NULL) {
        (void)EVP_EncodeBlock(text, der, n);
        body = json_pack("{s:s,s:s}", "name", "owner", "key", (const char *)text);
    }
    free(text);
    OPENSSL_free(der);
    return body;
}

static enum err new_client(struct supervisor *s, struct pki_pair *ret, struct explain *why)
{
    EVP_PKEY *key = EVP_EC_gen("P-256");
    json_t *body = key == NULL ? NULL : client_body(key), *answer = NULL;
    enum err err = ERR_IO;

    if (body == NULL) {
        explain(why, "out of memory");
    } else {
        err = supervisor_cas_call(s, "/v1/client", body, &answer, why);
    }
    if (err == OK) {
        ret->key_pem = key_text(key);
        ret->cert_pem = strdup(text_of(answer, "certificate"));
        err = ret->key_pem == NULL || ret->cert_pem == NULL ? ERR_IO : OK;
        json_decref(answer);
    }
    if (err == OK) {
        err = identity_from_pem(s->cas.link.ca_pem, ret->cert_pem, ret->key_pem,
                                (uint64_t)time(NULL), &s->owner, why);
    }
    EVP_PKEY_free(key);
    return err;
}

/* Writes what the CAS hands out, once for each epoch and once after our own start. */
static enum err publish(struct supervisor *s, const struct cluster *c,
                        const struct cluster_signed *config, struct explain *why)
{
    struct pki_pair client = {0};
    bool is_first = s->owner == NULL;
    const struct cluster_dir_epoch epoch = {.cluster = c,
                                            .text = config->text,
                                            .sig = config->sig,
                                            .client = is_first ? &client : NULL};
    enum err err = is_first ? new_client(s, &client, why) : OK;

    if (err == OK) {
        err = cluster_dir_renew(&s->folder, &epoch, why);
    }
    if (err != OK && is_first) {
        identity_free(s->owner);
        s->owner = NULL;
    }
    pki_pair_free(&client);
    return err;
}

static enum err take(struct supervisor *s, const json_t *a, struct explain *why)
{
    struct cluster_signed config = {0};
    struct cluster next = {0};

    if (strcmp(text_of(a, "what"), text_of(s->cas.standing, "what")) != 0) {
        node_log("info", "%s", text_of(a, "what"));
    }
    json_decref(s->cas.standing);
    s->cas.standing = json_incref((json_t *)(uintptr_t)a);
    if ((uint64_t)json_integer_value(json_object_get(a, "epoch")) == s->cas.cluster.epoch) {
        return OK;
    }
    TRY(read_config(s, a, &next, &config, why));
    if (next.epoch < s->cas.cluster.epoch) {
        explain(why, "the CAS hands out epoch %llu after epoch %llu",
                (unsigned long long)next.epoch, (unsigned long long)s->cas.cluster.epoch);
        cluster_signed_free(&config);
        return ERR_EPOCH;
    }
    if (publish(s, &next, &config, why) != OK) {
        cluster_signed_free(&config);
        return ERR_IO;
    }
    cluster_signed_free(&s->cas.config);
    s->cas.cluster = next;
    s->cas.config = config;
    return OK;
}

/* ---- asking it ---- */

static void note(struct supervisor *s, enum err err, const struct explain *why)
{
    struct supervisor_cas *c = &s->cas;
    bool was_up = c->is_up;

    c->is_up = err != ERR_UNAVAILABLE && err != ERR_AUTH;
    if (c->is_up) {
        if (!was_up && c->why.text[0] != '\0') {
            node_log("info", "the CAS answers");
        }
        c->why.text[0] = '\0';
    } else {
        if ((was_up || c->why.text[0] == '\0') && s->now_ms > s->began_at_ms + PATIENT_MS) {
            node_log("warning", "%s; the cluster serves on, changes of members wait", why->text);
        }
        c->why = *why;
    }
}

static enum err call(struct supervisor *s, const struct cas_link_ask *ask, json_t **ret,
                     struct explain *why)
{
    enum err err = OK;

    if (!s->cas.is_open) {
        err = cas_link_open(s->folder.fd, &s->cas.link, why);
        if (err != OK) {
            json_decref(ask->body);
            note(s, ERR_UNAVAILABLE, why);
            return ERR_UNAVAILABLE;
        }
        s->cas.is_open = true;
    }
    err = cas_link_call(&s->cas.link, ask, ret, why);
    s->now_ms = cli_now_ms();
    note(s, err, why);
    return err;
}

RESULT supervisor_cas_call(struct supervisor *s, const char *path, json_t *body, json_t **ret,
                           struct explain *why)
{
    const struct cas_link_ask ask = {"POST", path, body, TIMEOUT_MS};

    return call(s, &ask, ret, why);
}

RESULT supervisor_cas_order(struct supervisor *s, json_t *order, json_t **ret, struct explain *why)
{
    json_t *answer = NULL;

    TRY(supervisor_cas_call(s, "/v1/member", order, &answer, why));
    if (take(s, answer, why) != OK) {
        node_log("error", "%s", why->text);
    }
    s->cas.ask_at_ms = 0;
    if (ret != NULL) {
        *ret = answer;
    } else {
        json_decref(answer);
    }
    return OK;
}

static bool somebody_runs(const struct supervisor *s)
{
    bool runs = false;

    for (uint32_t i = 0; i < s->folder.cluster.members_n; i++) {
        struct node_process p = node_process_find(s->folder.fd, s->folder.cluster.members[i].node);

        runs = runs || p.state == NODE_ALIVE;
        node_process_close(&p);
    }
    return runs;
}

/* All members had ended when `avocado up` was called: what it wants instead of them stands in a
 * file until it is done. CAS-40 */
static void begin_again(struct supervisor *s)
{
    uint8_t *text = NULL;
    size_t n = 0;
    json_t *answer = NULL;
    struct explain why = {{0}};
    enum err err;

    if (slurp_at(s->folder.fd, "wanted.yaml", CONFIG_MAX, &text, &n) != SLURP_OK) {
        return;
    }
    if (somebody_runs(s)) { /* of an order that was never carried out */
        (void)unlinkat(s->folder.fd, "wanted.yaml", 0);
        free(text);
        return;
    }
    err = supervisor_cas_call(
        s, "/v1/epoch",
        json_pack("{s:b,s:s}", "accept_data_loss", 1, "configuration", (const char *)text), &answer,
        &why);
    if (err == OK) {
        (void)unlinkat(s->folder.fd, "wanted.yaml", 0);
        json_decref(answer);
    } else if (err != ERR_UNAVAILABLE) {
        node_log("error", "no new epoch: %s", why.text);
        (void)unlinkat(s->folder.fd, "wanted.yaml", 0);
    }
    free(text);
}

void supervisor_cas_step(struct supervisor *s)
{
    const struct cas_link_ask ask = {"GET", "/v1/members", NULL, TIMEOUT_MS};
    struct explain why = {{0}};
    json_t *answer = NULL;
    enum err err;

    if (s->now_ms < s->cas.ask_at_ms) {
        return;
    }
    if (s->cas.cluster.epoch == 0) {
        begin_again(s);
    }
    err = call(s, &ask, &answer, &why);
    if (err == OK) {
        supervisor_service_step(s); /* the LAS proves itself meanwhile */
        err = take(s, answer, &why);
        json_decref(answer);
    }
    if (err != OK && err != ERR_UNAVAILABLE) {
        node_log("error", "%s", why.text);
    }
    s->cas.ask_at_ms = s->now_ms + (supervisor_cas_is_quiet(s)                ? QUIET_MS
                                    : s->now_ms < s->began_at_ms + PATIENT_MS ? SOON_MS
                                                                              : CHANGE_MS);
}

void supervisor_cas_close(struct supervisor *s)
{
    json_decref(s->cas.standing);
    cluster_signed_free(&s->cas.config);
    cas_link_close(&s->cas.link);
}
