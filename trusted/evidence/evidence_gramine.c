// SPDX-License-Identifier: Apache-2.0
/*
 * Gramine's /dev/attestation (its Documentation/attestation.rst), EVD-5: the report data is
 * written, the quote read. The files are per process but without a lock, so only one thread of a
 * process may attest at a time; check_report_data in evidence.c sees when two did.
 */
#include "trusted/evidence/evidence_internal.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <unistd.h>

enum { TYPE_MAX = 32, QUOTE_MAX = 8192 };

static enum err check_type(const struct evidence_place *at, struct explain *why)
{
    uint8_t *p = NULL;
    size_t n = 0;
    bool is_dcap = false;

    TRY(evidence_read(at, TYPE_MAX, &p, &n, why));
    is_dcap = n >= 4 && memcmp(p, "dcap", 4) == 0 && (n == 4 || p[4] == '\n');
    free(p);
    if (!is_dcap) {
        explain(why, "%s/%s is not 'dcap': set sgx.remote_attestation = \"dcap\" in the manifest",
                at->dir_path, at->name);
        return ERR_IO;
    }
    return OK;
}

RESULT evidence_gramine(const struct evidence_source *s, struct bytes report_data,
                        struct evidence *ret, struct explain *why)
{
    int fd = open(s->path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    struct evidence_place at = {fd, s->path, "attestation_type"};
    enum err err = OK;

    if (fd < 0) {
        explain(why, "%s cannot be opened: %s; evidence of sgx needs a process under gramine-sgx",
                s->path, strerror(errno));
        return ERR_IO;
    }
    err = check_type(&at, why);
    if (err == OK) {
        at.name = "user_report_data";
        err = evidence_write(&at, report_data, why);
    }
    if (err == OK) {
        at.name = "quote";
        err = evidence_read(&at, QUOTE_MAX, &ret->p, &ret->n, why);
    }
    (void)close(fd);
    return err;
}
