// SPDX-License-Identifier: Apache-2.0
#include "trusted/evidence/evidence_internal.h"

#include "common/check.h"

#include <openssl/crypto.h>
#include <openssl/evp.h>

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

static const char *const file_names[EVIDENCE_FILES_N] = {
    "pck_chain.pem", "tcb_info.json",   "qe_identity.json", "tcb_signing_chain.pem",
    "pck_crl.der",   "root_ca_crl.der", "vcek.der",         "vlek.der",
    "ask.pem",       "asvk.pem",        "ark.pem",          "crl.der",
    "auxblob.bin",
};

const char *evidence_file_name(size_t index)
{
    return index < EVIDENCE_FILES_N ? file_names[index] : NULL;
}

struct bytes *evidence_slot(struct attest_collateral *c, const char *name, size_t *ret_index)
{
    struct bytes *slots[EVIDENCE_FILES_N] = {
        &c->pck_chain, &c->tcb_info,    &c->qe_identity, &c->tcb_signing_chain,
        &c->pck_crl,   &c->root_ca_crl, &c->vcek,        &c->vlek,
        &c->ask,       &c->asvk,        &c->ark,         &c->crl,
        &c->auxblob,
    };

    for (size_t i = 0; i < EVIDENCE_FILES_N; i++) {
        if (strcmp(name, file_names[i]) == 0) {
            *ret_index = i;
            return slots[i];
        }
    }
    return NULL;
}

RESULT evidence_keep(struct evidence *e, const char *name, uint8_t *p, size_t n)
{
    size_t at = 0;
    struct bytes *slot = evidence_slot(&e->collateral, name, &at);

    if (slot == NULL || e->file[at] != NULL) {
        free(p);
        return ERR_FULL;
    }
    e->file[at] = p;
    *slot = (struct bytes){p, n};
    return OK;
}

void evidence_free(struct evidence *e)
{
    free(e->p);
    for (size_t i = 0; i < EVIDENCE_FILES_N; i++) {
        free(e->file[i]);
    }
    *e = (struct evidence){0};
}

struct bytes evidence_bytes(const struct evidence *e)
{
    return (struct bytes){e->p, e->n};
}

RESULT evidence_read(const struct evidence_place *at, size_t max, uint8_t **ret, size_t *ret_n,
                     struct explain *why)
{
    int fd = openat(at->dir, at->name, O_RDONLY | O_CLOEXEC | O_NOCTTY);
    uint8_t *p = fd < 0 ? NULL : malloc(max + 1);
    size_t n = 0;
    ssize_t got = fd < 0 || p == NULL ? -1 : 1;

    /* Pseudo files have no size; configfs makes the evidence at the first read. */
    while (got > 0 && n <= max) {
        got = read(fd, p + n, max + 1 - n);
        if (got < 0 && errno == EINTR) {
            got = 1;
            continue;
        }
        n += got > 0 ? (size_t)got : 0;
    }
    if (got < 0 || n > max) {
        int code = errno;

        explain(why, "%s/%s cannot be read: %s", at->dir_path, at->name,
                n > max ? "it is too long" : strerror(code));
        if (fd >= 0) {
            (void)close(fd);
        }
        free(p);
        errno = code;
        return code == EBUSY && n <= max ? ERR_BUSY : ERR_IO;
    }
    (void)close(fd);
    *ret = p;
    *ret_n = n;
    return OK;
}

RESULT evidence_write(const struct evidence_place *at, struct bytes b, struct explain *why)
{
    int fd = openat(at->dir, at->name, O_WRONLY | O_CLOEXEC | O_NOCTTY);
    ssize_t n = -1;

    if (fd >= 0) {
        do {
            n = write(fd, b.p, b.n);
        } while (n < 0 && errno == EINTR);
        if (close(fd) != 0) {
            n = -1; /* configfs takes binary attributes when they are closed */
        }
    }
    if (n != (ssize_t)b.n) {
        explain(why, "%s/%s cannot be written: %s", at->dir_path, at->name, strerror(errno));
        return ERR_IO;
    }
    return OK;
}

RESULT evidence_load_folder(const char *dir, struct evidence *e, struct explain *why)
{
    int fd = open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    enum err err = OK;

    if (fd < 0) {
        explain(why, "%s cannot be opened: %s", dir, strerror(errno));
        return ERR_IO;
    }
    for (size_t i = 0; i < EVIDENCE_FILES_N && err == OK; i++) {
        struct evidence_place at = {fd, dir, file_names[i]};
        uint8_t *p = NULL;
        size_t n = 0;

        if (faccessat(fd, file_names[i], F_OK, 0) != 0 || e->file[i] != NULL) {
            continue; /* not there, or there from a better source */
        }
        err = evidence_read(&at, ATTEST_COLLATERAL_MAX, &p, &n, why);
        if (err == OK) {
            err = evidence_keep(e, file_names[i], p, n);
        }
    }
    (void)close(fd);
    return err;
}

RESULT evidence_source_parse(const char *text, struct evidence_source *ret, struct explain *why)
{
    static const char *const defaults[ATTEST_KINDS_N] = {
        [ATTEST_SGX] = "/dev/attestation",
        [ATTEST_TDX] = "/sys/kernel/config/tsm/report",
        [ATTEST_SNP] = "/sys/kernel/config/tsm/report",
    };
    const char *colon = strchr(text, ':');
    size_t n = colon == NULL ? strlen(text) : (size_t)(colon - text);
    const char *path = NULL;
    char kind[16] = "";

    if (n < sizeof(kind)) {
        (void)snprintf(kind, sizeof(kind), "%.*s", (int)n, text);
    }
    *ret = (struct evidence_source){0};
    if (!attest_kind_parse(kind, &ret->kind)) {
        explain(why,
                "evidence '%s': permitted are software:DIR, sgx, snp and tdx, the last three "
                "also with :DIR",
                text);
        return ERR_USAGE;
    }
    path = colon == NULL ? defaults[ret->kind] : colon + 1;
    if (path == NULL || path[0] == '\0' || strlen(path) > EVIDENCE_PATH_MAX) {
        explain(why, "evidence '%s': %s", text,
                path == NULL ? "software needs the folder of its platform, as software:DIR"
                             : "the path is empty or too long");
        return ERR_USAGE;
    }
    memcpy(ret->path, path, strlen(path) + 1);
    return OK;
}

/* EVD-3: a source that answers somebody else's question, or an old one, is found out here and not
 * by a verifier far away. */
static enum err check_report_data(const struct evidence_source *s, const struct evidence *e,
                                  struct bytes wanted, struct explain *why)
{
    struct attest_input in = {.kind = s->kind, .evidence = evidence_bytes(e)};
    struct attest_verdict *v = calloc(1, sizeof(*v));
    enum err err = OK;

    if (v == NULL) {
        explain(why, "out of memory");
        return ERR_IO;
    }
    attest_verify(&in, v);
    if (!v->parsed) {
        explain(why, "%s gave no %s evidence that we know; is it the right source?", s->path,
                attest_kind_name(s->kind));
        err = ERR_MALFORMED;
    } else if (!bytes_equal(v->report_data, wanted)) {
        explain(why,
                "%s gave evidence over other report data than asked for; does another process "
                "use the same entry?",
                s->path);
        err = ERR_BUSY;
    }
    free(v);
    return err;
}

RESULT evidence_make(const struct evidence_source *s,
                     const uint8_t report_data[static EVIDENCE_REPORT_DATA_LEN],
                     struct evidence *ret, struct explain *why)
{
    struct bytes data = {report_data, EVIDENCE_REPORT_DATA_LEN};
    struct evidence e = {.kind = s->kind};
    enum err err = OK;

    switch (s->kind) {
    case ATTEST_SGX:
        err = evidence_gramine(s, data, &e, why);
        break;
    case ATTEST_TDX:
    case ATTEST_SNP:
        err = evidence_tsm(s, data, &e, why);
        break;
    case ATTEST_SOFTWARE:
        err = evidence_software(s, data, &e, why);
        break;
    case ATTEST_KINDS_N:
    default:
        CHECK(false);
    }
    if (err == OK) {
        err = check_report_data(s, &e, data, why);
    }
    if (err == OK && s->collateral != NULL) {
        err = evidence_load_folder(s->collateral, &e, why);
    }
    if (err != OK) {
        evidence_free(&e);
        return err;
    }
    *ret = e;
    return OK;
}

RESULT evidence_collateral(const char *dir, struct evidence *ret, struct explain *why)
{
    struct evidence e = {0};
    enum err err = evidence_load_folder(dir, &e, why);

    if (err != OK) {
        evidence_free(&e);
        return err;
    }
    *ret = e;
    return OK;
}

void evidence_report_data(const struct evidence_binding *b,
                          uint8_t ret[static EVIDENCE_REPORT_DATA_LEN])
{
    memcpy(ret, b->key_hash, sizeof(b->key_hash));
    memcpy(ret + sizeof(b->key_hash), b->nonce, sizeof(b->nonce));
}

void evidence_key_hash(struct bytes spki, uint8_t ret[static EVIDENCE_KEY_HASH_LEN])
{
    unsigned n = 0;

    CHECK(EVP_Digest(spki.p, spki.n, ret, &n, EVP_sha512_256(), NULL) == 1);
    CHECK(n == EVIDENCE_KEY_HASH_LEN);
}
