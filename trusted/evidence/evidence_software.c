// SPDX-License-Identifier: Apache-2.0
#include "trusted/evidence/evidence_internal.h"

#include "trusted/config/file.h"
#include "trusted/evidence/measure.h"
#include "trusted/evidence/software.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

enum { KEY_FILE_MAX = 16 << 10 };

static enum err open_platform(const char *dir, const struct evidence *e,
                              struct software_platform **ret, struct explain *why)
{
    char path[EVIDENCE_PATH_MAX + 32], *key = NULL;
    size_t key_n = 0;
    enum err err = OK;

    (void)snprintf(path, sizeof(path), "%s/pck_key.pem", dir);
    TRY(file_read(path, FILE_SECRET, KEY_FILE_MAX, &key, &key_n, why));
    err = software_platform_open(e->collateral.pck_chain,
                                 (struct bytes){(const uint8_t *)key, key_n}, ret, why);
    file_free(key, key_n);
    return err;
}

/* EVD-6: measures the executable, and signs with the platform key in the folder. */
RESULT evidence_software(const struct evidence_source *s, struct bytes report_data,
                         struct evidence *ret, struct explain *why)
{
    const char *executable = s->executable == NULL ? "/proc/self/exe" : s->executable;
    struct software_platform *platform = NULL;
    struct software_body body = {.isvprodid = 1, .isvsvn = 1};
    int fd = open(executable, O_RDONLY | O_CLOEXEC);
    enum err err = OK;

    if (fd < 0) {
        explain(why, "%s cannot be opened: %s", executable, strerror(errno));
        return ERR_IO;
    }
    err = measure_fd(fd, body.mrenclave, why);
    (void)close(fd);
    if (err == OK) {
        err = evidence_load_folder(s->path, ret, why);
    }
    if (err == OK) {
        err = open_platform(s->path, ret, &platform, why);
    }
    if (err == OK) {
        memcpy(body.report_data, report_data.p, sizeof(body.report_data));
        err = software_quote(platform, &body, &ret->p, &ret->n, why);
    }
    software_platform_close(platform);
    return err;
}
