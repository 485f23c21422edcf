// SPDX-License-Identifier: Apache-2.0
#include "tools/cli.h"
#include "tools/found.h"
#include "trusted/config/explain.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

static enum err measure(const char *program, char to[static 2 * MEASUREMENT_LEN + 1],
                        struct explain *why)
{
    uint8_t hash[MEASUREMENT_LEN];
    char path[PATH_MAX];
    int fd;
    enum err err;

    if (!cli_find_program(program, path)) {
        explain(why, "%s is neither beside this program nor in PATH; install it", program);
        return ERR_IO;
    }
    fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0) {
        explain(why, "%s: %s", path, strerror(errno));
        return ERR_IO;
    }
    err = measure_fd(fd, hash, why);
    (void)close(fd);
    for (size_t i = 0; i < MEASUREMENT_LEN; i++) {
        (void)snprintf(to + 2 * i, 3, "%02x", hash[i]);
    }
    return err;
}

RESULT found_measure(struct found_measured *ret, struct explain *why)
{
    TRY(measure("avocadod", ret->avocadod, why));
    return measure("avocado-las", ret->las, why);
}
