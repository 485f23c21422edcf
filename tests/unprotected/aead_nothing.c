// SPDX-License-Identifier: Apache-2.0
/*
 * What protection costs is seen by leaving it out. This is linked, by ld's --wrap, into programs of
 * the evaluation alone: they copy where the real ones encrypt, with tags of zeroes that nobody
 * looks at. No switch of a real program does that, and no policy knows the measurement of these.
 *
 *   store_seal_init wrapped: the network is protected, what lies in host memory is not
 *   aead_open_impl wrapped: nothing is
 */
#include "trusted/crypto/aead_internal.h"
#include "trusted/store/store_seal.h"

#include <stdlib.h>

static void nothing(struct aead *a)
{
    (void)a;
}

static void key_init(struct aead *a, struct aead_key *k, const struct secret *key)
{
    (void)a;
    (void)k;
    (void)key;
}

static void key_fini(struct aead *a, const struct aead_key *k)
{
    (void)a;
    (void)k;
}

static void copy(const struct aead_io *io)
{
    if (io->in != io->out) {
        memcpy(io->out, io->in, io->n);
    }
}

static void seal(struct aead *a, const struct aead_key *k, const struct aead_io *io,
                 uint8_t ret_tag[static AEAD_TAG_LEN])
{
    (void)a;
    (void)k;
    copy(io);
    memset(ret_tag, 0, AEAD_TAG_LEN);
}

static bool open(struct aead *a, const struct aead_key *k, const struct aead_io *io,
                 const uint8_t tag[static AEAD_TAG_LEN])
{
    (void)a;
    (void)k;
    (void)tag;
    copy(io);
    return true;
}

static const struct aead_ops OPS = {
    .close = nothing, .key_init = key_init, .key_fini = key_fini, .seal = seal, .open = open};
static struct aead unprotected = {.ops = &OPS, .name = "NOTHING"};

/* In the place of aead_open_impl. */
struct aead *open_nothing(enum aead_impl impl) __asm__("__wrap_aead_open_impl");
struct aead *open_nothing(enum aead_impl impl)
{
    (void)impl;
    return &unprotected;
}

/* The real store_seal_init, in programs where it is wrapped, and what stands in its place there. */
void seal_init_as_ever(struct store_sealer *s, struct aead *aead, uint32_t shard,
                       const struct secret *master) __asm__("__real_store_seal_init")
    __attribute__((weak));
void seal_init_with_nothing(struct store_sealer *s, struct aead *aead, uint32_t shard,
                            const struct secret *master) __asm__("__wrap_store_seal_init");
void seal_init_with_nothing(struct store_sealer *s, struct aead *aead, uint32_t shard,
                            const struct secret *master)
{
    (void)aead;
    seal_init_as_ever(s, &unprotected, shard, master);
}
