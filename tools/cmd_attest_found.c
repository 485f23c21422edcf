// SPDX-License-Identifier: Apache-2.0
/* avocado attest found DIR: a deployment's own root of software evidence, and one platform. */
#include "tools/cmd_attest.h"

#include "tools/slurp.h"
#include "trusted/config/file.h"
#include "trusted/evidence/software.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

enum { PEM_MAX = 16 << 10 };

/* Where each file belongs: --roots wants a folder of roots alone, --collateral one without them. */
static const char *place_of(const char *name)
{
    if (strcmp(name, "root_ca.pem") == 0) {
        return "root";
    }
    return strcmp(name, "root_key.pem") == 0 ? NULL : "platform";
}

static enum err write_one(int dir, const char *path, const struct software_file *f,
                          struct explain *why)
{
    struct spit how = {.dir = dir, .mode = f->is_secret ? 0600 : 0644, .may_replace = true};
    const char *place = place_of(f->name);
    char name[64];

    (void)snprintf(name, sizeof(name), "%s%s%s", place == NULL ? "" : place,
                   place == NULL ? "" : "/", f->name);
    if (!spit_at(&how, name, f->p, f->n)) {
        explain(why, "%s/%s cannot be written: %s", path, name, strerror(errno));
        return ERR_IO;
    }
    return OK;
}

static enum err write_all(const char *path, const struct software_files *files, struct explain *why)
{
    int dir = -1;
    enum err err = OK;

    if (mkdir(path, 0700) != 0 && errno != EEXIST) {
        explain(why, "%s cannot be made: %s", path, strerror(errno));
        return ERR_IO;
    }
    dir = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (dir < 0 || (mkdirat(dir, "root", 0755) != 0 && errno != EEXIST) ||
        (mkdirat(dir, "platform", 0700) != 0 && errno != EEXIST)) {
        explain(why, "%s cannot be used: %s", path, strerror(errno));
        err = ERR_IO;
    }
    for (size_t i = 0; err == OK && i < SOFTWARE_FILES_N; i++) {
        err = write_one(dir, path, &files->file[i], why);
    }
    if (dir >= 0) {
        (void)close(dir);
    }
    return err;
}

/* The root that a folder has already; *ret stays empty when it has none. */
static enum err load_root(const char *dir, struct pki_pair *ret, struct explain *why)
{
    char path[PATH_MAX];
    size_t n = 0;

    (void)snprintf(path, sizeof(path), "%s/root/root_ca.pem", dir);
    if (access(path, F_OK) != 0 && errno == ENOENT) {
        return OK;
    }
    TRY(file_read(path, FILE_PUBLIC, PEM_MAX, &ret->cert_pem, &n, why));
    (void)snprintf(path, sizeof(path), "%s/root_key.pem", dir);
    return file_read(path, FILE_SECRET, PEM_MAX, &ret->key_pem, &n, why);
}

RESULT attest_found(const char *dir, const struct attest_found_wishes *w, bool *ret_renewed,
                    struct explain *why)
{
    struct software_files files = {0};
    struct pki_pair root = {0};
    struct software_wishes wishes = {.now_s = (uint64_t)time(NULL),
                                     .days = w->days,
                                     .platform_svn = SOFTWARE_SVN,
                                     .evaluation = 1};
    enum err err = load_root(dir, &root, why);

    if (err == OK && root.cert_pem != NULL && !w->renew) {
        explain(why,
                "%s has a root already; --renew makes a new platform and new statements under "
                "it",
                dir);
        err = ERR_POLICY;
    }
    if (err == OK) {
        wishes.root = root.cert_pem == NULL ? NULL : &root;
        err = software_found(&wishes, &files, why);
    }
    if (err == OK) {
        *ret_renewed = wishes.root != NULL;
        err = write_all(dir, &files, why);
    }
    software_files_free(&files);
    pki_pair_free(&root);
    return err;
}
