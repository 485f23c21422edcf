// SPDX-License-Identifier: Apache-2.0
#ifndef TRUSTED_CONFIG_FILE_H
#define TRUSTED_CONFIG_FILE_H

/* Reads small files at start: bounded, never twice. CFG-7 */

#include "trusted/config/cluster.h"

enum file_kind {
    FILE_PUBLIC = 1,
    FILE_SECRET, /* POLICY unless only its owner, who must be us or root, may read or write it */
};

/* The whole file in a heap block with a zero byte after it (not counted). IO, POLICY, TOO_BIG (more
 * than `max` bytes). file_free wipes and frees; NULL is allowed. */
RESULT file_read(const char *path, enum file_kind kind, size_t max, char **ret, size_t *ret_n,
                 struct explain *why);
void file_free(char *text, size_t n);

#endif
