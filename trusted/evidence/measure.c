// SPDX-License-Identifier: Apache-2.0
#include "trusted/evidence/measure.h"

#include "trusted/config/explain.h"

#include <openssl/evp.h>

#include <errno.h>
#include <string.h>
#include <unistd.h>

enum { CHUNK = 64 << 10, FILE_MAX = 1 << 30 };

RESULT measure_fd(int fd, uint8_t ret[static MEASUREMENT_LEN], struct explain *why)
{
    EVP_MD_CTX *ctx = EVP_MD_CTX_new();
    uint8_t chunk[CHUNK];
    off_t at = 0;
    ssize_t n = -1;
    bool good = ctx != NULL && EVP_DigestInit_ex(ctx, EVP_sha256(), NULL) == 1;

    while (good && at <= FILE_MAX) {
        n = pread(fd, chunk, sizeof(chunk), at);
        if (n < 0 && errno == EINTR) {
            continue;
        }
        if (n <= 0) {
            break;
        }
        good = EVP_DigestUpdate(ctx, chunk, (size_t)n) == 1;
        at += n;
    }
    good = good && n == 0 && EVP_DigestFinal_ex(ctx, ret, NULL) == 1;
    EVP_MD_CTX_free(ctx);
    if (!good) {
        explain(why, "a program cannot be measured: %s",
                at > FILE_MAX ? "it has more than 1 GiB" : strerror(errno));
        return at > FILE_MAX ? ERR_TOO_BIG : ERR_IO;
    }
    return OK;
}
