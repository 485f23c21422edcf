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
    LOAD_TRIES = 5,
    LOAD_PAUSE_US = 20000,
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
    if (faccessat(fd, "owner.key", F_OK, 0) == 0) {
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

    if (faccessat(d->fd, "cluster.yaml", F_OK, 0) != 0 && errno == ENOENT) {
        return OK; /* epoch 0 */
    }
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
static enum err write_next(int dir, const struct cluster_dir_epoch *e, struct explain *why)
{
    char *client = client_yaml_format(e->cluster, "ca/ca.crt");
    struct file files[EPOCH_FILES] = {
        {"client.yaml", PUBLIC_MODE, client, client == NULL ? 0 : strlen(client)},
        {"cluster.yaml", PUBLIC_MODE, e->text.p, e->text.n},
        {"cluster.yaml.sig", PUBLIC_MODE, e->sig.p, e->sig.n},
    };
    size_t n = EPOCH_FILES - 2;
    enum err err;

    if (client == NULL) {
        return fail(why, "out of memory");
    }
    if (e->client != NULL) {
        files[n++] = (struct file){"client.key", SECRET_MODE, e->client->key_pem,
                                   strlen(e->client->key_pem)};
        files[n++] = (struct file){"client.crt", PUBLIC_MODE, e->client->cert_pem,
                                   strlen(e->client->cert_pem)};
    }
    err = write_files(dir, "next", files, n, why);
    free(client);
    return err;
}

static enum err commit(int dir, struct explain *why)
{
    if (renameat(dir, "next", dir, "commit") != 0 || !settle(dir)) {
        return fail(why, "cannot move files within the folder: %s", strerror(errno));
    }
    return OK;
}

/* What belongs to us in the folder: these with all that is in them, and the files at its top. */
static const char *const folders[] = {"ca",      "cas",         "log",  "run",   "sw",
                                      "sw/root", "sw/platform", "next", "commit"};
enum { FOLDERS = sizeof(folders) / sizeof(folders[0]), NEW_FOLDERS = FOLDERS - 2 };
static const char *const top_files[] = {"owner.key", "owner.pub", "policy.yaml", "measured",
                                        "wanted.yaml"};

static enum err fill_new(int dir, const struct cluster_dir_file *files, size_t n,
                         struct explain *why)
{
    for (size_t i = 0; i < NEW_FOLDERS; i++) {
        TRY(write_files(dir, folders[i], NULL, 0, why));
    }
    for (size_t i = 0; i < n; i++) {
        const struct spit how = {dir, files[i].is_secret ? SECRET_MODE : PUBLIC_MODE, false};

        if (!spit_at(&how, files[i].name, files[i].content.p, files[i].content.n)) {
            return fail(why, "cannot write %s: %s", files[i].name, strerror(errno));
        }
    }
    return OK;
}

/* The folder below `dir` and the files in it. */
static void remove_folder(int dir, const char *folder)
{
    int fd = open_folder(dir, folder);
    DIR *d = fd < 0 ? NULL : fdopendir(fd);
    const struct dirent *e;

    while (d != NULL && (e = readdir(d)) != NULL) {
        (void)unlinkat(fd, e->d_name, 0);
    }
    if (d != NULL) {
        (void)closedir(d);
    }
    (void)unlinkat(dir, folder, AT_REMOVEDIR);
}

/* Only what we put there; the folder itself stays if anything else is in it. */
static void empty_folder(int dir)
{
    (void)settle(dir);
    for (size_t i = FOLDERS; i-- > 0;) { /* inner ones first */
        remove_folder(dir, folders[i]);
    }
    for (size_t i = 0; i < EPOCH_FILES; i++) {
        (void)unlinkat(dir, epoch_files[i], 0);
    }
    for (size_t i = 0; i < sizeof(top_files) / sizeof(top_files[0]); i++) {
        (void)unlinkat(dir, top_files[i], 0);
    }
}

RESULT cluster_dir_create(const char *path, const struct cluster_dir_file *files, size_t files_n,
                          struct cluster_dir *ret, struct explain *why)
{
    struct cluster_dir d = {.fd = -1};
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
        err = fill_new(d.fd, files, files_n, why);
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

RESULT cluster_dir_renew(struct cluster_dir *d, const struct cluster_dir_epoch *epoch,
                         struct explain *why)
{
    enum err err = write_next(d->fd, epoch, why);

    if (err == OK) {
        err = commit(d->fd, why);
    }
    if (err != OK) {
        (void)settle(d->fd);
        return err;
    }
    d->cluster = *epoch->cluster;
    return OK;
}

void cluster_dir_remove(struct cluster_dir *d)
{
    empty_folder(d->fd);
    (void)rmdir(d->path);
}
