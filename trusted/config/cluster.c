// SPDX-License-Identifier: Apache-2.0
#include "trusted/config/cluster.h"

#include "trusted/config/explain.h"
#include "trusted/config/file.h"

#include <openssl/err.h>
#include <openssl/pem.h>
#include <openssl/x509.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum {
    CONFIG_FILE_MAX = 64 << 10,
    CA_FILE_MAX = 64 << 10,
    SIGNATURE_MAX = 80, /* DER of an ECDSA P-256 signature has at most 72 */
};

/* The next CA's public key; NULL when there is none that we use. */
static EVP_PKEY *next_key(BIO *bio)
{
    X509 *cert = bio == NULL ? NULL : PEM_read_bio_X509(bio, NULL, NULL, NULL);
    EVP_PKEY *key = cert == NULL ? NULL : X509_get_pubkey(cert);
    char group[32] = "";

    if (key != NULL && (EVP_PKEY_get_group_name(key, group, sizeof(group), NULL) != 1 ||
                        strcmp(group, "prime256v1") != 0)) {
        EVP_PKEY_free(key);
        key = NULL;
    }
    X509_free(cert);
    return key;
}

static bool verify_one(EVP_PKEY *key, struct bytes text, struct bytes sig)
{
    EVP_MD_CTX *ctx = EVP_MD_CTX_new();
    bool good = ctx != NULL && EVP_DigestVerifyInit(ctx, NULL, EVP_sha256(), NULL, key) == 1 &&
                EVP_DigestVerify(ctx, sig.p, sig.n, text.p, text.n) == 1;

    EVP_MD_CTX_free(ctx);
    return good;
}

/* By one of the CAs, of which there are two while one follows the other. *ret_keys: how many. */
static bool verify(struct bytes ca_pem, struct bytes text, struct bytes sig, unsigned *ret_keys)
{
    BIO *bio = BIO_new_mem_buf(ca_pem.p, (int)ca_pem.n);
    EVP_PKEY *key = NULL;
    bool good = false;

    *ret_keys = 0;
    while (!good && *ret_keys < CA_CERTS_MAX && (key = next_key(bio)) != NULL) {
        ++*ret_keys;
        good = verify_one(key, text, sig);
        EVP_PKEY_free(key);
    }
    BIO_free(bio);
    ERR_clear_error();
    return good;
}

/* CFG-5: the bytes of the file, as they stand, under the CA's key. */
static enum err check_signature(const char *path, const char *ca_path,
                                const struct cluster_signed *f, struct explain *why)
{
    unsigned keys = 0;

    if (verify(f->ca_pem, f->text, f->sig, &keys)) {
        return OK;
    }
    if (keys == 0) {
        explain(why, "%s: holds no certificate of a P-256 key; give the cluster's CA certificate",
                ca_path);
        return ERR_MALFORMED;
    }
    explain(why,
            "%s: the signature in %s.sig is not by the CA in %s over these bytes; the file was "
            "changed or belongs to another cluster: sign it again with the CA's key",
            path, path, ca_path);
    return ERR_AUTH;
}

RESULT cluster_check(struct bytes text, struct bytes sig, struct bytes ca_pem, struct cluster *ret,
                     struct explain *why)
{
    unsigned keys = 0;

    if (text.n == 0 || text.n > CONFIG_FILE_MAX || sig.n == 0 || sig.n > SIGNATURE_MAX) {
        explain(why, "the configuration or its signature is empty or too long");
        return ERR_MALFORMED;
    }
    if (!verify(ca_pem, text, sig, &keys)) {
        explain(why, "the configuration is not signed by the cluster's CA");
        return ERR_AUTH;
    }
    return cluster_parse((const char *)text.p, text.n, ret, why);
}

static enum err read_one(const char *path, size_t max, struct bytes *ret, struct explain *why)
{
    char *text = NULL;
    enum err err = file_read(path, FILE_PUBLIC, max, &text, &ret->n, why);

    ret->p = (const uint8_t *)text;
    return err;
}

static enum err read_all(const char *path, const char *ca_path, struct cluster_signed *f,
                         struct explain *why)
{
    char sig_path[4096];

    if (snprintf(sig_path, sizeof(sig_path), "%s.sig", path) >= (int)sizeof(sig_path)) {
        explain(why, "%.128s...: the path is too long", path);
        return ERR_IO;
    }
    TRY(read_one(path, CONFIG_FILE_MAX, &f->text, why));
    TRY(read_one(ca_path, CA_FILE_MAX, &f->ca_pem, why));
    return read_one(sig_path, SIGNATURE_MAX, &f->sig, why);
}

RESULT cluster_load_signed(const char *path, const char *ca_path, struct cluster *ret,
                           struct cluster_signed *ret_signed, struct explain *why)
{
    struct cluster_signed f = {0};
    struct explain inner = {0};
    enum err err = read_all(path, ca_path, &f, why);

    if (err == OK) {
        err = check_signature(path, ca_path, &f, why);
    }
    if (err == OK) {
        err = cluster_parse((const char *)f.text.p, f.text.n, ret, &inner);
        if (err != OK) {
            explain(why, "%s: %s", path, inner.text);
        }
    }
    if (err != OK) {
        cluster_signed_free(&f);
        return err == ERR_TOO_BIG ? ERR_MALFORMED : err;
    }
    *ret_signed = f;
    return OK;
}

void cluster_signed_free(struct cluster_signed *s)
{
    file_free((char *)(uintptr_t)s->text.p, s->text.n);
    file_free((char *)(uintptr_t)s->sig.p, s->sig.n);
    file_free((char *)(uintptr_t)s->ca_pem.p, s->ca_pem.n);
    *s = (struct cluster_signed){0};
}

RESULT cluster_load(const char *path, const char *ca_path, struct cluster *ret, struct explain *why)
{
    struct cluster_signed f = {0};
    enum err err = cluster_load_signed(path, ca_path, ret, &f, why);

    cluster_signed_free(&f);
    return err;
}

/* A size as people write it. */
static const char *format_size(uint64_t v, char to[32])
{
    static const char *const units[] = {"", "KiB", "MiB", "GiB"};
    unsigned unit = 0;

    while (unit < 3 && v != 0 && v % 1024 == 0) {
        v /= 1024;
        unit++;
    }
    (void)snprintf(to, 32, "%llu%s", (unsigned long long)v, units[unit]);
    return to;
}

static bool format_nodes(FILE *f, const struct cluster *c, const char *key, uint32_t set)
{
    bool failed = false;
    const char *before = "";

    if (set == 0) {
        return true;
    }
    failed |= fprintf(f, "%s\"", key) < 0;
    for (uint32_t i = 0; i < c->members_n; i++) {
        if ((set >> i & 1) != 0) {
            failed |= fprintf(f, "%s%u", before, c->members[i].node) < 0;
            before = " ";
        }
    }
    return !failed && fprintf(f, "\"\n") >= 0;
}

static bool format_group(FILE *f, const struct cluster *c, const struct cluster_group *g)
{
    return format_nodes(f, c, "  - voters: ", g->voters) &&
           format_nodes(f, c, "    learners: ", g->learners) &&
           (!g->settle || fprintf(f, "    settle: yes\n") >= 0);
}

char *cluster_format(const struct cluster *c)
{
    char hex[2 * CLUSTER_ID_LEN + 1];
    char value_max[32], enclave[32], host[32];
    char *text = NULL;
    size_t n = 0;
    FILE *f = open_memstream(&text, &n);
    bool failed = false;

    if (f == NULL) {
        return NULL;
    }
    for (size_t i = 0; i < CLUSTER_ID_LEN; i++) {
        (void)snprintf(hex + 2 * i, 3, "%02x", c->id[i]);
    }
    failed |=
        fprintf(f,
                "version: 1\ncluster: \"%s\"\nname: \"%s\"\nepoch: %llu\n"
                "replication_factor: %u\nshards: %u\ndatagram_bytes: %u\nvalue_max: %s\n"
                "enclave_memory: %s\nhost_memory: %s\nmembers:\n",
                hex, c->name, (unsigned long long)c->epoch, c->replication_factor, c->shards,
                c->datagram_bytes, format_size(c->value_max, value_max),
                format_size(c->enclave_memory, enclave), format_size(c->host_memory, host)) < 0;
    for (uint32_t i = 0; i < c->members_n && i < CLUSTER_MAX; i++) {
        const struct cluster_member *m = &c->members[i];

        failed |= fprintf(f,
                          "  - node: %u\n    incarnation: %u\n    address: \"%s\"\n"
                          "    control_port: %u\n    data_port: %u\n",
                          m->node, m->incarnation, m->address, (unsigned)m->control_port,
                          (unsigned)m->data_port) < 0;
    }
    failed |= fprintf(f, "groups:\n") < 0;
    for (uint32_t i = 0; i < c->groups_n && i < GROUPS_MAX; i++) {
        failed |= !format_group(f, c, &c->groups[i]);
    }
    failed |= fclose(f) != 0;
    if (failed) {
        free(text);
        return NULL;
    }
    return text;
}
