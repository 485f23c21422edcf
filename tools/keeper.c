// SPDX-License-Identifier: Apache-2.0
#include "tools/keeper.h"

#include "tools/slurp.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const char register_file[] = "register";

enum { TEXT_MAX = 1 << 16 };

static enum err fail(struct explain *why, const struct keeper *k, const char *what)
{
    (void)snprintf(why->text, sizeof(why->text), "%.256s/%s: %s", k->folder->path, register_file,
                   what);
    return ERR_IO;
}

/* What stands in the folder, so that it can be handed out. */
static enum err read_signed(struct keeper *k, struct explain *why)
{
    uint8_t *sig = NULL, *text = NULL;
    size_t sig_n = 0, text_n = 0;

    if (slurp_at(k->folder->fd, "cluster.yaml", TEXT_MAX, &text, &text_n) != SLURP_OK ||
        slurp_at(k->folder->fd, "cluster.yaml.sig", sizeof(k->sig), &sig, &sig_n) != SLURP_OK) {
        free(text);
        return fail(why, k, "no configuration beside it");
    }
    free(k->text);
    k->text = (char *)text;
    memcpy(k->sig, sig, sig_n);
    k->sig_n = sig_n;
    k->epoch = k->folder->cluster.epoch;
    free(sig);
    return OK;
}

RESULT keeper_open(struct keeper *k, struct cluster_dir *folder, struct explain *why)
{
    uint8_t *bytes = NULL;
    size_t n = 0;
    enum err err;

    *k = (struct keeper){.folder = folder};
    if (slurp_at(folder->fd, register_file, REGISTER_BYTES_MAX, &bytes, &n) != SLURP_OK) {
        return fail(why, k, strerror(errno));
    }
    err = register_decode((struct bytes){bytes, n}, &k->reg);
    free(bytes);
    if (err != OK) {
        (void)fail(why, k, "is no register; restore it from a copy of this folder");
        return ERR_MALFORMED;
    }
    k->stored = k->reg.version;
    return read_signed(k, why);
}

void keeper_close(struct keeper *k)
{
    free(k->text);
    k->text = NULL;
}

RESULT keeper_store(struct keeper *k, struct explain *why)
{
    uint8_t bytes[REGISTER_BYTES_MAX];
    size_t n = 0;

    if (k->reg.version == k->stored) {
        return OK;
    }
    TRY(register_encode(&k->reg, (struct mbytes){bytes, sizeof(bytes)}, &n));
    if (!spit_at(&(struct spit){k->folder->fd, 0600, true}, register_file, bytes, n)) {
        return fail(why, k, strerror(errno));
    }
    k->stored = k->reg.version;
    return OK;
}

RESULT keeper_publish(struct keeper *k, const struct pki_pair *ca, const struct pki_pair *client,
                      struct explain *why)
{
    const struct cluster_dir_content content = {
        .cluster = register_latest(&k->reg), .ca = ca, .client = client};

    TRY(keeper_store(k, why));
    if (content.cluster->epoch == k->epoch && client == NULL) {
        return OK;
    }
    TRY(cluster_dir_renew(k->folder, &content, why));
    return read_signed(k, why);
}
