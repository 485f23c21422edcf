// SPDX-License-Identifier: Apache-2.0
/*
 * OpenSSL's own SHA-256 on a context of ours: no allocation, no failure, and the state that saw the
 * key is wiped by us. OpenSSL 3 marks these functions as old; this names the API level that has
 * them, for this file alone. Vectors in tests/crypto pin them.
 */
#define OPENSSL_API_COMPAT 10101

#include "trusted/crypto/kdf.h"

#include "common/check.h"

#include <openssl/sha.h>
#include <string.h>

enum { BLOCK_LEN = 64 };
_Static_assert(SHA256_LEN == SHA256_DIGEST_LENGTH, "SHA-256");
_Static_assert(KDF_OUT_MAX <= 255 * SHA256_LEN, "RFC 5869: the counter is one byte");

static void update(SHA256_CTX *c, const void *p, size_t n)
{
    CHECK(n == 0 || SHA256_Update(c, p, n) == 1);
}

static void hash(SHA256_CTX *c, const struct bytes *parts, size_t n, uint8_t *ret)
{
    for (size_t i = 0; i < n; i++) {
        update(c, parts[i].p, parts[i].n);
    }
    CHECK(SHA256_Final(ret, c) == 1);
}

void sha256(const struct bytes *parts, size_t n, uint8_t ret[static SHA256_LEN])
{
    SHA256_CTX c;

    CHECK(SHA256_Init(&c) == 1);
    hash(&c, parts, n, ret);
    wipe(&c, sizeof(c));
}

void hmac_sha256(struct bytes key, const struct bytes *parts, size_t n,
                 uint8_t ret[static SHA256_LEN])
{
    uint8_t pad[BLOCK_LEN] = {0}, inner[SHA256_LEN];
    SHA256_CTX c;

    if (key.n > BLOCK_LEN) {
        sha256(&key, 1, pad);
    } else if (key.n != 0) {
        memcpy(pad, key.p, key.n);
    }
    for (size_t i = 0; i < BLOCK_LEN; i++) {
        pad[i] ^= 0x36;
    }
    CHECK(SHA256_Init(&c) == 1);
    update(&c, pad, BLOCK_LEN);
    hash(&c, parts, n, inner);
    for (size_t i = 0; i < BLOCK_LEN; i++) {
        pad[i] ^= 0x36 ^ 0x5c;
    }
    CHECK(SHA256_Init(&c) == 1);
    update(&c, pad, BLOCK_LEN);
    hash(&c, &(struct bytes){inner, sizeof(inner)}, 1, ret);
    wipe(pad, sizeof(pad));
    wipe(inner, sizeof(inner));
    wipe(&c, sizeof(c));
}

void kdf_expand(const struct secret *from, const char *label, struct mbytes out)
{
    struct bytes info = {(const void *)label, strlen(label)};
    uint8_t block[SHA256_LEN], counter = 0;
    size_t done = 0;

    CHECK(out.n <= KDF_OUT_MAX);
    while (done < out.n) {
        struct bytes last = {block, counter == 0 ? 0 : sizeof(block)};
        size_t now = out.n - done < sizeof(block) ? out.n - done : sizeof(block);

        counter++;
        hmac_sha256((struct bytes){from->b, sizeof(from->b)},
                    (const struct bytes[]){last, info, {&counter, 1}}, 3, block);
        memcpy(out.p + done, block, now);
        done += now;
    }
    wipe(block, sizeof(block));
}

void kdf_secret(const struct secret *from, const char *label, struct secret *ret)
{
    SECRET_LOCAL made;

    kdf_expand(from, label, (struct mbytes){made.b, sizeof(made.b)});
    *ret = made; /* `from` and `ret` may be the same: a key that replaces itself */
}
