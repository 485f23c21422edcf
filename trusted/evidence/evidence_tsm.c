// SPDX-License-Identifier: Apache-2.0
/*
 * Linux configfs-tsm (Documentation/ABI/testing/configfs-tsm-report), EVD-4: user data goes into
 * `inblob`, reading `outblob` makes the evidence, `generation` tells whether somebody else wrote in
 * between. Whoever makes an entry must be root; a process that is not is given one.
 */
#include "trusted/evidence/evidence_internal.h"

#include "trusted/crypto/entropy.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

enum { TRIES = 3, NUMBER_MAX = 32, OUTBLOB_MAX = 32 << 10, NAME_LEN = 32 };

struct entry {
    int parent, fd; /* parent < 0: the entry was there before us */
    char name[NAME_LEN];
    const char *path;
};

static enum err entry_open(const struct evidence_source *s, struct entry *ret, struct explain *why)
{
    struct entry e = {.parent = -1, .fd = -1, .path = s->path};
    uint64_t random = 0;

    e.fd = open(s->path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (e.fd < 0) {
        explain(why,
                "%s cannot be opened: %s; evidence of %s needs a confidential guest with "
                "Linux 6.7 or later and configfs mounted ('avocado doctor' explains)",
                s->path, strerror(errno), attest_kind_name(s->kind));
        return ERR_IO;
    }
    if (faccessat(e.fd, "inblob", F_OK, 0) == 0) {
        *ret = e;
        return OK;
    }
    e.parent = e.fd;
    entropy_fill(&random, sizeof(random));
    (void)snprintf(e.name, sizeof(e.name), "avocado-%016llx", (unsigned long long)random);
    if (mkdirat(e.parent, e.name, 0700) != 0) {
        explain(why, "%s/%s cannot be made: %s%s", s->path, e.name, strerror(errno),
                errno == EACCES || errno == EPERM
                    ? "; run as root, or have root make an entry and name that"
                : errno == ENXIO ? "; no TEE of this guest offers reports"
                                 : "");
        (void)close(e.parent);
        return ERR_IO;
    }
    e.fd = openat(e.parent, e.name, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (e.fd < 0) {
        explain(why, "%s/%s cannot be opened: %s", s->path, e.name, strerror(errno));
        (void)unlinkat(e.parent, e.name, AT_REMOVEDIR);
        (void)close(e.parent);
        return ERR_IO;
    }
    *ret = e;
    return OK;
}

static void entry_close(struct entry *e)
{
    (void)close(e->fd);
    if (e->parent >= 0) {
        (void)unlinkat(e->parent, e->name, AT_REMOVEDIR);
        (void)close(e->parent);
    }
}

static enum err read_generation(const struct entry *e, unsigned long *ret, struct explain *why)
{
    const struct evidence_place at = {e->fd, e->path, "generation"};
    uint8_t *p = NULL;
    size_t n = 0;
    char text[NUMBER_MAX + 1] = "", *end = NULL;

    TRY(evidence_read(&at, NUMBER_MAX, &p, &n, why));
    memcpy(text, p, n);
    free(p);
    errno = 0;
    *ret = strtoul(text, &end, 10);
    if (end == text || errno != 0 || (*end != '\0' && *end != '\n')) {
        explain(why, "%s/generation is no number", e->path);
        return ERR_MALFORMED;
    }
    return OK;
}

static enum err check_provider(const struct evidence_source *s, const struct entry *e,
                               struct explain *why)
{
    const struct evidence_place at = {e->fd, e->path, "provider"};
    const char *wanted = s->kind == ATTEST_SNP ? "sev_guest" : "tdx_guest";
    uint8_t *p = NULL;
    size_t n = 0;
    bool good = false;
    char found[NUMBER_MAX + 1] = "";

    TRY(evidence_read(&at, NUMBER_MAX, &p, &n, why));
    n -= n > 0 && p[n - 1] == '\n';
    memcpy(found, p, n);
    good = strcmp(found, wanted) == 0;
    free(p);
    if (!good) {
        explain(why, "%s is of provider '%s'; evidence of %s comes from '%s'", e->path, found,
                attest_kind_name(s->kind), wanted);
        return ERR_MALFORMED;
    }
    return OK;
}

/* One attempt. BUSY: somebody else wrote in between. */
static enum err attempt(const struct entry *e, struct bytes report_data, struct evidence *ret,
                        struct explain *why)
{
    const struct evidence_place in = {e->fd, e->path, "inblob"}, out = {e->fd, e->path, "outblob"};
    unsigned long before = 0, after = 0;

    TRY(read_generation(e, &before, why));
    TRY(evidence_write(&in, report_data, why));
    TRY(evidence_read(&out, OUTBLOB_MAX, &ret->p, &ret->n, why));
    TRY(read_generation(e, &after, why));
    if (after != before + 1) {
        explain(why,
                "%s: another process writes to this entry (generation %lu, expected %lu); "
                "give each process its own",
                e->path, after, before + 1);
        return ERR_BUSY;
    }
    return OK;
}

/* The certificates that the host has for the chip; TDX has none, nor do many hosts. */
static enum err read_auxblob(const struct entry *e, struct evidence *ret, struct explain *why)
{
    const struct evidence_place at = {e->fd, e->path, "auxblob"};
    uint8_t *p = NULL;
    size_t n = 0;

    if (faccessat(e->fd, "auxblob", F_OK, 0) != 0) {
        return OK;
    }
    TRY(evidence_read(&at, ATTEST_COLLATERAL_MAX, &p, &n, why));
    if (n == 0) {
        free(p);
        return OK;
    }
    return evidence_keep(ret, "auxblob.bin", p, n);
}

RESULT evidence_tsm(const struct evidence_source *s, struct bytes report_data, struct evidence *ret,
                    struct explain *why)
{
    struct entry e = {0};
    enum err err = OK;

    TRY(entry_open(s, &e, why));
    err = check_provider(s, &e, why);
    for (unsigned i = 0; err == OK && i < TRIES; i++) {
        free(ret->p);
        ret->p = NULL;
        err = attempt(&e, report_data, ret, why);
        if (err != ERR_BUSY) {
            break;
        }
        err = i + 1 < TRIES ? OK : ERR_BUSY;
    }
    if (err == OK) {
        err = read_auxblob(&e, ret, why);
    }
    entry_close(&e);
    return err;
}
