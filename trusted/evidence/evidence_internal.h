// SPDX-License-Identifier: Apache-2.0
#ifndef TRUSTED_EVIDENCE_EVIDENCE_INTERNAL_H
#define TRUSTED_EVIDENCE_EVIDENCE_INTERNAL_H

#include "trusted/config/explain.h"
#include "trusted/evidence/evidence.h"

/* The collateral slot with this file name; NULL: none. */
struct bytes *evidence_slot(struct attest_collateral *c, const char *name, size_t *ret_index);
const char *evidence_file_name(size_t index);
/* Puts a heap block (taken over in any case) into the slot. FULL: it is there already. */
RESULT evidence_keep(struct evidence *e, const char *name, uint8_t *p, size_t n);
/* All files of a folder that have names of collateral. */
RESULT evidence_load_folder(const char *dir, struct evidence *e, struct explain *why);

/* A file below `dir`: all of it into a heap block of at most `max` bytes, or all of `b` written in
 * one call, as pseudo files want it. IO; *why names the file. */
struct evidence_place {
    int dir;
    const char *dir_path, *name;
};
RESULT evidence_read(const struct evidence_place *at, size_t max, uint8_t **ret, size_t *ret_n,
                     struct explain *why);
RESULT evidence_write(const struct evidence_place *at, struct bytes b, struct explain *why);

RESULT evidence_tsm(const struct evidence_source *s, struct bytes report_data, struct evidence *ret,
                    struct explain *why);
RESULT evidence_gramine(const struct evidence_source *s, struct bytes report_data,
                        struct evidence *ret, struct explain *why);
RESULT evidence_software(const struct evidence_source *s, struct bytes report_data,
                         struct evidence *ret, struct explain *why);

#endif
