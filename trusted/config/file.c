// SPDX-License-Identifier: Apache-2.0
#include "trusted/config/file.h"

#include "common/bytes.h"
#include "trusted/config/explain.h"

#include <openssl/crypto.h>

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

/* Asked of the open descriptor, so that what is judged is what is read. */
static enum err judge_owner(int fd, const char *path, struct explain *why)
{
    struct stat st;

    if (fstat(fd, &st) != 0) {
        explain(why, "%s: cannot be examined: %s", path, strerror(errno));
        return ERR_IO;
    }
    if (st.st_uid != geteuid() && st.st_uid != 0) {
        explain(why,
                "%s: a secret that belongs to user %u, but this process is user %u; change the "
                "file's owner",
                path, (unsigned)st.st_uid, (unsigned)geteuid());
        return ERR_POLICY;
    }
    if ((st.st_mode & (S_IRWXG | S_IRWXO)) != 0) {
        explain(why,
                "%s: a secret with mode %04o that others than its owner may use; permitted is 0600 "
                "or 0400: chmod 600",
                path, (unsigned)(st.st_mode & 07777));
        return ERR_POLICY;
    }
    return OK;
}

/* Reads until the end or until the room is used up. */
static enum err read_all(int fd, struct mbytes to, size_t *ret_n)
{
    size_t n = 0;

    while (n < to.n) {
        ssize_t got = read(fd, to.p + n, to.n - n);

        if (got == 0) {
            break;
        }
        if (got < 0 && errno != EINTR) {
            return ERR_IO;
        }
        n += got > 0 ? (size_t)got : 0;
    }
    *ret_n = n;
    return OK;
}

RESULT file_read(const char *path, enum file_kind kind, size_t max, char **ret, size_t *ret_n,
                 struct explain *why)
{
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NOCTTY);
    enum err err = OK;
    char *text = NULL;
    size_t n = 0;

    if (fd < 0) {
        explain(why, "%s: cannot be opened: %s", path, strerror(errno));
        return ERR_IO;
    }
    if (kind == FILE_SECRET) {
        err = judge_owner(fd, path, why);
        if (err != OK) {
            goto out;
        }
    }
    text = malloc(max + 1);
    if (text == NULL) {
        explain(why, "%s: out of memory", path);
        err = ERR_IO;
        goto out;
    }
    err = read_all(fd, (struct mbytes){.p = (uint8_t *)text, .n = max + 1}, &n);
    if (err != OK) {
        explain(why, "%s: cannot be read: %s", path, strerror(errno));
        goto out;
    }
    if (n > max) {
        explain(why, "%s: has more than %zu bytes; is it the right file?", path, max);
        err = ERR_TOO_BIG;
        goto out;
    }
    text[n] = '\0';
    *ret = text;
    *ret_n = n;
    text = NULL;
out:
    file_free(text, max + 1);
    (void)close(fd);
    return err;
}

void file_free(char *text, size_t n)
{
    if (text != NULL) {
        OPENSSL_cleanse(text, n);
        free(text);
    }
}
