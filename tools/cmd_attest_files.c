// SPDX-License-Identifier: Apache-2.0
#include "tools/cmd_attest.h"

#include "tools/slurp.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

struct place {
    int dir;
    const char *path;
    size_t max;
    bool may_lack; /* no file is as good as an empty one */
};

/* All of one file; IO, and *why names it. */
static enum err read_file(const struct place *at, uint8_t **ret, struct bytes *ret_bytes,
                          struct explain *why)
{
    uint8_t *p = NULL;
    size_t n = 0;

    switch (slurp_at(at->dir, at->path, at->max, &p, &n)) {
    case SLURP_OK:
        break;
    case SLURP_TOO_BIG:
        explain(why, "%s: has more than %zu bytes; is it the right file?", at->path, at->max);
        return ERR_IO;
    case SLURP_FAILED:
        if (at->may_lack && errno == ENOENT) {
            return OK;
        }
        explain(why, "%s: cannot be read: %s", at->path, strerror(errno));
        return ERR_IO;
    }
    *ret = p;
    *ret_bytes = (struct bytes){p, n};
    return OK;
}

RESULT attest_files_evidence(const char *path, struct attest_files *to, struct bytes *ret,
                             struct explain *why)
{
    return read_file(&(struct place){AT_FDCWD, path, ATTEST_EVIDENCE_MAX, false}, &to->evidence,
                     ret, why);
}

RESULT attest_files_collateral(const char *dir, struct attest_files *to,
                               struct attest_collateral *ret, struct explain *why)
{
    struct attest_collateral c = {0};
    const struct {
        const char *name;
        struct bytes *slot;
    } files[ATTEST_FILES_N] = {
        {"pck_chain.pem", &c.pck_chain},
        {"tcb_info.json", &c.tcb_info},
        {"qe_identity.json", &c.qe_identity},
        {"tcb_signing_chain.pem", &c.tcb_signing_chain},
        {"pck_crl.der", &c.pck_crl},
        {"root_ca_crl.der", &c.root_ca_crl},
        {"vcek.der", &c.vcek},
        {"vlek.der", &c.vlek},
        {"ask.pem", &c.ask},
        {"asvk.pem", &c.asvk},
        {"ark.pem", &c.ark},
        {"crl.der", &c.crl},
        {"auxblob.bin", &c.auxblob},
    };
    int fd = open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    enum err err = OK;

    if (fd < 0) {
        explain(why, "%s: cannot be opened: %s", dir, strerror(errno));
        return ERR_IO;
    }
    for (size_t i = 0; i < ATTEST_FILES_N && err == OK; i++) {
        err = read_file(&(struct place){fd, files[i].name, ATTEST_COLLATERAL_MAX, true},
                        &to->collateral[i], files[i].slot, why);
    }
    (void)close(fd);
    if (err == OK) {
        *ret = c;
    }
    return err;
}

static bool is_certificate_name(const char *name)
{
    static const char *const ends[] = {".pem", ".der", ".crt", ".cer"};
    size_t n = strlen(name);

    for (size_t i = 0; i < sizeof(ends) / sizeof(ends[0]); i++) {
        if (n > 4 && strcmp(name + n - 4, ends[i]) == 0) {
            return true;
        }
    }
    return false;
}

static enum err add_root(int dir, const char *name, struct attest_roots *roots, struct explain *why)
{
    uint8_t *p = NULL;
    struct bytes file = {0};
    enum err err =
        read_file(&(struct place){dir, name, ATTEST_COLLATERAL_MAX, false}, &p, &file, why);

    if (err != OK) {
        return err;
    }
    err = attest_roots_add(roots, file);
    free(p);
    if (err != OK) {
        explain(why,
                err == ERR_FULL ? "%s: more than %d roots"
                                : "%s: not one certificate in "
                                  "canonical PEM or DER",
                name, ATTEST_ROOTS_MAX);
    }
    return err;
}

RESULT attest_files_roots(const char *dir, struct attest_roots *ret, struct explain *why)
{
    struct attest_roots roots = {0};
    DIR *d = opendir(dir);
    const struct dirent *e = NULL;
    enum err err = OK;

    if (d == NULL) {
        explain(why, "%s: cannot be opened: %s", dir, strerror(errno));
        return ERR_IO;
    }
    while (err == OK && (e = readdir(d)) != NULL) {
        if (is_certificate_name(e->d_name)) {
            err = add_root(dirfd(d), e->d_name, &roots, why);
        }
    }
    (void)closedir(d);
    if (err == OK && roots.n == 0) {
        explain(why, "%s: holds no .pem, .der, .crt or .cer file", dir);
        err = ERR_IO;
    }
    if (err == OK) {
        *ret = roots;
    }
    return err;
}

RESULT attest_files_policy(const char *path, struct attest_files *to, struct attest_policy *ret,
                           struct explain *why)
{
    struct bytes text = {0};
    struct explain inner = {0};

    TRY(read_file(&(struct place){AT_FDCWD, path, ATTEST_EVIDENCE_MAX, false}, &to->policy_text,
                  &text, why));
    if (attest_policy_parse((const char *)text.p, text.n, ret, &inner) != OK) {
        explain(why, "%s: %s", path, inner.text);
        return ERR_MALFORMED;
    }
    return OK;
}

void attest_files_free(struct attest_files *f)
{
    for (size_t i = 0; i < ATTEST_FILES_N; i++) {
        free(f->collateral[i]);
    }
    free(f->evidence);
    free(f->policy_text);
    *f = (struct attest_files){0};
}

/* "+02:00" as seconds; false for anything else. */
static bool read_offset(const char *text, int64_t *ret)
{
    unsigned part[2] = {0};

    if (strlen(text) != 6 || (text[0] != '+' && text[0] != '-') || text[3] != ':') {
        return false;
    }
    for (unsigned i = 0; i < 2; i++) {
        const char *p = text + 1 + (size_t)3 * i;

        if (p[0] < '0' || p[0] > '9' || p[1] < '0' || p[1] > '9') {
            return false;
        }
        part[i] = (unsigned)(p[0] - '0') * 10 + (unsigned)(p[1] - '0');
    }
    *ret = (int64_t)(part[0] * 3600 + part[1] * 60) * (text[0] == '-' ? -1 : 1);
    return part[0] <= 23 && part[1] <= 59;
}

RESULT attest_files_time(const char *text, uint64_t *ret)
{
    enum { SECONDS_LEN = 19 };
    char head[SECONDS_LEN + 2];
    const char *tail = text + SECONDS_LEN;
    int64_t offset_s = 0;
    uint64_t s = 0;

    if (strlen(text) < SECONDS_LEN + 1) {
        return ERR_MALFORMED;
    }
    memcpy(head, text, SECONDS_LEN);
    if (head[10] == 't' || head[10] == ' ') {
        head[10] = 'T';
    }
    head[SECONDS_LEN] = 'Z';
    head[SECONDS_LEN + 1] = '\0';
    if (*tail == '.') {
        size_t n = strspn(tail + 1, "0123456789");

        if (n == 0) {
            return ERR_MALFORMED;
        }
        tail += 1 + n;
    }
    if (strcmp(tail, "Z") != 0 && strcmp(tail, "z") != 0 && !read_offset(tail, &offset_s)) {
        return ERR_MALFORMED;
    }
    TRY(attest_time_parse(head, &s));
    if (offset_s > 0 && s < (uint64_t)offset_s) {
        return ERR_MALFORMED;
    }
    *ret = offset_s > 0 ? s - (uint64_t)offset_s : s + (uint64_t)-offset_s;
    return OK;
}
