// SPDX-License-Identifier: Apache-2.0
#include "tools/cluster_dir.h"

#include "tools/client_yaml.h"
#include "tools/slurp.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

enum {
    PEM_MAX = 1 << 16,
    LOAD_TRIES = 5,
    LOAD_PAUSE_US = 20000,
    SIGNATURE_MAX = 80,
    FOLDER_MODE = 0700,
    PUBLIC_MODE = 0644,
    SECRET_MODE = 0600,
};

/* What is founded with each epoch, and moves from commit/ into place; secrets first. */
static const char *const epoch_files[] = {"client.key", "client.crt", "client.yaml", "cluster.yaml",
                                          "cluster.yaml.sig"};
enum { EPOCH_FILES = sizeof(epoch_files) / sizeof(epoch_files[0]) };

__attribute__((format(printf, 2, 3))) static enum err fail(struct explain *why, const char *format,
                                                           ...)
{
    va_list args;

    va_start(args, format);
    (void)vsnprintf(why->text, sizeof(why->text), format, args);
    va_end(args);
    return ERR_IO;
}

static int open_folder(int at, const char *path)
{
    return openat(at, path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
}

static bool is_empty(int fd)
{
    DIR *d = fdopendir(dup(fd));
    unsigned n = 0;

    if (d == NULL) {
        return false;
    }
    while (n <= 2 && readdir(d) != NULL) {
        n++;
    }
    (void)closedir(d);
    return n <= 2;
}

enum cluster_dir_state cluster_dir_probe(const char *path)
{
    int fd = open_folder(AT_FDCWD, path);
    enum cluster_dir_state state = CLUSTER_DIR_FOREIGN;

    if (fd < 0) {
        return errno == ENOENT ? CLUSTER_DIR_ABSENT : CLUSTER_DIR_FOREIGN;
    }
    if (faccessat(fd, "ca/ca.crt", F_OK, 0) == 0) {
        state = CLUSTER_DIR_PRESENT;
    } else if (is_empty(fd)) {
        state = CLUSTER_DIR_ABSENT;
    }
    (void)close(fd);
    return state;
}

/* Moves what commit/ still holds into place, and drops a next/ that never took effect. */
static bool settle(int dir)
{
    static const char *const stages[] = {"commit", "next"};
    char path[64];

    for (size_t i = 0; i < EPOCH_FILES; i++) {
        (void)snprintf(path, sizeof(path), "commit/%s", epoch_files[i]);
        if (renameat(dir, path, dir, epoch_files[i]) != 0 && errno != ENOENT) {
            return false;
        }
        (void)snprintf(path, sizeof(path), "next/%s", epoch_files[i]);
        (void)unlinkat(dir, path, 0);
    }
    for (size_t i = 0; i < 2; i++) {
        if (unlinkat(dir, stages[i], AT_REMOVEDIR) != 0 && errno != ENOENT) {
            return false;
        }
    }
    return true;
}

static enum err load(struct cluster_dir *d, struct explain *why)
{
    char yaml[PATH_MAX + 32], ca[PATH_MAX + 32];

    (void)snprintf(yaml, sizeof(yaml), "%s/cluster.yaml", d->path);
    (void)snprintf(ca, sizeof(ca), "%s/ca/ca.crt", d->path);
    return cluster_load(yaml, ca, &d->cluster, why);
}

static enum err lock(struct cluster_dir *d, struct explain *why)
{
    struct stat st;

    if (fstat(d->fd, &st) != 0 || st.st_uid != geteuid()) {
        return fail(why, "%s belongs to another user; use --dir with a folder of your own",
                    d->path);
    }
    if (flock(d->fd, LOCK_EX | LOCK_NB) != 0) {
        (void)fail(why, "another avocado command is working on %s; wait for it to end", d->path);
        return ERR_BUSY;
    }
    return OK;
}

static enum err open_present(const char *path, struct cluster_dir *ret, bool for_change,
                             struct explain *why)
{
    struct cluster_dir d = {.fd = open_folder(AT_FDCWD, path)};
    enum err err = OK;

    if (d.fd < 0 || realpath(path, d.path) == NULL) {
        err = fail(why, "cannot open %s: %s", path, strerror(errno));
    }
    if (err == OK && for_change) {
        err = lock(&d, why);
        if (err == OK && !settle(d.fd)) {
            err = fail(why, "cannot move files within %s: %s", d.path, strerror(errno));
        }
    }
    if (err == OK) {
        err = load(&d, why);
        /* The supervisor may be between two renames. */
        for (int i = 0; i < LOAD_TRIES && err == ERR_AUTH; i++) {
            (void)usleep(LOAD_PAUSE_US);
            err = load(&d, why);
        }
    }
    if (err != OK) {
        cluster_dir_close(&d);
        return err;
    }
    *ret = d;
    return OK;
}

RESULT cluster_dir_open(const char *path, struct cluster_dir *ret, struct explain *why)
{
    return open_present(path, ret, true, why);
}

RESULT cluster_dir_look(const char *path, struct cluster_dir *ret, struct explain *why)
{
    return open_present(path, ret, false, why);
}

void cluster_dir_close(struct cluster_dir *d)
{
    if (d->fd >= 0) {
        (void)close(d->fd); /* the lock goes with it */
        d->fd = -1;
    }
}

struct file {
    const char *name;
    mode_t mode;
    const void *p;
    size_t n;
};

static enum err write_files(int dir, const char *folder, const struct file *files, size_t n,
                            struct explain *why)
{
    char path[64];

    if (mkdirat(dir, folder, FOLDER_MODE) != 0) {
        return fail(why, "cannot make the folder %s: %s", folder, strerror(errno));
    }
    for (size_t i = 0; i < n; i++) {
        (void)snprintf(path, sizeof(path), "%s/%s", folder, files[i].name);
        if (!spit_at(&(struct spit){dir, files[i].mode, false}, path, files[i].p, files[i].n)) {
            return fail(why, "cannot write %s: %s", path, strerror(errno));
        }
    }
    return OK;
}

/* All that belongs to one epoch, into the new folder next/. */
static enum err write_next(int dir, const struct cluster_dir_content *c, struct explain *why)
{
    char *yaml = cluster_format(c->cluster), *client = client_yaml_format(c->cluster);
    uint8_t sig[SIGNATURE_MAX];
    size_t sig_n = 0;
    enum err err;

    if (yaml == NULL || client == NULL) {
        err = fail(why, "out of memory");
        goto out;
    }
    err = pki_sign(c->ca, (struct bytes){(const uint8_t *)yaml, strlen(yaml)},
                   (struct mbytes){sig, sizeof(sig)}, &sig_n, why);
    if (err == OK) {
        const struct file identity[] = {
            {"client.key", SECRET_MODE, c->client == NULL ? "" : c->client->key_pem, 0},
            {"client.crt", PUBLIC_MODE, c->client == NULL ? "" : c->client->cert_pem, 0},
        };
        struct file files[EPOCH_FILES] = {
            {"client.yaml", PUBLIC_MODE, client, strlen(client)},
            {"cluster.yaml", PUBLIC_MODE, yaml, strlen(yaml)},
            {"cluster.yaml.sig", PUBLIC_MODE, sig, sig_n},
        };
        size_t n = EPOCH_FILES - 2;

        for (size_t i = 0; c->client != NULL && i < 2; i++) {
            files[n] = identity[i];
            files[n++].n = strlen(identity[i].p);
        }
        err = write_files(dir, "next", files, n, why);
    }
out:
    free(client);
    free(yaml);
    return err;
}

static enum err commit(int dir, struct explain *why)
{
    if (renameat(dir, "next", dir, "commit") != 0 || !settle(dir)) {
        return fail(why, "cannot move files within the folder: %s", strerror(errno));
    }
    return OK;
}

static enum err fill_new(int dir, const struct cluster_dir_content *c, struct explain *why)
{
    const struct file ca[] = {
        {"ca.key", SECRET_MODE, c->ca->key_pem, strlen(c->ca->key_pem)},
        {"ca.crt", PUBLIC_MODE, c->ca->cert_pem, strlen(c->ca->cert_pem)},
    };

    TRY(write_files(dir, "ca", ca, sizeof(ca) / sizeof(ca[0]), why));
    TRY(write_files(dir, "log", NULL, 0, why));
    TRY(write_files(dir, "run", NULL, 0, why));
    if (!spit_at(&(struct spit){dir, SECRET_MODE, false}, "register", c->reg.p, c->reg.n)) {
        return fail(why, "cannot write the register: %s", strerror(errno));
    }
    TRY(write_next(dir, c, why));
    return commit(dir, why);
}

static void remove_below(int dir, const char *folder, const char *pattern)
{
    char path[64];

    for (uint32_t node = 1; node <= NODES_MAX; node++) {
        (void)snprintf(path, sizeof(path), "%s/node-%u.%s", folder, node, pattern);
        (void)unlinkat(dir, path, 0);
    }
    (void)unlinkat(dir, folder, AT_REMOVEDIR);
}

/* Only what we put there; the folder itself stays if anything else is in it. */
static void empty_folder(int dir)
{
    (void)settle(dir);
    remove_below(dir, "log", "log");
    (void)unlinkat(dir, "log/supervisor.log", 0);
    (void)unlinkat(dir, "log", AT_REMOVEDIR);
    (void)unlinkat(dir, "run/supervisor.pid", 0);
    (void)unlinkat(dir, "run/supervisor.sock", 0);
    (void)unlinkat(dir, "register", 0);
    remove_below(dir, "run", "pid");
    (void)unlinkat(dir, "ca/ca.key", 0);
    (void)unlinkat(dir, "ca/ca.crt", 0);
    (void)unlinkat(dir, "ca", AT_REMOVEDIR);
    for (size_t i = 0; i < EPOCH_FILES; i++) {
        (void)unlinkat(dir, epoch_files[i], 0);
    }
}

RESULT cluster_dir_create(const char *path, const struct cluster_dir_content *content,
                          struct cluster_dir *ret, struct explain *why)
{
    struct cluster_dir d = {.fd = -1, .cluster = *content->cluster};
    char temporary[PATH_MAX];
    size_t n = strlen(path);
    enum err err = OK;

    while (n > 1 && path[n - 1] == '/') {
        n--;
    }
    if ((size_t)snprintf(temporary, sizeof(temporary), "%.*s.tmp-XXXXXX", (int)n, path) >=
        sizeof(temporary)) {
        return fail(why, "%.64s...: the path is too long", path);
    }
    if (mkdtemp(temporary) == NULL) {
        return fail(why, "cannot make a folder beside %s: %s", path, strerror(errno));
    }
    d.fd = open_folder(AT_FDCWD, temporary);
    if (d.fd < 0) {
        err = fail(why, "cannot open %s: %s", temporary, strerror(errno));
    }
    if (err == OK) {
        err = lock(&d, why);
    }
    if (err == OK) {
        err = fill_new(d.fd, content, why);
    }
    if (err == OK && (rename(temporary, path) != 0 || realpath(path, d.path) == NULL)) {
        err = fail(why, "cannot create %s: %s", path,
                   errno == ENOTEMPTY || errno == EEXIST ? "somebody else just did"
                                                         : strerror(errno));
    }
    if (err == OK) {
        *ret = d;
        return OK;
    }
    if (d.fd >= 0) {
        empty_folder(d.fd);
    }
    (void)rmdir(temporary);
    cluster_dir_close(&d);
    return err;
}

RESULT cluster_dir_renew(struct cluster_dir *d, const struct cluster_dir_content *content,
                         struct explain *why)
{
    enum err err = write_next(d->fd, content, why);

    if (err == OK) {
        err = commit(d->fd, why);
    }
    if (err != OK) {
        (void)settle(d->fd);
        return err;
    }
    d->cluster = *content->cluster;
    return OK;
}

void cluster_dir_remove(struct cluster_dir *d)
{
    empty_folder(d->fd);
    (void)rmdir(d->path);
}

RESULT cluster_dir_ca(const struct cluster_dir *d, struct pki_pair *ret, struct explain *why)
{
    struct pki_pair ca = {0};
    struct stat st;
    size_t n;

    if (fstatat(d->fd, "ca/ca.key", &st, 0) == 0 && (st.st_mode & (S_IRWXG | S_IRWXO)) != 0) {
        (void)fail(why,
                   "%s/ca/ca.key can be read by others; it may be known: chmod 600 it, or "
                   "found a new cluster in another folder",
                   d->path);
        return ERR_POLICY;
    }
    if (slurp_at(d->fd, "ca/ca.crt", PEM_MAX, (uint8_t **)&ca.cert_pem, &n) != SLURP_OK ||
        slurp_at(d->fd, "ca/ca.key", PEM_MAX, (uint8_t **)&ca.key_pem, &n) != SLURP_OK) {
        pki_pair_free(&ca);
        return fail(why, "cannot read the CA in %s/ca: %s", d->path, strerror(errno));
    }
    *ret = ca;
    return OK;
}
