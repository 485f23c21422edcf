// SPDX-License-Identifier: Apache-2.0
#ifndef TOOLS_SLURP_H
#define TOOLS_SLURP_H

/* Small files as a whole. Ordinary heap and errno: for command-line tools only. */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

enum slurp_result {
    SLURP_OK,
    SLURP_FAILED, /* errno says why */
    SLURP_TOO_BIG,
};

/* Everything up to the end of fd, at most `max` bytes, with a zero byte after it that is not
 * counted. The caller frees. */
enum slurp_result slurp(int fd, size_t max, uint8_t **ret, size_t *ret_n);
/* The same of a file below the folder `dir` (AT_FDCWD: a plain path). */
enum slurp_result slurp_at(int dir, const char *path, size_t max, uint8_t **ret, size_t *ret_n);

/* Creates `path` below `dir` with exactly these bytes and this mode, on disk when it returns true.
 * Must not exist unless `may_replace`; then the file is never seen half-written. */
struct spit {
    int dir;
    mode_t mode;
    bool may_replace;
};
bool spit_at(const struct spit *how, const char *path, const void *p, size_t n);

#endif
