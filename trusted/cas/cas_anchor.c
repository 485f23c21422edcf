// SPDX-License-Identifier: Apache-2.0
#include "trusted/cas/cas_store_internal.h"

#include "common/codec.h"
#include "trusted/config/explain.h"
#include "trusted/config/file.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <unistd.h>

enum { ANCHOR_LEN = 8 + SHA256_LEN };

static void mac(const struct cas_store *s, const char *purpose, uint64_t version,
                uint8_t ret[static SHA256_LEN])
{
    uint8_t number[8];
    const struct bytes parts[] = {{(const uint8_t *)purpose, strlen(purpose) + 1},
                                  {number, sizeof(number)}};
    struct writer w = {.to = {number, sizeof(number)}};

    put_u64(&w, version);
    hmac_sha256((struct bytes){s->mark_key.b, sizeof(s->mark_key.b)}, parts, 2, ret);
}

void cas_store_mark(const struct cas_store *s, uint64_t version, uint8_t ret[static CAS_MARK_LEN])
{
    mac(s, "seen", version, ret);
}

static void make(const struct cas_store *s, uint64_t version, uint8_t to[static ANCHOR_LEN])
{
    struct writer w = {.to = {to, 8}};

    put_u64(&w, version);
    mac(s, "anchor", version, to + 8);
}

/* Beside it first, then in its place: at every moment there is a whole one. */
RESULT cas_anchor_write(const struct cas_store *s, uint64_t version, struct explain *why)
{
    uint8_t anchor[ANCHOR_LEN];
    char path[PATH_MAX];
    int fd, n = snprintf(path, sizeof(path), "%s.new", s->anchor);
    bool good;

    make(s, version, anchor);
    fd = n < (int)sizeof(path) ? open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600) : -1;
    good = fd >= 0 && write(fd, anchor, sizeof(anchor)) == (ssize_t)sizeof(anchor) &&
           fdatasync(fd) == 0;
    if (fd >= 0) {
        (void)close(fd);
    }
    if (!good || rename(path, s->anchor) != 0) {
        explain(why, "%s cannot be written: %s", path, strerror(errno));
        return ERR_IO;
    }
    return OK;
}

RESULT cas_anchor_check(const struct cas_store *s, struct explain *why)
{
    uint8_t good[ANCHOR_LEN];
    struct reader r = {0};
    uint64_t version = 0;
    char *text = NULL;
    size_t n = 0;

    if (file_read(s->anchor, FILE_PUBLIC, ANCHOR_LEN, &text, &n, why) != OK) {
        return ERR_IO;
    }
    r.rest = (struct bytes){(const uint8_t *)text, n};
    version = get_u64(&r);
    make(s, version, good);
    if (n != ANCHOR_LEN || memcmp(good, text, ANCHOR_LEN) != 0) {
        file_free(text, n);
        explain(why, "%s is not the anchor of this state; restore it", s->anchor);
        return ERR_AUTH;
    }
    file_free(text, n);
    if (version > s->version) {
        explain(why,
                "%s is rolled back: it is of state version %llu, version %llu was acknowledged "
                "before; restore the newest copy",
                s->path, (unsigned long long)s->version, (unsigned long long)version);
        return ERR_REPLAY;
    }
    return OK;
}
